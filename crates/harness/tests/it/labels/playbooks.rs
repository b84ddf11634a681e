//! Random playbooks, and a world whose trusted answers follow from one seed and whose untrusted ones from
//! another. Both are cut from bytes, so that a failing case shrinks to a short playbook.

use std::sync::{Arc, LazyLock};

use kernel::{
    Label,
    budget::Budget,
    catalogue::Catalogue,
    exception::{Class, Exception, Landed, Need},
    gate::Permit,
    input::{Answer, Settlement},
    label::{Confidentiality, Trust},
    money::{Currency, Money},
    operation::{Critical, Effect, Operation, Retry, Undo},
    playbook::Step,
    port::{Judge, Outcome},
    run::{AskView, QuestionView},
};
use planner::PlaybookPlanner;
use policy::{Bundle, Layer};
use serde_json::{Value, json};

use super::rig::{
    ALL, Outside, Rig, Setup, agent, bundle, failed, label, labelled, plan, run_id, taken_in,
};

/// Numbers from here on come from untrusted places. A multiple of 4: remainders stay small.
pub(crate) const CANARY: i64 = 4_000_000;

pub(crate) fn hash(seed: u64, key: &str) -> u64 {
    let mut hash = seed ^ 0xcbf2_9ce4_8422_2325;
    for byte in key.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        hash ^= hash >> 29;
    }
    hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
}

fn operation(id: &str, effect: Effect, undo: Undo, retry: Retry) -> Operation {
    let mut made = testkit::operation(id, effect, undo, retry);
    made.input = Arc::new(json!({"type": "object", "required": ["k", "x"],
        "properties": {"k": {}, "x": {}}, "additionalProperties": false}));
    let number = json!({"type": "integer"});
    let list = json!({"type": "array", "items": {"type": "integer"}});
    made.output = Arc::new(json!({"type": "object", "required": ["t", "u", "ts", "us"],
        "properties": {"t": number, "u": number, "ts": list, "us": list}}));
    for part in ["/u", "/us"] {
        made.labels.parts.insert(part.to_owned(), label(Trust::Untrusted));
    }
    made.clearance = Label::new(Trust::Untrusted, Confidentiality::Secret);
    made
}

pub(crate) fn catalogue() -> &'static Arc<Catalogue> {
    static CATALOGUE: LazyLock<Arc<Catalogue>> = LazyLock::new(|| {
        let read = |id| operation(id, Effect::Read, Undo::None, Retry::Keyed);
        let write = |id, retry| operation(id, Effect::Write, Undo::None, retry);
        let eur = |minor| Some(Money { minor, currency: Currency::parse("EUR").unwrap() });
        let mut clean = read("r.clean");
        clean.labels.parts.clear();
        let mut stranger = read("u.get");
        stranger.labels = kernel::LabelMap::uniform(label(Trust::Untrusted));
        let mut stranger_away = read("u.away");
        stranger_away.labels = stranger.labels.clone();
        let mut one = read("r.one");
        one.contract.unique = Some("/us".into());
        let mut dear = read("r.dear");
        dear.cost_max = eur(3);
        let mut fetch = read("e.fetch");
        fetch.facts.egress = true;
        let mut set = write("w.set", Retry::Keyed);
        set.facts.critical = Critical::At(vec!["/k".into()]);
        let mut pay = write("w.pay", Retry::Never);
        pay.cost_max = eur(5);
        pay.facts.critical = Critical::At(vec!["/k".into()]);
        let put = write("w.put", Retry::Keyed);
        let back = write("w.back", Retry::Keyed);
        let all = [
            read("r.get"),
            read("r.away"),
            stranger,
            stranger_away,
            clean,
            one,
            dear,
            fetch,
            set,
            pay,
            put,
            back,
        ];
        Arc::new(Catalogue::new(all).unwrap())
    });
    &CATALOGUE
}

fn judge() -> &'static Arc<Bundle> {
    static JUDGE: LazyLock<Arc<Bundle>> =
        LazyLock::new(|| Arc::new(bundle(catalogue(), &[(Layer::Operator, ALL)])));
    &JUDGE
}

/// Cut from bytes; when they are used up everything is the simplest there is.
struct Draws<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Draws<'_> {
    fn below(&mut self, n: usize) -> usize {
        let byte = self.bytes.get(self.at).copied().unwrap_or_default();
        self.at += 1;
        usize::from(byte) % n
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// What expressions may name: steps with a full output, and loop variables.
#[derive(Clone, Default)]
struct Names {
    steps: Vec<String>,
    items: Vec<String>,
}

fn block(draws: &mut Draws<'_>, depth: usize, outer: &Names) -> Vec<Value> {
    let mut names = outer.clone();
    let count = 1 + draws.below(if depth == 0 { 7 } else { 3 });
    let mut steps = Vec::new();
    for n in 0..count {
        let id = format!("s{depth}{n}");
        let kind = if depth >= 2 { draws.below(15) } else { draws.below(22) };
        let step = step(draws, (&id, kind), depth, &names);
        if kind < 11 {
            names.steps.push(id);
        }
        steps.push(step);
    }
    steps
}

fn step(draws: &mut Draws<'_>, (id, kind): (&str, usize), depth: usize, names: &Names) -> Value {
    let work = work(draws, kind, depth, names);
    let mut step = json!({"id": id, "work": work});
    if kind == 14 || draws.below(6) == 1 {
        step["when"] = json!(condition(draws, names));
    }
    if kind < 11 && draws.below(7) == 1 {
        let part = draws.pick(&["t", "t", "u"]);
        step["expect"] = json!([{"that": format!("result.{part} % 4 < 3"), "class": "mismatch"}]);
    }
    if draws.below(2) == 1 {
        step["on_failure"] = failures(draws, names);
    }
    step
}

fn work(draws: &mut Draws<'_>, kind: usize, depth: usize, names: &Names) -> Value {
    match kind {
        0..11 => {
            let operation = draws.pick(&[
                "r.get", "u.get", "r.clean", "r.one", "r.dear", "e.fetch", "w.set", "w.set",
                "w.set", "w.put", "w.pay", "w.back",
            ]);
            json!({"kind": "do", "operation": operation,
                "with": {"k": int_text(draws, names), "x": int_text(draws, names)}})
        }
        11 => json!({"kind": "ask", "question": format!("{}?", int_text(draws, names)),
            "answer": {}, "role": "o", "expires_ms": 9}),
        12 => json!({"kind": "await", "signal": "s", "timeout_ms": 9}),
        13 => json!({"kind": "sleep", "ms": 5}),
        14 => json!({"kind": "return", "value": int_text(draws, names)}),
        15 | 16 => {
            let with = json!({"t": int_text(draws, names), "u": int_text(draws, names),
                "ts": format!("${{{{ {} }}}}", list(draws, names)),
                "us": format!("${{{{ {} }}}}", list(draws, names))});
            let steps = block(draws, depth + 1, &Names::default());
            json!({"kind": "playbook", "name": "inner", "with": with, "steps": steps})
        }
        17 | 18 => {
            let mut branches = block(draws, depth + 1, names);
            for branch in branches.iter_mut().filter(|branch| may_return(branch)) {
                branch["work"] = json!({"kind": "sleep", "ms": 1});
            }
            json!({"kind": "parallel", "branches": branches})
        }
        _ => {
            let mut inner = names.clone();
            let var = format!("x{depth}");
            inner.items.push(var.clone());
            json!({"kind": "for_each", "items": list(draws, names), "var": var, "max": 4,
                "steps": block(draws, depth + 1, &inner), "collect": int_text(draws, &inner)})
        }
    }
}

fn may_return(step: &Value) -> bool {
    let inside = |key: &str| step["work"][key].as_array().cloned().unwrap_or_default();
    step["work"]["kind"] == "return"
        || step["work"]["kind"] == "for_each" && inside("steps").iter().any(may_return)
}

fn failures(draws: &mut Draws<'_>, names: &Names) -> Value {
    let classes = [
        "unavailable",
        "mismatch",
        "unexpected_shape",
        "missing_field",
        "duplicate",
        "policy_error",
        "budget",
        "timeout",
    ];
    let mut all = json!({});
    for class in classes {
        let mut list = Vec::new();
        for _ in 0..draws.below(3) {
            list.push(recovery(draws, names));
        }
        if !list.is_empty() {
            all[class] = json!(list);
        }
    }
    all
}

fn recovery(draws: &mut Draws<'_>, names: &Names) -> Value {
    match draws.below(9) {
        0 => json!({"recovery": "log", "caveat": "l"}),
        1 | 2 => json!({"recovery": "fallback", "operation": "r.get", "caveat": "f",
            "with": {"k": int_text(draws, names), "x": 1}}),
        3 => json!({"recovery": "fallback", "operation": "w.back", "caveat": "f",
            "with": {"k": int_text(draws, names), "x": 1}}),
        4 => json!({"recovery": "retry", "times": 2, "delay_ms": 3}),
        5 | 6 => json!({"recovery": "partial", "caveat": "p", "forbid": ["w.put"],
            "value": {"t": int_text(draws, names), "u": 1, "ts": [1], "us": []}}),
        7 => json!({"recovery": "clarify", "question": "?", "answer": {}, "role": "o",
            "expires_ms": 4}),
        _ => json!({"recovery": "escalate", "owner": "o"}),
    }
}

fn int_text(draws: &mut Draws<'_>, names: &Names) -> Value {
    match draws.below(4) {
        0 => json!(draws.below(9)),
        _ => json!(format!("${{{{ {} }}}}", int(draws, names))),
    }
}

/// An expression for a number: from a trusted part of something, or from an untrusted one.
fn int(draws: &mut Draws<'_>, names: &Names) -> String {
    let part = draws.pick(&["t", "t", "t", "t", "t", "u"]);
    match draws.below(7) {
        0 => "3".to_owned(),
        1 if !names.items.is_empty() => names.items[draws.below(names.items.len())].clone(),
        2 | 3 if !names.steps.is_empty() => {
            let id = &names.steps[draws.below(names.steps.len())];
            format!("(steps.{id}.output == null ? 0 : steps.{id}.output.{part})")
        }
        4 => format!("size({})", list(draws, names)),
        5 => format!("({} ? 1 : 2)", condition(draws, &Names::default())),
        _ => format!("intent.{part}"),
    }
}

fn condition(draws: &mut Draws<'_>, names: &Names) -> String {
    let part = draws.pick(&["t", "t", "t", "u"]);
    let number = match draws.below(3) {
        0 | 1 if !names.steps.is_empty() => {
            let id = &names.steps[draws.below(names.steps.len())];
            format!("(steps.{id}.output == null ? 0 : steps.{id}.output.{part})")
        }
        _ => format!("intent.{part}"),
    };
    format!("{number} % 2 == {}", draws.below(2))
}

fn list(draws: &mut Draws<'_>, names: &Names) -> String {
    let part = draws.pick(&["ts", "ts", "us"]);
    match draws.below(3) {
        0 if !names.steps.is_empty() => {
            format!("steps.{}.output.{part}", names.steps[draws.below(names.steps.len())])
        }
        1 => "[1, 2]".to_owned(),
        _ => format!("intent.{part}"),
    }
}

fn budget(draws: &mut Draws<'_>) -> Budget {
    let mut budget = Budget::default();
    match draws.below(6) {
        1 => budget.calls_max = 4,
        2 => budget.writes_max = 2,
        3 => {
            let currency = Currency::parse("EUR").unwrap();
            budget.cost_max = Some(Money { minor: 9, currency });
        }
        _ => {}
    }
    budget
}

/// How people answer what they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum People {
    ApproveAll,
    DenyAll,
    /// By the step alone.
    ApproveSome,
    /// Asks expire.
    Silent,
}

/// A world: what is trusted follows from one seed, what is not from both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct World {
    trusted: u64,
    tainted: u64,
    people: People,
    calls: u64,
}

impl World {
    pub(crate) fn new(trusted: u64, flip: u64, people: People) -> Self {
        Self { trusted, tainted: hash(trusted, &format!("flip {flip}")), people, calls: 0 }
    }

    fn numbers(seed: u64, key: &str, offset: i64) -> Value {
        let number = |n| json!(offset + hash(seed, &format!("{key}{n}")) as i64 % 4);
        (0..hash(seed, key) % 3).map(number).collect()
    }

    /// Numbers and lists, each trusted and not.
    fn record(&self, seed: u64, key: &str) -> Value {
        let offset = if seed == self.tainted { CANARY } else { 0 };
        json!({"t": offset + hash(seed, key) as i64 % 4,
            "u": CANARY + hash(self.tainted, key) as i64 % 4,
            "ts": Self::numbers(seed, key, offset),
            "us": Self::numbers(self.tainted, key, CANARY)})
    }
}

impl Outside for World {
    fn call(&mut self, permit: &Permit) -> Outcome {
        self.calls += 1;
        let key = format!("{}|{}|{}", permit.operation().id, permit.attempt(), permit.args());
        let is_tainted = permit.arg_labels().join_all().is_tainted()
            || permit.operation().labels.whole.is_tainted();
        let seed = if is_tainted { self.tainted } else { self.trusted };
        let is_write = permit.operation().is_write();
        let landed = if is_write { Landed::Unknown } else { Landed::No };
        match hash(seed, &format!("fate{key}")) % 48 {
            0 => return failed(Class::Unavailable, Landed::No),
            1 => return failed(Class::Permission, Landed::No),
            2 => return failed(Class::Timeout, landed),
            _ => {}
        }
        // Whether the target answers is trusted; whether what it says makes sense is not.
        let mut record = self.record(seed, &key);
        match hash(self.tainted, &format!("shape{key}")) % 24 {
            0 => record["u"] = json!("not a number"),
            1 => drop(record.as_object_mut().and_then(|map| map.remove("u"))),
            _ => {}
        }
        if permit.operation().id.as_str() == "r.clean" {
            record["u"] = record["t"].clone();
            record["us"] = record["ts"].clone();
        }
        taken_in(permit, record)
    }

    fn first(&mut self, in_flight: usize) -> usize {
        hash(self.tainted, &format!("first{}", self.calls)) as usize % in_flight
    }

    fn approve(&mut self, ask: &AskView) -> Option<Answer> {
        let deny = || Some(Answer::Deny { reason: "no".to_owned() });
        match self.people {
            People::ApproveAll => Some(Answer::Approve),
            People::DenyAll => deny(),
            People::ApproveSome if hash(self.trusted, &ask.action.step).is_multiple_of(2) => deny(),
            People::ApproveSome => Some(Answer::Approve),
            People::Silent => None,
        }
    }

    fn reply(&mut self, question: &QuestionView) -> Option<Value> {
        let draw = hash(self.trusted, &question.step);
        let mut record = self.record(self.trusted, &question.step);
        // Whoever answers has looked: the whole answer is theirs.
        (record["u"], record["us"]) = (record["t"].clone(), record["ts"].clone());
        (!draw.is_multiple_of(5)).then_some(record)
    }

    fn signal(&mut self, step: &str) -> Option<Value> {
        let draw = hash(self.tainted, step);
        (!draw.is_multiple_of(3)).then(|| json!(CANARY + draw as i64 % 4))
    }

    fn settle(&mut self, exception: &Exception) -> Option<Settlement> {
        Some(match exception.need {
            Need::InDoubt => match hash(self.trusted, &exception.step) % 2 {
                0 => Settlement::Happened,
                _ => Settlement::DidNotHappen,
            },
            Need::Escalated => match hash(self.trusted, &exception.step) % 3 {
                0 => Settlement::Retry,
                1 => {
                    let value = json!({"t": 1, "u": 1, "ts": [], "us": []});
                    Settlement::Use { value: Arc::new(value) }
                }
                _ => Settlement::Stop,
            },
            Need::UndoFailed | Need::Conflict | Need::Unplanned | Need::Defect => Settlement::Close,
        })
    }
}

/// A run that went as far as it could.
pub(crate) struct Played {
    pub(crate) steps: Vec<Step>,
    pub(crate) rig: Rig,
}

/// Plays the playbook these bytes stand for in a world.
pub(crate) fn play(script: &[u8], mut world: World) -> Played {
    let mut draws = Draws { bytes: script, at: 0 };
    let budget = budget(&mut draws);
    let steps = Value::Array(block(&mut draws, 0, &Names::default()));
    let steps: Vec<Step> = serde_json::from_value(steps).unwrap();
    let intent = world.record(world.trusted, "intent");
    let rig = run(steps.clone(), intent, budget, &mut world);
    Played { steps, rig }
}

/// Runs steps with an intent of which `/u` and `/us` are untrusted.
pub(crate) fn run(
    steps: Vec<Step>,
    intent: Value,
    budget: Budget,
    outside: &mut dyn Outside,
) -> Rig {
    let plan = Arc::new(plan(catalogue(), steps));
    let judge = Arc::clone(judge());
    let mut rig = Rig::open(Setup {
        catalogue: Arc::clone(catalogue()),
        policy: judge.digest(),
        judge: judge as Arc<dyn Judge>,
        planner: Box::new(PlaybookPlanner::new(Arc::clone(&plan), &run_id()).unwrap()),
        plan,
        intent: labelled(intent, Trust::User, &["/u", "/us"]),
        budget,
        agent: agent("agent:test", &[]),
    });
    rig.drive(outside);
    rig
}
