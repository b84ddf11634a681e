//! Options among the words a program gets. Whatever might be one counts as one: an option that takes a value may have
//! the next word for it, and a long one may be cut short.

use crate::syntax::tree::Word;

/// Letters of short options, and long ones.
pub(crate) struct Options {
    pub(crate) short: &'static str,
    pub(crate) long: &'static [&'static str],
}

/// Whether any of these options may be among the words.
pub(crate) fn has(words: &[Word], options: &Options) -> bool {
    words.iter().any(|word| is_any(&word.known, options))
}

fn is_any(text: &str, options: &Options) -> bool {
    if let Some(long) = text.strip_prefix("--") {
        let name = long.split('=').next().unwrap_or_default();
        return !name.is_empty()
            && options.long.iter().any(|known| known.starts_with(name) || name.starts_with(known));
    }
    let letters = text.strip_prefix('-').unwrap_or_default();
    letters.chars().any(|letter| options.short.contains(letter))
        // Some programs write long options with one dash.
        || (!letters.is_empty() && options.long.contains(&letters))
}

/// Whether a word may be an option that nobody knows.
pub(crate) fn unsure(words: &[Word]) -> bool {
    words.iter().any(Word::may_be_option)
}

/// Words that are surely no options.
pub(crate) fn operands(words: &[Word]) -> impl Iterator<Item = &Word> {
    words.iter().filter(|word| !word.known.starts_with('-'))
}
