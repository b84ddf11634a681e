//! Which recovery is in force where, and which cannot be (C187–C203).

use kernel::{exception::Class, operation::Rate, playbook::Recovery};

use crate::support::{Files, edit, load, show, small};

const CRM: &str = "connectors/crm.yaml";
const CHECK: &str = "playbooks/check.yaml";
const EXCEPTIONS: &str = "exceptions.yaml";

/// What the step `first`, which uses `crm.get`, does about this class.
fn of_first(files: &Files, class: Class) -> Option<Vec<Recovery>> {
    let loaded = load(files).unwrap_or_else(|problems| panic!("\n{}", show(&problems)));
    let (pack, playbook) = (&loaded.pack, &loaded.pack.playbooks["check"]);
    let step = playbook.steps.iter().find(|step| step.id == "first").unwrap();
    let operation = &pack.catalogue.get(&"crm.get".parse().unwrap()).unwrap().operation;
    let other = |_: &_| None;
    let site = (&**operation, &other as pack::EffectOf<'_>);
    pack::merged(&step.on_failure, &pack.exceptions, "check", site).get(&class).cloned()
}

fn said(files: &Files) -> String {
    match load(files) {
        Ok(_) => String::new(),
        Err(problems) => show(&problems),
    }
}

#[test]
fn a_recovery_is_declared_at_each_of_four_levels_and_the_nearest_wins() {
    let class = Class::Permission;
    let owner = |owner: &str| Some(vec![Recovery::Escalate { owner: owner.to_owned() }]);
    let mut files = small();
    edit(&mut files, "pack.yaml", "roles: [approver]", "roles: [approver, pack, oper, book, step]");
    assert_eq!(of_first(&files, class), None, "the planner's safe default");
    let rule =
        "rules:\n  - where: \"*\"\n    class: permission\n    recover: [escalate: {to: pack}]\n";
    edit(&mut files, EXCEPTIONS, "rules:\n", rule);
    assert_eq!(of_first(&files, class), owner("pack"));
    // At the operation itself, where whoever knows the system writes.
    let get = "summary: Read {/account}.\n    on_failure: {permission: [escalate: {to: oper}]}\n";
    edit(&mut files, CRM, "summary: Read {/account}.\n", get);
    assert_eq!(of_first(&files, class), owner("oper"));
    let rule =
        "rules:\n  - where: check\n    class: permission\n    recover: [escalate: {to: book}]\n";
    edit(&mut files, EXCEPTIONS, "rules:\n", rule);
    assert_eq!(of_first(&files, class), owner("book"));
    let with = "with: {account: \"${{ intent.account }}\"}\n    on_failure: {permission: [escalate: {to: step}]}\n";
    edit(&mut files, CHECK, "with: {account: \"${{ intent.account }}\"}\n", with);
    assert_eq!(of_first(&files, class), owner("step"));
}

/// C187–C196: whatever the class, each of the four levels can say what is done about it.
#[test]
fn every_class_can_be_declared_at_every_level() {
    for class in Class::ALL {
        let name = class.name();
        let rule = |scope: &str| {
            format!(
                "rules:\n  - where: {scope}\n    class: {name}\n    recover: [escalate: {{to: approver}}]\n"
            )
        };
        let own = format!("    on_failure: {{{name}: [escalate: {{to: approver}}]}}\n");
        let (read, call) =
            ("summary: Read {/account}.\n", "with: {account: \"${{ intent.account }}\"}\n");
        let mut alone = small();
        alone.insert(
            EXCEPTIONS.to_owned(),
            format!("schema: harness.exceptions/v1\n{}", rule("\"*\"")).into(),
        );
        let everywhere = alone.clone();
        let mut playbook = alone.clone();
        playbook.insert(
            EXCEPTIONS.to_owned(),
            format!("schema: harness.exceptions/v1\n{}", rule("check")).into(),
        );
        alone.remove(EXCEPTIONS);
        let (mut operation, mut step) = (alone.clone(), alone);
        edit(&mut operation, CRM, read, &format!("{read}{own}"));
        edit(&mut step, CHECK, call, &format!("{call}{own}"));
        for files in [everywhere, playbook, operation, step] {
            let declared = Some(vec![Recovery::Escalate { owner: "approver".to_owned() }]);
            assert_eq!(of_first(&files, class), declared, "{name}");
        }
    }
}

/// A limit of our own must not take a run back: whoever was put off has done nothing.
#[test]
fn a_write_that_is_put_off_is_tried_again_where_nobody_says() {
    let mut files = small();
    let own = "    on_failure:\n      rate_limit:\n        - retry: {times: 2, delay: 1s}\n        - stop\n";
    edit(&mut files, CHECK, own, "");
    let pack = load(&files).unwrap_or_else(|problems| panic!("\n{}", show(&problems))).pack;
    let of = |id: &str| {
        let operation = &pack.catalogue.get(&id.parse().unwrap()).unwrap().operation;
        let other = |_: &_| None;
        let site = (&**operation, &other as pack::EffectOf<'_>);
        pack::merged(&Default::default(), &pack.exceptions, "check", site)
    };
    let again = Recovery::Retry { times: 3, delay_ms: 1_000 };
    assert_eq!(of("crm.set").get(&Class::RateLimit), Some(&vec![again, Recovery::Stop]));
    assert_eq!(of("crm.get").get(&Class::RateLimit), None, "reads have their own default");
}

#[test]
fn one_operation_has_one_rule_for_a_class() {
    let mut files = small();
    let get = "summary: Read {/account}.\n    on_failure: {timeout: stop}\n";
    edit(&mut files, CRM, "summary: Read {/account}.\n", get);
    let want = "exceptions.yaml:3:12: `timeout` has a rule in connectors/crm.yaml already; keep one of the two\n";
    assert_eq!(said(&files), want);
}

#[test]
fn what_an_operation_declares_is_checked_where_it_stands() {
    for (recovery, says) in [
        (
            "permission: retry",
            "`retry` after `permission` is refused: trying the same again cannot help after this class; use another recovery",
        ),
        (
            "in_doubt: [log: {caveat: c}]",
            "`log` after `in_doubt` is refused: nobody knows whether the effect happened, and only a person can find out; use another recovery",
        ),
        (
            "stale: [escalate: {to: nobody}]",
            "no role `nobody`; add `nobody` to `roles` in pack.yaml",
        ),
        ("sleepy: stop", "`sleepy` is no failure class; known: timeout"),
    ] {
        let mut files = small();
        let get = format!("summary: Read {{/account}}.\n    on_failure: {{{recovery}}}\n");
        edit(&mut files, CRM, "summary: Read {/account}.\n", &get);
        let said = said(&files);
        assert!(said.starts_with("connectors/crm.yaml:12:"), "{said}");
        assert!(said.contains(says), "{recovery}: {said}");
    }
}

#[test]
fn a_recovery_that_cannot_help_is_refused_with_its_line() {
    let answer = "answer: {type: object}, role: approver";
    let clarify = format!("clarify: {{question: q, {answer}}}");
    let again = "fallback: {do: crm.set, with: {account: a, level: low}, caveat: c}";
    let read = "fallback: {do: crm.get, with: {account: a}, caveat: c}";
    let second = "`fallback` after `unexpected_shape` is refused: the write may have happened although its answer is no good";
    let around = "is refused: a limit or a rule is not to be worked around";
    for (class, recovery, says) in [
        ("unexpected_shape", again, Some(second)),
        // Reading back what is there is no second write.
        ("unexpected_shape", read, None),
        ("rate_limit", again, None),
        ("budget", read, Some(around)),
        ("policy_error", read, Some(around)),
        ("permission", clarify.as_str(), Some("an answer does not make a write happen")),
        ("permission", "escalate: {to: approver}", None),
        ("unavailable", "retry: {times: 1}", None),
        (
            "duplicate",
            "retry: {times: 1}",
            Some("trying the same again cannot help after this class"),
        ),
    ] {
        let mut files = small();
        let own = "rate_limit:\n        - retry: {times: 2, delay: 1s}\n        - stop\n";
        edit(&mut files, CHECK, own, &format!("{class}:\n        - {recovery}\n"));
        let said = said(&files);
        match says {
            None => assert_eq!(said, "", "{class}: {recovery}"),
            Some(says) => {
                assert!(said.starts_with("playbooks/check.yaml:15:11: "), "{recovery}: {said}");
                assert!(said.contains(says), "{class}: {recovery}: {said}");
            }
        }
    }
}

#[test]
fn a_rate_is_a_fact_of_an_operation_or_of_all_of_a_connector() {
    let rate = |files: &Files, id: &str| {
        let pack = load(files).unwrap_or_else(|problems| panic!("\n{}", show(&problems))).pack;
        pack.catalogue.get(&id.parse().unwrap()).unwrap().operation.rate
    };
    let mut files = small();
    assert_eq!(rate(&files, "crm.get"), None);
    let defaults = "defaults:\n  rate: {calls: 50, per: 1s}\n";
    edit(&mut files, CRM, "defaults:\n", defaults);
    edit(&mut files, CRM, "cost: {minor: 3", "rate: {calls: 2, per: 1m}\n    cost: {minor: 3");
    assert_eq!(rate(&files, "crm.get"), Some(Rate { calls: 50, per_ms: 1_000 }));
    assert_eq!(rate(&files, "crm.set"), Some(Rate { calls: 2, per_ms: 60_000 }));
    edit(&mut files, CRM, "calls: 2", "calls: 0");
    assert!(
        said(&files).contains("connectors/crm.yaml:49:19: calls must be a whole number from 1")
    );
}
