//! Each kind of work: what is wanted, in which order, with which result.

use kernel::{exception::Class, planning::Resolution};
use planner::{Error, PlaybookPlanner};
use serde_json::{Value, json};

use crate::support::*;

fn refused(playbook: Value) -> Error {
    let plan = plan(steps(playbook));
    PlaybookPlanner::new(plan.into(), &run_id()).unwrap_err()
}

#[test]
fn a_step_reads_what_the_one_before_it_gave() {
    let mut drive = open(
        json!([
            act("a", "r.get", json!({"id": "${{ intent.id }}"})),
            act(
                "b",
                "w.set",
                json!({"n": "${{ steps.a.output.n + 1 }}", "l": "${{ pack.limit }}"})
            ),
            give(json!({"n": "${{ steps.b.output.n }}", "run": "${{ run.id }}"})),
        ]),
        json!({"id": "x"}),
    );
    drive.done("a", json!({"n": 1})).done("b", json!({"n": 2}));
    let want = [
        r#"do a r.get#1 {"id":"x"}"#,
        r#"do b w.set#1 {"l":7,"n":2}"#,
        r#"finish {"n":2,"run":"run_1"}"#,
    ];
    assert_eq!(drive.lines(), want);
}

#[test]
fn without_a_return_the_result_is_null() {
    let mut drive = open(json!([act("a", "r.get", json!({}))]), json!({}));
    drive.done("a", json!(1));
    assert_eq!(drive.lines().last().unwrap(), "finish null");
}

#[test]
fn an_empty_playbook_finishes_at_once() {
    assert_eq!(open(json!([]), json!({})).lines(), ["finish null"]);
}

#[test]
fn a_false_condition_skips_and_leaves_null() {
    let drive = open(
        json!([
            with(act("a", "w.set", json!({})), json!({"when": "intent.go"})),
            give(json!("${{ steps.a.output == null }}")),
        ]),
        json!({"go": false}),
    );
    assert_eq!(drive.lines(), ["skip a", "finish true"]);
}

#[test]
fn a_return_ends_early() {
    let drive = open(
        json!([
            with(give(json!("early")), json!({"when": "intent.go"})),
            act("a", "w.set", json!({})),
        ]),
        json!({"go": true}),
    );
    assert_eq!(drive.lines(), [r#"finish "early""#]);
}

#[test]
fn an_answer_is_the_output_of_a_question() {
    let ask = json!({"id": "q", "work": {"kind": "ask", "question": "Send ${{ intent.n }}?",
        "answer": {"type": "boolean"}, "role": "owner", "expires_ms": 1000}});
    let mut drive = open(json!([ask, give(json!("${{ steps.q.output }}"))]), json!({"n": 3}));
    drive.answered("q", json!(true));
    assert_eq!(drive.lines(), [r#"ask q "Send 3?" of owner"#, "finish true"]);
}

#[test]
fn a_question_nobody_answers_fails_by_timeout() {
    let ask = json!({"id": "q", "work": {"kind": "ask", "question": "?", "answer": {},
        "role": "owner", "expires_ms": 1}});
    let mut drive = open(json!([ask]), json!({}));
    drive.told(Seen::Answered("q".into(), None));
    assert_eq!(drive.lines().last().unwrap(), "abandon q timeout");
}

#[test]
fn an_inlined_playbook_has_its_own_intent_and_steps() {
    let inner = json!([
        act("a", "r.get", json!({"id": "${{ intent.id }}"})),
        with(
            json!({"id": "end", "work": {"kind": "return", "value": "${{ steps.a.output }}"}}),
            json!({"when": "intent.stop"})
        ),
        act("never", "w.set", json!({})),
    ]);
    let mut drive = open(
        json!([
            act("a", "r.get", json!({"id": "outer"})),
            {"id": "p", "work": {"kind": "playbook", "name": "inner",
                "with": {"id": "${{ steps.a.output }}", "stop": true}, "steps": inner}},
            give(json!(["${{ steps.a.output }}", "${{ steps.p.output }}"])),
        ]),
        json!({}),
    );
    drive.done("a", json!("x")).done("p/a", json!("y"));
    let want =
        [r#"do a r.get#1 {"id":"outer"}"#, r#"do p/a r.get#1 {"id":"x"}"#, r#"finish ["x","y"]"#];
    assert_eq!(drive.lines(), want);
}

#[test]
fn an_inlined_playbook_does_not_see_outside() {
    let inner = json!([act("b", "r.get", json!({"id": "${{ steps.a.output }}"}))]);
    let mut drive = open(
        json!([
            act("a", "r.get", json!({})),
            {"id": "p", "work": {"kind": "playbook", "name": "inner", "with": {}, "steps": inner}},
        ]),
        json!({}),
    );
    drive.done("a", json!("x"));
    assert_eq!(drive.lines().last().unwrap(), "abandon p/b unexpected_shape");
}

#[test]
fn branches_run_side_by_side() {
    let mut drive = open(
        json!([
            {"id": "p", "work": {"kind": "parallel", "branches": [
                act("a", "r.get", json!({"n": 1})),
                act("b", "r.get", json!({"n": 2})),
                with(act("c", "r.get", json!({})), json!({"when": "false"})),
            ]}},
            give(json!("${{ steps.p.output }}")),
        ]),
        json!({}),
    );
    drive.done("p/b", json!("second")).done("p/a", json!("first"));
    let want = [
        r#"do p/a r.get#1 {"n":1}"#,
        r#"do p/b r.get#1 {"n":2}"#,
        "skip p/c",
        r#"finish {"a":"first","b":"second","c":null}"#,
    ];
    assert_eq!(drive.lines(), want);
}

#[test]
fn a_loop_runs_its_turns_in_order() {
    let body = json!([with(
        act("a", "w.set", json!({"n": "${{ x.n }}", "o": "${{ steps.o.output }}"})),
        json!({"when": "x.n != 2"})
    ),]);
    let mut drive = open(
        json!([
            act("o", "r.get", json!({})),
            {"id": "l", "work": {"kind": "for_each", "items": "intent.list", "var": "x", "max": 3,
                "steps": body, "collect": {"n": "${{ x.n }}", "a": "${{ steps.a.output }}"}}},
            give(json!("${{ steps.l.output }}")),
        ]),
        json!({"list": [{"n": 1}, {"n": 2}, {"n": 3}]}),
    );
    drive.done("o", json!("o")).done("l[0]/a", json!("A")).done("l[2]/a", json!("C"));
    let want = [
        "do o r.get#1 {}",
        r#"do l[0]/a w.set#1 {"n":1,"o":"o"}"#,
        "skip l[1]/a",
        r#"do l[2]/a w.set#1 {"n":3,"o":"o"}"#,
        r#"finish [{"a":"A","n":1},{"a":null,"n":2},{"a":"C","n":3}]"#,
    ];
    assert_eq!(drive.lines(), want);
}

#[test]
fn a_list_longer_than_its_maximum_fails_and_is_never_cut() {
    let each = |max: u32, items: &str| {
        json!([{"id": "l", "work": {"kind": "for_each", "items": items, "var": "x", "max": max,
            "steps": [act("a", "w.set", json!({}))]}}])
    };
    let intent = json!({"list": [1, 2, 3]});
    let drive = open(each(2, "intent.list"), intent.clone());
    assert_eq!(drive.lines(), ["abandon l invalid_arguments"]);
    let drive = open(each(2, "intent"), intent);
    assert_eq!(drive.lines(), ["abandon l unexpected_shape"]);
}

#[test]
fn a_return_in_a_loop_ends_the_playbook() {
    let mut drive = open(
        json!([
            {"id": "l", "work": {"kind": "for_each", "items": "[1, 2, 3]", "var": "x", "max": 3,
                "steps": [
                    act("a", "r.get", json!({"x": "${{ x }}"})),
                    {"id": "r", "when": "steps.a.output", "work": {"kind": "return", "value": "${{ x }}"}},
                ]}},
            act("b", "w.set", json!({})),
        ]),
        json!({}),
    );
    drive.done("l[0]/a", json!(false)).done("l[1]/a", json!(true));
    assert_eq!(drive.lines().last().unwrap(), "finish 2");
}

#[test]
fn sleeps_and_signals_park() {
    let mut drive = open(
        json!([
            {"id": "s", "work": {"kind": "sleep", "ms": 50}},
            {"id": "w", "work": {"kind": "await", "signal": "paid-${{ intent.n }}", "timeout_ms": 9}},
            give(json!("${{ steps.w.output.sum }}")),
        ]),
        json!({"n": 4}),
    );
    drive.woken("s");
    drive.told(Seen::Woken("w".into(), Some(labelled(json!({"sum": 5}), VERIFIED))));
    assert_eq!(drive.lines(), ["sleep s 50", "signal w paid-4 9", "finish 5"]);
}

#[test]
fn a_signal_that_does_not_come_fails_by_timeout() {
    let mut drive = open(
        json!([
            {"id": "w", "work": {"kind": "await", "signal": "x", "timeout_ms": 9},
             "on_failure": {"timeout": [{"recovery": "log", "caveat": "not paid"}]}},
            give(json!("${{ steps.w.output == null }}")),
        ]),
        json!({}),
    );
    drive.woken("w");
    let want = ["signal w x 9", "log w timeout 'not paid'", "finish true [w timeout 'not paid']"];
    assert_eq!(drive.lines(), want);
}

#[test]
fn nothing_is_wanted_twice_and_strays_are_ignored() {
    let mut drive = open(json!([act("a", "r.get", json!({}))]), json!({}));
    drive.done("b", json!(1)).woken("a").answered("a", json!(2));
    drive.resolved("a", Resolution::Stop).told(Seen::Entered("propose", "a".into()));
    assert_eq!(drive.lines().len(), 1);
    assert_eq!(drive.planner.next_line(), None);
    drive.done("a", json!(3)).done("a", json!(4)).failed("a", Class::Budget);
    assert_eq!(drive.lines().len(), 2);
}

trait NextLine {
    fn next_line(&self) -> Option<kernel::planning::Move>;
}

impl NextLine for PlaybookPlanner {
    fn next_line(&self) -> Option<kernel::planning::Move> {
        kernel::planning::Planner::next(self)
    }
}

#[test]
fn a_result_that_comes_before_its_proposal_is_journaled_is_ignored() {
    let mut drive = Drive::new(steps(json!([act("a", "r.get", json!({}))])));
    drive.tell(Seen::Opened(labelled(json!({}), USER)));
    drive.tell(Seen::Settled(
        "a".into(),
        kernel::planning::Settled::Done(labelled(json!(1), VERIFIED)),
    ));
    drive.drain();
    assert_eq!(drive.lines(), ["do a r.get#1 {}"]);
}

#[test]
fn no_more_than_64_branches_are_at_work_at_a_time() {
    let branches: Vec<Value> =
        (0..100).map(|n| act(&format!("b{n}"), "r.get", json!({}))).collect();
    let playbook = json!([{"id": "p", "work": {"kind": "parallel", "branches": branches}}]);
    let mut drive = open(playbook, json!({}));
    assert_eq!(drive.lines().len(), planner::ACTIVE_MAX);
    drive.done("p/b5", json!(0));
    assert_eq!(drive.lines().len(), planner::ACTIVE_MAX + 1);
    for n in 0..100 {
        drive.done(&format!("p/b{n}"), json!(0));
    }
    assert_eq!(drive.lines().last().unwrap(), "finish null");
    assert_eq!(drive.lines().len(), 101);
}

#[test]
fn a_playbook_that_cannot_run_is_refused() {
    let twice = refused(json!([act("a", "r.x", json!({})), act("a", "r.x", json!({}))]));
    assert_eq!(twice, Error::Twice("a".into()));
    let id = refused(json!([act("a/b", "r.x", json!({}))]));
    assert_eq!(id, Error::Id("a/b".into()));
    let broken = refused(json!([with(act("a", "r.x", json!({})), json!({"when": "1 +"}))]));
    assert!(broken.to_string().starts_with("step `a`, when: "), "{broken}");
    let branch = json!([{"id": "p", "work": {"kind": "parallel", "branches": [give(json!(1))]}}]);
    assert_eq!(refused(branch), Error::ReturnInParallel("p".into()));
    let each = |var: &str, max: u32| {
        json!([{"id": "l", "work": {"kind": "for_each", "items": "[]", "var": var, "max": max,
            "steps": []}}])
    };
    assert!(matches!(refused(each("steps", 1)), Error::Variable { .. }));
    assert_eq!(refused(each("x", 10_001)), Error::TooManyTurns("l".into()));
    let long: Vec<Value> = (0..501).map(|n| act(&format!("s{n}"), "r.x", json!({}))).collect();
    assert_eq!(refused(json!(long)), Error::TooLong);
}
