//! What a pack asks for, and what would be different: shown before anything is installed.

use std::collections::{BTreeMap, BTreeSet};

use kernel::{
    Digest, canon,
    operation::{Critical, Effect, Operation, Retry},
};
use pack::{Intent, Pack};
use policy::Bundle;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::{App, Caller, intents::asks_view, problem::Problem, shelf};
use shelf::{Brought, Operator, Origin, Shelved, Stock};

/// A pack's files, by relative path.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PackFiles {
    /// Path from the folder that holds `pack.yaml` → text.
    pub files: BTreeMap<String, String>,
}

/// What installing these files would mean.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PackReview {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Digest of its files.
    pub digest: String,
    /// Who answers for it.
    pub owner: String,
    /// What it is for.
    pub description: String,
    /// The version it would replace.
    pub replaces: Option<String>,
    /// Operations it may use, each with what its author says about it and what policy says now.
    pub operations: Vec<OperationAsk>,
    /// Secrets it uses, by name.
    pub secrets: Vec<String>,
    /// Places data may leave to.
    pub egress: Vec<String>,
    /// Intents it would serve.
    pub intents: Vec<String>,
    /// What is different from the version it would replace.
    pub changes: Vec<PackChange>,
    /// Why it cannot be installed as things are.
    pub refused: Vec<String>,
    /// What its author, and whoever writes policy, should look at.
    pub warnings: Vec<String>,
    /// Stands for exactly this review: whoever installs sends it back.
    pub accept: String,
}

/// An operation as a pack proposes it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct OperationAsk {
    /// Which.
    pub operation: String,
    /// What it does, for people.
    pub summary: String,
    /// `read` or `write`.
    pub effect: String,
    /// How it can be taken back: `none`, `compensate` or `restore`.
    pub undo: String,
    /// Whether an unknown outcome may be tried again: `never`, `keyed` or `probe`.
    pub retry: String,
    /// Whether something leaves to a place nobody declared.
    pub egress: bool,
    /// Whether policy asks a person: `no`, `maybe`, `always`, or `denied`.
    pub asks: String,
}

/// One difference between two versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PackChange {
    /// Where, such as `operation crm.update_contract: retry`.
    pub what: String,
    /// `added`, `removed`, `changed`, `loosened` when less care would be taken, or `breaks` when requests
    /// that fit before may not fit any more.
    pub sort: String,
    /// How it was.
    pub before: Value,
    /// How it would be.
    pub after: Value,
}

/// Shows what these files ask for, and what would be different, without installing anything.
///
/// # Errors
/// Everything wrong with the pack or with the policies that would be in force.
pub async fn review(app: &App, _: &Caller, request: PackFiles) -> Result<PackReview, Problem> {
    Ok(Drafted::of(app, &request)?.review)
}

/// A stock as it would be with a pack in it, and what that means.
pub(super) struct Drafted {
    pub(super) stock: Stock,
    pub(super) review: PackReview,
}

impl Drafted {
    pub(super) fn of(app: &App, request: &PackFiles) -> Result<Self, Problem> {
        let brought = read(&request.files)?;
        let name = brought.name().to_owned();
        let now = app.shelf.stock();
        let old = now.all().find(|shelved| shelved.pack.manifest.name == name).cloned();
        let mut all: Vec<Brought> = now.all().map(|shelved| shelved.brought()).collect();
        all.retain(|other| other.name() != name);
        all.push(brought);
        let operator = Operator::of(&app.config)?;
        let stock = Stock::new(operator.clone(), all)?;
        let shelved = stock.pack(&name)?;
        let mut refused = refusals(app, &stock, shelved, &operator.policies)?;
        if old.as_ref().is_some_and(|old| old.origin == Origin::Configured) {
            refused
                .push(format!("`packs` of the configuration names a folder that holds `{name}`"));
        }
        let mut review = view(shelved, old.as_deref(), refused);
        let policies = shelved.bundle.digest().to_string();
        let shown = canon::bytes(&(&review, policies)).map_err(unshowable)?;
        review.accept = Digest::of(&shown).to_string();
        Ok(Self { stock, review })
    }
}

/// Loads what was sent.
fn read(files: &BTreeMap<String, String>) -> Result<Brought, Problem> {
    let bytes = files.values().map(String::len).fold(0, usize::saturating_add);
    if files.len() > pack::FILES_MAX || bytes > pack::PACK_BYTES_MAX {
        let (files, most) = (pack::FILES_MAX, pack::PACK_BYTES_MAX);
        return Err(Problem::usage(
            "pack-too-large",
            format!("a pack has at most {files} files and {most} bytes"),
        )
        .next("leave out what the pack does not need"));
    }
    let files = files.iter().map(|(path, text)| (path.clone(), text.clone().into_bytes()));
    Brought::load(files.collect(), Origin::Installed)
        .map_err(|problems| shelf::pack_problems(std::path::Path::new("the pack"), &problems))
}

/// What stands between this pack and being installed.
fn refusals(
    app: &App,
    stock: &Stock,
    shelved: &Shelved,
    operator: &[policy::Source],
) -> Result<Vec<String>, Problem> {
    let mut refused = Vec::new();
    let asks = &shelved.pack.manifest.asks;
    let layer = Bundle::load(stock.everything(), operator).map_err(|problems| {
        let first = problems.first().map(ToString::to_string).unwrap_or_default();
        Problem::usage("policy-invalid", first).next("correct the operator's policies")
    })?;
    for id in &asks.operations {
        let Some(entry) = shelved.catalogue.get(id) else { continue };
        if matches!(layer.bundle.forecast(&entry.operation), kernel::plan::Asks::Denied { .. }) {
            refused.push(format!("the operator's policy permits {id} to nobody"));
        }
        let checked = super::installed::check_system(&app.connectors, &entry.operation);
        if let Err(error) = checked {
            refused.push(error.to_string());
        }
    }
    let mut said = BTreeSet::new();
    refused.retain(|reason| said.insert(reason.clone()));
    Ok(refused)
}

fn view(shelved: &Shelved, old: Option<&Shelved>, refused: Vec<String>) -> PackReview {
    let (pack, manifest) = (&shelved.pack, &shelved.pack.manifest);
    let operations = manifest.asks.operations.iter().filter_map(|id| shelved.catalogue.get(id));
    let ask = |operation: &Operation| OperationAsk {
        operation: operation.id.to_string(),
        summary: operation.summary.clone(),
        effect: word(&operation.facts.effect),
        undo: word(&operation.facts.undo),
        retry: word(&operation.facts.retry),
        egress: operation.facts.egress,
        asks: asks_view(&shelved.bundle.forecast(operation)).0,
    };
    let findings = shelved.findings.iter().map(|f| format!("{}:{}: {}", f.file, f.line, f.message));
    PackReview {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        digest: pack.digest.to_string(),
        owner: manifest.owner.clone(),
        description: manifest.description.clone(),
        replaces: old.map(|old| old.pack.manifest.version.clone()),
        operations: operations.map(|entry| ask(&entry.operation)).collect(),
        secrets: manifest.asks.secrets.iter().cloned().collect(),
        egress: manifest.asks.egress.iter().cloned().collect(),
        intents: pack.intents.keys().cloned().collect(),
        changes: old.map(|old| changes(&old.pack, pack)).unwrap_or_default(),
        refused,
        warnings: shelved.warnings.iter().cloned().chain(findings).collect(),
        accept: String::new(),
    }
}

/// Everything a person should know before one version replaces another.
pub(super) fn changes(old: &Pack, new: &Pack) -> Vec<PackChange> {
    let mut found = Vec::new();
    let (was, is) = (&old.manifest.asks, &new.manifest.asks);
    sets("operation", &texts(&was.operations), &texts(&is.operations), &mut found);
    sets("secret", &was.secrets, &is.secrets, &mut found);
    sets("egress", &was.egress, &is.egress, &mut found);
    for id in was.operations.intersection(&is.operations) {
        let both = old.catalogue.get(id).zip(new.catalogue.get(id));
        if let Some((was, is)) = both {
            operation_changes(&was.operation, &is.operation, &mut found);
        }
    }
    for (name, was) in &old.intents {
        match new.intents.get(name) {
            None => found.push(change(format!("intent {name}"), "breaks", (name, &Value::Null))),
            Some(is) => intent_changes(was, is, &mut found),
        }
    }
    let added = new.intents.keys().filter(|name| !old.intents.contains_key(*name));
    found.extend(added.map(|n| change(format!("intent {n}"), "added", (&Value::Null, n))));
    found
}

fn texts(ids: &BTreeSet<kernel::id::OperationId>) -> BTreeSet<String> {
    ids.iter().map(ToString::to_string).collect()
}

fn sets(what: &str, was: &BTreeSet<String>, is: &BTreeSet<String>, found: &mut Vec<PackChange>) {
    let added = is.difference(was);
    found.extend(added.map(|n| change(format!("{what} {n}"), "added", (&Value::Null, n))));
    let removed = was.difference(is);
    found.extend(removed.map(|n| change(format!("{what} {n}"), "removed", (n, &Value::Null))));
}

fn operation_changes(was: &Operation, is: &Operation, found: &mut Vec<PackChange>) {
    let (f, t) = (&was.facts, &is.facts);
    let mut note = |part: &str, loosened: bool, both: (Value, Value)| {
        if both.0 != both.1 {
            let sort = if loosened { "loosened" } else { "changed" };
            found.push(change(format!("operation {}: {part}", was.id), sort, (&both.0, &both.1)));
        }
    };
    let both = |was: &dyn Shown, is: &dyn Shown| (was.shown(), is.shown());
    let reads = (f.effect, t.effect) == (Effect::Write, Effect::Read);
    note("effect", reads, both(&f.effect, &t.effect));
    note("undo", t.undo > f.undo, both(&f.undo, &t.undo));
    note("retry", f.retry == Retry::Never, both(&f.retry, &t.retry));
    note("egress", f.egress, both(&f.egress, &t.egress));
    note("critical", is_fewer(&f.critical, &t.critical), both(&f.critical, &t.critical));
    note("clearance", true, both(&was.clearance, &is.clearance));
    note("labels", true, both(&was.labels, &is.labels));
    let kept = was.groups.iter().all(|group| is.groups.contains(group));
    note("groups", !kept, both(&was.groups, &is.groups));
    let kept = was.maskable.iter().all(|field| is.maskable.contains(field));
    note("maskable", !kept, both(&was.maskable, &is.maskable));
    note("resource", is.resource.is_none(), both(&was.resource, &is.resource));
    note("contract", true, both(&was.contract, &is.contract));
    note("companions", true, both(&was.companions, &is.companions));
    note("summary", false, both(&was.summary, &is.summary));
    note("input", false, both(&was.input, &is.input));
    note("output", false, both(&was.output, &is.output));
    note("binding", false, both(&was.binding, &is.binding));
    note("cost", false, both(&was.cost_max, &is.cost_max));
    note("rate", false, both(&was.rate, &is.rate));
    note("timeout", false, both(&was.timeout_ms, &is.timeout_ms));
}

/// Whether fewer arguments would count as deciding.
fn is_fewer(was: &Critical, is: &Critical) -> bool {
    match (was, is) {
        (_, Critical::All) => false,
        (Critical::All, Critical::At(_)) => true,
        (Critical::At(was), Critical::At(is)) => !was.iter().all(|pointer| is.contains(pointer)),
    }
}

/// Whether requests that fitted an intent may not fit it any more.
fn intent_changes(was: &Intent, is: &Intent, found: &mut Vec<PackChange>) {
    if was.input == is.input {
        return;
    }
    let words = |schema: &Value, key: &str| -> BTreeSet<String> {
        let list = schema.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let fields = |schema: &Value| schema.get("properties").cloned().unwrap_or_default();
    let (had, has) = (fields(&was.input), fields(&is.input));
    let same =
        had.as_object().into_iter().flatten().all(|(name, field)| has.get(name) == Some(field));
    let wants = words(&is.input, "required");
    let asks_more = !wants.is_subset(&words(&was.input, "required"));
    let sort = if same && !asks_more { "changed" } else { "breaks" };
    found.push(change(format!("intent {}: input", was.name), sort, (&*was.input, &*is.input)));
}

/// Something with a plain JSON form.
trait Shown {
    fn shown(&self) -> Value;
}

impl<T: Serialize> Shown for T {
    fn shown(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

fn change(what: String, sort: &str, (before, after): (&dyn Shown, &dyn Shown)) -> PackChange {
    PackChange { what, sort: sort.to_owned(), before: before.shown(), after: after.shown() }
}

fn word(fact: &impl Serialize) -> String {
    fact.shown().as_str().unwrap_or_default().to_owned()
}

fn unshowable(error: impl std::fmt::Display) -> Problem {
    Problem::usage("pack-unshowable", error.to_string()).next("correct the pack")
}
