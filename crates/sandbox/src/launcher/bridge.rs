//! Ways into and out of a network with nothing in it: a port on its loopback, through which programs reach the proxy's
//! socket that only know `HTTPS_PROXY`; and connections that come from outside through a door, and are led to the port
//! at which the program listens. Bytes are passed on and none is read: what may be asked is for others to say.
//!
//! They run in the first process of the namespace, on threads beside the one that waits for children.

use std::{
    io::{self, ErrorKind, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
};

use super::payload::PROXY;

/// Most connections at a time; more wait until one ends.
const PAIRS_MAX: usize = 64;

/// Most bytes that are held in one direction of a connection.
const HELD_MAX: usize = 64 << 10;

/// How long a program may take to accept a connection from outside: others wait meanwhile.
const ACCEPTED_WITHIN: Duration = Duration::from_millis(250);

/// Where connections come from, and where they are led to. Nothing was let in yet.
#[derive(Debug)]
pub(super) enum Bridge {
    /// From this port to the proxy's socket.
    Out(TcpListener),
    /// From outside, each handed over through the door, to this port.
    In(OwnedFd, u16),
}

/// What came in.
enum Came {
    Pair(TcpStream, UnixStream),
    /// One that led nowhere.
    Lost,
    /// No more for now.
    Nothing,
    /// No more ever.
    Over,
}

impl Bridge {
    /// Opens the port. The loopback has to be up.
    pub(super) fn open(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        Ok(Self::Out(listener))
    }

    /// Lets in what comes through the door.
    pub(super) fn inward(door: OwnedFd, port: u16) -> Self {
        Self::In(door, port)
    }

    /// Passes on, until the process ends. From here on this process must not fork.
    pub(super) fn serve(self) -> io::Result<()> {
        let thread = thread::Builder::new().stack_size(256 << 10);
        thread.spawn(move || pass_on(&self)).map(drop)
    }

    fn next(&self) -> Came {
        match self {
            Self::Out(listener) => match listener.accept() {
                // A proxy that is gone: the program sees its connection end.
                Ok((inside, _)) => UnixStream::connect(Path::new(PROXY))
                    .map_or(Came::Lost, |outside| Came::Pair(inside, outside)),
                Err(_) => Came::Nothing,
            },
            Self::In(door, port) => match handed_over(door.as_fd()) {
                Ok(Some(outside)) => {
                    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
                    // Where nobody listens, who came sees the connection end.
                    TcpStream::connect_timeout(&address, ACCEPTED_WITHIN)
                        .map_or(Came::Lost, |inside| Came::Pair(inside, outside))
                }
                Ok(None) => Came::Over,
                Err(Errno::AGAIN | Errno::INTR) => Came::Nothing,
                Err(_) => Came::Over,
            },
        }
    }
}

/// One connection: the program's side and the proxy's.
struct Pair {
    inside: TcpStream,
    outside: UnixStream,
    out: Flow,
    back: Flow,
}

/// One direction of a connection.
#[derive(Default)]
struct Flow {
    held: Vec<u8>,
    /// Nothing more comes.
    ended: bool,
    /// The other side was told so.
    told: bool,
}

/// The connection that comes next through a door; none where its other end is gone.
fn handed_over(door: BorrowedFd<'_>) -> Result<Option<UnixStream>, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let got = recvmsg(door, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
    let handed = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok(handed.filter(|_| got.bytes > 0).map(UnixStream::from))
}

fn pass_on(bridge: &Bridge) {
    let mut pairs: Vec<Pair> = Vec::new();
    let mut over = false;
    while !over || !pairs.is_empty() {
        let ready = wait(Some(bridge).filter(|_| !over), &pairs);
        if ready.first() == Some(&true) {
            over = accept(bridge, &mut pairs);
        }
        let mut at = 0;
        pairs.retain_mut(|pair| {
            at += 1;
            // One that has just come was not waited for.
            match ready.get(at) {
                Some(true) => pair.step().is_ok_and(|goes_on| goes_on),
                _ => true,
            }
        });
    }
}

/// Which have something to do: the listener first, then each connection.
fn wait(bridge: Option<&Bridge>, pairs: &[Pair]) -> Vec<bool> {
    let mut whose = Vec::new();
    let mut polled = Vec::new();
    let mut add = |at: usize, descriptor, flags: PollFlags| {
        if !flags.is_empty() {
            whose.push(at);
            polled.push(PollFd::from_borrowed_fd(descriptor, flags));
        }
    };
    if let Some(bridge) = bridge.filter(|_| pairs.len() < PAIRS_MAX) {
        add(0, bridge.as_fd(), PollFlags::IN);
    }
    for (at, pair) in pairs.iter().enumerate() {
        add(at + 1, pair.inside.as_fd(), interest(&pair.out, &pair.back));
        add(at + 1, pair.outside.as_fd(), interest(&pair.back, &pair.out));
    }
    let mut ready = vec![false; pairs.len() + 1];
    loop {
        match poll(&mut polled, None) {
            Err(Errno::INTR) => {}
            // Out of memory for a moment: everything is looked at, and nothing blocks.
            Err(_) => return vec![true; pairs.len() + 1],
            Ok(_) => break,
        }
    }
    for (at, one) in whose.into_iter().zip(&polled) {
        if let Some(is_ready) = ready.get_mut(at) {
            *is_ready |= !one.revents().is_empty();
        }
    }
    ready
}

/// What a side is waited for: to read from it into one direction, to write the other one to it.
fn interest(from: &Flow, to: &Flow) -> PollFlags {
    let mut flags = PollFlags::empty();
    if !from.ended && from.held.len() < HELD_MAX {
        flags |= PollFlags::IN;
    }
    if !to.held.is_empty() {
        flags |= PollFlags::OUT;
    }
    flags
}

impl AsFd for Bridge {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Out(listener) => listener.as_fd(),
            Self::In(door, _) => door.as_fd(),
        }
    }
}

/// Lets in what waits; whether nothing will come any more.
fn accept(bridge: &Bridge, pairs: &mut Vec<Pair>) -> bool {
    while pairs.len() < PAIRS_MAX {
        let (inside, outside) = match bridge.next() {
            Came::Pair(inside, outside) => (inside, outside),
            Came::Lost => continue,
            Came::Nothing => return false,
            Came::Over => return true,
        };
        let quiet = inside.set_nonblocking(true).and_then(|()| outside.set_nonblocking(true));
        if quiet.is_ok() {
            inside.set_nodelay(true).unwrap_or(());
            pairs.push(Pair { inside, outside, out: Flow::default(), back: Flow::default() });
        }
    }
    false
}

impl Pair {
    /// Moves what can be moved now; whether it goes on.
    fn step(&mut self) -> io::Result<bool> {
        let Self { inside, outside, out, back } = self;
        out.step(&mut &*inside, &mut &*outside)?;
        back.step(&mut &*outside, &mut &*inside)?;
        if out.is_over() && !out.told {
            outside.shutdown(Shutdown::Write)?;
            out.told = true;
        }
        if back.is_over() && !back.told {
            inside.shutdown(Shutdown::Write)?;
            back.told = true;
        }
        Ok(!(out.told && back.told))
    }
}

impl Flow {
    fn is_over(&self) -> bool {
        self.ended && self.held.is_empty()
    }

    fn step(&mut self, from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
        let mut chunk = [0; 16 << 10];
        while !self.ended && self.held.len() < HELD_MAX {
            let room = chunk.len().min(HELD_MAX - self.held.len());
            let Some(space) = chunk.get_mut(..room) else { break };
            match from.read(space) {
                Ok(0) => self.ended = true,
                Ok(got) => self.held.extend_from_slice(chunk.get(..got).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        while !self.held.is_empty() {
            match to.write(&self.held) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(put) => drop(self.held.drain(..put)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
