//! What leads from outside to the one port at which a program in a sandbox may listen. Each connection is handed over as a
//! descriptor: there is no address that anybody else could use, and nothing is left behind.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    sendmsg, socketpair,
};

use crate::{error::Error, wire::Order};

/// The way to a program's port. Dropping it lets nobody else in; connections that were made go on.
#[derive(Debug)]
pub struct Door(OwnedFd);

impl Door {
    /// A door and its other end, where the order has a port.
    pub(crate) fn open(order: &Order) -> Result<Option<(Self, OwnedFd)>, Error> {
        if order.serve_port.is_none() {
            return Ok(None);
        }
        let kind = SocketType::SEQPACKET;
        let pair = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None);
        let pair = pair.map_err(io::Error::from).map_err(Error::io("a pair of sockets"))?;
        Ok(Some((Self(pair.0), pair.1)))
    }

    /// A connection to the program's port. It ends at once where the program does not listen, or not yet.
    ///
    /// # Errors
    ///
    /// Where the program has ended, or too many connections wait already.
    pub fn dial(&self) -> io::Result<UnixStream> {
        let (here, there) = UnixStream::pair()?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let handed = [there.as_fd()];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&handed)) {
            return Err(io::Error::other("no room for a descriptor"));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        sendmsg(&self.0, &[IoSlice::new(&[1])], &mut control, flags)?;
        Ok(here)
    }
}
