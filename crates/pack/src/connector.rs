//! Reads `connectors/*.yaml`: a system and its operations. What is undeclared is the strictest.

use std::{collections::BTreeSet, sync::Arc};

use kernel::{
    LabelMap,
    exception::Class,
    id::OperationId,
    label::{Confidentiality, Label, Trust},
    money::{Currency, Money},
    operation::{
        Companions, Contract, Critical, Effect, Facts, Freshness, Match, Operation, Rate,
        ResourceRule, Retry, TIMEOUT_DEFAULT_MS, TIMEOUT_MAX_MS, Undo,
    },
    playbook::Recovery,
    receipt::Witness,
};
use serde_json::Value;

use crate::{
    binding::{Auth, Errors, read_auth, read_errors, read_request},
    companion::{read_companion, read_probe},
    model::{Connector, ConnectorKind, ExceptionRule, Where},
    problem::Place,
    read::{Fields, Reader},
    steps::read_on_failure,
    yaml::{Doc, Node},
};

/// Most operations of one connector.
pub(crate) const OPERATIONS_MAX: usize = 200;

/// Most calls that a rate may count: each is remembered for as long as the rate says.
const RATE_CALLS_MAX: i64 = 10_000;

const KINDS: [(&str, ConnectorKind); 12] = [
    ("http", ConnectorKind::Http),
    ("sql", ConnectorKind::Sql),
    ("mail", ConnectorKind::Mail),
    ("process", ConnectorKind::Process),
    ("folder", ConnectorKind::Folder),
    ("web", ConnectorKind::Web),
    ("worker", ConnectorKind::Worker),
    ("mcp", ConnectorKind::Mcp),
    ("a2a", ConnectorKind::A2a),
    ("acp", ConnectorKind::Acp),
    ("builtin", ConnectorKind::Builtin),
    ("outside", ConnectorKind::Outside),
];
const EFFECTS: [(&str, Effect); 2] = [("read", Effect::Read), ("write", Effect::Write)];
const UNDOS: [(&str, Undo); 3] =
    [("restore", Undo::Restore), ("compensate", Undo::Compensate), ("none", Undo::None)];
const RETRIES: [(&str, Retry); 3] =
    [("keyed", Retry::Keyed), ("probe", Retry::Probe), ("never", Retry::Never)];
const FLAGS: [(&str, Flag); 2] = [("true", Flag::Yes), ("false", Flag::No)];
pub(crate) const TRUSTS: [(&str, Trust); 5] = [
    ("untrusted", Trust::Untrusted),
    ("verified", Trust::Verified),
    ("user", Trust::User),
    ("operator", Trust::Operator),
    ("system", Trust::System),
];
pub(crate) const CONFIDENTIALITIES: [(&str, Confidentiality); 4] = [
    ("public", Confidentiality::Public),
    ("internal", Confidentiality::Internal),
    ("confidential", Confidentiality::Confidential),
    ("secret", Confidentiality::Secret),
];

#[derive(Clone, Copy)]
enum Flag {
    Yes,
    No,
}

/// What every operation of a connector takes when it does not say otherwise.
pub(crate) struct Shared {
    pub(crate) kind: ConnectorKind,
    pub(crate) name: String,
    pub(crate) system: Option<String>,
    pub(crate) auth: Option<Auth>,
    pub(crate) errors: Errors,
    labels: LabelMap,
    clearance: Label,
    timeout_ms: u32,
    rate: Option<Rate>,
}

pub(crate) fn read_connector(doc: &Doc, reader: Reader<'_>) -> Option<Connector> {
    let mut fields = reader.fields(&doc.root, "a connector")?;
    fields.get("schema");
    fields.text("description");
    let shared = read_shared(&mut fields)?;
    let (mut operations, mut rules) = (Vec::new(), Vec::new());
    let mut secrets = BTreeSet::new();
    if let Some(node) = fields.need("operations") {
        let entries = reader.entries(node, "operations");
        if entries.len() > OPERATIONS_MAX {
            let message = format!("more than {OPERATIONS_MAX} operations");
            reader.wrong(node.place, message, "split the connector");
        }
        for (key, node) in entries {
            if !reader.check_name(&key.name, key.place, "an operation") {
                continue;
            }
            let Ok(id) = format!("{}.{}", shared.name, key.name).parse::<OperationId>() else {
                continue;
            };
            let Some((operation, own)) = read_operation(id, node, &shared, reader) else {
                continue;
            };
            operations.push(Arc::new(operation));
            rules.extend(own);
        }
    }
    secrets.extend(shared.auth.iter().map(|auth| auth.secret.clone()));
    fields.done();
    Some(Connector {
        name: shared.name,
        kind: shared.kind,
        system: shared.system,
        secrets,
        operations,
        rules,
    })
}

/// `None` when the kind is not known: what follows means nothing without it.
fn read_shared(fields: &mut Fields<'_, '_>) -> Option<Shared> {
    let reader = fields.reader;
    let name = fields.need_name("name");
    let kind = fields.need("kind").and_then(|node| reader.choice(node, "connector kind", &KINDS));
    let kind = kind?;
    let system = match kind {
        ConnectorKind::Builtin | ConnectorKind::Outside => None,
        ConnectorKind::Http
        | ConnectorKind::Sql
        | ConnectorKind::Mail
        | ConnectorKind::Process
        | ConnectorKind::Folder
        | ConnectorKind::Web
        | ConnectorKind::Worker
        | ConnectorKind::Mcp
        | ConnectorKind::A2a
        | ConnectorKind::Acp => Some(fields.need_name("system")),
    };
    let auth = fields.get("auth").and_then(|node| read_auth(node, reader));
    let mut shared = Shared {
        kind,
        name,
        system,
        auth,
        errors: Errors::default(),
        labels: LabelMap::default(),
        clearance: closed(),
        timeout_ms: TIMEOUT_DEFAULT_MS,
        rate: None,
    };
    let Some(mut defaults) =
        fields.get("defaults").and_then(|node| reader.fields(node, "defaults"))
    else {
        return Some(shared);
    };
    shared.labels = read_labels(&mut defaults, LabelMap::default());
    shared.clearance = read_clearance(&mut defaults, closed());
    shared.timeout_ms = read_timeout(&mut defaults, TIMEOUT_DEFAULT_MS);
    shared.rate = read_rate(&mut defaults);
    shared.errors =
        defaults.get("errors").map(|node| read_errors(node, reader)).unwrap_or_default();
    defaults.done();
    Some(shared)
}

/// The clearance of a target that nobody vouched for: public data only, whoever's word it is.
fn closed() -> Label {
    Label::new(Trust::Untrusted, Confidentiality::Public)
}

fn read_operation(
    id: OperationId,
    node: &Node,
    shared: &Shared,
    reader: Reader<'_>,
) -> Option<(Operation, Vec<ExceptionRule>)> {
    let mut fields = reader.fields(node, "an operation")?;
    let rules = read_rules(&id, &mut fields);
    let facts = read_facts(&mut fields, shared.kind);
    let operation = Operation {
        id,
        summary: fields.need_text("summary"),
        facts,
        resource: fields.get("resource").and_then(|node| read_resource(node, reader)),
        input: Arc::new(fields.need_value("input")),
        output: Arc::new(fields.need_value("output")),
        labels: read_labels(&mut fields, shared.labels.clone()),
        clearance: read_clearance(&mut fields, shared.clearance.clone()),
        maskable: fields
            .get("fields")
            .map(|node| reader.pointers(node, "fields"))
            .unwrap_or_default(),
        contract: read_contract(&mut fields),
        companions: read_companions(&mut fields),
        groups: read_groups(&mut fields),
        timeout_ms: read_timeout(&mut fields, shared.timeout_ms),
        cost_max: fields.get("cost").and_then(|node| read_cost(node, reader)),
        rate: read_rate(&mut fields).or(shared.rate),
        witness: match shared.kind {
            ConnectorKind::Outside => Witness::Observed,
            _ => Witness::Executed,
        },
        binding: Arc::new(read_request(&mut fields, shared)),
    };
    check_companions(&operation, fields.place, reader);
    check_errand(&operation, fields.place, reader);
    fields.done();
    Some((operation, rules))
}

/// Whoever chooses an address chooses who hears what stands in it.
fn check_errand(operation: &Operation, place: Place, reader: Reader<'_>) {
    let binding = &operation.binding;
    let fetches = binding["kind"] == "web" && binding["do"] == "fetch";
    if fetches && !operation.facts.egress {
        let fix = "say `egress: true`, or `do: read` for hosts that the operator lists";
        reader.wrong(place, "`do: fetch` is egress: whoever calls it chooses the host", fix);
    }
}

/// What an operation says about its own failures: a rule that holds wherever it is used.
fn read_rules(id: &OperationId, fields: &mut Fields<'_, '_>) -> Vec<ExceptionRule> {
    let reader = fields.reader;
    let Some(node) = fields.get("on_failure") else { return Vec::new() };
    let name = id.as_str().split_once('.').map_or("", |(_, name)| name);
    let rule = |(class, recoveries): (Class, Vec<Recovery>)| {
        let scope_at = format!("/operations/{name}/on_failure");
        let at = format!("{scope_at}/{}", class.name());
        let (scope, file) = (Where::Operation(id.clone()), reader.file.to_owned());
        ExceptionRule { scope, class, recoveries, file, scope_at, at }
    };
    read_on_failure(node, reader).into_iter().map(rule).collect()
}

fn read_rate(fields: &mut Fields<'_, '_>) -> Option<Rate> {
    let reader = fields.reader;
    let mut inner = fields.get("rate").and_then(|node| reader.fields(node, "rate"))?;
    let calls =
        inner.need("calls").and_then(|node| reader.integer(node, "calls", 1..=RATE_CALLS_MAX));
    let per = inner.need("per").and_then(|node| {
        let ms = reader.duration_ms(node, "per")?;
        let ms = u32::try_from(ms).ok().filter(|ms| *ms > 0);
        if ms.is_none() {
            let message = "a rate counts calls within 1 ms to 49 days";
            reader.wrong(node.place, message, "write a span such as `1s` or `1m`");
        }
        ms
    });
    inner.done();
    Some(Rate { calls: u32::try_from(calls?).ok()?, per_ms: per? })
}

fn read_facts(fields: &mut Fields<'_, '_>, kind: ConnectorKind) -> Facts {
    let reader = fields.reader;
    let effect = fields.choice("effect", &EFFECTS).unwrap_or_default();
    let undo_node = fields.get("undo");
    let undo = undo_node.and_then(|node| reader.choice(node, "undo", &UNDOS)).unwrap_or_default();
    let retry_node = fields.get("retry");
    let retry =
        retry_node.and_then(|node| reader.choice(node, "retry", &RETRIES)).unwrap_or_default();
    if let (Effect::Read, Some(node)) = (effect, undo_node) {
        reader.wrong(
            node.place,
            "a read has nothing to undo",
            "leave `undo` out, or say `effect: write`",
        );
    }
    let egress_node = fields.get("egress");
    let egress = egress_node.and_then(|node| read_flag(node, reader));
    if let (ConnectorKind::Mail, Some(Flag::No), Some(node)) = (kind, egress, egress_node) {
        let message = "mail is always egress: the caller chooses who gets it";
        reader.wrong(node.place, message, "leave `egress` out");
    }
    let egress = match (kind, egress) {
        (ConnectorKind::Mail, _) | (_, Some(Flag::Yes)) => true,
        // Nobody here sees where another agent's tool sends things.
        (ConnectorKind::Outside, egress) => egress.is_none(),
        (
            ConnectorKind::Http
            | ConnectorKind::Sql
            | ConnectorKind::Process
            | ConnectorKind::Folder
            | ConnectorKind::Web
            | ConnectorKind::Worker
            | ConnectorKind::Mcp
            | ConnectorKind::A2a
            | ConnectorKind::Acp
            | ConnectorKind::Builtin,
            None | Some(Flag::No),
        ) => false,
    };
    let critical = match fields.get("critical") {
        Some(node) => Critical::At(reader.pointers(node, "critical")),
        None => Critical::All,
    };
    Facts { effect, undo, retry, egress, critical }
}

fn read_flag(node: &Node, reader: Reader<'_>) -> Option<Flag> {
    match node.kind {
        crate::yaml::Kind::Bool(true) => Some(Flag::Yes),
        crate::yaml::Kind::Bool(false) => Some(Flag::No),
        _ => reader.choice(node, "flag", &FLAGS),
    }
}

fn read_resource(node: &Node, reader: Reader<'_>) -> Option<ResourceRule> {
    let mut fields = reader.fields(node, "resource")?;
    let kind = fields.need_text("kind");
    let id = fields.need("id").and_then(|node| reader.pointer(node, "id"));
    fields.done();
    Some(ResourceRule { kind, id: id? })
}

fn read_label(fields: &mut Fields<'_, '_>, base: &Label) -> Label {
    Label {
        trust: fields.choice("trust", &TRUSTS).unwrap_or(base.trust),
        confidentiality: fields
            .choice("confidentiality", &CONFIDENTIALITIES)
            .unwrap_or(base.confidentiality),
        classes: match fields.get("classes") {
            Some(node) => fields.reader.texts(node, "classes").into_iter().collect(),
            None => base.classes.clone(),
        },
    }
}

/// Labels of a result: parts take from the whole what they do not say themselves.
pub(crate) fn read_labels(fields: &mut Fields<'_, '_>, base: LabelMap) -> LabelMap {
    let reader = fields.reader;
    let Some(mut inner) = fields.get("labels").and_then(|node| reader.fields(node, "labels"))
    else {
        return base;
    };
    let whole = read_label(&mut inner, &base.whole);
    let mut labels = LabelMap { whole, parts: base.parts };
    if let Some(node) = inner.get("parts") {
        for (key, node) in reader.entries(node, "parts") {
            if !key.name.starts_with('/') {
                let fix = format!("write `/{}`", crate::read::cut(&key.name));
                reader.wrong(key.place, "a part is named by a JSON pointer", fix);
            }
            let Some(mut part) = reader.fields(node, "a part") else { continue };
            let label = read_label(&mut part, &labels.whole);
            part.done();
            labels.parts.insert(key.name.clone(), label);
        }
    }
    inner.done();
    labels
}

fn read_clearance(fields: &mut Fields<'_, '_>, base: Label) -> Label {
    let reader = fields.reader;
    let Some(mut inner) = fields.get("clearance").and_then(|node| reader.fields(node, "clearance"))
    else {
        return base;
    };
    let label = read_label(&mut inner, &base);
    inner.done();
    label
}

pub(crate) fn read_plain_label(node: &Node, reader: Reader<'_>, base: &Label) -> Label {
    let Some(mut fields) = reader.fields(node, "a label") else { return base.clone() };
    let label = read_label(&mut fields, base);
    fields.done();
    label
}

fn read_timeout(fields: &mut Fields<'_, '_>, base: u32) -> u32 {
    let reader = fields.reader;
    let Some(node) = fields.get("timeout_ms") else { return base };
    let ms = reader.integer(node, "timeout_ms", 1..=i64::from(TIMEOUT_MAX_MS));
    ms.and_then(|ms| u32::try_from(ms).ok()).unwrap_or(base)
}

fn read_contract(fields: &mut Fields<'_, '_>) -> Contract {
    let reader = fields.reader;
    Contract {
        freshness: fields.get("freshness").and_then(|node| read_freshness(node, reader)),
        unique: fields.pointer("unique"),
        matches: fields.get("match").and_then(|node| read_match(node, reader)),
    }
}

fn read_freshness(node: &Node, reader: Reader<'_>) -> Option<Freshness> {
    let mut fields = reader.fields(node, "freshness")?;
    let at = fields.need("at").and_then(|node| reader.pointer(node, "at"));
    let age = fields.need("max_age").and_then(|node| reader.duration_ms(node, "max_age"));
    fields.done();
    Some(Freshness { at: at?, max_age_ms: age? })
}

fn read_match(node: &Node, reader: Reader<'_>) -> Option<Match> {
    let mut fields = reader.fields(node, "match")?;
    let output = fields.need("output").and_then(|node| reader.pointer(node, "output"));
    let expected = fields.need("expected").and_then(|node| reader.pointer(node, "expected"));
    let threshold =
        fields.need("threshold").and_then(|node| reader.integer(node, "threshold", 0..=100));
    fields.done();
    Some(Match { output: output?, expected: expected?, threshold: u8::try_from(threshold?).ok()? })
}

fn read_companions(fields: &mut Fields<'_, '_>) -> Companions {
    let reader = fields.reader;
    Companions {
        probe: fields.get("probe").and_then(|node| read_probe(node, reader)),
        before: fields.get("before").and_then(|node| read_companion(node, "before", reader)),
        preview: fields.get("preview").and_then(|node| read_companion(node, "preview", reader)),
        undo_with: fields
            .get("undo_with")
            .and_then(|node| read_companion(node, "undo_with", reader)),
    }
}

fn read_groups(fields: &mut Fields<'_, '_>) -> Vec<String> {
    let reader = fields.reader;
    let Some(node) = fields.get("groups") else { return Vec::new() };
    reader.list(node, "groups").iter().filter_map(|item| reader.name(item, "a group")).collect()
}

fn read_cost(node: &Node, reader: Reader<'_>) -> Option<Money> {
    let mut fields = reader.fields(node, "cost")?;
    let minor = fields.need("minor").and_then(|node| reader.integer(node, "minor", 0..=i64::MAX));
    let currency = fields.need("currency").and_then(|node| {
        let currency = Currency::parse(reader.text(node, "currency")?);
        if currency.is_none() {
            reader.wrong(
                node.place,
                "a currency is three capital letters",
                "write a code such as `EUR`",
            );
        }
        currency
    });
    fields.done();
    Some(Money { minor: minor?, currency: currency? })
}

/// What the facts of one operation demand of its own companions and binding.
fn check_companions(operation: &Operation, place: Place, reader: Reader<'_>) {
    let companions = &operation.companions;
    let wrong = |message: &str, fix: &str| reader.wrong(place, message, fix);
    match operation.facts.undo {
        Undo::Restore if companions.before.is_none() || companions.undo_with.is_none() => {
            let message = "`undo: restore` needs `before` and `undo_with`";
            wrong(
                message,
                "name the read that takes the before-image and the write that restores it",
            );
        }
        Undo::Compensate if companions.undo_with.is_none() => {
            wrong("`undo: compensate` needs `undo_with`", "name the write that takes it back");
        }
        Undo::None if companions.undo_with.is_some() => {
            let message = "`undo_with` without an `undo` that uses it";
            wrong(message, "say `undo: restore` or `undo: compensate`");
        }
        Undo::Restore | Undo::Compensate | Undo::None => {}
    }
    match operation.facts.retry {
        Retry::Probe if companions.probe.is_none() => {
            wrong("`retry: probe` needs `probe`", "name the read that tells whether it happened");
        }
        Retry::Keyed if !is_keyed(&operation.binding) => {
            let fix = "add `idempotency: {header: Idempotency-Key}` to the request, or use `probe` or `never`";
            wrong("`retry: keyed` needs a target that deduplicates on our key", fix);
        }
        Retry::Keyed | Retry::Probe | Retry::Never => {}
    }
}

/// Builtins and SQL deduplicate on our side of the wire; HTTP needs a declared place for the key.
fn is_keyed(binding: &Value) -> bool {
    match binding.get("kind").and_then(Value::as_str) {
        Some("builtin" | "sql") => true,
        Some("http") => binding.get("idempotency").is_some(),
        _ => false,
    }
}
