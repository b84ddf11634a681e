//! The last look before something is told: answers, problems, the log.
//!
//! What comes in from outside was looked at when it came in. Here stands what remains: what people say to the harness,
//! what it says to them, what stood in the store before a secret was known, and what a defect would tell.

use std::{
    io,
    sync::{Arc, PoisonError, RwLock, Weak},
};

use connect::{Connectors, redact::Redactor};
use serde_json::Value;

use super::{App, problem::Problem};

/// Operations whose answers are signed, or are files: changed they would be damaged.
const AS_THEY_ARE: [&str; 4] =
    ["run.export", "receipt.export", "receipt.get", "receipt.checkpoint"];

/// Operations whose requests are files of a pack, and named by their digest.
const FILES: &str = "pack.";

/// Longest line of the log that is looked at as one, in bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// The connectors of the store that this process has open.
static OPEN: RwLock<Weak<Connectors>> = RwLock::new(Weak::new());

/// Keeps the secrets of these connectors out of the log.
pub(super) fn watch(connectors: &Arc<Connectors>) {
    *OPEN.write().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(connectors);
}

/// A request without live secrets: whoever pastes one must not have it stored, or shown to a model.
pub(super) fn said(app: &App, op: &str, mut body: Value) -> Value {
    if !op.starts_with(FILES) {
        app.connectors.redactor().scrub_known(&mut body);
    }
    body
}

/// An answer or a problem without live secrets.
///
/// # Errors
/// The problem.
pub(super) fn told(
    app: &App,
    op: &str,
    answered: Result<Value, Problem>,
) -> Result<Value, Problem> {
    let redactor = app.connectors.redactor();
    match answered {
        Ok(mut answer) => {
            if !AS_THEY_ARE.contains(&op) {
                redactor.scrub_known(&mut answer);
            }
            Ok(answer)
        }
        Err(problem) => Err(problem.scrubbed(&redactor)),
    }
}

/// Where the log goes, line by line.
#[derive(Debug)]
pub struct Log<W: io::Write> {
    to: W,
    line: Vec<u8>,
}

impl<W: io::Write> Log<W> {
    /// On its way to a writer.
    pub fn new(to: W) -> Self {
        Self { to, line: Vec::new() }
    }

    fn tell(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.line);
        let open = OPEN.read().unwrap_or_else(PoisonError::into_inner).upgrade();
        // Before a store is open no secret was read; keys of any service are known all the same.
        let redactor = match open {
            Some(connectors) => connectors.redactor(),
            None => Arc::new(nothing_live().map_err(io::Error::other)?),
        };
        let clean = redactor.scrub_text(&String::from_utf8_lossy(&line));
        self.to.write_all(clean.as_bytes())
    }
}

fn nothing_live() -> Result<Redactor, String> {
    let none: [(&str, &str); 0] = [];
    Redactor::new(none)
}

impl<W: io::Write> io::Write for Log<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if self.line.ends_with(b"\n") || self.line.len() > LINE_BYTES_MAX {
            self.tell()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.line.is_empty() {
            self.tell()?;
        }
        self.to.flush()
    }
}

impl<W: io::Write> Drop for Log<W> {
    fn drop(&mut self) {
        // Nothing can be done about a log that cannot be written.
        let _lost = io::Write::flush(self);
    }
}
