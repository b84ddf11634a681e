//! What an agent's model calls: checked, begun in order, answered in order.

use std::{collections::BTreeMap, sync::Arc};

use kernel::{
    Digest, Label, LabelMap,
    action::Proposal,
    agent::{Noting, StopReason},
    conversation::{Item, Segment, bytes_of},
    exception::Class,
    id::OperationId,
    operation::Effect,
    planning::{Labelled, Move, Question, Settled},
    playbook::call_path,
    pointer,
    run::{PREVIEWED, PREVIEWED_ASK},
};
use serde_json::{Map, Value};

use super::{
    super::{
        desk::{Desk, Kind},
        flow::{Event, Flow, Stimulus},
        scope::{Link, Scope},
        seq::Sequence,
    },
    Frame, Progress,
    code::{ASK_PERSON, ENDORSE, EXTRACT, LOAD_SKILL, LOOK, NOTE, ToolCode},
    extract::Extraction,
    nearest::nearest,
    say,
    sense::Landed,
    stuck,
    talk::{Piece, Told},
};

/// Calls under way side by side.
const PARALLEL_MAX: usize = 16;

/// Calls of one turn; more are told to wait.
const CALLS_A_TURN_MAX: usize = 64;

/// Deepest arguments in which handles are looked for.
const HANDLE_DEPTH_MAX: usize = 32;

/// The key that makes an object a reference to a result.
pub(super) const HANDLE: &str = "$result";

/// A call on its way.
#[derive(Debug)]
pub(super) struct Open {
    /// The model's id for it.
    id: String,
    name: String,
    /// As the model wrote them.
    args: Value,
    is_read: bool,
    pub(super) step: String,
    /// The operation and its arguments, where sensors watch it.
    sent: Option<(OperationId, Labelled)>,
    pub(super) at: At,
    /// What hooks had to say about it.
    heard: Vec<Labelled>,
}

/// Where a call stands.
#[derive(Debug)]
pub(super) enum At {
    /// It waits for those before it.
    Waiting(Box<Wanted>),
    Acting,
    Asking,
    Inside(Box<Sequence>),
    /// A question about a value that the agent does not see.
    Extracting(Box<Extraction>),
    /// A part of a large result is read: its name.
    Reading(String),
    /// A person looks at a value.
    Endorsing(Box<Labelled>),
    /// What the model is told.
    Told {
        content: String,
        is_error: bool,
        refused: bool,
        /// Which part of what that is, where the rest can be read.
        piece: Option<Box<Piece>>,
    },
}

/// What a checked call will do.
#[derive(Debug)]
pub(super) enum Wanted {
    Operation(Proposal),
    Question(Question),
    Playbook(Sequence),
    Extraction(Extraction),
    /// Of a large result, by its name.
    Part(Proposal, String),
    Endorsement(Question, Labelled),
}

impl Frame {
    /// The model wants tools: checks every call and begins those that may begin.
    pub(super) fn call(&mut self, desk: &mut Desk, link: Link<'_>, items: &[Item]) -> Progress {
        let calls = items.iter().filter(|item| matches!(item, Item::Call { .. }));
        // A call that is not answered makes the conversation one that no provider takes.
        let answered = if self.machine < 5 { CALLS_A_TURN_MAX } else { usize::MAX };
        for (count, item) in calls.enumerate().take(answered) {
            let Item::Call { id, name, arguments, malformed } = item else { continue };
            if count >= CALLS_A_TURN_MAX {
                self.open.push(too_many(id, name));
                continue;
            }
            if self.spent.calls >= self.code.spec.limits.calls_max {
                return self.conclude(desk, StopReason::MaxIterations, self.seen.clone());
            }
            self.spent.calls = self.spent.calls.saturating_add(1);
            let args = arguments.as_deref().cloned().unwrap_or_default();
            let problem =
                malformed.as_ref().map(|m| format!("the arguments are no JSON: {}", m.problem));
            let (at, step, is_read) = match problem {
                Some(problem) => (told_error(problem), String::new(), true),
                None => self.check(desk, name, &args),
            };
            let (id, name) = (id.clone(), name.clone());
            let sent = self.watched(&at);
            let heard = Vec::new();
            self.open.push(Open { id, name, args, is_read, step, sent, at, heard });
        }
        self.mode = super::Mode::Calling;
        self.go_on_calling(desk, link)
    }

    /// What sensors will want to know of a call.
    fn watched(&self, at: &At) -> Option<(OperationId, Labelled)> {
        let At::Waiting(wanted) = at else { return None };
        let Wanted::Operation(proposal) = &**wanted else { return None };
        let (value, labels) = (Arc::clone(&proposal.args), &proposal.arg_labels);
        let is_watched = self.code.watched.contains(&proposal.operation);
        let args = || Labelled { value, labels: labels.clone() };
        is_watched.then(|| (proposal.operation.clone(), args()))
    }

    /// What a call will do, or why it will not.
    fn check(&mut self, desk: &Desk, name: &str, args: &Value) -> (At, String, bool) {
        let code = Arc::clone(&self.code);
        let refuse = |problem: String| (told_error(problem), String::new(), true);
        match name {
            LOOK => return self.look(args),
            LOAD_SKILL if !code.spec.skills.is_empty() => {
                return (self.load_skill(args), String::new(), true);
            }
            ASK_PERSON if code.spec.asks.is_some() => return self.question(args),
            EXTRACT if !code.spec.extracts.is_empty() => return self.extraction(args),
            ENDORSE if code.endorses() => return self.endorsement(args),
            NOTE if code.spec.noting == Noting::Kept => {
                return (self.note(args), String::new(), true);
            }
            _ => {}
        }
        let Some(tool) = code.tools.get(name) else {
            let hint = nearest(name, code.names());
            let hint = hint.map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
            return refuse(format!("there is no tool `{name}`{hint}"));
        };
        let (args, arg_labels) = match self.resolve(args) {
            Ok(resolved) => resolved,
            Err(Wrong { problem, tells }) => {
                self.seen.join_from(&tells);
                return refuse(problem);
            }
        };
        if let Some(wrong) = desk.violation(tool.input(), &args) {
            // That they do not fit tells something about values that it has not seen.
            self.seen.join_from(&arg_labels.join_all());
            return refuse(self.misfit(tool.input(), &args, (&wrong.at, &wrong.problem)));
        }
        let number = self.spent.calls;
        let existence = self.governing.join(&self.seen);
        let args = Labelled { value: Arc::new(args), labels: arg_labels };
        match tool {
            ToolCode::Operation { operation, effect, .. } => {
                let step = numbered(&call_path(&self.path, operation.as_str()), number);
                let proposal = Proposal {
                    step: step.clone(),
                    operation: operation.clone(),
                    args: args.value,
                    arg_labels: args.labels,
                    existence,
                    attempt: 1,
                    proposer: self.proposer.clone(),
                };
                let is_read = *effect == Effect::Read;
                (At::Waiting(Box::new(Wanted::Operation(proposal))), step, is_read)
            }
            ToolCode::Playbook { name, body, .. } => {
                let step = numbered(&call_path(&self.path, name), number);
                let scope = Scope::of_playbook(Arc::new(args));
                let block = Sequence::new(body.clone(), step.clone(), scope, existence);
                (At::Waiting(Box::new(Wanted::Playbook(block))), step, false)
            }
        }
    }

    /// Says what is wrong with arguments, and which field was probably meant.
    fn misfit(&self, schema: &Value, args: &Value, (at, problem): (&str, &str)) -> String {
        let known: Vec<&str> = schema
            .get("properties")
            .and_then(Value::as_object)
            .map(|fields| fields.keys().map(String::as_str).collect())
            .unwrap_or_default();
        let given = args.as_object().into_iter().flat_map(Map::keys);
        let unknown = given.filter(|name| !known.contains(&name.as_str()));
        let hints: Vec<String> = unknown
            .filter_map(|name| {
                let meant = nearest(name, known.iter().copied())?;
                Some(format!("; did you mean `{meant}` instead of `{name}`?"))
            })
            .collect();
        let at = if at.is_empty() { "the top" } else { at };
        format!("not called: the arguments do not fit at {at}: {problem}{}", hints.concat())
    }

    /// Puts the values in that the model referred to by handles. What it wrote itself carries the label
    /// of everything it has seen; what it never saw carries its own.
    fn resolve(&self, args: &Value) -> Result<(Value, LabelMap), Wrong> {
        let mut parts = BTreeMap::new();
        let value = self.resolve_at(args, ("", 0), &mut parts)?;
        Ok((value, LabelMap { whole: self.seen.clone(), parts }))
    }

    fn resolve_at(
        &self,
        args: &Value,
        (at, depth): (&str, usize),
        parts: &mut BTreeMap<String, Label>,
    ) -> Result<Value, Wrong> {
        if depth > HANDLE_DEPTH_MAX {
            return Err(Wrong::plain(format!(
                "the arguments are nested deeper than {HANDLE_DEPTH_MAX} levels"
            )));
        }
        let deeper = depth.saturating_add(1);
        Ok(match args {
            Value::Object(fields) if fields.contains_key(HANDLE) => {
                let (value, labels) = self.referred(fields)?;
                parts.insert(at.to_owned(), labels.join_all());
                value
            }
            Value::Object(fields) => {
                let mut made = Map::new();
                for (name, value) in fields {
                    let place = format!("{at}/{}", pointer::escape(name));
                    made.insert(name.clone(), self.resolve_at(value, (&place, deeper), parts)?);
                }
                Value::Object(made)
            }
            Value::Array(items) => {
                let items = items.iter().enumerate().map(|(index, item)| {
                    self.resolve_at(item, (&format!("{at}/{index}"), deeper), parts)
                });
                Value::Array(items.collect::<Result<_, _>>()?)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => args.clone(),
        })
    }

    pub(super) fn referred(&self, fields: &Map<String, Value>) -> Result<(Value, LabelMap), Wrong> {
        let handle = fields.get(HANDLE).and_then(Value::as_str).unwrap_or_default();
        let at = fields.get("at").and_then(Value::as_str).unwrap_or_default();
        let kept = self.kept(handle).map_err(Wrong::plain)?;
        let part = kept.value.pointer(at);
        let problem = || format!("`{handle}` holds nothing at `{at}`");
        let tells = || kept.labels.join_all();
        let value = part.ok_or_else(|| Wrong { problem: problem(), tells: tells() })?;
        Ok((value.clone(), LabelMap::uniform(kept.labels.at(at))))
    }

    pub(super) fn kept(&self, handle: &str) -> Result<&Labelled, String> {
        let index = handle.strip_prefix('r').and_then(|n| n.parse::<usize>().ok());
        let kept = index.and_then(|n| self.kept.get(n.checked_sub(1)?));
        kept.ok_or_else(|| format!("there is no result `{handle}`"))
    }

    /// Begins what may begin; once everything is answered the model is told.
    pub(super) fn go_on_calling(&mut self, desk: &mut Desk, link: Link<'_>) -> Progress {
        let mut busy = 0_usize;
        for index in 0..self.open.len() {
            let is_first = busy == 0;
            let Some(open) = self.open.get_mut(index) else { break };
            let is_free = busy < PARALLEL_MAX && (is_first || open.is_read);
            if matches!(open.at, At::Waiting(_)) && is_free {
                begin(open, desk);
            }
            if let At::Inside(block) = &mut open.at {
                let met = match inside(block.step(desk, None, Stimulus::Poll)) {
                    Ok(met) => met,
                    Err(progress) => return progress,
                };
                if let Some(met) = met {
                    let at = self.told(index, met);
                    self.set(index, at);
                }
            }
            let Some(open) = self.open.get(index) else { break };
            if matches!(open.at, At::Told { .. }) {
                continue;
            }
            busy = busy.saturating_add(1);
            // A write waits for everything before it, and everything after it waits for the write.
            if !open.is_read {
                break;
            }
        }
        if busy > 0 { Progress::Blocked } else { self.tell(desk, link) }
    }

    /// Something may have happened to a call.
    pub(super) fn meet_call(
        &mut self,
        desk: &mut Desk,
        link: Link<'_>,
        stimulus: Stimulus<'_>,
    ) -> Progress {
        if self.mode != super::Mode::Calling {
            return Progress::Blocked;
        }
        let Some(index) = self.open.iter().position(|open| {
            let is_at_work = !matches!(open.at, At::Waiting(_) | At::Told { .. });
            is_at_work && stimulus.concerns(&open.step)
        }) else {
            return Progress::Blocked;
        };
        let Some(open) = self.open.get_mut(index) else { return Progress::Blocked };
        let met = match (&mut open.at, stimulus) {
            (At::Inside(block), _) => match inside(block.step(desk, None, stimulus)) {
                Ok(Some(met)) => met,
                Ok(None) => return Progress::Blocked,
                Err(progress) => return progress,
            },
            (At::Acting, Stimulus::At { event: Event::Told(text), .. }) => {
                open.heard.push(text.clone());
                return Progress::Blocked;
            }
            (At::Acting, Stimulus::At { event: Event::Settled(settled), .. })
                if !desk.is_wanted(Kind::Propose, &open.step) =>
            {
                Met::Settled(settled)
            }
            (At::Reading(of), Stimulus::At { event: Event::Settled(Settled::Done(part)), .. })
                if !desk.is_wanted(Kind::Propose, &open.step) =>
            {
                let of = of.clone();
                let at = self.tell_part(&of, part);
                self.set(index, at);
                return self.go_on_calling(desk, link);
            }
            (At::Reading(_), Stimulus::At { event: Event::Settled(settled), .. })
                if !desk.is_wanted(Kind::Propose, &open.step) =>
            {
                Met::Settled(settled)
            }
            (At::Asking, Stimulus::At { event: Event::Answered(answer), .. })
                if !desk.is_wanted(Kind::Ask, &open.step) =>
            {
                Met::Answer(answer)
            }
            (At::Extracting(_), Stimulus::At { event: Event::Settled(settled), .. })
                if !desk.is_wanted(Kind::Propose, &open.step) =>
            {
                return self.meet_extraction((desk, link), index, settled);
            }
            (At::Endorsing(value), Stimulus::At { event: Event::Answered(answer), .. })
                if !desk.is_wanted(Kind::Ask, &open.step) =>
            {
                let (value, step) = ((**value).clone(), open.step.clone());
                let at = self.endorsed(desk, &step, (value, answer));
                self.set(index, at);
                return self.go_on_calling(desk, link);
            }
            _ => return Progress::Blocked,
        };
        let at = self.told(index, met);
        self.set(index, at);
        self.go_on_calling(desk, link)
    }

    pub(super) fn set(&mut self, index: usize, at: At) {
        if let Some(open) = self.open.get_mut(index) {
            open.at = at;
        }
    }

    /// What the model is told about what happened to a call.
    fn told(&mut self, index: usize, met: Met<'_>) -> At {
        match met {
            Met::Settled(Settled::Failed { class, code, label, .. }) => {
                self.seen.join_from(label);
                self.note_read(index, Some(*class));
                let content = say::failure(*class, code.as_deref());
                let is_shown = matches!(code.as_deref(), Some(PREVIEWED | PREVIEWED_ASK));
                let refused = code.is_some() && !is_shown;
                At::Told { content, is_error: true, refused, piece: None }
            }
            Met::Settled(Settled::Done(output)) => {
                self.note_change(index);
                self.note_read(index, None);
                self.note_landed(index, output);
                self.show(output)
            }
            Met::Output(output, raise) => {
                self.seen.join_from(&raise);
                self.note_change(index);
                self.show(&output)
            }
            Met::Answer(Some(answer)) => self.show(answer),
            Met::Answer(None) => At::Told {
                content: "nobody answered in time".to_owned(),
                is_error: true,
                refused: true,
                piece: None,
            },
        }
    }

    /// A call that may have changed something worked: answers may claim it.
    fn note_change(&mut self, index: usize) {
        let Some(open) = self.open.get(index).filter(|open| !open.is_read) else { return };
        self.changed.insert(open.name.clone());
    }

    /// A call worked that sensors watch.
    fn note_landed(&mut self, index: usize, result: &Labelled) {
        let Some(open) = self.open.get_mut(index) else { return };
        let Some((operation, args)) = open.sent.take() else { return };
        let (written, result) = (open.args.clone(), result.clone());
        self.landed.push(Landed { operation, written, args, result });
    }

    /// A read failed, or worked: the answer is without what it would have told, or is not.
    fn note_read(&mut self, index: usize, failed: Option<Class>) {
        let Some(open) = self.open.get(index).filter(|open| open.is_read) else { return };
        match failed {
            Some(class) => self.missing.insert(open.name.clone(), class),
            None => self.missing.remove(&open.name),
        };
    }

    /// Every call of the turn is answered: the model is told, unless it should stop.
    fn tell(&mut self, desk: &mut Desk, link: Link<'_>) -> Progress {
        let open = std::mem::take(&mut self.open);
        let mut turn = stuck::Turn::default();
        let (mut heard, mut results) = (Vec::new(), Vec::new());
        let (mut all_unknown, mut all_refused, mut any_error) = (true, true, false);
        for call in open {
            let At::Told { content, is_error, refused, piece } = call.at else { continue };
            turn.add(&call.name, &call.args, Digest::of(content.as_bytes()));
            all_unknown &= !self.code.offered.iter().any(|tool| tool.name == call.name);
            all_refused &= refused;
            any_error |= is_error && !refused;
            let (id, name) = (call.id, call.name);
            heard.extend(call.heard.into_iter().map(|text| (name.clone(), text)));
            let segment = Segment::Result { call: id, name, content, is_error };
            results.push(Told { segment, piece: piece.map(|piece| *piece) });
        }
        let together = bytes_of(self.code.spec.limits.results_tokens_max());
        self.talk.add_results(results, together);
        for (name, text) in heard {
            self.hear_of(&name, &text);
        }
        let count = |streak: u32, goes_on: bool| if goes_on { streak.saturating_add(1) } else { 0 };
        self.streaks.unknown = count(self.streaks.unknown, all_unknown);
        self.streaks.refused = count(self.streaks.refused, all_refused);
        if !any_error {
            self.streaks.unusable = 0;
        }
        let repairs_max = self.code.spec.limits.repairs_max;
        if self.streaks.unknown > repairs_max {
            return self.conclude(desk, StopReason::UnknownTool, self.seen.clone());
        }
        if self.streaks.refused > repairs_max {
            return self.conclude(desk, StopReason::PolicyDenied, self.seen.clone());
        }
        let watched = self.code.spec.limits.circles == kernel::agent::Circles::Stop;
        if watched
            && self.circles.closes(turn)
            && let Some(stopped) = self.in_circles(desk)
        {
            return stopped;
        }
        self.sense_results(desk, link)
    }
}

/// Why arguments cannot be made.
pub(super) struct Wrong {
    pub(super) problem: String,
    /// What the model learns about values that it has not seen, as a label.
    pub(super) tells: Label,
}

impl Wrong {
    pub(super) fn plain(problem: String) -> Self {
        Self { problem, tells: Label::bottom() }
    }
}

/// What happened to a call.
enum Met<'a> {
    Settled(&'a Settled),
    Answer(Option<&'a Labelled>),
    Output(Labelled, Label),
}

/// Begins a call.
fn begin(open: &mut Open, desk: &mut Desk) {
    let told = told_error(String::new());
    let At::Waiting(wanted) = std::mem::replace(&mut open.at, told) else { return };
    open.at = match *wanted {
        Wanted::Operation(proposal) => {
            desk.want(Move::Propose(proposal));
            At::Acting
        }
        Wanted::Question(question) => {
            desk.want(Move::Ask(question));
            At::Asking
        }
        Wanted::Part(proposal, of) => {
            desk.want(Move::Propose(proposal));
            At::Reading(of)
        }
        Wanted::Playbook(block) => At::Inside(Box::new(block)),
        Wanted::Extraction(extraction) => {
            extraction.ask(&open.step, desk);
            At::Extracting(Box::new(extraction))
        }
        Wanted::Endorsement(question, value) => {
            desk.want(Move::Ask(question));
            At::Endorsing(Box::new(value))
        }
    };
}

/// How far a playbook got that the model called.
fn inside(flow: Flow) -> Result<Option<Met<'static>>, Progress> {
    match flow {
        Flow::Blocked => Ok(None),
        Flow::Ended(ended) => Ok(Some(Met::Output(ended.output, ended.raise))),
        Flow::Returned { value, raise } => Ok(Some(Met::Output(value, raise))),
        Flow::Stopped { step, class } => Err(Progress::Stopped { step, class }),
    }
}

/// A call beyond what one turn may make.
fn too_many(id: &str, name: &str) -> Open {
    let at = told_error(format!("not called: at most {CALLS_A_TURN_MAX} calls at once"));
    let (id, name, step) = (id.to_owned(), name.to_owned(), String::new());
    let (args, heard) = (Value::Null, Vec::new());
    Open { id, name, args, is_read: true, step, sent: None, at, heard }
}

pub(super) fn told_error(content: String) -> At {
    At::Told { content, is_error: true, refused: false, piece: None }
}

/// What the model is told of a part of something.
pub(super) fn told_piece(content: String, piece: Piece) -> At {
    At::Told { content, is_error: false, refused: false, piece: Some(Box::new(piece)) }
}

/// What the model is told where all went well.
pub(super) fn told(content: String) -> At {
    At::Told { content, is_error: false, refused: false, piece: None }
}

/// A static path with its number put in.
pub(super) fn numbered(path: &str, number: u32) -> String {
    let stem = path.strip_suffix("[]").unwrap_or(path);
    format!("{stem}[{number}]")
}
