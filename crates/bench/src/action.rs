//! One action through the gate, in processor time of one thread; and the judge's share of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cedar_policy::{
    Authorizer, Context, Entities, Entity, EntityUid, PolicySet, Request, RestrictedExpression,
};
use ed25519_dalek::{Signer as _, SigningKey};
use kernel::{
    action::Resource,
    decision::{Autonomy, Evidence, Mode, Question, RunFacts, Verdict},
    operation::Undo,
    port::Judge,
};
use serde_json::Value;
use store::Ram;

use crate::{
    error::{Broken, Doing as _},
    line::{Line, Sink},
    options::Options,
    policies,
    report::{Figure, Floor, Goal, Report},
    spread::{Spread, each_cpu, median, micros, thread_cpu},
    world::{self, Deed, World},
};

/// Bytes of an ordinary receipt's statement: what the floor signs.
const STATEMENT_BYTES: usize = 2_000;

/// Item 4.
pub(crate) fn measure(options: &Options, report: &mut Report) -> Result<(), Broken> {
    let actions = options.pick(300, 60);
    for (deed, name) in [
        (Deed::Read, "one read: validate, label, judge, journal in RAM, receipt"),
        (Deed::Write, "one write: the same, and its way back armed"),
    ] {
        let world = World::real(deed, actions)?;
        // Schemas compile at their first use.
        Line::open(&world, Sink::Ram(Box::new(Ram::new())))?.finish()?;
        let (mut value, mut floor) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds() {
            floor.push(bare_signature());
            value.push(action_micros(&world)?);
        }
        let floor = Floor { name: "one bare Ed25519 signature", value: Spread::of(floor) };
        let value = (Spread::of(value), "us CPU");
        report.add(Figure::new(name, value, Some(floor), Goal::AtMost(250.0)));
    }
    Ok(())
}

/// Median processor time of the actions of one run.
fn action_micros(world: &Arc<World>) -> Result<f64, Broken> {
    let mut line = Line::open(world, Sink::Ram(Box::new(Ram::new())))?;
    let mut samples = Vec::with_capacity(world.actions());
    // The last action also ends the run.
    for _ in 1..world.actions() {
        let before = thread_cpu();
        line.step()?;
        samples.push(micros(thread_cpu().saturating_sub(before)));
    }
    line.finish()?;
    Ok(median(samples))
}

fn bare_signature() -> f64 {
    let (key, payload) = (SigningKey::from_bytes(&[7; 32]), [7_u8; STATEMENT_BYTES]);
    each_cpu(9, 20, || key.sign(&payload))
}

/// Item 5.
pub(crate) fn measure_judge(options: &Options, report: &mut Report) -> Result<(), Broken> {
    let catalogue = world::catalogue()?;
    let bundle = world::bundle(&catalogue)?;
    let bare = Bare::new()?;
    let world = World::real(Deed::Write, 1)?;
    let above = policies::ASKED_ABOVE + 1;
    for (name, deed, minor, asks) in [
        ("judge a read: allowed", Deed::Read, 0, false),
        ("judge a write: allowed", Deed::Write, policies::ASKED_ABOVE, false),
        ("judge a write: asked, and the least that is missing", Deed::Write, above, true),
    ] {
        let asked = Asked::new(&world, deed, minor);
        let judge = || asked.put(&world, |question| bundle.judge(question));
        let verdict = judge().doing("judge")?.verdict;
        if matches!(verdict, Verdict::Deny) || matches!(verdict, Verdict::Ask(_)) != asks {
            return Err(Broken::new("get the verdict that is measured", verdict));
        }
        let calls = options.pick(100, 20);
        let (mut value, mut floor) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds() {
            floor.push(each_cpu(9, calls, || bare.decide()));
            value.push(each_cpu(9, calls, judge));
        }
        let floor =
            Floor { name: "bare Cedar, the same 50 rules at once", value: Spread::of(floor) };
        let value = (Spread::of(value), "us CPU");
        report.add(Figure::new(name, value, Some(floor), Goal::AtMost(120.0)));
    }
    Ok(())
}

/// Everything a question borrows.
#[derive(Debug)]
struct Asked {
    deed: Deed,
    args: Value,
    run: RunFacts,
    evidence: Evidence,
    recoveries: BTreeSet<String>,
}

impl Asked {
    fn new(world: &World, deed: Deed, minor: i64) -> Self {
        let id = deed.operation().parse().ok();
        let entry = id.and_then(|id| world.catalogue.get(&id));
        let rollback = entry.map_or(Undo::None, |entry| entry.operation.facts.undo);
        let evidence = Evidence { rollback, approvals: BTreeMap::new(), ..Evidence::default() };
        let run = RunFacts { calls_left: 990, writes_left: 40, ..RunFacts::default() };
        Self { deed, args: deed.args(minor), run, evidence, recoveries: BTreeSet::new() }
    }

    fn put<R>(&self, world: &World, ask: impl FnOnce(&Question<'_>) -> R) -> Result<R, Broken> {
        let id = self.deed.operation().parse().doing("name the operation")?;
        let entry = world.catalogue.get(&id);
        let entry = entry.ok_or_else(|| Broken::new("find the operation", &id))?;
        let (labels, header) = (self.deed.labels(), world.header());
        let resource = Resource::of(&entry.operation, &self.args);
        Ok(ask(&Question {
            chain: &header.chain,
            operation: &entry.operation,
            resource: resource.as_ref(),
            args: &self.args,
            arg_labels: &labels,
            existence: &labels.whole,
            run: &self.run,
            recoveries: &self.recoveries,
            autonomy: Autonomy::L2,
            mode: Mode::Live,
            at: 1_800_000_000_000,
            evidence: &self.evidence,
            current_policy: None,
        }))
    }
}

/// Cedar alone: every rule in one set, one request made beforehand, one authorization.
struct Bare {
    set: PolicySet,
    request: Request,
    entities: Entities,
    authorizer: Authorizer,
}

impl Bare {
    fn new() -> Result<Self, Broken> {
        let text: String = policies::sources().into_iter().map(|source| source.text).collect();
        let set = text.parse().doing("parse the rules")?;
        let uid = |text: &str| text.parse::<EntityUid>().doing("name an entity");
        let (agent, account) = (uid(r#"Agent::"agent:renewals""#)?, uid(r#"Account::"ACC-0042""#)?);
        let (action, write) = (uid(r#"Action::"crm.set_forecast""#)?, uid(r#"Action::"write""#)?);
        let parents = [uid(r#"Role::"sales""#)?, uid(r#"Tenant::"default""#)?];
        let entities = Entities::from_entities(
            [
                Entity::new_no_attrs(agent.clone(), parents.into()),
                Entity::new_no_attrs(action.clone(), [write].into()),
                Entity::new_no_attrs(account.clone(), [uid(r#"System::"crm""#)?].into()),
            ],
            None,
        );
        let entities = entities.doing("build the entities")?;
        let request = Request::new(agent, action, account, bare_context()?, None);
        let request = request.doing("build the request")?;
        let bare = Self { set, request, entities, authorizer: Authorizer::new() };
        let response = bare.decide();
        if response.diagnostics().errors().next().is_some() {
            return Err(Broken::new("authorize barely", response));
        }
        Ok(bare)
    }

    fn decide(&self) -> cedar_policy::Response {
        self.authorizer.is_authorized(&self.request, &self.set, &self.entities)
    }
}

fn bare_context() -> Result<Context, Broken> {
    let context = serde_json::json!({
        "args": {"account": "ACC-0042", "amount": {"minor": 5_000_000, "currency": "EUR"}},
        "labels": {
            "args": {"trust": "user", "confidentiality": "confidential"},
            "run": {"trust": "user"}, "existence": {"trust": "verified"},
        },
        "classes": ["pii"], "recoveries": [], "autonomy": "l2", "mode": "live",
        "run": {"calls": 0, "writes": 0, "same_operation": 0, "denied": 0},
        "on_behalf_of": {"kind": "person"},
        "evidence": {"approvals": {"approver": 0, "manager": 0}, "rollback": "compensate"},
    });
    let Value::Object(fields) = context else {
        return Err(Broken::new("build the context", "not an object"));
    };
    let pairs: Result<Vec<_>, _> =
        fields.into_iter().map(|(name, value)| Ok((name, express(value)?))).collect();
    Context::from_pairs(pairs?).doing("build the context")
}

fn express(value: Value) -> Result<RestrictedExpression, Broken> {
    Ok(match value {
        Value::String(text) => RestrictedExpression::new_string(text),
        Value::Number(number) => {
            RestrictedExpression::new_long(number.as_i64().unwrap_or_default())
        }
        Value::Array(items) => {
            let items: Result<Vec<_>, _> = items.into_iter().map(express).collect();
            RestrictedExpression::new_set(items?)
        }
        Value::Object(fields) => {
            let fields: Result<Vec<_>, _> =
                fields.into_iter().map(|(name, value)| Ok((name, express(value)?))).collect();
            RestrictedExpression::new_record(fields?).doing("build a record")?
        }
        Value::Bool(truth) => RestrictedExpression::new_bool(truth),
        Value::Null => return Err(Broken::new("build a value", "null")),
    })
}
