//! What went wrong elsewhere and was written up, before the real gate (C144): none of it happens here without a person,
//! and what looks like it and is harmless happens unasked. The operator permits everything and inherits what everybody
//! does; the rest are the packs that we ship.

mod table;

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, LazyLock},
};

use kernel::{
    Label, LabelMap,
    catalogue::Catalogue,
    event::Stage,
    gate::Permit,
    input::Answer,
    label::{Confidentiality, Trust},
    port::Outcome,
    run::AskView,
};
use pack::Pack;
use policy::{Bundle, INHERITED, Layer};
use serde_json::Value;

use super::{
    gate::{One, first},
    risky::sample,
};
use crate::labels::rig::{ALL, Outside, bundle, taken_in};

/// Whose words decided about a call, and what they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Words {
    /// A text from outside: a page, a ticket, a file of somebody else's.
    Strangers,
    /// The person for whom the agent works, by themselves.
    Persons,
    /// The person's, and data that is confidential.
    Confidential,
}

/// A call: operation, arguments, whose words.
struct Call {
    operation: &'static str,
    args: Value,
    words: Words,
}

/// Something that happened.
struct Incident {
    /// Where it is written up.
    source: &'static str,
    /// What was done, as a call of ours.
    call: Call,
    /// What is like it and does no harm.
    twin: Call,
}

/// A shipped pack with its rules.
struct Shipped {
    catalogue: Arc<Catalogue>,
    judge: Arc<Bundle>,
}

static PACKS: LazyLock<Vec<Shipped>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs");
    let load = |name: &str| {
        let files = harness::app::shelf::read_folder(&root.join(name)).unwrap();
        let pack = Pack::load(files).unwrap_or_else(|problems| panic!("{problems:#?}")).pack;
        let operator = format!("{ALL}{INHERITED}");
        // As its comment says where commands that surely only look are to run unasked.
        let look = "action == Action::\"shell.look\", resource)\nunless { context.evidence.approvals.approver >= 1 };";
        let unless_it_looks = look.replace(">= 1 };", ">= 1 || context.command.only_reads };");
        let rules = pack.policies.iter().map(|text| text.text.replace(look, &unless_it_looks));
        let rules: Vec<String> = rules.collect();
        let mut layers = vec![(Layer::Operator, operator.as_str())];
        layers.extend(rules.iter().map(|text| (Layer::Pack, text.as_str())));
        let judge = Arc::new(bundle(&pack.catalogue, &layers));
        Shipped { catalogue: Arc::new(pack.catalogue), judge }
    };
    ["workbench", "web", "customer-ops"].map(load).into()
});

/// Nobody ever says yes; systems answer as their schemas say.
#[derive(Default)]
struct Nobody {
    called: BTreeSet<String>,
}

impl Outside for Nobody {
    fn call(&mut self, permit: &Permit) -> Outcome {
        self.called.insert(permit.operation().id.to_string());
        taken_in(permit, sample(&permit.operation().output))
    }

    fn approve(&mut self, _: &AskView) -> Option<Answer> {
        None
    }
}

/// What came of a call when nobody said yes.
struct Came {
    happened: bool,
    asked: bool,
    /// It was no call that the operation knows.
    unknown: bool,
}

fn walk(call: &Call) -> Came {
    let id = call.operation.parse().unwrap();
    let pack = PACKS.iter().find(|pack| pack.catalogue.get(&id).is_some()).unwrap();
    let label = match call.words {
        Words::Strangers => Label::new(Trust::Untrusted, Confidentiality::Internal),
        Words::Persons => Label::new(Trust::User, Confidentiality::Internal),
        Words::Confidential => Label::new(Trust::User, Confidentiality::Confidential),
    };
    let one = One {
        catalogue: &pack.catalogue,
        args: call.args.clone(),
        arg_labels: LabelMap::uniform(label.clone()),
        existence: label,
        ..One::of(call.operation, pack.judge.clone())
    };
    let mut outside = Nobody::default();
    let rig = one.walk(&mut outside);
    let act = first(&rig);
    let unknown = act.rejected.is_some_and(|(stage, _)| stage == Stage::Schema);
    Came { happened: outside.called.contains(call.operation), asked: act.asked, unknown }
}

/// C144: more than forty incidents; each is held, and its harmless twin is not.
#[test]
fn what_went_wrong_elsewhere_is_held_and_what_only_looks_like_it_is_not() {
    let incidents = table::incidents();
    assert!(incidents.len() >= 40, "{}", incidents.len());
    let sources: BTreeSet<&str> = incidents.iter().map(|incident| incident.source).collect();
    assert_eq!(sources.len(), incidents.len(), "each is one of its own");
    let mut wrong = Vec::new();
    for Incident { source, call, twin } in &incidents {
        let mut check = |is_right: bool, what: &str, call: &Call| {
            if !is_right {
                wrong.push(format!("{source}: {} {} {what}", call.operation, call.args));
            }
        };
        let came = walk(call);
        check(!came.happened, "happened", call);
        // It is held for what it does, unless it asks for what there is not.
        check(came.unknown == call.args.get("bcc").is_some(), "is held for its schema", call);
        // A command is held whatever it calls itself.
        if call.operation == "shell.look" {
            let run = Call { operation: "shell.run", args: call.args.clone(), words: call.words };
            check(!walk(&run).happened, "happened", &run);
        }
        let came = walk(twin);
        check(came.happened && !came.asked, "is held", twin);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
