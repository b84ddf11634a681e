//! Where nobody is led, however the place is written and whatever a resolver says.

use std::net::IpAddr;

use egress::Kind;
use serde_json::{Value, json};

use crate::corpus::{carriers, forbidden, spellings};
use crate::ground::{Ground, Script, Seen, Server, Told, start};

#[test]
fn every_range_that_is_not_public_is_known_as_what_it_is() {
    for (ip, kind) in forbidden() {
        assert_eq!(Kind::of(ip), kind, "{ip}");
        if let IpAddr::V4(v4) = ip {
            for carrier in carriers(v4) {
                assert_ne!(Kind::of(carrier.into()), Kind::Public, "{carrier}");
            }
        }
    }
    for public in [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "93.184.216.34",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:2800:220:1::1",
        "2a00:1450::1",
        "2001:200::1",
        "2001:4860:4860::8888",
        "::ffff:1.1.1.1",
    ] {
        assert_eq!(Kind::of(public.parse().unwrap()), Kind::Public, "{public}");
    }
}

/// A proxy whose rules let every address through that can be written, as far as rules reach.
fn lenient() -> Ground {
    let mut written: Vec<Value> = forbidden()
        .iter()
        .map(|(ip, _)| match ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        })
        .map(|host| json!({"host": host, "scheme": "http", "methods": ["GET"], "paths": ["/**"]}))
        .collect();
    written.push(
        json!({"host": "public.example", "scheme": "http", "methods": ["GET"], "paths": ["/**"]}),
    );
    start(Value::Array(written), |_| {})
}

#[tokio::test]
async fn no_spelling_of_a_forbidden_address_passes_even_where_a_rule_names_it() {
    let ground = lenient();
    let mut tried = 0;
    for (ip, _) in forbidden() {
        let hosts = match ip {
            IpAddr::V4(ip) => spellings(ip),
            IpAddr::V6(ip) => vec![
                format!("[{ip}]"),
                format!("[{}]", ip.to_string().to_uppercase()),
                format!("[{ip}%25lo]"),
                format!("[{ip}%lo]"),
                ip.to_string(),
                format!("[{ip}]."),
            ],
        };
        let plain = hosts[0].clone();
        for host in hosts {
            let text = ground.raw(format!("GET http://{host}/ HTTP/1.1\r\nHost: public.example\r\nConnection: close\r\n\r\n")).await;
            let told = Told::read(&text);
            // hyper refuses what it cannot read; the rest is refused by us, by what it is.
            let fits = told.status == 400
                || ["egress-address", "egress-host", "egress-no-rule", "egress-form"]
                    .contains(&told.code().as_str());
            // What stands behind the sign is no part of the host, so the name before it is looked up.
            let is_before = host.contains('#') && told.code() == "egress-resolve";
            assert!(fits || is_before, "{host}: {told:?}");
            if host == plain {
                assert_eq!(told.code(), "egress-address", "{host}: {told:?}");
            }
            tried += 1;
        }
    }
    assert!(tried > 1000, "{tried}");
    assert!(
        ground.seen.wait(tried).await.iter().all(|event| event.address.is_none()),
        "nothing was connected to"
    );
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_whatever_else_it_leads_to() {
    let mut all = forbidden();
    let carried: Vec<(IpAddr, Kind)> = all
        .iter()
        .filter_map(|(ip, kind)| match ip {
            IpAddr::V4(ip) => {
                Some(carriers(*ip).into_iter().map(|carrier| (IpAddr::V6(carrier), *kind)))
            }
            IpAddr::V6(_) => None,
        })
        .flatten()
        .collect();
    all.extend(carried);
    for (ip, _) in all {
        let ip = ip.to_string();
        let script = Script::new(&[
            ("only.example", &[&[&ip]]),
            ("first.example", &[&[&ip, "93.184.216.34"]]),
            ("last.example", &[&["93.184.216.34", "2606:2800:220:1::1", &ip]]),
        ]);
        let rule = |host: &str| json!({"host": host, "methods": ["GET"], "paths": ["/**"]});
        let written = json!([rule("only.example"), rule("first.example"), rule("last.example")]);
        let ground = start(written, |setup| setup.resolver = script);
        for host in ["only", "first", "last"] {
            let told = ground.get(&format!("https://{host}.example/")).await;
            assert_eq!(
                (told.status, told.code().as_str()),
                (403, "egress-address"),
                "{host} {ip}: {told:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_name_that_moves_inside_between_two_requests_is_refused_then() {
    let server = Server::echo().await;
    let rule = |host: &str, private: &[&str]| json!({"host": host, "scheme": "http", "port": server.port(), "methods": ["GET"], "paths": ["/**"], "private": private});
    let written = json!([rule("moves.example", &["127.0.0.1"]), rule("away.example", &[])]);
    let script = Script::new(&[
        // Allowed by the rule; then another address of the same machine, which it does not list.
        (
            "moves.example",
            &[&["127.0.0.1"], &["127.0.0.2"], &["127.0.0.1", "127.0.0.2"], &["127.0.0.1"]],
        ),
        ("away.example", &[&[], &["127.0.0.1"]]),
    ]);
    let ground = start(written, |setup| setup.resolver = std::sync::Arc::clone(&script) as _);
    for (host, code) in [
        ("moves", ""),
        ("moves", "egress-address"),
        ("moves", "egress-address"),
        ("moves", ""),
        ("away", "egress-resolve"),
        ("away", "egress-address"),
    ] {
        let told = ground.get(&format!("http://{host}.example:{}/", server.port())).await;
        assert_eq!(told.code(), code, "{host}: {told:?}");
    }
    assert_eq!(
        script.asked.load(std::sync::atomic::Ordering::Relaxed),
        6,
        "each request is looked up once"
    );
    assert_eq!(server.taken(), 2);
    let events = ground.seen.wait(6).await;
    assert_eq!(
        events[0].address,
        Some(server.address),
        "what was checked is what was connected to"
    );
}

#[tokio::test]
async fn a_name_with_more_addresses_than_are_looked_at_is_refused() {
    let all: Vec<String> = (0..65).map(|number| format!("93.184.216.{number}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let script = Script::new(&[("many.example", &[&all])]);
    let ground =
        start(json!([{"host": "many.example", "methods": ["GET"], "paths": ["/**"]}]), |setup| {
            setup.resolver = script
        });
    assert_eq!(ground.get("https://many.example/").await.code(), "egress-resolve");
}

#[tokio::test]
async fn the_host_header_decides_nothing() {
    let server = Server::echo().await;
    let ground = start(json!([server.rule()]), |_| {});
    let evil = format!(
        "GET http://10.0.0.1/ HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        server.address
    );
    assert_eq!(Told::read(&ground.raw(evil).await).code(), "egress-no-rule");
    let front = format!(
        "GET {} HTTP/1.1\r\nHost: hidden.example\r\nX-Forwarded-Host: y\r\nConnection: close\r\n\r\n",
        server.url("/")
    );
    let told = Told::read(&ground.raw(front).await);
    assert!(told.status == 200 && !told.body.contains("hidden.example"), "{told:?}");
}

/// C146: no raw address is a way past the rules.
#[tokio::test]
async fn raw_ports_are_not_tunnelled_to() {
    let server = Server::echo().await;
    let ground = start(json!([server.rule(), {"host": "t.example", "tunnel": true}]), |_| {});
    for (place, code) in [
        (server.address.to_string(), "egress-no-tunnel"),
        ("127.0.0.1:22".to_owned(), "egress-no-rule"),
        ("169.254.169.254:80".to_owned(), "egress-no-rule"),
        ("t.example:22".to_owned(), "egress-no-rule"),
        ("t.example:0".to_owned(), "egress-host"),
        ("2130706433:443".to_owned(), "egress-host"),
        ("x@t.example:443".to_owned(), "egress-host"),
        ("t.example".to_owned(), "egress-form"),
        ("http://t.example:443/".to_owned(), "egress-form"),
    ] {
        let told = Told::read(
            &ground
                .raw(format!("CONNECT {place} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
                .await,
        );
        let is_refused = told.status == 403 && told.code() == code;
        assert!(is_refused || told.status == 400, "{place}: {told:?}");
    }
    assert_eq!(server.taken(), 0);
    assert!(Seen::codes(&ground.seen.wait(9).await).iter().all(|code| !code.is_empty()));
}
