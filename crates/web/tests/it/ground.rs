//! Servers on loopback, names that lead where a test says, and clocks that stand still.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use egress::{Resolver, Resolving, Trust};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use web::{Failed, Fetched, Limits, Others, Places, Reach, Trip, Ways, Web};

pub(crate) const NOW: i64 = 1_795_165_200_000;

/// What is told of one request: its head and its body.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// A server that says what it is told to, and remembers what it was asked.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    under_way: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) async fn start(reply: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            under_way: Arc::default(),
            most: Arc::default(),
        };
        let (own, reply) = (server.clone(), Arc::new(reply));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (own, reply) = (own.clone(), Arc::clone(&reply));
                tokio::spawn(async move { own.serve(stream, &*reply).await });
            }
        });
        server
    }

    async fn serve(
        &self,
        mut stream: TcpStream,
        reply: &(dyn Fn(&Request) -> Vec<u8> + Send + Sync),
    ) {
        let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        if let Some(request) = read(&mut stream).await {
            self.seen.lock().unwrap().push(request.clone());
            // Lets others come in between, if anybody lets them.
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            let bytes = reply(&request);
            self.under_way.fetch_sub(1, Ordering::SeqCst);
            let _ = stream.write_all(&bytes).await;
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// The paths that were asked for, but for `robots.txt`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let paths = self.seen().into_iter().map(|request| request.path().to_owned());
        paths.filter(|path| path != "/robots.txt").collect()
    }

    /// Most requests that were under way at once.
    pub(crate) fn at_once(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let request = Request { head, body: String::new() };
        let length: usize =
            request.header("content-length").map_or(0, |text| text.parse().unwrap());
        while bytes.len() < end + 4 + length {
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        }
        let body = String::from_utf8_lossy(&bytes[end + 4..]).into_owned();
        return Some(Request { body, ..request });
    }
}

pub(crate) fn answer(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

pub(crate) fn html(body: &str) -> Vec<u8> {
    answer(200, "Content-Type: text/html; charset=utf-8\r\n", body)
}

pub(crate) fn none() -> Vec<u8> {
    answer(404, "", "")
}

/// A server of pages by path, without a `robots.txt`.
pub(crate) async fn pages(pages: &'static [(&'static str, &'static str)]) -> Server {
    Server::start(move |request| {
        let found = pages.iter().find(|(path, _)| *path == request.path());
        found.map_or_else(none, |(_, body)| html(body))
    })
    .await
}

/// Names that lead to what a test says, one list after the other, the last one for ever.
#[derive(Debug, Default)]
pub(crate) struct Script {
    names: Mutex<BTreeMap<String, Vec<Vec<IpAddr>>>>,
    pub(crate) asked: AtomicUsize,
}

impl Script {
    pub(crate) fn new(names: &[(&str, &[&[&str]])]) -> Arc<Self> {
        let read = |list: &&[&str]| list.iter().map(|ip| ip.parse().unwrap()).collect();
        let names = names
            .iter()
            .map(|(name, lists)| ((*name).to_owned(), lists.iter().rev().map(read).collect()));
        Arc::new(Self { names: Mutex::new(names.collect()), asked: AtomicUsize::new(0) })
    }
}

impl Resolver for Script {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut names = self.names.lock().unwrap();
        let found = names.get_mut(name).and_then(|lists| match lists.len() {
            0 => None,
            1 => lists.first().cloned(),
            _ => lists.pop(),
        });
        Box::pin(async move { found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound)) })
    }
}

pub(crate) fn ways(resolver: Arc<Script>) -> Ways {
    Ways { resolver, trust: Trust::Roots(Vec::new()) }
}

/// A web whose listed hosts are these.
pub(crate) fn web(hosts: &[String], others: Others, resolver: Arc<Script>) -> Web {
    limited(hosts, others, resolver, Limits::default())
}

pub(crate) fn limited(
    hosts: &[String],
    others: Others,
    resolver: Arc<Script>,
    limits: Limits,
) -> Web {
    Web::new(Places::new(hosts, &[], others).unwrap(), limits, &ways(resolver)).unwrap()
}

/// A web that may ask this server.
pub(crate) fn of(server: &Server) -> Web {
    web(&[server.address.to_string()], Others::Refused, Arc::default())
}

pub(crate) fn on_time() -> bool {
    true
}

pub(crate) async fn fetch_at(web: &Web, url: &str, now_ms: i64) -> Result<Fetched, Failed> {
    web.fetch(url, Reach::All, &Trip { now_ms, leave: &on_time }).await
}

pub(crate) async fn fetch(web: &Web, url: &str) -> Result<Fetched, Failed> {
    fetch_at(web, url, NOW).await
}
