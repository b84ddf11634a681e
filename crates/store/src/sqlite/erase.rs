//! Forgetting: keys and ciphertexts go, and the write-ahead log that still held them is cut.

use kernel::{
    id::{Digest, RunId, Tenant},
    port::{JournalError, Task},
};
use rusqlite::Connection;

use crate::{Error, query::Erase};

use super::{Fault, Sqlite, append::blob_key, facets, writer::Job};

impl Erase for Sqlite {
    fn erase_run(&self, tenant: &Tenant, run: &RunId) -> Task<'_, Result<(), Error>> {
        let (tenant, run) = (tenant.clone(), run.clone());
        Box::pin(async move {
            self.write(64, move |conn| forget_run(conn, &tenant, &run)).await?;
            self.cut_log().await
        })
    }

    fn erase_subject(&self, tenant: &Tenant, subject: &str) -> Task<'_, Result<Vec<RunId>, Error>> {
        let (tenant, subject) = (tenant.clone(), subject.to_owned());
        Box::pin(async move {
            let runs = self.write(64, move |conn| forget_subject(conn, &tenant, &subject)).await?;
            self.cut_log().await?;
            Ok(runs)
        })
    }

    fn erase_blob(&self, tenant: &Tenant, digest: &Digest) -> Task<'_, Result<(), Error>> {
        let (tenant, digest) = (tenant.clone(), *digest);
        Box::pin(async move {
            self.write(64, move |conn| forget_blob(conn, &tenant, &digest)).await?;
            self.cut_log().await
        })
    }
}

impl Sqlite {
    /// Old pages in the write-ahead log would still show what was erased.
    async fn cut_log(&self) -> Result<(), Error> {
        if self.ask(Job::Checkpoint).await? { Ok(()) } else { Err(Error::Lingering) }
    }
}

fn forget_run(conn: &Connection, tenant: &Tenant, run: &RunId) -> Result<(), Fault> {
    let place = (tenant.as_str(), run.as_str());
    let known = conn
        .prepare_cached("UPDATE runs SET erased_to = next_seq, inbox_pending = 0 WHERE tenant = ?1 AND run = ?2")?
        .execute(place)?;
    let early = conn
        .prepare_cached("UPDATE inbox SET consumed = 1, body = NULL WHERE tenant = ?1 AND run = ?2 AND consumed = 0")?
        .execute(place)?;
    let keys =
        conn.prepare_cached("DELETE FROM keys WHERE tenant = ?1 AND name = ?2")?.execute(place)?;
    if known + early + keys == 0 {
        return Err(JournalError::NoRun(run.clone()).into());
    }
    conn.prepare_cached(
        "UPDATE batches SET openings = NULL WHERE tenant = ?1 AND run = ?2 AND openings IS NOT NULL",
    )?
    .execute(place)?;
    Ok(())
}

fn forget_subject(conn: &Connection, tenant: &Tenant, subject: &str) -> Result<Vec<RunId>, Fault> {
    let runs = facets::about(conn, tenant, subject)?;
    for run in &runs {
        forget_run(conn, tenant, run)?;
    }
    Ok(runs)
}

fn forget_blob(conn: &Connection, tenant: &Tenant, digest: &Digest) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM blobs WHERE tenant = ?1 AND digest = ?2")?
        .execute((tenant.as_str(), digest.0))?;
    conn.prepare_cached("DELETE FROM keys WHERE tenant = ?1 AND name = ?2")?
        .execute((tenant.as_str(), blob_key(digest)))?;
    Ok(())
}
