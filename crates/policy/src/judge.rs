//! Judging: every layer with the evidence there is, then with all of it, then with the least.

use cedar_policy::{Decision as Cedar, Entities, PolicySet, Request};
use kernel::{
    decision::{Decision, Evidence, Question, Requirement, Rule as Spoken, Verdict},
    port::Judge,
};

use crate::{
    bundle::{Action, Bundle, Slice},
    least,
    request::{Prepared, Unfit},
    rule::Rule,
    source::Layer,
};

/// What one layer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opinion {
    pub(crate) verdict: Verdict,
    pub(crate) rules: Vec<Spoken>,
}

/// What Cedar says about one set of rules.
#[derive(Debug, Default)]
pub(crate) struct Answer<'b> {
    pub(crate) permits: Vec<&'b Rule>,
    pub(crate) forbids: Vec<&'b Rule>,
    pub(crate) errors: Vec<&'b Rule>,
}

impl Judge for Bundle {
    fn judge(&self, question: &Question<'_>) -> Decision {
        let mut decision = match self.opinion(question) {
            Ok(opinion) => {
                Decision { verdict: opinion.verdict, rules: opinion.rules, policies: Vec::new() }
            }
            Err(refusal) => refusal,
        };
        decision.policies = self.layers.iter().map(|(_, digest)| *digest).collect();
        decision
    }
}

impl Bundle {
    fn opinion(&self, question: &Question<'_>) -> Result<Opinion, Decision> {
        if question.current_policy.is_some_and(|current| current != self.digest()) {
            let reason =
                "other policies are in force now than are loaded; load both and judge by both";
            return Err(Decision::denied("policy.not-loaded", reason));
        }
        let action = self.action(question)?;
        // A layer that permits nothing here decides without evaluating anything.
        let silent: Vec<Spoken> = action
            .slices
            .iter()
            .filter(|slice| !slice.permits)
            .map(|slice| no_permit(slice.layer))
            .collect();
        if !silent.is_empty() {
            return Ok(Opinion { verdict: Verdict::Deny, rules: silent });
        }
        let unfit = |unfit: Unfit| Decision::denied("policy.unfit", unfit.to_string());
        let prepared = Prepared::new(action, &self.types, question).map_err(unfit)?;
        let now = prepared.with(question.evidence).map_err(unfit)?;
        let opinions = action.slices.iter().map(|slice| {
            let bench = Bench { bundle: self, slice, prepared: &prepared };
            bench.judge(&now, question.evidence)
        });
        Ok(strictest(opinions))
    }

    pub(crate) fn action(&self, question: &Question<'_>) -> Result<&Action, Decision> {
        if self.layers.is_empty() {
            return Err(Decision::denied(
                "policy.none",
                "no policy is installed, so nothing is permitted",
            ));
        }
        let asked = question.operation;
        let Some(action) = self.actions.get(&asked.id) else {
            let reason = format!("policies know no operation {}", asked.id);
            return Err(Decision::denied("policy.unknown-operation", reason));
        };
        let known = &action.model.operation;
        if asked.facts != known.facts || asked.resource != known.resource {
            let reason = format!("policies know another definition of {}", asked.id);
            return Err(Decision::denied("policy.other-definition", reason));
        }
        Ok(action)
    }

    /// Evaluates one set of rules.
    pub(crate) fn evaluate<'b>(
        &'b self,
        set: &PolicySet,
        request: &Request,
        entities: &Entities,
    ) -> Answer<'b> {
        let mut answer = Answer::default();
        if set.is_empty() {
            return answer;
        }
        let response = self.authorizer.is_authorized(request, set, entities);
        let reasons =
            response.diagnostics().reason().filter_map(|id| self.rules.get(id)).map(|rule| &**rule);
        match response.decision() {
            Cedar::Allow => answer.permits.extend(reasons),
            Cedar::Deny => answer.forbids.extend(reasons),
        }
        for error in response.diagnostics().errors() {
            let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
            answer.errors.extend(self.rules.get(error.policy_id()).map(|rule| &**rule));
        }
        answer.sort();
        answer
    }
}

impl Answer<'_> {
    /// Cedar answers from a hash set: order by id, so that the same question gets the same bytes.
    fn sort(&mut self) {
        for rules in [&mut self.permits, &mut self.forbids, &mut self.errors] {
            rules.sort_by(|a, b| a.id.cmp(&b.id));
        }
    }
}

/// One layer before one question.
struct Bench<'b> {
    bundle: &'b Bundle,
    slice: &'b Slice,
    prepared: &'b Prepared<'b>,
}

impl<'b> Bench<'b> {
    fn judge(&self, now: &Request, have: &Evidence) -> Opinion {
        let entities = &self.prepared.entities;
        let fixed = self.bundle.evaluate(&self.slice.fixed, now, entities);
        if !fixed.errors.is_empty() {
            return failed(&fixed.errors);
        }
        if !fixed.forbids.is_empty() {
            return self.refused(&fixed);
        }
        let moving = self.bundle.evaluate(&self.slice.evidential, now, entities);
        if !moving.errors.is_empty() {
            return failed(&moving.errors);
        }
        if moving.forbids.is_empty() && !(fixed.permits.is_empty() && moving.permits.is_empty()) {
            let mut rules = spoken(&fixed.permits);
            rules.extend(spoken(&moving.permits));
            return Opinion { verdict: Verdict::Allow, rules };
        }
        if self.slice.evidential.is_empty() {
            return self.refused(&fixed);
        }
        self.ask(have, &fixed, &moving)
    }

    /// Nothing fixed forbids it: would evidence help, and how little?
    fn ask(&self, have: &Evidence, fixed: &Answer<'_>, moving: &Answer<'b>) -> Opinion {
        let knobs = &self.slice.knobs;
        let fired = (!fixed.permits.is_empty()).then_some(moving.forbids.as_slice());
        let all = match self.again(&least::granted(knobs, have), fired) {
            Ok(all) if !all.errors.is_empty() => return failed(&all.errors),
            Ok(all) => all,
            Err(unfit) => {
                let denied = Decision::denied("policy.unfit", unfit.to_string());
                return Opinion { verdict: Verdict::Deny, rules: denied.rules };
            }
        };
        let is_enough = |answer: &Answer<'_>| {
            let is_permitted = !(fixed.permits.is_empty() && answer.permits.is_empty());
            answer.errors.is_empty() && answer.forbids.is_empty() && is_permitted
        };
        if !is_enough(&all) {
            return self.refused(&all);
        }
        let mut try_with = |evidence: &Evidence| {
            self.again(evidence, fired).is_ok_and(|answer| is_enough(&answer))
        };
        let requirement = least::missing(knobs, have, &mut try_with);
        let rules = if moving.forbids.is_empty() { &all.permits } else { &moving.forbids };
        Opinion { verdict: Verdict::Ask(requirement), rules: spoken(rules) }
    }

    /// Asks again with other evidence. Where a permit stands already, only the forbids that fired need
    /// asking: what did not fire cannot fire with more evidence.
    fn again(&self, evidence: &Evidence, fired: Option<&[&'b Rule]>) -> Result<Answer<'b>, Unfit> {
        let request = self.prepared.with(evidence)?;
        let entities = &self.prepared.entities;
        let Some(fired) = fired else {
            return Ok(self.bundle.evaluate(&self.slice.evidential, &request, entities));
        };
        let mut answer = Answer::default();
        for rule in fired {
            let one = self.bundle.evaluate(&rule.alone, &request, entities);
            answer.forbids.extend(one.forbids);
            answer.errors.extend(one.errors);
        }
        Ok(answer)
    }

    fn refused(&self, answer: &Answer<'_>) -> Opinion {
        let rules = if answer.forbids.is_empty() {
            vec![no_permit(self.slice.layer)]
        } else {
            spoken(&answer.forbids)
        };
        Opinion { verdict: Verdict::Deny, rules }
    }
}

fn spoken(rules: &[&Rule]) -> Vec<Spoken> {
    rules.iter().map(|rule| rule.spoken()).collect()
}

fn failed(rules: &[&Rule]) -> Opinion {
    let failed = rules.iter().map(|rule| Spoken {
        reason: "could not be evaluated, so it denies".to_owned(),
        ..rule.spoken()
    });
    Opinion { verdict: Verdict::Deny, rules: failed.collect() }
}

pub(crate) fn no_permit(layer: Layer) -> Spoken {
    Spoken {
        layer: layer.name().to_owned(),
        id: "no-permit".to_owned(),
        reason: format!("no rule of the {layer} layer permits it"),
    }
}

/// The strictest of several opinions: any no, else everything that is asked, else yes.
pub(crate) fn strictest(opinions: impl Iterator<Item = Opinion>) -> Opinion {
    let (mut denied, mut asked, mut allowed) = (Vec::new(), Vec::new(), Vec::new());
    let mut is_denied = false;
    let mut demand: Option<Requirement> = None;
    for opinion in opinions {
        match opinion.verdict {
            Verdict::Deny => {
                is_denied = true;
                denied.extend(opinion.rules);
            }
            Verdict::Ask(more) => {
                demand = Some(least::both(demand.unwrap_or_default(), more));
                asked.extend(opinion.rules);
            }
            Verdict::Allow => allowed.extend(opinion.rules),
        }
    }
    match (is_denied, demand) {
        (true, _) => Opinion { verdict: Verdict::Deny, rules: denied },
        (false, Some(demand)) => Opinion { verdict: Verdict::Ask(demand), rules: asked },
        (false, None) => Opinion { verdict: Verdict::Allow, rules: allowed },
    }
}
