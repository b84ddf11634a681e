//! Calls that somebody outside makes: an agent that is not ours asks before it uses a tool of its own. A
//! permitted call is offered to it, leaves when it takes it, and ends with what it reports.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kernel::{
    exception::{Class, Landed},
    id::{EffectKey, OperationId, RunId, Tenant},
    port::Failure,
};
use serde_json::Value;
use tokio::sync::{oneshot, watch};

use crate::{
    call::{Call, Departure, fail},
    error::Error,
    read::Reader,
};

/// Calls on offer or under way, over all runs.
const CALLS_MAX: usize = 10_000;

/// What an agent says came of a call it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// It was made; this is its result.
    Done(Value),
    /// It was made and failed, or nobody knows: whether something changed is open.
    Failed(String),
    /// It was not made after all.
    NotMade(String),
}

/// A call that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The operation.
    pub operation: OperationId,
    /// Exactly these arguments.
    pub args: Arc<Value>,
    /// Its idempotency key.
    pub key: EffectKey,
}

#[derive(Debug)]
struct Offer {
    call: Taken,
    run: (Tenant, RunId),
    departure: Arc<Departure>,
    report: oneshot::Sender<Report>,
}

/// Permitted calls of runs, until they are reported.
#[derive(Debug)]
pub struct Outside {
    offers: Mutex<BTreeMap<EffectKey, Offer>>,
    changed: watch::Sender<u64>,
}

impl Default for Outside {
    fn default() -> Self {
        Self { offers: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

/// Takes an offer back when its call is over, however it ends.
struct Standing<'o> {
    outside: &'o Outside,
    key: &'o EffectKey,
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.outside.offers().remove(self.key);
    }
}

pub(crate) fn compile(binding: &Reader<'_>) -> Result<(), Error> {
    binding.only(&["kind"])
}

impl Outside {
    fn offers(&self) -> MutexGuard<'_, BTreeMap<EffectKey, Offer>> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whenever a call is offered.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Takes the call a run offers: from here on it may be made, within its permit's window. Whoever takes
    /// it again, because an answer was lost, gets the same call under the same key.
    #[must_use]
    pub fn take(&self, tenant: &Tenant, run: &RunId) -> Option<Taken> {
        let offers = self.offers();
        let offer = offers.values().find(|offer| offer.run.0 == *tenant && offer.run.1 == *run)?;
        if !offer.departure.was_sent() && offer.departure.leave().is_err() {
            return None;
        }
        Some(offer.call.clone())
    }

    /// Ends every call: nobody is there any more to whom it could be reported. What was not taken did not happen.
    pub fn part(&self) {
        for (_, offer) in std::mem::take(&mut *self.offers()) {
            let message = "the process ended before it was reported".to_owned();
            let said = match offer.departure.was_sent() {
                true => Report::Failed(message),
                false => Report::NotMade(message),
            };
            // Who does not wait any more needs no word.
            drop(offer.report.send(said));
        }
    }

    /// Ends a call that was taken; whether there was one.
    #[must_use]
    pub fn report(&self, tenant: &Tenant, run: &RunId, report: Report) -> bool {
        let mut offers = self.offers();
        let taken = offers.iter().find(|(_, offer)| {
            offer.run.0 == *tenant && offer.run.1 == *run && offer.departure.was_sent()
        });
        let Some(key) = taken.map(|(key, _)| key.clone()) else { return false };
        offers.remove(&key).is_some_and(|offer| offer.report.send(report).is_ok())
    }

    /// Offers a call and waits for what is reported. The caller bounds the time.
    pub(crate) async fn call(
        &self,
        call: &Call,
        departure: &Arc<Departure>,
    ) -> Result<Value, Failure> {
        let (report, reported) = oneshot::channel();
        let taken = Taken {
            operation: call.operation.id.clone(),
            args: Arc::clone(&call.args),
            key: call.key.clone(),
        };
        let run = (call.tenant.clone(), call.run.clone());
        let offer = Offer { call: taken, run, departure: Arc::clone(departure), report };
        {
            let mut offers = self.offers();
            if offers.len() >= CALLS_MAX {
                let message = "too many calls of other agents are under way";
                return Err(fail(Class::Unavailable, Landed::No, message));
            }
            offers.insert(call.key.clone(), offer);
        }
        let _standing = Standing { outside: self, key: &call.key };
        self.changed.send_modify(|count| *count += 1);
        match reported.await {
            Ok(Report::Done(value)) => Ok(value),
            Ok(Report::Failed(message)) => {
                Err(fail(Class::Unavailable, departure.landed(), message))
            }
            Ok(Report::NotMade(message)) => Err(fail(Class::Unavailable, Landed::No, message)),
            Err(_) => {
                let message = "the same call was offered again";
                Err(fail(Class::Unavailable, departure.landed(), message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use kernel::{
        exception::Landed,
        id::{At, EffectKey, RunId, Tenant},
        operation::Effect,
    };
    use serde_json::json;

    use super::{Outside, Report};
    use crate::{
        call::{Call, Departure},
        clock::Clock,
        testing::{DISPATCH_BY, operation},
    };

    /// A clock that is moved by hand.
    #[derive(Debug, Default)]
    struct Hands(AtomicU64);

    impl Clock for Hands {
        fn boot_ms(&self) -> u64 {
            self.0.load(Ordering::SeqCst)
        }

        fn now_ms(&self) -> At {
            0
        }
    }

    fn call() -> Call {
        let tenant = Tenant::default();
        let run = RunId::of_intent(&tenant, "test", "k");
        Call {
            key: EffectKey::of(&tenant, &run, 7),
            run,
            action: 7,
            attempt: 1,
            tenant,
            operation: Arc::new(operation(Effect::Write, json!({"kind": "outside"}))),
            args: Arc::new(json!({"command": "ls"})),
            masks: Default::default(),
            dispatch_by_boot_ms: DISPATCH_BY,
        }
    }

    #[tokio::test]
    async fn a_call_is_taken_then_reported() {
        let (outside, call) = (Outside::default(), call());
        let departure = Arc::new(Departure::new(&call, Arc::new(Hands::default())));
        let agent = async {
            let taken = outside.take(&call.tenant, &call.run).unwrap();
            assert_eq!((&taken.args, &taken.key), (&call.args, &call.key));
            assert_eq!(outside.take(&call.tenant, &call.run), Some(taken), "the same call again");
            assert!(outside.report(&call.tenant, &call.run, Report::Done(json!({"n": 1}))));
        };
        let (answer, ()) = tokio::join!(outside.call(&call, &departure), agent);
        assert_eq!(answer.unwrap(), json!({"n": 1}));
        assert_eq!(outside.take(&call.tenant, &call.run), None, "it is over");
    }

    #[tokio::test]
    async fn what_was_not_taken_cannot_be_reported() {
        let (outside, call) = (Outside::default(), call());
        let departure = Arc::new(Departure::new(&call, Arc::new(Hands::default())));
        let agent = async {
            assert!(!outside.report(&call.tenant, &call.run, Report::Done(json!(1))));
            assert!(outside.take(&call.tenant, &call.run).is_some());
            let not_made = Report::NotMade("changed its mind".to_owned());
            assert!(outside.report(&call.tenant, &call.run, not_made));
        };
        let (answer, ()) = tokio::join!(outside.call(&call, &departure), agent);
        assert_eq!(answer.unwrap_err().landed, Landed::No);
    }

    #[tokio::test]
    async fn at_the_end_what_was_taken_is_open_and_the_rest_did_not_happen() {
        for (takes, landed) in [(false, Landed::No), (true, Landed::Unknown)] {
            let (outside, call) = (Outside::default(), call());
            let departure = Arc::new(Departure::new(&call, Arc::new(Hands::default())));
            let agent = async {
                assert!(!takes || outside.take(&call.tenant, &call.run).is_some());
                outside.part();
            };
            let (answer, ()) = tokio::join!(outside.call(&call, &departure), agent);
            assert_eq!(answer.unwrap_err().landed, landed);
        }
    }

    #[tokio::test]
    async fn after_its_window_a_call_cannot_be_taken() {
        let (outside, call) = (Outside::default(), call());
        let clock = Arc::new(Hands::default());
        let departure = Arc::new(Departure::new(&call, Arc::clone(&clock) as _));
        let agent = async {
            clock.0.store(DISPATCH_BY + 1, Ordering::SeqCst);
            assert_eq!(outside.take(&call.tenant, &call.run), None);
        };
        let answer = outside.call(&call, &departure);
        tokio::pin!(answer);
        tokio::select! {
            biased;
            _ = &mut answer => panic!("nobody reported"),
            () = agent => {}
        }
        assert_eq!(departure.landed(), Landed::No);
    }
}
