use std::{
    io::{self, BufReader},
    net::Shutdown,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{net::UnixStream, process::ExitStatusExt},
    },
    process,
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::{Deserialize, Serialize};

use crate::{
    Tier,
    capture::{Captured, Reading},
    door::Door,
    error::Error,
    local::Holder,
    scratch,
    wire::{Order, Started, Word, hear},
};

/// How a program in a sandbox ended, and everything it started with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How the program itself ended.
    pub end: End,
    /// Limits that were reached; the first is why it ended, if it did not end by itself.
    pub limits: Vec<Limit>,
    /// Whether it was killed because the caller asked for it.
    pub asked: bool,
    /// Whether a killed process would not go within some seconds, as one that waits for a broken disk.
    pub survivors: bool,
    /// From its start to its end, in milliseconds.
    pub wall_ms: u64,
    /// Processor time of it and of what it waited for, in milliseconds.
    pub cpu_ms: u64,
    /// The most memory that one of its processes held at a time, in bytes.
    pub peak_memory_bytes: u64,
}

impl Outcome {
    /// Whether it ended by itself, with status 0 and within its limits.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.end == End::Exit(0) && self.limits.is_empty() && !self.asked
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// With this status.
    Exit(i32),
    /// By this signal.
    Signal(i32),
}

impl End {
    /// From what `wait` gives; nobody knows how a process ended that was never waited for, so it was killed.
    pub(crate) fn from_status(status: Option<i32>) -> Self {
        let status = status.map(process::ExitStatus::from_raw);
        let code = status.and_then(|status| status.code());
        let signal = status.and_then(|status| status.signal());
        code.map_or(Self::Signal(signal.unwrap_or(libc::SIGKILL)), Self::Exit)
    }
}

/// A limit of a profile that a program can run into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// `deadline_ms`.
    Deadline,
    /// `scratch_bytes`, in the tier where it is watched.
    Scratch,
    /// `memory_bytes`, where a control group holds it.
    Memory,
    /// `processes`, where a control group holds it. The program was told and went on.
    Processes,
    /// `cpu_seconds`.
    CpuTime,
    /// `file_bytes`.
    FileSize,
}

/// What is known when it is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// How it ended.
    pub outcome: Outcome,
    /// What it wrote, where that was captured.
    pub output: Captured,
    /// What it wrote to its errors, where that was captured.
    pub errors: Captured,
}

/// A program that runs in a sandbox. Dropping it kills the program and all it started.
///
/// Whoever waits for many at once polls its descriptor: it can be read when the outcome is there, and
/// [`Child::wait`] returns at once then.
#[derive(Debug)]
pub struct Child {
    pub(crate) socket: BufReader<UnixStream>,
    pub(crate) guard: process::Child,
    pub(crate) started: Started,
    pub(crate) order: Order,
    pub(crate) door: Option<Door>,
    pub(crate) output: Option<Reading>,
    pub(crate) errors: Option<Reading>,
    pub(crate) outcome: Option<Outcome>,
}

impl Child {
    /// Its process number on the host; in the isolated tier that of the first process of its namespace.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.started.process
    }

    /// What holds the number of its processes. An ordinary user who may not make user namespaces has only
    /// [`Holder::SharedAccount`], which shows when it starts.
    #[must_use]
    pub fn processes_held_by(&self) -> Holder {
        self.started.processes
    }

    /// The process number of its guard.
    #[must_use]
    pub fn guard_id(&self) -> u32 {
        self.guard.id()
    }

    /// Has the program and all it started killed. [`Child::wait`] says when that is done.
    pub fn kill(&self) {
        // A guard that is gone has nothing left to kill.
        self.socket.get_ref().shutdown(Shutdown::Write).unwrap_or(());
    }

    /// What ends the program from elsewhere while somebody waits for it.
    ///
    /// # Errors
    ///
    /// Where this process has no descriptor left.
    pub fn leash(&self) -> io::Result<Leash> {
        self.socket.get_ref().try_clone().map(Leash)
    }

    /// What leads to the port that the program may listen at; nothing where its profile has none. It leads nowhere once
    /// the program has ended.
    pub fn door(&mut self) -> Option<Door> {
        self.door.take()
    }

    /// Waits until the program and all it started have ended.
    ///
    /// # Errors
    ///
    /// [`Error::GuardLost`] where nobody can say how it ended; it has been killed then.
    pub fn wait(mut self) -> Result<Finished, Error> {
        let outcome = self.settle()?;
        let output = self.output.take().map(Reading::finish).unwrap_or_default();
        let errors = self.errors.take().map(Reading::finish).unwrap_or_default();
        Ok(Finished { outcome, output, errors })
    }

    fn settle(&mut self) -> Result<Outcome, Error> {
        if let Some(outcome) = &self.outcome {
            return Ok(outcome.clone());
        }
        let word = hear::<Word>(&mut self.socket);
        // It ends right after its last word.
        let reaped = self.guard.wait();
        if let (Ok(Some(Word::Ended(outcome))), Ok(_)) = (word, reaped) {
            self.outcome = Some(outcome.clone());
            return Ok(outcome);
        }
        self.clear_up();
        self.outcome = Some(Outcome {
            end: End::Signal(libc::SIGKILL),
            limits: Vec::new(),
            asked: false,
            survivors: false,
            wall_ms: 0,
            cpu_ms: 0,
            peak_memory_bytes: 0,
        });
        Err(Error::GuardLost)
    }

    /// What the guard would have done.
    fn clear_up(&self) {
        if let Some(process) = Pid::from_raw(self.started.process) {
            // In the isolated tier the kernel did it already: the first process dies with the guard.
            if self.order.tier == Tier::Restricted {
                kill_process_group(process, Signal::KILL).unwrap_or(());
            } else {
                kill_process(process, Signal::KILL).unwrap_or(());
            }
        }
        if let Some(run) = &self.order.container {
            // The engine keeps it alive without us.
            run.remove().unwrap_or(());
        }
        if let Some(folder) = &self.order.scratch {
            scratch::remove(folder);
        }
        self.order.groups.remove(&self.order.id);
    }
}

/// Has the program and all it started killed when it is dropped; nothing happens where they have ended.
#[derive(Debug)]
pub struct Leash(UnixStream);

impl Drop for Leash {
    fn drop(&mut self) {
        // A guard that is gone has nothing left to kill.
        self.0.shutdown(Shutdown::Write).unwrap_or(());
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.outcome.is_none() {
            self.kill();
            self.settle().map(drop).unwrap_or(());
        }
    }
}
