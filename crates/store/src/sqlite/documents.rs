//! Documents as rows.

use kernel::{
    id::{At, Tenant},
    port::Task,
};
use rusqlite::{Connection, OptionalExtension, Row, ToSql};

use crate::{
    Error,
    documents::{Document, Documents, Expected, Kept, check, next_version},
};

use super::{Fault, Sqlite, project::parse, query::select};

const COLUMNS: &str = "tenant, id, version, due, body";

impl Documents for Sqlite {
    fn keep(
        &self,
        tenant: &Tenant,
        document: Document,
        expected: Expected,
    ) -> Task<'_, Result<u64, Error>> {
        let tenant = tenant.clone();
        Box::pin(async move {
            check(&document)?;
            let bytes = document.body.len() + 64;
            self.write(bytes, move |conn| keep(conn, &tenant, &document, expected)).await?
        })
    }

    fn document(
        &self,
        tenant: &Tenant,
        kind: &'static str,
        id: &str,
    ) -> Task<'_, Result<Option<Kept>, Error>> {
        let (tenant, id) = (tenant.clone(), id.to_owned());
        let found = move |conn: &Connection| {
            let sql = format!(
                "SELECT {COLUMNS} FROM documents WHERE tenant = ?1 AND kind = ?2 AND id = ?3"
            );
            rows(conn, &sql, &[&tenant.as_str(), &kind, &id])
        };
        Box::pin(async move { Ok(self.read(found).await?.pop()) })
    }

    fn documents(
        &self,
        tenant: &Tenant,
        kind: &'static str,
        (after, limit): (Option<String>, usize),
    ) -> Task<'_, Result<Vec<Kept>, Error>> {
        let tenant = tenant.clone();
        let found = move |conn: &Connection| {
            let sql = format!(
                "SELECT {COLUMNS} FROM documents WHERE tenant = ?1 AND kind = ?2 AND id > ?3 \
                 ORDER BY id LIMIT ?4"
            );
            rows(conn, &sql, &[&tenant.as_str(), &kind, &after.unwrap_or_default(), &limit])
        };
        Box::pin(async move { Ok(self.read(found).await?) })
    }

    fn due_documents(
        &self,
        kind: &'static str,
        now: At,
        limit: usize,
    ) -> Task<'_, Result<Vec<Kept>, Error>> {
        let found = move |conn: &Connection| {
            let sql = format!(
                "SELECT {COLUMNS} FROM documents WHERE kind = ?1 AND due <= ?2 ORDER BY due LIMIT ?3"
            );
            rows(conn, &sql, &[&kind, &now, &limit])
        };
        Box::pin(async move { Ok(self.read(found).await?) })
    }

    fn discard(
        &self,
        tenant: &Tenant,
        kind: &'static str,
        id: &str,
    ) -> Task<'_, Result<bool, Error>> {
        let (tenant, id) = (tenant.clone(), id.to_owned());
        let gone = move |conn: &Connection| discard(conn, (&tenant, kind, &id));
        Box::pin(async move { Ok(self.write(64, gone).await?) })
    }
}

pub(super) fn keep(
    conn: &Connection,
    tenant: &Tenant,
    document: &Document,
    expected: Expected,
) -> Result<Result<u64, Error>, Fault> {
    let place = (tenant.as_str(), document.kind, &document.id);
    let sql = "SELECT version FROM documents WHERE tenant = ?1 AND kind = ?2 AND id = ?3";
    let found = conn.prepare_cached(sql)?.query_row(place, |row| row.get(0)).optional()?;
    let version = match next_version(found, expected, document) {
        Ok(version) => version,
        Err(refused) => return Ok(Err(refused)),
    };
    let sql = "INSERT INTO documents (tenant, kind, id, version, due, body) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE \
               SET version = excluded.version, due = excluded.due, body = excluded.body";
    conn.prepare_cached(sql)?.execute((
        place.0,
        place.1,
        place.2,
        version,
        document.due,
        &document.body,
    ))?;
    Ok(Ok(version))
}

/// Whether there was one.
pub(super) fn discard(
    conn: &Connection,
    (tenant, kind, id): (&Tenant, &'static str, &str),
) -> Result<bool, Fault> {
    let sql = "DELETE FROM documents WHERE tenant = ?1 AND kind = ?2 AND id = ?3";
    Ok(conn.prepare_cached(sql)?.execute((tenant.as_str(), kind, id))? > 0)
}

fn rows(conn: &Connection, sql: &str, parameters: &[&dyn ToSql]) -> Result<Vec<Kept>, Fault> {
    select(conn, sql, parameters, kept)
}

fn kept(row: &Row<'_>) -> Result<Kept, Fault> {
    let (tenant, id) = (parse(row, 0)?, row.get(1)?);
    Ok(Kept { tenant, id, version: row.get(2)?, due: row.get(3)?, body: row.get(4)? })
}
