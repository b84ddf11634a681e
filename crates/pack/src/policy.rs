//! Reads `policies/*.test.yaml`: example requests with the verdict they must get.

use std::collections::{BTreeMap, BTreeSet};

use kernel::{
    LabelMap,
    decision::{Autonomy, Evidence, Mode},
    label::{Confidentiality, Label, Trust},
    operation::Undo,
};
use serde_json::{Map, Value};

use crate::{
    connector::read_plain_label,
    model::{Expected, PolicyCase},
    read::{Fields, Reader},
    yaml::{Doc, Kind, Node},
};

/// Most people one role may have to bring.
const APPROVALS_MAX: i64 = 20;

const VERDICTS: [(&str, Verdict); 3] =
    [("allow", Verdict::Allow), ("ask", Verdict::Ask), ("deny", Verdict::Deny)];
const LEVELS: [(&str, Autonomy); 3] =
    [("L1", Autonomy::L1), ("L2", Autonomy::L2), ("L3", Autonomy::L3)];
const MODES: [(&str, Mode); 5] = [
    ("live", Mode::Live),
    ("simulate", Mode::Simulate),
    ("replay", Mode::Replay),
    ("backtest", Mode::Backtest),
    ("eval", Mode::Eval),
];
const ROLLBACKS: [(&str, Undo); 3] =
    [("none", Undo::None), ("compensate", Undo::Compensate), ("restore", Undo::Restore)];

#[derive(Clone, Copy)]
enum Verdict {
    Allow,
    Ask,
    Deny,
}

pub(crate) fn read_cases(doc: &Doc, reader: Reader<'_>) -> Vec<PolicyCase> {
    let Some(mut fields) = reader.fields(&doc.root, "a policy test") else { return Vec::new() };
    fields.get("schema");
    let items = fields.need("cases").map(|node| reader.list(node, "cases")).unwrap_or_default();
    let cases = items.iter().filter_map(|item| read_case(item, reader)).collect();
    fields.done();
    cases
}

fn read_case(node: &Node, reader: Reader<'_>) -> Option<PolicyCase> {
    let mut fields = reader.fields(node, "a case")?;
    let name = fields.need_text("name");
    let agent = fields.need_parse("agent");
    let roles = fields.texts("roles").into_iter().collect();
    let on_behalf_of =
        fields.get("on_behalf_of").and_then(|node| reader.parse(node, "on_behalf_of"));
    let operation = fields.need_parse("operation");
    let args = fields.value("args").unwrap_or_else(|| Value::Object(Map::new()));
    let asked = Label::new(Trust::User, Confidentiality::Internal);
    let label = |node: Option<&Node>| node.map(|node| read_plain_label(node, reader, &asked));
    let arg_labels =
        LabelMap::uniform(label(fields.get("labels")).unwrap_or_else(|| asked.clone()));
    let existence = label(fields.get("existence")).unwrap_or_else(|| asked.clone());
    let evidence =
        fields.get("evidence").map(|node| read_evidence(node, reader)).unwrap_or_default();
    let autonomy = fields.choice("autonomy", &LEVELS).unwrap_or_default();
    let mode = fields.choice("mode", &MODES).unwrap_or_default();
    let expect = read_expected(&mut fields);
    let rules: BTreeSet<String> = fields.texts("rules").into_iter().collect();
    let place = fields.place;
    fields.done();
    Some(PolicyCase {
        name,
        agent: agent?,
        roles,
        on_behalf_of,
        operation: operation?,
        args,
        arg_labels,
        existence,
        evidence,
        autonomy,
        mode,
        expect,
        rules,
        file: reader.file.to_owned(),
        place,
    })
}

fn read_expected(fields: &mut Fields<'_, '_>) -> Expected {
    let reader = fields.reader;
    let verdict = fields.need("expect").and_then(|node| reader.choice(node, "verdict", &VERDICTS));
    let node = fields.get("approvals");
    let approvals = node.map(|node| read_approvals(node, reader)).unwrap_or_default();
    match verdict {
        Some(Verdict::Ask) => Expected::Ask(approvals),
        Some(Verdict::Allow) | None => Expected::Allow,
        Some(Verdict::Deny) => Expected::Deny,
    }
}

fn read_approvals(node: &Node, reader: Reader<'_>) -> BTreeMap<String, u32> {
    let mut approvals = BTreeMap::new();
    for (key, node) in reader.entries(node, "approvals") {
        let count = reader.integer(node, "a number of people", 1..=APPROVALS_MAX);
        if let Some(count) = count.and_then(|count| u32::try_from(count).ok()) {
            approvals.insert(key.name.clone(), count);
        }
    }
    approvals
}

fn read_evidence(node: &Node, reader: Reader<'_>) -> Evidence {
    let Some(mut fields) = reader.fields(node, "evidence") else { return Evidence::default() };
    let evidence = Evidence {
        approvals: fields
            .get("approvals")
            .map(|node| read_approvals(node, reader))
            .unwrap_or_default(),
        dry_run: fields.get("dry_run").is_some_and(|node| matches!(node.kind, Kind::Bool(true))),
        transforms: fields.texts("transforms").into_iter().collect(),
        rollback: fields.choice("rollback", &ROLLBACKS).unwrap_or_default(),
    };
    fields.done();
    evidence
}
