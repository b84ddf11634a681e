//! The inbox, with one ask opened beside it.

use maud::{Markup, html};

use super::about::{self, about};
use super::{card, timeline};
use crate::{
    app::{
        approvals::ListApprovals,
        claims::Claim,
        inbox::{EndedAsk, Inbox, InboxLine, OpenedAsk},
        lanes::Lanes,
        runs::RunView,
    },
    ui::{
        icons::Icon,
        parts::{self, Tone},
        shell::{Frame, Page, Place},
        times,
    },
};

/// What the page shows.
#[derive(Debug)]
pub(crate) struct Shown<'a> {
    pub(crate) inbox: &'a Inbox,
    /// The ask that is opened; without one asked for, the first.
    pub(crate) opened: Option<Opened<'a>>,
    /// Whether the address names it: on a narrow screen it is then shown instead of the list.
    pub(crate) named: Named,
    /// Which asks are listed.
    pub(crate) asked: &'a ListApprovals,
}

/// Whether the address names an ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Ask,
    List,
}

/// An ask with its run.
#[derive(Debug)]
pub(crate) struct Opened<'a> {
    pub(crate) id: &'a str,
    pub(crate) ask: &'a OpenedAsk,
    pub(crate) run: &'a RunView,
    pub(crate) lanes: &'a Lanes,
    /// What was wrong with what was just sent.
    pub(crate) wrong: Option<&'a str>,
    /// The operation that it asked for.
    pub(crate) asked: Option<&'static str>,
}

/// The whole page.
pub(crate) fn page(frame: &Frame, shown: &Shown<'_>) -> Markup {
    let layout = match shown.named {
        Named::Ask => "split at-item",
        Named::List => "split at-list",
    };
    let title = shown.opened.as_ref().and_then(|opened| opened.ask.card.as_ref());
    let title = title.filter(|_| shown.named == Named::Ask).map(|card| card.summary.as_str());
    let body = html! {
        (rail(frame, shown))
        div.detail {
            a.back href="/approvals" { "All approvals" }
            @match &shown.opened {
                Some(opened) => (detail(frame, shown, opened)),
                None if shown.inbox.items.is_empty() => {},
                None => (parts::empty(Icon::Person, "Choose what to decide", html! { "j and k move, Enter opens" })),
            }
        }
    };
    frame.page(&Page {
        place: Place::Approvals,
        title: title.unwrap_or("Approvals"),
        run: None,
        layout,
        body,
    })
}

fn rail(frame: &Frame, shown: &Shown<'_>) -> Markup {
    let is_aside = |line: &&InboxLine| line.approval.claim.aside_by.is_some();
    let waiting: Vec<&InboxLine> = shown.inbox.items.iter().filter(|l| !is_aside(l)).collect();
    let aside: Vec<&InboxLine> = shown.inbox.items.iter().filter(is_aside).collect();
    let current = shown.opened.as_ref().map(|opened| opened.id);
    let about = about!(shown.asked);
    let filtered = about::is_set(&about);
    html! {
        section.rail aria-labelledby="inbox-title" {
            div.head {
                @match shown.named {
                    Named::List => h1 #inbox-title { "Approvals" },
                    Named::Ask => h2.big #inbox-title { "Approvals" },
                }
                p.meta #inbox-count data-patch { (frame.waiting.approvals) " waiting · soonest expiry first" }
            }
            @if shown.named == Named::List {
                details.more open[filtered] {
                    summary { "Filter" }
                    form.filters method="get" action="/approvals" role="search" {
                        (about::inputs(&about))
                        button { "Filter" }
                        @if filtered { a href="/approvals" { "Show all" } }
                    }
                }
            }
            div #inbox data-patch data-any {
                @if shown.inbox.items.is_empty() && filtered {
                    (parts::empty(Icon::Check, "No open ask fits this filter", html! { a href="/approvals" { "Show all" } }))
                } @else if shown.inbox.items.is_empty() {
                    (parts::empty(Icon::Check, "Nothing waits for you", html! {
                        @match &shown.inbox.last_closed_at {
                            Some(at) => { "The last ask was closed " (parts::time(at, frame.now)) },
                            None => "Nothing has been asked yet",
                        }
                    }))
                }
                ul.list { @for line in waiting { (item(frame, line, current)) } }
                @if !aside.is_empty() {
                    h2.divider.meta { "Set aside" }
                    ul.list { @for line in aside { (item(frame, line, current)) } }
                }
                (parts::pager("/approvals", &about::query(&about), shown.inbox.next.as_deref()))
            }
        }
    }
}

fn item(frame: &Frame, line: &InboxLine, current: Option<&str>) -> Markup {
    let id = &line.approval.id;
    let here = current == Some(id.as_str());
    html! {
        li #{ "item-" (id) } {
            a.item href={ "/approvals/" (id) } data-item aria-current=[here.then_some("true")] {
                span.what { (line.summary) }
                (short_risk(&line.risk))
                span.meta { (line.agent) @if !line.pack.is_empty() { " · " (line.pack) } }
                span.meta.when { "expires " (parts::until(&line.approval.expires_at, frame.now)) }
                (looked_after(frame, &line.approval.claim))
            }
        }
    }
}

/// Who looks after something, in a list.
pub(super) fn looked_after(frame: &Frame, claim: &Claim) -> Markup {
    let you = |who: &str| if who == frame.me { "you".to_owned() } else { who.to_owned() };
    html! {
        @match (&claim.aside_by, &claim.claimed_by) {
            (Some(by), _) => span.meta { "set aside by " (you(by)) @if !claim.note.is_empty() { ": " (claim.note) } },
            (None, Some(by)) => span.meta { (Icon::Person.draw()) " " (you(by)) },
            (None, None) => {},
        }
    }
}

/// Who looks after something, and what people can do about that.
pub(super) fn claiming(frame: &Frame, action: &str, claim: &Claim) -> Markup {
    let button = |verb: &str, words: &str| {
        html! {
            form method="post" action={ (action) "/claim" } {
                (frame.token())
                input type="hidden" name="verb" value=(verb);
                button.plain { (words) }
            }
        }
    };
    let mine = claim.claimed_by.as_deref() == Some(frame.me.as_str());
    html! {
        div.claim role="group" aria-label="Who looks after it" {
            p.meta {
                @match (&claim.claimed_by, mine) {
                    (None, _) => "Nobody looks after it",
                    (Some(_), true) => "You look after it",
                    (Some(by), false) => { strong { (by) } " looks after it" },
                }
                @if let Some(at) = &claim.claimed_at { ", since " (parts::time(at, frame.now)) }
                @if let Some(by) = &claim.assigned_by { ", given by " (by) }
                @if let Some(by) = &claim.aside_by { " · set aside by " (by) }
                @if !claim.note.is_empty() { " · " (claim.note) }
            }
            @if claim.claimed_by.is_none() { (button("claim", "Look after it")) }
            @if mine { (button("release", "Release")) }
            @if claim.aside_by.is_some() { (button("take_up", "Take up again")) }
            details.more #assign {
                summary { "Have somebody look after it" }
                form.stack method="post" action={ (action) "/claim" } data-keep {
                    (frame.token())
                    input type="hidden" name="verb" value="assign";
                    label { "Who, as the configuration names them" input name="to" required maxlength="200" autocomplete="off"; }
                    label { "What they should know" input name="note" maxlength="500" autocomplete="off"; }
                    p { button { "Have them look after it" } }
                }
            }
        }
    }
}

fn short_risk(level: &str) -> Markup {
    match level {
        "high" => parts::tag(Tone::Bad, Icon::Alert, "High"),
        "moderate" => parts::tag(Tone::Warn, Icon::Alert, "Moderate"),
        "low" => parts::tag(Tone::Calm, Icon::Alert, "Low"),
        _ => parts::tag(Tone::Info, Icon::Person, "Question"),
    }
}

fn detail(frame: &Frame, shown: &Shown<'_>, opened: &Opened<'_>) -> Markup {
    let waits = |line: &&InboxLine| line.approval.claim.aside_by.is_none();
    let next = shown.inbox.items.iter().filter(waits).map(|line| line.approval.id.as_str());
    let next = next.into_iter().find(|id| *id != opened.id);
    html! {
        div.stack #opened data-patch {
            @match (&opened.ask.card, &opened.ask.ended) {
                (Some(card), _) => (card::open(frame, opened, card)),
                (None, Some(ended)) => {
                    @if let Some(wrong) = opened.wrong { (parts::note(Tone::Warn, Icon::Alert, html! { p.strong role="alert" { "Your answer did not count" } p { (parts::title(wrong)) } })) }
                    (closed(frame, ended, (&opened.run.status, next)))
                }
                (None, None) => {},
            }
            (timeline::brief(frame, opened.run, opened.lanes))
        }
    }
}

/// An ask that nobody can answer any more: how it ended, by whom and when.
fn closed(frame: &Frame, ended: &EndedAsk, (status, next): (&str, Option<&str>)) -> Markup {
    let (tone, icon, word) = match ended.state.as_str() {
        "approved" => (Tone::Good, Icon::Check, "Approved"),
        "denied" => (Tone::Bad, Icon::Cross, "Denied"),
        "edited" => (Tone::Calm, Icon::Aside, "Asked again with other arguments"),
        "answered" => (Tone::Good, Icon::Check, "Answered"),
        "expired" => (Tone::Warn, Icon::Clock, "Expired"),
        "void" => (Tone::Warn, Icon::Undo, "Void: what was shown has changed"),
        _ => (Tone::Calm, Icon::Stop, "Not asked any more"),
    };
    let mine = ended.by.as_deref() == Some(frame.me.as_str());
    html! {
        article.card aria-labelledby="closed-title" {
            header {
                div {
                    h1.title #closed-title { "This ask is closed" }
                    p.meta {
                        "Step " code { (ended.step) } " of " a href={ "/runs/" (ended.run) } { (ended.run) }
                    }
                }
                (parts::tag(tone, icon, word))
            }
            section {
                p #outcome {
                    @match (&ended.by, ended.state.as_str()) {
                        (Some(by), state) => {
                            (parts::title(state)) " by " span.strong { (if mine { "you" } else { by }) }
                            " " (parts::time(&ended.at, frame.now)) "."
                        }
                        (None, "expired") => { "Nobody answered in time; it was denied " (parts::time(&ended.at, frame.now)) "." }
                        (None, "void") => { "What you were shown does not hold any more; you are asked again if it still matters." }
                        (None, _) => { "The run went on without it: it is " (parts::status_words(status)) "." }
                    }
                }
                @if let Some(reason) = &ended.reason { p { "Reason: “" (reason) "”" } }
            }
            @if let Some(card) = &ended.shown { (card::as_shown(frame, card, if ended.shown_matches { card::Match::Exact } else { card::Match::Other })) }
            div.row.actions {
                @if let Some(receipt) = &ended.receipt { a.button href={ "/receipts/" (receipt) } { "Receipt" } }
                a.button href={ "/runs/" (ended.run) } { "Run" }
                @if let Some(next) = next { a.button href={ "/approvals/" (next) } data-key="s" { "Next to decide" } }
            }
        }
    }
}

/// How long an ask has waited, for its card.
pub(super) fn waited(at: &str, now: i64) -> String {
    times::since(at, now)
}
