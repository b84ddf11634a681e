//! Verifies a bundle offline, with nothing but public keys and, if there is one, a kept checkpoint.

mod journal;
mod log;
mod report;
mod statements;

use kernel::{Digest, event::Record};

pub use report::{Check, Checked, Outcome, Report, Verdict};

use crate::{bundle::Bundle, checkpoint::Checkpoint, key::Keys, statement::Stated};

/// A statement whose signature holds.
struct Proven {
    /// Digest of the signed payload.
    digest: Digest,
    /// What it says.
    stated: Stated,
}

/// One check's finding with what it brought to light.
type Found<T> = Result<(T, String), String>;

/// Reads and verifies a bundle's bytes. What cannot be read has failed.
#[must_use]
pub fn verify_bytes(bytes: &[u8], keys: &Keys, since: Option<&Checkpoint>) -> Report {
    match Bundle::read(bytes) {
        Ok(bundle) => verify(&bundle, keys, since),
        Err(error) => Report::new(vec![Checked {
            check: Check::Format,
            outcome: Outcome::Failed { reason: error.to_string() },
        }]),
    }
}

/// Verifies a bundle. `since` is a checkpoint kept elsewhere, opened with the same keys: with it,
/// a log that was cut or rewritten since then shows.
#[must_use]
pub fn verify(bundle: &Bundle, keys: &Keys, since: Option<&Checkpoint>) -> Report {
    let mut checks = vec![Checked { check: Check::Format, outcome: log::check_format(bundle) }];
    let mut note = |check, outcome| checks.push(Checked { check, outcome });

    let records = keep(&mut note, Check::Events, journal::read_events(bundle));
    let events = records.as_deref();
    note(Check::Openings, after(events, "the events", |_| journal::check_openings(bundle)));

    let payloads = keep(&mut note, Check::Signatures, statements::open_all(bundle, keys));
    let proven = match payloads {
        Some(payloads) => keep(&mut note, Check::Statements, statements::read_all(payloads)),
        None => {
            note(Check::Statements, Outcome::depends_on("the signatures"));
            None
        }
    };
    let proven = proven.as_deref();
    note(
        Check::Chain,
        after(proven, "the statements", |proven| statements::check_chain(&bundle.run, proven)),
    );
    let both = events.zip(proven);
    let needs = "the events and the statements";
    note(Check::Journal, after(both, needs, |(e, p)| journal::check_agreement(e, p)));
    note(Check::Close, after(both, needs, |(e, p)| statements::check_close(e, p)));

    let checkpoint = keep(&mut note, Check::Checkpoint, log::open_checkpoint(bundle, keys));
    let head = checkpoint.as_ref();
    note(
        Check::Inclusion,
        after(head, "the checkpoint", |head| log::check_inclusion(bundle, head)),
    );
    if let Some(since) = since {
        note(
            Check::Since,
            after(head, "the checkpoint", |head| log::check_since(bundle, head, since)),
        );
    }
    note(Check::Blobs, log::check_blobs(bundle));
    Report::new(checks)
}

/// Notes how a check ended and keeps what it found for the checks that need it.
fn keep<T>(note: &mut impl FnMut(Check, Outcome), check: Check, found: Found<T>) -> Option<T> {
    match found {
        Ok((value, detail)) => {
            note(check, Outcome::Ok { detail });
            Some(value)
        }
        Err(reason) => {
            note(check, Outcome::Failed { reason });
            None
        }
    }
}

/// Runs a check if what it needs is there.
fn after<T>(needed: Option<T>, name: &str, check: impl FnOnce(T) -> Outcome) -> Outcome {
    needed.map_or_else(|| Outcome::depends_on(name), check)
}

/// The journal and the statements it is compared with.
type Events = [Record];
