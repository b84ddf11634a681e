//! Records and batches by hand.

use std::sync::Arc;

use kernel::{
    event::{Body, Event, Record, Role},
    id::{At, Digest, PrincipalId, ReceiptId, RunId, Seq, Tenant},
    input::Input,
    label::{Label, LabelMap},
    port::{Batch, Posted, SignedReceipt},
    project::{Change, RunRow},
    receipt::Draft,
    run::Status,
    sealed::Sealed,
};
use serde_json::{Value, json};
use store::{Options, Sqlite, Store};

pub(crate) fn tenant(name: &str) -> Tenant {
    name.parse().unwrap()
}

pub(crate) fn run(name: &str) -> RunId {
    RunId::of_intent(&Tenant::default(), "test", name)
}

pub(crate) fn sealed(value: Value) -> Sealed {
    Sealed::new(Arc::new(value), LabelMap::default(), [7; 16]).unwrap()
}

/// `count` events that follow `head`; each holds a sealed value.
pub(crate) fn records(run: &RunId, from: Seq, head: Digest, count: Seq) -> Vec<Record> {
    let mut prev_hash = head;
    let events = (from..from + count).map(|seq| {
        let body = if seq == 0 {
            Body::Ticked
        } else {
            Body::Signalled {
                name: "note".to_owned(),
                body: sealed(json!({"canary": format!("value-{seq}")})),
            }
        };
        let event = Event { v: 1, run: run.clone(), seq, at: 1_000 + seq as At, body, prev_hash };
        let record = Record::new(event).unwrap();
        prev_hash = record.hash;
        record
    });
    events.collect()
}

/// One event that follows `head` and proposes an operation.
pub(crate) fn proposal(run: &RunId, seq: Seq, head: Digest, operation: &str) -> Record {
    let body = Body::Proposed {
        step: "step".to_owned(),
        operation: operation.parse().unwrap(),
        definition: Digest::default(),
        args: sealed(json!({})),
        resource: None,
        existence: Label::default(),
        attempt: 1,
        origin: seq,
        because: Role::Step,
        proposer: None,
    };
    let at = 1_000 + seq as At;
    Record::new(Event { v: 1, run: run.clone(), seq, at, body, prev_hash: head }).unwrap()
}

pub(crate) fn batch(tenant: &Tenant, records: Vec<Record>) -> Batch {
    let first = &records.first().unwrap().event;
    Batch {
        tenant: tenant.clone(),
        run: first.run.clone(),
        expected_seq: first.seq,
        epoch: 0,
        records,
        receipts: vec![],
        changes: vec![],
        consumed: vec![],
        wake_at: None,
        reach: None,
    }
}

/// The first `count` events of a run.
pub(crate) fn opening(tenant: &Tenant, run: &RunId, count: Seq) -> Batch {
    batch(tenant, records(run, 0, Digest::default(), count))
}

pub(crate) async fn opened(
    store: &dyn Store,
    tenant: &Tenant,
    run: &RunId,
    count: Seq,
) -> Vec<Record> {
    let batch = opening(tenant, run, count);
    let records = batch.records.clone();
    store.append(batch).await.unwrap();
    records
}

pub(crate) fn row(opened_at: At, subjects: &[&str]) -> RunRow {
    RunRow {
        status: Status::Waiting,
        intent: "renewal".to_owned(),
        pack: "customer-ops@1.0.0".to_owned(),
        agent: "agent:renewals".to_owned(),
        on_behalf_of: "person:mira".to_owned(),
        subjects: subjects.iter().map(ToString::to_string).collect(),
        opened_at,
        at: opened_at,
        events: 1,
    }
}

pub(crate) fn with_row(mut batch: Batch, row: RunRow) -> Batch {
    batch.changes.push(Change::Run(Box::new(row)));
    batch
}

pub(crate) fn receipt(tenant: &Tenant, run: &RunId, action: Seq) -> SignedReceipt {
    let id = ReceiptId::of(tenant, run, action);
    let envelope = format!("envelope of {id}").into_bytes();
    SignedReceipt { draft: Draft { id, action: Some(action), payload: vec![] }, envelope }
}

pub(crate) fn posted(signal_id: &str, value: &str) -> Posted {
    let input = Input::Signal { name: "note".to_owned(), body: Arc::new(json!({"said": value})) };
    let by: PrincipalId = "person:mira".parse().unwrap();
    Posted { signal_id: signal_id.to_owned(), input, by }
}

/// A store in a folder that goes when it is dropped.
pub(crate) struct Folder {
    pub(crate) dir: tempfile::TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("data").join("store.db")
    }

    pub(crate) fn open(&self) -> Arc<Sqlite> {
        Sqlite::open(&self.path(), Options::default()).unwrap()
    }

    /// Everything in the folder, as bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let files = std::fs::read_dir(self.dir.path().join("data")).unwrap();
        files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    }

    pub(crate) fn holds(&self, needle: &[u8]) -> bool {
        self.bytes().windows(needle.len()).any(|window| window == needle)
    }
}
