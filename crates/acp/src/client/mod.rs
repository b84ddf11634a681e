//! A client for one prompt: it says hello, opens one session, sends the prompt and is done with the answer.
//!
//! Of the agent's requests it takes one, `session/request_permission`, and hands it on. Files and terminals are not offered;
//! an agent that asks for them anyway is refused, as is everything else.

mod heard;
mod lines;
mod said;

use std::{sync::Arc, time::Duration};

use agent_client_protocol::{
    Agent, Client, ErrorCode, Lines, is_connection_terminated, is_incoming_transport_closed,
    on_receive_notification, on_receive_request,
    schema::ProtocolVersion,
    v1::{
        ConnectionTo, Responder,
        schema::{
            AuthMethod, CancelNotification, ClientCapabilities, ContentBlock, Implementation,
            InitializeRequest, InitializeResponse, NewSessionRequest, PromptRequest,
            RequestPermissionOutcome, RequestPermissionRequest, RequestPermissionResponse,
            SelectedPermissionOutcome, SessionId, SessionNotification, TextContent,
        },
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::oneshot,
};

use heard::{Asked, Heard};
use lines::Trouble;
pub use said::{
    Answer, Ended, Errand, Error, Is, Kind, Met, Over, Reported, Side, Status, Stop, Use,
};

/// Longest line that an agent may send, in bytes.
pub const LINE_MAX_BYTES: usize = 4 << 20;

/// All that an agent may send over one prompt, in bytes.
pub const ALL_MAX_BYTES: usize = 64 << 20;

/// Most lines that it may send over one prompt.
pub const LINES_MAX: usize = 100_000;

/// How long an agent that was told to stop has to say so.
pub const STOP_WITHIN: Duration = Duration::from_secs(5);

/// How much of an agent's words about a failure are told, in characters.
const SAID_MAX_CHARS: usize = 300;

/// Most ways to log in that are told.
const LOGINS_MAX: usize = 8;

/// Gives the agent at these pipes its prompt, and waits for the end of its turn.
///
/// # Errors
/// Why there is no end: what the agent is, says or does not say.
pub async fn prompt<R, W>(
    pipes: (R, W),
    errand: Errand,
    side: Arc<dyn Side>,
) -> Result<Ended, Error>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let heard = Arc::new(Heard::new(side));
    let talking = Arc::clone(&heard);
    connected(pipes, heard, async move |cx| talk(&cx, errand, &talking).await).await
}

/// Meets the agent at these pipes, and asks nothing of it.
///
/// # Errors
/// As [`prompt`].
pub async fn meet<R, W>(pipes: (R, W), within: Duration) -> Result<Met, Error>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let heard = Arc::new(Heard::new(Arc::new(said::Nobody)));
    let met = connected(pipes, heard, async move |cx| in_time(within, greet(&cx)).await).await?;
    let can = &met.agent_capabilities;
    let able = [
        ("images", can.prompt_capabilities.image),
        ("audio", can.prompt_capabilities.audio),
        ("embedded context", can.prompt_capabilities.embedded_context),
        ("earlier sessions", can.load_session),
    ];
    Ok(Met {
        logins: logins(&met),
        able: able.into_iter().filter(|(_, able)| *able).map(|(name, _)| name).collect(),
        is: is(met),
    })
}

/// Runs what is to be said over a connection. It is let go of with the answer: what is still on its way to an agent that does
/// not read is not waited for.
async fn connected<R, W, T>(
    (from, to): (R, W),
    heard: Arc<Heard>,
    say: impl AsyncFnOnce(ConnectionTo<Agent>) -> Result<T, Error>,
) -> Result<T, Error>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let trouble = Arc::<Trouble>::default();
    let incoming = lines::incoming(from, Arc::clone(&trouble));
    let (tell, mut told) = oneshot::channel();
    let (updated, asked) = (Arc::clone(&heard), heard);
    let connection = Client
        .v1()
        .name("harness")
        .on_receive_notification(
            async move |said: SessionNotification, _cx: ConnectionTo<Agent>| {
                updated.hear(said);
                Ok(())
            },
            on_receive_notification!(),
        )
        .on_receive_request(
            async move |request: RequestPermissionRequest,
                        responder: Responder<RequestPermissionResponse>,
                        cx: ConnectionTo<Agent>| {
                permission(&asked, request, responder, &cx)
            },
            on_receive_request!(),
        )
        .connect_with(Lines::new(lines::outgoing(to), incoming), async move |cx| {
            // Whoever waited is gone, or hears it.
            let _heard = tell.send(say(cx).await);
            Ok(())
        });
    let said = tokio::select! {
        biased;
        said = &mut told => said.ok(),
        _over = connection => told.try_recv().ok(),
    };
    match said {
        // What is wrong with its lines says more than that they ended.
        None | Some(Err(Error::Over)) => Err(trouble.take().unwrap_or(Error::Over)),
        Some(said) => said,
    }
}

async fn talk(
    cx: &ConnectionTo<Agent>,
    errand: Errand,
    heard: &Arc<Heard>,
) -> Result<Ended, Error> {
    let Errand { text, cwd, within } = errand;
    let (met, session) = in_time(within, async {
        let met = greet(cx).await?;
        let opened = cx.send_request(NewSessionRequest::new(cwd)).block_task().await;
        let opened = opened.map_err(|error| refused(&error, &logins(&met)))?;
        Ok((is(met), opened.session_id))
    })
    .await?;
    heard.opens(session.clone())?;
    if !heard.side().leaves() {
        return Err(Error::NotSent);
    }
    heard.begins();
    let words = ContentBlock::Text(TextContent::new(text));
    let sent = cx.send_request(PromptRequest::new(session.clone(), vec![words]));
    let answer = sent.block_task();
    tokio::pin!(answer);
    let answered = tokio::select! {
        biased;
        answered = &mut answer => answered,
        () = heard.side().stop() => {
            heard.stops();
            return stopped(cx, &session, (answer, met, heard)).await;
        }
    };
    let stop = answered.map_err(|error| refused(&error, &[]))?.stop_reason;
    heard.ends((met, said::stop(stop)))
}

/// Tells the agent to stop, and waits a moment for its word.
async fn stopped(
    cx: &ConnectionTo<Agent>,
    session: &SessionId,
    (answer, met, heard): (
        impl Future<
            Output = Result<
                agent_client_protocol::v1::schema::PromptResponse,
                agent_client_protocol::Error,
            >,
        >,
        Option<Is>,
        &Arc<Heard>,
    ),
) -> Result<Ended, Error> {
    let told = cx.send_notification(CancelNotification::new(session.clone()));
    if told.is_err() {
        return Err(Error::Stopped { confirmed: false });
    }
    match tokio::time::timeout(STOP_WITHIN, answer).await {
        Ok(Ok(answer)) => match said::stop(answer.stop_reason) {
            Stop::Cancelled => Err(Error::Stopped { confirmed: true }),
            // It was through before it heard.
            stop => heard.ends((met, stop)),
        },
        _ => Err(Error::Stopped { confirmed: false }),
    }
}

async fn in_time<T>(
    within: Duration,
    what: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let ended = tokio::time::timeout(within, what).await;
    ended.unwrap_or(Err(Error::Late { within }))
}

async fn greet(cx: &ConnectionTo<Agent>) -> Result<InitializeResponse, Error> {
    let us = Implementation::new("harness", env!("CARGO_PKG_VERSION"));
    // Neither files nor terminals: what an agent does, it does itself, within its own walls.
    let hello = InitializeRequest::new(ProtocolVersion::V1)
        .client_capabilities(ClientCapabilities::new())
        .client_info(us);
    // The library holds the answer against the version that it speaks.
    cx.send_request(hello).block_task().await.map_err(|error| refused(&error, &[]))
}

fn permission(
    heard: &Arc<Heard>,
    request: RequestPermissionRequest,
    responder: Responder<RequestPermissionResponse>,
    cx: &ConnectionTo<Agent>,
) -> Result<(), agent_client_protocol::Error> {
    let options = request.options.clone();
    match heard.asked(request) {
        Asked::No => responder.respond(answer(&options, Answer::Reject)),
        Asked::Judge(used) => {
            let heard = Arc::clone(heard);
            cx.spawn(async move {
                let withdrawn = responder.cancellation();
                let verdict = tokio::select! {
                    biased;
                    () = heard.is_stopped() => Answer::Cancelled,
                    () = withdrawn.cancelled() => Answer::Cancelled,
                    verdict = heard.side().judge(*used) => verdict,
                };
                heard.answered();
                // An agent that is gone does not hear it.
                let _gone = responder.respond(answer(&options, verdict));
                Ok(())
            })
        }
    }
}

/// An answer in the words of the protocol. Nothing is ever allowed for longer than this once.
fn answer(
    options: &[agent_client_protocol::v1::schema::PermissionOption],
    verdict: Answer,
) -> RequestPermissionResponse {
    let outcome = match said::choice(options, verdict) {
        Some(id) => RequestPermissionOutcome::Selected(SelectedPermissionOutcome::new(id)),
        None => RequestPermissionOutcome::Cancelled,
    };
    RequestPermissionResponse::new(outcome)
}

fn is(met: InitializeResponse) -> Option<Is> {
    let clip = |text: &str| said::clip(text, SAID_MAX_CHARS);
    met.agent_info.map(|info| Is { name: clip(&info.name), version: clip(&info.version) })
}

/// How one may log in, in the agent's words.
fn logins(met: &InitializeResponse) -> Vec<String> {
    let name = |method: &AuthMethod| match method {
        AuthMethod::Agent(agent) => agent.name.clone(),
        AuthMethod::Terminal(terminal) => terminal.name.clone(),
        _ => "another way".to_owned(),
    };
    let names = met.auth_methods.iter().take(LOGINS_MAX).map(name);
    names.map(|name| said::clip(&name, SAID_MAX_CHARS)).collect()
}

/// What an error of the library, or of the agent, is to whoever asked.
fn refused(error: &agent_client_protocol::Error, logins: &[String]) -> Error {
    if is_connection_terminated(error) || is_incoming_transport_closed(error) {
        return Error::Over;
    }
    if error.code == ErrorCode::AUTH_REQUIRED {
        return Error::WantsLogin { logins: logins.join(", ") };
    }
    let more = error.data.as_ref().and_then(|data| data.as_str());
    let message = match more {
        Some(more) => format!("{}: {more}", error.message),
        None => error.message.clone(),
    };
    Error::Refused { code: i32::from(error.code), message: said::clip(&message, SAID_MAX_CHARS) }
}
