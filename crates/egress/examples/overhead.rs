//! What the way through the proxy costs: the median time of a request through it against a direct one, taken in turns
//! in the same run.
//!
//! `cargo run --release -p harness-egress --example overhead`
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a program for the terminal that stops at the first surprise"
)]

use std::{net::Ipv4Addr, sync::Arc, time::Instant};

use egress::{Event, Proxy, Resolver, Resolving, Rules, Setup, Trust, Witness};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, ServerName},
};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const HOST: &str = "server.example";
const ROUNDS: usize = 2_000;
const BODY: &str = "0123456789abcdef0123456789abcdef";

#[derive(Debug)]
struct Silent;

impl Witness for Silent {
    fn at_ms(&self) -> i64 {
        0
    }

    fn saw(&self, _: Event) {}
}

/// Leads everywhere to this machine.
#[derive(Debug)]
struct Here;

impl Resolver for Here {
    fn resolve<'a>(&'a self, _: &'a str) -> Resolving<'a> {
        Box::pin(async { Ok(vec![Ipv4Addr::LOCALHOST.into()]) })
    }
}

/// Answers every request with the same few bytes, on connections that are kept; with TLS where there is any.
async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>) {
    while let Ok((stream, _)) = listener.accept().await {
        let tls = tls.clone();
        tokio::spawn(async move {
            stream.set_nodelay(true).unwrap();
            match tls {
                Some(tls) => answer(tls.accept(stream).await.unwrap()).await,
                None => answer(stream).await,
            }
        });
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len());
    while read_to(&mut stream, "\r\n\r\n").await {
        stream.write_all(text.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }
}

/// Reads up to this end; whether it came.
async fn read_to(stream: &mut (impl AsyncRead + Unpin), end: &str) -> bool {
    let mut bytes = Vec::with_capacity(1024);
    while !bytes.ends_with(end.as_bytes()) {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return false;
        }
    }
    true
}

async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), target: &str) {
    let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    assert!(read_to(stream, BODY).await);
}

fn median(mut all: Vec<u128>) -> f64 {
    all.sort_unstable();
    let half = all[all.len() / 2];
    f64::from(u32::try_from(half).unwrap()) / 1000.0
}

/// A certificate, who answers with it, and who asks and trusts it.
fn tls() -> (Vec<u8>, TlsAcceptor, TlsConnector) {
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (certificate.to_vec(), Arc::new(server).into(), Arc::new(client).into())
}

/// A server on loopback; its port.
async fn start(tls: Option<TlsAcceptor>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(serve(listener, tls));
    port
}

async fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// How long something takes, in nanoseconds.
async fn timed(work: impl Future<Output = ()>) -> u128 {
    let began = Instant::now();
    work.await;
    began.elapsed().as_nanos()
}

#[tokio::main]
async fn main() {
    let (root, acceptor, connector) = tls();
    let (plain, secure) = (start(None).await, start(Some(acceptor)).await);
    let folder = tempfile::tempdir().unwrap();
    let rule = |scheme: &str, port: u16| {
        json!({"host": HOST, "scheme": scheme, "port": port, "methods": ["GET"], "paths": ["/**"],
            "private": ["127.0.0.1"]})
    };
    let rules: Rules =
        serde_json::from_value(json!([rule("http", plain), rule("https", secure)])).unwrap();
    let mut setup = Setup::new(folder.path(), rules, Arc::new(Silent));
    setup.trust = Trust::Roots(vec![root]);
    setup.resolver = Arc::new(Here);
    let proxy = Proxy::start(setup).unwrap();
    let (url, secure_url) =
        (format!("http://{HOST}:{plain}/"), format!("https://{HOST}:{secure}/"));
    let name = ServerName::try_from(HOST).unwrap();

    let mut kept = connect(plain).await;
    let mut kept_secure = connector.connect(name.clone(), connect(secure).await).await.unwrap();
    let mut through = UnixStream::connect(proxy.socket()).await.unwrap();
    let mut times: [Vec<u128>; 7] = Default::default();
    for _ in 0..ROUNDS {
        times[0].push(timed(async { ask(&mut connect(plain).await, "/").await }).await);
        let fresh = async {
            let mut stream = UnixStream::connect(proxy.socket()).await.unwrap();
            ask(&mut stream, &url).await;
        };
        times[1].push(timed(fresh).await);
        times[2].push(timed(ask(&mut kept, "/")).await);
        times[3].push(timed(ask(&mut through, &url)).await);
        let fresh = async {
            let stream = connect(secure).await;
            ask(&mut connector.connect(name.clone(), stream).await.unwrap(), "/").await;
        };
        times[4].push(timed(fresh).await);
        times[5].push(timed(ask(&mut kept_secure, "/")).await);
        times[6].push(timed(ask(&mut through, &secure_url)).await);
    }
    let of = times.map(median);
    println!("medians of {ROUNDS} requests on loopback, in microseconds");
    for (what, direct, proxied) in [
        ("http, a new connection each", of[0], of[1]),
        ("http, connections kept inside", of[2], of[3]),
        ("https, against a new connection each", of[4], of[6]),
        ("https, against a connection that is kept", of[5], of[6]),
    ] {
        println!(
            "{what}: direct {direct:.0}, through the proxy {proxied:.0}, extra {:.0}",
            proxied - direct
        );
    }
}
