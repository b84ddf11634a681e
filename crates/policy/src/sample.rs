//! A small catalogue and questions about it, for tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
};

use kernel::{
    Label, LabelMap,
    action::Resource,
    catalogue::Catalogue,
    decision::{Autonomy, Decision, Evidence, Mode, Question, RunFacts, Verdict},
    label::{Confidentiality, Trust},
    operation::{
        Companion, Companions, Contract, Critical, Effect, Facts, Operation, ResourceRule, Retry,
        Undo,
    },
    port::Judge,
    principal::{Chain, Kind, Principal},
};
use serde_json::{Value, json};

use crate::{Bundle, Layer, Loaded, Problem, Source};

pub(crate) fn operation(id: &str, facts: Facts, input: Value) -> Operation {
    let label = || Label::new(Trust::Verified, Confidentiality::Internal);
    Operation {
        id: id.parse().unwrap(),
        summary: id.to_owned(),
        facts,
        resource: None,
        input: Arc::new(input),
        output: Arc::new(json!({})),
        labels: LabelMap::uniform(label()),
        clearance: label(),
        maskable: Vec::new(),
        contract: Contract::default(),
        companions: Companions::default(),
        groups: Vec::new(),
        timeout_ms: 1_000,
        cost_max: None,
        rate: None,
        witness: Default::default(),
        binding: Arc::new(Value::Null),
    }
}

pub(crate) fn facts(effect: Effect, undo: Undo) -> Facts {
    Facts { effect, undo, retry: Retry::Never, egress: false, critical: Critical::All }
}

fn account() -> Option<ResourceRule> {
    Some(ResourceRule { kind: "Account".to_owned(), id: "/account".to_owned() })
}

pub(crate) fn catalogue() -> &'static Catalogue {
    static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(build);
    &CATALOGUE
}

fn build() -> Catalogue {
    let mut get = operation(
        "crm.get_account",
        facts(Effect::Read, Undo::None),
        json!({"type": "object", "required": ["account"], "properties": {"account": {"type": "string"}}}),
    );
    get.resource = account();
    let mut set = operation(
        "crm.set_forecast",
        facts(Effect::Write, Undo::Restore),
        json!({"type": "object", "required": ["account", "category", "amount", "days"], "properties": {
            "account": {"type": "string"},
            "category": {"enum": ["commit", "upside"]},
            "amount": {"type": "object", "required": ["minor", "currency"], "properties": {
                "minor": {"type": "integer"}, "currency": {"type": "string"}}},
            "days": {"type": "integer"},
            "note": {"type": "string"},
            "rate": {"type": "string", "format": "decimal"},
            "score": {"type": "number"},
            "tags": {"type": "array", "items": {"type": "string"}}}}),
    );
    set.resource = account();
    set.groups = vec!["forecast".to_owned()];
    let preview = Companion {
        operation: "crm.get_account".parse().unwrap(),
        with: BTreeMap::new(),
        image: Vec::new(),
    };
    set.companions.preview = Some(preview);
    let mut send = operation(
        "mail.send",
        facts(Effect::Write, Undo::None),
        json!({"type": "object", "required": ["to", "text"], "properties": {
            "to": {"type": "array", "items": {"type": "string"}}, "text": {"type": "string"}}}),
    );
    send.maskable = vec!["/text".to_owned()];
    send.facts.egress = true;
    send.facts.critical = Critical::At(vec!["/to".to_owned()]);
    let mut fetch = operation(
        "web.fetch",
        facts(Effect::Read, Undo::None),
        json!({"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}}),
    );
    fetch.facts.egress = true;
    Catalogue::new([get, set, send, fetch]).unwrap()
}

pub(crate) fn source(layer: Layer, text: &str) -> Source {
    Source { layer, name: format!("{layer}.cedar"), text: text.to_owned() }
}

pub(crate) fn load(layers: &[(Layer, &str)]) -> Result<Loaded, Vec<Problem>> {
    let sources: Vec<Source> = layers.iter().map(|(layer, text)| source(*layer, text)).collect();
    Bundle::load(catalogue(), &sources)
}

pub(crate) fn operator(text: &str) -> Bundle {
    load(&[(Layer::Operator, text)]).unwrap_or_else(|problems| panic!("{problems:#?}")).bundle
}

/// Everything a question is made of, with mild values.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) chain: Chain,
    pub(crate) operation: String,
    pub(crate) args: Value,
    pub(crate) labels: LabelMap,
    pub(crate) existence: Label,
    pub(crate) evidence: Evidence,
    pub(crate) run: RunFacts,
    pub(crate) current: Option<kernel::Digest>,
}

impl Ask {
    pub(crate) fn new(operation: &str, args: Value) -> Self {
        let person = |id: &str, kind, roles: &[&str]| Principal {
            id: id.parse().unwrap(),
            kind,
            roles: roles.iter().map(|&role| role.to_owned()).collect(),
        };
        let label = Label::new(Trust::Verified, Confidentiality::Internal);
        let undo =
            catalogue().get(&operation.parse().unwrap()).map(|entry| entry.operation.facts.undo);
        Self {
            chain: Chain {
                agent: person("agent:renewals", Kind::Agent, &["sales"]),
                on_behalf_of: person("person:mira", Kind::Person, &["manager"]),
                tenant: "default".parse().unwrap(),
            },
            operation: operation.to_owned(),
            args,
            labels: LabelMap::uniform(label.clone()),
            existence: label,
            evidence: Evidence { rollback: undo.unwrap_or_default(), ..Evidence::default() },
            run: RunFacts::default(),
            current: None,
        }
    }

    pub(crate) fn approved(mut self, role: &str, count: u32) -> Self {
        self.evidence.approvals.insert(role.to_owned(), count);
        self
    }

    pub(crate) fn put<R>(&self, use_it: impl FnOnce(&Question<'_>) -> R) -> R {
        let catalogue = catalogue();
        let entry = catalogue.get(&self.operation.parse().unwrap()).unwrap();
        let resource = Resource::of(&entry.operation, &self.args);
        use_it(&Question {
            chain: &self.chain,
            operation: &entry.operation,
            resource: resource.as_ref(),
            args: &self.args,
            arg_labels: &self.labels,
            existence: &self.existence,
            run: &self.run,
            recoveries: &BTreeSet::new(),
            autonomy: Autonomy::L2,
            mode: Mode::Live,
            at: 1_700_000_000_000,
            evidence: &self.evidence,
            current_policy: self.current,
        })
    }

    pub(crate) fn of(&self, judge: &dyn Judge) -> Decision {
        self.put(|question| judge.judge(question))
    }
}

/// `allow`, `deny`, or what is asked, as a short text; then the rules.
pub(crate) fn short(decision: &Decision) -> String {
    let verdict = match &decision.verdict {
        Verdict::Allow => "allow".to_owned(),
        Verdict::Deny => "deny".to_owned(),
        Verdict::Ask(missing) => {
            let mut parts: Vec<String> =
                missing.approvals.iter().map(|(role, count)| format!("{role}:{count}")).collect();
            parts.extend(missing.dry_run.then(|| "dry_run".to_owned()));
            parts.extend(missing.transforms.iter().cloned());
            format!("ask {}", parts.join(" "))
        }
    };
    let rules: Vec<String> =
        decision.rules.iter().map(|rule| format!("{}/{}", rule.layer, rule.id)).collect();
    format!("{verdict} by {}", rules.join(" "))
}

pub(crate) fn get() -> Ask {
    Ask::new("crm.get_account", json!({"account": "ACC-0042"}))
}

pub(crate) fn set(minor: i64) -> Ask {
    Ask::new(
        "crm.set_forecast",
        json!({"account": "ACC-0042", "category": "commit", "days": 3,
            "amount": {"minor": minor, "currency": "EUR"}}),
    )
}

pub(crate) fn send() -> Ask {
    Ask::new("mail.send", json!({"to": ["a@example.org"], "text": "hello"}))
}

/// Permits everything, under the id `all`.
pub(crate) const ALL: &str = "@id(\"all\") @reason(\"r\") permit (principal, action, resource);\n";

/// One rule with an id and a reason.
pub(crate) fn rule(id: &str, body: &str) -> String {
    format!("@id(\"{id}\") @reason(\"because {id}\")\n{body}\n")
}

pub(crate) fn with_all(bodies: &[&str]) -> String {
    let rules = bodies.iter().enumerate().map(|(index, body)| rule(&format!("r{index}"), body));
    std::iter::once(ALL.to_owned()).chain(rules).collect()
}
