use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt::Write as _,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Component, Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::{Digest, MODE};

/// The first line of a manifest: what it is, and in which version.
const HEADER: &str = "harness-tree 1";

/// The path of the tree itself.
const TOP: &str = ".";

/// What is at a path. Owners, times and extended attributes are not part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A folder.
    Folder {
        /// Its permissions, without set-id bits.
        mode: u32,
    },
    /// A file.
    File {
        /// Its permissions, without set-id bits.
        mode: u32,
        /// Its length, in bytes.
        size: u64,
        /// What it holds.
        sha256: Digest,
    },
    /// A symbolic link.
    Link {
        /// Where it leads, as it is written in there.
        target: PathBuf,
    },
    /// Another name of a file that comes earlier.
    Same {
        /// The path of that file.
        to: PathBuf,
    },
}

/// What a tree holds, path by path; a folder comes before what is in it. The path of the tree itself is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest(BTreeMap<PathBuf, Item>);

impl Manifest {
    pub(crate) fn insert(&mut self, path: PathBuf, item: Item) {
        self.0.insert(path, item);
    }

    /// How many entries it has, the tree itself included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing, not even a tree.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is at a path.
    #[must_use]
    pub fn get(&self, path: &Path) -> Option<&Item> {
        self.0.get(path)
    }

    /// Every path and what is there, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Path, &Item)> {
        self.0.iter().map(|(path, item)| (path.as_path(), item))
    }

    /// The bytes of all its files, each counted once.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.values().fold(0, |sum: u64, item| match item {
            Item::File { size, .. } => sum.saturating_add(*size),
            _ => sum,
        })
    }

    /// Its one written form: a line for each entry, in order; bytes that are not plain ASCII stand as `%` and two digits.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = format!("{HEADER}\n");
        for (path, item) in &self.0 {
            let path = escape(if path.as_os_str().is_empty() { Path::new(TOP) } else { path });
            let line = match item {
                Item::Folder { mode } => write!(text, "d {mode:o} {path}"),
                Item::File { mode, size, sha256 } => {
                    write!(text, "f {mode:o} {size} {sha256} {path}")
                }
                Item::Link { target } => write!(text, "l {} {path}", escape(target)),
                Item::Same { to } => write!(text, "h {} {path}", escape(to)),
            };
            line.unwrap_or(());
            text.push('\n');
        }
        text
    }

    /// The SHA-256 of its written form: two trees with the same have the same paths, content and permissions.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::new(Sha256::digest(self.encode().as_bytes()).into())
    }

    /// Reads its written form. Every entry lies in a folder that is an entry, so that nothing can be made elsewhere.
    ///
    /// # Errors
    ///
    /// The line that is not as [`Manifest::encode`] writes it.
    pub fn decode(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        if lines.next() != Some(HEADER) {
            return Err(format!("the first line is not `{HEADER}`"));
        }
        let mut manifest = Self::default();
        for (number, line) in lines.enumerate() {
            let (path, item) =
                parse(line).ok_or_else(|| format!("line {} is no entry", number + 2))?;
            manifest
                .check(&path, &item)
                .map_err(|problem| format!("line {}: {problem}", number + 2))?;
            manifest.insert(path, item);
        }
        if manifest.encode() != text {
            return Err("it is not in its one written form".to_owned());
        }
        Ok(manifest)
    }

    fn check(&self, path: &Path, item: &Item) -> Result<(), &'static str> {
        if path.as_os_str().is_empty() {
            let is_folder = matches!(item, Item::Folder { .. });
            return if is_folder { Ok(()) } else { Err("the tree is no folder") };
        }
        if !path.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err("a path that leads elsewhere");
        }
        if path.components().collect::<PathBuf>().as_os_str() != path.as_os_str() {
            return Err("a path that has a shorter form");
        }
        let around = path.parent().and_then(|around| self.get(around));
        if !matches!(around, Some(Item::Folder { .. })) {
            return Err("it lies in no folder");
        }
        match item {
            Item::Same { to } if !matches!(self.get(to), Some(Item::File { .. })) => {
                Err("it is another name of nothing")
            }
            Item::Link { target } if target.as_os_str().is_empty() => Err("a link to nowhere"),
            _ => Ok(()),
        }
    }
}

fn parse(line: &str) -> Option<(PathBuf, Item)> {
    let mut words = line.split(' ');
    let kind = words.next()?;
    let item = match kind {
        "d" => Item::Folder { mode: mode(words.next()?)? },
        "f" => Item::File {
            mode: mode(words.next()?)?,
            size: words.next()?.parse().ok()?,
            sha256: words.next()?.parse().ok()?,
        },
        "l" => Item::Link { target: unescape(words.next()?)? },
        "h" => Item::Same { to: unescape(words.next()?)? },
        _ => return None,
    };
    let path = unescape(words.next()?)?;
    let path = if path == Path::new(TOP) { PathBuf::new() } else { path };
    words.next().is_none().then_some((path, item))
}

fn mode(word: &str) -> Option<u32> {
    u32::from_str_radix(word, 8).ok().filter(|mode| mode & !MODE == 0)
}

fn escape(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'%' => text.push_str("%25"),
            0x21..=0x7e => text.push(char::from(*byte)),
            _ => write!(text, "%{byte:02X}").unwrap_or(()),
        }
    }
    text
}

fn unescape(text: &str) -> Option<PathBuf> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes().iter();
    while let Some(byte) = rest.next() {
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digits = [*rest.next()?, *rest.next()?];
        let digits = std::str::from_utf8(&digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok().filter(|byte| *byte != 0)?);
    }
    Some(PathBuf::from(OsString::from_vec(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(size: u64) -> Item {
        Item::File { mode: 0o644, size, sha256: Digest::new([7; 32]) }
    }

    fn tree() -> Manifest {
        let mut tree = Manifest::default();
        tree.insert(PathBuf::new(), Item::Folder { mode: 0o755 });
        tree.insert("a".into(), Item::Folder { mode: 0o700 });
        tree.insert("a/b c%\n".into(), file(3));
        tree.insert("a.b".into(), Item::Same { to: "a/b c%\n".into() });
        let odd = PathBuf::from(OsString::from_vec(vec![0xff, b' ', 0xfe]));
        tree.insert(odd, Item::Link { target: "../../etc/passwd".into() });
        tree
    }

    // C221
    #[test]
    fn a_tree_has_one_written_form_whatever_its_names_are() {
        let text = tree().encode();
        assert!(text.starts_with("harness-tree 1\nd 755 .\nd 700 a\nf 644 3 0707"), "{text}");
        assert!(text.contains(" a/b%20c%25%0A\nh a/b%20c%25%0A a.b\n"), "{text}");
        assert!(text.ends_with("l ../../etc/passwd %FF%20%FE\n"), "{text}");
        assert_eq!(Manifest::decode(&text).unwrap(), tree());
    }

    #[test]
    fn what_would_lead_out_of_the_tree_is_no_tree() {
        let refused =
            |lines: &str| Manifest::decode(&format!("{HEADER}\nd 755 .\n{lines}")).unwrap_err();
        let sha = Digest::new([0; 32]);
        for (lines, why) in [
            ("d 755 ..\n".to_owned(), "elsewhere"),
            ("d 755 /etc\n".to_owned(), "elsewhere"),
            ("d 755 a\nd 755 a/../b\n".to_owned(), "elsewhere"),
            (format!("l /etc a\nf 644 1 {sha} a/passwd\n"), "in no folder"),
            ("h /etc/passwd a\n".to_owned(), "another name of nothing"),
            ("h b a\n".to_owned(), "another name of nothing"),
            (format!("f 4755 1 {sha} a\n"), "no entry"),
            (format!("f 0644 1 {sha} a\n"), "one written form"),
            (format!("f 644 1 {sha} %61\n"), "one written form"),
            (format!("f 644 1 {sha} a%00\n"), "no entry"),
            ("d 755 b\nd 755 a\n".to_owned(), "one written form"),
            ("d 755 a".to_owned(), "one written form"),
            ("d 755 a b\n".to_owned(), "no entry"),
            ("d 755 a\nd 755 a//b\n".to_owned(), "shorter form"),
            ("d 755 a/\n".to_owned(), "shorter form"),
        ] {
            let said = refused(&lines);
            assert!(said.contains(why), "{lines:?}: {said}");
        }
    }
}
