//! `mcp login`: a person grants what a server wants, once, in their own browser; the browser comes back to this machine.
//!
//! Nothing of what was granted is shown. It is kept in the file of secrets, for that server alone.

use std::time::Duration;

use ::mcp::client::oauth::Login;
use connect::{McpSystem, System};
use kernel::port::Failure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{declared, registry};
use crate::app::{
    config::Config,
    problem::{Kind, Problem},
    value::visible,
};

/// How long a person may take.
const WITHIN: Duration = Duration::from_secs(600);

/// How long a browser may take to say where it was sent.
const HEAD_WITHIN: Duration = Duration::from_secs(5);

/// Longest head of a request, in bytes: codes are long, but not that long.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Most requests that are none of ours before the login is given up.
const STRAYS_MAX: usize = 200;

/// Where the browser comes back to.
const PATH: &str = "/callback";

/// Who is asked for what, while a person is waited for.
#[derive(Clone, Debug)]
pub struct LoginAsks {
    /// The page where a person says yes.
    pub address: String,
    /// Who asks there, in its own words.
    pub issuer: Option<String>,
    /// What it is asked for.
    pub scopes: Vec<String>,
}

/// What was granted.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ServerLogin {
    /// The declared system.
    pub system: String,
    /// Who granted it.
    pub issuer: Option<String>,
    /// What for.
    pub scopes: Vec<String>,
    /// Whether it is renewed without anybody.
    pub renewed: bool,
}

/// Logs a person in to a declared server. `asks` is told where they say yes, before they are waited for.
///
/// # Errors
/// A server that wants no login or names nobody to ask, a person who says no or takes too long, a file of secrets that cannot
/// be written.
pub async fn login(
    config: &Config,
    (name, port): (&str, u16),
    asks: impl FnOnce(&LoginAsks),
) -> Result<ServerLogin, Problem> {
    let system: McpSystem = declared(config, name)?;
    if system.oauth.is_none() {
        let detail = format!("[systems.{name}] does not say that it wants OAuth");
        let next = format!("write `oauth = {{}}` under [systems.{name}] in harness.toml");
        return Err(Problem::usage("no-login-wanted", detail).next(next));
    }
    let connectors = registry(config, name, System::Mcp(Box::new(system)))?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(|error| {
        Problem::usage("no-way-back", format!("nothing can listen on port {port}: {error}"))
            .next("give another --port, or none")
    })?;
    let at = listener.local_addr().map_err(|error| lost(&error.to_string()))?;
    let redirect = format!("http://{at}{PATH}");
    let login = connectors.log_in(name, &redirect).await.map_err(|f| refused(name, f))?;
    asks(&LoginAsks {
        address: login.address().to_owned(),
        issuer: login.issuer().map(visible),
        scopes: login.scopes().iter().map(|scope| visible(scope)).collect(),
    });
    let waited = tokio::time::timeout(WITHIN, came_back(&listener, &redirect)).await;
    let back = waited.map_err(|_| {
        let detail = format!("nobody came back within {} minutes", WITHIN.as_secs() / 60);
        Problem::new(Kind::TryAgain, "login-late", detail).next("run it again")
    })??;
    let grant = finished(login, &back).await?;
    connectors.keep_grant(name, &grant).map_err(|f| refused(name, f))?;
    Ok(ServerLogin {
        system: name.to_owned(),
        issuer: grant.issuer.as_deref().map(visible),
        scopes: grant.scopes.iter().map(|scope| visible(scope)).collect(),
        renewed: grant.refresh_token.is_some(),
    })
}

async fn finished(login: Login, back: &str) -> Result<::mcp::client::oauth::Grant, Problem> {
    login.finish(back).await.map_err(|denied| {
        Problem::usage("not-granted", format!("nothing was granted: {denied}"))
            .next("run it again, and say yes at the page that it names")
    })
}

fn refused(name: &str, failure: Failure) -> Problem {
    Problem::new(Kind::TryAgain, "no-login", visible(&failure.message))
        .at(format!("[systems.{name}]"))
        .next("see what the server says of itself, and what stands under `oauth`")
}

fn lost(text: &str) -> Problem {
    Problem::new(Kind::TryAgain, "no-way-back", text.to_owned()).next("run it again")
}

/// The whole address that the browser was sent back to. Whatever else knocks is sent away.
async fn came_back(listener: &TcpListener, redirect: &str) -> Result<String, Problem> {
    for _ in 0..STRAYS_MAX {
        let (mut stream, _) = listener.accept().await.map_err(|error| lost(&error.to_string()))?;
        let Ok(Some(query)) = tokio::time::timeout(HEAD_WITHIN, asked(&mut stream)).await else {
            answer(&mut stream, "404 Not Found", "Nothing is here.").await;
            continue;
        };
        let said_no = query.split('&').find_map(|one| one.strip_prefix("error="));
        if let Some(error) = said_no {
            answer(&mut stream, "200 OK", "Nothing was granted. You can close this page.").await;
            let error: String = visible(error).chars().take(80).collect();
            return Err(Problem::usage("not-granted", format!("nothing was granted: {error}"))
                .next("run it again, and say yes at the page that it names"));
        }
        if query.split('&').any(|one| one.starts_with("code=")) {
            let text = "It is done here. You can close this page and go back to the terminal.";
            answer(&mut stream, "200 OK", text).await;
            return Ok(format!("{redirect}?{query}"));
        }
        answer(&mut stream, "404 Not Found", "Nothing is here.").await;
    }
    Err(lost(&format!("{STRAYS_MAX} requests came that were none of this login")))
}

/// The query of a request to the place where the browser comes back; none for any other.
async fn asked(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut part = [0_u8; 2048];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut part).await.ok().filter(|read| *read > 0)?;
        head.extend_from_slice(part.get(..read)?);
        if head.len() > HEAD_BYTES_MAX {
            return None;
        }
    }
    let head = String::from_utf8(head).ok()?;
    let target = head.lines().next()?.strip_prefix("GET ")?.split(' ').next()?;
    let query = target.strip_prefix(PATH)?.strip_prefix('?')?;
    Some(query.to_owned())
}

async fn answer(stream: &mut TcpStream, status: &str, text: &str) {
    let page = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\ncache-control: no-store\r\n\
         referrer-policy: no-referrer\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
    // A browser that is gone has no use for a page.
    let _gone = stream.write_all(page.as_bytes()).await;
    let _gone = stream.shutdown().await;
}
