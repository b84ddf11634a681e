//! A port at which a program listens is reached by who started it, through a door, and by nobody else: C223.

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::fd::{AsFd, OwnedFd},
};

use sandbox::{Child, Command, Door, Feature, Input, Output, Profile, Sandbox, Tier};

use super::{local, runs, sh, text};

const PORT: u16 = 18_080;

/// Answers each connection with what it was asked, from when it has said `ready` on.
const ECHO: &str = r#"
import socket, threading
door = socket.socket(); door.bind(("127.0.0.1", 18080)); door.listen(16)
print("ready", flush=True)
def answer(peer):
    while part := peer.recv(65536):
        peer.sendall(part)
    peer.close()
while True:
    threading.Thread(target=answer, args=(door.accept()[0],)).start()
"#;

fn profile() -> Profile {
    Profile { serve_port: Some(PORT), ..Profile::default() }
}

/// A server that listens: it, what leads to it, and what keeps it waiting for its input.
fn echo() -> (Child, Door, OwnedFd) {
    let (said, say) = std::io::pipe().unwrap();
    let (input, held) = std::io::pipe().unwrap();
    let command = Command::new("/usr/bin/python3")
        .arguments(["-c", ECHO])
        .input(Input::From(input.into()))
        .output(Output::To(say.into()));
    let mut child = local(Tier::Isolated).spawn(&profile(), command).unwrap();
    let mut ready = [0; 6];
    std::io::BufReader::new(said).read_exact(&mut ready).unwrap();
    assert_eq!(&ready, b"ready\n");
    let door = child.door().unwrap();
    assert!(child.door().is_none(), "there is one");
    (child, door, held.into())
}

#[test]
fn who_started_it_reaches_it_and_all_of_both_directions_comes_whole() {
    if !runs(Tier::Isolated) {
        return;
    }
    let (child, door, _held) = echo();
    let talkers: Vec<_> = (1..=9_usize)
        .map(|n| {
            let mut here = door.dial().unwrap();
            std::thread::spawn(move || {
                let data: Vec<u8> = (0..1_000_000).map(|i| (i * n % 251) as u8).collect();
                let mut sender = here.try_clone().unwrap();
                let sent = data.clone();
                let sending = std::thread::spawn(move || {
                    sender.write_all(&sent).unwrap();
                    sender.shutdown(std::net::Shutdown::Write).unwrap();
                });
                let mut back = Vec::new();
                here.read_to_end(&mut back).unwrap();
                sending.join().unwrap();
                assert!(back == data, "{n}: {} bytes", back.len());
            })
        })
        .collect();
    talkers.into_iter().for_each(|one| one.join().unwrap());
    // The host has no such port.
    assert!(TcpStream::connect(("127.0.0.1", PORT)).is_err());
    // With the program the door leads nowhere, and what goes on is cut.
    let mut open = door.dial().unwrap();
    open.write_all(b"still").unwrap();
    open.read_exact(&mut [0; 5]).unwrap();
    drop(child);
    assert_eq!(open.read(&mut [0]).unwrap_or(0), 0);
    assert!(door.dial().is_err());
}

#[test]
fn where_nobody_listens_a_connection_ends_and_the_next_one_is_let_in() {
    if !runs(Tier::Isolated) {
        return;
    }
    let (input, held) = std::io::pipe().unwrap();
    let command = Command::new("/bin/cat").input(Input::From(input.into()));
    let mut child = local(Tier::Isolated).spawn(&profile(), command).unwrap();
    let door = child.door().unwrap();
    for _ in 0..200 {
        assert_eq!(door.dial().unwrap().read(&mut [0]).unwrap_or(0), 0);
    }
    drop(held);
    assert!(child.wait().unwrap().outcome.is_success());
}

/// The one port alone: no other, nothing to the outside, and no other sort of socket.
#[test]
fn a_program_that_may_listen_may_do_nothing_else_with_the_network() {
    if !runs(Tier::Isolated) {
        return;
    }
    let script = r#"exec /usr/bin/python3 - <<'END'
import socket
def tried(what, attempt):
    try:
        attempt()
        print("REACHED", what)
    except OSError:
        print("held", what)
def listen(port):
    door = socket.socket(); door.bind(("0.0.0.0", port)); door.listen()
tried("another port", lambda: listen(18081))
tried("udp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
tried("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
tried("six", lambda: socket.socket(socket.AF_INET6, socket.SOCK_STREAM))
tried("netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))
tried("outside", lambda: socket.create_connection(("192.0.2.1", 80), 5))
tried("metadata", lambda: socket.create_connection(("169.254.169.254", 80), 5))
tried("itself", lambda: socket.create_connection(("127.0.0.1", 18082), 5))
listen(18080)
print("listens")
END"#;
    let done = sh(Tier::Isolated, &profile(), script);
    let said = done.output.text();
    assert!(!said.contains("REACHED") && said.ends_with("listens\n"), "{}", text(&done));
    assert_eq!(said.lines().count(), 9, "{}", text(&done));
    // Without the port nothing listens anywhere.
    let none = sh(Tier::Isolated, &Profile::default(), script);
    assert!(!none.output.text().contains("listens"), "{}", text(&none));
}

#[test]
fn a_door_stays_closed_to_the_program_itself() {
    if !runs(Tier::Isolated) {
        return;
    }
    let done = sh(Tier::Isolated, &profile(), "ls /proc/self/fd | wc -l; ls -l /proc/self/fd");
    assert!(!done.output.text().contains("socket:"), "{}", text(&done));
}

#[test]
fn tiers_that_cannot_hold_it_refuse_it() {
    let error = local(Tier::Restricted).check(&profile()).unwrap_err();
    assert!(error.to_string().contains(Feature::ServePort.name()), "{error}");
    for (serve, proxy) in [(Some(80), None), (Some(3128), Some(3128))] {
        let profile = Profile { serve_port: serve, proxy_port: proxy, ..Profile::default() };
        let error = local(Tier::Isolated).check(&profile).unwrap_err();
        assert!(error.to_string().contains("serve_port"), "{error}");
    }
    let mut child =
        match local(Tier::Isolated).spawn(&Profile::default(), Command::new("/usr/bin/true")) {
            Ok(child) => child,
            Err(_) => return,
        };
    assert!(child.door().is_none());
    let _polled = child.as_fd();
}
