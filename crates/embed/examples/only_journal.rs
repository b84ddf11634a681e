//! The journal alone: append, read back, and what a writer meets that lost its run. No agent, no gate.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;

use kernel::{
    Digest, LabelMap, RunId,
    event::{Body, Event, Record, VERSION, check_chain},
    id::{Seq, Tenant},
    port::{Batch, Journal, JournalError},
    sealed::Sealed,
};
use serde_json::json;
use store::Ram;

type Failure = Box<dyn std::error::Error>;

fn note(run: &RunId, (seq, prev_hash): (Seq, Digest), text: &str) -> Result<Record, Failure> {
    // In a real journal the salt is random: it keeps short values from being guessed.
    let body = Sealed::new(Arc::new(json!(text)), LabelMap::default(), [seq as u8; 16])?;
    let body = Body::Signalled { name: "note".to_owned(), body };
    Ok(Record::new(Event { v: VERSION, run: run.clone(), seq, at: 0, body, prev_hash })?)
}

fn batch(run: &RunId, epoch: u64, record: Record) -> Batch {
    Batch {
        tenant: Tenant::default(),
        run: run.clone(),
        expected_seq: record.event.seq,
        epoch,
        records: vec![record],
        receipts: Vec::new(),
        changes: Vec::new(),
        consumed: Vec::new(),
        wake_at: None,
        reach: None,
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    // `store::Sqlite::open(path, options)` is the same journal in a file.
    let journal: Arc<dyn Journal> = Arc::new(Ram::new());
    let run = RunId::of_intent(&Tenant::default(), "notes", "monday");
    let first = note(&run, (0, Digest::default()), "the shop opened")?;
    let second = note(&run, (1, first.hash), "the shop closed")?;
    journal.append(batch(&run, 0, first)).await?;
    journal.append(batch(&run, 0, second.clone())).await?;

    let stored = journal.claim(Tenant::default(), run.clone()).await?;
    check_chain(&stored.records)?;
    println!("{} events, chain intact, epoch {}", stored.records.len(), stored.epoch);

    // Whoever claimed the run owns it: the writer before is fenced off.
    let late = note(&run, (2, second.hash), "too late")?;
    match journal.append(batch(&run, 0, late)).await {
        Err(JournalError::Lost { .. }) => println!("the earlier writer is fenced off"),
        other => return Err(format!("{other:?}").into()),
    }
    Ok(())
}
