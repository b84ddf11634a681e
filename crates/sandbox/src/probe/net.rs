use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixStream},
    },
    time::Duration,
};

use super::{Attempt, Fixture, Tried, unless};
use crate::{
    control::Control::{self, AbstractSockets, Network, Ports, Root, SocketNames, Sockets},
    sys::raw,
};

/// How long a connection may take before it counts as held.
const PATIENCE: Duration = Duration::from_millis(500);

const LAYERS: Option<&[Control]> = Some(&[]);

type Run = fn(&Fixture) -> Tried;

/// A family of sockets that must not even be made.
const fn family(name: &'static str, run: Run) -> Attempt {
    Attempt { name, restricted: Some(&[Sockets]), isolated: Some(&[Sockets]), run }
}

const fn connection(name: &'static str, restricted: &'static [Control], run: Run) -> Attempt {
    Attempt { name, restricted: Some(restricted), isolated: LAYERS, run }
}

pub(super) const ATTEMPTS: &[Attempt] = &[
    family("socket.inet", |_| socket(libc::AF_INET, libc::SOCK_STREAM)),
    family("socket.inet6", |_| socket(libc::AF_INET6, libc::SOCK_STREAM)),
    family("socket.udp", |_| socket(libc::AF_INET, libc::SOCK_DGRAM)),
    family("socket.udp6", |_| socket(libc::AF_INET6, libc::SOCK_DGRAM)),
    family("socket.netlink", |_| socket(libc::AF_NETLINK, libc::SOCK_RAW)),
    // Only a kernel with these modules, or a privileged program, gets these even without a filter.
    Attempt {
        name: "socket.raw",
        restricted: LAYERS,
        isolated: LAYERS,
        run: |_| socket(libc::AF_INET, libc::SOCK_RAW),
    },
    Attempt {
        name: "socket.packet",
        restricted: LAYERS,
        isolated: LAYERS,
        run: |_| socket(libc::AF_PACKET, libc::SOCK_RAW),
    },
    Attempt {
        name: "socket.vsock",
        restricted: LAYERS,
        isolated: LAYERS,
        run: |_| socket(libc::AF_VSOCK, libc::SOCK_STREAM),
    },
    Attempt {
        name: "socket.kernel-crypto",
        restricted: LAYERS,
        isolated: LAYERS,
        run: |_| socket(libc::AF_ALG, libc::SOCK_SEQPACKET),
    },
    Attempt {
        name: "socket.high-bits",
        restricted: LAYERS,
        isolated: LAYERS,
        // The kernel takes the lower half of the argument; a filter that compares all of it is passed by.
        run: |_| {
            let family = usize::try_from(libc::AF_INET).unwrap_or(2) | (1 << 40);
            made(raw(libc::SYS_socket, [family, 1, 0, 0, 0, 0]))
        },
    },
    connection("tcp.connect", &[Sockets, SocketNames, Ports], |f| {
        connect(SocketAddr::from(([127, 0, 0, 1], f.tcp_port)))
    }),
    connection("tcp.connect-mapped", &[Sockets, SocketNames, Ports], |f| {
        connect(SocketAddr::from(([0, 0, 0, 0, 0, 0xffff, 0x7f00, 1], f.tcp_port)))
    }),
    connection("tcp.listen", &[Sockets, SocketNames, Ports], |_| {
        unless(TcpListener::bind("127.0.0.1:0"), "listens")
    }),
    connection("udp.send", &[Sockets, SocketNames], |f| {
        let sent = UdpSocket::bind("127.0.0.1:0")
            .and_then(|socket| socket.send_to(b"x", ("127.0.0.1", f.udp_port)));
        unless(sent, "sent a datagram")
    }),
    Attempt {
        name: "tcp.listen-isolated",
        restricted: None,
        isolated: Some(&[Sockets, Ports]),
        run: |_| unless(TcpListener::bind("0.0.0.0:0"), "listens"),
    },
    Attempt {
        name: "tcp.reach-host",
        restricted: None,
        isolated: Some(&[Sockets, Ports, Network]),
        run: |f| connect(SocketAddr::from(([127, 0, 0, 1], f.tcp_port))),
    },
    Attempt {
        name: "udp.reach-host",
        restricted: None,
        isolated: Some(&[Sockets, Network]),
        run: |f| {
            let sent = UdpSocket::bind("127.0.0.1:0")
                .and_then(|socket| socket.send_to(b"x", ("127.0.0.1", f.udp_port)));
            unless(sent, "sent a datagram")
        },
    },
    Attempt {
        name: "tcp.metadata-address",
        restricted: LAYERS,
        isolated: LAYERS,
        run: |_| connect(SocketAddr::from(([169, 254, 169, 254], 80))),
    },
    Attempt {
        name: "udp.name-server",
        restricted: LAYERS,
        isolated: LAYERS,
        run: |_| {
            let sent = UdpSocket::bind("0.0.0.0:0")
                .and_then(|socket| socket.send_to(&[0; 12], ("127.0.0.53", 53)));
            unless(sent, "sent a question")
        },
    },
    Attempt {
        name: "unix.abstract",
        restricted: Some(&[SocketNames, AbstractSockets]),
        isolated: Some(&[AbstractSockets, Network]),
        run: |f| {
            let connected = UnixAddr::from_abstract_name(&f.abstract_name)
                .and_then(|address| UnixStream::connect_addr(&address));
            unless(connected, "connected")
        },
    },
    Attempt {
        name: "unix.by-path",
        restricted: Some(&[SocketNames]),
        isolated: Some(&[Root]),
        run: |f| unless(UnixStream::connect(f.outside.join("socket")), "connected"),
    },
    Attempt {
        name: "unix.below-readable",
        restricted: Some(&[SocketNames]),
        isolated: None,
        run: |f| unless(UnixStream::connect(f.readable.join("socket")), "connected"),
    },
    Attempt {
        name: "unix.datagram-pair",
        restricted: Some(&[SocketNames]),
        isolated: Some(&[Root]),
        // A pair is made connected, but a datagram socket can be pointed elsewhere.
        run: |f| {
            let sent = UnixDatagram::pair()
                .and_then(|(one, _other)| one.send_to(b"x", f.outside.join("datagrams")));
            unless(sent, "sent a datagram")
        },
    },
    Attempt {
        name: "unix.raw-pair",
        restricted: Some(&[SocketNames]),
        isolated: None,
        run: |_| {
            let mut pair = [0_i32; 2];
            let family = usize::try_from(libc::AF_UNIX).unwrap_or(1);
            let kind = usize::try_from(libc::SOCK_RAW).unwrap_or(3);
            let to = pair.as_mut_ptr().addr();
            made(raw(libc::SYS_socketpair, [family, kind, 0, to, 0, 0]))
        },
    },
    Attempt {
        name: "network.interfaces",
        restricted: None,
        isolated: Some(&[Network, Root, Pids_, Files_]),
        run: |_| match std::fs::read_to_string("/proc/self/net/dev") {
            Ok(text) if text.lines().skip(2).any(|line| !line.trim_start().starts_with("lo:")) => {
                Tried::Reached("the host's interfaces".to_owned())
            }
            other => Tried::Held(format!("{other:?}")),
        },
    },
];

use Control::{Files as Files_, Pids as Pids_};

fn socket(family: i32, kind: i32) -> Tried {
    let number = |value: i32| usize::try_from(value).unwrap_or(0);
    made(raw(libc::SYS_socket, [number(family), number(kind), 0, 0, 0, 0]))
}

fn made(socket: Result<i64, i32>) -> Tried {
    unless(socket.map_err(io::Error::from_raw_os_error), "made a socket")
}

fn connect(address: SocketAddr) -> Tried {
    unless(TcpStream::connect_timeout(&address, PATIENCE), "connected")
}
