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
    let files = [
        ("pack.yaml", PACK),
        ("intents/check.yaml", INTENT),
        ("playbooks/check.yaml", PLAYBOOK),
        ("connectors/crm.yaml", CONNECTOR),
        ("exceptions.yaml", EXCEPTIONS),
        ("kpis.yaml", KPIS),
    ];
    files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).into()
}

const PACK: &str = r#"schema: harness.pack/v1
name: small
version: 0.1.0
owner: tests
description: A small pack.
harness: ">=0.1"
asks:
  operations:
    - crm.get
    - crm.list
    - crm.set
  secrets: [crm_token]
  egress: []
roles: [approver]
constants: {limit: 5}
"#;

const INTENT: &str = r#"schema: harness.intent/v1
name: check
title: Check an account
input:
  type: object
  required: [account]
  additionalProperties: false
  properties:
    account: {type: string}
    note: {type: string}
playbook: check
agent: agent:checker
triggers: [check the account]
examples: []
subjects: {customer: /account}
"#;

const PLAYBOOK: &str = r#"schema: harness.playbook/v1
name: check
steps:
  - id: first
    do: crm.get
    with: {account: "${{ intent.account }}"}
  - id: second
    do: crm.set
    when: steps.first.output.level == 'low'
    with:
      account: "${{ intent.account }}"
      level: high
    on_failure:
      rate_limit:
        - retry: {times: 2, delay: 1s}
        - stop
  - id: third
    for_each: steps.first.output.tags
    as: tag
    max: 10
    steps:
      - id: inner
        do: crm.list
        with: {tag: "${{ tag }}"}
    collect: "${{ steps.inner.output.total }}"
  - id: done
    return: {account: "${{ intent.account }}", totals: "${{ steps.third.output }}"}
"#;

const CONNECTOR: &str = r#"schema: harness.connector/v1
name: crm
kind: http
system: crm
auth: {bearer: crm_token}
defaults:
  labels: {trust: verified, confidentiality: internal}
operations:
  get:
    effect: read
    summary: Read {/account}.
    request: {method: GET, path: "/accounts/{account}"}
    input:
      type: object
      required: [account]
      additionalProperties: false
      properties: {account: {type: string}}
    output:
      type: object
      required: [level, tags]
      additionalProperties: false
      properties:
        level: {enum: [low, high]}
        tags: {type: array, items: {type: string}}
        note: {type: [string, "null"]}
  list:
    effect: read
    summary: List {/tag}.
    request: {method: GET, path: /things, query: {tag: /tag}}
    input:
      type: object
      required: [tag]
      additionalProperties: false
      properties: {tag: {type: string}}
    output:
      type: object
      required: [total]
      properties: {total: {type: integer}}
  set:
    undo: restore
    retry: keyed
    summary: Set {/account} to {/level}.
    request:
      method: PATCH
      path: /accounts/{account}
      body: {level: /level}
      idempotency: {header: Idempotency-Key}
    cost: {minor: 3, currency: EUR}
    before:
      use: crm.get
      with: {account: "${{ args.account }}"}
      image: [/level]
    undo_with:
      use: crm.set
      with: {account: "${{ args.account }}", level: "${{ before.level }}"}
    input:
      type: object
      required: [account, level]
      additionalProperties: false
      properties:
        account: {type: string}
        level: {enum: [low, high]}
    output:
      type: object
      properties: {level: {type: string}}
"#;

const EXCEPTIONS: &str = r#"schema: harness.exceptions/v1
rules:
  - where: crm.get
    class: timeout
    recover:
      - retry: {times: 3, delay: 500ms}
      - stop
  - where: "*"
    class: [timeout, unavailable]
    recover:
      - escalate: {to: approver}
"#;

const KPIS: &str = r#"schema: harness.kpis/v1
kpis:
  - name: runs
    unit: runs
    measure: count
    of: runs
    where: status == 'completed'
    window: 30d
    direction: up
"#;
