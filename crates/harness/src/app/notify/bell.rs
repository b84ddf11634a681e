//! What a run has to say to people: written to the outbox like everything else that is told, under the key of its call, so
//! that it is told once however often the call is made.

use std::sync::Arc;

use connect::people::{People, Word};
use kernel::{
    exception::{Class, Landed},
    id::At,
    port::{Failure, Task},
};
use store::Sqlite;

use super::{
    Sort, Subject,
    gather::channels,
    outbox::{Entry, More, State, enqueue},
};
use crate::app::config::{
    Config,
    notify::{Happening, Notify},
};

/// Writes to the outbox for runs.
pub(in crate::app) struct Bell {
    notify: Notify,
    store: Arc<Sqlite>,
    clock: Arc<dyn engine::Clock>,
}

impl std::fmt::Debug for Bell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bell").finish_non_exhaustive()
    }
}

impl Bell {
    pub(in crate::app) fn new(
        config: &Config,
        store: &Arc<Sqlite>,
        clock: &Arc<dyn engine::Clock>,
    ) -> Self {
        let notify = config.notify.clone();
        Self { notify, store: Arc::clone(store), clock: Arc::clone(clock) }
    }

    async fn write(&self, word: Word<'_>) -> Result<Vec<String>, Failure> {
        let fail = |class, landed, message| Failure {
            class,
            landed,
            message,
            retry_after_ms: None,
            sample: None,
        };
        let at = self.clock.now().at;
        let subject = subject_of(word, at);
        let channels = channels(&self.notify, Happening::NoticePosted, &subject.roles);
        if channels.is_empty() {
            let message = format!(
                "nobody of `{}` can be told: [notify] in harness.toml names no channel for it",
                word.to
            );
            return Err(fail(Class::Permission, Landed::No, message));
        }
        let mut told = Vec::with_capacity(channels.len());
        for channel in channels {
            told.push(channel.key());
            let entry = Entry {
                channel,
                happening: Some(Happening::NoticePosted),
                subject: subject.clone(),
                more: More::default(),
                at,
                state: State::Waiting,
                tries: 0,
                trouble: None,
            };
            let written = enqueue(&*self.store, (word.tenant, at), entry).await;
            written.map_err(|problem| {
                let message = format!("the notice could not be written down: {problem}");
                fail(Class::Unavailable, Landed::Unknown, message)
            })?;
        }
        Ok(told)
    }
}

impl People for Bell {
    fn tell<'a>(&'a self, word: Word<'a>) -> Task<'a, Result<Vec<String>, Failure>> {
        Box::pin(self.write(word))
    }
}

fn subject_of(word: Word<'_>, at: At) -> Subject {
    Subject {
        sort: Sort::Notice,
        id: word.key.to_string(),
        run: word.run.to_string(),
        step: word.operation.to_string(),
        about: "notice".to_owned(),
        class: None,
        roles: vec![word.to.to_owned()],
        opened_at: at,
        expires_at: None,
    }
}
