//! Text to features: folded words, pairs of words, and pairs of characters where a script has no spaces.

use std::collections::BTreeSet;

/// Longest text looked at, in characters.
pub(crate) const TEXT_MAX: usize = 4_000;

/// Words that say nothing about what is wanted.
const STOP_WORDS: [&str; 62] = [
    "a", "about", "all", "am", "an", "and", "any", "are", "as", "at", "be", "by", "can", "could",
    "do", "does", "for", "from", "get", "give", "has", "have", "hello", "hey", "hi", "i", "if",
    "in", "is", "it", "its", "just", "let", "me", "my", "need", "of", "on", "or", "our", "please",
    "s", "should", "so", "some", "thanks", "that", "the", "their", "them", "there", "they", "this",
    "to", "us", "want", "we", "will", "with", "would", "you", "your",
];

/// The same for German.
const STOP_WORDS_DE: [&str; 36] = [
    "an", "auf", "bitte", "das", "dem", "den", "der", "des", "die", "dieser", "dieses", "du",
    "ein", "eine", "einem", "einen", "einer", "er", "es", "fuer", "ich", "im", "in", "ist", "mir",
    "mit", "sie", "sind", "uns", "und", "von", "was", "wie", "wir", "zu", "zum",
];

/// Words that turn a request around.
const NEGATIONS: [&str; 19] = [
    "not", "no", "dont", "never", "without", "cancel", "stop", "undo", "revert", "withdraw",
    "avoid", "unless", "cannot", "shouldnt", "wont", "didnt", "isnt", "nobody", "skip",
];

/// Words that open a question about something rather than a request for it.
const QUESTIONS: [&str; 20] = [
    "how", "what", "whats", "when", "where", "which", "who", "whom", "whose", "why", "wann",
    "warum", "was", "welche", "welcher", "welches", "wer", "wie", "wieso", "wo",
];

/// What a text is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features {
    /// Words, folded, without stop words.
    pub(crate) words: BTreeSet<String>,
    /// Two words in a row.
    pub(crate) pairs: BTreeSet<String>,
    /// Words that turn it around.
    pub(crate) negations: BTreeSet<String>,
    /// The question word it opens with.
    pub(crate) opening: Option<String>,
    /// Parts with digits, as written: identifiers, dates, amounts.
    pub(crate) codes: Vec<String>,
}

pub(crate) fn features(text: &str) -> Features {
    let mut found = Features::default();
    let text = take_codes(&text.chars().take(TEXT_MAX).collect::<String>(), &mut found.codes);
    let mut previous: Option<String> = None;
    let words = split_words(&text);
    found.opening = words.first().filter(|word| QUESTIONS.contains(&word.as_str())).cloned();
    for word in words {
        if NEGATIONS.contains(&word.as_str()) {
            found.negations.insert(word.clone());
        }
        if STOP_WORDS.contains(&word.as_str()) || STOP_WORDS_DE.contains(&word.as_str()) {
            continue;
        }
        let word = stem(&word);
        if let Some(before) = &previous {
            found.pairs.insert(format!("{before} {word}"));
        }
        found.words.insert(word.clone());
        previous = Some(word);
    }
    found
}

/// The text without its codes: runs of ASCII letters, digits, `-`, `_` and `.` that hold a digit.
fn take_codes(text: &str, codes: &mut Vec<String>) -> String {
    let mut rest = String::with_capacity(text.len());
    let mut run = String::new();
    for c in text.chars().chain([' ']) {
        if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') {
            run.push(c);
            continue;
        }
        if run.contains(|c: char| c.is_ascii_digit()) {
            codes.push(run.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned());
            rest.push(' ');
        } else {
            rest.push_str(&run);
        }
        run.clear();
        rest.push(c);
    }
    rest
}

/// Words in order: letters folded to lower case without common diacritics; runs of CJK become pairs of
/// characters.
fn split_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut run: Vec<char> = Vec::new();
    for c in text.chars().flat_map(char::to_lowercase).chain([' ']) {
        if is_cjk(c) {
            run.push(c);
        } else if !run.is_empty() {
            words.extend(pairs_of(&run));
            run.clear();
        }
        if c.is_alphanumeric() && !is_cjk(c) {
            push_folded(&mut word, c);
        } else if !matches!(c, '\'' | '’') && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
    }
    words
}

fn pairs_of(run: &[char]) -> Vec<String> {
    match run {
        [one] => vec![one.to_string()],
        _ => run.windows(2).map(|pair| pair.iter().collect()).collect(),
    }
}

fn is_cjk(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}')
}

fn push_folded(word: &mut String, c: char) {
    let folded = match c {
        'à'..='ã' | 'å' | 'ā' => "a",
        'ä' | 'æ' => "ae",
        'ç' | 'ć' | 'č' => "c",
        'è'..='ë' | 'ē' | 'ě' => "e",
        'ì'..='ï' | 'ı' => "i",
        'ñ' | 'ń' => "n",
        'ò'..='õ' | 'ō' => "o",
        'ö' | 'ø' => "oe",
        'ù'..='û' | 'ū' => "u",
        'ü' => "ue",
        'ß' => "ss",
        'ś' | 'š' => "s",
        'ž' | 'ź' | 'ż' => "z",
        other => return word.push(other),
    };
    word.push_str(folded);
}

/// A light stem: plural, then the commonest endings. `escalation`, `escalating` and `escalate` meet.
fn stem(word: &str) -> String {
    if !word.is_ascii() {
        return word.to_owned();
    }
    let singular = match word.strip_suffix('s') {
        Some(rest) if rest.len() >= 3 && !rest.ends_with(['s', 'u', 'i']) => rest,
        _ => word,
    };
    let cut = |suffix: &str, least: usize| {
        singular.strip_suffix(suffix).filter(|rest| rest.len() >= least)
    };
    if let Some(rest) = cut("ie", 2) {
        return format!("{rest}y");
    }
    for (suffix, least) in [("ation", 4), ("ing", 4), ("ed", 4), ("al", 5), ("e", 3)] {
        if let Some(rest) = cut(suffix, least) {
            return rest
                .strip_suffix("at")
                .filter(|rest| rest.len() >= 4)
                .unwrap_or(rest)
                .to_owned();
        }
    }
    singular.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_meet_whatever_their_form() {
        for (a, b) in [
            ("escalate", "Escalation"),
            ("renewals", "renewal"),
            ("reviewing", "Review"),
            ("Müller", "mueller"),
            ("policies", "policy"),
            ("changes", "change"),
            ("changed", "change"),
        ] {
            assert_eq!(features(a).words, features(b).words, "{a} {b}");
        }
    }

    #[test]
    fn scripts_without_spaces_become_pairs() {
        let words: Vec<String> = features("更新リスク").words.into_iter().collect();
        assert_eq!(words, ["スク", "リス", "新リ", "更新"]);
    }

    #[test]
    fn codes_and_negations_are_kept_apart() {
        let found = features("Don't escalate ticket #7000421 for ACC-0042!");
        assert_eq!(found.codes, ["7000421", "ACC-0042"]);
        assert_eq!(found.negations.into_iter().collect::<Vec<_>>(), ["dont"]);
        assert_eq!(found.words.into_iter().collect::<Vec<_>>(), ["dont", "escal", "ticket"]);
        assert_eq!(features("ACC-0064の契約").codes, ["ACC-0064"]);
    }
}
