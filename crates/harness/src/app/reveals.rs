//! What was taken out of answers and kept sealed, for who holds the key. Each time somebody has a value back, or tries
//! to, that is recorded first: one line each, bound to the line before it.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
};

use ::secrets::keeper::{self, Holder, Keeper};
use engine::Clock as _;
use kernel::Digest;
use receipts::key::Signer;
use rustix::fs::{FlockOperation, flock};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    config::Config,
    host::SystemClock,
    problem::{Kind, Problem},
    runs::rfc3339,
    secrets,
};

/// What names are made with is derived under this from the receipt key, which is outside of the store.
const NAMING: &str = "harness names of redacted values v1";

/// Largest record of reveals that is read, in bytes.
const RECORD_BYTES_MAX: u64 = 64 << 20;

/// Most reveals that are listed.
const LISTED_MAX: usize = 1_000;

/// A value that somebody has back.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Revealed {
    /// The name in its mark.
    pub name: String,
    /// `card`, `iban`, `mail` or `phone`.
    pub kind: String,
    /// The run that met it first.
    pub run: String,
    /// When that was.
    pub kept_at: String,
    /// What had been taken out.
    pub value: String,
}

/// Who had values back.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RevealList {
    /// Newest first.
    pub items: Vec<Reveal>,
}

/// One time that somebody had a value back, or wanted to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reveal {
    /// When.
    pub at: String,
    /// The person of the configuration that the command was given as.
    pub who: String,
    /// The account of this machine that gave it.
    pub account: u32,
    /// Which value.
    pub name: String,
    /// What it is.
    pub kind: String,
    /// The run that met it first.
    pub run: String,
    /// The public half of the key that was shown.
    pub key: String,
    /// Whether the key opened it.
    pub opened: bool,
    /// The digest of the line before; that of nothing for the first.
    pub previous: String,
}

/// What keeps what is taken out, where configuration asks for that.
pub(super) fn keeper(config: &Config, signer: &Signer) -> Result<Option<Arc<Keeper>>, Problem> {
    let redaction = &config.redaction;
    if redaction.keep_for.is_empty() {
        return Ok(None);
    }
    let mut naming = Zeroizing::new([0_u8; 32]);
    let seed = Zeroizing::new(format!("{NAMING}\0{}", *signer.to_text()));
    naming.copy_from_slice(&Digest::of(seed.as_bytes()).0);
    let since = SystemClock.now().at.saturating_sub(redaction.keep_ms);
    let keeper = Keeper::open(redaction.kept.clone(), &redaction.keep_for, naming, since);
    keeper.map(|keeper| Some(Arc::new(keeper))).map_err(secrets::problem)
}

/// Has a value back: with the key whose public half it was sealed for.
///
/// # Errors
/// When nothing is kept under that name, the key is another one, or what is done cannot be recorded.
pub fn reveal(config: &Config, mark: &str, holder: &Holder) -> Result<Revealed, Problem> {
    let entry = keeper::find(&config.redaction.kept, keeper::name_of(mark));
    let entry = entry.map_err(secrets::problem)?;
    let opened = holder.open(&entry);
    // Nothing is shown that is not recorded.
    record(&config.redaction.revealed, |previous| Reveal {
        at: rfc3339(SystemClock.now().at),
        who: config.me.clone(),
        account: rustix::process::geteuid().as_raw(),
        name: entry.name.clone(),
        kind: entry.kind.clone(),
        run: entry.run.clone(),
        key: holder.public(),
        opened: opened.is_ok(),
        previous,
    })?;
    let value = opened.map_err(secrets::problem)?;
    Ok(Revealed {
        name: entry.name,
        kind: entry.kind,
        run: entry.run,
        kept_at: rfc3339(entry.at),
        value: value.as_str().to_owned(),
    })
}

/// Who had values back, newest first.
///
/// # Errors
/// When a line was changed or taken out since it was written.
pub fn list(config: &Config) -> Result<RevealList, Problem> {
    let (mut items, _) = read(&config.redaction.revealed)?;
    items.reverse();
    items.truncate(LISTED_MAX);
    Ok(RevealList { items })
}

fn record(path: &Path, line: impl FnOnce(String) -> Reveal) -> Result<(), Problem> {
    let failed = |error: std::io::Error| unusable(path, &error.to_string());
    let mut options = OpenOptions::new();
    let file = options.read(true).append(true).create(true).mode(0o600).open(path);
    let mut file = file.map_err(failed)?;
    flock(&file, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
    let (_, previous) = read(path)?;
    let line =
        serde_json::to_string(&line(previous)).map_err(|e| unusable(path, &e.to_string()))?;
    let written = file.write_all(line.as_bytes()).and_then(|()| file.write_all(b"\n"));
    written.and_then(|()| file.sync_all()).map_err(failed)
}

/// Every line, each held against the one before, and the digest of the last.
fn read(path: &Path) -> Result<(Vec<Reveal>, String), Problem> {
    let mut previous = Digest::of(b"").to_string();
    let bytes = match fs::metadata(path) {
        Ok(meta) if meta.len() > RECORD_BYTES_MAX => {
            return Err(unusable(path, &format!("it is larger than {RECORD_BYTES_MAX} bytes")));
        }
        Ok(_) => fs::read(path).map_err(|error| unusable(path, &error.to_string()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(unusable(path, &error.to_string())),
    };
    let mut all = Vec::new();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        let read = serde_json::from_slice::<Reveal>(line).ok();
        let Some(read) = read.filter(|read| read.previous == previous) else {
            let detail = format!(
                "{}:{} does not follow the line before it: something was changed or taken out",
                path.display(),
                number + 1
            );
            return Err(Problem::new(Kind::VerificationFailed, "reveals-damaged", detail)
                .next("find out who changed it; move it away to begin a new one"));
        };
        previous = Digest::of(line).to_string();
        all.push(read);
    }
    Ok((all, previous))
}

fn unusable(path: &Path, problem: &str) -> Problem {
    let detail = format!("{} cannot be used: {problem}", path.display());
    Problem::new(Kind::TryAgain, "reveals-unusable", detail)
        .next("nothing was shown, since nothing could be recorded; see to that file first")
}
