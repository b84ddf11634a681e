//! From a commit to the folder of a job, and from what is in the folder to a commit.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::{
    TREE, Worktree,
    git::{Author, Git, line},
    names::is_of_git,
    repository::Repository,
};
use crate::{
    error::Error,
    tree::{
        Bounds, Digest, Item, Layers, Manifest, Reading, Seen, Specials, Take, digest_of, read,
    },
};

/// Where the changes of a job stand in its own `git` folder.
const REFERENCE: &str = "refs/heads/job";

/// What names the folder that `git` works in; only two steps have one.
const WORK_TREE: &str = "GIT_WORK_TREE";

/// How a path begins that is no more than a path.
const HERE: &[u8] = b"./";

/// What files are called that say what is ignored.
const IGNORE: &str = ".gitignore";

/// What attributes in a tree may not do: change bytes on their way in or out.
const ATTRIBUTES: &str = "* -text -crlf -ident -filter !eol !working-tree-encoding\n";

/// What the changes come to.
#[derive(Debug)]
pub(super) struct Captured {
    /// The commit; the one that the job started from where nothing changed.
    pub(super) commit: String,
    /// Paths that were left out: `.git`, special files, what lies in another repository.
    pub(super) left_out: Vec<PathBuf>,
    /// Files that are new and that the tree says to ignore.
    pub(super) ignored: usize,
}

/// Makes the `git` folder of a job: nothing in it is from the repository, which only lends its objects.
pub(super) fn prepare(git: &Git, folder: &Path, repository: &Repository) -> Result<(), Error> {
    let step = "making the folder of the job";
    let format = format!("--object-format={}", repository.format);
    let words = ["init", "--quiet", "--bare", "--template=", "--initial-branch=none", &format];
    git.run(step, words.iter().map(OsStr::new).chain([folder.as_os_str()]))?;
    let mut lent = repository.objects.as_os_str().as_bytes().to_vec();
    lent.push(b'\n');
    for (name, bytes) in
        [("objects/info/alternates", lent.as_slice()), ("info/attributes", ATTRIBUTES.as_bytes())]
    {
        let path = folder.join(name);
        let around = path.parent().map_or(Ok(()), fs::create_dir_all);
        around.and_then(|()| fs::write(&path, bytes)).map_err(Error::file("writing", &path))?;
    }
    Ok(())
}

/// Puts what a commit holds into the empty folder of a job, and gives the folders of other repositories in it.
pub(super) fn checkout(
    git: &Git,
    tree: &Path,
    commit: &str,
    bounds: Bounds,
) -> Result<Vec<PathBuf>, Error> {
    let step = "reading what the commit holds";
    let listed = git.run(step, ["ls-tree", "-r", "-z", "-l", "--full-tree", commit])?;
    let (mut entries, mut bytes, mut submodules) = (0_usize, 0_u64, Vec::new());
    for entry in listed.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()) {
        let strange = || Error::git(step, "it said something else than a list");
        let at = entry.iter().position(|byte| *byte == b'\t').ok_or_else(strange)?;
        let (facts, path) = entry.split_at(at);
        let facts = String::from_utf8_lossy(facts).into_owned();
        let path = PathBuf::from(OsStr::from_bytes(path.get(1..).unwrap_or_default()));
        let mut words = facts.split_whitespace();
        let size = words.nth(3).ok_or_else(strange)?;
        entries += 1;
        if facts.starts_with("160000 ") {
            submodules.push(path);
            continue;
        }
        bytes = bytes.saturating_add(size.parse().map_err(|_| strange())?);
        if entries > bounds.entries || bytes > bounds.bytes {
            let Bounds { entries, bytes } = bounds;
            let problem = format!("is more than the {entries} entries or {bytes} bytes of a tree");
            return Err(Error::tree(&path, problem));
        }
    }
    git.run("reading the commit", ["read-tree", commit])?;
    let filling = git.with(WORK_TREE, tree);
    filling.run("filling the folder", ["checkout-index", "--all", "--quiet"])?;
    Ok(submodules)
}

/// What is in the folder of a job now.
pub(super) fn scan(tree: &Path, submodules: &[PathBuf], bounds: Bounds) -> Result<Seen, Error> {
    let take = |path: &Path| match is_of_git(path) || submodules.iter().any(|s| s == path) {
        true => Take::LeaveOut,
        false => Take::Yes,
    };
    let most = bounds.bytes;
    let mut file = |path: &Path, file: &mut File| {
        digest_of(file, &mut io::sink(), most).map_err(Error::file("reading", path))
    };
    let reading = Reading { bounds, specials: Specials::LeaveOut, take: &take, file: &mut file };
    let mut seen = read(Layers::plain(tree)?, reading)?;
    // The place of another repository is empty, unless the job put something there.
    seen.left_out.retain(|path| {
        let is_place = submodules.contains(path);
        let mut held = fs::read_dir(tree.join(path)).into_iter().flatten();
        !is_place || held.next().is_some()
    });
    Ok(seen)
}

/// What `git` knows of an item: what it holds, and whether it is executable. It knows no folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known<'a> {
    File { is_program: bool, size: u64, sha256: Digest },
    Link(&'a Path),
}

fn known<'a>(manifest: &'a Manifest, path: &Path) -> Option<Known<'a>> {
    match manifest.get(path)? {
        Item::Folder { .. } => None,
        Item::File { mode, size, sha256 } => {
            Some(Known::File { is_program: mode & 0o100 != 0, size: *size, sha256: *sha256 })
        }
        Item::Link { target } => Some(Known::Link(target)),
        Item::Same { to } => known(manifest, to),
    }
}

impl Worktree {
    /// Makes a commit of what is in the folder now, in the `git` folder of the job.
    pub(super) fn capture(&self, author: &Author) -> Result<Captured, Error> {
        let tree = self.folder.join(TREE);
        let seen = scan(&tree, &self.job.submodules, self.bounds)?;
        // Reading a pipe would wait for somebody to write to it.
        if let Some(path) = seen.left_out.iter().find(|path| path.ends_with(IGNORE)) {
            return Err(Error::tree(path, "is no file, and what it is `git` would wait for"));
        }
        let (before, now) = (&self.base, &seen.manifest);
        let is_new = |path: &&Path| known(before, path).is_none();
        let added = now.iter().map(|(path, _)| path).filter(|path| known(now, path).is_some());
        let ignored = self.ignored(&added.filter(is_new).collect::<Vec<_>>())?;
        let gone = before.iter().map(|(path, _)| path);
        let gone = gone.filter(|path| known(before, path).is_some() && known(now, path).is_none());
        let gone: Vec<&Path> = gone.collect();
        let there = now.iter().map(|(path, _)| path);
        let there = there.filter(|path| {
            let new = known(now, path);
            new.is_some() && new != known(before, path) && !ignored.contains(*path)
        });
        let there: Vec<&Path> = there.collect();
        let mut captured = Captured {
            commit: self.job.base.clone(),
            left_out: seen.left_out,
            ignored: ignored.len(),
        };
        if gone.is_empty() && there.is_empty() {
            return Ok(captured);
        }
        let step = "keeping the changes";
        let words = ["fast-import", "--quiet", "--done", "--force", "--date-format=raw"];
        let author = author.line()?;
        let said = self.git.tell(step, words, |input| {
            let message = format!("Changes of {}\n", self.name);
            let mut head = format!("commit {REFERENCE}\nmark :1\ncommitter {author}\n");
            write!(head, "data {}\n{message}from {}\n", message.len(), self.job.base).unwrap_or(());
            input.write_all(head.as_bytes()).map_err(Error::io("writing to git"))?;
            for path in gone {
                let gone = format!("D {}\n", quote(path));
                input.write_all(gone.as_bytes()).map_err(Error::io("writing to git"))?;
            }
            for path in there {
                known(now, path).map_or(Ok(()), |what| send(&tree, path, what, input))?;
            }
            input.write_all(b"\nget-mark :1\ndone\n").map_err(Error::io("writing to git"))
        })?;
        captured.commit = line(step, said.done(step)?)?;
        Ok(captured)
    }

    /// Which of these paths the tree says to ignore. The files that say so are read by `git`, as patterns.
    fn ignored(&self, paths: &[&Path]) -> Result<BTreeSet<PathBuf>, Error> {
        if paths.is_empty() {
            return Ok(BTreeSet::new());
        }
        let step = "finding what is ignored";
        // This one step takes no literal paths. `HERE` keeps a colon from being read as more than a name.
        let git =
            self.git.with(WORK_TREE, self.folder.join(TREE)).with("GIT_LITERAL_PATHSPECS", "0");
        let said = git.tell(step, ["check-ignore", "--no-index", "-z", "--stdin"], |input| {
            for path in paths {
                let bytes = [HERE, path.as_os_str().as_bytes(), b"\0"].concat();
                input.write_all(&bytes).map_err(Error::io("writing to git"))?;
            }
            Ok(())
        })?;
        // 1 says that there is none.
        if said.status.code() == Some(1) {
            return Ok(BTreeSet::new());
        }
        let listed = said.done(step)?;
        let listed = listed.split(|byte| *byte == 0).filter_map(|path| path.strip_prefix(HERE));
        Ok(listed.map(|path| PathBuf::from(OsStr::from_bytes(path))).collect())
    }
}

/// One file or link, as it was seen: what became something else since is an error.
fn send(tree: &Path, path: &Path, what: Known<'_>, input: &mut dyn Write) -> Result<(), Error> {
    let telling = || Error::io("writing to git");
    let (mode, size) = match what {
        Known::Link(target) => {
            let target = target.as_os_str().as_bytes();
            let head = format!("M 120000 inline {}\ndata {}\n", quote(path), target.len());
            let bytes = [head.as_bytes(), target, b"\n"].concat();
            return input.write_all(&bytes).map_err(telling());
        }
        Known::File { is_program: true, size, .. } => ("100755", size),
        Known::File { is_program: false, size, .. } => ("100644", size),
    };
    let head = format!("M {mode} inline {}\ndata {size}\n", quote(path));
    input.write_all(head.as_bytes()).map_err(telling())?;
    let folder = File::open(tree).map_err(Error::file("opening", tree))?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let file = openat2(folder, path, flags, Mode::empty(), inside);
    let mut file = File::from(file.map_err(Error::file("opening", path))?).take(size);
    let (sha256, sent) = digest_of(&mut file, &mut &mut *input, size).map_err(telling())?;
    if !matches!(what, Known::File { sha256: seen, .. } if seen == sha256 && sent == size) {
        return Err(Error::tree(path, "changed while it was read; nothing may run in there"));
    }
    input.write_all(b"\n").map_err(telling())
}

/// A path as `git` reads it: what is no plain sign stands as its number.
fn quote(path: &Path) -> String {
    let mut text = String::from("\"");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'"' | b'\\' => write!(text, "\\{}", char::from(*byte)).unwrap_or(()),
            0x20..=0x7e => text.push(char::from(*byte)),
            _ => write!(text, "\\{byte:03o}").unwrap_or(()),
        }
    }
    text.push('"');
    text
}
