//! What a list of rules lets through, and which lists are refused.

use egress::{Error, Limits, Proxy, Rules, Setup};
use serde_json::{Value, json};

use crate::ground::{Script, Server, rules, setup, start};

/// C146: what is not said does not pass.
#[tokio::test]
async fn nothing_passes_where_nothing_is_said() {
    let server = Server::echo().await;
    let ground = start(json!([]), |_| {});
    for url in [server.url("/"), "https://example.org/".to_owned(), "http://localhost/".to_owned()]
    {
        let told = ground.get(&url).await;
        assert_eq!((told.status, told.code().as_str()), (403, "egress-no-rule"), "{url}");
        assert!(
            told.body.contains("\"next\":") && told.head.contains("application/problem+json"),
            "{told:?}"
        );
    }
    assert_eq!(server.taken(), 0);
}

/// C146, C218: by host, port, method and path.
#[tokio::test]
async fn a_rule_lets_through_what_it_says_and_nothing_beside_it() {
    let server = Server::echo().await;
    let port = server.port();
    let hosts = ["api.example.org", "other.example.org", "x.wide.example", "wide.example"];
    let here: &[&[&str]] = &[&["127.0.0.1"]];
    let turns = hosts.map(|host| (host, here));
    let mut written = vec![
        json!({"host": "API.example.org.", "scheme": "http", "port": port, "private": ["127.0.0.1"],
            "methods": ["GET"], "paths": ["/v1/items/*", "/open/**"]}),
        json!({"host": "api.example.org", "scheme": "http", "port": port, "private": ["127.0.0.1"],
            "methods": ["POST"], "paths": ["/v1/items"]}),
    ];
    written.push(json!({"host": "*.wide.example", "scheme": "http", "port": port, "methods": ["GET"], "paths": ["/**"]}));
    let ground = start(Value::Array(written), |setup| setup.resolver = Script::new(&turns));
    for (method, url, code) in [
        ("GET", "http://api.example.org:{port}/v1/items/7", ""),
        ("GET", "http://API.EXAMPLE.ORG:{port}/v1/items/7?x=../y", ""),
        ("GET", "HTTP://api.example.org.:{port}/open/", ""),
        ("POST", "http://api.example.org:{port}/v1/items", ""),
        ("POST", "http://api.example.org:{port}/v1/items/7", "egress-path"),
        ("GET", "http://api.example.org:{port}/v1/items", "egress-path"),
        ("GET", "http://api.example.org:{port}/open/../v1", "egress-path-spelling"),
        ("GET", "http://api.example.org:{port}/open/%2e%2e/v1", "egress-path-spelling"),
        ("GET", "http://api.example.org:{port}/open%2f", "egress-path"),
        ("DELETE", "http://api.example.org:{port}/v1/items", "egress-method"),
        ("get", "http://api.example.org:{port}/v1/items/7", "egress-method"),
        ("GET", "http://api.example.org:1/v1/items/7", "egress-no-rule"),
        ("GET", "http://api.example.org/v1/items/7", "egress-no-rule"),
        ("GET", "https://api.example.org:{port}/v1/items/7", "egress-no-rule"),
        ("GET", "http://other.example.org:{port}/v1/items/7", "egress-no-rule"),
        ("GET", "http://xapi.example.org:{port}/v1/items/7", "egress-no-rule"),
        ("GET", "http://api.example.org.evil.example:{port}/v1/items/7", "egress-no-rule"),
        ("GET", "http://127.0.0.1:{port}/v1/items/7", "egress-no-rule"),
        ("GET", "http://wide.example:{port}/", "egress-no-rule"),
        ("GET", "http://xwide.example:{port}/", "egress-no-rule"),
        // The rule holds, and what it leads to is not public.
        ("GET", "http://x.wide.example:{port}/", "egress-address"),
    ] {
        let told = ground.ask(method, &url.replace("{port}", &port.to_string()), "").await;
        assert_eq!(told.code(), code, "{method} {url}: {told:?}");
        assert_eq!(told.status, if code.is_empty() { 200 } else { 403 }, "{method} {url}");
    }
    assert_eq!(server.taken(), 4);
}

fn refusal(rule: Value) -> String {
    rules(json!([rule])).check().unwrap_err().to_string()
}

#[test]
fn a_rule_that_cannot_be_held_is_refused_by_its_field() {
    let base = json!({"host": "a.example", "methods": ["GET"], "paths": ["/**"]});
    rules(json!([base])).check().unwrap();
    let inject = json!([{"header": "authorization", "secret": "s"}]);
    for (change, field) in [
        (json!({"host": ""}), "host"),
        (json!({"host": "*"}), "host"),
        (json!({"host": "*.com"}), "host"),
        (json!({"host": "a.*.com"}), "host"),
        (json!({"host": "*.10.0.0.1"}), "host"),
        (json!({"host": "https://a.example"}), "host"),
        (json!({"host": "a.example:443"}), "host"),
        (json!({"host": "0x7f.1"}), "host"),
        (json!({"host": "::1"}), "host"),
        (json!({"port": 0}), "port"),
        (json!({"methods": []}), "methods"),
        (json!({"methods": ["get"]}), "methods"),
        (json!({"methods": ["CONNECT"]}), "methods"),
        (json!({"methods": ["TRACE"]}), "methods"),
        (json!({"methods": ["GET "]}), "methods"),
        (json!({"paths": []}), "paths"),
        (json!({"paths": ["a"]}), "paths"),
        (json!({"paths": ["/a/../b"]}), "paths"),
        (json!({"tunnel": true}), "methods"),
        (json!({"tunnel": true, "methods": []}), "paths"),
        (json!({"tunnel": true, "methods": [], "paths": [], "inject": inject}), "inject"),
        (json!({"tunnel": true, "methods": [], "paths": [], "scheme": "http"}), "scheme"),
        (json!({"tunnel": true, "methods": [], "paths": [], "host": "93.184.216.34"}), "host"),
        (json!({"private": ["93.184.216.34"]}), "private"),
        (json!({"private": ["169.254.169.254"]}), "private"),
        (json!({"private": ["::ffff:169.254.169.254"]}), "private"),
        (json!({"private": ["fd00:ec2::254"]}), "private"),
        (json!({"private": ["0.0.0.0"]}), "private"),
        (json!({"private": ["224.0.0.1"]}), "private"),
        (json!({"private": ["64:ff9b::7f00:1"]}), "private"),
        (json!({"private": ["10.0.0.1"], "host": "*.a.example"}), "private"),
        (json!({"inject": inject, "scheme": "http"}), "inject"),
        (json!({"inject": inject, "scheme": "http", "host": "93.184.216.34"}), "inject"),
        (json!({"inject": inject, "scheme": "http", "private": ["10.0.0.1"]}), "inject"),
        (json!({"inject": [{"header": "host", "secret": "s"}]}), "inject"),
        (json!({"inject": [{"header": "Proxy-Authorization", "secret": "s"}]}), "inject"),
        (json!({"inject": [{"header": "content-length", "secret": "s"}]}), "inject"),
        (json!({"inject": [{"header": "a b", "secret": "s"}]}), "inject"),
        (json!({"inject": [{"header": "a", "secret": ""}]}), "inject"),
        (json!({"inject": [{"header": "a", "secret": "s", "prefix": "x\r\ny"}]}), "inject"),
        (
            json!({"inject": [{"header": "a", "secret": "s"}, {"header": "A", "secret": "t"}]}),
            "inject",
        ),
    ] {
        let mut rule = base.clone();
        rule.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let told = refusal(rule);
        assert!(told.starts_with(&format!("egress[0]: {field}: ")), "{change}: {told}");
    }
}

#[test]
fn what_is_not_known_is_an_error() {
    for wrong in [
        json!([{"host": "a.example", "metods": ["GET"]}]),
        json!([{"host": "a.example", "inject": [{"header": "a", "secret": "s", "value": "v"}]}]),
        json!([{"host": "a.example", "scheme": "ftp"}]),
        json!([{"host": "a.example", "private": ["10.0.0.0/8"]}]),
        json!([{}]),
        json!({}),
    ] {
        assert!(serde_json::from_value::<Rules>(wrong.clone()).is_err(), "{wrong}");
    }
    assert!(serde_json::from_value::<Limits>(json!({"idle_ms": 5, "more": 1})).is_err());
}

#[test]
fn a_tunnel_to_a_host_that_is_sent_a_secret_is_refused() {
    for (host, tunnel) in [
        ("a.b.example", "a.b.example"),
        ("*.b.example", "a.b.example"),
        ("a.b.example", "*.b.example"),
        ("*.a.b.example", "*.b.example"),
    ] {
        let written = rules(json!([
            {"host": host, "methods": ["GET"], "paths": ["/**"], "inject": [{"header": "x", "secret": "s"}]},
            {"host": tunnel, "tunnel": true},
        ]));
        let told = written.check().unwrap_err().to_string();
        assert!(told.starts_with("egress[1]: tunnel: "), "{told}");
    }
}

#[tokio::test]
async fn a_limit_that_cannot_be_held_is_refused_by_its_field() {
    type Change = fn(&mut Limits);
    let changes: [(&str, Change); 8] = [
        ("connections_max", |limits| limits.connections_max = 0),
        ("head_bytes_max", |limits| limits.head_bytes_max = 100),
        ("headers_max", |limits| limits.headers_max = 0),
        ("head_ms", |limits| limits.head_ms = 0),
        ("connect_ms", |limits| limits.connect_ms = 0),
        ("answer_ms", |limits| limits.answer_ms = 0),
        ("idle_ms", |limits| limits.idle_ms = u64::MAX),
        ("stop_ms", |limits| limits.stop_ms = u64::MAX),
    ];
    for (field, change) in changes {
        let (mut setup, _seen, _folder) = setup(json!([]));
        change(&mut setup.limits);
        let told = Proxy::start(setup).unwrap_err().to_string();
        assert!(told.starts_with(&format!("limits: {field}: ")), "{told}");
    }
}

#[test]
fn it_starts_only_within_a_runtime() {
    let (setup, _seen, _folder): (Setup, _, _) = setup(json!([]));
    assert!(matches!(Proxy::start(setup), Err(Error::Runtime)));
}
