//! What pages are made of: tags, notices, times, digests, pagers, values.

use maud::{Markup, html};
use serde_json::Value;

use super::{icons::Icon, times};
use crate::app::value::visible;

/// How a state is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Calm,
    Good,
    Warn,
    Bad,
    Info,
}

impl Tone {
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Good => "ok",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Info => "info",
        }
    }
}

/// A state: colour, icon and word together.
pub(crate) fn tag(tone: Tone, icon: Icon, word: &str) -> Markup {
    html! { span class={ "tag " (tone.class()) } { (icon.draw()) (word) } }
}

/// Where a run stands.
pub(crate) fn status(word: &str) -> Markup {
    let (tone, icon) = match word {
        "running" => (Tone::Info, Icon::Play),
        "waiting" => (Tone::Calm, Icon::Clock),
        "asking" => (Tone::Warn, Icon::Clock),
        "paused" => (Tone::Calm, Icon::Pause),
        "halted" => (Tone::Bad, Icon::Stop),
        "needs_person" => (Tone::Bad, Icon::Person),
        "rolling_back" => (Tone::Info, Icon::Undo),
        "succeeded" => (Tone::Good, Icon::Check),
        "partial" => (Tone::Warn, Icon::Half),
        "failed" => (Tone::Bad, Icon::Cross),
        "cancelled" => (Tone::Calm, Icon::Cross),
        "rolled_back" => (Tone::Calm, Icon::Undo),
        "partly_rolled_back" => (Tone::Warn, Icon::Undo),
        _ => (Tone::Calm, Icon::Half),
    };
    tag(tone, icon, status_words(word))
}

/// Every state of a run, for filters.
pub(crate) const STATUSES: [&str; 13] = [
    "running",
    "waiting",
    "asking",
    "paused",
    "halted",
    "needs_person",
    "rolling_back",
    "succeeded",
    "partial",
    "failed",
    "cancelled",
    "rolled_back",
    "partly_rolled_back",
];

/// A state in words.
pub(crate) fn status_words(word: &str) -> &str {
    match word {
        "running" => "Running",
        "waiting" => "Waiting",
        "asking" => "Waiting for a person",
        "paused" => "Paused",
        "halted" => "Halted",
        "needs_person" => "Needs a person",
        "rolling_back" => "Rolling back",
        "succeeded" => "Succeeded",
        "partial" => "Ended with caveats",
        "failed" => "Failed",
        "cancelled" => "Cancelled",
        "rolled_back" => "Rolled back",
        "partly_rolled_back" => "Partly rolled back",
        other => other,
    }
}

/// How much hangs on an ask.
pub(crate) fn risk(level: &str) -> Markup {
    match level {
        "high" => tag(Tone::Bad, Icon::Alert, "High risk"),
        "moderate" => tag(Tone::Warn, Icon::Alert, "Moderate risk"),
        "low" => tag(Tone::Calm, Icon::Alert, "Low risk"),
        _ => tag(Tone::Info, Icon::Person, "Question"),
    }
}

/// How an action ended.
pub(crate) fn outcome(word: &str) -> Markup {
    let (head, rest) = word.split_once(':').unwrap_or((word, ""));
    let rest = words(rest.trim());
    match head {
        "done" => tag(Tone::Good, Icon::Check, "Done"),
        "open" => tag(Tone::Info, Icon::Play, "Open"),
        "in_doubt" => tag(Tone::Bad, Icon::Alert, "In doubt"),
        "failed" => tag(Tone::Bad, Icon::Cross, &format!("Failed: {rest}")),
        "rejected" if rest == "edited" => tag(Tone::Calm, Icon::Aside, "Asked again, edited"),
        "rejected" => tag(Tone::Bad, Icon::Lock, &format!("Refused: {rest}")),
        other => tag(Tone::Calm, Icon::Half, &words(other)),
    }
}

/// A sentence of ours, in which `names` stand between backticks.
pub(crate) fn prose(text: &str) -> Markup {
    html! {
        @for (at, piece) in text.split('`').enumerate() {
            @if at % 2 == 1 { code { (piece) } } @else { (piece) }
        }
    }
}

/// A sentence of ours, its first letter large.
pub(crate) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first: String = chars.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{first}{}", chars.as_str())
}

/// A value in a difference: what is not there has a word too.
pub(crate) fn side(value: &str) -> &str {
    match value {
        "" | "–" => "nothing",
        other => other,
    }
}

/// A word of a closed set, for people.
pub(crate) fn words(word: &str) -> String {
    word.replace('_', " ")
}

/// As [`words`], the first letter large.
pub(crate) fn title(word: &str) -> String {
    let mut chars = word.chars();
    let first: String = chars.next().into_iter().flat_map(char::to_uppercase).collect();
    words(&format!("{first}{}", chars.as_str()))
}

/// A moment.
pub(crate) fn time(at: &str, now: i64) -> Markup {
    html! { time.nowrap datetime=(at) title=(at) { (times::clock(at, now)) } }
}

/// How long something still has; a page with its script counts down.
pub(crate) fn until(at: &str, now: i64) -> Markup {
    html! { time.nowrap datetime=(at) title=(at) data-until { (times::until(at, now)) } }
}

/// Says something about the page, or about what was done.
pub(crate) fn note(tone: Tone, icon: Icon, body: Markup) -> Markup {
    html! { div class={ "note " (tone.class()) } { (icon.draw()) div { (body) } } }
}

/// An empty list, and what that means.
pub(crate) fn empty(icon: Icon, title: &str, more: Markup) -> Markup {
    html! { div.empty { (icon.draw()) p.strong { (title) } p.meta { (more) } } }
}

/// An id or digest: its beginning to read, all of it to copy and in its title.
pub(crate) fn digest(text: &str) -> Markup {
    let short: String = text.chars().take(22).collect();
    let cut = if short.len() < text.len() { "…" } else { "" };
    html! { code title=(text) { (short) (cut) } }
}

/// A button that copies a text; only there with a script.
pub(crate) fn copy(text: &str, what: &str) -> Markup {
    html! { button.plain type="button" data-copy=(text) data-js hidden { "copy " (what) } }
}

/// A value as it is, hidden characters spelled out.
pub(crate) fn value(value: &Value) -> Markup {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    // Line breaks of the layout stay; everything else that does not show is spelled out.
    let lines: Vec<String> = text.lines().map(visible).collect();
    html! { pre.box tabindex="0" role="group" aria-label="Value" { (lines.join("\n")) } }
}

/// The way to the next page of a list.
pub(crate) fn pager(base: &str, query: &[(&str, &str)], next: Option<&str>) -> Markup {
    let Some(next) = next else { return html! {} };
    let first = address(base, query);
    let mut more: Vec<(&str, &str)> = query.to_vec();
    more.push(("after", next));
    html! {
        nav.pager aria-label="Pages" {
            a href=(first) { "First page" }
            a.button href=(address(base, &more)) rel="next" { "Next page" }
        }
    }
}

/// An address with its query; what is empty is left out.
pub(crate) fn address(base: &str, query: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = query
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}={}", escape(value)))
        .collect();
    if pairs.is_empty() { base.to_owned() } else { format!("{base}?{}", pairs.join("&")) }
}

/// A text as it may stand in a query or a path.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A state is never a colour alone.
    #[test]
    fn every_state_has_an_icon_and_a_word() {
        for word in STATUSES {
            let markup = status(word).into_string();
            assert!(markup.contains("<svg") && markup.contains(status_words(word)), "{markup}");
        }
        for level in ["high", "moderate", "low", ""] {
            assert!(risk(level).into_string().contains("<svg"));
        }
    }

    #[test]
    fn queries_are_escaped() {
        let query = [("subject", "customer=ACC-1 &x"), ("status", "")];
        assert_eq!(address("/runs", &query), "/runs?subject=customer%3DACC-1%20%26x");
        assert_eq!(address("/runs", &[]), "/runs");
    }

    #[test]
    fn values_show_what_hides_and_run_nothing() {
        let shown = value(&json!({ "to": "a\u{202E}b", "name": "<script>" })).into_string();
        assert!(shown.contains("&lt;U+202E&gt;") && shown.contains("&lt;script&gt;"), "{shown}");
    }
}
