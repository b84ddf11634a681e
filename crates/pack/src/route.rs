//! Which intent a request asks for: deterministic, explained, and a tie asks instead of guessing.
//!
//! A request that names its intent is served by it. Otherwise each intent is scored by how well its
//! declared phrases and the request cover each other: words and word pairs, weighted by how few
//! intents declare them (all in integers, so that every machine agrees), with a little for
//! identifiers in the text that fit its inputs, and more for those that only its inputs fit. Inputs that an intent refuses rule it out. One word
//! alone, a word that turns the request around, a question where the intent declares no such question,
//! or a second intent whose trigger stands in it too: all these ask.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kernel::{exception::Class, port::Validate};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    load::Pack,
    problem::nearest,
    schema::Schemas,
    tokens::{Features, features},
};

/// Least score, of 1000, at which an intent is chosen.
pub(crate) const SCORE_MIN: u32 = 520;

/// Least lead, of 1000, over the next intent.
pub(crate) const MARGIN_MIN: u32 = 130;

/// Least score, of 1000, at which an intent is offered.
pub(crate) const OFFER_MIN: u32 = 330;

/// Most candidates named in an answer.
pub(crate) const CANDIDATES_MAX: usize = 5;

/// Weight of a word that only one intent declares, with one intent.
const WEIGHT: u64 = 1_000;

/// What somebody asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// In their own words.
    pub text: Option<String>,
    /// By name: `intent`, or `pack/intent`.
    pub intent: Option<String>,
    /// Inputs, where they are known already.
    pub inputs: Option<Value>,
}

/// One intent that may be meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// Pack name.
    pub pack: String,
    /// Intent name.
    pub intent: String,
    /// What a person reads.
    pub title: String,
    /// Of 1000.
    pub score: u32,
    /// Why: the phrases and inputs that spoke for it.
    pub why: Vec<String>,
}

/// The answer of the router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "routed")]
pub enum Routed {
    /// This one.
    One(Candidate),
    /// One of these: ask which.
    Tie {
        /// Best first.
        candidates: Vec<Candidate>,
    },
    /// None of them.
    None {
        /// The least bad, best first.
        nearest: Vec<Candidate>,
    },
}

/// A declared phrase, ready to compare.
#[derive(Debug)]
struct Phrase {
    text: String,
    sort: Sort,
    features: Features,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    /// A few words; the request may hold many more.
    Trigger,
    /// A whole request; much more in the request makes it another one.
    Example,
}

/// Whether a request means what its words name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sense {
    AsSaid,
    /// It may ask for the opposite, for two things, or for anything.
    Unsure,
}

#[derive(Debug)]
struct Target {
    pack: String,
    intent: String,
    title: String,
    input: Arc<Value>,
    phrases: Vec<Phrase>,
    vocabulary: BTreeSet<String>,
}

/// Routes requests to the intents of installed packs.
#[derive(Debug, Default)]
pub struct Router {
    targets: Vec<Target>,
    /// How many intents declare a word or pair.
    spread: BTreeMap<String, u64>,
    schemas: Schemas,
}

impl Router {
    /// A router over the intents of these packs.
    #[must_use]
    pub fn new<'p>(packs: impl IntoIterator<Item = &'p Pack>) -> Self {
        let mut targets: Vec<Target> = Vec::new();
        for pack in packs {
            for intent in pack.intents.values() {
                let phrase = |sort: Sort| {
                    move |text: &String| Phrase {
                        text: text.clone(),
                        sort,
                        features: features(text),
                    }
                };
                let triggers = intent.triggers.iter().map(phrase(Sort::Trigger));
                let phrases: Vec<Phrase> =
                    triggers.chain(intent.examples.iter().map(phrase(Sort::Example))).collect();
                let vocabulary =
                    phrases.iter().flat_map(|phrase| all(&phrase.features)).cloned().collect();
                targets.push(Target {
                    pack: pack.manifest.name.clone(),
                    intent: intent.name.clone(),
                    title: intent.title.clone(),
                    input: Arc::clone(&intent.input),
                    phrases,
                    vocabulary,
                });
            }
        }
        targets.sort_by(|a, b| (&a.pack, &a.intent).cmp(&(&b.pack, &b.intent)));
        let mut spread = BTreeMap::new();
        for word in targets.iter().flat_map(|target| &target.vocabulary) {
            *spread.entry(word.clone()).or_insert(0) += 1;
        }
        Self { targets, spread, schemas: Schemas::new() }
    }

    /// Finds the intent that is asked for.
    #[must_use]
    pub fn route(&self, request: &Request) -> Routed {
        if let Some(name) = &request.intent {
            return self.by_name(name);
        }
        let text = request.text.as_deref().unwrap_or_default();
        let named = text.trim();
        if self.targets.iter().any(|target| target.is_named(named)) {
            return self.by_name(named);
        }
        let asked = features(text);
        let mut candidates: Vec<Candidate> =
            self.targets.iter().filter_map(|target| self.judge(target, &asked, request)).collect();
        candidates
            .sort_by(|a, b| (b.score, &a.pack, &a.intent).cmp(&(a.score, &b.pack, &b.intent)));
        candidates.truncate(CANDIDATES_MAX);
        let sense = candidates.first().map_or(Sense::AsSaid, |best| self.sense(&asked, best));
        decide(candidates, sense)
    }

    fn by_name(&self, name: &str) -> Routed {
        let mut found: Vec<Candidate> = self
            .targets
            .iter()
            .filter(|target| target.is_named(name))
            .map(|target| target.candidate(1_000, vec!["named explicitly".to_owned()]))
            .collect();
        match (found.len(), found.pop()) {
            (1, Some(one)) => Routed::One(one),
            (0, _) | (_, None) => {
                let near = nearest(name, self.targets.iter().map(|target| target.intent.as_str()));
                let near =
                    self.targets.iter().filter(|target| Some(target.intent.as_str()) == near);
                let why = || vec!["its name is the nearest".to_owned()];
                Routed::None { nearest: near.map(|target| target.candidate(0, why())).collect() }
            }
            (_, Some(last)) => {
                found.push(last);
                found.truncate(CANDIDATES_MAX);
                Routed::Tie { candidates: found }
            }
        }
    }

    /// Whether the request says one thing, plainly.
    fn sense(&self, asked: &Features, best: &Candidate) -> Sense {
        let phrases = || self.targets.iter().flat_map(|target| &target.phrases);
        let declared =
            |word: &String| phrases().any(|phrase| phrase.features.negations.contains(word));
        if !asked.negations.iter().all(declared) {
            return Sense::Unsure;
        }
        let Some(target) = self.targets.iter().find(|target| target.is(best)) else {
            return Sense::Unsure;
        };
        let opens = |phrase: &Phrase| phrase.features.opening == asked.opening;
        if asked.opening.is_some() && !target.phrases.iter().any(opens) {
            return Sense::Unsure;
        }
        let told = asked.words.iter().filter(|word| target.vocabulary.contains(*word)).count();
        let codes = self.fitting_inputs(target, asked).len();
        if !asked.words.is_empty() && told + codes < 2 {
            return Sense::Unsure;
        }
        let others = self.targets.iter().filter(|other| !other.is(best));
        let rival = others.flat_map(|other| &other.phrases).any(|phrase| {
            let words = &phrase.features.words;
            phrase.sort == Sort::Trigger
                && !words.is_empty()
                && words.is_subset(&asked.words)
                && phrase.features.pairs.is_subset(&asked.pairs)
                && !words.is_subset(&target.vocabulary)
        });
        if rival { Sense::Unsure } else { Sense::AsSaid }
    }

    fn judge(&self, target: &Target, asked: &Features, request: &Request) -> Option<Candidate> {
        let (mut score, mut why) = self.compare(target, asked);
        if let Some(inputs) = &request.inputs {
            match self.schemas.violation(&target.input, inputs) {
                None => {
                    score =
                        if request.text.is_none() { SCORE_MIN } else { score.saturating_add(100) };
                    why.push("the inputs fit".to_owned());
                }
                Some(violation) if violation.class == Class::MissingField => {}
                Some(_) => return None,
            }
        }
        if score > 0 && request.inputs.is_none() {
            let fitting = self.fitting_inputs(target, asked);
            // An identifier that only this intent takes says which one is meant.
            let alone = |name: &String| !self.others_take(target, name, asked);
            let bonus: u32 =
                fitting.iter().take(2).map(|name| if alone(name) { 150 } else { 30 }).sum();
            score = score.saturating_add(bonus);
            why.extend(
                fitting.into_iter().map(|name| format!("the text holds a value for `{name}`")),
            );
        }
        (score > 0).then(|| target.candidate(score.min(1_000), why))
    }

    /// The best phrase against the request, and how much of the request the intent's own words cover.
    fn compare(&self, target: &Target, asked: &Features) -> (u32, Vec<String>) {
        let mut best: Vec<(u64, &Phrase)> = target
            .phrases
            .iter()
            .map(|phrase| (self.similarity(asked, phrase), phrase))
            .filter(|(score, _)| *score > 0)
            .collect();
        best.sort_by(|a, b| (b.0, &a.1.text).cmp(&(a.0, &b.1.text)));
        let Some((top, _)) = best.first() else { return (0, Vec::new()) };
        let known = asked.words.iter().filter(|word| target.vocabulary.contains(*word));
        let pooled = share(self.weigh(known), self.weigh(asked.words.iter()));
        let score = (top * 65 + pooled * 35) / 100;
        let why =
            best.iter().take(2).map(|(_, phrase)| format!("matches `{}`", phrase.text)).collect();
        (u32::try_from(score).unwrap_or(1_000), why)
    }

    /// How well a request and a phrase cover each other, of 1000.
    fn similarity(&self, asked: &Features, phrase: &Phrase) -> u64 {
        let common = |a: &BTreeSet<String>, b: &BTreeSet<String>| self.weigh(a.intersection(b));
        let words = common(&asked.words, &phrase.features.words);
        let pairs = common(&asked.pairs, &phrase.features.pairs) / 2;
        let of_phrase =
            self.weigh(phrase.features.words.iter()) + self.weigh(phrase.features.pairs.iter()) / 2;
        let of_asked = self.weigh(asked.words.iter()) + self.weigh(asked.pairs.iter()) / 2;
        let covers_phrase = share(words + pairs, of_phrase);
        let covers_asked = share(words + pairs, of_asked);
        match phrase.sort {
            Sort::Trigger => {
                covers_phrase * covers_phrase / 1_000 * (600 + covers_asked * 4 / 10) / 1_000
            }
            Sort::Example if covers_phrase + covers_asked == 0 => 0,
            // The harmonic mean: both must be high.
            Sort::Example => 2 * covers_phrase * covers_asked / (covers_phrase + covers_asked),
        }
    }

    /// Rare words weigh more; a word that no intent declares weighs as much as one that a single one does.
    fn weigh<'w>(&self, words: impl Iterator<Item = &'w String>) -> u64 {
        let count = u64::try_from(self.targets.len()).unwrap_or(1).max(1);
        let weight = |word: &String| {
            let spread = self.spread.get(word).copied().unwrap_or(1);
            WEIGHT * (count + 1) / (count + 1).saturating_add(4 * (spread - 1).min(count))
        };
        words.map(weight).sum()
    }

    /// Whether a code that fits this input of the target fits an input of another intent too.
    fn others_take(&self, target: &Target, name: &str, asked: &Features) -> bool {
        let schema = target.input.pointer(&format!("/properties/{name}"));
        let codes = || asked.codes.iter().filter(|code| schema.is_some_and(|s| fits_code(s, code)));
        let others = self.targets.iter().filter(|other| !std::ptr::eq(*other, target));
        others
            .flat_map(Target::telling_inputs)
            .any(|(_, other)| codes().any(|c| fits_code(other, c)))
    }

    /// Required inputs for which the text holds a value: declared patterns and whole numbers only.
    fn fitting_inputs(&self, target: &Target, asked: &Features) -> Vec<String> {
        let fits = |schema: &Value| asked.codes.iter().any(|code| fits_code(schema, code));
        let fitting = target.telling_inputs().filter(|(_, schema)| fits(schema));
        fitting.map(|(name, _)| name.to_owned()).collect()
    }
}

fn fits_code(schema: &Value, code: &str) -> bool {
    let number = code.parse::<i64>().ok().map(Value::from);
    let text = Value::from(code);
    number.iter().chain([&text]).any(|value| crate::schema::violation_once(schema, value).is_none())
}

fn all(features: &Features) -> impl Iterator<Item = &String> {
    features.words.iter().chain(&features.pairs)
}

fn share(part: u64, whole: u64) -> u64 {
    (part * 1_000).checked_div(whole).unwrap_or(0)
}

fn decide(candidates: Vec<Candidate>, sense: Sense) -> Routed {
    let Some(first) = candidates.first() else { return Routed::None { nearest: Vec::new() } };
    let second = candidates.get(1).map_or(0, |next| next.score);
    let offered = candidates.iter().filter(|candidate| candidate.score >= OFFER_MIN).count();
    if first.score >= SCORE_MIN
        && first.score.saturating_sub(second) >= MARGIN_MIN
        && sense == Sense::AsSaid
    {
        return candidates
            .into_iter()
            .next()
            .map_or(Routed::None { nearest: Vec::new() }, Routed::One);
    }
    if offered == 0 {
        return Routed::None { nearest: candidates };
    }
    Routed::Tie { candidates: candidates.into_iter().take(offered).collect() }
}

impl Target {
    /// Required inputs whose schema tells a code that is meant from one that is not.
    fn telling_inputs(&self) -> impl Iterator<Item = (&str, &Value)> {
        let required = self.input.get("required").and_then(Value::as_array);
        let names = required.into_iter().flatten().filter_map(Value::as_str);
        names.filter_map(|name| {
            let schema = self.input.get("properties")?.get(name)?;
            let telling =
                schema.get("pattern").is_some() || schema.get("type") == Some(&json!("integer"));
            telling.then_some((name, schema))
        })
    }

    fn is_named(&self, name: &str) -> bool {
        match name.split_once('/') {
            Some((pack, intent)) => pack == self.pack && intent == self.intent,
            None => name == self.intent,
        }
    }

    fn is(&self, candidate: &Candidate) -> bool {
        candidate.pack == self.pack && candidate.intent == self.intent
    }

    fn candidate(&self, score: u32, why: Vec<String>) -> Candidate {
        let (pack, intent, title) = (self.pack.clone(), self.intent.clone(), self.title.clone());
        Candidate { pack, intent, title, score, why }
    }
}
