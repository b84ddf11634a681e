//! What is personal and can be told by its form: cards, accounts, addresses, numbers.

use std::{ops::Range, sync::LazyLock};

use memchr::memchr_iter;
use serde::{Deserialize, Serialize};

use super::{
    Span,
    runs::{Bytes, Runs},
};

/// Longest part of a mail address before its `@`, in bytes.
const LOCAL_BYTES_MAX: usize = 64;

/// Longest part behind it, in bytes.
const DOMAIN_BYTES_MAX: usize = 255;

/// Digits of a telephone number behind its `+`: what E.164 allows, and no fewer than any country has.
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 8..=15;

/// Most characters a telephone number is written with.
const PHONE_BYTES_MAX: usize = 32;

/// Digits of cards, whatever the brand.
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

/// A sort of personal text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The number of a payment card: of a brand's range and length, with its check digit.
    Card,
    /// An account number as in ISO 13616, of its country's length, with its check digits.
    Iban,
    /// A mail address.
    Mail,
    /// A telephone number with `+` and its country.
    Phone,
}

/// Which of them are taken out. By default cards: what business is done with rarely needs them whole, and often
/// needs the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Kind>", into = "Vec<Kind>")]
pub struct Personal(u8);

impl Kind {
    const ALL: [Self; 4] = [Self::Card, Self::Iban, Self::Mail, Self::Phone];

    fn bit(self) -> u8 {
        match self {
            Self::Card => 1,
            Self::Iban => 2,
            Self::Mail => 4,
            Self::Phone => 8,
        }
    }

    /// As configuration spells it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Iban => "iban",
            Self::Mail => "mail",
            Self::Phone => "phone",
        }
    }
}

impl Default for Personal {
    fn default() -> Self {
        Self::from(vec![Kind::Card])
    }
}

impl From<Vec<Kind>> for Personal {
    fn from(kinds: Vec<Kind>) -> Self {
        Self(kinds.into_iter().fold(0, |bits, kind| bits | kind.bit()))
    }
}

impl From<Personal> for Vec<Kind> {
    fn from(personal: Personal) -> Self {
        Kind::ALL.into_iter().filter(|kind| personal.has(*kind)).collect()
    }
}

impl Personal {
    /// Whether these are taken out.
    #[must_use]
    pub fn has(self, kind: Kind) -> bool {
        self.0 & kind.bit() != 0
    }
}

pub(super) fn find(text: &[u8], before: Option<u8>, which: Personal, spans: &mut Vec<Span>) {
    if which.has(Kind::Card) {
        cards(text, before, spans);
    }
    if which.has(Kind::Iban) {
        ibans(text, before, spans);
    }
    if which.has(Kind::Mail) {
        mails(text, spans);
    }
    if which.has(Kind::Phone) {
        phones(text, before, spans);
    }
}

/// The same, with all of the text taken for one run.
#[cfg(test)]
pub(super) fn find_slowly(text: &[u8], before: Option<u8>, which: Personal, spans: &mut Vec<Span>) {
    if which.has(Kind::Card) {
        cards_of(text, before, 0..text.len(), spans);
    }
    if which.has(Kind::Iban) {
        ibans_of(text, before, 0..text.len(), spans);
    }
    let others =
        Vec::from(which).into_iter().filter(|kind| matches!(kind, Kind::Mail | Kind::Phone));
    find(text, before, others.collect::<Vec<_>>().into(), spans);
}

fn at(text: &[u8], index: usize) -> Option<u8> {
    text.get(index).copied()
}

fn push(spans: &mut Vec<Span>, (start, end): (usize, usize), mark: String, kind: Kind) {
    spans.push(Span { from: start, start, end, mark, kind: Some(kind) });
}

/// What cards are written with.
static CARD_BYTES: LazyLock<Bytes> =
    LazyLock::new(|| Bytes::of(|b| b.is_ascii_digit() || b == b' ' || b == b'-'));

fn cards(text: &[u8], before: Option<u8>, spans: &mut Vec<Span>) {
    for run in Runs::new(text, &CARD_BYTES, *CARD_DIGITS.start()) {
        cards_of(text, before, run, spans);
    }
}

/// The cards of a run of what they are written with.
fn cards_of(text: &[u8], before: Option<u8>, run: Range<usize>, spans: &mut Vec<Span>) {
    let mut index = run.start;
    let mut last = index.checked_sub(1).map_or(before, |last| at(text, last));
    while index < run.end {
        let Some(byte) = at(text, index) else { break };
        let begins =
            byte.is_ascii_digit() && !last.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'.');
        if !begins {
            last = Some(byte);
            index += 1;
            continue;
        }
        let end = match card(text, index) {
            Some((end, ending)) => {
                push(spans, (index, end), format!("[card:{ending}]"), Kind::Card);
                end
            }
            // To the end of these digits, no further: a card may stand behind another number.
            None => {
                let digits = text.iter().skip(index).take_while(|b| b.is_ascii_digit()).count();
                index.saturating_add(digits)
            }
        };
        last = end.checked_sub(1).and_then(|last| at(text, last));
        index = end;
    }
}

/// Where a card that begins here ends, and its last four digits.
fn card(text: &[u8], start: usize) -> Option<(usize, String)> {
    let mut digits: Vec<u8> = Vec::with_capacity(*CARD_DIGITS.end());
    let mut index = start;
    let mut found = None;
    loop {
        let group = text.iter().skip(index).take(CARD_DIGITS.end() + 1);
        let group: Vec<u8> = group.copied().take_while(u8::is_ascii_digit).collect();
        digits.extend_from_slice(&group);
        index = index.saturating_add(group.len());
        if group.is_empty() || digits.len() > *CARD_DIGITS.end() {
            break;
        }
        let next = at(text, index);
        if !next.is_some_and(|b| b.is_ascii_alphabetic() || b == b'_') && is_card(&digits) {
            found = Some((
                index,
                String::from_utf8_lossy(digits.get(digits.len() - 4..)?).into_owned(),
            ));
        }
        let is_apart = matches!(next, Some(b' ' | b'-'));
        if !is_apart || !(3..=7).contains(&group.len()) {
            break;
        }
        index = index.saturating_add(1);
    }
    found
}

fn is_card(digits: &[u8]) -> bool {
    if !CARD_DIGITS.contains(&digits.len()) {
        return false;
    }
    let lead = |count: usize| {
        digits
            .iter()
            .take(count)
            .fold(0_u32, |sum, digit| sum * 10 + u32::from(digit.saturating_sub(b'0')))
    };
    let lengths: &[usize] = match (lead(1), lead(2), lead(3), lead(4)) {
        (4, ..) => &[13, 16, 19],
        (_, 51..=55, ..) | (.., 2221..=2720) => &[16],
        (_, 34 | 37, ..) => &[15],
        (_, 65, ..) | (.., 644..=649, _) | (.., 6011) => &[16, 17, 18, 19],
        (_, 36 | 38 | 39, ..) | (.., 300..=305, _) => &[14, 16, 19],
        (.., 3528..=3589) | (_, 62, ..) => &[16, 17, 18, 19],
        (.., 5018 | 5020 | 5038 | 6304 | 6759 | 6761..=6763) => &[13, 14, 15, 16, 17, 18, 19],
        _ => return false,
    };
    lengths.contains(&digits.len()) && luhn(digits)
}

fn luhn(digits: &[u8]) -> bool {
    let doubled = |(place, digit): (usize, &u8)| {
        let digit = u32::from(digit.saturating_sub(b'0'));
        match place % 2 {
            0 => digit,
            _ if digit > 4 => digit * 2 - 9,
            _ => digit * 2,
        }
    };
    digits.iter().rev().enumerate().map(doubled).sum::<u32>() % 10 == 0
}

/// Lengths of account numbers by country, as the registry of ISO 13616 lists them.
const IBAN_LENGTHS: &[u8] =
    b"AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29\
ES24FI18FK18FO18FR27GB22GE22GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20\
LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29\
PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26UA29VA22VG24XK20";

/// The shortest account number, in characters.
const IBAN_BYTES_MIN: usize = 15;

/// What they are written with.
static IBAN_BYTES: LazyLock<Bytes> =
    LazyLock::new(|| Bytes::of(|b| b.is_ascii_digit() || b.is_ascii_uppercase() || b == b' '));

fn ibans(text: &[u8], before: Option<u8>, spans: &mut Vec<Span>) {
    for run in Runs::new(text, &IBAN_BYTES, IBAN_BYTES_MIN) {
        ibans_of(text, before, run, spans);
    }
}

/// The account numbers of a run of what they are written with.
fn ibans_of(text: &[u8], before: Option<u8>, run: Range<usize>, spans: &mut Vec<Span>) {
    let mut free = 0;
    let written = text.get(run.clone()).unwrap_or_default();
    for (index, window) in (run.start..).zip(written.windows(4)) {
        let [one, two, three, four] = window else { continue };
        if index < free || !one.is_ascii_uppercase() || !two.is_ascii_uppercase() {
            continue;
        }
        let last = index.checked_sub(1).map_or(before, |last| at(text, last));
        let begins = three.is_ascii_digit()
            && four.is_ascii_digit()
            && !last.is_some_and(|b| b.is_ascii_alphanumeric());
        if let Some(end) = begins.then(|| iban(text, index)).flatten() {
            push(spans, (index, end), "[iban]".to_owned(), Kind::Iban);
            free = end;
        }
    }
}

/// Where an account number that begins here ends.
fn iban(text: &[u8], start: usize) -> Option<usize> {
    let country = text.get(start..start.saturating_add(2))?;
    let known = IBAN_LENGTHS.chunks_exact(4).find(|known| known.starts_with(country))?;
    let digit =
        |place: usize| known.get(place).map(|digit| usize::from(digit.saturating_sub(b'0')));
    let length = digit(2)? * 10 + digit(3)?;
    let mut packed = Vec::with_capacity(length);
    let mut index = start;
    while packed.len() < length {
        match at(text, index)? {
            byte if byte.is_ascii_uppercase() || byte.is_ascii_digit() => packed.push(byte),
            b' ' if packed.len() % 4 == 0 && !packed.is_empty() => {}
            _ => return None,
        }
        index = index.saturating_add(1);
    }
    let ends = !at(text, index).is_some_and(|b| b.is_ascii_alphanumeric());
    (ends && mod97(&packed) == 1).then_some(index)
}

fn mod97(packed: &[u8]) -> u32 {
    let turned = packed.iter().skip(4).chain(packed.iter().take(4));
    turned.fold(0, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte.saturating_sub(b'A')) + 10) % 97,
    })
}

fn mails(text: &[u8], spans: &mut Vec<Span>) {
    for sign in memchr_iter(b'@', text) {
        let is_local = |b: &&u8| b.is_ascii_alphanumeric() || b"._%+-'".contains(b);
        let head = text.get(..sign).unwrap_or_default();
        let local = head.iter().rev().take(LOCAL_BYTES_MAX).take_while(is_local).count();
        let is_domain = |b: &&u8| b.is_ascii_alphanumeric() || b"-.".contains(b);
        let tail = text.get(sign.saturating_add(1)..).unwrap_or_default();
        let domain = tail.iter().take(DOMAIN_BYTES_MAX).take_while(is_domain).count();
        let domain = tail.get(..domain).unwrap_or_default();
        // A sentence may end behind it.
        let ended = domain.iter().rev().take_while(|b| b"-.".contains(b)).count();
        let domain = domain.get(..domain.len().saturating_sub(ended)).unwrap_or_default();
        let mut labels = domain.split(|b| *b == b'.');
        let top = labels.next_back().unwrap_or_default();
        let is_top = top.len() >= 2 && top.iter().all(u8::is_ascii_alphabetic);
        let mut rest = labels.peekable();
        let is_host = rest.peek().is_some() && rest.all(|label| !label.is_empty());
        let start = sign.saturating_sub(local);
        let opened = text.iter().skip(start).take(local).take_while(|b| b"'.".contains(b)).count();
        if local > opened && is_top && is_host {
            let end = sign.saturating_add(1).saturating_add(domain.len());
            push(spans, (start.saturating_add(opened), end), "[mail]".to_owned(), Kind::Mail);
        }
    }
}

fn phones(text: &[u8], before: Option<u8>, spans: &mut Vec<Span>) {
    for sign in memchr_iter(b'+', text) {
        let last = sign.checked_sub(1).map_or(before, |last| at(text, last));
        let first = at(text, sign.saturating_add(1));
        let begins = !last.is_some_and(|b| b.is_ascii_alphanumeric())
            && first.is_some_and(|b| (b'1'..=b'9').contains(&b));
        if !begins {
            continue;
        }
        let (mut digits, mut end, mut apart) = (0_usize, sign, 0_usize);
        for (index, byte) in text.iter().enumerate().skip(sign + 1).take(PHONE_BYTES_MAX) {
            match byte {
                b'0'..=b'9' => {
                    digits += 1;
                    apart = 0;
                    end = index.saturating_add(1);
                }
                b' ' | b'-' | b'.' | b'(' | b')' | b'/' if apart < 2 => apart += 1,
                _ => break,
            }
        }
        let is_word = at(text, end).is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
        if PHONE_DIGITS.contains(&digits) && !is_word {
            push(spans, (sign, end), "[phone]".to_owned(), Kind::Phone);
        }
    }
}
