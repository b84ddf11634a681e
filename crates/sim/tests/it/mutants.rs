//! Each invariant is broken on purpose, and each time the checker says so.

use std::collections::BTreeSet;

use sim::{Case, Invariant, Mutant, Scenario, Trace, check, grid, play};

/// Plays the cases of the scenarios that `of` picks with one thing broken, until the checker says so.
#[track_caller]
fn caught(mutant: Mutant, by: Invariant, of: impl Fn(&Scenario) -> bool) {
    let picked = grid::scenarios().iter().enumerate().filter(|(_, scenario)| of(scenario));
    let mut said = BTreeSet::new();
    for (index, _) in picked.take(2) {
        for id in grid::cases(u32::try_from(index).unwrap()) {
            let case = Case::of(id).unwrap().with(mutant);
            said.extend(check(&case, &play(&case, Trace::Dropped)).iter().map(|one| one.invariant));
            if said.contains(&by) {
                let healthy = Case::of(id).unwrap();
                let healthy = check(&healthy, &play(&healthy, Trace::Dropped));
                assert!(healthy.is_empty(), "{id}: {healthy:?}");
                return;
            }
        }
    }
    panic!("{mutant:?} is not caught by {by:?}, only {said:?}");
}

use sim::scenario::{Again, Deed, Person, Shape, Undo2, Wish};

fn single(s: &Scenario, undo: Undo2, again: Again) -> bool {
    s.shape == Shape::Single && s.undo == undo && s.again == again && !s.meddles
}

#[test]
fn a_journal_that_lets_anybody_append() {
    caught(Mutant::UnfencedJournal, Invariant::Chain, |s| single(s, Undo2::None, Again::Keyed));
}

#[test]
fn a_journal_that_loses_an_append() {
    caught(Mutant::LostAppend, Invariant::WrittenFirst, |s| {
        single(s, Undo2::None, Again::Never) && s.person == Person::Approves
    });
}

#[test]
fn a_journal_with_a_torn_tail() {
    caught(Mutant::TornTail, Invariant::Promises, |s| single(s, Undo2::None, Again::Never));
}

#[test]
fn a_changed_byte() {
    caught(Mutant::ChangedByte, Invariant::Chain, |s| single(s, Undo2::None, Again::Keyed));
}

#[test]
fn receipts_that_are_not_kept() {
    caught(Mutant::NoReceipts, Invariant::Receipts, |s| single(s, Undo2::None, Again::Keyed));
}

#[test]
fn an_event_after_the_end() {
    caught(Mutant::Afterthought, Invariant::AfterTheEnd, |s| single(s, Undo2::None, Again::Keyed));
}

#[test]
fn a_queue_that_shows_nobody_a_doubt() {
    let of = |s: &Scenario| single(s, Undo2::None, Again::Never) && s.deed == Deed::Lose;
    caught(Mutant::BlindQueue, Invariant::Doubts, of);
    caught(Mutant::BlindQueue, Invariant::Progress, of);
}

#[test]
fn runs_that_nobody_wakes() {
    caught(Mutant::NoSweep, Invariant::Progress, |s| single(s, Undo2::None, Again::Probed));
}

#[test]
fn calls_that_leave_however_late_it_is() {
    caught(Mutant::OpenWindow, Invariant::WrittenFirst, |s| single(s, Undo2::None, Again::Probed));
}

#[test]
fn a_target_that_forgets_its_keys() {
    caught(Mutant::Forgetful, Invariant::Once, |s| single(s, Undo2::None, Again::Keyed));
}

#[test]
fn a_target_that_lies_about_what_it_did() {
    let of = |s: &Scenario| single(s, Undo2::None, Again::Probed) && s.deed == Deed::DoUnheard;
    caught(Mutant::LyingProbe, Invariant::Once, of);
}

#[test]
fn an_undo_that_does_nothing() {
    let of = |s: &Scenario| single(s, Undo2::Compensate, Again::Keyed) && s.wish == Wish::TakeBack;
    caught(Mutant::LazyUndo, Invariant::TakenBack, of);
    caught(Mutant::LazyUndo, Invariant::Truth, of);
}

#[test]
fn a_judge_that_asks_nobody_after_a_restart() {
    caught(Mutant::CarelessJudge, Invariant::Approvals, |s| {
        s.shape == Shape::Waits && s.person == Person::Approves
    });
}

#[test]
fn a_surface_that_says_yes_too_early() {
    caught(Mutant::EagerSurface, Invariant::Promises, |s| s.wish == Wish::Cancel);
}

#[test]
fn a_process_that_leaves_without_a_word() {
    let mut said = BTreeSet::new();
    for seed in 0..4_000 {
        let case = Case::of_seed(seed).with(Mutant::RudeDeploy);
        said.extend(check(&case, &play(&case, Trace::Dropped)).iter().map(|one| one.invariant));
        if said.contains(&Invariant::Deploys) {
            return;
        }
    }
    panic!("{said:?}");
}
