//! The key that the file is encrypted for.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use age::{secrecy::ExposeSecret as _, x25519::Identity};
use zeroize::Zeroizing;

use crate::Error;

/// Largest key file, in bytes.
const KEY_BYTES_MAX: u64 = 4 * 1024;

/// What the line of a key begins with.
const KEY_PREFIX: &str = "AGE-SECRET-KEY-1";

/// Where the key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Env(String),
    File(PathBuf),
}

impl Place {
    pub(crate) fn parse(reference: &str) -> Result<Self, Error> {
        match reference.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if path.starts_with('/') => Ok(Self::File(PathBuf::from(path))),
            _ => Err(Error::KeyReference),
        }
    }

    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Env(name) => format!("in the variable {name}"),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// The key, or nothing when there is none.
    pub(crate) fn read(&self) -> Result<Option<Identity>, Error> {
        let text = match self {
            Self::Env(name) => match std::env::var(name) {
                Ok(text) => Zeroizing::new(text),
                Err(_) => return Ok(None),
            },
            Self::File(path) => match read_private(path)? {
                Some(text) => text,
                None => return Ok(None),
            },
        };
        parse_key(&text).map(Some).ok_or_else(|| Error::NoKey { key: self.shown() })
    }

    /// A fresh key at its place.
    pub(crate) fn make(&self) -> Result<Identity, Error> {
        let Self::File(path) = self else {
            let problem = "holds no key, and none can be put there; make one with `age-keygen`";
            return Err(Error::Io { place: self.shown(), problem: problem.to_owned() });
        };
        let failed = |error: std::io::Error| Error::Io {
            place: path.display().to_string(),
            problem: error.to_string(),
        };
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        }
        let key = Identity::generate();
        let mut options = OpenOptions::new();
        let options = options.write(true).create_new(true).mode(0o600);
        let mut file = match options.open(path) {
            Ok(file) => file,
            // Another process was first: its key counts.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return self.read()?.ok_or_else(|| failed(error));
            }
            Err(error) => return Err(failed(error)),
        };
        let public = key.to_public();
        let secret = key.to_string();
        let text = Zeroizing::new(format!("# public key: {public}\n{}\n", secret.expose_secret()));
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        Ok(key)
    }
}

/// The key in a text as `age-keygen` writes it.
pub(crate) fn parse_key(text: &str) -> Option<Identity> {
    let line = text.lines().map(str::trim).find(|line| line.starts_with(KEY_PREFIX));
    line.and_then(|line| line.parse::<Identity>().ok())
}

fn read_private(path: &Path) -> Result<Option<Zeroizing<String>>, Error> {
    let failed = |problem: String| Error::Io { place: path.display().to_string(), problem };
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error.to_string())),
    };
    let meta = file.metadata().map_err(|error| failed(error.to_string()))?;
    if !meta.is_file() || meta.len() > KEY_BYTES_MAX {
        return Err(Error::NoKey { key: path.display().to_string() });
    }
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o177 != 0 {
        return Err(Error::KeyOpen { key: path.display().to_string(), mode });
    }
    let mut text = Zeroizing::new(String::with_capacity(KEY_BYTES_MAX as usize));
    let read = file.take(KEY_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| failed(format!("no text: {}", error.kind())))?;
    Ok(Some(text))
}
