//! Which rule said what, layer by layer. Slower than judging; for people.

use kernel::{
    decision::{Decision, Question},
    port::Judge,
};
use serde::Serialize;

use crate::{
    bundle::{Bundle, Slice},
    least,
    request::{Prepared, Unfit},
    rule::Rule,
    source::{Layer, place},
};

/// A decision with everything that led to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The decision itself.
    pub decision: Decision,
    /// The layers, from the operator down. Empty when the question never reached them.
    pub layers: Vec<LayerView>,
}

/// One layer's part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayerView {
    /// Which.
    pub layer: Layer,
    /// The rules that could concern this operation, in file order.
    pub rules: Vec<RuleView>,
}

/// One rule's part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleView {
    /// Its `@id`.
    pub id: String,
    /// Its `@reason`.
    pub reason: Option<String>,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// Where it stands.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// Whether it speaks with the evidence there is; `None` when it cannot be evaluated.
    pub matches_now: Option<bool>,
    /// Whether it would speak with all evidence granted.
    pub matches_granted: Option<bool>,
}

impl Bundle {
    /// Explains one question: every rule that could concern it, with and without evidence.
    #[must_use]
    pub fn explain(&self, question: &Question<'_>) -> Explanation {
        let decision = self.judge(question);
        let layers = self.views(question).unwrap_or_default();
        Explanation { decision, layers }
    }

    fn views(&self, question: &Question<'_>) -> Result<Vec<LayerView>, Unfit> {
        let Ok(action) = self.action(question) else {
            return Ok(Vec::new());
        };
        let prepared = Prepared::new(action, &self.types, question)?;
        let view = |slice: &Slice| {
            let granted = least::granted(&slice.knobs, question.evidence);
            let requests = (prepared.with(question.evidence)?, prepared.with(&granted)?);
            let mut rules = Vec::with_capacity(slice.rules.len());
            for rule in &slice.rules {
                let matches = |request| {
                    let answer = self.evaluate(&rule.alone, request, &prepared.entities);
                    answer
                        .errors
                        .is_empty()
                        .then_some(!(answer.permits.is_empty() && answer.forbids.is_empty()))
                };
                rules.push(RuleView::new(rule, matches(&requests.0), matches(&requests.1)));
            }
            Ok(LayerView { layer: slice.layer, rules })
        };
        action.slices.iter().map(view).collect()
    }
}

impl RuleView {
    fn new(rule: &Rule, matches_now: Option<bool>, matches_granted: Option<bool>) -> Self {
        let (line, _) = place(&rule.file.text, rule.at);
        Self {
            id: rule.id.clone(),
            reason: rule.reason.clone(),
            effect: if rule.is_forbid() { "forbid" } else { "permit" },
            file: rule.file.name.clone(),
            line,
            matches_now,
            matches_granted,
        }
    }
}
