//! Example requests that must be allowed, asked or denied, and which rules they hit.

use std::collections::{BTreeMap, BTreeSet};

use kernel::{
    action::Resource,
    catalogue::Catalogue,
    decision::{Autonomy, Decision, Evidence, Mode, Question, RunFacts, Verdict},
    id::{At, OperationId, PrincipalId, Tenant},
    label::{Confidentiality, Label, LabelMap, Trust},
    principal::{Chain, Kind, Principal},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    bundle::Bundle,
    finding::{self, Finding},
    source::Layer,
};

/// What a case expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// It may happen.
    Allow,
    /// It waits for evidence.
    Ask,
    /// It may not happen.
    Deny,
}

/// One example request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// Who proposes it, such as `agent:renewals`.
    pub agent: PrincipalId,
    /// Roles of that agent.
    #[serde(default)]
    pub roles: BTreeSet<String>,
    /// For whom; a person `person:example` when absent.
    #[serde(default)]
    pub on_behalf_of: Option<Principal>,
    /// In which tenant.
    #[serde(default)]
    pub tenant: Tenant,
    /// Which operation.
    pub operation: OperationId,
    /// Its arguments.
    #[serde(default)]
    pub args: Value,
    /// Labels; verified and internal when absent.
    #[serde(default)]
    pub labels: CaseLabels,
    /// Evidence; none when absent, with the undo class the operation declares.
    #[serde(default)]
    pub evidence: Option<Evidence>,
    /// Counts of the run.
    #[serde(default)]
    pub run: RunFacts,
    /// Recoveries in force.
    #[serde(default)]
    pub recoveries: BTreeSet<String>,
    /// How much the run may do by itself.
    #[serde(default)]
    pub autonomy: Autonomy,
    /// What it is done for.
    #[serde(default)]
    pub mode: Mode,
    /// The time handed in.
    #[serde(default)]
    pub at: At,
    /// What must come out.
    pub expect: Expect,
    /// Rules that must be among those that speak.
    #[serde(default)]
    pub rules: Vec<String>,
    /// Approvals that must be asked for, exactly.
    #[serde(default)]
    pub approvals: BTreeMap<String, u32>,
}

/// Labels of an example request.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseLabels {
    /// Of the arguments.
    #[serde(default)]
    pub args: Option<LabelMap>,
    /// Of the action's existence.
    #[serde(default)]
    pub existence: Option<Label>,
}

/// How a case went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseResult {
    /// Its name.
    pub name: String,
    /// What came out.
    pub decision: Decision,
    /// What differs from the expectation; empty = passed.
    pub problems: Vec<String>,
    /// Rules that spoke with the evidence given.
    pub hits: BTreeSet<(Layer, String)>,
}

impl CaseResult {
    /// Whether everything came out as expected.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Which rules some case hit.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Coverage {
    /// Rules that spoke at least once.
    pub hit: BTreeSet<(Layer, String)>,
    /// Rules that never did.
    pub missed: BTreeSet<(Layer, String)>,
}

/// Runs example requests. Every case is judged alone; none changes another.
#[must_use]
pub fn run_tests(bundle: &Bundle, catalogue: &Catalogue, cases: &[Case]) -> Vec<CaseResult> {
    cases.iter().map(|case| run_case(bundle, catalogue, case)).collect()
}

/// Which rules of the bundle the results cover.
#[must_use]
pub fn coverage(bundle: &Bundle, results: &[CaseResult]) -> Coverage {
    let hit: BTreeSet<_> = results.iter().flat_map(|result| result.hits.iter().cloned()).collect();
    let missed = bundle.rule_ids().into_iter().filter(|rule| !hit.contains(rule)).collect();
    Coverage { hit, missed }
}

impl Bundle {
    /// A finding for every rule of a layer that its tests never hit.
    #[must_use]
    pub fn untested(&self, layer: Layer, results: &[CaseResult]) -> Vec<Finding> {
        let missed = coverage(self, results).missed;
        let is_missed = |id: &String| missed.contains(&(layer, id.clone()));
        let rules = self.rules.values().filter(|rule| rule.layer == layer && is_missed(&rule.id));
        let mut findings: Vec<Finding> = rules
            .map(|rule| Finding::new(finding::Kind::Untested, rule, "no test of its own hits it"))
            .collect();
        findings.sort();
        findings
    }
}

fn run_case(bundle: &Bundle, catalogue: &Catalogue, case: &Case) -> CaseResult {
    let name = case.name.clone();
    let Some(entry) = catalogue.get(&case.operation) else {
        let problems = vec![format!("there is no operation {}", case.operation)];
        let decision =
            Decision::denied("policy.unknown-operation", "the catalogue does not have it");
        return CaseResult { name, decision, problems, hits: BTreeSet::new() };
    };
    let operation = &*entry.operation;
    let chain = chain_of(case);
    let mild = Label::new(Trust::Verified, Confidentiality::Internal);
    let arg_labels = case.labels.args.clone().unwrap_or_else(|| LabelMap::uniform(mild.clone()));
    let existence = case.labels.existence.clone().unwrap_or(mild);
    let bare = || Evidence { rollback: operation.facts.undo, ..Evidence::default() };
    let evidence = case.evidence.clone().unwrap_or_else(bare);
    let resource = Resource::of(operation, &case.args);
    let question = Question {
        chain: &chain,
        operation,
        resource: resource.as_ref(),
        args: &case.args,
        arg_labels: &arg_labels,
        existence: &existence,
        run: &case.run,
        recoveries: &case.recoveries,
        autonomy: case.autonomy,
        mode: case.mode,
        at: case.at,
        evidence: &evidence,
        current_policy: None,
    };
    let explanation = bundle.explain(&question);
    let mut hits = BTreeSet::new();
    for layer in &explanation.layers {
        let spoke = layer.rules.iter().filter(|rule| rule.matches_now == Some(true));
        hits.extend(spoke.map(|rule| (layer.layer, rule.id.clone())));
    }
    let problems = differences(case, &explanation.decision);
    CaseResult { name, decision: explanation.decision, problems, hits }
}

fn chain_of(case: &Case) -> Chain {
    let example = || Principal {
        id: example_person(&case.agent),
        kind: Kind::Person,
        roles: BTreeSet::new(),
    };
    Chain {
        agent: Principal { id: case.agent.clone(), kind: Kind::Agent, roles: case.roles.clone() },
        on_behalf_of: case.on_behalf_of.clone().unwrap_or_else(example),
        tenant: case.tenant.clone(),
    }
}

/// A person of that name; the agent's own id should the name ever not parse.
fn example_person(agent: &PrincipalId) -> PrincipalId {
    "person:example".parse().unwrap_or_else(|_| agent.clone())
}

fn differences(case: &Case, decision: &Decision) -> Vec<String> {
    let mut problems = Vec::new();
    let (came, approvals) = match &decision.verdict {
        Verdict::Allow => (Expect::Allow, BTreeMap::new()),
        Verdict::Ask(requirement) => (Expect::Ask, requirement.approvals.clone()),
        Verdict::Deny => (Expect::Deny, BTreeMap::new()),
    };
    let spoke: Vec<&str> = decision.rules.iter().map(|rule| rule.id.as_str()).collect();
    if came != case.expect {
        let by = spoke.join(", ");
        problems.push(format!("expected {:?}, came out {came:?} (by {by})", case.expect));
    }
    for rule in case.rules.iter().filter(|rule| !spoke.contains(&rule.as_str())) {
        problems.push(format!("rule `{rule}` did not speak; these did: {}", spoke.join(", ")));
    }
    if !case.approvals.is_empty() && case.approvals != approvals {
        problems.push(format!("expected approvals {:?}, asked were {approvals:?}", case.approvals));
    }
    problems
}
