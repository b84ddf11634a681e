//! What a supervisor and the guard of one sandbox say to each other, over a socket pair.
//!
//! The supervisor sends one order with three descriptors (the program's input, output and errors; a fourth where a
//! port inside is reached from outside) and then nothing:
//! when its end closes, because it asked so or because it died, everything is killed. The guard answers one line
//! when the program runs or could not be started, and one when all of it has ended.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{self, BufRead, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Tier,
    cgroup::Groups,
    child::Outcome,
    container::Run,
    control::Omitted,
    local::Holder,
    paths::Rules,
    profile::{Account, Limits, Mounts},
};

/// Longest order, in bytes: arguments and environment have a limit of their own in the kernel.
const ORDER_MAX: u64 = 8 << 20;

/// Longest line that a guard says, in bytes.
const LINE_MAX: u64 = 64 << 10;

/// Everything the guard needs to know. Nothing in it is resolved again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) tier: Tier,
    /// Unpredictable; part of the names of what is made on the host.
    pub(crate) id: String,
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) folder: Option<PathBuf>,
    pub(crate) rules: Rules,
    pub(crate) mounts: Mounts,
    pub(crate) proxy: Option<PathBuf>,
    /// Where on the loopback inside the proxy is reached, too.
    pub(crate) proxy_port: Option<u16>,
    /// Where on the loopback inside the program may listen, reached through the fourth descriptor.
    pub(crate) serve_port: Option<u16>,
    pub(crate) limits: Limits,
    pub(crate) run_as: Option<Account>,
    /// The account of the program, as the host counts.
    pub(crate) account: Account,
    /// The private temporary folder on the host; none where it is in memory.
    pub(crate) scratch: Option<PathBuf>,
    pub(crate) groups: Groups,
    /// Whether processes are counted by a user namespace of its own (restricted tier, ordinary user).
    pub(crate) own_user_namespace: OwnUserNamespace,
    /// Processes of the same account that are counted too, though they are none of ours.
    pub(crate) counted_besides: u64,
    pub(crate) omitted: Omitted,
    /// How an engine is told to run it; nothing where the kernel is asked itself.
    pub(crate) container: Option<Run>,
}

/// Whether a program gets a user namespace of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum OwnUserNamespace {
    Yes,
    No,
}

/// What a guard says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Word {
    /// The program runs.
    Started(Started),
    /// It does not, and nothing is left.
    Failed(Fault),
    /// All of it has ended.
    Ended(Outcome),
}

/// A program that runs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Started {
    /// Its process, or the first process of its namespace, as the host counts.
    pub(crate) process: i32,
    /// What holds the number of its processes.
    pub(crate) processes: Holder,
}

/// A step of the set-up that failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Fault {
    pub(crate) step: String,
    /// The system's error number, or 0.
    pub(crate) errno: i32,
    pub(crate) problem: String,
}

impl Fault {
    pub(crate) fn new(step: impl Into<String>, problem: impl ToString) -> Self {
        Self { step: step.into(), errno: 0, problem: problem.to_string() }
    }
}

/// Names the step at which a call failed.
pub(crate) trait At<T> {
    fn at(self, step: &str) -> Result<T, Fault>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, step: &str) -> Result<T, Fault> {
        self.map_err(|error| {
            let error: io::Error = error.into();
            let errno = error.raw_os_error().unwrap_or(0);
            Fault { step: step.to_owned(), errno, problem: error.to_string() }
        })
    }
}

pub(crate) fn send_order(
    mut socket: &UnixStream,
    order: &Order,
    stdio: [OwnedFd; 3],
    door: Option<OwnedFd>,
) -> io::Result<()> {
    let text = serde_json::to_vec(order)?;
    let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
    if length > ORDER_MAX {
        let problem = format!("program, arguments and environment exceed {ORDER_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let borrowed: Vec<_> = stdio.iter().chain(&door).map(AsFd::as_fd).collect();
    if !control.push(SendAncillaryMessage::ScmRights(&borrowed)) {
        return Err(io::Error::other("no room for the descriptors"));
    }
    let length = length.to_le_bytes();
    sendmsg(socket, &[IoSlice::new(&length)], &mut control, SendFlags::NOSIGNAL)?;
    socket.write_all(&text)
}

/// What came with an order: the program's streams, and the door.
pub(crate) type Handed = ([OwnedFd; 3], Option<OwnedFd>);

pub(crate) fn receive_order(socket: &UnixStream) -> io::Result<(Order, Handed)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut length = [0_u8; 8];
    let got = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut length)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL,
    )?;
    let mut descriptors: Vec<OwnedFd> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    let door = if descriptors.len() == 4 { descriptors.pop() } else { None };
    let stdio = <[OwnedFd; 3]>::try_from(descriptors);
    let length = u64::from_le_bytes(length);
    let (8, Ok(stdio), ..=ORDER_MAX) = (got.bytes, stdio, length) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no order"));
    };
    let mut text = Vec::new();
    socket.take(length).read_to_end(&mut text)?;
    Ok((serde_json::from_slice(&text)?, (stdio, door)))
}

pub(crate) fn say<T: Serialize>(mut to: impl Write, word: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(word)?;
    line.push(b'\n');
    to.write_all(&line)
}

/// The next line, or nothing where the other side is gone.
pub(crate) fn hear<T: DeserializeOwned>(from: impl BufRead) -> io::Result<Option<T>> {
    let mut line = String::new();
    from.take(LINE_MAX).read_line(&mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(&line)?))
}
