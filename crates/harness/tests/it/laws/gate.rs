//! A small catalogue and one action before the real gate; and the laws that policies cannot lift.

use std::sync::{Arc, LazyLock};

use kernel::{
    Digest, Label, LabelMap,
    action::Proposal,
    catalogue::Catalogue,
    decision::{Evidence, Question, RunFacts, Verdict},
    event::Stage,
    gate::Permit,
    input::{Answer, Input},
    label::{Confidentiality, Trust},
    operation::{Binding, Companion, Critical, Effect, Operation, ResourceRule, Retry, Undo},
    playbook::Step,
    port::{Judge, Outcome},
    principal::Chain,
    run::AskView,
};
use planner::PlaybookPlanner;
use policy::{Bundle, Layer, Pair, STARTER};
use proptest::prelude::*;
use serde_json::{Value, json};
use testkit::{LinePlanner, person};

use crate::labels::{
    cases,
    rig::{ALL, Act, Outside, Rig, Setup, agent, bundle, label, labelled, plan, run_id, taken_in},
};

fn schema(required: &[&str], properties: Value) -> Arc<Value> {
    Arc::new(json!({"type": "object", "required": required, "properties": properties,
        "additionalProperties": false}))
}

fn companion(operation: &str, with: &[(&str, &str)]) -> Companion {
    let with = with.iter().map(|(name, from)| ((*name).to_owned(), Binding::From((*from).into())));
    Companion { operation: operation.parse().unwrap(), with: with.collect(), image: Vec::new() }
}

fn operation(id: &str, (effect, undo): (Effect, Undo), input: Arc<Value>) -> Operation {
    Operation { input, ..testkit::operation(id, effect, undo, Retry::Never) }
}

/// Reads and writes of every undo class, some of which leave.
pub(crate) fn catalogue() -> &'static Arc<Catalogue> {
    static CATALOGUE: LazyLock<Arc<Catalogue>> = LazyLock::new(|| {
        let text = json!({"type": "string"});
        let number = json!({"type": "integer"});
        let account = || schema(&["account"], json!({"account": text}));
        let change = || {
            schema(&["account", "amount"], json!({"account": text, "amount": number, "note": text}))
        };
        let rule = || Some(ResourceRule { kind: "Account".into(), id: "/account".into() });
        let mut get = operation("crm.get", (Effect::Read, Undo::None), account());
        get.resource = rule();
        let mut set = operation("crm.set", (Effect::Write, Undo::Restore), change());
        set.resource = rule();
        set.groups = vec!["forecast".into()];
        set.facts.critical = Critical::At(vec!["/account".into(), "/amount".into()]);
        set.companions.before = Some(companion("crm.get", &[("account", "/args/account")]));
        let undo = [("account", "/args/account"), ("amount", "/before/amount")];
        set.companions.undo_with = Some(companion("crm.set", &undo));
        let mut refund = operation("pay.refund", (Effect::Write, Undo::Compensate), change());
        refund.companions.undo_with =
            Some(companion("pay.cancel", &[("account", "/args/account")]));
        let cancel = operation("pay.cancel", (Effect::Write, Undo::None), account());
        let input = schema(&["to", "text"], json!({"to": text, "text": text}));
        let mut send = operation("mail.send", (Effect::Write, Undo::None), input);
        send.facts.egress = true;
        let input = schema(&["url"], json!({"url": text}));
        let mut fetch = operation("web.fetch", (Effect::Read, Undo::None), input);
        fetch.facts.egress = true;
        Arc::new(Catalogue::new([get, set, refund, cancel, send, fetch]).unwrap())
    });
    &CATALOGUE
}

/// Arguments that fit each operation's schema.
pub(crate) fn args(operation: &str, amount: i64, with_note: Note) -> Value {
    let mut change = json!({"account": "ACC-1", "amount": amount});
    if with_note == Note::Yes {
        change["note"] = json!("hello");
    }
    match operation {
        "crm.set" | "pay.refund" => change,
        "mail.send" => json!({"to": "a@b.example", "text": "hello"}),
        "web.fetch" => json!({"url": "https://b.example/"}),
        _ => json!({"account": "ACC-1"}),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    Yes,
    No,
}

/// Everything works.
pub(crate) struct Works {
    pub(crate) approves: bool,
}

impl Outside for Works {
    fn call(&mut self, permit: &Permit) -> Outcome {
        taken_in(permit, json!({"account": "ACC-1", "amount": 1}))
    }

    fn approve(&mut self, _: &AskView) -> Option<Answer> {
        self.approves.then_some(Answer::Approve)
    }
}

/// One action before the gate.
pub(crate) struct One<'a> {
    pub(crate) catalogue: &'a Arc<Catalogue>,
    pub(crate) judge: Arc<dyn Judge>,
    pub(crate) agent: &'a str,
    pub(crate) roles: &'a [&'a str],
    pub(crate) operation: &'a str,
    pub(crate) args: Value,
    pub(crate) arg_labels: LabelMap,
    pub(crate) existence: Label,
}

impl One<'_> {
    pub(crate) fn of(operation: &str, judge: Arc<dyn Judge>) -> One<'_> {
        One {
            catalogue: catalogue(),
            judge,
            agent: "agent:test",
            roles: &[],
            operation,
            args: args(operation, 1, Note::No),
            arg_labels: LabelMap::uniform(label(Trust::User)),
            existence: label(Trust::User),
        }
    }

    /// Walks the gate; everybody asked says yes where `outside` does.
    pub(crate) fn walk(&self, outside: &mut dyn Outside) -> Rig {
        let mut rig = self.open();
        rig.drive(outside);
        rig
    }

    /// Stands before the gate.
    pub(crate) fn open(&self) -> Rig {
        let steps = json!([{"id": "one", "work": {"kind": "do", "operation": self.operation,
            "with": {}}}]);
        let steps: Vec<Step> = serde_json::from_value(steps).unwrap();
        let proposal = Proposal {
            step: "one".into(),
            operation: self.operation.parse().unwrap(),
            args: Arc::new(self.args.clone()),
            arg_labels: self.arg_labels.clone(),
            existence: self.existence.clone(),
            attempt: 1,
            proposer: None,
        };
        Rig::open(Setup {
            catalogue: Arc::clone(self.catalogue),
            judge: Arc::clone(&self.judge),
            plan: Arc::new(plan(self.catalogue, steps)),
            planner: Box::new(LinePlanner::new(&[proposal])),
            intent: labelled(json!({}), Trust::User, &[]),
            budget: Default::default(),
            agent: agent(self.agent, self.roles),
            policy: Digest::default(),
        })
    }
}

/// The one action of a run.
pub(crate) fn first(rig: &Rig) -> Act {
    rig.acts().into_iter().next().unwrap()
}

pub(crate) fn operator(text: &str) -> Arc<Bundle> {
    Arc::new(bundle(catalogue(), &[(Layer::Operator, text)]))
}

fn rule(id: &str, body: &str) -> String {
    format!("@id(\"{id}\") @reason(\"because {id}\")\n{body}\n")
}

fn any_label() -> impl Strategy<Value = Label> {
    let trust = prop::sample::select(vec![
        Trust::Untrusted,
        Trust::Verified,
        Trust::User,
        Trust::Operator,
        Trust::System,
    ]);
    let confidentiality = prop::sample::select(vec![
        Confidentiality::Public,
        Confidentiality::Internal,
        Confidentiality::Confidential,
        Confidentiality::Secret,
    ]);
    (trust, confidentiality).prop_map(|(trust, confidentiality)| Label::new(trust, confidentiality))
}

pub(crate) fn any_labels() -> impl Strategy<Value = (LabelMap, Label)> {
    let pointers =
        prop::sample::select(vec!["/account", "/amount", "/note", "/to", "/text", "/url"]);
    let parts = prop::collection::btree_map(pointers.prop_map(str::to_owned), any_label(), 0..3);
    (any_label(), parts, any_label())
        .prop_map(|(whole, parts, existence)| (LabelMap { whole, parts }, existence))
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let name = "[a-z]{1,6}\\.[a-z]{1,6}";
    let effect = prop::sample::select(vec![Effect::Read, Effect::Write]);
    let undo = prop::sample::select(vec![Undo::None, Undo::Compensate, Undo::Restore]);
    let retry = prop::sample::select(vec![Retry::Never, Retry::Keyed, Retry::Probe]);
    let groups = prop::collection::vec("my_[a-z]{1,5}", 0..3);
    (name, effect, undo, retry, any::<bool>(), groups).prop_map(
        |(id, effect, undo, retry, egress, groups)| {
            let mut made = testkit::operation(&id, effect, undo, retry);
            made.facts.egress = egress;
            made.groups = groups;
            let itself = Companion {
                operation: made.id.clone(),
                with: Default::default(),
                image: Vec::new(),
            };
            made.companions.undo_with = Some(itself);
            made
        },
    )
}

fn any_evidence() -> impl Strategy<Value = Evidence> {
    let roles = prop::sample::select(vec!["approver", "finance", "owner", "admin"]);
    let approvals = prop::collection::btree_map(roles.prop_map(str::to_owned), 0_u32..9, 0..4);
    let undo = prop::sample::select(vec![Undo::None, Undo::Compensate, Undo::Restore]);
    (approvals, any::<bool>(), undo).prop_map(|(approvals, dry_run, rollback)| Evidence {
        approvals,
        dry_run,
        rollback,
        transforms: ["mask:/email".to_owned()].into(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(48), failure_persistence: None, ..ProptestConfig::default()
    })]

    /// With no policy installed no write is possible, whatever the operation, its arguments, the labels
    /// and the evidence; nor is any call that leaves.
    #[test]
    fn with_no_policy_installed_nothing_is_written(
        operation in any_operation(), evidence in any_evidence(), (arg_labels, existence) in any_labels(),
        args in prop::sample::select(vec![json!({}), json!({"id": 1}), json!([]), json!("x"), Value::Null]),
    ) {
        let catalogue = Arc::new(Catalogue::new([operation.clone()]).unwrap());
        let starter = Arc::new(bundle(&catalogue, &[(Layer::Operator, STARTER)]));
        let chain = Chain {
            agent: agent("agent:test", &["admin"]),
            on_behalf_of: person("person:mira", &["owner"]),
            tenant: Default::default(),
        };
        let decision = starter.judge(&Question {
            chain: &chain, operation: &operation, resource: None, args: &args,
            arg_labels: &arg_labels, existence: &existence, run: &RunFacts::default(),
            recoveries: &["rollback".to_owned()].into(), autonomy: kernel::decision::Autonomy::L3,
            mode: Default::default(), at: 0, evidence: &evidence, current_policy: None,
        });
        let one = One {
            catalogue: &catalogue, operation: operation.id.as_str(), args, arg_labels, existence,
            ..One::of("crm.get", starter)
        };
        let rig = one.walk(&mut Works { approves: true });
        if operation.is_consequential() {
            prop_assert_eq!(decision.verdict, Verdict::Deny);
            prop_assert!(rig.calls.is_empty());
            prop_assert!(!first(&rig).asked, "what no approval can permit is not asked for");
        } else {
            prop_assert_eq!(decision.verdict, Verdict::Allow);
        }
    }
}

#[test]
fn a_deny_beats_every_approval() {
    let asks = rule(
        "asks",
        "forbid (principal, action == Action::\"crm.set\", resource)
         unless { context.evidence.approvals.approver >= 1 };",
    );
    let denies = rule(
        "denies",
        "forbid (principal, action == Action::\"crm.set\", resource)
         when { context.args.amount > 100 };",
    );
    let judge = operator(&format!("{ALL}{asks}{denies}"));
    for (amount, dispatched) in [(100, 1), (101, 0)] {
        let one =
            One { args: args("crm.set", amount, Note::No), ..One::of("crm.set", judge.clone()) };
        let rig = one.walk(&mut Works { approves: true });
        let act = first(&rig);
        assert_eq!(act.dispatches.len(), dispatched, "{amount}");
        assert_eq!(act.asked, dispatched == 1, "nobody is asked for what stays denied");
        if dispatched == 0 {
            assert_eq!(act.rejected.map(|(stage, _)| stage), Some(Stage::Policy));
            assert!(act.decisions.iter().all(|d| d.rules.iter().any(|rule| rule.id == "denies")));
        }
    }
}

/// Cedar skips a rule that fails; for a `forbid` that would mean open.
#[test]
fn a_rule_that_cannot_be_evaluated_denies() {
    let bodies = [
        "forbid (principal, action, resource) when { context.args.amount + 9223372036854775807 < 0 };",
        "forbid (principal, action, resource) when { context.args.amount * 9223372036854775807 < 0 }
         unless { context.evidence.approvals.approver >= 1 };",
        "permit (principal, action, resource) when { context.args.amount * 9223372036854775807 > 0 };",
    ];
    for body in bodies {
        let body =
            body.replace("(principal, action, ", "(principal, action == Action::\"crm.set\", ");
        let judge = operator(&format!("{ALL}{}", rule("fails", &body)));
        for (amount, is_denied) in [(0, false), (2, true)] {
            let one = One {
                args: args("crm.set", amount, Note::No),
                ..One::of("crm.set", judge.clone())
            };
            let act = first(&one.walk(&mut Works { approves: true }));
            assert_eq!(act.dispatches.is_empty(), is_denied, "{body} with {amount}");
            if is_denied {
                assert!(!act.asked, "{body}");
                let decision = act.decisions.last().unwrap();
                assert_eq!(decision.verdict, Verdict::Deny);
                assert!(decision.rules.iter().any(|rule| rule.id == "fails"), "{decision:?}");
            }
        }
    }
}

/// One write after a pause, under a pair of policies.
fn paused(pinned: &Arc<Bundle>, current: &Arc<Bundle>) -> Rig {
    let steps = json!([
        {"id": "wait", "work": {"kind": "await", "signal": "go", "timeout_ms": 9}},
        {"id": "set", "work": {"kind": "do", "operation": "crm.set",
            "with": {"account": "ACC-1", "amount": 1}}},
    ]);
    let plan = Arc::new(plan(catalogue(), serde_json::from_value(steps).unwrap()));
    let pair = Pair { pinned: Arc::clone(pinned), current: Arc::clone(current) };
    Rig::open(Setup {
        catalogue: Arc::clone(catalogue()),
        judge: Arc::new(pair),
        planner: Box::new(PlaybookPlanner::new(Arc::clone(&plan), &run_id()).unwrap()),
        plan,
        intent: labelled(json!({}), Trust::User, &[]),
        budget: Default::default(),
        agent: agent("agent:test", &[]),
        policy: pinned.digest(),
    })
}

const WRITES_ASK: &str = "forbid (principal, action in Action::\"write\", resource)
    unless { context.evidence.approvals.approver >= 1 };";
const WRITES_NOT: &str = "forbid (principal, action in Action::\"write\", resource);";
const FINANCE: &str = "forbid (principal, action in Action::\"write\", resource)
    unless { context.evidence.approvals.finance >= 1 };";

/// Pinned and current are both judged, the stricter stands, and the decision names both.
#[test]
fn a_policy_that_changes_during_a_run_can_only_tighten_it() {
    let open = operator(ALL);
    let asking = operator(&format!("{ALL}{}", rule("asks", WRITES_ASK)));
    let denying = operator(&format!("{ALL}{}", rule("denies", WRITES_NOT)));
    // The signal is untrusted, so the kernel's own floor asks in any case: rules tell who else did.
    let table = [
        (&open, &asking, Some("asks"), true),
        (&asking, &open, Some("asks"), true),
        (&open, &denying, Some("denies"), false),
        (&denying, &open, Some("denies"), false),
        (&open, &open, None, true),
    ];
    for (pinned, current, speaks, goes) in table {
        let mut rig = paused(pinned, current);
        rig.flush();
        rig.hand_in(Input::PolicyChanged { digest: current.digest() }).unwrap();
        rig.hand_in(Input::Signal { name: "go".into(), body: Arc::new(json!(1)) }).unwrap();
        rig.drive(&mut Works { approves: true });
        let act = rig.acts().into_iter().find(|act| act.step == "set").unwrap();
        assert_eq!(act.dispatches.len(), usize::from(goes));
        for decision in &act.decisions {
            for bundle in [pinned, current] {
                let digest = bundle.layers()[0].1;
                assert!(decision.policies.contains(&digest), "{decision:?}");
            }
        }
        let rules = |d: &kernel::decision::Decision| {
            d.rules.iter().map(|r| r.id.clone()).collect::<Vec<_>>()
        };
        if let Some(speaks) = speaks {
            assert!(
                rules(&act.decisions[0]).contains(&speaks.to_owned()),
                "{:?}",
                act.decisions[0]
            );
        }
    }
}

/// A policy that is in force but not loaded denies: nobody can say what it would have said.
#[test]
fn a_policy_in_force_that_nobody_can_read_denies() {
    let open = operator(ALL);
    let mut rig = paused(&open, &open);
    rig.flush();
    rig.hand_in(Input::PolicyChanged { digest: Digest::of(b"elsewhere") }).unwrap();
    rig.hand_in(Input::Signal { name: "go".into(), body: Arc::new(json!(1)) }).unwrap();
    rig.drive(&mut Works { approves: true });
    let act = rig.acts().into_iter().find(|act| act.step == "set").unwrap();
    assert!(act.dispatches.is_empty() && !act.asked);
    assert_eq!(act.decisions[0].rules[0].id, "policy.not-loaded");
}

/// What was approved under the old policy is judged again by the new one before it leaves.
#[test]
fn an_approval_is_judged_again_by_the_policy_in_force_when_it_arrives() {
    let asking = operator(&format!("{ALL}{}", rule("asks", WRITES_ASK)));
    let finance = operator(&format!("{ALL}{}", rule("finance", FINANCE)));
    let denying = operator(&format!("{ALL}{}", rule("denies", WRITES_NOT)));
    for (current, needs_more) in [(&finance, true), (&denying, false)] {
        let mut rig = paused(&asking, &asking);
        rig.flush();
        rig.hand_in(Input::Signal { name: "go".into(), body: Arc::new(json!(1)) }).unwrap();
        // As far as the ask, and no further.
        struct Reads;
        impl Outside for Reads {
            fn call(&mut self, permit: &Permit) -> Outcome {
                assert!(!permit.operation().is_write());
                taken_in(permit, json!({"account": "ACC-1", "amount": 1}))
            }
            fn settle(
                &mut self,
                _: &kernel::exception::Exception,
            ) -> Option<kernel::input::Settlement> {
                None
            }
        }
        rig.drive_until_asked(&mut Reads);
        let (pinned, changed) = (Arc::clone(&asking), Arc::clone(current));
        rig.judge = Arc::new(Pair { pinned, current: changed });
        rig.hand_in(Input::PolicyChanged { digest: current.digest() }).unwrap();
        let ask = rig.run.asks().remove(0);
        rig.hand_in(crate::labels::rig::answer_of(&ask, Answer::Approve)).unwrap();
        rig.flush();
        rig.drive_until_asked(&mut Reads);
        let act = rig.acts().into_iter().find(|act| act.step == "set").unwrap();
        assert!(act.dispatches.is_empty(), "an old yes is not enough");
        if needs_more {
            let open = rig.run.asks();
            assert!(
                open.iter().any(|ask| ask.requirement.approvals.contains_key("finance")),
                "{open:?}"
            );
            rig.drive(&mut Works { approves: true });
            let act = rig.acts().into_iter().find(|act| act.step == "set").unwrap();
            assert_eq!(act.dispatches.len(), 1);
        } else {
            assert_eq!(act.rejected.map(|(stage, _)| stage), Some(Stage::Policy));
        }
    }
}
