//! Policies: check, test, matrix, explain.

use std::collections::BTreeSet;

use kernel::{
    decision::{Evidence, Question, RunFacts},
    id::OperationId,
    label::{Confidentiality, Label, LabelMap, Trust},
    principal::{Chain, Kind as ActorKind, Principal},
};
use policy::{Case, CaseLabels, Expect};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    App, Caller,
    intents::{Nothing, asks_view},
    parse_id,
    problem::Problem,
    shelf::Shelved,
};

/// What loading found.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PolicyCheck {
    /// Per pack.
    pub packs: Vec<PackPolicies>,
}

/// Policies in force for one pack.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PackPolicies {
    /// The pack.
    pub pack: String,
    /// Digest of all layers together.
    pub digest: String,
    /// Rules that look wrong although they are valid.
    pub findings: Vec<String>,
    /// Inline tests: name and what came out, failed ones only.
    pub failed: Vec<String>,
    /// Inline tests that passed.
    pub passed: usize,
}

/// Which agent's matrix.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GetMatrix {
    /// The agent; absent = each intent's own.
    pub agent: Option<String>,
    /// Only this pack.
    pub pack: Option<String>,
}

/// What an agent may do.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Matrix {
    /// One row an operation.
    pub rows: Vec<MatrixRow>,
}

/// One operation for one agent.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct MatrixRow {
    /// The agent.
    pub agent: String,
    /// The operation.
    pub operation: String,
    /// `read` or `write`.
    pub effect: String,
    /// `no`, `always`, `maybe` or `denied`.
    pub asks: String,
    /// Roles and numbers.
    pub approvals: Vec<String>,
    /// Rules that ask or deny.
    pub rules: Vec<String>,
}

/// A call to judge without making it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The operation.
    pub operation: String,
    /// The arguments.
    #[serde(default)]
    pub args: Value,
    /// Who would do it; absent = `agent:<pack>`.
    #[serde(default)]
    pub agent: Option<String>,
    /// Whether an untrusted input shaped it.
    #[serde(default)]
    pub tainted: bool,
}

/// What policy says about a call, and why.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Explained {
    /// `allow`, `ask` or `deny`.
    pub verdict: String,
    /// What would have to be there.
    pub needs: Vec<String>,
    /// Rules that spoke.
    pub rules: Vec<String>,
    /// Everything each layer said.
    pub layers: Value,
}

/// Loads every layer and runs every inline test.
///
/// # Errors
/// None: what does not load at all has stopped the process from opening.
pub async fn check(app: &App, caller: &Caller, _: Nothing) -> Result<PolicyCheck, Problem> {
    let stock = app.shelf.stock();
    let packs = stock.all().map(|shelved| {
        let cases: Vec<Case> =
            shelved.pack.policy_cases.iter().map(|case| case_of(case, caller)).collect();
        let results = policy::run_tests(&shelved.bundle, &shelved.catalogue, &cases);
        let untested = shelved.bundle.untested(policy::Layer::Pack, &results);
        let failed = results.iter().filter(|r| !r.is_passed());
        let findings = shelved.findings.iter().chain(&untested);
        PackPolicies {
            pack: shelved.pack.manifest.name.clone(),
            digest: shelved.bundle.digest().to_string(),
            findings: findings.map(finding_line).collect(),
            passed: results.iter().filter(|r| r.is_passed()).count(),
            failed: failed.map(|r| format!("{}: {}", r.name, r.problems.join("; "))).collect(),
        }
    });
    Ok(PolicyCheck { packs: packs.collect() })
}

fn finding_line(finding: &policy::Finding) -> String {
    format!("{}:{}: {}: {}", finding.file, finding.line, finding.rule, finding.message)
}

fn case_of(case: &pack::PolicyCase, caller: &Caller) -> Case {
    let person = |id: &kernel::id::PrincipalId| Principal {
        id: id.clone(),
        kind: ActorKind::Person,
        roles: BTreeSet::new(),
    };
    let (expect, approvals) = match &case.expect {
        pack::Expected::Allow => (Expect::Allow, Default::default()),
        pack::Expected::Ask(approvals) => (Expect::Ask, approvals.clone()),
        pack::Expected::Deny => (Expect::Deny, Default::default()),
    };
    Case {
        name: case.name.clone(),
        agent: case.agent.clone(),
        roles: case.roles.clone(),
        on_behalf_of: case.on_behalf_of.as_ref().map(person),
        tenant: caller.tenant().clone(),
        operation: case.operation.clone(),
        args: case.args.clone(),
        labels: CaseLabels {
            args: Some(case.arg_labels.clone()),
            existence: Some(case.existence.clone()),
        },
        evidence: Some(case.evidence.clone()),
        run: RunFacts::default(),
        recoveries: BTreeSet::new(),
        autonomy: case.autonomy,
        mode: case.mode,
        at: 0,
        expect,
        rules: case.rules.iter().cloned().collect(),
        approvals,
    }
}

/// What agents may do: the static forecast of every operation.
///
/// # Errors
/// When no such pack or agent name makes sense.
pub async fn matrix(app: &App, caller: &Caller, request: GetMatrix) -> Result<Matrix, Problem> {
    let mut rows = Vec::new();
    for shelved in app.shelf.stock().all() {
        let name = &shelved.pack.manifest.name;
        if request.pack.as_ref().is_some_and(|wanted| wanted != name) {
            continue;
        }
        let agents = match &request.agent {
            Some(agent) => BTreeSet::from([agent.clone()]),
            None => agents_of(shelved),
        };
        for agent in agents {
            let chain = chain_of(caller, &agent)?;
            for row in shelved.bundle.matrix(&chain, &shelved.catalogue) {
                let operation = shelved.catalogue.get(&row.operation);
                let effect = if operation.is_some_and(|e| e.operation.is_write()) {
                    "write"
                } else {
                    "read"
                };
                let (asks, approvals, rules, _) = asks_view(&row.asks);
                rows.push(MatrixRow {
                    agent: agent.clone(),
                    operation: row.operation.to_string(),
                    effect: effect.to_owned(),
                    asks,
                    approvals,
                    rules,
                });
            }
        }
    }
    Ok(Matrix { rows })
}

fn agents_of(shelved: &Shelved) -> BTreeSet<String> {
    let named = shelved.pack.intents.values().filter_map(|intent| intent.agent.as_ref());
    let named: BTreeSet<String> = named.map(ToString::to_string).collect();
    if named.is_empty() {
        BTreeSet::from([format!("agent:{}", shelved.pack.manifest.name)])
    } else {
        named
    }
}

fn chain_of(caller: &Caller, agent: &str) -> Result<Chain, Problem> {
    let agent = Principal { id: parse_id(agent)?, kind: ActorKind::Agent, roles: BTreeSet::new() };
    Ok(Chain { agent, on_behalf_of: caller.principal().clone(), tenant: caller.tenant().clone() })
}

/// Judges a call without making it.
///
/// # Errors
/// When no pack holds such an operation.
pub async fn explain(app: &App, caller: &Caller, request: Ask) -> Result<Explained, Problem> {
    use kernel::{decision::Verdict, port::Judge as _};
    let id: OperationId = parse_id(&request.operation)?;
    let stock = app.shelf.stock();
    let holding = stock.all().find(|shelved| shelved.catalogue.get(&id).is_some());
    let shelved = holding.ok_or_else(|| Problem::not_found("operation", &request.operation))?;
    let entry = shelved
        .catalogue
        .get(&id)
        .ok_or_else(|| Problem::not_found("operation", &request.operation))?;
    let agent = request.agent.unwrap_or_else(|| format!("agent:{}", shelved.pack.manifest.name));
    let chain = chain_of(caller, &agent)?;
    let trust = if request.tainted { Trust::Untrusted } else { Trust::User };
    let label = Label::new(trust, Confidentiality::Internal);
    let labels = LabelMap::uniform(label.clone());
    let resource = kernel::action::Resource::of(&entry.operation, &request.args);
    let (facts, recoveries, evidence) = (RunFacts::default(), BTreeSet::new(), Evidence::default());
    let question = Question {
        chain: &chain,
        operation: &entry.operation,
        resource: resource.as_ref(),
        args: &request.args,
        arg_labels: &labels,
        existence: &label,
        run: &facts,
        recoveries: &recoveries,
        autonomy: Default::default(),
        mode: Default::default(),
        at: 0,
        evidence: &evidence,
        current_policy: None,
    };
    let decision = shelved.bundle.judge(&question);
    let layers = serde_json::to_value(shelved.bundle.explain(&question)).unwrap_or_default();
    let (verdict, needs) = match &decision.verdict {
        Verdict::Allow => ("allow", vec![]),
        Verdict::Deny => ("deny", vec![]),
        Verdict::Ask(r) => {
            let people = r.approvals.iter().map(|(role, n)| format!("{n} × {role}"));
            let rewrites = r.transforms.iter().map(|t| format!("rewrite {t}"));
            let dry_run = r.dry_run.then(|| "a dry run".to_owned());
            ("ask", people.chain(rewrites).chain(dry_run).collect())
        }
    };
    let rules =
        decision.rules.iter().map(|r| format!("{}/{}: {}", r.layer, r.id, r.reason)).collect();
    Ok(Explained { verdict: verdict.to_owned(), needs, rules, layers })
}
