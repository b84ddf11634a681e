//! Seven tool failures × seven recoveries (C204): what each pair does, declared in one table, shown to
//! people by `docs/recovery-matrix.md`, and proven by one named test each: the faults that evals inject in CI
//! (C326). Asking for a clarification (C200) is one of the seven. How to recover is the harness's to decide (C074),
//! and the run tells the class and the recovery taken (C295).
//!
//! In every cell a write has happened before the failure, so that stopping has something to take back,
//! and another is wanted after it, so that a recovery can switch it off.

use serde_json::{Value, json};
use world::{Fault, FaultKind, System};

use super::rig::{Files, Rig, connector};

/// What a tool does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Timeout,
    MissingField,
    Permission,
    Stale,
    Duplicate,
    UnexpectedShape,
    RateLimit,
}

/// What is declared about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recovery {
    Retry,
    Fallback,
    Partial,
    Clarify,
    Escalate,
    Stop,
    Log,
}

impl Failure {
    pub(crate) const ALL: [Self; 7] = [
        Self::Timeout,
        Self::MissingField,
        Self::Permission,
        Self::Stale,
        Self::Duplicate,
        Self::UnexpectedShape,
        Self::RateLimit,
    ];

    /// The failure class, as packs spell it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::MissingField => "missing_field",
            Self::Permission => "permission",
            Self::Stale => "stale",
            Self::Duplicate => "duplicate",
            Self::UnexpectedShape => "unexpected_shape",
            Self::RateLimit => "rate_limit",
        }
    }

    /// What the world does, and how that is noticed.
    pub(crate) fn detected(self) -> &'static str {
        match self {
            Self::Timeout => "no answer within the operation's `timeout_ms`",
            Self::MissingField => "a required field of the output schema is absent",
            Self::Permission => "status 401 or 403",
            Self::Stale => "the `freshness` field is older than its `max_age`",
            Self::Duplicate => "the `unique` list holds more than one record",
            Self::UnexpectedShape => "the answer does not fit the output schema",
            Self::RateLimit => "status 429; `Retry-After` pauses the system for all runs",
        }
    }

    /// Whether the same call could go better the next time.
    pub(crate) fn may_pass(self) -> bool {
        matches!(self, Self::Timeout | Self::Stale | Self::RateLimit)
    }

    /// Whether an answer came that its contract refuses: then it is kept as a sample.
    fn is_about_content(self) -> bool {
        !matches!(self, Self::Timeout | Self::Permission | Self::RateLimit)
    }

    fn fault(self) -> Fault {
        let kind = match self {
            Self::Timeout => FaultKind::TimeoutBefore,
            Self::MissingField => FaultKind::MissingField,
            Self::Permission => FaultKind::Forbidden,
            Self::Stale => FaultKind::Stale,
            Self::Duplicate => FaultKind::DuplicateRecord,
            Self::UnexpectedShape => FaultKind::ChangedShape,
            Self::RateLimit => FaultKind::RateLimit,
        };
        let mut fault = Fault::new(System::Desk, "desk.find_company", kind).on_call(1);
        fault.field = match self {
            Self::MissingField => Some("/companies/0/name".to_owned()),
            Self::UnexpectedShape => Some("/companies".to_owned()),
            _ => None,
        };
        fault.retry_after_s = (self == Self::RateLimit).then_some(0);
        fault
    }
}

impl Recovery {
    pub(crate) const ALL: [Self; 7] = [
        Self::Retry,
        Self::Fallback,
        Self::Partial,
        Self::Clarify,
        Self::Escalate,
        Self::Stop,
        Self::Log,
    ];

    /// As packs spell it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Fallback => "fallback",
            Self::Partial => "partial",
            Self::Clarify => "clarify",
            Self::Escalate => "escalate",
            Self::Stop => "stop",
            Self::Log => "log",
        }
    }

    /// What is written in the playbook of each cell.
    pub(crate) fn declared(self) -> &'static str {
        match self {
            Self::Retry => "retry: {times: 2, delay: 0ms}",
            Self::Fallback => {
                "fallback: {do: crm.get_account, with: {account: ACC-0042}, caveat: The name is the CRM's.}"
            }
            Self::Partial => {
                "partial: {value: {companies: []}, caveat: The help desk is missing., forbid: [crm.update_forecast]}"
            }
            Self::Clarify => {
                "clarify: {question: Which company is it?, answer: {type: object, required: [id], properties: {id: {type: integer}}}, role: approver, expires: 1d}"
            }
            Self::Escalate => "escalate: {to: approver}",
            Self::Stop => "stop",
            Self::Log => "log: {caveat: The help desk could not say who this is.}",
        }
    }

    /// What the reader of the page is told.
    pub(crate) fn behaviour(self) -> &'static str {
        match self {
            Self::Retry => {
                "the same call is made again under the same key, and the run goes on as if nothing had been"
            }
            Self::Fallback => {
                "another operation is used instead, its answer stands in, the result says so"
            }
            Self::Partial => {
                "the run goes on with the declared value, the result carries the caveat, and the forecast is switched off for the rest of the run"
            }
            Self::Clarify => {
                "a person of the declared role is asked a typed question; the answer stands in and the run goes on"
            }
            Self::Escalate => {
                "the run waits for its owner, who sees what failed and the answer that did; here they have it tried again"
            }
            Self::Stop => "the run ends, and the write before the failure is taken back",
            Self::Log => "the run goes on with null, and the result carries the caveat",
        }
    }
}

/// What a cell comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The pack does not load: this recovery cannot help here.
    Refused,
    /// The run ends with this status.
    Ends(&'static str),
}

/// The table: what each pair does.
pub(crate) fn verdict(failure: Failure, recovery: Recovery) -> Verdict {
    match recovery {
        Recovery::Retry if !failure.may_pass() => Verdict::Refused,
        Recovery::Retry | Recovery::Clarify | Recovery::Escalate => Verdict::Ends("succeeded"),
        Recovery::Fallback | Recovery::Partial | Recovery::Log => Verdict::Ends("partial"),
        Recovery::Stop => Verdict::Ends("rolled_back"),
    }
}

const PACK: &str = r#"schema: harness.pack/v1
name: cell
version: 0.1.0
owner: tests
description: One failure and one way out of it.
harness: ">=0.1"
asks:
  operations:
    - crm.get_account
    - crm.get_churn_risk
    - crm.mark_churn_risk
    - crm.get_forecast
    - crm.update_forecast
    - desk.find_company
  secrets: [crm_token, desk_token]
  egress: []
roles: [approver]
constants: {}
"#;

const INTENT: &str = r#"schema: harness.intent/v1
name: look
title: Look at an account
input:
  type: object
  required: [account]
  additionalProperties: false
  properties: {account: {type: string, pattern: "^ACC-[0-9]{4}$"}}
playbook: look
agent: agent:cell
triggers: [look at the account]
examples: []
subjects: {customer: /account}
"#;

/// The step that fails stands on this line of the playbook; its recovery two lines further.
const PLAYBOOK: &str = r#"schema: harness.playbook/v1
name: look
steps:
  - id: account
    do: crm.get_account
    with: {account: "${{ intent.account }}"}
  - id: before
    do: crm.mark_churn_risk
    with: {account: "${{ intent.account }}", level: medium, reason: A cell of the matrix.}
  - id: company
    do: desk.find_company
    with: {external_ref: "${{ intent.account }}", expected_name: "${{ steps.account.output.Name }}"}
    on_failure:
      CLASS:
        - RECOVERY
  - id: after
    do: crm.update_forecast
    with: {opportunity: OPP-0042, category: at_risk}
    on_failure:
      policy_error:
        - log: {caveat: The forecast stays as it is.}
  - id: result
    return:
      company: "${{ steps.company.output }}"
      forecast_changed: "${{ steps.after.output != null }}"
"#;

/// The pack of a cell.
pub(crate) fn pack(failure: Failure, recovery: Recovery) -> Files {
    let playbook =
        PLAYBOOK.replace("CLASS", failure.name()).replace("RECOVERY", recovery.declared());
    let texts = [
        ("pack.yaml", PACK.to_owned()),
        ("intents/look.yaml", INTENT.to_owned()),
        ("playbooks/look.yaml", playbook),
    ];
    let texts = texts.map(|(path, text)| (path.to_owned(), text));
    texts.into_iter().chain([connector("crm"), connector("desk")]).collect()
}

/// Plays one cell.
async fn cell(failure: Failure, recovery: Recovery) {
    let opened = Rig::open(&pack(failure, recovery), vec![failure.fault()]).await;
    let status = match verdict(failure, recovery) {
        Verdict::Refused => {
            let problem = opened.map(|_| ()).unwrap_err();
            let (said, class) = (format!("{problem:?}"), failure.name());
            assert!(said.contains("playbooks/look.yaml:15:11"), "{said}");
            assert!(said.contains(&format!("`retry` after `{class}` is refused")), "{said}");
            return;
        }
        Verdict::Ends(status) => status,
    };
    let rig = opened.unwrap();
    let untouched = rig.hash().await;
    let run = rig.submit("look", json!({"account": "ACC-0042"}), "cell").await;
    let ended = finish(&rig, &run, (failure, recovery)).await;
    assert_eq!(ended["run"]["status"], status, "{ended:#}");

    let trouble = &ended["troubles"][0];
    assert_eq!(trouble["step"], "company", "{trouble:#}");
    assert_eq!(trouble["class"], failure.name(), "{trouble:#}");
    assert_eq!(trouble["recovery"], recovery.name(), "{trouble:#}");
    assert_eq!(trouble["landed"], "no");
    assert_eq!(trouble["sample"].is_object(), failure.is_about_content(), "{trouble:#}");
    evidence(failure, trouble);
    outcome(&rig, &ended, recovery).await;
    let is_back = recovery == Recovery::Stop;
    assert_eq!(rig.hash().await == untouched, is_back, "what stopping leaves behind");
    // Every effect was asked for once: the ledger is the world's own.
    let effects = rig.effects().await;
    let replayed = rig.ok("ulla", "run.replay", json!({"run": run})).await;
    assert_eq!(replayed["identical"], true, "{effects:#?}");
    nothing_buried(&rig).await;
}

/// C205: what failed has a class, whatever was done about it, and the measure every pack has says so.
async fn nothing_buried(rig: &Rig) {
    let report = rig.ok("ulla", "kpi.report", json!({})).await;
    let measures = report["items"].as_array().unwrap();
    let measure = measures.iter().find(|kpi| kpi["name"] == "unclassified_failures").unwrap();
    assert_eq!(measure["values"], json!({"": 0.0}), "there was a failure: {measure:#}");
    assert_eq!(measure["met"], true, "{measure:#}");
}

/// What a person sees of it: where, how much, how long (C187–C193).
fn evidence(failure: Failure, trouble: &Value) {
    let said = trouble["said"].as_str().unwrap();
    let (sample, shown) = (&trouble["sample"], format!("{trouble:#}"));
    match failure {
        Failure::Timeout => assert!(said.contains("no complete answer within 1500 ms"), "{shown}"),
        Failure::MissingField => {
            assert_eq!(sample["at"], "/companies/0/name", "{shown}");
            assert!(said.contains("name"), "the field is named: {shown}");
        }
        // C189: what is needed, and who lacks it.
        Failure::Permission => {
            assert!(said.contains("403"), "{shown}");
            let who = "the secret `desk_token` does not give the right to `desk.find_company`";
            assert!(said.contains(who), "{shown}");
        }
        Failure::Stale => {
            let (age, most) = (&sample["evidence"]["age_ms"], &sample["evidence"]["max_age_ms"]);
            assert!(age.as_i64().unwrap() > most.as_i64().unwrap(), "{shown}");
        }
        Failure::Duplicate => assert_eq!(sample["evidence"]["records"], 2, "{shown}"),
        Failure::UnexpectedShape => {
            assert_eq!(sample["at"], "/companies", "{shown}");
            assert!(sample["answer"]["companies"]["value"].is_array(), "as it came: {shown}");
        }
        Failure::RateLimit => assert_eq!(trouble["retry_after_ms"], 0, "{shown}"),
    }
}

/// What people do about it, where it waits for them.
async fn finish(rig: &Rig, run: &str, (failure, recovery): (Failure, Recovery)) -> Value {
    let parked = rig.run(run).await;
    match recovery {
        Recovery::Clarify => {
            assert_eq!(parked["run"]["status"], "asking", "{parked:#}");
            assert_eq!(rig.effects().await.len(), 1, "nothing goes on before the answer");
            rig.reply(run, json!({"id": 70_042})).await
        }
        Recovery::Escalate => {
            assert_eq!(parked["run"]["status"], "needs_person", "{parked:#}");
            let exception = parked["exceptions"][0].as_str().unwrap();
            let told = rig.explain(exception).await;
            let trouble = &told["troubles"][0];
            assert_eq!(trouble["class"], failure.name(), "{told:#}");
            assert_eq!(trouble["owner"], "approver", "{told:#}");
            assert!(!trouble["said"].as_str().unwrap().is_empty(), "{told:#}");
            rig.settle(run, "retry", Value::Null).await
        }
        Recovery::Retry
        | Recovery::Fallback
        | Recovery::Partial
        | Recovery::Stop
        | Recovery::Log => parked,
    }
}

/// The result, its caveats, and what the world came to.
async fn outcome(rig: &Rig, ended: &Value, recovery: Recovery) {
    let (company, caveats) = (&ended["output"]["company"], &ended["caveats"]);
    let switched_off = json!(["crm.update_forecast"]);
    match recovery {
        Recovery::Retry | Recovery::Escalate => {
            assert_eq!(company["companies"][0]["id"], 70_042, "{ended:#}");
            assert_eq!(*caveats, json!([]));
        }
        Recovery::Fallback => {
            assert_eq!(company["Name"], "Northwind Robotics", "{ended:#}");
            assert_eq!(*caveats, json!(["The name is the CRM's."]));
            // C198: whose word it is, and of when.
            let instead = &ended["troubles"][0]["instead"];
            assert_eq!(
                (&instead["operation"], &instead["trust"]),
                (&json!("crm.get_account"), &json!("verified")),
                "{ended:#}"
            );
            assert!(instead["as_of"].as_str().is_some_and(|at| at.starts_with("20")), "{ended:#}");
        }
        Recovery::Partial => {
            assert_eq!(*company, json!({"companies": []}), "{ended:#}");
            let both = json!(["The help desk is missing.", "The forecast stays as it is."]);
            assert_eq!(*caveats, both);
            assert_eq!(ended["switched_off"], switched_off, "{ended:#}");
        }
        Recovery::Clarify => assert_eq!(*company, json!({"id": 70_042}), "{ended:#}"),
        Recovery::Log => {
            assert_eq!(*company, Value::Null, "{ended:#}");
            assert_eq!(*caveats, json!(["The help desk could not say who this is."]));
        }
        Recovery::Stop => assert_eq!(ended["output"], Value::Null, "{ended:#}"),
    }
    let changed = !matches!(recovery, Recovery::Partial | Recovery::Stop);
    let forecast = rig.world_get("/crm/opportunities/OPP-0042").await;
    let category = if changed { "at_risk" } else { "commit" };
    assert_eq!(forecast["Category"], category, "{forecast}");
}

/// One module per failure, one test per recovery: 49 names.
macro_rules! cells {
    ($($module:ident: $failure:ident;)*) => {$(
        mod $module {
            use super::{Failure, Recovery, cell};

            #[tokio::test]
            async fn retry() { cell(Failure::$failure, Recovery::Retry).await; }
            #[tokio::test]
            async fn fallback() { cell(Failure::$failure, Recovery::Fallback).await; }
            #[tokio::test]
            async fn partial() { cell(Failure::$failure, Recovery::Partial).await; }
            #[tokio::test]
            async fn clarify() { cell(Failure::$failure, Recovery::Clarify).await; }
            #[tokio::test]
            async fn escalate() { cell(Failure::$failure, Recovery::Escalate).await; }
            #[tokio::test]
            async fn stop() { cell(Failure::$failure, Recovery::Stop).await; }
            #[tokio::test]
            async fn log() { cell(Failure::$failure, Recovery::Log).await; }
        }
    )*};
}

cells! {
    timeout: Timeout;
    missing_field: MissingField;
    permission: Permission;
    stale: Stale;
    duplicate: Duplicate;
    unexpected_shape: UnexpectedShape;
    rate_limit: RateLimit;
}
