//! Messages the sink has taken: read from the wire, counted, listed.

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Value, json};

use crate::config::Error;

/// The most messages one answer lists, newest last.
const MAX_LISTED: i64 = 1000;

/// One message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) message_id: Option<String>,
    pub(crate) subject: String,
    pub(crate) body: String,
}

impl Letter {
    /// Reads headers and body from the bytes of a DATA command.
    pub(crate) fn read(from: String, to: Vec<String>, data: &[u8]) -> Self {
        let text = String::from_utf8_lossy(data).replace("\r\n", "\n");
        let (head, body) = match text.strip_prefix('\n') {
            Some(body) => ("", body),
            None => text.split_once("\n\n").unwrap_or((text.as_str(), "")),
        };
        // A folded header goes on in lines that begin with a space or tab.
        let head = head.replace("\n ", " ").replace("\n\t", " ");
        let header = |wanted: &str| {
            head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned())
            })
        };
        Self {
            from,
            to,
            message_id: header("message-id").filter(|id| !id.is_empty()),
            subject: header("subject").unwrap_or_default(),
            body: body.to_owned(),
        }
    }

    /// Stores the message, or counts one more delivery of it.
    pub(crate) fn store(&self, connection: &Connection) -> Result<(), Error> {
        let to = serde_json::to_string(&self.to)?;
        connection
            .prepare_cached(
                "INSERT INTO mail (message_id, sender, recipients, subject, body, deliveries)
                 VALUES (?1, ?2, ?3, ?4, ?5, 1)
                 ON CONFLICT (message_id) DO UPDATE SET deliveries = deliveries + 1",
            )?
            .execute(params![self.message_id, self.from, to, self.subject, self.body])?;
        Ok(())
    }
}

/// The stored messages, all or those with this Message-ID or recipient.
pub(crate) fn list(
    connection: &Connection,
    message_id: Option<&str>,
    to: Option<&str>,
) -> Result<Value, Error> {
    let bare = message_id.map(|id| id.trim_start_matches('<').trim_end_matches('>').to_owned());
    let mut statement = connection.prepare_cached(
        "SELECT id, message_id, sender, recipients, subject, body, deliveries FROM mail
         WHERE (?1 IS NULL OR trim(message_id, '<>') = ?1)
         AND (?2 IS NULL OR EXISTS (SELECT 1 FROM json_each(recipients) WHERE value = ?2))
         ORDER BY id LIMIT ?3",
    )?;
    let rows = statement.query_map(params![bare, to, MAX_LISTED], |row| {
        let recipients: String = row.get(3)?;
        Ok(json!({
            "id": row.get::<_, i64>(0)?,
            "message_id": row.get::<_, Option<String>>(1)?,
            "from": row.get::<_, String>(2)?,
            "to": serde_json::from_str::<Value>(&recipients).unwrap_or_default(),
            "subject": row.get::<_, String>(4)?,
            "body": row.get::<_, String>(5)?,
            "deliveries": row.get::<_, i64>(6)?,
        }))
    })?;
    let messages = rows.collect::<Result<Vec<Value>, _>>()?;
    let duplicates: Option<i64> = connection
        .query_row("SELECT sum(deliveries - 1) FROM mail", [], |row| row.get(0))
        .optional()?
        .flatten();
    Ok(json!({"messages": messages, "duplicates": duplicates.unwrap_or(0)}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_unfold_and_end_at_the_blank_line() {
        let data = b"Subject: one\r\n two\r\nMESSAGE-ID:\t<a@b>\r\n\r\nSubject: no\r\n\r\nend\r\n";
        let letter = Letter::read("f@x".to_owned(), vec!["t@x".to_owned()], data);
        assert_eq!(letter.subject, "one two");
        assert_eq!(letter.message_id.as_deref(), Some("<a@b>"));
        assert_eq!(letter.body, "Subject: no\n\nend\n");
    }
}
