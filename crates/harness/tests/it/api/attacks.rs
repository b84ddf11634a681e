//! What strangers and curious insiders try. Each is refused with a problem document.

use std::{io::Write as _, net::TcpStream};

use serde_json::{Value, json};

use super::{Api, request, send};

#[test]
fn requests_that_are_not_meant_for_us_or_come_from_elsewhere() {
    let api = Api::open();
    let ulla = api.token("ulla", &[]);
    let plain = request(&api.host, &ulla, ("GET", "/v1/runs"), &Value::Null, &[]);
    let rebound = plain.replace(&format!("Host: {}", api.host), "Host: evil.example");
    assert_eq!(send(&api.host, rebound.as_bytes()).refused(421), "wrong-host");
    let body = json!({"reason": "x"});
    for header in ["Origin: https://evil.example", "Sec-Fetch-Site: cross-site", "Origin: null"] {
        assert_eq!(
            api.ask(&ulla, ("POST", "/v1/halts"), &body, &[header]).refused(403),
            "cross-site"
        );
    }
    let answer = api.get(&ulla, "/v1/runs");
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    for name in ["x-content-type-options", "x-frame-options", "referrer-policy", "x-request-id"] {
        assert!(answer.header(name).is_some(), "{name}: {answer:?}");
    }
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("strict-transport-security"), None, "it is reached without TLS");
}

#[test]
fn requests_that_make_no_sense() {
    let api = Api::open();
    let ulla = api.token("ulla", &[]);
    let submit = "/v1/intents";
    let kinds = |kind: &str, body: &str| {
        let text = format!(
            "POST {submit} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {ulla}\r\n\
             Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            api.host,
            body.len()
        );
        send(&api.host, text.as_bytes())
    };
    let json = "application/json";
    assert_eq!(kinds("text/plain", "{}").refused(415), "not-json");
    assert_eq!(kinds("application/x-www-form-urlencoded", "a=b").refused(415), "not-json");
    for body in
        ["{", "[]", "3", "\u{0}", "{\"a\":1}x", "{\"inputs\":{}, \"inputs\":{}, \"evil\":1}"]
    {
        assert_eq!(kinds(json, body).refused(400), "bad-request", "{body}");
    }
    let deep = format!("{{\"inputs\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(kinds(json, &deep).refused(400), "bad-request");
    let deep = format!("{{\"intent\":\"x\",\"inputs\":{}{}}}", "[".repeat(100), "]".repeat(100));
    assert_eq!(kinds(json, &deep).refused(422), "too-deep");
    let large = format!("{{\"text\":\"{}\"}}", "x".repeat(2_000_000));
    assert_eq!(kinds(json, &large).refused(413), "too-large");
    for (path, status, code) in [
        ("/v1/runs/..%2f..%2fetc%2fpasswd", 400, "bad-request"),
        ("/v1/runs/%00", 400, "bad-request"),
        ("/v1/runs/%ff", 400, "bad-path"),
        ("/v1/runs/run_00000000000000000000000000000000", 404, "run-not-found"),
        ("/v1/runs?limit=x", 400, "bad-request"),
        ("/v1/runs?limit=1&limit=2", 400, "bad-request"),
        ("/v1/runs?evil=1", 400, "bad-request"),
        ("/v1/runs?after=bm90IGEgY3Vyc29y", 422, "bad-cursor"),
        ("/v1/runs?status=%zz", 400, "bad-query"),
        ("/v1/nothing", 404, "no-such-route"),
        ("/v1/../../etc/passwd", 404, "no-such-route"),
    ] {
        assert_eq!(api.get(&ulla, path).refused(status), code, "{path}");
    }
    assert_eq!(api.ask(&ulla, ("PUT", "/v1/runs"), &json!({}), &[]).refused(405), "no-such-method");
    // What the path says is not the body's to say, nor what the server alone may choose.
    let run = "/v1/runs/run_00000000000000000000000000000000";
    let answer =
        api.post(&ulla, &format!("{run}/cancel"), &json!({"run": "run_1", "verb": "pause"}));
    assert_eq!(answer.refused(400), "bad-request");
    let key = format!("Idempotency-Key: {}", "k".repeat(300));
    let answer = api.ask(&ulla, ("POST", "/v1/halts"), &json!({"reason": "x"}), &[&key]);
    assert_eq!(answer.refused(400), "bad-header");
}

/// Keys and checkpoints are texts: a place on the server's disk is not looked at, whatever lies there.
#[test]
fn no_file_of_the_server_is_read_for_anybody() {
    let api = Api::open();
    let (ulla, lars) = (api.token("ulla", &[]), api.token("lars", &[]));
    let body = json!({"intent": "churn_risk_read", "inputs": {"account": "ACC-0007"},
        "wait_ms": 20_000});
    let run = crate::support::id_of(&api.post(&ulla, "/v1/intents", &body).ok());
    let (verify, export) = (format!("/v1/runs/{run}/verify"), format!("/v1/runs/{run}/export"));
    let fifo = api.office.path("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let secret = api.office.path("secrets/crm");
    for place in ["/dev/zero", "/etc/passwd", fifo.to_str().unwrap(), secret.to_str().unwrap()] {
        let refused = api.post(&lars, &verify, &json!({"key": place}));
        assert_eq!(refused.refused(422), "key-invalid", "{place}");
        assert!(!refused.body.contains("root:"), "{refused:?}");
        let refused = api.post(&lars, &verify, &json!({"since": place}));
        assert_eq!(refused.refused(422), "checkpoint-invalid", "{place}");
        let refused = api.post(&lars, &verify, &json!({"bundle": place}));
        assert_eq!(refused.refused(400), "bad-request", "{place}");
        let refused = api.post(&ulla, &export, &json!({"since": place}));
        assert_eq!(refused.refused(422), "checkpoint-invalid", "{place}");
    }
    // The texts themselves say what they are for.
    let checkpoint = api.get(&lars, "/v1/checkpoint").ok();
    let both = json!({"key": checkpoint["public_key"], "since": checkpoint["note"]});
    let verified = api.post(&lars, &verify, &both).ok();
    assert_eq!(verified["verdict"], "verified", "{verified}");
    let checks = verified["checks"].as_array().unwrap();
    assert!(checks.iter().any(|c| c["check"] == "since" && c["outcome"] == "ok"), "{verified}");
}

/// Texts that would become markup, headers or log lines come back as text.
#[test]
fn hostile_texts_stay_texts() {
    let api = Api::open();
    let ulla = api.token("ulla", &[]);
    let hostile = "</script><img src=x onerror=alert(1)>\r\nSet-Cookie: a=b\u{202e}";
    let body = json!({"intent": "contract_field_change", "inputs": {
        "account": "ACC-0007", "field": "PaymentTermsDays", "value": "45", "reason": hostile},
        "idempotency_key": "<b>", "wait_ms": 20_000});
    let answer = api.post(&ulla, "/v1/intents", &body);
    assert_eq!(answer.ok()["idempotency_key"], "<b>");
    assert!(answer.header("set-cookie").is_none());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let path = "/v1/nothing%0d%0aSet-Cookie:%20a=b%3Cscript%3E";
    let answer = api.get(&ulla, path);
    assert_eq!(answer.refused(404), "no-such-route");
    assert!(answer.header("set-cookie").is_none());
}

#[test]
fn whoever_asks_too_often_waits_and_others_do_not() {
    let api = Api::with("[serve]\nrequests_per_second = 5\nstrangers_per_second = 5\n");
    let (ulla, mira) = (api.token("ulla", &[]), api.token("mira", &[]));
    let refused = (0..200).find_map(|_| {
        let answer = api.get(&ulla, "/v1/approvals");
        (answer.status == 429).then_some(answer)
    });
    let refused = refused.expect("a limit");
    assert_eq!(refused.refused(429), "too-many-requests");
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    api.get(&mira, "/v1/approvals").ok();
    let guessed = (0..200).map(|n| api.get(&format!("guess {n}"), "/v1/runs").status);
    assert!(guessed.into_iter().any(|status| status == 429), "guessing is slow");
}

/// A body that never comes is not waited for.
#[test]
fn a_body_that_dawdles_is_not_waited_for() {
    let api = Api::open();
    let ulla = api.token("ulla", &[]);
    let head = format!(
        "POST /v1/halts HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {ulla}\r\n\
         Content-Type: application/json\r\nContent-Length: 16\r\n\r\n{{\"reason\"",
        api.host
    );
    assert_eq!(send(&api.host, head.as_bytes()).refused(408), "too-slow");
    assert_eq!(api.get(&ulla, "/v1/halts").ok()["items"], json!([]), "half a request does nothing");
}

/// The log tells routes and statuses, never who a token is or what somebody wrote (C150).
#[test]
fn the_log_holds_no_secret_and_no_value() {
    let office = crate::support::Office::open();
    let config = std::fs::read_to_string(office.config()).unwrap();
    std::fs::write(office.config(), config + "[serve]\nrequests_per_second = 1000\n").unwrap();
    let log = office.path("log");
    let (serving, host) = crate::support::Serving::logging(&office, "harness=trace", &log);
    let api = Api { office, host, serving: Some(serving) };
    let (ulla, ada) = (api.token("ulla", &[]), api.token("ada", &[]));
    let reason = "a reason that nobody else reads";
    let body = json!({"intent": "contract_field_change", "inputs": {"account": "ACC-0007",
        "field": "PaymentTermsDays", "value": "45", "reason": reason}, "wait_ms": 20_000});
    let key = "Idempotency-Key: a-key-of-mine";
    api.ask(&ulla, ("POST", "/v1/intents"), &body, &[key]).ok();
    let ci = json!({"name": "ci", "sort": "service", "principal": "ci", "roles": ["viewer"]});
    let made = api.post(&ada, "/v1/tokens", &ci).ok()["token"].as_str().unwrap().to_owned();
    api.get(&made, "/v1/runs?customer=ACC-0007").ok();
    api.get(&format!("{made}x"), "/v1/runs").refused(401);
    api.post(&ulla, "/v1/intents", &json!({"intent": reason})).refused(404);
    let pages = super::Pages::open(&api, "mira");
    pages.page("/approvals");
    let Api { serving, office, .. } = api;
    serving.unwrap().end("TERM");
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("/v1/tokens") && log.contains("answered"), "nothing was logged: {log}");
    let system = std::fs::read_to_string(office.path("secrets/crm")).unwrap();
    let secrets =
        [&ulla, &ada, &made].map(|token| token.split('_').next_back().unwrap()[..64].to_owned());
    for secret in secrets.iter().map(String::as_str).chain([system.trim(), reason, "link="]) {
        assert!(!log.contains(secret), "the log holds `{secret}`");
    }
}

/// Whoever opens connections and says nothing keeps nobody else out.
#[test]
fn dawdlers_hold_nobody_up() {
    let api = Api::open();
    let ulla = api.token("ulla", &[]);
    let dawdlers: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(&api.host).unwrap();
            stream.write_all(b"GET /v1/runs HTTP/1.1\r\nHost: ").unwrap();
            stream
        })
        .collect();
    api.get(&ulla, "/v1/runs").ok();
    drop(dawdlers);
}

#[test]
fn strangers_are_not_let_in_without_tls_and_tokens() {
    let office = crate::support::Office::open();
    let exposed = office.json(&["serve", "--listen", "0.0.0.0:0"]).exits(2).problem();
    assert_eq!(exposed["code"], "exposed", "{exposed}");
    let config = std::fs::read_to_string(office.config()).unwrap();
    let config = config + "[serve]\npublic_url = \"https://harness.example.com\"\n";
    std::fs::write(office.config(), config).unwrap();
    let exposed = office.json(&["serve", "--listen", "0.0.0.0:0"]).exits(2).problem();
    assert!(exposed["detail"].as_str().unwrap().contains("tokens"), "{exposed}");
    // A token that was ended lets nobody in, so it does not count.
    let made = office.json(&["token", "create", "gone"]).exits(0).document();
    office.json(&["token", "revoke", made["kept"]["id"].as_str().unwrap()]).exits(0);
    let exposed = office.json(&["serve", "--listen", "0.0.0.0:0"]).exits(2).problem();
    assert!(exposed["detail"].as_str().unwrap().contains("tokens"), "{exposed}");
    let bad = office.json(&["serve", "--listen", "everywhere"]).exits(2).problem();
    assert_eq!(bad["code"], "bad-listen", "{bad}");
}

#[test]
fn health_and_figures_are_told_without_a_token() {
    let api = Api::open();
    let ulla = api.token("ulla", &[]);
    assert_eq!(api.get("", "/healthz").status, 200);
    assert_eq!(api.get("", "/readyz").body, "ready\n");
    api.get(&ulla, "/v1/runs/run_00000000000000000000000000000000").refused(404);
    let figures = api.get("", "/metrics").body;
    assert!(figures.contains("harness_runs 0"), "{figures}");
    assert!(figures.contains("route=\"/v1/runs/{run}\",status=\"404\""), "templates: {figures}");
    assert!(!figures.contains("run_0000"), "labels come from closed sets: {figures}");
}
