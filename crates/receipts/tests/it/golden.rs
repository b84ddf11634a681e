//! The committed bundle must keep verifying, whatever later versions write.

use std::{fs, path::PathBuf};

use receipts::{
    bundle::Bundle,
    verify::{Check, Outcome, Verdict},
};

use crate::{
    python::{verify_twice, verify_with},
    world,
};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap()
}

#[test]
fn committed_bundles_keep_verifying() {
    for machine in ["", "-machine-3", "-machine-4", "-machine-5", "-machine-6"] {
        let bundle = fs::read(file(&format!("bundle-v1{machine}.json"))).unwrap();
        let since = read(&format!("checkpoint-v1{machine}.txt"));
        let said = verify_with(&bundle, &read("key-v1.pub"), Some(&since));
        assert_eq!(said.report.verdict, Verdict::Verified, "{}", said.report);
        let held = |c: &receipts::verify::Checked| matches!(c.outcome, Outcome::Ok { .. });
        assert!(said.report.checks.iter().all(held), "{:#?}", said.report.checks);
        assert_eq!(said.report.checks.len(), 12);
        assert!(said.report.reason.contains("6 statements"), "{}", said.report);
        assert!(said.line.contains("6 statements"), "{}", said.line);
        let read = Bundle::read(&bundle).unwrap();
        // Openings may stand in another order; whatever is hashed or signed stands as text.
        let parsed = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
        let again = read.write().unwrap();
        assert!(parsed(&again) == parsed(&bundle), "bundle-v1{machine}.json is written otherwise");
        assert_eq!(read.records().unwrap().len(), read.events.len());
    }
}

/// The committed files are what this build writes. A new format version gets new files, written with
/// `GOLDEN_WRITE=1`; the old ones must stay as they are.
#[test]
fn the_committed_bundle_is_what_is_written_today() {
    let export = world::export(world::long_run("golden"));
    let (signer, since) = (world::signer(), export.since);
    let note = since.sign(&signer, signer.public()).unwrap();
    let files = [
        ("bundle-v1-machine-6.json", export.bundle.write().unwrap()),
        ("checkpoint-v1-machine-6.txt", note.into_bytes()),
        ("key-v1.pub", format!("{}\n", signer.public()).into_bytes()),
    ];
    for (name, written) in files {
        if std::env::var_os("GOLDEN_WRITE").is_some() {
            fs::write(file(name), &written).unwrap();
        }
        // Openings may stand in another order; whatever is hashed or signed stands as text.
        let parsed = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
        let committed = fs::read(file(name)).unwrap();
        let same = match (parsed(&committed), parsed(&written)) {
            (Some(old), Some(new)) => old == new,
            _ => committed == written,
        };
        assert!(same, "{name} differs from what is written today");
    }
}

#[test]
fn a_bundle_without_values_proves_the_same() {
    let mut bundle = world::export(world::long_run("a")).bundle;
    bundle.withhold_openings();
    bundle.blobs.clear();
    let bytes = bundle.write().unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains("Müller"));
    let said = verify_twice(&bytes, None);
    assert_eq!(said.report.verdict, Verdict::Verified, "{}", said.report);
    let openings = said.report.checks.iter().find(|c| c.check == Check::Openings).unwrap();
    assert!(matches!(openings.outcome, Outcome::NotPossible { .. }), "{openings:?}");
}

#[test]
fn a_run_without_statements_is_open() {
    let mut export = world::export(world::short_run("a"));
    export.bundle.events.truncate(1);
    export.bundle.receipts.clear();
    let said = verify_twice(&export.bundle.write().unwrap(), None);
    assert_eq!(said.report.verdict, Verdict::Open, "{}", said.report);
}
