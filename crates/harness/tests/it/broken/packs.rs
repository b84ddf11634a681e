//! Packs: one piece of the small pack replaced, or one file added.

use std::collections::BTreeMap;

use pack::Pack;

use super::{Debts, Told};
use crate::support::root;

const PACK: &str = "pack.yaml";
const CRM: &str = "connectors/crm.yaml";
const CHECK: &str = "playbooks/check.yaml";
const INTENT: &str = "intents/check.yaml";
const RULES: &str = "exceptions.yaml";
const KPIS: &str = "kpis.yaml";

/// File, what stands there, what stands there now, a word the refusal contains.
type Row = (&'static str, &'static str, &'static str, &'static str);

#[rustfmt::skip]
const TABLE: &[Row] = &[
    (PACK, "name: small", "name: [small]", "name"),
    (PACK, "name: small", "name: {a: b}", "name"),
    (PACK, "name: small", "name: ''", "name"),
    (PACK, "name: small", "name: ~", "name"),
    (PACK, "name: small", "name: true", "name"),
    (PACK, "name: small", "name: ../evil", "name"),
    (PACK, "name: small", "name: ѕmall", "name"),
    (PACK, "name: small", "name: \"sm\u{200b}all\"", "name"),
    (PACK, "name: small", "name: \"\u{202e}llams\"", "name"),
    (PACK, "name: small", "name: small\n---\nname: other", "pack.yaml"),
    (PACK, "name: small", "\tname: small", "pack.yaml"),
    (PACK, "name: small", "name: 'small", "pack.yaml"),
    (PACK, "name: small", "name: \"sm\\qall\"", "pack.yaml"),
    (PACK, "name: small", "name: *small", "pack.yaml"),
    (PACK, "schema: harness.pack/v1\n", "", "schema"),
    (PACK, "schema: harness.pack/v1", "schema: harness.playbook/v1", "harness.pack/v1"),
    (PACK, "version: 0.1.0", "version: one", "version"),
    (PACK, "version: 0.1.0", "version: -1.0.0", "version"),
    (PACK, "version: 0.1.0", "version: 0.1.99999999999999999999", "version"),
    (PACK, "harness: \">=0.1\"", "harness: \">=0.1, <0.1\"", "harness"),
    (PACK, "roles: [approver]", "roles: approver", "roles"),
    (PACK, "roles: [approver]", "roles: [approver, 5]", "text"),
    (PACK, "constants: {limit: 5}", "constants: [limit]", "constants"),
    (PACK, "constants: {limit: 5}", "constants: {? [a] : b}", "pack.yaml"),
    (PACK, "constants: {limit: 5}", "constants: {limit: .nan}", "quotes"),
    (PACK, "constants: {limit: 5}", "constants: {limit: .inf}", "quotes"),
    (PACK, "constants: {limit: 5}", "constants: {limits: [5, {most: -.INF}]}", "pack.yaml:15:32"),
    (PACK, "    - crm.get\n", "    - crm.get\n    - CRM.get\n", "CRM.get"),
    (PACK, "    - crm.get\n", "", "crm.get"),
    (INTENT, "playbook: check", "playbook: ''", "playbook"),
    (INTENT, "playbook: check\n", "", "playbook"),
    (INTENT, "required: [account]", "required: account", "`required`"),
    (INTENT, "type: object", "type: objekt", "objekt"),
    (INTENT, "account: {type: string}", "account: {type: string, pattern: \"(\"}", "`pattern`"),
    (INTENT, "account: {type: string}", "account: {type: string, format: moon}", "`format`"),
    (INTENT, "account: {type: string}", "account: {enum: 5}", "`enum`"),
    (INTENT, "account: {type: string}", "account: {type: [string, string]}", "`type`"),
    (INTENT, "account: {type: string}", "account: {$ref: '#/$defs/gone'}", "`$ref`"),
    (INTENT, "account: {type: string}", "account: {type: string, minLength: -1}", "`minLength`"),
    (INTENT, "agent: agent:checker", "agent: 7", "agent"),
    (INTENT, "customer: /account", "customer: account", "pointer"),
    (CHECK, "steps:\n", "step:\n", "steps"),
    (CHECK, "do: crm.get\n", "do: [crm.get]\n", "operation"),
    (CHECK, "do: crm.get\n", "do: crmget\n", "crmget"),
    (CHECK, "with: {account: \"${{ intent.account }}\"}", "with: [1]", "with"),
    (CHECK, "with: {account: \"${{ intent.account }}\"}", "with: {account: \"${{ }}\"}", "expected"),
    (CHECK, "with: {account: \"${{ intent.account }}\"}", "with: {account: \"${{ intent.account\"}", "}}"),
    (CHECK, "with: {account: \"${{ intent.account }}\"}", "with: {account: \"${{ exec('rm') }}\"}", "exec"),
    (CHECK, "with: {account: \"${{ intent.account }}\"}", "with: {account: \"${{ 1/0 }}\"}", "account"),
    (CHECK, "with: {account: \"${{ intent.account }}\"}", "with: {account: \"${{ 'a' + 1 }}\"}", "string"),
    (CHECK, "with: {account: \"${{ intent.account }}\"}", "with: {account: \"${{ 99999999999999999999 }}\"}", "number"),
    (CHECK, "with: {account: \"${{ intent.account }}\"}", "with: {account: \"${{ intent['account' }}\"}", "]"),
    (CHECK, "when: steps.first.output.level == 'low'", "when: 'true &&'", "expected"),
    (CHECK, "when: steps.first.output.level == 'low'", "when: 5", "when"),
    (CHECK, "when: steps.first.output.level == 'low'", "when: steps.second.output.level == 'low'", "second"),
    (CHECK, "when: steps.first.output.level == 'low'", "when: secrets.crm_token == 'x'", "secrets"),
    (CHECK, "times: 2", "times: 0", "times"),
    (CHECK, "times: 2", "times: 1000000", "times"),
    (CHECK, "times: 2", "times: two", "times"),
    (CHECK, "delay: 1s", "delay: -1s", "delay"),
    (CHECK, "delay: 1s", "delay: 99999999999999999999w", "delay"),
    (CHECK, "delay: 1s", "delay: ''", "delay"),
    (CHECK, "max: 10\n", "max: -10\n", "max"),
    (CHECK, "max: 10\n", "max: 1.5\n", "max"),
    (CHECK, "as: tag\n", "as: Tag-1\n", "as"),
    (CHECK, "id: third", "id: \"\"", "id"),
    (CRM, "kind: http", "kind: shell", "shell"),
    (CRM, "system: crm\n", "", "system"),
    (CRM, "auth: {bearer: crm_token}", "auth: {password: crm_token}", "password"),
    (CRM, "confidentiality: internal", "confidentiality: none", "none"),
    (CRM, "method: PATCH", "method: patch", "patch"),
    (CRM, "method: PATCH", "method: TRACE", "TRACE"),
    (CRM, "path: /accounts/{account}\n", "path: /../{account}\n", "path"),
    (CRM, "path: /accounts/{account}\n", "path: /accounts/{account\n", "path"),
    (CRM, "undo: restore", "undo: yes", "undo"),
    (CRM, "retry: keyed", "retry: always", "always"),
    (CRM, "cost: {minor: 3, currency: EUR}", "cost: {minor: -3, currency: EUR}", "minor"),
    (CRM, "cost: {minor: 3, currency: EUR}", "cost: {minor: 0.5, currency: EUR}", "minor"),
    (CRM, "image: [/level]", "image: /level", "image"),
    (RULES, "where: crm.get", "where: 5", "where"),
    (RULES, "class: timeout", "class: timeuot", "timeout"),
    (RULES, "class: timeout", "class: []", "no failure class"),
    (RULES, "- escalate: {to: approver}", "- escalate", "escalate"),
    (RULES, "- escalate: {to: approver}", "- clarify: {}", "question"),
    (KPIS, "where: status == 'completed'", "where: status == completed", "kpis.yaml:7:22"),
    (KPIS, "where: status == 'completed'", "where: status == completed", "`'completed'`"),
    (KPIS, "where: status == 'completed'", "where: status == intnt", "`intent`"),
    (KPIS, "where: status == 'completed'", "where: staus == 'completed'", "`status`"),
    (KPIS, "where: status == 'completed'", "where: status == 5", "string"),
    (KPIS, "where: status == 'completed'", "where: status", "condition"),
    (KPIS, "where: status == 'completed'", "where: status ==", "expected"),
    (KPIS, "where: status == 'completed'", "where: operation == 'crm.get'", "operation"),
    (KPIS, "where: status == 'completed'", "where: duration_ms > 1000", "duration_ms != null"),
    (KPIS, "window: 30d", "window: 30d\n    by: itnent", "`intent`"),
    (KPIS, "measure: count", "measure: sum\n    value: status", "number"),
    (KPIS, "measure: count", "measure: sum\n    value: amount.minor", "amount"),
    (KPIS, "of: runs", "of: rns", "rns"),
    (KPIS, "direction: up", "direction: sideways", "sideways"),
];

/// A whole file in the place of one: its path, its bytes, a word.
fn whole_files() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let nested = |open: &str, count: usize| format!("a: {}", open.repeat(count)).into_bytes();
    vec![
        (PACK, Vec::new(), PACK),
        (PACK, b"\xff\xfe\x00".to_vec(), "UTF-8"),
        (PACK, b"\0".to_vec(), PACK),
        (PACK, b"[]".to_vec(), PACK),
        (PACK, b"just words".to_vec(), PACK),
        (PACK, b"{".to_vec(), PACK),
        (CHECK, nested("[", 5_000), CHECK),
        (CHECK, nested("{a: ", 5_000), "deeper"),
        (CHECK, nested("- ", 5_000), CHECK),
        (KPIS, b"a: &a [*a]".to_vec(), "anchors"),
        ("playbooks/../../x.yaml", b"a: b".to_vec(), "path"),
        ("playbooks/\u{202e}x.yaml", b"a: b".to_vec(), "x.yaml"),
    ]
}

pub(super) fn rows() -> usize {
    TABLE.len() + whole_files().len()
}

fn small() -> BTreeMap<String, Vec<u8>> {
    harness::app::shelf::read_folder(&root().join("crates/pack/tests/small")).unwrap()
}

fn hold(debts: &mut Debts, row: &str, names: &str, files: BTreeMap<String, Vec<u8>>) {
    let Err(problems) = Pack::load(files) else {
        debts.hold(row, names, None);
        return;
    };
    // One of them is about what was broken; all of them have a place and a next step.
    let apt = problems.iter().find(|p| p.to_string().contains(names));
    let names = if apt.is_some() { "" } else { names };
    for problem in &problems {
        let place = format!("{}:{}:{}", problem.file, problem.line, problem.column);
        let (detail, next) = (problem.message.clone(), problem.fix.clone());
        let told = Told { place, detail, next };
        debts.hold(row, names, Some(told));
    }
}

#[test]
fn broken_packs() {
    let mut debts = Debts::default();
    for (file, from, to, names) in TABLE {
        let mut files = small();
        let text = String::from_utf8(files[*file].clone()).unwrap();
        assert!(text.contains(from), "`{from}` in {file}");
        files.insert((*file).to_owned(), text.replacen(from, to, 1).into_bytes());
        hold(&mut debts, &format!("{file}: {from:?} -> {to:?}"), names, files);
    }
    for (file, bytes, names) in whole_files() {
        let mut files = small();
        let row = format!("{file}: {:?}", bytes.iter().take(12).collect::<Vec<_>>());
        files.insert(file.to_owned(), bytes);
        hold(&mut debts, &row, names, files);
    }
    debts.settle();
}
