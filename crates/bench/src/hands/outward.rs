//! A request through the proxy of sandboxes, against the same request made directly, by turns.

use std::{net::Ipv4Addr, sync::Arc, time::Instant};

use egress::{Event, Proxy, Resolver, Resolving, Rules, Setup, Witness};
use serde_json::json;
use tokio::{
    io::{self, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
};

use crate::{
    error::{Broken, Doing as _},
    options::Options,
    report::{Figure, Floor, Goal, Report},
    spread::{Spread, micros},
};

/// Who is asked.
const HOST: &str = "server.example";

/// What is answered.
const BODY: &str = "0123456789abcdef0123456789abcdef";

/// What the way through the proxy may add, in µs.
const BEYOND_US: f64 = 1_000.0;

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

pub(crate) fn measure(options: &Options, report: &mut Report) -> Result<(), Broken> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.doing("start a runtime")?;
    let folder = tempfile::tempdir_in(&options.dir).doing("make a folder")?;
    let (beyond, floor) = runtime.block_on(async {
        let port = serve().await.doing("listen")?;
        let rules = json!([{"host": HOST, "scheme": "http", "port": port, "methods": ["GET"],
            "paths": ["/**"], "private": ["127.0.0.1"]}]);
        let rules: Rules = serde_json::from_value(rules).doing("write the rules")?;
        let mut setup = Setup::new(folder.path(), rules, Arc::new(Silent));
        setup.resolver = Arc::new(Here);
        let proxy = Proxy::start(setup).doing("start the proxy")?;
        by_turns(&proxy, port, options.pick(2_000, 50)).await.doing("ask the server")
    })?;
    let floor = Floor { name: "the same request made directly", value: Spread::of(floor) };
    let name = "a request through the proxy, beyond a direct one";
    let beyond = (Spread::of(beyond), "us");
    report.add(Figure::new(name, beyond, Some(floor), Goal::AtMost(BEYOND_US)));
    Ok(())
}

/// What each request through the proxy takes longer than a direct one, and the direct ones; connections are kept.
async fn by_turns(proxy: &Proxy, port: u16, times: usize) -> io::Result<(Vec<f64>, Vec<f64>)> {
    let mut direct = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    direct.set_nodelay(true)?;
    let mut through = UnixStream::connect(proxy.socket()).await?;
    let url = format!("http://{HOST}:{port}/");
    let (mut beyond, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..times {
        let began = Instant::now();
        ask(&mut direct, "/").await?;
        let bare = micros(began.elapsed());
        let began = Instant::now();
        ask(&mut through, &url).await?;
        beyond.push(micros(began.elapsed()) - bare);
        floor.push(bare);
    }
    Ok((beyond, floor))
}

/// A server that answers every request with the same few bytes, on connections that are kept; its port.
async fn serve() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    Ok(port)
}

async fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len());
    loop {
        read_to(&mut stream, "\r\n\r\n").await?;
        stream.write_all(text.as_bytes()).await?;
    }
}

async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), target: &str) -> io::Result<()> {
    let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.flush().await?;
    read_to(stream, BODY).await
}

/// Reads up to this end.
async fn read_to(stream: &mut (impl AsyncRead + Unpin), end: &str) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(1024);
    while !bytes.ends_with(end.as_bytes()) {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
