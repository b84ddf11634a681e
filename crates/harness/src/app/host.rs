//! The machine under the core: clocks, the signing key, the store's lock.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use kernel::input::Now;
use receipts::key::Signer;
use rustix::{
    fs::{FlockOperation, flock},
    time::{ClockId, clock_gettime},
};

use super::problem::{Kind, Problem};

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

impl engine::Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the engine reads the wall clock"
    )]
    fn now(&self) -> Now {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let boot = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(boot.tv_sec).unwrap_or_default();
        let boot_ms = seconds * 1_000 + u64::try_from(boot.tv_nsec).unwrap_or_default() / 1_000_000;
        Now { at: i64::try_from(since.as_millis()).unwrap_or(i64::MAX), boot_ms }
    }
}

/// The engine's clock for connectors: what is fresh is judged by the same time as what is due.
#[derive(Clone, Debug)]
pub(super) struct OneClock(pub(super) Arc<dyn engine::Clock>);

impl connect::clock::Clock for OneClock {
    fn now_ms(&self) -> i64 {
        self.0.now().at
    }

    fn boot_ms(&self) -> u64 {
        self.0.now().boot_ms
    }
}

/// Wraps statements in DSSE envelopes under one key.
#[derive(Clone, Debug)]
pub struct Sealer(pub Arc<Signer>);

impl engine::Seal for Sealer {
    fn seal(&self, payload: &[u8]) -> Vec<u8> {
        receipts::dsse::envelope(&*self.0, payload)
    }
}

/// How often, and how many times, it is looked whether a command that owns the store has ended: about 3 s.
const PASSING_EVERY: Duration = Duration::from_millis(50);
const PASSING_LOOKS: u32 = 60;

/// The store's one owner, for as long as this value lives. The system releases it with the process.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of a store folder; `None` when another process owns it.
    ///
    /// # Errors
    /// When the folder cannot be made or locked at all.
    pub fn take(store: &Path) -> Result<Option<Self>, Problem> {
        let refuse = |problem: std::io::Error| {
            Problem::new(
                Kind::Unexpected,
                "store-unusable",
                format!("cannot use the store {}: {problem}", store.display()),
            )
            .next("name another folder with --store, or fix its permissions")
        };
        make_private_dir(store).map_err(refuse)?;
        let path = store.join("lock");
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
        let file = file.map_err(refuse)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(refuse(error.into())),
        }
    }

    /// As [`Lock::take`], for what cannot work beside an owner: a command that only passes by is waited for.
    ///
    /// # Errors
    /// As [`Lock::take`].
    pub async fn take_in_turn(store: &Path) -> Result<Option<Self>, Problem> {
        for _ in 0..PASSING_LOOKS {
            if let Some(lock) = Self::take(store)? {
                return Ok(Some(lock));
            }
            tokio::time::sleep(PASSING_EVERY).await;
        }
        Self::take(store)
    }
}

/// Makes a folder that only its owner can enter; one that exists is left as it is.
///
/// # Errors
/// What the system said.
pub fn make_private_dir(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
}

/// Reads the signing key a reference names; makes one on first use when it is a file.
///
/// # Errors
/// When the reference is malformed, the file is readable by others, or the key is not a key.
pub fn signing_key(reference: &str) -> Result<Signer, Problem> {
    if let Some(name) = reference.strip_prefix("env:") {
        let missing = || {
            Problem::usage("key-missing", format!("the environment variable {name} holds no key"))
                .next("set it, or point keys.receipts at a file")
        };
        let text = std::env::var(name).map_err(|_| missing())?;
        return parse_key(&text, reference);
    }
    let Some(path) = reference.strip_prefix("file:").map(PathBuf::from) else {
        let detail =
            "keys.receipts must be `env:NAME` or `file:PATH`; a key never stands in configuration";
        return Err(Problem::usage("key-reference", detail).next("write file:PATH or env:NAME"));
    };
    if path.exists() { read_key(&path, reference) } else { make_key(&path) }
}

fn parse_key(text: &str, reference: &str) -> Result<Signer, Problem> {
    Signer::parse(text.trim()).map_err(|error| {
        Problem::usage("key-invalid", format!("{reference} is not a signing key: {error}"))
            .next("point keys.receipts at the key that this store was begun with")
    })
}

fn read_key(path: &Path, reference: &str) -> Result<Signer, Problem> {
    let refuse = |problem: String| {
        Problem::usage("key-unreadable", problem).next("make it readable for you alone")
    };
    let meta = std::fs::metadata(path).map_err(|e| refuse(format!("{}: {e}", path.display())))?;
    if meta.permissions().mode() & 0o077 != 0 {
        return Err(refuse(format!("{} can be read by others", path.display()))
            .next(format!("chmod 600 {}", path.display())));
    }
    let text =
        std::fs::read_to_string(path).map_err(|e| refuse(format!("{}: {e}", path.display())))?;
    parse_key(&text, reference)
}

fn make_key(path: &Path) -> Result<Signer, Problem> {
    let refuse = |problem: String| {
        Problem::new(
            Kind::Unexpected,
            "key-not-made",
            format!("cannot make {}: {problem}", path.display()),
        )
    };
    let mut seed = [0_u8; 32];
    getrandom::fill(&mut seed).map_err(|e| refuse(e.to_string()))?;
    let signer = Signer::from_seed(&seed);
    if let Some(folder) = path.parent() {
        make_private_dir(folder).map_err(|e| refuse(e.to_string()))?;
    }
    let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path);
    let mut file = file.map_err(|e| refuse(e.to_string()))?;
    let text = signer.to_text();
    let written = file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n"));
    written.and_then(|()| file.sync_all()).map_err(|e| refuse(e.to_string()))?;
    Ok(signer)
}
