//! Packs and playbooks.

use std::collections::BTreeMap;

use pack::Pack;

/// The pack of the tests of `pack`: one file of it is replaced by the bytes.
const SMALL: [(&str, &[u8]); 6] = [
    ("pack.yaml", include_bytes!("../../pack/tests/small/pack.yaml")),
    ("intents/check.yaml", include_bytes!("../../pack/tests/small/intents/check.yaml")),
    ("playbooks/check.yaml", include_bytes!("../../pack/tests/small/playbooks/check.yaml")),
    ("connectors/crm.yaml", include_bytes!("../../pack/tests/small/connectors/crm.yaml")),
    ("exceptions.yaml", include_bytes!("../../pack/tests/small/exceptions.yaml")),
    ("kpis.yaml", include_bytes!("../../pack/tests/small/kpis.yaml")),
];

/// The first byte says which file of the small pack the others replace.
pub(crate) fn read_pack(bytes: &[u8]) {
    let Some((which, text)) = bytes.split_first() else {
        return;
    };
    let which = usize::from(which.wrapping_sub(b'0')) % SMALL.len();
    load_with(SMALL.get(which).map_or("pack.yaml", |(name, _)| name), text);
}

/// The bytes are the small pack's playbook.
pub(crate) fn read_playbook(bytes: &[u8]) {
    load_with("playbooks/check.yaml", bytes);
}

fn load_with(name: &str, text: &[u8]) {
    let mut files: BTreeMap<String, Vec<u8>> =
        SMALL.iter().map(|(name, text)| ((*name).to_owned(), text.to_vec())).collect();
    files.insert(name.to_owned(), text.to_vec());
    let Err(problems) = Pack::load(files.clone()) else {
        return;
    };
    assert!(!problems.is_empty(), "refused without a reason");
    for problem in problems {
        let shown = problem.to_string();
        assert!(!problem.message.is_empty(), "no message: {shown}");
        let Some(text) = files.get(&problem.file) else {
            continue;
        };
        // A place that an editor can go to: at most one line after the last.
        let text = String::from_utf8_lossy(text).replace("\r\n", "\n");
        // YAML ends a line at a carriage return alone, too.
        let lines = text.split_terminator(['\n', '\r']).count();
        assert!(problem.line >= 1 && problem.column >= 1, "no place: {shown}");
        assert!(problem.line <= lines + 1, "beyond the end ({lines} lines): {shown}");
    }
}
