use kernel::{
    decision::Autonomy,
    event::{Body, Ended, Record, Stage, check_chain},
    exception::Class,
    label::{Confidentiality, Label, LabelMap, Trust},
    operation::{Critical, Effect, Retry, Undo},
    run::{Status, replay},
};
use serde_json::json;
use testkit::{Bench, Crash, NoSchemas, Rules, operation, proposal, returned};

fn read(id: &str) -> kernel::operation::Operation {
    operation(id, Effect::Read, Undo::None, Retry::Keyed)
}

fn write(id: &str) -> kernel::operation::Operation {
    operation(id, Effect::Write, Undo::None, Retry::Never)
}

fn rejection(bench: &Bench) -> Option<(Stage, Class, String)> {
    bench.records.iter().find_map(|r| match &r.event.body {
        Body::Rejected { stage, class, code, .. } => Some((*stage, *class, code.clone())),
        _ => None,
    })
}

#[test]
fn a_run_of_reads_leaves_five_events_an_action_and_ends_closed() {
    let steps = vec![proposal("a", "crm.get", json!({})), proposal("b", "crm.get", json!({}))];
    let mut bench = Bench::new(vec![read("crm.get")], steps, Rules::default());
    assert!(bench.start(Crash::Never));
    assert_eq!(bench.run.as_ref().unwrap().status(), Status::Succeeded);
    let kinds = bench.kinds();
    let one = ["proposed", "judged", "dispatched", "returned", "receipted"];
    let expected: Vec<&str> =
        std::iter::once("opened").chain(one).chain(one).chain(["finished", "closed"]).collect();
    assert_eq!(kinds, expected);
    assert_eq!(bench.drafts.len(), 3, "two receipts and the close record");
}

#[test]
fn nothing_is_handed_out_before_the_journal_acknowledged_it() {
    let steps = vec![proposal("a", "crm.get", json!({}))];
    let mut bench = Bench::new(vec![read("crm.get")], steps, Rules::default());
    bench.start(Crash::AfterAppend(1));
    assert!(bench.run.is_none() && bench.world.calls.is_empty());
    let mut run = opened_without_append();
    assert!(run.next(1).is_empty(), "decided, not even handed to the journal");
    let pending = run.take();
    assert!(pending.records.iter().any(|r| matches!(r.event.body, Body::Dispatched { .. })));
    assert!(run.next(1).is_empty(), "handed to the journal, not acknowledged");
    run.committed();
    assert_eq!(run.next(1).len(), 1);
    assert!(run.next(1).is_empty(), "handed out once");
}

/// A run of one read, decided and not taken.
fn opened_without_append() -> kernel::run::Run {
    use kernel::run::{Genesis, Ports, Run};
    let steps = vec![proposal("a", "crm.get", json!({}))];
    let mut bench = Bench::new(vec![read("crm.get")], steps, Rules::default());
    let genesis = Genesis {
        header: bench.header_mut().clone(),
        id: kernel::id::RunId::of_intent(&kernel::id::Tenant::default(), "test", "k"),
        intent: kernel::planning::Labelled {
            value: std::sync::Arc::new(json!({})),
            labels: LabelMap::default(),
        },
        subjects: vec![],
    };
    let mut salts = testkit::Salted::default();
    let rules = Rules::default();
    let mut ports = Ports { judge: &rules, validate: &testkit::NoSchemas, salts: &mut salts };
    Run::open(genesis, bench.pins(), kernel::input::Now { at: 1, boot_ms: 1 }, &mut ports).unwrap()
}

/// C119, C113, C109: what does not exist, is not planned, not granted or does not fit never leaves.
#[test]
fn whatever_is_not_in_order_is_rejected_before_a_judge_is_asked() {
    let check = |operations, step: &str, name: &str, change: fn(&mut Bench)| {
        let mut bench =
            Bench::new(operations, vec![proposal(step, name, json!({}))], Rules::default());
        change(&mut bench);
        bench.start(Crash::Never);
        assert!(bench.world.calls.is_empty(), "{step} reached the world");
        rejection(&bench).unwrap()
    };
    let none: fn(&mut Bench) = |_| {};
    assert_eq!(check(vec![], "unknown", "crm.nope", none).0, Stage::Unknown);
    let ungranted: fn(&mut Bench) = |b| b.header_mut().grant.operations.clear();
    assert_eq!(check(vec![read("crm.get")], "grant", "crm.get", ungranted).0, Stage::Grant);
    let report: fn(&mut Bench) = |b| b.header_mut().autonomy = Autonomy::L1;
    assert_eq!(check(vec![write("crm.set")], "l1", "crm.set", report).0, Stage::Grant);
    let mut strict = read("crm.get");
    strict.input = std::sync::Arc::new(json!({"required": ["id"]}));
    let (stage, class, _) = check(vec![strict], "schema", "crm.get", none);
    assert_eq!((stage, class), (Stage::Schema, Class::InvalidArguments));
    let mut narrow = read("crm.get");
    narrow.clearance = Label::new(Trust::Untrusted, Confidentiality::Public);
    assert_eq!(check(vec![narrow], "clearance", "crm.get", none).0, Stage::Clearance);
    let broke: fn(&mut Bench) = |b| b.header_mut().budget.calls_max = 0;
    assert_eq!(check(vec![read("crm.get")], "budget", "crm.get", broke).0, Stage::Budget);
}

/// C048: an action outside the plan stops the run and says so.
#[test]
fn an_unplanned_action_stops_the_run() {
    use kernel::run::{Genesis, Pins, Ports, Run};
    let planned = vec![proposal("planned", "crm.get", json!({}))];
    let mut bench = Bench::new(vec![read("crm.get")], planned, Rules::default());
    let pins = bench.pins();
    let rogue = testkit::LinePlanner::new(&[proposal("rogue", "crm.get", json!({}))]);
    let pins = Pins { planner: Box::new(rogue), ..pins };
    let genesis = Genesis {
        header: bench.header_mut().clone(),
        id: kernel::id::RunId::of_intent(&kernel::id::Tenant::default(), "test", "k"),
        intent: kernel::planning::Labelled {
            value: std::sync::Arc::new(json!({})),
            labels: LabelMap::default(),
        },
        subjects: vec![],
    };
    let mut salts = testkit::Salted::default();
    let rules = Rules::default();
    let mut ports = Ports { judge: &rules, validate: &testkit::NoSchemas, salts: &mut salts };
    let now = kernel::input::Now { at: 1, boot_ms: 1 };
    let mut run = Run::open(genesis, pins, now, &mut ports).unwrap();
    assert_eq!(run.status(), Status::Failed);
    assert_eq!(run.exceptions().len(), 1);
    run.take();
    run.committed();
    assert!(run.next(1).is_empty());
}

#[test]
fn a_denial_reaches_no_connector_and_names_its_rule() {
    let steps = vec![proposal("a", "crm.set", json!({}))];
    let mut bench = Bench::new(vec![write("crm.set")], steps, Rules::default().deny("crm.set"));
    bench.start(Crash::Never);
    assert!(bench.world.calls.is_empty());
    assert_eq!(rejection(&bench).unwrap(), (Stage::Policy, Class::PolicyError, "deny".into()));
    assert_eq!(bench.run.unwrap().status(), Status::Failed);
}

/// The claim of the labels: a judge that allows everything cannot let untrusted input act un-asked.
#[test]
fn untrusted_input_asks_even_where_policy_allows() {
    let tainted = Label::new(Trust::Untrusted, Confidentiality::Internal);
    let asks = |arg: Option<&str>, existence: bool, critical: Critical, effect| {
        let mut step = proposal("a", "crm.set", json!({"id": 1, "note": "x"}));
        if let Some(pointer) = arg {
            step.arg_labels.parts.insert(pointer.into(), tainted.clone());
        }
        if existence {
            step.existence = tainted.clone();
        }
        let mut op = operation("crm.set", effect, Undo::None, Retry::Never);
        op.facts.critical = critical;
        let mut bench = Bench::new(vec![op], vec![step], Rules::default());
        bench.start(Crash::Never);
        bench.run.unwrap().status() == Status::Asking
    };
    let id_only = || Critical::At(vec!["/id".into()]);
    assert!(asks(Some("/note"), false, Critical::All, Effect::Write));
    assert!(!asks(Some("/note"), false, id_only(), Effect::Write), "not critical");
    assert!(asks(Some("/id"), false, id_only(), Effect::Write));
    assert!(asks(None, true, id_only(), Effect::Write), "its very existence");
    assert!(!asks(Some("/id"), true, Critical::All, Effect::Read), "a read without egress");
}

/// C214: what nobody foresaw is not done unattended, whatever policy and autonomy say.
#[test]
fn a_run_with_unusual_inputs_asks_before_each_change() {
    use kernel::novelty::{Unlike, Unusual};
    let asks = |unusual: Vec<Unusual>, op: kernel::operation::Operation| {
        let steps = vec![proposal("a", op.id.as_str(), json!({}))];
        let mut bench = Bench::new(vec![op], steps, Rules::default());
        bench.header_mut().autonomy = Autonomy::L3;
        bench.header_mut().unusual = unusual;
        bench.start(Crash::Never);
        let run = bench.run.unwrap();
        let rules = run.asks().pop().and_then(|ask| ask.action.decision).map(|d| d.rules);
        (
            run.status(),
            rules.unwrap_or_default().into_iter().map(|rule| rule.id).collect::<Vec<_>>(),
        )
    };
    let far = || vec![Unusual { at: "/amount".into(), how: Unlike::OutOfRange }];
    let held = (Status::Asking, vec!["allow".to_owned(), kernel::run::UNUSUAL_RULE.to_owned()]);
    assert_eq!(asks(far(), write("crm.set")), held);
    assert_eq!(asks(far(), read("crm.get")).0, Status::Succeeded, "a read changes nothing");
    assert_eq!(asks(vec![], write("crm.set")).0, Status::Succeeded);
    assert_eq!(Autonomy::L3.lowered(), Autonomy::L2);
    assert_eq!(Autonomy::L1.lowered(), Autonomy::L1);
}

/// C112: a mask that policy requires is applied before the call, and only a declared one.
#[test]
fn a_required_mask_is_applied_or_the_action_is_denied() {
    #[derive(Debug)]
    struct Masking;
    impl kernel::port::Judge for Masking {
        fn judge(&self, q: &kernel::decision::Question<'_>) -> kernel::decision::Decision {
            use kernel::decision::{Decision, Requirement, Verdict};
            let mask = "mask:/email".to_owned();
            let verdict = if q.evidence.transforms.contains(&mask) {
                Verdict::Allow
            } else {
                Verdict::Ask(Requirement { transforms: [mask].into(), ..Default::default() })
            };
            Decision { verdict, rules: vec![], policies: vec![] }
        }
    }
    let run = |maskable: Vec<String>| {
        use kernel::run::{Genesis, Ports, Run};
        let mut op = read("crm.get");
        op.maskable = maskable;
        let mut bench =
            Bench::new(vec![op], vec![proposal("a", "crm.get", json!({}))], Rules::default());
        let genesis = Genesis {
            header: bench.header_mut().clone(),
            id: kernel::id::RunId::of_intent(&kernel::id::Tenant::default(), "test", "k"),
            intent: kernel::planning::Labelled {
                value: std::sync::Arc::new(json!({})),
                labels: LabelMap::default(),
            },
            subjects: vec![],
        };
        let mut salts = testkit::Salted::default();
        let mut ports = Ports { judge: &Masking, validate: &testkit::NoSchemas, salts: &mut salts };
        let now = kernel::input::Now { at: 1, boot_ms: 1 };
        let mut run = Run::open(genesis, bench.pins(), now, &mut ports).unwrap();
        run.take();
        run.committed();
        let permits = run.next(1);
        permits.first().map(|p| p.masks().clone())
    };
    assert_eq!(run(vec!["/email".into()]), Some(["/email".to_owned()].into()));
    assert_eq!(run(vec![]), None, "an unregistered rewrite is a denial");
}

/// C292: of arguments and results the hashed journal and the receipts hold commitments.
#[test]
fn values_never_stand_in_a_hashed_body() {
    let canary = "ana.keller@northwind-robotics.example";
    let steps = vec![proposal("a", "crm.set", json!({"to": canary}))];
    let mut op = write("crm.set");
    op.resource =
        Some(kernel::operation::ResourceRule { kind: "Contact".into(), id: "/to".into() });
    let mut bench = Bench::new(vec![op], steps, Rules::default());
    bench.world.script(
        "crm.set",
        vec![Ok(kernel::port::Returned {
            external_ref: Some(canary.into()),
            ..returned(json!({"sent_to": canary}))
        })],
    );
    bench.start(Crash::Never);
    assert!(!bench.text().contains("ana.keller"));
    let statements: Vec<String> =
        bench.drafts.iter().map(|d| String::from_utf8(d.payload.clone()).unwrap()).collect();
    assert!(statements.iter().all(|s| !s.contains("ana.keller")));
}

/// C192: the answer that broke its contract is kept where it can be erased, and replays.
#[test]
fn the_sample_of_a_failure_is_sealed_and_replays() {
    let canary = "ana.keller@northwind-robotics.example";
    let sample = Some(std::sync::Arc::new(json!({"answer": {"mail": canary}})));
    let broken = kernel::port::Failure {
        class: kernel::exception::Class::UnexpectedShape,
        landed: kernel::exception::Landed::No,
        message: "the answer breaks its schema".into(),
        retry_after_ms: None,
        sample: sample.clone(),
    };
    let steps = vec![proposal("a", "crm.get", json!({}))];
    let mut bench = Bench::new(vec![read("crm.get")], steps, Rules::default());
    bench.world.script("crm.get", vec![Err(broken)]);
    bench.start(Crash::Never);
    let kept = |bench: &Bench| {
        bench.records.iter().find_map(|record| match &record.event.body {
            Body::Returned { ended: Ended::Failed { sample, .. }, .. } => sample.clone(),
            _ => None,
        })
    };
    assert_eq!(kept(&bench).map(|sealed| sealed.value()), sample);
    assert!(!bench.text().contains("ana.keller"), "only its commitment stands in the body");
    assert_eq!(kept(&bench).unwrap().labels().join_all(), kernel::Label::default());
    replay(&bench.records, bench.pins(), (&bench.rules, &NoSchemas)).unwrap();
    // Read back from storage without its opening: the chain stands, the sample is gone.
    let read_back =
        bench.records.iter().enumerate().map(|(seq, record)| {
            Record::read(seq as u64, record.bytes.clone(), Vec::new()).unwrap()
        });
    let erased: Vec<Record> = read_back.collect();
    check_chain(&erased).unwrap();
    assert!(erased.iter().all(|record| record.openings().iter().all(Option::is_none)));
}

#[test]
fn journal_bytes_per_action_do_not_grow() {
    let steps: Vec<_> =
        (0..400).map(|n| proposal(&format!("s[{n}]"), "crm.get", json!({}))).collect();
    let mut bench = Bench::new(vec![read("crm.get")], steps, Rules::default());
    bench.start(Crash::Never);
    let bytes = |from: usize| -> usize {
        let five = bench.records.iter().skip(1 + from * 5).take(5);
        five.map(|r| r.bytes.len()).sum()
    };
    // Only the digits of sequence numbers differ: about ten of them, up to three digits longer.
    assert!(bytes(390) <= bytes(10) + 40, "{} -> {}", bytes(10), bytes(390));
}

/// However long an owner stands still between deciding and sending, its successor counts from the
/// decision: so does the permit.
#[test]
fn the_window_of_a_call_opens_when_it_is_decided() {
    let sends = operation("mail.send", Effect::Write, Undo::None, Retry::Never);
    let steps = vec![proposal("a", "mail.send", json!({}))];
    let mut b = Bench::new(vec![sends], steps, Rules::default());
    let genesis = kernel::run::Genesis {
        header: b.header_mut().clone(),
        id: kernel::RunId::of_intent(&Default::default(), "test", "key"),
        intent: kernel::planning::Labelled {
            value: std::sync::Arc::new(json!({})),
            labels: kernel::LabelMap::uniform(testkit::clean()),
        },
        subjects: vec![],
    };
    let mut salts = testkit::Salted::default();
    let (judge, validate) = (Rules::default(), testkit::NoSchemas);
    let mut ports = kernel::run::Ports { judge: &judge, validate: &validate, salts: &mut salts };
    let now = kernel::input::Now { at: 1_000, boot_ms: 500 };
    let mut run = kernel::run::Run::open(genesis, b.pins(), now, &mut ports).unwrap();
    run.take();
    run.committed();
    let permits = run.next(500 + 60_000);
    let window = kernel::gate::DISPATCH_WINDOW_MS.unsigned_abs();
    assert_eq!(permits[0].dispatch_by_boot_ms(), 500 + window);
}
