//! The page around every page: head, the bar with the places, messages, help.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{assets::address, icons::Icon, parts, times};
use crate::app::{
    inbox::Waiting,
    problem::{Kind, Problem},
    value::spelled,
};

/// The places of the product, and nothing else. Taking back is a place too; it is reached from a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Approvals,
    Exceptions,
    Runs,
    Receipts,
    Rollback,
    Packs,
}

impl Place {
    /// Those the bar leads to.
    pub(crate) const BAR: [Self; 5] =
        [Self::Approvals, Self::Exceptions, Self::Runs, Self::Receipts, Self::Packs];

    fn path(self) -> &'static str {
        match self {
            Self::Approvals => "/approvals",
            Self::Exceptions => "/exceptions",
            Self::Runs | Self::Rollback => "/runs",
            Self::Receipts => "/receipts",
            Self::Packs => "/packs",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Approvals => "Approvals",
            Self::Exceptions => "Exceptions",
            Self::Runs | Self::Rollback => "Runs",
            Self::Receipts => "Receipts",
            Self::Packs => "Packs",
        }
    }
}

/// What every page of one request shares.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// Who looks.
    pub(crate) me: String,
    /// Their roles.
    pub(crate) roles: Vec<String>,
    /// What every form carries, so that it was this page that sent it.
    pub(crate) form_token: String,
    /// What waits.
    pub(crate) waiting: Waiting,
    /// Now, in ms since 1970.
    pub(crate) now: i64,
    /// What was just done, as a word of a closed set.
    pub(crate) said: Option<String>,
    /// Where the page stands, when its address only takes a form.
    pub(crate) here: Option<String>,
}

/// One page.
pub(crate) struct Page<'a> {
    pub(crate) place: Place,
    pub(crate) title: &'a str,
    /// The run it shows, if one: other runs' changes leave it alone.
    pub(crate) run: Option<&'a str>,
    /// Classes of its main part.
    pub(crate) layout: &'a str,
    pub(crate) body: Markup,
}

impl Frame {
    /// A hidden field that every form carries.
    pub(crate) fn token(&self) -> Markup {
        html! { input type="hidden" name="form_token" value=(self.form_token); }
    }

    /// The whole document.
    pub(crate) fn page(&self, page: &Page<'_>) -> Markup {
        let said = self.said.as_deref().and_then(said).unwrap_or_default();
        shown(&html! {
            (DOCTYPE)
            html lang="en" {
                (head(page.title))
                body data-live="/live" data-run=[page.run] data-here=[self.here.as_deref()] {
                    a.skip href="#main" { "Skip to content" }
                    (self.top(page.place))
                    main #main class=(page.layout) tabindex="-1" { (page.body) }
                    div #toast .toast role="status" aria-live="polite" data-say=(said) {}
                    noscript { @if !said.is_empty() { p.toast { (said) } } }
                    (help())
                }
            }
        })
    }

    fn top(&self, place: Place) -> Markup {
        html! {
            header.top {
                a.brand href="/approvals" { "harness" }
                nav aria-label="Places" { (self.places("places", place)) }
                span.push {}
                span #live .live {
                    span.lamp {}
                    span.word { "As of " (times::clock(&stamp(self.now), self.now)) }
                }
                a #signed-out href="/sign-in" hidden { "Sign in again" }
                details.who {
                    summary { (Icon::Person.draw()) span.name { (self.me) } span.unseen { "Account" } }
                    div.sheet {
                        p.meta { (self.me) br; (self.roles.join(", ")) }
                        p.meta { button.plain type="button" data-help data-js hidden { "Keys" } }
                        form method="post" action="/sign-out" { (self.token()) button { "Sign out" } }
                    }
                }
                details.menu {
                    summary { (Icon::Menu.draw()) "Menu" }
                    nav.sheet aria-label="Menu" { (self.places("places-menu", place)) }
                }
            }
        }
    }

    fn places(&self, id: &str, here: Place) -> Markup {
        let name = here.name();
        html! {
            ul.places id=(id) data-patch data-any {
                @for place in Place::BAR {
                    li {
                        a href=(place.path()) aria-current=[(place.name() == name).then_some("page")] {
                            (place.name())
                            @match place {
                                Place::Approvals if self.waiting.approvals > 0 => {
                                    span.count { (self.waiting.approvals) span.unseen { " waiting" } }
                                }
                                Place::Exceptions if self.waiting.exceptions > 0 => {
                                    span.count.bad {
                                        (self.waiting.exceptions) span.unseen { " open" }
                                    }
                                }
                                _ => {}
                            }
                        }
                    }
                }
            }
        }
    }
}

fn stamp(now: i64) -> String {
    jiff::Timestamp::from_millisecond(now).map(|at| at.to_string()).unwrap_or_default()
}

fn head(title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            meta name="referrer" content="same-origin";
            title { (title) " · harness" }
            link rel="icon" href="data:,";
            link rel="stylesheet" href=(address("app.css"));
            script src=(address("live.js")) defer {}
        }
    }
}

/// A page for whoever is not signed in: no places, no stream.
pub(crate) fn door(title: &str, body: &Markup) -> Markup {
    shown(&html! {
        (DOCTYPE)
        html lang="en" {
            (head(title))
            body {
                main #main { div.door { (body) } }
                div #toast .toast role="status" {}
            }
        }
    })
}

/// Whoever wrote a text, what hides in it is spelled out on every page: nothing that turns the direction of
/// writing or stands invisibly between two letters reaches a person unseen.
fn shown(page: &Markup) -> Markup {
    PreEscaped(spelled(&page.0))
}

/// What was just done, in words.
fn said(word: &str) -> Option<&'static str> {
    Some(match word {
        "approved" => "Approved. The run goes on.",
        "denied" => "Denied. Nothing was sent.",
        "edit" => "Asked again with your arguments.",
        "replied" => "Answer recorded.",
        "aside" => "Set aside: nothing is decided, it waits at the end of the list.",
        "claimed" => "You look after it. Others see that; who may decide is unchanged.",
        "assigned" => "They look after it now. Others see that; who may decide is unchanged.",
        "released" => "Nobody looks after it now.",
        "taken-up" => "Back in its place.",
        "settled" => "Decision recorded.",
        "rollback" => "Rollback asked for.",
        "cancel" => "The run is being stopped.",
        "pause" => "The run is held.",
        "resume" => "The run goes on.",
        "told" => "Said. The agent hears it before its next step.",
        _ => return None,
    })
}

fn help() -> Markup {
    let keys = [
        ("j k", "next, previous in a list"),
        ("Enter", "open, or press what has the focus"),
        ("a", "move to Approve"),
        ("d", "move to the reason for Deny"),
        ("s", "move to Set aside"),
        ("/", "move to the search"),
        ("g a", "go to Approvals"),
        ("g e", "go to Exceptions"),
        ("g r", "go to Runs"),
        ("g c", "go to Receipts"),
        ("g p", "go to Packs"),
        ("?", "this list"),
    ];
    html! {
        dialog #help aria-labelledby="help-title" {
            h2 #help-title { "Keys" }
            dl.keys { @for (key, what) in keys {
                dt { @for key in key.split(' ') { kbd { (key) } " " } }
                dd { (what) }
            } }
            p.meta { "No single key decides anything." }
            form method="dialog" { button { "Close" } }
        }
    }
}

/// A page that cannot show what was asked for, and what to do now.
pub(crate) fn problem(problem: &Problem, here: Option<&str>) -> Markup {
    let next = problem.next.as_deref();
    html! {
        div.card { header { div {
            h1 { (problem_title(problem)) }
            p { (parts::prose(&parts::capital(&problem.detail))) "." }
            // A hint for a terminal helps nobody here.
            @if let Some(next) = next.filter(|next| !next.contains("`harness")) { p.meta { (parts::prose(&parts::capital(next))) "." } }
            p.actions { @if let Some(here) = here { a.button href=(here) { "Try again" } } a.button href="/approvals" { "Approvals" } }
        } (parts::tag(parts::Tone::Bad, Icon::Alert, "Not shown")) } }
    }
}

/// What such a page is called.
pub(crate) fn problem_title(problem: &Problem) -> &'static str {
    match problem.kind {
        Kind::NotFound => "There is no such thing",
        Kind::NotAllowed | Kind::Denied => "You may not see this",
        Kind::TryAgain => "Not now",
        _ => "This cannot be shown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_in_a_text_is_spelled_out_wherever_it_stands() {
        let text = "a\u{202e}gpj.exe\u{200b}";
        let page = door(text, &html! { p title=(text) { (text) } }).into_string();
        assert_eq!(page.matches("a&lt;U+202E&gt;gpj.exe&lt;U+200B&gt;").count(), 3, "{page}");
        assert!(!page.contains(['\u{202e}', '\u{200b}']), "{page}");
    }
}
