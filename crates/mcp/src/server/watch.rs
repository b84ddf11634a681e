//! What one session of the older generation watches, and who tells it of changes.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rmcp::{Peer, RoleServer, model::ResourceUpdatedNotificationParam};

use super::{Desk, Refusal, Refused};

/// Most addresses that one session watches.
const WATCHED_MAX: usize = 100;

/// How long it is waited after something went wrong.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// What a session watches.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch(Arc<Mutex<Watched>>);

#[derive(Debug, Default)]
struct Watched {
    uris: BTreeSet<String>,
    /// Whether somebody is there who tells of changes.
    is_told: bool,
}

impl Watch {
    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the session hears when this changes.
    pub(super) async fn begin(
        &self,
        uri: String,
        (desk, peer): (Arc<dyn Desk>, Peer<RoleServer>),
    ) -> Result<(), Refusal> {
        if self.watched().uris.len() >= WATCHED_MAX {
            let message = format!("a session watches at most {WATCHED_MAX} resources");
            return Err(Refusal { kind: Refused::Request, message, data: serde_json::Value::Null });
        }
        let (_, since) = desk.watch(vec![uri.clone()], None).await?;
        let mut watched = self.watched();
        watched.uris.insert(uri);
        if !std::mem::replace(&mut watched.is_told, true) {
            tokio::spawn(self.clone().tell((desk, peer), since));
        }
        Ok(())
    }

    /// It hears no more of this.
    pub(super) fn end(&self, uri: &str) {
        self.watched().uris.remove(uri);
    }

    /// Tells of changes until nothing is watched any more, or nobody hears it.
    async fn tell(self, (desk, peer): (Arc<dyn Desk>, Peer<RoleServer>), mut since: u64) {
        loop {
            let uris: Vec<String> = {
                let mut watched = self.watched();
                if watched.uris.is_empty() || peer.is_transport_closed() {
                    watched.is_told = false;
                    return;
                }
                watched.uris.iter().cloned().collect()
            };
            let Ok((changed, now)) = desk.watch(uris, Some(since)).await else {
                tokio::time::sleep(AGAIN_AFTER).await;
                continue;
            };
            since = now;
            for uri in changed {
                let told = ResourceUpdatedNotificationParam::new(uri);
                // Who has gone is looked for above.
                drop(peer.notify_resource_updated(told).await);
            }
        }
    }
}
