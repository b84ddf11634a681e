//! The gate alone: policy text in, decisions out. No model, no run, no store.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use embed::{Tool, schema_of};
use kernel::{
    catalogue::Catalogue,
    decision::{Evidence, Question, RunFacts},
    label::{Confidentiality, Label, LabelMap, Trust},
    operation::Operation,
    port::Judge,
    principal::{Chain, Kind, Principal},
};
use policy::{Bundle, INHERITED, Layer, Source};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

const POLICY: &str = r#"
@id("refunds.small")
permit (principal, action == Action::"tool.refund", resource)
when { context.args.amount <= 100 };
"#;

#[derive(Deserialize, JsonSchema)]
struct Refund {
    amount: u32,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let refund = |refund: Refund| async move { Ok::<_, String>(refund.amount) };
    let operation = Tool::new("refund", "Pays money back.", refund).stays_inside().operation()?;
    assert_eq!(operation.input, schema_of::<Refund>());
    let catalogue = Catalogue::new([operation.clone()])?;
    let source = |name: &str, text: &str| {
        let (name, text) = (name.to_owned(), text.to_owned());
        Source { layer: Layer::Operator, name, text }
    };
    let sources = [source("inherited", INHERITED), source("refunds", POLICY)];
    let gate = Bundle::load(&catalogue, &sources).map_err(|all| format!("{all:?}"))?.bundle;
    println!("small, nobody asked: {}", judge(&gate, &operation, 50, 0)?);
    println!("small, approved: {}", judge(&gate, &operation, 50, 1)?);
    println!("large, approved: {}", judge(&gate, &operation, 5_000, 1)?);
    Ok(())
}

fn judge(
    gate: &Bundle,
    operation: &Operation,
    amount: u32,
    approvals: u32,
) -> Result<String, Box<dyn std::error::Error>> {
    let who = |id: &str, kind| -> Result<Principal, kernel::id::BadId> {
        Ok(Principal { id: id.parse()?, kind, roles: Default::default() })
    };
    let label = Label::new(Trust::User, Confidentiality::Internal);
    let approvals = [("approver".to_owned(), approvals)].into();
    let decision = gate.judge(&Question {
        chain: &Chain {
            agent: who("agent:demo", Kind::Agent)?,
            on_behalf_of: who("person:mira", Kind::Person)?,
            tenant: Default::default(),
        },
        operation,
        resource: None,
        args: &json!({ "amount": amount }),
        arg_labels: &LabelMap::uniform(label.clone()),
        existence: &label,
        run: &RunFacts::default(),
        recoveries: &Default::default(),
        autonomy: Default::default(),
        mode: Default::default(),
        at: 0,
        evidence: &Evidence { approvals, ..Evidence::default() },
        current_policy: None,
    });
    Ok(serde_json::to_value(&decision.verdict)?.to_string())
}
