//! Did you mean.

/// The candidate a person most likely meant: same letters in another case first, then few edits.
pub(crate) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let limit = (word.chars().count() / 3).max(2);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let distance = if candidate.eq_ignore_ascii_case(word) {
            0
        } else {
            strsim::damerau_levenshtein(word, candidate)
        };
        let better = best.is_none_or(|(least, _)| distance < least);
        if distance <= limit && better && candidate != word {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// A hint: the nearest candidate, else the list of what exists (cut to eight), else that nothing does.
pub(crate) fn hint<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> String {
    const LISTED_MAX: usize = 8;
    let mut all: Vec<&str> = candidates.into_iter().collect();
    all.sort_unstable();
    all.dedup();
    if let Some(meant) = nearest(word, all.iter().copied()) {
        return format!("did you mean `{meant}`?");
    }
    if all.is_empty() {
        return "there is none in this catalogue; leave it out".to_owned();
    }
    let more = if all.len() > LISTED_MAX { ", …" } else { "" };
    let listed: Vec<&str> = all.into_iter().take(LISTED_MAX).collect();
    format!("it is one of {}{more}", listed.join(", "))
}
