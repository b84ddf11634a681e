//! The first batch of a run together with what it is pinned to and what it is found by: one transaction instead of several.

use kernel::port::{Batch, JournalError};
use rusqlite::Connection;

use crate::{
    Error, batch,
    documents::{Document, Expected, check},
};

use super::{Fault, Sqlite, append, documents};

/// What is written with the first batch of a run, or not at all.
#[derive(Clone, Debug, Default)]
pub struct Beginning {
    /// Values that the run is pinned to.
    pub blobs: Vec<Vec<u8>>,
    /// Documents that must not be there yet.
    pub documents: Vec<Document>,
}

impl Sqlite {
    /// Appends the first batch of a run and what belongs to its beginning, in one transaction; durable on return.
    ///
    /// # Errors
    /// [`Error::Stale`] when one of the documents is there already, and otherwise as [`kernel::port::Journal::append`] and
    /// [`crate::Documents::keep`]. Nothing is written then.
    pub async fn begin(&self, batch: Batch, with: Beginning) -> Result<(), Error> {
        let Beginning { blobs, documents } = with;
        documents.iter().try_for_each(check)?;
        let tenant = batch.tenant.clone();
        let sealed = |bytes: &Vec<u8>| {
            batch::check_blob(bytes)?;
            append::SealedBlob::new(tenant.clone(), bytes)
        };
        let blobs = blobs.iter().map(sealed).collect::<Result<Vec<_>, Fault>>();
        let blobs = blobs.map_err(JournalError::from)?;
        let prepared = append::Prepared::new(batch, &self.dictionaries)?;
        let weights = blobs.iter().map(append::SealedBlob::weight);
        let weight = weights.fold(prepared.weight(), usize::saturating_add);
        let write = move |conn: &Connection| {
            for document in &documents {
                let kept = documents::keep(conn, &tenant, document, Expected::Absent)?;
                if let Err(refused) = kept {
                    return Ok(Err(refused));
                }
            }
            append::append(conn, &prepared)?;
            for blob in &blobs {
                append::put(conn, blob)?;
            }
            Ok(Ok(()))
        };
        self.write(weight, write).await?
    }
}
