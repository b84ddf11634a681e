//! Whether two names mean the same company: spelling, script and legal form aside.

use std::collections::BTreeSet;

/// Two words this alike count as the same word with a slip in it.
const WORD_ALIKE: f64 = 0.92;

/// Longest name that is compared, in characters.
const NAME_MAX_CHARS: usize = 200;

/// Legal forms, as folded words; only at the end of a name.
const LEGAL_WORDS: [&str; 44] = [
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
    "ev",
    "gmbh",
    "inc",
    "incorporated",
    "kft",
    "kg",
    "kgaa",
    "kk",
    "limited",
    "llc",
    "llp",
    "lp",
    "ltd",
    "mbh",
    "nv",
    "oao",
    "ohg",
    "oo",
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
    "ug",
];

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

/// Agreement of two names from 0 (nothing in common) to 100 (the same name).
#[must_use]
pub fn agreement(one: &str, other: &str) -> u8 {
    if one.trim() == other.trim() {
        return if one.trim().is_empty() { 0 } else { 100 };
    }
    let mut best = 0.0_f64;
    for left in [Folding::Plain, Folding::Spelled] {
        for right in [Folding::Plain, Folding::Spelled] {
            best = best.max(score(&words(one, left), &words(other, right)));
        }
    }
    // In 0..=100 by construction.
    (best * 100.0).round().clamp(0.0, 100.0) as u8
}

fn score(one: &[String], other: &[String]) -> f64 {
    if one.is_empty() || other.is_empty() {
        return 0.0;
    }
    let (one, other): (BTreeSet<_>, BTreeSet<_>) = (one.iter().collect(), other.iter().collect());
    let covered = cover(&one, &other) + cover(&other, &one);
    let sets = covered / (one.len() + other.len()) as f64;
    let joined = |set: &BTreeSet<&String>| {
        set.iter().map(|word| word.as_str()).collect::<Vec<_>>().join(" ")
    };
    let spelling = strsim::jaro_winkler(&joined(&one), &joined(&other));
    if (sets - 1.0).abs() < f64::EPSILON { 1.0 } else { (sets * 3.0 + spelling) / 4.0 }
}

/// How much of `one` stands in `other`, word by word.
fn cover(one: &BTreeSet<&String>, other: &BTreeSet<&String>) -> f64 {
    let best = |word: &&String| {
        other.iter().map(|candidate| alike(word, candidate)).fold(0.0_f64, f64::max)
    };
    one.iter().map(best).sum()
}

/// Numbers and ideographs agree or do not; other words may hold a slip.
fn alike(one: &str, other: &str) -> f64 {
    if one == other {
        return 1.0;
    }
    let exact = |text: &str| !text.chars().all(|c| c.is_ascii_alphabetic());
    let likeness = strsim::jaro_winkler(one, other);
    if exact(one) || exact(other) || likeness < WORD_ALIKE { 0.0 } else { likeness }
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
    while all.len() > 1 && all.last().is_some_and(|last| LEGAL_WORDS.contains(&last.as_str())) {
        all.pop();
    }
    all.into_iter().flat_map(pairs).collect()
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
mod tests {
    use super::*;

    #[test]
    fn the_same_company_in_other_spelling() {
        for (one, other, least) in [
            ("Northwind Robotics", "northwind robotics", 100),
            ("Northwind Robotics", "Northwind Robotics GmbH", 100),
            ("Müller & Søn Maschinenbau GmbH", "Mueller & Soen Maschinenbau AG", 100),
            ("Müller", "Muller", 100),
            ("Mu\u{308}ller", "Müller", 100),
            ("Harbor & Finch Foods, Inc.", "Harbor and Finch Foods", 100),
            ("Acme S.A.", "ACME", 100),
            ("Bauer GmbH & Co. KG", "Bauer", 100),
            ("Ｎｏｒｔｈｗｉｎｄ", "Northwind", 100),
            ("青空物流株式会社", "青空物流㈱", 100),
            ("株式会社青空物流", "青空物流", 100),
            ("深圳海星科技有限公司", "海星科技（深圳）有限公司", 80),
            ("Northwind Robotics", "Robotics Northwind", 100),
            ("Northwind Robotics", "Nortwind Robotics", 90),
            ("Łódź Żagiel sp. z o.o.", "Lodz Zagiel", 70),
        ] {
            let score = agreement(one, other);
            assert!(score >= least, "{one} / {other}: {score} < {least}");
            assert_eq!(score, agreement(other, one), "{one} / {other} both ways");
        }
    }

    #[test]
    fn different_companies() {
        for (one, other, most) in [
            ("Northwind Robotics", "Cobalt Ridge Logistics", 40),
            ("Northwind Robotics", "Northwind Logistics", 75),
            ("Acme 1", "Acme 2", 75),
            ("海星", "星海", 40),
            ("青空物流株式会社", "青森物流株式会社", 75),
            ("", "Northwind", 0),
            ("", "", 0),
            ("GmbH", "AG", 50),
        ] {
            let score = agreement(one, other);
            assert!(score <= most, "{one} / {other}: {score} > {most}");
        }
    }
}
