//! Three hundred and more broken things, each refused with its place and the next step (C025, C359).
//!
//! One table a kind. A row is a name and a broken thing; what every refusal owes is checked once, here.

mod arguments;
mod bundles;
mod intents;
mod packs;
mod policies;
mod tokens;

/// Fewest rows of all tables together.
const ROWS_MIN: usize = 350;

/// What somebody is told.
#[derive(Debug)]
struct Told {
    /// Where: `file:line:column`, a pointer, a flag or the thing's own name.
    place: String,
    detail: String,
    next: String,
}

/// Holds what every refusal owes, and collects who owes it still.
#[derive(Default)]
struct Debts(Vec<String>);

impl Debts {
    /// `names` is a word the refusal must contain.
    fn hold(&mut self, row: &str, names: &str, told: Option<Told>) {
        let Some(told) = told else {
            self.0.push(format!("{row}: nothing was refused"));
            return;
        };
        let all = format!("{} {} {}", told.place, told.detail, told.next);
        for (owed, paid) in [
            ("a place", !told.place.trim().is_empty()),
            ("a reason", told.detail.trim().len() > 5),
            ("a next step", told.next.trim().len() > 5),
            ("the thing's name", all.contains(names)),
            ("no panic", !all.contains("panicked")),
            ("one line", !told.detail.trim().contains('\n')),
            ("an end", all.chars().count() < 2_000),
        ] {
            if !paid {
                self.0.push(format!("{row}: owes {owed} ({names}): {told:?}"));
            }
        }
    }

    #[track_caller]
    fn settle(self) {
        assert!(self.0.is_empty(), "{} debts:\n{}", self.0.len(), self.0.join("\n"));
    }
}

#[test]
fn there_are_three_hundred_broken_things_and_more() {
    let kinds = [
        ("packs", packs::rows()),
        ("policies", policies::TABLE.len()),
        ("intents", intents::TABLE.len()),
        ("arguments", arguments::TABLE.len()),
        ("tokens", tokens::TABLE.len()),
        ("bundles", bundles::rows()),
    ];
    let total: usize = kinds.iter().map(|(_, rows)| rows).sum();
    println!("broken things: {kinds:?}, {total} in all");
    assert!(kinds.iter().all(|(_, rows)| *rows >= 25), "{kinds:?}");
    assert!(total >= ROWS_MIN, "{total}: {kinds:?}");
}
