//! The same observations give the same moves: stop anywhere, fold again, go on equal.

use kernel::planning::{Move, Planner as _};

use crate::{
    random::{World, playbook, run},
    support::*,
};

const PLAYBOOKS: u64 = 150;

#[test]
fn any_prefix_folds_to_the_same_moves() {
    for seed in 0..PLAYBOOKS {
        let drive = run(playbook(seed), World { trusted: seed, flip: 0 });
        let mut first = planner(playbook(seed));
        let wanted: Vec<Option<Move>> = drive
            .seen
            .iter()
            .map(|seen| {
                seen.tell(&mut first);
                first.next()
            })
            .collect();
        let stride = 1 + drive.seen.len() / 20;
        for cut in (0..drive.seen.len()).step_by(stride) {
            let mut again = planner(playbook(seed));
            drive.seen[..=cut].iter().for_each(|seen| seen.tell(&mut again));
            assert_eq!(again.next(), wanted[cut], "playbook {seed}, after {cut} observations");
            for (seen, wanted) in drive.seen[cut + 1..].iter().zip(&wanted[cut + 1..]) {
                seen.tell(&mut again);
                assert_eq!(&again.next(), wanted, "playbook {seed}, cut at {cut}");
            }
        }
    }
}

#[test]
fn next_changes_nothing() {
    let drive =
        open(serde_json::json!([act("a", "r.get", serde_json::json!({}))]), serde_json::json!({}));
    let asked = planner(steps(serde_json::json!([act("a", "r.get", serde_json::json!({}))])));
    assert_eq!(asked.next(), None, "nothing before the run is open");
    assert_eq!(drive.planner.next(), drive.planner.next());
}
