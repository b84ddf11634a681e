//! Keys: one that signs, those that are trusted, and their text forms.

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use kernel::{Digest, port::Sign};
use zeroize::Zeroizing;

use crate::Error;

/// What a private key file begins with.
pub const PRIVATE_PREFIX: &str = "harness-ed25519-v1:";

/// What a line of a public key file begins with.
pub const PUBLIC_PREFIX: &str = "harness-ed25519-pub-v1:";

/// Most keys trusted at once.
pub const KEYS_MAX: usize = 64;

/// An Ed25519 private key. Wiped when dropped; shows only its public half.
pub struct Signer {
    key: SigningKey,
    public: PublicKey,
}

impl Signer {
    /// The key of this seed. The caller wipes its own copy.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        let public = PublicKey(key.verifying_key());
        Self { key, public }
    }

    /// Reads the text of a private key file.
    ///
    /// # Errors
    /// Says what is wrong, never what the text was.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let encoded = text.trim().strip_prefix(PRIVATE_PREFIX);
        let encoded =
            encoded.ok_or(Error::Key("a private key file begins with harness-ed25519-v1:"))?;
        let bad = Error::Key("a private key is 32 bytes in base64");
        let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| bad.clone())?);
        let seed: &[u8; 32] = bytes.as_slice().try_into().map_err(|_| bad)?;
        Ok(Self::from_seed(seed))
    }

    /// The text of a private key file, wiped when dropped.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let seed = Zeroizing::new(self.key.to_bytes());
        let encoded = Zeroizing::new(STANDARD.encode(seed.as_slice()));
        let mut text =
            Zeroizing::new(String::with_capacity(PRIVATE_PREFIX.len() + encoded.len() + 1));
        text.push_str(PRIVATE_PREFIX);
        text.push_str(&encoded);
        text.push('\n');
        text
    }

    /// The half to hand to verifiers.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }
}

impl Sign for Signer {
    fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.key.sign(bytes).to_bytes()
    }

    fn key_id(&self) -> String {
        self.public.id()
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("public", &self.public).finish_non_exhaustive()
    }
}

/// An Ed25519 public key. Prints as the text of a public key file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// The key of these 32 bytes.
    ///
    /// # Errors
    /// When they are no point of the curve, or one for which forging is easy.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, Error> {
        let key =
            VerifyingKey::from_bytes(bytes).map_err(|_| Error::Key("not a point of Ed25519"))?;
        if key.is_weak() {
            Err(Error::Key("a weak point, for which anyone can sign"))
        } else {
            Ok(Self(key))
        }
    }

    /// Reads the text of a public key.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if text.starts_with(PRIVATE_PREFIX) {
            return Err(Error::Key(
                "this is a private key; keep it secret and give the public one",
            ));
        }
        let encoded = text.strip_prefix(PUBLIC_PREFIX);
        let encoded =
            encoded.ok_or(Error::Key("a public key begins with harness-ed25519-pub-v1:"))?;
        let bad = Error::Key("a public key is 32 bytes in base64");
        let bytes = STANDARD.decode(encoded).map_err(|_| bad.clone())?;
        Self::from_bytes(bytes.as_slice().try_into().map_err(|_| bad)?)
    }

    /// The raw key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The key's id: hex of the SHA-256 of the raw key.
    #[must_use]
    pub fn id(&self) -> String {
        Digest::of(self.as_bytes()).hex()
    }

    /// Checks a signature strictly: canonical encodings only, no point of small order.
    ///
    /// # Errors
    /// [`Error::BadSignature`].
    pub fn check(&self, bytes: &[u8], signature: &[u8]) -> Result<(), Error> {
        let bad = || Error::BadSignature(self.id());
        let signature = Signature::from_slice(signature).map_err(|_| bad())?;
        self.0.verify_strict(bytes, &signature).map_err(|_| bad())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC_PREFIX}{}", STANDARD.encode(self.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The public keys somebody decided to trust, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(BTreeMap<String, PublicKey>);

impl Keys {
    /// Reads a public key file: one key per line; empty lines and lines with `#` in front say nothing.
    ///
    /// # Errors
    /// When a line is no key, there is none, or there are more than [`KEYS_MAX`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        let keys: Self =
            lines.take(KEYS_MAX + 1).map(PublicKey::parse).collect::<Result<_, _>>()?;
        match keys.0.len() {
            0 => Err(Error::Key("the file holds no key")),
            1..=KEYS_MAX => Ok(keys),
            _ => Err(Error::Key("more keys than anyone trusts at once")),
        }
    }

    /// The trusted key of this id.
    ///
    /// # Errors
    /// [`Error::UnknownKey`].
    pub fn get(&self, id: &str) -> Result<&PublicKey, Error> {
        self.0.get(id).ok_or_else(|| Error::UnknownKey(id.chars().take(64).collect()))
    }

    /// Every trusted key.
    pub fn iter(&self) -> impl Iterator<Item = &PublicKey> {
        self.0.values()
    }
}

impl FromIterator<PublicKey> for Keys {
    fn from_iter<I: IntoIterator<Item = PublicKey>>(keys: I) -> Self {
        Self(keys.into_iter().map(|key| (key.id(), key)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_8032_test_1() {
        let seed =
            kernel::id::unhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let signer = Signer::from_seed(&seed.unwrap().try_into().unwrap());
        assert_eq!(
            kernel::id::hex(signer.public().as_bytes()),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
        let signature = kernel::id::hex(&signer.sign(b""));
        assert!(signature.starts_with("e5564300c360ac729086e2cc806e828a"), "{signature}");
        assert!(signature.ends_with("46bd25bf5f0595bbe24655141438e7a100b"), "{signature}");
        signer.public().check(b"", &signer.sign(b"")).unwrap();
        assert!(signer.public().check(b"x", &signer.sign(b"")).is_err());
    }

    #[test]
    fn texts_read_back_and_never_mix() {
        let signer = Signer::from_seed(&[7; 32]);
        let private = signer.to_text();
        let public = signer.public().to_string();
        assert_eq!(Signer::parse(&private).unwrap().public(), signer.public());
        assert_eq!(PublicKey::parse(&public).unwrap(), *signer.public());
        assert!(Signer::parse(&public).is_err());
        let error = PublicKey::parse(&private).unwrap_err().to_string();
        assert!(error.contains("private") && !error.contains(&private[19..30]), "{error}");
        for bad in ["", "harness-ed25519-v1:", "harness-ed25519-v1:AAAA", "harness-ed25519-v1:!"] {
            assert!(Signer::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_seed_is_never_shown() {
        let signer = Signer::from_seed(&[7; 32]);
        let shown = format!("{signer:?}");
        assert!(shown.contains(&signer.public().to_string()));
        assert!(!shown.contains("BwcHBwcH") && !shown.contains("7, 7") && !shown.contains("0707"));
    }

    #[test]
    fn weak_keys_are_refused() {
        let mut identity = [0_u8; 32];
        identity[0] = 1;
        assert!(PublicKey::from_bytes(&identity).is_err());
        assert!(PublicKey::from_bytes(&[0; 32]).is_err());
    }

    #[test]
    fn a_key_file_may_hold_several_keys_and_comments() {
        let (one, two) = (Signer::from_seed(&[1; 32]), Signer::from_seed(&[2; 32]));
        let text = format!("# since May\n{}\n\n{}\n", one.public(), two.public());
        let keys = Keys::parse(&text).unwrap();
        assert_eq!(keys.iter().count(), 2);
        assert_eq!(keys.get(&two.key_id()).unwrap(), two.public());
        assert!(matches!(keys.get("nobody"), Err(Error::UnknownKey(_))));
        assert!(Keys::parse("# nothing\n").is_err());
    }
}
