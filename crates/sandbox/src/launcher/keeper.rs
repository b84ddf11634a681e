//! The guard of one container: it holds the deadline, and takes the container away when its program ends, the supervisor
//! asks, or the supervisor is gone.

use std::{
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::guard::wait_for;
use crate::{
    child::{End, Limit, Outcome},
    container::Run,
    local::Holder,
    profile::Limits,
    step::Running,
    wire::{At, Fault, Started, Word, say},
};

/// The step at which an engine refused.
pub(crate) const ENGINE: &str = "engine";

pub(super) fn keep(run: &Run, limits: &Limits, stdio: [OwnedFd; 3], socket: &UnixStream) -> Word {
    let began = Instant::now();
    let client = match start(run, stdio) {
        Ok(client) => client,
        Err(fault) => {
            // It may have been made before that was said to have failed.
            run.remove().unwrap_or(());
            return Word::Failed(fault);
        }
    };
    let process = i32::try_from(client.0.id()).unwrap_or(0);
    let started = Started { process, processes: Holder::ControlGroup };
    // A supervisor that is gone is seen below.
    say(socket, &Word::Started(started)).unwrap_or(());
    Word::Ended(watch(run, client, (began, limits), socket))
}

fn start(run: &Run, stdio: [OwnedFd; 3]) -> Result<Running, Fault> {
    run.create(std::process::id()).map_err(|error| Fault::new(ENGINE, error))?;
    run.start(stdio).map(Running).at(ENGINE)
}

fn watch(
    run: &Run,
    mut client: Running,
    (began, limits): (Instant, &Limits),
    socket: &UnixStream,
) -> Outcome {
    let number = i32::try_from(client.0.id()).ok().and_then(Pid::from_raw);
    let process = number.and_then(|number| pidfd_open(number, PidfdFlags::empty()).ok());
    let deadline = began + Duration::from_millis(limits.deadline_ms);
    let [ended, asked] = match &process {
        Some(process) => wait_for([process.as_fd(), socket.as_fd()], Some(deadline)),
        // What cannot be watched is ended.
        None => [false, true],
    };
    let mut reached = Vec::new();
    let mut status = None;
    if ended {
        status = client.0.wait().ok().and_then(|status| status.code());
        if run.hit_memory() {
            reached.push(Limit::Memory);
        }
    } else if !asked {
        reached.push(Limit::Deadline);
    }
    // What the container does not survive, neither does what waits for it.
    let removed = run.remove();
    Outcome {
        end: status.map_or(End::Signal(libc::SIGKILL), End::Exit),
        limits: reached,
        asked: !ended && asked,
        survivors: removed.is_err(),
        wall_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        cpu_ms: 0,
        peak_memory_bytes: 0,
    }
}
