//! The ledger of effects, and the answers kept for idempotency keys.

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::config::Error;
use crate::problem::{Problem, Refusal, System};
use crate::route::Reply;

/// The most ledger lines one answer lists.
const MAX_EFFECTS_LISTED: i64 = 10_000;

/// What an effect is counted under. An empty key stands for "none given".
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) system: System,
    pub(crate) operation: &'static str,
    pub(crate) key: String,
}

impl Entry {
    /// Counts that the effect was asked for.
    pub(crate) fn count_requested(&self, connection: &Connection) -> Result<(), Error> {
        self.count(connection, 1, 0)
    }

    /// Counts that the effect took place.
    pub(crate) fn count_performed(&self, connection: &Connection) -> Result<(), Error> {
        self.count(connection, 0, 1)
    }

    fn count(&self, connection: &Connection, requested: i64, performed: i64) -> Result<(), Error> {
        connection
            .prepare_cached(
                "INSERT INTO effects (system, operation, key, requested, performed)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (system, operation, key) DO UPDATE SET
                 requested = requested + excluded.requested,
                 performed = performed + excluded.performed",
            )?
            .execute(params![self.system.name(), self.operation, self.key, requested, performed])?;
        Ok(())
    }
}

/// Which lines of the ledger are wanted; `None` = any.
#[derive(Debug, Default)]
pub(crate) struct EffectFilter {
    pub(crate) system: Option<String>,
    pub(crate) operation: Option<String>,
    pub(crate) key: Option<String>,
}

/// The ledger as the control surface shows it.
pub(crate) fn list_effects(connection: &Connection, filter: &EffectFilter) -> Result<Value, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT system, operation, key, requested, performed FROM effects
         WHERE (?1 IS NULL OR system = ?1) AND (?2 IS NULL OR operation = ?2)
         AND (?3 IS NULL OR key = ?3) ORDER BY system, operation, key LIMIT ?4",
    )?;
    let rows = statement.query_map(
        params![filter.system, filter.operation, filter.key, MAX_EFFECTS_LISTED],
        |row| {
            let key: String = row.get(2)?;
            Ok(json!({
                "system": row.get::<_, String>(0)?,
                "operation": row.get::<_, String>(1)?,
                "key": (!key.is_empty()).then_some(key),
                "times_requested": row.get::<_, i64>(3)?,
                "times_performed": row.get::<_, i64>(4)?,
            }))
        },
    )?;
    let effects = rows.collect::<Result<Vec<Value>, _>>()?;
    Ok(json!({ "effects": effects }))
}

/// A request under an idempotency key.
#[derive(Debug, Clone)]
pub(crate) struct Keyed {
    pub(crate) system: System,
    pub(crate) key: String,
    pub(crate) fingerprint: String,
}

impl Keyed {
    /// The request's fingerprint covers everything that decides what it does.
    pub(crate) fn fingerprint(method: &str, path: &str, body: &[u8]) -> String {
        let mut hasher = Sha256::new();
        for part in [method.as_bytes(), b" ", path.as_bytes(), b"\n", body] {
            hasher.update(part);
        }
        hasher.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The answer kept under this key, or nothing, or a refusal if it belongs to another request.
    pub(crate) fn find(&self, connection: &Connection) -> Result<Option<Reply>, Refusal> {
        let mut statement = connection.prepare_cached(
            "SELECT fingerprint, status, body, version FROM answers WHERE system = ?1 AND key = ?2",
        )?;
        let found: Option<(String, u16, String, Option<i64>)> = statement
            .query_row(params![self.system.name(), self.key], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })
            .optional()?;
        let Some((fingerprint, status, body, version)) = found else {
            return Ok(None);
        };
        if fingerprint != self.fingerprint {
            let message = "this idempotency key was used for another request; use a new key";
            return Err(Refusal::new(Problem::KeyReused, message).on("Idempotency-Key"));
        }
        let body = serde_json::from_str(&body).map_err(Error::from)?;
        Ok(Some(Reply { status, body, version, replayed: true }))
    }

    /// Keeps the answer for repeats.
    pub(crate) fn keep(&self, connection: &Connection, reply: &Reply) -> Result<(), Error> {
        let body = serde_json::to_string(&reply.body)?;
        connection
            .prepare_cached(
                "INSERT INTO answers (system, key, fingerprint, status, body, version)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                self.system.name(),
                self.key,
                self.fingerprint,
                reply.status,
                body,
                reply.version
            ])?;
        Ok(())
    }
}
