//! Tools and a prompt that ask their client for something instead of answering, as the generation without sessions does it.

use rmcp::{
    ErrorData,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ContentBlock,
        InputRequests, InputRequiredResult, InputResponses, RequestStateCodec,
    },
};
use serde_json::{Value, json};

/// States are sealed, so that whoever repeats one has got it from here. A key of tests.
pub(crate) fn codec() -> RequestStateCodec {
    RequestStateCodec::try_new(*b"a key of tests, 32 bytes long...").unwrap()
}

fn form(message: &str, name: &str, kind: &str) -> Value {
    json!({"method": "elicitation/create", "params": {
        "message": message,
        "requestedSchema": {"type": "object", "properties": {name: {"type": kind}}, "required": [name]},
    }})
}

fn thought(question: &str, tokens: u32) -> Value {
    json!({"method": "sampling/createMessage", "params": {
        "messages": [{"role": "user", "content": {"type": "text", "text": question}}],
        "maxTokens": tokens,
    }})
}

fn folders() -> Value {
    json!({"method": "roots/list", "params": {}})
}

fn wanted(requests: Value, state: Option<&str>) -> InputRequiredResult {
    let requests: InputRequests = serde_json::from_value(requests).unwrap();
    InputRequiredResult::new(Some(requests), state.map(|state| codec().seal(state.as_bytes())))
}

/// Whether every key has an answer, as an object.
fn answered(responses: &InputResponses, keys: &[&str]) -> bool {
    keys.iter().all(|key| responses.get(*key).is_some_and(Value::is_object))
}

/// The state that is repeated, where it is one of ours.
fn opened(state: Option<&String>) -> Result<Option<String>, ErrorData> {
    let Some(state) = state else { return Ok(None) };
    let bytes = codec().open(state);
    let bytes = bytes.map_err(|_| ErrorData::invalid_params("the state is not ours", None))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// What a tool of rounds says; none where the tool is no such one.
pub(crate) fn call(
    request: &CallToolRequestParams,
    client: Option<&ClientCapabilities>,
) -> Option<Result<CallToolResponse, ErrorData>> {
    let name = request.name.strip_prefix("test_input_required_result_")?;
    Some(round(name, request, client))
}

fn round(
    name: &str,
    request: &CallToolRequestParams,
    client: Option<&ClientCapabilities>,
) -> Result<CallToolResponse, ErrorData> {
    let state = opened(request.request_state.as_ref())?;
    let nothing = InputResponses::new();
    let heard = request.input_responses.as_ref().unwrap_or(&nothing);
    let (asked, state) = match (name, state.as_deref()) {
        ("elicitation", _) => {
            (json!({"user_name": form("What is your name?", "name", "string")}), None)
        }
        ("sampling", _) => {
            (json!({"capital_question": thought("What is the capital of France?", 100)}), None)
        }
        ("list_roots", _) => (json!({"client_roots": folders()}), None),
        ("request_state" | "tampered_state", _) => {
            (json!({"confirm": form("Please confirm", "ok", "boolean")}), Some("confirm"))
        }
        ("multiple_inputs", _) => (
            json!({
                "user_name": form("What is your name?", "name", "string"),
                "greeting": thought("Generate a greeting", 50),
                "client_roots": folders(),
            }),
            Some("three"),
        ),
        ("multi_round", Some("second")) => (
            json!({"step2": form("Step 2: What is your favorite color?", "color", "string")}),
            Some("second"),
        ),
        ("multi_round", _) if answered(heard, &["step1"]) => {
            let second = form("Step 2: What is your favorite color?", "color", "string");
            return Ok(CallToolResponse::InputRequired(wanted(
                json!({"step2": second}),
                Some("second"),
            )));
        }
        ("multi_round", _) => {
            (json!({"step1": form("Step 1: What is your name?", "name", "string")}), Some("first"))
        }
        ("capabilities", _) => (able(client), None),
        (other, _) => return Err(ErrorData::invalid_params(format!("no tool {other}"), None)),
    };
    let keys: Vec<&str> = asked.as_object().unwrap().keys().map(String::as_str).collect();
    // A state that was given out has to come back with the answer.
    if answered(heard, &keys) && (state.is_none() || request.request_state.is_some()) {
        let text = match name {
            "request_state" => "state-ok".to_owned(),
            _ => format!("Heard {}", Value::Object(heard.clone().into_iter().collect())),
        };
        return Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into());
    }
    Ok(CallToolResponse::InputRequired(wanted(asked, state)))
}

/// Questions for what the client says that it can answer, and no others.
fn able(client: Option<&ClientCapabilities>) -> Value {
    let mut asked = json!({});
    if client.is_some_and(|client| client.sampling.is_some()) {
        asked["thought"] = thought("Say something", 20);
    }
    if client.is_some_and(|client| client.elicitation.is_some()) {
        asked["name"] = form("What is your name?", "name", "string");
    }
    asked
}

/// The question of the prompt that asks for its context.
pub(crate) fn context(heard: Option<&InputResponses>) -> Result<String, Box<InputRequiredResult>> {
    match heard.filter(|heard| answered(heard, &["user_context"])) {
        Some(heard) => Ok(heard["user_context"]["content"]["context"].to_string()),
        None => {
            let asked = form("What context should the prompt use?", "context", "string");
            Err(Box::new(wanted(json!({"user_context": asked}), None)))
        }
    }
}

/// A question in the middle of an answer.
pub(crate) fn streaming(request: &CallToolRequestParams) -> CallToolResponse {
    match request.input_responses.as_ref().filter(|heard| answered(heard, &["name"])) {
        Some(_) => CallToolResult::success(vec![ContentBlock::text("Heard it")]).into(),
        None => CallToolResponse::InputRequired(wanted(
            json!({"name": form("What is your name?", "name", "string")}),
            None,
        )),
    }
}
