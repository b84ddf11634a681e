//! Packs: what each may do, how its systems stand, what failed last, and its measures against their targets.

use maud::{Markup, PreEscaped, html};
use serde_json::Value;

use crate::{
    app::{
        failures::{FailureLine, Failures},
        kpis::{KpiReport, KpiView},
        packs::{
            Did, PackDetail, PackList, PackStatus, PackStatusList, PackView, SloStatus,
            SystemStatus,
        },
    },
    ui::{
        icons::Icon,
        parts::{self, Tone},
        shell::{Frame, Page, Place},
        times,
    },
};

/// The list.
pub(crate) fn list(frame: &Frame, packs: &PackList, status: &PackStatusList) -> Markup {
    let of = |name: &str| status.items.iter().find(|status| status.name == name);
    let body = html! {
        div.stack {
            div.head { h1 { "Packs" } p.meta { (packs.items.len()) " here" } }
            div.card #packs data-patch data-any {
                @if packs.items.is_empty() { (parts::empty(Icon::Half, "There is no pack", html! { code { "harness pack install FOLDER" } " installs one" })) }
                ul.list { @for pack in &packs.items { li { a.item href={ "/packs/" (pack.name) } data-item {
                    span.what { (pack.name) " " (pack.version) }
                    (standing(pack, of(&pack.name)))
                    span.meta { (pack.description) }
                    span.meta.when { "owner " (pack.owner) }
                } } } }
            }
        }
    };
    frame.page(&Page { place: Place::Packs, title: "Packs", run: None, layout: "", body })
}

/// Whether a pack takes work at all, else how its systems stand.
fn standing(pack: &PackView, status: Option<&PackStatus>) -> Markup {
    match pack.state.as_str() {
        "off" => parts::tag(Tone::Warn, Icon::Pause, "Switched off"),
        "broken" => parts::tag(Tone::Bad, Icon::Alert, "Not in force"),
        _ => health(status),
    }
}

/// How a pack's systems stand, together.
fn health(status: Option<&PackStatus>) -> Markup {
    let systems = status.map(|status| status.systems.as_slice()).unwrap_or_default();
    let worst = |state: &str| systems.iter().filter(|system| system.state == state).count();
    match (worst("impaired"), worst("paused"), worst("degraded"), systems.is_empty()) {
        (0, 0, 0, true) => parts::tag(Tone::Calm, Icon::Half, "Not called yet"),
        (0, 0, 0, false) => parts::tag(Tone::Good, Icon::Check, "Systems answer"),
        (0, 0, degraded, _) => {
            parts::tag(Tone::Warn, Icon::Alert, &format!("{degraded} below the goal"))
        }
        (0, paused, ..) => {
            parts::tag(Tone::Warn, Icon::Pause, &format!("{paused} asked for a pause"))
        }
        (impaired, ..) => parts::tag(Tone::Bad, Icon::Alert, &format!("{impaired} impaired")),
    }
}

/// Everything about one pack.
#[derive(Debug)]
pub(crate) struct Shown<'a> {
    pub(crate) pack: &'a PackDetail,
    pub(crate) status: Option<&'a PackStatus>,
    pub(crate) kpis: &'a KpiReport,
    pub(crate) failures: &'a Failures,
}

/// One pack.
pub(crate) fn detail(frame: &Frame, shown: &Shown<'_>) -> Markup {
    let pack = &shown.pack.pack;
    let body = html! {
        div.stack {
            p { a href="/packs" { "All packs" } }
            div.card {
                header {
                    div { h1 { (pack.name) " " (pack.version) } p { (pack.description) } p.meta { "owner " strong { (pack.owner) } " · " (pack.signature) " · " (parts::digest(&pack.digest)) " " (parts::copy(&pack.digest, "digest")) } }
                    (standing(pack, shown.status))
                }
                @for warning in &pack.warnings { (parts::note(Tone::Warn, Icon::Alert, html! { (warning) })) }
            }
            (kpis(frame, shown.kpis))
            (systems(frame, shown.status))
            (failures(frame, shown.failures))
            (permissions(pack))
            (history(frame, shown.pack))
        }
    };
    frame.page(&Page { place: Place::Packs, title: &pack.name, run: None, layout: "", body })
}

fn kpis(frame: &Frame, report: &KpiReport) -> Markup {
    html! {
        section.card #kpis data-patch data-any aria-labelledby="kpis-title" {
            header { div { h2 #kpis-title { "Measures" } p.meta { "computed from journals, up to " (parts::time(&report.until, frame.now)) } } }
            @if report.items.is_empty() { (parts::empty(Icon::Half, "This pack measures nothing", html! { "kpis.yaml declares measures" })) }
            @else { div.kpis { @for kpi in &report.items { (measure(kpi)) } } }
        }
    }
}

fn measure(kpi: &KpiView) -> Markup {
    let target = kpi.target.as_ref().and_then(Value::as_f64);
    html! {
        div.kpi {
            h3 { (kpi.title) }
            @match kpi.met {
                Some(true) => (parts::tag(Tone::Good, Icon::Check, "Meets its target")),
                Some(false) => (parts::tag(Tone::Bad, Icon::Alert, "Misses its target")),
                None if target.is_none() => (parts::tag(Tone::Calm, Icon::Half, "No target")),
                None => (parts::tag(Tone::Calm, Icon::Clock, "Nothing to measure yet")),
            }
            @for (group, value) in &kpi.values { (one(kpi, (group, *value), target)) }
            @if kpi.values.is_empty() { p.meta { "no value yet" } }
            p.meta {
                @if let Some(target) = target { "target " (if kpi.direction == "up" { "at least" } else { "at most" }) " " (amount(target, &kpi.unit)) " · " }
                "from " (kpi.items)
            }
        }
    }
}

fn one(kpi: &KpiView, (group, value): (&str, Option<f64>), target: Option<f64>) -> Markup {
    let Some(value) = value else {
        return html! { p.meta { @if !group.is_empty() { (group) ": " } "no value yet" } };
    };
    let good =
        target.map(|target| if kpi.direction == "up" { value >= target } else { value <= target });
    let class = match good {
        Some(true) => "ok",
        Some(false) => "bad",
        None => "plain",
    };
    html! {
        div {
            @if group.is_empty() { p.value { (amount(value, &kpi.unit)) } }
            @else { p { span.meta { (group) " " } span.strong { (amount(value, &kpi.unit)) } } }
            (gauge(class, value, target))
        }
    }
}

/// A value against its target: the bar is the value, the line the target.
fn gauge(class: &'static str, value: f64, target: Option<f64>) -> Markup {
    let most = value.max(target.unwrap_or(0.0)).max(f64::MIN_POSITIVE) * 1.15;
    let share = |number: f64| format!("{:.2}%", (number / most).clamp(0.0, 1.0) * 100.0);
    let line = target.map_or_else(String::new, |target| {
        let x = share(target);
        format!("<line class=\"target\" x1=\"{x}\" x2=\"{x}\" y1=\"0\" y2=\"14\"></line>")
    });
    let width = share(value);
    // Ours alone: numbers and a class from a closed set.
    let drawn = PreEscaped(format!(
        "<rect class=\"rail-line\" x=\"0\" y=\"4\" width=\"100%\" height=\"6\" rx=\"3\"></rect>\
         <rect class=\"{class}\" x=\"0\" y=\"4\" width=\"{width}\" height=\"6\" rx=\"3\"></rect>{line}"
    ));
    html! { svg.gauge aria-hidden="true" focusable="false" { (drawn) } }
}

fn amount(value: f64, unit: &str) -> String {
    match unit {
        "ms" => times::span(value as i64),
        "share" => format!("{:.1} %", value * 100.0),
        _ if value == 1.0 => format!("1 {}", unit.trim_end_matches('s')),
        _ if value.fract() == 0.0 => format!("{value:.0} {unit}"),
        _ => format!("{value:.2} {unit}"),
    }
}

fn systems(frame: &Frame, status: Option<&PackStatus>) -> Markup {
    let systems = status.map(|status| status.systems.as_slice()).unwrap_or_default();
    html! {
        section.card #systems data-patch data-any aria-labelledby="systems-title" {
            header { h2 #systems-title { "Systems" } }
            @if systems.is_empty() { (parts::empty(Icon::Half, "Not called yet", html! { "since this process began" })) }
            @else { div.wide { table.cards {
                thead { tr { th scope="col" { "System" } th scope="col" { "State" } th scope="col" { "Operations called" } } }
                tbody { @for system in systems { (system_row(frame, system)) } }
            } } }
        }
    }
}

fn system_row(frame: &Frame, system: &SystemStatus) -> Markup {
    html! { tr {
        td { span.strong { (system.system) } }
        td { @match system.state.as_str() {
            "ok" => (parts::tag(Tone::Good, Icon::Check, "Answers")),
            "degraded" => (parts::tag(Tone::Warn, Icon::Alert, "Below its goal")),
            "paused" => { (parts::tag(Tone::Warn, Icon::Pause, "Asked for a pause")) @if let Some(until) = &system.paused_until { " until " (parts::time(until, frame.now)) } }
            _ => (parts::tag(Tone::Bad, Icon::Alert, "Impaired")),
        } }
        td { ul.lines { @for operation in &system.operations { li {
            code { (operation.operation) } " "
            @if operation.circuit == "closed" { span.meta { @if operation.failures > 0 { "not answered " (operation.failures) "× in a row" } @else { "answers" } } }
            @else { (parts::tag(Tone::Bad, Icon::Alert, &format!("circuit {}", parts::words(&operation.circuit)))) " " span.meta { "not answered " (operation.failures) "× in a row" } }
            @if let Some(slo) = &operation.slo { " " (level(slo)) }
        } } } }
    } }
}

/// How the last calls went, and what was expected where less came of it.
fn level(slo: &SloStatus) -> Markup {
    let share = |share: f64| format!("{:.1} %", share * 100.0);
    let calls = if slo.calls == 1 { "call" } else { "calls" };
    let goal = match slo.goal_p95_ms {
        Some(ms) => {
            format!("goal {}, p95 {}", share(slo.goal_success), times::span(ms.cast_signed()))
        }
        None => format!("goal {}", share(slo.goal_success)),
    };
    html! {
        span.meta { "· " (share(slo.success)) " of " (slo.calls) " " (calls) ", p95 " (times::span(slo.p95_ms.cast_signed())) }
        @if slo.verdict == "missed" { " " (parts::tag(Tone::Warn, Icon::Alert, &goal)) }
    }
}

fn failures(frame: &Frame, failures: &Failures) -> Markup {
    html! {
        section.card #failures data-patch data-any aria-labelledby="failures-title" {
            header { div { h2 #failures-title { "Last failures" } p.meta { "that needed a person" } } }
            @if failures.items.is_empty() { (parts::empty(Icon::Check, "None needed a person", html! { "of the latest " (failures.looked_at) " exceptions" })) }
            @else { ul.list { @for line in &failures.items { (failure(frame, line)) } } }
        }
    }
}

fn failure(frame: &Frame, line: &FailureLine) -> Markup {
    html! { li { a.item href={ "/exceptions/" (line.exception.id) } data-item {
        span.what { (parts::title(&line.exception.class)) " in " (line.exception.step) }
        @if line.exception.state == "open" { (parts::tag(Tone::Bad, Icon::Person, "Open")) } @else { (parts::tag(Tone::Good, Icon::Check, "Settled")) }
        span.meta { (parts::words(&line.exception.need)) " · " (parts::words(&line.intent)) }
        span.meta.when { (parts::time(&line.exception.opened_at, frame.now)) }
    } } }
}

/// Who installed, replaced and switched it; a configured pack has none.
fn history(frame: &Frame, pack: &PackDetail) -> Markup {
    let did = |did: Did| match did {
        Did::Installed => "Installed",
        Did::Upgraded => "Upgraded to",
        Did::RolledBack => "Rolled back to",
        Did::Enabled => "Switched on",
        Did::Disabled => "Switched off",
    };
    html! { @if !pack.changes.is_empty() {
        section.card aria-labelledby="history" {
            header { div { h2 #history { "What was done to it" } p.meta { "runs in flight stay with the version they began with" } } }
            ul.list { @for change in &pack.changes { li { div.item {
                span.what { (did(change.did)) " " (change.version) }
                (parts::digest(&change.digest))
                span.meta { (change.by) }
                span.meta.when { (parts::time(&change.at, frame.now)) }
            } } } }
        }
    } }
}

fn permissions(pack: &PackView) -> Markup {
    let list = |items: &[String]| {
        html! { @if items.is_empty() { span.meta { "none" } } @else { ul.lines.flow { @for item in items { li { code { (item) } } } } } }
    };
    html! {
        section.card aria-labelledby="permissions" {
            header { div { h2 #permissions { "What it asks for" } p.meta { "and nothing beyond: your own policy narrows it further" } } }
            section { dl.kv {
                dt { "Intents" } dd { (list(&pack.intents)) }
                dt { "Operations" } dd { (list(&pack.operations)) }
                dt { "Secrets, by name" } dd { (list(&pack.secrets)) }
                dt { "Places data may leave to" } dd { (list(&pack.egress)) }
            } }
        }
    }
}
