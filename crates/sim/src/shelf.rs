//! A journal of one run in RAM: compare-and-set on sequence and epoch, an inbox, the projections that
//! people look at. It can be broken on purpose.

use std::collections::{BTreeMap, BTreeSet};

use kernel::{
    event::Record,
    exception::Exception,
    id::{ApprovalId, At, Epoch, ExceptionId, RunId, Seq, Tenant, TokenId},
    port::{Batch, JournalError, Loaded, Posted, SignedReceipt},
    project::{ApprovalRow, Change, RunRow},
    run::Status,
};

use crate::mutant::Mutant;

/// What is stored.
#[derive(Debug)]
pub struct Shelf {
    /// Every event.
    pub records: Vec<Record>,
    /// Every receipt, in log order.
    pub receipts: Vec<SignedReceipt>,
    /// The run's row.
    pub row: Option<RunRow>,
    /// Open asks and questions.
    pub approvals: BTreeMap<ApprovalId, ApprovalRow>,
    /// Open exceptions.
    pub exceptions: BTreeMap<ExceptionId, Exception>,
    /// Rollback tokens and their state, oldest first.
    pub tokens: Vec<(TokenId, Seq, String)>,
    /// When somebody must look.
    pub wake_at: Option<At>,
    epoch: Epoch,
    inbox: Vec<Posted>,
    posted: BTreeSet<String>,
    appends: u32,
    mutant: Mutant,
    /// How many events the last batch brought.
    last: usize,
}

impl Shelf {
    pub(crate) fn new(mutant: Mutant) -> Self {
        Self {
            records: Vec::new(),
            receipts: Vec::new(),
            row: None,
            approvals: BTreeMap::new(),
            exceptions: BTreeMap::new(),
            tokens: Vec::new(),
            wake_at: None,
            epoch: 0,
            inbox: Vec::new(),
            posted: BTreeSet::new(),
            appends: 0,
            mutant,
            last: 0,
        }
    }

    /// Where the run stands, as lists show it.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        self.row.as_ref().map(|row| row.status)
    }

    pub(crate) fn append(&mut self, batch: Batch) -> Result<(), JournalError> {
        let found = self.records.len() as Seq;
        let lost = self.epoch > batch.epoch || found != batch.expected_seq;
        if lost && self.mutant != Mutant::UnfencedJournal {
            return Err(JournalError::Lost { expected: batch.expected_seq, found });
        }
        self.appends += 1;
        if self.mutant == Mutant::LostAppend && self.appends == 3 {
            return Ok(());
        }
        self.last = batch.records.len();
        batch.changes.into_iter().for_each(|change| self.project(change));
        self.inbox.retain(|posted| !batch.consumed.contains(&posted.signal_id));
        self.records.extend(batch.records);
        if self.mutant != Mutant::NoReceipts {
            self.receipts.extend(batch.receipts);
        }
        (self.epoch, self.wake_at) = (batch.epoch, batch.wake_at);
        self.spoil();
        Ok(())
    }

    fn spoil(&mut self) {
        match self.mutant {
            Mutant::ChangedByte if self.last > 1 => {
                let index = self.records.len() - self.last + 1;
                let bytes = &mut self.records[index].bytes;
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }
            Mutant::Afterthought if self.status().is_some_and(Status::is_over) => {
                let again = self.records.last().cloned();
                self.records.extend(again);
            }
            _ => {}
        }
    }

    fn project(&mut self, change: Change) {
        match change {
            Change::Run(row) => self.row = Some(*row),
            Change::ApprovalOpened(row) => {
                self.approvals.insert(row.id.clone(), *row);
            }
            Change::ApprovalClosed { id, .. } => {
                self.approvals.remove(&id);
            }
            Change::ExceptionOpened(row) if self.mutant != Mutant::BlindQueue => {
                self.exceptions.insert(row.exception.id.clone(), row.exception);
            }
            Change::ExceptionOpened(_) | Change::Receipt { .. } => {}
            Change::ExceptionClosed { id, .. } => {
                self.exceptions.remove(&id);
            }
            Change::Token { id, action, state, .. } => {
                self.tokens.retain(|(known, ..)| *known != id);
                self.tokens.push((id, action, state));
            }
        }
    }

    pub(crate) fn post(&mut self, posted: Posted) {
        if self.posted.insert(posted.signal_id.clone()) {
            self.inbox.push(posted);
        }
    }

    pub(crate) fn claim(&mut self, run: &RunId) -> Result<Loaded, JournalError> {
        if self.records.is_empty() {
            return Err(JournalError::NoRun(run.clone()));
        }
        self.epoch += 1;
        if self.mutant == Mutant::TornTail && self.records.len() > self.last {
            self.records.truncate(self.records.len() - self.last);
            self.last = 0;
        }
        let (records, inbox) = (self.records.clone(), self.inbox.clone());
        Ok(Loaded { records, epoch: self.epoch, inbox, halts: Default::default() })
    }

    pub(crate) fn due(&self, now: At, run: &RunId) -> Vec<(Tenant, RunId)> {
        let waits = self.wake_at.is_some_and(|at| at <= now) || !self.inbox.is_empty();
        let due = waits && !self.records.is_empty() && self.mutant != Mutant::NoSweep;
        if due { vec![(Tenant::default(), run.clone())] } else { vec![] }
    }
}
