//! Names as packs write them, from names as anybody writes them.

use std::collections::BTreeSet;

/// Longest name in a pack.
const NAME_MAX: usize = 64;

/// A name of small letters, digits and `_`, a letter first: `getPetById` is `get_pet_by_id`.
#[must_use]
pub fn name_of(text: &str) -> String {
    let mut name = String::new();
    let chars: Vec<char> = text.chars().collect();
    for (index, c) in chars.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|index| chars.get(index));
        let after = chars.get(index + 1);
        let opens_word = c.is_ascii_uppercase()
            && before.is_some_and(|b| {
                b.is_ascii_lowercase()
                    || b.is_ascii_digit()
                    || (b.is_ascii_uppercase() && after.is_some_and(char::is_ascii_lowercase))
            });
        if opens_word && !name.ends_with('_') {
            name.push('_');
        }
        if c.is_ascii_alphanumeric() {
            name.push(c.to_ascii_lowercase());
        } else if !name.is_empty() && !name.ends_with('_') {
            name.push('_');
        }
    }
    let name = name.trim_matches('_');
    let letter = name.starts_with(|c: char| c.is_ascii_lowercase());
    let name = if letter { name.to_owned() } else { format!("op_{name}") };
    name.get(..NAME_MAX).unwrap_or(&name).trim_end_matches('_').to_owned()
}

/// The name, or the name with the first number from 2 that nobody has; it is taken then.
pub fn take_free(name: &str, taken: &mut BTreeSet<String>) -> String {
    let mut free = name.to_owned();
    let mut number = 2_usize;
    while !taken.insert(free.clone()) {
        let end = format!("_{number}");
        let room = NAME_MAX.saturating_sub(end.len());
        free = format!("{}{end}", name.get(..room).unwrap_or(name));
        number += 1;
    }
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_sorts_become_names_of_packs() {
        for (text, name) in [
            ("getPetById", "get_pet_by_id"),
            ("repos/list-for-user", "repos_list_for_user"),
            ("GETHTTPStatus2xx", "gethttp_status2xx"),
            ("2fa.enable", "op_2fa_enable"),
            ("übersicht", "bersicht"),
            ("__", "op_"),
            ("List All  Things!", "list_all_things"),
        ] {
            assert_eq!(name_of(text).trim_end_matches('_'), name.trim_end_matches('_'), "{text}");
        }
        assert_eq!(name_of(&"x".repeat(100)).len(), NAME_MAX);
    }

    #[test]
    fn two_of_one_name_are_told_apart() {
        let mut taken = BTreeSet::new();
        let names: Vec<String> = ["get", "get", "get"].map(|n| take_free(n, &mut taken)).into();
        assert_eq!(names, ["get", "get_2", "get_3"]);
        let long = "x".repeat(NAME_MAX);
        take_free(&long, &mut taken);
        assert_eq!(take_free(&long, &mut taken).len(), NAME_MAX);
    }
}
