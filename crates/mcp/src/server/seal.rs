//! What a client keeps for us between two calls and must not be able to make up or to change.

use std::time::Duration;

use rmcp::model::{RequestStateCodec, SealOptions};
use serde::{Serialize, de::DeserializeOwned};

/// A state that was not made here, was changed, is about something else, or is too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the state that came back is not one that was given out for this call, or it is too old")]
pub struct Broken;

/// Seals with one key.
pub struct Seal(RequestStateCodec);

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seal").finish_non_exhaustive()
    }
}

impl Seal {
    /// Under a key.
    ///
    /// # Errors
    /// When the key is too short to hold anything.
    pub fn new(key: &[u8]) -> Result<Self, Broken> {
        RequestStateCodec::try_new(key.to_vec()).map(Self).map_err(|_| Broken)
    }

    /// A value as text that opens only beside the same `about`, and only for so long.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn close<T: Serialize>(
        &self,
        value: &T,
        about: &[u8],
        lasts: Duration,
    ) -> Result<String, Broken> {
        let options = SealOptions::new().associated_data(about).ttl(lasts);
        self.0.seal_json_with(value, &options).map_err(|_| Broken)
    }

    /// The value again.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn open<T: DeserializeOwned>(&self, sealed: &str, about: &[u8]) -> Result<T, Broken> {
        self.0.open_json_with(sealed, about).map_err(|_| Broken)
    }
}
