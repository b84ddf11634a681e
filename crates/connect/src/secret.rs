//! Secret references and the vault that resolves them. Values stay in here, wiped when dropped.
//!
//! What a reference to the environment or to a file leads to may be used wherever configuration names it. What is kept
//! in the file of secrets needs a grant besides: see the crate `secrets`.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use secrets::{Book, Safe, Use};
use zeroize::Zeroizing;

use crate::{
    error::{Error, hint},
    redact::Redactor,
};

/// Longest usable secret, in bytes.
pub use secrets::VALUE_MAX_BYTES as SECRET_MAX_BYTES;

/// Most secrets one installation may declare.
pub const SECRETS_MAX: usize = 256;

/// How many earlier values of a rotated secret are still looked for in answers.
const EARLIER_MAX: usize = 4;

/// Where a value is found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reference {
    Env(String),
    File(PathBuf),
    /// In the file of secrets, under this name.
    Kept(String),
}

/// Declared secrets: name to reference. Holds no value.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    declared: BTreeMap<String, Reference>,
    /// What nobody here may use, but must not be told either.
    watched: BTreeMap<String, Reference>,
    safe: Option<Arc<Safe>>,
}

impl Secrets {
    /// Reads `name = "env:NAME"`, `name = "file:/path"` and `name = "secret:NAME"` pairs.
    ///
    /// # Errors
    /// [`Error::InlineSecret`] for anything else; it never repeats what was written.
    pub fn parse<'a>(
        declared: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Error> {
        let declared = references(declared)?;
        match declared.keys().nth(SECRETS_MAX) {
            Some(name) => Err(Error::Secret {
                secret: name.clone(),
                problem: format!("more than {SECRETS_MAX} secrets are declared"),
            }),
            None => Ok(Self { declared, ..Self::default() }),
        }
    }

    /// With the file that `secret:NAME` leads to. All that is in it is taken out of answers, declared or not.
    #[must_use]
    pub fn kept_in(self, safe: Arc<Safe>) -> Self {
        Self { safe: Some(safe), ..self }
    }

    /// With others that are only taken out of answers.
    ///
    /// # Errors
    /// As [`Secrets::parse`].
    pub fn watching<'a>(
        self,
        others: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Error> {
        Ok(Self { watched: references(others)?, ..self })
    }

    /// The declared names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.declared.keys().map(String::as_str)
    }

    /// The file that `secret:NAME` leads to.
    pub(crate) fn safe(&self) -> Option<&Arc<Safe>> {
        self.safe.as_ref()
    }

    fn reference(&self, name: &str) -> Result<&Reference, Error> {
        let unknown =
            || Error::UnknownSecret { secret: name.to_owned(), hint: hint(name, self.names()) };
        self.declared.get(name).ok_or_else(unknown)
    }

    /// What the file of secrets holds now; nothing where there is none.
    fn book(&self) -> Result<Option<Arc<Book>>, secrets::Error> {
        self.safe.as_ref().map(|safe| safe.read()).transpose()
    }

    /// The file of secrets for an entry that is in it.
    fn book_of(&self, name: &str) -> Result<Arc<Book>, Error> {
        let book = self.book().map_err(|error| unusable(name, error.to_string()))?;
        book.ok_or_else(|| unusable(name, "there is no file of secrets here"))
    }
}

fn references<'a>(
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<BTreeMap<String, Reference>, Error> {
    let read = |(name, text): (&str, &str)| {
        let reference = match text.split_once(':') {
            Some(("env", variable)) if !variable.is_empty() => Reference::Env(variable.to_owned()),
            Some(("file", path)) if path.starts_with('/') => Reference::File(PathBuf::from(path)),
            Some(("secret", kept)) if secrets::check_name(kept).is_ok() => {
                Reference::Kept(kept.to_owned())
            }
            _ => return Err(Error::InlineSecret { secret: name.to_owned() }),
        };
        Ok((name.to_owned(), reference))
    };
    pairs.into_iter().map(read).collect()
}

/// One value. Neither printable nor comparable; wiped when dropped.
#[derive(Clone)]
pub(crate) struct Secret(Zeroizing<String>);

impl Secret {
    /// The value, to be put on the wire and nowhere else.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

struct Live {
    values: BTreeMap<String, Vec<Secret>>,
    redactor: Arc<Redactor>,
    /// What was in the file of secrets when it was looked at last.
    book: Option<Arc<Book>>,
}

/// Resolves references when a call needs them (so a rotated secret is seen at once) and knows every
/// value that was ever resolved, so that none comes back in an answer.
pub(crate) struct Vault {
    secrets: Secrets,
    live: Mutex<Live>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("secrets", &self.secrets).finish_non_exhaustive()
    }
}

impl Vault {
    /// Resolves what can be resolved; the rest fails when it is needed.
    pub(crate) fn new(secrets: Secrets) -> Result<Self, Error> {
        let nothing: [(&str, &str); 0] = [];
        let redactor = Arc::new(Redactor::new(nothing).map_err(|p| unusable("", p))?);
        let live = Live { values: BTreeMap::new(), redactor, book: None };
        let vault = Self { secrets, live: Mutex::new(live) };
        vault.unresolved();
        vault.learn_watched()?;
        vault.learn_kept()?;
        Ok(vault)
    }

    /// Every declared secret that has no usable value now, and why. Whether somebody may use it is another question.
    pub(crate) fn unresolved(&self) -> Vec<Error> {
        let learn = |(name, reference): (&String, &Reference)| {
            let value = match reference {
                Reference::Kept(kept) => {
                    let book = self.secrets.book_of(name);
                    return book.and_then(|book| {
                        book.entry(kept).map(drop).map_err(|e| unusable(name, e.to_string()))
                    });
                }
                reference => read(reference).map_err(|problem| unusable(name, problem)),
            };
            self.remember([(name.as_str(), Secret(value?))])
        };
        self.secrets.declared.iter().filter_map(|one| learn(one).err()).collect()
    }

    /// Whether a secret is declared, and granted for this use where it is kept in the file of secrets.
    pub(crate) fn check(&self, name: &str, asked: &Use<'_>) -> Result<(), Error> {
        match self.secrets.reference(name)? {
            // It may come to have a value before it is needed.
            Reference::Env(_) | Reference::File(_) => Ok(()),
            Reference::Kept(kept) => {
                let book = self.secrets.book_of(name)?;
                let value = book.value(kept, asked).map(drop);
                value.map_err(|error| unusable(name, error.to_string()))
            }
        }
    }

    /// The value as it is now, for one use.
    pub(crate) fn resolve(&self, name: &str, asked: &Use<'_>) -> Result<Secret, Error> {
        let value = match self.secrets.reference(name)? {
            Reference::Kept(kept) => {
                let book = self.secrets.book_of(name)?;
                let value = book.value(kept, asked);
                let value = value.map_err(|error| unusable(name, error.to_string()))?;
                Zeroizing::new(value.expose().to_owned())
            }
            reference => read(reference).map_err(|problem| unusable(name, problem))?,
        };
        let secret = Secret(value);
        self.remember([(name, secret.clone())])?;
        Ok(secret)
    }

    /// What is declared.
    pub(crate) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// What to look for in answers.
    pub(crate) fn redactor(&self) -> Arc<Redactor> {
        // Where the file cannot be read now, what was known of it is looked for still.
        let _unread = self.learn_kept();
        Arc::clone(&self.lock().redactor)
    }

    fn learn_watched(&self) -> Result<(), Error> {
        let watched = self.secrets.watched.iter();
        let values = watched
            .filter_map(|(name, reference)| Some((name.as_str(), Secret(read(reference).ok()?))));
        self.remember(values.collect::<Vec<_>>())
    }

    /// Takes note of all that is in the file of secrets, when that has changed.
    fn learn_kept(&self) -> Result<(), Error> {
        let book = self.secrets.book().map_err(|error| unusable("*", error.to_string()));
        let Ok(Some(book)) = book else { return Ok(()) };
        if self.lock().book.as_ref().is_some_and(|known| Arc::ptr_eq(known, &book)) {
            return Ok(());
        }
        let mut values = Vec::new();
        for (kept, entry) in book.entries() {
            let is_it =
                |reference: &Reference| matches!(reference, Reference::Kept(name) if name == kept);
            let declared = self.secrets.declared.iter().find(|(_, reference)| is_it(reference));
            let name = declared.map_or(kept, |(name, _)| name.as_str());
            let each = entry.every_value().map(|value| value.expose().to_owned());
            values.extend(each.map(|value| (name, Secret(Zeroizing::new(value)))));
        }
        self.remember(values)?;
        self.lock().book = Some(Arc::clone(&book));
        Ok(())
    }

    fn remember<'n>(
        &self,
        fresh: impl IntoIterator<Item = (&'n str, Secret)>,
    ) -> Result<(), Error> {
        let mut live = self.lock();
        let mut changed = None;
        for (name, secret) in fresh {
            let known = live.values.entry(name.to_owned()).or_default();
            if known.iter().any(|old| *old.0 == *secret.0) {
                continue;
            }
            known.push(secret);
            if known.len() > EARLIER_MAX + 1 {
                known.remove(0);
            }
            changed = Some(name);
        }
        let Some(name) = changed else { return Ok(()) };
        let pairs = live.values.iter();
        let pairs =
            pairs.flat_map(|(name, all)| all.iter().map(move |s| (name.as_str(), s.expose())));
        let redactor = Redactor::new(pairs).map_err(|problem| unusable(name, problem))?;
        live.redactor = Arc::new(redactor);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The value of a reference that is no entry of the file of secrets.
fn read(reference: &Reference) -> Result<Zeroizing<String>, String> {
    let value = match reference {
        Reference::Env(variable) => read_env(variable)?,
        Reference::File(path) => read_file(path)?,
        Reference::Kept(_) => return Err("it is kept in the file of secrets".to_owned()),
    };
    let value = secrets::check_value(&value).map_err(|error| error.to_string())?;
    Ok(Zeroizing::new(value.expose().to_owned()))
}

fn unusable(name: &str, problem: impl Into<String>) -> Error {
    Error::Secret { secret: name.to_owned(), problem: problem.into() }
}

fn read_env(variable: &str) -> Result<Zeroizing<String>, String> {
    let value = std::env::var(variable).map(Zeroizing::new);
    value.map_err(|_| format!("the environment variable {variable} is not set to text; set it"))
}

fn read_file(path: &Path) -> Result<Zeroizing<String>, String> {
    let shown = path.display();
    let file = fs::File::open(path).map_err(|e| format!("{shown} cannot be read: {}", e.kind()))?;
    let meta = file.metadata().map_err(|e| format!("{shown} cannot be read: {}", e.kind()))?;
    if !meta.is_file() {
        return Err(format!("{shown} is not a regular file"));
    }
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o177 != 0 {
        return Err(format!(
            "{shown} has mode {mode:04o}, others may read it; run: chmod 600 {shown}"
        ));
    }
    let mut value = Zeroizing::new(String::new());
    let limit = SECRET_MAX_BYTES as u64 + 2;
    let read = file.take(limit).read_to_string(&mut value);
    read.map_err(|e| format!("{shown} cannot be read as text: {}", e.kind()))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(dir: &tempfile::TempDir, value: &str, mode: u32) -> String {
        let path = dir.path().join(format!("secret-{mode:o}"));
        let mut file = fs::File::create(&path).unwrap();
        file.write_all(value.as_bytes()).unwrap();
        file.set_permissions(fs::Permissions::from_mode(mode)).unwrap();
        format!("file:{}", path.display())
    }

    fn vault(reference: &str) -> Vault {
        Vault::new(Secrets::parse([("crm", reference)]).unwrap()).unwrap()
    }

    #[test]
    fn an_inline_value_is_refused_and_not_repeated() {
        for inline in ["hunter2hunter2", "env:", "file:relative", "https://x"] {
            let error = Secrets::parse([("crm", inline)]).unwrap_err().to_string();
            assert!(error.contains("inline") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn files_must_be_private_and_rotate() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o644, 0o640, 0o604, 0o700] {
            let error = vault(&file(&dir, "s3cret-value", mode))
                .resolve("crm", &Use::by("crm"))
                .err()
                .unwrap()
                .to_string();
            assert!(error.contains("chmod 600") && !error.contains("s3cret"), "{error}");
        }
        let reference = file(&dir, "s3cret-value\n", 0o600);
        let vault = vault(&reference);
        assert_eq!(vault.resolve("crm", &Use::by("crm")).unwrap().expose(), "s3cret-value");
        fs::write(reference.trim_start_matches("file:"), "another-value").unwrap();
        assert_eq!(vault.resolve("crm", &Use::by("crm")).unwrap().expose(), "another-value");
        let text = vault.redactor().scrub_text("s3cret-value another-value");
        assert_eq!(text, "[secret:crm] [secret:crm]", "the earlier value is still looked for");
    }

    #[test]
    fn environment_and_limits() {
        // Set by cargo for every test it runs.
        assert_eq!(
            vault("env:CARGO_PKG_NAME").resolve("crm", &Use::by("crm")).unwrap().expose(),
            "harness-connect"
        );
        let missing = vault("env:HARNESS_NO_SUCH_VARIABLE");
        assert!(
            missing
                .resolve("crm", &Use::by("crm"))
                .err()
                .unwrap()
                .to_string()
                .contains("HARNESS_NO_SUCH_VARIABLE")
        );
        assert_eq!(missing.unresolved().len(), 1);
        let dir = tempfile::tempdir().unwrap();
        for bad in ["short", "two\nlines-of-it", &"x".repeat(SECRET_MAX_BYTES + 1)] {
            assert!(vault(&file(&dir, bad, 0o600)).resolve("crm", &Use::by("crm")).is_err());
        }
        let error = missing.resolve("crn", &Use::by("crm")).err().unwrap().to_string();
        assert!(error.contains("did you mean `crm`?"), "{error}");
    }

    #[test]
    fn nothing_prints_a_value() {
        let dir = tempfile::tempdir().unwrap();
        let vault = vault(&file(&dir, "s3cret-value", 0o400));
        vault.resolve("crm", &Use::by("crm")).unwrap();
        assert!(!format!("{vault:?} {:?}", vault.redactor()).contains("s3cret-value"));
    }
}
