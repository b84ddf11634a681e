//! Calls under way, so that a run that is to end does not wait for them longer than it must.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use kernel::id::{RunId, Tenant};

use crate::call::{Call, Departure};

type Calls = BTreeMap<(Tenant, RunId), Vec<Weak<Departure>>>;

/// Every call that has been taken on and has no outcome yet, by its run.
#[derive(Debug, Default)]
pub(crate) struct Underway(Mutex<Calls>);

/// A call is under way for as long as this lives.
#[derive(Debug)]
pub(crate) struct Stay<'u> {
    underway: &'u Underway,
    run: (Tenant, RunId),
    departure: Arc<Departure>,
}

impl Underway {
    pub(crate) fn enter(&self, call: &Call, departure: &Arc<Departure>) -> Stay<'_> {
        let run = (call.tenant.clone(), call.run.clone());
        self.with(|calls| calls.entry(run.clone()).or_default().push(Arc::downgrade(departure)));
        Stay { underway: self, run, departure: Arc::clone(departure) }
    }

    /// Whatever the run waits for is not wanted any more.
    pub(crate) fn stop(&self, tenant: &Tenant, run: &RunId) {
        let of_run = (tenant.clone(), run.clone());
        let calls = self.with(|calls| calls.get(&of_run).cloned().unwrap_or_default());
        calls.iter().filter_map(Weak::upgrade).for_each(|departure| departure.want_stop());
    }

    fn with<T>(&self, then: impl FnOnce(&mut Calls) -> T) -> T {
        then(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        let ours = Arc::downgrade(&self.departure);
        self.underway.with(|calls| {
            let Some(others) = calls.get_mut(&self.run) else { return };
            others.retain(|other| !other.ptr_eq(&ours));
            if others.is_empty() {
                calls.remove(&self.run);
            }
        });
    }
}
