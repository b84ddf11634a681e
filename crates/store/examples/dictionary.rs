//! Makes a dictionary for what the store packs, of stores that exist:
//!
//! ```console
//! $ cargo run --release -p harness-store --example dictionary -- NEW.zdict STORE.db...
//! ```
//!
//! The one in use was made of the demo, a minute of the soak, and the tests of agents. It
//! is frozen: files hold what only it can read. A better one is a second one, beside it.

use std::{env, error::Error, fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kernel::{
    event::Record,
    id::{RunId, Tenant},
    sealed::Sealed,
};
use store::{Log, Options, Page, Query, RunFilter, Sqlite};

/// Large enough for the words of every event, small enough to stay in a processor's cache.
const BYTES: usize = 32 << 10;

/// Runs taken of each store.
const RUNS_MAX: usize = 1_500;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let new = args.next().ok_or("the file to write, then stores")?;
    let mut samples = Vec::new();
    for path in args {
        let store = Sqlite::open(Path::new(&path), Options::default())?;
        let tenant = Tenant::default();
        let mut page = Page { after: None, limit: 200 };
        let mut runs = 0;
        while runs < RUNS_MAX {
            let listed = store.runs(&tenant, RunFilter::default(), page.clone()).await?;
            for run in &listed.items {
                sample(&store, (&tenant, &run.run), &mut samples).await?;
            }
            runs += listed.items.len();
            page.after = listed.next;
            if page.after.is_none() {
                break;
            }
        }
        store.close().await?;
    }
    let dictionary = zstd::dict::from_samples(&samples, BYTES)?;
    fs::write(new, &dictionary)?;
    Ok(())
}

/// Texts as the store packs them: the events of one moment, their openings, and payloads of receipts.
async fn sample(
    store: &Sqlite,
    (tenant, run): (&Tenant, &RunId),
    samples: &mut Vec<Vec<u8>>,
) -> Result<(), Box<dyn Error>> {
    let records = store.events(tenant, run, 0, 200).await?;
    for batch in records.chunk_by(|one, next| one.event.at == next.event.at) {
        let lines: Vec<&[u8]> = batch.iter().map(|record| record.bytes.as_slice()).collect();
        samples.push(lines.join(&b'\n'));
        let openings = |record: &Record| -> Vec<_> {
            record.event.body.sealed().into_iter().map(|s| Sealed::opening(s).cloned()).collect()
        };
        let openings: Vec<Vec<_>> = batch.iter().map(openings).collect();
        if !openings.iter().all(Vec::is_empty) {
            samples.push(serde_json::to_vec(&openings)?);
        }
    }
    let receipts = store.receipts(tenant, run, Page { after: None, limit: 200 }).await?;
    for entry in receipts.items {
        let Some(receipt) = store.receipt(tenant, &entry.id).await? else { continue };
        let envelope: serde_json::Value = serde_json::from_slice(&receipt.envelope)?;
        let payload = envelope.get("payload").and_then(|payload| payload.as_str());
        samples.push(STANDARD.decode(payload.unwrap_or_default())?);
    }
    Ok(())
}
