//! The small systematic space: every scenario of a list, every point of it, every fault at that point.

use std::sync::OnceLock;

use crate::{
    case::{BEYOND_MS, Case, CaseId, Fault, TO_THE_END, WITHIN_MS},
    play::{Trace, play},
    scenario::{Again, Deed, Person, Remedy, Scenario, Shape, Signals, Undo2, Wish},
};

const fn freeze(points: u32, ms: i64) -> Fault {
    Fault::Freeze { points, ms }
}

/// What may happen at a point; a case names one by its place here.
pub const FAULTS: [Fault; 12] = [
    Fault::Go,
    Fault::Kill,
    Fault::Fail,
    Fault::FailWritten,
    // Going on right when a successor begins to claim, when it has claimed, and later.
    freeze(0, 0),
    freeze(1, 0),
    freeze(2, 0),
    freeze(4, WITHIN_MS),
    freeze(6, 0),
    freeze(TO_THE_END, 0),
    freeze(TO_THE_END, BEYOND_MS),
    Fault::Hang,
];

/// Every scenario of the grid; a case names one by its place here.
pub fn scenarios() -> &'static [Scenario] {
    static ALL: OnceLock<Vec<Scenario>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut all = Vec::new();
        for undo in Undo2::ALL {
            for again in Again::ALL {
                let plain = Scenario::plain(undo, again);
                single(plain, &mut all);
                shaped(plain, &mut all);
                waiting(plain, &mut all);
            }
        }
        all
    })
}

/// One write: what its target does × what is declared × who is asked × how it is taken back.
fn single(plain: Scenario, all: &mut Vec<Scenario>) {
    for deed in Deed::ALL {
        for remedy in [Remedy::Stop, Remedy::Retry, Remedy::Escalate] {
            for person in [Person::NotAsked, Person::Approves] {
                let base = Scenario { deed, remedy, person, ..plain };
                all.push(base);
                for undo_deed in Deed::ALL {
                    if plain.undo != Undo2::None || undo_deed == Deed::Do {
                        all.push(Scenario { undo_deed, wish: Wish::TakeBack, ..base });
                    }
                }
            }
        }
    }
}

/// Several writes, one after the other, side by side, in a loop.
fn shaped(plain: Scenario, all: &mut Vec<Scenario>) {
    for shape in [Shape::Line, Shape::Parallel, Shape::Each] {
        for deed in Deed::ALL {
            let base = Scenario { shape, deed, ..plain };
            all.push(Scenario { remedy: Remedy::Retry, wish: Wish::TakeBack, ..base });
            all.push(Scenario { wish: Wish::TakeBackEach, ..base });
            all.push(Scenario { wish: Wish::CancelInFlight, ..base });
            if plain.undo != Undo2::None {
                let undo_deed = deed;
                all.push(Scenario { undo_deed, deed: Deed::Do, wish: Wish::TakeBack, ..base });
            }
        }
    }
}

/// People and signals: in time, twice, early and late; no, other arguments, nothing; pauses, meddling.
fn waiting(plain: Scenario, all: &mut Vec<Scenario>) {
    for signals in [Signals::InTime, Signals::Twice, Signals::EarlyAndLate] {
        let base = Scenario { shape: Shape::Waits, signals, ..plain };
        all.push(Scenario { person: Person::Approves, wish: Wish::TakeBack, ..base });
        all.push(Scenario { wish: Wish::Cancel, ..base });
        all.push(Scenario { wish: Wish::Pause, ..base });
    }
    for person in [Person::Denies, Person::Edits, Person::Sleeps] {
        all.push(Scenario { person, signals: Signals::Twice, ..plain });
    }
    all.push(Scenario { meddles: true, wish: Wish::TakeBack, ..plain });
}

/// Every case of one scenario, the one without a fault first.
pub fn cases(index: u32) -> Vec<CaseId> {
    let Some(scenario) = scenarios().get(index as usize) else { return Vec::new() };
    let story = play(&Case::at(*scenario, 0, Fault::Go), Trace::Dropped);
    let mut all = vec![CaseId::Grid(index, 0, 0)];
    for (point, place) in (0_u32..).zip(story.places) {
        for (number, fault) in (0_u32..).zip(FAULTS).skip(1) {
            if place.knows(fault) {
                all.push(CaseId::Grid(index, point, number));
            }
        }
    }
    all
}
