//! What policy would have said about a call that the operator lets pass, and what it did say about one that it decided.

use std::collections::BTreeSet;

use kernel::{
    decision::{Decision, Evidence, Question, RunFacts, Verdict},
    event::{Body, Record},
    label::{Confidentiality, Label, LabelMap, Trust},
    operation::Operation,
    port::Judge as _,
    principal::{Chain, Kind as ActorKind, Principal},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::app::{
    App, Caller,
    config::mcp::ProxyMode,
    parse_id,
    shelf::{self, Shelved},
    value::at,
};

/// What policy thinks of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Would {
    /// What was done with it. Where it is not `enforce`, nobody was asked and nothing was refused: this is what would
    /// have been.
    pub mode: ProxyMode,
    /// `allow`, `ask` or `deny`.
    pub verdict: String,
    /// The rules that say so, with their reasons.
    pub rules: Vec<String>,
    /// Who would be asked, and what else would be needed.
    #[serde(default)]
    pub needs: Vec<String>,
}

/// What policy would say, judged as for a call that nobody lets pass.
pub(super) fn judged(
    app: &App,
    caller: &Caller,
    (shelved, operation): (&Shelved, &Operation),
    arguments: &Value,
) -> Would {
    let name = format!("agent:{}", shelved.pack.manifest.name);
    let Ok(id) = parse_id(&name) else { return denied("policy", "nobody could be judged") };
    let agent = Principal { id, kind: ActorKind::Agent, roles: BTreeSet::new() };
    let (on_behalf_of, tenant) = (caller.acts_for().clone(), caller.tenant().clone());
    let chain = Chain { agent, on_behalf_of, tenant };
    let label = Label::new(Trust::Untrusted, Confidentiality::Internal);
    if label.confidentiality > operation.clearance.confidentiality {
        return denied("kernel/above-clearance", "nothing this confidential may be sent there");
    }
    let labels = LabelMap::uniform(label.clone());
    let resource = kernel::action::Resource::of(operation, arguments);
    let (facts, recoveries) = (RunFacts::default(), BTreeSet::new());
    let evidence = Evidence { rollback: operation.facts.undo, ..Evidence::default() };
    let decision = shelved.bundle.judge(&Question {
        chain: &chain,
        operation,
        resource: resource.as_ref(),
        args: arguments,
        arg_labels: &labels,
        existence: &label,
        run: &facts,
        recoveries: &recoveries,
        autonomy: Default::default(),
        mode: Default::default(),
        at: app.now(),
        evidence: &evidence,
        current_policy: None,
    });
    let mut would = of_decision(&decision);
    if decision.verdict == Verdict::Allow && operation.is_consequential() {
        // The floor under policy: arguments of a client are nobody's word.
        "ask".clone_into(&mut would.verdict);
        would.rules.push(
            "kernel/untrusted-input: untrusted input decided whether or how this happens"
                .to_owned(),
        );
        would.needs.push("1 × approver".to_owned());
    }
    would
}

fn denied(rule: &str, reason: &str) -> Would {
    Would {
        verdict: "deny".to_owned(),
        rules: vec![format!("{rule}: {reason}")],
        ..Would::default()
    }
}

fn of_decision(decision: &Decision) -> Would {
    let (verdict, needs) = match &decision.verdict {
        Verdict::Allow => ("allow", Vec::new()),
        Verdict::Deny => ("deny", Vec::new()),
        Verdict::Ask(wanted) => {
            let people = wanted.approvals.iter().map(|(role, n)| format!("{n} × {role}"));
            let rewrites = wanted.transforms.iter().map(|t| format!("rewrite {t}"));
            let dry_run = wanted.dry_run.then(|| "a dry run".to_owned());
            ("ask", people.chain(rewrites).chain(dry_run).collect())
        }
    };
    let rule = |r: &kernel::decision::Rule| format!("{}/{}: {}", r.layer, r.id, r.reason);
    Would {
        mode: ProxyMode::Enforce,
        verdict: verdict.to_owned(),
        rules: decision.rules.iter().map(rule).collect(),
        needs,
    }
}

/// What stands in a journal about the one call of its run: what would have been said where it was let pass, else what
/// was first said.
pub(super) fn recorded(records: &[Record]) -> Option<Would> {
    // What a client says in its arguments about itself stands in a run of another policy.
    if let Some(Body::Opened { header, intent, .. }) = records.first().map(|r| &r.event.body)
        && shelf::is_let_pass(header.policy)
    {
        let inputs = intent.value();
        let would = serde_json::from_value(at(&inputs, "/would").clone()).ok();
        if let Some(would) = would.filter(|would: &Would| would.mode != ProxyMode::Enforce) {
            return Some(would);
        }
    }
    records.iter().find_map(|record| match &record.event.body {
        Body::Judged { decision, .. } => Some(of_decision(decision)),
        _ => None,
    })
}
