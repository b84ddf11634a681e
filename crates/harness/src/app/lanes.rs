//! A run as people see it in time: one lane per step, with what each stretch of time was spent on.
//!
//! Tries of one effect share a lane; its helper calls (before-images, previews, probes) are told with it.

use std::collections::BTreeMap;

use kernel::{
    event::{Body, Ended, Purpose, Record, Role, Side},
    id::{ApprovalId, RunId},
    plan::Asks,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    App, Caller, Right,
    approvals::Folded,
    desk::Desk,
    parse_id,
    problem::Problem,
    runs::{RunDetail, detail_of, entry_of},
    timeline::{ActionLine, action_of},
    value::{summarise, visible},
};

/// Most lanes on one page.
pub const LANES_MAX: usize = 200;

/// Which lanes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListLanes {
    /// The run.
    pub run: String,
    /// Where the page before ended: the place of its last lane.
    #[serde(default)]
    pub after: Option<u64>,
    /// How many at most; 100 by default.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// A page of a run's lanes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Lanes {
    /// The run.
    pub run: String,
    /// In the order they began.
    pub items: Vec<Lane>,
    /// Steps of the plan that have not begun; only with the last page, and only while the run goes on.
    pub planned: Vec<PlannedLane>,
    /// Lanes of the run.
    pub total: usize,
    /// Lanes before this page.
    pub skipped: usize,
    /// Where this page ended, when there is another.
    pub next: Option<u64>,
    /// Events of the run.
    pub events: u64,
    /// The time now, in ms since 1970: what goes on, goes on until then.
    pub now: i64,
}

/// A step of a run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Lane {
    /// The place of its first event.
    pub seq: u64,
    /// Its number in the run, from 1.
    pub number: usize,
    /// The step.
    pub step: String,
    /// One sentence.
    pub summary: String,
    /// The operation; none for questions and waits.
    pub operation: Option<String>,
    /// `step`, `undo`, `question` or `wait`.
    pub role: String,
    /// `allow`, `ask` or `deny`; the last verdict.
    pub verdict: String,
    /// Rules that spoke last.
    pub rules: Vec<String>,
    /// `open`, `done`, `failed:<class>`, `rejected:<stage>`, `in_doubt`.
    pub outcome: String,
    /// The last receipt.
    pub receipt: Option<String>,
    /// Its calls, in order; helpers are marked with what they are for.
    pub tries: Vec<Try>,
    /// What its time was spent on, in order.
    pub bars: Vec<Bar>,
}

/// One call.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Try {
    /// The proposal's place.
    pub action: u64,
    /// The operation.
    pub operation: String,
    /// `step`, `undo`, or what a helper call is for: `before`, `preview`, `after`, `probe`, `compare`.
    pub role: String,
    /// When it was dispatched, in ms since 1970.
    pub at: Option<i64>,
    /// How long it took, in ms.
    pub took_ms: Option<i64>,
    /// How it ended.
    pub outcome: String,
    /// What was said when it failed.
    pub failure: Option<String>,
    /// Its receipt.
    pub receipt: Option<String>,
}

/// A stretch of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bar {
    /// `checked`, `waiting`, `executed`, `failed`, `in_doubt` or `taken_back`.
    pub state: String,
    /// From when, in ms since 1970.
    pub from: i64,
    /// Until when; none while it goes on.
    pub until: Option<i64>,
}

/// A step that has not begun.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PlannedLane {
    /// The step.
    pub step: String,
    /// The operation.
    pub operation: String,
    /// Whether it will ask a person: `no`, `always`, `maybe` or `denied`.
    pub asks: String,
}

/// A run in full with a page of its lanes: its journal is read and folded once for both.
///
/// # Errors
/// When there is no such run, or its journal was changed.
pub async fn with_run(
    app: &App,
    caller: &Caller,
    (request, desk): (ListLanes, &mut Desk),
) -> Result<(RunDetail, Lanes), Problem> {
    caller.needs(&[Right::Read])?;
    let id: RunId = parse_id(&request.run)?;
    desk.fold(app, (caller, &id)).await?;
    let (entry, now) = (entry_of(app, caller, &id).await?, app.now());
    let folded = desk.fold(app, (caller, &id)).await?;
    let detail = detail_of(&entry, &folded.run, &folded.records);
    let lanes = lanes_of(folded, (request, now), detail.actions.clone());
    Ok((detail, lanes))
}

fn lanes_of(folded: &Folded, (request, now): (ListLanes, i64), lines: Vec<ActionLine>) -> Lanes {
    let Folded { records, plan, catalogue, .. } = folded;
    let summary_of = |operation: &kernel::id::OperationId, args: &serde_json::Value| {
        let entry = catalogue.get(operation);
        let template = entry.map(|entry| entry.operation.summary.clone()).unwrap_or_default();
        summarise(&template, args)
    };
    let mut drawing = Drawing::default();
    for record in records {
        drawing.take(record, &summary_of);
    }
    let mut lanes = drawing.finish(records, lines);
    let total = lanes.len();
    let from = |after: u64| lanes.iter().take_while(|lane| lane.seq <= after).count();
    let skipped = request.after.map_or(0, from);
    let limit = request.limit.unwrap_or(100).clamp(1, LANES_MAX);
    let begun: Vec<String> =
        lanes.iter().map(|lane| kernel::playbook::static_path(&lane.step)).collect();
    let items: Vec<Lane> = lanes.drain(skipped..).take(limit).collect();
    let more = skipped + items.len() < total;
    let over = records.iter().any(|record| matches!(record.event.body, Body::Finished { .. }));
    let planned = match more || over {
        true => Vec::new(),
        false => planned(plan, &begun),
    };
    let next = items.last().map(|lane| lane.seq).filter(|_| more);
    let (run, events) = (request.run, records.len() as u64);
    Lanes { run, items, planned, total, skipped, next, events, now }
}

fn planned(plan: &kernel::plan::Plan, begun: &[String]) -> Vec<PlannedLane> {
    let open =
        plan.steps.iter().filter(|step| !step.path.contains('!') && !begun.contains(&step.path));
    open.map(|step| PlannedLane {
        step: step.path.clone(),
        operation: step.operation.to_string(),
        asks: match step.asks {
            Asks::No => "no",
            Asks::Always { .. } => "always",
            Asks::Maybe { .. } => "maybe",
            Asks::Denied { .. } => "denied",
        }
        .to_owned(),
    })
    .collect()
}

/// What a server asks a client, in one line.
fn relayed_words(said: &serde_json::Value) -> String {
    let message = said.pointer("/params/message").and_then(serde_json::Value::as_str);
    let method = said.get("method").and_then(serde_json::Value::as_str);
    visible(message.or(method).unwrap_or_default())
}

type Summarise<'a> = &'a dyn Fn(&kernel::id::OperationId, &serde_json::Value) -> String;

/// Lanes as they are drawn, event by event.
#[derive(Default)]
struct Drawing {
    lanes: Vec<Lane>,
    /// Which lane an action, a question or a waiting step draws on.
    of_action: BTreeMap<u64, usize>,
    of_question: BTreeMap<ApprovalId, usize>,
    /// What a client is asked in the middle of a call, by its action and its number there.
    of_relay: BTreeMap<(u64, u32), usize>,
    of_wait: BTreeMap<String, usize>,
    helpers: BTreeMap<u64, String>,
}

impl Drawing {
    fn take(&mut self, record: &Record, summary_of: Summarise<'_>) {
        let (at, seq) = (record.event.at, record.event.seq);
        match &record.event.body {
            Body::Proposed { step, operation, args, origin, because, .. } => {
                let parent = match because {
                    Role::Companion { of, purpose } => {
                        self.helpers.insert(seq, purpose_word(*purpose));
                        Some(*of)
                    }
                    Role::Step | Role::Undo { .. } => (*origin != seq).then_some(*origin),
                };
                let known = parent.and_then(|parent| self.of_action.get(&parent).copied());
                let lane = known.unwrap_or_else(|| {
                    let undo = matches!(because, Role::Undo { .. });
                    let role = if undo { "undo" } else { "step" };
                    let summary = summary_of(operation, &args.value());
                    self.begin((seq, step, role), (summary, Some(operation.to_string())))
                });
                self.of_action.insert(seq, lane);
                self.bar(lane, "checked", at);
            }
            Body::Questioned { step, question, text, .. } => {
                let text = text.value().as_str().map(visible).unwrap_or_default();
                let lane = self.begin((seq, step, "question"), (text, None));
                self.of_question.insert(question.clone(), lane);
                self.bar(lane, "waiting", at);
            }
            Body::Elicited { action, question, text, .. } => {
                let text = text.value().as_str().map(visible).unwrap_or_default();
                let asks = self.of_action.get(action).and_then(|lane| self.lanes.get(*lane));
                let step = asks.map(|lane| lane.step.clone()).unwrap_or_default();
                let lane = self.begin((seq, &step, "question"), (text, None));
                self.of_question.insert(question.clone(), lane);
                self.bar(lane, "waiting", at);
            }
            Body::Relayed { .. } => self.relayed(record),
            Body::Replied { question, .. } | Body::Lapsed { question } => {
                let replied = matches!(record.event.body, Body::Replied { .. });
                if let Some(lane) = self.of_question.get(question).copied() {
                    self.close(lane, at, if replied { "done" } else { "rejected:expired" });
                }
            }
            Body::Waiting { step, .. } => {
                let words = "Wait before it goes on".to_owned();
                let lane = self.begin((seq, step, "wait"), (words, None));
                self.of_wait.insert(step.clone(), lane);
                self.bar(lane, "waiting", at);
            }
            Body::Woken { step } => {
                if let Some(lane) = self.of_wait.get(step).copied() {
                    self.close(lane, at, "done");
                }
            }
            body => {
                let Some(action) = action_of(body) else { return };
                if let Some(lane) = self.of_action.get(&action).copied() {
                    self.note((lane, action), body, at);
                }
            }
        }
    }

    fn begin(
        &mut self,
        (seq, step, role): (u64, &str, &str),
        (summary, operation): (String, Option<String>),
    ) -> usize {
        self.lanes.push(Lane {
            seq,
            number: self.lanes.len() + 1,
            step: step.to_owned(),
            summary,
            operation,
            role: role.to_owned(),
            verdict: String::new(),
            rules: Vec::new(),
            outcome: "open".to_owned(),
            receipt: None,
            tries: Vec::new(),
            bars: Vec::new(),
        });
        self.lanes.len() - 1
    }

    /// What happens to an action changes what its lane's time is spent on.
    fn note(&mut self, (lane, action): (usize, u64), body: &Body, at: i64) {
        let undo = self.lanes.get(lane).is_some_and(|lane| lane.role == "undo");
        let helper = self.helpers.contains_key(&action);
        if matches!(body, Body::Dispatched { .. } | Body::Returned { .. } | Body::Doubted { .. }) {
            self.unanswered(action, at);
        }
        match body {
            Body::Asked { .. } => self.bar(lane, "waiting", at),
            Body::Answered { .. } | Body::Voided { .. } => self.bar(lane, "checked", at),
            // Looking first, and looking again, is part of checking.
            Body::Dispatched { .. } if helper => self.bar(lane, "checked", at),
            Body::Dispatched { .. } if undo => self.bar(lane, "taken_back", at),
            Body::Dispatched { .. } => self.bar(lane, "executed", at),
            Body::Returned { ended, .. } => {
                if matches!(ended, Ended::Failed { .. }) {
                    self.recolour(lane, "failed");
                }
                self.end(lane, at);
            }
            Body::Doubted { .. } => self.bar(lane, "in_doubt", at),
            Body::Rejected { .. } | Body::Receipted { .. } => self.end(lane, at),
            _ => {}
        }
    }

    /// What nobody answered before a call was over, lost or made anew is asked no more.
    fn unanswered(&mut self, action: u64, at: i64) {
        let asked = self.of_relay.extract_if((action, 0)..=(action, u32::MAX), |_, _| true);
        for lane in asked.map(|(_, lane)| lane).collect::<Vec<_>>() {
            self.close(lane, at, "rejected:expired");
        }
    }

    /// A question that a client was asked in the middle of a call, or its answer.
    fn relayed(&mut self, record: &Record) {
        let Body::Relayed { action, nth, from, said, .. } = &record.event.body else { return };
        let (at, said) = (record.event.at, said.value());
        match from {
            Side::Server => {
                let asks = self.of_action.get(action).and_then(|lane| self.lanes.get(*lane));
                let step = asks.map(|lane| lane.step.clone()).unwrap_or_default();
                let words = relayed_words(&said);
                let lane = self.begin((record.event.seq, &step, "question"), (words, None));
                self.of_relay.insert((*action, *nth), lane);
                self.bar(lane, "waiting", at);
            }
            Side::Client => {
                let lane = self.of_relay.remove(&(*action, *nth));
                let outcome = if said.is_null() { "rejected:expired" } else { "done" };
                lane.into_iter().for_each(|lane| self.close(lane, at, outcome));
            }
        }
    }

    fn bar(&mut self, lane: usize, state: &str, at: i64) {
        self.end(lane, at);
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.bars.push(Bar { state: state.to_owned(), from: at, until: None });
        }
    }

    fn end(&mut self, lane: usize, at: i64) {
        let open = self.lanes.get_mut(lane).and_then(|lane| lane.bars.last_mut());
        if let Some(bar) = open.filter(|bar| bar.until.is_none()) {
            bar.until = Some(at);
        }
    }

    fn recolour(&mut self, lane: usize, state: &str) {
        let open = self.lanes.get_mut(lane).and_then(|lane| lane.bars.last_mut());
        if let Some(bar) = open.filter(|bar| bar.until.is_none()) {
            bar.state = state.to_owned();
        }
    }

    fn close(&mut self, lane: usize, at: i64, outcome: &str) {
        self.end(lane, at);
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.outcome = outcome.to_owned();
        }
    }

    /// Adds verdicts, outcomes and calls, as the list of actions tells them.
    fn finish(mut self, records: &[Record], lines: Vec<ActionLine>) -> Vec<Lane> {
        let mut dispatched = BTreeMap::new();
        for record in records {
            if let Body::Dispatched { action, .. } = &record.event.body {
                dispatched.entry(*action).or_insert(record.event.at);
            }
        }
        for line in lines {
            let helper = self.helpers.get(&line.action).cloned();
            let lane = self.of_action.get(&line.action).and_then(|at| self.lanes.get_mut(*at));
            if let Some(lane) = lane {
                tell(lane, line, helper, &dispatched);
            }
        }
        // A bar that no time was spent on says nothing.
        for lane in &mut self.lanes {
            lane.bars.retain(|bar| bar.until != Some(bar.from));
        }
        self.lanes
    }
}

fn tell(
    lane: &mut Lane,
    line: ActionLine,
    helper: Option<String>,
    dispatched: &BTreeMap<u64, i64>,
) {
    if helper.is_none() {
        lane.verdict.clone_from(&line.verdict);
        lane.rules = line.rules;
        lane.outcome.clone_from(&line.outcome);
        lane.receipt = line.receipt.clone().or_else(|| lane.receipt.take());
    }
    lane.tries.push(Try {
        action: line.action,
        operation: line.operation,
        role: helper.unwrap_or_else(|| lane.role.clone()),
        at: dispatched.get(&line.action).copied(),
        took_ms: line.took_ms,
        outcome: line.outcome,
        failure: line.failure,
        receipt: line.receipt,
    });
}

fn purpose_word(purpose: Purpose) -> String {
    match purpose {
        Purpose::Before => "before",
        Purpose::Preview => "preview",
        Purpose::Refresh => "refresh",
        Purpose::After => "after",
        Purpose::Probe => "probe",
        Purpose::Compare => "compare",
        Purpose::Gate | Purpose::Watch => "hook",
    }
    .to_owned()
}
