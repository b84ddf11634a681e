//! Rules read before the arguments are known, in three values: yes, no, or it depends.

use cedar_policy::pst::{
    BinaryOp, Clause, EntityOrSlot, EntityType, EntityUID, Expr, Literal, PrincipalConstraint,
    ResourceConstraint, UnaryOp, Var,
};
use kernel::{
    decision::Evidence,
    operation::Undo,
    principal::{Kind, Principal},
};

use crate::{forecast::Reading, monotone, request::undo_name, rule::Rule, syntax};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tri {
    No,
    Depends,
    Yes,
}

impl From<bool> for Tri {
    fn from(known: bool) -> Self {
        if known { Self::Yes } else { Self::No }
    }
}

impl Tri {
    pub(crate) fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Depends => Self::Depends,
            Self::Yes => Self::No,
        }
    }

    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Depends,
        }
    }

    pub(crate) fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }
}

/// How an entity is compared with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    /// `==`
    Exactly,
    /// `in`
    Within,
}

impl Reading<'_> {
    pub(crate) fn rule(&self, rule: &Rule, evidence: &Evidence) -> Tri {
        let mut truth =
            self.principal(&rule.tree.principal).and(self.resource(&rule.tree.resource));
        for clause in rule.tree.clauses() {
            truth = truth.and(match clause {
                Clause::When(expr) => self.truth(expr, evidence),
                Clause::Unless(expr) => self.truth(expr, evidence).not(),
            });
        }
        truth
    }

    fn principal(&self, constraint: &PrincipalConstraint) -> Tri {
        let within = |target: &EntityOrSlot, fit: Fit| match target {
            EntityOrSlot::Entity(uid) => self.principal_in(uid, fit),
            EntityOrSlot::Slot(_) => Tri::Depends,
        };
        match constraint {
            PrincipalConstraint::Any => Tri::Yes,
            PrincipalConstraint::Eq(target) => within(target, Fit::Exactly),
            PrincipalConstraint::In(target) => within(target, Fit::Within),
            PrincipalConstraint::Is(kind) => self.principal_is(kind),
            PrincipalConstraint::IsIn(kind, target) => {
                self.principal_is(kind).and(within(target, Fit::Within))
            }
        }
    }

    fn principal_is(&self, kind: &EntityType) -> Tri {
        let known = self.chain.map(|chain| kind.to_string() == type_of(&chain.agent));
        known.map_or(Tri::Depends, Tri::from)
    }

    fn principal_in(&self, uid: &EntityUID, fit: Fit) -> Tri {
        let Some(chain) = self.chain else {
            return Tri::Depends;
        };
        let (kind, eid) = (uid.ty.to_string(), uid.eid.as_str());
        let itself = kind == type_of(&chain.agent) && eid == chain.agent.id.as_str();
        let role = kind == "Role" && chain.agent.roles.contains(eid);
        let tenant = kind == "Tenant" && eid == chain.tenant.as_str();
        Tri::from(itself || (fit == Fit::Within && (role || tenant)))
    }

    fn resource(&self, constraint: &ResourceConstraint) -> Tri {
        let within = |target: &EntityOrSlot, fit: Fit| match target {
            EntityOrSlot::Entity(uid) => self.resource_in(uid, fit),
            EntityOrSlot::Slot(_) => Tri::Depends,
        };
        match constraint {
            ResourceConstraint::Any => Tri::Yes,
            ResourceConstraint::Eq(target) => within(target, Fit::Exactly),
            ResourceConstraint::In(target) => within(target, Fit::Within),
            ResourceConstraint::Is(kind) => self.resource_is(kind),
            ResourceConstraint::IsIn(kind, target) => {
                self.resource_is(kind).and(within(target, Fit::Within))
            }
        }
    }

    fn resource_is(&self, kind: &EntityType) -> Tri {
        Tri::from(kind.to_string() == self.action.model.resource_type)
    }

    fn resource_in(&self, uid: &EntityUID, fit: Fit) -> Tri {
        let model = &self.action.model;
        let (kind, eid) = (uid.ty.to_string(), uid.eid.as_str());
        if kind == "System" {
            let is_own = eid == model.operation.id.connector();
            return Tri::from(is_own && (fit == Fit::Within || model.resource_type == "System"));
        }
        if kind == model.resource_type { Tri::Depends } else { Tri::No }
    }

    fn action_in(&self, uid: &EntityUID, fit: Fit) -> Tri {
        let (model, eid) = (&self.action.model, uid.eid.as_str());
        let is_action = uid.ty.to_string() == "Action";
        let itself = eid == model.operation.id.as_str();
        Tri::from(is_action && (itself || (fit == Fit::Within && model.groups.contains(eid))))
    }

    fn truth(&self, expr: &Expr, evidence: &Evidence) -> Tri {
        match expr {
            Expr::Literal(Literal::Bool(known)) => Tri::from(*known),
            Expr::UnaryOp { op: UnaryOp::Not, expr } => self.truth(expr, evidence).not(),
            Expr::BinaryOp { op: BinaryOp::And, left, right } => {
                self.truth(left, evidence).and(self.truth(right, evidence))
            }
            Expr::BinaryOp { op: BinaryOp::Or, left, right } => {
                self.truth(left, evidence).or(self.truth(right, evidence))
            }
            Expr::BinaryOp { op, left, right } => self.compared(*op, (left, right), evidence),
            Expr::GetAttr { .. }
                if syntax::context_path(expr).is_some_and(|p| p == ["evidence", "dry_run"]) =>
            {
                Tri::from(evidence.dry_run)
            }
            Expr::HasAttr { expr, attrs } => match syntax::context_path(expr) {
                Some(mut path) => {
                    path.extend(attrs.iter().map(|attr| attr.as_str()));
                    match self.action.model.context.is_always(&path) {
                        Some(true) => Tri::Yes,
                        Some(false) => Tri::Depends,
                        None => Tri::No,
                    }
                }
                None => Tri::Depends,
            },
            Expr::Is { expr, entity_type, in_expr } => {
                let of_type = match &**expr {
                    Expr::Var(Var::Principal) => self.principal_is(entity_type),
                    Expr::Var(Var::Resource) => self.resource_is(entity_type),
                    _ => Tri::Depends,
                };
                in_expr.as_ref().map_or(of_type, |within| of_type.and(self.is_in(expr, within)))
            }
            Expr::IfThenElse { cond, then_expr, else_expr } => {
                let (yes, no) = (self.truth(then_expr, evidence), self.truth(else_expr, evidence));
                match self.truth(cond, evidence) {
                    Tri::Yes => yes,
                    Tri::No => no,
                    Tri::Depends if yes == no => yes,
                    Tri::Depends => Tri::Depends,
                }
            }
            _ => Tri::Depends,
        }
    }

    fn compared(&self, op: BinaryOp, (left, right): (&Expr, &Expr), evidence: &Evidence) -> Tri {
        match op {
            BinaryOp::In => self.is_in(left, right),
            BinaryOp::Eq | BinaryOp::NotEq => {
                let equal = match (left, right) {
                    (Expr::Var(var), Expr::Literal(Literal::EntityUID(uid)))
                    | (Expr::Literal(Literal::EntityUID(uid)), Expr::Var(var)) => {
                        self.var_in(var, uid, Fit::Exactly)
                    }
                    _ => Tri::Depends,
                };
                if op == BinaryOp::Eq { equal } else { equal.not() }
            }
            BinaryOp::GreaterEq => match (monotone::role(left), syntax::integer(right)) {
                (Some(role), Some(least)) => {
                    let count = evidence.approvals.get(role).copied().unwrap_or_default();
                    Tri::from(i64::from(count) >= least)
                }
                _ => Tri::Depends,
            },
            BinaryOp::Contains | BinaryOp::ContainsAll => self.contains((left, right), evidence),
            _ => Tri::Depends,
        }
    }

    fn contains(&self, (left, right): (&Expr, &Expr), evidence: &Evidence) -> Tri {
        let is = |expr: &Expr, kind: &str| {
            syntax::context_path(expr).is_some_and(|p| p == ["evidence", kind])
        };
        if is(left, "transforms") {
            let names =
                syntax::strings(right).or_else(|| syntax::string(right).map(|name| vec![name]));
            let has_all =
                |names: Vec<&str>| names.iter().all(|name| evidence.transforms.contains(*name));
            return names.map_or(Tri::Depends, |names| Tri::from(has_all(names)));
        }
        // A capture can be missed: only what is never armed is known beforehand.
        match syntax::strings(left) {
            Some(accepted) if is(right, "rollback") && evidence.rollback == Undo::None => {
                Tri::from(accepted.contains(&undo_name(Undo::None)))
            }
            Some(accepted)
                if is(right, "rollback") && accepted.contains(&undo_name(Undo::None)) =>
            {
                Tri::Yes
            }
            _ => Tri::Depends,
        }
    }

    fn is_in(&self, left: &Expr, right: &Expr) -> Tri {
        let Expr::Var(var) = left else {
            return Tri::Depends;
        };
        match right {
            Expr::Literal(Literal::EntityUID(uid)) => self.var_in(var, uid, Fit::Within),
            Expr::Set(items) => {
                items.iter().fold(Tri::No, |any, item| any.or(self.is_in(left, item)))
            }
            _ => Tri::Depends,
        }
    }

    fn var_in(&self, var: &Var, uid: &EntityUID, fit: Fit) -> Tri {
        match var {
            Var::Principal => self.principal_in(uid, fit),
            Var::Action => self.action_in(uid, fit),
            Var::Resource => self.resource_in(uid, fit),
            Var::Context => Tri::Depends,
        }
    }
}

fn type_of(principal: &Principal) -> &'static str {
    match principal.kind {
        Kind::Agent => "Agent",
        Kind::Person => "Person",
        Kind::Service => "Service",
    }
}
