//! The nearest known name, for hints. A hint is told, never acted on.

/// Longest name compared; longer ones get no hint.
const NAME_MAX: usize = 64;

/// The known name that `wanted` was probably meant to be; `None` where none is near.
pub(super) fn nearest<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if wanted.len() > NAME_MAX {
        return None;
    }
    let plain = |name: &str| name.to_lowercase().replace(['-', '.', ' '], "_");
    let wanted = plain(wanted);
    let near = known.filter(|name| name.len() <= NAME_MAX).map(|name| {
        let name_plain = plain(name);
        let holds = name_plain.contains(&wanted) || wanted.contains(&name_plain);
        let distance = distance(&wanted, &name_plain);
        (if holds { distance.min(2) } else { distance }, name)
    });
    let within = |(distance, name): &(usize, &str)| *distance <= (name.len() / 3).max(2);
    near.filter(within).min().map(|(_, name)| name)
}

/// Letters to insert, drop or change (Levenshtein's distance).
fn distance(one: &str, two: &str) -> usize {
    let two: Vec<char> = two.chars().collect();
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut before = at;
        let mut left = at.saturating_add(1);
        let mut next = vec![left];
        for (other, up) in two.iter().zip(row.iter().skip(1)) {
            let changed = before.saturating_add(usize::from(letter != *other));
            left = changed.min(up.saturating_add(1)).min(left.saturating_add(1));
            before = *up;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant_and_nothing_else() {
        let known = ["crm_account", "billing_invoices", "mail_send"];
        let hint = |wanted| nearest(wanted, known.into_iter());
        assert_eq!(hint("crm.account"), Some("crm_account"));
        assert_eq!(hint("crm_acount"), Some("crm_account"));
        assert_eq!(hint("invoices"), Some("billing_invoices"));
        assert_eq!(hint("send_mail"), None);
        assert_eq!(hint("delete_everything"), None);
        assert_eq!(hint(&"x".repeat(10_000)), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
