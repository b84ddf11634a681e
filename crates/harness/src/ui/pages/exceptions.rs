//! The queue of runs that need someone, and one exception with what is safe to do about it.

use maud::{Markup, html};

use super::about::{self, about};
use super::fields;
use crate::{
    app::{
        exceptions::{ExceptionDetail, ExceptionList, ExceptionView, ListExceptions, VerbView},
        inbox::ExceptionStanding,
        timeline::ActionLine,
    },
    ui::{
        icons::Icon,
        parts::{self, Tone},
        shell::{Frame, Page, Place},
        times,
    },
};

const NEEDS: [&str; 6] =
    ["in_doubt", "escalated", "undo_failed", "conflict", "unplanned", "defect"];

/// The queue.
pub(crate) fn list(frame: &Frame, queue: &ExceptionList, asked: &ListExceptions) -> Markup {
    let body = html! {
        div.stack {
            div.head { h1 { "Exceptions" } p.meta { @if asked.all { "newest first, settled ones too" } @else { "oldest first" } } }
            (filters(asked))
            div.card #queue data-patch data-any {
                @if queue.items.is_empty() { (nothing(asked)) }
                @else {
                    ul.list { @for exception in &queue.items { (item(frame, exception)) } }
                    (pager(queue, asked))
                }
            }
        }
    };
    frame.page(&Page { place: Place::Exceptions, title: "Exceptions", run: None, layout: "", body })
}

fn nothing(asked: &ListExceptions) -> Markup {
    let own = [&asked.need, &asked.owner, &asked.run, &asked.class];
    let filtered = own.iter().any(|filter| filter.is_some()) || about::is_set(&about!(asked));
    match filtered {
        true => parts::empty(
            Icon::Check,
            "No exception fits this filter",
            html! { a href="/exceptions" { "Show all open ones" } },
        ),
        false => parts::empty(
            Icon::Check,
            "Nothing needs a person",
            html! { a href="/exceptions?all=true" { "Settled ones" } },
        ),
    }
}

fn filters(asked: &ListExceptions) -> Markup {
    html! {
        form.filters method="get" action="/exceptions" role="search" {
            label { "Needs"
                select name="need" data-key="search" {
                    option value="" { "Anything" }
                    @for need in NEEDS { option value=(need) selected[asked.need.as_deref() == Some(need)] { (need_words(need)) } }
                }
            }
            label { "Owner" input name="owner" value=(asked.owner.as_deref().unwrap_or_default()) autocomplete="off"; }
            (about::inputs(&about!(asked)))
            label.tick { input type="checkbox" name="all" value="true" checked[asked.all]; "Settled ones too" }
            button { "Filter" }
        }
    }
}

fn pager(queue: &ExceptionList, asked: &ListExceptions) -> Markup {
    let all = if asked.all { "true" } else { "" };
    let need = asked.need.as_deref().unwrap_or_default();
    let owner = asked.owner.as_deref().unwrap_or_default();
    let about = about!(asked);
    let mut query = vec![("all", all), ("need", need), ("owner", owner)];
    query.extend(about::query(&about));
    parts::pager("/exceptions", &query, queue.next.as_deref())
}

fn need_words(need: &str) -> &str {
    match need {
        "in_doubt" => "Nobody knows whether it happened",
        "escalated" => "Recoveries are used up",
        "undo_failed" => "Could not be taken back",
        "conflict" => "The world moved since",
        "unplanned" => "Wanted what the plan does not hold",
        "defect" => "A defect of ours",
        other => other,
    }
}

fn need_tag(need: &str, state: &str) -> Markup {
    if state == "settled" {
        return parts::tag(Tone::Good, Icon::Check, "Settled");
    }
    match need {
        "in_doubt" => parts::tag(Tone::Bad, Icon::Alert, "In doubt"),
        "escalated" => parts::tag(Tone::Warn, Icon::Person, "Escalated"),
        "undo_failed" => parts::tag(Tone::Bad, Icon::Undo, "Undo failed"),
        "conflict" => parts::tag(Tone::Warn, Icon::Undo, "Conflict"),
        "unplanned" => parts::tag(Tone::Bad, Icon::Lock, "Unplanned"),
        "defect" => parts::tag(Tone::Bad, Icon::Stop, "Defect"),
        other => parts::tag(Tone::Warn, Icon::Alert, &parts::title(other)),
    }
}

fn item(frame: &Frame, exception: &ExceptionView) -> Markup {
    html! {
        li #{ "item-" (exception.id) } {
            a.item href={ "/exceptions/" (exception.id) } data-item {
                span.what { (need_words(&exception.need)) ": " (exception.step) }
                (need_tag(&exception.need, &exception.state))
                span.meta {
                    (parts::title(&exception.class)) " · owner " (exception.owner) " · " (super::card::short_run(&exception.run))
                    @if exception.count > 1 { " · " (exception.count) " times" }
                }
                span.meta.when { (parts::time(&exception.opened_at, frame.now)) " · waits " (times::span(exception.age_ms)) }
                @if let Some(claim) = &exception.claim { (super::approvals::looked_after(frame, claim)) }
            }
        }
    }
}

/// One exception.
pub(crate) fn detail(
    frame: &Frame,
    (detail, standing): (&ExceptionDetail, &ExceptionStanding),
    wrong: Option<&str>,
) -> Markup {
    let exception = &detail.exception;
    let title = need_words(&exception.need);
    let body = html! {
        div.stack {
            p { a href="/exceptions" { "All exceptions" } }
            div.card #exception data-patch {
                header {
                    div {
                        h1 { (title) }
                        p { (parts::prose(&parts::capital(&detail.summary))) "." }
                        p.meta {
                            "Step " code { (exception.step) } " of " a href={ "/runs/" (exception.run) } { (parts::words(&detail.run.intent)) }
                            " · owner " strong { (exception.owner) } " · since " (parts::time(&exception.opened_at, frame.now))
                            " (" (times::span(exception.age_ms)) ")"
                        }
                    }
                    (need_tag(&exception.need, &exception.state))
                }
                @if exception.state == "open" { div.row {
                    @let action = format!("/exceptions/{}", exception.id);
                    (super::approvals::claiming(frame, &action, &standing.claim))
                    @if standing.claim.aside_by.is_none() { (super::card::set_aside(frame, &action)) }
                } }
                @if let Some(wrong) = wrong { (parts::note(Tone::Bad, Icon::Alert, html! { span #wrong role="alert" { (parts::prose(&parts::capital(wrong))) "." } })) }
                @if let Some(settled) = &standing.settled {
                    @if exception.state == "settled" {
                        div.note.ok { (Icon::Check.draw()) div {
                            p.strong #outcome { "Settled: " (parts::words(&settled.verb)) ", by " (settled.by) " " (parts::time(&settled.at, frame.now)) }
                            p { "“" (settled.evidence) "”" }
                        } }
                    }
                }
                @if let Some(said) = &detail.said { section { h2.small { "It said" } p { q { (said) } } p.meta { "Outside text, hidden characters made visible." } } }
                @if let Some(sample) = &detail.sample { section { h2.small { "Kept with it" } (parts::value(sample)) } }
            }
            @if !detail.safe.is_empty() { (verbs(frame, detail, standing)) }
            @if !detail.tried.is_empty() { (tried(frame, &detail.tried)) }
            @if !detail.steps_back.is_empty() { (steps_back(frame, detail)) }
        }
    };
    frame.page(&Page {
        place: Place::Exceptions,
        title,
        run: Some(&exception.run),
        layout: "",
        body,
    })
}

fn verbs(frame: &Frame, detail: &ExceptionDetail, standing: &ExceptionStanding) -> Markup {
    html! {
        section.card #decide data-patch aria-labelledby="decide-title" {
            header { div { h2 #decide-title { "What you can decide" } p.meta { "the safest first; each says how you know" } } }
            @if standing.may_settle {
                div.row.verbs { @for verb in &detail.safe { (verb_form(frame, detail, verb)) } }
            } @else {
                (parts::note(Tone::Calm, Icon::Lock, html! { p.strong { "You cannot decide this" } p { (parts::title(&standing.because)) "." } }))
                div.row { ul.lines { @for verb in &detail.safe { li { span.strong { (verb_words(&verb.verb)) } " " span.meta { (verb.does) } } } } }
            }
        }
    }
}

fn verb_words(verb: &str) -> &str {
    match verb {
        "happened" => "It happened",
        "did_not_happen" => "It did not happen",
        "retry" => "Try again",
        "use" => "Answer in its place",
        "skip" => "Go on without it",
        "stop" => "Stop and take back",
        "rollback" => "Roll the run back",
        "accept" => "Overwrite what was changed",
        "close" => "Close",
        other => other,
    }
}

fn verb_form(frame: &Frame, detail: &ExceptionDetail, verb: &VerbView) -> Markup {
    let id = &detail.exception.id;
    html! {
        details.verb #{ "verb-" (verb.verb) } {
            summary { div { span.strong { (verb_words(&verb.verb)) } span.meta { (parts::capital(&verb.does)) "." } span.meta { (parts::capital(&verb.why)) "." } } }
            @if verb.verb == "accept" {
                form method="get" action={ "/rollback/" (detail.exception.run) } { button { "See the difference first" } }
            } @else {
                form method="post" action={ "/exceptions/" (id) } {
                    (frame.token())
                    input type="hidden" name="verb" value=(verb.verb);
                    @if verb.verb == "use" { (fields::control(detail.answer.as_ref().unwrap_or(&serde_json::Value::Null), "value")) }
                    label { (evidence_words(&verb.verb)) textarea name="evidence" required maxlength="2000" {} }
                    button.danger[matches!(verb.verb.as_str(), "stop" | "rollback")] { (verb_words(&verb.verb)) }
                }
            }
        }
    }
}

fn evidence_words(verb: &str) -> &str {
    match verb {
        "happened" | "did_not_happen" => "How do you know? What did you look at?",
        _ => "Why?",
    }
}

fn tried(frame: &Frame, tried: &[ActionLine]) -> Markup {
    let _ = frame;
    html! {
        section.card #tried data-patch aria-labelledby="tried-title" {
            header { h2 #tried-title { "What was tried" } }
            div.wide { table.cards {
                thead { tr { th scope="col" { "Operation" } th scope="col" { "For" } th scope="col" { "Policy" } th scope="col" { "Outcome" } th.num scope="col" { "Took" } th scope="col" { "Receipt" } } }
                tbody { @for line in tried { tr {
                    td { code { (line.operation) } }
                    td data-label="For" { (parts::words(&line.role)) }
                    td data-label="Policy" { (parts::words(&line.verdict)) @if !line.rules.is_empty() { br; span.meta { (line.rules.join(", ")) } } }
                    td { (parts::outcome(&line.outcome)) @if let Some(failure) = &line.failure { br; span.meta { "It said: " (failure) } } }
                    td.num data-label="Took" { @if let Some(took) = line.took_ms { (times::span(took)) } }
                    td { @if let Some(receipt) = &line.receipt { a href={ "/receipts/" (receipt) } { "receipt" span.unseen { " " (receipt) } } } }
                } } }
            } }
        }
    }
}

fn steps_back(frame: &Frame, detail: &ExceptionDetail) -> Markup {
    html! {
        section.card #history data-patch aria-labelledby="history-title" {
            header { h2 #history-title { "What was done about it before" } }
            div.row { ul.lines { @for step in &detail.steps_back { li {
                (parts::time(&step.at, frame.now)) " " span.strong { (parts::title(&step.what)) }
                @if let Some(by) = &step.by { " by " (by) }
                @if let Some(why) = &step.why { ": " span.meta { (why) } }
            } } } }
        }
    }
}
