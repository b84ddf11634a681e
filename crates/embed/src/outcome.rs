//! How a run ended: the answer, why it stopped, and the proof of what was done.

use std::fmt;

use kernel::{
    Label, RunId,
    agent::StopReason,
    conversation::Usage,
    event::{Body, Record},
    exception::Exception,
    planning::{Caveat, Mark},
    run::{Run, Status},
};
use receipts::{key::Keys, statement::Stated};
use serde_json::Value;

use crate::{Error, Trusted, watch::Followed};

/// A signed statement of one action, or of the run's end.
#[derive(Clone, PartialEq)]
pub struct Receipt {
    /// The DSSE envelope, as bytes: what anyone verifies.
    pub envelope: Vec<u8>,
    /// What it says.
    pub says: Stated,
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt").field("says", &self.says).finish_non_exhaustive()
    }
}

/// A run that is over, or that cannot go on without a person.
#[derive(Clone)]
pub struct Outcome<T = String> {
    /// Which run.
    pub run: RunId,
    /// Where it stands.
    pub status: Status,
    /// Private with its label: what is trusted must not be put together by hand.
    answer: Option<T>,
    label: Label,
    /// Why the agent stopped; `None` where it did not.
    pub stop: Option<StopReason>,
    /// What it took.
    pub spent: Spent,
    /// What the reader of the answer must know.
    pub caveats: Vec<Caveat>,
    /// What needs a person.
    pub exceptions: Vec<Exception>,
    /// Every action that was dealt with, in order, and the run's end.
    pub receipts: Vec<Receipt>,
    /// The journal.
    pub records: Vec<Record>,
}

/// What a run took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Turns of the model.
    pub turns: u32,
    /// Tools called, those that were refused included.
    pub calls: u32,
    /// Tokens, as the provider counted them.
    pub usage: Usage,
}

impl<T: fmt::Debug> fmt::Debug for Outcome<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome")
            .field("run", &self.run)
            .field("status", &self.status)
            .field("answer", &self.answer)
            .field("stop", &self.stop)
            .field("spent", &self.spent)
            .field("receipts", &self.receipts.len())
            .field("records", &self.records.len())
            .finish_non_exhaustive()
    }
}

impl<T> Outcome<T> {
    /// Whether the agent gave an answer that was accepted.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.stop == Some(StopReason::Done) && self.answer.is_some()
    }

    /// The answer; `None` where the agent gave none that can be used.
    #[must_use]
    pub fn answer(&self) -> Option<&T> {
        self.answer.as_ref()
    }

    /// The answer alone.
    #[must_use]
    pub fn into_answer(self) -> Option<T> {
        self.answer
    }

    /// Whose word the answer is, and how far it may travel.
    #[must_use]
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// The answer, if no untrusted input had a part in it.
    #[must_use]
    pub fn trusted(&self) -> Option<Trusted<&T>> {
        Trusted::of(self.answer.as_ref()?, self.label.clone())
    }
}

impl Outcome {
    /// The answer as text; empty where there is none.
    #[must_use]
    pub fn text(&self) -> &str {
        self.answer.as_deref().unwrap_or_default()
    }
}

impl<T> From<Outcome<T>> for Followed {
    fn from(outcome: Outcome<T>) -> Self {
        let receipts = outcome.receipts.into_iter().map(|receipt| receipt.envelope);
        Self {
            status: Some(outcome.status),
            records: outcome.records,
            receipts: receipts.collect(),
        }
    }
}

/// Reads an outcome off a run that was followed.
pub(crate) fn outcome<T>(
    run: &Run,
    followed: Followed,
    keys: &Keys,
    read: impl FnOnce(&Value) -> Result<T, String>,
) -> Result<Outcome<T>, Error> {
    let id = run.id().clone();
    let (mut stop, mut spent) = (None, Spent::default());
    let (mut answer, mut label, mut caveats) = (None, Label::default(), Vec::new());
    for record in &followed.records {
        match &record.event.body {
            Body::Marked {
                mark: Mark::Concluded { reason, turns, calls, usage, unproven: _ },
                ..
            } => {
                stop = Some(*reason);
                spent = Spent { turns: *turns, calls: *calls, usage: *usage };
            }
            Body::Finished { output, caveats: told, .. } => {
                caveats.clone_from(told);
                if stop == Some(StopReason::Done) {
                    answer = Some(output.value());
                    label = output.labels().join_all();
                }
            }
            _ => {}
        }
    }
    let unreadable = |problem| Error::Unreadable { run: id.clone(), problem };
    let answer = answer.map(|value| read(&value)).transpose().map_err(unreadable)?;
    let proven = followed.receipts.into_iter().map(|envelope| {
        let says = receipts::statement::verify_receipt(&envelope, keys)?;
        Ok(Receipt { envelope, says })
    });
    let receipts = proven.collect::<Result<_, receipts::Error>>()?;
    Ok(Outcome {
        run: id,
        status: run.status(),
        answer,
        label,
        stop,
        spent,
        caveats,
        exceptions: run.exceptions(),
        receipts,
        records: followed.records,
    })
}
