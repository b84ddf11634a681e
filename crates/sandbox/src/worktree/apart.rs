//! What the folder of a job keeps apart, and running a program in it.

use std::path::Path;

use serde::Serialize;

use super::Worktree;
use crate::{
    Sandbox, Tier,
    child::Child,
    error::Error,
    local::{Command, Enforcement},
    paths::resolve,
    profile::Profile,
};

/// Whether something is kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// It is, by the folder of the job.
    ByFolder,
    /// It is, by the sandbox that programs of the job run in.
    BySandbox,
    /// It is not.
    No,
}

/// What is kept apart between jobs, and between a job and the host. A folder of its own keeps changes apart and nothing
/// else; what a program may do is held by its sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Separation {
    /// What a job changes is not in the repository, its checkouts or the folders of other jobs until it is applied.
    pub changes: Kept,
    /// A program of a job sees the files of other jobs.
    pub files: Kept,
    /// A program of a job reaches processes and network of the host.
    pub processes: Kept,
    /// How much a job writes is limited while it writes: not by this. It is counted when the changes are looked at.
    pub size: Kept,
    /// How far the limits of the sandbox reach, where there is one.
    pub limits: Option<Enforcement>,
}

impl Worktree {
    /// What is kept apart where programs of the job run in a sandbox, or in none.
    ///
    /// # Errors
    ///
    /// As [`Worktree::spawn`] does, before anything runs.
    pub fn separation(
        &self,
        sandbox: Option<(&dyn Sandbox, &Profile)>,
    ) -> Result<Separation, Error> {
        let none = Separation {
            changes: Kept::ByFolder,
            files: Kept::No,
            processes: Kept::No,
            size: Kept::No,
            limits: None,
        };
        let Some((sandbox, profile)) = sandbox else { return Ok(none) };
        let profile = self.profile(sandbox, profile)?;
        let limits = Some(sandbox.check(&profile)?);
        Ok(Separation { files: Kept::BySandbox, processes: Kept::BySandbox, limits, ..none })
    }

    /// Runs a program in the folder of the job, in the isolated tier or a container: the folder is the only one of the host's that it
    /// may write to, and no other job is visible.
    ///
    /// # Errors
    ///
    /// [`Error::Profile`] for another tier, for a profile that writes to the host, or that shows other jobs; otherwise
    /// as [`Sandbox::spawn`].
    pub fn spawn(
        &self,
        sandbox: &dyn Sandbox,
        profile: &Profile,
        command: Command,
    ) -> Result<Child, Error> {
        sandbox.spawn(&self.profile(sandbox, profile)?, command)
    }

    fn profile(&self, sandbox: &dyn Sandbox, profile: &Profile) -> Result<Profile, Error> {
        if sandbox.tier() < Tier::Isolated {
            let problem =
                "a job runs in the isolated tier: its folder keeps changes apart, not processes";
            return Err(Error::profile("tier", problem));
        }
        if !profile.paths.write.is_empty() || profile.mounts.workspace.is_some() {
            let problem = "a job writes to its own folder and to no other";
            return Err(Error::profile("paths.write or mounts.workspace", problem));
        }
        if profile.run_as.is_some() {
            return Err(Error::profile(
                "run_as",
                "the folder of a job belongs to the caller's account",
            ));
        }
        let binds = profile.mounts.read.iter().map(|bind| ("mounts.read.from", &bind.from));
        let reads = profile.paths.read.iter().map(|path| ("paths.read", path));
        for (field, path) in reads.chain(binds) {
            let real = resolve(field, path)?;
            if overlaps(&real, &self.all) {
                let problem = format!("{} shows what other jobs do", path.display());
                return Err(Error::profile(field, problem));
            }
        }
        let mut held = profile.clone();
        let tree = self.path();
        held.paths.write.push(tree.clone());
        held.folder.get_or_insert(tree);
        Ok(held)
    }
}

fn overlaps(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}
