//! Attempts to get out. The self-test and the tests run them inside of a sandbox; each says whether it was held or what
//! it reached. An attempt that was held proves something only where a test shows that it reaches without the controls
//! it names.

mod abuse;
mod calls;
mod files;
mod net;
mod others;

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use crate::{Tier, control::Control};

/// What stands outside for the attempts to reach for. Made by whoever runs them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Fixture {
    /// Which attempts to make; all where it is empty.
    pub only: Vec<String>,
    /// A folder of the same account that no profile opens: `secret` (a file), `program`, `socket`, `folder/`.
    pub outside: PathBuf,
    /// What `secret` and the leaked descriptor hold.
    pub canary: String,
    /// A TCP port on the loopback address where somebody listens.
    pub tcp_port: u16,
    /// A UDP port on the loopback address where somebody listens.
    pub udp_port: u16,
    /// An abstract socket where somebody listens.
    pub abstract_name: String,
    /// A process of the same account outside.
    pub victim: i32,
    /// The number of a descriptor that was open and inheritable when the sandbox was started.
    pub leaked: i32,
    /// The key of a shared memory segment outside.
    pub segment: i32,
    /// A folder of the host that the profile opens for reading.
    pub readable: PathBuf,
    /// The limits that hold, to be overrun.
    pub memory_bytes: u64,
    /// As above.
    pub file_bytes: u64,
    /// As above.
    pub open_files: u64,
    /// As above.
    pub processes: u64,
    /// As above, where a file system holds it.
    pub scratch_bytes: u64,
    /// The names of all variables that the profile gives.
    pub variables: Vec<String>,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tried {
    /// It was held; this is how it showed.
    Held(String),
    /// It reached what it should not.
    Reached(String),
}

/// One line of what the probe says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Said {
    /// The attempt.
    pub name: String,
    /// What came of it.
    pub tried: Tried,
}

/// A way to try to get out.
#[derive(Clone, Copy)]
pub struct Attempt {
    /// Its name.
    pub name: &'static str,
    /// What holds it in the restricted tier: without exactly these it reaches. Nothing in here means that no set of
    /// controls can be taken away that would show it; `None` that the tier does not claim to hold it.
    pub restricted: Option<&'static [Control]>,
    /// The same for the isolated tier.
    pub isolated: Option<&'static [Control]>,
    /// Makes the attempt.
    pub run: fn(&Fixture) -> Tried,
}

impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Attempt {
    /// What holds it in a tier.
    #[must_use]
    pub fn held_by(&self, tier: Tier) -> Option<&'static [Control]> {
        match tier {
            Tier::Restricted => self.restricted,
            Tier::Isolated => self.isolated,
            Tier::Container | Tier::MicroVm => None,
        }
    }
}

/// Every attempt.
#[must_use]
pub fn attempts() -> Vec<Attempt> {
    // What was inherited first: the rest opens descriptors of its own.
    let groups = [others::ATTEMPTS, files::ATTEMPTS, net::ATTEMPTS, abuse::ATTEMPTS];
    let written = groups.into_iter().flatten().copied();
    written.chain(calls::attempts()).collect()
}

/// What this process was started to do inside: `try FIXTURE` makes attempts, the rest abuses or waits.
pub(crate) fn run(arguments: Vec<OsString>) -> i32 {
    let mut words = arguments.iter().filter_map(|word| word.to_str());
    match (words.next(), words.next()) {
        (Some("try"), Some(fixture)) => match serde_json::from_str(fixture) {
            Ok(fixture) => try_all(&fixture),
            Err(_) => 2,
        },
        // Lives as long as its input does.
        (Some("wait"), _) => i32::from(io::stdin().read_to_end(&mut Vec::new()).is_err()),
        (Some("euid"), _) => i32::from(rustix::process::geteuid().is_root()),
        (Some(abuse), word) => abuse::run(abuse, word),
        (None, _) => 2,
    }
}

fn try_all(fixture: &Fixture) -> i32 {
    // Where a test left the tree of its own out, this is the host's folder: it goes again.
    let folder = std::env::temp_dir().join(&fixture.canary);
    let entered = std::fs::create_dir(&folder).and_then(|()| std::env::set_current_dir(&folder));
    if entered.is_err() {
        return 1;
    }
    let status = try_each(fixture);
    crate::scratch::remove(&folder);
    status
}

fn try_each(fixture: &Fixture) -> i32 {
    let mut output = io::stdout();
    for attempt in attempts() {
        if !fixture.only.is_empty() && !fixture.only.iter().any(|name| name == attempt.name) {
            continue;
        }
        let tried = calls::make(attempt.name).unwrap_or_else(|| (attempt.run)(fixture));
        let said = Said { name: attempt.name.to_owned(), tried };
        let line = serde_json::to_string(&said).unwrap_or_default();
        if writeln!(output, "{line}").is_err() {
            return 1;
        }
    }
    0
}

/// Held, unless it worked.
fn unless<T, E: std::fmt::Display>(done: Result<T, E>, what: &str) -> Tried {
    match done {
        Ok(_) => Tried::Reached(what.to_owned()),
        Err(error) => Tried::Held(error.to_string()),
    }
}
