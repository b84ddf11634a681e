//! Looks for settings in which an intent's playbook reaches as many of its steps as it can: makes worlds
//! up, plays them, and learns from what operations refuse.

use std::{collections::BTreeMap, sync::Arc};

use kernel::{
    event::{Body, Stage as GateStage},
    id::{OperationId, Seq},
    plan::Plan,
    playbook::{Work, static_path, visit_steps},
};
use pack::Intent;
use serde_json::{Value, json};

use super::{
    dice::Dice,
    drive::{Story, play},
    hints::{Hints, Learned, Source},
    law, relation,
    script::{Script, Then},
    setting::Setting,
    shape::{Maker, Taste},
    stage::Stage,
    told::{self, Act},
};

/// Times everything learnt is put to use before the search begins.
const LESSONS_MAX: usize = 8;
/// Settings played in one lesson.
const LESSON_SETTINGS: u32 = 16;
/// Settings played at most for one intent.
const SETTINGS_MAX: u32 = 160;
/// Settings kept in which something was wrong.
const ODD_MAX: usize = 5;

/// What a row of the matrix is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// A step that uses an operation.
    Do(OperationId),
    /// A step that asks a person.
    Ask,
    /// A step that waits for a signal.
    Await,
}

/// One run that reached a step.
#[derive(Clone, Debug)]
pub(super) struct Reached {
    pub(super) setting: Arc<Setting>,
    pub(super) plan: Arc<Plan>,
    pub(super) story: Arc<Story>,
    pub(super) acts: Arc<BTreeMap<Seq, Act>>,
    score: u8,
}

/// One step of an intent's playbook.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Static path.
    pub(super) path: String,
    pub(super) sort: Sort,
    /// A run in which it did its work.
    pub(super) reached: Option<Reached>,
    /// What became of it where it was tried and did not.
    pub(super) tried: Option<String>,
}

impl Row {
    /// The step's own action in the run that reached it.
    pub(super) fn act(&self) -> Option<&Act> {
        let reached = self.reached.as_ref()?;
        let Sort::Do(operation) = &self.sort else { return None };
        let own =
            |act: &&Act| act.is_step() && act.step == self.path && act.operation == *operation;
        reached.acts.values().find(|act| own(act) && act.is_done())
    }
}

/// An intent ready to be probed.
#[derive(Debug)]
pub(super) struct Rehearsal {
    pub(super) stage: Arc<Stage>,
    pub(super) intent: String,
    pub(super) rows: Vec<Row>,
    /// Settings played on the way in which something was wrong that must not be.
    pub(super) odd: Vec<(Arc<Setting>, Arc<Plan>)>,
    /// Why the intent could not even be submitted, where it never could.
    pub(super) refused: Option<String>,
    /// Settings in which the run ended well.
    pub(super) well: u32,
    /// What an author should look at.
    pub(super) notes: Vec<String>,
}

/// The script of every first run: as it should be, then taken back.
pub(super) fn plain_script() -> Script {
    Script { then: Then::RollBack, ..Script::default() }
}

/// Rehearses an intent.
pub(super) fn rehearse(stage: &Arc<Stage>, intent: &Intent, seed: u64) -> Rehearsal {
    let dice = Dice::new(seed).at(&intent.name);
    let playbook = stage.shelved.pack.playbook_of(&intent.name);
    let steps = playbook.map(|playbook| playbook.steps).unwrap_or_default();
    let mut hints = Hints::mine(&stage.shelved.pack, intent, &steps);
    let mut rows = Vec::new();
    visit_steps(&steps, &mut |path, step| {
        let sort = match &step.work {
            Work::Do { operation, .. } => Sort::Do(operation.clone()),
            Work::Ask { .. } => Sort::Ask,
            Work::Await { .. } => Sort::Await,
            _ => return,
        };
        rows.push(Row { path: path.to_owned(), sort, reached: None, tried: None });
    });
    for _ in 0..LESSONS_MAX {
        if lesson(stage, intent, dice, &mut hints) == Learned::Known {
            break;
        }
    }
    let mut rehearsal = Rehearsal {
        stage: Arc::clone(stage),
        intent: intent.name.clone(),
        rows,
        odd: Vec::new(),
        refused: None,
        well: 0,
        notes: Vec::new(),
    };
    let hints = Arc::new(hints);
    for number in 0..SETTINGS_MAX {
        let setting = setting(stage, intent, (number, dice), &hints);
        rehearsal.play(setting);
        if rehearsal.rows.iter().all(|row| row.reached.as_ref().is_some_and(|r| r.score == BEST)) {
            break;
        }
    }
    rehearsal
}

/// The score of a run that ended well and changed what it could change.
const BEST: u8 = 3;

impl Rehearsal {
    fn play(&mut self, setting: Arc<Setting>) {
        let number = setting.number;
        let played = self.stage.plan(&self.intent, &setting.inputs).and_then(|plan| {
            let story = play(&self.stage, (&setting, &plan), &plain_script())?;
            Ok((plan, story))
        });
        let (plan, story) = match played {
            Ok(played) => played,
            Err(problem) => {
                if self.rows.iter().all(|row| row.reached.is_none()) {
                    self.refused = Some(problem);
                }
                return;
            }
        };
        self.refused = None;
        if self.odd.len() < ODD_MAX && !law::findings(&self.stage, &story).is_empty() {
            self.odd.push((Arc::clone(&setting), Arc::clone(&plan)));
        }
        let acts = Arc::new(told::acts(&story.records));
        for step in told::unevaluated(&story, &acts) {
            let note = format!(
                "{}/{step}: an expression had no result in setting {number}, where every answer fits \
                 its schema; the run stops there",
                self.intent
            );
            let same = format!("{}/{step}:", self.intent);
            if !self.notes.iter().any(|known| known.starts_with(&same)) {
                self.notes.push(note);
            }
        }
        let well = u8::from(told::ended_well(&story.records));
        self.well += u32::from(well);
        let story = Arc::new(story);
        for row in &mut self.rows {
            match reach(&self.stage, row, (&story, &acts)) {
                Reach::Done(changed) => {
                    let score = 1 + well + u8::from(changed);
                    let better = row.reached.as_ref().is_none_or(|known| known.score < score);
                    if better {
                        let (setting, plan) = (Arc::clone(&setting), Arc::clone(&plan));
                        let (story, acts) = (Arc::clone(&story), Arc::clone(&acts));
                        row.reached = Some(Reached { setting, plan, story, acts, score });
                    }
                }
                Reach::Failed(how) => row.tried = row.tried.take().or(Some(how)),
                Reach::Not => {}
            }
        }
    }
}

/// How far a step came in one run.
enum Reach {
    Not,
    Failed(String),
    /// It did its work; whether the world shows it, where it should.
    Done(bool),
}

fn reach(stage: &Stage, row: &Row, (story, acts): (&Story, &BTreeMap<Seq, Act>)) -> Reach {
    let Sort::Do(operation) = &row.sort else {
        return if heard(row, story) { Reach::Done(true) } else { Reach::Not };
    };
    let own = |act: &&Act| act.is_step() && act.step == row.path && act.operation == *operation;
    let own: Vec<&Act> = acts.values().filter(own).collect();
    if own.iter().any(|act| act.is_done()) {
        let effect = story.world.effects.iter().find(|e| own.iter().any(|act| act.seq == e.action));
        let shows = stage.relations.contains_key(operation);
        return Reach::Done(!shows || effect.is_some_and(|effect| effect.changed));
    }
    match own.first() {
        None => Reach::Not,
        Some(act) => Reach::Failed(how_it_failed(act)),
    }
}

fn how_it_failed(act: &Act) -> String {
    match (&act.rejected, act.came.last()) {
        (Some((GateStage::Schema, class, code)), _) => {
            format!("its arguments do not fit {} ({}, {code})", act.operation, class.name())
        }
        (Some((stage, class, code)), _) => {
            let stage = serde_json::to_value(stage).unwrap_or_default();
            let stage = stage.as_str().unwrap_or_default().to_owned();
            format!("it was rejected at {stage} ({}, {code})", class.name())
        }
        (None, Some(told::Came::Failed(class, _))) => format!("it failed with {}", class.name()),
        (None, _) => "it did not end".to_owned(),
    }
}

/// Whether a question or a wait got its answer.
fn heard(row: &Row, story: &Story) -> bool {
    let mut asked = None;
    for record in &story.records {
        match &record.event.body {
            Body::Questioned { step, question, .. } if static_path(step) == row.path => {
                asked = Some(question.clone());
            }
            Body::Replied { question, .. } if asked.as_ref() == Some(question) => return true,
            Body::Waiting { step, .. } if static_path(step) == row.path => {
                return story
                    .records
                    .iter()
                    .any(|record| matches!(record.event.body, Body::Signalled { .. }));
            }
            _ => {}
        }
    }
    false
}

/// One way the world can be.
fn setting(
    stage: &Stage,
    intent: &Intent,
    (number, dice): (u32, Dice),
    hints: &Arc<Hints>,
) -> Arc<Setting> {
    let dice = dice.at(&number.to_string());
    let nothing = json!({});
    let maker = Maker {
        root: &intent.input,
        source: Source::Input,
        hints,
        fit: &stage.fit,
        inputs: &nothing,
        echoes: &BTreeMap::new(),
        single: None,
        taste: if number == 0 { Taste::Plain } else { Taste::Varied },
    };
    let inputs = maker.value(dice.at("inputs"));
    Arc::new(Setting::new(number, inputs, dice, Arc::clone(hints)))
}

/// Plays some settings and learns from what was refused.
fn lesson(stage: &Arc<Stage>, intent: &Intent, dice: Dice, hints: &mut Hints) -> Learned {
    let known = Arc::new(hints.clone());
    let mut learned = Learned::Known;
    for number in 0..LESSON_SETTINGS {
        let setting = setting(stage, intent, (number, dice), &known);
        let Ok(plan) = stage.plan(&intent.name, &setting.inputs) else { continue };
        let Ok(story) = play(stage, (&setting, &plan), &plain_script()) else { continue };
        for act in told::acts(&story.records).values() {
            if learn(stage, act, &story, hints) == Learned::News {
                learned = Learned::News;
            }
        }
    }
    learned
}

/// What an operation refused must fit its schema wherever it was made up.
fn learn(stage: &Stage, act: &Act, story: &Story, hints: &mut Hints) -> Learned {
    let Some((GateStage::Schema, _, code)) = &act.rejected else { return Learned::Known };
    let Some(at) = code.strip_prefix("schema:") else { return Learned::Known };
    let Some(operation) = stage.operation(&act.operation) else { return Learned::Known };
    let value: Option<&Value> = act.args.pointer(at);
    let schema = relation::part_of(&operation.input, at);
    let (Some(value), Some(schema)) = (value, schema) else { return Learned::Known };
    let schema = Arc::new(schema.clone());
    let places = story.world.origins_of(value).to_vec();
    let news = places.into_iter().map(|place| hints.learn(place, Arc::clone(&schema)));
    news.fold(Learned::Known, |all, one| if one == Learned::News { one } else { all })
}
