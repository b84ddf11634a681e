//! Every shipped pack loads, and every file of it fits its editor schema.

use std::sync::Arc;

use kernel::{operation::Undo, port::Validate};
use pack::{Expected, Schemas};
use serde_json::Value;

use crate::support::{Files, customer_ops, load, shipped, show, small};

fn packs() -> Vec<Files> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs");
    let names = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap());
    let folders = names.filter(|entry| entry.path().join("pack.yaml").is_file());
    folders.map(|entry| shipped(entry.file_name().to_str().unwrap())).collect()
}

#[test]
fn every_shipped_pack_loads_without_a_warning() {
    let all = packs();
    assert!(!all.is_empty());
    for files in all {
        let loaded = load(&files).unwrap_or_else(|problems| panic!("\n{}", show(&problems)));
        assert!(loaded.warnings.is_empty(), "\n{}", show(&loaded.warnings));
    }
}

#[test]
fn every_yaml_file_fits_the_schema_that_editors_get() {
    let schemas = pack::schemas();
    let validator = Schemas::new();
    let mut checked = 0;
    for files in packs().into_iter().chain([small()]) {
        for (path, bytes) in &files {
            if !path.ends_with(".yaml") || path.starts_with("evals/") {
                continue;
            }
            let value = pack::yaml_value(path, bytes).unwrap();
            let kind = value["schema"].as_str().unwrap();
            let kind =
                kind.strip_prefix("harness.").unwrap().strip_suffix("/v1").unwrap().to_owned();
            let (_, schema) = schemas.iter().find(|(name, _)| *name == kind).unwrap();
            let schema = Arc::new(schema.clone());
            assert_eq!(validator.violation(&schema, &value), None, "{path}");
            let mut broken = value.clone();
            broken["nonsense"] = Value::Bool(true);
            assert!(validator.violation(&schema, &broken).is_some(), "{path}: unknown keys pass");
            checked += 1;
        }
    }
    assert!(checked >= 20, "{checked}");
}

#[test]
fn the_six_risky_actions_ask_and_have_a_way_back_where_there_is_one() {
    let pack = customer_ops();
    let undo = |id: &str| pack.catalogue.get(&id.parse().unwrap()).unwrap().operation.facts.undo;
    assert_eq!(undo("crm.update_forecast"), Undo::Restore);
    assert_eq!(undo("crm.update_contract"), Undo::Restore);
    assert_eq!(undo("crm.mark_churn_risk"), Undo::Restore);
    assert_eq!(undo("desk.create_escalation"), Undo::Compensate);
    assert_eq!(undo("billing.create_refund"), Undo::Compensate);
    assert_eq!(undo("mail.send"), Undo::None);
    for id in [
        "mail.send",
        "crm.update_contract",
        "desk.create_escalation",
        "crm.update_forecast",
        "billing.create_refund",
        "crm.mark_churn_risk",
    ] {
        let asks = pack.policy_cases.iter().any(|case| {
            case.operation.as_str() == id
                && matches!(&case.expect, Expected::Ask(roles) if !roles.is_empty())
        });
        assert!(asks, "{id} has a policy case that asks");
    }
    assert!(pack.kpis.len() >= 4);
}

#[test]
fn no_inline_secret_and_no_url_is_in_a_binding() {
    for (id, entry) in customer_ops().catalogue.iter() {
        let text = entry.operation.binding.to_string();
        assert!(!text.contains("://"), "{id}");
    }
}
