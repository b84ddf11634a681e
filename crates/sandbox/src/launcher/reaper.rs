//! Waits for every child on a thread of its own, so that the rest can poll.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, BorrowedFd},
    thread,
};

use rustix::{
    io::Errno,
    pipe::{PipeFlags, pipe_with},
    process::{WaitOptions, wait},
};

/// A child that has ended: its number and its status as `wait` gives it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) process: i32,
    pub(super) status: i32,
}

/// Children that have ended, one after the other; the end is when there is none any more.
#[derive(Debug)]
pub(super) struct Reaper(File);

impl Reaper {
    /// Starts waiting. From here on this process must not fork.
    pub(super) fn start() -> std::io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let mut write = File::from(write);
        thread::Builder::new().stack_size(64 << 10).spawn(move || {
            loop {
                match wait(WaitOptions::empty()) {
                    Ok(Some((process, status))) => {
                        let process = process.as_raw_nonzero().get();
                        let mut bytes = [0; 8];
                        let (number, rest) = bytes.split_at_mut(4);
                        number.copy_from_slice(&process.to_le_bytes());
                        rest.copy_from_slice(&status.as_raw().to_le_bytes());
                        if write.write_all(&bytes).is_err() {
                            return;
                        }
                    }
                    Ok(None) | Err(Errno::INTR) => {}
                    Err(_) => return,
                }
            }
        })?;
        Ok(Self(File::from(read)))
    }

    /// The next one, or nothing where all have ended. It blocks unless [`Self::as_fd`] is readable.
    pub(super) fn next(&mut self) -> Option<Ended> {
        let mut bytes = [0; 8];
        self.0.read_exact(&mut bytes).ok()?;
        let [a, b, c, d, e, f, g, h] = bytes;
        let process = i32::from_le_bytes([a, b, c, d]);
        Some(Ended { process, status: i32::from_le_bytes([e, f, g, h]) })
    }
}

impl AsFd for Reaper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
