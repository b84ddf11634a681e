//! What programs in a sandbox asked of the outside: each request is kept with its run and stands in the log.
//!
//! A record is no event of the run: the run does not decide by it, and a program may ask long after the call that
//! started it was answered. It is written when the request is over, before this process ends.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use connect::Departed;
use kernel::id::{OperationId, RunId, Tenant};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{Document, Documents as _, Expected, Sqlite};
use tokio::{runtime::Handle, task::JoinSet};

use super::{App, Caller, parse_id, problem::Problem, runs::rfc3339, value::visible};

/// The kind of these documents.
const KIND: &str = "egress";

/// Most requests of one run that are kept; more stand in the log alone.
const KEPT_PER_RUN_MAX: u32 = 10_000;

/// Most runs whose requests are counted at a time.
const COUNTED_MAX: usize = 10_000;

/// Most requests that are being written; more stand in the log alone.
const WRITING_MAX: usize = 1_024;

/// Most requests on one page.
const PAGE_MAX: usize = 500;

/// Which requests.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListEgress {
    /// The run.
    pub run: String,
    /// Where the page before ended.
    #[serde(default)]
    pub after: Option<String>,
}

/// What programs of a run asked of the outside.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EgressList {
    /// The run.
    pub run: String,
    /// In the order in which they were over.
    pub items: Vec<EgressView>,
    /// Where the next page begins.
    #[serde(default)]
    pub next: Option<String>,
}

/// One request, or one tunnel.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EgressView {
    /// When it began, RFC 3339 UTC.
    pub at: String,
    /// The operation whose program asked.
    pub operation: String,
    /// The method; `CONNECT` for a tunnel.
    pub method: String,
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path without its query; empty for a tunnel.
    pub path: String,
    /// The status that the program was told.
    pub status: Option<u16>,
    /// Why it did not pass, or was cut off; absent where a rule allowed it.
    pub refused: Option<String>,
    /// Bytes of the body to the outside.
    pub bytes_out: u64,
    /// Bytes of the body from the outside.
    pub bytes_in: u64,
    /// How long it took, in ms.
    pub took_ms: u64,
}

/// Writes down what leaves.
#[derive(Debug)]
pub(super) struct Ledger {
    store: Arc<Sqlite>,
    tenant: Tenant,
    next: AtomicU64,
    kept: Mutex<BTreeMap<RunId, u32>>,
    writing: Mutex<JoinSet<()>>,
}

impl Ledger {
    pub(super) fn new(store: Arc<Sqlite>, tenant: Tenant) -> Self {
        let (next, kept, writing) = (AtomicU64::new(0), Mutex::default(), Mutex::default());
        Self { store, tenant, next, kept, writing }
    }

    /// Waits until all of it is written.
    pub(super) async fn settled(&self) {
        let writing = std::mem::take(&mut *lock(&self.writing));
        writing.join_all().await;
    }

    fn counts(&self, run: &RunId) -> bool {
        let mut kept = lock(&self.kept);
        if kept.len() >= COUNTED_MAX {
            kept.clear();
        }
        let count = kept.entry(run.clone()).or_default();
        *count = count.saturating_add(1);
        *count <= KEPT_PER_RUN_MAX
    }

    fn keep(&self, run: &RunId, seen: &EgressView, at: i64) {
        let Ok(body) = serde_json::to_vec(seen) else { return };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = format!("{run}/{at:014}-{number:010}");
        let document = Document { kind: KIND, id, due: None, body };
        let mut writing = lock(&self.writing);
        while writing.try_join_next().is_some() {}
        let Some(runtime) = Handle::try_current().ok().filter(|_| writing.len() < WRITING_MAX)
        else {
            tracing::warn!(%run, "a request stands in the log alone");
            return;
        };
        let (store, tenant) = (Arc::clone(&self.store), self.tenant.clone());
        let write = async move {
            if let Err(error) = store.keep(&tenant, document, Expected::Any).await {
                tracing::error!(%error, "a request to the outside could not be written down");
            }
        };
        writing.spawn_on(write, &runtime);
    }
}

impl connect::Traffic for Ledger {
    fn saw(&self, (run, operation): (&RunId, &OperationId), event: &Departed) {
        let refused = event.refusal.map(|refusal| refusal.code());
        let (host, path) = (visible(&event.host), visible(&event.path));
        let (method, port, status) = (&event.method, event.port, event.status);
        let (out, back, took_ms) = (event.bytes_out, event.bytes_in, event.took_ms);
        if let Some(refused) = refused {
            tracing::warn!(
                %run, %operation, %method, host, port, path, status, refused, out, back, took_ms,
                "a program asked the outside for what no rule allows, or was cut off"
            );
        } else {
            tracing::info!(
                %run, %operation, %method, host, port, path, status, out, back, took_ms,
                "a program asked something of the outside"
            );
        }
        let seen = EgressView {
            at: rfc3339(event.at_ms),
            operation: operation.to_string(),
            method: visible(method),
            host,
            port,
            path,
            status,
            refused: refused.map(str::to_owned),
            bytes_out: out,
            bytes_in: back,
            took_ms,
        };
        if self.counts(run) {
            self.keep(run, &seen, event.at_ms);
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lists what programs of a run asked of the outside, what was refused included.
///
/// # Errors
/// When there is no such run.
pub async fn list(app: &App, caller: &Caller, request: ListEgress) -> Result<EgressList, Problem> {
    let id: RunId = parse_id(&request.run)?;
    app.check_own(caller, &id).await?;
    let prefix = format!("{id}/");
    let after = match request.after {
        Some(after) if after.starts_with(&prefix) => after,
        Some(_) => {
            return Err(Problem::usage("bad-cursor", "this is no place in the run's requests")
                .next("give `next` of the page before"));
        }
        None => prefix.clone(),
    };
    let page = app.store.documents(caller.tenant(), KIND, (Some(after), PAGE_MAX)).await?;
    let next = page.get(PAGE_MAX - 1).map(|last| last.id.clone());
    let next = next.filter(|next| next.starts_with(&prefix));
    let own = page.iter().take_while(|kept| kept.id.starts_with(&prefix));
    let items = own.filter_map(|kept| serde_json::from_slice(&kept.body).ok());
    Ok(EgressList { run: request.run, items: items.collect(), next })
}
