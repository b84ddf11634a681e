//! Changes of what servers behind the proxy have to be read: a client says what it watches, and waits.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Duration, Instant};

use super::{
    WAIT_MAX_MS,
    accepted::{self, none},
    proxy::Offered,
};
use crate::app::{
    App, Caller,
    problem::{Kind, Problem},
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
