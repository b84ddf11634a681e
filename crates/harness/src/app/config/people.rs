//! `[people]`: who there is.

use std::collections::BTreeMap;

use super::{File, Person};

/// Everybody who is declared; one person with every role where nobody is.
pub(super) fn of(file: &File) -> BTreeMap<String, Person> {
    let mut people = file.people.clone();
    if people.is_empty() {
        let roles = ["admin", "approver", "finance", "operator", "owner"].map(str::to_owned);
        people.insert("me".to_owned(), Person { roles: roles.to_vec() });
    }
    people
}

/// Their names, for people.
pub(super) fn names(people: &BTreeMap<String, Person>) -> String {
    people.keys().cloned().collect::<Vec<_>>().join(", ")
}

/// Who is at the terminal: the one that is named, else the first there is.
pub(super) fn me(named: Option<&String>, people: &BTreeMap<String, Person>) -> String {
    named.or_else(|| people.keys().next()).cloned().unwrap_or_default()
}
