use sim::{
    grid,
    tally::{Tally, Until, seeds, whole_grid},
};

/// Every so many scenarios of the grid are played here, with each fault at each of their points.
const STRIDE: u32 = 701;
/// Random seeds played here.
const SEEDS: u64 = 200;

#[track_caller]
fn held(tally: &Tally) {
    let broken: Vec<String> = tally
        .kept
        .iter()
        .flat_map(|(id, broken)| broken.iter().map(move |one| format!("{id}: {one}")))
        .collect();
    assert_eq!(tally.broken, 0, "{broken:#?}\nplay one again: harness-sim --only CASE");
}

/// C095: the one state machine of a run keeps its invariants, whatever fails at whichever point of these scenarios.
#[test]
fn every_fault_at_every_point_of_a_sample_of_the_grid() {
    let tally = whole_grid(2, STRIDE);
    assert!(tally.schedules > 500, "{}", tally.schedules);
    assert!(tally.faults + 20 >= tally.schedules, "each case but the first has its fault");
    held(&tally);
}

#[test]
fn random_scenarios_with_random_faults() {
    let tally = seeds(2, 1, Until::Count(SEEDS));
    assert_eq!(tally.schedules, SEEDS);
    held(&tally);
    for end in ["succeeded", "rolled_back", "failed", "cancelled"] {
        assert!(tally.ends.contains_key(end), "none {end}: {:?}", tally.ends);
    }
}

/// Every combination of undo and retry is in the grid, and every sort of signal, wish and answer.
#[test]
fn the_grid_holds_every_combination() {
    use std::collections::HashSet;
    let all = grid::scenarios();
    let pairs: HashSet<_> = all.iter().map(|s| (s.undo, s.again)).collect();
    assert_eq!(pairs.len(), 12);
    let counts = [
        all.iter().map(|s| s.shape).collect::<HashSet<_>>().len(),
        all.iter().map(|s| s.deed).collect::<HashSet<_>>().len(),
        all.iter().map(|s| s.undo_deed).collect::<HashSet<_>>().len(),
        all.iter().map(|s| s.person).collect::<HashSet<_>>().len(),
        all.iter().map(|s| s.wish).collect::<HashSet<_>>().len(),
        all.iter().map(|s| s.signals).collect::<HashSet<_>>().len(),
    ];
    assert_eq!(counts, [5, 5, 5, 5, 6, 3]);
}
