//! Sealing values under keys that can be dropped: XChaCha20-Poly1305, random nonces.

use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead, KeyInit, Payload},
};
use kernel::id::Tenant;
use rusqlite::{Connection, OptionalExtension};
use zeroize::Zeroizing;

use super::Fault;

const NONCE_BYTES: usize = 24;

/// A key of one run or one blob.
pub(super) struct Key(Zeroizing<[u8; 32]>);

impl Key {
    /// A new one from the operating system.
    pub(super) fn random() -> Result<Self, Fault> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut_slice())
            .map_err(|e| Fault::medium(format!("no randomness: {e}")))?;
        Ok(Self(key))
    }

    /// The stored one.
    pub(super) fn find(
        conn: &Connection,
        tenant: &Tenant,
        name: &str,
    ) -> Result<Option<Self>, Fault> {
        let sql = "SELECT key FROM keys WHERE tenant = ?1 AND name = ?2";
        let found: Option<[u8; 32]> = conn
            .prepare_cached(sql)?
            .query_row((tenant.as_str(), name), |row| row.get(0))
            .optional()?;
        Ok(found.map(|key| Self(Zeroizing::new(key))))
    }

    /// The stored one, or a new one, stored.
    pub(super) fn find_or_make(
        conn: &Connection,
        tenant: &Tenant,
        name: &str,
    ) -> Result<Self, Fault> {
        if let Some(key) = Self::find(conn, tenant, name)? {
            return Ok(key);
        }
        let key = Self::random()?;
        key.keep(conn, tenant, name)?;
        Ok(key)
    }

    /// Stores it.
    pub(super) fn keep(&self, conn: &Connection, tenant: &Tenant, name: &str) -> Result<(), Fault> {
        let sql = "INSERT INTO keys (tenant, name, key) VALUES (?1, ?2, ?3)";
        conn.prepare_cached(sql)?.execute((tenant.as_str(), name, self.0.as_slice()))?;
        Ok(())
    }

    /// Nonce and ciphertext, bound to the place it is stored at.
    pub(super) fn seal(&self, place: &[&[u8]], plain: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|e| Fault::medium(format!("no randomness: {e}")))?;
        let aad = bind(place);
        let payload = Payload { msg: plain, aad: &aad };
        let sealed = self.cipher()?.encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| Fault::medium("a value is too large to encrypt"))?;
        Ok([nonce.as_slice(), sealed.as_slice()].concat())
    }

    /// The plain bytes; `None` when key, place or ciphertext are not those of [`Key::seal`].
    pub(super) fn open(&self, place: &[&[u8]], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let aad = bind(place);
        let payload = Payload { msg: sealed, aad: &aad };
        let plain = self.cipher().ok()?.decrypt(&XNonce::from(*nonce), payload).ok()?;
        Some(Zeroizing::new(plain))
    }

    fn cipher(&self) -> Result<XChaCha20Poly1305, Fault> {
        XChaCha20Poly1305::new_from_slice(self.0.as_slice())
            .map_err(|_| Fault::medium("a key has 32 bytes"))
    }
}

/// Length-prefixed parts: no two places bind alike.
fn bind(place: &[&[u8]]) -> Vec<u8> {
    let mut bound = Vec::new();
    for part in place {
        bound.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bound.extend_from_slice(part);
    }
    bound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_with_its_key_at_its_place() {
        let (Ok(key), Ok(other)) = (Key::random(), Key::random()) else { panic!("no randomness") };
        let sealed = key.seal(&[b"a", b"bc"], b"secret").unwrap();
        assert_eq!(key.open(&[b"a", b"bc"], &sealed).unwrap().as_slice(), b"secret");
        assert!(key.open(&[b"ab", b"c"], &sealed).is_none());
        assert!(other.open(&[b"a", b"bc"], &sealed).is_none());
        assert!(key.open(&[b"a", b"bc"], b"short").is_none());
    }

    #[test]
    fn equal_values_seal_differently() {
        let key = Key::random().unwrap();
        assert_ne!(key.seal(&[], b"x").unwrap(), key.seal(&[], b"x").unwrap());
    }
}
