//! The journal: its hash chain, its openings, and whether the receipts say what it says.

use std::collections::{BTreeMap, BTreeSet};

use kernel::{
    Digest, Seq, canon,
    decision::Decision,
    event::{self, Answered, Body, Header, Record},
    id::{EffectKey, PrincipalId},
    receipt::{Predicate, Witness},
    sealed::{Commitment, Sealed},
};

use super::{Events, Found, Proven, report::Outcome};
use crate::{
    bundle::{Bundle, Entry, commitment_at, commitments, parse, read_event},
    statement::Stated,
};

/// Reads every event and checks order, chain, run and tenant.
pub(super) fn read_events(bundle: &Bundle) -> Found<Vec<Record>> {
    let mut records = Vec::new();
    let mut at = i64::MIN;
    for (seq, entry) in bundle.events.iter().enumerate() {
        let record = read_entry(entry).map_err(|problem| format!("event {seq}: {problem}"))?;
        let problem = if record.event.v != event::VERSION {
            "it has a format version that this build does not read"
        } else if record.event.run != bundle.run {
            "it belongs to another run"
        } else if record.event.at < at {
            "it happened before the one it follows"
        } else {
            at = record.event.at;
            records.push(record);
            continue;
        };
        return Err(format!("event {seq}: {problem}"));
    }
    event::check_chain(&records).map_err(|damage| damage.to_string())?;
    match records.first().map(|r| &r.event.body) {
        Some(Body::Opened { header, .. }) if header.chain.tenant == bundle.tenant => {}
        Some(Body::Opened { .. }) => return Err("event 0: it belongs to another tenant".to_owned()),
        _ => return Err("event 0: it does not open a run".to_owned()),
    }
    let detail = format!("{} events in one chain", records.len());
    Ok((records, detail))
}

fn read_entry(entry: &Entry) -> Result<Record, String> {
    let value = parse(&entry.event).map_err(|e| e.to_string())?;
    let bytes = entry.event.as_bytes();
    if canon::bytes(&value).map_err(|e| e.to_string())? != bytes {
        return Err("it is not written canonically".to_owned());
    }
    let event = read_event(&value).map_err(|e| e.to_string())?;
    Ok(Record { event, hash: Digest::of(bytes), bytes: bytes.to_vec() })
}

/// Every opening in the bundle opens the commitment it is given for.
pub(super) fn check_openings(bundle: &Bundle) -> Outcome {
    let (mut opened, mut all) = (0, 0);
    for (seq, entry) in bundle.events.iter().enumerate() {
        let Ok(value) = parse(&entry.event) else {
            continue;
        };
        all += commitments(&value).len();
        for (place, opening) in &entry.openings {
            let labels = opening.labels.clone();
            let sealed = Sealed::new(opening.value.clone(), labels, opening.salt);
            let committed = commitment_at(&value, place);
            if sealed.ok().is_none_or(|s| committed.as_ref() != Some(s.commitment())) {
                let reason =
                    format!("event {seq}: the value given for {place} is not the one committed to");
                return Outcome::Failed { reason };
            }
            opened += 1;
        }
    }
    match (opened, all) {
        (0, 0) => Outcome::ok("no value from outside"),
        (0, _) => Outcome::not_possible(format!("all {all} values are withheld or erased")),
        _ => {
            Outcome::ok(format!("{opened} of {all} values open, the others are withheld or erased"))
        }
    }
}

/// What receipts are compared with.
struct Facts<'a> {
    header: &'a Header,
    events: &'a Events,
    dispatched: BTreeSet<(Seq, &'a EffectKey)>,
    judged: BTreeMap<Seq, Vec<(&'a Digest, &'a Decision)>>,
    approved: BTreeSet<(&'a PrincipalId, &'a Digest, &'a Digest, bool)>,
    commitments: BTreeSet<Vec<u8>>,
}

impl<'a> Facts<'a> {
    fn of(header: &'a Header, events: &'a Events) -> Self {
        let mut facts = Self {
            header,
            events,
            dispatched: BTreeSet::new(),
            judged: BTreeMap::new(),
            approved: BTreeSet::new(),
            commitments: BTreeSet::new(),
        };
        for record in events {
            match &record.event.body {
                Body::Dispatched { action, key, .. } => {
                    facts.dispatched.insert((*action, key));
                }
                Body::Judged { action, digest, decision } => {
                    facts.judged.entry(*action).or_default().push((digest, decision));
                }
                Body::Answered {
                    by,
                    digest,
                    shown,
                    self_approved,
                    answer: Answered::Approved,
                    ..
                } => {
                    facts.approved.insert((&by.id, digest, shown, *self_approved));
                }
                _ => {}
            }
            let mut body = record.event.body.clone();
            let sealed =
                body.sealed_mut().into_iter().filter_map(|s| canon::bytes(s.commitment()).ok());
            facts.commitments.extend(sealed);
        }
        facts
    }

    fn holds(&self, commitment: Option<&Commitment>) -> bool {
        let known = |c| canon::bytes(c).is_ok_and(|bytes| self.commitments.contains(&bytes));
        commitment.is_none_or(known)
    }
}

/// The journal names exactly these statements in this order, and they say what it says.
pub(super) fn check_agreement(events: &Events, proven: &[Proven]) -> Outcome {
    let Some(Body::Opened { header, .. }) = events.first().map(|r| &r.event.body) else {
        return Outcome::depends_on("the events");
    };
    let facts = Facts::of(header, events);
    let mut named = events.iter().filter_map(|record| match &record.event.body {
        Body::Receipted { statement, .. } | Body::Closed { statement, .. } => {
            Some((record, statement))
        }
        _ => None,
    });
    for (index, one) in proven.iter().enumerate() {
        let failed =
            |problem: &str| Outcome::Failed { reason: format!("receipt {index}: {problem}") };
        let Some((record, statement)) = named.next() else {
            return failed("no event of the journal names it");
        };
        if *statement != one.digest {
            return failed("the journal names another statement in its place");
        }
        let found = match &one.stated {
            Stated::Receipt(predicate) => check_receipt(&facts, record, predicate),
            Stated::Close(close) => match &record.event.body {
                Body::Closed { receipt, .. } if *receipt == close.receipt => Ok(()),
                _ => Err("the event that names it is not its closing"),
            },
        };
        if let Err(problem) = found {
            return failed(problem);
        }
    }
    match named.next() {
        None => Outcome::ok(format!("{} statements agree with the journal", proven.len())),
        Some((record, _)) => Outcome::Failed {
            reason: format!(
                "event {}: the statement it names is not in the bundle",
                record.event.seq
            ),
        },
    }
}

fn check_receipt(
    facts: &Facts<'_>,
    named_by: &Record,
    said: &Predicate,
) -> Result<(), &'static str> {
    let proposed = usize::try_from(said.action).ok().and_then(|at| facts.events.get(at));
    let Some(Body::Proposed { step, operation, definition, args, proposer, .. }) =
        proposed.map(|r| &r.event.body)
    else {
        return Err("the journal proposes no such action");
    };
    let Body::Receipted { action, receipt, landed, class, .. } = &named_by.event.body else {
        return Err("the event that names it is not its receipt");
    };
    let judged = facts
        .judged
        .get(&said.action)
        .is_some_and(|all| all.contains(&(&said.action_digest, &said.decision)));
    let approved = said
        .approvals
        .iter()
        .all(|a| facts.approved.contains(&(&a.by, &a.action, &a.shown, a.self_approved)));
    let sealed = [&said.result, &said.before, &said.after, &said.external_ref];
    let rules = [
        (
            (action, receipt, landed, class)
                == (&said.action, &said.receipt, &said.landed, &said.class),
            "the event that names it says another action, id or outcome",
        ),
        (
            (step, operation, definition, args.commitment(), proposer)
                == (&said.step, &said.operation, &said.definition, &said.args, &said.proposer),
            "the action it names was proposed otherwise",
        ),
        (
            is_pinned(facts.header, said),
            "the run was opened with another chain, intent, pack, plan or configuration",
        ),
        (judged, "no judgement in the journal is the one it names"),
        (approved, "an approval it names is not in the journal"),
        (
            said.witness == Witness::Observed
                || facts.dispatched.contains(&(said.action, &said.key)),
            "the journal dispatched no call under its key",
        ),
        (
            sealed.iter().all(|c| facts.holds(c.as_ref())),
            "a value it commits to is not in the journal",
        ),
    ];
    rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, problem)| Err(problem))
}

/// Whether a receipt names the world that the run was opened with.
fn is_pinned(header: &Header, said: &Predicate) -> bool {
    (&header.chain, &header.intent, &header.pack) == (&said.chain, &said.intent, &said.pack)
        && (header.pack_digest, header.plan, header.config)
            == (said.pack_digest, said.plan, said.config)
}
