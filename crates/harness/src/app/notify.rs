//! Who waits for whom is told outside: by webhook, mail and Slack. What is to be said is written to an
//! outbox before anything is sent, under a name made from what it says, so that a crash loses nothing and
//! telling it again is the same message again. Ids and roles go out, never values, unless the operator
//! lets a Slack channel see cards. Nothing here decides: an answer that comes back is the ordinary
//! operation `approval.decide`.
//!
//! [`gather`] finds what opened and closed since it last looked, whether this process did it or not;
//! [`send`] works the outbox off; [`slack`] takes answers.

mod bell;
mod gather;
mod outbox;
mod send;
mod slack;
mod words;

use std::{
    collections::BTreeMap,
    sync::Arc,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use connect::{Notice, Secrets, outward::Outward};
use futures_util::StreamExt as _;
use kernel::id::At;
use secrets::Safe;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    App,
    config::{
        Config,
        notify::{Address, Happening},
    },
    problem::Problem,
};
use outbox::Told;

pub(super) use bell::Bell;
pub use slack::{Signed, shown};

/// How often it is looked for what has become due, at the longest.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often lists are read for what opened and closed, at the most.
const GATHER_EVERY: Duration = Duration::from_millis(200);

/// What somebody is told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sort {
    Approval,
    Exception,
    /// What a run has to say, and nobody has to answer.
    Notice,
}

/// An approval, an exception or a notice, in ids and words of closed sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    sort: Sort,
    id: String,
    run: String,
    step: String,
    /// `action` or `question`; for an exception why somebody is needed.
    about: String,
    /// The failure class of an exception.
    class: Option<String>,
    /// Who is asked; for an exception who owns it.
    roles: Vec<String>,
    opened_at: At,
    expires_at: Option<At>,
}

/// What its secrets are granted to.
const GRANTEE: &str = "harness:notify";

/// What the sender works with.
#[derive(Debug)]
pub(super) struct Notifier {
    outward: Outward,
    /// What was told to be open, by id.
    known: Mutex<BTreeMap<String, Told>>,
}

impl Notifier {
    pub(super) fn new(
        config: &Config,
        safe: &Arc<Safe>,
        connectors: &connect::Connectors,
    ) -> Result<Self, Problem> {
        let notify = &config.notify;
        let secrets = notify.secrets.iter().map(|(name, reference)| (name.as_str(), &**reference));
        let outward = Secrets::parse(secrets)
            .map(|secrets| secrets.kept_in(Arc::clone(safe)))
            .and_then(|secrets| Outward::new(secrets, GRANTEE, &notify.private_hosts))
            .map_err(|error| invalid(error.to_string()))?;
        let slack = notify.slack.iter().map(|slack| &slack.address);
        for address in notify.webhooks.iter().map(|webhook| &webhook.address).chain(slack) {
            if let Address::Plain(url) = address {
                outward.check(url).map_err(|problem| invalid(format!("{url}: {problem}")))?;
            }
        }
        if let Some(mail) = &notify.mail {
            if connectors.kind(&mail.system) != Some("smtp") {
                return Err(invalid(format!("`{}` is no system of kind smtp", mail.system)));
            }
            for (role, to) in &mail.to {
                Notice::check_addresses(&mail.from, to)
                    .map_err(|problem| invalid(format!("mail to `{role}`: {problem}")))?;
            }
        }
        Ok(Self { outward, known: Mutex::default() })
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Told>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn invalid(detail: String) -> Problem {
    Problem::usage("notify-invalid", detail).next("correct [notify] in harness.toml")
}

impl App {
    /// Tells whoever is named, for as long as it is polled.
    pub(super) async fn notify(&self) {
        if !self.config.notify.is_on() {
            return std::future::pending().await;
        }
        let mut heads = self.feed.watch();
        let mut round = send::Round::default();
        // What happened while nobody looked comes first.
        let mut looked = None;
        let mut changed = true;
        let retry = Duration::from_millis(self.config.notify.retry_ms.unsigned_abs());
        let tick = retry.clamp(Duration::from_millis(20), LOOK_EVERY);
        loop {
            let rested = looked.is_none_or(|at: Instant| at.elapsed() >= GATHER_EVERY);
            if changed && rested {
                let first = looked.is_none();
                heads.borrow_and_update();
                match self
                    .gather(if first { gather::Look::Everything } else { gather::Look::New })
                    .await
                {
                    Ok(()) => (changed, looked) = (false, Some(Instant::now())),
                    Err(problem) => {
                        tracing::warn!(%problem, "could not look for what to tell");
                        tokio::time::sleep(LOOK_EVERY).await;
                    }
                }
            }
            if let Err(problem) = self.remind().await {
                tracing::warn!(%problem, "could not look for what to remind of");
            }
            if let Err(problem) = self.begin_sending(&mut round).await {
                tracing::warn!(%problem, "could not read the outbox");
            }
            let wait = if changed { tick.min(GATHER_EVERY) } else { tick };
            tokio::select! {
                told = heads.changed(), if !changed => changed = told.is_ok(),
                Some(done) = round.sending.next(), if !round.sending.is_empty() => round.end(&done),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Where people see a subject. A link only opens it: deciding is theirs, signed in.
    fn link_to(&self, subject: &Subject) -> String {
        let serve = &self.config.serve;
        let base = serve.public_url.clone().unwrap_or_else(|| format!("http://{}", serve.listen));
        let place = match subject.sort {
            Sort::Approval => "approvals",
            Sort::Exception => "exceptions",
            Sort::Notice => return format!("{base}/runs/{}", subject.run),
        };
        format!("{base}/{place}/{}", subject.id)
    }
}

impl Sort {
    /// What it is called when it opens and when it closes.
    fn happenings(self) -> (Happening, Happening) {
        match self {
            Self::Approval => (Happening::ApprovalOpened, Happening::ApprovalClosed),
            Self::Exception => (Happening::ExceptionOpened, Happening::ExceptionClosed),
            // It is said, and never over.
            Self::Notice => (Happening::NoticePosted, Happening::NoticePosted),
        }
    }
}
