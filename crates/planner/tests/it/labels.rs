//! Which labels an action gets: of its arguments, and of its existence.

use kernel::{event::MACHINE, exception::Class, label::Trust, planning::Resolution};
use serde_json::{Value, json};

use crate::support::*;

fn existence(drive: &Drive, step: &str) -> Trust {
    drive.proposal(step).existence.trust
}

fn tainted(drive: &Drive, step: &str) -> bool {
    existence(drive, step) == UNTRUSTED
}

fn when(condition: &str, step: Value) -> Value {
    with(step, json!({"when": condition}))
}

#[test]
fn arguments_carry_labels_leaf_by_leaf() {
    let drive = open(
        json!([act(
            "a",
            "w.set",
            json!({"id": "${{ intent.id }}", "text": "Re: ${{ intent.u }}",
            "limit": "${{ pack.limit }}", "fixed": {"x": 1}, "all": "${{ intent }}"})
        )]),
        json!({"id": "x", "u": "evil"}),
    );
    let proposal = drive.proposal("a");
    let trust = |at: &str| proposal.arg_labels.at(at).trust;
    assert_eq!(proposal.existence.trust, Trust::System);
    assert_eq!(trust("/id"), USER);
    assert_eq!(trust("/text"), UNTRUSTED);
    assert_eq!(trust("/limit"), Trust::Operator);
    assert_eq!(trust("/fixed"), Trust::System);
    assert_eq!(trust("/all/id"), USER);
    assert_eq!(trust("/all/absent"), UNTRUSTED, "what is absent follows from all that was read");
    assert_eq!(trust(""), UNTRUSTED);
}

#[test]
fn a_condition_governs_its_step_and_shows_in_its_output() {
    let mut drive = open(
        json!([
            when("intent.u", act("a", "w.set", json!({}))),
            act("b", "w.set", json!({"x": "${{ steps.a.output }}", "y": 1})),
        ]),
        json!({"u": true}),
    );
    drive.done("a", json!(1));
    assert!(tainted(&drive, "a"));
    assert!(!tainted(&drive, "b"));
    let labels = &drive.proposal("b").arg_labels;
    assert_eq!(labels.at("/x").trust, UNTRUSTED);
    assert_eq!(labels.at("/y").trust, Trust::System);

    let drive = open(
        json!([
            when("intent.u", act("a", "w.set", json!({}))),
            act("b", "w.set", json!({"x": "${{ steps.a.output }}"})),
        ]),
        json!({"u": false}),
    );
    assert_eq!(drive.proposal("b").arg_labels.at("/x").trust, UNTRUSTED, "skipped shows as well");
}

#[test]
fn a_list_governs_its_body_and_not_what_follows() {
    let body = json!([act("a", "w.set", json!({"k": 1}))]);
    let mut drive = open(
        json!([
            {"id": "l", "work": {"kind": "for_each", "items": "intent.u", "var": "x", "max": 9,
                "steps": body, "collect": 1}},
            act("b", "w.set", json!({"n": "${{ size(steps.l.output) }}"})),
        ]),
        json!({"u": [1]}),
    );
    drive.done("l[0]/a", json!(0));
    assert!(tainted(&drive, "l[0]/a"));
    assert!(!tainted(&drive, "b"));
    assert_eq!(drive.proposal("b").arg_labels.at("/n").trust, UNTRUSTED, "the length shows");
}

#[test]
fn a_check_governs_everything_after_it_up_to_the_top() {
    let check = |part: &str| json!({"expect": [{"that": format!("result.{part} > 0"), "class": "mismatch"}]});
    let inner = |part: &str| {
        json!([
            {"id": "p", "work": {"kind": "playbook", "name": "i", "with": {}, "steps": [
                with(act("a", "r.get", json!({})), check(part)),
                act("b", "w.set", json!({})),
            ]}},
            act("c", "w.set", json!({})),
        ])
    };
    for (part, want) in [("t", false), ("u", true)] {
        let mut drive = open(inner(part), json!({}));
        drive.done_as("p/a", mixed(json!({"t": 1, "u": 1}), &["/u"])).done("p/b", json!(0));
        assert!(!tainted(&drive, "p/a"));
        assert_eq!(tainted(&drive, "p/b"), want);
        assert_eq!(tainted(&drive, "c"), want);
    }
}

#[test]
fn a_plain_success_governs_nothing() {
    let mut drive =
        open(json!([act("a", "r.get", json!({})), act("b", "w.set", json!({}))]), json!({}));
    drive.done_as("a", labelled(json!("text of a stranger"), UNTRUSTED));
    assert!(!tainted(&drive, "b"));
}

#[test]
fn a_recovered_failure_governs_the_recovery_its_output_and_what_follows() {
    let recoveries = json!({"on_failure": {"permission": [{"recovery": "fallback",
        "operation": "r.cache", "with": {}, "caveat": "c"}]}});
    for (trust, want) in [(VERIFIED, false), (UNTRUSTED, true)] {
        let mut drive = open(
            json!([
                with(act("a", "r.get", json!({})), recoveries.clone()),
                act("b", "w.set", json!({"x": "${{ steps.a.output }}"})),
            ]),
            json!({}),
        );
        drive.failed_as("a", Class::Permission, (None, trust)).done("a", json!(1));
        let fallback = drive.proposals().nth(1).unwrap();
        assert_eq!(fallback.existence.trust == UNTRUSTED, want);
        assert_eq!(tainted(&drive, "b"), want);
        assert_eq!(drive.proposal("b").arg_labels.at("/x").trust == UNTRUSTED, want);
    }
}

#[test]
fn a_retry_exists_because_of_the_failure() {
    let mut drive = open(json!([act("a", "r.get", json!({}))]), json!({}));
    drive.failed_as("a", Class::Timeout, (None, UNTRUSTED)).woken("a");
    let existence: Vec<Trust> = drive.proposals().map(|p| p.existence.trust).collect();
    assert_eq!(existence, [Trust::System, UNTRUSTED]);
}

#[test]
fn a_return_that_may_be_taken_governs_what_follows_and_the_output() {
    let playbook = json!([
        when("intent.u", give(json!("early"))),
        act("a", "w.set", json!({})),
        {"id": "r", "work": {"kind": "return", "value": "late"}},
    ]);
    let mut drive = open(playbook.clone(), json!({"u": false}));
    drive.done("a", json!(1));
    assert!(tainted(&drive, "a"));
    assert_eq!(drive.output().labels.at("").trust, UNTRUSTED);
    let drive = open(playbook, json!({"u": true}));
    assert_eq!(drive.output().labels.at("").trust, UNTRUSTED);
}

#[test]
fn a_loop_that_may_return_governs_what_follows_even_when_it_has_no_turn() {
    let each = json!({"id": "l", "work": {"kind": "for_each", "items": "intent.u", "var": "x",
        "max": 9, "steps": [give(json!(1))]}});
    let drive = open(json!([each, act("a", "w.set", json!({}))]), json!({"u": []}));
    assert!(tainted(&drive, "a"));
    let drive =
        open(json!([when("intent.u", each), act("a", "w.set", json!({}))]), json!({"u": false}));
    assert!(tainted(&drive, "a"));
}

#[test]
fn a_signal_and_its_absence_govern_what_follows() {
    let playbook = json!([
        {"id": "w", "work": {"kind": "await", "signal": "x", "timeout_ms": 9},
         "on_failure": {"timeout": [{"recovery": "log", "caveat": "c"}]}},
        act("a", "w.set", json!({})),
    ]);
    for (trust, want) in [(VERIFIED, false), (UNTRUSTED, true)] {
        let mut drive = open(playbook.clone(), json!({}));
        drive.told(Seen::Woken("w".into(), Some(labelled(json!(1), trust))));
        assert_eq!(tainted(&drive, "a"), want);
    }
    let mut drive = open(playbook, json!({}));
    drive.woken("w");
    assert!(tainted(&drive, "a"));
}

#[test]
fn branches_do_not_govern_each_other_but_what_follows() {
    let check = json!({"expect": [{"that": "result > 0", "class": "mismatch"}]});
    let mut drive = open(
        json!([
            {"id": "p", "work": {"kind": "parallel", "branches": [
                with(act("a", "r.get", json!({})), check),
                {"id": "b", "work": {"kind": "playbook", "name": "i", "with": {}, "steps":
                    [act("x", "r.get", json!({})), act("y", "w.set", json!({}))]}},
            ]}},
            act("c", "w.set", json!({"k": "${{ steps.p.output.b }}"})),
        ]),
        json!({}),
    );
    drive.done_as("p/a", labelled(json!(1), UNTRUSTED));
    drive.done("p/b/x", json!(1)).done("p/b/y", json!(1));
    assert!(!tainted(&drive, "p/b/y"));
    assert!(tainted(&drive, "c"));
}

#[test]
fn an_expression_without_a_result_taints_by_what_it_read() {
    let log = json!({"on_failure": {"unexpected_shape": [{"recovery": "log", "caveat": "c"}]}});
    for (root, want) in [("u", true), ("t", false)] {
        let text = format!("${{{{ intent.{root}.none }}}}");
        let drive = open(
            json!([
                with(act("a", "w.set", json!({"x": text})), log.clone()),
                act("b", "w.set", json!({})),
            ]),
            json!({"t": {}, "u": {}}),
        );
        assert_eq!(tainted(&drive, "b"), want, "{root}");
    }
}

#[test]
fn an_answer_is_the_word_of_a_person() {
    let escalate = json!({"on_failure": {"mismatch": [{"recovery": "escalate", "owner": "o"}]}});
    let mut drive = open(
        json!([
            with(act("a", "r.get", json!({})), escalate),
            act("b", "w.set", json!({"x": "${{ steps.a.output }}"})),
        ]),
        json!({}),
    );
    drive.failed("a", Class::Mismatch);
    drive.resolved("a", Resolution::Use(labelled(json!(1), USER)));
    assert_eq!(
        drive.proposal("b").arg_labels.at("/x").trust,
        VERIFIED,
        "the failure's label joins"
    );
    assert_eq!(existence(&drive, "b"), VERIFIED);
}

#[test]
fn items_of_a_list_keep_their_labels() {
    let mut drive = open(
        json!([
            act("a", "r.get", json!({})),
            {"id": "l", "work": {"kind": "for_each", "items": "steps.a.output", "var": "x", "max": 9,
                "steps": [act("b", "w.set", json!({"id": "${{ x.id }}", "note": "${{ x.note }}"}))]}},
        ]),
        json!({}),
    );
    let list = json!([{"id": 1, "note": "hi"}, {"id": 2, "note": "ho"}]);
    drive.done_as("a", mixed(list, &["/*/note"]));
    let proposal = drive.proposal("l[0]/b");
    assert_eq!(proposal.arg_labels.at("/note").trust, UNTRUSTED);
    assert_eq!(proposal.arg_labels.at("/id").trust, VERIFIED);
    assert!(tainted(&drive, "l[0]/b"), "whether there is a turn follows from the list as a whole");
}

#[test]
fn where_the_run_goes_on_without_a_value_that_there_is_one_governs() {
    let log = json!({"on_failure": {"unexpected_shape": [{"recovery": "log", "caveat": "c"}]}});
    let stop = json!({"on_failure": {"unexpected_shape": [{"recovery": "stop"}]}});
    for (recovery, want) in [(log, true), (stop, false)] {
        let set = act("a", "w.set", json!({"text": "${{ intent.u }}", "k": 1}));
        let drive = open(json!([with(set, recovery)]), json!({"u": "x"}));
        assert_eq!(tainted(&drive, "a"), want);
    }
}

#[test]
fn an_empty_list_shows_that_no_turn_ran() {
    let drive = open(
        json!([
            {"id": "l", "work": {"kind": "for_each", "items": "intent.u", "var": "x", "max": 9,
                "steps": [], "collect": 1}},
            act("a", "w.set", json!({"n": "${{ size(steps.l.output) }}"})),
        ]),
        json!({"u": []}),
    );
    assert_eq!(drive.proposal("a").arg_labels.at("/n").trust, UNTRUSTED);
}

#[test]
fn a_playbook_without_a_result_shows_that_it_did_not_return() {
    let inner = json!([when("intent.u", give(json!(1)))]);
    let drive = open(
        json!([
            {"id": "p", "work": {"kind": "playbook", "name": "i", "steps": inner,
                "with": {"u": "${{ intent.u }}"}}},
            act("a", "w.set", json!({"n": "${{ steps.p.output == null }}"})),
        ]),
        json!({"u": false}),
    );
    assert_eq!(drive.proposal("a").arg_labels.at("/n").trust, UNTRUSTED);
}

/// Trust of a trusted part of `step`'s answer, where it is used afterwards.
fn trust_of_a_part(drive: &Drive) -> Trust {
    drive.proposal("b").arg_labels.at("/x").trust
}

fn read_then_write(on_failure: Value) -> Value {
    json!([
        with(act("a", "r.get", json!({})), json!({"on_failure": on_failure})),
        act("b", "w.set", json!({"x": "${{ steps.a.output.t }}"})),
    ])
}

#[test]
fn where_a_broken_answer_is_replaced_a_sound_one_says_so_in_all_its_parts() {
    let fallback =
        json!({"recovery": "fallback", "operation": "r.other", "with": {}, "caveat": "c"});
    let partial = json!({"recovery": "partial", "value": {"t": 2}, "caveat": "c"});
    let log = json!({"recovery": "log", "caveat": "c"});
    let clarify = json!({"recovery": "clarify", "question": "?", "answer": {}, "role": "o",
        "expires_ms": 9});
    let escalate = json!({"recovery": "escalate", "owner": "o"});
    for goes_on in [&fallback, &partial, &log, &clarify, &escalate] {
        for class in Class::ALL {
            let mut drive = open(read_then_write(json!({class.name(): [goes_on]})), json!({}));
            drive.done_as("a", mixed(json!({"t": 1, "u": 1}), &["/u"]));
            let expected = if class.is_about_content() { UNTRUSTED } else { VERIFIED };
            assert_eq!(trust_of_a_part(&drive), expected, "{} {goes_on}", class.name());
        }
    }
    let again = json!({"recovery": "retry", "times": 2, "delay_ms": 1});
    for ends in [json!([{"recovery": "stop"}]), json!([again, {"recovery": "stop"}]), json!([])] {
        let mut drive = open(read_then_write(json!({"stale": ends})), json!({}));
        drive.done_as("a", mixed(json!({"t": 1, "u": 1}), &["/u"]));
        assert_eq!(trust_of_a_part(&drive), VERIFIED, "{ends}");
    }
    // What stands in for an answer can break too.
    for (after, expected) in [(None, VERIFIED), (Some(&log), UNTRUSTED)] {
        let mut list = vec![fallback.clone()];
        list.extend(after.cloned());
        let mut drive = open(read_then_write(json!({"unavailable": list})), json!({}));
        drive.failed("a", Class::Unavailable);
        drive.done_as("a", mixed(json!({"t": 1, "u": 1}), &["/u"]));
        assert_eq!(trust_of_a_part(&drive), expected, "then {after:?}");
    }
}

#[test]
fn runs_of_earlier_machines_keep_the_labels_they_had() {
    let playbook = read_then_write(json!({"missing_field": [{"recovery": "log", "caveat": "c"}]}));
    for (machine, expected) in [(1, VERIFIED), (3, VERIFIED), (4, UNTRUSTED), (MACHINE, UNTRUSTED)]
    {
        let mut drive = open_as(playbook.clone(), json!({}), machine);
        drive.done_as("a", mixed(json!({"t": 1, "u": 1}), &["/u"]));
        assert_eq!(trust_of_a_part(&drive), expected, "machine {machine}");
    }
}
