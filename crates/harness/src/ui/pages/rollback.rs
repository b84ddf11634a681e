//! Taking a run back: what cannot be, said first; then the difference each undo makes; then the button.

use maud::{Markup, html};

use crate::{
    app::{
        previews::{Reversal, RollbackPreview, Stays},
        rollbacks::{RollbackView, UndoneView},
    },
    ui::{
        icons::Icon,
        parts::{self, Tone},
        shell::{Frame, Page, Place},
    },
};

/// Whether this person may ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum May {
    RollBack,
    /// They hold no right to it.
    Look {
        because: String,
    },
}

/// The page.
pub(crate) fn page(
    frame: &Frame,
    preview: &RollbackPreview,
    (may, wrong): (May, Option<&str>),
) -> Markup {
    let run = &preview.run;
    let body = html! {
        div.stack {
            p { a href={ "/runs/" (run.id) } { "Back to the run" } }
            div.head { h1 { "Take back: " (parts::title(&run.intent)) } (parts::status(&run.status)) }
            @if let Some(wrong) = wrong { (parts::note(Tone::Bad, Icon::Alert, html! { span role="alert" #wrong { (parts::prose(&parts::capital(wrong))) "." } })) }
            div.stack #rollback data-patch {
                @if let Some(last) = &preview.last { (ended(last)) }
                @if !preview.stays.is_empty() { (stays(&preview.stays)) }
                @if !preview.effects.is_empty() { (effects(frame, &preview.effects)) }
                (ask(frame, preview, &may))
            }
        }
    };
    frame.page(&Page {
        place: Place::Rollback,
        title: "Take back",
        run: Some(&run.id),
        layout: "",
        body,
    })
}

fn stays(stays: &[Stays]) -> Markup {
    html! {
        section.card aria-labelledby="stays" {
            header {
                div { h2 #stays { "This stays, whatever you do" } p.meta { "Decide knowing it: nobody can take these back here." } }
                (parts::tag(Tone::Bad, Icon::Lock, &if stays.len() == 1 { "1 stays".to_owned() } else { format!("{} stay", stays.len()) }))
            }
            ul.list { @for effect in stays { li { div.item {
                span.what { (effect.summary) }
                span.meta.when { "step " (effect.step) }
                span.meta { (parts::title(&effect.because)) }
            } } } }
        }
    }
}

fn effects(frame: &Frame, effects: &[Reversal]) -> Markup {
    html! {
        section.card aria-labelledby="effects" {
            header {
                div { h2 #effects { "This is taken back, in this order" } p.meta { "Newest first. Each record is read again right before; where somebody changed it since, nothing is touched and you are shown the difference." } }
                (parts::tag(Tone::Good, Icon::Undo, &format!("{} can be", effects.len())))
            }
            @for effect in effects { (reversal(frame, effect)) }
        }
    }
}

fn reversal(frame: &Frame, effect: &Reversal) -> Markup {
    html! {
        section #{ "undo-" (effect.action) } {
            div.head {
                p.strong { (effect.summary) }
                @if effect.how == "restore" { (parts::tag(Tone::Good, Icon::Undo, "Restored exactly")) }
                @else { (parts::tag(Tone::Warn, Icon::Undo, "Inverse; a trace remains")) }
            }
            p.meta { "by " code { (effect.operation) } " · possible until " (parts::time(&effect.expires_at, frame.now)) }
            @if effect.changes.is_empty() { p.meta { "No field-by-field difference is known for this one." } }
            @else {
                div.wide { table {
                    thead { tr { th scope="col" { "Field" } th scope="col" { "As the run left it" } th scope="col" { "As it will be" } } }
                    tbody { @for change in &effect.changes { tr { td { (change.field) } td { del { (parts::side(&change.now)) } } td { ins { (parts::side(&change.after)) } } } } }
                } }
            }
        }
    }
}

fn ask(frame: &Frame, preview: &RollbackPreview, may: &May) -> Markup {
    let conflict = preview.last.as_ref().and_then(|last| last.conflict.as_ref());
    let count = match preview.effects.len() {
        1 => "1 effect".to_owned(),
        many => format!("{many} effects"),
    };
    html! {
        @if !preview.possible {
            (parts::note(Tone::Calm, Icon::Lock, html! { (parts::title(&preview.because)) "." }))
        } @else if let May::Look { because } = may {
            (parts::note(Tone::Calm, Icon::Lock, html! { p.strong { "You cannot ask for this" } p { (parts::capital(because)) "." } }))
        } @else {
            section.card aria-labelledby="ask" {
                header { div {
                    h2 #ask { "Take it back" }
                    p.meta { "To be taken back: " (count) @if !preview.stays.is_empty() { "; to stay: " (preview.stays.len()) } ". Each is judged by policy and leaves its own receipt." }
                } }
                form.row.stack method="post" action={ "/rollback/" (preview.run.id) } {
                    (frame.token())
                    @if let Some(conflict) = conflict { label.tick { input type="checkbox" name="accept_conflict" value=(conflict); "I have seen the difference; overwrite what was changed since" } }
                    p.actions { button.danger { (Icon::Undo.draw()) "Take back " (count) } a.button href={ "/runs/" (preview.run.id) } { "Leave it" } }
                }
            }
        }
    }
}

fn ended(last: &RollbackView) -> Markup {
    let (tone, icon, word) = match last.result.as_str() {
        "complete" => (Tone::Good, Icon::Check, "Complete"),
        "partial" => (Tone::Warn, Icon::Half, "Partial"),
        "refused" => (Tone::Bad, Icon::Lock, "Refused: nothing was touched"),
        _ => (Tone::Info, Icon::Clock, "Under way"),
    };
    html! {
        section.card aria-labelledby="last" {
            header { h2 #last { "The last rollback" } (parts::tag(tone, icon, word)) }
            ul.list { @for effect in &last.effects { li { (undone(effect)) } } }
        }
    }
}

fn undone(effect: &UndoneView) -> Markup {
    let tag = match effect.result.as_str() {
        "restored" => parts::tag(Tone::Good, Icon::Check, "Restored"),
        "compensated" => parts::tag(Tone::Good, Icon::Undo, "Compensated"),
        "conflict" => parts::tag(Tone::Bad, Icon::Alert, "The world moved"),
        "irreversible" => parts::tag(Tone::Bad, Icon::Lock, "Stays"),
        "expired" => parts::tag(Tone::Warn, Icon::Clock, "Too late"),
        "in_doubt" => parts::tag(Tone::Bad, Icon::Alert, "In doubt"),
        other => parts::tag(Tone::Bad, Icon::Cross, &parts::title(other)),
    };
    html! {
        div.item {
            span.what { (effect.operation) } (tag)
            span.meta { "action " (effect.action) }
        }
        @if let Some(difference) = &effect.difference { div.row { details.more open { summary { "Before, after, and now" } (parts::value(difference)) } } }
    }
}
