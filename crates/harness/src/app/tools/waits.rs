//! Waiting for a call until there is something to say about it.

use kernel::run::Status;
use tokio::time::{Duration, Instant};

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
    let (mut told, end) = (app.ends.watch(), (caller.tenant().clone(), run.clone()));
    // Before it is looked at: what happens in between has to wake whoever waits.
    let mut changed = app.feed.listen(end.clone());
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
            tokio::select! {
                last = changed.next() => break last,
                () = tokio::time::sleep_until(again) => break Last::Unknown,
                // Every call rings this bell.
                _ = told.changed() => {}
            }
            if app.ends.has_some(&end) {
                break Last::Nothing;
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
