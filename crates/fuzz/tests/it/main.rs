//! What fuzzing kept, replayed on every test run: no target panics on any of it (C025).

use std::{fs, path::Path};

/// Most bytes that the kept inputs may take together.
const CORPUS_BYTES_MAX: u64 = 1_000_000;

#[test]
fn every_kept_input_is_answered() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let mut bytes_kept = 0;
    for (name, target) in harness_fuzz::TARGETS {
        let mut inputs = 0;
        for entry in fs::read_dir(corpus.join(name)).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            bytes_kept += bytes.len() as u64;
            inputs += 1;
            // A panic names the input that brought it about.
            let answered = std::panic::catch_unwind(|| target(&bytes));
            assert!(answered.is_ok(), "{}", path.display());
        }
        assert!(inputs >= 3, "{name}: only {inputs} inputs were kept");
    }
    assert!(bytes_kept <= CORPUS_BYTES_MAX, "{bytes_kept} bytes");
}

#[test]
fn every_target_has_its_binary_and_its_folder() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let list = |below: &str| {
        let names = fs::read_dir(folder.join(below)).unwrap();
        let mut names: Vec<String> = names
            .map(|entry| entry.unwrap().file_name().to_string_lossy().replace(".rs", ""))
            .collect();
        names.sort();
        names
    };
    let mut targets: Vec<&str> = harness_fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
    targets.sort_unstable();
    assert_eq!(list("fuzz_targets"), targets);
    assert_eq!(list("corpus"), targets);
}
