//! The file: read as it is now, rewritten whole or not at all.

use std::{
    fmt,
    fs::{self, File, Metadata, OpenOptions},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use age::{DecryptError, Decryptor, x25519::Identity};
use rustix::fs::{FlockOperation, flock};
use zeroize::Zeroizing;

use crate::{Book, Error, key::Place};

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// What tells one content of the file from another: it is never changed in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Self {
            inode: meta.ino(),
            bytes: meta.len(),
            seconds: meta.mtime(),
            nanoseconds: meta.mtime_nsec(),
        }
    }
}

/// A file of secrets and the key that opens it.
pub struct Safe {
    file: PathBuf,
    key: Place,
    /// What was read last.
    last: Mutex<Option<(Stamp, Arc<Book>)>>,
}

impl fmt::Debug for Safe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Safe")
            .field("file", &self.file)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Safe {
    /// The file at a place, and its key by reference: `file:/path` or `env:NAME`. Nothing is touched.
    ///
    /// # Errors
    /// [`Error::KeyReference`].
    pub fn new(file: impl Into<PathBuf>, key: &str) -> Result<Self, Error> {
        Ok(Self { file: file.into(), key: Place::parse(key)?, last: Mutex::default() })
    }

    /// Where the file is.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What it holds now; nothing where there is no file. Decrypted only when the file has changed.
    ///
    /// # Errors
    /// A key that is missing, open to others, or another one; a file that is damaged.
    pub fn read(&self) -> Result<Arc<Book>, Error> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // Every call of an agent asks for it several times.
        if let Some((seen, book)) = &*last
            && fs::metadata(&self.file).is_ok_and(|now| Stamp::of(&now) == *seen)
        {
            return Ok(Arc::clone(book));
        }
        let Some((mut file, stamp)) = self.open()? else { return Ok(Arc::default()) };
        let book = Arc::new(self.decrypt(&mut file, stamp.bytes)?);
        *last = Some((stamp, Arc::clone(&book)));
        Ok(book)
    }

    /// Rewrites it. Whoever else wants to change it waits; whoever reads meanwhile sees what was there before.
    ///
    /// # Errors
    /// As [`Self::read`], what the change refuses, or a place that cannot be written. Nothing has changed then.
    pub fn change<T>(
        &self,
        change: impl FnOnce(&mut Book) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let folder = self.file.parent().unwrap_or_else(|| Path::new("/"));
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| failed(folder, &error))?;
        let _lock = self.lock()?;
        let (mut book, key) = match self.open()? {
            Some((mut file, stamp)) => (self.decrypt(&mut file, stamp.bytes)?, self.held()?),
            // A key is made only where nothing is encrypted yet.
            None => (Book::default(), self.key.read()?.map_or_else(|| self.key.make(), Ok)?),
        };
        let told = change(&mut book)?;
        self.write(&book, &key, folder)?;
        Ok(told)
    }

    fn open(&self) -> Result<Option<(File, Stamp)>, Error> {
        let file = match File::open(&self.file) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&self.file, &error)),
        };
        let meta = file.metadata().map_err(|error| failed(&self.file, &error))?;
        if !meta.is_file() || meta.len() > FILE_BYTES_MAX {
            return Err(self.damaged(&format!("no file of at most {FILE_BYTES_MAX} bytes")));
        }
        Ok(Some((file, Stamp::of(&meta))))
    }

    /// The key of a file that is there.
    fn held(&self) -> Result<Identity, Error> {
        let missing = || Error::KeyMissing {
            file: self.file.display().to_string(),
            key: self.key.shown(),
            problem: "nothing is there".to_owned(),
        };
        self.key.read()?.ok_or_else(missing)
    }

    fn decrypt(&self, file: &mut File, bytes: u64) -> Result<Book, Error> {
        let key = self.held()?;
        let mut sealed = Vec::new();
        let read = file.take(FILE_BYTES_MAX).read_to_end(&mut sealed);
        read.map_err(|error| failed(&self.file, &error))?;
        let unsealed = || -> Result<Zeroizing<Vec<u8>>, DecryptError> {
            let decryptor = Decryptor::new_buffered(sealed.as_slice())?;
            let mut reader = decryptor.decrypt(std::iter::once(&key as &dyn age::Identity))?;
            // Less than the file takes, so that no copy of it is left where it grew.
            let room = usize::try_from(bytes).unwrap_or_default();
            let mut text = Zeroizing::new(Vec::with_capacity(room));
            reader.read_to_end(&mut text)?;
            Ok(text)
        };
        let text = unsealed().map_err(|error| match error {
            DecryptError::NoMatchingKeys => {
                Error::WrongKey { file: self.file.display().to_string(), key: self.key.shown() }
            }
            DecryptError::UnknownFormat | DecryptError::InvalidHeader => {
                self.damaged("it is no age file")
            }
            _ => self.damaged("its content is not what was written"),
        })?;
        // What serde says may hold what it read.
        let book: Book = serde_json::from_slice(&text)
            .map_err(|_| self.damaged("what is in it are no secrets of this program"))?;
        book.check_version().map_err(|problem| self.damaged(&problem))?;
        Ok(book)
    }

    fn write(&self, book: &Book, key: &Identity, folder: &Path) -> Result<(), Error> {
        let mut text = Zeroizing::new(Vec::with_capacity(book.room()));
        serde_json::to_writer(&mut *text, book)
            .map_err(|_| self.damaged("what should be in it cannot be written as text"))?;
        let sealed = age::encrypt(&key.to_public(), &text)
            .map_err(|_| self.damaged("it could not be encrypted"))?;
        let beside = self.beside("new");
        let written = || -> std::io::Result<()> {
            let mut options = OpenOptions::new();
            let options = options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&beside)?;
            file.write_all(&sealed)?;
            file.sync_all()?;
            fs::rename(&beside, &self.file)?;
            File::open(folder)?.sync_all()
        };
        written().map_err(|error| failed(&beside, &error))
    }

    /// Held until it is dropped. The file itself is replaced, so another one stands for it.
    fn lock(&self) -> Result<File, Error> {
        let path = self.beside("lock");
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(|error| failed(&path, &error))?;
        flock(&file, FlockOperation::LockExclusive)
            .map_err(|error| failed(&path, &error.into()))?;
        Ok(file)
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.file.file_name().unwrap_or_default().to_owned();
        name.push(".");
        name.push(ending);
        self.file.with_file_name(name)
    }

    fn damaged(&self, problem: &str) -> Error {
        Error::Damaged { file: self.file.display().to_string(), problem: problem.to_owned() }
    }
}

fn failed(place: &Path, error: &std::io::Error) -> Error {
    Error::Io { place: place.display().to_string(), problem: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::{Grant, Use};

    struct Home {
        folder: tempfile::TempDir,
    }

    impl Home {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().unwrap() }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn safe(&self) -> Safe {
            self.safe_with("keys/secrets.key")
        }

        fn safe_with(&self, key: &str) -> Safe {
            let key = format!("file:{}", self.path(key).display());
            Safe::new(self.path("store/secrets.age"), &key).unwrap()
        }
    }

    fn grant() -> Grant {
        Grant { system: "crm".to_owned(), host: None, method: None, path: None }
    }

    fn keep(safe: &Safe, name: &str, value: &str) {
        safe.change(|book| {
            book.set(name, value, 1)?;
            book.grant(name, grant()).map(drop)
        })
        .unwrap();
    }

    fn value(safe: &Safe, name: &str) -> Result<String, Error> {
        let book = safe.read()?;
        book.value(name, &Use::by("crm")).map(|value| value.expose().to_owned())
    }

    /// C151: what lies on the disk says neither values nor names, and nobody else may read it.
    #[test]
    fn what_is_kept_is_private_and_says_nothing_in_clear() {
        let home = Home::new();
        keep(&home.safe(), "crm-token", "s3cret-value");
        for (path, mode) in [
            ("store/secrets.age", 0o600),
            ("store/secrets.age.lock", 0o600),
            ("keys/secrets.key", 0o600),
            ("keys", 0o700),
        ] {
            let found = fs::metadata(home.path(path)).unwrap().permissions().mode() & 0o777;
            assert_eq!(found, mode, "{path}");
        }
        let sealed = fs::read(home.path("store/secrets.age")).unwrap();
        for text in ["s3cret-value", "crm-token", "crm"] {
            assert!(!sealed.windows(text.len()).any(|window| window == text.as_bytes()));
        }
        assert!(!home.path("store/secrets.age.new").exists());
        assert_eq!(value(&home.safe(), "crm-token").unwrap(), "s3cret-value");
    }

    #[test]
    fn a_change_is_seen_at_once_by_who_has_read_before() {
        let home = Home::new();
        let reader = home.safe();
        assert_eq!(reader.read().unwrap().entries().count(), 0);
        keep(&home.safe(), "crm", "value-one");
        assert_eq!(value(&reader, "crm").unwrap(), "value-one");
        keep(&home.safe(), "crm", "value-two");
        assert_eq!(value(&reader, "crm").unwrap(), "value-two");
    }

    #[test]
    fn what_a_change_refuses_leaves_the_file_as_it_was() {
        let home = Home::new();
        keep(&home.safe(), "crm", "value-one");
        let before = fs::read(home.path("store/secrets.age")).unwrap();
        let refused = home.safe().change(|book| {
            book.set("crm", "value-two", 2)?;
            book.remove("erp")
        });
        assert!(matches!(refused, Err(Error::Unknown { .. })));
        assert_eq!(fs::read(home.path("store/secrets.age")).unwrap(), before);
    }

    #[test]
    fn many_at_once_lose_nothing() {
        let home = Home::new();
        std::thread::scope(|scope| {
            for one in 0..8 {
                let safe = home.safe();
                scope.spawn(move || {
                    for two in 0..4 {
                        keep(&safe, &format!("n{one}-{two}"), "s3cret-value");
                    }
                });
            }
        });
        assert_eq!(home.safe().read().unwrap().entries().count(), 32);
    }

    #[test]
    fn another_key_a_missing_one_and_an_open_one_are_told_apart() {
        let home = Home::new();
        keep(&home.safe(), "crm", "s3cret-value");
        let wrong = home.safe_with("keys/other.key");
        assert!(matches!(value(&wrong, "crm"), Err(Error::KeyMissing { .. })));
        assert!(wrong.change(|book| book.remove("crm").map(drop)).is_err());
        assert!(
            !home.path("keys/other.key").exists(),
            "no key is made beside a file that is there"
        );
        Place::File(home.path("keys/other.key")).make().unwrap();
        assert!(matches!(value(&wrong, "crm"), Err(Error::WrongKey { .. })));
        assert!(matches!(
            wrong.change(|book| book.set("crm", "another-value", 1).map(drop)),
            Err(Error::WrongKey { .. })
        ));
        fs::write(home.path("keys/other.key"), "hunter2hunter2").unwrap();
        let error = value(&wrong, "crm").unwrap_err();
        assert!(matches!(error, Error::NoKey { .. }) && !error.to_string().contains("hunter2"));
        let key = home.path("keys/secrets.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        let error = value(&home.safe(), "crm").unwrap_err();
        assert!(matches!(error, Error::KeyOpen { mode: 0o640, .. }), "{error}");
        assert!(error.to_string().contains("chmod 600"));
    }

    #[test]
    fn a_damaged_file_is_never_read_in_part() {
        let home = Home::new();
        keep(&home.safe(), "crm", "s3cret-value");
        let path = home.path("store/secrets.age");
        let whole = fs::read(&path).unwrap();
        let mut hurt: Vec<Vec<u8>> = vec![Vec::new(), b"AGE".to_vec()];
        for at in (0..whole.len()).step_by(whole.len() / 24) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            hurt.push(flipped);
            hurt.push(whole[..at].to_vec());
        }
        hurt.push([whole.clone(), b"more".to_vec()].concat());
        for content in hurt {
            fs::write(&path, &content).unwrap();
            let read = value(&home.safe(), "crm").unwrap_err();
            assert!(matches!(read, Error::Damaged { .. } | Error::WrongKey { .. }), "{read}");
            let changed = home.safe().change(|book| book.set("erp", "s3cret-value", 1).map(drop));
            assert!(changed.is_err());
            assert_eq!(fs::read(&path).unwrap(), content, "what cannot be read is not overwritten");
        }
    }

    #[test]
    fn a_key_is_a_reference_and_never_written_out() {
        for wrong in ["AGE-SECRET-KEY-1ABC", "file:relative", "env:", "/path"] {
            let error = Safe::new("/nowhere/secrets.age", wrong).unwrap_err().to_string();
            assert!(!error.contains("1ABC"), "{error}");
        }
    }
}
