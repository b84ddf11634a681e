//! A desk of ours behind the wall, met by the library's own client in both generations (C131, C132).

use std::sync::{Arc, Mutex};

use mcp::server::{
    About, Answer, Asks, Call, Desk, Ended, Hints, LINE_BYTES_MAX, Line, Open, PAGE_TOOLS, Refusal,
    Refused, Seal, Task, Told, Tool, serve,
};
use rmcp::{
    ClientHandler, RoleClient,
    model::{
        CallToolRequestParams, ClientConfig, ElicitRequestParams, ElicitResult, ElicitationAction,
        ElicitationCapability, ErrorCode, ProtocolVersion, UrlElicitationCapability,
    },
    service::{
        ClientLifecycleMode, ClientServiceExt, RequestContext, RunningService, ServiceError,
    },
};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// Offers more tools than stand on a page.
#[derive(Debug, Default)]
struct Shop {
    calls: Mutex<Vec<Call>>,
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

impl Desk for Shop {
    fn tools(&self) -> Task<'_, Result<Vec<Tool>, Refusal>> {
        let tool = |at: usize| Tool {
            name: format!("tool_{at:03}"),
            title: "A tool".to_owned(),
            description: "It does something.".to_owned(),
            input: object(json!({"type": "object"})),
            output: Some(object(json!({"type": "object"}))),
            hints: Hints {
                read_only: at.is_multiple_of(2),
                destructive: !at.is_multiple_of(2),
                ..Hints::default()
            },
            passed: None,
        };
        Box::pin(async move { Ok((0..PAGE_TOOLS * 2 + 7).map(tool).collect()) })
    }

    fn call<'a>(&'a self, call: Call, _: &'a Line) -> Task<'a, Result<Answer, Refusal>> {
        Box::pin(async move {
            self.calls.lock().unwrap().push(call.clone());
            let told = |text: &str, ended| {
                Answer::Told(Told {
                    text: text.to_owned(),
                    structured: Some(object(json!({ "text": text }))),
                    ended,
                    meta: object(json!({"harness/run": "run_1"})),
                    passed: None,
                })
            };
            match (call.name.as_str(), call.asks, call.state) {
                ("asks", Asks::ByUrl, None) => Ok(Answer::Open(Open {
                    id: "apr_1".to_owned(),
                    url: "http://127.0.0.1/approvals/apr_1".to_owned(),
                    message: "Somebody decides.".to_owned(),
                    state: "a state".to_owned(),
                    meta: Map::new(),
                })),
                ("asks", _, Some(state)) => Ok(told(&state, Ended::Well)),
                ("asks", Asks::No, None) => Ok(told("pending", Ended::Well)),
                ("fails", ..) => Ok(told("it went wrong", Ended::Wrong)),
                ("large", ..) => Ok(told(&"x".repeat(2 * 1024 * 1024), Ended::Well)),
                _ => Err(Refusal {
                    kind: Refused::Request,
                    message: "no such tool".to_owned(),
                    data: Value::Null,
                }),
            }
        })
    }
}

/// A client that opens what it is asked to.
#[derive(Clone, Debug, Default)]
struct Opens {
    can: bool,
    opened: Arc<Mutex<Vec<String>>>,
}

impl ClientHandler for Opens {
    fn get_info(&self) -> ClientConfig {
        let mut info = ClientConfig::default();
        if self.can {
            let urls = ElicitationCapability::new().with_url(UrlElicitationCapability::new());
            info.capabilities.elicitation = Some(urls);
        }
        info
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, rmcp::ErrorData> {
        if let ElicitRequestParams::UrlElicitationParams { url, .. } = request {
            self.opened.lock().unwrap().push(url);
        }
        Ok(ElicitResult::new(ElicitationAction::Accept))
    }
}

async fn meet(
    shop: &Arc<Shop>,
    client: Opens,
    generation: ClientLifecycleMode,
) -> RunningService<RoleClient, Opens> {
    let (ours, theirs) = tokio::io::duplex(4 * LINE_BYTES_MAX);
    let about = About {
        name: "shop".to_owned(),
        version: "1".to_owned(),
        instructions: "Ask.".to_owned(),
        ..About::default()
    };
    let desk: Arc<dyn Desk> = Arc::clone(shop) as _;
    tokio::spawn(async move { serve(about, desk, tokio::io::split(ours)).await });
    client.serve_with_lifecycle(theirs, generation).await.unwrap()
}

fn generations() -> [ClientLifecycleMode; 2] {
    let now =
        ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] };
    [ClientLifecycleMode::Initialize, now]
}

fn named(name: &'static str) -> CallToolRequestParams {
    CallToolRequestParams::new(name)
}

/// Pages of tools with all that is said about them; answers with data; refusals as errors of the protocol.
#[tokio::test]
async fn both_generations_list_pages_and_call() {
    for generation in generations() {
        let shop = Arc::new(Shop::default());
        let client = meet(&shop, Opens::default(), generation).await;
        let tools = client.list_all_tools().await.unwrap();
        assert_eq!(tools.len(), PAGE_TOOLS * 2 + 7);
        let names: std::collections::BTreeSet<_> =
            tools.iter().map(|tool| tool.name.clone()).collect();
        assert_eq!(names.len(), tools.len(), "none twice");
        let hints = tools[1].annotations.as_ref().unwrap();
        assert_eq!((hints.read_only_hint, hints.destructive_hint), (Some(false), Some(true)));
        assert!(tools[0].output_schema.is_some());

        let failed = client.call_tool(named("fails")).await.unwrap();
        assert_eq!(failed.is_error, Some(true));
        assert_eq!(failed.structured_content, Some(json!({"text": "it went wrong"})));
        assert_eq!(failed.meta.unwrap().0["harness/run"], "run_1");
        let large = client.call_tool(named("large")).await.unwrap();
        assert_eq!(large.structured_content, Some(json!({"left_out": "too large"})));
        match client.call_tool(named("nothing")).await {
            Err(ServiceError::McpError(error)) => assert_eq!(error.code, ErrorCode::INVALID_PARAMS),
            other => panic!("{other:?}"),
        }
        drop(client.cancel().await);
    }
}

/// Only who repeats calls and opens addresses is sent to one, and brings the state back as it was.
#[tokio::test]
async fn a_client_is_sent_to_a_page_only_where_it_can_open_one() {
    for (at, generation) in generations().into_iter().enumerate() {
        for can in [false, true] {
            let shop = Arc::new(Shop::default());
            let opens = Opens { can, ..Opens::default() };
            let client = meet(&shop, opens.clone(), generation.clone()).await;
            let answer = client.call_tool(named("asks")).await.unwrap();
            let (text, opened) = match (at, can) {
                (1, true) => ("a state", vec!["http://127.0.0.1/approvals/apr_1".to_owned()]),
                _ => ("pending", Vec::new()),
            };
            assert_eq!(answer.structured_content, Some(json!({ "text": text })));
            assert_eq!(*opens.opened.lock().unwrap(), opened);
            drop(client.cancel().await);
        }
    }
}

/// A server of pipes, and both ends of its pipe.
fn raw() -> (impl AsyncBufReadExt + Unpin, impl AsyncWriteExt + Unpin) {
    let (ours, theirs) = tokio::io::duplex(4 * LINE_BYTES_MAX);
    let about = About { name: "shop".to_owned(), version: "1".to_owned(), ..About::default() };
    let desk: Arc<dyn Desk> = Arc::new(Shop::default());
    tokio::spawn(async move { serve(about, desk, tokio::io::split(ours)).await });
    let (from, to) = tokio::io::split(theirs);
    (BufReader::new(from), to)
}

/// C131: a line that is no JSON is answered as JSON-RPC says, one that is no message as well, and one that is too long; and
/// the next call is answered as if nothing had been.
#[tokio::test]
async fn a_line_that_cannot_be_read_is_answered_so() {
    let (mut from, mut to) = raw();
    let flood = "x".repeat(LINE_BYTES_MAX + 7);
    for (line, code) in [
        ("this is no json", -32_700),
        ("{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\"", -32_700),
        ("\u{7}\u{1}", -32_700),
        ("[]", -32_600),
        ("{\"id\": 4}", -32_600),
        (flood.as_str(), -32_600),
    ] {
        to.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        let mut said = String::new();
        from.read_line(&mut said).await.unwrap();
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["error"]["code"], code, "{said}");
        assert_eq!((&said["jsonrpc"], &said["id"]), (&json!("2.0"), &Value::Null), "{said}");
    }
    let hello = json!({"jsonrpc": "2.0", "id": 7, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"},
    }});
    to.write_all(format!("\n  \n{hello}\n").as_bytes()).await.unwrap();
    let mut said = String::new();
    from.read_line(&mut said).await.unwrap();
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["id"], &said["result"]["serverInfo"]["name"]), (&json!(7), &json!("shop")));
}

/// Two programs do not answer each other's noise for ever: after a hundred lines of it the connection is over.
#[tokio::test]
async fn noise_ends_the_connection() {
    let (mut from, mut to) = raw();
    let mut answers = 0;
    loop {
        // Whoever has hung up takes nothing more.
        let _gone = to.write_all(b"noise\n").await;
        let mut said = String::new();
        if from.read_line(&mut said).await.unwrap() == 0 {
            break;
        }
        answers += 1;
    }
    assert_eq!(answers, 100);
}

/// What was sealed opens beside the same, and nothing else does.
#[test]
fn a_seal_opens_beside_what_it_was_closed_with() {
    let lasts = std::time::Duration::from_secs(3_600);
    let seal = Seal::new(&[7; 32]).unwrap();
    let closed = seal.close(&json!({"run": 1}), b"mira", lasts).unwrap();
    assert_eq!(seal.open::<Value>(&closed, b"mira"), Ok(json!({"run": 1})));
    assert!(seal.open::<Value>(&closed, b"lena").is_err());
    assert!(Seal::new(&[8; 32]).unwrap().open::<Value>(&closed, b"mira").is_err());
    assert!(seal.open::<Value>(&closed[1..], b"mira").is_err());
    assert!(Seal::new(b"short").is_err());
}
