//! Tokens, approvals, receipts and other ids that are malformed, foreign or of the wrong sort; and bodies
//! of requests that are none. Used ones are in `cli/rollbacks.rs` and `cli/approvals.rs`.

use std::{fs, sync::Arc};

use harness::app::{
    App, Caller,
    config::{Config, Overrides},
    host::Lock,
    ops,
    problem::{Kind, Problem},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{Debts, Told};
use crate::support::root;

/// An open store in this process, its systems at an address where nobody answers.
pub(super) struct Desk {
    app: Arc<App>,
    caller: Caller,
    runtime: Runtime,
    _dir: tempfile::TempDir,
}

impl Desk {
    pub(super) fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pack = root().join("packs/customer-ops").canonicalize().unwrap();
        let mut text = format!(
            "store = \"store\"\npacks = [{:?}]\nme = \"ulla\"\napprovals.terminal = \"name\"\n[people.ulla]\nroles = [\"requester\", \"operator\", \
             \"approver\"]\n[keys]\nreceipts = \"file:keys/receipts.key\"\n[systems.smtp]\n\
             kind = \"smtp\"\naddress = \"127.0.0.1:9\"\ntls = \"none\"\n",
            pack.display().to_string()
        );
        let systems = ["crm", "desk", "billing", "usage"];
        for system in systems {
            text += &format!(
                "[systems.{system}]\nkind = \"http\"\nurl = \"http://127.0.0.1:9/{system}\"\n"
            );
        }
        text += "[secrets]\n";
        for system in systems {
            text += &format!("{system}_token = \"env:NOT_SET_ANYWHERE\"\n");
        }
        let config = dir.path().join("harness.toml");
        fs::write(&config, text).unwrap();
        let overrides = Overrides { config: Some(config), ..Overrides::default() };
        let config = Config::load(&overrides, dir.path()).unwrap();
        let caller = Caller::person(&config, "ulla").unwrap();
        let lock = Lock::take(&config.store).unwrap().unwrap();
        let runtime = Runtime::new().unwrap();
        let app = runtime.block_on(App::open(config, lock)).unwrap();
        Self { app, caller, runtime, _dir: dir }
    }

    pub(super) fn call(&self, op: &str, body: Value) -> Result<Value, Problem> {
        self.runtime.block_on(ops::call(&self.app, &self.caller, op, body))
    }

    /// Nothing began, nothing waits, nothing needs anybody.
    #[track_caller]
    pub(super) fn has_nothing(&self) {
        for list in ["run.list", "approval.list", "exception.list"] {
            let answer = self.call(list, json!({})).unwrap();
            assert_eq!(answer["items"], json!([]), "{list}");
        }
    }
}

pub(super) fn told(problem: &Problem) -> Told {
    assert!(problem.kind != Kind::Unexpected, "nobody expected it: {problem:?}");
    let place = problem.at.first().unwrap_or(&problem.detail).clone();
    let next = problem.next.as_deref().unwrap_or_default().to_owned();
    Told { place, detail: problem.detail.clone(), next }
}

const NOBODY: &str = "00000000000000000000000000000000";

/// Operation, the request (`#` stands for an id's digits that nothing has), the code, a word.
#[rustfmt::skip]
pub(super) const TABLE: &[(&str, &str, &str, &str)] = &[
    ("run.get", r#"{"run": ""}"#, "bad-id", "run_"),
    ("run.get", r#"{"run": "run_"}"#, "bad-id", "run_"),
    ("run.get", r#"{"run": "RUN_#"}"#, "bad-id", "run_"),
    ("run.get", r#"{"run": "rct_#"}"#, "bad-id", "run_"),
    ("run.get", r#"{"run": "run_../../x"}"#, "bad-id", "run_"),
    ("run.get", r#"{"run": "run_#\u0000"}"#, "bad-id", "run_"),
    ("run.get", r#"{"run": "run_\u202e1"}"#, "bad-id", "run_"),
    ("run.get", r#"{"run": " run_#"}"#, "bad-id", "run_"),
    ("run.get", r#"{"run": "run_##########"}"#, "bad-id", "run_"),
    ("run.get", r#"{"run": "run_'; drop table runs; --"}"#, "bad-id", "run_"),
    ("run.get", r#"{"run": "run_#"}"#, "run-not-found", "run_"),
    ("run.get", r#"{"run": 5}"#, "bad-request", "string"),
    ("run.get", r#"{}"#, "bad-request", "run"),
    ("run.get", r#"{"run": "run_#", "more": 1}"#, "bad-request", "more"),
    ("run.list", r#"{"after": "not a cursor"}"#, "bad-cursor", "cursor"),
    ("run.list", r#"{"after": ""}"#, "bad-cursor", "cursor"),
    ("run.list", r#"{"status": "done"}"#, "bad-status", "status"),
    ("run.list", r#"{"subject": "customer"}"#, "bad-subject", "subject"),
    ("run.list", r#"{"limit": -1}"#, "bad-request", "-1"),
    ("run.steer", r#"{"run": "run_#", "verb": "explode"}"#, "bad-verb", "explode"),
    ("run.steer", r#"{"run": "run_#", "verb": "signal"}"#, "no-signal", "signal"),
    ("run.steer", r#"{"run": "run_#", "verb": "pause"}"#, "run-not-found", "run_"),
    ("run.rollback", r#"{"run": "run_#", "token": "rbk"}"#, "bad-id", "rbk_"),
    ("run.rollback", r#"{"run": "run_#", "token": "apr_#"}"#, "bad-id", "rbk_"),
    ("run.rollback", r#"{"run": "run_#", "token": "rbk_#"}"#, "run-not-found", "run_"),
    ("run.rollback-preview", r#"{"run": "run_#"}"#, "run-not-found", "run_"),
    ("run.rollback-preview", r#"{"run": "run_#", "token": "rbk"}"#, "bad-id", "rbk_"),
    ("run.replay", r#"{"run": "run_#"}"#, "run-not-found", "run_"),
    ("run.export", r#"{"run": "run_#"}"#, "run-not-found", "run_"),
    ("approval.get", r#"{"approval": "apr"}"#, "bad-id", "apr_"),
    ("approval.get", r#"{"approval": "run_#"}"#, "bad-id", "apr_"),
    ("approval.get", r#"{"approval": "apr_#"}"#, "approval-not-found", "apr_"),
    ("approval.decide", r#"{"approval": "apr_#", "verb": "approve"}"#, "approval-not-found", "apr_"),
    ("approval.decide", r#"{"approval": "apr_x/y", "verb": "approve"}"#, "bad-id", "apr_"),
    ("approval.decide", r#"{"approval": "apr_#"}"#, "bad-request", "verb"),
    ("exception.settle", r#"{"exception": "exc_#", "verb": "stop", "evidence": ""}"#, "evidence-needed", "evidence"),
    ("exception.settle", r#"{"exception": "exc_#", "verb": "stop", "evidence": "x"}"#, "exception-not-found", "exc_"),
    ("exception.settle", r#"{"exception": "stop", "verb": "stop", "evidence": "x"}"#, "bad-id", "exc_"),
    ("receipt.get", r#"{"receipt": "rct_#"}"#, "receipt-not-found", "rct_"),
    ("receipt.get", r#"{"receipt": "rct_##########"}"#, "bad-id", "rct_"),
    ("run.verify", r#"{}"#, "no-run", "run"),
    ("run.verify", r#"{"run": "run_#"}"#, "run-not-found", "run_"),
    ("explain", r#"{"id": "what"}"#, "bad-id", "run_"),
    ("plan.get", r#"{"run": "run_#"}"#, "run-not-found", "run_"),
    ("policy.explain", r#"{"operation": "crm"}"#, "operation-not-found", "crm"),
    ("policy.explain", r#"{"operation": "crm.nothing"}"#, "operation-not-found", "crm.nothing"),
    ("no.such", r#"{}"#, "no-such-operation", "no.such"),
];

#[test]
fn broken_tokens() {
    let desk = Desk::open();
    let mut debts = Debts::default();
    for (op, request, code, names) in TABLE {
        let row = format!("{op} {request}");
        let body = serde_json::from_str(&request.replace('#', NOBODY)).unwrap();
        let refused = desk.call(op, body).err();
        if let Some(problem) = refused.as_ref().filter(|problem| *problem.code != **code) {
            debts.0.push(format!(
                "{row}: is called {} instead of {code}: {}",
                problem.code, problem.detail
            ));
            continue;
        }
        debts.hold(&row, names, refused.as_ref().map(told));
    }
    debts.settle();
    desk.has_nothing();
}
