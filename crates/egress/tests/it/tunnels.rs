//! TLS: the proxy's own, with certificates that it checks, and the program's through a tunnel.

use std::{net::Ipv4Addr, sync::Arc};

use egress::{Limits, Setup, Trust};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use crate::ground::{
    Ground, PATIENCE, Script, Seen, Server, Values, hasty, read_request, respond, start,
};

/// Somebody who signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: Vec<u8>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().to_vec();
        Self { issuer: Issuer::new(params, key), root }
    }

    fn server(&self, names: &[&str]) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).unwrap();
        let chain = vec![params.signed_by(&key, &self.issuer).unwrap().der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap()
    }

    fn connector(&self) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.root.clone())).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }
}

/// A TLS server on loopback that sends requests back.
struct Secure {
    port: u16,
    task: JoinHandle<()>,
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn secure(config: ServerConfig) -> Secure {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let task = tokio::spawn(async move {
        let mut all = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            all.spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let request = read_request(&mut stream).await;
                if !request.is_empty() {
                    respond(&mut stream, "200 OK", "", &request).await;
                }
                let _ = stream.shutdown().await;
            });
        }
    });
    Secure { port, task }
}

const HOST: &str = "api.example.org";

fn to_loopback(setup: &mut Setup, authority: &Authority) {
    let here: &[&[&str]] = &[&["127.0.0.1"]];
    setup.resolver = Script::new(&[(HOST, here), ("other.example.org", here)]);
    setup.trust = Trust::Roots(vec![authority.root.clone()]);
}

fn tunnel(port: u16) -> Value {
    json!({"host": HOST, "port": port, "tunnel": true, "private": ["127.0.0.1"]})
}

/// Asks for a tunnel; the status, and the connection after it.
async fn connect(ground: &Ground, place: &str) -> (String, UnixStream) {
    let mut stream = ground.connect().await;
    stream
        .write_all(format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(timeout(PATIENCE, stream.read(&mut byte)).await.unwrap().unwrap(), 1);
        head.push(byte[0]);
    }
    (String::from_utf8(head).unwrap()[9..12].to_owned(), stream)
}

async fn greet(
    authority: &Authority,
    stream: UnixStream,
    name: &str,
) -> std::io::Result<TlsStream<UnixStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    timeout(PATIENCE, authority.connector().connect(name, stream))
        .await
        .expect("neither TLS nor an end")
}

#[tokio::test]
async fn the_proxy_speaks_tls_for_the_inside_and_rules_see_path_and_method() {
    let authority = Authority::new();
    let server = secure(authority.server(&[HOST])).await;
    let rule = json!({"host": HOST, "port": server.port, "methods": ["GET"], "paths": ["/v1/**"], "private": ["127.0.0.1"],
        "inject": [{"header": "authorization", "prefix": "Bearer ", "secret": "key"}]});
    let ground = start(json!([rule]), |setup| {
        to_loopback(setup, &authority);
        setup.secrets = Arc::new(Values([("key", "abcdefgh1234")].into()));
    });
    let url = format!("https://{HOST}:{}", server.port);
    let told = ground.get(&format!("{url}/v1/x")).await;
    assert_eq!(told.status, 200, "{told:?}");
    assert!(told.body.contains(&format!("host: {HOST}:{}", server.port)), "{told:?}");
    assert!(told.body.contains("Bearer [secret]") && !told.body.contains("abcdefgh"), "{told:?}");
    assert_eq!(ground.get(&format!("{url}/v2")).await.code(), "egress-path");
    assert_eq!(ground.ask("POST", &format!("{url}/v1/x"), "").await.code(), "egress-method");
    assert_eq!(
        ground.get(&format!("http://{HOST}:{}/v1/x", server.port)).await.code(),
        "egress-no-rule"
    );
}

#[tokio::test]
async fn a_certificate_that_does_not_prove_the_host_is_refused() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let plain = Server::echo().await;
    let wrong = secure(authority.server(&["other.example.org"])).await;
    let unknown = secure(stranger.server(&[HOST])).await;
    for port in [wrong.port, unknown.port, plain.port()] {
        let rule = json!({"host": HOST, "port": port, "methods": ["GET"], "paths": ["/**"], "private": ["127.0.0.1"]});
        let limits = Limits { connect_ms: 2_000, ..Limits::default() };
        let ground = start(json!([rule]), |setup| {
            to_loopback(setup, &authority);
            setup.limits = limits;
        });
        let told = ground.get(&format!("https://{HOST}:{port}/")).await;
        let codes = ["egress-tls", "egress-timeout"];
        assert!(told.status >= 502 && codes.contains(&told.code().as_str()), "{port}: {told:?}");
    }
}

#[tokio::test]
async fn a_tunnel_carries_tls_to_the_host_that_it_is_for() {
    let authority = Authority::new();
    let server = secure(authority.server(&[HOST])).await;
    let ground = start(json!([tunnel(server.port)]), |setup| to_loopback(setup, &authority));
    let (status, stream) = connect(&ground, &format!("API.example.org.:{}", server.port)).await;
    assert_eq!(status, "200");
    let mut stream = greet(&authority, stream, HOST).await.unwrap();
    stream.write_all(b"GET /through HTTP/1.1\r\n\r\n").await.unwrap();
    let mut out = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut out)).await.unwrap();
    assert!(String::from_utf8_lossy(&out).contains("GET /through"));
    drop(stream);
    let event = ground.seen.wait(1).await.remove(0);
    assert_eq!((event.refusal, event.rule, event.status), (None, Some(0), Some(200)));
    assert_eq!(
        (event.method.as_str(), event.host.as_str(), event.path.as_str()),
        ("CONNECT", HOST, "")
    );
    assert!(event.bytes_out > 200 && event.bytes_in > 500, "{event:?}");
}

#[tokio::test]
async fn a_tunnel_whose_greeting_names_another_host_or_none_ends() {
    let authority = Authority::new();
    let server = secure(authority.server(&[HOST, "other.example.org", "127.0.0.1"])).await;
    let ground = start(json!([tunnel(server.port)]), |setup| to_loopback(setup, &authority));
    // An address is not sent as a server name.
    for name in ["other.example.org", "example.org", "x.api.example.org", "127.0.0.1"] {
        let (status, stream) = connect(&ground, &format!("{HOST}:{}", server.port)).await;
        assert_eq!(status, "200");
        assert!(greet(&authority, stream, name).await.is_err(), "{name}");
    }
    let events = ground.seen.wait(4).await;
    assert_eq!(Seen::codes(&events), ["egress-sni"; 4]);
    assert!(events.iter().all(|event| event.bytes_out == 0 && event.bytes_in == 0), "{events:?}");
}

#[tokio::test]
async fn a_tunnel_carries_nothing_but_tls() {
    let server = Server::echo().await;
    let authority = Authority::new();
    let ground = start(json!([tunnel(server.port())]), |setup| to_loopback(setup, &authority));
    for first in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"SSH-2.0-x\r\n",
        b"\x16\x03\x01\x00\x00",
        b"EHLO x\r\n",
        &[0x80, 0x2e, 1, 0, 2],
    ] {
        let (status, mut stream) = connect(&ground, &format!("{HOST}:{}", server.port())).await;
        assert_eq!(status, "200");
        stream.write_all(first).await.unwrap();
        let mut out = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut out)).await.expect("it ends");
        assert!(out.is_empty());
    }
    assert_eq!(Seen::codes(&ground.seen.wait(5).await), ["egress-sni"; 5]);
}

#[tokio::test]
async fn a_greeting_that_comes_in_pieces_is_read_and_one_that_does_not_come_is_given_up() {
    let authority = Authority::new();
    let server = secure(authority.server(&[HOST])).await;
    let ground = start(json!([tunnel(server.port)]), |setup| {
        to_loopback(setup, &authority);
        setup.limits = hasty();
    });
    let place = format!("{HOST}:{}", server.port);
    let (_, mut stream) = connect(&ground, &place).await;
    stream.write_all(&[22, 3, 1]).await.unwrap();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.expect("it ends");
    assert_eq!(Seen::codes(&ground.seen.wait(1).await), ["egress-timeout"]);
    // Sent together with what asks for the tunnel.
    let mut stream = ground.connect().await;
    stream
        .write_all(format!("CONNECT {place} HTTP/1.1\r\nHost: x\r\n\r\nnot TLS").as_bytes())
        .await
        .unwrap();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.expect("it ends");
    assert_eq!(Seen::codes(&ground.seen.wait(2).await)[1], "egress-sni");
}

#[tokio::test]
async fn a_tunnel_is_cut_where_its_rule_says_and_when_it_is_quiet() {
    let authority = Authority::new();
    let server = secure(authority.server(&[HOST])).await;
    let place = format!("{HOST}:{}", server.port);
    for (field, most) in [("request_bytes_max", 100), ("response_bytes_max", 100)] {
        let mut rule = tunnel(server.port);
        rule[field] = json!(most);
        let ground = start(json!([rule]), |setup| to_loopback(setup, &authority));
        let (_, stream) = connect(&ground, &place).await;
        assert!(greet(&authority, stream, HOST).await.is_err());
        assert_eq!(Seen::codes(&ground.seen.wait(1).await), ["egress-bytes"], "{field}");
    }
    for limits in [hasty(), Limits { total_ms: 300, ..Limits::default() }] {
        let ground = start(json!([tunnel(server.port)]), |setup| {
            to_loopback(setup, &authority);
            setup.limits = limits;
        });
        let (_, stream) = connect(&ground, &place).await;
        let mut stream = greet(&authority, stream, HOST).await.unwrap();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.expect("it ends");
        assert_eq!(Seen::codes(&ground.seen.wait(1).await), ["egress-timeout"]);
    }
}

#[tokio::test]
async fn a_tunnel_is_held_to_addresses_as_a_request_is() {
    let authority = Authority::new();
    let rule = json!({"host": HOST, "tunnel": true});
    let ground = start(json!([rule]), |setup| to_loopback(setup, &authority));
    let (status, _) = connect(&ground, &format!("{HOST}:443")).await;
    assert_eq!(status, "403");
    let (status, _) = connect(&ground, "other.example.org:443").await;
    assert_eq!(status, "403");
    assert_eq!(Seen::codes(&ground.seen.wait(2).await), ["egress-address", "egress-no-rule"]);
}

#[tokio::test]
async fn stopping_ends_a_tunnel() {
    let authority = Authority::new();
    let server = secure(authority.server(&[HOST])).await;
    let ground = start(json!([tunnel(server.port)]), |setup| {
        to_loopback(setup, &authority);
        setup.limits.stop_ms = 50;
    });
    let (_, stream) = connect(&ground, &format!("{HOST}:{}", server.port)).await;
    let mut stream = greet(&authority, stream, HOST).await.unwrap();
    ground.proxy.stop().await;
    let _ = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.expect("it ends");
    assert_eq!(Seen::codes(&ground.seen.wait(1).await), ["egress-stopped"]);
}
