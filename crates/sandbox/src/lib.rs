//! Isolated execution: a profile of what a program may reach is burned into its process before it starts, by what the
//! kernel offers, and nothing inside can ask for more.
//!
//! - A [`Profile`] says what may be reached; what is not named is not there. One that this machine cannot hold is
//!   refused by an error that names what is missing.
//! - A [`Sandbox`] runs a [`Command`] under a profile. [`Local`] has two tiers: *restricted* and *isolated*.
//! - The host program executes itself to start one: [`launcher::main_if_asked`] comes first in its `main`.
//! - [`Container`] runs programs on the tree of an image, by a rootless engine.
//! - [`Worktrees`] keeps the changes of jobs on a repository apart, [`Snapshots`] keeps whole trees.
//! - [`selftest`] tries to get out, and reports what this machine really holds.
//!
//! This is the one crate that holds `unsafe`, all of it in `sys.rs`. It must not know any other crate of ours. It is
//! synchronous; a [`Child`] has a descriptor that an asynchronous caller can wait on.
//!
//! Start at `profile.rs`, then `local.rs` (the supervisor), `launcher/guard.rs` and `confine.rs`.

mod capture;
mod cgroup;
mod child;
mod confine;
mod container;
mod control;
mod door;
mod error;
pub mod launcher;
mod local;
mod microvm;
mod paths;
#[doc(hidden)]
pub mod probe;
mod profile;
mod scratch;
mod selftest;
mod snapshot;
mod step;
mod sys;
mod tree;
mod wire;
mod workspace;
mod worktree;

use std::fmt;

pub use capture::Captured;
pub use child::{Child, End, Finished, Leash, Limit, Outcome};
pub use container::{Container, Engine, Pinned};
pub use control::Control;
pub use door::Door;
pub use error::{Error, Feature};
pub use local::{Command, Enforcement, Holder, Input, Local, Output};
pub use microvm::MicroVm;
pub use profile::{
    Account, Bind, DEADLINE_MAX_MS, ENTRIES_MAX, Limits, Mounts, Paths, Profile, System, Tmpfs,
    Workspace,
};
#[doc(hidden)]
pub use selftest::Ground;
pub use selftest::{Claim, Refused, Report, State, TierReport, selftest};
use serde::{Deserialize, Serialize};
pub use snapshot::{Artifact, Snapshot, Snapshots, Source, Swept};
pub use tree::{Bounds, Digest, Item, Manifest};
pub use workspace::{Change, Kind, diff};
pub use worktree::{Applied, Author, Kept, Preview, Separation, Start, Way, Worktree, Worktrees};

/// How much stands between a program and the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// On the host's tree and process numbers, confined by Landlock, seccomp and limits: for connectors.
    Restricted,
    /// In namespaces of its own besides, where only what it was given exists: for shells, code and what others wrote.
    Isolated,
    /// In a container of a rootless engine, on the tree of an image: see [`Container`].
    Container,
    /// On a kernel of its own: see [`MicroVm`].
    #[serde(rename = "microvm")]
    MicroVm,
}

impl Tier {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Restricted => "restricted",
            Self::Isolated => "isolated",
            Self::Container => "container",
            Self::MicroVm => "microvm",
        }
    }
}

/// Runs programs under profiles.
pub trait Sandbox: fmt::Debug + Send + Sync {
    /// How much stands between a program and the host.
    fn tier(&self) -> Tier;

    /// Whether a profile can be held here, and how far its limits reach.
    ///
    /// # Errors
    ///
    /// What is wrong with the profile, or what this machine is known to lack. Some of that shows only in `spawn`.
    fn check(&self, profile: &Profile) -> Result<Enforcement, Error>;

    /// Starts a program. When this returns it runs, confined; paths were resolved now and are not followed later.
    ///
    /// # Errors
    ///
    /// Whatever kept it from starting under exactly this profile. Nothing runs then, and nothing is left.
    fn spawn(&self, profile: &Profile, command: Command) -> Result<Child, Error>;
}
