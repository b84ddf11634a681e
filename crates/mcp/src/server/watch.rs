//! Who is told of changes: a session of the older generation, of lists and of what it watches; and whoever listens, of the
//! newer one.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rmcp::{
    Peer, RoleServer,
    model::ResourceUpdatedNotificationParam,
    service::{SubscriptionContext, SubscriptionSink},
};

use super::{Desk, List, Refusal, Refused};

/// Most addresses that one session watches, or whoever listens.
pub(super) const WATCHED_MAX: usize = 100;

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
                // While it was waited for, it may have become nobody's business.
                if !self.watched().uris.contains(&uri) {
                    continue;
                }
                let told = ResourceUpdatedNotificationParam::new(uri);
                // Who has gone is looked for above.
                drop(peer.notify_resource_updated(told).await);
            }
        }
    }
}

/// Tells a session which lists are others now, until it is over.
pub(super) async fn tell_of_lists(desk: Arc<dyn Desk>, peer: Peer<RoleServer>) {
    let mut since = None;
    while !peer.is_transport_closed() {
        let Ok((changed, now)) = desk.relisted(since.clone()).await else {
            tokio::time::sleep(AGAIN_AFTER).await;
            continue;
        };
        since = Some(now);
        for list in changed {
            // Who has gone is looked for above.
            drop(match list {
                List::Tools => peer.notify_tool_list_changed().await,
                List::Resources => peer.notify_resource_list_changed().await,
                List::Prompts => peer.notify_prompt_list_changed().await,
            });
        }
    }
}

/// Tells whoever listens what they want to hear, as long as they do.
pub(super) async fn listen(
    desk: Arc<dyn Desk>,
    context: &SubscriptionContext,
) -> Result<(), Refusal> {
    let (wanted, sink) = (context.accepted(), context.sink());
    let lists =
        [wanted.tools_list_changed, wanted.resources_list_changed, wanted.prompts_list_changed];
    let uris = wanted.resource_subscriptions.clone().unwrap_or_default();
    let of_lists = async {
        match lists.contains(&Some(true)) {
            true => listen_to_lists(&*desk, sink).await,
            false => std::future::pending().await,
        }
    };
    let of_resources = async {
        match uris.is_empty() {
            false => listen_to_resources(&*desk, uris, sink).await,
            true => std::future::pending().await,
        }
    };
    tokio::select! {
        over = of_lists => over,
        over = of_resources => over,
    }
}

async fn listen_to_lists(desk: &dyn Desk, sink: &SubscriptionSink) -> Result<(), Refusal> {
    let mut since = None;
    loop {
        let (changed, now) = desk.relisted(since).await?;
        since = Some(now);
        for list in changed {
            // Who does not want to hear of this list is not told: the library sees to that, and to whoever has gone.
            drop(match list {
                List::Tools => sink.notify_tool_list_changed().await,
                List::Resources => sink.notify_resource_list_changed().await,
                List::Prompts => sink.notify_prompt_list_changed().await,
            });
        }
    }
}

async fn listen_to_resources(
    desk: &dyn Desk,
    uris: Vec<String>,
    sink: &SubscriptionSink,
) -> Result<(), Refusal> {
    let mut since = None;
    loop {
        let (changed, now) = desk.watch(uris.clone(), since).await?;
        since = Some(now);
        for uri in changed {
            drop(sink.notify_resource_updated(uri).await);
        }
    }
}
