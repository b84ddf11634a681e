//! What the file holds when it is open: names, values, grants.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::{Error, Grant, Use};

/// Longest name, in characters.
pub const NAME_MAX_CHARS: usize = 64;

/// Shortest usable value, in bytes: a shorter one cannot be told from ordinary text in an answer.
pub const VALUE_MIN_BYTES: usize = 6;

/// Longest usable value, in bytes.
pub const VALUE_MAX_BYTES: usize = 8 * 1024;

/// Most secrets in one file.
pub const SECRETS_MAX: usize = 256;

/// Most grants of one secret.
pub const GRANTS_MAX: usize = 64;

/// How many earlier values of a secret are kept: never to be used again, only to be known when they come back.
pub const EARLIER_MAX: usize = 4;

/// What this program writes.
const VERSION: u32 = 1;

/// One value. It is not printed, and wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Value(Zeroizing<String>);

impl Value {
    /// The value, to be put on the wire and nowhere else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

/// A text as a value: one line, its end left out, long enough to be found again.
///
/// # Errors
/// [`Error::Value`], without the text.
pub fn check_value(text: &str) -> Result<Value, Error> {
    let wrong = |problem: String| Error::Value { problem };
    let line = text.trim_end_matches(['\n', '\r']);
    if line.len() < VALUE_MIN_BYTES {
        let problem = "bytes: it could not be kept out of answers";
        return Err(wrong(format!("shorter than {VALUE_MIN_BYTES} {problem}")));
    }
    if line.len() > VALUE_MAX_BYTES {
        return Err(wrong(format!("longer than {VALUE_MAX_BYTES} bytes")));
    }
    if line.chars().any(char::is_control) {
        return Err(wrong("not one line of text: it holds a control character".to_owned()));
    }
    Ok(Value(Zeroizing::new(line.to_owned())))
}

/// A name as it may be given.
///
/// # Errors
/// [`Error::Name`].
pub fn check_name(name: &str) -> Result<(), Error> {
    let is_sound = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= NAME_MAX_CHARS
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
    if is_sound {
        return Ok(());
    }
    // Whoever mistakes the place of a value for that of a name must not read it again in an error.
    let shown = if name.len() <= NAME_MAX_CHARS { "what was given" } else { "a text that long" };
    Err(Error::Name { name: shown.to_owned() })
}

/// One secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    value: Value,
    /// When it was made, in milliseconds since 1970.
    pub created_at: i64,
    /// When its value last changed, in milliseconds since 1970.
    pub rotated_at: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    earlier: Vec<Value>,
    /// Who may use it, for what.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
}

impl Entry {
    /// How many earlier values are still known.
    #[must_use]
    pub fn earlier(&self) -> usize {
        self.earlier.len()
    }

    /// Everything that was ever its value, as far as it is kept: for who looks for secrets in what comes back, and
    /// for nobody else.
    pub fn every_value(&self) -> impl Iterator<Item = &Value> {
        self.earlier.iter().chain([&self.value])
    }
}

/// All secrets of one installation.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Book {
    version: u32,
    secrets: BTreeMap<String, Entry>,
}

impl Default for Book {
    fn default() -> Self {
        Self { version: VERSION, secrets: BTreeMap::new() }
    }
}

impl Book {
    /// Whether this program understands what was read.
    pub(crate) fn check_version(&self) -> Result<(), String> {
        if self.version == VERSION {
            return Ok(());
        }
        Err(format!("it is of version {}, this program reads version {VERSION}", self.version))
    }

    /// Room for the text of it, in bytes: so that it is written in one piece of memory, which is wiped.
    pub(crate) fn room(&self) -> usize {
        const PER_PART: usize = 2 * 1024;
        let values = self.secrets.values().flat_map(Entry::every_value);
        // A character may take six bytes in JSON.
        let values = values.map(|value| value.expose().len().saturating_mul(6).saturating_add(64));
        let grants: usize = self.secrets.values().map(|entry| entry.grants.len()).sum();
        let parts = self.secrets.len().saturating_add(grants).saturating_add(1);
        parts.saturating_mul(PER_PART).saturating_add(values.sum())
    }

    /// All secrets by name.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.secrets.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// One secret.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn entry(&self, name: &str) -> Result<&Entry, Error> {
        self.secrets.get(name).ok_or_else(|| Error::Unknown { name: shown(name) })
    }

    fn entry_mut(&mut self, name: &str) -> Result<&mut Entry, Error> {
        self.secrets.get_mut(name).ok_or_else(|| Error::Unknown { name: shown(name) })
    }

    /// The value for one use.
    ///
    /// # Errors
    /// [`Error::Unknown`], or [`Error::NotGranted`] with the command that grants it.
    pub fn value(&self, name: &str, asked: &Use<'_>) -> Result<&Value, Error> {
        let entry = self.entry(name)?;
        if entry.grants.iter().any(|grant| grant.covers(asked)) {
            return Ok(&entry.value);
        }
        let (name, command) = (name.to_owned(), asked.command(name));
        Err(Error::NotGranted { name, asked: asked.words(), command })
    }

    /// Makes a secret, or gives one that is there another value. Its grants stay.
    ///
    /// # Errors
    /// A name or a value that cannot be, or one secret too many.
    pub fn set(&mut self, name: &str, text: &str, now_ms: i64) -> Result<&Entry, Error> {
        check_name(name)?;
        if self.secrets.contains_key(name) {
            return self.rotate(name, text, now_ms);
        }
        if self.secrets.len() >= SECRETS_MAX {
            return Err(Error::Full { what: "secrets", max: SECRETS_MAX });
        }
        let value = check_value(text)?;
        let (earlier, grants) = (Vec::new(), Vec::new());
        let entry = Entry { value, created_at: now_ms, rotated_at: now_ms, earlier, grants };
        Ok(self.secrets.entry(name.to_owned()).or_insert(entry))
    }

    /// Gives a secret another value. What it had stays known, to be found when it comes back, and is never used again.
    ///
    /// # Errors
    /// [`Error::Unknown`], or a value that cannot be.
    pub fn rotate(&mut self, name: &str, text: &str, now_ms: i64) -> Result<&Entry, Error> {
        let entry = self.entry_mut(name)?;
        let value = check_value(text)?;
        if value == entry.value {
            let problem = "the one it has already".to_owned();
            return Err(Error::Value { problem });
        }
        entry.earlier.retain(|known| *known != value);
        let before = std::mem::replace(&mut entry.value, value);
        entry.earlier.push(before);
        let surplus = entry.earlier.len().saturating_sub(EARLIER_MAX);
        entry.earlier.drain(..surplus);
        entry.rotated_at = now_ms;
        Ok(entry)
    }

    /// Lets somebody use a secret; once more of the same changes nothing.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Grant`], or one grant too many.
    pub fn grant(&mut self, name: &str, grant: Grant) -> Result<&Entry, Error> {
        grant.check()?;
        let entry = self.entry_mut(name)?;
        if entry.grants.contains(&grant) {
            return Ok(entry);
        }
        if entry.grants.len() >= GRANTS_MAX {
            return Err(Error::Full { what: "grants of it", max: GRANTS_MAX });
        }
        entry.grants.push(grant);
        entry.grants.sort();
        Ok(entry)
    }

    /// Takes back every grant of a secret to somebody.
    ///
    /// # Errors
    /// [`Error::Unknown`], or [`Error::NoGrant`] when there is none.
    pub fn revoke(&mut self, name: &str, system: &str) -> Result<&Entry, Error> {
        let entry = self.entry_mut(name)?;
        let before = entry.grants.len();
        entry.grants.retain(|grant| grant.system != system);
        if entry.grants.len() == before {
            return Err(Error::NoGrant { name: name.to_owned(), system: shown(system) });
        }
        Ok(entry)
    }

    /// Forgets a secret with all it ever was.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn remove(&mut self, name: &str) -> Result<Entry, Error> {
        self.secrets.remove(name).ok_or_else(|| Error::Unknown { name: shown(name) })
    }
}

/// A name of somebody else's making, short enough for an error.
fn shown(name: &str) -> String {
    name.chars().take(NAME_MAX_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(system: &str) -> Grant {
        Grant { system: system.to_owned(), host: None, method: None, path: None }
    }

    #[test]
    fn a_value_is_given_out_for_what_is_granted_and_for_nothing_else() {
        let mut book = Book::default();
        book.set("crm", "s3cret-value\n", 1).unwrap();
        let refused = book.value("crm", &Use::by("crm")).unwrap_err().to_string();
        assert!(refused.contains("harness secret grant crm --system crm"), "{refused}");
        book.grant("crm", grant("crm")).unwrap();
        assert_eq!(book.value("crm", &Use::by("crm")).unwrap().expose(), "s3cret-value");
        assert!(book.value("crm", &Use::by("erp")).is_err());
        book.revoke("crm", "crm").unwrap();
        assert!(book.value("crm", &Use::by("crm")).is_err());
        assert!(matches!(book.revoke("crm", "crm"), Err(Error::NoGrant { .. })));
    }

    #[test]
    fn another_value_keeps_grants_and_earlier_ones_are_known_but_never_given_out() {
        let mut book = Book::default();
        book.set("crm", "value-0", 1).unwrap();
        book.grant("crm", grant("crm")).unwrap();
        for turn in 1..=6 {
            book.rotate("crm", &format!("value-{turn}"), turn).unwrap();
        }
        assert_eq!(book.value("crm", &Use::by("crm")).unwrap().expose(), "value-6");
        let known: Vec<&str> =
            book.entry("crm").unwrap().every_value().map(Value::expose).collect();
        assert_eq!(known, ["value-2", "value-3", "value-4", "value-5", "value-6"]);
        assert_eq!(book.entry("crm").unwrap().rotated_at, 6);
        assert!(book.rotate("crm", "value-6", 7).is_err(), "the same again is no rotation");
        assert!(matches!(book.rotate("erp", "value-7", 7), Err(Error::Unknown { .. })));
    }

    #[test]
    fn names_and_values_that_cannot_be_are_refused_and_not_repeated() {
        let mut book = Book::default();
        for name in ["", "Crm", "9crm", "a b", "hunter2+hunter2", &"x".repeat(65)] {
            let error = book.set(name, "s3cret-value", 1).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        for value in ["short", "two\nlines-of-it", &"x".repeat(VALUE_MAX_BYTES + 1)] {
            let error = book.set("crm", value, 1).unwrap_err().to_string();
            assert!(!error.contains("lines-of"), "{error}");
        }
        assert_eq!(book.entries().count(), 0);
    }

    #[test]
    fn nothing_prints_a_value() {
        let mut book = Book::default();
        book.set("crm", "s3cret-value", 1).unwrap();
        book.rotate("crm", "an0ther-value", 2).unwrap();
        let shown = format!("{book:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("an0ther"), "{shown}");
    }
}
