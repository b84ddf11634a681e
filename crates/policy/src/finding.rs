//! What a person should know about rules that are valid. Nothing more is claimed than is listed here.

use std::collections::BTreeMap;

use cedar_policy::pst::{
    ActionConstraint, BinaryOp, Clause, EntityOrSlot, Expr, Literal, PrincipalConstraint,
    ResourceConstraint,
};
use serde::Serialize;

use crate::{
    rule::Rule,
    source::{Layer, place},
    syntax,
};

/// What sort of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The schema excludes every match.
    Impossible,
    /// Two literals demanded of one attribute exclude each other.
    Contradictory,
    /// Another rule of the same effect and layer says it already.
    Shadowed,
    /// No test of its own hits it.
    Untested,
    /// It has no `@reason` to show.
    NoReason,
}

/// A finding about one rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// What sort.
    pub kind: Kind,
    /// Whose rule.
    pub layer: Layer,
    /// The rule's `@id`.
    pub rule: String,
    /// One sentence.
    pub message: String,
}

impl Finding {
    pub(crate) fn new(kind: Kind, rule: &Rule, message: impl Into<String>) -> Self {
        let (line, _) = place(&rule.file.text, rule.at);
        let (file, layer) = (rule.file.name.clone(), rule.layer);
        Self { file, line, kind, layer, rule: rule.id.clone(), message: message.into() }
    }
}

/// Findings that need no test results.
pub(crate) fn of_rules(rules: &[Rule]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        if rule.reason.is_none() {
            findings.push(Finding::new(
                Kind::NoReason,
                rule,
                "it has no `@reason` to show to people",
            ));
        }
        if let Some(attribute) = contradiction(rule) {
            let message = format!("it demands of `{attribute}` what excludes itself");
            findings.push(Finding::new(Kind::Contradictory, rule, message));
        }
        let wider = rules.iter().enumerate().find(|(other_index, other)| {
            let first_of_equals = *other_index < index || !is_wider(rule, other);
            *other_index != index && is_wider(other, rule) && first_of_equals
        });
        if let Some((_, other)) = wider {
            let message = format!("`{}` says it already", other.id);
            findings.push(Finding::new(Kind::Shadowed, rule, message));
        }
    }
    findings
}

/// What a rule demands: each restriction with whether it must hold (`when`) or must not (`unless`).
fn restrictions(rule: &Rule) -> Vec<(bool, &Expr)> {
    let mut found = Vec::new();
    for clause in rule.tree.clauses() {
        let mut parts = Vec::new();
        match clause {
            Clause::When(expr) => syntax::operands(expr, BinaryOp::And, &mut parts),
            Clause::Unless(expr) => syntax::operands(expr, BinaryOp::Or, &mut parts),
        }
        let must_hold = matches!(clause, Clause::When(_));
        found.extend(parts.into_iter().map(|part| (must_hold, part)));
    }
    found
}

/// Whether `wide` speaks whenever `narrow` does, by scope and by the very same restrictions.
fn is_wider(wide: &Rule, narrow: &Rule) -> bool {
    let same_sort = wide.layer == narrow.layer && wide.tree.effect == narrow.tree.effect;
    let is_scope_wider = same_sort
        && covers_action(&wide.tree.action, &narrow.tree.action)
        && covers_principal(&wide.tree.principal, &narrow.tree.principal)
        && covers_resource(&wide.tree.resource, &narrow.tree.resource);
    if !is_scope_wider {
        return false;
    }
    let (demanded, given) = (restrictions(wide), restrictions(narrow));
    demanded.iter().all(|one| given.contains(one))
}

fn covers_action(wide: &ActionConstraint, narrow: &ActionConstraint) -> bool {
    match (wide, narrow) {
        (ActionConstraint::Any, _) => true,
        (ActionConstraint::In(all), ActionConstraint::In(some)) => {
            some.iter().all(|uid| all.contains(uid))
        }
        (ActionConstraint::In(all), ActionConstraint::Eq(uid)) => all.contains(uid),
        _ => wide == narrow,
    }
}

fn covers_principal(wide: &PrincipalConstraint, narrow: &PrincipalConstraint) -> bool {
    match (wide, narrow) {
        (PrincipalConstraint::Any, _) => true,
        (PrincipalConstraint::Is(kind), PrincipalConstraint::Eq(EntityOrSlot::Entity(uid))) => {
            uid.ty == *kind
        }
        (PrincipalConstraint::Is(kind), PrincipalConstraint::IsIn(other, _)) => kind == other,
        (PrincipalConstraint::In(within), PrincipalConstraint::IsIn(_, other)) => within == other,
        _ => wide == narrow,
    }
}

fn covers_resource(wide: &ResourceConstraint, narrow: &ResourceConstraint) -> bool {
    match (wide, narrow) {
        (ResourceConstraint::Any, _) => true,
        (ResourceConstraint::Is(kind), ResourceConstraint::Eq(EntityOrSlot::Entity(uid))) => {
            uid.ty == *kind
        }
        (ResourceConstraint::Is(kind), ResourceConstraint::IsIn(other, _)) => kind == other,
        (ResourceConstraint::In(within), ResourceConstraint::IsIn(_, other)) => within == other,
        _ => wide == narrow,
    }
}

/// What is demanded of one attribute.
#[derive(Default)]
struct Demand<'r> {
    equal: Vec<&'r Literal>,
    unequal: Vec<&'r Literal>,
    least: Option<i64>,
    most: Option<i64>,
}

impl Demand<'_> {
    fn is_contradictory(&self) -> bool {
        let differs = self.equal.iter().any(|one| self.equal.iter().any(|other| one != other));
        let excluded = self.equal.iter().any(|one| self.unequal.contains(one));
        let empty = matches!((self.least, self.most), (Some(least), Some(most)) if least > most);
        let outside = self.equal.iter().any(|literal| match literal {
            Literal::Long(number) => {
                self.least.is_some_and(|least| *number < least)
                    || self.most.is_some_and(|most| *number > most)
            }
            _ => false,
        });
        differs || excluded || empty || outside
    }
}

fn contradiction(rule: &Rule) -> Option<String> {
    let mut demands: BTreeMap<String, Demand<'_>> = BTreeMap::new();
    for (must_hold, expr) in restrictions(rule) {
        let Expr::BinaryOp { op, left, right } = expr else {
            continue;
        };
        let (path, literal, op) = match (syntax::path(left), &**right, syntax::path(right), &**left)
        {
            (Some(path), Expr::Literal(literal), ..) => (path, literal, *op),
            (_, _, Some(path), Expr::Literal(literal)) => (path, literal, mirrored(*op)),
            _ => continue,
        };
        let op = if must_hold { op } else { negated(op) };
        let demand = demands.entry(path.shown()).or_default();
        match (op, literal) {
            (BinaryOp::Eq, literal) => demand.equal.push(literal),
            (BinaryOp::NotEq, literal) => demand.unequal.push(literal),
            (BinaryOp::Greater, Literal::Long(n)) => raise(&mut demand.least, n.saturating_add(1)),
            (BinaryOp::GreaterEq, Literal::Long(n)) => raise(&mut demand.least, *n),
            (BinaryOp::Less, Literal::Long(n)) => lower(&mut demand.most, n.saturating_sub(1)),
            (BinaryOp::LessEq, Literal::Long(n)) => lower(&mut demand.most, *n),
            _ => {}
        }
    }
    demands.into_iter().find(|(_, demand)| demand.is_contradictory()).map(|(path, _)| path)
}

fn raise(bound: &mut Option<i64>, to: i64) {
    *bound = Some(bound.map_or(to, |now| now.max(to)));
}

fn lower(bound: &mut Option<i64>, to: i64) {
    *bound = Some(bound.map_or(to, |now| now.min(to)));
}

/// The operator with its sides swapped.
fn mirrored(op: BinaryOp) -> BinaryOp {
    match op {
        BinaryOp::Less => BinaryOp::Greater,
        BinaryOp::LessEq => BinaryOp::GreaterEq,
        BinaryOp::Greater => BinaryOp::Less,
        BinaryOp::GreaterEq => BinaryOp::LessEq,
        other => other,
    }
}

/// The operator that holds where this one does not.
fn negated(op: BinaryOp) -> BinaryOp {
    match op {
        BinaryOp::Eq => BinaryOp::NotEq,
        BinaryOp::NotEq => BinaryOp::Eq,
        BinaryOp::Less => BinaryOp::GreaterEq,
        BinaryOp::LessEq => BinaryOp::Greater,
        BinaryOp::Greater => BinaryOp::LessEq,
        BinaryOp::GreaterEq => BinaryOp::Less,
        // Anything else is no comparison with a literal that this check understands.
        other => other,
    }
}
