//! Versions of the schema, and the way from each to the next.

use std::path::Path;

use rusqlite::Connection;

use crate::Error;

use super::{cannot_open, pragma};

/// One step forward, in a transaction of its own.
type Migration = fn(&Connection) -> rusqlite::Result<()>;

/// From version `index` to `index + 1`.
const MIGRATIONS: &[Migration] = &[
    |conn| conn.execute_batch(include_str!("schema/1.sql")),
    |conn| conn.execute_batch(include_str!("schema/2.sql")),
    |conn| conn.execute_batch(include_str!("schema/3.sql")),
    |conn| conn.execute_batch(include_str!("schema/4.sql")),
    |conn| conn.execute_batch(include_str!("schema/5.sql")),
    |conn| conn.execute_batch(include_str!("schema/6.sql")),
    |conn| conn.execute_batch(include_str!("schema/7.sql")),
    |conn| conn.execute_batch(include_str!("schema/8.sql")),
];

/// The schema version this build writes.
pub const VERSION: u32 = MIGRATIONS.len() as u32;

/// `HNS1`: marks the file as ours.
const APPLICATION_ID: u32 = 0x484e_5331;

/// The version of a store of ours, 0 for an empty file; foreign and newer ones are refused untouched.
pub(super) fn check(conn: &Connection, path: &Path) -> Result<u32, Error> {
    let failed = |e: rusqlite::Error| cannot_open(path, &e);
    let application: u32 = pragma(conn, "application_id").map_err(failed)?;
    let found: u32 = pragma(conn, "user_version").map_err(failed)?;
    let count = "SELECT count(*) FROM sqlite_schema";
    let tables: u32 = conn.query_row(count, [], |row| row.get(0)).map_err(failed)?;
    let fresh = application == 0 && found == 0 && tables == 0;
    if !fresh && application != APPLICATION_ID {
        return Err(Error::Foreign { path: path.to_owned() });
    }
    if found > VERSION {
        return Err(Error::Newer { path: path.to_owned(), found, known: VERSION });
    }
    Ok(found)
}

/// Brings a store from version `found` forward to [`VERSION`].
pub(super) fn migrate(conn: &mut Connection, found: u32) -> rusqlite::Result<()> {
    for (version, migration) in (1_u32..).zip(MIGRATIONS).skip(found as usize) {
        let tx = conn.transaction()?;
        migration(&tx)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", version)?;
        tx.commit()?;
    }
    Ok(())
}
