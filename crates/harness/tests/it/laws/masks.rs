//! What a policy withholds stands nowhere (C112).

use std::sync::Arc;

use connect::ingest::MASKED;
use kernel::{
    catalogue::Catalogue,
    exception::Landed,
    gate::Permit,
    operation::{Effect, Retry, Undo},
    port::Outcome,
};
use policy::Layer;
use serde_json::{Value, json};

use super::gate::{One, first};
use crate::labels::rig::{ALL, Outside, Rig, bundle, taken_in};

const CANARY: &str = "ana.keller.canary@northwind.example";
const WITHHELD: &str = "@id(\"withheld\") @reason(\"addresses are not for agents\")
forbid (principal, action == Action::\"crm.people\", resource)
unless { context.evidence.transforms.contains(\"mask:/people/*/email\") };
";

struct Answers(Value);

impl Outside for Answers {
    fn call(&mut self, permit: &Permit) -> Outcome {
        taken_in(permit, self.0.clone())
    }
}

fn people(answer: Value) -> Rig {
    let mut read = testkit::operation("crm.people", Effect::Read, Undo::None, Retry::Keyed);
    read.input = Arc::new(json!({"type": "object"}));
    read.output = Arc::new(json!({"type": "object", "required": ["people"], "properties": {
        "people": {"type": "array", "items": {"type": "object", "required": ["name", "email"],
            "properties": {"name": {"type": "string"}, "email": {"type": "string"}}}}}}));
    read.maskable = vec!["/people/*/email".into()];
    let catalogue = Arc::new(Catalogue::new([read]).unwrap());
    let judge = Arc::new(bundle(&catalogue, &[(Layer::Operator, &format!("{ALL}{WITHHELD}"))]));
    let one = One {
        catalogue: &catalogue,
        operation: "crm.people",
        args: json!({}),
        ..One::of("crm.get", judge)
    };
    one.walk(&mut Answers(answer))
}

/// Everything the run has written, openings and statements included, and every outcome.
fn everything(rig: &Rig) -> String {
    let events: String = rig.records.iter().map(|r| format!("{:?}\n", r.event)).collect();
    let statements: String =
        rig.drafts.iter().map(|d| String::from_utf8(d.payload.clone()).unwrap()).collect();
    let outcomes: String = rig.calls.iter().map(|c| format!("{:?}\n", c.outcome)).collect();
    events + &statements + &outcomes
}

/// C145: a field that policy withholds comes to nobody. C087: the receipt names what was changed about the call. C292: the journal holds of an answer what policy lets it.
#[test]
fn a_field_that_policy_withholds_is_masked_before_anybody_sees_it() {
    let rig = people(json!({"people": [
        {"name": "Ana", "email": CANARY}, {"name": "Bo", "email": CANARY}]}));
    let call = &rig.calls[0];
    assert!(
        call.masks.contains("/people/*/email"),
        "the permit carries the mask: {:?}",
        call.masks
    );
    assert_eq!(call.landed, Landed::Yes);
    let returned = call.outcome.as_ref().unwrap();
    assert_eq!(
        *returned.output,
        json!({"people": [
        {"name": "Ana", "email": MASKED}, {"name": "Bo", "email": MASKED}]})
    );
    assert_eq!(first(&rig).dispatches.len(), 1);
    let text = everything(&rig);
    assert!(text.contains("Ana"), "the scan sees values");
    assert!(!text.contains("canary"), "{text}");
    assert!(rig.receipts()[0].transforms.contains("mask:/people/*/email"));
}

/// An answer that does not fit says so without repeating what is withheld.
#[test]
fn a_withheld_field_does_not_leak_through_a_failure() {
    let odd = [
        json!({"people": [{"name": 1, "email": CANARY}]}),
        json!({"people": [{"name": "Ana", "email": {"is": CANARY}}]}),
        json!({"people": CANARY}),
        json!(CANARY),
    ];
    for answer in &odd {
        let rig = people(answer.clone());
        assert!(rig.calls[0].outcome.is_err(), "{answer}");
        assert!(!everything(&rig).contains("canary"), "{answer}");
    }
}
