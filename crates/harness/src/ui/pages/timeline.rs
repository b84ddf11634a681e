//! The timeline: one row a step, bars by state, quiet time drawn short, a table that says the same.

use maud::{Markup, PreEscaped, html};

use crate::{
    app::{
        lanes::{Bar, Lane, Lanes, PlannedLane, Try},
        runs::RunView,
    },
    ui::{
        icons::Icon,
        parts::{self, Tone},
        scale::{Break, Scale, Span},
        shell::Frame,
        times,
    },
};

/// The run beside an ask: no tabs, the first page only.
pub(super) fn brief(frame: &Frame, run: &RunView, lanes: &Lanes) -> Markup {
    html! {
        section.card aria-labelledby="timeline-title" {
            header {
                div {
                    h2 #timeline-title { "Run timeline" }
                    p.meta {
                        a href={ "/runs/" (run.id) } { (super::card::short_run(&run.id)) }
                        " · " (parts::words(&run.intent)) " · began " (parts::time(&run.opened_at, frame.now))
                    }
                }
                (parts::status(&run.status))
            }
            (drawing(frame, lanes))
            @if lanes.next.is_some() { p.row { a href={ "/runs/" (run.id) } { "All " (lanes.total) " steps" } } }
        }
    }
}

/// Axis, lanes and legend.
pub(super) fn drawing(frame: &Frame, lanes: &Lanes) -> Markup {
    let scale = scale_of(lanes);
    let row = Row { frame, lanes, scale: &scale };
    html! {
        (defs())
        @if lanes.items.is_empty() { (parts::empty(Icon::Clock, "Nothing has begun", html! { "Steps show here as they begin" })) }
        @else { (axis(&scale)) }
        ol.lanes #lanes start=(lanes.skipped + 1) {
            @for lane in &lanes.items { (row.lane(lane)) }
            @for (at, planned) in lanes.planned.iter().enumerate() { (row.planned(at, planned)) }
        }
        (legend(lanes, &scale))
    }
}

fn is_quiet(bar: &Bar) -> bool {
    matches!(bar.state.as_str(), "waiting" | "in_doubt")
}

fn scale_of(lanes: &Lanes) -> Scale {
    let bars = lanes.items.iter().flat_map(|lane| lane.bars.iter());
    let spans: Vec<Span> = bars
        .map(|bar| Span {
            from: bar.from,
            until: bar.until.unwrap_or(lanes.now).max(bar.from),
            quiet: is_quiet(bar),
        })
        .collect();
    Scale::of(&spans)
}

/// The class of a state: nothing but these ever stands in an attribute.
fn bar_class(state: &str) -> &'static str {
    match state {
        "checked" => "checked",
        "waiting" => "waiting",
        "executed" => "executed",
        "failed" => "failed",
        "taken_back" => "taken_back",
        _ => "in_doubt",
    }
}

fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}

/// Hatchings, once a page: colours follow the scheme through classes.
fn defs() -> Markup {
    let hatch = |id: &str, class: &str| {
        html! {
            pattern id=(id) width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                line.(class) x1="0" y1="0" x2="0" y2="6" {}
            }
        }
    };
    html! {
        svg.defs aria-hidden="true" focusable="false" { defs {
            (hatch("hatch-waiting", "hatch-warn")) (hatch("hatch-in_doubt", "hatch-bad"))
        } }
    }
}

/// Attributes whose names `maud` would read as a path of elements are written here.
fn rect(class: &str, (x, width): (f64, f64)) -> Markup {
    let fill = match class {
        "waiting" | "in_doubt" => format!(" fill=\"url(#hatch-{class})\""),
        _ => String::new(),
    };
    let (x, width) = (percent(x), percent(width));
    // Everything here is ours: a class from a closed set and two numbers.
    PreEscaped(format!(
        "<rect class=\"b-{class}\" x=\"{x}\" y=\"4\" width=\"{width}\" height=\"12\" rx=\"2\"{fill}></rect>"
    ))
}

/// The mark of a break: the row is cut, with a jagged line at both edges.
fn cut(found: &Break) -> Markup {
    let edge = |x: f64| {
        format!(
            "<svg x=\"{}\" y=\"0\" width=\"6\" height=\"20\" overflow=\"visible\">\
             <path class=\"break-line\" d=\"M0 0 3 3.3 0 6.6 3 10 0 13.3 3 16.6 0 20\"></path></svg>",
            percent(x)
        )
    };
    let (x, width) = (found.x + found.width * 0.35, found.width * 0.3);
    PreEscaped(format!(
        "<rect class=\"break\" x=\"{}\" y=\"0\" width=\"{}\" height=\"20\"></rect>{}{}",
        percent(x),
        percent(width),
        edge(x),
        edge(x + width)
    ))
}

fn axis(scale: &Scale) -> Markup {
    html! {
        div.axis {
            span { "Step" }
            svg.bars role="img" aria-label=(axis_words(scale)) {
                text x="0" y="13" { "0" }
                @for found in &scale.breaks {
                    (label(found.x + found.width / 2.0, "middle", &times::span(found.ms)))
                }
                @if scale.breaks.iter().all(|found| found.x + found.width < 0.9) {
                    (label(1.0, "end", &times::span(scale.total_ms)))
                }
            }
            span.right { "Took" }
        }
    }
}

fn label(x: f64, anchor: &str, text: &str) -> Markup {
    PreEscaped(format!(
        "<text x=\"{}\" y=\"13\" text-anchor=\"{anchor}\">{text}</text>",
        percent(x)
    ))
}

fn axis_words(scale: &Scale) -> String {
    let cuts: Vec<String> = scale.breaks.iter().map(|found| times::span(found.ms)).collect();
    let total = times::span(scale.total_ms);
    match cuts.is_empty() {
        true => format!("{total} in all"),
        false => format!("{total} in all; quiet time is drawn short: {}", cuts.join(", ")),
    }
}

struct Row<'a> {
    frame: &'a Frame,
    lanes: &'a Lanes,
    scale: &'a Scale,
}

impl Row<'_> {
    fn lane(&self, lane: &Lane) -> Markup {
        let running = lane.bars.last().is_some_and(|bar| bar.until.is_none());
        html! {
            li #{ "lane-" (lane.seq) } { details #{ "tries-" (lane.seq) } {
                summary.lane {
                    span.name {
                        span.strong { (lane.number) " " (lane_title(lane)) }
                        span.meta { (lane_words(lane)) }
                    }
                    (self.bars(lane))
                    span.took {
                        @if running { (running_word(lane)) " " }
                        (took(lane, self.lanes.now))
                    }
                }
                div.tries { (self.tries(lane)) }
            } }
        }
    }

    fn bars(&self, lane: &Lane) -> Markup {
        html! {
            svg.bars role="img" aria-label=(bar_words(lane, self.lanes.now)) {
                @for bar in &lane.bars {
                    (rect(bar_class(&bar.state), self.scale.bar(bar.from, bar.until.unwrap_or(self.lanes.now))))
                }
                @for found in &self.scale.breaks { (cut(found)) }
            }
        }
    }

    fn planned(&self, at: usize, planned: &PlannedLane) -> Markup {
        let asks = match planned.asks.as_str() {
            "always" => ", will ask",
            "maybe" => ", may ask",
            "denied" => ", policy will refuse it",
            _ => "",
        };
        html! {
            li #{ "planned-" (at) } { div.lane {
                span.name {
                    span.strong { (step_words(&planned.step)) }
                    span.meta { (planned.operation) " · planned" (asks) }
                }
                svg.bars role="img" aria-label="planned" { (rect("planned", (0.97, 0.03))) }
                span.took.meta { "planned" }
            } }
        }
    }

    fn tries(&self, lane: &Lane) -> Markup {
        html! {
            dl.kv {
                dt { "Step" } dd { code { (lane.step) } }
                @if !lane.verdict.is_empty() {
                    dt { "Policy" }
                    dd { (parts::title(&lane.verdict)) @if !lane.rules.is_empty() { ": " (lane.rules.join(", ")) } }
                }
                dt { "Outcome" } dd { (parts::outcome(&lane.outcome)) }
                @if let Some(receipt) = &lane.receipt { dt { "Receipt" } dd { a href={ "/receipts/" (receipt) } { (parts::digest(receipt)) } } }
            }
            @if !lane.tries.is_empty() {
                div.wide tabindex="0" role="group" aria-label={ "Calls of step " (lane.number) } { table.cards {
                    thead { tr {
                        th scope="col" { "Call" } th scope="col" { "For" } th scope="col" { "Sent" }
                        th.num scope="col" { "Took" } th scope="col" { "Outcome" }
                    } }
                    tbody { @for call in &lane.tries { (self.call(call)) } }
                } }
            }
        }
    }

    fn call(&self, call: &Try) -> Markup {
        let at = call.at.and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
        html! {
            tr {
                td { code { (call.operation) } }
                td data-label="For" { (purpose(&call.role)) }
                td data-label="Sent" { @match at { Some(at) => (parts::time(&at.to_string(), self.frame.now)), None => span.meta { "not sent" } } }
                td.num data-label="Took" { @if let Some(took) = call.took_ms { (times::span(took)) } }
                td {
                    (parts::outcome(&call.outcome))
                    @if let Some(failure) = &call.failure { br; span.meta { "It said: " (failure) } }
                }
            }
        }
    }
}

fn purpose(role: &str) -> &str {
    match role {
        "step" => "the step",
        "undo" => "taking back",
        "before" => "what is there before",
        "preview" => "a preview",
        "refresh" => "whether it moved",
        "after" => "what is there after",
        "probe" => "whether it happened",
        "compare" => "whether the world moved",
        "hook" => "what a hook says",
        other => other,
    }
}

fn lane_title(lane: &Lane) -> String {
    if lane.summary.is_empty() { step_words(&lane.step) } else { lane.summary.clone() }
}

/// The last part of a step's path, as words. A tool that an agent may call has no number yet.
fn step_words(step: &str) -> String {
    let last = step.rsplit('/').next().unwrap_or(step);
    parts::title(&last.trim_end_matches("[]").replace('.', " "))
}

fn lane_words(lane: &Lane) -> String {
    let what = lane.operation.clone().unwrap_or_else(|| parts::words(&lane.step));
    let verdict = match lane.verdict.as_str() {
        "allow" => " · allowed",
        "ask" => " · a person is asked",
        "deny" => " · denied",
        _ => "",
    };
    let tries = lane.tries.iter().filter(|call| call.role == "step" || call.role == "undo").count();
    let undo = if lane.role == "undo" { " · taking back" } else { "" };
    let outcome = match lane.outcome.as_str() {
        "done" | "open" => String::new(),
        other => format!(" · {}", parts::words(other).replace(':', ": ")),
    };
    match tries > 1 {
        true => format!("{what}{undo}{verdict}{outcome} · {tries} tries"),
        false => format!("{what}{undo}{verdict}{outcome}"),
    }
}

fn running_word(lane: &Lane) -> Markup {
    let waiting = lane.bars.last().is_some_and(is_quiet);
    let (icon, word) = if waiting { (Icon::Clock, "waiting") } else { (Icon::Play, "running") };
    html! { (icon.draw()) span.unseen { (word) } }
}

fn took(lane: &Lane, now: i64) -> String {
    let from = lane.bars.first().map(|bar| bar.from);
    let until = lane.bars.last().map(|bar| bar.until.unwrap_or(now));
    from.zip(until)
        .map(|(from, until)| times::span(until - from))
        .unwrap_or_else(|| "0 ms".to_owned())
}

fn bar_words(lane: &Lane, now: i64) -> String {
    let told: Vec<String> = lane
        .bars
        .iter()
        .map(|bar| {
            let long = times::span(bar.until.unwrap_or(now) - bar.from);
            format!("{} {long}", state_words(&bar.state))
        })
        .collect();
    if told.is_empty() { "took no time".to_owned() } else { told.join(", ") }
}

fn state_words(state: &str) -> &str {
    match state {
        "checked" => "checked",
        "waiting" => "waited",
        "executed" => "executed",
        "failed" => "failed try",
        "in_doubt" => "in doubt",
        "taken_back" => "taken back",
        other => other,
    }
}

fn legend(lanes: &Lanes, scale: &Scale) -> Markup {
    let states: [(&str, &str); 6] = [
        ("checked", "Policy check and look-ups"),
        ("executed", "Executed"),
        ("failed", "Failed try"),
        ("waiting", "Waiting"),
        ("in_doubt", "In doubt"),
        ("taken_back", "Taken back"),
    ];
    let seen = |state: &str| {
        let common = matches!(state, "checked" | "executed" | "waiting");
        common || lanes.items.iter().any(|lane| lane.bars.iter().any(|bar| bar.state == state))
    };
    let key = |state: &str| {
        html! { svg aria-hidden="true" focusable="false" { (small(state)) } }
    };
    html! {
        p.legend {
            @for (state, word) in states { @if seen(state) { span { (key(state)) (word) } } }
            @if !lanes.planned.is_empty() { span { (key("planned")) "Planned" } }
            @if !scale.breaks.is_empty() { span { "Quiet time is drawn short, its length stands above the cut" } }
        }
    }
}

fn small(class: &str) -> Markup {
    let fill = match class {
        "waiting" | "in_doubt" => format!(" fill=\"url(#hatch-{class})\""),
        _ => String::new(),
    };
    PreEscaped(format!(
        "<rect class=\"b-{class}\" x=\"1\" y=\"1\" width=\"14\" height=\"8\" rx=\"2\"{fill}></rect>"
    ))
}

/// The same as a table: for readers, for copying, for narrow eyes.
pub(super) fn table(frame: &Frame, lanes: &Lanes) -> Markup {
    html! {
        div.wide tabindex="0" role="group" aria-label="Steps as a table" { table.cards {
            thead { tr {
                th scope="col" { "#" } th scope="col" { "Step" } th scope="col" { "Operation" } th scope="col" { "Policy" }
                th scope="col" { "Outcome" } th scope="col" { "Began" } th.num scope="col" { "Waited" } th.num scope="col" { "Worked" }
                th.num scope="col" { "Tries" } th scope="col" { "Receipt" }
            } }
            tbody {
                @for lane in &lanes.items { (table_row(frame, lane, lanes.now)) }
                @for planned in &lanes.planned { tr {
                    td {} td { (step_words(&planned.step)) } td { code { (planned.operation) } } td data-label="Asks" { (parts::words(&planned.asks)) }
                    td { (parts::tag(Tone::Calm, Icon::Clock, "Planned")) } td {} td {} td {} td {} td {}
                } }
            }
        } }
    }
}

fn table_row(frame: &Frame, lane: &Lane, now: i64) -> Markup {
    let spent = |quiet: bool| -> i64 {
        let bars = lane.bars.iter().filter(|bar| is_quiet(bar) == quiet);
        bars.map(|bar| bar.until.unwrap_or(now) - bar.from).sum()
    };
    let began = lane.bars.first().and_then(|bar| jiff::Timestamp::from_millisecond(bar.from).ok());
    html! {
        tr {
            td.num { (lane.number) }
            td { (lane_title(lane)) }
            td { code { (lane.operation.as_deref().unwrap_or_default()) } }
            td data-label="Policy" { (parts::words(&lane.verdict)) }
            td { (parts::outcome(&lane.outcome)) }
            td data-label="Began" { @if let Some(began) = began { (parts::time(&began.to_string(), frame.now)) } }
            td.num data-label="Waited" { (times::span(spent(true))) }
            td.num data-label="Worked" { (times::span(spent(false))) }
            td.num data-label="Tries" { (lane.tries.iter().filter(|call| call.role == lane.role).count()) }
            td { @if let Some(receipt) = &lane.receipt { a href={ "/receipts/" (receipt) } { "receipt" span.unseen { " of step " (lane.number) } } } }
        }
    }
}
