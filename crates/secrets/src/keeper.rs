//! What was taken out of texts, sealed for somebody else's key: harness writes it and cannot read it again.
//!
//! Each value stands on a line of its own under a name that is the same whenever the same value is met again, so that
//! answers that say the same are equal still. The name says nothing to who lacks the naming key.

use std::{
    collections::BTreeSet,
    fmt,
    fs::{self, File, OpenOptions},
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use age::{
    Decryptor,
    x25519::{Identity, Recipient},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    Error,
    key::{Place, parse_key},
};

/// Most values that are kept at a time.
pub const KEPT_MAX: usize = 50_000;

/// Most keys that values are sealed for.
pub const RECIPIENTS_MAX: usize = 8;

/// Longest value that is kept, in bytes: what is personal is no longer.
const KEPT_BYTES_MAX: usize = 512;

/// Longest line of the file, in bytes.
const LINE_BYTES_MAX: u64 = 16 * 1024;

/// How much of its hash is the name of a value, in bytes.
const NAME_BYTES: usize = 10;

/// Who it was taken out for, and when.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Whose value it is: names of one are nothing to another.
    pub tenant: String,
    /// The run that met it first.
    pub run: String,
    /// When, in ms.
    pub at: i64,
}

/// One value that was taken out, as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// What stands behind the `#` of its mark.
    pub name: String,
    /// What it is: `card`, `iban`, `mail` or `phone`.
    pub kind: String,
    /// Whose it is.
    pub tenant: String,
    /// The run that met it first.
    pub run: String,
    /// When, in ms.
    pub at: i64,
    /// The value, as an age file for each of the keys, in hex.
    sealed: String,
}

/// Keeps what is taken out.
pub struct Keeper {
    file: PathBuf,
    recipients: Vec<Recipient>,
    naming: Zeroizing<[u8; 32]>,
    held: Mutex<Held>,
}

struct Held {
    names: BTreeSet<String>,
    file: File,
    unsynced: bool,
    /// How many values could not be kept.
    lost: u64,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Reads what values are sealed for.
///
/// # Errors
/// [`Error::Recipient`] for what is no public key of age, too many of them, or none.
pub fn recipients(keys: &[String]) -> Result<Vec<Recipient>, Error> {
    if keys.is_empty() || keys.len() > RECIPIENTS_MAX {
        return Err(Error::Recipient { place: keys.len() });
    }
    let read = |(place, key): (usize, &String)| {
        key.parse::<Recipient>().map_err(|_| Error::Recipient { place })
    };
    keys.iter().enumerate().map(read).collect()
}

impl Keeper {
    /// Opens the file and forgets what was kept before `since`, in ms. One process at a time may do so.
    ///
    /// # Errors
    /// What is no recipient, or a file that cannot be read or written.
    pub fn open(
        file: PathBuf,
        keys: &[String],
        naming: Zeroizing<[u8; 32]>,
        since: i64,
    ) -> Result<Self, Error> {
        let recipients = recipients(keys)?;
        let (mut names, mut old) = (BTreeSet::new(), false);
        each(&file, |entry, _| {
            match entry.at >= since {
                true => drop(names.insert(entry.name)),
                false => old = true,
            }
            Ok(())
        })?;
        // A line that was cut off would hide the one that is written behind it.
        if old || !ends_whole(&file)? {
            rewrite(&file, since)?;
        }
        let mut options = OpenOptions::new();
        let opened = options.append(true).create(true).mode(0o600).open(&file);
        let opened = opened.map_err(|error| failed(&file, &error))?;
        let held = Mutex::new(Held { names, file: opened, unsynced: false, lost: 0 });
        Ok(Self { file, recipients, naming, held })
    }

    /// Keeps a value and names it. Where it cannot be kept the name stands all the same: what was to be hidden is
    /// hidden, and equal values are equal.
    pub fn keep(&self, kind: &str, value: &str, origin: &Origin) -> String {
        let name = self.name(kind, value, &origin.tenant);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.names.contains(&name) {
            return name;
        }
        let fits = held.names.len() < KEPT_MAX && value.len() <= KEPT_BYTES_MAX;
        let line = fits.then(|| self.line(&name, (kind, value), origin)).flatten();
        let written = line.is_some_and(|line| held.file.write_all(line.as_bytes()).is_ok());
        if written {
            held.unsynced = true;
            held.names.insert(name.clone());
        } else {
            held.lost = held.lost.saturating_add(1);
        }
        name
    }

    /// Makes durable what was kept: before the text it was taken out of is.
    ///
    /// # Errors
    /// What the system said.
    pub fn settle(&self) -> Result<(), Error> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.unsynced {
            held.file.sync_data().map_err(|error| failed(&self.file, &error))?;
            held.unsynced = false;
        }
        Ok(())
    }

    /// How many are kept, and how many could not be since it was opened.
    #[must_use]
    pub fn count(&self) -> (usize, u64) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        (held.names.len(), held.lost)
    }

    fn name(&self, kind: &str, value: &str, tenant: &str) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&*self.naming) else {
            return String::new();
        };
        for part in [tenant, kind, value] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        hex(mac.finalize().into_bytes().iter().take(NAME_BYTES))
    }

    fn line(&self, name: &str, (kind, value): (&str, &str), origin: &Origin) -> Option<String> {
        let recipients = self.recipients.iter().map(|one| one as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(recipients).ok()?;
        let mut sealed = Vec::new();
        let mut writer = encryptor.wrap_output(&mut sealed).ok()?;
        writer.write_all(value.as_bytes()).ok()?;
        writer.finish().ok()?;
        let entry = Sealed {
            name: name.to_owned(),
            kind: kind.to_owned(),
            tenant: origin.tenant.clone(),
            run: origin.run.clone(),
            at: origin.at,
            sealed: hex(sealed.iter()),
        };
        serde_json::to_string(&entry).ok().map(|line| line + "\n")
    }
}

/// A private key of age, as `age-keygen` writes it: who holds it can read what was kept.
pub struct Holder(Identity);

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Holder").field(&self.public()).finish()
    }
}

impl Holder {
    /// Reads the key out of a file that nobody else may read.
    ///
    /// # Errors
    /// When it is not there, others may read it, or it is none.
    pub fn of_file(path: &Path) -> Result<Self, Error> {
        let shown = path.display().to_string();
        let key = Place::File(path.to_owned()).read()?;
        key.map(Self).ok_or(Error::NoKey { key: shown })
    }

    /// Reads the key out of a text.
    ///
    /// # Errors
    /// When it is none.
    pub fn of_text(text: &str) -> Result<Self, Error> {
        parse_key(text).map(Self).ok_or_else(|| Error::NoKey { key: "what was read".to_owned() })
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> String {
        self.0.to_public().to_string()
    }

    /// The value of an entry.
    ///
    /// # Errors
    /// When it was sealed for other keys, or is damaged.
    pub fn open(&self, entry: &Sealed) -> Result<Zeroizing<String>, Error> {
        let damaged = || Error::KeptDamaged { name: entry.name.clone() };
        let sealed = unhex(&entry.sealed).ok_or_else(damaged)?;
        let decryptor = Decryptor::new_buffered(sealed.as_slice()).map_err(|_| damaged())?;
        let reader = decryptor.decrypt(std::iter::once(&self.0 as &dyn age::Identity));
        let reader = reader.map_err(|error| match error {
            age::DecryptError::NoMatchingKeys => Error::KeptForOthers { name: entry.name.clone() },
            _ => damaged(),
        })?;
        let mut text = Zeroizing::new(String::with_capacity(KEPT_BYTES_MAX));
        let read = reader.take(KEPT_BYTES_MAX as u64 + 1).read_to_string(&mut text);
        read.map_err(|_| damaged())?;
        Ok(text)
    }
}

/// What is kept under a name.
///
/// # Errors
/// When nothing is, or the file cannot be read.
pub fn find(file: &Path, name: &str) -> Result<Sealed, Error> {
    let mut found = None;
    each(file, |entry, _| {
        if entry.name == name {
            found = Some(entry);
        }
        Ok(())
    })?;
    found.ok_or_else(|| Error::NotKept { name: name.chars().take(NAME_BYTES * 2).collect() })
}

/// The name in a mark such as `[card:1111#0123456789abcdef0123]`, or the name itself.
#[must_use]
pub fn name_of(mark: &str) -> &str {
    let inner = mark.trim().trim_start_matches('[').trim_end_matches(']');
    inner.rsplit('#').next().unwrap_or(inner)
}

/// Goes through every entry that is whole, with its line. One that was cut off by a crash is none.
fn each(
    path: &Path,
    mut one: impl FnMut(Sealed, &[u8]) -> std::io::Result<()>,
) -> Result<(), Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(path, &error)),
    };
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    for _ in 0..=KEPT_MAX {
        line.clear();
        let read = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        if read.map_err(|error| failed(path, &error))? == 0 {
            break;
        }
        if let Ok(entry) = serde_json::from_slice::<Sealed>(&line) {
            one(entry, &line).map_err(|error| failed(path, &error))?;
        }
    }
    Ok(())
}

/// Whether the file ends where a line does.
fn ends_whole(path: &Path) -> Result<bool, Error> {
    let last = || -> std::io::Result<bool> {
        let mut file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Ok(true);
        }
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0_u8];
        file.read_exact(&mut last)?;
        Ok(last == [b'\n'])
    };
    match last() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        found => found.map_err(|error| failed(path, &error)),
    }
}

/// Replaces the file by what is young enough, so that a crash leaves the old one or the new one.
fn rewrite(path: &Path, since: i64) -> Result<(), Error> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(&beside).map_err(|error| failed(&beside, &error))?;
    let mut file = std::io::BufWriter::new(file);
    each(path, |entry, line| if entry.at >= since { file.write_all(line) } else { Ok(()) })?;
    let mut written = || -> std::io::Result<()> {
        file.flush()?;
        file.get_ref().sync_all()?;
        fs::rename(&beside, path)
    };
    written().map_err(|error| failed(path, &error))
}

fn failed(place: &Path, error: &std::io::Error) -> Error {
    Error::Io { place: place.display().to_string(), problem: error.to_string() }
}

fn hex<'b>(bytes: impl Iterator<Item = &'b u8>) -> String {
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(byte).collect()
}

#[cfg(test)]
mod tests {
    use age::secrecy::ExposeSecret as _;

    use super::*;

    const CARD: &str = "4111 1111 1111 1111";

    fn origin(at: i64) -> Origin {
        Origin { tenant: "acme".to_owned(), run: "RUN-1".to_owned(), at }
    }

    fn key() -> (Holder, String) {
        let key = Identity::generate();
        let holder = Holder::of_text(key.to_string().expose_secret()).unwrap();
        let public = holder.public();
        (holder, public)
    }

    fn keeper(folder: &Path, public: &[String], since: i64) -> Keeper {
        let naming = Zeroizing::new([7; 32]);
        Keeper::open(folder.join("kept.jsonl"), public, naming, since).unwrap()
    }

    /// C159: what was taken out is opened by whoever holds a key it was sealed for, and by nobody else.
    #[test]
    fn what_was_taken_out_is_opened_by_who_holds_a_key_and_by_nobody_else() {
        let home = tempfile::tempdir().unwrap();
        let ((one, first), (two, second), (other, _)) = (key(), key(), key());
        let keeper = keeper(home.path(), &[first, second], 0);
        let name = keeper.keep("card", CARD, &origin(5));
        keeper.settle().unwrap();
        let file = home.path().join("kept.jsonl");
        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.contains("4111") && !text.contains(&hex(CARD.as_bytes().iter())));
        let entry = find(&file, name_of(&format!("[card:1111#{name}]"))).unwrap();
        assert_eq!((&*entry.kind, &*entry.run, entry.at), ("card", "RUN-1", 5));
        assert_eq!(*one.open(&entry).unwrap(), CARD);
        assert_eq!(*two.open(&entry).unwrap(), CARD);
        assert!(matches!(other.open(&entry), Err(Error::KeptForOthers { .. })));
        let hurt = Sealed { sealed: entry.sealed.replace('0', "1"), ..entry };
        assert!(matches!(one.open(&hurt), Err(Error::KeptDamaged { .. })));
        assert!(matches!(find(&file, "nothing"), Err(Error::NotKept { .. })));
    }

    /// The same value has the same name, over restarts too, and is kept once; to another tenant or under another
    /// naming key it has another one.
    #[test]
    fn equal_values_are_equal_and_names_say_nothing() {
        let home = tempfile::tempdir().unwrap();
        let (_, public) = key();
        let public = [public];
        let first = keeper(home.path(), &public, 0).keep("card", CARD, &origin(1));
        let again = keeper(home.path(), &public, 0);
        assert_eq!(again.keep("card", CARD, &origin(2)), first);
        assert_eq!(again.count(), (1, 0));
        let theirs = Origin { tenant: "other".to_owned(), ..origin(1) };
        assert_ne!(again.keep("card", CARD, &theirs), first);
        let naming = Zeroizing::new([8; 32]);
        let elsewhere = Keeper::open(home.path().join("more"), &public, naming, 0).unwrap();
        assert_ne!(elsewhere.keep("card", CARD, &origin(1)), first);
    }

    #[test]
    fn what_is_old_is_forgotten_and_a_line_that_was_cut_off_hurts_no_other() {
        let home = tempfile::tempdir().unwrap();
        let (holder, public) = key();
        let (public, file) = ([public], home.path().join("kept.jsonl"));
        let first = keeper(home.path(), &public, 0);
        let (old, young) =
            (first.keep("mail", "a@example.com", &origin(1)), first.keep("card", CARD, &origin(9)));
        drop(first);
        let mut cut = OpenOptions::new().append(true).open(&file).unwrap();
        cut.write_all(b"{\"name\":\"cut").unwrap();
        let second = keeper(home.path(), &public, 5);
        assert!(find(&file, &old).is_err());
        assert_eq!(*holder.open(&find(&file, &young).unwrap()).unwrap(), CARD);
        let after = second.keep("phone", "+14155552671", &origin(10));
        assert_eq!(*holder.open(&find(&file, &after).unwrap()).unwrap(), "+14155552671");
    }

    #[test]
    fn what_is_no_public_key_is_refused_without_being_repeated() {
        let (_, public) = key();
        assert!(recipients(&[]).is_err() && recipients(&vec![public.clone(); 9]).is_err());
        let error = recipients(&[public, "AGE-SECRET-KEY-1ABC".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("2") && !error.to_string().contains("1ABC"), "{error}");
    }
}
