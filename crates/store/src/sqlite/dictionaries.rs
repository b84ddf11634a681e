//! Dictionaries that a store makes of its own texts. A third of a receipt's packed bytes are digests and
//! names that stand in every receipt of that store and in no other's: no dictionary made in advance knows
//! them.
//!
//! A dictionary is the frozen one with some of the store's own events and receipts behind it; values from
//! outside are never in there, they lie sealed elsewhere. It is committed before the first text that is
//! packed with it, and stays; when what is written changes (another pack, another policy), another one is
//! learned. Lessons come ever more seldom: each after twice as many bytes as the one before.

use std::{
    collections::VecDeque,
    sync::{
        Arc, LazyLock, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use kernel::id::Digest;
use rusqlite::{Connection, OptionalExtension};
use zstd::dict::{DecoderDictionary, EncoderDictionary};

use super::{Fault, packed};

/// Bytes of a store's own texts in one dictionary: a few turns of an agent with their receipts.
const OWN_BYTES_MAX: usize = 16 << 10;

/// Texts a lesson looks at.
const SAMPLES: usize = 48;

/// Longest text that is one of them.
const SAMPLE_BYTES_MAX: usize = 8 << 10;

/// A text is known already when less of it is left than this, in per cent of what the frozen dictionary leaves.
const KNOWN_PER_CENT: usize = 60;

/// What a lesson must leave of texts that it did not see, in per cent, for its dictionary to be kept.
const WORTH_PER_CENT: usize = 92;

/// Packed bytes before the first lesson; twice as many before each next one.
const LESSON_BYTES: u64 = 16 << 10;

/// Most dictionaries of one file.
const COUNT_MAX: u32 = 200;

/// Prepared dictionaries kept for reading, of all stores of this process.
const KNOWN_MAX: usize = 32;

/// A dictionary's name: the first bytes of the digest of its own texts.
pub(super) type Name = [u8; 6];

/// What a text is packed with.
pub(super) struct Dictionary {
    own: Vec<u8>,
    name: Name,
    encoder: OnceLock<Option<EncoderDictionary<'static>>>,
}

impl Dictionary {
    fn new(own: Vec<u8>) -> Self {
        Self { name: name_of(&own), own, encoder: OnceLock::new() }
    }

    /// About how many it adds to a file, at most.
    pub(super) fn bytes(&self) -> usize {
        self.own.len()
    }

    pub(super) fn name(&self) -> Name {
        self.name
    }

    /// Prepared at its first use.
    pub(super) fn encoder(&self) -> Option<&EncoderDictionary<'static>> {
        let prepare =
            || EncoderDictionary::try_copy(&packed::numberless(&self.own), packed::LEVEL).ok();
        self.encoder.get_or_init(prepare).as_ref()
    }
}

fn name_of(own: &[u8]) -> Name {
    let [a, b, c, d, e, f, ..] = Digest::of(own).0;
    [a, b, c, d, e, f]
}

/// Packs what a store writes, and learns from it.
pub(super) struct Dictionaries {
    current: RwLock<Option<Arc<Dictionary>>>,
    /// Packed since the last lesson.
    bytes: AtomicU64,
    /// How many there are to be before the next one.
    due: AtomicU64,
    /// Heard since then.
    samples: Mutex<Vec<Vec<u8>>>,
}

impl Default for Dictionaries {
    fn default() -> Self {
        Self::new(None)
    }
}

impl std::fmt::Debug for Dictionaries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dictionaries").finish_non_exhaustive()
    }
}

/// What a lesson is made of.
pub(super) struct Lesson {
    before: Option<Arc<Dictionary>>,
    samples: Vec<Vec<u8>>,
}

impl Dictionaries {
    /// As the file has them.
    pub(super) fn open(conn: &Connection) -> Result<Self, Fault> {
        let sql = "SELECT bytes FROM dictionaries ORDER BY n DESC LIMIT 1";
        let last: Option<Vec<u8>> = conn.query_row(sql, [], |row| row.get(0)).optional()?;
        let own = last.and_then(|packed| packed::unpack(&packed, |_| None));
        Ok(Self::new(own.map(|own| Arc::new(Dictionary::new(own)))))
    }

    fn new(current: Option<Arc<Dictionary>>) -> Self {
        let (bytes, due) = (AtomicU64::new(0), AtomicU64::new(LESSON_BYTES));
        Self { current: RwLock::new(current), bytes, due, samples: Mutex::default() }
    }

    /// The one to pack with; none = the frozen one alone.
    pub(super) fn current(&self) -> Option<Arc<Dictionary>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on texts are packed with it: it is in the file.
    pub(super) fn put_in_use(&self, dictionary: Arc<Dictionary>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(dictionary);
    }

    /// Hears of a text and of how many bytes were left of it.
    pub(super) fn hear(&self, plain: &[u8], packed: usize) {
        let bytes = self.bytes.fetch_add(packed as u64, Ordering::Relaxed);
        if bytes < self.due.load(Ordering::Relaxed) || plain.len() > SAMPLE_BYTES_MAX {
            return;
        }
        // Whoever would have to wait leaves it out: another text will do.
        if let Ok(mut samples) = self.samples.try_lock()
            && samples.len() < SAMPLES
        {
            samples.push(plain.to_vec());
        }
    }

    /// A lesson, when one is due.
    pub(super) fn lesson(&self) -> Option<Lesson> {
        let due = self.due.load(Ordering::Relaxed);
        if self.bytes.load(Ordering::Relaxed) < due {
            return None;
        }
        let mut samples = self.samples.try_lock().ok()?;
        if samples.len() < SAMPLES {
            return None;
        }
        self.due.store(due.saturating_mul(2), Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        Some(Lesson { before: self.current(), samples: std::mem::take(&mut *samples) })
    }
}

impl Lesson {
    /// The dictionary that knows what was heard; `None` when it would help too little. Takes some
    /// milliseconds.
    pub(super) fn learn(self) -> Option<Dictionary> {
        let frozen = Dictionary::new(Vec::new());
        // Half of it is for what changed.
        let mut own = self.before.as_ref().map(|before| before.own.clone()).unwrap_or_default();
        own.drain(..own.len().saturating_sub(OWN_BYTES_MAX / 2));
        // Every other one is learned from; the rest says what that was good for.
        for sample in self.samples.iter().step_by(2) {
            let left = packed::length_with(&Dictionary::new(own.clone()), sample)?;
            let is_news = left * 100 > packed::length_with(&frozen, sample)? * KNOWN_PER_CENT;
            if is_news && own.len() + sample.len() <= OWN_BYTES_MAX {
                own.extend_from_slice(sample);
            }
        }
        let learned = Dictionary::new(own);
        let before = self.before.as_deref().unwrap_or(&frozen);
        let unseen = || self.samples.iter().skip(1).step_by(2);
        let length = |with: &Dictionary| -> Option<usize> {
            unseen().map(|sample| packed::length_with(with, sample)).sum()
        };
        let (then, now) = (length(before)?, length(&learned)?);
        (now * 100 <= then * WORTH_PER_CENT).then_some(learned)
    }
}

/// Puts a dictionary into the file; whether it is there now.
pub(super) fn keep(conn: &Connection, dictionary: &Dictionary) -> Result<bool, Fault> {
    let count: u32 = conn.query_row("SELECT count(*) FROM dictionaries", [], |row| row.get(0))?;
    if count >= COUNT_MAX {
        return Ok(false);
    }
    conn.prepare_cached("INSERT OR IGNORE INTO dictionaries (name, bytes) VALUES (?1, ?2)")?
        .execute((dictionary.name, packed::pack(&dictionary.own)))?;
    Ok(true)
}

/// A text of a file, see [`packed::unpack`].
pub(super) fn unpack(conn: &Connection, packed: &[u8]) -> Option<Vec<u8>> {
    packed::unpack(packed, |name| find(conn, name))
}

fn find(conn: &Connection, name: &[u8]) -> Option<Vec<u8>> {
    let mut found = conn.prepare_cached("SELECT bytes FROM dictionaries WHERE name = ?1").ok()?;
    let packed: Vec<u8> = found.query_row([name], |row| row.get(0)).ok()?;
    packed::unpack(&packed, |_| None)
}

type Known = VecDeque<(Name, Arc<DecoderDictionary<'static>>)>;

/// By name, and the name is of the content: which file it was read from makes no difference.
static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

/// What undoes a dictionary's packing; `find` is asked for its own texts unless they are known.
pub(super) fn decoder(
    name: Name,
    find: impl FnOnce(&[u8]) -> Option<Vec<u8>>,
) -> Option<Arc<DecoderDictionary<'static>>> {
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let hit = known().iter().find(|(known, _)| *known == name).map(|(_, found)| found.clone());
    if hit.is_some() {
        return hit;
    }
    let own = find(&name).filter(|own| name_of(own) == name)?;
    let decoder = Arc::new(DecoderDictionary::try_copy(&packed::numberless(&own)).ok()?);
    let mut known = known();
    known.push_back((name, Arc::clone(&decoder)));
    if known.len() > KNOWN_MAX {
        known.pop_front();
    }
    Some(decoder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(n: usize, of: &str) -> Vec<u8> {
        let digest = |what: &str| Digest::of(format!("{of}/{what}").as_bytes());
        let own = Digest::of(format!("{of}/{n}").as_bytes());
        format!(
            r#"{{"plan":"{}","policy":"{}","pack":"{}","config":"{}","receipt":"{own}"}}"#,
            digest("plan"),
            digest("policy"),
            digest("pack"),
            digest("config"),
        )
        .into_bytes()
    }

    fn hear(dictionaries: &Dictionaries, of: &str, count: usize) {
        for n in 0..count {
            let text = text(n, of);
            let packed = match dictionaries.current() {
                Some(current) => packed::length_with(&current, &text).unwrap(),
                None => packed::pack(&text).len(),
            };
            dictionaries.hear(&text, packed);
        }
    }

    #[test]
    fn what_stands_in_every_text_of_a_store_is_learned() {
        let dictionaries = Dictionaries::default();
        hear(&dictionaries, "a", SAMPLES - 1);
        assert!(dictionaries.lesson().is_none(), "not yet");
        hear(&dictionaries, "a", 200);
        let learned = dictionaries.lesson().unwrap().learn().unwrap();
        let unseen = text(1_000, "a");
        let (now, before) =
            (packed::length_with(&learned, &unseen).unwrap(), packed::pack(&unseen));
        assert!(now * 2 < before.len(), "{now} of {}", before.len());
        assert!(learned.own.len() < 2_000, "one text says it all: {}", learned.own.len());
    }

    #[test]
    fn what_no_dictionary_helps_is_not_learned_and_asked_ever_more_seldom() {
        let dictionaries = Dictionaries::default();
        let mut heard = Vec::new();
        for n in 0..20_000_usize {
            let noise: Vec<u8> = (0..10_usize)
                .flat_map(|part| Digest::of(format!("{n}/{part}").as_bytes()).hex().into_bytes())
                .collect();
            dictionaries.hear(&noise, noise.len() / 2);
            if let Some(lesson) = dictionaries.lesson() {
                assert!(lesson.learn().is_none());
                heard.push(n);
            }
        }
        assert!((5..=9).contains(&heard.len()), "{heard:?}");
    }

    #[test]
    fn a_dictionary_holds_no_more_than_it_may() {
        let dictionaries = Dictionaries::default();
        let mut sizes = Vec::new();
        for of in 0..400 {
            hear(&dictionaries, &of.to_string(), SAMPLES);
            if let Some(learned) = dictionaries.lesson().and_then(Lesson::learn) {
                sizes.push(learned.own.len());
                dictionaries.put_in_use(Arc::new(learned));
            }
        }
        assert!(sizes.len() > 2 && sizes.iter().all(|size| *size <= OWN_BYTES_MAX), "{sizes:?}");
    }
}
