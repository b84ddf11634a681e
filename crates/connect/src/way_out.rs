//! The way out of programs in a sandbox: one proxy for each call, with the rules of its system.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use egress::{Event, Proxy, Rule, Rules, Secret, Secrets, Setup, Witness};
use kernel::{
    exception::{Class, Landed},
    id::{OperationId, RunId},
    port::Failure,
};
use sandbox::{Profile, Tier};
use secrets::Use;
use serde_json::{Value, json};

use crate::{
    blob::BlobSink,
    call::{Call, fail},
    clock::Clock,
    error::Error,
    mcp::Passing,
    secret::Vault,
    tap::Listen,
};

/// Most requests of one call that its result tells.
const REQUESTS_KEPT: usize = 100;

/// Who is told what programs ask of the outside, as each request is over.
pub trait Traffic: Send + Sync + fmt::Debug {
    /// A request of a program that was started for this call.
    fn saw(&self, call: (&RunId, &OperationId), event: &Event);
}

/// What every call may use of its surroundings.
#[derive(Debug)]
pub(crate) struct Around<'a> {
    pub(crate) vault: &'a Vault,
    pub(crate) clock: &'a Arc<dyn Clock>,
    pub(crate) traffic: &'a Arc<dyn Traffic>,
    pub(crate) listen: &'a Arc<dyn Listen>,
    pub(crate) passing: &'a Arc<dyn Passing>,
    pub(crate) blobs: Option<&'a dyn BlobSink>,
}

/// What may leave a declared program; by default nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct WayOut {
    system: String,
    rules: Rules,
}

/// Every use of a secret that the rules of a system allow.
fn uses<'a>(system: &'a str, rules: &'a Rules) -> impl Iterator<Item = (&'a str, Use<'a>)> {
    let of_rule = move |rule: &'a Rule| {
        let port = Some(rule.port.unwrap_or(rule.scheme.port()));
        let base = Use { host: Some(rule.host.as_str()), port, ..Use::by(system) };
        let places = rule
            .methods
            .iter()
            .flat_map(|method| rule.paths.iter().map(move |path| (method.as_str(), path.as_str())));
        places.flat_map(move |(method, path)| {
            let asked = Use { method: Some(method), path: Some(path), ..base };
            rule.inject.iter().map(move |one| (one.secret.as_str(), asked))
        })
    };
    rules.0.iter().flat_map(of_rule)
}

impl WayOut {
    /// Checks what is declared.
    pub(crate) fn new(
        system: &str,
        rules: &Rules,
        (tier, profile): (Tier, &Profile),
        vault: &Vault,
    ) -> Result<Self, Error> {
        let wrong = |problem: String| Error::System { system: system.to_owned(), problem };
        if rules.0.is_empty() {
            return Ok(Self::default());
        }
        if tier < Tier::Isolated {
            return Err(wrong("`egress` needs `tier = \"isolated\"` or \"container\"".to_owned()));
        }
        if profile.proxy.is_some() {
            return Err(wrong(
                "`egress` and the profile's own `proxy` exclude each other".to_owned(),
            ));
        }
        rules.check().map_err(|error| wrong(error.to_string()))?;
        uses(system, rules).try_for_each(|(secret, asked)| vault.check(secret, &asked))?;
        Ok(Self { system: system.to_owned(), rules: rules.clone() })
    }

    /// Whether anything may leave at all.
    pub(crate) fn is_open(&self) -> bool {
        !self.rules.0.is_empty()
    }

    /// Opens it for one call, and puts it into the profile. It is closed when what is returned is dropped, or asked for
    /// what passed.
    pub(crate) fn open(
        &self,
        call: &Call,
        around: &Around<'_>,
        profile: &mut Profile,
    ) -> Result<Opened, Failure> {
        if self.rules.0.is_empty() {
            return Ok(Opened::default());
        }
        let mut values = BTreeMap::new();
        for (name, asked) in uses(&self.system, &self.rules) {
            let value = around.vault.resolve(name, &asked);
            let value = value.map_err(|e| fail(Class::Permission, Landed::No, e.to_string()))?;
            values.insert(name.to_owned(), Secret::new(value.expose().to_owned()));
        }
        let requests = Arc::new(Mutex::new(Vec::new()));
        let watch = Watch {
            requests: Arc::clone(&requests),
            run: call.run.clone(),
            operation: call.operation.id.clone(),
            clock: Arc::clone(around.clock),
            traffic: Arc::clone(around.traffic),
        };
        let setup = Setup {
            secrets: Arc::new(Values(values)),
            ..Setup::new(std::env::temp_dir(), self.rules.clone(), Arc::new(watch))
        };
        let proxy = Proxy::start(setup).map_err(|error| {
            let message =
                format!("the way out could not be opened, so nothing was started: {error}");
            fail(Class::Unavailable, Landed::No, message)
        })?;
        profile.proxy = Some(proxy.socket().to_owned());
        Ok(Opened { proxy: Some(proxy), requests })
    }
}

/// A way out that is open.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    proxy: Option<Proxy>,
    requests: Arc<Mutex<Vec<Value>>>,
}

impl Opened {
    /// Closes it: what was asked of the outside, in the order in which it was over; the first of them where there were
    /// many.
    pub(crate) async fn close(self) -> Vec<Value> {
        if let Some(proxy) = self.proxy {
            proxy.stop().await;
        }
        std::mem::take(&mut *self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The values of one call: a secret that changes meanwhile counts from the next one.
struct Values(BTreeMap<String, Secret>);

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl Secrets for Values {
    fn value(&self, name: &str) -> Option<Secret> {
        self.0.get(name).cloned()
    }
}

#[derive(Debug)]
struct Watch {
    requests: Arc<Mutex<Vec<Value>>>,
    run: RunId,
    operation: OperationId,
    clock: Arc<dyn Clock>,
    traffic: Arc<dyn Traffic>,
}

impl Witness for Watch {
    fn at_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn saw(&self, event: Event) {
        self.traffic.saw((&self.run, &self.operation), &event);
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if requests.len() < REQUESTS_KEPT {
            requests.push(json!({
                "method": event.method, "host": event.host, "port": event.port, "path": event.path,
                "status": event.status, "refused": event.refusal.map(|refusal| refusal.code()),
            }));
        }
    }
}
