//! What a person approves is what they see (C349).

use harness::app::value::{plain, visible};
use serde_json::json;

/// Text, and what must stand in what is shown of it.
const HOSTILE: [(&str, &str); 63] = [
    // Direction: what is read is not what is sent.
    ("invoice\u{202E}fdp.exe", "<U+202E>"),
    ("pay \u{202D}100\u{202C} now", "<U+202D>"),
    ("pay 100\u{202C} now", "<U+202C>"),
    ("\u{202A}left", "<U+202A>"),
    ("\u{202B}right", "<U+202B>"),
    ("a\u{2066}b", "<U+2066>"),
    ("a\u{2067}b", "<U+2067>"),
    ("a\u{2068}b", "<U+2068>"),
    ("a\u{2069}b", "<U+2069>"),
    ("a\u{200E}b", "<U+200E>"),
    ("a\u{200F}b", "<U+200F>"),
    ("a\u{061C}b", "<U+061C>"),
    // Nothing to see: two different texts look the same.
    ("zero\u{200B}width", "<U+200B>"),
    ("zero\u{200C}width", "<U+200C>"),
    ("zero\u{200D}width", "<U+200D>"),
    ("word\u{2060}joined", "<U+2060>"),
    ("\u{FEFF}marked", "<U+FEFF>"),
    ("soft\u{00AD}hyphen", "<U+00AD>"),
    ("joined\u{034F}graphemes", "<U+034F>"),
    ("times\u{2062}what", "<U+2062>"),
    ("apply\u{2061}this", "<U+2061>"),
    ("plus\u{2064}that", "<U+2064>"),
    ("old\u{206A}format", "<U+206A>"),
    ("old\u{206F}format", "<U+206F>"),
    ("hangul\u{115F}filler", "<U+115F>"),
    ("hangul\u{1160}filler", "<U+1160>"),
    ("hangul\u{3164}filler", "<U+3164>"),
    ("hangul\u{FFA0}filler", "<U+FFA0>"),
    ("khmer\u{17B4}vowel", "<U+17B4>"),
    ("mongolian\u{180E}separator", "<U+180E>"),
    ("variant\u{FE0F}selector", "<U+FE0F>"),
    ("variant\u{E0101}selector", "<U+E0101>"),
    ("shorthand\u{1BCA0}control", "<U+1BCA0>"),
    ("hieroglyph\u{13430}joiner", "<U+13430>"),
    ("braille\u{2800}blank", "<U+2800>"),
    ("music\u{1D173}control", "<U+1D173>"),
    ("note\u{FFF9}anchor", "<U+FFF9>"),
    // Tags spell out ASCII that only a machine reads.
    ("hello\u{E0001}", "<U+E0001>"),
    ("hello\u{E0069}\u{E0067}\u{E006E}\u{E006F}\u{E0072}\u{E0065}", "<U+E0069>"),
    ("hello\u{E007F}", "<U+E007F>"),
    // Controls: terminals obey them.
    ("\u{0}nothing", "<U+0000>"),
    ("bell\u{7}", "<U+0007>"),
    ("back\u{8}\u{8}\u{8}\u{8}space", "<U+0008>"),
    ("over\rwritten", "<U+000D>"),
    ("red\u{1B}[31m", "<U+001B>"),
    ("link\u{1B}]8;;http://x.example\u{7}", "<U+001B>"),
    ("deleted\u{7F}", "<U+007F>"),
    ("c1\u{9B}31m", "<U+009B>"),
    ("next\u{85}line", "<U+0085>"),
    ("line\u{2028}break", "<U+2028>"),
    ("paragraph\u{2029}break", "<U+2029>"),
    // Look-alikes: one letter of another script.
    ("p\u{0430}ypal.example", "[mixed script] "),
    ("\u{0410}CC-0042", "[mixed script] "),
    ("micros\u{03BF}ft.example", "[mixed script] "),
    ("g\u{043E}\u{043E}gle.example", "[mixed script] "),
    ("\u{0455}\u{0441}\u{043E}\u{0440}\u{0435}.example", "[mixed script] "),
    ("we \u{0441}ancel it", "[mixed script] "),
    ("\u{0555}pen", "[mixed script] "),
    ("\u{2C9F}pen", "[mixed script] "),
    ("pay\u{A4D1}al.example", "[mixed script] "),
    ("p\u{FF41}ypal.example", "[mixed script] "),
    ("p\u{1D41A}ypal.example", "[mixed script] "),
    ("p\u{0430}yp\u{0251}l.example", "[mixed script] "),
];

const ORDINARY: [&str; 16] = [
    "The quick brown fox owes EUR 1,234.50 (due 2026-12-01).",
    "Zürich, Łódź, Ångström, İstanbul, ñandú, Dvořák",
    "Ελληνική Δημοκρατία",
    "Договор № 42 от 1 мая",
    "Հայաստանի Հանրապետություն",
    "საქართველო",
    "שלום עולם",
    "مرحبا بالعالم",
    "नमस्ते दुनिया",
    "สวัสดีชาวโลก",
    "株式会社ハーネス、東京",
    "流失风险很高",
    "안녕하세요 세계",
    "வணக்கம் உலகம்",
    "ሰላም ልዑል",
    "Ship it 🚀 – “quoted” … 50 % off €",
];

fn may_be_shown(c: char) -> bool {
    let hidden = matches!(u32::from(c),
        0x00..=0x1F | 0x7F..=0x9F | 0xAD | 0x34F | 0x61C | 0x200B..=0x200F | 0x2028..=0x202E
        | 0x2060..=0x206F | 0x2800 | 0xFEFF | 0x1BCA0..=0x1BCA3 | 0xFE00..=0xFE0F | 0xE0000..=0xE0FFF);
    !hidden
}

#[test]
fn nothing_invisible_or_misleading_survives_in_what_people_are_shown() {
    for (text, mark) in HOSTILE {
        let shown = visible(text);
        assert!(shown.contains(mark), "{text:?} is shown as {shown:?}");
        assert!(shown.chars().all(may_be_shown), "{text:?} is shown as {shown:?}");
        // Inside of structured arguments as well.
        let shown = plain(&json!({"a": [text], text: 1}));
        assert!(shown.chars().all(may_be_shown), "{shown:?}");
        let shown = plain(&json!([text, text]));
        assert!(shown.contains(mark) && shown.chars().all(may_be_shown), "{shown:?}");
    }
}

#[test]
fn ordinary_text_stays_as_it_is() {
    for text in ORDINARY {
        assert_eq!(visible(text), text);
    }
}

/// Every character there is: what no reader can see never stands in what is shown.
#[test]
fn no_character_at_all_is_shown_as_nothing() {
    for c in (0..=0x10_FFFF_u32).filter_map(char::from_u32) {
        let shown = visible(&format!("a{c}"));
        assert!(shown.chars().all(may_be_shown), "U+{:04X}", u32::from(c));
    }
}

/// Two texts that differ only in what cannot be seen are not shown alike.
#[test]
fn what_differs_is_shown_differently() {
    let plain_text = "refund 100 to ACC-0042";
    for (text, _) in HOSTILE {
        let hidden: Vec<char> = text.chars().filter(|c| !may_be_shown(*c)).collect();
        for c in hidden {
            let sly = plain_text.replace(' ', &format!(" {c}"));
            assert_ne!(visible(&sly), visible(plain_text), "U+{:04X}", u32::from(c));
        }
    }
}
