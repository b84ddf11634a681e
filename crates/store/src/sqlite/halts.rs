//! The halt log as rows, and the read that stands before every dispatch.

use kernel::{
    halt::{HaltChange, HaltEvent, Standing, standing},
    id::{Digest, Tenant},
    port::{Batch, Task},
    sealed::Opening,
};
use rusqlite::{Connection, OptionalExtension};

use crate::{
    Error,
    halts::{Brakes, HaltNote, Halts, broken, check},
    query::status_name,
};

use super::{
    Fault, Sqlite,
    append::plain_json,
    cipher::Key,
    project::{from_json, parse},
    query::select,
};

/// The name of the key that a tenant's halt reasons lie under.
const KEY: &str = "halts";

impl Halts for Sqlite {
    fn record_halt(&self, tenant: &Tenant, note: HaltNote) -> Task<'_, Result<HaltEvent, Error>> {
        let tenant = tenant.clone();
        Box::pin(
            async move { self.write(512, move |conn| record(conn, &tenant, note.clone())).await? },
        )
    }

    fn halt_log(&self, tenant: &Tenant) -> Task<'_, Result<Vec<HaltEvent>, Error>> {
        let tenant = tenant.clone();
        Box::pin(async move { Ok(self.read(move |conn| load_log(conn, &tenant)).await?) })
    }
}

/// Refuses a batch that a standing halt covers: in the transaction that would write its dispatch.
pub(super) fn refuse_halted(conn: &Connection, batch: &Batch) -> Result<(), Fault> {
    if batch.reach.is_none() {
        return Ok(());
    }
    Ok(check(batch, load_standing(conn, &batch.tenant)?.iter())?)
}

/// The halts of a tenant that stand.
pub(super) fn load_standing(conn: &Connection, tenant: &Tenant) -> Result<Vec<Standing>, Fault> {
    let sql = "SELECT id, covers FROM halts WHERE tenant = ?1 ORDER BY id";
    select(conn, sql, &[&tenant.as_str()], |row| {
        let covers = from_json(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?;
        Ok(Standing { id: parse(row, 0)?, covers })
    })
}

fn place<'a>(tenant: &'a Tenant, n: &'a [u8; 8]) -> [&'a [u8]; 3] {
    [b"harness/halt-reason/v1", tenant.as_str().as_bytes(), n]
}

fn record(
    conn: &Connection,
    tenant: &Tenant,
    note: HaltNote,
) -> Result<Result<HaltEvent, Error>, Fault> {
    let sql = "SELECT n + 1, hash FROM halt_log WHERE tenant = ?1 ORDER BY n DESC LIMIT 1";
    let last = conn
        .prepare_cached(sql)?
        .query_row([tenant.as_str()], |row| Ok((row.get(0)?, Digest(row.get(1)?))))
        .optional()?;
    let (n, head) = last.unwrap_or_default();
    let brakes = Brakes { n, head, standing: load_standing(conn, tenant)? };
    let event = match brakes.entry(tenant, note) {
        Ok(event) => event,
        Err(refused) => return Ok(Err(refused)),
    };
    let (bytes, hash) = event.hashed().map_err(|e| Fault::medium(e.to_string()))?;
    let key = Key::find_or_make(conn, tenant, KEY)?;
    let opening = plain_json(&event.reason.opening())?;
    let opening = key.seal(&place(tenant, &n.to_be_bytes()), &opening)?;
    conn.prepare_cached(
        "INSERT INTO halt_log (tenant, n, hash, bytes, opening) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute((tenant.as_str(), n, hash.0, bytes, opening))?;
    match &event.change {
        HaltChange::Halted { halt, covers } => {
            let covers = serde_json::to_string(covers)
                .map_err(|e| Fault::medium(format!("cannot write a halt: {e}")))?;
            conn.prepare_cached("INSERT INTO halts (tenant, id, covers) VALUES (?1, ?2, ?3)")?
                .execute((tenant.as_str(), halt.as_str(), covers))?;
        }
        HaltChange::Lifted { halt } => {
            conn.prepare_cached("DELETE FROM halts WHERE tenant = ?1 AND id = ?2")?
                .execute((tenant.as_str(), halt.as_str()))?;
            wake_halted(conn, tenant, event.at)?;
        }
    }
    Ok(Ok(event))
}

/// Runs that a halt held are due at once: whoever takes one up sees whether it still is.
fn wake_halted(conn: &Connection, tenant: &Tenant, at: i64) -> Result<(), Fault> {
    let halted = status_name(kernel::run::Status::Halted);
    conn.prepare_cached("UPDATE runs SET wake_at = ?3 WHERE tenant = ?1 AND status = ?2")?
        .execute((tenant.as_str(), halted, at))?;
    Ok(())
}

/// The log, each entry checked against its hash, the chain and what stands.
pub(super) fn load_log(conn: &Connection, tenant: &Tenant) -> Result<Vec<HaltEvent>, Fault> {
    let key = Key::find(conn, tenant, KEY)?;
    let sql = "SELECT n, hash, bytes, opening FROM halt_log WHERE tenant = ?1 ORDER BY n";
    let log = select(conn, sql, &[&tenant.as_str()], |row| {
        let (n, hash): (u64, [u8; 32]) = (row.get(0)?, row.get(1)?);
        let (bytes, sealed): (Vec<u8>, Option<Vec<u8>>) = (row.get(2)?, row.get(3)?);
        if Digest::of(&bytes).0 != hash {
            return Err(broken(tenant, n).into());
        }
        let mut event: HaltEvent = serde_json::from_slice(&bytes).map_err(|_| broken(tenant, n))?;
        let opened = sealed.zip(key.as_ref());
        let opened =
            opened.and_then(|(sealed, key)| key.open(&place(tenant, &n.to_be_bytes()), &sealed));
        let opening: Option<Opening> =
            opened.and_then(|plain| serde_json::from_slice(&plain).ok()).flatten();
        if let Some(opening) = opening {
            event.reason.reopen(opening).map_err(|_| broken(tenant, n))?;
        }
        Ok(event)
    })?;
    let mut stand = standing(&log).map_err(|n| broken(tenant, n))?;
    stand.sort_by(|a, b| a.id.cmp(&b.id));
    if stand != load_standing(conn, tenant)? {
        return Err(broken(tenant, log.len() as u64).into());
    }
    Ok(log)
}
