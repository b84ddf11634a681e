//! The receipt log: dense positions per tenant, given in the transaction that appends.

use kernel::{
    id::{Digest, ReceiptId, Tenant},
    port::{Batch, JournalError, SignedReceipt, Task},
};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::{
    Error, LEAVES_MAX, PAGE_MAX, batch,
    query::{Checkpoint, Log, ReceiptEntry, StoredReceipt},
};

use super::{Fault, Sqlite, append::Envelope, dictionaries, project::parse, query::select};

/// Appends one receipt to its run's and its tenant's log.
pub(super) fn append(
    conn: &Connection,
    batch: &Batch,
    (receipt, envelope): (&SignedReceipt, &Envelope),
) -> Result<(), Fault> {
    let id = &receipt.draft.id;
    conn.prepare_cached(
        "INSERT INTO receipts (tenant, id, run, idx, action, log_index, leaf, envelope, at) VALUES (?1, ?2, ?3,
         (SELECT coalesce(max(idx) + 1, 0) FROM receipts WHERE tenant = ?1 AND run = ?3), ?4,
         (SELECT coalesce(max(log_index) + 1, 0) FROM receipts WHERE tenant = ?1), ?5, ?6, ?7)",
    )?
    .execute((
        batch.tenant.as_str(),
        id.as_str(),
        batch.run.as_str(),
        receipt.draft.action,
        envelope.leaf.0,
        &envelope.packed,
        batch::receipt_at(batch, id),
    ))?;
    Ok(())
}

/// Columns: id, run, idx, action, log_index, leaf, at.
pub(super) fn receipt_entry(row: &Row<'_>) -> Result<ReceiptEntry, Fault> {
    Ok(ReceiptEntry {
        id: parse(row, 0)?,
        run: parse(row, 1)?,
        index: row.get(2)?,
        action: row.get(3)?,
        log_index: row.get(4)?,
        leaf: Digest(row.get(5)?),
        at: row.get(6)?,
    })
}

impl Log for Sqlite {
    fn receipt(
        &self,
        tenant: &Tenant,
        id: &ReceiptId,
    ) -> Task<'_, Result<Option<StoredReceipt>, Error>> {
        let (tenant, id) = (tenant.clone(), id.clone());
        Box::pin(async move { Ok(self.read(move |conn| read_receipt(conn, &tenant, &id)).await?) })
    }

    fn leaves(
        &self,
        tenant: &Tenant,
        from: u64,
        limit: usize,
    ) -> Task<'_, Result<Vec<Digest>, Error>> {
        let (tenant, limit) = (tenant.clone(), limit.min(LEAVES_MAX));
        Box::pin(async move {
            Ok(self.read(move |conn| read_leaves(conn, &tenant, from, limit)).await?)
        })
    }

    fn logged(
        &self,
        tenant: &Tenant,
        from: u64,
        limit: usize,
    ) -> Task<'_, Result<Vec<StoredReceipt>, Error>> {
        let (tenant, limit) = (tenant.clone(), limit.min(PAGE_MAX));
        Box::pin(async move {
            Ok(self.read(move |conn| read_logged(conn, &tenant, from, limit)).await?)
        })
    }

    fn log_size(&self, tenant: &Tenant) -> Task<'_, Result<u64, Error>> {
        let tenant = tenant.clone();
        Box::pin(async move { Ok(self.read(move |conn| log_size(conn, &tenant)).await?) })
    }

    fn checkpoint(&self, tenant: &Tenant) -> Task<'_, Result<Option<Checkpoint>, Error>> {
        let tenant = tenant.clone();
        Box::pin(async move { Ok(self.read(move |conn| latest(conn, &tenant)).await?) })
    }

    fn put_checkpoint(
        &self,
        tenant: &Tenant,
        checkpoint: Checkpoint,
    ) -> Task<'_, Result<(), Error>> {
        let tenant = tenant.clone();
        Box::pin(async move {
            let size = checkpoint.size;
            let write = move |conn: &Connection| keep(conn, &tenant, &checkpoint);
            let refused = self.write(256, write).await?;
            refused.map_or(Ok(()), |problem| Err(Error::Checkpoint { size, problem }))
        })
    }
}

fn read_receipt(
    conn: &Connection,
    tenant: &Tenant,
    id: &ReceiptId,
) -> Result<Option<StoredReceipt>, Fault> {
    let sql = "SELECT id, run, idx, action, log_index, leaf, at, envelope FROM receipts WHERE tenant = ?1 AND id = ?2";
    let found =
        select(conn, sql, &[&tenant.as_str(), &id.as_str()], |row| stored_receipt(conn, row))?;
    Ok(found.into_iter().next())
}

fn read_logged(
    conn: &Connection,
    tenant: &Tenant,
    from: u64,
    limit: usize,
) -> Result<Vec<StoredReceipt>, Fault> {
    // No position is beyond what the file can hold.
    let Ok(from) = i64::try_from(from) else { return Ok(Vec::new()) };
    let sql = "SELECT id, run, idx, action, log_index, leaf, at, envelope FROM receipts
               WHERE tenant = ?1 AND log_index >= ?2 ORDER BY log_index LIMIT ?3";
    select(conn, sql, &[&tenant.as_str(), &from, &limit], |row| stored_receipt(conn, row))
}

/// Columns as [`receipt_entry`], then the envelope, which is the one of its leaf.
fn stored_receipt(conn: &Connection, row: &Row<'_>) -> Result<StoredReceipt, Fault> {
    let entry = receipt_entry(row)?;
    let packed: Vec<u8> = row.get(7)?;
    let envelope = dictionaries::unpack(conn, &packed);
    if let Some(envelope) = envelope.filter(|bytes| batch::leaf_hash(bytes) == entry.leaf) {
        return Ok(StoredReceipt { entry, envelope });
    }
    let (run, id) = (&entry.run, &entry.id);
    let problem = format!("run {run}, receipt {id}: its envelope is not the one in the log");
    Err(JournalError::Tampered(problem).into())
}

fn read_leaves(
    conn: &Connection,
    tenant: &Tenant,
    from: u64,
    limit: usize,
) -> Result<Vec<Digest>, Fault> {
    let sql = "SELECT log_index, leaf FROM receipts WHERE tenant = ?1 AND log_index >= ?2 ORDER BY log_index LIMIT ?3";
    let found = select(conn, sql, &[&tenant.as_str(), &from, &limit], |row| {
        Ok((row.get::<_, u64>(0)?, Digest(row.get(1)?)))
    })?;
    if (from..).zip(&found).any(|(wanted, (position, _))| wanted != *position) {
        return Err(JournalError::Tampered(format!(
            "tenant {tenant}: the receipt log has a gap after {from}"
        ))
        .into());
    }
    Ok(found.into_iter().map(|(_, leaf)| leaf).collect())
}

fn log_size(conn: &Connection, tenant: &Tenant) -> Result<u64, Fault> {
    let sql = "SELECT coalesce(max(log_index) + 1, 0) FROM receipts WHERE tenant = ?1";
    Ok(conn.prepare_cached(sql)?.query_row([tenant.as_str()], |row| row.get(0))?)
}

fn latest(conn: &Connection, tenant: &Tenant) -> Result<Option<Checkpoint>, Fault> {
    let sql =
        "SELECT size, root, note, at FROM checkpoints WHERE tenant = ?1 ORDER BY size DESC LIMIT 1";
    let read = conn.prepare_cached(sql)?.query_row([tenant.as_str()], |row| {
        Ok(Checkpoint {
            size: row.get(0)?,
            root: Digest(row.get(1)?),
            note: row.get(2)?,
            at: row.get(3)?,
        })
    });
    Ok(read.optional()?)
}

/// `Some` says why it is refused.
fn keep(
    conn: &Connection,
    tenant: &Tenant,
    checkpoint: &Checkpoint,
) -> Result<Option<&'static str>, Fault> {
    let known: Option<[u8; 32]> = conn
        .prepare_cached("SELECT root FROM checkpoints WHERE tenant = ?1 AND size = ?2")?
        .query_row((tenant.as_str(), checkpoint.size), |row| row.get(0))
        .optional()?;
    if let Some(refused) = checkpoint.refusal(log_size(conn, tenant)?, known.map(Digest)) {
        return Ok(Some(refused));
    }
    conn.prepare_cached("INSERT OR REPLACE INTO checkpoints (tenant, size, root, note, at) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute((tenant.as_str(), checkpoint.size, checkpoint.root.0, &checkpoint.note, checkpoint.at))?;
    Ok(None)
}
