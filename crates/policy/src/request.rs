//! From a question to Cedar values, built once and only as far as the rules read them.

use std::collections::{BTreeMap, HashSet};

use cedar_policy::{Context, Entities, Entity, EntityUid, Request, RestrictedExpression as Value_};
use kernel::{
    decision::{Autonomy, Evidence, Question},
    label::{Confidentiality, Label, Trust},
    operation::{Critical, Undo},
    pointer,
    principal::{Kind, Principal},
};
use serde_json::Value;

use crate::{
    bundle::{Action, Types, uid},
    shape::{Field, Shape},
    want::Want,
};

/// A question in Cedar's terms, without evidence.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    action: &'a Action,
    principal: EntityUid,
    resource: EntityUid,
    pub(crate) entities: Entities,
    context: Vec<(String, Value_)>,
}

/// Why a question cannot be put to the policies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("argument `{0}` is absent or does not fit the type that policies read")]
    Argument(String),
    #[error("the arguments do not say which {0} is touched")]
    Resource(String),
    #[error("the question could not be put to the policies: {0}")]
    Cedar(String),
}

type Pairs = Vec<(String, Value_)>;

impl<'a> Prepared<'a> {
    pub(crate) fn new(action: &'a Action, types: &Types, q: &Question<'_>) -> Result<Self, Unfit> {
        let system = uid(&types.system, q.operation.id.connector());
        let (resource, resource_parents) = match (&action.model.operation.resource, q.resource) {
            (None, _) => (system, HashSet::new()),
            (Some(rule), Some(touched)) if touched.kind == rule.kind => {
                (uid(&action.resource_type, &touched.id), HashSet::from([system]))
            }
            (Some(rule), _) => return Err(Unfit::Resource(rule.kind.clone())),
        };
        let principal = principal_uid(types, &q.chain.agent);
        let roles = q.chain.agent.roles.iter().map(|role| uid(&types.role, role));
        let parents = roles.chain([uid(&types.tenant, q.chain.tenant.as_str())]).collect();
        let own = [
            Entity::new_no_attrs(principal.clone(), parents),
            Entity::new_no_attrs(resource.clone(), resource_parents),
        ];
        let entities = action.entities.clone().add_entities(own, None);
        let entities = entities.map_err(|error| Unfit::Cedar(error.to_string()))?;
        let context = context_pairs(action, q)?;
        Ok(Self { action, principal, resource, entities, context })
    }

    /// The request with this evidence.
    pub(crate) fn with(&self, evidence: &Evidence) -> Result<Request, Unfit> {
        let mut pairs = self.context.clone();
        if let Some(want) = self.action.want.of("evidence") {
            let approvals = self.action.model.context.at(&["evidence", "approvals"]).ok();
            pairs.push(("evidence".to_owned(), evidence_value(evidence, want, approvals)?));
        }
        let failed = |error: String| Unfit::Cedar(error);
        let context = Context::from_pairs(pairs).map_err(|error| failed(error.to_string()))?;
        let (principal, resource) = (self.principal.clone(), self.resource.clone());
        Request::new(principal, self.action.uid.clone(), resource, context, None)
            .map_err(|error| failed(error.to_string()))
    }
}

fn principal_uid(types: &Types, principal: &Principal) -> EntityUid {
    let kind = match principal.kind {
        Kind::Agent => &types.agent,
        Kind::Person => &types.person,
        Kind::Service => &types.service,
    };
    uid(kind, principal.id.as_str())
}

fn context_pairs(action: &Action, q: &Question<'_>) -> Result<Pairs, Unfit> {
    let mut pairs = Vec::with_capacity(8);
    let want = &action.want;
    let mut put = |name: &str, value: Value_| pairs.push((name.to_owned(), value));
    if let (Some(want), Ok(shape)) = (want.of("args"), action.model.context.at(&["args"])) {
        put("args", args_value(shape, q.args, want)?);
    }
    if let Some(want) = want.of("command") {
        // From the arguments, by us: what a model says of its command is not looked at.
        if let Some(reading) = shell::of_call(&q.operation.binding, q.args) {
            put("command", command_value(&reading, want)?);
        }
    }
    if let Some(want) = want.of("labels") {
        put("labels", labels_value(action, q, want)?);
    }
    if want.of("classes").is_some() {
        let label = q.arg_labels.join_all().join(q.existence);
        put("classes", words(label.classes.iter()));
    }
    if want.of("recoveries").is_some() {
        put("recoveries", words(q.recoveries.iter()));
    }
    if want.of("autonomy").is_some() {
        put("autonomy", word(autonomy_name(q.autonomy)));
    }
    if let Some(want) = want.of("run") {
        put("run", run_value(q, want)?);
    }
    if want.of("at").is_some() {
        put("at", Value_::new_long(q.at));
    }
    if want.of("mode").is_some() {
        put("mode", word(q.mode.word()));
    }
    if let Some(want) = want.of("on_behalf_of") {
        let person = &q.chain.on_behalf_of;
        let fields = [
            ("id", word(person.id.as_str())),
            ("kind", word(kind_name(person.kind))),
            ("roles", words(person.roles.iter())),
        ];
        put("on_behalf_of", wanted(fields, want)?);
    }
    Ok(pairs)
}

fn word(text: &str) -> Value_ {
    Value_::new_string(text.to_owned())
}

fn words<'w>(texts: impl Iterator<Item = &'w String>) -> Value_ {
    Value_::new_set(texts.map(|text| word(text)))
}

fn record(pairs: Pairs) -> Result<Value_, Unfit> {
    Value_::new_record(pairs).map_err(|error| Unfit::Cedar(error.to_string()))
}

fn wanted<const N: usize>(fields: [(&str, Value_); N], want: &Want) -> Result<Value_, Unfit> {
    let kept = fields.into_iter().filter(|(name, _)| want.of(name).is_some());
    record(kept.map(|(name, value)| (name.to_owned(), value)).collect())
}

fn command_value(reading: &shell::Reading, want: &Want) -> Result<Value_, Unfit> {
    let effects = reading.effects.iter().map(|effect| word(effect.name()));
    let fields = [
        ("effects", Value_::new_set(effects)),
        ("only_reads", Value_::new_bool(reading.only_reads())),
        ("programs", words(reading.programs.iter().map(|program| &program.name))),
        ("unknown", Value_::new_bool(reading.effects.contains(&shell::Effect::Unknown))),
        ("writes", words(reading.writes.iter())),
    ];
    wanted(fields, want)
}

fn run_value(q: &Question<'_>, want: &Want) -> Result<Value_, Unfit> {
    let run = q.run;
    let fields = [
        ("calls", run.calls),
        ("writes", run.writes),
        ("calls_left", run.calls_left),
        ("writes_left", run.writes_left),
        ("same_operation", run.same_operation),
        ("denied", run.denied),
    ];
    wanted(fields.map(|(name, count)| (name, Value_::new_long(count.into()))), want)
}

fn evidence_value(
    evidence: &Evidence,
    want: &Want,
    roles: Option<&Shape>,
) -> Result<Value_, Unfit> {
    let mut pairs: Pairs = Vec::with_capacity(4);
    if let (Some(want), Some(Shape::Record(roles))) = (want.of("approvals"), roles) {
        let mut approvals: Pairs = Vec::new();
        for role in roles.keys().filter(|role| want.of(role).is_some()) {
            let count = evidence.approvals.get(role).copied().unwrap_or_default();
            approvals.push((role.clone(), Value_::new_long(count.into())));
        }
        pairs.push(("approvals".to_owned(), record(approvals)?));
    }
    if want.of("dry_run").is_some() {
        pairs.push(("dry_run".to_owned(), Value_::new_bool(evidence.dry_run)));
    }
    if want.of("transforms").is_some() {
        pairs.push(("transforms".to_owned(), words(evidence.transforms.iter())));
    }
    if want.of("rollback").is_some() {
        pairs.push(("rollback".to_owned(), word(undo_name(evidence.rollback))));
    }
    record(pairs)
}

/// The label of the run as this action saw it: what led to it, and its critical arguments.
fn run_label(q: &Question<'_>) -> Label {
    let critical = match &q.operation.facts.critical {
        Critical::All => q.arg_labels.join_all(),
        Critical::At(pointers) => pointers
            .iter()
            .fold(Label::bottom(), |label, pointer| label.join(&q.arg_labels.at(pointer))),
    };
    critical.join(q.existence)
}

fn labels_value(action: &Action, q: &Question<'_>, want: &Want) -> Result<Value_, Unfit> {
    let mut pairs: Pairs = Vec::with_capacity(4);
    if let Some(want) = want.of("args") {
        pairs.push(("args".to_owned(), label_value(&q.arg_labels.join_all(), want)?));
    }
    if let Some(want) = want.of("existence") {
        pairs.push(("existence".to_owned(), label_value(q.existence, want)?));
    }
    if let Some(want) = want.of("run") {
        pairs.push(("run".to_owned(), label_value(&run_label(q), want)?));
    }
    if let (Some(want), Ok(Shape::Record(names))) =
        (want.of("arg"), action.model.context.at(&["labels", "arg"]))
    {
        let mut each: Pairs = Vec::new();
        for name in names.keys() {
            if let Some(want) = want.of(name) {
                let label = q.arg_labels.at(&format!("/{}", pointer::escape(name)));
                each.push((name.clone(), label_value(&label, want)?));
            }
        }
        pairs.push(("arg".to_owned(), record(each)?));
    }
    record(pairs)
}

fn label_value(label: &Label, want: &Want) -> Result<Value_, Unfit> {
    let trust = match label.trust {
        Trust::Untrusted => "untrusted",
        Trust::Verified => "verified",
        Trust::User => "user",
        Trust::Operator => "operator",
        Trust::System => "system",
    };
    let confidentiality = match label.confidentiality {
        Confidentiality::Public => "public",
        Confidentiality::Internal => "internal",
        Confidentiality::Confidential => "confidential",
        Confidentiality::Secret => "secret",
    };
    let fields = [
        ("trust", word(trust)),
        ("confidentiality", word(confidentiality)),
        ("classes", words(label.classes.iter())),
    ];
    wanted(fields, want)
}

fn args_value(shape: &Shape, args: &Value, want: &Want) -> Result<Value_, Unfit> {
    let Shape::Record(fields) = shape else {
        return record(Vec::new());
    };
    let read: BTreeMap<&String, &Field> =
        fields.iter().filter(|(name, _)| want.of(name).is_some()).collect();
    let mut pairs: Pairs = Vec::with_capacity(read.len());
    for (name, field) in read {
        match (args.get(name), field.required) {
            (None | Some(Value::Null), false) => {}
            (None | Some(Value::Null), true) => return Err(Unfit::Argument(name.clone())),
            (Some(value), _) => {
                let value =
                    express(&field.shape, value).ok_or_else(|| Unfit::Argument(name.clone()))?;
                pairs.push((name.clone(), value));
            }
        }
    }
    record(pairs)
}

/// A JSON value as the Cedar value of its shape; `None` when it does not fit.
fn express(shape: &Shape, value: &Value) -> Option<Value_> {
    match (shape, value) {
        (Shape::Bool, Value::Bool(truth)) => Some(Value_::new_bool(*truth)),
        (Shape::Long, Value::Number(number)) => integer(number).map(Value_::new_long),
        (Shape::Text(_), Value::String(text)) => Some(word(text)),
        (Shape::Decimal, Value::String(text)) => decimal(text).map(Value_::new_decimal),
        (Shape::Set(item), Value::Array(values)) => {
            let values: Option<Vec<_>> = values.iter().map(|value| express(item, value)).collect();
            values.map(Value_::new_set)
        }
        (Shape::Record(fields), Value::Object(map)) => {
            let mut pairs: Pairs = Vec::with_capacity(fields.len());
            for (name, field) in fields {
                match map.get(name) {
                    None | Some(Value::Null) if !field.required => {}
                    None => return None,
                    Some(value) => pairs.push((name.clone(), express(&field.shape, value)?)),
                }
            }
            Value_::new_record(pairs).ok()
        }
        _ => None,
    }
}

/// JSON Schema calls `3.0` an integer; so do we, where nothing is lost.
fn integer(number: &serde_json::Number) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_991.0;
    number.as_i64().or_else(|| {
        let double = number.as_f64().filter(|d| d.fract() == 0.0 && d.abs() <= EXACT)?;
        Some(double as i64)
    })
}

/// Cedar's spelling of a decimal: one to four digits after the point; `None` where it has none.
fn decimal(text: &str) -> Option<String> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let unsigned = whole.strip_prefix('-').unwrap_or(whole);
    let fits = digits(unsigned) && digits(fraction) && unsigned.len() <= 14 && fraction.len() <= 4;
    fits.then(|| format!("{whole}.{fraction}"))
}

fn autonomy_name(autonomy: Autonomy) -> &'static str {
    match autonomy {
        Autonomy::L1 => "l1",
        Autonomy::L2 => "l2",
        Autonomy::L3 => "l3",
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Person => "person",
        Kind::Agent => "agent",
        Kind::Service => "service",
    }
}

pub(crate) fn undo_name(undo: Undo) -> &'static str {
    match undo {
        Undo::None => "none",
        Undo::Compensate => "compensate",
        Undo::Restore => "restore",
    }
}
