//! Names that `git` takes for its own, on some system or other.

use std::{
    os::unix::ffi::OsStrExt,
    path::{Component, Path},
};

/// Signs that one file system drops from names (HFS+): with them `.git` has many spellings.
const DROPPED: [std::ops::RangeInclusive<char>; 4] = [
    '\u{200c}'..='\u{200f}',
    '\u{202a}'..='\u{202e}',
    '\u{206a}'..='\u{206f}',
    '\u{feff}'..='\u{feff}',
];

/// Whether a part of a path is `.git`, in a spelling that some file system takes for it.
pub(super) fn is_of_git(path: &Path) -> bool {
    path.components().any(|part| match part {
        Component::Normal(name) => is_git(&String::from_utf8_lossy(name.as_bytes())),
        _ => true,
    })
}

fn is_git(name: &str) -> bool {
    let kept = |sign: &char| !DROPPED.iter().any(|range| range.contains(sign));
    let name: String = name.chars().filter(kept).flat_map(char::to_lowercase).collect();
    // A backslash separates folders elsewhere, a colon names a stream of a file.
    name.split('\\').any(|part| {
        let part = part.split(':').next().unwrap_or_default();
        let part = part.trim_end_matches([' ', '.']);
        part == ".git" || part == "git~1"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_the_name_is_known() {
        for name in [
            ".git",
            ".GIT",
            "a/.Git/config",
            ".git/hooks/x",
            "git~1",
            "GIT~1",
            ".git ",
            ".git. .",
            ".git::$INDEX_ALLOCATION",
            "a\\.git\\config",
            ".g\u{200c}it",
            "\u{feff}.git",
        ] {
            assert!(is_of_git(Path::new(name)), "{name:?}");
        }
        for name in
            ["git", ".github/workflows/x", ".gitignore", "a.git", ".git2", "git~10", "x:.git2"]
        {
            assert!(!is_of_git(Path::new(name)), "{name:?}");
        }
    }
}
