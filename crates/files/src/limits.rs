use serde::{Deserialize, Serialize};

/// Most bytes that one [`read`](crate::Root::read) returns, whatever was asked: 8 MiB.
pub const READ_BYTES_MAX: u64 = 8 << 20;

/// Bytes that a read returns where nothing else was asked: 256 KiB.
pub const READ_BYTES: u64 = 256 << 10;

/// Longest path in bytes.
pub const PATH_BYTES_MAX: usize = 4096;

/// Longest name in bytes, as file systems have it.
pub const NAME_BYTES_MAX: usize = 255;

/// Most names in one path, and the deepest that a walk goes.
pub const DEPTH_MAX: usize = 128;

/// How long a change waits for another one in the same folder, in milliseconds.
pub const LOCK_WAIT_MS: u64 = 10_000;

/// What a [`Root`](crate::Root) refuses to do more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest file, in bytes, that is written, edited, compared, or read by lines; a larger one is read by bytes
    /// and has no hash. 64 MiB.
    pub file_bytes: u64,
    /// Largest file, in bytes, that a search looks into. 64 MiB.
    pub search_file_bytes: u64,
    /// Most entries that one list, search, sweep or tree hash looks at. 1,000,000.
    pub walk_entries: u64,
    /// Most bytes of content that a before-image holds. 1 MiB.
    pub image_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 64 << 20,
            search_file_bytes: 64 << 20,
            walk_entries: 1_000_000,
            image_bytes: 1 << 20,
        }
    }
}
