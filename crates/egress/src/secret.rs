//! Secrets that are added outside: where they come from, and that they are known again when they come back.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use hyper::header::HeaderValue;
use zeroize::Zeroizing;

use crate::{refusal::Refusal, rules::Added, scrub::Scrubber};

/// Shortest secret, in bytes: a shorter one cannot be told from ordinary text in an answer.
pub const SECRET_BYTES_MIN: usize = 8;

/// Longest secret, in bytes.
pub const SECRET_BYTES_MAX: usize = 4 * 1024;

/// Most values that one proxy ever sends, those that a secret had earlier included. No more are sent then.
pub const VALUES_MAX: usize = 64;

/// One value. It is not printed, and wiped when it is dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a value.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    fn is_usable(&self) -> bool {
        let is_text = self.0.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        is_text
            && self.0.trim() == self.0.as_str()
            && (SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&self.0.len())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where values are kept.
pub trait Secrets: Send + Sync + fmt::Debug {
    /// The value of a secret as it is now; `None` when it has none. Asked at the start and once a request, so it does
    /// not wait long. A value is 8 to 4096 characters of printable ASCII.
    fn value(&self, name: &str) -> Option<Secret>;
}

/// Keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSecrets;

impl Secrets for NoSecrets {
    fn value(&self, _: &str) -> Option<Secret> {
        None
    }
}

/// Hands out values, and knows every one that it handed out.
#[derive(Debug)]
pub(crate) struct Vault {
    secrets: Arc<dyn Secrets>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    values: Vec<Secret>,
    scrubber: Option<Arc<Scrubber>>,
}

impl Vault {
    pub(crate) fn new<'a>(secrets: Arc<dyn Secrets>, names: impl Iterator<Item = &'a str>) -> Self {
        let vault = Self { secrets, known: Mutex::default() };
        for name in names {
            // One that has no value yet may have one when it is needed.
            let _ = vault.value(name);
        }
        vault
    }

    /// The whole value of a header, marked so that nothing prints it.
    pub(crate) fn header(&self, added: &Added) -> Result<HeaderValue, Refusal> {
        let secret = self.value(&added.secret)?;
        let text = Zeroizing::new(format!("{}{}", added.prefix, secret.expose()));
        let mut value = HeaderValue::from_str(&text).map_err(|_| Refusal::Secret)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// What takes every value that was ever handed out, out of what comes back.
    pub(crate) fn scrubber(&self) -> Option<Arc<Scrubber>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).scrubber.clone()
    }

    fn value(&self, name: &str) -> Result<Secret, Refusal> {
        let secret = self.secrets.value(name).filter(Secret::is_usable).ok_or(Refusal::Secret)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.values.iter().any(|value| value.expose() == secret.expose()) {
            return Ok(secret);
        }
        if known.values.len() >= VALUES_MAX {
            return Err(Refusal::Secret);
        }
        known.values.push(secret.clone());
        match Scrubber::new(&known.values) {
            Some(scrubber) => known.scrubber = Some(Arc::new(scrubber)),
            None => {
                known.values.pop();
                return Err(Refusal::Secret);
            }
        }
        Ok(secret)
    }
}
