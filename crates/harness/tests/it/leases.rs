//! Ports of jobs that are reached from outside: by a lease with a token, for a while, and otherwise not at all.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
};

use serde_json::json;

use crate::{
    agents::model::{Model, Says},
    folders::Bench,
    kit::validates,
};

fn add(bench: &Bench, more: &str) {
    let config = fs::read_to_string(bench.path("harness.toml")).unwrap();
    fs::write(bench.path("harness.toml"), format!("{config}{more}")).unwrap();
}

/// A shell in whose sandbox something may listen, an agent that starts a server and then waits for a file, and what the
/// agent was told of it.
fn served(port: u16) -> (Bench, Model) {
    let server = format!(
        "exec 9> held; flock 9; exec python3 -u -c 'import http.server as h\nclass A(h.BaseHTTPRequestHandler):\n def do_GET(s):\n  b=(s.path+\" \"+str(s.headers.get(\"Authorization\"))).encode(); s.send_response(200); s.send_header(\"Content-Length\",str(len(b))); s.end_headers(); s.wfile.write(b)\nh.HTTPServer((\"127.0.0.1\",{port}),A).serve_forever()'"
    );
    let model = Model::start([
        Says::Calls(vec![("shell_start", json!({ "command": server }))]),
        Says::Calls(vec![("shell_run", json!({ "command": "rm notes.txt" }))]),
        Says::Text("It is over."),
    ]);
    let bench = Bench::furnished(&model);
    add(&bench, &format!("[systems.work.shell.profile]\nserve_port = {port}\n"));
    (bench, model)
}

/// One request to a lease: its status and what it says.
fn ask(url: &str, token: Option<&str>) -> Option<(u16, String)> {
    let address = url.strip_prefix("http://").unwrap().trim_end_matches('/');
    let mut stream = TcpStream::connect(address).ok()?;
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    write!(stream, "GET /look?a=b HTTP/1.1\r\nHost: x\r\n{token}\r\n").ok()?;
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    let status = said.split(' ').nth(1)?.parse().ok()?;
    let body = said.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Some((status, body))
}

/// Asks until the server inside listens.
fn answered(url: &str, token: &str) -> String {
    loop {
        match ask(url, Some(token)) {
            Some((200, body)) => return body,
            Some((502, _)) => std::thread::yield_now(),
            other => panic!("{other:?}"),
        }
    }
}

/// C223: a job's port is reached by an address with a token, for as long as the lease says, and by nothing else; it ends
/// when somebody ends it, when its time is over, and with its job.
#[test]
fn a_job_is_reached_by_a_lease_with_a_token_until_the_lease_ends() {
    let (bench, _model) = served(18_091);
    if !bench.has_shell() || !Path::new("/usr/bin/python3").exists() {
        return;
    }
    let serving = bench.serve();
    let asking = bench.hand_over(&["--write", "--shell"]);
    // The run waits for somebody to agree to its second command: its job goes on.
    let waiting = bench.approve(&asking);
    assert_eq!(waiting["run"]["status"], "asking", "{waiting:#}");
    let run = waiting["run"]["id"].as_str().unwrap().to_owned();
    let expose =
        |more: &[&str]| bench.json(&[&["run", "expose", &run, "--job", "1"], more].concat());

    let made = expose(&[]).exits(0).document();
    validates(&made);
    let (url, token) = (made["url"].as_str().unwrap(), made["token"].as_str().unwrap());
    assert!(url.starts_with("http://127.0.0.1:"), "{made}");
    assert_eq!(answered(url, token), "/look?a=b None", "the token goes no further");
    assert_eq!(ask(url, None).unwrap().0, 401);
    assert_eq!(ask(url, Some("hnl_0000")).unwrap().0, 401);
    // What listens inside is nowhere on the host.
    assert!(TcpStream::connect(("127.0.0.1", 18_091)).is_err());

    let listed = bench.json(&["run", "leases"]).exits(0).document();
    validates(&listed);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert!(listed["items"][0]["requests"].as_u64().unwrap() >= 1, "{listed}");
    assert!(!listed.to_string().contains(token), "a token is shown once");

    // Another one of the same job, with another token; each opens its own.
    let short = expose(&["--ttl", "1s"]).exits(0).document();
    let (short_url, short_token) =
        (short["url"].as_str().unwrap(), short["token"].as_str().unwrap());
    assert_eq!(ask(short_url, Some(token)).unwrap().0, 401);
    while ask(short_url, Some(short_token)).is_some() {
        std::thread::yield_now();
    }
    let lease = made["lease"].as_str().unwrap();
    bench.json(&["run", "unexpose", lease]).exits(0);
    while ask(url, Some(token)).is_some() {
        std::thread::yield_now();
    }
    assert_eq!(
        bench.json(&["run", "unexpose", lease]).exits(3).problem()["code"],
        "lease-not-found"
    );

    for (more, code, exit) in
        [(&["--ttl", "25h"][..], "lease-ttl", 2), (&["--system", "other"], "job-not-served", 3)]
    {
        assert_eq!(expose(more).exits(exit).problem()["code"], code);
    }

    // With the job it ends by itself.
    let last = expose(&[]).exits(0).document();
    let (url, token) = (last["url"].as_str().unwrap(), last["token"].as_str().unwrap());
    answered(url, token);
    let ended = bench.approve(&waiting);
    assert_eq!(ended["run"]["status"], "succeeded", "{ended:#}");
    while ask(url, Some(token)).is_some() {
        std::thread::yield_now();
    }
    assert_eq!(bench.json(&["run", "leases"]).exits(0).document()["items"], json!([]));
    assert_eq!(expose(&[]).exits(3).problem()["code"], "job-not-served");
    drop(serving);
}

/// C223, C233: a process that is killed leaves neither the job nor its port.
#[test]
fn nothing_of_a_lease_outlives_a_killed_supervisor() {
    let (bench, _model) = served(18_092);
    if !bench.has_shell() || !Path::new("/usr/bin/python3").exists() {
        return;
    }
    let serving = bench.serve();
    let waiting = bench.approve(&bench.hand_over(&["--write", "--shell"]));
    let run = waiting["run"]["id"].as_str().unwrap().to_owned();
    let made = bench.json(&["run", "expose", &run, "--job", "1"]).exits(0).document();
    let (url, token) = (made["url"].as_str().unwrap(), made["token"].as_str().unwrap());
    answered(url, token);
    serving.end("KILL");
    assert!(ask(url, Some(token)).is_none());
    // Whoever still ran would hold it.
    File::open(bench.work("held")).unwrap().lock().unwrap();
}
