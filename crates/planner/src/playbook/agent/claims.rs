//! Whether an answer claims effects that nobody has seen happen.
//!
//! It reads sentences, so it can only flag: what counts is the receipts, and a flag is a caveat beside
//! the answer, never a verdict. It knows the past and perfect tenses of the words for effects, in the
//! first person or in the passive, and leaves out what is denied, wished, planned or asked.

use std::collections::BTreeSet;

/// The families of effects: the words that claim one, and the words in an operation's name that do it.
const FAMILIES: [(&str, &[&str], &[&str]); 14] = [
    (
        "send",
        &["sent", "emailed", "mailed", "messaged", "notified", "forwarded", "replied"],
        &["send", "mail", "email", "message", "notify", "reply", "forward", "post", "draft"],
    ),
    ("refund", &["refunded", "reimbursed", "credited"], &["refund", "credit", "reimburse", "pay"]),
    (
        "pay",
        &["paid", "charged", "transferred", "invoiced", "billed"],
        &["pay", "charge", "transfer", "invoice", "bill"],
    ),
    (
        "create",
        &["created", "opened", "added", "registered", "filed", "submitted", "booked", "scheduled"],
        &[
            "create", "open", "add", "register", "file", "submit", "book", "schedule", "new",
            "insert", "post", "put", "write", "set",
        ],
    ),
    (
        "update",
        &[
            "updated",
            "changed",
            "modified",
            "edited",
            "set",
            "adjusted",
            "upgraded",
            "downgraded",
            "renamed",
            "moved",
            "renewed",
            "extended",
        ],
        &[
            "update",
            "change",
            "modify",
            "edit",
            "set",
            "adjust",
            "upgrade",
            "downgrade",
            "rename",
            "move",
            "patch",
            "put",
            "write",
            "renew",
            "extend",
        ],
    ),
    (
        "delete",
        &["deleted", "removed", "erased", "purged"],
        &["delete", "remove", "erase", "purge"],
    ),
    (
        "cancel",
        &["cancelled", "canceled", "terminated", "revoked"],
        &["cancel", "terminate", "revoke", "delete", "close", "end"],
    ),
    (
        "close",
        &["closed", "resolved", "archived"],
        &["close", "resolve", "archive", "update", "set"],
    ),
    (
        "approve",
        &["approved", "authorised", "authorized", "signed"],
        &["approve", "authorise", "authorize", "sign"],
    ),
    (
        "deploy",
        &["deployed", "released", "published", "merged", "pushed", "committed"],
        &["deploy", "release", "publish", "merge", "push", "commit"],
    ),
    (
        "escalate",
        &["escalated", "assigned", "reassigned"],
        &["escalate", "assign", "update", "set"],
    ),
    (
        "block",
        &["blocked", "disabled", "suspended", "locked"],
        &["block", "disable", "suspend", "lock", "update", "set"],
    ),
    (
        "enable",
        &["enabled", "activated", "unlocked", "restored"],
        &["enable", "activate", "unlock", "restore", "update", "set"],
    ),
    (
        "save",
        &["saved", "wrote", "written", "stored", "uploaded", "recorded", "logged"],
        &["save", "write", "store", "upload", "record", "log", "put", "add", "create", "update"],
    ),
];

/// Words before a claim that make it none.
const HEDGES: [&str; 44] = [
    "not",
    "never",
    "no",
    "cannot",
    "could",
    "couldn't",
    "can't",
    "didn't",
    "haven't",
    "hasn't",
    "wasn't",
    "weren't",
    "isn't",
    "won't",
    "unable",
    "failed",
    "if",
    "once",
    "when",
    "after",
    "before",
    "until",
    "should",
    "would",
    "will",
    "must",
    "may",
    "might",
    "can",
    "need",
    "needs",
    "to",
    "without",
    "nothing",
    "whether",
    "unless",
    "be",
    "found",
    "asked",
    "saw",
    "see",
    "shows",
    "that",
    "according",
];

/// Who claims, in the first person.
const SELF: [&str; 7] = ["i", "i've", "we", "we've", "i\u{2019}ve", "we\u{2019}ve", "successfully"];

/// The words with which `answer` claims effects that none of `done` can have had; `done` are the names
/// of the operations that changed something, as the catalogue writes them.
pub(super) fn unproven(answer: &str, done: &BTreeSet<String>) -> Vec<String> {
    let parts: BTreeSet<&str> = done.iter().flat_map(|name| name.split(['.', '_', '-'])).collect();
    let mut found = Vec::new();
    for sentence in answer.split_inclusive(['.', '!', '?', '\n', ';', ':']) {
        if sentence.ends_with('?') {
            continue;
        }
        let lower = sentence.to_lowercase();
        let words = words(&lower);
        // "I sent the mail and refunded it" makes two.
        let mut claims = 0_usize;
        for (at, word) in words.iter().enumerate() {
            let Some((_, _, verbs)) = FAMILIES.iter().find(|(_, past, _)| past.contains(word))
            else {
                continue;
            };
            if !is_claim(&words, at, claims) {
                continue;
            }
            claims = claims.saturating_add(1);
            if !verbs.iter().any(|verb| parts.contains(verb)) {
                found.push((*word).to_owned());
            }
        }
    }
    found
}

fn words(sentence: &str) -> Vec<&str> {
    let is_part = |c: char| c.is_alphanumeric() || "'\u{2019}-".contains(c);
    sentence.split(|c| !is_part(c)).filter(|word| !word.is_empty()).collect()
}

/// Whether the past tense at `at` is something that the speaker says has been done now; `claims_before`
/// counts those of the same sentence.
fn is_claim(words: &[&str], at: usize, claims_before: usize) -> bool {
    const NEAR: usize = 6;
    let before = words.get(..at).unwrap_or_default();
    let near = before.get(at.saturating_sub(NEAR)..).unwrap_or_default();
    let after = words.get(at.saturating_add(1)..).unwrap_or_default();
    let is_hedged = near.iter().any(|word| HEDGES.contains(word));
    // "was signed in 2024 by Acme": somebody else, some other time.
    if after.contains(&"by") || (is_hedged && claims_before == 0) {
        return false;
    }
    let previous = before.last().copied().unwrap_or_default();
    let first = near.iter().any(|word| SELF.contains(word));
    let is_perfect =
        |pair: &[&str]| matches!(pair, ["has" | "have", "been" | "now" | "already" | "just"]);
    let perfect = near.windows(2).any(is_perfect);
    let joined = claims_before > 0 && ["and", "then", "also"].contains(&previous);
    // "Refunded the customer." and "Email sent."
    let opens = before.is_empty() && after.len() > 1;
    let closes = after.is_empty() && before.len() == 1;
    first || perfect || joined || opens || closes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Over the labelled messages: nearly every false claim is flagged, and nearly nothing honest is.
    #[test]
    fn false_claims_are_flagged_and_honest_answers_are_not() {
        let corpus = include_str!("claims-corpus.txt").lines();
        let (mut caught, mut missed, mut false_alarms, mut passed) = (0, vec![], vec![], 0);
        for line in corpus.filter(|line| !line.starts_with('#')) {
            let [label, done, message] = line.splitn(3, " | ").collect::<Vec<_>>()[..] else {
                panic!("three parts: {line}")
            };
            let done: BTreeSet<String> =
                done.split(", ").filter(|d| *d != "-").map(str::to_owned).collect();
            match (label, unproven(message, &done).is_empty()) {
                ("claim", false) => caught += 1,
                ("claim", true) => missed.push(message),
                (_, true) => passed += 1,
                (_, false) => false_alarms.push(message),
            }
        }
        let all = caught + missed.len() + passed + false_alarms.len();
        let per_cent = |part: usize, whole: usize| 100 * part / whole;
        let recall = per_cent(caught, caught + missed.len());
        let precision = per_cent(caught, caught + false_alarms.len());
        let figures = format!("{all} messages: precision {precision} %, recall {recall} %");
        assert!(all >= 60, "{figures}");
        assert!(recall >= 95 && precision >= 95, "{figures}: {missed:#?} {false_alarms:#?}");
    }
}
