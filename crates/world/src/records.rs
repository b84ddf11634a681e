//! Business records: JSON documents by kind and id, in one table, with a version each.

use std::fmt::Write as _;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::config::Error;

/// The fields of one record.
pub(crate) type Doc = Map<String, Value>;

/// The kinds of record. Closed: a new kind is a new table of some system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Account,
    Contact,
    Contract,
    Opportunity,
    ChurnRisk,
    Note,
    Company,
    Ticket,
    Escalation,
    TicketReply,
    Customer,
    Invoice,
    Refund,
    Usage,
    Annotation,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Account => "crm.account",
            Self::Contact => "crm.contact",
            Self::Contract => "crm.contract",
            Self::Opportunity => "crm.opportunity",
            Self::ChurnRisk => "crm.churn_risk",
            Self::Note => "crm.note",
            Self::Company => "desk.company",
            Self::Ticket => "desk.ticket",
            Self::Escalation => "desk.escalation",
            Self::TicketReply => "desk.reply",
            Self::Customer => "billing.customer",
            Self::Invoice => "billing.invoice",
            Self::Refund => "billing.refund",
            Self::Usage => "usage.series",
            Self::Annotation => "usage.annotation",
        }
    }

    /// What people call one of these, for messages.
    pub(crate) fn noun(self) -> &'static str {
        self.name().rsplit('.').next().unwrap_or("record")
    }
}

/// One stored record.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) seq: i64,
    pub(crate) doc: Doc,
    pub(crate) version: i64,
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) after_seq: i64,
    pub(crate) skip: usize,
    pub(crate) take: usize,
}

/// A part of a list.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) rows: Vec<Record>,
    /// How many records after `after_seq` match, on this page or not.
    pub(crate) total: usize,
}

/// Access to the records, within whatever transaction the connection is in.
#[derive(Clone, Copy)]
pub(crate) struct Records<'a> {
    connection: &'a Connection,
}

impl<'a> Records<'a> {
    pub(crate) fn new(connection: &'a Connection) -> Self {
        Self { connection }
    }

    pub(crate) fn get(&self, kind: Kind, id: &str) -> Result<Option<Record>, Error> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT seq, doc, version FROM records WHERE kind = ?1 AND id = ?2")?;
        let row = statement.query_row(params![kind.name(), id], columns).optional()?;
        row.map(parse).transpose()
    }

    /// The records of `kind` (under `parent`, if named) that `keep` accepts, in order of creation.
    pub(crate) fn page(
        &self,
        kind: Kind,
        parent: Option<&str>,
        window: Window,
        keep: &dyn Fn(&Doc) -> bool,
    ) -> Result<Page, Error> {
        let mut statement = self.connection.prepare_cached(match parent {
            Some(_) => {
                "SELECT seq, doc, version FROM records
                 WHERE kind = ?1 AND seq > ?2 AND parent = ?3 ORDER BY seq"
            }
            None => {
                "SELECT seq, doc, version FROM records
                 WHERE kind = ?1 AND seq > ?2 AND ?3 IS NULL ORDER BY seq"
            }
        })?;
        let mut page = Page { rows: Vec::new(), total: 0 };
        let found = statement.query_map(params![kind.name(), window.after_seq, parent], columns)?;
        for row in found {
            let record = parse(row?)?;
            if keep(&record.doc) {
                page.total += 1;
                if page.total > window.skip && page.rows.len() < window.take {
                    page.rows.push(record);
                }
            }
        }
        Ok(page)
    }

    /// Every record under `parent`.
    pub(crate) fn children(&self, kind: Kind, parent: &str) -> Result<Vec<Record>, Error> {
        let all = Window { after_seq: 0, skip: 0, take: usize::MAX };
        Ok(self.page(kind, Some(parent), all, &|_| true)?.rows)
    }

    /// The number the next record of `kind` gets.
    pub(crate) fn next_seq(&self, kind: Kind) -> Result<i64, Error> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT coalesce(max(seq), 0) + 1 FROM records WHERE kind = ?1")?;
        Ok(statement.query_row([kind.name()], |row| row.get(0))?)
    }

    pub(crate) fn insert(
        &self,
        kind: Kind,
        id: &str,
        parent: Option<&str>,
        doc: &Doc,
    ) -> Result<(), Error> {
        let seq = self.next_seq(kind)?;
        self.connection
            .prepare_cached(
                "INSERT INTO records (kind, id, seq, parent, doc, version)
                 VALUES (?1, ?2, ?3, ?4, ?5, 1)",
            )?
            .execute(params![kind.name(), id, seq, parent, canonical_text(doc)])?;
        Ok(())
    }

    /// Replaces a record's fields and moves its version on.
    pub(crate) fn update(&self, kind: Kind, id: &str, doc: &Doc) -> Result<i64, Error> {
        let mut statement = self.connection.prepare_cached(
            "UPDATE records SET doc = ?3, version = version + 1
             WHERE kind = ?1 AND id = ?2 RETURNING version",
        )?;
        let doc = canonical_text(doc);
        Ok(statement.query_row(params![kind.name(), id, doc], |row| row.get(0))?)
    }

    /// `sha256:<hex>` over every record's kind, id and fields; versions and order of creation
    /// stay out, so that writing old values back gives the old hash.
    pub(crate) fn hash(&self) -> Result<String, Error> {
        let mut statement = self.connection.prepare(
            "SELECT kind, id, doc FROM records ORDER BY kind COLLATE BINARY, id COLLATE BINARY",
        )?;
        let mut rows = statement.query([])?;
        let mut hasher = Sha256::new();
        while let Some(row) = rows.next()? {
            // No column holds a raw newline: kinds and ids are words, documents are JSON text.
            for column in 0..3 {
                let text = row.get_ref(column)?.as_str();
                hasher.update(text.map_err(rusqlite::Error::from)?);
                hasher.update("\n");
            }
        }
        let hex: String = hasher.finalize().iter().map(|b| format!("{b:02x}")).collect();
        Ok(format!("sha256:{hex}"))
    }
}

/// The fields of a literal object.
pub(crate) fn object(value: Value) -> Doc {
    match value {
        Value::Object(doc) => doc,
        _ => Doc::new(),
    }
}

/// A field's text; empty if it has none.
pub(crate) fn text<'a>(doc: &'a Doc, name: &str) -> &'a str {
    doc.get(name).and_then(Value::as_str).unwrap_or("")
}

fn columns(row: &Row<'_>) -> rusqlite::Result<(i64, String, i64)> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn parse((seq, doc, version): (i64, String, i64)) -> Result<Record, Error> {
    Ok(Record { seq, doc: serde_json::from_str(&doc)?, version })
}

/// The text under which a record is stored. Equal records have equal text, which the hash reads.
fn canonical_text(doc: &Doc) -> String {
    let mut out = String::new();
    write_object(&mut out, doc);
    out
}

fn write_object(out: &mut String, map: &Doc) {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by(|a, b| a.0.cmp(b.0));
    out.push('{');
    for (at, (name, inner)) in entries.into_iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        // Writing into a String cannot fail.
        let _ = write!(out, "{comma}{}:", Value::String(name.clone()));
        write_canonical(out, inner);
    }
    out.push('}');
}

/// Writes a value with its keys sorted, whatever order the map in use keeps.
fn write_canonical(out: &mut String, value: &Value) {
    match value {
        Value::Object(map) => write_object(out, map),
        Value::Array(items) => {
            out.push('[');
            for (at, inner) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_canonical(out, inner);
            }
            out.push(']');
        }
        plain => {
            let _ = write!(out, "{plain}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_text_does_not_depend_on_key_order() {
        let mut text = String::new();
        let value: Value = serde_json::from_str(r#"{"b":[1,{"z":null,"a":"ü"}],"a":2}"#).unwrap();
        write_canonical(&mut text, &value);
        assert_eq!(text, r#"{"a":2,"b":[1,{"a":"ü","z":null}]}"#);
    }
}
