//! Programs of the system that we ask for something: run to their end, within a time, and never left behind.

use std::{
    io,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::capture::{Captured, Reading};

/// Where they are looked for: no variable says so.
pub(crate) const PATHS: [&str; 3] = ["/usr/bin", "/usr/local/bin", "/bin"];

/// A program by its name.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let mut found = PATHS.iter().map(|folder| Path::new(folder).join(name));
    found.find(|program| program.is_file())
}

/// A process that is not left behind.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.0.try_wait(), Ok(Some(_))) {
            self.0.kill().unwrap_or(());
            self.0.wait().map(drop).unwrap_or(());
        }
    }
}

/// Ends a process that takes too long; dropped when it has ended.
pub(crate) struct Watch(#[expect(dead_code, reason = "its end is the message")] mpsc::Sender<()>);

impl Watch {
    pub(crate) fn start(child: &Child, within: Duration) -> io::Result<Self> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("a process without a number"))?;
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        let (ended, wait) = mpsc::channel::<()>();
        thread::Builder::new().stack_size(64 << 10).spawn(move || {
            if wait.recv_timeout(within) == Err(mpsc::RecvTimeoutError::Timeout) {
                pidfd_send_signal(process, Signal::KILL).unwrap_or(());
            }
        })?;
        Ok(Self(ended))
    }
}

/// Runs a program that is told nothing: how it ended, what it said, and its errors; up to `most` bytes of each.
pub(crate) fn ask(
    command: &mut Command,
    within: Duration,
    most: u64,
) -> io::Result<(ExitStatus, Captured, Captured)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Running(command.spawn()?);
    let watch = Watch::start(&child.0, within)?;
    let output = child.0.stdout.take().map(|from| Reading::start(from.into(), most)).transpose()?;
    let errors = child.0.stderr.take().map(|from| Reading::start(from.into(), most)).transpose()?;
    let status = child.0.wait()?;
    drop(watch);
    let finish = |reading: Option<Reading>| reading.map(Reading::finish).unwrap_or_default();
    Ok((status, finish(output), finish(errors)))
}
