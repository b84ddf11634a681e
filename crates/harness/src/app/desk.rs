//! Runs as one answer needs them: each is read, verified and folded once, however many parts of a page ask
//! for it. Nothing is kept for the next answer: what was verified then says nothing about now.

use std::collections::BTreeMap;

use kernel::id::RunId;

use super::{
    App, Caller,
    approvals::{self, Folded},
    problem::Problem,
};

/// Runs that were folded for one answer.
#[derive(Debug, Default)]
pub struct Desk {
    /// None: it could not be.
    runs: BTreeMap<RunId, Option<Folded>>,
}

impl Desk {
    /// The run, folded now or before.
    ///
    /// # Errors
    /// When there is no such run, or its journal was changed.
    pub(super) async fn fold(
        &mut self,
        app: &App,
        (caller, id): (&Caller, &RunId),
    ) -> Result<&Folded, Problem> {
        if self.known(id).is_none() {
            let folded = approvals::fold(app, caller, id).await?;
            self.runs.insert(id.clone(), Some(folded));
        }
        self.known(id).ok_or_else(|| Problem::not_found("run", id.as_str()))
    }

    /// As [`Desk::fold`], for lists: one damaged journal must not hide what else there is.
    pub(super) async fn try_fold(
        &mut self,
        app: &App,
        (caller, id): (&Caller, &RunId),
    ) -> Option<&Folded> {
        if !self.runs.contains_key(id) {
            let folded = approvals::fold(app, caller, id).await.ok();
            self.runs.insert(id.clone(), folded);
        }
        self.known(id)
    }

    fn known(&self, id: &RunId) -> Option<&Folded> {
        self.runs.get(id).and_then(Option::as_ref)
    }
}
