//! The head of a request: read with a limit, looked at strictly, and handed on without the token.

use std::net::SocketAddr;

use tokio::{io::AsyncReadExt as _, net::TcpStream};

/// Longest head, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Headers that are about one connection, and end here.
const OURS: [&str; 4] = ["authorization", "connection", "keep-alive", "proxy-connection"];

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its head did not come in time, or not at all.
    Late,
    /// It is too long.
    Long,
    /// It is none.
    Wrong,
    /// It has no token, another one, or several.
    Stranger,
}

impl Refused {
    pub(super) fn status(self) -> &'static str {
        match self {
            Self::Late => "408 Request Timeout",
            Self::Long => "431 Request Header Fields Too Large",
            Self::Wrong => "400 Bad Request",
            Self::Stranger => "401 Unauthorized",
        }
    }

    pub(super) fn told(self) -> &'static str {
        match self {
            Self::Late => "the request did not come in time",
            Self::Long => "the head of the request is too long",
            Self::Wrong => "this is no request of HTTP/1",
            Self::Stranger => "send the token of the lease as `Authorization: Bearer TOKEN`",
        }
    }
}

/// What came so far: a whole head, and what stands behind it.
#[derive(Debug)]
pub(super) struct Came {
    bytes: Vec<u8>,
    /// Where the empty line ends.
    end: usize,
}

/// A request that is let in.
#[derive(Debug)]
pub(super) struct Head {
    /// What is handed on: the head without its token, and what came behind it.
    pub(super) forward: Vec<u8>,
}

/// Reads until the empty line.
pub(super) async fn read(stream: &mut TcpStream) -> std::io::Result<Result<Came, Refused>> {
    let mut bytes = Vec::with_capacity(1024);
    let mut chunk = [0; 2048];
    loop {
        let got = stream.read(&mut chunk).await?;
        if got == 0 {
            return Ok(Err(Refused::Late));
        }
        bytes.extend_from_slice(chunk.get(..got).unwrap_or_default());
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            return Ok(Ok(Came { bytes, end: at + 4 }));
        }
        if bytes.len() > HEAD_BYTES_MAX {
            return Ok(Err(Refused::Long));
        }
    }
}

impl Came {
    /// The request as it is handed on, where its token is the right one.
    pub(super) fn admitted(
        self,
        is_it: impl Fn(&str) -> bool,
        address: SocketAddr,
    ) -> Result<Head, Refused> {
        let (head, behind) = self.bytes.split_at(self.end);
        let head = std::str::from_utf8(head).map_err(|_| Refused::Wrong)?;
        let mut lines = head.trim_end_matches("\r\n").split("\r\n");
        let request = lines.next().unwrap_or_default();
        check_request(request)?;
        let mut forward = format!("{request}\r\n");
        let (mut tokens, mut upgrades, mut named) = (Vec::new(), false, false);
        for line in lines {
            let (name, value) = line.split_once(':').ok_or(Refused::Wrong)?;
            // A name that is odd, or a line within a line, is read differently by different readers.
            let is_name = !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.!#$%&'*+^`|~".contains(&b));
            if !is_name || value.contains(['\r', '\n', '\0']) {
                return Err(Refused::Wrong);
            }
            let lower = name.to_ascii_lowercase();
            match lower.as_str() {
                "authorization" => tokens.push(value.trim()),
                "upgrade" => upgrades = true,
                "host" => named = true,
                _ => {}
            }
            if !OURS.contains(&lower.as_str()) {
                forward.push_str(line);
                forward.push_str("\r\n");
            }
        }
        let token = match tokens.as_slice() {
            [one] => one.strip_prefix("Bearer ").ok_or(Refused::Stranger)?,
            _ => return Err(Refused::Stranger),
        };
        if !is_it(token.trim()) {
            return Err(Refused::Stranger);
        }
        if !named {
            forward.push_str(&format!("Host: {address}\r\n"));
        }
        // One request for each connection: the next one has to show its token, too.
        forward.push_str(if upgrades {
            "Connection: Upgrade\r\n\r\n"
        } else {
            "Connection: close\r\n\r\n"
        });
        let mut forward = forward.into_bytes();
        forward.extend_from_slice(behind);
        Ok(Head { forward })
    }
}

fn check_request(line: &str) -> Result<(), Refused> {
    let parts: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = parts.as_slice() else { return Err(Refused::Wrong) };
    let fits = !method.is_empty()
        && method.bytes().all(|b| b.is_ascii_uppercase())
        && *method != "CONNECT"
        && target.starts_with('/')
        && !target.contains(|c: char| c.is_control())
        && ["HTTP/1.1", "HTTP/1.0"].contains(version);
    if fits { Ok(()) } else { Err(Refused::Wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(text: &str) -> Result<String, Refused> {
        let bytes = text.as_bytes().to_vec();
        let end = text.find("\r\n\r\n").unwrap() + 4;
        let head = Came { bytes, end }
            .admitted(|token| token == "hnl_right", SocketAddr::from(([127, 0, 0, 1], 9)))?;
        Ok(String::from_utf8(head.forward).unwrap())
    }

    /// C223: the token is looked at and goes no further; nothing that two readers could read differently is let in.
    #[test]
    fn a_request_is_let_in_with_its_token_alone_and_goes_on_without_it() {
        let told = admitted(
            "POST /a?b HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer hnl_right\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
        );
        let forward =
            "POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
        assert_eq!(told.unwrap(), forward);
        let with = |rest: &str| admitted(&format!("GET / HTTP/1.1\r\n{rest}\r\n\r\n"));
        let upgraded =
            with("authorization: Bearer hnl_right\r\nUpgrade: websocket\r\nConnection: Upgrade");
        let upgraded = upgraded.unwrap();
        assert!(
            upgraded.contains("Upgrade: websocket") && upgraded.contains("Connection: Upgrade")
        );
        assert!(upgraded.contains("Host: 127.0.0.1:9") && !upgraded.contains("hnl_"));
        for stranger in [
            "Host: x",
            "Authorization: Bearer hnl_wrong",
            "Authorization: Basic hnl_right",
            "Authorization: hnl_right",
            "Authorization: Bearer hnl_right\r\nAuthorization: Bearer hnl_right",
            "Cookie: Authorization=Bearer hnl_right",
        ] {
            assert_eq!(with(stranger), Err(Refused::Stranger), "{stranger}");
        }
        for wrong in [
            "Authorization : Bearer hnl_right",
            "A: b\r\n folded",
            "no colon",
            "A: b\nAuthorization: Bearer hnl_right",
        ] {
            assert_eq!(with(wrong), Err(Refused::Wrong), "{wrong}");
        }
        for line in [
            "GET /",
            "GET  / HTTP/1.1",
            "get / HTTP/1.1",
            "CONNECT / HTTP/1.1",
            "GET http://x/ HTTP/1.1",
            "GET / HTTP/2",
        ] {
            let told = admitted(&format!("{line}\r\nAuthorization: Bearer hnl_right\r\n\r\n"));
            assert_eq!(told, Err(Refused::Wrong), "{line}");
        }
    }
}
