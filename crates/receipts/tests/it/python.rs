//! Runs the independent verifier beside this crate's.

use std::{fs, path::Path, process::Command};

use receipts::{
    checkpoint::Checkpoint,
    key::Keys,
    verify::{Report, Verdict, verify_bytes},
};

use crate::world;

/// What both verifiers said about a bundle.
pub(crate) struct Said {
    pub(crate) report: Report,
    pub(crate) line: String,
}

/// Verifies bytes with both, and fails unless they agree.
pub(crate) fn verify_twice(bundle: &[u8], since: Option<&str>) -> Said {
    verify_with(bundle, &world::signer().public().to_string(), since)
}

pub(crate) fn verify_with(bundle: &[u8], public: &str, since: Option<&str>) -> Said {
    let keys = Keys::parse(public).unwrap();
    let opened = since.map(|note| Checkpoint::open(note, &keys).unwrap());
    let report = verify_bytes(bundle, &keys, opened.as_ref());
    let (line, success) = run_python(bundle, public, since);
    let word = match report.verdict {
        Verdict::Verified => "verified: ",
        Verdict::Open => "open: ",
        Verdict::Failed => "failed: ",
    };
    assert!(line.starts_with(word), "we say `{report}`, the independent verifier says `{line}`");
    assert_eq!(success, report.verdict == Verdict::Verified, "{line}");
    assert_eq!(line.trim_end().lines().count(), 1, "{line}");
    Said { report, line }
}

fn run_python(bundle: &[u8], public: &str, since: Option<&str>) -> (String, bool) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verify.py");
    let mut command = Command::new("python3");
    command
        .arg("-B")
        .arg(script)
        .arg(file("bundle.json", bundle))
        .arg(file("key.pub", public.as_bytes()));
    if let Some(note) = since {
        command.arg("--since").arg(file("since.txt", note.as_bytes()));
    }
    let output = command.output().expect("python3 runs the independent verifier");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.is_empty(), "{errors}");
    (String::from_utf8(output.stdout).unwrap(), output.status.success())
}
