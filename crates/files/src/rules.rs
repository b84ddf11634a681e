//! What `.gitignore` and `.ignore` files say, read through descriptors like everything else.
//!
//! As in ripgrep: what an `.ignore` says anywhere above goes before every `.gitignore`; among files of one kind the
//! nearest one that says anything decides. Unlike git, a `.gitignore` counts whether or not there is a repository, and
//! what is configured outside of the root never counts.

use std::{
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use ignore::{
    Match,
    gitignore::{Gitignore, GitignoreBuilder},
};
use rustix::fs::OFlags;

use crate::{
    beneath::Links,
    list::Kind,
    read,
    root::{READ, Root, open_name, regular},
    walk::Items,
};

/// Largest file of rules, in bytes; a larger one says nothing.
const RULES_BYTES_MAX: u64 = 1 << 20;

/// The rules of a folder and of those above it.
#[derive(Debug)]
pub(crate) struct Rules {
    upper: Option<Arc<Rules>>,
    /// How many bytes of a path from the root lie before the names that these rules are about.
    prefix: usize,
    git: Option<Gitignore>,
    plain: Option<Gitignore>,
}

impl Rules {
    /// The rules of the folders above one, from the root on.
    pub(crate) fn above(root: &Root, folder: &str) -> Option<Arc<Self>> {
        let mut rules = None;
        let ends = folder.match_indices('/').map(|(at, _)| at);
        for end in std::iter::once(0).chain(ends).filter(|_| !folder.is_empty()) {
            let upper = folder.get(..end).unwrap_or_default();
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            if let Ok(fd) = root.resolve(upper, flags, Links::Inside) {
                rules = Self::read(fd.as_fd(), upper, rules, |_| true);
            }
        }
        rules
    }

    /// The rules in a folder, below those above it.
    pub(crate) fn of(
        folder: BorrowedFd<'_>,
        path: &str,
        items: &Items,
        upper: Option<Arc<Self>>,
    ) -> Option<Arc<Self>> {
        let has = |name: &str| {
            let found = items.items.binary_search_by(|item| item.name.as_str().cmp(name));
            found.is_ok_and(|at| items.items.get(at).is_some_and(|item| item.kind == Kind::File))
        };
        Self::read(folder, path, upper, has)
    }

    fn read(
        folder: BorrowedFd<'_>,
        path: &str,
        upper: Option<Arc<Self>>,
        has: impl Fn(&str) -> bool,
    ) -> Option<Arc<Self>> {
        let file = |name: &str| if has(name) { parse(folder, name) } else { None };
        let (git, plain) = (file(".gitignore"), file(".ignore"));
        if git.is_none() && plain.is_none() {
            return upper;
        }
        let prefix = if path.is_empty() { 0 } else { path.len() + 1 };
        Some(Arc::new(Self { upper, prefix, git, plain }))
    }

    /// Whether a path, from the root, is to be left out.
    pub(crate) fn ignores(&self, path: &str, kind: Kind) -> bool {
        let decided = self.decide(path, kind, |rules| rules.plain.as_ref());
        decided.or_else(|| self.decide(path, kind, |rules| rules.git.as_ref())).unwrap_or(false)
    }

    fn decide(
        &self,
        path: &str,
        kind: Kind,
        of: impl Fn(&Self) -> Option<&Gitignore>,
    ) -> Option<bool> {
        let mut next = Some(self);
        while let Some(rules) = next {
            if let Some(file) = of(rules) {
                let below = path.get(rules.prefix..).unwrap_or(path);
                match file.matched(below, kind == Kind::Folder) {
                    Match::Ignore(_) => return Some(true),
                    Match::Whitelist(_) => return Some(false),
                    Match::None => {}
                }
            }
            next = rules.upper.as_deref();
        }
        None
    }
}

/// A file of rules; lines that mean nothing are passed over, as git does.
fn parse(folder: BorrowedFd<'_>, name: &str) -> Option<Gitignore> {
    let (mut file, _) = regular(name, open_name(folder, name, READ).ok()?).ok()?;
    let content = read::whole(name, &mut file, RULES_BYTES_MAX).ok()?;
    let content = String::from_utf8_lossy(&content);
    let mut builder = GitignoreBuilder::new("");
    for line in content.trim_start_matches('\u{feff}').lines() {
        match builder.add_line(None, line) {
            Ok(_) | Err(_) => {}
        }
    }
    builder.build().ok().filter(|rules| !rules.is_empty())
}
