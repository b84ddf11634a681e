//! One case: a scenario and the course of faults through it. Every case has a name that plays it again.

use std::{fmt, str::FromStr};

use crate::{dice::Dice, grid, mutant::Mutant, scenario::Scenario};

/// What happens at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    Go,
    /// The process dies.
    Kill,
    /// The process stands still until others have passed so many points, or to the end; when it goes on,
    /// so much time has passed.
    Freeze {
        /// Points of others.
        points: u32,
        /// Milliseconds.
        ms: i64,
    },
    /// The medium fails and has written nothing.
    Fail,
    /// The medium says that it failed, and has written everything.
    FailWritten,
    /// The call hangs until something else has happened.
    Hang,
}

/// To the end.
pub(crate) const TO_THE_END: u32 = u32::MAX;

/// Longer than a dispatch window, shorter than window and timeout together.
pub(crate) const WITHIN_MS: i64 = 5_500;
/// Longer than everything a successor waits for.
pub(crate) const BEYOND_MS: i64 = 60_000;

/// Where faults come from.
#[derive(Clone, Debug)]
pub enum Course {
    /// At this point of the schedule, this.
    At(u32, Fault),
    /// By chance; at most so many.
    Chance {
        /// The stream.
        dice: Dice,
        /// One point in so many has a fault.
        rarity: u32,
        /// Faults left.
        left: u32,
    },
}

/// The name of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaseId {
    /// `seed:N`
    Seed(u64),
    /// `grid:SCENARIO:POINT:FAULT`
    Grid(u32, u32, u32),
}

impl fmt::Display for CaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seed(seed) => write!(f, "seed:{seed}"),
            Self::Grid(scenario, point, fault) => write!(f, "grid:{scenario}:{point}:{fault}"),
        }
    }
}

impl FromStr for CaseId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no case; write seed:N or grid:SCENARIO:POINT:FAULT");
        let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
        let numbers: Option<Vec<u64>> = rest.split(':').map(|n| n.parse().ok()).collect();
        let small = |n: u64| u32::try_from(n).map_err(|_| wrong());
        match (kind, numbers.ok_or_else(wrong)?.as_slice()) {
            ("seed", [seed]) => Ok(Self::Seed(*seed)),
            ("grid", [a, b, c]) => Ok(Self::Grid(small(*a)?, small(*b)?, small(*c)?)),
            _ => Err(wrong()),
        }
    }
}

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is about.
    pub scenario: Scenario,
    /// What goes wrong.
    pub course: Course,
    /// What is broken on purpose.
    pub mutant: Mutant,
    /// How long a process is down after a kill, in milliseconds.
    pub down_ms: i64,
    /// What people do by chance.
    pub people: Dice,
    /// Whether a process leaves in good order now and then.
    pub deploys: bool,
}

impl Case {
    /// The case of a name.
    ///
    /// # Errors
    /// When the grid holds no such scenario or fault.
    pub fn of(id: CaseId) -> Result<Self, String> {
        match id {
            CaseId::Seed(seed) => Ok(Self::of_seed(seed)),
            CaseId::Grid(scenario, point, fault) => {
                let scenario = grid::scenarios().get(scenario as usize).copied();
                let fault = grid::FAULTS.get(fault as usize).copied();
                let (Some(scenario), Some(fault)) = (scenario, fault) else {
                    return Err("the grid holds no such case".to_owned());
                };
                Ok(Self::at(scenario, point, fault))
            }
        }
    }

    /// A random case.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let scenario = Scenario::random(&mut dice);
        let down_ms = dice.pick(&[0, 200, WITHIN_MS, BEYOND_MS]);
        let (rarity, left) = dice.pick(&[(8, 8), (20, 4), (40, 2), (1_000_000, 0)]);
        let deploys = dice.once_in(4);
        let people = Dice::new(dice.roll());
        let course = Course::Chance { dice, rarity, left };
        Self { scenario, course, mutant: Mutant::None, down_ms, people, deploys }
    }

    /// A scenario with one fault.
    #[must_use]
    pub fn at(scenario: Scenario, point: u32, fault: Fault) -> Self {
        let down_ms = if point.is_multiple_of(2) { 0 } else { BEYOND_MS };
        let (course, people) = (Course::At(point, fault), Dice::new(u64::from(point)));
        Self { scenario, course, mutant: Mutant::None, down_ms, people, deploys: false }
    }

    /// The same, with something broken.
    #[must_use]
    pub fn with(self, mutant: Mutant) -> Self {
        Self { mutant, ..self }
    }
}
