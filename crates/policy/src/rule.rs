//! One rule as loaded: its text, its tree, what it demands and where it can apply.

use std::sync::Arc;

use cedar_policy::{
    Policy, PolicySet,
    pst::{self, ActionConstraint, Effect, EntityOrSlot, EntityUID, ResourceConstraint},
};

use crate::{
    monotone::Knobs,
    schema::Model,
    source::{Layer, Problem, place},
    syntax,
};

/// A text with its name.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// A rule.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) layer: Layer,
    pub(crate) id: String,
    pub(crate) reason: Option<String>,
    pub(crate) policy: Policy,
    /// Only this rule, for asking it again alone.
    pub(crate) alone: PolicySet,
    pub(crate) tree: pst::Template,
    pub(crate) knobs: Knobs,
    pub(crate) file: Arc<File>,
    /// Offset of its first byte in the file.
    pub(crate) at: usize,
    /// Its length in bytes.
    pub(crate) length: usize,
}

impl Rule {
    pub(crate) fn is_forbid(&self) -> bool {
        self.tree.effect == Effect::Forbid
    }

    /// Whether its outcome can differ with the evidence.
    pub(crate) fn reads_evidence(&self) -> bool {
        self.tree.clauses().iter().any(|clause| syntax::mentions_evidence(syntax::body(clause)))
    }

    /// As a decision names it.
    pub(crate) fn spoken(&self) -> kernel::decision::Rule {
        let reason = self.reason.clone().unwrap_or_else(|| format!("rule `{}` says so", self.id));
        kernel::decision::Rule { layer: self.layer.name().to_owned(), id: self.id.clone(), reason }
    }

    /// Its own text.
    pub(crate) fn text(&self) -> &str {
        self.file.text.get(self.at..self.at + self.length).unwrap_or_default()
    }

    /// A problem at an offset into its own text.
    pub(crate) fn problem(&self, offset: Option<usize>, message: String, help: String) -> Problem {
        let (line, column) = place(&self.file.text, self.at + offset.unwrap_or_default());
        let file = self.file.name.clone();
        let rule = Some(self.id.clone()).filter(|id| !id.is_empty());
        Problem { file, line, column, rule, message, help }
    }

    /// Whether its scope can ever match this action: by the action, and by the kind of its resource.
    pub(crate) fn concerns(&self, model: &Model) -> bool {
        let named = |uid: &EntityUID| {
            uid.eid == model.operation.id.as_str() || model.groups.contains(uid.eid.as_str())
        };
        let action = match &self.tree.action {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(uid) => uid.eid == model.operation.id.as_str(),
            ActionConstraint::In(uids) => uids.iter().any(named),
        };
        action && self.fits_resource(model)
    }

    fn fits_resource(&self, model: &Model) -> bool {
        match &self.tree.resource {
            ResourceConstraint::Any | ResourceConstraint::In(_) => true,
            ResourceConstraint::Eq(EntityOrSlot::Entity(uid)) => {
                uid.ty.to_string() == model.resource_type
            }
            ResourceConstraint::Eq(EntityOrSlot::Slot(_)) => true,
            ResourceConstraint::Is(kind) | ResourceConstraint::IsIn(kind, _) => {
                kind.to_string() == model.resource_type
            }
        }
    }
}
