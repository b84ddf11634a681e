//! The world in memory: records that stay as they are until a write changes them, effects under their
//! keys, and its own account of every call. It knows nothing of the run; what it wrote down is what the
//! run is held against.

use std::{collections::BTreeMap, sync::Arc};

use connect::{
    ingest::{Pick, Received, Rules, ingest},
    redact::Redactor,
};
use kernel::{
    exception::{Class, Landed},
    gate::Permit,
    id::{At, EffectKey, OperationId, Seq},
    operation::{Binding, Companion, Operation, Retry, bind},
    port::{Failure, Outcome},
};
use serde_json::{Value, json};

use super::{
    hints::{Place, Source, plain_name},
    relation::{self, Relation},
    setting::{Setting, echoes_of},
    shape::Fit,
    stage::Stage,
};

/// How fresh an answer is when its contract does not care: to the hour.
const GRAIN_MS: i64 = 3_600_000;

/// What a fault does to one call.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum How {
    /// It fails; the effect of a write is there or not.
    Fail(Class, Truth),
    /// It works, and the answer lacks what stands here.
    Without(String),
    /// It works, and this stands at a place of the answer.
    With(String, Value),
}

/// What a failed write really did, and what its target lets us know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    /// Nothing, and it says so.
    Refused,
    /// Nothing, and nobody says so.
    LostBefore,
    /// Everything, and nobody says so.
    LostAfter,
    /// Everything, and only the answer is bad.
    Done,
}

/// One call, as the world saw it.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) action: Seq,
    pub(super) operation: OperationId,
    pub(super) key: EffectKey,
    pub(super) retry: Retry,
    pub(super) write: bool,
    /// How it was made to fail, if it was.
    pub(super) truth: Option<Truth>,
}

/// One change that was made.
#[derive(Clone, Debug)]
pub(super) struct Effect {
    pub(super) key: EffectKey,
    pub(super) action: Seq,
    pub(super) operation: OperationId,
    args: Value,
    output: Value,
    before: Option<Value>,
    after: Option<Value>,
    /// It took this one back.
    pub(super) undoes: Option<usize>,
    /// It was taken back.
    pub(super) undone: bool,
    /// Whether the record it touched reads otherwise than before; so if there is none to look at.
    pub(super) changed: bool,
}

/// A record is what one read shows for its arguments.
pub(super) type Key = (OperationId, String);

/// The world while one run is played.
#[derive(Debug)]
pub(super) struct World {
    stage: Arc<Stage>,
    setting: Arc<Setting>,
    records: BTreeMap<Key, Value>,
    origins: BTreeMap<String, Vec<Place>>,
    pub(super) calls: Vec<Call>,
    pub(super) effects: Vec<Effect>,
    /// Somebody else has changed something.
    pub(super) meddled: bool,
}

impl World {
    pub(super) fn new(stage: Arc<Stage>, setting: Arc<Setting>) -> Self {
        let mut world = Self {
            stage,
            setting,
            records: BTreeMap::new(),
            origins: BTreeMap::new(),
            calls: Vec::new(),
            effects: Vec::new(),
            meddled: false,
        };
        let inputs = world.setting.inputs.clone();
        world.note_origins(&Source::Input, &inputs);
        world
    }

    /// Where values like this one were made up.
    pub(super) fn origins_of(&self, value: &Value) -> &[Place] {
        self.origins.get(&value.to_string()).map(Vec::as_slice).unwrap_or_default()
    }

    /// Answers a call, under a fault if there is one.
    pub(super) fn answer(&mut self, permit: &Permit, now: At, fault: Option<&How>) -> Outcome {
        let operation = Arc::clone(permit.operation());
        let failure = match fault {
            Some(How::Fail(class, truth)) => Some((*class, *truth)),
            _ => None,
        };
        self.calls.push(Call {
            action: permit.action(),
            operation: operation.id.clone(),
            key: permit.key().clone(),
            retry: operation.facts.retry,
            write: operation.is_write(),
            truth: failure.map(|(_, truth)| truth),
        });
        if let Some((class, truth @ (Truth::Refused | Truth::LostBefore))) = failure {
            return Err(failed(class, &operation, truth));
        }
        let answer = self.perform(&operation, permit, now);
        if let Some((class, truth)) = failure {
            return Err(failed(class, &operation, truth));
        }
        let answer = answer.map(|mut answer| {
            match fault {
                Some(How::Without(place)) => remove(&mut answer, place),
                Some(How::With(place, value)) => {
                    relation::set(&mut answer, place, |_| value.clone())
                }
                Some(How::Fail(..)) | None => {}
            }
            answer
        });
        match answer {
            Some(answer) => self.take_in(permit, &answer, now),
            None => Err(failed(Class::MissingField, &operation, Truth::Refused)),
        }
    }

    fn perform(&mut self, operation: &Operation, permit: &Permit, now: At) -> Option<Value> {
        if !operation.is_write() {
            let mut answer = match self.probed(operation, permit.args()) {
                Some(probed) => probed?,
                None => self.read(operation, permit.args()),
            };
            freshen(&mut answer, operation, now);
            return Some(answer);
        }
        let same = |effect: &&Effect| effect.key == *permit.key();
        if operation.facts.retry == Retry::Keyed
            && let Some(seen) = self.effects.iter().find(same)
        {
            return Some(seen.output.clone());
        }
        Some(self.write(operation, permit))
    }

    fn read(&mut self, operation: &Operation, args: &Value) -> Value {
        let key = (operation.id.clone(), args.to_string());
        if let Some(record) = self.records.get(&key) {
            return record.clone();
        }
        let record = self.setting.record(operation, args, &self.stage.fit);
        self.note_origins(&Source::Output(operation.id.clone()), &record);
        self.records.insert(key, record.clone());
        record
    }

    /// The answer of a read that somebody declared as a probe of an effect with these arguments:
    /// `Some(None)` when it cannot say in its schema that nothing happened.
    fn probed(&mut self, operation: &Operation, args: &Value) -> Option<Option<Value>> {
        let stage = Arc::clone(&self.stage);
        let asks = |write: &&Arc<Operation>| {
            let probe = write.companions.probe.as_ref();
            probe.is_some_and(|probe| probe.call.operation == operation.id)
        };
        let probes: Vec<&Arc<Operation>> = stage.writes.iter().filter(asks).collect();
        let about = |write: &Operation, effect: &Effect| {
            let scope = json!({ "args": effect.args, "before": effect.before, "key": effect.key });
            let call = write.companions.probe.as_ref().map(|probe| &probe.call);
            call.and_then(|call| bind(call, &scope)).is_some_and(|bound| bound == *args)
        };
        let write = probes.first()?;
        let happened = self.effects.iter().any(|effect| {
            probes.iter().any(|write| write.id == effect.operation && about(write, effect))
        });
        let place = write.companions.probe.as_ref().map(|probe| probe.happened.clone())?;
        let mut answer = self.read(operation, args);
        let shown = |answer: &Value| match answer.pointer(&place) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::Array(items)) => !items.is_empty(),
            Some(Value::Object(map)) => !map.is_empty(),
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Bool(true) | Value::Number(_)) => true,
        };
        if shown(&answer) == happened {
            return Some(Some(answer));
        }
        let yes = [json!(true), json!("yes"), json!(1), json!([{}]), json!({"found": true})];
        let no = [json!(null), json!(false), json!([]), json!({}), json!("")];
        for value in if happened { yes } else { no } {
            relation::set(&mut answer, &place, |_| value);
            if stage.fit.fits(&operation.output, &answer) {
                return Some(Some(answer));
            }
        }
        remove(&mut answer, &place);
        Some(stage.fit.fits(&operation.output, &answer).then_some(answer))
    }

    fn write(&mut self, operation: &Operation, permit: &Permit) -> Value {
        let args = permit.args();
        let stage = Arc::clone(&self.stage);
        let touched = stage.relations.get(&operation.id).and_then(|r| self.touch(r, args));
        let undoes = self.undone_by(&stage, operation, args);
        let mut echoes = echoes_of(operation, args);
        if let Some((_, after)) = &touched {
            let fields = after.as_object().into_iter().flatten();
            echoes.extend(fields.map(|(name, value)| (plain_name(name), value.clone())));
        }
        let number = self.effects.len().to_string();
        let source = Source::Output(operation.id.clone());
        let place = format!("{} {number}", operation.id);
        let output =
            self.setting.make(&operation.output, source, (&echoes, None), (&stage.fit, &place));
        self.note_origins(&Source::Output(operation.id.clone()), &output);
        if let Some(index) = undoes
            && let Some(effect) = self.effects.get_mut(index)
        {
            effect.undone = true;
        }
        let image = stage.relations.get(&operation.id).map(|r| r.before.image.as_slice());
        let image = |value: &Value| kernel::pointer::project(value, image.unwrap_or_default());
        let changed = touched.as_ref().is_none_or(|(before, after)| image(before) != image(after));
        let (before, after) = touched.unzip();
        self.effects.push(Effect {
            key: permit.key().clone(),
            action: permit.action(),
            operation: operation.id.clone(),
            args: (**args).clone(),
            output: output.clone(),
            before,
            after,
            undoes,
            undone: false,
            changed,
        });
        output
    }

    /// Changes the record that a write touches; what it was and what it is.
    fn touch(&mut self, relation: &Relation, args: &Value) -> Option<(Value, Value)> {
        let read = Arc::clone(self.stage.operation(&relation.before.operation)?);
        let record_args = relation.record_args(args)?;
        let before = self.read(&read, &record_args);
        let mut after = before.clone();
        relation.apply(&mut after, args, &read.output);
        for place in &relation.stirs {
            let schema = relation::part_of(&read.output, place).cloned().unwrap_or_default();
            for turn in 0..8 {
                let dice = format!("{} {place} {turn} {}", read.id, self.effects.len());
                let source = Source::Output(read.id.clone());
                let other = self.setting.make(
                    &schema,
                    source,
                    (&BTreeMap::new(), None),
                    (&self.stage.fit, &dice),
                );
                if before.pointer(place) != Some(&other) {
                    relation::set(&mut after, place, |_| other);
                    break;
                }
            }
        }
        self.note_origins(&Source::Output(read.id.clone()), &after);
        self.records.insert((read.id.clone(), record_args.to_string()), after.clone());
        Some((before, after))
    }

    /// The newest effect that a write with these arguments takes back.
    fn undone_by(&self, stage: &Stage, operation: &Operation, args: &Value) -> Option<usize> {
        let takes_back = |effect: &Effect| {
            let scope = json!({
                "args": effect.args, "before": effect.before, "output": effect.output,
                "after": effect.after, "key": effect.key,
            });
            let undos = stage.undos.iter().filter(|(id, _)| *id == effect.operation);
            let mut undos = undos.map(|(_, undo)| undo).filter(|u| u.operation == operation.id);
            undos.any(|undo: &Companion| {
                names_something(undo) && bind(undo, &scope).is_some_and(|bound| bound == *args)
            })
        };
        let open = self.effects.iter().enumerate().rev();
        let mut open = open.filter(|(_, effect)| !effect.undone && effect.undoes.is_none());
        open.find(|(_, effect)| takes_back(effect)).map(|(index, _)| index)
    }

    /// What the connectors make of an answer: decoded, checked, masked, labelled.
    fn take_in(&self, permit: &Permit, answer: &Value, now: At) -> Outcome {
        let operation = permit.operation();
        let masks = permit.masks();
        let external = permit.operation().binding.pointer("/external_ref").and_then(Value::as_str);
        let pick = Pick { external_ref: external, ..Pick::default() };
        let redactor = Redactor::new(std::iter::empty()).map_err(|message| Failure {
            class: Class::UnexpectedShape,
            landed: Landed::Unknown,
            message,
            retry_after_ms: None,
            sample: None,
        })?;
        let validate = &*self.stage.schemas;
        let (redactor, args) = (&redactor, &**permit.args());
        let rules = Rules { operation, args, masks, redactor, validate, now, pick };
        ingest(Received::Bytes(answer.to_string().into_bytes()), &rules)
    }

    /// Somebody else changes what the effects of the run touched.
    pub(super) fn meddle(&mut self) {
        let stage = Arc::clone(&self.stage);
        let touched = self.effects.iter().filter_map(|effect| {
            let relation = stage.relations.get(&effect.operation)?.clone();
            Some((relation, effect.args.clone(), effect.before.clone().unwrap_or_default()))
        });
        let touched: Vec<(Relation, Value, Value)> = touched.collect();
        for (relation, args, before) in touched {
            let Some(read) = stage.operation(&relation.before.operation).cloned() else { continue };
            let Some(record_args) = relation.record_args(&args) else { continue };
            let Some(record) = self.records.get_mut(&(read.id.clone(), record_args.to_string()))
            else {
                continue;
            };
            let places = match relation.before.image.is_empty() {
                true => vec![String::new()],
                false => relation.before.image.clone(),
            };
            for place in places {
                self.meddled |= stir((&mut *record, &before), &place, &read.output, &stage.fit);
            }
        }
    }

    /// Every record that a write has touched, as it stands.
    pub(super) fn touched(&self) -> BTreeMap<Key, Value> {
        let stage = &self.stage;
        let keys = self.effects.iter().filter_map(|effect| {
            let relation = stage.relations.get(&effect.operation)?;
            let args = relation.record_args(&effect.args)?;
            Some((relation.before.operation.clone(), args.to_string()))
        });
        keys.filter_map(|key| Some((key.clone(), self.records.get(&key)?.clone()))).collect()
    }

    /// The same records before anybody changed them.
    pub(super) fn untouched(&self, key: &Key) -> Option<Value> {
        let args: Value = serde_json::from_str(&key.1).ok()?;
        let read = self.stage.operation(&key.0)?;
        Some(self.setting.record(read, &args, &self.stage.fit))
    }

    fn note_origins(&mut self, source: &Source, value: &Value) {
        note(&mut self.origins, source, value, String::new());
    }
}

/// Whether an undo says anything about the effect it is for: one that is always the same takes back
/// whatever it names, not this.
fn names_something(undo: &Companion) -> bool {
    undo.with.values().any(|binding| matches!(binding, Binding::From(_)))
}

fn note(origins: &mut BTreeMap<String, Vec<Place>>, source: &Source, value: &Value, at: String) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                note(origins, source, field, format!("{at}/{}", kernel::pointer::escape(name)));
            }
        }
        Value::Array(items) => {
            for item in items {
                note(origins, source, item, format!("{at}/*"));
            }
        }
        Value::String(_) | Value::Number(_) => {
            let places = origins.entry(value.to_string()).or_default();
            let place = (source.clone(), at);
            if !places.contains(&place) {
                places.push(place);
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

fn failed(class: Class, operation: &Operation, truth: Truth) -> Failure {
    let landed = match truth {
        _ if !operation.is_write() => Landed::No,
        Truth::Refused => Landed::No,
        Truth::LostBefore | Truth::LostAfter => Landed::Unknown,
        Truth::Done => Landed::Yes,
    };
    let message = format!("the kit lets this call fail as {}", class.name());
    Failure { class, landed, message, retry_after_ms: None, sample: None }
}

/// An answer is as fresh as its contract wants, and not to the millisecond: equal runs see equal answers.
fn freshen(answer: &mut Value, operation: &Operation, now: At) {
    let Some(rule) = &operation.contract.freshness else { return };
    let grain = (rule.max_age_ms / 4).clamp(1, GRAIN_MS);
    let at = now - now.rem_euclid(grain);
    let schema = relation::part_of(&operation.output, &rule.at);
    let kind = schema.and_then(|schema| schema.get("type"));
    let text = jiff::Timestamp::from_millisecond(at).map(|t| t.to_string()).unwrap_or_default();
    let value = match kind.and_then(Value::as_str) {
        Some("integer" | "number") if grain >= 1_000 => Value::from(at.div_euclid(1_000)),
        Some("integer" | "number") => Value::from(at),
        _ => Value::String(text),
    };
    relation::set(answer, &rule.at, |_| value);
}

pub(super) fn remove(value: &mut Value, place: &str) {
    let Some((parent, name)) = place.rsplit_once('/') else { return };
    match value.pointer_mut(parent) {
        Some(Value::Object(fields)) => {
            fields.remove(&name.replace("~1", "/").replace("~0", "~"));
        }
        Some(Value::Array(items)) => {
            if let Some(index) = name.parse::<usize>().ok().filter(|index| *index < items.len()) {
                items.remove(index);
            }
        }
        _ => {}
    }
}

/// Changes the first thing below a place that can be changed to what it never was and still fits; says
/// whether there was one.
fn stir((record, was): (&mut Value, &Value), place: &str, schema: &Value, fit: &Fit) -> bool {
    let mut leaves = Vec::new();
    if let Some(part) = record.pointer(place) {
        kernel::pointer::visit_leaves(part, &mut |at, _| leaves.push(format!("{place}{at}")));
    }
    for leaf in leaves {
        let options = relation::part_of(schema, &leaf).and_then(|s| s.get("enum"));
        let options = options.and_then(Value::as_array).cloned().unwrap_or_default();
        let now = record.pointer(&leaf).cloned().unwrap_or_default();
        let others = match &now {
            Value::Bool(truth) => vec![json!(!truth)],
            Value::Number(n) => vec![json!(n.as_i64().unwrap_or_default().saturating_add(7))],
            Value::String(text) => vec![json!(format!("{text} by others")), json!("2031-01-31")],
            _ => vec![json!("by others"), json!(7)],
        };
        let new = |other: &Value| *other != now && Some(other) != was.pointer(&leaf);
        for other in options.into_iter().chain(others).filter(new) {
            let mut changed = record.clone();
            relation::set(&mut changed, &leaf, |_| other);
            if fit.fits(schema, &changed) {
                *record = changed;
                return true;
            }
        }
    }
    false
}
