//! The approval card. Its order is its design: what, who, facts, why, change, evidence, exactly this, decide.

use maud::{Markup, html};

use super::{
    approvals::{Opened, claiming, waited},
    fields,
};
use crate::{
    app::{
        approvals::{Card, Evidence},
        inbox::AskedTogether,
        value::exact,
    },
    ui::{
        icons::Icon,
        parts::{self, Tone},
        shell::Frame,
    },
};

/// Evidence shown before one asks for the rest.
const EVIDENCE_FIRST: usize = 5;

/// Whether a card that is drawn again has the digest of the one that was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    Exact,
    Other,
}

/// An open ask.
pub(super) fn open(frame: &Frame, opened: &Opened<'_>, card: &Card) -> Markup {
    html! {
        article.card #{ "card-" (card.approval) } aria-labelledby="card-title" data-expires=(card.expires_at) {
            (header(frame, card))
            @if let (Some(wrong), None) = (opened.wrong, about_the_answer(opened)) { (parts::note(Tone::Bad, Icon::Alert, html! { span role="alert" { (parts::prose(&parts::capital(wrong))) "." } })) }
            (claiming(frame, &format!("/approvals/{}", card.approval), &opened.ask.claim))
            @if card.question.is_none() { (facts(frame, card)) } @else { (lapses(frame, card)) }
            div.note.warn #expired role="alert" hidden {
                (Icon::Clock.draw())
                div { p.strong { "This ask has expired." } p { "Nothing was sent. The run does what is declared for that." } }
            }
            (why(card))
            @if card.question.is_none() { (changes(frame, card)) }
            (evidence(frame, card))
            @if card.question.is_none() { (exactly(frame, card, opened.ask.may_decide.then_some(card))) }
            (together(frame, card, &opened.ask.together))
            @match (opened.ask.may_decide, &card.question) {
                (false, _) => (not_permitted(&opened.ask.because)),
                (true, Some(_)) => (fields::reply(frame, card, about_the_answer(opened))),
                (true, None) => (decide(frame, card, about_the_answer(opened))),
            }
        }
    }
}

/// What was wrong with an answer: it stands where one answers. Everything else stands above.
fn about_the_answer<'a>(opened: &Opened<'a>) -> Option<&'a str> {
    let answers = opened.asked.is_none_or(|op| op == "approval.decide");
    opened.wrong.filter(|_| answers && opened.ask.may_decide)
}

/// Moves an ask to the end of everybody's list.
pub(super) fn set_aside(frame: &Frame, action: &str) -> Markup {
    html! {
        form method="post" action={ (action) "/claim" } {
            (frame.token())
            input type="hidden" name="verb" value="set_aside";
            button data-key="s" { "Set aside " kbd aria-hidden="true" { "S" } }
        }
    }
}

/// What the run asks at the same time: some of it can be answered at once, each bound to what it says here.
fn together(frame: &Frame, card: &Card, asks: &[AskedTogether]) -> Markup {
    html! { @if asks.iter().filter(|ask| ask.may_decide).count() > 1 {
        section.together aria-labelledby="together-title" {
            details {
                summary #together-title { "This run asks " (asks.len()) " things at once" }
                form method="post" action={ "/approvals/" (card.approval) "/together" } {
                    (frame.token())
                    fieldset {
                        legend.unseen { "What your answer is about" }
                        ul.lines { @for ask in asks.iter().filter(|ask| ask.may_decide) { li {
                            label.tick {
                                input type="checkbox" name={ "ask-" (ask.approval) } value=(ask.digest);
                                span { (ask.summary) @if ask.approval == card.approval { " (this one)" } }
                                (parts::risk(&ask.risk))
                            }
                        } } }
                    }
                    label { span.unseen { "Reason, needed to deny the chosen" } input name="reason" placeholder="Reason (needed to deny)" autocomplete="off" maxlength="500"; }
                    p.actions {
                        button.main name="verb" value="approve" { "Approve the chosen" }
                        button.danger name="verb" value="deny" { "Deny the chosen" }
                    }
                }
            }
        }
    } }
}

fn header(frame: &Frame, card: &Card) -> Markup {
    let (step, steps) = card.step_of;
    html! {
        header {
            div {
                h1.title #card-title { (card.summary) }
                p.meta {
                    @if step > 0 { "Step " (step) " of " (steps) } @else { "A step" }
                    " in " a href={ "/runs/" (card.run) } { (short_run(&card.run)) }
                    " · asked by " strong { (card.agent) } " for " strong { (card.on_behalf_of) }
                    @if let Some(by) = &card.submitted_by { ", handed in by " strong { (by) } }
                    " · " (card.pack)
                    @if !card.asked_at.is_empty() { " · " (parts::time(&card.asked_at, frame.now)) " (" (waited(&card.asked_at, frame.now)) ")" }
                }
            }
            (parts::risk(&card.risk))
        }
    }
}

/// A card as it was when it was answered.
pub(super) fn as_shown(frame: &Frame, card: &Card, exactly: Match) -> Markup {
    html! {
        section {
            h2.small { "What was shown" }
            p.strong { (card.summary) }
            p.meta {
                @if exactly == Match::Exact { (Icon::Check.draw()) " drawn again from the journal, and its digest is the one the answer carries" }
                @else { (Icon::Half.draw()) " drawn again from the journal by a later version: the answer carries the digest of another drawing" }
            }
        }
        (why(card))
        (changes(frame, card))
        section.open { h2.small { "Exactly this call" } p { code { (card.operation) } " " (parts::digest(&card.digest)) } details.more #arguments { summary { "Arguments" } (parts::value(&card.args)) } }
    }
}

/// Enough of a run's id to know it again.
pub(super) fn short_run(id: &str) -> String {
    id.chars().take(12).collect()
}

/// The server that asks in the middle of a call, where no step does.
pub(super) fn asked_by(card: &Card) -> Option<&str> {
    card.question.as_ref()?.asked_by.as_deref()
}

/// What a question says instead of facts: nothing moves by answering it.
fn lapses(frame: &Frame, card: &Card) -> Markup {
    html! {
        dl.facts.two {
            @match asked_by(card) {
                Some(server) => div { dt { "If you answer" } dd.strong { "The server " code { (server) } " gets it" } dd.meta { "what you write leaves for it at once; to decline says no, and sends nothing else" } },
                None => div { dt { "If you answer" } dd.strong { "The run goes on with it" } dd.meta { "answering sends nothing by itself" } },
            }
            div {
                dt { "If nobody answers" }
                dd { (parts::tag(Tone::Calm, Icon::Clock, "Lapses")) " " span.strong { (parts::until(&card.expires_at, frame.now)) } }
                dd.meta { (card.if_nobody) }
            }
        }
    }
}

fn facts(frame: &Frame, card: &Card) -> Markup {
    let undo = card.undo.split(':').next().unwrap_or_default();
    let tone = match undo {
        "no" => Tone::Bad,
        word if word.starts_with("yes") => Tone::Good,
        word if word.starts_with("in part") => Tone::Warn,
        _ => Tone::Calm,
    };
    let icon = if tone == Tone::Bad { Icon::Lock } else { Icon::Undo };
    let (undo_word, undo_more) = card.undo.split_once(": ").unwrap_or((card.undo.as_str(), ""));
    let leaves = card.leaves.iter().any(|what| what == "leaves the company");
    let classes: Vec<&str> = card
        .leaves
        .iter()
        .map(String::as_str)
        .filter(|what| *what != "leaves the company")
        .collect();
    html! {
        dl.facts {
            div {
                dt { "Moves and sends" }
                @match &card.moves_money {
                    Some(money) => dd.strong { "Moves " (money) },
                    None => dd.strong { "No money" },
                }
                dd {
                    @if leaves { (parts::tag(Tone::Warn, Icon::Mail, "Leaves the company")) }
                    @else { span.meta { "stays in declared systems" } }
                }
            }
            div {
                dt { "Touches" }
                dd.strong { (card.touches) }
                dd.meta { @if classes.is_empty() { "no declared data class" } @else { (classes.join(", ")) } }
            }
            div {
                dt { "Can be undone" }
                dd { (parts::tag(tone, icon, &parts::title(undo_word))) }
                @if !undo_more.is_empty() { dd.meta { (undo_more) } }
            }
            div {
                dt { "If nobody decides" }
                dd { (parts::tag(Tone::Calm, Icon::Clock, "Denied")) " " span.strong { (parts::until(&card.expires_at, frame.now)) } }
                dd.meta { (card.if_nobody) }
            }
        }
    }
}

fn why(card: &Card) -> Markup {
    html! {
        section.open aria-labelledby="why" {
            div.why {
                h2.small #why { "Why you are asked" }
                @if let Some(question) = &card.question {
                    @match &question.asked_by {
                        Some(server) => p { "The server " code { (server) } " asks in the middle of a call, and a person who holds " strong { (question.role) } " answers." },
                        None => p { "The playbook asks a person who holds " strong { (question.role) } "." },
                    }
                }
                @for why in &card.why {
                    p { (why.reason) " " span.meta { "Rule " code { (why.rule) } } }
                }
                @if card.untrusted && card.question.is_some() { p { (parts::tag(Tone::Bad, Icon::Alert, "Outside text")) " is all that it says and asks for: nobody here wrote it. Give no password, key or code." } }
                @else if card.untrusted { p { (parts::tag(Tone::Bad, Icon::Alert, "Outside text")) " had a part in this: read the arguments as written by a stranger." } }
                p.meta {
                    "Needs " (card.needs.join(" and "))
                    @if !card.given.is_empty() { " · given: " (card.given.join(", ")) }
                    @if !card.risk_because.is_empty() { " · " (card.risk) " risk: " (card.risk_because) }
                    " · policy " (parts::digest(&card.policy))
                }
            }
        }
    }
}

fn changes(frame: &Frame, card: &Card) -> Markup {
    html! {
        section.open aria-labelledby="changes" {
            h2.small #changes { "What will change" }
            @if let Some(command) = &card.command { (super::command::read(command)) }
            @else if card.changes.is_empty() {
                p.meta { "The system gives no preview of this. The call below is all that is known." }
            } @else {
                div.wide { table {
                    thead { tr { th scope="col" { "Field" } th scope="col" { "Now" } th scope="col" { "After" } } }
                    tbody { @for change in &card.changes {
                        tr { td { (change.field) } td { del { (parts::side(&change.now)) } } td { ins { (parts::side(&change.after)) } } }
                    } }
                } }
                p.meta { "Read before you were asked" @if !card.asked_at.is_empty() { ", " (parts::time(&card.asked_at, frame.now)) } ". If it moves before the call, this approval is void and you are asked again." }
            }
        }
    }
}

fn evidence(frame: &Frame, card: &Card) -> Markup {
    let split = card.evidence.len().saturating_sub(EVIDENCE_FIRST);
    let (earlier, latest) = card.evidence.split_at_checked(split).unwrap_or_default();
    html! {
        section.open aria-labelledby="evidence" {
            h2.small #evidence { "Evidence" }
            @if card.evidence.is_empty() { p.meta { "The run has read nothing before it asked." } }
            @else {
                ul.seen { @for seen in latest.iter().rev() { (told(frame, seen)) } }
                @if !earlier.is_empty() {
                    details.more #more-evidence {
                        summary { (earlier.len()) " earlier" }
                        ul.seen { @for seen in earlier.iter().rev() { (told(frame, seen)) } }
                    }
                }
            }
        }
    }
}

fn told(frame: &Frame, seen: &Evidence) -> Markup {
    html! {
        li {
            @match seen.source.as_str() {
                "model" => (parts::tag(Tone::Warn, Icon::Model, "Model")),
                "person" => (parts::tag(Tone::Info, Icon::Person, "Person")),
                _ => (parts::tag(Tone::Good, Icon::Check, "System")),
            }
            span.text {
                @if seen.source == "model" { q { (seen.text) } } @else { (seen.text) }
                @if seen.untrusted { " " span.meta { (Icon::Alert.draw()) " holds text from outside" } }
            }
            span.meta {
                (parts::time(&seen.at, frame.now))
                @if let Some(receipt) = &seen.receipt { " " a href={ "/receipts/" (receipt) } { "open" span.unseen { " receipt: " (seen.text) } } }
            }
        }
    }
}

fn exactly(frame: &Frame, card: &Card, editable: Option<&Card>) -> Markup {
    // Where nothing else says what is decided about, they do not wait to be asked for.
    let is_all = card.command.is_none() && card.changes.is_empty();
    html! {
        section.open aria-labelledby="exactly" {
            h2.small #exactly { "Exactly this call" }
            p { code { (card.operation) } " " (parts::digest(&card.digest)) " " (parts::copy(&card.digest, "digest")) }
            details.more #arguments open[is_all] { summary { "Arguments" } (parts::value(&card.args)) }
            @if let Some(card) = editable { details.more #edit {
                summary { "Change the arguments and ask again" }
                form method="post" action={ "/approvals/" (card.approval) } data-keep {
                    (frame.token())
                    input type="hidden" name="verb" value="edit";
                    input type="hidden" name="digest" value=(card.digest);
                    label { "Arguments, as JSON. The whole gate is walked again; somebody may be asked again."
                        textarea.code name="value" spellcheck="false" { (exact(&card.args)) }
                    }
                    p { button { "Ask again with these" } }
                }
            } }
        }
    }
}

fn not_permitted(because: &str) -> Markup {
    html! {
        div.note #decide-not { (Icon::Lock.draw()) div { p.strong { "You cannot decide this" } p { (parts::title(because)) "." } } }
    }
}

/// Two forms, so that Enter in the reason can never approve.
fn decide(frame: &Frame, card: &Card, wrong: Option<&str>) -> Markup {
    let action = format!("/approvals/{}", card.approval);
    html! {
        div.decide #decide role="group" aria-label="Decide" {
            form method="post" action=(action) {
                (frame.token())
                input type="hidden" name="verb" value="approve";
                input type="hidden" name="digest" value=(card.digest);
                button.main data-key="a" { "Approve: " (card.does) " " kbd aria-hidden="true" { "A" } }
            }
            form.deny method="post" action=(action) {
                (frame.token())
                input type="hidden" name="verb" value="deny";
                input type="hidden" name="digest" value=(card.digest);
                label {
                    span.unseen { "Reason, needed to deny" }
                    input name="reason" #reason placeholder="Reason (needed to deny)" autocomplete="off" maxlength="500" data-key="d"
                        aria-invalid=[wrong.map(|_| "true")] aria-describedby=[wrong.map(|_| "wrong")];
                    @if let Some(wrong) = wrong { span.wrong #wrong role="alert" { (wrong) } }
                }
                button.danger { "Deny " kbd aria-hidden="true" { "D" } }
            }
            (set_aside(frame, &action))
        }
    }
}
