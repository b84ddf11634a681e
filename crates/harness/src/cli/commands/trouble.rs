//! Failures and their ways out, and how systems stand, as text for people.

use serde_json::Value;

use super::render::{list, short_time, text};
use crate::{
    app::value::{counted, plain},
    cli::screen::{Screen, Tone},
};

/// Most characters of a sample that are shown; the JSON answer holds all of it.
const SAMPLE_SHOWN_MAX: usize = 400;

/// What went wrong, and what was done about it.
pub(crate) fn troubles(answer: &Value, screen: &mut Screen) {
    for trouble in list(answer, "/troubles") {
        screen.gap();
        let class = text(trouble, "/class").replace('_', " ");
        let heading =
            format!("{} in step {}", screen.tone(Tone::Warn, &class), text(trouble, "/step"));
        screen.wrapped("", "  ", &heading);
        let attempt = text(trouble, "/attempt");
        if !attempt.is_empty() {
            let operation = text(trouble, "/operation");
            let action = text(trouble, "/action");
            screen.field("failed", &format!("{operation}, action {action}, try {attempt}"));
        }
        show(trouble, screen, &[("said", "/said")]);
        if let Some(sample) = trouble.pointer("/sample").filter(|sample| !sample.is_null()) {
            evidence(sample, screen);
        }
        let taken = [
            ("recovery", "/recovery"),
            ("caveat", "/caveat"),
            ("instead", "/instead/operation"),
            ("trust", "/instead/trust"),
            ("as of", "/instead/as_of"),
            ("owner", "/owner"),
            ("decided", "/decided"),
        ];
        show(trouble, screen, &taken);
        for operation in list(trouble, "/forbids") {
            screen.field("switched off", operation.as_str().unwrap_or_default());
        }
    }
}

fn show(value: &Value, screen: &mut Screen, fields: &[(&str, &str)]) {
    for (name, place) in fields {
        let shown = text(value, place);
        if !shown.is_empty() {
            screen.field(name, &shown);
        }
    }
}

fn evidence(sample: &Value, screen: &mut Screen) {
    if let Some(Value::Object(evidence)) = sample.get("evidence") {
        for (name, value) in evidence {
            screen.field(&name.replace('_', " "), &plain(value));
        }
    }
    let seen = ["answer", "begins", "withheld"].iter().find_map(|part| sample.get(*part));
    if let Some(seen) = seen {
        // Compact JSON has no place to break a line at.
        let shown = plain(seen).replace(",\"", ", \"").replace("},{", "}, {");
        let cut: String = shown.chars().take(SAMPLE_SHOWN_MAX).collect();
        let more = if cut.len() < shown.len() { "…" } else { "" };
        screen.field("the answer", &format!("{cut}{more}"));
    }
}

/// How the systems of packs stand.
pub(crate) fn status(answer: &Value, screen: &mut Screen) {
    let items = list(answer, "/items");
    if items.is_empty() {
        screen.line("No pack is configured.");
    }
    for pack in items {
        screen.heading(&format!("{} {}", text(pack, "/name"), text(pack, "/version")));
        for system in list(pack, "/systems") {
            let state = text(system, "/state");
            let tone = if state == "ok" { Tone::Good } else { Tone::Warn };
            let until = text(system, "/paused_until");
            let until =
                if until.is_empty() { until } else { format!(" until {}", short_time(&until)) };
            screen
                .field(&text(system, "/system"), &format!("{}{until}", screen.tone(tone, &state)));
            if let Some(workers) = system.get("workers") {
                let seen = match text(workers, "/last_seen") {
                    who if who.is_empty() => "nobody has come".to_owned(),
                    who => format!("{who} came {}", short_time(&text(workers, "/last_seen_at"))),
                };
                let (waiting, leased) = (text(workers, "/waiting"), text(workers, "/leased"));
                screen.field("", &format!("{waiting} waiting, {leased} leased, {seen}"));
            }
            let operations = list(system, "/operations");
            for line in operations.iter().filter(|line| line.get("slo").is_some()) {
                screen.field("", &level(line, screen));
            }
            for line in operations.iter().filter(|line| text(line, "/circuit") != "closed") {
                let circuit = text(line, "/circuit").replace('_', " ");
                let open = text(line, "/open_until");
                let open =
                    if open.is_empty() { open } else { format!(" until {}", short_time(&open)) };
                let calls = counted(text(line, "/failures"), "call");
                let operation = text(line, "/operation");
                let what = format!("{operation} {circuit}{open}, {calls} unanswered");
                screen.field("", &what);
            }
        }
    }
}

/// How the last calls of an operation went against what is expected of it.
fn level(line: &Value, screen: &Screen) -> String {
    let of = |pointer: &str| line.pointer(pointer).and_then(Value::as_f64).unwrap_or_default();
    let share = |pointer: &str| format!("{:.1} %", of(pointer) * 100.0);
    let calls = counted(text(line, "/slo/calls"), "call");
    let (operation, p95) = (text(line, "/operation"), text(line, "/slo/p95_ms"));
    let told = format!("{operation} {} of {calls}, p95 {p95} ms", share("/slo/success"));
    if text(line, "/slo/verdict") != "missed" {
        return told;
    }
    let slowest = text(line, "/slo/goal_p95_ms");
    let slowest = if slowest.is_empty() { slowest } else { format!(", p95 {slowest} ms") };
    let goal = format!("goal {}{slowest}", share("/slo/goal_success"));
    format!("{told} {}", screen.tone(Tone::Warn, &goal))
}

/// What failed last in a pack so that a person was needed.
pub(crate) fn failures(answer: &Value, screen: &mut Screen) {
    let items = list(answer, "/items");
    if items.is_empty() {
        let looked_at = counted(text(answer, "/looked_at"), "exception");
        screen.line(&format!("None needed a person, of the latest {looked_at}."));
        return;
    }
    let row = |item: &Value| {
        let of = |at: &str| text(item, &format!("/exception/{at}"));
        let what = format!("{} in {}", of("class").replace('_', " "), of("step"));
        vec![of("id"), what, text(item, "/intent"), of("state"), short_time(&of("opened_at"))]
    };
    let rows: Vec<Vec<String>> = items.into_iter().map(row).collect();
    screen.table(&["exception", "failure", "intent", "state", "since"], &rows);
}
