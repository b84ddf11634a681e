//! What stands in front of the server, and what it says to whoever knocks wrongly.

use super::{Answer, Api, Pages, send};

/// One request as bytes, with these header lines and this body.
fn raw(api: &Api, (method, path): (&str, &str), lines: &[&str], body: &str) -> Answer {
    let named = lines.iter().any(|line| line.starts_with("Host:"));
    let host = if named { String::new() } else { format!("Host: {}\r\n", api.host) };
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let length = body.len();
    let text = format!(
        "{method} {path} HTTP/1.1\r\n{host}Connection: close\r\n{lines}Content-Length: {length}\r\n\r\n{body}"
    );
    send(&api.host, text.as_bytes())
}

/// Tries to get in from an address until it is told to wait.
fn is_told_to_wait(api: &Api, forwarded: impl Fn(usize) -> String) -> bool {
    let mut tries = 0..60;
    tries.any(|n| {
        let line = format!("X-Forwarded-For: {}", forwarded(n));
        raw(api, ("GET", "/v1/runs"), &[&line], "").status == 429
    })
}

/// Behind a proxy every address is the proxy's: whoever guesses must not keep everybody else out.
#[test]
fn behind_a_trusted_proxy_each_address_is_counted_for_itself() {
    let api = Api::with(
        "[serve]\nstrangers_per_second = 5\ntrusted_proxies = [\"10.0.0.0/8\", \"127.0.0.1\"]\n",
    );
    assert!(is_told_to_wait(&api, |_| "203.0.113.9".to_owned()));
    // What a client writes itself stands further left, and gets it no fresh start.
    assert!(is_told_to_wait(&api, |n| format!("198.51.100.{n}, 203.0.113.9, 10.0.0.7")));
    let other = raw(&api, ("GET", "/v1/runs"), &["X-Forwarded-For: 203.0.113.10"], "");
    assert_eq!(other.refused(401), "not-signed-in");
    let form = ["X-Forwarded-For: 203.0.113.11", "Content-Type: application/x-www-form-urlencoded"];
    assert_eq!(raw(&api, ("POST", "/sign-in"), &form, "token=x").status, 303);
}

#[test]
fn without_a_trusted_proxy_nobody_names_their_own_address() {
    let api = Api::with("[serve]\nstrangers_per_second = 5\n");
    assert!(is_told_to_wait(&api, |n| format!("203.0.113.{n}")));
    let office = crate::support::Office::open();
    let config = std::fs::read_to_string(office.config()).unwrap();
    let config = config + "[serve]\ntrusted_proxies = [\"the proxy\"]\n";
    std::fs::write(office.config(), config).unwrap();
    let wrong = office.json(&["doctor"]).exits(2).problem();
    assert_eq!(wrong["code"], "bad-network", "{wrong}");
    assert!(wrong["detail"].as_str().unwrap().contains("serve.trusted_proxies"), "{wrong}");
}

/// Probes come by the address of a machine or container; pages and the API only by a name of ours.
#[test]
fn probes_may_come_by_any_name() {
    let api = Api::with("[serve]\nhosts = [\"harness.internal\"]\n");
    let by = |path: &str, host: &str| raw(&api, ("GET", path), &[&format!("Host: {host}")], "");
    for path in ["/healthz", "/readyz"] {
        for host in ["10.1.2.3:7411", "evil.example", ""] {
            assert_eq!(by(path, host).status, 200, "{path} at {host}");
        }
    }
    assert_eq!(by("/metrics", "10.1.2.3:7411").status, 200);
    assert_eq!(by("/metrics", "[2001:db8::1]:7411").status, 200);
    // A page of another site has a name, whatever address it was made to lead to.
    for path in ["/metrics", "/v1/runs", "/sign-in", "/healthz/..", "/healthz/x"] {
        assert_eq!(by(path, "evil.example").refused(421), "wrong-host", "{path}");
    }
    for path in ["/v1/runs", "/sign-in", "/live"] {
        assert_eq!(by(path, "10.1.2.3:7411").refused(421), "wrong-host", "{path}");
    }
    for path in ["/metrics", "/sign-in"] {
        assert_eq!(by(path, "Harness.Internal:7411").status, 200, "{path}");
    }
}

/// C363: every refusal is a problem document; whoever looks with a browser gets a page that says the same.
#[test]
fn whatever_is_refused_is_told() {
    const FORM: &str = "Content-Type: application/x-www-form-urlencoded";
    let api = Api::with("[serve]\nstrangers_per_second = 2000\n");
    let pages = Pages::open(&api, "mira");
    let token = format!("form_token={}", pages.form_token);
    let large = format!("{token}&reason={}", "x".repeat(1_100_000));
    let (text, json) = ("Content-Type: text/plain", "Content-Type: application/json");
    let approval = "/approvals/apr_00000000000000000000000000000000";
    let claim = format!("{approval}/claim");
    let refusals = [
        (("GET", "/runs/%ff"), "", "", 400, "bad-path"),
        (("GET", "/approvals/%ff"), "", "", 400, "bad-path"),
        (("GET", "/assets/%ff/app.css"), "", "", 400, "bad-path"),
        (("GET", "/assets/0/nothing.css"), "", "", 404, "no-such-asset"),
        (("GET", "/admin"), "", "", 404, "no-such-route"),
        (("GET", &claim), "", "", 405, "no-such-method"),
        (("DELETE", "/runs"), "", "", 405, "no-such-method"),
        (("PUT", "/sign-in"), "", "", 405, "no-such-method"),
        (("GET", "/sign-out"), "", "", 405, "no-such-method"),
        (("POST", "/live"), "", "", 405, "no-such-method"),
        (("POST", "/sign-in/oidc"), "", "", 405, "no-such-method"),
        (("POST", "/sign-in/callback"), "", "", 405, "no-such-method"),
        (("GET", "/hooks/slack"), "", "", 405, "no-such-method"),
        (("POST", approval), text, &token, 415, "not-a-form"),
        (("POST", approval), json, "{}", 415, "not-a-form"),
        (("POST", "/approvals/%ff"), FORM, &token, 400, "bad-path"),
        (("POST", approval), FORM, "verb=approve", 403, "form-not-yours"),
        (("POST", approval), FORM, &token, 400, "bad-verb"),
        (("POST", approval), FORM, &large, 413, "too-large"),
        (("POST", "/sign-in"), text, "token=x", 415, "not-a-form"),
        (("POST", "/sign-in"), FORM, "token=x&admin=1", 400, "bad-form"),
        (("POST", "/sign-in"), FORM, &large, 413, "too-large"),
        (("POST", "/sign-out"), FORM, "form_token=0&all=1", 400, "bad-form"),
        (("POST", "/hooks/slack"), FORM, &large, 413, "too-large"),
        (("POST", "/hooks/slack"), FORM, "payload=x", 404, "hook-not-found"),
        (("GET", "/sign-in/oidc"), "", "", 404, "no-provider"),
    ];
    let cookie = format!("Cookie: {}", pages.cookie);
    for ((method, path), kind, body, status, code) in refusals {
        let lines: Vec<&str> =
            [cookie.as_str(), kind].into_iter().filter(|line| !line.is_empty()).collect();
        let answer = raw(&api, (method, path), &lines, body);
        assert_eq!(answer.refused(status), code, "{method} {path}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();

        let shown = raw(&api, (method, path), &[&lines[..], &["Accept: text/html"]].concat(), body);
        if path.starts_with("/hooks") {
            assert_eq!(shown.refused(status), code, "a program's address, whoever asks");
            continue;
        }
        assert_eq!(shown.status, status, "{shown:?}");
        assert_eq!(shown.header("content-type"), Some("text/html; charset=utf-8"), "{shown:?}");
        let said = detail.chars().skip(1).take_while(|letter| !"`&=<".contains(*letter));
        assert!(shown.body.contains(&said.collect::<String>()), "{detail}: {}", shown.body);
        assert!(shown.header("content-security-policy").is_some(), "{shown:?}");
    }
}

/// A stream is refused in words when there are too many, and says nothing more only to whoever is signed out.
#[test]
fn a_page_is_told_apart_from_nobody() {
    let api = Api::with("[serve]\nrequests_per_second = 2\n");
    let pages = Pages::open(&api, "mira");
    let cookie = format!("Cookie: {}", pages.cookie);
    let told = (0..50).any(|_| {
        let answer = raw(&api, ("GET", "/packs"), &[&cookie, "Accept: text/html"], "");
        answer.status == 429
            && answer.header("retry-after").is_some()
            && answer.body.contains("<h1>Not now</h1>")
    });
    assert!(told, "a limit is a page, too");
    assert_eq!(raw(&api, ("GET", "/live"), &[&cookie], "").refused(429), "too-many-requests");
    assert_eq!(raw(&api, ("GET", "/live"), &[], "").status, 204);
}
