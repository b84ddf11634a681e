//! A port on the loopback of a network with nothing in it, through which programs reach the proxy's socket that only know
//! `HTTPS_PROXY`. It passes bytes on and reads none of them: what they may ask is the proxy's to say.
//!
//! It runs in the first process of the namespace, on a thread beside the one that waits for children.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    os::{fd::AsFd, unix::net::UnixStream},
    path::Path,
    thread,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};

use super::payload::PROXY;

/// Most connections at a time; more wait until one ends.
const PAIRS_MAX: usize = 64;

/// Most bytes that are held in one direction of a connection.
const HELD_MAX: usize = 64 << 10;

/// The port, which nothing was let in at yet.
#[derive(Debug)]
pub(super) struct Bridge(TcpListener);

impl Bridge {
    /// Opens the port. The loopback has to be up.
    pub(super) fn open(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    /// Passes on, until the process ends. From here on this process must not fork.
    pub(super) fn serve(self) -> io::Result<()> {
        let thread = thread::Builder::new().stack_size(256 << 10);
        thread.spawn(move || pass_on(&self.0, Path::new(PROXY))).map(drop)
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

fn pass_on(listener: &TcpListener, proxy: &Path) {
    let mut pairs: Vec<Pair> = Vec::new();
    loop {
        let ready = wait(listener, &pairs);
        if ready.first() == Some(&true) {
            accept(listener, proxy, &mut pairs);
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
fn wait(listener: &TcpListener, pairs: &[Pair]) -> Vec<bool> {
    let mut whose = Vec::new();
    let mut polled = Vec::new();
    let mut add = |at: usize, descriptor, flags: PollFlags| {
        if !flags.is_empty() {
            whose.push(at);
            polled.push(PollFd::from_borrowed_fd(descriptor, flags));
        }
    };
    if pairs.len() < PAIRS_MAX {
        add(0, listener.as_fd(), PollFlags::IN);
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

fn accept(listener: &TcpListener, proxy: &Path, pairs: &mut Vec<Pair>) {
    while pairs.len() < PAIRS_MAX {
        let Ok((inside, _)) = listener.accept() else { return };
        // A proxy that is gone: the program sees its connection end.
        let Ok(outside) = UnixStream::connect(proxy) else { continue };
        let quiet = inside.set_nonblocking(true).and_then(|()| outside.set_nonblocking(true));
        if quiet.is_ok() {
            inside.set_nodelay(true).unwrap_or(());
            pairs.push(Pair { inside, outside, out: Flow::default(), back: Flow::default() });
        }
    }
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
