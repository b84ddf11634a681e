//! What is said on each channel. Ids, roles and words of closed sets; a card's values only where the
//! operator lets a channel see them.

use kernel::id::Tenant;
use serde_json::{Map, Value, json};

use super::{Sort, outbox::Entry};
use crate::app::{approvals::Card, config::notify::Happening, runs::rfc3339, value::visible};

/// Longest text of a block in Slack, in characters.
const BLOCK_CHARS_MAX: usize = 2_900;

/// Most changes of a card that are shown in Slack.
const CHANGES_MAX: usize = 20;

/// The body of a webhook, as Standard Webhooks has it: what, when, and the ids to look it up with.
pub(super) fn webhook(entry: &Entry, link: &str, tenant: &Tenant) -> String {
    let subject = &entry.subject;
    let mut data = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            data.insert(key.to_owned(), value);
        }
    };
    put("tenant", json!(tenant.as_str()));
    put("run", json!(subject.run));
    put("step", json!(subject.step));
    match subject.sort {
        Sort::Approval => {
            put("approval", json!(subject.id));
            put("sort", json!(subject.about));
            put("roles", json!(subject.roles));
        }
        Sort::Exception => {
            put("exception", json!(subject.id));
            put("need", json!(subject.about));
            put("class", json!(subject.class));
            put("owner", json!(subject.roles.first()));
        }
        Sort::Notice => {
            put("notice", json!(subject.id));
            put("roles", json!(subject.roles));
        }
    }
    put("opened_at", json!(rfc3339(subject.opened_at)));
    put("expires_at", json!(subject.expires_at.map(rfc3339)));
    put("percent_left", json!(entry.more.left));
    put("escalated_to", json!(entry.more.escalated_to));
    put("state", json!(entry.more.state));
    put("decided_by", json!(entry.more.by));
    put("link", json!(link));
    let kind = entry.happening.map_or("reply", Happening::name);
    json!({"type": kind, "timestamp": rfc3339(entry.at), "data": data}).to_string()
}

/// One line that says what it is about.
fn headline(entry: &Entry) -> String {
    let subject = &entry.subject;
    let roles = subject.roles.join(", ");
    let (step, run) = (&subject.step, &subject.run);
    let left = entry.more.left.unwrap_or_default();
    match entry.happening {
        Some(Happening::ApprovalOpened) if subject.about == "question" => {
            format!("A question for {roles}: step {step} of {run}")
        }
        Some(Happening::ApprovalReminder) => {
            format!("Still waiting for {roles}, {left} % of the time left: step {step} of {run}")
        }
        Some(Happening::ApprovalEscalated) => {
            let next = entry.more.escalated_to.as_deref().unwrap_or_default();
            format!(
                "For {next}: {roles} did not answer, {left} % of the time left: step {step} of {run}"
            )
        }
        Some(Happening::ExceptionOpened) => {
            format!("An exception needs {roles}: step {step} of {run}")
        }
        Some(Happening::NoticePosted) => {
            format!("Something to read for {roles}: {step} of {run}")
        }
        _ => format!("An approval waits for {roles}: step {step} of {run}"),
    }
}

/// Subject and text of a mail. Its link opens the card and does nothing else.
pub(super) fn mail(entry: &Entry, link: &str) -> (String, String) {
    let subject = &entry.subject;
    let until =
        subject.expires_at.map(|at| format!("It expires at {}; then it is denied.\n", rfc3339(at)));
    let class = subject.class.as_ref().map(|class| format!("What went wrong: {class}.\n"));
    let deed = match subject.sort {
        Sort::Notice => "The link opens the run, where you sign in and read it.",
        Sort::Approval | Sort::Exception => {
            "The link opens the page, where you sign in and decide. Opening it decides nothing."
        }
    };
    let text = format!(
        "{}\n\n{}{}\n{link}\n\n{deed}\n",
        headline(entry),
        until.unwrap_or_default(),
        class.unwrap_or_default(),
    );
    (headline(entry), text)
}

/// A message for a Slack channel. Buttons stand only beside the card they decide, and carry its digest.
pub(super) fn slack(entry: &Entry, link: &str, card: Option<&Card>) -> String {
    let headline = headline(entry);
    let mut blocks = vec![text_block(&headline)];
    if let Some(card) = card {
        blocks.push(text_block(&card_text(card)));
    }
    if let Some(at) = entry.subject.expires_at {
        blocks.push(text_block(&format!("Until {}; then it is denied.", rfc3339(at))));
    }
    let mut elements = vec![json!({
        "type": "button", "action_id": "open", "url": link,
        "text": {"type": "plain_text", "text": "Open"},
    })];
    if let Some(card) = card.filter(|card| card.question.is_none() && !card.digest.is_empty()) {
        let value = json!({"approval": card.approval, "digest": card.digest}).to_string();
        elements.push(button("approve", "Approve", "primary", &value));
        elements.push(button("deny", "Deny", "danger", &value));
    }
    blocks.push(json!({"type": "actions", "elements": elements}));
    json!({"text": escape(&headline), "blocks": blocks}).to_string()
}

/// An answer to whoever pressed a button: it stands where the buttons were.
pub(super) fn slack_reply(text: &str) -> String {
    json!({"response_type": "ephemeral", "replace_original": false, "text": escape(text)})
        .to_string()
}

fn button(action: &str, label: &str, style: &str, value: &str) -> Value {
    json!({
        "type": "button", "action_id": action, "style": style, "value": value,
        "text": {"type": "plain_text", "text": label},
        "confirm": {
            "title": {"type": "plain_text", "text": format!("{label}?")},
            "text": {"type": "plain_text", "text": "This decides exactly what is shown here."},
            "confirm": {"type": "plain_text", "text": label},
            "deny": {"type": "plain_text", "text": "Not yet"},
        },
    })
}

/// Plain text: nothing in it becomes a link, a mention or a style.
fn text_block(text: &str) -> Value {
    let mut clipped: String = text.chars().take(BLOCK_CHARS_MAX).collect();
    if clipped.len() < text.len() {
        clipped.push('…');
    }
    json!({"type": "section", "text": {"type": "plain_text", "emoji": false, "text": clipped}})
}

/// The card in words, in the order people read it in.
fn card_text(card: &Card) -> String {
    let mut lines = vec![card.summary.clone()];
    lines.extend(card.command.iter().map(|command| command.summary.clone()));
    lines.push(format!("By {} for {}, {}", card.agent, card.on_behalf_of, card.pack));
    lines.extend(card.moves_money.iter().map(|money| format!("Moves money: {money}")));
    if !card.leaves.is_empty() {
        lines.push(format!("Carries: {}", card.leaves.join(", ")));
    }
    if card.untrusted {
        lines.push("An untrusted input had a part in it.".to_owned());
    }
    lines.push(format!("Touches: {}", card.touches));
    lines.push(format!("Can be undone: {}", card.undo));
    lines.extend(card.why.iter().map(|why| format!("Why: {} ({})", why.reason, why.rule)));
    let changes = card.changes.iter().take(CHANGES_MAX);
    lines.extend(changes.map(|c| format!("{}: {} → {}", c.field, c.now, c.after)));
    if card.changes.len() > CHANGES_MAX {
        lines.push(format!("… and {} more", card.changes.len() - CHANGES_MAX));
    }
    lines.push(format!("Exactly: {} {}", card.operation, card.digest));
    lines.iter().map(|line| visible(line)).collect::<Vec<_>>().join("\n")
}

/// What Slack takes for marks.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
