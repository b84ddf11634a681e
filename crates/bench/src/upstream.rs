//! A server of the Model Context Protocol that answers at once: one tool, over HTTP, in the generation with a handshake and
//! without sessions. It serves from a thread of this process, so that what is measured beside it is the proxy's.

use std::net::{SocketAddr, TcpListener};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    error::{Broken, Doing as _},
    model::head_of,
};

/// Its one tool.
pub(crate) const TOOL: &str = "echo";

/// A server; it ends with the process.
#[derive(Debug)]
pub(crate) struct Upstream {
    address: SocketAddr,
}

impl Upstream {
    /// Serves from a thread of its own.
    pub(crate) fn start() -> Result<Self, Broken> {
        let listener = TcpListener::bind("127.0.0.1:0").doing("listen")?;
        listener.set_nonblocking(true).doing("listen")?;
        let address = listener.local_addr().doing("listen")?;
        std::thread::spawn(move || serve(listener));
        Ok(Self { address })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }
}

fn serve(listener: TcpListener) {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = built else { return };
    runtime.block_on(async {
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream));
        }
    });
}

async fn talk(mut stream: tokio::net::TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        let head = loop {
            if let Some(end) = memchr::memmem::find(&buffer, b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut buffer).await.ok()? == 0 {
                return None;
            }
        };
        // Only what has a body says how long it is.
        let length = head_of(&buffer).map_or(0, |(_, length)| length);
        while buffer.len() < head + length {
            if stream.read_buf(&mut buffer).await.ok()? == 0 {
                return None;
            }
        }
        let answer = if buffer.starts_with(b"POST ") {
            answer_to(buffer.get(head..head + length)?)
        } else {
            "HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n".to_owned()
        };
        buffer.drain(..head + length);
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

fn answer_to(body: &[u8]) -> String {
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    let (Some(id), Some(method)) = (said.get("id"), said.get("method").and_then(Value::as_str))
    else {
        return "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_owned();
    };
    let answer = match result_of(method, &said) {
        Some(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        None => {
            let error = json!({ "code": -32601, "message": "there is no such method" });
            json!({ "jsonrpc": "2.0", "id": id, "error": error })
        }
    };
    let answer = answer.to_string();
    let length = answer.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{answer}"
    )
}

fn result_of(method: &str, said: &Value) -> Option<Value> {
    match method {
        "initialize" => Some(json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "bench", "version": "1"},
        })),
        "ping" => Some(json!({})),
        "tools/list" => Some(json!({"tools": [{
            "name": TOOL,
            "description": "Gives a text back",
            "inputSchema": {
                "type": "object", "required": ["text"], "additionalProperties": false,
                "properties": {"text": {"type": "string"}},
            },
            "annotations": {"readOnlyHint": true},
        }]})),
        "tools/call" => {
            let text = said.pointer("/params/arguments/text").and_then(Value::as_str);
            Some(json!({"content": [{"type": "text", "text": text.unwrap_or_default()}]}))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_answered_with_its_text_and_a_notice_with_nothing() {
        let call = json!({"id": 3, "method": "tools/call", "params": {"arguments": {"text": "x"}}});
        let answer = answer_to(call.to_string().as_bytes());
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(r#""text":"x""#), "{answer}");
        let notice = answer_to(br#"{"method":"notifications/initialized"}"#);
        assert!(notice.starts_with("HTTP/1.1 202"), "{notice}");
        let unknown = answer_to(br#"{"id":1,"method":"server/discover"}"#);
        assert!(unknown.contains("-32601"), "{unknown}");
    }
}
