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

/// Most bytes of all those values together: each is looked for in many forms, and the search takes memory.
pub const VALUES_BYTES_MAX: usize = 32 * 1024;

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
        let bytes: usize = known.values.iter().map(|value| value.expose().len()).sum();
        let is_full = bytes.saturating_add(secret.expose().len()) > VALUES_BYTES_MAX;
        if is_full || known.values.len() >= VALUES_MAX {
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hyper::header;

    use super::*;

    /// Another value each time, of this length.
    #[derive(Debug)]
    struct Rotating(AtomicUsize, usize);

    impl Secrets for Rotating {
        fn value(&self, _: &str) -> Option<Secret> {
            let turn = self.0.fetch_add(1, Ordering::Relaxed);
            Some(Secret::new(format!("{turn:0>width$}", width = self.1)))
        }
    }

    fn taken(length: usize) -> usize {
        let rotating = Arc::new(Rotating(AtomicUsize::new(0), length));
        let vault = Vault::new(rotating, std::iter::empty());
        let added = Added {
            header: header::AUTHORIZATION,
            prefix: String::new(),
            secret: "key".to_owned(),
        };
        (0..200).take_while(|_| vault.header(&added).is_ok()).count()
    }

    #[test]
    fn earlier_values_stay_known_and_there_is_an_end_to_them() {
        assert_eq!(taken(20), VALUES_MAX);
        assert_eq!(taken(SECRET_BYTES_MAX), VALUES_BYTES_MAX / SECRET_BYTES_MAX);
        let vault =
            Vault::new(Arc::new(Rotating(AtomicUsize::new(0), 20)), ["key", "key"].into_iter());
        let scrubber = vault.scrubber().unwrap();
        for value in ["00000000000000000000", "00000000000000000001"] {
            assert!(scrubber.scrub(value.as_bytes()).is_some(), "{value}");
        }
    }
}
