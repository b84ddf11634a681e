//! Every call of the step fails, with each class, and with each truth about its effect.

use kernel::{
    budget::Budget,
    event::{Purpose, Stage as GateStage},
    exception::Class,
    operation::Operation,
    playbook::Recovery,
};

use super::{Case, Probe, unless};
use crate::app::kit::{
    drive::Story,
    law::Finding,
    rehearse::{Reached, Rehearsal, Row, Sort},
    script::{Fault, Script, Target, Times},
    told::{self, Act, Came},
    world::{How, Truth},
};

pub(super) const PROBE: Probe =
    Probe { name: "fail", what: "its calls fail with every class, once or always", cases };

fn cases(rehearsal: &Rehearsal, row: &Row) -> Vec<Case> {
    let (Sort::Do(id), Some(act), Some(reached)) = (&row.sort, row.act(), &row.reached) else {
        return Vec::new();
    };
    let Some(operation) = rehearsal.stage.operation(id) else { return Vec::new() };
    let mut cases = Vec::new();
    for class in Class::ALL {
        match class {
            Class::Budget => cases.push(over_budget(row, act, reached)),
            Class::PolicyError => cases.push(refused_by_policy(row, act)),
            class => {
                for (suffix, truth) in truths(class, operation) {
                    let name = format!("{}{suffix}", class.name());
                    cases.push(failing((row, act), (class, truth), (name, Times::Always)));
                }
            }
        }
    }
    for class in Class::ALL.into_iter().filter(|class| class.may_pass()) {
        let name = format!("{}-once", class.name());
        let truth = if class.is_about_content() { Truth::Done } else { Truth::Refused };
        if truth == Truth::Refused || !operation.is_write() {
            cases.push(failing((row, act), (class, truth), (name, Times::Once)));
        }
    }
    cases.extend(companions(row, operation));
    cases
}

/// What may be true of the effect when a call fails with this class.
fn truths(class: Class, operation: &Operation) -> Vec<(&'static str, Truth)> {
    if !operation.is_write() {
        return vec![("", Truth::Refused)];
    }
    match class {
        Class::Timeout | Class::Unavailable => vec![
            ("", Truth::Refused),
            ("-lost-before", Truth::LostBefore),
            ("-lost-after", Truth::LostAfter),
        ],
        Class::InDoubt => vec![("", Truth::LostAfter)],
        class if class.is_about_content() => vec![("", Truth::Done)],
        _ => vec![("", Truth::Refused)],
    }
}

fn failing(
    (row, act): (&Row, &Act),
    (class, truth): (Class, Truth),
    (name, times): (String, Times),
) -> Case {
    let target = Target::Step(row.path.clone(), act.operation.clone());
    let faults = vec![Fault { target, how: How::Fail(class, truth), times }];
    let path = row.path.clone();
    let check = move |story: &Story, reached: &Reached| {
        let acts = told::acts(&story.records);
        let own = |act: &&Act| act.is_step() && act.step == path;
        let met = acts.values().filter(own).any(|act| {
            act.came.iter().any(|came| matches!(came, Came::Failed(met, _) if *met == class))
        });
        let mut found = unless(
            met.into(),
            format!("`{path}` never met the failure"),
            "the run goes the same way up to the failure",
        );
        if times == Times::Once && retries_first(reached, &path, class) {
            let done = acts.values().filter(own).any(Act::is_done);
            let happened = format!("`{path}` did not get its result though one retry heals it");
            found.extend(unless(done.into(), happened, "the declared retry is made, and suffices"));
        }
        found
    };
    Case::new(name, Script { faults, ..Script::default() }, check)
}

/// Whether the first thing declared for this failure is to try again.
fn retries_first(reached: &Reached, path: &str, class: Class) -> bool {
    let mut first = None;
    kernel::playbook::visit_steps(&reached.plan.playbook.steps, &mut |at, step| {
        if at == path {
            first = step.on_failure.get(&class).and_then(|list| list.first()).cloned();
        }
    });
    matches!(first, Some(Recovery::Retry { .. }))
}

/// The budget is used up right before the step's first call.
fn over_budget(row: &Row, act: &Act, reached: &Reached) -> Case {
    let first = act.dispatches.first().map(|(seq, _)| *seq).unwrap_or_default();
    let earlier = reached.acts.values().flat_map(|act| &act.dispatches);
    let earlier = earlier.filter(|(seq, _)| *seq < first).count();
    let calls_max = u32::try_from(earlier).unwrap_or(u32::MAX);
    let budget = Budget { calls_max, ..Budget::default() };
    let path = row.path.clone();
    let check = move |story: &Story, _: &Reached| {
        let acts = told::acts(&story.records);
        let calls = story.world.calls.len();
        let stopped = acts.values().any(|act| {
            act.rejected.as_ref().is_some_and(|(stage, _, _)| *stage == GateStage::Budget)
        });
        let happened = format!("{calls} calls were made before `{path}`, {calls_max} are allowed");
        unless(
            (stopped && calls <= usize::try_from(calls_max).unwrap_or(usize::MAX)).into(),
            happened,
            "the budget stops what would pass it",
        )
    };
    Case::new(Class::Budget.name(), Script { budget, ..Script::default() }, check)
}

/// Policy refuses exactly this action.
fn refused_by_policy(row: &Row, act: &Act) -> Case {
    let deny = Some((act.operation.clone(), (*act.args).clone()));
    let (path, operation) = (row.path.clone(), act.operation.clone());
    let args = act.args.clone();
    let check = move |story: &Story, _: &Reached| {
        let acts = told::acts(&story.records);
        let same = |act: &&Act| act.operation == operation && act.args == args;
        let done = acts.values().filter(same).any(|act: &Act| !act.dispatches.is_empty());
        let happened = format!("`{path}` called {operation} though policy refused it");
        unless((!done).into(), happened, "what policy refuses is not called")
    };
    Case::new(Class::PolicyError.name(), Script { deny, ..Script::default() }, check)
}

/// The helper calls of a write fail.
fn companions(row: &Row, operation: &Operation) -> Vec<Case> {
    let companions = &operation.companions;
    let helpers = [
        ("before", Purpose::Before, companions.before.is_some()),
        ("preview", Purpose::Preview, companions.preview.is_some()),
    ];
    let helpers = helpers.into_iter().filter(|(_, _, there)| *there);
    let case = |(name, purpose, _): (&str, Purpose, bool)| {
        let target = Target::Companion(row.path.clone(), purpose);
        let how = How::Fail(Class::Unavailable, Truth::Refused);
        let faults = vec![Fault { target, how, times: Times::Always }];
        let nothing = |_: &Story, _: &Reached| -> Vec<Finding> { Vec::new() };
        Case::new(format!("{name}-unavailable"), Script { faults, ..Script::default() }, nothing)
    };
    helpers.map(case).collect()
}
