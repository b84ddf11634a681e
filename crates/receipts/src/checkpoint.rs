//! Checkpoints: the log's head as a signed note (C2SP `tlog-checkpoint` and `signed-note`).
//!
//! A checkpoint kept elsewhere is what shows a cut or rewritten log; nothing inside the log can.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kernel::{Digest, port::Sign};

use crate::{
    Error,
    key::{Keys, PublicKey},
    merkle::{Head, LOG_SIZE_MAX},
};

/// Longest note read, in bytes.
pub const NOTE_BYTES_MAX: usize = 64 << 10;

/// Most signature lines in a note.
pub const NOTE_SIGNATURES_MAX: usize = 16;

/// What a signature line begins with: an em dash and a space.
const SIGNATURE_MARK: &str = "\u{2014} ";

/// The signature type of Ed25519 in the signed-note specification.
const ED25519: u8 = 1;

/// Which log, how many leaves, which root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name, also the name of its key: no space, no control character, no `+`.
    pub origin: String,
    /// Size and root.
    pub head: Head,
}

impl Checkpoint {
    /// Writes and signs the note. `public` is the public half of the signer's key.
    ///
    /// # Errors
    /// When the origin cannot name a log.
    pub fn sign(&self, signer: &dyn Sign, public: &PublicKey) -> Result<String, Error> {
        check_origin(&self.origin)?;
        let text = self.text();
        let mut signature = note_key_id(&self.origin, public).to_vec();
        signature.extend_from_slice(&signer.sign(text.as_bytes()));
        Ok(format!("{text}\n{SIGNATURE_MARK}{} {}\n", self.origin, STANDARD.encode(signature)))
    }

    /// Reads a note and checks that a trusted key signed it under the log's own name. Other
    /// signatures, such as witnesses', say nothing here; a wrong one of a trusted key refuses it.
    ///
    /// # Errors
    /// When it is not a checkpoint, or nobody trusted signed it.
    pub fn open(note: &str, keys: &Keys) -> Result<Self, Error> {
        Error::check_length("checkpoint", note.len(), NOTE_BYTES_MAX)?;
        let refuse = |problem: &str| Error::Checkpoint(problem.to_owned());
        if note.chars().any(|c| c < ' ' && c != '\n') {
            return Err(refuse("it holds control characters"));
        }
        let (body, signatures) = note
            .rsplit_once("\n\n")
            .ok_or_else(|| refuse("there is no empty line before its signatures"))?;
        let signatures =
            signatures.strip_suffix('\n').ok_or_else(|| refuse("its last line does not end"))?;
        let checkpoint = Self::parse(body)?;
        if signatures.split('\n').count() > NOTE_SIGNATURES_MAX {
            return Err(refuse("it holds more than 16 signatures"));
        }
        let mut trusted = false;
        for line in signatures.split('\n') {
            trusted |= checkpoint.check_line(line, keys)?;
        }
        if trusted { Ok(checkpoint) } else { Err(refuse("no trusted key signed it")) }
    }

    /// What is signed: three lines, each ended.
    fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.head.size, STANDARD.encode(self.head.root.0))
    }

    fn parse(body: &str) -> Result<Self, Error> {
        let refuse = |problem: &str| Error::Checkpoint(problem.to_owned());
        let lines: Vec<&str> = body.split('\n').collect();
        let [origin, size, root] = lines.as_slice() else {
            return Err(refuse("it must hold exactly origin, size and root"));
        };
        check_origin(origin)?;
        let number: Option<u64> = size.parse().ok().filter(|n| n <= &LOG_SIZE_MAX);
        let number = number.filter(|n| n.to_string() == *size);
        let root = STANDARD.decode(root).ok().and_then(|bytes| bytes.try_into().ok());
        let head = Head {
            size: number.ok_or_else(|| refuse("its size is not a number"))?,
            root: Digest(root.ok_or_else(|| refuse("its root is not 32 bytes in base64"))?),
        };
        Ok(Self { origin: (*origin).to_owned(), head })
    }

    /// Whether this line is a right signature of a trusted key under the log's name.
    fn check_line(&self, line: &str, keys: &Keys) -> Result<bool, Error> {
        let refuse = |problem: &str| Error::Checkpoint(problem.to_owned());
        let (name, encoded) = line
            .strip_prefix(SIGNATURE_MARK)
            .and_then(|rest| rest.split_once(' '))
            .ok_or_else(|| refuse("a signature line is not one"))?;
        let bytes =
            STANDARD.decode(encoded).map_err(|_| refuse("a signature line is not base64"))?;
        let Some((key_id, signature)) = bytes.split_first_chunk::<4>() else {
            return Err(refuse("a signature is too short"));
        };
        if name != self.origin {
            return Ok(false);
        }
        let Some(key) = keys.iter().find(|key| note_key_id(name, key) == *key_id) else {
            return Ok(false);
        };
        key.check(self.text().as_bytes(), signature).map(|()| true)
    }
}

/// The four bytes that name a key in a note.
#[must_use]
pub fn note_key_id(name: &str, key: &PublicKey) -> [u8; 4] {
    let Digest([a, b, c, d, ..]) =
        Digest::of(&[name.as_bytes(), b"\n", &[ED25519], key.as_bytes()].concat());
    [a, b, c, d]
}

/// The key as Go's `sumdb/note` and other checkers of signed notes read it.
#[must_use]
pub fn note_verifier_key(name: &str, key: &PublicKey) -> String {
    let encoded = STANDARD.encode([&[ED25519][..], key.as_bytes()].concat());
    format!("{name}+{}+{encoded}", kernel::id::hex(&note_key_id(name, key)))
}

/// Without spaces no note text can pass for a DSSE encoding, which begins `DSSEv1 `: one key signs both.
fn check_origin(origin: &str) -> Result<(), Error> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    if origin.is_empty() || origin.contains(bad) {
        return Err(Error::Checkpoint("its origin is empty or holds a space or `+`".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Signer;

    fn checkpoint() -> Checkpoint {
        let head = Head { size: 37, root: Digest::of(b"root") };
        Checkpoint { origin: "harness.example/log".to_owned(), head }
    }

    fn keys(signer: &Signer) -> Keys {
        [*signer.public()].into_iter().collect()
    }

    fn signed(signer: &Signer) -> String {
        checkpoint().sign(signer, signer.public()).unwrap()
    }

    #[test]
    fn a_checkpoint_reads_back() {
        let signer = Signer::from_seed(&[1; 32]);
        let note = signed(&signer);
        let lines: Vec<&str> = note.split('\n').collect();
        assert_eq!(lines[..2], ["harness.example/log", "37"]);
        assert_eq!(lines[3], "");
        assert!(lines[4].starts_with("— harness.example/log "));
        assert_eq!(Checkpoint::open(&note, &keys(&signer)).unwrap(), checkpoint());
    }

    #[test]
    fn the_example_of_the_go_note_package_verifies() {
        let raw = STANDARD.decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").unwrap();
        let key = PublicKey::from_bytes(raw[1..].try_into().unwrap()).unwrap();
        assert_eq!(
            note_verifier_key("PeterNeumann", &key),
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
        );
        let text = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n";
        let line = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
        let signature = STANDARD.decode(line).unwrap();
        assert_eq!(signature[..4], note_key_id("PeterNeumann", &key));
        key.check(text.as_bytes(), &signature[4..]).unwrap();
    }

    #[test]
    fn strangers_signatures_say_nothing_and_wrong_ones_refuse() {
        let (signer, witness) = (Signer::from_seed(&[1; 32]), Signer::from_seed(&[2; 32]));
        let note = signed(&signer);
        let other = signed(&witness);
        let line = |note: &str| note.rsplit_once("\n\n").unwrap().1.to_owned();
        let both = format!("{note}{}", line(&other));
        assert!(Checkpoint::open(&both, &keys(&signer)).is_ok());
        assert!(Checkpoint::open(&other, &keys(&signer)).is_err());
        let mut wrong =
            STANDARD.decode(line(&note).trim_end().rsplit_once(' ').unwrap().1).unwrap();
        wrong[10] ^= 1;
        let wrong = format!("— harness.example/log {}\n", STANDARD.encode(wrong));
        assert!(Checkpoint::open(&format!("{note}{wrong}"), &keys(&signer)).is_err());
        let renamed = both.replace("— harness.example/log", "— witness.example/w");
        assert!(Checkpoint::open(&renamed, &keys(&signer)).is_err());
    }

    #[test]
    fn every_change_is_noticed() {
        let signer = Signer::from_seed(&[1; 32]);
        let note = signed(&signer);
        let bytes = note.as_bytes();
        // One bit of every byte, another each time.
        for bit in (0..bytes.len()).map(|byte| byte * 8 + byte % 8) {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            if let Ok(text) = String::from_utf8(damaged) {
                assert!(Checkpoint::open(&text, &keys(&signer)).is_err(), "bit {bit}");
            }
        }
        for damaged in [
            note.replace("\n37\n", "\n037\n"),
            note.replace("\n37\n", "\n+37\n"),
            note.replace("\n\n", "\nextension\n\n"),
            note.trim_end().to_owned(),
            note.repeat(20),
            String::new(),
        ] {
            assert!(Checkpoint::open(&damaged, &keys(&signer)).is_err(), "{damaged}");
        }
    }

    #[test]
    fn an_origin_that_could_be_mistaken_is_refused() {
        let signer = Signer::from_seed(&[1; 32]);
        for origin in ["", "DSSEv1 28 x", "a+b", "a\nb"] {
            let named = Checkpoint { origin: origin.to_owned(), ..checkpoint() };
            assert!(named.sign(&signer, signer.public()).is_err(), "{origin}");
        }
    }
}
