//! Whatever the bytes, what reads them answers and never panics (C025).

use std::{collections::BTreeMap, path::Path};

use harness::app::config::{Config, Overrides};
use pack::Pack;
use policy::{Bundle, Layer, Source};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::gate::catalogue;
use crate::labels::cases;

fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        ".{0,20}",
        "\\$\\{\\{ ?[a-z0-9.\\[\\]()?:+*/%<>=&|!'\" ]{0,40} ?\\}\\}",
        "[${}a-z. ]{0,20}"
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A JSON document with some of its bytes replaced.
fn almost_json() -> impl Strategy<Value = Vec<u8>> {
    (any_json(), prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3)).prop_map(
        |(value, changes)| {
            let mut bytes = serde_json::to_vec(&value).unwrap();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        },
    )
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![prop::collection::vec(any::<u8>(), 0..200), almost_json()]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(48), failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn packs_answer(path in "(pack|playbooks/a|intents/b|connectors/c|exceptions|kpis)\\.yaml|.{0,12}", bytes in any_bytes()) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs/customer-ops");
        let mut files = harness::app::shelf::read_folder(&root).unwrap();
        files.insert(path.clone(), bytes.clone());
        let _ = Pack::load(files);
        let _ = Pack::load(BTreeMap::from([(path, bytes)]));
    }

    #[test]
    fn templates_answer(value in any_json()) {
        if let Ok(template) = expr::Template::parse(&value) {
            let _ = (template.is_constant(), template.reads(), template.estimate(1_000));
        }
        if let Value::String(text) = &value {
            let _ = expr::Expr::parse(text);
        }
    }

    #[test]
    fn canonical_json_answers_and_is_stable(bytes in any_bytes()) {
        if let Ok(value) = kernel::canon::parse(&bytes)
            && let Ok(canonical) = kernel::canon::bytes(&value)
        {
            let again = kernel::canon::parse(&canonical).unwrap();
            prop_assert_eq!(kernel::canon::bytes(&again).unwrap(), canonical);
        }
    }

    #[test]
    fn receipt_bundles_answer(bytes in any_bytes(), value in any_json()) {
        let _ = receipts::bundle::Bundle::read(&bytes);
        let odd = json!({"schema": "harness.receipt-bundle/v1", "run": value, "events": [value],
            "receipts": value, "checkpoint": value, "blobs": value, "consistency": [value]});
        let _ = receipts::bundle::Bundle::read(odd.to_string().as_bytes());
        if let Ok(keys) = receipts::key::Keys::parse(&String::from_utf8_lossy(&bytes)) {
            let _ = receipts::verify::verify_bytes(&bytes, &keys, None);
        }
    }

    #[test]
    fn policies_answer(
        text in "(@id\\(\"[a-z]{0,3}\"\\) ?)?(permit|forbid) ?\\((principal|action|resource|, ?|==| in |[A-Z][a-z]{2}::\"[a-z.]{0,8}\"){0,9}\\) ?((when|unless) ?\\{[a-z .0-9<>=!&|+*()\\[\\]\"]{0,60}\\})? ?;|.{0,80}",
    ) {
        let name = "a.cedar".to_owned();
        let _ = Bundle::load(catalogue(), &[Source { layer: Layer::Operator, name, text }]);
    }

    #[test]
    fn configuration_answers(bytes in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..120),
        "((tenant|store|packs|me|policy|budget|keys|people|systems|secrets|\\[[a-z.]{1,12}\\]|[a-z_]{1,9}) ?= ?(\"[^\"\\n]{0,9}\"|[0-9]{1,20}|\\[\\]|\\{\\})?\n){0,5}"
            .prop_map(String::into_bytes),
    ]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("harness.toml");
        std::fs::write(&path, bytes).unwrap();
        let overrides = Overrides { config: Some(path), ..Overrides::default() };
        let _ = Config::load(&overrides, folder.path());
    }
}
