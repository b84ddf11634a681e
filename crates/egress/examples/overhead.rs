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

use egress::{Event, Proxy, Rules, Setup, Trust, Witness};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
};

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

/// Answers every request with the same few bytes, on connections that are kept.
async fn serve(listener: TcpListener) {
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len());
    while let Ok((mut stream, _)) = listener.accept().await {
        let answer = answer.clone();
        tokio::spawn(async move {
            stream.set_nodelay(true).unwrap();
            while read_to(&mut stream, "\r\n\r\n").await {
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
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
    assert!(read_to(stream, BODY).await);
}

fn median(mut all: Vec<u128>) -> f64 {
    all.sort_unstable();
    let half = all[all.len() / 2];
    f64::from(u32::try_from(half).unwrap()) / 1000.0
}

#[tokio::main]
async fn main() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener));
    let folder = tempfile::tempdir().unwrap();
    let rules: Rules = serde_json::from_value(json!([{
        "host": "127.0.0.1", "scheme": "http", "port": address.port(),
        "methods": ["GET"], "paths": ["/**"], "private": ["127.0.0.1"],
    }]))
    .unwrap();
    let mut setup = Setup::new(folder.path(), rules, Arc::new(Silent));
    setup.trust = Trust::Roots(Vec::new());
    let proxy = Proxy::start(setup).unwrap();
    let url = format!("http://{address}/");

    let (mut fresh, mut kept, mut fresh_through, mut kept_through) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut direct = TcpStream::connect(address).await.unwrap();
    direct.set_nodelay(true).unwrap();
    let mut through = UnixStream::connect(proxy.socket()).await.unwrap();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let mut stream = TcpStream::connect(address).await.unwrap();
        ask(&mut stream, "/").await;
        fresh.push(began.elapsed().as_nanos());

        let began = Instant::now();
        let mut stream = UnixStream::connect(proxy.socket()).await.unwrap();
        ask(&mut stream, &url).await;
        fresh_through.push(began.elapsed().as_nanos());

        let began = Instant::now();
        ask(&mut direct, "/").await;
        kept.push(began.elapsed().as_nanos());

        let began = Instant::now();
        ask(&mut through, &url).await;
        kept_through.push(began.elapsed().as_nanos());
    }
    println!("median of {ROUNDS} requests over plain HTTP on loopback, in microseconds");
    for (what, direct, through) in
        [("a new connection each", fresh, fresh_through), ("one connection", kept, kept_through)]
    {
        let (direct, through) = (median(direct), median(through));
        println!(
            "{what}: direct {direct:.0}, through the proxy {through:.0}, extra {:.0}",
            through - direct
        );
    }
}
