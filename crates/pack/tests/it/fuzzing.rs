//! Whatever the bytes, loading answers; it never panics.

use proptest::prelude::*;

use crate::support::{load, shipped, small};

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_in_any_file(which in 0_usize..6, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut files = small();
        let name = files.keys().nth(which).unwrap().clone();
        files.insert(name, bytes);
        let _ = load(&files);
    }

    #[test]
    fn yaml_like_text_in_any_file(which in 0_usize..6, text in "[a-z:\\-\\[\\]{}&*!|>'\"#%@`, \n?0-9$.~<]{0,200}") {
        let mut files = small();
        let name = files.keys().nth(which).unwrap().clone();
        files.insert(name.clone(), text.clone().into_bytes());
        let _ = load(&files);
        let with_head = format!("schema: harness.playbook/v1\nname: check\nsteps:\n  - {text}\n");
        files.insert(name, with_head.into_bytes());
        let _ = load(&files);
    }

    #[test]
    fn one_piece_replaced_in_a_shipped_file(
        which in 0_usize..64, at in 0_usize..8_000, cut in 0_usize..40,
        insert in "[a-z:\\-\\[\\]{}&*!|>'\"#$. \n]{0,12}",
    ) {
        let mut files = shipped("customer-ops");
        let name = files.keys().nth(which % files.len()).unwrap().clone();
        let mut bytes = files[&name].clone();
        let start = at % bytes.len().max(1);
        let end = (start + cut).min(bytes.len());
        bytes.splice(start.min(bytes.len())..end, insert.into_bytes());
        files.insert(name, bytes);
        if let Err(problems) = load(&files) {
            prop_assert!(!problems.is_empty());
            prop_assert!(problems.iter().all(|p| p.line > 0 && p.column > 0), "{problems:?}");
        }
    }
}
