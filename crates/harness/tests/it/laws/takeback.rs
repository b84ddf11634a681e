//! Taking back across `parallel` and `for_each`: reverse order per record, whatever ended first (C208).

use std::{collections::BTreeMap, sync::Arc};

use kernel::{
    catalogue::Catalogue,
    exception::{Class, Landed},
    gate::Permit,
    input::{Input, OnConflict, Scope},
    label::Trust,
    operation::{Binding, Companion, Effect, ResourceRule, Retry, Undo},
    port::Outcome,
    run::Status,
};
use planner::PlaybookPlanner;
use policy::Layer;
use serde_json::{Value, json};
use testkit::{operation, person};

use crate::labels::rig::{
    ALL, Outside, Rig, Setup, agent, bundle, failed, labelled, plan, run_id, taken_in,
};

fn catalogue() -> Arc<Catalogue> {
    let mut write = operation("sys.write", Effect::Write, Undo::Compensate, Retry::Never);
    write.resource = Some(ResourceRule { kind: "Record".into(), id: "/record".into() });
    let from = |key: &str| (key.to_owned(), Binding::From(format!("/args/{key}")));
    let undo_with = Companion {
        operation: "sys.undo".parse().unwrap(),
        with: [from("record"), from("by")].into(),
        image: vec![],
    };
    write.companions.undo_with = Some(undo_with);
    let mut undo = operation("sys.undo", Effect::Write, Undo::None, Retry::Never);
    undo.resource.clone_from(&write.resource);
    Arc::new(Catalogue::new(vec![write, undo]).unwrap())
}

fn branch(side: &str) -> Value {
    json!({"id": side, "work": {"kind": "for_each", "items": format!("intent.{side}"), "var": "r",
        "max": 9, "steps": [{"id": "w", "work": {"kind": "do", "operation": "sys.write",
            "with": {"record": "${{ r }}", "by": side}}}]}})
}

fn open() -> Rig {
    let catalogue = catalogue();
    let work = json!({"kind": "parallel", "branches": [branch("left"), branch("right")]});
    let steps = serde_json::from_value(json!([{"id": "both", "work": work}])).unwrap();
    let plan = Arc::new(plan(&catalogue, steps));
    let planner = PlaybookPlanner::new(Arc::clone(&plan), &run_id()).unwrap();
    let intent = json!({"left": ["A", "B", "A", "C"], "right": ["B", "A", "C", "B"]});
    let judge = Arc::new(bundle(&catalogue, &[(Layer::Operator, ALL)]));
    Rig::open(Setup {
        policy: judge.digest(),
        judge,
        plan,
        planner: Box::new(planner),
        intent: labelled(intent, Trust::User, &[]),
        budget: Default::default(),
        agent: agent("agent:test", &[]),
        catalogue,
    })
}

/// A world that keeps, per record, who wrote and who took back, in order.
struct World {
    order: usize,
    stuck: Option<&'static str>,
    written: BTreeMap<String, Vec<String>>,
    undone: BTreeMap<String, Vec<String>>,
}

impl World {
    fn new(order: usize) -> Self {
        Self { order, stuck: None, written: BTreeMap::new(), undone: BTreeMap::new() }
    }
}

impl Outside for World {
    fn call(&mut self, permit: &Permit) -> Outcome {
        let text = |key: &str| permit.args()[key].as_str().unwrap().to_owned();
        let (record, by) = (text("record"), text("by"));
        let undoes = permit.operation().id.as_str() == "sys.undo";
        if undoes && self.stuck == Some(record.as_str()) {
            return failed(Class::Permission, Landed::No);
        }
        let side = if undoes { &mut self.undone } else { &mut self.written };
        side.entry(record).or_default().push(by);
        taken_in(permit, json!({}))
    }

    fn first(&mut self, in_flight: usize) -> usize {
        self.order = self.order.wrapping_mul(31).wrapping_add(7);
        (self.order >> 3) % in_flight
    }
}

fn roll_back(rig: &mut Rig, world: &mut World) {
    let (by, scope) = (person("person:lena", &[]), Scope::Run);
    rig.hand_in(Input::Rollback { by, scope, on_conflict: OnConflict::Refuse }).unwrap();
    rig.drive_until_asked(world);
}

fn reversed(writes: &BTreeMap<String, Vec<String>>) -> BTreeMap<String, Vec<String>> {
    let turned = writes.iter().map(|(r, by)| (r.clone(), by.iter().rev().cloned().collect()));
    turned.collect()
}

#[test]
fn branches_and_turns_go_back_in_reverse_per_record() {
    for order in 0..24 {
        let (mut rig, mut world) = (open(), World::new(order));
        rig.drive(&mut world);
        assert_eq!(rig.run.status(), Status::Succeeded);
        roll_back(&mut rig, &mut world);
        assert_eq!(rig.run.status(), Status::RolledBack, "order {order}");
        assert_eq!(world.undone, reversed(&world.written), "order {order}");
    }
}

#[test]
fn a_record_that_is_stuck_keeps_its_own_turns_and_no_others() {
    for order in 0..24 {
        let (mut rig, mut world) = (open(), World::new(order));
        rig.drive(&mut world);
        world.stuck = Some("B");
        roll_back(&mut rig, &mut world);
        assert_eq!(rig.run.status(), Status::PartlyRolledBack, "order {order}");
        let mut back = reversed(&world.written);
        back.remove("B");
        assert_eq!(world.undone, back, "order {order}: A and C are back, of B nothing");
        assert_eq!(rig.run.exceptions().len(), 1);
        world.stuck = None;
        roll_back(&mut rig, &mut world);
        assert_eq!(rig.run.status(), Status::RolledBack, "order {order}");
        assert_eq!(world.undone, reversed(&world.written), "order {order}");
    }
}
