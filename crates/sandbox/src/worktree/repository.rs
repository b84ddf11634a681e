//! The repository that changes come from and go to: found, read, and written at one place, a branch.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::git::{Author, Git, line};
use crate::error::Error;

/// A repository of somebody's. Only [`Repository::bring`] and [`Repository::set`] change it: objects, and one branch.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    git: Git,
    /// Its folder of references and settings, which all its checkouts share.
    pub(crate) common: PathBuf,
    pub(crate) objects: PathBuf,
    /// How it names objects: `sha1` or `sha256`.
    pub(crate) format: String,
}

impl Repository {
    /// The repository whose top, or whose bare folder, a folder is; none further up is looked for. `git` refuses one of
    /// another account.
    pub(crate) fn find(git: &Git, folder: &Path) -> Result<Self, Error> {
        let step = "finding the repository";
        let real = fs::canonicalize(folder).map_err(Error::file("resolving", folder))?;
        let around = real.parent().unwrap_or(Path::new("/"));
        let found = git.with("GIT_CEILING_DIRECTORIES", around).run(
            step,
            [
                OsStr::new("-C"),
                real.as_os_str(),
                OsStr::new("rev-parse"),
                OsStr::new("--path-format=absolute"),
                OsStr::new("--show-object-format"),
                OsStr::new("--git-common-dir"),
            ],
        )?;
        let found =
            String::from_utf8(found).map_err(|_| Error::git(step, "a path that is no text"))?;
        let lines: Vec<&str> = found.lines().collect();
        let [format, common] = lines.as_slice() else {
            return Err(Error::git(step, "a path with a line break"));
        };
        let common = PathBuf::from(common);
        let objects = common.join("objects");
        if !objects.is_dir() {
            return Err(Error::git(step, "it has no folder of objects"));
        }
        let git = git.with("GIT_DIR", &common);
        Ok(Self { git, objects, format: (*format).to_owned(), common })
    }

    /// Has another `git` folder know where the history of this one ends, if it is cut off.
    pub(crate) fn lend(&self, git: Git) -> Git {
        let shallow = self.common.join("shallow");
        if shallow.is_file() { git.with("GIT_SHALLOW_FILE", shallow) } else { git }
    }

    /// What a branch stands at; nothing where there is no such branch.
    pub(crate) fn branch(&self, branch: &str) -> Result<Option<String>, Error> {
        let step = "reading a branch";
        let name = self.full_name(branch)?;
        let listed = self.git.run(
            step,
            ["for-each-ref", "--format=%(refname) %(symref) %(objectname) %(objecttype)", &name],
        )?;
        let listed = String::from_utf8_lossy(&listed).into_owned();
        // The name is a pattern to `git`: it lists what lies below, too.
        for entry in listed.lines() {
            let words: Vec<&str> = entry.split(' ').collect();
            match words.as_slice() {
                [found, "", commit, "commit"] if *found == name => {
                    return Ok(Some((*commit).to_owned()));
                }
                [found, ..] if *found == name => {
                    let problem =
                        "it stands for another branch, or for something that is no commit";
                    return Err(Error::Branch {
                        branch: branch.to_owned(),
                        problem: problem.into(),
                    });
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// What the repository stands at.
    pub(crate) fn head(&self) -> Result<String, Error> {
        let step = "reading what the repository stands at";
        line(step, self.git.run(step, ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])?)
    }

    /// Where a branch is checked out, if it is.
    pub(crate) fn checked_out(&self, branch: &str) -> Result<Option<PathBuf>, Error> {
        let wanted = format!("branch {}", self.full_name(branch)?);
        let listed =
            self.git.run("listing checkouts", ["worktree", "list", "--porcelain", "-z"])?;
        let mut place = None;
        let mut is_bare = false;
        for field in listed.split(|byte| *byte == 0) {
            if let Some(path) = field.strip_prefix(b"worktree ") {
                place = Some(PathBuf::from(OsStr::from_bytes(path)));
                is_bare = false;
            }
            is_bare |= field == b"bare";
            if field == wanted.as_bytes() && !is_bare {
                return Ok(place);
            }
        }
        Ok(None)
    }

    /// Takes in objects, each checked.
    pub(crate) fn bring(&self, pack: &Path) -> Result<(), Error> {
        let step = "taking in the changes";
        let mut pack = File::open(pack).map_err(Error::file("opening", pack))?;
        let said = self.git.tell(step, ["index-pack", "--stdin", "--strict"], |input| {
            io::copy(&mut pack, input).map(drop).map_err(Error::io("writing to git"))
        })?;
        said.done(step).map(drop)
    }

    /// Sets a branch, if it still stands where it stood; `from` is nothing where it must not be there.
    pub(crate) fn set(
        &self,
        branch: &str,
        to: &str,
        from: Option<&str>,
        author: &Author,
    ) -> Result<(), Error> {
        let step = "setting the branch";
        let name = self.full_name(branch)?;
        // Zeros say that it must not be there.
        let none = "0".repeat(to.len());
        author.line()?;
        let git = self.git.with("GIT_COMMITTER_NAME", &author.name);
        let git = git.with("GIT_COMMITTER_EMAIL", &author.email);
        let git = git.with("GIT_COMMITTER_DATE", format!("@{} +0000", author.at_s));
        let words = ["update-ref", "--no-deref", "-m", "harness: changes of a job"];
        let words = words.into_iter().chain([name.as_str(), to, from.unwrap_or(&none)]);
        let said = git.tell(step, words, |_| Ok(()))?;
        if said.status.success() {
            return Ok(());
        }
        // Whatever else is the matter: one that stands elsewhere is the common reason.
        if self.branch(branch)?.as_deref() != from {
            let problem = "it moved since the preview";
            return Err(Error::Branch { branch: branch.to_owned(), problem: problem.to_owned() });
        }
        Err(said.failed(step))
    }

    /// Takes a branch away, if it stands where it stood.
    pub(crate) fn remove(&self, branch: &str, stood_at: &str) -> Result<(), Error> {
        let name = self.full_name(branch)?;
        let words = ["update-ref", "--no-deref", "-d", name.as_str(), stood_at];
        self.git.run("taking the branch away", words).map(drop)
    }

    /// Whether a commit is among those that another one came from.
    pub(crate) fn leads(&self, from: &str, to: &str) -> Result<bool, Error> {
        let step = "comparing commits";
        if !is_name(from) || !is_name(to) {
            return Err(Error::git(step, "that is no name of a commit"));
        }
        let said = self.git.tell(step, ["merge-base", "--is-ancestor", from, to], |_| Ok(()))?;
        match said.status.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(said.failed(step)),
        }
    }

    /// The whole name of a branch, if that is a name.
    fn full_name(&self, branch: &str) -> Result<String, Error> {
        let name = format!("refs/heads/{branch}");
        let plain = !branch.starts_with('-') && !branch.contains(['\0', '\n']);
        let checked = plain && {
            let step = "checking the name of a branch";
            self.git.tell(step, ["check-ref-format", &name], |_| Ok(()))?.status.success()
        };
        if checked {
            return Ok(name);
        }
        let problem = "that is no name of a branch".to_owned();
        Err(Error::Branch { branch: branch.to_owned(), problem })
    }
}

/// Whether that is how `git` names an object.
pub(super) fn is_name(text: &str) -> bool {
    [40, 64].contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
