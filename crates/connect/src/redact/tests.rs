use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use kernel::id::hex;
use proptest::prelude::*;
use serde_json::json;

use super::{stream::LOOKED_AT_ONCE, *};

const CANARY: &str = "c4nary/+ \"Z9:xyz";

fn redactor() -> Arc<Redactor> {
    Arc::new(Redactor::new([("crm", CANARY), ("pin", "8271940")]).unwrap())
}

fn every() -> Redactor {
    let kinds = vec![Kind::Card, Kind::Iban, Kind::Mail, Kind::Phone];
    redactor().with(Personal::from(kinds))
}

fn every_spelling() -> Vec<String> {
    let hexed = hex(CANARY.as_bytes());
    vec![
        CANARY.to_owned(),
        STANDARD.encode(CANARY),
        STANDARD.encode(format!("u:{CANARY}")),
        STANDARD.encode(format!("user:{CANARY}:tail")),
        URL_SAFE.encode(format!("x{CANARY}")),
        hexed.to_uppercase(),
        hexed,
        "c4nary%2F%2B%20%22Z9%3Axyz".to_owned(),
        "c4nary%2f%2b%20%22Z9%3axyz".to_owned(),
        "c4nary%2F%2B+%22Z9%3Axyz".to_owned(),
        "c4nary/+ \\\"Z9:xyz".to_owned(),
    ]
}

/// Letters and digits as chance would give them, the same each time.
pub(super) fn chance(seed: u64, length: usize, letters: &str) -> String {
    let letters: Vec<char> = letters.chars().collect();
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        letters[(state >> 11) as usize % letters.len()]
    };
    (0..length).map(|_| next()).collect()
}

const ALNUM: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const HEX: &str = "0123456789abcdef";

/// A key of each kind of service, made up.
fn keys(seed: u64) -> Vec<(&'static str, String)> {
    let some = |length, letters| chance(seed + length as u64, length, letters);
    let pem = format!(
        "-----BEGIN RSA PRIVATE KEY-----\n{}\n{}\n-----END RSA PRIVATE KEY-----",
        some(64, ALNUM),
        some(40, ALNUM)
    );
    vec![
        ("aws", format!("AKIA{}", some(16, UPPER))),
        ("github", format!("ghp_{}", some(36, ALNUM))),
        ("github", format!("github_pat_{}_{}", some(22, ALNUM), some(59, ALNUM))),
        ("gitlab", format!("glpat-{}", some(20, ALNUM))),
        ("slack", format!("xoxb-{}-{}", some(12, "123456789"), some(24, ALNUM))),
        (
            "slack",
            format!(
                "https://hooks.slack.com/services/T{}/B{}/{}",
                some(9, UPPER),
                some(10, UPPER),
                some(24, ALNUM)
            ),
        ),
        ("stripe", format!("sk_live_{}", some(24, ALNUM))),
        ("webhook", format!("whsec_{}", some(32, ALNUM))),
        ("anthropic", format!("sk-ant-api03-{}-AA", some(86, ALNUM))),
        ("openai", format!("sk-proj-{}", some(48, ALNUM))),
        ("api-key", format!("sk-{}", some(48, ALNUM))),
        ("google", format!("AIza{}", some(35, ALNUM))),
        ("sendgrid", format!("SG.{}.{}", some(22, ALNUM), some(43, ALNUM))),
        ("npm", format!("npm_{}", some(36, ALNUM))),
        ("huggingface", format!("hf_{}", some(34, ALNUM))),
        ("digitalocean", format!("dop_v1_{}", some(64, HEX))),
        ("shopify", format!("shpat_{}", some(32, HEX))),
        ("databricks", format!("dapi{}", some(32, HEX))),
        ("vault", format!("hvs.{}", some(90, ALNUM))),
        ("grafana", format!("glsa_{}_{}", some(32, ALNUM), some(8, HEX))),
        ("postman", format!("PMAK-{}-{}", some(24, HEX), some(34, HEX))),
        ("pulumi", format!("pul-{}", some(40, HEX))),
        ("linear", format!("lin_api_{}", some(40, ALNUM))),
        ("age", format!("AGE-SECRET-KEY-1{}", some(58, UPPER))),
        ("harness", format!("hns_{}_{}", some(16, HEX), some(72, HEX))),
        ("jwt", format!("eyJ{}.eyJ{}.{}", some(33, ALNUM), some(60, ALNUM), some(43, ALNUM))),
        ("private-key", pem),
    ]
}

#[test]
fn every_spelling_is_taken_out_of_text_keys_and_values() {
    for spelling in every_spelling() {
        let text = redactor().scrub_text(&format!("before {spelling} after"));
        assert!(text.contains("[secret:crm]") && !text.contains(&spelling), "{spelling} -> {text}");
        let mut value = json!({"a": [{ spelling.clone(): spelling }]});
        redactor().scrub_value(&mut value);
        assert!(
            !value.to_string().contains(&spelling) && value.to_string().contains("[secret:crm]")
        );
    }
    let mut value = json!({"n": 8_271_940, "m": 12});
    redactor().scrub_value(&mut value);
    assert_eq!(value, json!({"n": "[secret:pin]", "m": 12}));
}

#[test]
fn secrets_that_overlap_leave_nothing_of_either() {
    let both = Redactor::new([("a", "abcabcab"), ("b", "cabcabdd")]).unwrap();
    assert_eq!(both.scrub_text("x abcabcabdd y"), "x [secret:a] y");
}

#[test]
fn a_stream_is_clean_wherever_it_is_cut() {
    let (_, key) = &keys(7)[1];
    let (_, pem) = keys(7).pop().unwrap();
    let parts = [
        format!("aa{CANARY}bb{}cc", STANDARD.encode(CANARY)),
        format!("password = {} {key} 4111 1111 1111 1111 {pem} ", chance(3, 24, ALNUM)),
        format!("jane.doe@example.com {CANARY}"),
    ];
    // Longer than what is held back, with everything in the middle.
    let filler = "all quiet, ".repeat(LOOKED_AT_ONCE * RULE_BYTES_MAX / 11);
    for text in [parts.concat(), format!("{filler}{}{filler}{}", parts.concat(), parts[1])] {
        let all = Arc::new(every());
        let whole = all.scrub_text(&text);
        assert!(whole.contains("[secret:crm]") && whole.contains("[token:private-key]"));
        for size in [1, 2, 3, 7, 64, 1_000, RULE_BYTES_MAX - 1, RULE_BYTES_MAX + 1, text.len()] {
            let mut scrubber = Scrubber::new(Arc::clone(&all));
            let mut clean = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                clean.extend(scrubber.push(piece));
            }
            clean.extend(scrubber.finish());
            assert_eq!(String::from_utf8(clean).unwrap(), whole, "cut every {size}");
        }
    }
}

#[test]
fn where_a_long_stream_happens_to_be_released_does_not_matter() {
    let (_, key) = &keys(9)[1];
    let secret = format!(" password={} {key} jane@example.com {CANARY} ", chance(3, 24, ALNUM));
    let all = Arc::new(every());
    for shift in 0..secret.len() + 2 {
        let head = "-".repeat((LOOKED_AT_ONCE - 1) * RULE_BYTES_MAX - shift);
        let text = format!("{head}{secret}{}", "=".repeat(2 * LOOKED_AT_ONCE * RULE_BYTES_MAX));
        let whole = all.scrub_text(&text);
        let mut scrubber = Scrubber::new(Arc::clone(&all));
        let mut clean = Vec::new();
        for piece in text.as_bytes().chunks(2 * RULE_BYTES_MAX) {
            clean.extend(scrubber.push(piece));
        }
        clean.extend(scrubber.finish());
        assert_eq!(String::from_utf8(clean).unwrap(), whole, "shifted by {shift}");
    }
}

/// C150: what has the shape of a key is taken out, whoever's it is, wherever it stands.
#[test]
fn keys_of_services_are_known_by_their_shape() {
    for seed in 0..20 {
        for (kind, key) in keys(seed) {
            for text in [
                key.clone(),
                format!("it is {key}, keep it"),
                format!("X={key}\n"),
                format!("\"{key}\""),
            ] {
                let clean = redactor().scrub_text(&text);
                assert!(clean.contains(&format!("[token:{kind}]")), "{kind}: {text} -> {clean}");
                let tail = &key[key.len() - 8..];
                assert!(kind == "private-key" || !clean.contains(tail), "{kind}: {clean}");
            }
        }
    }
}

#[test]
fn what_stands_where_credentials_stand_is_taken_out() {
    let password = "hunter2-Kx9wQz41";
    for (text, mark) in [
        (format!("postgres://app:{password}@db.example.com/x"), "[token:password]@db"),
        (format!("password={password}"), "password=[token:credential]"),
        (format!("API_KEY: \"{password}\""), "\"[token:credential]\""),
        (
            format!("curl -H 'Authorization: Bearer {}'", chance(1, 32, ALNUM)),
            "Bearer [token:header]",
        ),
        (
            format!("authorization: Basic {}", STANDARD.encode(format!("user:{password}"))),
            "Basic [token:header]",
        ),
    ] {
        let clean = redactor().scrub_text(&text);
        assert!(clean.contains(mark), "{text} -> {clean}");
        assert!(!clean.contains("hunter2"), "{clean}");
    }
    let mut value = json!({"user": "jane", "clientSecret": password, "next_token": "Kx9wQz41ab77", "password": "changeit"});
    redactor().scrub_value(&mut value);
    assert_eq!(
        value,
        json!({"user": "jane", "clientSecret": "[token:credential]", "next_token": "Kx9wQz41ab77", "password": "changeit"})
    );
}

#[test]
fn ordinary_text_is_left_alone() {
    for text in [
        "the secret of a good soup: patience",
        "Basic information about bearer bonds and basic instructions",
        "task-force-of-the-north risk-assessment-for-the-year-2026-and-beyond",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "2f1c4b0a-8d0e-4c55-9b2e-0a9d7f4e1c33 commit 8a6f92bbe16ca312078cc1f6f500f7e9256aa00",
        "https://example.com:8443/a@b?x=1 and //host:port/path",
        "password=${DB_PASSWORD} api_key: <your key> secret: [secret:crm]",
        "order 20261201-000017, amount 129900, tracking 1Z999AA10123456784",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
        "SK-1 sku sk-8 ghp_short AKIASHORT eyJ.eyJ.x hns_1",
        "run:5f3a, seq 1764556800000, 192.168.100.200, 1.4142135623730951",
    ] {
        assert_eq!(redactor().scrub_text(text), text);
    }
}

/// C159: a corpus of what is a card, an account, an address or a number, and of what only looks like one. The
/// cards are those that networks publish for tests, the accounts the examples of their registry.
#[test]
fn what_is_personal_is_told_from_what_looks_like_it() {
    let is = [
        ("[card:1111]", "4111111111111111"),
        ("[card:1111]", "4111 1111 1111 1111"),
        ("[card:4444]", "5555-5555-5555-4444"),
        ("[card:8210]", "2223 0031 2200 3222 and 5105105105105100"),
        ("[card:0005]", "3782 822463 10005"),
        ("[card:1117]", "6011111111111117"),
        ("[card:5904]", "30569309025904"),
        ("[card:0505]", "3530 1113 3330 0000 and 3566002020360505"),
        ("[card:0005]", "6212345678900000003 or 6200000000000005"),
        ("[iban]", "DE89 3704 0044 0532 0130 00"),
        ("[iban]", "GB82WEST12345698765432"),
        ("[iban]", "NO9386011117947"),
        ("[iban]", "MT84MALT011000012345MTLCAST001S"),
        ("[iban]", "FR14 2004 1010 0505 0001 3M02 606"),
        ("[mail]", "jane.doe+work@mail.example.co.uk"),
        ("[mail]", "o'neil@example.com"),
        ("[phone]", "+49 (0)30 1234-5678"),
        ("[phone]", "+14155552671"),
        ("[phone]", "+44 20 7946 0958"),
    ];
    let mut found = 0;
    for (mark, text) in is {
        let clean = every().scrub_text(&format!("contact ({text})."));
        found += usize::from(clean.contains(mark) || clean.contains("[card:"));
        assert!(clean.starts_with("contact (") && clean.ends_with(")."), "{clean}");
        assert!(clean.contains(mark) || clean.contains("[card:"), "{text} -> {clean}");
    }
    assert_eq!(found, is.len());
    for text in [
        "4111111111111112",
        "14111111111111111",
        "1764556800000000",
        "0.4111111111111111",
        "order-id 9999999999999999",
        "A4111111111111111",
        "4111111111111111x",
        "DE89 3704 0044 0532 0130 01",
        "DE8937040044053201300",
        "XDE89370400440532013000",
        "user@localhost",
        "a@b",
        "@example.com",
        "1+2345678901",
        "+0123456789",
        "+1234567",
        "+12345678901234567",
        "C++11 and 3+4",
        "UTC+02:00",
    ] {
        assert_eq!(every().scrub_text(text), text);
    }
}

#[test]
fn what_is_personal_is_taken_out_as_it_is_asked_for() {
    let text = "4111111111111111 GB82WEST12345698765432 a@example.com +14155552671";
    let of = |kinds: &[Kind]| redactor().with(Personal::from(kinds.to_vec())).scrub_text(text);
    assert_eq!(of(&[]), text);
    assert_eq!(of(&[Kind::Iban]), text.replace("GB82WEST12345698765432", "[iban]"));
    assert_eq!(of(&[Kind::Mail]), text.replace("a@example.com", "[mail]"));
    assert_eq!(of(&[Kind::Phone]), text.replace("+14155552671", "[phone]"));
    let by_default = redactor().scrub_text(text);
    assert_eq!(by_default, text.replace("4111111111111111", "[card:1111]"));
    let mut number = json!({"pan": 4_111_111_111_111_111_u64, "id": 4_111_111_111_111_112_u64});
    redactor().scrub_value(&mut number);
    assert_eq!(number, json!({"pan": "[card:1111]", "id": 4_111_111_111_111_112_u64}));
}

/// C159: what is kept is what is personal, under a name that its mark bears; secrets and keys never are. It passes
/// again unchanged, and is refused where it would be written back.
#[test]
fn what_is_personal_is_kept_and_neither_secrets_nor_keys_are() {
    let home = tempfile::tempdir().unwrap();
    let public = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p".to_owned();
    let naming = zeroize::Zeroizing::new([3; 32]);
    let opened = Keeper::open(home.path().join("kept"), &[public], naming, 0);
    let keeper = Arc::new(opened.unwrap());
    let origin = Origin { tenant: "acme".to_owned(), run: "RUN-1".to_owned(), at: 1 };
    let all = every().keeping(Arc::clone(&keeper), origin);
    let (_, key) = &keys(1)[1];
    let text = format!(
        "{CANARY} {key} 4111111111111111 a@example.com https://a:4111111111111111@b.example"
    );
    let clean = all.scrub_text(&text);
    assert_eq!(keeper.count(), (2, 0), "{clean}");
    let marks: Vec<&str> = clean.split(' ').collect();
    assert!(marks[0] == "[secret:crm]" && marks[1] == "[token:github]", "{clean}");
    assert!(marks[2].starts_with("[card:1111#") && marks[3].starts_with("[mail#"), "{clean}");
    assert!(is_mark(marks[2]) && is_mark(marks[3]) && !is_mark("[mailing#1]"));
    assert_eq!(all.scrub_text(&clean), clean);
    let (mut scrubber, mut piecewise) = (Scrubber::new(Arc::new(all)), Vec::new());
    for byte in text.as_bytes().chunks(3) {
        piecewise.extend(scrubber.push(byte));
    }
    piecewise.extend(scrubber.finish());
    assert_eq!(String::from_utf8(piecewise).unwrap(), clean);
    assert_eq!(keeper.count(), (2, 0));
}

#[test]
fn what_was_taken_out_is_left_alone_when_it_passes_again() {
    let text = format!("{CANARY} password=hunter2-Kx9wQz41 {} 4111111111111111", keys(1)[1].1);
    let once = every().scrub_text(&text);
    assert_eq!(every().scrub_text(&once), once);
}

#[test]
fn a_text_that_is_watched_is_never_seen_with_a_secret_in_part() {
    let (_, key) = &keys(5)[8];
    let (_, pem) = keys(5).pop().unwrap();
    let words = "it goes on and on ".repeat(30);
    let text =
        format!("{words}{CANARY} {words}{} {key}\n{words}{pem}\n{words}", STANDARD.encode(CANARY));
    let all = Arc::new(redactor().with(Personal::default()));
    let whole = all.scrub_text(&text);
    assert!(whole.contains("[token:private-key]") && whole.contains("[token:anthropic]"));
    for size in [1, 3, 17, 100, text.len()] {
        let mut scrubber = Scrubber::watched(Arc::clone(&all));
        let (mut told, mut most) = (Vec::new(), 0);
        let mut given = 0;
        for piece in text.as_bytes().chunks(size) {
            told.extend(scrubber.push(piece));
            given += piece.len();
            most = most.max(given.saturating_sub(told.len()));
        }
        assert!(size > 100 || most < 1_000, "it lags {most} bytes behind");
        told.extend(scrubber.finish());
        assert_eq!(String::from_utf8(told).unwrap(), whole, "cut every {size}");
    }
}

/// What a program writes is told as soon as its line is whole, and no secret of a line or a key's block in part.
#[test]
fn whole_lines_are_told_as_they_come() {
    let (_, pem) = keys(5).pop().unwrap();
    let text = format!("ready\n{CANARY} is it\n{pem}\nover {CANARY}\n");
    let all = Arc::new(redactor().with(Personal::default()));
    let whole = all.scrub_text(&text);
    for size in [1, 3, 17, text.len()] {
        let (mut scrubber, mut told) = (Scrubber::lines(Arc::clone(&all)), Vec::new());
        told.extend(scrubber.push(b"ready\n"));
        assert_eq!(told, b"ready\n", "nobody waits for more");
        for piece in text.as_bytes().split_at(6).1.chunks(size) {
            told.extend(scrubber.push(piece));
        }
        assert_eq!(String::from_utf8_lossy(&told), whole, "cut every {size}");
        assert!(scrubber.finish().is_empty());
    }
}

/// Pieces of texts: what is looked for, what only begins like it, and what stands around it.
fn piece() -> impl Strategy<Value = String> {
    let key = (0_usize..27, any::<u64>()).prop_map(|(n, seed)| keys(seed % 1_000)[n].1.clone());
    let spelled = (0_usize..11).prop_map(|n| every_spelling()[n].clone());
    let part = prop_oneof![key.clone(), spelled.clone()]
        .prop_flat_map(|text| (Just(text.clone()), 0..=text.len()))
        .prop_map(|(text, end)| text.chars().take(end).collect::<String>());
    prop_oneof![
        key,
        spelled,
        part,
        "[ -~]{0,40}",
        "[a-zA-Z0-9+/_.=~-]{1,60}",
        "[0-9 -]{1,30}",
        "[A-Z0-9 ]{1,40}",
        "\\PC{0,12}",
        Just("4111 1111 1111 1111".to_owned()),
        Just("3782-822463-10005".to_owned()),
        Just("DE89 3704 0044 0532 0130 00".to_owned()),
        Just("GB82WEST12345698765432".to_owned()),
        Just("8271940".to_owned()),
        "(password|API_KEY|clientSecret|secret|Private_Key|access_token)( ?[:=] ?)[\"']?[a-zA-Z0-9_-]{0,30}",
        "(bearer|Basic|BEARER) [a-zA-Z0-9+/=]{0,40}",
        "(postgres|https)://[a-z]{0,8}:?[a-zA-Z0-9]{0,16}@?[a-z.]{0,12}",
        "(sk-|AKIA|ghp_|eyJ|cio|SG\\.|-----BEGIN |harness-ed25519-v1:)[a-zA-Z0-9]{0,50}",
    ]
}

/// What is found when it is looked for everywhere, without any way to look at less.
fn found_slowly(all: &Redactor, text: &[u8], before: Option<u8>) -> Vec<Span> {
    let mut found = Vec::new();
    for (spelling, mark) in all.exact.spellings() {
        for start in 0..text.len() {
            if text[start..].starts_with(spelling) {
                let end = start + spelling.len();
                found.push(Span { from: start, start, end, mark: mark.to_owned(), kind: None });
            }
        }
    }
    let known = found.len();
    shapes::find_slowly(text, before, &mut found);
    personal::find_slowly(text, before, all.personal, &mut found);
    joined(found, known)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// C159: what is fast finds what is found when every shape is held against every place.
    #[test]
    fn whatever_is_looked_for_everywhere_is_found(
        pieces in proptest::collection::vec(piece(), 0..24),
        gaps in proptest::collection::vec(prop_oneof!["", " ", "\n", "[!-/]"], 24),
        before in proptest::option::of(any::<u8>()),
        far in prop_oneof![Just(0_usize), 16_300_usize..16_400],
    ) {
        let apart = pieces.iter().zip(&gaps).map(|(piece, gap)| format!("{piece}{gap}"));
        // What is written small piece by piece is cut somewhere.
        let text = format!("{}{}", ".".repeat(far), apart.collect::<String>());
        let all = every();
        let spans = all.spans(text.as_bytes(), before);
        prop_assert_eq!(spans, found_slowly(&all, text.as_bytes(), before), "{}", text);
    }

    /// The same, however the text is cut on its way.
    #[test]
    fn whatever_a_text_holds_it_is_clean_however_it_is_cut(
        pieces in proptest::collection::vec(piece(), 0..12),
        sizes in proptest::collection::vec(prop_oneof![1_usize..200, 1_usize..30_000], 1..8),
        far in prop_oneof![3 => Just(0_usize), 1 => 56_000_usize..66_000],
    ) {
        let text = format!("{}{}", ", ".repeat(far / 2), pieces.join(" "));
        let all = Arc::new(every());
        let mut scrubber = Scrubber::new(Arc::clone(&all));
        let (mut clean, mut rest) = (Vec::new(), text.as_bytes());
        for size in sizes.iter().cycle() {
            let (piece, others) = rest.split_at(rest.len().min(*size));
            clean.extend(scrubber.push(piece));
            rest = others;
            if rest.is_empty() {
                break;
            }
        }
        clean.extend(scrubber.finish());
        prop_assert_eq!(String::from_utf8_lossy(&clean), all.scrub_text(&text));
    }
}
