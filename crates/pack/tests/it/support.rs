//! Folders to load and small packs to break.

use std::{collections::BTreeMap, path::Path};

use pack::{Loaded, Pack, Problem};

pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// Every file of a shipped pack.
pub(crate) fn shipped(name: &str) -> Files {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs").join(name);
    let mut files = Files::new();
    collect(&root, "", &mut files);
    files
}

fn collect(folder: &Path, prefix: &str, files: &mut Files) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{name}/"), files);
        } else {
            files.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
}

pub(crate) fn load(files: &Files) -> Result<Loaded, Vec<Problem>> {
    Pack::load(files.clone())
}

pub(crate) fn customer_ops() -> Pack {
    load(&shipped("customer-ops")).unwrap_or_else(|problems| panic!("{}", show(&problems))).pack
}

pub(crate) fn show(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

/// Replaces `from`, which must stand in the file exactly once, by `to`.
pub(crate) fn edit(files: &mut Files, file: &str, from: &str, to: &str) {
    let text = String::from_utf8(files[file].clone()).unwrap();
    assert_eq!(text.matches(from).count(), 1, "`{from}` in {file}");
    files.insert(file.to_owned(), text.replace(from, to).into_bytes());
}

/// A complete small pack, with every line short enough to count in.
pub(crate) fn small() -> Files {
    let mut files = Files::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/small"), "", &mut files);
    files
}
