//! KPIs: always computed from journals, so that computing again gives the reported number.

use std::collections::{BTreeMap, BTreeSet};

use expr::{Cost, Env, Expr, Join, Key};
use kernel::{
    decision::Mode,
    event::{Body, End, Ended, Record, Role, Stage},
    exception::{Class, Landed, Need},
    id::{At, Seq},
    money::Money,
    planning::Mark,
    run::Status,
};
use pack::{Direction, Kpi, Measure, Subject};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Page, Query as _, RunFilter};

use super::{
    App, Caller,
    problem::{Kind, Problem},
    runs::rfc3339,
    timeline::action_lines,
};

/// Most runs a report reads.
const RUNS_MAX: usize = 100_000;

/// Which KPIs.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReportKpis {
    /// Only this pack.
    pub pack: Option<String>,
}

/// KPIs with their values.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct KpiReport {
    /// Up to when.
    pub until: String,
    /// In pack order.
    pub items: Vec<KpiView>,
}

/// One KPI.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KpiView {
    /// The pack.
    pub pack: String,
    /// Its name.
    pub name: String,
    /// What a person reads.
    pub title: String,
    /// Its unit.
    pub unit: String,
    /// Value per group; the group is empty when the KPI does not group.
    pub values: BTreeMap<String, Option<f64>>,
    /// Items it was computed from.
    pub items: usize,
    /// The number to reach.
    pub target: Option<Value>,
    /// `up` or `down`.
    pub direction: String,
    /// Whether every value meets the target; none without target or items.
    pub met: Option<bool>,
}

/// Computes every KPI of the configured packs from the journals.
///
/// # Errors
/// When a journal is damaged, or an expression fails.
pub async fn report(app: &App, caller: &Caller, request: ReportKpis) -> Result<KpiReport, Problem> {
    let now = engine::Clock::now(&super::host::SystemClock).at;
    let mut items = Vec::new();
    for shelved in app.shelf.stock().all() {
        let pack = &shelved.pack.manifest;
        if request.pack.as_ref().is_some_and(|wanted| *wanted != pack.name) {
            continue;
        }
        let facts = facts_of(app, caller, &pack.name).await?;
        for kpi in shelved.pack.kpis.iter().chain([&unclassified()]) {
            items.push(compute(&pack.name, kpi, &facts, now)?);
        }
    }
    Ok(KpiReport { until: rfc3339(now), items })
}

/// The measure every pack has: what went wrong and no class was found for. Classes are what recoveries are
/// declared for, so such a failure is one that nobody could have declared anything about.
fn unclassified() -> Kpi {
    Kpi {
        name: pack::UNCLASSIFIED.to_owned(),
        title: "Failures without a class".to_owned(),
        unit: "share".to_owned(),
        measure: Measure::Ratio,
        of: Subject::Failures,
        filter: Some("class == null".to_owned()),
        value: None,
        percentile: None,
        by: None,
        window_ms: 30 * 86_400_000,
        target: Some(json!(0)),
        direction: Direction::Down,
    }
}

/// One thing a KPI can count, with when it happened.
struct Fact {
    subject: Subject,
    at: At,
    item: Value,
}

async fn facts_of(app: &App, caller: &Caller, pack: &str) -> Result<Vec<Fact>, Problem> {
    let mut facts = Vec::new();
    let (mut after, mut seen) = (None, 0);
    let of_pack = RunFilter { pack: Some(pack.to_owned()), ..RunFilter::default() };
    loop {
        let page = Page { after, limit: store::PAGE_MAX };
        let listed = app.store.runs(caller.tenant(), of_pack.clone(), page).await?;
        for entry in &listed.items {
            let records = app.records(caller, &entry.run).await?;
            let status = entry.row.as_ref().map_or(Status::Running, |row| row.status);
            collect(&records, status, &mut facts);
        }
        seen += listed.items.len();
        after = listed.next;
        if after.is_none() || seen >= RUNS_MAX {
            return Ok(facts);
        }
    }
}

/// Everything one journal contributes. Which fields each subject has is part of the pack format:
/// see the table in `docs/kpis.md`.
fn collect(records: &[Record], status: Status, facts: &mut Vec<Fact>) {
    let Some(first) = records.first() else { return };
    // What was only shown is no work that was done.
    let live = super::header_of(first).filter(|header| header.mode == Mode::Live);
    let Some(header) = live else { return };
    let opened = first.event.at;
    let finished = records.iter().rev().find_map(|record| match &record.event.body {
        Body::Finished { end, caveats, .. } => Some((record.event.at, *end, caveats)),
        _ => None,
    });
    let caveats: Vec<&str> =
        finished.iter().flat_map(|(_, _, c)| c.iter()).map(|c| c.text.as_str()).collect();
    let common =
        json!({ "intent": header.intent, "agent": header.chain.agent.id, "status": status.word() });
    let mut add = |subject: Subject, at: At, more: Value| {
        let mut item = common.clone();
        if let (Value::Object(item), Value::Object(more)) = (&mut item, more) {
            item.extend(more);
        }
        facts.push(Fact { subject, at, item });
    };
    let duration = finished.map(|(at, _, _)| at - opened);
    let end = finished.map(|(_, end, _)| end);
    add(
        Subject::Runs,
        opened,
        json!({
            "end": end, "over": status.is_over(), "caveats": caveats, "opened_at": opened, "duration_ms": duration,
        }),
    );
    for line in action_lines(records) {
        let at = usize::try_from(line.action)
            .ok()
            .and_then(|n| records.get(n))
            .map_or(opened, |r| r.event.at);
        let item = json!({
            "operation": line.operation, "role": line.role, "outcome": line.outcome,
            "verdict": line.verdict, "step": line.step, "took_ms": line.took_ms,
        });
        if line.receipt.is_some() {
            add(Subject::Receipts, at, item.clone());
        }
        add(Subject::Actions, at, item);
    }
    let mut asks = Asks::default();
    let mut failures = Failures::default();
    for record in records {
        asks.observe(record, &mut add);
        failures.observe(record, &mut add);
        if let Body::Marked { step, mark: Mark::Concluded { reason, turns, usage, .. } } =
            &record.event.body
        {
            let (read, cached, written) = (usage.input, usage.cached, usage.output);
            let item = json!({
                "step": step, "stopped": reason.word(), "turns": turns,
                "read": read, "cached": cached, "written": written,
            });
            add(Subject::Tokens, record.event.at, item);
        }
    }
}

/// What went wrong, followed through one journal.
#[derive(Default)]
struct Failures<'a> {
    proposed: BTreeMap<Seq, (&'a str, String)>,
    /// The actions whose failure is already counted since they were last sent.
    counted: BTreeSet<Seq>,
    /// The steps that something of this was counted for.
    steps: BTreeSet<&'a str>,
    any: bool,
}

impl<'a> Failures<'a> {
    fn observe(&mut self, record: &'a Record, add: &mut dyn FnMut(Subject, At, Value)) {
        let at = record.event.at;
        match &record.event.body {
            Body::Proposed { step, operation, .. } => {
                self.proposed.insert(record.event.seq, (step, operation.to_string()));
            }
            Body::Dispatched { action, .. } => {
                self.counted.remove(action);
            }
            // What nobody planned has a class that stands in for one: nothing can be declared about it.
            Body::Rejected { action, stage: Stage::Unplanned | Stage::Unknown, .. } => {
                self.of_action(*action, None, at, add);
            }
            Body::Returned { action, ended: Ended::Failed { class, .. }, .. }
            | Body::Rejected { action, class, .. }
            | Body::Receipted { action, class: Some(class), .. } => {
                self.of_action(*action, Some(*class), at, add);
            }
            Body::Doubted { action } => self.of_action(*action, Some(Class::InDoubt), at, add),
            // A step that failed without a call of its own, such as one that waited too long.
            Body::Abandoned { step, class } if !self.steps.contains(step.as_str()) => {
                self.count((Some(*class), None, step), at, add);
            }
            // And so has a defect of the machine.
            Body::Raised { exception, .. } if exception.need == Need::Defect => {
                self.count((None, None, &exception.step), at, add);
            }
            Body::Finished { end: End::Failed, .. } if !self.any => {
                self.count((None, None, ""), at, add);
            }
            _ => {}
        }
    }

    fn of_action(
        &mut self,
        action: Seq,
        class: Option<Class>,
        at: At,
        add: &mut dyn FnMut(Subject, At, Value),
    ) {
        let Some((step, operation)) = self.proposed.get(&action).cloned() else { return };
        if self.counted.insert(action) {
            self.count((class, Some(operation), step), at, add);
        }
    }

    fn count(
        &mut self,
        (class, operation, step): (Option<Class>, Option<String>, &'a str),
        at: At,
        add: &mut dyn FnMut(Subject, At, Value),
    ) {
        self.any = true;
        self.steps.insert(step);
        let class = class.map(Class::name);
        add(Subject::Failures, at, json!({ "class": class, "operation": operation, "step": step }));
    }
}

/// Asks and money, followed through one journal.
#[derive(Default)]
struct Asks {
    proposed: BTreeMap<u64, (String, Option<Money>)>,
    asked_at: BTreeMap<u64, At>,
}

impl Asks {
    fn observe(&mut self, record: &Record, add: &mut dyn FnMut(Subject, At, Value)) {
        let at = record.event.at;
        match &record.event.body {
            Body::Proposed { operation, args, because: Role::Step, .. } => {
                let amount =
                    args.value().as_object().and_then(|a| a.values().find_map(Money::from_value));
                self.proposed.insert(record.event.seq, (operation.to_string(), amount));
            }
            Body::Asked { action, .. } => {
                self.asked_at.entry(*action).or_insert(at);
            }
            Body::Answered { action, answer, self_approved, .. } => {
                let verdict = serde_json::to_value(answer).unwrap_or_default();
                let operation = self.proposed.get(action).map(|(operation, _)| operation.clone());
                add(
                    Subject::Approvals,
                    at,
                    json!({
                        "verdict": verdict.get("verdict"), "asked_at": self.asked_at.get(action),
                        "answered_at": at, "self_approved": self_approved, "operation": operation,
                    }),
                );
            }
            Body::Receipted { action, landed: Landed::Yes, .. } => {
                if let Some((operation, Some(amount))) = self.proposed.get(action) {
                    add(Subject::Money, at, json!({ "operation": operation, "amount": amount }));
                }
            }
            Body::Raised { exception, .. } => {
                add(
                    Subject::Exceptions,
                    at,
                    json!({
                        "need": exception.need, "class": exception.class, "step": exception.step,
                    }),
                );
            }
            _ => {}
        }
    }
}

/// One item, its fields as variables; reports carry no labels.
struct Item<'a>(&'a Value);

#[derive(Clone, Copy, Debug, PartialEq)]
struct NoLabel;

impl Join for NoLabel {
    fn join(&self, _: &Self) -> Self {
        Self
    }

    fn bottom() -> Self {
        Self
    }
}

impl Env for Item<'_> {
    type Label = NoLabel;

    fn value(&self, root: &str) -> Option<&Value> {
        self.0.get(root)
    }

    fn label(&self, _: &str, _: &[Key<'_>]) -> NoLabel {
        NoLabel
    }
}

/// An expression of a KPI.
struct Formula(Option<Expr>);

impl Formula {
    fn parse(source: Option<&String>) -> Result<Self, Problem> {
        source
            .map(|text| Expr::parse(text))
            .transpose()
            .map(Self)
            .map_err(|e| broken(&e.to_string()))
    }

    fn of(&self, item: &Value) -> Result<Value, Problem> {
        match &self.0 {
            None => Ok(Value::Null),
            Some(expr) => {
                let mut cost = Cost::default();
                let labelled = expr.eval(&Item(item), &mut cost);
                labelled.map(|labelled| labelled.value).map_err(|e| broken(&e.to_string()))
            }
        }
    }
}

fn broken(error: &str) -> Problem {
    Problem::new(Kind::Unexpected, "kpi-broken", format!("a KPI cannot be computed: {error}"))
        .next("correct the expression in kpis.yaml; docs/kpis.md lists the fields of every subject")
}

fn compute(pack: &str, kpi: &Kpi, facts: &[Fact], now: At) -> Result<KpiView, Problem> {
    let filter = Formula::parse(kpi.filter.as_ref())?;
    let value = Formula::parse(kpi.value.as_ref())?;
    let by = Formula::parse(kpi.by.as_ref())?;
    let since = now.saturating_sub(kpi.window_ms);
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    if kpi.by.is_none() {
        groups.insert(String::new(), Group::default());
    }
    let in_window = facts.iter().filter(|f| f.subject == kpi.of && f.at >= since && f.at <= now);
    for fact in in_window {
        let name = match by.of(&fact.item)? {
            Value::Null => String::new(),
            Value::String(text) => text,
            other => other.to_string(),
        };
        let group = groups.entry(name).or_default();
        group.all += 1;
        if filter.0.is_some() && filter.of(&fact.item)? != Value::Bool(true) {
            continue;
        }
        group.hits += 1;
        group.values.extend(value.of(&fact.item)?.as_f64());
    }
    let items = groups.values().map(|group| group.hits).sum();
    let values: BTreeMap<String, Option<f64>> =
        groups.into_iter().map(|(name, group)| (name, group.measure(kpi))).collect();
    let met = kpi.target.as_ref().and_then(Value::as_f64).and_then(|target| {
        let known: Vec<f64> = values.values().copied().flatten().collect();
        let meets = |value: &f64| match kpi.direction {
            Direction::Up => *value >= target,
            Direction::Down => *value <= target,
        };
        (!known.is_empty()).then(|| known.iter().all(meets))
    });
    Ok(KpiView {
        pack: pack.to_owned(),
        name: kpi.name.clone(),
        title: kpi.title.clone(),
        unit: kpi.unit.clone(),
        values,
        items,
        target: kpi.target.clone(),
        direction: match kpi.direction {
            Direction::Up => "up".to_owned(),
            Direction::Down => "down".to_owned(),
        },
        met,
    })
}

#[derive(Default)]
struct Group {
    all: usize,
    hits: usize,
    values: Vec<f64>,
}

impl Group {
    fn measure(mut self, kpi: &Kpi) -> Option<f64> {
        let count = |n: usize| n as f64;
        match kpi.measure {
            Measure::Count => Some(count(self.hits)),
            Measure::Ratio => (self.all > 0).then(|| count(self.hits) / count(self.all)),
            Measure::Sum => Some(self.values.iter().sum()),
            Measure::Avg => (!self.values.is_empty())
                .then(|| self.values.iter().sum::<f64>() / count(self.values.len())),
            Measure::Percentile => {
                // Nearest rank.
                self.values.sort_by(f64::total_cmp);
                let rank = (f64::from(kpi.percentile.unwrap_or(50)) / 100.0
                    * count(self.values.len()))
                .ceil();
                self.values.get((rank as usize).saturating_sub(1)).copied()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECTS: [Subject; 8] = [
        Subject::Runs,
        Subject::Actions,
        Subject::Approvals,
        Subject::Exceptions,
        Subject::Failures,
        Subject::Receipts,
        Subject::Money,
        Subject::Tokens,
    ];

    /// The golden journal of the kernel, and an exception behind it.
    fn journal() -> Vec<Record> {
        let text = include_str!("../../../kernel/tests/golden/journal-v1-m3.json");
        let stored: Vec<Value> = serde_json::from_str(text).unwrap();
        let read = |(seq, line): (usize, &Value)| {
            let bytes = line["event"].as_str().unwrap().as_bytes().to_vec();
            let openings = serde_json::from_value(line["openings"].clone()).unwrap();
            Record::read(seq as u64, bytes, openings).unwrap()
        };
        let mut records: Vec<Record> = stored.iter().enumerate().map(read).collect();
        let mut event = records.last().unwrap().event.clone();
        event.body = serde_json::from_value(json!({"kind": "raised", "exception": {
            "id": format!("exc_{}", "0".repeat(32)), "need": "escalated", "class": "timeout",
            "step": "one", "owner": "approver", "at": 5}}))
        .unwrap();
        records.push(Record::new(event).unwrap());
        records
    }

    #[test]
    fn items_have_exactly_the_fields_that_packs_are_checked_against() {
        let mut facts = Vec::new();
        collect(&journal(), Status::Succeeded, &mut facts);
        let seen = |subject| facts.iter().filter(move |fact: &&Fact| fact.subject == subject);
        for subject in SUBJECTS {
            let fields = subject.fields();
            if subject != Subject::Money && subject != Subject::Tokens {
                assert!(seen(subject).count() > 0, "no {subject:?} in the journal");
            }
            for fact in seen(subject) {
                let item = fact.item.as_object().unwrap();
                assert_eq!(item.len(), fields.len(), "{subject:?}: {item:?}");
                for (name, declared) in &fields {
                    let given = expr::Type::from_schema(&json!({ "const": item[*name] }));
                    assert!(given.fits(declared), "{subject:?}.{name}: {given}, not {declared}");
                }
            }
        }
    }

    /// C293: the 50th, 95th and 99th of a hundred durations, for each step by itself.
    #[test]
    fn percentiles_of_durations_are_told_step_by_step() {
        let facts: Vec<Fact> = (1..=100_i64)
            .rev()
            .flat_map(|ms| [("read", ms), ("write", ms * 10)])
            .map(|(step, ms)| Fact {
                subject: Subject::Actions,
                at: 50,
                item: json!({ "step": step, "took_ms": ms }),
            })
            .collect();
        for percentile in [50_u8, 95, 99] {
            let kpi = Kpi {
                name: "slow".to_owned(),
                title: "How long".to_owned(),
                unit: "ms".to_owned(),
                measure: Measure::Percentile,
                of: Subject::Actions,
                filter: None,
                value: Some("took_ms".to_owned()),
                percentile: Some(percentile),
                by: Some("step".to_owned()),
                window_ms: 1_000,
                target: None,
                direction: Direction::Down,
            };
            let view = compute("p", &kpi, &facts, 100).unwrap();
            let of = |step: &str| view.values[step].unwrap();
            let ms = f64::from(percentile);
            assert_eq!((of("read"), of("write")), (ms, ms * 10.0));
        }
    }

    /// C205: what no class was found for is counted as that, and what has one is not.
    #[test]
    fn a_failure_without_a_class_shows() {
        let report = |bodies: &[Value]| {
            let mut records = journal();
            records.truncate(1);
            for body in bodies {
                let mut event = records[0].event.clone();
                event.seq = records.len() as Seq;
                event.body = serde_json::from_value(body.clone()).unwrap();
                records.push(Record::new(event).unwrap());
            }
            let mut facts = Vec::new();
            collect(&records, Status::Failed, &mut facts);
            let now = records[0].event.at;
            compute("p", &unclassified(), &facts, now).unwrap()
        };
        let all = |view: &KpiView| (view.values[""], view.met);
        let abandoned = json!({"kind": "abandoned", "step": "one", "class": "budget"});
        let label = json!({"confidentiality": "internal", "trust": "verified"});
        let output =
            json!({"bytes": 2, "label": label, "root": format!("sha256:{}", "0".repeat(64))});
        let failed = json!({"kind": "finished", "end": "failed", "output": output, "caveats": []});
        assert_eq!(all(&report(&[])), (None, None));
        assert_eq!(all(&report(std::slice::from_ref(&abandoned))), (Some(0.0), Some(true)));
        let defect = json!({"kind": "raised", "exception": {
            "id": format!("exc_{}", "0".repeat(32)), "need": "defect", "class": "unexpected_shape",
            "step": "", "owner": "approver", "at": 5}});
        assert_eq!(all(&report(&[abandoned.clone(), defect.clone()])), (Some(0.5), Some(false)));
        assert_eq!(all(&report(&[defect])), (Some(1.0), Some(false)));
        // A run that failed, and nothing says of what.
        assert_eq!(all(&report(std::slice::from_ref(&failed))), (Some(1.0), Some(false)));
        assert_eq!(all(&report(&[abandoned, failed])), (Some(0.0), Some(true)));
    }

    #[test]
    fn the_page_names_the_fields_that_packs_are_checked_against() {
        let page = include_str!("../../../../docs/kpis.md");
        for subject in SUBJECTS {
            let word = serde_json::to_value(subject).unwrap();
            let row = format!("| `{}` |", word.as_str().unwrap());
            let row = page.lines().find(|line| line.starts_with(&row)).unwrap_or(page);
            let same = row.contains("as `actions`");
            for (name, _) in subject.fields() {
                let common = ["intent", "agent", "status"].contains(&name);
                let place = if common || same { page } else { row };
                assert!(place.contains(&format!("`{name}`")), "{subject:?}: `{name}` in {row}");
            }
        }
    }
}
