//! The claim: whatever untrusted input says, what trusted input fixed stays the same.

use std::collections::BTreeSet;

use kernel::{
    action::Proposal,
    planning::Move,
    playbook::{Step, Work, static_path, visit_steps},
};

use crate::{
    random::{World, playbook, run},
    support::Drive,
};

const PLAYBOOKS: u64 = 600;
const FLIPS: u64 = 3;

/// What an action does, as far as its critical argument `k` decides it.
#[derive(Clone, Debug, PartialEq)]
struct Act {
    step: String,
    operation: String,
    attempt: u32,
    critical: String,
}

fn act(p: &Proposal) -> Act {
    Act {
        step: p.step.clone(),
        operation: p.operation.to_string(),
        attempt: p.attempt,
        critical: p.args.get("k").map(ToString::to_string).unwrap_or_default(),
    }
}

/// Fixed by trusted input: its existence and its critical argument.
fn fixed(drive: &Drive) -> Vec<Act> {
    let is_fixed = |p: &&Proposal| !p.existence.is_tainted() && !p.arg_labels.at("/k").is_tainted();
    drive.proposals().filter(is_fixed).map(act).collect()
}

fn parallels(steps: &[Step]) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    visit_steps(steps, &mut |path, step| {
        if matches!(step.work, Work::Parallel { .. }) {
            paths.insert(path.to_owned());
        }
    });
    paths
}

/// Whether two steps stand in different branches, so that nothing orders them.
fn concurrent(parallels: &BTreeSet<String>, a: &str, b: &str) -> bool {
    let (a, b): (Vec<_>, Vec<_>) = (a.split('/').collect(), b.split('/').collect());
    let common = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    parallels.contains(&static_path(&a[..common].join("/")))
}

/// Everything fixed in `one` happens in `other` too, in the same order, as far as `other` gets.
fn compare(one: &Drive, other: &Drive, parallels: &BTreeSet<String>) -> Result<usize, String> {
    let (fixed, all) = (fixed(one), other.proposals().map(act).collect::<Vec<_>>());
    let finished = matches!(other.moves.last(), Some(Move::Finish { .. }));
    let places: Vec<Option<usize>> = (0..fixed.len())
        .map(|n| {
            // The same act may be wanted more than once: the second stands for the second.
            let before = fixed[..n].iter().filter(|act| **act == fixed[n]).count();
            let same = all.iter().enumerate().filter(|(_, have)| **have == fixed[n]);
            same.map(|(place, _)| place).nth(before)
        })
        .collect();
    for (n, place) in places.iter().enumerate() {
        let Some(place) = place else {
            if finished {
                return Err(format!("{:?} is missing", fixed[n]));
            }
            continue;
        };
        for m in 0..n {
            let ordered = !concurrent(parallels, &fixed[m].step, &fixed[n].step);
            if ordered && places[m].is_none_or(|before| before >= *place) {
                return Err(format!("{:?} does not come before {:?}", fixed[m], fixed[n]));
            }
        }
    }
    Ok(if finished { fixed.len() } else { 0 })
}

#[test]
fn untrusted_input_changes_nothing_that_trusted_input_fixed() {
    let (mut compared, mut differing) = (0, 0);
    for seed in 0..PLAYBOOKS {
        let steps = playbook(seed);
        let parallels = parallels(&steps);
        let world = |flip| World { trusted: seed, flip };
        let base = run(steps.clone(), world(0));
        for flip in 1..=FLIPS {
            let flipped = run(steps.clone(), world(flip));
            differing += usize::from(flipped.lines() != base.lines());
            for (one, other) in [(&base, &flipped), (&flipped, &base)] {
                match compare(one, other, &parallels) {
                    Ok(count) => compared += count,
                    Err(why) => panic!(
                        "playbook {seed}, flip {flip}: {why}\n{}\n-- against\n{}\n-- of\n{}",
                        one.lines().join("\n"),
                        other.lines().join("\n"),
                        serde_json::to_string_pretty(&steps).unwrap(),
                    ),
                }
            }
        }
    }
    assert!(compared > 1_000, "too few proposals compared: {compared}");
    assert!(differing > 600, "too few runs differ: {differing}");
}
