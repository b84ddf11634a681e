//! What an approver sees of a call, and what their answer means for it: keys are not shown, what they left as it was is
//! sent as it is, and a server that is elsewhere by now is not the one that they were asked about.

use std::sync::{Arc, LazyLock};

use connect::redact::{Personal, Redactor};
use kernel::{id::ApprovalId, input::Answer};
use serde_json::Value;

use super::{App, Card, Change, Folded, Kind, Problem};
use crate::app::header::place_of;

/// Knows keys by their shapes alone. What is live was taken out when it came in; a card that depended on which secrets
/// there are could not be shown again as it was.
static SHAPES: LazyLock<Option<Redactor>> = LazyLock::new(|| {
    let none: [(&str, &str); 0] = [];
    Redactor::new(none).ok().map(|redactor| redactor.with(Personal::from(Vec::new())))
});

/// Put in the place of everything where nothing can tell keys from other texts.
const UNSEEN: &str = "[not shown]";

/// Arguments as a card shows them.
pub(super) fn without_keys(args: &Value) -> Value {
    let Some(redactor) = &*SHAPES else { return Value::String(UNSEEN.to_owned()) };
    let mut seen = args.clone();
    redactor.scrub_value(&mut seen);
    seen
}

/// A text of a card.
pub(super) fn text_without_keys(text: &str) -> String {
    SHAPES.as_ref().map_or_else(|| UNSEEN.to_owned(), |redactor| redactor.scrub_text(text))
}

/// What will change, as a card shows it.
pub(super) fn changes_without_keys(changes: Vec<Change>) -> Vec<Change> {
    let clean = |change: Change| Change {
        now: text_without_keys(&change.now),
        after: text_without_keys(&change.after),
        ..change
    };
    changes.into_iter().map(clean).collect()
}

/// The answer as it was meant: what an edit left as the card showed it stays what it is.
pub(super) fn meant(
    answer: Answer,
    folded: &Folded,
    (approval, shown): (&ApprovalId, &Card),
) -> Answer {
    let Answer::Edit { args } = &answer else { return answer };
    let asks = folded.run.asks();
    match asks.iter().find(|ask| ask.id == *approval) {
        Some(ask) => {
            let kept = kept(args, (&shown.args, &ask.action.args));
            Answer::Edit { args: Arc::new(kept) }
        }
        None => answer,
    }
}

/// What was written, with the real value wherever it is what was shown of that.
fn kept(written: &Value, (shown, real): (&Value, &Value)) -> Value {
    if written == shown {
        return real.clone();
    }
    match (written, shown, real) {
        (Value::Object(written), Value::Object(shown), Value::Object(real)) => {
            let one = |(name, value): (&String, &Value)| {
                let both = shown.get(name).zip(real.get(name));
                (name.clone(), both.map_or_else(|| value.clone(), |both| kept(value, both)))
            };
            Value::Object(written.iter().map(one).collect())
        }
        _ => written.clone(),
    }
}

/// That the server which would be called is still where it was when the run was planned.
///
/// # Errors
/// That it is another, by the configuration.
pub(super) fn check_place(
    app: &App,
    folded: &Folded,
    approval: &ApprovalId,
) -> Result<(), Problem> {
    let asks = folded.run.asks();
    let asked = asks.iter().find(|ask| ask.id == *approval);
    let system = asked.and_then(|ask| ask.action.operation.binding.get("system")?.as_str());
    let Some((system, planned)) =
        system.and_then(|system| Some((system, folded.plan.servers.get(system)?)))
    else {
        return Ok(());
    };
    if place_of(&app.config, system).as_ref() == Some(planned) {
        return Ok(());
    }
    let detail = format!("`{system}` is another server than the one that this was asked about");
    Err(Problem::new(Kind::Conflict, "server-moved", detail)
        .at(format!("[systems.{system}]"))
        .next("deny it and have it asked for again, or put the server back where it was"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const KEY: &str = "ghp_9aQ2wE4rT6yU8iO0pA1sD3fG5hJ7kL9zX1cV";

    /// A key is not shown, and an edit of something else sends it as it is; what somebody wrote anew is what they wrote.
    #[test]
    fn an_edit_keeps_what_was_not_shown() {
        let real = json!({"to": "ada", "text": format!("use {KEY}"), "deep": {"key": KEY, "n": 1}});
        let shown = without_keys(&real);
        assert!(!shown.to_string().contains("ghp_") && shown["to"] == "ada", "{shown}");
        let mut edited = shown.clone();
        edited["to"] = json!("bob");
        edited["deep"]["n"] = json!(2);
        let mut wanted = real.clone();
        wanted["to"] = json!("bob");
        wanted["deep"]["n"] = json!(2);
        assert_eq!(kept(&edited, (&shown, &real)), wanted);
        edited["text"] = json!("use none");
        assert_eq!(kept(&edited, (&shown, &real))["text"], "use none");
    }
}
