//! Bundles of receipts, keys and checkpoints.

use std::sync::LazyLock;

use receipts::{
    bundle::Bundle,
    checkpoint::Checkpoint,
    key::Keys,
    verify::{Verdict, verify_bytes},
};

/// The bundle and the key that released versions must go on reading.
const GOLDEN: &[u8] = include_bytes!("../../receipts/tests/golden/bundle-v1.json");
const KEY: &str = include_str!("../../receipts/tests/golden/key-v1.pub");

/// The bytes are a bundle; and, for what they are worth, a key and a checkpoint.
pub(crate) fn verify(bytes: &[u8]) {
    static KEYS: LazyLock<Option<Keys>> = LazyLock::new(|| Keys::parse(KEY).ok());
    let keys = KEYS.as_ref();
    assert!(keys.is_some(), "the key that is kept is one");
    let Some(keys) = keys else {
        return;
    };
    let report = verify_bytes(bytes, keys, None);
    // Whoever finds another bundle that verifies has broken a signature or a hash.
    let same = |read: Bundle| Bundle::read(GOLDEN).is_ok_and(|golden| golden.run == read.run);
    let is_known = Bundle::read(bytes).is_ok_and(same);
    assert!(report.verdict != Verdict::Verified || is_known, "it verifies: {report}");
    assert!(!report.to_string().is_empty());
    let text = String::from_utf8_lossy(bytes);
    let _ = Keys::parse(&text);
    let _ = Checkpoint::open(&text, keys);
}
