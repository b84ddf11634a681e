//! The file of secrets: who may use which, never what they are. Only whoever may read and write the files of this
//! machine's store is asked; nothing of it goes over a socket or a network.

use std::{path::PathBuf, sync::Arc};

pub use ::secrets::keeper::Holder;

use engine::Clock as _;
use schemars::JsonSchema;
use secrets::{Book, Entry, Error, Grant, Safe};
use serde::{Deserialize, Serialize};

use super::{
    config::Config,
    host::SystemClock,
    problem::{Kind, Problem},
    runs::rfc3339,
};

/// Name of the file, inside of the store's folder. Its key is elsewhere.
const FILE: &str = "secrets.age";

/// All secrets that are kept.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SecretList {
    /// In name order.
    pub items: Vec<SecretView>,
}

/// A secret that is kept, without its value.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SecretView {
    /// Its name; `secret:NAME` under `[secrets]` leads to it.
    pub name: String,
    /// When it was made.
    pub created_at: String,
    /// When its value last changed.
    pub rotated_at: String,
    /// How many earlier values are still looked for in what comes back.
    pub earlier_values: usize,
    /// Names under `[secrets]` that lead to it.
    pub declared_as: Vec<String>,
    /// Who may use it, for what.
    pub grants: Vec<GrantView>,
}

/// A permission to use a secret.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct GrantView {
    /// Who: a system, `provider:NAME`, `harness:notify` or `harness:sign-in`.
    pub system: String,
    /// Where to alone; absent = wherever the system is.
    pub host: Option<String>,
    /// With which method alone.
    pub method: Option<String>,
    /// To which path alone.
    pub path: Option<String>,
}

/// What is gone.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SecretRemoved {
    /// Its name.
    pub name: String,
    /// Names under `[secrets]` that led to it and lead nowhere now.
    pub declared_as: Vec<String>,
}

/// What should be granted.
#[derive(Clone, Debug)]
pub struct Granting {
    /// Who.
    pub system: String,
    /// Where to alone.
    pub host: Option<String>,
    /// With which method alone.
    pub method: Option<String>,
    /// To which path alone.
    pub path: Option<String>,
}

/// The file of secrets of a configuration; nothing is touched.
///
/// # Errors
/// When the key is written where its reference should be.
pub(super) fn safe(config: &Config) -> Result<Arc<Safe>, Problem> {
    let file: PathBuf = config.store.join(FILE);
    Safe::new(file, &config.secrets_key).map(Arc::new).map_err(problem)
}

/// Keeps a value under a name; one that is there already is replaced, and its grants stay.
///
/// # Errors
/// A name or a value that cannot be, or a file that cannot be read or written.
pub fn set(config: &Config, name: &str, value: &str) -> Result<SecretView, Problem> {
    changed(config, name, |book, now| book.set(name, value, now).map(drop))
}

/// Gives a secret that is there another value.
///
/// # Errors
/// As [`set`], or when there is none of that name.
pub fn rotate(config: &Config, name: &str, value: &str) -> Result<SecretView, Problem> {
    changed(config, name, |book, now| book.rotate(name, value, now).map(drop))
}

/// Lets somebody use a secret.
///
/// # Errors
/// When there is none of that name, or what should be granted cannot be held.
pub fn grant(config: &Config, name: &str, granting: Granting) -> Result<SecretView, Problem> {
    let Granting { system, host, method, path } = granting;
    let grant = Grant { system, host, method, path };
    changed(config, name, |book, _| book.grant(name, grant).map(drop))
}

/// Takes back every grant of a secret to somebody; calls that are on their way have it already.
///
/// # Errors
/// When there is no such grant.
pub fn revoke(config: &Config, name: &str, system: &str) -> Result<SecretView, Problem> {
    changed(config, name, |book, _| book.revoke(name, system).map(drop))
}

/// Forgets a secret and every value it had.
///
/// # Errors
/// When there is none of that name.
pub fn remove(config: &Config, name: &str) -> Result<SecretRemoved, Problem> {
    safe(config)?.change(|book| book.remove(name)).map_err(problem)?;
    Ok(SecretRemoved { name: name.to_owned(), declared_as: declared(config, name) })
}

/// Reads the key of who wants something back that was taken out of answers.
///
/// # Errors
/// When it is not there, others may read it, or it is none.
pub fn holder_of_file(path: &std::path::Path) -> Result<Holder, Problem> {
    Holder::of_file(path).map_err(problem)
}

/// As [`holder_of_file`], out of a text.
///
/// # Errors
/// When it is none.
pub fn holder_of_text(text: &str) -> Result<Holder, Problem> {
    Holder::of_text(text).map_err(problem)
}

/// Every secret that is kept, without values.
///
/// # Errors
/// A file that cannot be read, or a key that does not open it.
pub fn list(config: &Config) -> Result<SecretList, Problem> {
    let book = safe(config)?.read().map_err(problem)?;
    let items = book.entries().map(|(name, entry)| view(config, name, entry));
    Ok(SecretList { items: items.collect() })
}

fn changed(
    config: &Config,
    name: &str,
    change: impl FnOnce(&mut Book, i64) -> Result<(), Error>,
) -> Result<SecretView, Problem> {
    let now = SystemClock.now().at;
    let changed = safe(config)?.change(|book| {
        change(book, now)?;
        book.entry(name).cloned()
    });
    changed.map(|entry| view(config, name, &entry)).map_err(problem)
}

fn view(config: &Config, name: &str, entry: &Entry) -> SecretView {
    let grants = entry.grants.iter().cloned().map(|grant| GrantView {
        system: grant.system,
        host: grant.host,
        method: grant.method,
        path: grant.path,
    });
    SecretView {
        name: name.to_owned(),
        created_at: rfc3339(entry.created_at),
        rotated_at: rfc3339(entry.rotated_at),
        earlier_values: entry.earlier(),
        declared_as: declared(config, name),
        grants: grants.collect(),
    }
}

/// Names that lead to a secret, those of the harness's own included.
fn declared(config: &Config, name: &str) -> Vec<String> {
    let all = config.secrets.iter().chain(&config.own_secrets);
    let leads = all.filter(|(_, reference)| reference.strip_prefix("secret:") == Some(name));
    leads.map(|(name, _)| name.clone()).collect()
}

/// What went wrong, as a problem. The errors say the next step themselves.
pub(super) fn problem(error: Error) -> Problem {
    let (kind, code) = match &error {
        Error::Unknown { .. } | Error::NoGrant { .. } => (Kind::NotFound, "secret-not-found"),
        Error::NotKept { .. } => (Kind::NotFound, "redacted-not-kept"),
        Error::KeptForOthers { .. } => (Kind::NotAllowed, "redacted-for-others"),
        Error::KeptDamaged { .. } => (Kind::VerificationFailed, "redacted-damaged"),
        Error::NotGranted { .. } => (Kind::NotAllowed, "secret-not-granted"),
        Error::Damaged { .. } | Error::WrongKey { .. } => {
            (Kind::VerificationFailed, "secrets-unreadable")
        }
        Error::KeyMissing { .. } | Error::KeyOpen { .. } | Error::NoKey { .. } => {
            (Kind::Usage, "secrets-key")
        }
        Error::Io { .. } => (Kind::TryAgain, "secrets-unusable"),
        Error::KeyReference
        | Error::Recipient { .. }
        | Error::Name { .. }
        | Error::Value { .. }
        | Error::Full { .. }
        | Error::Grant { .. } => (Kind::Usage, "secret-invalid"),
    };
    let text = error.to_string();
    let (detail, next) = text.split_once("; ").unwrap_or((&text, "docs/secrets.md says more"));
    Problem::new(kind, code, detail.to_owned()).next(next.to_owned())
}
