//! What `policy matrix` says is what the gate does (C111).

use std::sync::Arc;

use kernel::{plan::Asks, principal::Chain};
use policy::{Bundle, INHERITED, Layer};
use proptest::prelude::*;
use testkit::person;

use super::gate::{Note, One, Works, any_labels, args, catalogue, first};
use crate::labels::{
    cases,
    rig::{ALL, agent, bundle},
};

const OPERATIONS: [&str; 6] =
    ["crm.get", "crm.set", "pay.refund", "pay.cancel", "mail.send", "web.fetch"];

/// Rules such as operators write; `§` stands for a number.
const PERMITS: [&str; 7] = [
    "permit (principal, action, resource);",
    "permit (principal, action in Action::\"read\", resource);",
    "permit (principal, action in Action::\"write\", resource);",
    "permit (principal, action in [Action::\"crm.set\", Action::\"crm.get\"], resource);",
    "permit (principal in Role::\"sales\", action, resource);",
    "permit (principal, action, resource) unless { action in Action::\"egress\" };",
    "permit (principal, action == Action::\"pay.refund\", resource) when { context.args.amount <= § };",
];

const FORBIDS: [&str; 15] = [
    "forbid (principal, action == Action::\"crm.set\", resource) when { context.args.amount > § };",
    "forbid (principal, action == Action::\"pay.refund\", resource) when { context.args.amount > § }
     unless { context.evidence.approvals.finance >= 2 };",
    "forbid (principal, action == Action::\"crm.set\", resource) when { context.args has note };",
    "forbid (principal, action in Action::\"write\", resource)
     unless { context.evidence.approvals.approver >= 1 };",
    "forbid (principal, action in Action::\"irreversible\", resource)
     unless { context.evidence.approvals.approver >= 1 };",
    "forbid (principal, action in Action::\"egress\", resource);",
    "forbid (principal in Role::\"intern\", action in Action::\"write\", resource);",
    "forbid (principal in Role::\"intern\", action, resource)
     unless { context.evidence.approvals.owner >= 1 };",
    "forbid (principal, action in Action::\"write\", resource)
     when { context.labels.run.trust == \"untrusted\" }
     unless { context.evidence.approvals.approver >= 1 };",
    "forbid (principal, action, resource) when { context.labels.args.confidentiality == \"secret\" };",
    "forbid (principal, action in Action::\"write\", resource)
     unless { [\"restore\", \"compensate\"].contains(context.evidence.rollback) };",
    "forbid (principal, action in Action::\"write\", resource)
     unless { [\"restore\"].contains(context.evidence.rollback) ||
              context.evidence.approvals.approver >= 1 };",
    "forbid (principal, action == Action::\"crm.set\", resource)
     when { context.args.amount * 4611686018427387904 == § };",
    "forbid (principal, action, resource) when { context.run.calls > § };",
    "forbid (principal, action in Action::\"forecast\", resource)
     unless { context.evidence.approvals.approver >= 1 && context.evidence.approvals.finance >= 1 };",
];

#[derive(Clone, Debug)]
struct Rules {
    operator: String,
    pack: Option<String>,
}

fn text(bodies: &[(&str, i64)], inherited: &str) -> String {
    let rules = bodies.iter().enumerate().map(|(n, (body, number))| {
        let body = body.replace('§', &number.to_string());
        format!("@id(\"r{n}\") @reason(\"r{n}\")\n{body}\n")
    });
    rules.chain([inherited.to_owned()]).collect()
}

fn any_rules() -> impl Strategy<Value = Rules> {
    let permit = prop::sample::select(PERMITS.to_vec());
    let forbid = prop::sample::select(FORBIDS.to_vec());
    let permits = prop::collection::vec((permit, 0_i64..4), 0..3);
    let forbids = || prop::collection::vec((forbid.clone(), 0_i64..4), 0..3);
    (permits, forbids(), forbids(), any::<(bool, bool, bool)>()).prop_map(
        |(mut permits, forbids, lower, (opens, inherits, has_pack))| {
            if opens {
                permits.push((PERMITS[0], 0));
            }
            permits.extend(forbids);
            let operator = text(&permits, if inherits { INHERITED } else { "" });
            let pack = has_pack.then(|| format!("{ALL}{}", text(&lower, "")));
            Rules { operator, pack }
        },
    )
}

fn load(rules: &Rules) -> Arc<Bundle> {
    let mut layers = vec![(Layer::Operator, rules.operator.as_str())];
    layers.extend(rules.pack.as_deref().map(|text| (Layer::Pack, text)));
    Arc::new(bundle(catalogue(), &layers))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(40), failure_persistence: None, ..ProptestConfig::default()
    })]

    /// Denied: it never leaves, whoever approves. No: it leaves without a question, unless untrusted
    /// input steered it. Always: it never leaves without a person, and does with one.
    #[test]
    fn the_matrix_says_what_the_gate_does(
        rules in any_rules(), amount in -1_i64..5, (arg_labels, existence) in any_labels(),
        roles in prop::sample::select(vec![vec![], vec!["sales"], vec!["intern"], vec!["sales", "intern"]]),
        with_note: bool,
    ) {
        let judge = load(&rules);
        let chain = Chain {
            agent: agent("agent:test", &roles),
            on_behalf_of: person("person:mira", &["requester"]),
            tenant: Default::default(),
        };
        let rows = judge.matrix(&chain, catalogue());
        for operation in OPERATIONS {
            let asks = &rows.iter().find(|row| row.operation.as_str() == operation).unwrap().asks;
            let note = if with_note { Note::Yes } else { Note::No };
            let one = One {
                roles: &roles, args: args(operation, amount, note), arg_labels: arg_labels.clone(),
                existence: existence.clone(), ..One::of(operation, judge.clone())
            };
            let act = first(&one.walk(&mut Works { approves: true }));
            let floored = act.was_stopped_by_the_floor();
            let agrees = match asks {
                Asks::Denied { .. } => act.dispatches.is_empty() && !act.asked,
                Asks::No => !act.dispatches.is_empty() && (act.went_unasked() || floored),
                // A rewrite or a dry run alone is nothing that a person is asked for.
                Asks::Always { approvals, .. } if approvals.is_empty() => true,
                Asks::Always { .. } => !act.dispatches.is_empty() && !act.went_unasked(),
                Asks::Maybe { .. } => true,
            };
            prop_assert!(agrees, "{operation}: {asks:?}, but asked {}, sent {}, rejected {:?}, {:?}\n{}\n---\n{:?}",
                act.asked, act.dispatches.len(), act.rejected, act.decisions, rules.operator, rules.pack);
            // Without a forecast too: nobody answers, nothing that needs an answer leaves.
            let silent = first(&one.walk(&mut Works { approves: false }));
            prop_assert!(silent.dispatches.is_empty() || silent.went_unasked());
            prop_assert!(!act.went_unasked() || silent.went_unasked());
        }
    }
}

/// The property above is about something: each of the four answers stands in some matrix.
#[test]
fn the_sample_of_policies_gives_every_answer() {
    let rules = |bodies: &[(&str, i64)]| Rules { operator: text(bodies, ""), pack: None };
    let chain = Chain {
        agent: agent("agent:test", &["intern"]),
        on_behalf_of: person("person:mira", &[]),
        tenant: Default::default(),
    };
    let table = [
        (vec![(PERMITS[0], 0)], "no"),
        (vec![(PERMITS[0], 0), (FORBIDS[3], 0)], "always"),
        (vec![(PERMITS[0], 0), (FORBIDS[0], 3)], "maybe"),
        (vec![(PERMITS[0], 0), (FORBIDS[6], 0)], "denied"),
        (vec![(PERMITS[1], 0)], "denied"),
    ];
    for (bodies, expected) in table {
        let rows = load(&rules(&bodies)).matrix(&chain, catalogue());
        let row = rows.iter().find(|row| row.operation.as_str() == "crm.set").unwrap();
        let got = match row.asks {
            Asks::No => "no",
            Asks::Always { .. } => "always",
            Asks::Maybe { .. } => "maybe",
            Asks::Denied { .. } => "denied",
        };
        assert_eq!(got, expected, "{bodies:?}");
    }
}

/// A way back that policy itself closes is no way back: the read of the image before is judged as well.
#[test]
fn a_write_whose_image_may_not_be_read_counts_as_one_without_a_way_back() {
    let only_writes = text(&[(PERMITS[2], 0), (FORBIDS[11], 0)], "");
    let both = text(&[(PERMITS[0], 0), (FORBIDS[11], 0)], "");
    for (operator, asked) in [(only_writes, true), (both, false)] {
        let judge = load(&Rules { operator, pack: None });
        let set = catalogue().get(&"crm.set".parse().unwrap()).unwrap();
        let forecast = judge.forecast(&set.operation);
        assert_ne!((forecast, asked), (Asks::No, true));
        let act = first(&One::of("crm.set", judge).walk(&mut Works { approves: false }));
        assert_eq!((act.asked, act.dispatches.is_empty()), (asked, asked));
    }
}
