//! What a world is started with, and what can stop it from starting.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::fault::Fault;

/// The fewest accounts a world may have: every protagonist must exist.
pub(crate) const MIN_ACCOUNTS: u32 = 200;
/// The most accounts a world may have: lists are scanned, so this bounds each request.
pub(crate) const MAX_ACCOUNTS: u32 = 2000;

/// How to start a world.
#[derive(Debug, Clone)]
pub struct WorldConfig {
    /// Everything in the seed data follows from this number and `accounts`.
    pub seed: u64,
    /// How many accounts there are, 200 to 2000.
    pub accounts: u32,
    /// Where the HTTP systems listen; loopback only. Port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where the mail sink listens; loopback only. Port 0 picks a free one.
    pub smtp_listen: SocketAddr,
    /// The database file; `None` keeps everything in memory. An existing file keeps its data.
    pub db: Option<PathBuf>,
    /// Faults in force from the start.
    pub faults: Vec<Fault>,
    /// Tokens to accept; `None` derives them from the seed.
    pub tokens: Option<Tokens>,
    /// Which clock the freshness fields of answers tell.
    pub as_of: AsOf,
}

impl Default for WorldConfig {
    fn default() -> Self {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            seed: 42,
            accounts: 300,
            listen: any_port,
            smtp_listen: any_port,
            db: None,
            faults: Vec::new(),
            tokens: None,
            as_of: AsOf::Wall,
        }
    }
}

/// Which clock the freshness fields of answers (`AsOf`, `refreshed_at`, `as_of`) tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AsOf {
    /// The machine's clock: answers look fresh whenever the world runs.
    #[default]
    Wall,
    /// The world clock, which stands still unless moved: answers are equal byte for byte.
    World,
}

/// The two bearer tokens one system accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemTokens {
    /// May read and write.
    pub write: String,
    /// May only read.
    pub read: String,
}

/// The bearer tokens of all systems.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// For `/crm`.
    pub crm: SystemTokens,
    /// For `/desk`.
    pub desk: SystemTokens,
    /// For `/billing`.
    pub billing: SystemTokens,
    /// For `/usage`.
    pub usage: SystemTokens,
}

impl Tokens {
    /// The tokens that follow from a seed: the same seed gives the same tokens.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let pair = |system: &str| SystemTokens {
            write: token(seed, system, "rw"),
            read: token(seed, system, "ro"),
        };
        Self {
            crm: pair("crm"),
            desk: pair("desk"),
            billing: pair("billing"),
            usage: pair("usage"),
        }
    }
}

fn token(seed: u64, system: &str, role: &str) -> String {
    let digest = Sha256::digest(format!("harness-world token {seed} {system} {role}"));
    let hex: String = digest.iter().take(12).map(|b| format!("{b:02x}")).collect();
    format!("wld_{system}_{role}_{hex}")
}

/// Why a world could not start, or could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The number of accounts is out of bounds.
    #[error("accounts is {0}, must be {MIN_ACCOUNTS} to {MAX_ACCOUNTS}")]
    Accounts(u32),
    /// An address others could reach was asked for.
    #[error("{0} is not a loopback address; the demo world listens on loopback only")]
    NotLoopback(SocketAddr),
    /// A start fault makes no sense.
    #[error("fault {operation}: {reason}")]
    Fault {
        /// The operation the fault names.
        operation: String,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// The database file belongs to another world.
    #[error(
        "the world file holds seed {held_seed} with {held_accounts} accounts; start with those, or name another file"
    )]
    OtherWorld {
        /// The seed in the file.
        held_seed: String,
        /// The number of accounts in the file.
        held_accounts: String,
    },
    /// The database refused.
    #[error("world database: {0}")]
    Database(#[from] rusqlite::Error),
    /// A stored record could not be read back.
    #[error("world database holds a broken record: {0}")]
    Record(#[from] serde_json::Error),
    /// A listener or the file system refused.
    #[error("{place}: {source}")]
    Io {
        /// What was being done.
        place: &'static str,
        /// The system's own words.
        source: std::io::Error,
    },
    /// Work was cut off because the world is going down.
    #[error("the world is shutting down")]
    Closing,
}
