//! What was accepted of servers behind us, and what they have now.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use connect::{
    System,
    mcp::{Offer, digest_of},
};
use futures_util::future::join_all;
use kernel::{Digest, id::OperationId, plan::Asks};
use mcp::server::List;
use serde_json::{Map, Value};

use super::proxy::{Offered, ProxiedTool, SilentServer, WAIT};
use crate::app::{
    App, Caller,
    config::mcp::Servers,
    problem::{Kind, Problem},
    shelf::{Shelved, Stock},
    value::at,
};

/// Something that was accepted, and where it stands.
#[derive(Clone)]
pub(super) struct Accepted {
    pub(super) id: OperationId,
    pub(super) sort: Offered,
    /// Of a tool or a prompt, its name; nothing where everything is meant that can be read.
    pub(super) name: String,
    /// Of a tool, what pins it.
    digest: Option<String>,
    pub(super) system: String,
    pub(super) shelved: Arc<Shelved>,
}

impl Accepted {
    /// One operation of a pack, where it is a tool or a prompt of a server, or reads what it has.
    fn of(shelved: &Arc<Shelved>, id: &OperationId) -> Option<Self> {
        let binding = &shelved.catalogue.get(id)?.operation.binding;
        let text = |place: &str| at(binding, place).as_str().map(str::to_owned);
        let (sort, name, digest) = match (text("/kind")?.as_str(), text("/do").as_deref()) {
            ("mcp", None | Some("call")) => {
                (Offered::Tool, text("/tool")?, Some(text("/definition")?))
            }
            ("mcp", Some("read")) => (Offered::Resource, String::new(), None),
            ("mcp", Some("prompt")) => (Offered::Prompt, text("/prompt")?, None),
            _ => return None,
        };
        let (id, shelved) = (id.clone(), Arc::clone(shelved));
        Some(Self { id, sort, name, digest, system: text("/system")?, shelved })
    }

    /// Whether it promises a structured answer.
    pub(super) fn promises(&self) -> bool {
        let entry = self.shelved.catalogue.get(&self.id);
        let promised =
            entry.map(|entry| at(&entry.operation.output, "/properties/structuredContent"));
        promised.and_then(Value::as_object).is_some_and(|schema| !schema.is_empty())
    }

    /// Whether its server is reached with secrets that are this caller's to use.
    pub(super) fn is_for(&self, app: &App, caller: &Caller) -> bool {
        let person = caller.acts_for().id.as_str();
        let name = person.strip_prefix("person:").unwrap_or(person);
        match app.config.systems.get(&self.system) {
            Some(System::Mcp(system)) => system.is_for(name),
            _ => false,
        }
    }

    /// Whether it is listed.
    pub(super) fn is_shown(&self, app: &App) -> bool {
        app.config.mcp.proxy_mode.lets_pass() || !self.is_denied()
    }

    /// Whether policy denies it whatever the evidence.
    fn is_denied(&self) -> bool {
        let Some(entry) = self.shelved.catalogue.get(&self.id) else { return true };
        matches!(self.shelved.bundle.forecast(&entry.operation), Asks::Denied { .. })
    }

    /// What its server says of it now, if that is what was accepted.
    fn as_it_is(&self, offers: &[Offer]) -> Option<Value> {
        let mut named = offers.iter().filter(|offer| offer.name == self.name);
        let offer = named.next().filter(|_| named.next().is_none())?;
        let pinned = self.digest.as_ref();
        let same = pinned.is_none_or(|pinned| {
            digest_of(&offer.whole).is_ok_and(|digest| digest.to_string() == *pinned)
        });
        same.then(|| offer.whole.clone())
    }
}

/// What servers have now of a sort, as far as it was accepted, is this caller's, and is not denied whatever the evidence;
/// and the servers that could not be asked.
pub(super) async fn listed(
    app: &App,
    caller: &Caller,
    (sort, servers): (Offered, &[String]),
) -> Result<(Vec<ProxiedTool>, Vec<SilentServer>), Problem> {
    let mut all = accepted(app, servers)?;
    all.retain(|one| one.sort == sort.accepted_as() && one.is_for(app, caller));
    all.retain(|one| one.is_shown(app));
    let systems: BTreeSet<&str> = all.iter().map(|one| one.system.as_str()).collect();
    let asked = systems.into_iter().map(|system| async move {
        (system, app.connectors.offers_of(caller.tenant(), system, sort.listed()).await)
    });
    let mut now: BTreeMap<&str, Vec<Offer>> = BTreeMap::new();
    let mut silent = Vec::new();
    for (system, offers) in join_all(asked).await {
        match offers {
            Ok(offers) => drop(now.insert(system, offers)),
            Err(failure) => silent
                .push(SilentServer { server: system.to_owned(), why: failure.message.clone() }),
        }
    }
    let offers =
        |one: &Accepted| now.get(one.system.as_str()).map(Vec::as_slice).unwrap_or_default();
    let view = |name: String, one: &Accepted, definition: Value| ProxiedTool {
        name,
        server: one.id.connector().to_owned(),
        operation: one.id.to_string(),
        definition,
    };
    let items = match sort {
        Offered::Tool | Offered::Prompt => by_name(all.clone())
            .into_iter()
            .filter_map(|(name, one)| {
                one.as_it_is(offers(&one)).map(|whole| view(name, &one, whole))
            })
            .collect(),
        Offered::Resource | Offered::Template => {
            let mut named: BTreeMap<String, Option<ProxiedTool>> = BTreeMap::new();
            for (one, offer) in
                all.iter().flat_map(|one| offers(one).iter().map(move |offer| (one, offer)))
            {
                // What two servers have under one address is neither's.
                let is_free = !named.contains_key(&offer.name);
                let shown = view(offer.name.clone(), one, offer.whole.clone());
                named.insert(offer.name.clone(), is_free.then_some(shown));
            }
            named.into_values().flatten().collect()
        }
    };
    Ok((items, silent))
}

/// What is meant by this name: a tool or a prompt as the list names it, or whoever reads what stands at this address.
///
/// # Errors
/// That there is none.
pub(super) async fn found(
    app: &App,
    caller: &Caller,
    (sort, name, servers): (Offered, &str, &[String]),
) -> Result<Accepted, Problem> {
    let mut all = accepted(app, servers)?;
    all.retain(|one| one.sort == sort.accepted_as());
    if sort.accepted_as() != Offered::Resource {
        return by_name(all).remove(name).ok_or_else(|| none(sort, name));
    }
    let mut theirs: Vec<Accepted> = all;
    if theirs.len() > 1 {
        theirs.retain(|one| one.is_for(app, caller));
        let mut has = BTreeSet::new();
        for sort in [Offered::Resource, Offered::Template] {
            let (items, _) = listed(app, caller, (sort, servers)).await?;
            let leads = items.iter().filter(|item| leads_to(&item.name, name));
            has.extend(leads.map(|item| item.operation.clone()));
            if !has.is_empty() {
                break;
            }
        }
        theirs.retain(|one| has.contains(one.id.as_str()));
    }
    match (theirs.pop(), theirs.is_empty()) {
        (Some(one), true) => Ok(one),
        _ => Err(none(sort, name)),
    }
}

/// Whether an address stands in a list, or may be one of a template: as far as its first place.
fn leads_to(listed: &str, address: &str) -> bool {
    match listed.split_once('{') {
        Some((before, _)) => !before.is_empty() && address.starts_with(before),
        None => listed == address,
    }
}

pub(super) fn none(sort: Offered, name: &str) -> Problem {
    let shown: String = name.chars().take(64).collect();
    let (code, word) = match sort {
        Offered::Tool => ("tool-not-found", "tool"),
        Offered::Prompt => ("prompt-not-found", "prompt"),
        Offered::Resource | Offered::Template => ("resource-not-found", "resource"),
    };
    Problem::new(Kind::NotFound, code, format!("there is no {word} `{shown}`"))
        .next(format!("the list of {word}s has all of them"))
}

/// Everything that was accepted of the servers that are meant.
pub(super) fn accepted(app: &App, servers: &[String]) -> Result<Vec<Accepted>, Problem> {
    let all = app.config.mcp.proxy.as_ref().ok_or_else(|| {
        Problem::new(Kind::NotAllowed, "not-proxying", "no server is passed on here").next(
            "name its connector under `proxy` of [mcp] in harness.toml, or run `harness mcp proxy`",
        )
    })?;
    let meant = Servers::of(servers).unwrap_or(Servers::All);
    let stock = app.shelf.stock();
    let mut found: BTreeMap<OperationId, Accepted> = BTreeMap::new();
    for shelved in stock.packs() {
        for id in &shelved.pack.manifest.asks.operations {
            let is_meant = all.has(id.connector()) && meant.has(id.connector());
            let one = is_meant.then(|| Accepted::of(shelved, id)).flatten();
            if let Some(one) = one {
                found.entry(id.clone()).or_insert(one);
            }
        }
    }
    check_named(&found, (all, &meant))?;
    Ok(found.into_values().collect())
}

/// The word in the schema of an argument that is repeated in a header.
const REPEATED: &str = "x-mcp-header";

/// Schemas of the tools whose arguments requests repeat in their headers, for as long as one stock is in force.
#[derive(Debug, Default)]
pub(in crate::app) struct RoutedTools(Mutex<Option<(Arc<Stock>, Schemas)>>);

type Schemas = BTreeMap<String, Arc<Map<String, Value>>>;

impl RoutedTools {
    /// What a tool takes, if some of it is repeated.
    pub(in crate::app) fn schema(&self, app: &App, tool: &str) -> Option<Arc<Map<String, Value>>> {
        let stock = app.shelf.stock();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.as_ref().is_some_and(|(of, _)| Arc::ptr_eq(of, &stock)) {
            let tools = accepted(app, &[]).unwrap_or_default().into_iter();
            let tools = by_name(tools.filter(|one| one.sort == Offered::Tool).collect());
            let schema = |(name, one): (String, Accepted)| {
                let input = &one.shelved.catalogue.get(&one.id)?.operation.input;
                let is_repeated = input.to_string().contains(REPEATED);
                let input = input.as_object().filter(|_| is_repeated)?;
                Some((name, Arc::new(input.clone())))
            };
            *known = Some((stock, tools.into_iter().filter_map(schema).collect()));
        }
        known.as_ref().and_then(|(_, tools)| tools.get(tool).cloned())
    }
}

/// What names the list of a sort that this caller is given: another list has another name. Of what servers have, only what
/// they tell by themselves is in it.
///
/// # Errors
/// As those of [`accepted`].
pub(super) fn mark(
    app: &App,
    caller: &Caller,
    (list, servers): (List, &[String]),
) -> Result<Digest, Problem> {
    let sort = match list {
        List::Tools => Offered::Tool,
        List::Resources => Offered::Resource,
        List::Prompts => Offered::Prompt,
    };
    let mut all = accepted(app, servers)?;
    all.retain(|one| one.sort == sort && one.is_for(app, caller) && one.is_shown(app));
    let lines: Vec<Vec<u8>> = all
        .iter()
        .map(|one| {
            let told = app.ends.relisted(&one.system, list);
            let pinned = one.digest.as_deref().unwrap_or_default();
            format!("{} {pinned} {told}", one.id).into_bytes()
        })
        .collect();
    let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
    Ok(Digest::of_parts("harness/list/v1", &lines))
}

/// That every server somebody named is there.
fn check_named(
    found: &BTreeMap<OperationId, Accepted>,
    (all, meant): (&Servers, &Servers),
) -> Result<(), Problem> {
    let known: BTreeSet<&str> = found.keys().map(OperationId::connector).collect();
    for servers in [all, meant] {
        let Servers::Named(names) = servers else { continue };
        let Some(missing) = names.iter().find(|name| !known.contains(name.as_str())) else {
            continue;
        };
        // What the operator names may be off for now; what a client names is what it wants.
        if std::ptr::eq(servers, meant) {
            let detail = format!("no server `{missing}` is passed on here");
            return Err(Problem::new(Kind::NotFound, "no-such-server", detail).next(
                "name a connector of kind mcp of a pack that takes work and asks for its operations",
            ));
        }
    }
    Ok(())
}

/// By the name that each is called by. Names come from what was accepted, not from what servers say: one that is silent or
/// lies takes nobody's name.
fn by_name(all: Vec<Accepted>) -> BTreeMap<String, Accepted> {
    let mut times: BTreeMap<&str, u32> = BTreeMap::from([(WAIT, 1)]);
    for one in &all {
        *times.entry(one.name.as_str()).or_default() += 1;
    }
    let twice: BTreeSet<String> =
        times.iter().filter(|(_, times)| **times > 1).map(|(name, _)| (*name).to_owned()).collect();
    let mut named: BTreeMap<String, Option<Accepted>> = BTreeMap::new();
    for one in all {
        let name = match twice.contains(&one.name) {
            true => format!("{}__{}", one.id.connector(), one.name),
            false => one.name.clone(),
        };
        // One that would still be two things is neither.
        let is_free = !named.contains_key(&name);
        named.insert(name, is_free.then_some(one));
    }
    named.into_iter().filter_map(|(name, one)| Some((name, one?))).collect()
}
