//! What can be said about an operation before its arguments are known.
//!
//! Every rule is read in three values: yes, no, or it depends. Whatever is not understood depends, so
//! that a forecast is never more certain than the judge.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::pst::{PrincipalConstraint, ResourceConstraint, Var};
use kernel::{
    catalogue::Catalogue,
    decision::{Evidence, Requirement},
    id::OperationId,
    operation::Operation,
    plan::Asks,
    principal::Chain,
};
use serde::Serialize;

use crate::{
    bundle::{Action, Bundle, Slice},
    least,
    reading::Tri,
    rule::Rule,
    shape::Shape,
    syntax::{self, Seen},
};

/// One operation with what is to be expected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Which operation.
    pub operation: OperationId,
    /// Whether it asks.
    pub asks: Asks,
}

/// What may come of one layer.
#[derive(Clone, Debug, Default)]
struct Outlook {
    is_denied: bool,
    may_deny: bool,
    is_allowed: bool,
    may_allow: bool,
    /// Rules that deny or may ask, as the case is.
    rules: BTreeSet<String>,
    depends_on: BTreeSet<String>,
    most: BTreeMap<String, u32>,
    least: Requirement,
}

impl Bundle {
    /// Whether an operation will stop for evidence, for whatever agent and arguments. `Always` with no
    /// approvals means a rewrite or a dry run, which the kernel does by itself.
    #[must_use]
    pub fn forecast(&self, operation: &Operation) -> Asks {
        self.forecast_as(operation, None)
    }

    /// The forecast of every operation of a catalogue for one chain of principals.
    #[must_use]
    pub fn matrix(&self, chain: &Chain, catalogue: &Catalogue) -> Vec<Row> {
        let row = |(id, entry): (&OperationId, &kernel::catalogue::Entry)| Row {
            operation: id.clone(),
            asks: self.forecast_as(&entry.operation, Some(chain)),
        };
        catalogue.iter().map(row).collect()
    }

    fn forecast_as(&self, operation: &Operation, chain: Option<&Chain>) -> Asks {
        let denied = |rule: &str| Asks::Denied { rules: vec![rule.to_owned()] };
        if self.layers.is_empty() {
            return denied("policy.none");
        }
        let Some(action) = self.actions.get(&operation.id) else {
            return denied("policy.unknown-operation");
        };
        let mut outlooks: Vec<Outlook> =
            action.slices.iter().map(|slice| Reading { action, slice, chain }.outlook()).collect();
        outlooks.push(unfit(action));
        combine(&outlooks)
    }
}

/// What may go wrong before any rule speaks: an argument without a Cedar value, an unnamed resource.
fn unfit(action: &Action) -> Outlook {
    let mut outlook = Outlook { is_allowed: true, may_allow: true, ..Outlook::default() };
    if let (Some(want), Ok(Shape::Record(fields))) =
        (action.want.of("args"), action.model.context.at(&["args"]))
    {
        let odd = fields
            .iter()
            .filter(|(name, field)| want.of(name).is_some() && field.shape.may_not_fit());
        outlook.depends_on.extend(odd.map(|(name, _)| format!("args.{name}")));
    }
    if let Some(rule) = &action.model.operation.resource {
        let path: Vec<&str> = std::iter::once("args").chain(rule.id.split('/').skip(1)).collect();
        let is_name = matches!(
            action.model.context.at(&path),
            Ok(Shape::Text(_) | Shape::Long | Shape::Decimal)
        );
        if !is_name || action.model.context.is_always(&path) != Some(true) {
            outlook.depends_on.insert("resource".to_owned());
        }
    }
    outlook.may_deny = !outlook.depends_on.is_empty();
    outlook.is_allowed = !outlook.may_deny;
    outlook
}

fn combine(outlooks: &[Outlook]) -> Asks {
    let union = |pick: fn(&Outlook) -> &BTreeSet<String>, from: &dyn Fn(&&Outlook) -> bool| {
        outlooks
            .iter()
            .filter(from)
            .flat_map(|outlook| pick(outlook).iter().cloned())
            .collect::<BTreeSet<_>>()
    };
    if outlooks.iter().any(|outlook| outlook.is_denied) {
        let rules = union(|outlook| &outlook.rules, &|outlook| outlook.is_denied);
        return Asks::Denied { rules: rules.into_iter().collect() };
    }
    if outlooks.iter().all(|outlook| outlook.is_allowed) {
        return Asks::No;
    }
    let rules =
        union(|outlook| &outlook.rules, &|outlook| !outlook.is_allowed).into_iter().collect();
    if !outlooks.iter().any(|outlook| outlook.may_deny)
        && outlooks.iter().any(|outlook| !outlook.may_allow)
    {
        let demands = outlooks.iter().map(|outlook| outlook.least.clone());
        let approvals = demands.reduce(least::both).unwrap_or_default().approvals;
        return Asks::Always { approvals, rules };
    }
    let mut approvals: BTreeMap<String, u32> = BTreeMap::new();
    for (role, number) in outlooks.iter().flat_map(|outlook| &outlook.most) {
        let count = approvals.entry(role.clone()).or_default();
        *count = (*count).max(*number);
    }
    let depends_on = union(|outlook| &outlook.depends_on, &|outlook| !outlook.is_allowed);
    Asks::Maybe { approvals, rules, depends_on }
}

/// One layer read for one action.
pub(crate) struct Reading<'r> {
    pub(crate) action: &'r Action,
    pub(crate) slice: &'r Slice,
    pub(crate) chain: Option<&'r Chain>,
}

impl Reading<'_> {
    fn outlook(&self) -> Outlook {
        let none =
            Evidence { rollback: self.action.model.operation.facts.undo, ..Evidence::default() };
        let all = least::granted(&self.slice.knobs, &none);
        let may_fail = |rule: &&std::sync::Arc<Rule>| {
            rule.tree.clauses().iter().any(|clause| syntax::may_overflow(syntax::body(clause)))
        };
        let mut outlook = Outlook::default();
        let failing = self.slice.rules.iter().any(|rule| may_fail(&rule));
        let (before, after) = (self.both(&none), self.both(&all));
        outlook.is_denied = after.0 == Tri::Yes || after.1 == Tri::No;
        outlook.may_deny = failing || after.0 != Tri::No || after.1 != Tri::Yes;
        outlook.is_allowed = !failing && before.0 == Tri::No && before.1 == Tri::Yes;
        outlook.may_allow = before.0 != Tri::Yes && before.1 != Tri::No;
        if outlook.is_denied {
            outlook.rules = self.denying(&all, after.0);
            return outlook;
        }
        for rule in &self.slice.rules {
            let truth = self.rule(rule, &none);
            let is_open = if rule.is_forbid() { truth != Tri::No } else { truth != Tri::Yes };
            let speaks = rule.is_forbid() || before.1 != Tri::Yes;
            if (is_open && speaks) || may_fail(&rule) {
                outlook.rules.insert(rule.id.clone());
                for (role, number) in rule.knobs.most() {
                    let count = outlook.most.entry(role).or_default();
                    *count = (*count).max(number);
                }
                reads(rule, &mut outlook.depends_on);
            }
        }
        if !outlook.may_deny && !outlook.is_allowed {
            let mut is_enough = |evidence: &Evidence| self.both(evidence) == (Tri::No, Tri::Yes);
            outlook.least = least::missing(&self.slice.knobs, &none, &mut is_enough);
        }
        outlook
    }

    fn denying(&self, all: &Evidence, forbidden: Tri) -> BTreeSet<String> {
        if forbidden != Tri::Yes {
            return BTreeSet::from(["no-permit".to_owned()]);
        }
        let fired = self
            .slice
            .rules
            .iter()
            .filter(|rule| rule.is_forbid() && self.rule(rule, all) == Tri::Yes);
        fired.map(|rule| rule.id.clone()).collect()
    }

    /// Whether something forbids, and whether something permits.
    fn both(&self, evidence: &Evidence) -> (Tri, Tri) {
        let (mut forbidden, mut permitted) = (Tri::No, Tri::No);
        for rule in &self.slice.rules {
            let truth = self.rule(rule, evidence);
            if rule.is_forbid() {
                forbidden = forbidden.or(truth);
            } else {
                permitted = permitted.or(truth);
            }
        }
        (forbidden, permitted)
    }
}

/// The attributes a rule reads, without the evidence that is asked for.
fn reads(rule: &Rule, into: &mut BTreeSet<String>) {
    if rule.tree.principal != PrincipalConstraint::Any {
        into.insert("principal".to_owned());
    }
    if matches!(
        rule.tree.resource,
        ResourceConstraint::Eq(_) | ResourceConstraint::In(_) | ResourceConstraint::IsIn(..)
    ) {
        into.insert("resource".to_owned());
    }
    for clause in rule.tree.clauses() {
        syntax::walk(syntax::body(clause), &mut |seen| {
            if let Seen::Path(path) | Seen::Has(path) = seen {
                let asked = path.is_in_context(&["evidence"])
                    && !path.is_in_context(&["evidence", "rollback"]);
                if !asked && path.var != Var::Action {
                    into.insert(path.shown());
                }
            }
        });
    }
}
