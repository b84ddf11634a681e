//! Taking back what was brought into a branch.

use std::path::Path;

use super::{Author, Worktrees, repository::Repository};
use crate::error::Error;

impl Worktrees {
    /// Sets a branch back to what it stood at before changes were brought into it, takes it away where it was new, or
    /// brings back what was taken back. The changes themselves stay in the folder of their job.
    ///
    /// # Errors
    ///
    /// [`Error::Branch`] where the branch stands elsewhere by now, is checked out, or neither commit came from the other.
    /// Nothing was changed then.
    pub fn take_back(
        &self,
        repository: &Path,
        (branch, from, to): (&str, Option<&str>, Option<&str>),
        author: &Author,
    ) -> Result<(), Error> {
        let repository = Repository::find(&self.git, repository)?;
        let refused = |problem: &str| {
            Err(Error::Branch { branch: branch.to_owned(), problem: problem.to_owned() })
        };
        if repository.branch(branch)?.as_deref() != from {
            return refused("it moved since the changes were brought in");
        }
        if repository.checked_out(branch)?.is_some() {
            return refused("it is checked out; check another one out there first");
        }
        match (from, to) {
            (None, None) => refused("there is nothing to set it to"),
            (Some(from), None) => repository.remove(branch, from),
            (None, Some(to)) => repository.set(branch, to, None, author),
            (Some(one), Some(other)) => {
                if repository.leads(other, one)? || repository.leads(one, other)? {
                    repository.set(branch, other, Some(one), author)
                } else {
                    refused("it never stood at what it would be set to")
                }
            }
        }
    }
}
