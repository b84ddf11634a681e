//! Permission must be monotone in evidence: more of it never turns a yes into a no. So a forbid may
//! mention it only under `unless`, a permit only under `when`, and only in forms that grow.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::pst::{BinaryOp, Clause, Effect, Expr, Template};

use crate::syntax::{self, Seen};

/// Most people a rule may demand of one role.
pub(crate) const APPROVERS_MAX: i64 = 100;

/// The evidence that rules name: everything that could be asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Knobs {
    /// Role → the numbers rules compare with.
    pub(crate) approvals: BTreeMap<String, BTreeSet<u32>>,
    /// Whether a dry run helps.
    pub(crate) dry_run: bool,
    /// Rewrites that help.
    pub(crate) transforms: BTreeSet<String>,
}

impl Knobs {
    pub(crate) fn merge(&mut self, other: &Self) {
        for (role, numbers) in &other.approvals {
            self.approvals.entry(role.clone()).or_default().extend(numbers);
        }
        self.dry_run |= other.dry_run;
        self.transforms.extend(other.transforms.iter().cloned());
    }

    /// The most any rule demands, per role.
    pub(crate) fn most(&self) -> BTreeMap<String, u32> {
        let last =
            |(role, numbers): (&String, &BTreeSet<u32>)| Some((role.clone(), *numbers.last()?));
        self.approvals.iter().filter_map(last).collect()
    }
}

/// A use of evidence that does not grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Which mention in source order, from 0.
    pub(crate) nth: usize,
    pub(crate) message: String,
    pub(crate) help: &'static str,
}

const FORMS: &str = "write `context.evidence.approvals.role >= n`, `context.evidence.dry_run`, \
    `context.evidence.transforms.contains(\"…\")` or \
    `[\"restore\", \"compensate\"].contains(context.evidence.rollback)`, joined by `&&` and `||` only";

/// What a rule demands, or where it is not monotone.
pub(crate) fn read(rule: &Template) -> Result<Knobs, Refusal> {
    let mut knobs = Knobs::default();
    let mut nth = 0;
    for clause in rule.clauses() {
        let expr = syntax::body(clause);
        if !syntax::mentions_evidence(expr) {
            continue;
        }
        match (rule.effect, clause) {
            (Effect::Forbid, Clause::Unless(_)) | (Effect::Permit, Clause::When(_)) => {}
            (Effect::Forbid, Clause::When(_)) => {
                let message = "a forbid may look at evidence only under `unless`".to_owned();
                return Err(Refusal { nth, message, help: "move it into `unless { … }`" });
            }
            (Effect::Permit, Clause::Unless(_)) => {
                let message = "a permit may look at evidence only under `when`".to_owned();
                return Err(Refusal { nth, message, help: "move it into `when { … }`" });
            }
        }
        grow(expr, &mut knobs, &mut nth)?;
    }
    Ok(knobs)
}

fn grow(expr: &Expr, knobs: &mut Knobs, nth: &mut usize) -> Result<(), Refusal> {
    if syntax::may_overflow(expr) {
        // With more evidence Cedar could read on into an overflow, and a yes would become a no.
        let message = "arithmetic may not stand beside evidence: it could fail".to_owned();
        return Err(Refusal {
            nth: *nth, message, help: "move it into a `when { … }` of its own"
        });
    }
    if !syntax::mentions_evidence(expr) {
        return Ok(());
    }
    if let Expr::BinaryOp { op: BinaryOp::And | BinaryOp::Or, left, right } = expr {
        grow(left, knobs, nth)?;
        return grow(right, knobs, nth);
    }
    let refused = |message: &str| Refusal { nth: *nth, message: message.to_owned(), help: FORMS };
    if atom(expr, knobs).map_err(|message| refused(&message))? {
        *nth += mentions(expr);
        return Ok(());
    }
    let message = match expr {
        Expr::UnaryOp { .. } => "evidence may not be negated",
        Expr::IfThenElse { .. } => "evidence may not stand in `if`",
        Expr::BinaryOp { .. } => {
            "evidence may not be compared like this: more of it must never harm"
        }
        _ => "evidence may not be used like this",
    };
    Err(refused(message))
}

fn mentions(expr: &Expr) -> usize {
    let mut count = 0;
    syntax::walk(expr, &mut |seen| {
        if let Seen::Path(path) | Seen::Has(path) = seen {
            count += usize::from(path.is_in_context(&["evidence"]));
        }
    });
    count
}

/// Reads one atom into the knobs; `Ok(false)` when it is none.
fn atom(expr: &Expr, knobs: &mut Knobs) -> Result<bool, String> {
    match expr {
        Expr::BinaryOp { op: BinaryOp::GreaterEq, left, right } => {
            let (Some(role), Some(least)) = (role(left), syntax::integer(right)) else {
                return Ok(false);
            };
            let number = u32::try_from(least).ok().filter(|_| (1..=APPROVERS_MAX).contains(&least));
            let number =
                number.ok_or(format!("approvals are demanded from 1 to {APPROVERS_MAX}"))?;
            knobs.approvals.entry(role.to_owned()).or_default().insert(number);
            Ok(true)
        }
        Expr::BinaryOp { op: BinaryOp::Contains, left, right } => {
            if is_evidence(left, "transforms") {
                let Some(name) = syntax::string(right) else {
                    return Ok(false);
                };
                knobs.transforms.insert(name.to_owned());
                return Ok(true);
            }
            let accepted = syntax::strings(left).filter(|_| is_evidence(right, "rollback"));
            accepted.map_or(Ok(false), |accepted| is_upward_closed(&accepted))
        }
        Expr::BinaryOp { op: BinaryOp::ContainsAll, left, right }
            if is_evidence(left, "transforms") =>
        {
            let Some(names) = syntax::strings(right) else {
                return Ok(false);
            };
            knobs.transforms.extend(names.into_iter().map(str::to_owned));
            Ok(true)
        }
        Expr::GetAttr { .. } if is_evidence(expr, "dry_run") => {
            knobs.dry_run = true;
            Ok(true)
        }
        Expr::HasAttr { expr: inner, .. } => Ok(syntax::context_path(inner).is_some()),
        _ => Ok(false),
    }
}

fn is_upward_closed(accepted: &[&str]) -> Result<bool, String> {
    if accepted.contains(&"restore")
        && (accepted.contains(&"compensate") || !accepted.contains(&"none"))
    {
        Ok(true)
    } else {
        Err("a rule that accepts an undo class must accept every better one".to_owned())
    }
}

fn is_evidence(expr: &Expr, kind: &str) -> bool {
    syntax::context_path(expr).is_some_and(|path| path == ["evidence", kind])
}

/// The role an expression counts approvals of.
pub(crate) fn role(expr: &Expr) -> Option<&str> {
    match syntax::context_path(expr)?.as_slice() {
        ["evidence", "approvals", role] => Some(role),
        _ => None,
    }
}

/// Every role that a rule names under `evidence.approvals`, in whatever form.
pub(crate) fn roles(rule: &Template, into: &mut BTreeSet<String>) {
    for clause in rule.clauses() {
        syntax::walk(syntax::body(clause), &mut |seen| {
            if let Seen::Path(path) | Seen::Has(path) = seen
                && let ["evidence", "approvals", role, ..] = path.attrs.as_slice()
            {
                into.insert((*role).to_owned());
            }
        });
    }
}
