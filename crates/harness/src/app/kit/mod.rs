//! The test kit every pack author gets: each intent's playbook on an in-memory world made up from its
//! connectors' schemas, and everything done to it that goes wrong on a Monday.
//!
//! What runs is the real thing: run machine, playbook planner, Cedar (the pack's layer below the
//! operator's, or below one that permits everything and still asks), schemas, `ingest`, receipts under a
//! throw-away key, the store in RAM. What is made up: the world (`world`), from schemas (`shape`), from
//! what conditions compare and what operations refuse (`hints`), with writes showing in reads as far as
//! before-images and undos declare it (`relation`); people, a clock and salts (`drive`).
//!
//! Start with [`test`]; then `rehearse` (how steps are reached), `probes/mod.rs` (what is done to them),
//! `law` and `reaction` (what must hold whatever goes wrong, held against the world's own account).

mod dice;
mod drive;
mod hints;
mod junit;
mod law;
mod names;
mod pattern;
mod probes;
mod reaction;
mod rehearse;
mod relation;
mod report;
pub mod scaffold;
mod script;
mod select;
mod setting;
mod shape;
mod stage;
mod told;
mod world;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use pack::Pack;

pub use junit::junit;
pub use report::{Cell, CellState, Failure, IntentTested, PackTested, ProbeView, StepTested};

use super::{config::Config, problem::Problem, shelf};
use law::Finding;
use probes::{Case, PROBES, Probe};
use rehearse::{Rehearsal, Row, Sort, rehearse};
use select::{Only, Selected, selected};
use shelf::{Brought, Operator, Origin};
use stage::Stage;

/// Threads that play at a time.
const THREADS_MAX: usize = 8;
/// Most failures told of one cell.
const FAILURES_PER_CELL_MAX: usize = 5;

/// What to test.
#[derive(Clone, Debug, Default)]
pub struct TestPack {
    /// A folder that holds `pack.yaml`, or the name of a configured pack; absent = the folder one is in,
    /// or the only configured pack.
    pub pack: Option<String>,
    /// What made-up values come from.
    pub seed: u64,
    /// Only these: `[intent/]step:probe[=case]`.
    pub only: Vec<String>,
    /// What a step means that no run came to, and a pack of which nothing was played.
    pub unreached: Unreached,
}

/// What it means that something was not played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unreached {
    /// It is wrong: nothing is known about it.
    #[default]
    Wrong,
    /// It is told.
    Allowed,
}

/// One cell's worth of work.
struct Job {
    intent: usize,
    row: usize,
    probe: usize,
    case: Case,
}

/// Tests a pack, offline: needs no store.
///
/// # Errors
/// When there is no such pack, it does not load, or nothing fits `only`.
pub fn test(config: &Config, request: &TestPack) -> Result<PackTested, Problem> {
    let folder = folder_of(config, request)?;
    let (shelved, policies) = shelve(config, &folder)?;
    let only = request.only.iter().map(|text| Only::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let stage = Stage::new(shelved, config)?;
    // What a model would say is nobody's to make up: agents are tested with scripted models.
    let (agents, intents): (Vec<&pack::Intent>, Vec<&pack::Intent>) = stage
        .shelved
        .pack
        .intents
        .values()
        .partition(|intent| stage.shelved.pack.has_agent(intent));
    let agents: Vec<String> = agents.iter().map(|intent| intent.name.clone()).collect();
    let rehearsals = side_by_side(&intents, |intent| rehearse(&stage, intent, request.seed));
    let jobs = jobs(&rehearsals, &only);
    if jobs.is_empty() && !only.is_empty() {
        return Err(Problem::usage("nothing-selected", "no step and probe fit --only").next(
            "`harness pack test -o json` lists steps and probes; write `intent/step:probe=case`",
        ));
    }
    let found = side_by_side(&jobs, |job| play_case(&rehearsals, job));
    let place = request.pack.clone().unwrap_or_else(|| folder.display().to_string());
    let (seed, unreached) = (request.seed, request.unreached);
    let results = Results { place, seed, agents, rehearsals, jobs, found, only, unreached };
    Ok(results.report(&stage, policies))
}

/// The folder that holds the pack.
fn folder_of(config: &Config, request: &TestPack) -> Result<PathBuf, Problem> {
    let holds = |folder: &Path| folder.join("pack.yaml").is_file();
    let name_of = |folder: &Path| {
        let files = shelf::read_folder(folder).ok()?;
        Pack::load(files).ok().map(|loaded| loaded.pack.manifest.name)
    };
    match &request.pack {
        Some(named) if holds(Path::new(named)) => Ok(PathBuf::from(named)),
        Some(named) => {
            let called = |folder: &&PathBuf| name_of(folder).is_some_and(|name| name == *named);
            config.packs.iter().find(called).cloned().ok_or_else(|| {
                let detail = format!("{named} is neither a folder with pack.yaml nor a known pack");
                Problem::new(super::problem::Kind::NotFound, "pack-not-found", detail).next(
                    "name a folder that holds pack.yaml; `harness pack list` shows packs in force",
                )
            })
        }
        None if holds(Path::new(".")) => Ok(PathBuf::from(".")),
        None => match config.packs.as_slice() {
            [only] => Ok(only.clone()),
            _ => Err(Problem::usage("no-pack", "say which pack to test")
                .next("name a folder that holds pack.yaml, or a configured pack")),
        },
    }
}

/// The pack under the policies of the test.
fn shelve(config: &Config, folder: &Path) -> Result<(shelf::Shelved, Vec<String>), Problem> {
    let files = shelf::read_folder(folder)?;
    let brought = Brought::load(files, Origin::Configured)
        .map_err(|problems| shelf::pack_problems(folder, &problems))?;
    let name = brought.name().to_owned();
    let others = config.packs.iter().filter_map(|folder| {
        let loaded = Pack::load(shelf::read_folder(folder).ok()?).ok()?;
        (loaded.pack.manifest.name != name).then_some(loaded.pack.catalogue)
    });
    let others: Vec<kernel::catalogue::Catalogue> = others.collect();
    let asked = Operator::of(config)?;
    let brought = brought.with_models(&asked.models)?;
    let everything = shelf::union(std::iter::once(&brought.pack.catalogue).chain(&others))?;
    let (operator, names) = if config.operator_policies.is_empty() {
        let source = |name: &str, text: &str| policy::Source {
            layer: policy::Layer::Operator,
            name: name.to_owned(),
            text: text.to_owned(),
        };
        let layer = vec![source("permit-all", PERMIT_ALL), source("inherited", policy::INHERITED)];
        (layer, vec!["permit-all".to_owned()])
    } else {
        let names = config.operator_policies.iter().map(|path| path.display().to_string());
        (asked.policies, names.collect())
    };
    Ok((shelf::shelve(brought, (&everything, &operator))?, names))
}

/// The operator's layer where there is none: the pack's own layer decides, below what every operator
/// inherits, so that what cannot be taken back and what untrusted input shaped still asks.
const PERMIT_ALL: &str = "@id(\"kit.permit-all\")\n@reason(\"A test of the pack's own rules.\")\n\
    permit (principal, action, resource);\n";

fn jobs(rehearsals: &[Rehearsal], only: &[Only]) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (intent, rehearsal) in rehearsals.iter().enumerate() {
        for (row, step) in
            rehearsal.rows.iter().enumerate().filter(|(_, row)| row.reached.is_some())
        {
            let place = (rehearsal.intent.as_str(), step.path.as_str());
            for (probe, known) in PROBES.iter().enumerate() {
                if selected(only, place, known.name, None) == Selected::No {
                    continue;
                }
                let cases = (known.cases)(rehearsal, step).into_iter();
                let cases = cases.filter(|case| {
                    selected(only, place, known.name, Some(&case.name)) == Selected::Yes
                });
                jobs.extend(cases.map(|case| Job { intent, row, probe, case }));
            }
        }
    }
    jobs
}

fn play_case(rehearsals: &[Rehearsal], job: &Job) -> Vec<Finding> {
    let Some(rehearsal) = rehearsals.get(job.intent) else { return Vec::new() };
    let row = rehearsal.rows.get(job.row);
    let Some(reached) = row.and_then(|row| row.reached.as_ref()) else { return Vec::new() };
    let (setting, plan) = match &job.case.setting {
        Some((setting, plan)) => (setting, plan),
        None => (&reached.setting, &reached.plan),
    };
    match drive::play(&rehearsal.stage, (setting, plan), &job.case.script) {
        Ok(story) => {
            let mut found = law::findings(&rehearsal.stage, &story);
            if story.stuck.is_none() {
                found.extend((job.case.check)(&story, reached));
            }
            found
        }
        Err(problem) => vec![Finding::new(problem, "the run begins")],
    }
}

/// Does the same with each of several things, on several threads; the results stand in their order.
fn side_by_side<T: Sync, R: Send>(things: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::with_capacity(things.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(thing) = things.get(index) else { return };
                    let result = work(thing);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Everything that was played.
struct Results {
    place: String,
    seed: u64,
    agents: Vec<String>,
    rehearsals: Vec<Rehearsal>,
    jobs: Vec<Job>,
    found: Vec<Vec<Finding>>,
    only: Vec<Only>,
    unreached: Unreached,
}

impl Results {
    fn report(&self, stage: &Stage, policies: Vec<String>) -> PackTested {
        let manifest = &stage.shelved.pack.manifest;
        let mut failures = Vec::new();
        let mut told = BTreeSet::new();
        let items: Vec<IntentTested> = (0..self.rehearsals.len())
            .filter_map(|index| self.intent(index, (&mut failures, &mut told)))
            .collect();
        let cells = || items.iter().flat_map(|item| &item.steps).flat_map(|step| &step.cells);
        let cases = cells().map(|cell| cell.cases).sum();
        failures.extend(self.nothing_played(cases));
        let unreached = self.rehearsals.iter().flat_map(|rehearsal| {
            let rows = rehearsal.rows.iter().filter(|row| row.reached.is_none());
            rows.filter(|row| row.tried.is_none())
                .map(|row| format!("{}/{}", rehearsal.intent, row.path))
        });
        PackTested {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            digest: stage.shelved.pack.digest.to_string(),
            seed: self.seed,
            policies,
            passed: failures.is_empty(),
            cases,
            wrong: cells().map(|cell| cell.wrong).sum(),
            probes: PROBES.iter().map(view).collect(),
            unreached: unreached.collect(),
            handed_to_agents: self.agents.clone(),
            notes: self.rehearsals.iter().flat_map(|r| r.notes.clone()).collect(),
            items,
            failures,
        }
    }

    /// A pack that only hands to agents: that nothing was wrong says nothing about it.
    fn nothing_played(&self, cases: usize) -> Option<Failure> {
        let silent = cases == 0 && !self.agents.is_empty() && self.only.is_empty();
        (silent && self.unreached == Unreached::Wrong).then(|| Failure {
            intent: self.agents.join(", "),
            step: String::new(),
            probe: "happy".to_owned(),
            case: "any".to_owned(),
            happened:
                "no run was played: agents serve every intent, and what their models would say \
                       is not made up here"
                    .to_owned(),
            expected: "something to play; --allow-unreached lets it pass without".to_owned(),
            reproduce: format!("{} --seed {}", self.place, self.seed),
        })
    }

    fn intent(
        &self,
        index: usize,
        (failures, told): (&mut Vec<Failure>, &mut BTreeSet<(String, Finding)>),
    ) -> Option<IntentTested> {
        let rehearsal = self.rehearsals.get(index)?;
        let mut steps = Vec::new();
        for (number, row) in rehearsal.rows.iter().enumerate() {
            let mut cells = Vec::new();
            for (probe, known) in PROBES.iter().enumerate() {
                let (cell, wrong) = self.cell((index, number), (probe, known));
                let news = wrong.into_iter().filter(|(case, finding)| {
                    // The same thing in the same way of several steps is told once.
                    told.insert((
                        format!("{}{}{case}", rehearsal.intent, known.name),
                        finding.clone(),
                    ))
                });
                let news: Vec<(String, Finding)> = news.collect();
                let wrong = news.iter().map(|(case, _)| case).collect::<BTreeSet<_>>().len();
                let state = match (cell.state, wrong) {
                    (CellState::Wrong, 0) => CellState::Ok,
                    (state, _) => state,
                };
                cells.push(Cell { state, wrong, ..cell });
                failures.extend(news.into_iter().take(FAILURES_PER_CELL_MAX).map(
                    |(case, finding)| self.failure((rehearsal, row), (known.name, case), finding),
                ));
            }
            steps.push(StepTested {
                step: row.path.clone(),
                does: match &row.sort {
                    Sort::Do(operation) => operation.to_string(),
                    Sort::Ask => "ask".to_owned(),
                    Sort::Await => "wait".to_owned(),
                },
                setting: row.reached.as_ref().map(|reached| reached.setting.number),
                cells,
            });
        }
        let never = match (&rehearsal.refused, rehearsal.well) {
            (Some(problem), _) => Some(problem.clone()),
            (None, 0) => Some("no setting was found in which the run ends well".to_owned()),
            (None, _) => None,
        };
        if let Some(problem) = never.filter(|_| self.only.is_empty()) {
            let finding = Finding::new(problem, "an intent that can be served");
            failures.push(Failure {
                intent: rehearsal.intent.clone(),
                step: String::new(),
                probe: "happy".to_owned(),
                case: "any".to_owned(),
                happened: finding.happened,
                expected: finding.expected,
                reproduce: format!("{} --seed {}", self.place, self.seed),
            });
        }
        Some(IntentTested { intent: rehearsal.intent.clone(), steps })
    }

    /// One cell, and what was wrong in which case.
    fn cell(
        &self,
        (intent, row): (usize, usize),
        (probe, known): (usize, &Probe),
    ) -> (Cell, Vec<(String, Finding)>) {
        let rehearsal = self.rehearsals.get(intent);
        let step = rehearsal.and_then(|rehearsal| rehearsal.rows.get(row));
        let cell = |state, cases| Cell { probe: known.name.to_owned(), state, cases, wrong: 0 };
        let (Some(rehearsal), Some(step)) = (rehearsal, step) else {
            return (cell(CellState::None, 0), Vec::new());
        };
        let place = (rehearsal.intent.as_str(), step.path.as_str());
        if selected(&self.only, place, known.name, None) == Selected::No {
            return (cell(CellState::Skipped, 0), Vec::new());
        }
        match (&step.reached, &step.tried) {
            (None, Some(how)) if known.name == "happy" => {
                let happened = format!("`{}` never did its work: {how}", step.path);
                let finding = Finding::new(happened, "some world lets it do its work");
                return (cell(CellState::Wrong, 1), vec![("plain".to_owned(), finding)]);
            }
            (None, None) if known.name == "happy" && self.unreached == Unreached::Wrong => {
                let happened = format!("no run came to `{}`", step.path);
                let expected = "some setting leads to it; --allow-unreached lets it pass without";
                let finding = Finding::new(happened, expected);
                return (cell(CellState::Wrong, 1), vec![("plain".to_owned(), finding)]);
            }
            (None, _) => return (cell(CellState::Unreached, 0), Vec::new()),
            (Some(_), _) => {}
        }
        let own = self
            .jobs
            .iter()
            .zip(&self.found)
            .filter(|(job, _)| job.intent == intent && job.row == row && job.probe == probe);
        let mut cases = 0;
        let mut wrong = Vec::new();
        for (job, found) in own {
            cases += 1;
            wrong.extend(found.iter().map(|finding| (job.case.name.clone(), finding.clone())));
        }
        let state = match (cases, wrong.is_empty()) {
            (0, _) => CellState::None,
            (_, true) => CellState::Ok,
            (_, false) => CellState::Wrong,
        };
        (cell(state, cases), wrong)
    }

    fn failure(
        &self,
        (rehearsal, row): (&Rehearsal, &Row),
        (probe, case): (&str, String),
        finding: Finding,
    ) -> Failure {
        // What no run came to cannot be played alone.
        let only = row.reached.as_ref().map_or_else(String::new, |_| {
            format!(" --only '{}/{}:{probe}={case}'", rehearsal.intent, row.path)
        });
        Failure {
            intent: rehearsal.intent.clone(),
            step: row.path.clone(),
            probe: probe.to_owned(),
            reproduce: format!("{} --seed {}{only}", self.place, self.seed),
            case,
            happened: finding.happened,
            expected: finding.expected,
        }
    }
}

fn view(probe: &Probe) -> ProbeView {
    ProbeView { name: probe.name.to_owned(), what: probe.what.to_owned() }
}

/// Writes the result for a build server.
///
/// # Errors
/// When the file cannot be written.
pub fn write_junit(tested: &PackTested, path: &Path) -> Result<(), Problem> {
    std::fs::write(path, junit(tested)).map_err(|error| {
        Problem::usage("file-unwritable", format!("cannot write {}: {error}", path.display()))
            .next("name a file in a folder that exists and can be written")
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::app::config::Overrides;

    /// The stage of a new pack.
    pub(super) fn new_stage() -> Arc<Stage> {
        let dir = tempfile::tempdir().unwrap();
        let request =
            scaffold::NewPack { name: "new-pack".to_owned(), dir: dir.path().to_path_buf() };
        let made = scaffold::make(&request).unwrap();
        let config = Config::load(&Overrides::default(), dir.path()).unwrap();
        let (shelved, _) = shelve(&config, Path::new(&made.folder)).unwrap();
        Stage::new(shelved, &config).unwrap()
    }

    #[test]
    fn work_is_done_once_each_and_stands_in_order() {
        let things: Vec<usize> = (0..500).collect();
        assert_eq!(
            side_by_side(&things, |n| n * 2),
            things.iter().map(|n| n * 2).collect::<Vec<_>>()
        );
    }
}
