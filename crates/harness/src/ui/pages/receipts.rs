//! Receipts: run by run, and one with every fact: who asked, who approved and what they saw, which rule,
//! what it touched, what changed, how to take it back, and whether it verifies.

use maud::{Markup, html};
use serde_json::Value;

use super::about::{self, about};
use crate::{
    app::{
        explain::{Explanation, Explanations},
        ledger::{Ledger, LedgerLine, LedgerRun, ListLedger},
        receipts::{ReceiptVerified, ReceiptView, Verified},
    },
    ui::{
        icons::Icon,
        parts::{self, Tone},
        shell::{Frame, Page, Place},
    },
};

/// The list.
pub(crate) fn list(frame: &Frame, ledger: &Ledger, asked: &ListLedger) -> Markup {
    let (run, about) = (asked.run.as_deref(), about!(asked));
    let filtered = run.is_some() || about::is_set(&about);
    let body = html! {
        div.stack {
            div.head { h1 { "Receipts" } p.meta { (ledger.log_size) " in the log · newest run first" } }
            form.filters method="get" action="/receipts" role="search" {
                label { "Receipt or run" input name="run" value=(run.unwrap_or_default()) placeholder="rct_… or run_…" autocomplete="off" data-key="search"; }
                (about::inputs(&about))
                button { "Find" }
                @if filtered { a href="/receipts" { "All runs" } }
            }
            div.stack #ledger data-patch data-any {
                @for item in ledger.items.iter().filter(|item| run.is_some() || !item.items.is_empty()) { (of_run(frame, item, run)) }
                @if ledger.items.iter().all(|item| item.items.is_empty()) {
                    div.card { (nothing(asked)) }
                }
                @if ledger.next.is_some() { div.card { (parts::pager("/receipts", &about::query(&about), ledger.next.as_deref())) } }
            }
        }
    };
    frame.page(&Page { place: Place::Receipts, title: "Receipts", run, layout: "", body })
}

fn nothing(asked: &ListLedger) -> Markup {
    let (told, more) = match asked.run.is_some() || about::is_set(&about!(asked)) {
        true => ("No receipt on this page fits", "Writes are told; a run shows all of its own"),
        false => ("No receipt here yet", "Every action that reaches a system leaves one"),
    };
    parts::empty(Icon::Receipt, told, html! { (more) })
}

fn of_run(frame: &Frame, item: &LedgerRun, only: Option<&str>) -> Markup {
    let run = &item.run;
    html! {
        section.card aria-label={ "Receipts of " (run.id) } {
            header {
                div {
                    h2 { (parts::title(&run.intent)) }
                    p.meta { a href={ "/runs/" (run.id) } { (super::card::short_run(&run.id)) } " · " (run.agent) " for " (run.on_behalf_of) " · " (parts::time(&run.opened_at, frame.now)) }
                }
                (parts::status(&run.status))
            }
            ul.list { @for line in &item.items { (row(frame, line)) } }
            div.pager {
                span.meta { @if only.is_none() { "Writes only; " } (item.total) " receipts in all" }
                span.actions {
                    @if only.is_none() { a href={ "/receipts?run=" (run.id) } { "All of this run" } }
                    a.button href={ "/receipts/verify?run=" (run.id) } { "Verify" }
                }
            }
        }
    }
}

fn row(frame: &Frame, line: &LedgerLine) -> Markup {
    html! {
        li #{ "item-" (line.receipt) } {
            a.item href={ "/receipts/" (line.receipt) } data-item {
                span.what { (line.summary) }
                (outcome_tag(line))
                span.meta {
                    @if line.operation.is_empty() { "close record" } @else { (line.operation) }
                    @if !line.approved_by.is_empty() { " · approved by " (line.approved_by.join(", ")) }
                }
                span.meta.when { (parts::time(&line.at, frame.now)) " · no. " (line.log_index) }
            }
        }
    }
}

fn outcome_tag(line: &LedgerLine) -> Markup {
    match (line.outcome.as_str(), line.sort.as_str()) {
        ("done", "read") => parts::tag(Tone::Calm, Icon::Check, "Read"),
        ("done", "close") => parts::tag(Tone::Calm, Icon::Lock, "Closed"),
        ("done", _) => parts::tag(Tone::Good, Icon::Check, "Done"),
        (other, _) => parts::outcome(other),
    }
}

/// One receipt.
pub(crate) fn detail(
    frame: &Frame,
    (receipt, explained, checked): (&ReceiptView, &Explanations, &ReceiptVerified),
) -> Markup {
    let told = explained.items.first();
    let title = told.map_or("Close record", |told| told.summary.as_str());
    let valid = receipt.signature == "valid";
    let body = html! {
        div.stack {
            p { a href={ "/receipts?run=" (receipt.run) } { "All receipts of this run" } }
            div.card #receipt data-patch {
                header {
                    div {
                        h1 { (title) }
                        p.meta { code { (receipt.id) } " · no. " (receipt.log_index) " in the log · " a href={ "/runs/" (receipt.run) } { "its run" } }
                    }
                    @if valid { (parts::tag(Tone::Good, Icon::Check, "Signature valid")) }
                    @else { (parts::tag(Tone::Bad, Icon::Cross, "Signature invalid")) }
                }
                @if !valid { (parts::note(Tone::Bad, Icon::Alert, html! { (receipt.signature) })) }
                @match told {
                    Some(told) => (facts(frame, told, (explained, &receipt.statement))),
                    None => p.row { "This record closes the run: it names how many receipts there are, so that a missing one shows." },
                }
                div.row.actions {
                    a.button href={ "/receipts/verify?run=" (receipt.run) } { (Icon::Check.draw()) "Verify" }
                    @if told.is_some_and(|told| told.take_back.contains("--token")) {
                        a.button href={ "/rollback/" (receipt.run) } { (Icon::Undo.draw()) "Take it back…" }
                    }
                }
            }
            (bytes_checked(checked))
            section.card aria-labelledby="signed" {
                header { div { h2 #signed { "Exactly what is signed" } p.meta { "Values stand as commitments: who holds the value can show that it is the one." } } }
                div.row { details.more { summary { "Statement" } (parts::value(&receipt.statement)) } }
                div.row { details.more { summary { "Envelope, as logged" } pre.box tabindex="0" role="group" aria-label="Envelope" { (receipt.envelope) } } }
            }
        }
    };
    frame.page(&Page { place: Place::Receipts, title, run: Some(&receipt.run), layout: "", body })
}

/// Which bytes were checked, and against which log: what somebody else needs to come to the same.
fn bytes_checked(checked: &ReceiptVerified) -> Markup {
    let whole = |digest: &str| html! { code { (digest) } " " (parts::copy(digest, "it")) };
    html! {
        section.card aria-labelledby="checked" {
            header {
                h2 #checked { "What was verified" }
                @if checked.verdict == "verified" { (parts::tag(Tone::Good, Icon::Check, "Verified")) }
                @else { (parts::tag(Tone::Bad, Icon::Cross, "Verification failed")) }
            }
            @if !checked.reason.is_empty() { (parts::note(Tone::Bad, Icon::Alert, html! { (parts::capital(&checked.reason)) "." })) }
            div.row { dl.kv {
                dt { "Envelope, SHA-256" } dd { (whole(&checked.envelope_sha256)) span.meta { " of " (checked.envelope_bytes) " bytes" } }
                dt { "Leaf of the log" } dd { (whole(&checked.leaf)) span.meta { " no. " (checked.leaf_index) } }
                dt { "Root of the log" } dd { (whole(&checked.root)) span.meta { " of " (checked.size) " leaves" } }
            } }
        }
    }
}

fn facts(
    frame: &Frame,
    told: &Explanation,
    (explained, statement): (&Explanations, &Value),
) -> Markup {
    let text = |pointer: &str| statement.pointer(pointer).and_then(Value::as_str);
    html! {
        section { dl.kv {
            dt { "Outcome" } dd { (parts::outcome(&told.outcome.replace(": ", ":"))) }
            dt { "Who asked" } dd { (explained.intent) }
            @if let Some(agent) = text("/predicate/chain/agent/id") { dt { "Who proposed it" } dd { (agent) } }
            dt { "Who approved it, and what they saw" } dd {
                ul.lines { @for line in &told.approved_by { li { (line) } } }
                @for ask in &told.asks { a href={ "/approvals/" (ask) } { "The card as it was shown" } }
            }
            dt { "Which rules allowed it" } dd { ul.lines { @for rule in &told.rules { li { (rule) } } } }
            dt { "What was planned" } dd { (parts::prose(&told.planned)) }
            dt { "What it touched" } dd { (told.touched) }
            dt { "Sensitive data" } dd { (told.sensitive) }
            dt { "What changed" } dd { ul.lines { @for line in &told.changed { li { (line) } } } }
            dt { "How to take it back" } dd { (take_back(&told.take_back)) }
            dt { "How to replay it" } dd { code { (told.replay) } }
        } }
        @for trouble in &explained.troubles {
            (parts::note(Tone::Warn, Icon::Alert, html! {
                (parts::title(&trouble.class)) " " (parts::time(&trouble.at, frame.now)) ": " (trouble.said)
                @if let Some(recovery) = &trouble.recovery { " · recovered by " (parts::words(recovery)) }
            }))
        }
    }
}

/// The command is for a terminal; here the button does it.
fn take_back(text: &str) -> Markup {
    match text.split_once(" (") {
        Some((command, how)) => {
            html! { (parts::title(how.trim_end_matches(')'))) br; code { (command) } }
        }
        None => html! { (parts::title(text)) },
    }
}

/// What a verification checked, one by one, and how each check ended.
pub(crate) fn verified(frame: &Frame, run: &str, found: &Verified) -> Markup {
    let (tone, icon, word) = match found.verdict.as_str() {
        "verified" => (Tone::Good, Icon::Check, "Verified"),
        "open" => (Tone::Warn, Icon::Clock, "Open: the run is not closed yet"),
        _ => (Tone::Bad, Icon::Cross, "Verification failed"),
    };
    let body = html! {
        div.stack {
            p { a href={ "/receipts?run=" (run) } { "All receipts of this run" } }
            div.card {
                header {
                    div { h1 { "Verification" } p.meta { code { (run) } " · " (found.checks.len()) " checks, under this store's own key" } }
                    (parts::tag(tone, icon, word))
                }
                @if !found.reason.is_empty() { (parts::note(tone, icon, html! { (parts::title(&found.reason)) })) }
                div.wide { table.cards {
                    thead { tr { th scope="col" { "Checked" } th scope="col" { "Outcome" } th scope="col" { "What exactly" } } }
                    tbody { @for check in &found.checks { tr {
                        td { (parts::title(&check.check)) }
                        td { @match check.outcome.as_str() {
                            "ok" => (parts::tag(Tone::Good, Icon::Check, "Holds")),
                            "failed" => (parts::tag(Tone::Bad, Icon::Cross, "Fails")),
                            _ => (parts::tag(Tone::Calm, Icon::Half, "Not possible")),
                        } }
                        td { (check.detail) }
                    } } }
                } }
                p.row.meta { "Anybody can do the same elsewhere: export the run, and " code { "harness receipt verify --bundle FILE --key KEY" } "." }
            }
        }
    };
    frame.page(&Page { place: Place::Receipts, title: "Verification", run: None, layout: "", body })
}
