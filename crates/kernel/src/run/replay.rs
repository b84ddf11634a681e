//! Replay: the recorded inputs through the same machine, compared with the recorded events byte for
//! byte. There is no connector in reach, so no effect is possible.

use std::collections::VecDeque;

use serde_json::Value;

use super::{Fault, Genesis, Pins, Ports, Run, check_pins};
use crate::{
    event::{Answered, Body, Ended, Event, Record, Settled},
    id::{At, Digest, Seq},
    input::{Answer, Elicitation, Input, Now, Relay, Settlement},
    planning::Labelled,
    port::{Failure, Judge, Outcome, Returned, Salts, Validate},
    sealed::{Salt, Sealed},
};

/// Longest part of an event that a difference repeats, in characters.
const SHOWN_MAX_CHARS: usize = 300;

/// A replay that came to the same events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Events compared.
    pub events: Seq,
    /// Hash of the last one.
    pub head: Digest,
}

/// Where a replay first differs, and how.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Divergence {
    /// Another event came out.
    #[error("event {seq} ({kind}) differs at {at}: recorded {recorded}, derived {derived}")]
    Differs {
        /// Where.
        seq: Seq,
        /// The recorded event's kind.
        kind: &'static str,
        /// Pointer to the first part that differs.
        at: String,
        /// What is recorded there, as JSON.
        recorded: String,
        /// What was derived, as JSON.
        derived: String,
    },
    /// More or fewer events came out.
    #[error(
        "after event {seq} the recorded run has {recorded} more events of this batch, the replay {derived}"
    )]
    Length {
        /// The last equal one.
        seq: Seq,
        /// Recorded.
        recorded: usize,
        /// Derived.
        derived: usize,
    },
    /// Values were erased, so inputs cannot be rebuilt.
    #[error("event {seq} cannot be replayed: its value was erased")]
    Erased {
        /// Where.
        seq: Seq,
    },
    /// An input was refused that had been taken.
    #[error("event {seq}: the recorded input is refused now: {reason}")]
    Refused {
        /// Where.
        seq: Seq,
        /// Why.
        reason: String,
    },
    /// The machine could not go on.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// The salts of a journal, in the order they were used.
struct Recorded(VecDeque<Salt>);

impl Salts for Recorded {
    fn salt(&mut self) -> Salt {
        self.0.pop_front().unwrap_or_default()
    }
}

/// Replays a journal against what it is pinned to.
///
/// # Errors
/// The first difference.
pub fn replay(
    records: &[Record],
    pins: Pins,
    ports: (&dyn Judge, &dyn Validate),
) -> Result<Replayed, Divergence> {
    if let Some(Body::Opened { header, .. }) = records.first().map(|first| &first.event.body) {
        check_pins(&pins, header)?;
    }
    replay_under(records, pins, ports)
}

/// Replays a journal under a plan and a catalogue that it is not pinned to: whether they would have
/// done the same for the same inputs.
///
/// # Errors
/// The first difference.
pub fn replay_under(
    records: &[Record],
    pins: Pins,
    ports: (&dyn Judge, &dyn Validate),
) -> Result<Replayed, Divergence> {
    crate::event::check_chain(records).map_err(Fault::from)?;
    let mut salts = Recorded(VecDeque::new());
    for record in records {
        for opening in record.openings() {
            let opening = opening.ok_or(Divergence::Erased { seq: record.event.seq })?;
            salts.0.push_back(opening.salt);
        }
    }
    let (judge, validate) = ports;
    let mut ports = Ports { judge, validate, salts: &mut salts };
    let mut batches = records.chunk_by(|_, next| !next.event.body.is_input());
    let Some(first) = batches.next() else {
        return Err(Fault::Illegal { seq: 0, problem: "the journal is empty" }.into());
    };
    let mut run = reopen(first, pins, &mut ports)?;
    compare(&mut run, first)?;
    for batch in batches {
        feed(&mut run, batch, &mut ports)?;
        compare(&mut run, batch)?;
    }
    Ok(Replayed { events: run.events(), head: run.head() })
}

fn reopen(batch: &[Record], pins: Pins, ports: &mut Ports<'_>) -> Result<Run, Divergence> {
    let Some(record) = batch.first() else {
        return Err(Fault::Illegal { seq: 0, problem: "the journal is empty" }.into());
    };
    let Body::Opened { header, intent, subjects } = &record.event.body else {
        return Err(Fault::Illegal { seq: 0, problem: "a journal begins with `opened`" }.into());
    };
    let genesis = Genesis {
        id: record.event.run.clone(),
        header: (**header).clone(),
        intent: Labelled { value: intent.value(), labels: intent.labels() },
        subjects: subjects.clone(),
    };
    let now = Now { at: record.event.at, boot_ms: 0 };
    let mut run = Run::open_under(genesis, pins, now, ports)?;
    run.committed = 0;
    Ok(run)
}

fn feed(run: &mut Run, batch: &[Record], ports: &mut Ports<'_>) -> Result<(), Divergence> {
    let Some(record) = batch.first() else {
        return Ok(());
    };
    let input = input_of(&record.event)
        .ok_or(Fault::Illegal { seq: record.event.seq, problem: "a batch begins with an input" })?;
    let now = Now { at: record.event.at, boot_ms: 0 };
    match run.decide(input, now, ports)? {
        Ok(()) => Ok(()),
        Err(refused) => {
            Err(Divergence::Refused { seq: record.event.seq, reason: refused.to_string() })
        }
    }
}

fn compare(run: &mut Run, batch: &[Record]) -> Result<(), Divergence> {
    let derived = run.take().records;
    run.committed();
    for (recorded, derived) in batch.iter().zip(&derived) {
        if recorded.bytes != derived.bytes {
            return Err(differs(recorded, derived));
        }
    }
    if batch.len() != derived.len() {
        let equal = batch.len().min(derived.len());
        let seq = batch.first().map_or(0, |r| r.event.seq) + equal as Seq;
        let (recorded, derived) = (batch.len() - equal, derived.len() - equal);
        return Err(Divergence::Length { seq: seq.saturating_sub(1), recorded, derived });
    }
    Ok(())
}

fn differs(recorded: &Record, derived: &Record) -> Divergence {
    let read = |record: &Record| serde_json::from_slice(&record.bytes).unwrap_or_default();
    let (left, right): (Value, Value) = (read(recorded), read(derived));
    // Another kind of event says more than the first member that happens to be another.
    let kinds = ["/body/kind"].into_iter().map(str::to_owned);
    let mut places = kinds.chain(std::iter::successors(Some(String::new()), |at| {
        deeper(at, left.pointer(at)?, right.pointer(at)?)
    }));
    let other = |at: &String| left.pointer(at) != right.pointer(at);
    let at = match places.next().filter(|kind| other(kind)) {
        Some(kind) => kind,
        None => places.last().unwrap_or_default(),
    };
    let shown = |value: &Value| match value.pointer(&at) {
        Some(part) => part.to_string().chars().take(SHOWN_MAX_CHARS).collect(),
        None => "nothing".to_owned(),
    };
    let (recorded_part, derived_part) = (shown(&left), shown(&right));
    Divergence::Differs {
        seq: recorded.event.seq,
        kind: recorded.event.body.kind(),
        at,
        recorded: recorded_part,
        derived: derived_part,
    }
}

/// The pointer to the first member or item in which two values differ; `None` where only the whole does.
fn deeper(at: &str, left: &Value, right: &Value) -> Option<String> {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            let mut keys: Vec<&String> = left.keys().chain(right.keys()).collect();
            keys.sort();
            let key = keys.into_iter().find(|key| left.get(*key) != right.get(*key))?;
            Some(format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")))
        }
        (Value::Array(left), Value::Array(right)) => {
            let index = (0..left.len().max(right.len())).find(|n| left.get(*n) != right.get(*n))?;
            Some(format!("{at}/{index}"))
        }
        _ => None,
    }
}

fn text_of(sealed: &Sealed) -> String {
    sealed.value().as_str().unwrap_or_default().to_owned()
}

/// Labels were joined when the outcome was journaled; joining them again changes nothing.
fn outcome_of(ended: &Ended) -> Outcome {
    match ended {
        Ended::Done { output, external_ref, cost } => Ok(Returned {
            output: output.value(),
            labels: output.labels(),
            external_ref: external_ref.as_ref().map(text_of),
            cost: *cost,
            received: Digest::default(),
        }),
        Ended::Failed { class, landed, message, retry_after_ms, sample } => Err(Failure {
            class: *class,
            landed: *landed,
            message: text_of(message),
            retry_after_ms: *retry_after_ms,
            sample: sample.as_ref().map(Sealed::value),
        }),
    }
}

fn elicited(at: At, body: &Body) -> Option<Input> {
    let Body::Elicited { action, attempt, nth, text, answer, role, expires_at, .. } = body else {
        return None;
    };
    let asked = Elicitation {
        action: *action,
        attempt: *attempt,
        nth: *nth,
        text: text_of(text),
        answer: answer.value(),
        role: role.clone(),
        expires_ms: expires_at.saturating_sub(at),
    };
    Some(Input::Elicited { asked: Box::new(asked) })
}

/// Rebuilds the input that an input event records.
fn input_of(Event { at, body, .. }: &Event) -> Option<Input> {
    let at = *at;
    Some(match body {
        Body::Ticked => Input::Tick,
        Body::Held => Input::Hold,
        Body::Claimed { epoch } => Input::Claimed { epoch: *epoch },
        Body::PolicyChanged { digest } => Input::PolicyChanged { digest: *digest },
        Body::Returned { action, attempt, ended } => {
            Input::Outcome { action: *action, attempt: *attempt, outcome: outcome_of(ended) }
        }
        Body::Answered { approval, digest, shown, by, answer, .. } => Input::Answer {
            approval: approval.clone(),
            action: *digest,
            shown: *shown,
            by: by.clone(),
            answer: match answer {
                Answered::Approved => Answer::Approve,
                Answered::Denied { reason } => Answer::Deny { reason: text_of(reason) },
                Answered::Edited { args } => Answer::Edit { args: args.value() },
            },
        },
        Body::Elicited { .. } => elicited(at, body)?,
        Body::Relayed { action, attempt, nth, from, said } => {
            let (action, attempt, nth, from) = (*action, *attempt, *nth, *from);
            let relay = Relay { action, attempt, nth, from, said: said.value() };
            Input::Relayed { relay: Box::new(relay) }
        }
        Body::Replied { question, by, value } => {
            Input::Reply { question: question.clone(), by: by.clone(), value: value.value() }
        }
        Body::Signalled { name, body } => Input::Signal { name: name.clone(), body: body.value() },
        Body::Settled { exception, by, settled, evidence } => Input::Settle {
            exception: exception.clone(),
            by: by.clone(),
            settlement: match settled {
                Settled::Happened => Settlement::Happened,
                Settled::DidNotHappen => Settlement::DidNotHappen,
                Settled::Retry => Settlement::Retry,
                Settled::Use { value } => Settlement::Use { value: value.value() },
                Settled::Skip => Settlement::Skip,
                Settled::Rollback => Settlement::Rollback,
                Settled::Stop => Settlement::Stop,
                Settled::Close => Settlement::Close,
            },
            evidence: text_of(evidence),
        },
        Body::Faulted { message } => Input::Fault { message: text_of(message) },
        Body::Cancelled { by, reason } => Input::Cancel { by: by.clone(), reason: text_of(reason) },
        Body::Paused { by } => Input::Pause { by: by.clone() },
        Body::Resumed { by } => Input::Resume { by: by.clone() },
        Body::Steered { by, text } => Input::Steer { by: by.clone(), text: text_of(text) },
        Body::Halted { halt } => Input::Halt { halt: halt.clone() },
        Body::Unhalted { halt } => Input::Unhalt { halt: halt.clone() },
        Body::RollbackRequested { by, scope, on_conflict } => {
            let (by, scope) = (by.clone(), scope.clone());
            Input::Rollback { by, scope, on_conflict: on_conflict.clone() }
        }
        _ => return None,
    })
}
