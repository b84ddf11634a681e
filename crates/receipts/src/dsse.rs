//! DSSE envelopes: a payload, its type and one Ed25519 signature over both.
//!
//! Stricter than the specification asks: exactly one signature, standard base64 with padding, and the
//! one canonical spelling of the envelope itself, because the log hashes the envelope's bytes.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kernel::{port::Sign, receipt::PAYLOAD_TYPE};
use serde::Deserialize;
use serde_json::Value;

use crate::{Error, key::Keys};

/// Longest envelope read, in bytes.
pub const ENVELOPE_BYTES_MAX: usize = 4 << 20;

/// What is signed: the pre-authentication encoding of type and payload.
#[must_use]
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// Signs a payload and returns the envelope: canonical JSON, exactly what is stored and logged.
#[must_use]
pub fn envelope(signer: &dyn Sign, payload: &[u8]) -> Vec<u8> {
    let signature = signer.sign(&pae(PAYLOAD_TYPE, payload));
    spell(&STANDARD.encode(payload), &signer.key_id(), &STANDARD.encode(signature)).into_bytes()
}

/// The one spelling of an envelope.
fn spell(payload: &str, key_id: &str, signature: &str) -> String {
    let quote = |text: &str| Value::from(text).to_string();
    let (payload, key_id, signature) = (quote(payload), quote(key_id), quote(signature));
    let payload_type = quote(PAYLOAD_TYPE);
    format!(
        r#"{{"payload":{payload},"payloadType":{payload_type},"signatures":[{{"keyid":{key_id},"sig":{signature}}}]}}"#
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<Signed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    keyid: String,
    sig: String,
}

/// Checks an envelope and returns its payload.
///
/// # Errors
/// When it is not exactly one of ours, its key is not trusted, or its signature does not fit.
pub fn open(envelope: &[u8], keys: &Keys) -> Result<Vec<u8>, Error> {
    Error::check_length("envelope", envelope.len(), ENVELOPE_BYTES_MAX)?;
    let refuse = |problem: &str| Error::Envelope(problem.to_owned());
    let parsed: Envelope =
        serde_json::from_slice(envelope).map_err(|e| Error::Envelope(e.to_string()))?;
    if parsed.payload_type != PAYLOAD_TYPE {
        return Err(refuse("its payload type is not application/vnd.in-toto+json"));
    }
    let [signed] = parsed.signatures.as_slice() else {
        return Err(refuse("it must hold exactly one signature"));
    };
    if spell(&parsed.payload, &signed.keyid, &signed.sig).as_bytes() != envelope {
        return Err(refuse("it is not written canonically"));
    }
    let decode = |text: &str| STANDARD.decode(text).map_err(|e| Error::Envelope(e.to_string()));
    let (payload, signature) = (decode(&parsed.payload)?, decode(&signed.sig)?);
    keys.get(&signed.keyid)?.check(&pae(PAYLOAD_TYPE, &payload), &signature)?;
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Signer;

    fn keys(signer: &Signer) -> Keys {
        [*signer.public()].into_iter().collect()
    }

    #[test]
    fn pae_vector_of_the_specification() {
        let encoded = pae("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn an_envelope_is_canonical_and_opens() {
        let signer = Signer::from_seed(&[1; 32]);
        let sealed = envelope(&signer, b"{}");
        let value: Value = serde_json::from_slice(&sealed).unwrap();
        assert_eq!(kernel::canon::bytes(&value).unwrap(), sealed);
        assert_eq!(value["signatures"][0]["keyid"], signer.key_id());
        assert_eq!(open(&sealed, &keys(&signer)).unwrap(), b"{}");
    }

    #[test]
    fn only_trusted_keys_count() {
        let (signer, other) = (Signer::from_seed(&[1; 32]), Signer::from_seed(&[2; 32]));
        let sealed = envelope(&other, b"{}");
        assert!(matches!(open(&sealed, &keys(&signer)), Err(Error::UnknownKey(_))));
        let claimed = String::from_utf8(sealed).unwrap().replace(&other.key_id(), &signer.key_id());
        let opened = open(claimed.as_bytes(), &keys(&signer));
        assert!(matches!(opened, Err(Error::BadSignature(_))), "{opened:?}");
    }

    #[test]
    fn every_other_spelling_is_refused() {
        let signer = Signer::from_seed(&[1; 32]);
        let text = String::from_utf8(envelope(&signer, b"{\"a\":1}")).unwrap();
        let signature = &text[text.find("[").unwrap() + 1..text.find("]").unwrap()];
        let spellings = [
            text.replace("\"payload\":", "\"payload\": "),
            format!("{text}\n"),
            text.replace("}]", "},{}]"),
            text.replace(signature, ""),
            text.replace(signature, &format!("{signature},{signature}")),
            text.replace("}]", ",\"extra\":1}]"),
            text.replace("vnd.in-toto+json", "json"),
            text.replace("==\"}", "\"}"),
            text.replace("eyJhIjoxfQ==", "eyJhIjoxfR=="),
            text.replace("eyJhIjoxfQ==", "eyJhIjoxfQ"),
        ];
        for spelling in spellings {
            assert_ne!(spelling, text);
            assert!(open(spelling.as_bytes(), &keys(&signer)).is_err(), "{spelling}");
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let signer = Signer::from_seed(&[1; 32]);
        let sealed = envelope(&signer, b"{\"a\":1}");
        // One bit of every byte, another each time.
        for bit in (0..sealed.len()).map(|byte| byte * 8 + byte % 8) {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&damaged, &keys(&signer)).is_err(), "bit {bit}");
        }
    }
}
