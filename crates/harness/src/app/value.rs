//! Showing outside values to people: safely, readably, and never more than asked for.

pub use pack::nearest;
use std::{collections::BTreeMap, io, sync::Arc};

use bytes::Bytes;
use connect::blob::{BlobSink, BlobWriter};
use kernel::{
    Digest,
    id::Tenant,
    money::{Currency, Money},
    port::{Blobs, Task},
    summary::{self, Part},
    text::is_hidden,
};
use serde_json::Value;

/// A count and what is counted, as people say it: `1 run`, `2 runs`, `3 entries`, `4 leaves`.
#[must_use]
pub fn counted(count: impl std::fmt::Display, noun: &str) -> String {
    let count = count.to_string();
    if count == "1" {
        return format!("{count} {noun}");
    }
    let plural = match (noun.strip_suffix('y'), noun.strip_suffix('f')) {
        (Some(stem), _) => format!("{stem}ies"),
        (_, Some(stem)) => format!("{stem}ves"),
        _ => format!("{noun}s"),
    };
    format!("{count} {plural}")
}

/// Bulky results go to the store, whole.
#[derive(Debug)]
pub struct StoreSink(pub Arc<dyn Blobs>);

struct Writer {
    blobs: Arc<dyn Blobs>,
    tenant: Tenant,
    bytes: Vec<u8>,
}

impl BlobSink for StoreSink {
    fn open(&self, tenant: &Tenant) -> Box<dyn BlobWriter> {
        Box::new(Writer { blobs: Arc::clone(&self.0), tenant: tenant.clone(), bytes: Vec::new() })
    }
}

impl BlobWriter for Writer {
    fn write(&mut self, bytes: Bytes) -> Task<'_, io::Result<()>> {
        // The caller bounds the whole at `connect::BLOB_MAX_BYTES`.
        self.bytes.extend_from_slice(&bytes);
        Box::pin(std::future::ready(Ok(())))
    }

    fn finish(self: Box<Self>) -> Task<'static, io::Result<Digest>> {
        Box::pin(async move {
            let stored = self.blobs.put(self.tenant, self.bytes).await;
            stored.map_err(|error| io::Error::other(error.to_string()))
        })
    }
}

/// Fills an operation's summary from its arguments; see [`kernel::summary`] for what it may hold.
#[must_use]
pub fn summarise(template: &str, args: &Value) -> String {
    let mut text = String::with_capacity(template.len() + 32);
    match summary::parse(template) {
        Ok(parts) => fill(&parts, args, &mut text),
        // A pack that was loaded under other rules: as it is written is better than nothing.
        Err(_) => text.push_str(template),
    }
    text
}

fn fill(parts: &[Part<'_>], args: &Value, text: &mut String) {
    let argument = |place: &str| args.pointer(place).filter(|value| !value.is_null());
    // Lines run together would read as one: what follows a comment as part of it.
    let words = |value: &Value| match value {
        Value::String(text) => in_words(&Value::String(text.trim_end().replace('\n', " ⏎ "))),
        other => in_words(other),
    };
    let shown = |place: &str| argument(place).map_or_else(|| "…".to_owned(), words);
    for part in parts {
        match part {
            Part::Text(words) => text.push_str(words),
            Part::Place(place) => text.push_str(&shown(place)),
            Part::Amount(amount, currency) => {
                let both = argument(amount).zip(argument(currency));
                let money = both.and_then(|(amount, currency)| money_of(amount, currency));
                match money {
                    Some(money) => text.push_str(&money.to_string()),
                    None => text.push_str(&format!("{} {}", shown(amount), shown(currency))),
                }
            }
            Part::Maybe(inside) => {
                if summary::pointers(inside).into_iter().all(|place| argument(place).is_some()) {
                    fill(inside, args, text);
                }
            }
        }
    }
}

fn money_of(amount: &Value, currency: &Value) -> Option<Money> {
    let currency = Currency::parse(&currency.as_str()?.to_ascii_uppercase())?;
    Some(Money { minor: amount.as_i64()?, currency })
}

/// A value within a sentence: of a map, its fields.
fn in_words(value: &Value) -> String {
    match value.as_object() {
        Some(fields) if Money::from_value(value).is_none() && !fields.is_empty() => {
            // In one order, whatever order a map keeps.
            let sorted: BTreeMap<&String, &Value> = fields.iter().collect();
            let each = sorted.into_iter();
            let each = each.map(|(name, value)| format!("{} {}", visible(name), plain(value)));
            each.collect::<Vec<_>>().join(", ")
        }
        _ => plain(value),
    }
}

/// What stands at a JSON Pointer; null where nothing does.
#[must_use]
pub fn at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// One value as one line of plain text, with invisible characters made visible.
#[must_use]
pub fn plain(value: &Value) -> String {
    if let Some(money) = Money::from_value(value) {
        return money.to_string();
    }
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => visible(text),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => visible(&value.to_string()),
    }
}

/// Text in which control, invisible and direction-changing characters are spelled out, and words that mix
/// scripts are marked.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for word in text.split_inclusive(char::is_whitespace) {
        if mixes_scripts(word) {
            shown.push_str("[mixed script] ");
        }
        for c in word.chars() {
            if is_hidden(c) {
                shown.push_str(&format!("<U+{:04X}>", u32::from(c)));
            } else {
                shown.push(if c == '\n' || c == '\t' { ' ' } else { c });
            }
        }
    }
    shown
}

/// Text with what does not show spelled out, and nothing else changed; for whole pages, in their own escapes.
#[must_use]
pub fn spelled(page: &str) -> String {
    let mut shown = String::with_capacity(page.len());
    for c in page.chars() {
        match is_hidden(c) {
            true => shown.push_str(&format!("&lt;U+{:04X}&gt;", u32::from(c))),
            false => shown.push(c),
        }
    }
    shown
}

/// A value as JSON that reads back as the same value, with what does not show written as `\u202e`.
#[must_use]
pub fn exact(value: &Value) -> String {
    let json = serde_json::to_string_pretty(value).unwrap_or_default();
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        match is_hidden(c) {
            true => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    shown.push_str(&format!("\\u{unit:04x}"));
                }
            }
            false => shown.push(c),
        }
    }
    shown
}

/// Latin with Cyrillic, Greek or another script whose letters look like it in one word: how look-alike
/// addresses are made.
fn mixes_scripts(word: &str) -> bool {
    let script = |c: char| match u32::from(c) {
        0x41..=0x5A | 0x61..=0x7A | 0xC0..=0x2AF | 0x1E00..=0x1EFF => Some(1),
        0x370..=0x3FF | 0x1F00..=0x1FFF => Some(2),
        0x400..=0x52F | 0x1C80..=0x1C8F | 0x2DE0..=0x2DFF | 0xA640..=0xA69F => Some(3),
        0x530..=0x58F => Some(4),
        0x13A0..=0x13FF => Some(5),
        0x2C80..=0x2CFF => Some(6),
        0xA4D0..=0xA4FF => Some(7),
        0xFF21..=0xFF3A | 0xFF41..=0xFF5A => Some(8),
        0x1D400..=0x1D7FF => Some(9),
        _ => None,
    };
    let mut scripts = word.chars().filter_map(script);
    let first = scripts.next();
    scripts.any(|next| Some(next) != first)
}

/// A version of a document, as an entity tag. How long something has waited is no change of it.
#[must_use]
pub fn fingerprint(document: &Value) -> String {
    let mut stable = document.clone();
    drop_ages(&mut stable);
    let digest = kernel::Digest::of(stable.to_string().as_bytes()).hex();
    format!("\"{}\"", digest.get(..32).unwrap_or(&digest))
}

fn drop_ages(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("age_ms");
            map.values_mut().for_each(drop_ages);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_ages),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_is_not_many() {
        assert_eq!(counted(1, "run"), "1 run");
        assert_eq!(counted("0", "event"), "0 events");
        assert_eq!(counted(2, "entry"), "2 entries");
        assert_eq!(counted(21, "leaf"), "21 leaves");
    }

    #[test]
    fn what_hides_is_spelled_out_and_reads_back() {
        let value = json!({"to": "a\u{202e}b\u{e0041}", "line": "one\ntwo"});
        let shown = exact(&value);
        assert!(shown.contains("a\\u202eb\\udb40\\udc41"), "{shown}");
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
        assert_eq!(
            spelled("<p>a\u{202e}b\u{200b}</p>\n"),
            "<p>a&lt;U+202E&gt;b&lt;U+200B&gt;</p>\n"
        );
    }

    #[test]
    fn summaries_take_typed_arguments_only() {
        let args = json!({"to": ["a@x.example"], "amount": {"minor": 24000, "currency": "EUR"}});
        assert_eq!(
            summarise("Refund {/amount} to {/to}", &args),
            "Refund EUR 240.00 to a@x.example"
        );
        assert_eq!(summarise("Missing {/none}", &args), "Missing …");
        let lines = json!({"command": "# harmless\nrm -rf .\n"});
        assert_eq!(summarise("Run {/command}", &lines), "Run # harmless ⏎ rm -rf .");
        assert_eq!(summarise("As written {open", &args), "As written {open");
    }

    #[test]
    fn a_summary_reads_as_people_speak() {
        let template = "Change {/c}[: renewal date {/date}][: {/terms}], for {/fee /currency}";
        let args = json!({"c": "CTR-1", "date": null, "terms": {"PaymentTermsDays": 45, "AutoRenew": true},
            "fee": 24_000, "currency": "eur"});
        assert_eq!(
            summarise(template, &args),
            "Change CTR-1: AutoRenew true, PaymentTermsDays 45, for EUR 240.00"
        );
        let args = json!({"c": "CTR-1", "date": "2027-01-31", "fee": "much", "currency": "eur"});
        assert_eq!(
            summarise(template, &args),
            "Change CTR-1: renewal date 2027-01-31, for much eur"
        );
    }

    /// C349: what cannot be seen is spelled out.
    #[test]
    fn hidden_and_look_alike_characters_show() {
        assert_eq!(visible("pay\u{202E}gpj.exe"), "pay<U+202E>gpj.exe");
        assert_eq!(visible("zero\u{200B}width"), "zero<U+200B>width");
        assert_eq!(visible("esc\u{1b}[31m"), "esc<U+001B>[31m");
        assert!(visible("p\u{0430}ypal.example").starts_with("[mixed script] "));
        assert_eq!(visible("Zürich 株式会社 Ελλάδα"), "Zürich 株式会社 Ελλάδα");
    }
}
