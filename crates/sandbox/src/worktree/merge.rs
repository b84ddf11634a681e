//! What a branch would come to with the changes of a job, and bringing them in.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    PACKS, Worktree,
    git::{Author, line},
    repository::is_name,
};
use crate::{
    capture::Captured,
    error::Error,
    workspace::{Change, Kind},
};

/// How much of the difference is shown, in bytes; the rest is counted.
const DIFF_MAX: u64 = 1 << 20;

/// The longest message of a commit, in bytes.
const MESSAGE_MAX: usize = 64 << 10;

/// How the changes come into the branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// There is nothing that the branch does not have.
    Nothing,
    /// The branch is new.
    NewBranch,
    /// The branch stands where the job started.
    FastForward,
    /// The branch went on since: both are merged.
    ThreeWay,
    /// Both changed the same: somebody has to say what is right.
    Conflict,
}

/// What a branch would come to with the changes of a job. Making it changes nothing but the folder of the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Preview {
    /// The branch.
    pub branch: String,
    /// What it stands at; nothing where it would be new.
    pub stands_at: Option<String>,
    /// The changes of the job as a commit on what it started from.
    pub commit: String,
    /// How they come into the branch.
    pub way: Way,
    /// Every path of the branch that would be different, and what would become of it.
    pub changes: Vec<Change>,
    /// Paths that both changed, each in its own way. Where there are any, nothing can be applied.
    pub conflicts: Vec<PathBuf>,
    /// The difference, line by line; where there are conflicts, that of the job alone.
    pub diff: Captured,
    /// Paths that were left out: `.git` in any spelling, sockets, pipes and devices, what lies in another repository.
    pub left_out: Vec<PathBuf>,
    /// How many new files were left out because the tree says to ignore them.
    pub ignored: usize,
    /// What the branch would hold.
    tree: String,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// The branch.
    pub branch: String,
    /// What it stood at before; nothing where it is new.
    pub stood_at: Option<String>,
    /// What it stands at.
    pub commit: String,
}

impl Worktree {
    /// Says what a branch would come to with what is in the folder now. Nothing runs in it meanwhile.
    ///
    /// `author` stands in the commit that is made of it; the same folder, author and time make the same commit.
    ///
    /// # Errors
    ///
    /// [`Error::Tree`] for more than the bounds allow, or what changes while it is read; [`Error::Branch`] for what is
    /// no branch; [`Error::Git`] where both have no history in common.
    pub fn preview(&self, branch: &str, author: &Author) -> Result<Preview, Error> {
        let stands_at = self.repository.branch(branch)?;
        let captured = self.capture(author)?;
        let base = &self.job.base;
        let mut preview = Preview {
            branch: branch.to_owned(),
            way: Way::NewBranch,
            tree: format!("{}^{{tree}}", captured.commit),
            commit: captured.commit,
            changes: Vec::new(),
            conflicts: Vec::new(),
            diff: Captured::default(),
            left_out: captured.left_out,
            ignored: captured.ignored,
            stands_at,
        };
        let mut from = base.clone();
        if let Some(target) = preview.stands_at.clone() {
            if target == *base {
                preview.way = Way::FastForward;
            } else {
                self.merge(&target, &mut preview)?;
            }
            if preview.conflicts.is_empty() {
                from = target;
            }
        }
        let to = match preview.conflicts.is_empty() {
            true => preview.tree.clone(),
            false => preview.commit.clone(),
        };
        preview.changes = self.changes(&from, &to)?;
        preview.diff = self.difference(&from, &to)?;
        if preview.changes.is_empty() && preview.stands_at.is_some() {
            preview.way = Way::Nothing;
        }
        Ok(preview)
    }

    /// Merges in the objects of the job alone: no checkout, no index.
    fn merge(&self, target: &str, preview: &mut Preview) -> Result<(), Error> {
        let step = "merging";
        let words = ["merge-tree", "--write-tree", "-z", "--no-messages", "--name-only"];
        let words = words.into_iter().chain([target, preview.commit.as_str()]);
        let said = self.git.tell(step, words, |_| Ok(()))?;
        preview.way = match said.status.code() {
            Some(0) => Way::ThreeWay,
            Some(1) => Way::Conflict,
            _ => return Err(said.failed(step)),
        };
        let mut fields = said.output.bytes.split(|byte| *byte == 0);
        let tree = fields.next().map(|tree| String::from_utf8_lossy(tree).into_owned());
        let tree = tree.filter(|tree| is_name(tree));
        preview.tree = tree.ok_or_else(|| Error::git(step, "it said no tree"))?;
        let paths = fields.filter(|path| !path.is_empty());
        preview.conflicts = paths.map(|path| PathBuf::from(OsStr::from_bytes(path))).collect();
        if said.output.dropped > 0 || (preview.way == Way::Conflict) == preview.conflicts.is_empty()
        {
            return Err(Error::git(step, "what it said of conflicts contradicts how it ended"));
        }
        Ok(())
    }

    fn changes(&self, from: &str, to: &str) -> Result<Vec<Change>, Error> {
        let step = "listing the changes";
        let words = ["diff-tree", "-r", "-z", "--no-renames", "--name-status", from, to];
        let listed = self.git.run(step, words)?;
        let mut fields = listed.split(|byte| *byte == 0).filter(|field| !field.is_empty());
        let mut changes = Vec::new();
        while let (Some(kind), Some(path)) = (fields.next(), fields.next()) {
            let kind = match kind {
                b"A" => Kind::Added,
                b"D" => Kind::Deleted,
                _ => Kind::Changed,
            };
            changes.push(Change { path: PathBuf::from(OsStr::from_bytes(path)), kind });
        }
        changes.sort();
        Ok(changes)
    }

    fn difference(&self, from: &str, to: &str) -> Result<Captured, Error> {
        let step = "showing the changes";
        let words = ["diff-tree", "-r", "-p", "--no-ext-diff", "--no-textconv", "--no-color"];
        let words = words.into_iter().chain(["--no-renames", "--submodule=short", from, to]);
        let said = self.git.tell_up_to(DIFF_MAX, step, words, |_| Ok(()))?;
        if said.status.success() { Ok(said.output) } else { Err(said.failed(step)) }
    }

    /// Brings exactly what a preview showed into its branch. Checkouts are not touched: a branch that is checked out
    /// somewhere is refused, for what is not committed there would seem to take the changes back.
    ///
    /// # Errors
    ///
    /// [`Error::Branch`] where there are conflicts, the branch moved since, or it is checked out. Nothing was changed
    /// then.
    pub fn apply(
        &self,
        preview: &Preview,
        author: &Author,
        message: &str,
    ) -> Result<Applied, Error> {
        let branch = preview.branch.clone();
        let refused = |problem: String| Err(Error::Branch { branch: branch.clone(), problem });
        match preview.way {
            Way::Conflict => {
                let first = preview.conflicts.first().map(|path| path.display().to_string());
                let (count, first) = (preview.conflicts.len(), first.unwrap_or_default());
                return refused(format!("{count} paths conflict, `{first}` among them"));
            }
            Way::Nothing => return refused("it has all of it".to_owned()),
            Way::NewBranch | Way::FastForward | Way::ThreeWay => {}
        }
        if message.trim().is_empty() || message.len() > MESSAGE_MAX || message.contains('\0') {
            let problem = format!("the message is empty, or above {MESSAGE_MAX} bytes");
            return Err(Error::git("writing a commit", problem));
        }
        if self.repository.branch(&branch)? != preview.stands_at {
            return refused("it moved since the preview".to_owned());
        }
        if let Some(place) = self.repository.checked_out(&branch)? {
            let problem = "it is checked out in";
            return refused(format!(
                "{problem} {}; name another, and merge there",
                place.display()
            ));
        }
        let commit = self.commit(preview, author, message)?;
        self.hand_over(&commit, preview)?;
        let stood_at = preview.stands_at.clone();
        self.repository.set(&branch, &commit, stood_at.as_deref(), author)?;
        Ok(Applied { branch: branch.clone(), stood_at, commit })
    }

    /// One commit with the message: on what the job started from, or of both.
    fn commit(&self, preview: &Preview, author: &Author, message: &str) -> Result<String, Error> {
        let step = "writing a commit";
        author.line()?;
        let date = format!("@{} +0000", author.at_s);
        let mut git = self.git.clone();
        for (name, value) in [
            ("GIT_AUTHOR_NAME", &author.name),
            ("GIT_AUTHOR_EMAIL", &author.email),
            ("GIT_AUTHOR_DATE", &date),
            ("GIT_COMMITTER_NAME", &author.name),
            ("GIT_COMMITTER_EMAIL", &author.email),
            ("GIT_COMMITTER_DATE", &date),
        ] {
            git = git.with(name, value);
        }
        let mut words = vec!["commit-tree", preview.tree.as_str()];
        match (&preview.way, &preview.stands_at) {
            (Way::ThreeWay, Some(target)) => {
                words.extend(["-p", target.as_str(), "-p", preview.commit.as_str()]);
            }
            _ => words.extend(["-p", self.job.base.as_str()]),
        }
        let said = git.tell(step, words, |input| {
            input.write_all(message.as_bytes()).map_err(Error::io("writing to git"))
        })?;
        line(step, said.done(step)?)
    }

    /// Packs what the repository does not have, and lets it take that in.
    fn hand_over(&self, commit: &str, preview: &Preview) -> Result<(), Error> {
        let step = "packing the changes";
        let packs = self.folder.join(PACKS);
        let words = ["pack-objects", "--revs", "--quiet"].map(OsStr::new);
        let out = packs.join("out");
        let said = self.git.tell(step, words.into_iter().chain([out.as_os_str()]), |input| {
            let target = preview.stands_at.as_ref().map(|target| format!("^{target}\n"));
            let base = &self.job.base;
            let asked = format!("{commit}\n^{base}\n{}", target.unwrap_or_default());
            input.write_all(asked.as_bytes()).map_err(Error::io("writing to git"))
        })?;
        let name = line(step, said.done(step)?)?;
        if !is_name(&name) {
            return Err(Error::git(step, "it said no name of a pack"));
        }
        let pack = packs.join(format!("out-{name}.pack"));
        let brought = self.repository.bring(&pack);
        clear(&packs);
        brought
    }
}

fn clear(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        fs::remove_file(entry.path()).unwrap_or(());
    }
}
