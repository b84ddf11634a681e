//! The first message of TLS, as far as it says to whom: read with every length checked.

/// Most bytes that are read before the first message must be whole.
pub(crate) const HELLO_BYTES_MAX: usize = 16 * 1024;

const RECORD_HANDSHAKE: u8 = 22;
const RECORD_BYTES_MAX: usize = 1 << 14;
const CLIENT_HELLO: u8 = 1;
const EXTENSION_SERVER_NAME: u16 = 0;
const NAME_TYPE_HOST: u8 = 0;
/// A second, hidden first message (ECH and its forerunner): what it names cannot be seen.
const EXTENSIONS_HIDING: [u16; 2] = [0xfe0d, 0xffce];

/// What the bytes so far come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hello {
    /// They are a beginning.
    More,
    /// The whole message, and the one server name in it.
    For(String),
    /// They are no first message, or it does not say plainly to whom.
    Wrong,
}

/// Reads what a client sent first.
pub(crate) fn read(bytes: &[u8]) -> Hello {
    let mut message = Vec::new();
    let mut records = Reader(bytes);
    while !records.0.is_empty() {
        let Some(record) = read_record(&mut records) else {
            // What is there must still be able to become a record of a handshake.
            let begins =
                [RECORD_HANDSHAKE, 3].iter().zip(records.0).all(|(want, byte)| want == byte);
            let is_open = begins && bytes.len() < HELLO_BYTES_MAX;
            return if is_open { Hello::More } else { Hello::Wrong };
        };
        let Ok(fragment) = record else { return Hello::Wrong };
        message.extend_from_slice(fragment);
        match read_message(&message) {
            Hello::More => {}
            known => return known,
        }
    }
    if bytes.len() < HELLO_BYTES_MAX { Hello::More } else { Hello::Wrong }
}

/// `None` when the record is not whole yet, and then nothing is taken.
fn read_record<'a>(records: &mut Reader<'a>) -> Option<Result<&'a [u8], ()>> {
    let mut ahead = Reader(records.0);
    let (kind, major, _) = (ahead.u8()?, ahead.u8()?, ahead.u8()?);
    let length = usize::from(ahead.u16()?);
    if kind != RECORD_HANDSHAKE || major != 3 || length == 0 || length > RECORD_BYTES_MAX {
        return Some(Err(()));
    }
    let fragment = ahead.take(length)?;
    *records = ahead;
    Some(Ok(fragment))
}

fn read_message(message: &[u8]) -> Hello {
    let mut reader = Reader(message);
    let (Some(kind), Some(length)) = (reader.u8(), reader.u24()) else { return Hello::More };
    if kind != CLIENT_HELLO || length > HELLO_BYTES_MAX {
        return Hello::Wrong;
    }
    let Some(body) = reader.take(length) else { return Hello::More };
    // A record that goes on after the message belongs to no TLS that we know.
    match read_body(body).filter(|_| reader.0.is_empty()) {
        Some(name) => Hello::For(name),
        None => Hello::Wrong,
    }
}

fn read_body(body: &[u8]) -> Option<String> {
    let mut reader = Reader(body);
    reader.take(2 + 32)?;
    let session = usize::from(reader.u8()?);
    reader.take(session)?;
    let suites = usize::from(reader.u16()?);
    reader.take(suites)?;
    let compressions = usize::from(reader.u8()?);
    reader.take(compressions)?;
    let length = usize::from(reader.u16()?);
    let mut extensions = Reader(reader.take(length)?);
    if !reader.0.is_empty() {
        return None;
    }
    let mut name = None;
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let length = usize::from(extensions.u16()?);
        let content = extensions.take(length)?;
        if EXTENSIONS_HIDING.contains(&kind) || (kind == EXTENSION_SERVER_NAME && name.is_some()) {
            return None;
        }
        if kind == EXTENSION_SERVER_NAME {
            name = Some(read_name(content)?);
        }
    }
    name
}

fn read_name(content: &[u8]) -> Option<String> {
    let mut reader = Reader(content);
    let length = usize::from(reader.u16()?);
    let mut list = Reader(reader.take(length)?);
    let kind = list.u8()?;
    let length = usize::from(list.u16()?);
    let name = list.take(length)?;
    let is_all = kind == NAME_TYPE_HOST && list.0.is_empty() && reader.0.is_empty();
    let name = std::str::from_utf8(name).ok().filter(|name| is_all && name.is_ascii())?;
    Some(name.to_owned())
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn u24(&mut self) -> Option<usize> {
        let [a, b, c] = self.take(3)?.try_into().ok()?;
        usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    /// What a real client sends first.
    fn hello(name: &str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let name = name.to_owned().try_into().unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    /// A first message with these extensions and nothing else of interest.
    fn made(extensions: &[(u16, &[u8])]) -> Vec<u8> {
        let mut listed = Vec::new();
        for (kind, content) in extensions {
            listed.extend(kind.to_be_bytes());
            listed.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
            listed.extend(*content);
        }
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        body.extend(u16::try_from(listed.len()).unwrap().to_be_bytes());
        body.extend(listed);
        let mut message = vec![CLIENT_HELLO, 0];
        message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        message.extend(body);
        records(&message, message.len())
    }

    fn records(message: &[u8], size: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for part in message.chunks(size) {
            out.extend([RECORD_HANDSHAKE, 3, 1]);
            out.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
            out.extend(part);
        }
        out
    }

    const NAME: &[u8] = &[0, 8, 0, 0, 5, b'a', b'.', b'o', b'r', b'g'];

    #[test]
    fn the_name_of_a_real_client_is_read_however_it_is_cut() {
        let bytes = hello("api.example.org");
        let wanted = Hello::For("api.example.org".to_owned());
        assert_eq!(read(&bytes), wanted);
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]), Hello::More, "{end}");
        }
        for size in [1, 3, 7, 100] {
            assert_eq!(read(&records(&bytes[5..], size)), wanted, "{size}");
        }
    }

    #[test]
    fn what_does_not_say_plainly_to_whom_is_refused() {
        assert_eq!(read(&made(&[(0, NAME)])), Hello::For("a.org".to_owned()));
        for (what, extensions) in [
            ("no name", vec![(43, NAME)]),
            ("two extensions", vec![(0, NAME), (0, NAME)]),
            ("hidden", vec![(0, NAME), (0xfe0d, NAME)]),
            ("hidden, first", vec![(0xfe0d, NAME), (0, NAME)]),
            ("two names", vec![(0, &[0, 8, 0, 0, 1, b'a', 0, 0, 1, b'b'][..])]),
            ("another kind", vec![(0, &[0, 4, 1, 0, 1, b'a'][..])]),
            ("more than it says", vec![(0, &[0, 4, 0, 0, 1, b'a', b'b'][..])]),
            ("less than it says", vec![(0, &[0, 9, 0, 0, 1, b'a'][..])]),
            ("beyond ASCII", vec![(0, &[0, 5, 0, 0, 2, 0xc3, 0xa9][..])]),
            ("empty", vec![(0, &[][..])]),
        ] {
            assert_eq!(read(&made(&extensions)), Hello::Wrong, "{what}");
        }
        for other in [
            &b"GET / HTTP/1.1"[..],
            b"SSH-2.0",
            &[22, 2],
            &[21, 3, 1, 0, 2, 1, 0],
            &[22, 3, 1, 0, 0],
        ] {
            assert_eq!(read(other), Hello::Wrong, "{other:?}");
        }
        assert_eq!(read(&records(&vec![1; 60_000], 16_000)), Hello::Wrong);
        let mut after = made(&[(0, NAME)]);
        let length = after.len();
        after[4] += 1;
        after.insert(length, 0);
        assert_eq!(read(&after), Hello::Wrong);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..200, byte: u8) {
            let _ = read(&bytes);
            let mut changed = hello("a.example.org");
            changed[at] = byte;
            let _ = read(&changed);
            changed.append(&mut bytes);
            let _ = read(&changed);
        }
    }
}
