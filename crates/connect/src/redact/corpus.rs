//! How much is found, and how much of it rightly, on labelled texts: counted for each kind, held to floors, and told
//! in the manual. `REDACT_WRITE=1` writes the table anew.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use super::{tests::chance, *};

const TEXTS: &str = include_str!("corpus/texts.txt");

/// Kind, lowest precision and lowest recall, in percent. Both only ever go up.
const FLOORS: [(&str, u32, u32); 5] =
    [("card", 93, 90), ("iban", 100, 93), ("mail", 87, 84), ("phone", 96, 86), ("key", 100, 86)];

const BEGIN: &str = "<!-- counted: begin -->\n";
const END: &str = "<!-- counted: end -->";

/// A text, and what should be taken out of it: kind, from, to.
fn labelled(line: &str, seed: u64) -> (String, Vec<(String, usize, usize)>) {
    let (mut text, mut labels, mut rest) = (String::new(), Vec::new(), line);
    while let Some((before, after)) = rest.split_once('⟦') {
        let (inner, after) = after.split_once('⟧').unwrap();
        let (kind, value) = inner.split_once('|').unwrap();
        text.push_str(&filled(before, seed));
        let from = text.len();
        text.push_str(&filled(value, seed + from as u64));
        labels.push((kind.to_owned(), from, text.len()));
        rest = after;
    }
    text.push_str(&filled(rest, seed));
    (text, labels)
}

/// The text with chance where it says so.
fn filled(text: &str, seed: u64) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let told = after.split_once('}').and_then(|(inner, after)| {
            let (letters, count) = inner.split_once(':')?;
            let letters = match letters {
                "alnum" => "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
                "alpha" => "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
                "upper" => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
                "hex" => "0123456789abcdef",
                "digit" => "123456789",
                _ => return None,
            };
            let count: usize = count.parse().ok()?;
            Some((chance(seed + out.len() as u64, count, letters), after))
        });
        match told {
            Some((chance, after)) => {
                out.push_str(&chance);
                rest = after;
            }
            None => {
                out.push('{');
                rest = after;
            }
        }
    }
    out + rest
}

#[derive(Default)]
struct Count {
    labelled: u32,
    found: u32,
    rightly: u32,
    missed: Vec<String>,
    wrongly: Vec<String>,
}

fn counted() -> (usize, BTreeMap<&'static str, Count>) {
    let kinds = vec![Kind::Card, Kind::Iban, Kind::Mail, Kind::Phone];
    let none: [(&str, &str); 0] = [];
    let every = Redactor::new(none).unwrap().with(Personal::from(kinds));
    let mut counts: BTreeMap<&str, Count> =
        FLOORS.iter().map(|(kind, ..)| (*kind, Count::default())).collect();
    let lines = TEXTS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut texts = 0;
    for (number, line) in (1..).zip(lines) {
        texts += 1;
        let (text, labels) = labelled(line, number * 1_000);
        let spans = every.spans(text.as_bytes(), None);
        let kind = |span: &Span| span.kind.map_or("key", Kind::name);
        // What is left of a value in clear text is a miss, however much of it was taken out.
        let covers = |label: &(String, usize, usize), span: &Span| {
            kind(span) == label.0 && span.start <= label.1 && span.end >= label.2
        };
        for label in &labels {
            let count = counts.get_mut(&*label.0).unwrap();
            count.labelled += 1;
            match spans.iter().any(|span| covers(label, span)) {
                true => count.rightly += 1,
                false => count.missed.push(text.clone()),
            }
        }
        for span in &spans {
            let count = counts.get_mut(kind(span)).unwrap();
            count.found += 1;
            if !labels.iter().any(|label| covers(label, span)) {
                count.wrongly.push(text.clone());
            }
        }
    }
    (texts, counts)
}

fn percent(part: u32, whole: u32) -> f64 {
    f64::from(part) * 100.0 / f64::from(whole.max(1))
}

/// C159: of each kind at least so much is found, and at least so much of what is found is it; the manual tells the
/// figures as they are.
#[test]
fn what_is_found_on_labelled_texts_is_counted_and_does_not_get_less() {
    let (texts, counts) = counted();
    assert!(texts >= 150, "{texts}");
    let mut table = format!(
        "| of {texts} texts | labelled | found | rightly | precision | recall |\n| --- | --- | --- | --- | --- | --- |\n"
    );
    let mut less = Vec::new();
    for (kind, precision_min, recall_min) in FLOORS {
        let count = &counts[kind];
        let right = count.found - u32::try_from(count.wrongly.len()).unwrap();
        let precision = percent(right, count.found);
        let recall = percent(count.rightly, count.labelled);
        assert!(count.labelled >= 20, "{kind}: {}", count.labelled);
        if precision < f64::from(precision_min) || recall < f64::from(recall_min) {
            let (missed, wrongly) = (&count.missed, &count.wrongly);
            less.push(format!(
                "{kind}: {precision:.1}, {recall:.1}; missed {missed:#?}; wrongly {wrongly:#?}"
            ));
        }
        writeln!(
            table,
            "| `{kind}` | {} | {} | {} | {precision:.1} % | {recall:.1} % |",
            count.labelled, count.found, right
        )
        .unwrap();
    }
    assert!(less.is_empty(), "{}", less.join("\n"));
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/secrets.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (there, after) = rest.split_once(END).unwrap();
    if std::env::var_os("REDACT_WRITE").is_some() {
        std::fs::write(&page, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(there, table, "REDACT_WRITE=1 writes it anew");
}
