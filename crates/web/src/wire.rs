//! One request, and as much of its answer as there is room for.

use std::io::{self, Write};

use bytes::Bytes;
use egress::Direct;
use flate2::write::MultiGzDecoder;
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request,
    header::{
        ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderName,
        RETRY_AFTER, USER_AGENT,
    },
};
use jiff::fmt::rfc2822;

use crate::{
    address::Address,
    error::{Failed, Why},
};

/// Who asks: the name that a `robots.txt` may speak to.
pub const PRODUCT: &str = "harness";

/// What every request says of who asks.
const AGENT: &str = concat!("harness/", env!("CARGO_PKG_VERSION"));

/// Longest time that anybody is left alone because they asked for it, in milliseconds.
pub const PAUSE_MAX_MS: i64 = 3_600_000;

/// What a call knows of time: its moment, and whether anything may still leave.
pub struct Trip<'a> {
    /// Wall clock, in milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// Asked right before something leaves; `false` = too late.
    pub leave: &'a (dyn Fn() -> bool + Send + Sync),
}

impl std::fmt::Debug for Trip<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trip").field("now_ms", &self.now_ms).finish_non_exhaustive()
    }
}

impl Trip<'_> {
    fn check(&self) -> Result<(), Failed> {
        if (self.leave)() { Ok(()) } else { Err(Failed::late()) }
    }
}

/// What is asked, beside where.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    pub(crate) method: Method,
    pub(crate) accept: &'static str,
    pub(crate) headers: Vec<(HeaderName, String)>,
    /// JSON; empty = nothing.
    pub(crate) body: Bytes,
}

impl Asking {
    pub(crate) fn get(accept: &'static str) -> Self {
        Self { method: Method::GET, accept, headers: Vec::new(), body: Bytes::new() }
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// Whether there was more than there was room for.
    pub(crate) is_cut: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// `Retry-After`, as seconds or as a date.
    pub(crate) fn retry_after_ms(&self, now_ms: i64) -> Option<i64> {
        let text = self.header(&RETRY_AFTER)?.trim();
        let wait_ms = match text.parse::<i64>() {
            Ok(seconds) => seconds.saturating_mul(1_000),
            Err(_) => date_ms(text)?.saturating_sub(now_ms),
        };
        Some(wait_ms.clamp(0, PAUSE_MAX_MS))
    }
}

/// A date of HTTP, in milliseconds since the Unix epoch.
pub(crate) fn date_ms(text: &str) -> Option<i64> {
    rfc2822::parse(text.trim()).ok().map(|time| time.timestamp().as_millisecond())
}

/// Asks, and reads at most `room` bytes of the answer, unpacked.
pub(crate) async fn ask(
    direct: &Direct,
    (address, opens): (&Address, &(dyn Fn(std::net::IpAddr) -> bool + Send + Sync)),
    asking: &Asking,
    (trip, room): (&Trip<'_>, usize),
) -> Result<Answer, Failed> {
    let host = address.host();
    let request = build(address, asking)?;
    trip.check()?;
    let opened = direct.open(address.target(), opens).await;
    let mut connection = opened.map_err(|refusal| Failed::unreached(host, refusal))?;
    // Looking up and connecting took its time.
    trip.check()?;
    let response = connection.send(request).await;
    let response = response.map_err(|refusal| Failed::unreached(host, refusal))?;
    let (head, mut body) = response.into_parts();
    let mut unpacking = Unpacking::new(&head.headers, room).ok_or_else(|| {
        Failed::new(Why::Shape, format!("`{host}` answered packed in a way that was not asked for"))
    })?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            Failed::new(
                Why::Away,
                format!("`{host}` broke off in the middle of its answer; try again later"),
            )
        })?;
        let Ok(data) = frame.into_data() else { continue };
        match unpacking.push(&data) {
            Ok(true) => {}
            Ok(false) => break,
            Err(_) => {
                let message = format!("the answer of `{host}` cannot be unpacked");
                return Err(Failed::new(Why::Shape, message));
            }
        }
    }
    let (body, is_cut) = unpacking.finish().ok_or_else(|| {
        Failed::new(Why::Shape, format!("the answer of `{host}` cannot be unpacked"))
    })?;
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body, is_cut })
}

fn build(address: &Address, asking: &Asking) -> Result<Request<Full<Bytes>>, Failed> {
    let mut request = Request::builder()
        .method(asking.method.clone())
        .uri(address.path_and_query())
        .header(HOST, address.authority())
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, asking.accept)
        .header(ACCEPT_ENCODING, "gzip")
        .header(CONNECTION, "close");
    if !asking.body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    for (name, value) in &asking.headers {
        request = request.header(name, value);
    }
    request.body(Full::new(asking.body.clone())).map_err(|_| {
        Failed::new(
            Why::Asked,
            "the request cannot be written: an address or a key holds what no header may",
        )
    })
}

/// A body on its way in: unpacked, and no longer than there is room for.
enum Unpacking {
    Plain(Room),
    Gzip(Box<MultiGzDecoder<Room>>),
}

/// Keeps what fits, and refuses the rest.
#[derive(Debug, Default)]
struct Room {
    kept: Vec<u8>,
    most: usize,
    is_full: bool,
}

impl Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.most.saturating_sub(self.kept.len());
        let fits = bytes.get(..left.min(bytes.len())).unwrap_or_default();
        self.kept.extend_from_slice(fits);
        if fits.len() < bytes.len() {
            self.is_full = true;
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Unpacking {
    /// `None` where it is packed otherwise.
    fn new(headers: &HeaderMap, most: usize) -> Option<Self> {
        let room = Room { most, ..Room::default() };
        let mut packings = headers.get_all(CONTENT_ENCODING).iter();
        let packing = packings.next().map(|value| value.to_str().unwrap_or("?").trim());
        if packings.next().is_some() {
            return None;
        }
        match packing.map(str::to_ascii_lowercase).as_deref() {
            None | Some("" | "identity") => Some(Self::Plain(room)),
            Some("gzip" | "x-gzip") => Some(Self::Gzip(Box::new(MultiGzDecoder::new(room)))),
            Some(_) => None,
        }
    }

    /// Whether there is room for more.
    fn push(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let (written, room) = match self {
            Self::Plain(room) => (room.write_all(bytes), room),
            Self::Gzip(decoder) => (decoder.write_all(bytes), decoder.get_mut()),
        };
        if room.is_full {
            return Ok(false);
        }
        written.map(|()| true)
    }

    fn finish(self) -> Option<(Vec<u8>, bool)> {
        let room = match self {
            Self::Plain(room) => room,
            Self::Gzip(decoder) if decoder.get_ref().is_full => {
                let mut decoder = *decoder;
                std::mem::take(decoder.get_mut())
            }
            Self::Gzip(mut decoder) => {
                let finished = decoder.try_finish();
                let room = std::mem::take(decoder.get_mut());
                // The last bytes come out here.
                if finished.is_err() && !room.is_full {
                    return None;
                }
                room
            }
        };
        Some((room.kept, room.is_full))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack(packing: &str, body: &[u8], most: usize) -> Option<(Vec<u8>, bool)> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, packing.parse().unwrap());
        let mut unpacking = Unpacking::new(&headers, most)?;
        for chunk in body.chunks(1_000) {
            match unpacking.push(chunk) {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => return None,
            }
        }
        unpacking.finish()
    }

    #[test]
    fn a_body_is_cut_where_there_is_no_room_however_small_it_was_packed() {
        let bomb = gzip(&vec![b'a'; 50_000_000]);
        assert!(bomb.len() < 100_000);
        assert_eq!(unpack("gzip", &bomb, 10_000), Some((vec![b'a'; 10_000], true)));
        assert_eq!(unpack("identity", &[b'b'; 5_000], 4_096), Some((vec![b'b'; 4_096], true)));
        assert_eq!(unpack("gzip", &gzip(b"short"), 5), Some((b"short".to_vec(), false)));
    }

    #[test]
    fn what_is_packed_otherwise_or_broken_is_refused() {
        assert_eq!(unpack("br", b"x", 10), None);
        assert_eq!(unpack("gzip, gzip", b"x", 10), None);
        assert_eq!(unpack("gzip", b"no gzip", 10), None);
        let short = gzip(b"hello hello hello");
        assert_eq!(unpack("gzip", &short[..short.len() - 9], 100), None);
    }
}
