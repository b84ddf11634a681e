//! Runs: a list to filter by address, and one run in full with its timeline.

use maud::{Markup, html};
use serde_json::Value;

use super::timeline;
use crate::{
    app::{
        artifacts::ArtifactView,
        lanes::Lanes,
        runs::{ListRuns, RunDetail, RunList, RunView},
        timeline::EventList,
        todo::TodoList,
        trouble::TroubleView,
    },
    ui::{
        icons::Icon,
        parts::{self, STATUSES, Tone},
        shell::{Frame, Page, Place},
    },
};

/// The list.
pub(crate) fn list(frame: &Frame, runs: &RunList, asked: &ListRuns) -> Markup {
    let body = html! {
        div.stack {
            div.head { h1 { "Runs" } p.meta { "newest first" } }
            (filters(asked))
            div.card #runs data-patch data-any {
                @if runs.items.is_empty() { (nothing(asked)) }
                @else { (table(frame, &runs.items)) (pager(runs, asked)) }
            }
        }
    };
    frame.page(&Page { place: Place::Runs, title: "Runs", run: None, layout: "", body })
}

fn nothing(asked: &ListRuns) -> Markup {
    let any = |filter: &Option<String>| filter.is_some();
    let filtered = any(&asked.status) || named(asked).iter().any(|(_, value)| any(value));
    match filtered {
        true => parts::empty(
            Icon::Play,
            "No run fits this filter",
            html! { a href="/runs" { "Show all" } },
        ),
        false => parts::empty(
            Icon::Play,
            "No run yet",
            html! { "A run begins when an intent is submitted" },
        ),
    }
}

fn filters(asked: &ListRuns) -> Markup {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    html! {
        form.filters method="get" action="/runs" role="search" {
            label { "State"
                select name="status" data-key="search" {
                    option value="" { "Any" }
                    @for word in STATUSES {
                        option value=(word) selected[asked.status.as_deref() == Some(word)] { (parts::status_words(word)) }
                    }
                }
            }
            label { "Intent" input name="intent" value=(text(&asked.intent)) autocomplete="off"; }
            label { "Agent" input name="agent" value=(text(&asked.agent)) autocomplete="off"; }
            label { "Pack" input name="pack" value=(text(&asked.pack)) autocomplete="off"; }
            label { "From" input name="since" type="date" value=(text(&asked.since)); }
            label { "Until" input name="until" type="date" value=(text(&asked.until)); }
            label { "Operation" input name="operation" value=(text(&asked.operation)) placeholder="billing.create_refund" autocomplete="off"; }
            label { "Customer" input name="customer" value=(text(&asked.customer)) autocomplete="off"; }
            label { "Account" input name="account" value=(text(&asked.account)) autocomplete="off"; }
            label { "Other subject" input name="subject" value=(text(&asked.subject)) placeholder="contract=CTR-0042" autocomplete="off"; }
            button { "Filter" }
        }
    }
}

fn table(frame: &Frame, runs: &[RunView]) -> Markup {
    html! {
        div.wide { table.cards {
            thead { tr {
                th scope="col" { "Intent" } th scope="col" { "State" } th scope="col" { "Agent, for whom" }
                th scope="col" { "Pack" } th scope="col" { "Began" } th scope="col" { "Changed" } th.num scope="col" { "Events" }
            } }
            tbody { @for run in runs { tr #{ "row-" (run.id) } {
                td {
                    a.item-link href={ "/runs/" (run.id) } data-item { (parts::title(&run.intent)) }
                    br; span.meta { (super::card::short_run(&run.id)) }
                }
                td { (parts::status(&run.status)) }
                td { (run.agent) br; span.meta { (run.on_behalf_of) } }
                td { (run.pack) }
                td data-label="Began" { (parts::time(&run.opened_at, frame.now)) }
                td data-label="Changed" { (parts::time(&run.changed_at, frame.now)) }
                td.num data-label="Events" { (run.events) }
            } } }
        } }
    }
}

fn pager(runs: &RunList, asked: &ListRuns) -> Markup {
    let status = ("status", &asked.status);
    let all = named(asked).into_iter().chain([status]);
    let query: Vec<(&str, &str)> =
        all.map(|(name, value)| (name, value.as_deref().unwrap_or_default())).collect();
    parts::pager("/runs", &query, runs.next.as_deref())
}

/// The filters that are written, by the names they have in an address.
fn named(asked: &ListRuns) -> [(&'static str, &Option<String>); 9] {
    [
        ("intent", &asked.intent),
        ("agent", &asked.agent),
        ("pack", &asked.pack),
        ("since", &asked.since),
        ("until", &asked.until),
        ("operation", &asked.operation),
        ("customer", &asked.customer),
        ("account", &asked.account),
        ("subject", &asked.subject),
    ]
}

/// How a run's steps are shown.
#[derive(Debug)]
pub(crate) enum Steps<'a> {
    Timeline(&'a Lanes),
    Table(&'a Lanes),
    Events { list: &'a EventList, total: u64 },
}

/// What this person may do with a run, and what was wrong with what they just tried.
#[derive(Debug)]
pub(crate) struct Hand<'a> {
    /// Why they may neither hold nor stop it.
    pub(crate) refused: Option<String>,
    pub(crate) wrong: Option<&'a str>,
    /// Files that the run published.
    pub(crate) artifacts: &'a [ArtifactView],
}

/// One run.
pub(crate) fn detail(
    frame: &Frame,
    run: &RunDetail,
    (steps, hand): (&Steps<'_>, &Hand<'_>),
) -> Markup {
    let view = &run.run;
    let title = parts::title(&view.intent);
    let body = html! {
        div.stack {
            div.card #run data-patch {
                header {
                    div {
                        h1 { (title) }
                        p.meta {
                            code { (view.id) } " · " (view.agent) " for " (view.on_behalf_of)
                            @if let Some(by) = &view.submitted_by { ", handed in by " (by) }
                            " · " (view.pack)
                            " · began " (parts::time(&view.opened_at, frame.now)) " · changed " (parts::time(&view.changed_at, frame.now))
                        }
                    }
                    (parts::status(&view.status))
                }
                @if let Some(wrong) = hand.wrong { (parts::note(Tone::Bad, Icon::Alert, html! { span #wrong role="alert" { (parts::prose(&parts::capital(wrong))) "." } })) }
                (needs(run))
                div.row.actions {
                    a.button href={ "/receipts?run=" (view.id) } { (Icon::Receipt.draw()) "Receipts" }
                    @if !run.tokens.is_empty() || run.rollback.is_some() { a.button href={ "/rollback/" (view.id) } { (Icon::Undo.draw()) "Roll back…" } }
                }
            }
            @if !run.attached.is_empty() { (handed_in(run)) }
            (came_of_it(run))
            (published(&view.id, hand.artifacts))
            @if let Some(todo) = &run.todo { (to_do(frame, todo)) }
            (steps_card(frame, view, steps))
            @if !run.troubles.is_empty() { (troubles(frame, &run.troubles)) }
            (tell(frame, run, hand))
            (steer(frame, view, hand))
        }
    };
    frame.page(&Page { place: Place::Runs, title: &title, run: Some(&view.id), layout: "", body })
}

/// What waits for somebody, and what is unlike other runs: said before anything else.
fn needs(run: &RunDetail) -> Markup {
    html! {
        @if run.mode == "preview" {
            (parts::note(Tone::Info, Icon::Half, html! { "A dry run: reads were made; changes are shown and were not made." }))
        }
        @for approval in &run.waiting_for {
            (parts::note(Tone::Warn, Icon::Clock, html! { "A person is asked. " a href={ "/approvals/" (approval) } { "Open the card" } }))
        }
        @for exception in &run.exceptions {
            (parts::note(Tone::Bad, Icon::Person, html! { "It needs a person. " a href={ "/exceptions/" (exception) } { "Open the exception" } }))
        }
        @if let Some(ended) = &run.run.ended_by {
            (parts::note(Tone::Bad, Icon::Cross, html! { "Ended by step " code { (ended.step) } ": " (parts::words(&ended.class)) }))
        }
        @for unusual in &run.run.unusual { (parts::note(Tone::Warn, Icon::Alert, html! { "Unlike earlier runs: " (unusual) })) }
        @if let Some(rollback) = &run.rollback {
            (parts::note(Tone::Calm, Icon::Undo, html! { "Last rollback: " (parts::words(&rollback.result)) ". " a href={ "/rollback/" (run.run.id) } { "What came back" } }))
        }
    }
}

fn came_of_it(run: &RunDetail) -> Markup {
    html! {
        @if run.output.is_some() || !run.caveats.is_empty() || !run.switched_off.is_empty() || !run.agents.is_empty() {
            section.card aria-labelledby="result" {
                header { h2 #result { "What came of it" } }
                @for caveat in &run.caveats { (parts::note(Tone::Warn, Icon::Half, html! { (caveat) })) }
                @for agent in &run.agents { p.row { (agent_line(agent)) } }
                @if !run.switched_off.is_empty() { p.row { "Switched off for this run: " (run.switched_off.join(", ")) } }
                @if let Some(output) = run.output.as_ref().filter(|output| !output.is_null()) {
                    (result(output))
                }
            }
        }
    }
}

/// Files that came with what it was asked, each with the command that fetches it.
fn handed_in(run: &RunDetail) -> Markup {
    html! {
        section.card aria-labelledby="attached-title" {
            header { div { h2 #attached-title { "Files it was handed" } p.meta { "kept by their digests, for its models as they were" } } }
            div.wide { table.cards {
                thead { tr { th scope="col" { "Name" } th scope="col" { "Digest" } th.num scope="col" { "Bytes" } th scope="col" { "Fetch it" } } }
                tbody { @for file in &run.attached { tr {
                    td { span.strong { (crate::app::value::visible(&file.name)) } br; span.meta { (file.media_type) } }
                    td { (parts::digest(&file.digest)) }
                    td.num data-label="Bytes" { (file.bytes) }
                    td { code { "harness run attachment " (run.run.id) " " (crate::app::value::visible(&file.name)) " --out FILE" } }
                } } }
            } }
        }
    }
}

/// Files that it published, each with the command that fetches it.
fn published(run: &str, artifacts: &[ArtifactView]) -> Markup {
    html! { div #published data-patch { @if !artifacts.is_empty() {
        section.card aria-labelledby="published-title" {
            header { div { h2 #published-title { "Files it published" } p.meta { "kept by their digests, and named in its receipts" } } }
            div.wide { table.cards {
                thead { tr { th scope="col" { "Name" } th scope="col" { "Digest" } th.num scope="col" { "Bytes" } th scope="col" { "Receipt" } th scope="col" { "Fetch it" } } }
                tbody { @for one in artifacts { tr {
                    td { span.strong { (crate::app::value::visible(&one.name)) } br; span.meta { code { (crate::app::value::visible(&one.path)) } } }
                    td { (parts::digest(&one.artifact)) }
                    td.num data-label="Bytes" { (one.size) }
                    td { @if let Some(receipt) = &one.receipt { a href={ "/receipts/" (receipt) } { "Receipt" } } @else { "–" } }
                    td { code { "harness run artifact " (run) " " (one.artifact) " --to FILE" } }
                } } }
            } }
        }
    } } }
}

/// What a run still has to do, by its own list.
fn to_do(frame: &Frame, todo: &TodoList) -> Markup {
    let over = todo.items.iter().filter(|item| ["done", "dropped"].contains(&&*item.state)).count();
    html! {
        section.card #todo data-patch aria-labelledby="todo-title" {
            header { div {
                h2 #todo-title { "To do" }
                p.meta { (over) " of " (todo.items.len()) " over · written by step " (todo.step) " " (parts::time(&todo.at, frame.now)) }
            } }
            ul.list { @for item in &todo.items { li { div.item { span { (item.text) } (standing_of(&item.state)) } } } }
        }
    }
}

fn standing_of(state: &str) -> Markup {
    match state {
        "doing" => parts::tag(Tone::Info, Icon::Play, "Doing"),
        "done" => parts::tag(Tone::Good, Icon::Check, "Done"),
        "dropped" => parts::tag(Tone::Calm, Icon::Cross, "Dropped"),
        _ => parts::tag(Tone::Calm, Icon::Half, "Open"),
    }
}

/// Why an agent stopped, and what its model used.
fn agent_line(agent: &crate::app::agents::AgentView) -> String {
    let turns = crate::app::value::counted(agent.turns, "turn");
    let cost = match agent.costs.join(" and ") {
        none if none.is_empty() => none,
        costs => format!(", {costs}"),
    };
    format!(
        "The agent of step {} stopped: {} after {turns} and {}; {} tokens read, {} written{cost}.",
        agent.step,
        agent.stopped.replace('_', " "),
        crate::app::value::counted(agent.calls, "call"),
        agent.tokens_read,
        agent.tokens_written,
    )
}

/// The fields of a result that are one line each; the whole of it on demand.
fn result(output: &Value) -> Markup {
    let fields = output.as_object().into_iter().flatten();
    let plain: Vec<_> =
        fields.filter(|(_, value)| !value.is_object() && !value.is_array()).collect();
    html! {
        @if !plain.is_empty() {
            div.row { dl.kv { @for (name, value) in plain {
                dt { (parts::title(name)) } dd { (crate::app::value::plain(value)) }
            } } }
        }
        div.row { details.more #whole-result { summary { "The whole result" } (parts::value(output)) } }
    }
}

fn steps_card(frame: &Frame, view: &RunView, steps: &Steps<'_>) -> Markup {
    let here = match steps {
        Steps::Timeline(_) => "timeline",
        Steps::Table(_) => "table",
        Steps::Events { .. } => "events",
    };
    let base = format!("/runs/{}", view.id);
    html! {
        section.card #steps data-patch aria-labelledby="steps-title" {
            header {
                div { h2 #steps-title { "Steps" } (counted(steps)) }
                nav.tabs aria-label="How the steps are shown" {
                    @for (view, word) in [("timeline", "Timeline"), ("table", "Table"), ("events", "Journal")] {
                        a href={ (base) "?view=" (view) } aria-current=[(view == here).then_some("page")] { (word) }
                    }
                }
            }
            @match steps {
                Steps::Timeline(lanes) => { (timeline::drawing(frame, lanes)) (window(&base, here, lanes)) }
                Steps::Table(lanes) => { (timeline::table(frame, lanes)) (window(&base, here, lanes)) }
                Steps::Events { list, total } => { (events(frame, list)) (events_pager(&base, list, *total)) }
            }
        }
    }
}

fn counted(steps: &Steps<'_>) -> Markup {
    html! { p.meta { @match steps {
        Steps::Timeline(lanes) | Steps::Table(lanes) => {
            @if lanes.total > lanes.items.len() {
                (lanes.skipped + 1) "–" (lanes.skipped + lanes.items.len()) " of " (lanes.total) " steps · " (lanes.events) " events"
            } @else { (lanes.total) " steps · " (lanes.events) " events" }
        }
        Steps::Events { total, .. } => { (total) " events: exactly what is hashed and chained; values stand as commitments" }
    } } }
}

/// A long run is shown a window at a time.
fn window(base: &str, view: &str, lanes: &Lanes) -> Markup {
    html! {
        @if lanes.next.is_some() || lanes.skipped > 0 {
            nav.pager aria-label="Steps" {
                @if lanes.skipped > 0 { a href={ (base) "?view=" (view) "&after=0" } { "First steps" } } @else { span {} }
                @if let Some(next) = lanes.next { a.button rel="next" href={ (base) "?view=" (view) "&after=" (next) } { "Later steps" } }
            }
        }
    }
}

fn events(frame: &Frame, list: &EventList) -> Markup {
    html! {
        div.wide tabindex="0" role="group" aria-label="Journal" { table {
            thead { tr { th.num scope="col" { "Seq" } th scope="col" { "When" } th scope="col" { "What" } th scope="col" { "Hash" } } }
            tbody { @for event in &list.items { tr {
                td.num { (event.seq) }
                td { (parts::time(&event.at, frame.now)) }
                td { details.more #{ "event-" (event.seq) } { summary { (parts::words(&event.kind)) } (parts::value(&event.body)) } }
                td { (parts::digest(&event.hash)) }
            } } }
        } }
    }
}

fn events_pager(base: &str, list: &EventList, total: u64) -> Markup {
    let last = list.items.last().map(|event| event.seq + 1);
    html! {
        @if let Some(next) = last.filter(|next| *next < total) {
            nav.pager aria-label="Journal pages" {
                a href={ (base) "?view=events" } { "First events" }
                a.button rel="next" href={ (base) "?view=events&after=" (next) } { "Later events" }
            }
        }
    }
}

/// What went wrong, and what was done about it.
pub(super) fn troubles(frame: &Frame, troubles: &[TroubleView]) -> Markup {
    html! {
        section.card #troubles data-patch aria-labelledby="troubles-title" {
            header { div { h2 #troubles-title { "What went wrong" } p.meta { "and what was done about it" } } }
            div.wide { table.cards {
                thead { tr { th scope="col" { "When" } th scope="col" { "Step" } th scope="col" { "Failure" } th scope="col" { "Effect there?" } th scope="col" { "Done about it" } } }
                tbody { @for trouble in troubles { tr {
                    td { (parts::time(&trouble.at, frame.now)) }
                    td { code { (trouble.step) } @if let Some(operation) = &trouble.operation { br; span.meta { (operation) } } }
                    td { span.strong { (parts::title(&trouble.class)) } br; span.meta { (trouble.said) } }
                    td data-label="Effect there?" { (parts::words(trouble.landed.as_deref().unwrap_or("–"))) }
                    td {
                        (parts::title(trouble.recovery.as_deref().unwrap_or("nothing yet")))
                        @if let Some(caveat) = &trouble.caveat { br; span.meta { (caveat) } }
                        @if let Some(instead) = &trouble.instead { br; span.meta {
                            (instead.operation) ", " (instead.trust)
                            @if let Some(as_of) = &instead.as_of { ", as of " (crate::app::value::plain(as_of)) }
                        } }
                        @if let Some(decided) = &trouble.decided { br; span.meta { (decided) } }
                    }
                } } }
            } }
        }
    }
}

/// A word to the agent on its way. Nothing is shown where nobody hears it, or to those who may not.
fn tell(frame: &Frame, run: &RunDetail, hand: &Hand<'_>) -> Markup {
    html! {
        div #hears data-patch { @if run.hears && hand.refused.is_none() { section.card #tell aria-labelledby="tell-title" {
            header { h2 #tell-title { "Say something to the agent" } }
            form.row.verbs method="post" action={ "/runs/" (run.run.id) } {
                (frame.token()) input type="hidden" name="verb" value="tell";
                p.meta { "It hears this before its next step, as a person's word. It approves nothing: what asks a person still asks." }
                label { "What it should know" textarea name="text" required maxlength="4000" {} }
                div { button { (Icon::Person.draw()) "Say it" } }
            }
        } } }
    }
}

fn steer(frame: &Frame, view: &RunView, hand: &Hand<'_>) -> Markup {
    let over = matches!(
        view.status.as_str(),
        "succeeded" | "partial" | "failed" | "cancelled" | "rolled_back" | "partly_rolled_back"
    );
    let action = format!("/runs/{}", view.id);
    html! {
        @if !over { section.card #steer data-patch aria-labelledby="steer-title" {
            header { h2 #steer-title { "Hold or stop it" } }
            @if let Some(refused) = &hand.refused {
                (parts::note(Tone::Calm, Icon::Lock, html! { p.strong { "You can neither hold nor stop it" } p { (parts::capital(refused)) "." } }))
            } @else { div.row.verbs {
                @if view.status == "paused" {
                    form method="post" action=(action) { (frame.token()) button name="verb" value="resume" { (Icon::Play.draw()) "Let it go on" } }
                } @else {
                    form method="post" action=(action) { (frame.token()) button name="verb" value="pause" { (Icon::Pause.draw()) "Hold this run" } }
                }
                details.verb #stop {
                    summary { div { span.strong { "Stop this run" } span.meta { "Nothing more is begun; what was done stays until it is rolled back." } } }
                    form method="post" action=(action) {
                        (frame.token()) input type="hidden" name="verb" value="cancel";
                        label { "Reason" input name="reason" required maxlength="500" autocomplete="off"; }
                        button.danger { "Stop this run" }
                    }
                }
            } }
        } }
    }
}
