//! A provider's key: wiped when dropped, shown by nothing. The copy that goes into a request is the HTTP
//! client's, marked as sensitive; it is not wiped.

use std::{fmt, sync::Arc};

use zeroize::Zeroizing;

/// The key of one provider. Its value goes into a request header and nowhere else.
#[derive(Clone, Default)]
pub struct Key(Option<Arc<Zeroizing<String>>>);

impl Key {
    /// A key; white space around it, such as a file's last line break, is no part of it.
    #[must_use]
    pub fn new(value: String) -> Self {
        let value = Zeroizing::new(value);
        Self(Some(Arc::new(Zeroizing::new(value.trim().to_owned()))))
    }

    /// No key: for a local server that asks for none, and for building requests that are never sent.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    pub(crate) fn expose(&self) -> Option<&str> {
        self.0.as_ref().map(|value| value.as_str())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Key(..)" } else { "Key(none)" })
    }
}
