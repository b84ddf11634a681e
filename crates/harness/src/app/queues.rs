//! What the runs behind the items of a queue are about: filters that lists of runs have, for queues. Queues
//! are short, so the run of each item is looked at.

use std::collections::{BTreeMap, BTreeSet};

use kernel::{
    event::Body,
    id::{At, OperationId, RunId, Seq},
    project::RunRow,
};
use store::{Query as _, RunFilter};

use super::{
    App, Caller,
    problem::Problem,
    runs::{self, ListRuns},
};

/// Pages of a queue that are looked through for one answer. Whoever gets fewer items than they asked for, and a
/// cursor, goes on from there.
pub(super) const PAGES_MAX: usize = 40;

/// An item of a queue.
pub(super) struct Item<'a> {
    pub(super) run: &'a RunId,
    /// The action it is about.
    pub(super) action: Option<Seq>,
    /// Since when it is there.
    pub(super) at: At,
}

/// What a queue is asked for.
pub(super) struct About {
    filter: RunFilter,
    run: Option<String>,
    from: Option<At>,
    until: Option<At>,
    known: BTreeMap<RunId, Option<RunRow>>,
}

impl About {
    /// From the words of a list of runs; its times are those of the items, not of their runs.
    ///
    /// # Errors
    /// A word that makes no sense.
    pub(super) fn of(
        caller: &Caller,
        run: Option<String>,
        asked: ListRuns,
    ) -> Result<Self, Problem> {
        let filter = runs::filter(caller, &asked)?;
        let (from, until) = (filter.from, filter.until);
        let filter = RunFilter { from: None, until: None, ..filter };
        Ok(Self { filter, run, from, until, known: BTreeMap::new() })
    }

    /// Whether an item is meant.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(super) async fn admits(
        &mut self,
        app: &App,
        caller: &Caller,
        item: Item<'_>,
    ) -> Result<bool, Problem> {
        let named = self.run.as_ref().is_none_or(|run| run == item.run.as_str());
        let timely = self.from.is_none_or(|from| item.at >= from)
            && self.until.is_none_or(|until| item.at < until);
        if !named || !timely {
            return Ok(false);
        }
        if self.filter == RunFilter::default() {
            return Ok(true);
        }
        if !self.known.contains_key(item.run) {
            let entry = app.store.run(caller.tenant(), item.run).await?;
            self.known.insert(item.run.clone(), entry.and_then(|entry| entry.row));
        }
        let Some(Some(row)) = self.known.get(item.run) else { return Ok(false) };
        let operations = match (&self.filter.operation, item.action) {
            (Some(_), Some(action)) => operation(app, caller, (item.run, action)).await?,
            _ => None,
        };
        let operations: BTreeSet<OperationId> = operations.into_iter().collect();
        Ok(self.filter.admits(row, &operations))
    }
}

/// The operation of an action.
async fn operation(
    app: &App,
    caller: &Caller,
    (run, action): (&RunId, Seq),
) -> Result<Option<OperationId>, Problem> {
    let found = app.store.events(caller.tenant(), run, action, 1).await?;
    Ok(match found.first().map(|record| &record.event.body) {
        Some(Body::Proposed { operation, .. }) => Some(operation.clone()),
        _ => None,
    })
}
