//! Whether two names mean the same company: spelling, script and legal form aside.

use std::collections::BTreeSet;

/// Shortest word in which one wrong letter is a slip rather than another word, in characters.
const SLIP_MIN_CHARS: usize = 7;

/// What remains of a score when each name has a word of its own: they contradict each other.
const CONTRADICTION: f64 = 0.85;

/// Longest name that is compared, in characters.
const NAME_MAX_CHARS: usize = 200;

/// Legal forms, as folded words; only at the end of a name.
const LEGAL_WORDS: [&str; 47] = [
    "ab",
    "ag",
    "aps",
    "as",
    "asa",
    "bv",
    "bvba",
    "co",
    "company",
    "corp",
    "corporation",
    "ek",
    "ev",
    "fz",
    "gmbh",
    "inc",
    "incorporated",
    "kft",
    "kg",
    "kgaa",
    "kk",
    "lda",
    "limited",
    "llc",
    "llp",
    "lp",
    "ltd",
    "mbh",
    "nv",
    "oao",
    "ohg",
    "ooo",
    "oy",
    "oyj",
    "plc",
    "pte",
    "pty",
    "sa",
    "sarl",
    "sas",
    "se",
    "sl",
    "spa",
    "srl",
    "sro",
    "uab",
    "ug",
];

/// Legal forms of several words, as folded words; only at the end of a name.
const LEGAL_ENDINGS: [&[&str]; 3] = [&["sp", "z", "oo"], &["sa", "de", "cv"], &["sa", "rl"]];

/// Legal forms written without spaces; before or after a name.
const LEGAL_AFFIXES: [&str; 13] = [
    "株式会社",
    "有限会社",
    "合同会社",
    "合資会社",
    "(株)",
    "(有)",
    "股份有限公司",
    "有限责任公司",
    "有限責任公司",
    "有限公司",
    "公司",
    "주식회사",
    "(주)",
];

/// Words that say nothing.
const FILLERS: [&str; 6] = ["and", "und", "et", "og", "och", "the"];

/// How letters with marks become plain ones.
#[derive(Clone, Copy)]
enum Folding {
    /// `ü` is `u`.
    Plain,
    /// `ü` is `ue`.
    Spelled,
}

/// How two names compare, and what speaks for and against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// From 0 (nothing in common) to 100 (the same name).
    pub score: u8,
    /// Words that stand in both, folded as they were compared.
    pub shared: Vec<String>,
    /// Words that only the first name has.
    pub only_one: Vec<String>,
    /// Words that only the second name has.
    pub only_other: Vec<String>,
}

/// Agreement of two names from 0 (nothing in common) to 100 (the same name).
#[must_use]
pub fn agreement(one: &str, other: &str) -> u8 {
    compare(one, other).score
}

/// Agreement of two names with its evidence.
#[must_use]
pub fn compare(one: &str, other: &str) -> Comparison {
    let mut best = (0.0_f64, words(one, Folding::Plain), words(other, Folding::Plain));
    for left in [Folding::Plain, Folding::Spelled] {
        for right in [Folding::Plain, Folding::Spelled] {
            let (left, right) = (words(one, left), words(other, right));
            let score = score(&left, &right);
            if score > best.0 {
                best = (score, left, right);
            }
        }
    }
    let (score, left, right) = best;
    let same = one.trim() == other.trim() && !one.trim().is_empty();
    let only = |words: &[String], others: &[String]| -> Vec<String> {
        words.iter().filter(|word| !others.contains(word)).cloned().collect()
    };
    Comparison {
        // In 0..=100 by construction.
        score: if same { 100 } else { (score * 100.0).round().clamp(0.0, 100.0) as u8 },
        shared: left.iter().filter(|word| right.contains(word)).cloned().collect(),
        only_one: only(&left, &right),
        only_other: only(&right, &left),
    }
}

fn score(one: &[String], other: &[String]) -> f64 {
    if one.is_empty() || other.is_empty() {
        return 0.0;
    }
    let joined = one.concat();
    if joined.len() >= SLIP_MIN_CHARS && joined.is_ascii() && joined == other.concat() {
        return 1.0;
    }
    let (one, other): (BTreeSet<_>, BTreeSet<_>) = (one.iter().collect(), other.iter().collect());
    let slips = if one.is_disjoint(&other) { Slips::None } else { Slips::Some };
    let (left, right) = (cover(&one, &other, slips), cover(&other, &one, slips));
    let sets = (left.found + right.found) / (one.len() + other.len()) as f64;
    let joined = |set: &BTreeSet<&String>| {
        set.iter().map(|word| word.as_str()).collect::<Vec<_>>().join(" ")
    };
    let spelling = strsim::jaro_winkler(&joined(&one), &joined(&other));
    let score = if (sets - 1.0).abs() < f64::EPSILON { 1.0 } else { (sets * 3.0 + spelling) / 4.0 };
    if left.missing > 0 && right.missing > 0 { score * CONTRADICTION } else { score }
}

/// Whether a word may hold a slip: only where another word is exactly the same.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slips {
    Some,
    None,
}

/// How much of one set of words stands in another.
struct Cover {
    found: f64,
    missing: usize,
}

fn cover(one: &BTreeSet<&String>, other: &BTreeSet<&String>, slips: Slips) -> Cover {
    let mut cover = Cover { found: 0.0, missing: 0 };
    for word in one {
        let alike = other.iter().map(|candidate| alike(word, candidate, slips));
        let best = alike.fold(0.0_f64, f64::max);
        cover.found += best;
        cover.missing += usize::from(best <= 0.0);
    }
    cover
}

/// Numbers and ideographs agree or do not. Other words may hold one slip: two letters swapped, or, in a
/// long word, one that is wrong, missing or too many, but not the first.
fn alike(one: &str, other: &str, slips: Slips) -> f64 {
    if one == other {
        return 1.0;
    }
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphabetic());
    if slips == Slips::None || !plain(one) || !plain(other) {
        return 0.0;
    }
    if one.get(..1) != other.get(..1) || strsim::damerau_levenshtein(one, other) != 1 {
        return 0.0;
    }
    let is_swap = one.len() == other.len() && strsim::levenshtein(one, other) == 2;
    let is_long = one.len().max(other.len()) >= SLIP_MIN_CHARS;
    if is_swap || is_long { strsim::jaro_winkler(one, other) } else { 0.0 }
}

/// The words that identify: folded, without legal forms; runs of ideographs as overlapping pairs.
fn words(name: &str, folding: Folding) -> Vec<String> {
    let folded: String = name.chars().take(NAME_MAX_CHARS).flat_map(|c| fold(c, folding)).collect();
    let bare = strip_affixes(&folded);
    let mut all: Vec<String> = Vec::new();
    let mut word = String::new();
    for c in bare.chars() {
        // Dots and apostrophes stand inside abbreviations: `S.A.` is `sa`.
        if matches!(c, '.' | '\'' | '’') {
            continue;
        }
        let splits =
            !c.is_alphanumeric() || word.chars().last().is_some_and(|l| is_wide(l) != is_wide(c));
        if splits && !word.is_empty() {
            all.push(std::mem::take(&mut word));
        }
        if c.is_alphanumeric() {
            word.push(c);
        }
    }
    all.push(word);
    all.retain(|word| !word.is_empty() && !FILLERS.contains(&word.as_str()));
    while let Some(rest) = without_legal_form(&all) {
        all.truncate(rest);
    }
    all.into_iter().flat_map(pairs).collect()
}

/// How many words stand before the legal form at the end; `None` when there is none, or nothing before.
fn without_legal_form(words: &[String]) -> Option<usize> {
    let ends_with = |ending: &&&[&str]| {
        let tail = words.len().checked_sub(ending.len()).and_then(|at| words.get(at..));
        tail.is_some_and(|tail| tail.iter().zip(ending.iter()).all(|(word, form)| word == form))
    };
    let length = match LEGAL_ENDINGS.iter().find(ends_with) {
        Some(ending) => ending.len(),
        None => words.last().filter(|last| LEGAL_WORDS.contains(&last.as_str())).map(|_| 1)?,
    };
    words.len().checked_sub(length).filter(|rest| *rest > 0)
}

fn strip_affixes(folded: &str) -> String {
    let mut bare = folded.trim();
    for affix in LEGAL_AFFIXES {
        let stripped = bare.strip_prefix(affix).or_else(|| bare.strip_suffix(affix)).map(str::trim);
        bare = stripped.filter(|rest| !rest.is_empty()).unwrap_or(bare);
    }
    bare.to_owned()
}

/// Han, kana and hangul: written without spaces, or compared sign by sign.
fn is_wide(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}')
}

fn pairs(word: String) -> Vec<String> {
    let signs: Vec<char> = word.chars().collect();
    if signs.len() < 3 || !signs.iter().copied().all(is_wide) {
        return vec![word];
    }
    signs.windows(2).map(|pair| pair.iter().collect()).collect()
}

/// One character in plain lower case. The table covers Latin as companies in Europe use it.
fn fold(c: char, folding: Folding) -> Vec<char> {
    let c = match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        '\u{3000}' | '\u{00a0}' => ' ',
        '㈱' => return "(株)".chars().collect(),
        '㈲' => return "(有)".chars().collect(),
        '㈜' => return "(주)".chars().collect(),
        _ => c,
    };
    // Combining marks follow the letter they belong to.
    if matches!(c, '\u{0300}'..='\u{036f}') {
        return Vec::new();
    }
    let lower: Vec<char> = c.to_lowercase().collect();
    let text = lower.iter().flat_map(|c| fold_mark(*c, folding).chars().collect::<Vec<_>>());
    text.collect()
}

fn fold_mark(c: char, folding: Folding) -> String {
    let plain = match c {
        'à' | 'á' | 'â' | 'ã' | 'ä' | 'å' | 'ā' | 'ă' | 'ą' => 'a',
        'ç' | 'ć' | 'ĉ' | 'č' => 'c',
        'ď' | 'đ' | 'ð' => 'd',
        'è' | 'é' | 'ê' | 'ë' | 'ē' | 'ė' | 'ę' | 'ě' => 'e',
        'ğ' | 'ģ' => 'g',
        'ì' | 'í' | 'î' | 'ï' | 'ī' | 'į' | 'ı' => 'i',
        'ķ' => 'k',
        'ĺ' | 'ļ' | 'ľ' | 'ł' => 'l',
        'ñ' | 'ń' | 'ņ' | 'ň' => 'n',
        'ò' | 'ó' | 'ô' | 'õ' | 'ö' | 'ø' | 'ō' | 'ő' => 'o',
        'ŕ' | 'ř' => 'r',
        'ś' | 'ş' | 'š' | 'ș' => 's',
        'ţ' | 'ť' | 'ț' => 't',
        'ù' | 'ú' | 'û' | 'ü' | 'ū' | 'ů' | 'ű' | 'ų' => 'u',
        'ý' | 'ÿ' => 'y',
        'ź' | 'ż' | 'ž' => 'z',
        'ß' => return "ss".to_owned(),
        'æ' => return "ae".to_owned(),
        'œ' => return "oe".to_owned(),
        'þ' => return "th".to_owned(),
        '&' | '+' => return " and ".to_owned(),
        _ => return c.to_string(),
    };
    match (folding, c) {
        (Folding::Spelled, 'ä') => "ae".to_owned(),
        (Folding::Spelled, 'ö' | 'ø') => "oe".to_owned(),
        (Folding::Spelled, 'ü') => "ue".to_owned(),
        (Folding::Spelled, 'å') => "aa".to_owned(),
        _ => plain.to_string(),
    }
}

#[cfg(test)]
mod tests;
