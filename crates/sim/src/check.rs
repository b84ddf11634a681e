//! The checker: the target's own record and the journal's events, and no word of how the machine decides.
//!
//! Each invariant is one function over what was seen. Where a call landed later than anybody may send,
//! because its process stood still between the last check and the send, nothing is claimed about its
//! effect: SECURITY.md says so. Nor where a person looked before that time was over, and was heard after
//! it. That nobody repeated a call without knowing is still held.

mod journal;
mod people;
mod world;

use std::{collections::BTreeMap, fmt};

use kernel::{
    event::{Body, Role},
    exception::Landed,
    id::{At, Seq},
};

use crate::{case::Case, company::TIMEOUT_MS, play::Story, scenario::Again};

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// Sequence without a gap, each event over the hash of the one before, epochs only grow.
    Chain,
    /// Nothing is done for a run that has ended, and its receipts are signed off.
    AfterTheEnd,
    /// One receipt per call made, one call made per receipt.
    Receipts,
    /// A receipt says what the target did.
    Truth,
    /// Every effect happens once.
    Once,
    /// Nothing leaves before it is written down, or later than its window.
    WrittenFirst,
    /// No call that needs a yes without one; no yes spent twice, lost or spent on nothing.
    Approvals,
    /// What was said yes to is in the journal.
    Promises,
    /// A doubt is settled or open to people.
    Doubts,
    /// A run ends, or waits for something declared.
    Progress,
    /// Taken back is taken back.
    TakenBack,
    /// A process that leaves in good order leaves no doubt.
    Deploys,
}

impl Invariant {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 12] = [
        Self::Chain,
        Self::AfterTheEnd,
        Self::Receipts,
        Self::Truth,
        Self::Once,
        Self::WrittenFirst,
        Self::Approvals,
        Self::Promises,
        Self::Doubts,
        Self::Progress,
        Self::TakenBack,
        Self::Deploys,
    ];
}

/// Something that did not hold.
#[derive(Clone, Debug)]
pub struct Broken {
    /// What.
    pub invariant: Invariant,
    /// How.
    pub problem: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.invariant, self.problem)
    }
}

/// One dispatch in the journal.
#[derive(Clone, Debug)]
struct Sent {
    seq: Seq,
    key: String,
    attempt: u32,
    dispatch_by: At,
}

/// One action, as its events tell it.
#[derive(Clone, Debug)]
struct Deal {
    step: String,
    operation: String,
    role: Role,
    sent: Vec<Sent>,
    receipts: Vec<(Seq, Landed)>,
    rejected: bool,
}

impl Deal {
    fn is_write(&self) -> bool {
        !matches!(self.operation.as_str(), "t.get" | "t.find")
    }
}

/// Everything a check looks at.
struct Seen<'a> {
    case: &'a Case,
    story: &'a Story,
    deals: BTreeMap<Seq, Deal>,
    broken: Vec<Broken>,
}

impl<'a> Seen<'a> {
    fn new(case: &'a Case, story: &'a Story) -> Self {
        let mut deals: BTreeMap<Seq, Deal> = BTreeMap::new();
        for record in &story.shelf.records {
            let seq = record.event.seq;
            match &record.event.body {
                Body::Proposed { step, operation, because, .. } => {
                    let (step, operation) = (step.clone(), operation.to_string());
                    let (sent, receipts, rejected) = (vec![], vec![], false);
                    let role = because.clone();
                    deals.insert(seq, Deal { step, operation, role, sent, receipts, rejected });
                }
                Body::Dispatched { action, key, attempt, dispatch_by, .. } => {
                    let (attempt, dispatch_by) = (*attempt, *dispatch_by);
                    let sent = Sent { seq, key: key.to_string(), attempt, dispatch_by };
                    deals.entry(*action).and_modify(|deal| deal.sent.push(sent));
                }
                Body::Receipted { action, landed, .. } => {
                    deals.entry(*action).and_modify(|deal| deal.receipts.push((seq, *landed)));
                }
                Body::Rejected { action, .. } => {
                    deals.entry(*action).and_modify(|deal| deal.rejected = true);
                }
                _ => {}
            }
        }
        Self { case, story, deals, broken: Vec::new() }
    }

    fn breaks(&mut self, invariant: Invariant, problem: impl Into<String>) {
        self.broken.push(Broken { invariant, problem: problem.into() });
    }

    /// Whether nothing is claimed about the effect under this key.
    fn is_excused(&self, key: &str) -> bool {
        let late = self.story.target.arrivals.iter().any(|a| a.late && a.key == key);
        late || self.was_misjudged(key)
    }

    /// A person looked before every call had to be there, and was heard when that time was over.
    fn was_misjudged(&self, key: &str) -> bool {
        let mut deals =
            self.deals.iter().filter(|(_, deal)| deal.sent.iter().any(|s| s.key == key));
        deals.any(|(action, deal)| {
            let ends = deal.sent.iter().map(|s| s.dispatch_by + TIMEOUT_MS).max().unwrap_or(0);
            let landed = |after: At| {
                let mut arrivals = self.story.target.arrivals.iter();
                arrivals.any(|a| a.landed && a.key == key && a.at >= after)
            };
            let hasty = |(looked, at): &(String, At)| looked == key && *at < ends && landed(*at);
            self.story.looks.iter().any(hasty) && self.settled_at(*action) >= Some(ends)
        })
    }

    /// When a person settled the doubt about an action.
    fn settled_at(&self, about: Seq) -> Option<At> {
        let records = &self.story.shelf.records;
        let raised = records.iter().rev().find_map(|r| match &r.event.body {
            Body::Raised { exception, .. } if exception.action == Some(about) => {
                Some(&exception.id)
            }
            _ => None,
        })?;
        records.iter().rev().find_map(|r| match &r.event.body {
            Body::Settled { exception, .. } if exception == raised => Some(r.event.at),
            _ => None,
        })
    }

    fn anything_excused(&self) -> bool {
        let late = self.story.target.arrivals.iter().any(|a| a.late);
        late || self.story.looks.iter().any(|(key, _)| self.was_misjudged(key))
    }

    fn is_over(&self) -> bool {
        self.story.shelf.status().is_some_and(kernel::run::Status::is_over)
    }

    fn again(&self) -> Again {
        self.case.scenario.again
    }
}

/// Everything that does not hold in a story; empty when all is well.
#[must_use]
pub fn check(case: &Case, story: &Story) -> Vec<Broken> {
    let mut seen = Seen::new(case, story);
    journal::chain(&mut seen);
    journal::after_the_end(&mut seen);
    journal::receipts(&mut seen);
    world::truth(&mut seen);
    world::once(&mut seen);
    world::written_first(&mut seen);
    people::approvals(&mut seen);
    people::promises(&mut seen);
    people::doubts(&mut seen);
    people::progress(&mut seen);
    world::taken_back(&mut seen);
    people::deploys(&mut seen);
    seen.broken
}
