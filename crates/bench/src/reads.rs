//! Reading a large store over its own wire: lists under filters, what waits, a long run, a decision.

use std::{path::Path, thread, time::Duration};

use futures_util::future::join_all;
use kernel::{
    event::{Body, Event, Record, Role},
    id::{At, Digest, RunId, Seq, Tenant},
    label::{Label, LabelMap},
    port::{Batch, Journal as _},
    project::{Change, RunRow},
    run::Status,
    sealed::Sealed,
};
use serde_json::{Value, json};
use store::Sqlite;

use crate::{
    error::{Broken, Doing as _},
    options::Options,
    report::{Figure, Goal, Report},
    served::{Asked, Client, Files, Served, storm, submission},
    spread::Spread,
};

/// Runs that lists look through, and events of each.
const RUNS: usize = 50_000;
const EVENTS: Seq = 20;
/// Appends handed in at a time.
const APPENDS: usize = 256;
/// When the first of them began, and how far apart they are.
const BEGAN_AT: At = 1_760_000_000_000;
const APART_MS: At = 50_000;
/// Asks that wait.
const WAITING: usize = 10_000;
/// Runs of which random ones are explained.
const EXPLAINED: usize = 10_000;
/// Calls of the long run; each makes five events.
const CALLS: usize = 2_000;
/// What the goals say, in ms.
const FILTER_MS: f64 = 200.0;
const PAGE_MS: f64 = 200.0;
const TIMELINE_MS: f64 = 1_000.0;
const EXPLAIN_MS: f64 = 1_000.0;

/// An intent with a list of sums.
macro_rules! intent {
    ($name:literal) => {
        concat!(
            "schema: harness.intent/v1\nname: ",
            $name,
            "\ntitle: Some sums\nagent: agent:sums\nplaybook: ",
            $name,
            "\ninput:\n  type: object\n  required: [items]\n  additionalProperties: false\n  \
             properties:\n    items: {type: array, minItems: 1, items: {type: string}}\n"
        )
    };
}

const PACK: &Files = &[
    (
        "pack.yaml",
        "schema: harness.pack/v1\nname: sums\nversion: 1.0.0\nowner: bench\ndescription: It adds up.\n\
         harness: \">=0.1\"\nasks: {operations: [sums.add, sums.post], secrets: [], egress: []}\nroles: []\n",
    ),
    ("intents/add.yaml", intent!("add")),
    ("intents/post.yaml", intent!("post")),
    (
        "playbooks/add.yaml",
        "schema: harness.playbook/v1\nname: add\nsteps:\n  - id: each\n    for_each: intent.items\n    \
         as: item\n    max: 10000\n    steps:\n      - id: add\n        do: sums.add\n        \
         with: {expression: \"${{ item }}\"}\n",
    ),
    (
        "playbooks/post.yaml",
        "schema: harness.playbook/v1\nname: post\nsteps:\n  - id: post\n    do: sums.post\n    \
         with: {expression: \"${{ intent.items[0] }}\"}\n",
    ),
    (
        "connectors/sums.yaml",
        "schema: harness.connector/v1\nname: sums\nkind: builtin\n\
         defaults: {labels: {trust: verified, confidentiality: internal}, clearance: {confidentiality: internal}}\n\
         operations:\n  add:\n    effect: read\n    summary: Add up {/expression}.\n    \
         request: {name: calculator.evaluate}\n    input: {type: object, required: [expression], additionalProperties: false, properties: {expression: {type: string}}}\n    \
         output: {type: object, required: [result], properties: {result: {type: string}}}\n  \
         post:\n    effect: write\n    undo: none\n    retry: keyed\n    summary: Post {/expression}.\n    \
         request: {name: calculator.evaluate}\n    input: {type: object, required: [expression], additionalProperties: false, properties: {expression: {type: string}}}\n    \
         output: {type: object, required: [result], properties: {result: {type: string}}}\n",
    ),
    (
        "policies/all.cedar",
        "@id(\"all.it\")\n@reason(\"Everything.\")\npermit (principal, action, resource);\n",
    ),
];

/// The operator permits what the pack does; what cannot be taken back asks all the same.
const POLICY: &str = "[policy]\noperator = [\"pack/policies/all.cedar\"]\n";

/// Item 9.
pub(crate) fn measure(options: &Options, report: &mut Report) -> Result<(), Broken> {
    let folder = tempfile::tempdir_in(&options.dir).doing("make a folder")?;
    let runs = options.pick(RUNS, 400);
    fill(&folder.path().join("store/harness.db"), runs)?;
    let Some(served) = Served::start(options, folder.path(), (PACK, POLICY))? else {
        let why = format!("{} does not serve here", options.binary.display());
        report.add(Figure::unmeasured("lists", "ms", (Goal::AtMost(FILTER_MS), why)));
        return Ok(());
    };
    filters(options, (&served, runs), report)?;
    long_run(options, &served, report)?;
    decisions(options, &served, report)?;
    waiting(options, &served, report)
}

/// Writes runs as the engine would, without their meaning: only lists look at them.
fn fill(path: &Path, runs: usize) -> Result<(), Broken> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.doing("start a runtime")?.block_on(async {
        let store = Sqlite::open(path, store::Options::default()).doing("open the store")?;
        let numbers: Vec<usize> = (0..runs).collect();
        for group in numbers.chunks(APPENDS) {
            let batches = group.iter().map(|n| one_run(*n)).collect::<Result<Vec<_>, _>>()?;
            for appended in join_all(batches.into_iter().map(|b| store.append(b))).await {
                appended.doing("append a run")?;
            }
        }
        store.close().await.doing("close the store")
    })
}

/// Which of so many a run has; every property by a stride of its own.
fn nth(n: usize, (stride, of): (usize, usize)) -> usize {
    n.wrapping_mul(2_654_435_761).wrapping_shr(7).wrapping_add(n * stride) % of
}

const CUSTOMERS: (usize, usize) = (3, 5_000);
const ACCOUNTS: (usize, usize) = (5, 500);
const AGENTS: (usize, usize) = (7, 20);
const INTENTS: (usize, usize) = (11, 25);
const OPERATIONS: (usize, usize) = (13, 40);

/// As the product writes subjects; if it did so differently, the lists below would be empty, which fails.
fn subject(kind: &str, value: &str) -> String {
    let tenant = Tenant::default();
    let parts = [tenant.as_str().as_bytes(), kind.as_bytes(), value.as_bytes()];
    let hex = Digest::of_parts("harness/subject/v1", &parts).hex();
    format!("{kind}:{}", hex.get(..24).unwrap_or_default())
}

fn row_of(n: usize) -> RunRow {
    let opened_at = BEGAN_AT + n as At * APART_MS;
    let subjects = vec![
        subject("customer", &format!("C{}", nth(n, CUSTOMERS))),
        subject("account", &format!("A{}", nth(n, ACCOUNTS))),
    ];
    RunRow {
        status: if n.is_multiple_of(9) { Status::Failed } else { Status::Succeeded },
        intent: format!("intent_{}", nth(n, INTENTS)),
        pack: format!("pack-{}@1.{}.0", n % 5, n / 20_000),
        agent: format!("agent:a{}", nth(n, AGENTS)),
        on_behalf_of: "person:mira".to_owned(),
        subjects,
        opened_at,
        at: opened_at + 5_000,
        events: EVENTS,
    }
}

fn one_run(n: usize) -> Result<Batch, Broken> {
    let tenant = Tenant::default();
    let run = RunId::of_intent(&tenant, "reads", &n.to_string());
    let row = row_of(n);
    let mut records: Vec<Record> = Vec::with_capacity(EVENTS as usize);
    for seq in 0..EVENTS {
        let body = if seq % 6 == 1 {
            let which = nth(n + seq as usize, OPERATIONS);
            // Half of the agents use one operation, half the other: together they are on no run.
            let odd = if nth(n, AGENTS).is_multiple_of(2) { "sys.even" } else { "sys.odd" };
            proposed(seq, if seq == 1 { odd.to_owned() } else { format!("sys.op{which}") })?
        } else {
            Body::Ticked
        };
        let prev_hash = records.last().map_or_else(Digest::default, |last| last.hash);
        let at = row.opened_at + seq as At;
        let event = Event { v: 1, run: run.clone(), seq, at, body, prev_hash };
        records.push(Record::new(event).doing("write an event")?);
    }
    Ok(Batch {
        tenant,
        run,
        expected_seq: 0,
        epoch: 0,
        records,
        receipts: Vec::new(),
        changes: vec![Change::Run(Box::new(row))],
        consumed: Vec::new(),
        wake_at: None,
        reach: None,
    })
}

fn proposed(seq: Seq, operation: String) -> Result<Body, Broken> {
    let args = json!({ "account": "ACC-0042", "value": seq });
    let args = Sealed::new(std::sync::Arc::new(args), LabelMap::default(), [7; 16]);
    Ok(Body::Proposed {
        step: "step".to_owned(),
        operation: operation.parse().doing("name an operation")?,
        definition: Digest::default(),
        args: args.doing("seal a value")?,
        resource: None,
        existence: Label::default(),
        attempt: 1,
        origin: seq,
        because: Role::Step,
        proposer: None,
    })
}

/// Median and 99th percentile of some times, in ms.
fn tell(report: &mut Report, name: &str, (mut times, most): (Vec<f64>, f64)) {
    times.sort_by(f64::total_cmp);
    let at = (times.len() * 99 / 100).min(times.len().saturating_sub(1));
    let p99 = times.get(at).copied().unwrap_or_default();
    report.add(Figure::new(name, (Spread::of(times), "ms"), None, Goal::None));
    let name = format!("{name}, 99th percentile");
    report.add(Figure::new(name, (Spread::of(vec![p99]), "ms"), None, Goal::AtMost(most)));
}

/// Each filter alone and all of them together, every time with other values.
fn filters(
    options: &Options,
    (served, runs): (&Served, usize),
    report: &mut Report,
) -> Result<(), Broken> {
    let day = |n: usize| {
        let at = |ms: At| ms.div_euclid(86_400_000) * 86_400_000;
        let from = at(BEGAN_AT + n as At * APART_MS);
        format!("since={}&until={}", date(from), date(from + 86_400_000))
    };
    let customer = |n: usize| format!("customer=C{}", nth(n, CUSTOMERS));
    let account = |n: usize| format!("account=A{}", nth(n, ACCOUNTS));
    let agent = |n: usize| format!("agent=agent:a{}", nth(n, AGENTS));
    let intent = |n: usize| format!("intent=intent_{}", nth(n, INTENTS));
    let operation = |n: usize| format!("operation=sys.op{}", nth(n + 7, OPERATIONS));
    let status =
        |n: usize| format!("status={}", if n.is_multiple_of(9) { "failed" } else { "succeeded" });
    let pack = |n: usize| format!("pack=pack-{}", n % 5);
    let apart = |n: usize| {
        let odd = if nth(n, AGENTS).is_multiple_of(2) { "odd" } else { "even" };
        format!("operation=sys.{odd}&agent=agent:a{}", nth(n, AGENTS))
    };
    let all =
        |n: usize| [customer(n), account(n), agent(n), operation(n), day(n), intent(n)].join("&");
    let most = |n: usize| [agent(n), operation(n), status(n), pack(n), intent(n)].join("&");
    type Asks<'a> = &'a dyn Fn(usize) -> String;
    let asks: [(&str, Asks<'_>, usize); 11] = [
        ("nothing", &|_| String::new(), 1),
        ("customer", &customer, 1),
        ("account", &account, 1),
        ("agent", &agent, 1),
        ("operation", &operation, 1),
        ("time", &day, 1),
        ("intent", &intent, 1),
        ("status and pack", &|n| [status(n), pack(n)].join("&"), 1),
        ("all six", &all, 1),
        ("agent, operation, status, pack and intent", &most, 1),
        ("two that no run has both of", &apart, 0),
    ];
    let mut client = Client::new(served)?;
    for (name, query, least) in asks {
        let mut times = Vec::new();
        for round in 0..options.pick(200, 5) {
            let n = round * 7_919 % runs;
            let (page, took) = client.json(&format!("/v1/runs?limit=50&{}", query(n)))?;
            let count = page.get("items").and_then(Value::as_array).map_or(0, Vec::len);
            if count < least || least == 0 && count > 0 {
                return Err(Broken::new("list what is there", format!("{count}: {}", query(n))));
            }
            times.push(took);
        }
        tell(report, &format!("50 of {runs} runs by {name}"), (times, FILTER_MS));
    }
    Ok(())
}

/// A date in UTC.
fn date(at: At) -> String {
    // Howard Hinnant's days-to-civil; the range here needs no eras before the common one.
    let z = at.div_euclid(86_400_000) + 719_468;
    let (era, doe) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + At::from(month <= 2);
    format!("{year:04}-{month:02}-{:02}", doy - (153 * mp + 2) / 5 + 1)
}

/// Waits until a figure is there.
fn wait_for(served: &Served, (figure, wanted): (&str, u64)) -> Result<(), Broken> {
    let mut before = (served.figure(figure)?, 0);
    while before.0 < wanted {
        thread::sleep(Duration::from_millis(200));
        let now = served.figure(figure)?;
        before = (now, if now == before.0 { before.1 + 1 } else { 0 });
        if before.1 > 300 {
            return Err(Broken::new("wait", format!("{figure} stays at {now}, not {wanted}")));
        }
    }
    Ok(())
}

fn items(count: usize) -> Value {
    json!({ "items": (0..count).map(|n| format!("{n} + 1")).collect::<Vec<_>>() })
}

/// One run of many events: as data, its journal, and the page people look at.
fn long_run(options: &Options, served: &Served, report: &mut Report) -> Result<(), Broken> {
    let calls = options.pick(CALLS, 40);
    let before = served.figure("harness_receipts")?;
    let answer = served.ask(&submission("long", ("add", items(calls)))).doing("submit")?;
    let answer: Value = serde_json::from_slice(&answer).doing("read an answer")?;
    let run = answer.pointer("/run/id").and_then(Value::as_str).unwrap_or_default().to_owned();
    wait_for(served, ("harness_receipts", before + calls as u64 + 1))?;
    let (cookie, mut client) = (served.sign_in()?, Client::new(served)?);
    let (detail, _) = client.json(&format!("/v1/runs/{run}"))?;
    let events = detail.pointer("/run/events").and_then(Value::as_u64).unwrap_or_default();
    let asks = [
        ("as data", Asked::get(&format!("/v1/runs/{run}"))),
        ("200 of its events as data", Asked::get(&format!("/v1/runs/{run}/events?limit=200"))),
        ("its page with the timeline", Asked::page(&format!("/runs/{run}"), &cookie)),
        ("its page with the journal", Asked::page(&format!("/runs/{run}?view=events"), &cookie)),
    ];
    for (name, asked) in asks {
        let mut times = Vec::new();
        for _ in 0..options.pick(20, 2) {
            times.push(client.ask(&asked)?.1);
        }
        tell(report, &format!("a run of {events} events: {name}"), (times, TIMELINE_MS));
    }
    Ok(())
}

/// Random decisions of many runs, from the run to the whole path.
fn decisions(options: &Options, served: &Served, report: &mut Report) -> Result<(), Broken> {
    let runs = options.pick(EXPLAINED, 128);
    let before = served.figure("harness_receipts")?;
    let each = runs.div_ceil(crate::served::CONNECTIONS);
    let storm =
        storm(served, each, &|c, n| submission(&format!("sum {c} {n}"), ("add", items(5))))?;
    let rate = Spread::of(vec![storm.per_second]);
    report.add(Figure::new("submissions of five calls each", (rate, "1/s"), None, Goal::None));
    let runs = each * crate::served::CONNECTIONS;
    wait_for(served, ("harness_receipts", before + runs as u64 * 6))?;
    let mut client = Client::new(served)?;
    let (mut ids, mut after) = (Vec::new(), String::new());
    while ids.len() < runs {
        let (page, _) = client.json(&format!("/v1/runs?intent=add&limit=200{after}"))?;
        let items = page.get("items").and_then(Value::as_array).into_iter().flatten();
        ids.extend(items.filter_map(|run| run.get("id")?.as_str().map(str::to_owned)));
        let Some(next) = page.get("next").and_then(Value::as_str) else { break };
        after = format!("&after={next}");
    }
    let mut times = Vec::new();
    for round in 0..options.pick(300, 10) {
        let run = ids.get(nth(round, (17, ids.len()))).map_or("", String::as_str);
        let (receipts, first) = client.json(&format!("/v1/runs/{run}/receipts"))?;
        let receipt = receipts.pointer(&format!("/items/{}/id", round % 5));
        let receipt = receipt.and_then(Value::as_str).unwrap_or_default();
        let (told, second) = client.json(&format!("/v1/explanations/{receipt}"))?;
        if told.pointer("/items/0/receipt").and_then(Value::as_str) != Some(receipt) {
            return Err(Broken::new("explain a decision", run));
        }
        times.push(first + second);
    }
    tell(report, &format!("explain a random decision of {} runs", ids.len()), (times, EXPLAIN_MS));
    Ok(())
}

/// Many asks that wait: their list, the page with the first of them, and one opened.
fn waiting(options: &Options, served: &Served, report: &mut Report) -> Result<(), Broken> {
    let asks = options.pick(WAITING, 128);
    let each = asks.div_ceil(crate::served::CONNECTIONS);
    let _storm =
        storm(served, each, &|c, n| submission(&format!("post {c} {n}"), ("post", items(1))))?;
    let asks = each * crate::served::CONNECTIONS;
    wait_for(served, ("harness_approvals_open", asks as u64))?;
    let (cookie, mut client) = (served.sign_in()?, Client::new(served)?);
    let (list, _) = client.json("/v1/approvals?limit=200")?;
    let next = list.get("next").and_then(Value::as_str).unwrap_or_default().to_owned();
    let last = list.pointer("/items/99/id").and_then(Value::as_str).unwrap_or_default();
    let questions = [
        ("50 as data", Asked::get("/v1/approvals?limit=50")),
        ("the page", Asked::page("/approvals", &cookie)),
        ("a later page", Asked::page(&format!("/approvals?after={next}"), &cookie)),
        ("one opened", Asked::page(&format!("/approvals/{last}"), &cookie)),
    ];
    for (name, asked) in questions {
        let mut times = Vec::new();
        for _ in 0..options.pick(50, 2) {
            times.push(client.ask(&asked)?.1);
        }
        tell(report, &format!("{asks} asks that wait: {name}"), (times, PAGE_MS));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_written_as_people_write_them() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(BEGAN_AT), "2025-10-09");
        assert_eq!(date(951_782_400_000), "2000-02-29");
    }
}
