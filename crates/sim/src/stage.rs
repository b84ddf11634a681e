//! The stage: clock, target and journal that every process shares, and the points all of them pass.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kernel::{
    id::{At, RunId},
    input::Now,
};

use crate::{
    case::{Case, Course, Fault},
    company::Company,
    mutant::Mutant,
    play::Trace,
    scenario::Wish,
    shelf::Shelf,
    target::Target,
};

/// Where a schedule begins.
const BEGIN_MS: At = 1_000_000;

/// Where a process stands when it passes a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Decided, not appended.
    BeforeAppend,
    /// Appended, not acknowledged.
    AfterAppend,
    /// About to claim.
    BeforeClaim,
    /// Claimed, nothing decided.
    AfterClaim,
    /// About to post to the inbox.
    BeforePost,
    /// Posted, not acknowledged.
    AfterPost,
    /// A call that has looked at nothing yet.
    BeforeCheck,
    /// A call that has looked at its window and not left.
    BeforeSend,
    /// The target has dealt with it, the answer is on its way.
    AfterSend,
}

impl Place {
    /// Whether this fault can happen here.
    #[must_use]
    pub fn knows(self, fault: Fault) -> bool {
        match fault {
            Fault::Go | Fault::Kill | Fault::Freeze { .. } => true,
            Fault::Fail | Fault::FailWritten => self == Self::BeforeAppend,
            Fault::Hang => matches!(self, Self::BeforeSend | Self::AfterSend),
        }
    }
}

/// Everything that outlives a process.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) at: At,
    pub(crate) target: Target,
    pub(crate) shelf: Shelf,
    pub(crate) points: u32,
    /// The places passed, one per point.
    pub(crate) places: Vec<Place>,
    /// When the first frozen process thaws, in points.
    pub(crate) thaw_at: u32,
    pub(crate) faults: u32,
    course: Course,
    /// The next answer hangs: somebody wants to act while a call is under way.
    hangs_next: bool,
    /// What happened, line by line; `None` when nobody reads it.
    pub(crate) trace: Option<Vec<String>>,
    salt: u64,
}

/// The stage.
#[derive(Debug)]
pub(crate) struct Stage {
    scene: Mutex<Scene>,
    pub(crate) company: Arc<Company>,
    pub(crate) run: RunId,
    pub(crate) mutant: Mutant,
}

impl Stage {
    pub(crate) fn new(case: &Case, trace: Trace) -> Arc<Self> {
        let company = Company::of(&case.scenario);
        let scene = Scene {
            at: BEGIN_MS,
            target: Target::new(&case.scenario, case.mutant),
            shelf: Shelf::new(case.mutant),
            points: 0,
            places: Vec::new(),
            thaw_at: u32::MAX,
            faults: 0,
            course: case.course.clone(),
            hangs_next: case.scenario.wish == Wish::CancelInFlight,
            trace: (trace == Trace::Kept).then(Vec::new),
            salt: 0,
        };
        let run = company.genesis().id;
        Arc::new(Self { scene: Mutex::new(scene), company, run, mutant: case.mutant })
    }

    pub(crate) fn scene(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Now {
        let at = self.scene().at;
        Now { at, boot_ms: at.unsigned_abs() }
    }

    /// Everything on it, once every process is gone.
    pub(crate) fn strike(self: Arc<Self>) -> Option<Scene> {
        Some(Arc::into_inner(self)?.scene.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Scene {
    /// A process passes a point: time goes on by a millisecond, and the course says what happens.
    pub(crate) fn pass(&mut self, process: u32, place: Place) -> Fault {
        let point = self.points;
        self.points += 1;
        self.at += 1;
        self.places.push(place);
        let fault = self.draw(point, place);
        if fault == Fault::Go && place == Place::AfterSend && self.hangs_next {
            self.hangs_next = false;
            return Fault::Hang;
        }
        if fault != Fault::Go {
            self.faults += 1;
        }
        self.note(|| {
            let said = if fault == Fault::Go { String::new() } else { format!("  -> {fault:?}") };
            format!("#{point} process {process} {place:?}{said}")
        });
        fault
    }

    fn draw(&mut self, point: u32, place: Place) -> Fault {
        match &mut self.course {
            Course::At(at, fault) if *at == point && place.knows(*fault) => *fault,
            Course::At(..) => Fault::Go,
            Course::Chance { dice, rarity, left } => {
                if *left == 0 || !dice.once_in(*rarity) {
                    return Fault::Go;
                }
                let points = dice.pick(&[0, 1, 2, 3, 5, 8, 13, crate::case::TO_THE_END]);
                let ms = dice.pick(&[0, 0, crate::case::WITHIN_MS, crate::case::BEYOND_MS]);
                let freeze = Fault::Freeze { points, ms };
                let fault = dice.pick(&[
                    Fault::Kill,
                    Fault::Kill,
                    freeze,
                    freeze,
                    Fault::Fail,
                    Fault::FailWritten,
                    Fault::Hang,
                ]);
                if !place.knows(fault) {
                    return Fault::Go;
                }
                *left -= 1;
                fault
            }
        }
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        let at = self.at;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{at} {}", line()));
        }
    }

    /// Bytes nobody drew before.
    pub(crate) fn salt(&mut self) -> u64 {
        self.salt += 1;
        self.salt
    }
}
