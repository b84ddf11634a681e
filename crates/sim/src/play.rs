//! One case played to its end: processes come and go, people answer, time passes.

use std::{collections::BTreeSet, future::Future, sync::Arc};

use engine::{Engine, Submitted};
use kernel::{
    event::Body,
    exception::{Exception, Need},
    id::{ApprovalId, At, ExceptionId, RunId, Tenant},
    input::{Answer, Input, OnConflict, Scope, Settlement},
    principal::Principal,
    project::ApprovalRow,
    run::Status,
};
use serde_json::json;
use testkit::person;

use crate::{
    case::{BEYOND_MS, Case},
    company::{ROLE, SIGNAL, TIMEOUT_MS},
    mutant::Mutant,
    process::{Halt, Process, Ran, no_card},
    scenario::{Person, Shape, Signals, Undo2, Wish},
    shelf::Shelf,
    stage::{Place, Stage},
    target::Target,
};

/// Most turns of one schedule before it counts as stuck.
const ROUNDS_MAX: u32 = 240;
/// Times people ask for everything to be taken back.
const TAKE_BACKS_MAX: u32 = 2;
/// Looks at a process that leaves before it is taken for gone.
const DRAIN_LOOKS_MAX: u32 = 8;
/// How long a person who was told to look again later waits, in milliseconds.
const LOOK_AGAIN_MS: i64 = 7_000;

/// Something a run said yes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ack {
    /// An answer to an ask.
    Answered(ApprovalId),
    /// A reply to a question.
    Replied(ApprovalId),
    /// An exception settled.
    Settled(ExceptionId),
    /// A signal.
    Signalled,
    /// A cancel.
    Cancelled,
    /// A pause.
    Paused,
    /// A resume.
    Resumed,
    /// A request to take back.
    TakenBack,
}

/// How a schedule went.
#[derive(Debug)]
pub struct Story {
    /// The target, with its own record.
    pub target: Target,
    /// The journal.
    pub shelf: Shelf,
    /// What the run said yes to.
    pub acks: Vec<Ack>,
    /// The submission was acknowledged.
    pub submitted: bool,
    /// Effects that people said had not happened, and when they looked.
    pub looks: Vec<(String, At)>,
    /// Why nothing goes on although nobody is waited for.
    pub stuck: Option<&'static str>,
    /// The places passed.
    pub places: Vec<Place>,
    /// Faults that happened.
    pub faults: u32,
    /// What happened, line by line, when asked for.
    pub trace: Vec<String>,
}

/// Whether a story tells what happened, line by line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// It does.
    Kept,
    /// It does not: telling costs more than playing.
    Dropped,
}

/// Plays a case.
#[must_use]
pub fn play(case: &Case, trace: Trace) -> Story {
    let stage = Stage::new(case, trace);
    let run = stage.run.clone();
    let player = Player {
        case: case.clone(),
        stage: Arc::clone(&stage),
        key: (Tenant::default(), run),
        live: None,
        old: Vec::new(),
        booted: 0,
        submitted: false,
        acks: Vec::new(),
        done: Done::default(),
        looks: Vec::new(),
        stuck: None,
    };
    let player = player.play();
    let (submitted, acks, looks, stuck) = player;
    let scene = stage.strike().expect("every process is gone");
    Story {
        target: scene.target,
        shelf: scene.shelf,
        acks,
        submitted,
        looks,
        stuck,
        places: scene.places,
        faults: scene.faults,
        trace: scene.trace.unwrap_or_default(),
    }
}

/// An old process, and how long it still stands still.
#[derive(Debug)]
struct Old {
    process: Process,
    frozen_ms: Option<i64>,
}

/// What people have done so far.
#[derive(Debug, Default)]
struct Done {
    early: bool,
    late: bool,
    signalled: bool,
    cancelled: bool,
    paused: bool,
    meddled: bool,
    take_backs: u32,
    tokens: usize,
    retries: u32,
    said: u32,
    /// Asks whose answer was heard: they stay open until they are spent.
    given: BTreeSet<ApprovalId>,
}

#[derive(Debug)]
struct Player {
    case: Case,
    stage: Arc<Stage>,
    key: (Tenant, RunId),
    live: Option<Process>,
    old: Vec<Old>,
    booted: u32,
    submitted: bool,
    acks: Vec<Ack>,
    done: Done,
    looks: Vec<(String, At)>,
    stuck: Option<&'static str>,
}

/// What is left of a player: submitted, what was said yes to, looks, why it is stuck.
type Left = (bool, Vec<Ack>, Vec<(String, At)>, Option<&'static str>);

/// Whether there is more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Again,
    Over,
}

/// How an input was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Taken,
    Refused,
    /// No answer came; whoever asked asks again.
    Unheard,
}

fn lena() -> Principal {
    person("person:lena", &[ROLE, "owner", "ops", "operator"])
}

/// Old processes go on where they stood.
fn thaw(stage: &Stage, old: &mut Vec<Old>) {
    let mut kept = Vec::new();
    for mut one in old.drain(..) {
        if let Some(ms) = one.frozen_ms.take() {
            {
                let mut scene = stage.scene();
                scene.at += ms;
                scene.note(|| format!("an old process goes on after {ms} ms"));
            }
            one.process.thaw();
            match one.process.run_on() {
                Some(Halt::Killed) => continue,
                Some(Halt::Frozen(ms)) => one.frozen_ms = Some(ms),
                Some(Halt::Yielded) | None => {}
            }
        }
        kept.push(one);
    }
    *old = kept;
}

impl Player {
    fn play(mut self) -> Left {
        for _ in 0..3 {
            self.play_on();
            let waits = self.old.iter().any(|old| old.frozen_ms.is_some() || old.process.hangs());
            if !waits {
                break;
            }
            thaw(&self.stage, &mut self.old);
            for old in &self.old {
                old.process.release();
                let _halt = old.process.run_on();
            }
            // Whoever stood still may have written: somebody looks once more.
            self.live = None;
        }
        (self.submitted, self.acks, self.looks, self.stuck)
    }

    fn play_on(&mut self) {
        self.stuck = Some("it never comes to an end");
        for _ in 0..ROUNDS_MAX {
            if self.live.is_none() {
                self.live = Some(Process::boot(&self.stage, self.booted));
                self.booted += 1;
            }
            if !self.submitted {
                self.submit();
                continue;
            }
            let key = self.key.clone();
            let settled = self.work(|engine| async move {
                engine.sweep().await;
                engine.settled(&key.0, &key.1).await;
            });
            if settled.is_none() {
                continue;
            }
            if self.errand() == Next::Over {
                return;
            }
        }
    }

    /// Work in the live process; `None` when it stood still meanwhile.
    fn work<T, F: Future<Output = T>>(&mut self, of: impl FnOnce(Arc<Engine>) -> F) -> Option<T> {
        let process = self.live.take()?;
        let work = of(Arc::clone(&process.engine));
        let (stage, old) = (&self.stage, &mut self.old);
        match process.run(work, || thaw(stage, old)) {
            Ran::Done(done) => {
                self.live = Some(process);
                Some(done)
            }
            Ran::Idle => {
                let hangs = process.hangs();
                self.live = Some(process);
                if hangs {
                    self.while_it_hangs();
                } else {
                    self.stuck = Some("a process stands still and nothing is under way in it");
                    self.live = None;
                }
                None
            }
            Ran::Halted(Halt::Frozen(ms)) => {
                self.old.push(Old { process, frozen_ms: Some(ms) });
                None
            }
            Ran::Halted(_) => {
                drop(process);
                self.stage.scene().at += self.case.down_ms;
                None
            }
        }
    }

    /// A call hangs: somebody may want to act now; then it goes on.
    fn while_it_hangs(&mut self) {
        if self.stage.mutant == Mutant::RudeDeploy {
            self.live = None;
            return;
        }
        if self.case.scenario.wish == Wish::CancelInFlight && !self.done.cancelled {
            self.done.cancelled = true;
            let by = lena();
            self.say("cancel", Input::Cancel { by, reason: "enough".into() }, Ack::Cancelled);
        }
        if let Some(live) = &self.live {
            live.release();
        }
    }

    fn submit(&mut self) {
        let genesis = self.stage.company.genesis();
        let submitted = self.work(|engine| async move { engine.submit(genesis).await });
        if let Some(Ok(Submitted::New(_) | Submitted::Existing(_))) = submitted {
            self.submitted = true;
        }
    }

    /// Hands an input in, as often as the scenario says.
    fn say(&mut self, id: &str, input: Input, ack: Ack) -> Said {
        let said = self.say_once(id.to_owned(), input.clone(), ack.clone());
        if said == Said::Taken && self.case.scenario.signals == Signals::Twice {
            self.done.said += 1;
            let other = format!("{id}-again-{}", self.done.said);
            self.say_once(id.to_owned(), input.clone(), ack.clone());
            self.say_once(other, input, ack);
        }
        said
    }

    fn say_once(&mut self, id: String, input: Input, ack: Ack) -> Said {
        let (key, by) = (self.key.clone(), lena().id);
        self.stage.scene().note(|| format!("a person says {id}"));
        if self.stage.mutant == Mutant::EagerSurface {
            self.acks.push(ack.clone());
        }
        let taken = self.work(|engine| async move { engine.input(key, (id, by), input).await });
        match taken {
            Some(Ok(Ok(()))) => {
                self.acks.push(ack);
                Said::Taken
            }
            Some(Ok(Err(refused))) => {
                self.stage.scene().note(|| format!("  refused: {refused}"));
                Said::Refused
            }
            Some(Err(_)) | None if self.stage.mutant == Mutant::EagerSurface => Said::Taken,
            Some(Err(_)) | None => Said::Unheard,
        }
    }

    /// One thing that somebody does; over when nothing is left to do.
    fn errand(&mut self) -> Next {
        let (status, approval, exception, wake_at) = {
            let scene = self.stage.scene();
            let shelf = &scene.shelf;
            let given = |id| self.done.given.contains(id);
            let approval = shelf.approvals.values().find(|row| !given(&row.id)).cloned();
            let exception = shelf.exceptions.values().next().cloned();
            (shelf.status(), approval, exception, shelf.wake_at)
        };
        let Some(status) = status else {
            self.stuck = Some("it was acknowledged and is not there");
            return Next::Over;
        };
        if self.deploy() || self.want_early(status) {
            return Next::Again;
        }
        if let Some(approval) = approval
            && self.answer(&approval)
        {
            return Next::Again;
        }
        if let Some(exception) = exception {
            self.settle(&exception);
            return Next::Again;
        }
        if status == Status::Paused {
            self.say("resume", Input::Resume { by: lena() }, Ack::Resumed);
            return Next::Again;
        }
        if status == Status::Waiting && self.signal() {
            return Next::Again;
        }
        if status.is_over() {
            return self.after_the_end(status);
        }
        self.wait_until(wake_at)
    }

    fn wait_until(&mut self, wake_at: Option<i64>) -> Next {
        let Some(wake_at) = wake_at else {
            self.stuck = Some("it waits for nothing that was declared");
            return Next::Over;
        };
        let mut scene = self.stage.scene();
        let due = scene.at >= wake_at;
        scene.at = scene.at.max(wake_at);
        scene.note(|| "somebody waits".to_owned());
        drop(scene);
        if due && self.live.is_some() {
            // A failed run is left alone for a while; a new process looks at once.
            self.live = None;
        }
        Next::Again
    }

    fn deploy(&mut self) -> bool {
        if !self.case.deploys || !self.case.people.once_in(5) {
            return false;
        }
        self.stage.scene().note(|| "a process leaves in good order".to_owned());
        for _ in 0..DRAIN_LOOKS_MAX {
            let left = self.work(|engine| async move { engine.drain().await });
            if left.is_some() || self.live.is_none() {
                break;
            }
        }
        self.live = None;
        true
    }

    fn want_early(&mut self, status: Status) -> bool {
        if self.case.scenario.signals == Signals::EarlyAndLate && !self.done.early {
            self.done.early = true;
            self.say_signal("early");
            return true;
        }
        if status.is_over() || status == Status::RollingBack {
            return false;
        }
        match self.case.scenario.wish {
            Wish::Cancel if !self.done.cancelled => {
                self.done.cancelled = true;
                let by = lena();
                self.say("cancel", Input::Cancel { by, reason: "enough".into() }, Ack::Cancelled);
                true
            }
            Wish::Pause if !self.done.paused => {
                self.done.paused = true;
                self.say("pause", Input::Pause { by: lena() }, Ack::Paused);
                true
            }
            _ => false,
        }
    }

    fn say_signal(&mut self, id: &str) -> Said {
        let body = Arc::new(json!({"how": id}));
        self.say(id, Input::Signal { name: SIGNAL.to_owned(), body }, Ack::Signalled)
    }

    fn signal(&mut self) -> bool {
        if self.case.scenario.shape != Shape::Waits || self.done.signalled {
            return false;
        }
        let said = self.say_signal("in-time");
        self.done.signalled = said != Said::Unheard;
        true
    }

    /// Answers an ask or a question; false when the person sleeps.
    fn answer(&mut self, row: &ApprovalRow) -> bool {
        let (id, by) = (row.id.clone(), lena());
        let Some(action) = row.action else {
            let value = Arc::new(json!(true));
            let input = Input::Reply { question: id.clone(), by, value };
            self.say(&format!("reply-{id}"), input, Ack::Replied(id));
            return true;
        };
        let answer = match self.case.scenario.person {
            Person::Sleeps => return false,
            Person::NotAsked | Person::Approves => Answer::Approve,
            Person::Denies => Answer::Deny { reason: "no".into() },
            Person::Edits => self.edit(action),
        };
        let digest = {
            let scene = self.stage.scene();
            let asked = scene.shelf.records.iter().rev().find_map(|r| match &r.event.body {
                Body::Asked { approval, digest, .. } if *approval == id => Some(*digest),
                _ => None,
            });
            asked.unwrap_or_default()
        };
        let shown = no_card();
        let input = Input::Answer { approval: id.clone(), action: digest, shown, by, answer };
        if self.say(&format!("answer-{id}"), input, Ack::Answered(id.clone())) != Said::Unheard {
            self.done.given.insert(id);
        }
        true
    }

    /// Other arguments, once; what they are replaced by is approved.
    fn edit(&mut self, action: u64) -> Answer {
        let scene = self.stage.scene();
        let proposed = scene.shelf.records.iter().find(|r| r.event.seq == action);
        let Some(Body::Proposed { args, .. }) = proposed.map(|r| &r.event.body) else {
            return Answer::Approve;
        };
        let value = args.value();
        if value.get("value") == Some(&json!("edited")) {
            return Answer::Approve;
        }
        let args = json!({"id": value.get("id"), "value": "edited"});
        Answer::Edit { args: Arc::new(args) }
    }

    fn settle(&mut self, exception: &Exception) {
        let settlement = match exception.need {
            Need::InDoubt => self.look(exception),
            Need::Escalated if self.done.retries == 0 => {
                self.done.retries += 1;
                Settlement::Retry
            }
            Need::Escalated => Settlement::Stop,
            Need::UndoFailed | Need::Conflict | Need::Unplanned | Need::Defect => Settlement::Close,
        };
        let id = exception.id.clone();
        let verb = format!("{settlement:?}");
        let (by, evidence) = (lena(), "looked".to_owned());
        let input = Input::Settle { exception: id.clone(), by, settlement, evidence };
        let mut scene = self.stage.scene();
        let signal = format!("settle-{id}-{verb}-{}", scene.at / LOOK_AGAIN_MS);
        scene.at += 1;
        drop(scene);
        if self.say(&signal, input, Ack::Settled(id)) == Said::Refused {
            self.stage.scene().at += LOOK_AGAIN_MS;
        }
    }

    /// What a person finds who looks at the target. Some look at once, others when no call can be on its
    /// way any more.
    fn look(&mut self, exception: &Exception) -> Settlement {
        let careful = !self.case.people.once_in(2);
        let mut scene = self.stage.scene();
        let sent = scene.shelf.records.iter().rev().find_map(|r| match &r.event.body {
            Body::Dispatched { action, key, dispatch_by, .. }
                if Some(*action) == exception.action =>
            {
                Some((key.to_string(), *dispatch_by))
            }
            _ => None,
        });
        let Some((key, dispatch_by)) = sent else { return Settlement::DidNotHappen };
        if careful {
            scene.at = scene.at.max(dispatch_by + TIMEOUT_MS + 1);
        }
        if scene.target.happened(&key) {
            return Settlement::Happened;
        }
        self.looks.push((key, scene.at));
        Settlement::DidNotHappen
    }

    fn after_the_end(&mut self, status: Status) -> Next {
        let scenario = self.case.scenario;
        if scenario.signals == Signals::EarlyAndLate && !self.done.late {
            self.done.late = true;
            self.say_signal("late");
            return Next::Again;
        }
        if scenario.meddles && !self.done.meddled {
            self.done.meddled = true;
            self.stage.scene().target.meddle();
        }
        let wants = matches!(scenario.wish, Wish::TakeBack | Wish::CancelInFlight);
        let back = status == Status::RolledBack;
        // What cannot be undone is asked for once: the answer will not be another.
        let times = if scenario.undo == Undo2::None { 1 } else { TAKE_BACKS_MAX };
        if wants && !back && self.done.take_backs < times {
            return self.take_back(Scope::Run);
        }
        if scenario.wish == Wish::TakeBackEach && self.done.take_backs < 2 * TAKE_BACKS_MAX {
            let armed = {
                let scene = self.stage.scene();
                let mut armed = scene.shelf.tokens.iter().rev();
                armed.find(|(_, _, state)| state == "armed").map(|(id, ..)| id.clone())
            };
            if let Some(token) = armed {
                self.done.tokens += 1;
                return self.take_back(Scope::Token { token });
            }
        }
        self.stuck = None;
        Next::Over
    }

    fn take_back(&mut self, scope: Scope) -> Next {
        let on_conflict =
            if self.done.take_backs == 0 { OnConflict::Refuse } else { OnConflict::Accept };
        let id = format!("take-back-{}", self.done.take_backs);
        let input = Input::Rollback { by: lena(), scope, on_conflict };
        if self.say(&id, input, Ack::TakenBack) != Said::Unheard {
            self.done.take_backs += 1;
            // Later than any window: what was refused for being too early is not refused again.
            self.stage.scene().at += BEYOND_MS;
        }
        Next::Again
    }
}
