//! Changes of what servers behind the proxy have to be read, and of what is listed: a client says what it watches, and
//! waits.

use std::sync::Arc;

use kernel::Digest;
use mcp::server::List;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Duration, Instant};

use super::{
    ToolView, WAIT_MAX_MS,
    accepted::{self, none},
    offer,
    proxy::Offered,
};
use crate::app::{
    App, Caller,
    problem::{Kind, Problem},
    shelf::Stock,
};

/// Most addresses that one client watches.
const URIS_MAX: usize = 100;

/// What is watched.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WatchProxied {
    /// Addresses of resources.
    pub uris: Vec<String>,
    /// The same servers as in the list that they are from.
    #[serde(default)]
    pub servers: Vec<String>,
    /// The `since` of the answer before; absent = from now on, and nothing is waited for.
    #[serde(default)]
    pub since: Option<u64>,
    /// How long to wait for a change, in ms: 0 when nothing is said, at most 45,000.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// What changed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProxiedChanges {
    /// Addresses at which something else stands now.
    pub changed: Vec<String>,
    /// To be said the next time.
    pub since: u64,
}

/// Waits until one of these is another, or the time is up. It is a look, and no run: what is denied is not watched.
///
/// # Errors
/// When there is no such resource, or its server does not tell of changes.
pub async fn watch(
    app: &App,
    caller: &Caller,
    request: WatchProxied,
) -> Result<ProxiedChanges, Problem> {
    if request.uris.len() > URIS_MAX {
        let detail =
            format!("{} addresses are watched, and at most {URIS_MAX}", request.uris.len());
        return Err(Problem::usage("inputs-invalid", detail).next("watch fewer"));
    }
    let mut changed = app.ends.watch();
    let mut what = Vec::new();
    let mut now = 0;
    for uri in request.uris {
        let meant = (Offered::Resource, &*uri, &*request.servers);
        let one = accepted::found(app, caller, meant).await?;
        if !one.is_for(app, caller) || !one.is_shown(app) {
            return Err(none(Offered::Resource, &uri));
        }
        now = app.ends.notice(&one.system, &uri);
        // Each time: the connection may be another since, and a server counts one only once.
        let subscribed = app.connectors.subscribe(caller.tenant(), &one.system, &uri).await;
        subscribed.map_err(|failure| {
            Problem::new(Kind::TryAgain, "server-not-heard", failure.message)
                .next("read it again from time to time instead")
        })?;
        what.push((one.system.clone(), uri));
    }
    let Some(since) = request.since else {
        return Ok(ProxiedChanges { changed: Vec::new(), since: now });
    };
    let wait_ms = request.wait_ms.unwrap_or(0).min(WAIT_MAX_MS);
    let until = Instant::now() + Duration::from_millis(wait_ms);
    loop {
        let (others, now) = app.ends.changed_since(since, &what);
        if !others.is_empty() || Instant::now() >= until {
            return Ok(ProxiedChanges { changed: others, since: now });
        }
        tokio::select! {
            _ = changed.changed() => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }
}

/// Whose lists are watched.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WatchLists {
    /// Whether those of the servers behind us are meant, and not our own.
    #[serde(default)]
    pub proxied: bool,
    /// Of those, which; absent = every one that is passed on.
    #[serde(default)]
    pub servers: Vec<String>,
    /// The `since` of the answer before; absent = from now on, and nothing is waited for.
    #[serde(default)]
    pub since: Option<ListMarks>,
    /// How long to wait for a change, in ms: 0 when nothing is said, at most 45,000.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// What names each list that a caller is given: another list has another name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListMarks {
    /// Of tools.
    pub tools: String,
    /// Of resources and their templates.
    pub resources: String,
    /// Of prompts.
    pub prompts: String,
}

/// Which lists changed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListChanges {
    /// `tool`, `resource`, `prompt`: those that are others now.
    pub changed: Vec<Offered>,
    /// To be said the next time.
    pub since: ListMarks,
}

impl ListMarks {
    fn of(app: &App, caller: &Caller, request: &WatchLists) -> Result<Self, Problem> {
        if !request.proxied {
            let tools: Vec<ToolView> =
                offer::offers(app).into_values().map(|offer| offer.view).collect();
            let tools = serde_json::to_vec(&tools)
                .map_err(|e| Problem::new(Kind::Unexpected, "list-unreadable", e.to_string()))?;
            let tools = Digest::of(&tools).to_string();
            return Ok(Self { tools, resources: String::new(), prompts: String::new() });
        }
        let mark = |list| {
            let mark = accepted::mark(app, caller, (list, &request.servers))?;
            Ok::<_, Problem>(mark.to_string())
        };
        Ok(Self {
            tools: mark(List::Tools)?,
            resources: mark(List::Resources)?,
            prompts: mark(List::Prompts)?,
        })
    }

    fn differs_from(&self, other: &Self) -> Vec<Offered> {
        let pairs = [
            (Offered::Tool, &self.tools, &other.tools),
            (Offered::Resource, &self.resources, &other.resources),
            (Offered::Prompt, &self.prompts, &other.prompts),
        ];
        pairs.iter().filter(|(_, own, others)| own != others).map(|(list, ..)| *list).collect()
    }
}

/// Waits until one of the lists that this caller is given is another, or the time is up.
///
/// # Errors
/// When nothing is passed on, or a server is named that is not.
pub async fn watch_lists(
    app: &App,
    caller: &Caller,
    request: WatchLists,
) -> Result<ListChanges, Problem> {
    // Before it is looked: what happens in between has to wake whoever waits.
    let (mut restocked, mut told) = (app.shelf.watch(), app.ends.watch());
    let wait_ms = request.wait_ms.unwrap_or(0).min(WAIT_MAX_MS);
    let until = Instant::now() + Duration::from_millis(wait_ms);
    let (mut since, mut stands) = (request.since.clone(), None);
    loop {
        // Words of calls ring the same bell: lists are named anew only where they may be others.
        let (stock, lists) = (app.shelf.stock(), app.ends.lists());
        let is_same = |seen: &(Arc<Stock>, u64)| Arc::ptr_eq(&seen.0, &stock) && seen.1 == lists;
        if !stands.as_ref().is_some_and(is_same) {
            let now = ListMarks::of(app, caller, &request)?;
            let changed = since.replace(now.clone()).map(|since| now.differs_from(&since));
            if changed.as_ref().is_none_or(|changed| !changed.is_empty()) {
                return Ok(ListChanges { changed: changed.unwrap_or_default(), since: now });
            }
            stands = Some((stock, lists));
        }
        if let Some(since) = since.clone().filter(|_| Instant::now() >= until) {
            return Ok(ListChanges { changed: Vec::new(), since });
        }
        tokio::select! {
            _ = restocked.changed() => {}
            _ = told.changed() => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }
}
