//! Waiting for a call until there is something to say about it.

use kernel::{
    id::{RunId, Tenant},
    run::Status,
};
use tokio::{
    sync::watch,
    time::{Duration, Instant},
};

use super::{Begun, ToolCall, ToolState, WAIT_MAX_MS, look, seen};
use crate::app::{App, Caller, feed::Last, followed::Following, problem::Problem, runs};

/// How long whoever waits relies on being told.
const LOOKS_AGAIN: Duration = Duration::from_secs(1);

/// What a wait goes on through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Through {
    Asks,
    NoAsk,
}

impl Through {
    /// Whether there is something to say about a call that was looked at.
    pub(super) fn is_told(self, seen: &ToolCall) -> bool {
        let goes_on = match seen.state {
            ToolState::Running | ToolState::Held => true,
            ToolState::PendingApproval => self == Self::Asks,
            _ => false,
        };
        !goes_on || seen.question.is_some() || !seen.said.is_empty()
    }

    /// Whether there is nothing to say about a call yet whose run stands so.
    fn waits(self, status: Status) -> bool {
        match status {
            Status::Running
            | Status::Waiting
            | Status::RollingBack
            | Status::Paused
            | Status::Halted => true,
            Status::Asking => self == Self::Asks,
            _ => false,
        }
    }
}

/// Where a call stands once there is something to say, or the time is over.
pub(super) async fn watched(
    app: &App,
    caller: &Caller,
    Begun { run, following }: &Begun,
    (wait_ms, through): (Option<u64>, Through),
) -> Result<ToolCall, Problem> {
    let wait_ms = wait_ms.unwrap_or(0).min(WAIT_MAX_MS);
    let until = Instant::now() + Duration::from_millis(wait_ms);
    let mut changed = app.feed.watch();
    let (mut told, end) = (app.ends.watch(), (caller.tenant().clone(), run.clone()));
    // Before it is looked at: what happens in between has to wake whoever waits.
    let mut position = app.feed.head();
    let mut stands = match following.as_ref().and_then(Following::status) {
        Some(status) => Some(status),
        None => runs::entry_of(app, caller, run).await?.row.map(|row| row.status),
    };
    loop {
        let goes_on = !app.ends.has_some(&end) && stands.is_none_or(|status| through.waits(status));
        if !goes_on || Instant::now() >= until {
            let seen = match following.as_ref().and_then(Following::written) {
                Some((entry, records)) => seen::of(app, caller, entry, records).await?,
                None => look(app, caller, run).await?,
            };
            if Instant::now() >= until || through.is_told(&seen) {
                return Ok(seen);
            }
            // Somebody answered between the bell and the look: it goes on, and so does the wait.
            stands = None;
        }
        // Another process may drive the run; it rings no bell here.
        let again = until.min(Instant::now() + LOOKS_AGAIN);
        let heard = loop {
            let last = tokio::select! {
                last = next(app, (following.as_ref(), &end), (&mut changed, &mut position)) => last,
                _ = told.changed() => Last::Nothing,
                () = tokio::time::sleep_until(again) => break Last::Unknown,
            };
            if last != Last::Nothing || app.ends.has_some(&end) {
                break last;
            }
        };
        match heard {
            Last::Nothing => {}
            Last::Stands(status) => stands = Some(status),
            Last::Unknown => {
                stands = runs::entry_of(app, caller, run).await?.row.map(|row| row.status);
            }
        }
    }
}

/// What becomes of a run next; nothing where it was another run's.
async fn next(
    app: &App,
    (following, run): (Option<&Following>, &(Tenant, RunId)),
    (changed, position): (&mut watch::Receiver<u64>, &mut u64),
) -> Last {
    if let Some(following) = following {
        following.changed().await;
        return following.status().map_or(Last::Unknown, Last::Stands);
    }
    // Every run of the store rings this bell.
    let _rang = changed.changed().await;
    let head = app.feed.head();
    let last = app.feed.last_of(run, *position);
    *position = head;
    last
}
