//! How texts lie in the file: short JSON that resembles what was stored before, compressed with a
//! dictionary of it. What comes back is what went in, byte for byte; the first byte says how it lies.
//!
//! Envelopes hold their payload in base64, which hides it from any compression: it is taken out of it
//! first, where putting it back gives the same envelope. Events of one batch follow each other, so all but
//! the first come without the hash of the one before.
//!
//! The first dictionary is frozen as a schema is: `examples/dictionary.rs` says how it was made. Events and
//! receipts are packed with one that the store made of its own ones as soon as it did ([`Dictionaries`]);
//! values from outside, which lie encrypted, with the first alone.

use std::{cell::RefCell, sync::LazyLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kernel::{event::Record, id::Digest, port::JournalError};
use zstd::{
    dict::{DecoderDictionary, EncoderDictionary},
    zstd_safe::{CCtx, DCtx, compress_bound, get_frame_content_size},
};

use crate::BLOB_BYTES_MAX;

use super::dictionaries::{self, Dictionaries, Dictionary, Name};

/// As it is.
const PLAIN: u8 = 0;

/// Zstandard with the first dictionary.
const ZSTD: u8 = 1;

/// The same, of an envelope whose payload is not in base64.
const ENVELOPE: u8 = 2;

/// Zstandard of lines that are events, all but the first without their `prev_hash`.
const CHAIN: u8 = 3;

/// Added to one of the above: with the dictionary whose name follows.
const OWN: u8 = 0x80;

/// More effort makes texts this short no shorter where a store's own dictionary knows them, and takes twice as
/// long.
pub(super) const LEVEL: i32 = 1;

/// Where nothing knows them, as values from outside, it makes them a twelfth shorter.
const FROZEN_LEVEL: i32 = 3;

/// Largest text that is compressed, and that is made of a compressed one.
const BYTES_MAX: usize = BLOB_BYTES_MAX;

pub(super) static DICTIONARY: &[u8] = include_bytes!("dictionary/1.zdict");

static ENCODER: LazyLock<EncoderDictionary<'static>> =
    LazyLock::new(|| EncoderDictionary::copy(&numberless(&[]), FROZEN_LEVEL));

static DECODER: LazyLock<DecoderDictionary<'static>> =
    LazyLock::new(|| DecoderDictionary::copy(DICTIONARY));

/// The first dictionary with texts behind it and no number of its own, which would stand in every frame:
/// the first byte says which dictionary it is.
pub(super) fn numberless(own: &[u8]) -> Vec<u8> {
    let mut whole = [DICTIONARY, own].concat();
    // After the four bytes that say what it is: Zstandard's format, section "Dictionary Format".
    if let Some(number) = whole.get_mut(4..8) {
        number.fill(0);
    }
    whole
}

thread_local! {
    static COMPRESSOR: RefCell<Option<CCtx<'static>>> = RefCell::new(CCtx::try_create());
    static DECOMPRESSOR: RefCell<Option<DCtx<'static>>> = RefCell::new(DCtx::try_create());
}

/// A text as it is stored; as it is where it would not get shorter.
pub(super) fn pack(plain: &[u8]) -> Vec<u8> {
    compress(ZSTD, plain, None).unwrap_or_else(|| tagged(&[PLAIN], plain))
}

/// The text of a column `events` (one event a line) or `envelope` of a database file, for those who look
/// into one without a store. `dictionary` is asked for the column `bytes` of the table `dictionaries` where
/// `name` is what it is given, unpacked by this function too. `None` when no store packed these bytes.
/// Nothing of it is verified.
#[must_use]
pub fn unpack(packed: &[u8], dictionary: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let (&tag, rest) = packed.split_first()?;
    if tag == PLAIN {
        return Some(rest.to_vec());
    }
    let plain = if tag & OWN == 0 {
        decompress(rest, &DECODER)?
    } else {
        let (name, frame) = rest.split_first_chunk::<{ size_of::<Name>() }>()?;
        decompress(frame, &*dictionaries::decoder(*name, dictionary)?)?
    };
    match tag & !OWN {
        ZSTD => Some(plain),
        ENVELOPE => join(&plain),
        CHAIN => chain(&plain),
        _ => None,
    }
}

/// Events that follow each other, one a line: canonical JSON holds no line's end.
pub(super) fn pack_events(
    records: &[Record],
    dictionaries: &Dictionaries,
) -> Result<Vec<u8>, JournalError> {
    if records.iter().any(|record| record.bytes.contains(&b'\n')) {
        return Err(JournalError::Medium("an event with a line's end in it".to_owned()));
    }
    let chained = unchain(records).and_then(|lines| pack_and_tell(CHAIN, &lines, dictionaries));
    let whole = || {
        let lines: Vec<&[u8]> = records.iter().map(|record| record.bytes.as_slice()).collect();
        pack(&lines.join(&b'\n'))
    };
    Ok(chained.unwrap_or_else(whole))
}

/// What stands before the hash of the event before: the last time in an event, because after it only the
/// run, the number and the version come.
const PREV: &[u8] = br#""prev_hash":""#;

/// The lines of events without the hash of the one before, but for the first; `None` where [`chain`] would
/// not give them back.
fn unchain(records: &[Record]) -> Option<Vec<u8>> {
    let mut lines = Vec::new();
    for pair in std::iter::once(None).chain(records.iter().map(Some)).zip(records) {
        match pair {
            (None, first) => lines.extend_from_slice(&first.bytes),
            (Some(before), record) => {
                let (head, rest) = record.bytes.split_at_checked(prev_at(&record.bytes)?)?;
                lines.push(b'\n');
                lines.extend_from_slice(head);
                lines.extend_from_slice(rest.strip_prefix(before.hash.ascii().as_slice())?);
            }
        }
    }
    Some(lines)
}

/// The events of [`unchain`].
fn chain(lines: &[u8]) -> Option<Vec<u8>> {
    let mut events = Vec::with_capacity(lines.len() * 2);
    let mut before = None;
    for line in lines.split(|byte| *byte == b'\n') {
        let start = match before {
            None => 0,
            Some(hash) => {
                let (head, rest) = line.split_at_checked(prev_at(line)?)?;
                events.push(b'\n');
                let start = events.len();
                events.extend_from_slice(head);
                events.extend_from_slice(&Digest::ascii(hash));
                events.extend_from_slice(rest);
                start
            }
        };
        if before.is_none() {
            events.extend_from_slice(line);
        }
        before = Some(Digest::of(events.get(start..)?));
    }
    Some(events)
}

/// Where the hash of the event before begins.
fn prev_at(event: &[u8]) -> Option<usize> {
    let found = event.windows(PREV.len()).rposition(|window| window == PREV)?;
    Some(found + PREV.len())
}

/// An envelope as it is stored.
pub(super) fn pack_envelope(envelope: &[u8], dictionaries: &Dictionaries) -> Vec<u8> {
    let split = split(envelope).and_then(|parts| pack_and_tell(ENVELOPE, &parts, dictionaries));
    split.unwrap_or_else(|| pack(envelope))
}

fn tagged(tag: &[u8], bytes: &[u8]) -> Vec<u8> {
    [tag, bytes].concat()
}

/// Packs with what the store learned, and tells it of this text, so that it learns from it.
fn pack_and_tell(tag: u8, plain: &[u8], dictionaries: &Dictionaries) -> Option<Vec<u8>> {
    let packed = compress(tag, plain, dictionaries.current().as_deref())?;
    dictionaries.hear(plain, packed.len());
    Some(packed)
}

fn compress(tag: u8, plain: &[u8], dictionary: Option<&Dictionary>) -> Option<Vec<u8>> {
    let own = dictionary.and_then(|own| Some((own, own.encoder()?)));
    let frame = frame(plain, own.map_or(&ENCODER, |(_, encoder)| encoder))?;
    if frame.len() >= plain.len() {
        return None;
    }
    Some(match own {
        None => tagged(&[tag], &frame),
        Some((own, _)) => [&[tag | OWN], own.name().as_slice(), &frame].concat(),
    })
}

/// How long a text would be.
pub(super) fn length_with(dictionary: &Dictionary, plain: &[u8]) -> Option<usize> {
    Some(frame(plain, dictionary.encoder()?)?.len())
}

fn frame(plain: &[u8], with: &EncoderDictionary<'static>) -> Option<Vec<u8>> {
    if plain.len() > BYTES_MAX {
        return None;
    }
    let mut frame = Vec::with_capacity(compress_bound(plain.len()));
    COMPRESSOR.with_borrow_mut(|compressor| {
        let compressor = compressor.as_mut()?;
        compressor.compress_using_cdict(&mut frame, plain, with.as_cdict()).ok()
    })?;
    Some(frame)
}

/// Zstandard takes no frame at all for an empty text; here it is damage, as is one that does not say how
/// long its text is.
fn decompress(frame: &[u8], with: &DecoderDictionary<'static>) -> Option<Vec<u8>> {
    if frame.is_empty() {
        return None;
    }
    let length = usize::try_from(get_frame_content_size(frame).ok()??).ok()?;
    let mut plain = Vec::with_capacity(Some(length).filter(|length| *length <= BYTES_MAX)?);
    DECOMPRESSOR.with_borrow_mut(|decompressor| {
        let decompressor = decompressor.as_mut()?;
        decompressor.decompress_using_ddict(&mut plain, frame, with.as_ddict()).ok()
    })?;
    Some(plain)
}

/// What stands before an envelope's payload.
const BEFORE: &[u8] = br#"{"payload":""#;

/// The payload's length, the payload, and what follows it; `None` where this would not give the envelope
/// back.
fn split(envelope: &[u8]) -> Option<Vec<u8>> {
    let rest = envelope.strip_prefix(BEFORE)?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    let (text, after) = rest.split_at_checked(end)?;
    let payload = STANDARD.decode(text).ok()?;
    let mut parts = Vec::with_capacity(4 + payload.len() + after.len());
    parts.extend_from_slice(&u32::try_from(payload.len()).ok()?.to_be_bytes());
    parts.extend_from_slice(&payload);
    parts.extend_from_slice(after);
    (STANDARD.encode(&payload).as_bytes() == text).then_some(parts)
}

/// The envelope of [`split`].
fn join(parts: &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = parts.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (payload, after) = rest.split_at_checked(length)?;
    Some([BEFORE, STANDARD.encode(payload).as_bytes(), after].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Dictionaries {
        Dictionaries::default()
    }

    fn unpacked(packed: &[u8]) -> Option<Vec<u8>> {
        unpack(packed, |_| None)
    }

    const EVENT: &[u8] = br#"{"at":1,"body":{"kind":"ticked"},"prev_hash":"sha256:00"}"#;

    #[test]
    fn what_comes_back_is_what_went_in() {
        let long = vec![b'x'; 1 << 20];
        let noise: Vec<u8> = (0..=255_u8).cycle().take(999).map(|n| n.wrapping_mul(167)).collect();
        for plain in [EVENT, b"", b"[", &long, &noise] {
            assert_eq!(unpacked(&pack(plain)).as_deref(), Some(plain));
            assert_eq!(unpacked(&pack_envelope(plain, &none())).as_deref(), Some(plain));
        }
        assert!(pack(&long).len() < 200, "a text that repeats gets short");
    }

    #[test]
    fn an_envelope_is_compressed_by_what_its_payload_says() {
        let payload = STANDARD.encode(EVENT.repeat(20));
        let envelope = format!(r#"{{"payload":"{payload}","payloadType":"t","signatures":[]}}"#);
        let packed = pack_envelope(envelope.as_bytes(), &none());
        assert_eq!(unpacked(&packed).unwrap(), envelope.as_bytes());
        assert!(packed.len() < 200, "{}", packed.len());
        // Another spelling of the same payload has to stay the other spelling.
        for odd in [r#"{"payload":"YR==","x":1}"#, r#"{"payload":"YQ","x":1}"#, r#"{"payload":"#] {
            assert_eq!(unpacked(&pack_envelope(odd.as_bytes(), &none())).unwrap(), odd.as_bytes());
        }
    }

    #[test]
    fn what_was_never_packed_is_refused() {
        let packed = pack(EVENT);
        let half = packed.split_at(packed.len() / 2).0;
        let wrong: [&[u8]; 6] = [b"", &[3, 1, 2], &[ZSTD], &[ZSTD, 40, 181], half, &[ENVELOPE, 0]];
        for wrong in wrong {
            assert_eq!(unpacked(wrong), None, "{wrong:?}");
        }
        let short = compress(ENVELOPE, &[0xff; 40], None).unwrap();
        assert_eq!(unpacked(&short), None, "a payload longer than all of it");
    }

    fn record(seq: u64, before: Digest) -> Record {
        let run = kernel::RunId::of_intent(&Default::default(), "test", "packed");
        let body = kernel::event::Body::Claimed { epoch: seq };
        let event = kernel::event::Event { v: 1, run, seq, at: 1, prev_hash: before, body };
        Record::new(event).unwrap()
    }

    #[test]
    fn events_come_back_with_the_hashes_that_were_left_out() {
        let first = record(0, Digest::default());
        let second = record(1, first.hash);
        let third = record(2, second.hash);
        let text = |records: &[&Record]| {
            records.iter().map(|r| r.bytes.as_slice()).collect::<Vec<_>>().join(&b'\n')
        };
        let packed = pack_events(&[first.clone(), second.clone(), third.clone()], &none()).unwrap();
        assert_eq!(packed.first(), Some(&CHAIN));
        assert_eq!(unpacked(&packed).unwrap(), text(&[&first, &second, &third]));
        // What does not follow comes back as it is, for others to refuse.
        let packed = pack_events(&[first.clone(), third.clone()], &none()).unwrap();
        assert_eq!(packed.first(), Some(&ZSTD));
        assert_eq!(unpacked(&packed).unwrap(), text(&[&first, &third]));
        assert_eq!(unpacked(&pack_events(&[], &none()).unwrap()).unwrap(), b"");
    }

    #[test]
    fn an_event_that_is_two_lines_is_refused() {
        let mut odd = record(0, Digest::default());
        odd.bytes.push(b'\n');
        assert!(pack_events(&[odd], &none()).is_err());
    }
}
