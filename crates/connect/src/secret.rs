//! Secret references and the vault that resolves them. Values stay in here, wiped when dropped.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use zeroize::Zeroizing;

use crate::{
    error::{Error, hint},
    redact::Redactor,
};

/// Shortest usable secret: a shorter one cannot be told from ordinary text in an answer.
pub const SECRET_MIN_BYTES: usize = 6;

/// Longest usable secret, in bytes.
pub const SECRET_MAX_BYTES: usize = 8 * 1024;

/// Most secrets one installation may declare.
pub const SECRETS_MAX: usize = 256;

/// How many earlier values of a rotated secret are still looked for in answers.
const EARLIER_MAX: usize = 4;

/// Where a value is found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reference {
    Env(String),
    File(PathBuf),
}

/// Declared secrets: name to reference. Holds no value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<String, Reference>);

impl Secrets {
    /// Reads `name = "env:NAME"` and `name = "file:/path"` pairs.
    ///
    /// # Errors
    /// [`Error::InlineSecret`] for anything else; it never repeats what was written.
    pub fn parse<'a>(
        declared: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Error> {
        let mut references = BTreeMap::new();
        for (name, text) in declared {
            let reference = match text.split_once(':') {
                Some(("env", variable)) if !variable.is_empty() => {
                    Reference::Env(variable.to_owned())
                }
                Some(("file", path)) if path.starts_with('/') => {
                    Reference::File(PathBuf::from(path))
                }
                _ => {
                    return Err(Error::InlineSecret { secret: name.to_owned() });
                }
            };
            references.insert(name.to_owned(), reference);
        }
        match references.keys().nth(SECRETS_MAX) {
            Some(name) => Err(Error::Secret {
                secret: name.clone(),
                problem: format!("more than {SECRETS_MAX} secrets are declared"),
            }),
            None => Ok(Self(references)),
        }
    }

    /// The declared names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether a name is declared; an error with the nearest name when not.
    pub(crate) fn check(&self, name: &str) -> Result<(), Error> {
        self.reference(name).map(|_| ())
    }

    fn reference(&self, name: &str) -> Result<&Reference, Error> {
        let unknown =
            || Error::UnknownSecret { secret: name.to_owned(), hint: hint(name, self.names()) };
        self.0.get(name).ok_or_else(unknown)
    }
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
        let vault = Self { secrets, live: Mutex::new(Live { values: BTreeMap::new(), redactor }) };
        vault.unresolved();
        Ok(vault)
    }

    /// Every declared secret that has no usable value now, and why.
    pub(crate) fn unresolved(&self) -> Vec<Error> {
        self.secrets.names().filter_map(|name| self.resolve(name).err()).collect()
    }

    pub(crate) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The value as it is now.
    pub(crate) fn resolve(&self, name: &str) -> Result<Secret, Error> {
        let reference = self.secrets.reference(name)?;
        let value = match reference {
            Reference::Env(variable) => read_env(variable),
            Reference::File(path) => read_file(path),
        };
        let value = value.and_then(check_value).map_err(|problem| unusable(name, problem))?;
        let secret = Secret(value);
        self.remember(name, &secret)?;
        Ok(secret)
    }

    /// What to look for in answers.
    pub(crate) fn redactor(&self) -> Arc<Redactor> {
        Arc::clone(&self.lock().redactor)
    }

    fn remember(&self, name: &str, secret: &Secret) -> Result<(), Error> {
        let mut live = self.lock();
        let known = live.values.entry(name.to_owned()).or_default();
        if known.iter().any(|old| *old.0 == *secret.0) {
            return Ok(());
        }
        known.push(secret.clone());
        if known.len() > EARLIER_MAX + 1 {
            known.remove(0);
        }
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

fn check_value(value: Zeroizing<String>) -> Result<Zeroizing<String>, String> {
    let trimmed = value.trim_end_matches(['\n', '\r']);
    if trimmed.len() < SECRET_MIN_BYTES {
        return Err(format!(
            "shorter than {SECRET_MIN_BYTES} bytes: it could not be kept out of answers"
        ));
    }
    if trimmed.len() > SECRET_MAX_BYTES {
        return Err(format!("longer than {SECRET_MAX_BYTES} bytes"));
    }
    if trimmed.chars().any(char::is_control) {
        return Err("holds a control character; a secret is one line of text".to_owned());
    }
    Ok(Zeroizing::new(trimmed.to_owned()))
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
            let error =
                vault(&file(&dir, "s3cret-value", mode)).resolve("crm").err().unwrap().to_string();
            assert!(error.contains("chmod 600") && !error.contains("s3cret"), "{error}");
        }
        let reference = file(&dir, "s3cret-value\n", 0o600);
        let vault = vault(&reference);
        assert_eq!(vault.resolve("crm").unwrap().expose(), "s3cret-value");
        fs::write(reference.trim_start_matches("file:"), "another-value").unwrap();
        assert_eq!(vault.resolve("crm").unwrap().expose(), "another-value");
        let text = vault.redactor().scrub_text("s3cret-value another-value");
        assert_eq!(text, "[secret:crm] [secret:crm]", "the earlier value is still looked for");
    }

    #[test]
    fn environment_and_limits() {
        // Set by cargo for every test it runs.
        assert_eq!(vault("env:CARGO_PKG_NAME").resolve("crm").unwrap().expose(), "harness-connect");
        let missing = vault("env:HARNESS_NO_SUCH_VARIABLE");
        assert!(
            missing.resolve("crm").err().unwrap().to_string().contains("HARNESS_NO_SUCH_VARIABLE")
        );
        assert_eq!(missing.unresolved().len(), 1);
        let dir = tempfile::tempdir().unwrap();
        for bad in ["short", "two\nlines-of-it", &"x".repeat(SECRET_MAX_BYTES + 1)] {
            assert!(vault(&file(&dir, bad, 0o600)).resolve("crm").is_err());
        }
        let error = missing.resolve("crn").err().unwrap().to_string();
        assert!(error.contains("did you mean `crm`?"), "{error}");
    }

    #[test]
    fn nothing_prints_a_value() {
        let dir = tempfile::tempdir().unwrap();
        let vault = vault(&file(&dir, "s3cret-value", 0o400));
        vault.resolve("crm").unwrap();
        assert!(!format!("{vault:?} {:?}", vault.redactor()).contains("s3cret-value"));
    }
}
