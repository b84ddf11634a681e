//! C123: where nobody is led, however a page's address is written, whatever a resolver says, and wherever a redirect
//! points.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, atomic::Ordering},
};

use egress::Kind;
use web::{Others, Places, Reach, Trip, Web, Why};

use crate::ground::{NOW, Script, Server, answer, fetch, html, none, on_time, ways, web};

#[path = "../../../egress/tests/it/corpus.rs"]
mod corpus;
use corpus::{carriers, forbidden, spellings};

/// Every public host, and names that lead anywhere.
fn open(script: Arc<Script>) -> Web {
    web(&[], Others::Public, script)
}

fn urls(ip: IpAddr) -> Vec<String> {
    let hosts = match ip {
        IpAddr::V4(ip) => {
            let carried = carriers(ip).into_iter().map(|carrier| format!("[{carrier}]"));
            spellings(ip).into_iter().chain(carried).collect()
        }
        IpAddr::V6(ip) => vec![
            format!("[{ip}]"),
            format!("[{}]", ip.to_string().to_uppercase()),
            format!("[{ip}%25lo]"),
            format!("[{ip}%lo]"),
            ip.to_string(),
            format!("[{ip}]."),
        ],
    };
    hosts
        .into_iter()
        .flat_map(|host| ["http", "https"].map(|scheme| format!("{scheme}://{host}/x")))
        .collect()
}

#[tokio::test]
async fn no_spelling_of_a_forbidden_address_is_fetched() {
    // What is looked up at all leads nowhere: a spelling that became a name would be seen here.
    let script = Script::new(&[]);
    let web = open(Arc::clone(&script));
    let mut tried = 0;
    for (ip, kind) in forbidden() {
        for url in urls(ip) {
            let failed = fetch(&web, &url).await.expect_err(&url);
            let is_name = url.contains("#@") && failed.why == Why::Away;
            assert!(matches!(failed.why, Why::Refused | Why::Asked) || is_name, "{url}: {failed}");
            tried += 1;
        }
        let plain = match ip {
            IpAddr::V4(ip) => format!("http://{ip}/"),
            IpAddr::V6(ip) => format!("http://[{ip}]/"),
        };
        let failed = fetch(&web, &plain).await.unwrap_err();
        assert_eq!(failed.why, Why::Refused, "{plain}");
        assert!(failed.message.contains(kind.name()), "{plain}: {failed}");
    }
    assert!(tried > 2_000, "{tried}");
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_whatever_else_it_leads_to() {
    let mut all: Vec<IpAddr> = forbidden().into_iter().map(|(ip, _)| ip).collect();
    let carried: Vec<IpAddr> = all
        .iter()
        .filter_map(|ip| match ip {
            IpAddr::V4(ip) => Some(carriers(*ip).into_iter().map(IpAddr::V6)),
            IpAddr::V6(_) => None,
        })
        .flatten()
        .collect();
    all.extend(carried);
    for ip in all {
        let ip = ip.to_string();
        let script = Script::new(&[
            ("only.example", &[&[&ip]]),
            ("first.example", &[&[&ip, "93.184.216.34"]]),
            ("last.example", &[&["93.184.216.34", "2606:2800:220:1::1", &ip]]),
        ]);
        // A host that is listed is led no further than one that is not.
        let listed = ["last.example".to_owned()];
        let web = web(&listed, Others::Public, script);
        for host in ["only", "first", "last"] {
            let failed = fetch(&web, &format!("http://{host}.example/")).await.unwrap_err();
            assert_eq!(failed.why, Why::Refused, "{host} {ip}: {failed}");
        }
    }
}

/// DNS rebinding: each request is looked up once, and what was checked is what is connected to.
#[tokio::test]
async fn a_name_that_moves_inside_between_two_requests_is_refused_then() {
    let server = Server::start(|request| match request.path() {
        "/robots.txt" => none(),
        _ => html("x"),
    })
    .await;
    let script = Script::new(&[(
        "moves.example",
        // robots.txt and the page; then another address of the same machine, alone and beside the first.
        &[
            &["127.0.0.1"],
            &["127.0.0.1"],
            &["127.0.0.2"],
            &["127.0.0.1", "127.0.0.2"],
            &["10.0.0.1"],
            &["127.0.0.1"],
        ],
    )]);
    let hosts = [format!("moves.example:{}", server.port())];
    let places = Places::new(&hosts, &["127.0.0.1".parse().unwrap()], Others::Refused).unwrap();
    let web = Web::new(places, web::Limits::default(), &ways(Arc::clone(&script))).unwrap();
    let url = format!("http://moves.example:{}/", server.port());
    let mut came = Vec::new();
    for _ in 0..5 {
        came.push(fetch(&web, &url).await.is_ok());
    }
    assert_eq!(came, [true, false, false, false, true]);
    assert_eq!(script.asked.load(Ordering::Relaxed), 6);
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn a_redirect_is_held_against_the_same_rules() {
    let inside = Server::start(|_| html("SECRET")).await;
    let server = Server::start(|request| {
        let to = request.path().trim_start_matches("/to/");
        match request.path() {
            "/robots.txt" => none(),
            _ => answer(302, &format!("Location: {to}\r\n"), ""),
        }
    })
    .await;
    let script = Script::new(&[("inside.example", &[&["127.0.0.1"]])]);
    let hosts = [server.address.to_string(), "inside.example".to_owned()];
    let web = web(&hosts, Others::Public, script);
    let mut targets = vec![
        inside.url("/"),
        format!("http://inside.example:{}/", inside.port()),
        "http://inside.example/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "gopher://127.0.0.1/".to_owned(),
    ];
    let ips: [Ipv4Addr; 3] =
        [Ipv4Addr::LOCALHOST, Ipv4Addr::new(169, 254, 169, 254), Ipv4Addr::new(10, 0, 0, 1)];
    for ip in ips {
        assert_ne!(Kind::of(ip.into()), Kind::Public);
        targets.extend(
            spellings(ip)
                .into_iter()
                .filter(|host| host.is_ascii())
                .map(|host| format!("http://{host}/")),
        );
        targets.extend(carriers(ip).into_iter().map(|carrier| format!("http://[{carrier}]/")));
    }
    for to in &targets {
        // Spaces and the like cannot stand in the path that carries it.
        if to.contains(['\t', ' ', '#', '\\', '%']) {
            continue;
        }
        let failed = fetch(&web, &server.url(&format!("/to/{to}"))).await.expect_err(to);
        let is_name = to.contains("public.example") && failed.why == Why::Away;
        assert!(matches!(failed.why, Why::Refused | Why::Shape) || is_name, "{to}: {failed}");
    }
    assert!(inside.seen().is_empty(), "nothing inside was asked");
}

/// What a host says in `robots.txt` leads nowhere either.
#[tokio::test]
async fn a_redirect_of_robots_txt_is_held_against_the_same_rules() {
    let inside = Server::start(|_| html("SECRET")).await;
    let to = inside.url("/");
    let server = Server::start(move |request| match request.path() {
        "/robots.txt" => answer(302, &format!("Location: {to}\r\n"), ""),
        _ => html("x"),
    })
    .await;
    let web = web(&[server.address.to_string()], Others::Public, Arc::default());
    let failed = fetch(&web, &server.url("/a")).await.unwrap_err();
    assert_eq!(failed.why, Why::Refused, "{failed}");
    assert!(inside.seen().is_empty() && server.paths().is_empty());
}

/// An operation that reaches listed hosts is not led to others by one of them.
#[tokio::test]
async fn listed_hosts_do_not_lead_to_others() {
    let server = Server::start(|request| match request.path() {
        "/robots.txt" => none(),
        _ => answer(302, "Location: http://elsewhere.example/?d=secret\r\n", ""),
    })
    .await;
    let script = Script::new(&[("elsewhere.example", &[&["93.184.216.34"]])]);
    let web = web(&[server.address.to_string()], Others::Public, Arc::clone(&script));
    let trip = Trip { now_ms: NOW, leave: &on_time };
    let failed = web.fetch(&server.url("/"), Reach::Listed, &trip).await.unwrap_err();
    assert_eq!(failed.why, Why::Refused, "{failed}");
    assert_eq!(script.asked.load(Ordering::Relaxed), 0, "it was not even looked up");
}
