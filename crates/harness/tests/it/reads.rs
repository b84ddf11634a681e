//! Long journals: read whole and in pieces, page by page, and refused by every page once they were changed.

use harness::{
    app::{Caller, problem::Kind},
    ui::{views, views::Visitor},
};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::recover::rig::{Files, Rig};

const FILES: [(&str, &str); 4] = [
    (
        "pack.yaml",
        "schema: harness.pack/v1\nname: sums\nversion: 1.0.0\nowner: tests\ndescription: It adds up.\n\
         harness: \">=0.1\"\nasks: {operations: [sums.add], secrets: [], egress: []}\nroles: []\n",
    ),
    (
        "intents/add.yaml",
        "schema: harness.intent/v1\nname: add\ntitle: Some sums\nagent: agent:sums\nplaybook: add\n\
         input:\n  type: object\n  required: [items]\n  additionalProperties: false\n  properties:\n    \
         items: {type: array, items: {type: string}}\n",
    ),
    (
        "playbooks/add.yaml",
        "schema: harness.playbook/v1\nname: add\nsteps:\n  - id: each\n    for_each: intent.items\n    \
         as: item\n    max: 200\n    steps:\n      - id: add\n        do: sums.add\n        \
         with: {expression: \"${{ item }}\"}\n",
    ),
    (
        "connectors/sums.yaml",
        "schema: harness.connector/v1\nname: sums\nkind: builtin\n\
         defaults: {labels: {trust: verified, confidentiality: internal}, clearance: {confidentiality: internal}}\n\
         operations:\n  add:\n    effect: read\n    summary: Add up {/expression}.\n    \
         request: {name: calculator.evaluate}\n    \
         input: {type: object, required: [expression], additionalProperties: false, properties: {expression: {type: string}}}\n    \
         output: {type: object, required: [result], properties: {result: {type: string}}}\n",
    ),
];

const POLICY: (&str, &str) = (
    "policies/all.cedar",
    "@id(\"all.it\")\n@reason(\"Everything.\")\npermit (principal, action, resource);\n",
);

/// Calls of the run: more than a page of lanes, more than a page of events.
const CALLS: usize = 130;

async fn long_run(rig: &Rig) -> String {
    let mut items: Vec<String> = (1..CALLS).map(|n| format!("{n} + 1")).collect();
    items.push("1 +".to_owned());
    rig.submit("add", json!({ "items": items }), "long").await
}

async fn rig() -> Rig {
    let files = FILES.iter().chain([&POLICY]);
    let files: Files = files.map(|(path, text)| (path.to_string(), text.to_string())).collect();
    Rig::open(&files, Vec::new()).await.unwrap()
}

fn visitor(rig: &Rig) -> Visitor {
    Visitor {
        caller: Caller::person(rig.app.config(), "ulla").unwrap(),
        form_token: "form".to_owned(),
        said: None,
        wrong: None,
        here: None,
        asked: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_run_is_told_alike_by_all_that_read_it() {
    let (rig, all) = (rig().await, CALLS);
    let run = long_run(&rig).await;
    let detail = rig.run(&run).await;
    assert!(detail["run"]["events"].as_u64().unwrap() > 600, "{}", detail["run"]);
    assert_eq!(detail["actions"].as_array().unwrap().len(), all);
    assert_eq!(detail["troubles"].as_array().unwrap().len(), 1);
    assert_eq!(detail["run"]["ended_by"]["class"], detail["troubles"][0]["class"]);
    // What reads the row and only the pieces of the journal that matter says the same.
    let row = rig.ok("ulla", "run.resume", json!({ "run": run })).await;
    for fact in ["id", "status", "events", "head", "ended_by", "unusual"] {
        assert_eq!(row[fact], detail["run"][fact], "{fact}");
    }
    let visitor = visitor(&rig);
    let page = async |view: &str, after| {
        views::run(&rig.app, &visitor, (run.as_str(), view, after)).await.unwrap().0
    };
    let (first, second) = (page("timeline", None).await, page("timeline", Some(501)).await);
    assert!(first.contains("Add up 1 + 1") && !first.contains("Add up 129 + 1"), "{first}");
    assert!(second.contains("Add up 129 + 1") && !second.contains("Add up 1 + 1<"), "{second}");
    assert!(page("events", Some(600)).await.contains("returned"));
    // Each event on exactly one page.
    let mut seen: Vec<u64> = Vec::new();
    while let Some(after) = Some(seen.last().map_or(0, |last| last + 1)) {
        let asked = json!({ "run": run, "after": after, "limit": 150 });
        let list = rig.ok("ulla", "run.events", asked).await;
        let items = list["items"].as_array().unwrap().clone();
        seen.extend(items.iter().map(|item| item["seq"].as_u64().unwrap()));
        if items.len() < 150 {
            break;
        }
    }
    let expected: Vec<u64> = (0..detail["run"]["events"].as_u64().unwrap()).collect();
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_journal_is_refused_by_every_page() {
    let rig = rig().await;
    let run = long_run(&rig).await;
    let visitor = visitor(&rig);
    let page = async |view: &str| views::run(&rig.app, &visitor, (run.as_str(), view, None)).await;
    for view in ["timeline", "table", "events"] {
        assert!(page(view).await.is_ok(), "{view}");
    }
    let db = Connection::open(rig.app.config().store.join("harness.db")).unwrap();
    let sql = "UPDATE batches SET hash = zeroblob(32) WHERE run = ?1
         AND seq = (SELECT max(seq) FROM batches WHERE run = ?1 AND seq <= 450)";
    let changed = db.execute(sql, [run.as_str()]).unwrap();
    assert_eq!(changed, 1);
    for view in ["timeline", "table", "events"] {
        let refused = page(view).await.unwrap_err();
        assert_eq!(refused.kind, Kind::VerificationFailed, "{view}: {refused:?}");
    }
    for (op, body) in [
        ("run.get", json!({ "run": run })),
        ("explain", json!({ "id": run })),
        ("run.events", json!({ "run": run, "after": 400, "limit": 100 })),
    ] {
        let refused: Result<Value, _> = rig.call("ulla", op, body).await;
        assert_eq!(refused.unwrap_err().kind, Kind::VerificationFailed, "{op}");
    }
}
