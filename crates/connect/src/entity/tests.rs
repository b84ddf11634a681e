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

/// What customer-ops asks of a match.
const THRESHOLD: u8 = 70;

/// Pairs of names that people labelled; the part called `held` was not looked at while tuning.
const PAIRS: &str = include_str!("../../tests/data/company_pairs.tsv");

struct Pair<'a> {
    part: &'a str,
    same: bool,
    kind: &'a str,
    one: &'a str,
    other: &'a str,
}

fn pairs() -> Vec<Pair<'static>> {
    let lines = PAIRS.lines().filter(|line| !line.starts_with('#'));
    let read = |line: &'static str| {
        let columns: Vec<&str> = line.split('\t').collect();
        let [part, label, kind, one, other] = columns[..] else { panic!("{line}") };
        assert!(["tune", "held"].contains(&part) && ["same", "different"].contains(&label));
        Pair { part, same: label == "same", kind, one, other }
    };
    lines.map(read).collect()
}

/// How well a threshold tells the pairs apart.
#[derive(Debug, Default)]
struct Measured {
    found: u32,
    missed: u32,
    mistaken: u32,
    apart: u32,
}

impl Measured {
    fn of<'a>(pairs: impl Iterator<Item = &'a Pair<'a>>) -> Self {
        let mut measured = Self::default();
        for pair in pairs {
            match (pair.same, agreement(pair.one, pair.other) >= THRESHOLD) {
                (true, true) => measured.found += 1,
                (true, false) => measured.missed += 1,
                (false, true) => measured.mistaken += 1,
                (false, false) => measured.apart += 1,
            }
        }
        measured
    }

    fn precision(&self) -> f64 {
        f64::from(self.found) / f64::from(self.found + self.mistaken)
    }

    fn recall(&self) -> f64 {
        f64::from(self.found) / f64::from(self.found + self.missed)
    }
}

/// C196: how often a match is right, and how often it is found, over pairs that people labelled.
#[test]
fn precision_and_recall_over_labelled_pairs() {
    let pairs = pairs();
    assert!(pairs.len() >= 200, "{}", pairs.len());
    for pair in &pairs {
        let score = agreement(pair.one, pair.other);
        assert_eq!(score, agreement(pair.other, pair.one), "{} / {}", pair.one, pair.other);
        if (score >= THRESHOLD) != pair.same {
            println!("{} {} {score}: {} / {}", pair.part, pair.kind, pair.one, pair.other);
        }
    }
    for (part, precision, recall) in [("tune", 0.98, 0.95), ("held", 0.97, 0.95)] {
        let measured = Measured::of(pairs.iter().filter(|pair| pair.part == part));
        let (p, r) = (measured.precision(), measured.recall());
        println!("{part}: precision {p:.3}, recall {r:.3}, {measured:?}");
        assert!(p >= precision && r >= recall, "{part}: {measured:?}");
    }
}

#[test]
fn a_comparison_says_what_speaks_for_and_against() {
    let seen = compare("Müller Werkzeuge GmbH", "Muller Backwaren");
    assert_eq!(
        (&seen.shared[..], &seen.only_one[..]),
        (&["muller".to_owned()][..], &["werkzeuge".to_owned()][..])
    );
    assert_eq!(seen.only_other, ["backwaren"]);
    assert!(seen.score < THRESHOLD);
    let none = compare("", "");
    assert_eq!((none.score, none.shared.len()), (0, 0));
}
