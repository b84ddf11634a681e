//! What a server without sessions tells by itself: over one request of ours that stays open, and is made anew when it ended.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use rmcp::{
    Peer,
    model::{ServerCapabilities, ServerNotification, SubscriptionFilter},
    service::{RoleClient, ServiceError, Subscription},
};
use tokio::{sync::watch, task::JoinSet};

use super::{
    Error,
    deaf::{List, Listener, Said},
};

/// How long it is waited until a server says what it will tell. One that takes longer tells it from then on.
const AGREED_WITHIN: Duration = Duration::from_secs(5);

/// How long it is waited until a server that ended it is asked again, at first and at most.
const AGAIN_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Most addresses that one connection hears changes of.
const WATCHED_MAX: usize = 1_024;

/// What a server agreed to.
#[derive(Clone, Debug)]
struct Agreed {
    /// Addresses that it was asked about.
    asked: BTreeSet<String>,
    /// Those of them whose changes it tells.
    told: BTreeSet<String>,
}

/// Hears what a server tells by itself for as long as it is there.
pub(super) struct Listening {
    wanted: watch::Sender<BTreeSet<String>>,
    agreed: watch::Receiver<Option<Agreed>>,
    /// Ends with it.
    _task: JoinSet<()>,
}

impl Listening {
    /// Asks a server for everything that it says it tells; none where it tells nothing.
    pub(super) async fn begin(
        peer: Peer<RoleClient>,
        able: &ServerCapabilities,
        listener: Arc<dyn Listener>,
    ) -> Option<Self> {
        let tells = Tells::of(able);
        if tells == Tells::default() {
            return None;
        }
        let (wanted, wants) = watch::channel(BTreeSet::new());
        let (agrees, agreed) = watch::channel(None);
        let mut task = JoinSet::new();
        task.spawn(Hearing { peer, tells, wants, agrees, listener }.go_on());
        let this = Self { wanted, agreed, _task: task };
        if tells.lists() {
            // Whoever is late is heard later: nothing that is called waits longer for it.
            let _late = this.until(|_| true).await;
        }
        Some(this)
    }

    /// Wants to hear of changes of this address, too.
    pub(super) async fn want(&self, uri: &str) -> Result<(), Error> {
        let mut fits = true;
        self.wanted.send_if_modified(|wanted| {
            fits = wanted.contains(uri) || wanted.len() < WATCHED_MAX;
            fits && wanted.insert(uri.to_owned())
        });
        if !fits {
            let text = format!("changes of {WATCHED_MAX} addresses are heard of already");
            return Err(Error::Unusable(text));
        }
        let agreed = self.until(|agreed| agreed.asked.contains(uri)).await;
        if agreed.is_some_and(|agreed| agreed.told.contains(uri)) {
            return Ok(());
        }
        self.wanted.send_if_modified(|wanted| wanted.remove(uri));
        Err(Error::Unusable("it does not agree to tell changes of this address".to_owned()))
    }

    /// What the server agreed to, as soon as that is so, and unless it takes too long.
    async fn until(&self, is_so: impl Fn(&Agreed) -> bool) -> Option<Agreed> {
        let mut agreed = self.agreed.clone();
        let agrees = agreed.wait_for(|agreed| agreed.as_ref().is_some_and(&is_so));
        tokio::time::timeout(AGREED_WITHIN, agrees).await.ok()?.ok()?.clone()
    }
}

/// What a server says that it tells by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tells {
    tools: bool,
    resources: bool,
    prompts: bool,
    updates: bool,
}

impl Tells {
    fn of(able: &ServerCapabilities) -> Self {
        let resources = able.resources.as_ref();
        let is = |told: Option<bool>| told == Some(true);
        Self {
            tools: able.tools.as_ref().is_some_and(|tools| is(tools.list_changed)),
            resources: resources.is_some_and(|resources| is(resources.list_changed)),
            prompts: able.prompts.as_ref().is_some_and(|prompts| is(prompts.list_changed)),
            updates: resources.is_some_and(|resources| is(resources.subscribe)),
        }
    }

    fn lists(self) -> bool {
        self.tools || self.resources || self.prompts
    }
}

/// The task that hears it.
struct Hearing {
    peer: Peer<RoleClient>,
    tells: Tells,
    wants: watch::Receiver<BTreeSet<String>>,
    agrees: watch::Sender<Option<Agreed>>,
    listener: Arc<dyn Listener>,
}

/// Why nothing more is heard over one request.
enum Over {
    /// Something else is wanted by now.
    Wants,
    /// Whatever ended it.
    Ended,
}

impl Hearing {
    async fn go_on(mut self) {
        let mut again_after = AGAIN_AFTER.0;
        let mut is_gap = false;
        let mut before: Option<Subscription> = None;
        // Where a server tells of addresses alone, it is asked for nothing until there is one.
        if !self.tells.lists() && self.wants.changed().await.is_err() {
            return;
        }
        while !self.peer.is_transport_closed() {
            let asked = self.wants.borrow_and_update().clone();
            match self.peer.listen(self.filter(&asked)).await {
                Ok(mut now) => {
                    if let Some(mut before) = before.take() {
                        // It is heard twice for a moment rather than not at all; who is gone needs no word.
                        let _gone = before.cancel().await;
                    }
                    again_after = AGAIN_AFTER.0;
                    let agreed = now.acknowledged().clone();
                    if std::mem::take(&mut is_gap) {
                        self.catch_up(&agreed);
                    }
                    let told = agreed.resource_subscriptions.into_iter().flatten().collect();
                    self.agrees.send_replace(Some(Agreed { asked, told }));
                    if let Over::Wants = self.follow(&mut now).await {
                        before = Some(now);
                        continue;
                    }
                }
                // It knows no such request: it never will.
                Err(ServiceError::McpError(_)) => return,
                Err(_) => {}
            }
            (is_gap, before) = (true, None);
            tokio::time::sleep(again_after).await;
            again_after = again_after.saturating_mul(2).min(AGAIN_AFTER.1);
        }
    }

    fn filter(&self, uris: &BTreeSet<String>) -> SubscriptionFilter {
        let is_told = self.tells.updates && !uris.is_empty();
        let mut filter = SubscriptionFilter::new();
        filter.tools_list_changed = self.tells.tools.then_some(true);
        filter.resources_list_changed = self.tells.resources.then_some(true);
        filter.prompts_list_changed = self.tells.prompts.then_some(true);
        filter.resource_subscriptions = is_told.then(|| uris.iter().cloned().collect());
        filter
    }

    async fn follow(&mut self, now: &mut Subscription) -> Over {
        loop {
            let told = tokio::select! {
                told = now.next() => told,
                wants = self.wants.changed() => match wants {
                    Ok(()) => return Over::Wants,
                    Err(_) => return Over::Ended,
                },
            };
            let said = match told {
                Ok(Some(ServerNotification::ToolListChangedNotification(_))) => {
                    Said::Relisted(List::Tools)
                }
                Ok(Some(ServerNotification::ResourceListChangedNotification(_))) => {
                    Said::Relisted(List::Resources)
                }
                Ok(Some(ServerNotification::PromptListChangedNotification(_))) => {
                    Said::Relisted(List::Prompts)
                }
                Ok(Some(ServerNotification::ResourceUpdatedNotification(updated))) => {
                    Said::Updated(updated.params.uri)
                }
                Ok(Some(_)) => continue,
                Ok(None) | Err(_) => return Over::Ended,
            };
            self.listener.hear(said);
        }
    }

    /// What may have changed while nothing was heard, did.
    fn catch_up(&self, agreed: &SubscriptionFilter) {
        let lists = [
            (agreed.tools_list_changed, List::Tools),
            (agreed.resources_list_changed, List::Resources),
            (agreed.prompts_list_changed, List::Prompts),
        ];
        for (_, list) in lists.into_iter().filter(|(told, _)| *told == Some(true)) {
            self.listener.hear(Said::Relisted(list));
        }
        for uri in agreed.resource_subscriptions.iter().flatten() {
            self.listener.hear(Said::Updated(uri.clone()));
        }
    }
}
