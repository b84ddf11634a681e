//! A run as a file that another machine can verify and replay.

use std::collections::BTreeMap;

use kernel::event::Body;
use receipts::{
    bundle::{Bundle, Entry, Logged, SCHEMA},
    checkpoint::Checkpoint,
    key::Signer,
    merkle::{Head, Tree, leaf_hash},
};

use crate::{Error, Outcome};

/// Name of the log in checkpoints: it holds the receipts of one run.
const ORIGIN: &str = "harness.embed/run";

/// The bundle of a run, over a log of its own receipts alone.
pub(crate) fn bundle<T>(outcome: &Outcome<T>, signer: &Signer) -> Result<Bundle, Error> {
    let mut tree = Tree::default();
    for receipt in &outcome.receipts {
        tree.append(leaf_hash(&receipt.envelope));
    }
    let size = tree.size();
    let short = || Error::Agent("the log is shorter than its receipts".to_owned());
    let head = Head { size, root: tree.root(size).ok_or_else(short)? };
    let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), head };
    let mut logged = Vec::new();
    for (leaf, receipt) in (0_u64..).zip(&outcome.receipts) {
        let envelope = String::from_utf8(receipt.envelope.clone());
        logged.push(Logged {
            envelope: envelope.map_err(|e| Error::Agent(e.to_string()))?,
            leaf,
            inclusion: tree.prove_inclusion(leaf, size).ok_or_else(short)?,
        });
    }
    let tenant = outcome.records.first().and_then(|first| match &first.event.body {
        Body::Opened { header, .. } => Some(header.chain.tenant.clone()),
        _ => None,
    });
    Ok(Bundle {
        schema: SCHEMA.to_owned(),
        tenant: tenant.unwrap_or_default(),
        run: outcome.run.clone(),
        keys: [signer.public().id()].into(),
        events: outcome.records.iter().map(Entry::of).collect::<Result<_, _>>()?,
        receipts: logged,
        checkpoint: checkpoint.sign(signer, signer.public())?,
        consistency: Vec::new(),
        blobs: BTreeMap::new(),
    })
}
