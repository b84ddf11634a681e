//! Each recovery, alone and after one another.

use kernel::{
    event::MACHINE,
    exception::Class,
    label::Trust,
    planning::{Observation, Planner as _, Resolution},
};
use serde_json::{Value, json};

use crate::support::*;

fn on(class: &str, recoveries: Value) -> Value {
    json!({"on_failure": {class: recoveries}})
}

/// One step with these recoveries, and a return of its output.
fn one(operation: &str, class: &str, recoveries: Value) -> Drive {
    let step = with(act("a", operation, json!({"n": 1})), on(class, recoveries));
    open(json!([step, give(json!("${{ steps.a.output }}"))]), json!({}))
}

fn tail(drive: &Drive, from: usize) -> Vec<String> {
    drive.lines().split_off(from)
}

#[test]
fn a_retry_waits_longer_each_time_and_then_gives_way() {
    let mut drive =
        one("w.set", "unavailable", json!([{"recovery": "retry", "times": 2, "delay_ms": 1000}]));
    drive.failed("a", Class::Unavailable).woken("a");
    drive.failed("a", Class::Unavailable).woken("a").failed("a", Class::Unavailable);
    let lines = drive.lines();
    let ms = |line: &str| line.rsplit(' ').next().unwrap().parse::<i64>().unwrap();
    assert_eq!(lines[1], "retry a unavailable");
    assert!((1000..1250).contains(&ms(&lines[2])), "{}", lines[2]);
    assert_eq!(lines[3], r#"do a w.set#2 {"n":1}"#);
    assert!((2000..2500).contains(&ms(&lines[5])), "{}", lines[5]);
    assert_eq!(lines[6], r#"do a w.set#3 {"n":1}"#);
    assert_eq!(lines[7], "abandon a unavailable");
    assert_ne!(ms(&lines[2]) * 2, ms(&lines[5]), "jitter differs from try to try");
}

/// C197: one budget over all steps of a run; where it is used up the next remedy is due.
#[test]
fn a_run_has_a_budget_of_retries() {
    let recoveries = json!([{"recovery": "retry", "times": 2, "delay_ms": 0},
        {"recovery": "log", "caveat": "not now"}]);
    let step = |id: &str| with(act(id, "r.get", json!({})), on("timeout", recoveries.clone()));
    let tries = |retries_max: Option<u32>| {
        let mut drive = Drive::new(steps(json!([step("a"), step("b")])));
        let run = match retries_max {
            Some(retries_max) => json!({"id": "run_1", "retries_max": retries_max}),
            None => json!({"id": "run_1"}),
        };
        let (intent, run) = (labelled(json!({}), USER), labelled(run, Trust::System));
        drive
            .planner
            .observe(0, Observation::Opened { intent: &intent, run: &run, machine: MACHINE });
        drive.drain();
        for step in ["a", "a", "a", "b", "b", "b"] {
            drive.failed(step, Class::Timeout);
        }
        assert!(drive.lines().last().unwrap().starts_with("finish "), "{:?}", drive.lines());
        drive.proposals().count()
    };
    assert_eq!([tries(None), tries(Some(100)), tries(Some(3)), tries(Some(0))], [6, 6, 5, 2]);
}

#[test]
fn a_retry_never_comes_before_the_target_said() {
    let mut drive =
        one("r.get", "rate_limit", json!([{"recovery": "retry", "times": 1, "delay_ms": 10}]));
    drive.failed_as("a", Class::RateLimit, (Some(90_000), VERIFIED));
    assert_eq!(drive.lines()[2], "sleep a 90000");
}

#[test]
fn a_pause_of_our_own_is_an_hour_at_most() {
    let recoveries = json!([{"recovery": "retry", "times": 20, "delay_ms": 3_000_000}]);
    let mut drive = one("r.get", "timeout", recoveries);
    drive.failed("a", Class::Timeout).woken("a").failed("a", Class::Timeout);
    assert_eq!(drive.lines()[5], "sleep a 3600000");
}

#[test]
fn reads_are_retried_by_default_and_writes_are_not() {
    let step = |operation| open(json!([act("a", operation, json!({}))]), json!({}));
    for class in Class::ALL {
        let mut read = step("r.get");
        read.failed("a", class);
        let retried = tail(&read, 1)[0] == format!("retry a {}", class.name());
        assert_eq!(retried, class.may_pass(), "{}", class.name());
        let mut write = step("w.set");
        write.failed("a", class);
        assert_eq!(tail(&write, 1), [format!("abandon a {}", class.name())]);
    }
    let mut read = step("r.get");
    for _ in 0..3 {
        read.failed("a", Class::Stale).woken("a");
    }
    read.failed("a", Class::Stale);
    assert_eq!(read.lines().last().unwrap(), "abandon a stale");
    assert_eq!(read.proposals().count(), 4);
}

#[test]
fn what_may_have_happened_is_not_retried() {
    let recoveries = json!([{"recovery": "retry", "times": 3, "delay_ms": 0},
        {"recovery": "log", "caveat": "unknown"}]);
    let mut drive = one("w.set", "in_doubt", recoveries);
    drive.failed("a", Class::InDoubt);
    assert_eq!(tail(&drive, 1)[0], "log a in_doubt 'unknown'");
}

#[test]
fn a_fallback_gives_its_output_and_a_caveat() {
    let recoveries = json!([{"recovery": "fallback", "operation": "r.cache",
        "with": {"of": "${{ intent }}"}, "caveat": "from cache"}]);
    let mut drive = one("r.get", "permission", recoveries);
    drive.failed("a", Class::Permission).done("a", json!("old"));
    let want = [
        "fallback a permission 'from cache'",
        r#"do a r.cache#1 {"of":{}}"#,
        r#"finish "old" [a permission 'from cache']"#,
    ];
    assert_eq!(tail(&drive, 1), want);
}

#[test]
fn a_fallback_that_fails_gives_way_to_the_next_recovery_of_the_first_failure() {
    let recoveries = json!([
        {"recovery": "fallback", "operation": "r.cache", "with": {}, "caveat": "from cache"},
        {"recovery": "partial", "value": {"n": 0}, "caveat": "no usage", "forbid": ["w.mail"]},
    ]);
    let mut drive = one("r.get", "permission", recoveries);
    drive.failed("a", Class::Permission).failed("a", Class::Unavailable);
    let want = [
        "partial a permission 'no usage' -[\"w.mail\"]",
        r#"finish {"n":0} [a permission 'no usage']"#,
    ];
    assert_eq!(tail(&drive, 3), want);
}

#[test]
fn a_fallback_with_arguments_that_do_not_evaluate_gives_way() {
    let recoveries = json!([
        {"recovery": "fallback", "operation": "r.cache", "with": "${{ intent.none }}", "caveat": "c"},
        {"recovery": "log", "caveat": "gone"},
    ]);
    let mut drive = one("r.get", "permission", recoveries);
    drive.failed("a", Class::Permission);
    let want = ["log a permission 'gone'", "finish null [a permission 'gone']"];
    assert_eq!(tail(&drive, 1), want);
}

#[test]
fn a_clarification_stands_in() {
    let clarify = json!({"recovery": "clarify", "question": "How many?", "answer": {"type": "integer"},
        "role": "owner", "expires_ms": 10});
    let mut drive =
        one("r.get", "missing_field", json!([clarify, {"recovery": "log", "caveat": "?"}]));
    drive.failed("a", Class::MissingField).answered("a", json!(7));
    let want = ["clarify a missing_field", r#"ask a "How many?" of owner"#, "finish 7"];
    assert_eq!(tail(&drive, 1), want);

    let mut drive =
        one("r.get", "missing_field", json!([clarify, {"recovery": "log", "caveat": "?"}]));
    drive.failed("a", Class::MissingField).told(Seen::Answered("a".into(), None));
    assert_eq!(tail(&drive, 3)[0], "log a missing_field '?'");
}

#[test]
fn an_escalation_waits_for_a_person() {
    let escalate = json!([{"recovery": "escalate", "owner": "ops"}]);
    let start = || {
        let mut drive = one("w.set", "mismatch", escalate.clone());
        drive.failed("a", Class::Mismatch);
        assert_eq!(tail(&drive, 1), ["escalate a mismatch to ops"]);
        drive
    };
    let mut drive = start();
    drive.resolved("a", Resolution::Retry).done("a", json!(1));
    assert_eq!(tail(&drive, 2), [r#"do a w.set#2 {"n":1}"#, "finish 1"]);
    let mut drive = start();
    drive.resolved("a", Resolution::Use(labelled(json!("mine"), USER)));
    assert_eq!(tail(&drive, 2), [r#"finish "mine""#]);
    let mut drive = start();
    drive.resolved("a", Resolution::Stop);
    assert_eq!(tail(&drive, 2), ["abandon a mismatch"]);
    let mut drive = start();
    drive.resolved("a", Resolution::Retry).failed("a", Class::Mismatch);
    assert_eq!(tail(&drive, 3), ["escalate a mismatch to ops"]);
}

#[test]
fn an_escalation_that_a_person_can_not_help_ends() {
    let step = with(
        act("a", "w.set", json!({"n": "${{ intent.none }}"})),
        on("unexpected_shape", json!([{"recovery": "escalate", "owner": "ops"}])),
    );
    let mut drive = open(json!([step]), json!({}));
    for _ in 0..planner::ESCALATIONS_MAX {
        drive.resolved("a", Resolution::Retry);
    }
    assert_eq!(drive.lines().last().unwrap(), "abandon a unexpected_shape");
}

#[test]
fn a_stop_abandons_and_nothing_else_is_wanted() {
    let mut drive = open(
        json!([{"id": "p", "work": {"kind": "parallel", "branches": [
            with(act("a", "r.get", json!({})), on("stale", json!([{"recovery": "stop"}]))),
            {"id": "b", "work": {"kind": "playbook", "name": "i", "with": {}, "steps":
                [act("x", "r.get", json!({})), act("y", "r.get", json!({}))]}},
        ]}}]),
        json!({}),
    );
    drive.failed("p/a", Class::Stale);
    assert_eq!(tail(&drive, 2), ["abandon p/a stale"]);
    drive.done("p/b/x", json!(1));
    assert_eq!(drive.lines().len(), 3);
}

#[test]
fn a_failed_check_is_a_failure_of_its_class() {
    let check = json!({"expect": [{"that": "result.n > 0", "class": "stale"}],
        "on_failure": {"stale": [{"recovery": "retry", "times": 1, "delay_ms": 0},
                                 {"recovery": "log", "caveat": "old"}]}});
    let mut drive = open(json!([with(act("a", "r.get", json!({})), check.clone())]), json!({}));
    drive.done("a", json!({"n": 0})).done("a", json!({"n": 0}));
    let want = [
        "do a r.get#1 {}",
        "retry a stale",
        "do a r.get#2 {}",
        "log a stale 'old'",
        "finish null [a stale 'old']",
    ];
    assert_eq!(drive.lines(), want);
    let mut drive = open(json!([with(act("a", "w.set", json!({})), check)]), json!({}));
    drive.done("a", json!({"n": 0}));
    assert_eq!(
        tail(&drive, 1)[0],
        "log a stale 'old'",
        "the write is there: never twice by itself"
    );
}

#[test]
fn a_check_that_does_not_evaluate_is_an_unexpected_shape() {
    for that in ["result.none == 1", "result.n"] {
        let check = json!({"expect": [{"that": that, "class": "stale"}]});
        let mut drive = open(json!([with(act("a", "r.get", json!({})), check)]), json!({}));
        drive.done("a", json!({"n": 0}));
        assert_eq!(tail(&drive, 1), ["abandon a unexpected_shape"]);
    }
}

#[test]
fn the_step_around_covers_its_own_failure_only() {
    let shape =
        on("unexpected_shape", json!([{"recovery": "partial", "value": [], "caveat": "none"}]));
    let each = |items: &str| {
        with(
            json!({"id": "l", "work": {"kind": "for_each", "items": items, "var": "x", "max": 2,
                "steps": [act("a", "w.set", json!({"x": "${{ x.n }}"}))]}}),
            shape.clone(),
        )
    };
    let drive = open(json!([each("intent.none")]), json!({}));
    assert_eq!(drive.lines()[0], "partial l unexpected_shape 'none'");
    let drive = open(json!([each("[1]")]), json!({}));
    assert_eq!(drive.lines(), ["abandon l[0]/a unexpected_shape"]);
}

#[test]
fn a_return_that_fails_returns_its_stand_in() {
    let shape = on("unexpected_shape", json!([{"recovery": "log", "caveat": "lost"}]));
    let drive = open(
        json!([with(give(json!("${{ intent.none }}")), shape), act("a", "w.set", json!({}))]),
        json!({}),
    );
    assert_eq!(drive.lines()[1], "finish null [end unexpected_shape 'lost']");
}

#[test]
fn caveats_come_in_order_and_once() {
    let each = json!({"id": "l", "work": {"kind": "for_each", "items": "[1, 2]", "var": "x", "max": 2,
        "steps": [with(act("a", "r.get", json!({})), json!({"caveat": "estimated",
            "on_failure": {"budget": [{"recovery": "log", "caveat": "cut"}]}}))]}});
    let skipped = with(act("s", "r.get", json!({})), json!({"when": "false", "caveat": "unused"}));
    let mut drive = open(json!([each, skipped]), json!({}));
    drive.done("l[0]/a", json!(1)).failed("l[1]/a", Class::Budget);
    let want = "finish null [l[]/a - 'estimated'] [l[1]/a budget 'cut']";
    assert_eq!(drive.lines().last().unwrap(), want);
}

#[test]
fn classes_have_lists_of_their_own() {
    let more = json!({"on_failure": {
        "timeout": [{"recovery": "retry", "times": 1, "delay_ms": 0}],
        "permission": [{"recovery": "log", "caveat": "p"}]}});
    let mut drive = open(json!([with(act("a", "r.get", json!({})), more)]), json!({}));
    drive.failed("a", Class::Timeout).failed("a", Class::Permission);
    assert_eq!(tail(&drive, 3)[0], "log a permission 'p'");
}
