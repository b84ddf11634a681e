//! A consistent copy of a store in one file, while it is written to.

use std::path::Path;

use rusqlite::Connection;

use crate::{Error, Sqlite};

use super::{cannot_open, connect, create_private, pragma, schema};

impl Sqlite {
    /// Writes everything committed before the call into a new file (0600, flushed), without keeping
    /// writers waiting. Erased values leave no trace in it: free pages are not copied.
    ///
    /// # Errors
    /// When the file exists, or the medium fails; then there is no file.
    pub async fn copy_to(&self, to: &Path) -> Result<(), Error> {
        let (from, target) = (self.readers.path().to_owned(), to.to_owned());
        let copied = tokio::task::spawn_blocking(move || Self::copy_file(&from, &target)).await;
        copied.unwrap_or_else(|e| {
            Err(Error::Path { path: to.to_owned(), problem: format!("copying stopped: {e}") })
        })
    }

    /// As [`Sqlite::copy_to`], for a store file of any version that nobody needs to have open.
    ///
    /// # Errors
    /// As [`Sqlite::copy_to`].
    pub fn copy_file(from: &Path, to: &Path) -> Result<(), Error> {
        let exists = "it exists already: name another file".to_owned();
        if to.exists() {
            return Err(Error::Path { path: to.to_owned(), problem: exists });
        }
        let conn = connect(from).map_err(|e| cannot_open(from, &e))?;
        schema::check(&conn, from)?;
        create_private(to)?;
        let copied = copy(&conn, to);
        if copied.is_err() {
            // Never half a copy: what is there must not be taken for one.
            let _gone = std::fs::remove_file(to);
        }
        copied
    }

    /// The schema version of a store file, without changing it; `None` when there is no file.
    ///
    /// # Errors
    /// When it is no store of ours, a newer one, or cannot be read.
    pub fn version_of(path: &Path) -> Result<Option<u32>, Error> {
        if !path.exists() {
            return Ok(None);
        }
        let conn = connect(path).map_err(|e| cannot_open(path, &e))?;
        schema::check(&conn, path)?;
        pragma(&conn, "user_version").map(Some).map_err(|e| cannot_open(path, &e))
    }
}

fn copy(conn: &Connection, to: &Path) -> Result<(), Error> {
    let failed = |problem: String| Error::Path { path: to.to_owned(), problem };
    let name = to.to_str().ok_or_else(|| failed("its name is not text".to_owned()))?;
    conn.execute("VACUUM INTO ?1", [name]).map_err(|e| failed(e.to_string()))?;
    let file = std::fs::File::open(to).map_err(|e| failed(e.to_string()))?;
    file.sync_all().map_err(|e| failed(e.to_string()))
}
