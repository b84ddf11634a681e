//! Where shapes may begin.
//!
//! Most shapes are solid: a beginning, and then many characters of a key, all of them of one set of bytes. Only where so
//! many of these stand together it is looked whether one begins. The others begin with a word, whose rarest part is looked
//! for in the text written small.

use std::sync::LazyLock;

use aho_corasick::packed::{Config, Searcher};

use super::{
    super::runs::{Bytes, Runs},
    Look, Part, SHAPES, Shape, alnum,
};

/// The fewest bytes of a shape that counts as solid: what is shorter often stands in other texts.
const SOLID_BYTES_MIN: usize = 20;

/// What solid shapes are written with.
fn solid(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~+/=".contains(&byte)
}

/// Parts of the beginnings of other shapes, written small. No one is the beginning of another one.
const ANCHORS: [&str; 8] = ["secret", "pass", "token", "key", "://", "begin ", "bearer ", "basic "];

/// How much of a text is written small at once, in bytes: what a processor keeps at hand.
const SMALL_BYTES: usize = 16 * 1024;

/// The beginning of a shape, somewhere in a text.
#[derive(Clone, Copy)]
pub(super) struct Begun {
    pub(super) shape: &'static Shape,
    pub(super) start: &'static str,
    /// Where it stands.
    pub(super) from: usize,
    /// Where what follows it stands.
    pub(super) behind: usize,
}

/// How a shape begins.
#[derive(Clone, Copy)]
struct Start {
    shape: &'static Shape,
    text: &'static str,
}

impl Start {
    /// Whether it stands there, however it is written.
    fn at(self, text: &[u8], from: usize) -> Option<Begun> {
        let behind = from.checked_add(self.text.len())?;
        let is_there = text.get(from..behind)?.eq_ignore_ascii_case(self.text.as_bytes());
        is_there.then_some(Begun { shape: self.shape, start: self.text, from, behind })
    }

    fn is_solid(self) -> bool {
        let runs: &[Part] = match self.shape.look {
            Look::Parts(parts) => parts,
            Look::Random(set, min) => &[Part::Run(set, min, min)],
            Look::Pem | Look::Address | Look::Header | Look::Named => return false,
        };
        let mut least = self.text.len();
        let mut is_solid = self.text.bytes().all(solid);
        for part in runs {
            match part {
                Part::Run(set, min, _) => {
                    least = least.saturating_add(*min);
                    is_solid &= (0..=u8::MAX).all(|byte| !set(byte) || solid(byte));
                }
                Part::Text(text) => {
                    least = least.saturating_add(text.len());
                    is_solid &= text.bytes().all(solid);
                }
            }
        }
        is_solid && least >= SOLID_BYTES_MIN
    }
}

/// How all shapes begin.
pub(super) struct Starts {
    all: Vec<Start>,
    solid: Bytes,
    /// What stands between words.
    apart: Bytes,
    /// The beginnings of solid shapes, by their first byte.
    solids: Vec<Vec<Start>>,
    /// Finds anchors.
    finder: Option<Searcher>,
    /// For each anchor the beginnings that have it, and where in them it stands.
    anchored: Vec<Vec<(Start, usize)>>,
}

pub(super) static STARTS: LazyLock<Starts> = LazyLock::new(Starts::new);

impl Starts {
    fn new() -> Self {
        let starts = |shape: &'static Shape| {
            shape.starts.iter().map(move |text| Start { shape, text }).collect::<Vec<_>>()
        };
        let all: Vec<Start> = SHAPES.iter().flat_map(starts).collect();
        let (solids, others): (Vec<Start>, Vec<Start>) =
            all.iter().partition(|start| start.is_solid());
        let begins = |start: &Start, byte| start.text.bytes().next() == Some(byte);
        let of_byte =
            |byte| solids.iter().filter(|start| begins(start, byte)).copied().collect::<Vec<_>>();
        let mut anchors: Vec<String> = ANCHORS.map(str::to_owned).into();
        let mut anchored: Vec<Vec<(Start, usize)>> = vec![Vec::new(); anchors.len()];
        for start in others {
            let small = start.text.to_ascii_lowercase();
            let known = anchors.iter().enumerate();
            let found = known.filter_map(|(n, anchor)| small.find(anchor).map(|at| (n, at))).next();
            match found.and_then(|(n, at)| Some((anchored.get_mut(n)?, at))) {
                Some((starts, at)) => starts.push((start, at)),
                None => {
                    anchors.push(small);
                    anchored.push(vec![(start, 0)]);
                }
            }
        }
        let build = |config: &mut Config| config.builder().extend(&anchors).build();
        let finder =
            build(&mut Config::new()).or_else(|| build(Config::new().only_rabin_karp(true)));
        Self {
            solids: (0..=u8::MAX).map(of_byte).collect(),
            solid: Bytes::of(solid),
            apart: Bytes::of(|byte| !alnum(byte)),
            all,
            finder,
            anchored,
        }
    }

    /// Where shapes begin in a text, in the order of where their beginnings end.
    pub(super) fn begun(&self, text: &[u8]) -> Vec<Begun> {
        let Some(finder) = &self.finder else { return self.begun_slowly(text) };
        let mut begun = Vec::new();
        self.begun_solid(text, &mut begun);
        self.begun_anchored(finder, text, &mut begun);
        begun.sort_by_key(|begun| (begun.behind, begun.from));
        begun
    }

    /// The same, looked for everywhere.
    pub(super) fn begun_slowly(&self, text: &[u8]) -> Vec<Begun> {
        let here = |from| self.all.iter().filter_map(move |start| start.at(text, from));
        let mut begun: Vec<Begun> = (0..text.len()).flat_map(here).collect();
        begun.sort_by_key(|begun| (begun.behind, begun.from));
        begun
    }

    fn begun_solid(&self, text: &[u8], begun: &mut Vec<Begun>) {
        for run in Runs::new(text, &self.solid, SOLID_BYTES_MIN) {
            let mut rest = text.get(run.clone()).unwrap_or_default();
            while rest.len() >= SOLID_BYTES_MIN {
                let first = rest.first().and_then(|byte| self.solids.get(usize::from(*byte)));
                let written = |start: &&Start| rest.starts_with(start.text.as_bytes());
                for start in first.into_iter().flatten().filter(written) {
                    begun.extend(start.at(text, run.end.saturating_sub(rest.len())));
                }
                // None begins within a word.
                let Some(apart) = rest.iter().position(|byte| self.apart.has(*byte)) else { break };
                rest = rest.get(apart.saturating_add(1)..).unwrap_or_default();
            }
        }
    }

    fn begun_anchored(&self, finder: &Searcher, text: &[u8], begun: &mut Vec<Begun>) {
        let longest = SHAPES.iter().flat_map(|shape| shape.starts).map(|start| start.len()).max();
        let both = SMALL_BYTES.saturating_add(longest.unwrap_or(0));
        let mut small = Vec::with_capacity(both);
        for begin in (0..text.len()).step_by(SMALL_BYTES) {
            let end = text.len().min(begin.saturating_add(both));
            small.clear();
            small.extend_from_slice(text.get(begin..end).unwrap_or_default());
            small.make_ascii_lowercase();
            let mut at = 0;
            while let Some(found) = finder.find_in(&small, (at..small.len()).into()) {
                // What begins further on is found with the next piece.
                if found.start() >= SMALL_BYTES {
                    break;
                }
                at = found.start().saturating_add(1);
                let place = begin.saturating_add(found.start());
                let starts = self.anchored.get(found.pattern().as_usize());
                for (start, within) in starts.into_iter().flatten() {
                    begun.extend(place.checked_sub(*within).and_then(|at| start.at(text, at)));
                }
            }
        }
    }
}
