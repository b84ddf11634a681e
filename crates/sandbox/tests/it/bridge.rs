//! Programs that know `HTTPS_PROXY` and no socket reach the proxy by a port of the loopback, and nothing else: C146, C218.

use std::{
    io::{Read, Write},
    os::unix::net::UnixListener,
    thread,
};

use sandbox::{Profile, Tier};

use super::{folder, runs, sh, text};

const PORT: u16 = 3128;

/// A proxy that answers each connection with what it was asked, and a profile that leads to it.
fn echoing(connections: usize) -> (tempfile::TempDir, Profile, thread::JoinHandle<()>) {
    let folder = folder();
    let path = folder.path().join("proxy.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let serving = thread::spawn(move || {
        let each = listener.incoming().take(connections).map(|stream| {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut asked = vec![0; 64 << 10];
                loop {
                    let got = stream.read(&mut asked).unwrap_or(0);
                    if got == 0 || stream.write_all(&asked[..got]).is_err() {
                        return;
                    }
                }
            })
        });
        each.collect::<Vec<_>>().into_iter().for_each(|one| one.join().unwrap());
    });
    let profile = Profile { proxy: Some(path), proxy_port: Some(PORT), ..Profile::default() };
    (folder, profile, serving)
}

fn python(profile: &Profile, program: &str) -> sandbox::Finished {
    let script =
        format!("exec /usr/bin/python3 - <<'END'\nimport os, socket, threading\n{program}\nEND");
    sh(Tier::Isolated, profile, &script)
}

#[test]
fn what_is_said_at_the_port_comes_to_the_socket_and_back_whole() {
    if !runs(Tier::Isolated) {
        return;
    }
    let (_folder, profile, serving) = echoing(9);
    let done = python(
        &profile,
        r#"
names = ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"]
print(sorted({os.environ[name] for name in names}))
def talk(n):
    data = bytes((i * n) % 251 for i in range(1_000_000))
    peer = socket.create_connection(("127.0.0.1", 3128), 20)
    def send():
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
    sender = threading.Thread(target=send)
    sender.start()
    back = b""
    while part := peer.recv(65536):
        back += part
    sender.join()
    assert back == data, (n, len(back))
talkers = [threading.Thread(target=talk, args=(n,)) for n in range(1, 10)]
[one.start() for one in talkers]
[one.join() for one in talkers]
print("whole")
"#,
    );
    assert_eq!(done.output.text(), "['http://127.0.0.1:3128']\nwhole\n", "{}", text(&done));
    serving.join().unwrap();
}

#[test]
fn beside_that_port_there_is_no_network() {
    if !runs(Tier::Isolated) {
        return;
    }
    let (_folder, profile, _serving) = echoing(0);
    let attempts = r#"
def tried(what, attempt):
    try:
        attempt()
        print("REACHED", what)
    except OSError as error:
        print("held", what)
tried("udp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
tried("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
tried("six", lambda: socket.socket(socket.AF_INET6, socket.SOCK_STREAM))
tried("mptcp", lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262))
tried("netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))
tried("elsewhere", lambda: socket.create_connection(("127.0.0.1", 3129), 5))
tried("outside", lambda: socket.create_connection(("192.0.2.1", 80), 5))
tried("metadata", lambda: socket.create_connection(("169.254.169.254", 80), 5))
tried("name", lambda: socket.getaddrinfo("example.com", 80))
def listen():
    door = socket.socket(); door.bind(("127.0.0.1", 8080)); door.listen()
tried("listen", listen)
"#;
    let done = python(&profile, attempts);
    let said = done.output.text();
    assert!(!said.contains("REACHED"), "{said}");
    assert_eq!(said.lines().count(), 10, "{}", text(&done));
    // Without the port there is no TCP at all, as before.
    let profile = Profile { proxy_port: None, ..profile };
    let done = python(&profile, "socket.socket(socket.AF_INET, socket.SOCK_STREAM)");
    assert!(text(&done).contains("PermissionError"), "{}", text(&done));
    assert!(!sh(Tier::Isolated, &profile, "env").output.text().contains("HTTPS_PROXY"));
}

#[test]
fn a_port_without_a_tree_of_its_own_or_of_the_systems_is_refused() {
    let profile = Profile { proxy_port: Some(80), ..Profile::default() };
    assert_eq!(profile.check().unwrap_err().code(), "sandbox.profile");
    let profile = Profile { proxy_port: Some(PORT), ..Profile::default() };
    let refused = sandbox::Sandbox::check(&super::local(Tier::Restricted), &profile);
    assert_eq!(refused.unwrap_err().code(), "sandbox.unenforceable");
}
