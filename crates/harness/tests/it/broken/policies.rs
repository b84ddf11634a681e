//! Rules: each text is the operator's only file.

use policy::{Bundle, Layer, Source};

use super::{Debts, Told};
use crate::laws::catalogue;

#[rustfmt::skip]
pub(super) const TABLE: &[(&str, &str)] = &[
    ("permit (principal, action, resource)", "a.cedar"),
    ("permit (principal, action, resource) when { true };", "@id"),
    ("@id(\"\") permit (principal, action, resource);", "id"),
    ("@id(\"a\") permit (principal, action, resource); @id(\"a\") forbid (principal, action, resource);", "a"),
    ("@id(\"a\") @id(\"b\") permit (principal, action, resource);", "id"),
    ("@id(\"a\") @raeson(\"x\") permit (principal, action, resource);", "raeson"),
    ("@Id(\"a\") permit (principal, action, resource);", "id"),
    ("@id(\"a\") permitt (principal, action, resource);", "permitt"),
    ("@id(\"a\") Permit (principal, action, resource);", "Permit"),
    ("@id(\"a\") permit (principal, resource, action);", "a.cedar"),
    ("@id(\"a\") permit (principal, action);", "a.cedar"),
    ("@id(\"a\") permit (principal == Persn::\"mira\", action, resource);", "Person"),
    ("@id(\"a\") permit (principal == person::\"mira\", action, resource);", "Person"),
    ("@id(\"a\") permit (principal is Persom, action, resource);", "Person"),
    ("@id(\"a\") permit (principal in Roel::\"finance\", action, resource);", "Role"),
    ("@id(\"a\") permit (principal == Action::\"crm.get\", action, resource);", "a.cedar"),
    ("@id(\"a\") permit (principal, action == Action::\"crm.gett\", resource);", "crm.get"),
    ("@id(\"a\") permit (principal, action == Action::\"CRM.GET\", resource);", "CRM.GET"),
    ("@id(\"a\") permit (principal, action in [Action::\"crm.get\", Action::\"crm.sett\"], resource);", "crm.set"),
    ("@id(\"a\") permit (principal, action == action::\"crm.get\", resource);", "ction"),
    ("@id(\"a\") permit (principal, action, resource is Acount);", "Account"),
    ("@id(\"a\") permit (principal, action, resource) when { context.amuont > 5 };", "amuont"),
    ("@id(\"a\") permit (principal, action == Action::\"crm.set\", resource) when { context.args.amuont > 5 };", "amount"),
    ("@id(\"a\") permit (principal, action == Action::\"crm.set\", resource) when { context.args.Amount > 5 };", "amount"),
    ("@id(\"a\") permit (principal, action == Action::\"crm.set\", resource) when { context.args.amount > \"5\" };", "a.cedar"),
    ("@id(\"a\") permit (principal, action == Action::\"crm.set\", resource) when { context.args.account > 5 };", "a.cedar"),
    ("@id(\"a\") permit (principal, action == Action::\"crm.set\", resource) when { context.args.note == \"x\" };", "note"),
    ("@id(\"a\") permit (principal, action, resource) when { principal.naem == \"x\" };", "naem"),
    ("@id(\"a\") permit (principal, action, resource) when { 1 };", "a.cedar"),
    ("@id(\"a\") permit (principal, action, resource) when { };", "a.cedar"),
    ("@id(\"a\") permit (principal, action, resource) when { true && };", "a.cedar"),
    ("@id(\"a\") permit (principal, action, resource) when { 9223372036854775808 > 1 };", "a.cedar"),
    ("@id(\"a\") permit (principal, action, resource) when { ip(\"x\").isIpv4() };", "IP"),
    ("@id(\"a\") permit (principal, action, resource) when { decimal(\"x\") == decimal(\"1.0\") };", "decimal"),
    ("@id(\"a\") permit (principal == ?principal, action, resource);", "template"),
    ("@id(\"a\") permit (principal, action, resource) unless { context.approvals.contains(\"x\") };", "a.cedar"),
    ("@id(\"a\") permit (principal, action, resource) when { \"unclosed };", "a.cedar"),
    ("/* never closed", "a.cedar"),
    ("@id(\"a\u{202e}b\") permit (principal, action, resource);", "id"),
    ("\u{feff}@id(\"a\") permit (principal, action, resource", "a.cedar"),
    ("{\"effect\": \"permit\"}", "a.cedar"),
    ("entity Person;", "a.cedar"),
];

#[test]
fn broken_policies() {
    let mut debts = Debts::default();
    for (text, names) in TABLE {
        let name = "a.cedar".to_owned();
        let source = Source { layer: Layer::Operator, name, text: (*text).to_owned() };
        let Err(problems) = Bundle::load(catalogue(), &[source]) else {
            debts.hold(text, names, None);
            continue;
        };
        let apt = problems.iter().any(|problem| problem.to_string().contains(names));
        for problem in &problems {
            let place = format!("{}:{}:{}", problem.file, problem.line, problem.column);
            let (detail, next) = (problem.message.clone(), problem.help.clone());
            let told = Told { place, detail, next };
            debts.hold(text, if apt { "" } else { names }, Some(told));
        }
    }
    debts.settle();
}
