//! What the server has: its tools, resources and prompts, as the suite's descriptions spell them out.

use rmcp::{
    ErrorData,
    model::{CallToolResult, GetPromptResult, Prompt, ReadResourceResult, Resource, Tool},
};
use serde_json::{Map, Value, json};

/// One red pixel.
pub(crate) const PICTURE: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";

/// A sound without a sample.
const SOUND: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=";

/// Tools without arguments that the suite calls by name, and what they are for.
const PLAIN: [(&str, &str); 24] = [
    ("test_simple_text", "Gives a text"),
    ("test_image_content", "Gives a picture"),
    ("test_audio_content", "Gives a sound"),
    ("test_embedded_resource", "Gives a resource"),
    ("test_multiple_content_types", "Gives text, a picture and a resource"),
    ("test_error_handling", "Fails"),
    ("test_tool_with_logging", "Writes into the log meanwhile"),
    ("test_tool_with_progress", "Says how far it is"),
    ("test_elicitation_sep1034_defaults", "Asks with defaults"),
    ("test_elicitation_sep1330_enums", "Asks with choices of every sort"),
    ("test_reconnection", "Takes its time"),
    ("test_missing_capability", "Needs a client that has a model"),
    ("test_streaming_elicitation", "Asks in the middle of its answer"),
    ("test_logging_tool", "Writes into the log where its caller wants one"),
    ("test_trigger_tool_change", "Says that the tools have changed"),
    ("test_trigger_prompt_change", "Says that the prompts have changed"),
    ("test_input_required_result_elicitation", "Asks for a name"),
    ("test_input_required_result_sampling", "Asks a model"),
    ("test_input_required_result_list_roots", "Asks for folders"),
    ("test_input_required_result_request_state", "Asks, with a state"),
    ("test_input_required_result_multiple_inputs", "Asks for three things at once"),
    ("test_input_required_result_multi_round", "Asks twice, one after the other"),
    ("test_input_required_result_tampered_state", "Asks, with a sealed state"),
    ("test_input_required_result_capabilities", "Asks for what its client can give"),
];

fn tool(name: &str, description: &str, input: Value) -> Tool {
    let tool = json!({"name": name, "description": description, "inputSchema": input});
    serde_json::from_value(tool).unwrap()
}

fn takes(properties: Value) -> Value {
    let names: Vec<String> = properties.as_object().unwrap().keys().cloned().collect();
    json!({"type": "object", "properties": properties, "required": names})
}

/// Every tool, always in the same order.
pub(crate) fn tools() -> Vec<Tool> {
    let nothing = json!({"type": "object", "properties": {}});
    let mut all: Vec<Tool> =
        PLAIN.iter().map(|(name, what)| tool(name, what, nothing.clone())).collect();
    let text = |name: &str| takes(json!({name: {"type": "string"}}));
    all.push(tool("test_sampling", "Asks the client's model", text("prompt")));
    all.push(tool("test_elicitation", "Asks the client's person", text("message")));
    let address = json!({
        "$anchor": "addressDef", "type": "object",
        "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
    });
    let input = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": address},
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": false,
    });
    all.push(tool("json_schema_2020_12_tool", "Takes what a rich schema describes", input));
    let region = json!({"region": {"type": "string", "x-mcp-header": "Region"}});
    all.push(tool("test_custom_header", "Is routed by an argument", takes(region)));
    all
}

fn resource(uri: &str, media: &str, text: &str) -> Value {
    json!({"type": "resource", "resource": {"uri": uri, "mimeType": media, "text": text}})
}

/// What a tool that needs nobody gives back; none for one that does more.
pub(crate) fn plain(name: &str) -> Option<CallToolResult> {
    let text = |text: &str| json!({"type": "text", "text": text});
    let picture = json!({"type": "image", "data": PICTURE, "mimeType": "image/png"});
    let mixed = resource(
        "test://mixed-content-resource",
        "application/json",
        "{\"test\":\"data\",\"value\":123}",
    );
    let content = match name {
        "test_simple_text" => json!([text("This is a simple text response for testing.")]),
        "test_image_content" => json!([picture]),
        "test_audio_content" => {
            json!([{"type": "audio", "data": SOUND, "mimeType": "audio/wav"}])
        }
        "test_embedded_resource" => json!([resource(
            "test://embedded-resource",
            "text/plain",
            "This is an embedded resource content."
        )]),
        "test_multiple_content_types" => {
            json!([text("Multiple content types test:"), picture, mixed])
        }
        "test_error_handling" => {
            json!([text("This tool intentionally returns an error for testing")])
        }
        "json_schema_2020_12_tool" | "test_custom_header" | "test_reconnection" => {
            json!([text("ok")])
        }
        _ => return None,
    };
    let failed = name == "test_error_handling";
    Some(
        serde_json::from_value(
            json!({"resultType": "complete", "content": content, "isError": failed}),
        )
        .unwrap(),
    )
}

pub(crate) fn resources() -> Vec<Resource> {
    let all = json!([
        {"uri": "test://static-text", "name": "text", "description": "A text", "mimeType": "text/plain"},
        {"uri": "test://static-binary", "name": "picture", "description": "A picture", "mimeType": "image/png"},
        {"uri": "test://watched-resource", "name": "watched", "description": "A text to watch", "mimeType": "text/plain"},
    ]);
    serde_json::from_value(all).unwrap()
}

pub(crate) fn template() -> Value {
    json!({
        "uriTemplate": "test://template/{id}/data", "name": "by id", "description": "A text for an id",
        "mimeType": "application/json",
    })
}

pub(crate) fn read(uri: &str) -> Result<ReadResourceResult, ErrorData> {
    let one = match uri {
        "test://static-text" => json!({
            "uri": uri, "mimeType": "text/plain", "text": "This is the content of the static text resource.",
        }),
        "test://static-binary" => json!({"uri": uri, "mimeType": "image/png", "blob": PICTURE}),
        "test://watched-resource" => {
            json!({"uri": uri, "mimeType": "text/plain", "text": "Watched"})
        }
        _ => {
            let id =
                uri.strip_prefix("test://template/").and_then(|rest| rest.strip_suffix("/data"));
            let Some(id) = id else {
                let data = Some(json!({"uri": uri}));
                return Err(ErrorData::resource_not_found("Resource not found", data));
            };
            let text =
                json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")});
            json!({"uri": uri, "mimeType": "application/json", "text": text.to_string()})
        }
    };
    Ok(ReadResourceResult::new(vec![serde_json::from_value(one).unwrap()]))
}

pub(crate) fn prompts() -> Vec<Prompt> {
    let argument = |name: &str| json!({"name": name, "description": "A value", "required": true});
    let all = json!([
        {"name": "test_simple_prompt", "description": "Takes nothing"},
        {
            "name": "test_prompt_with_arguments", "description": "Takes two values",
            "arguments": [argument("arg1"), argument("arg2")],
        },
        {
            "name": "test_prompt_with_embedded_resource", "description": "Holds a resource",
            "arguments": [argument("resourceUri")],
        },
        {"name": "test_prompt_with_image", "description": "Holds a picture"},
        {"name": "test_input_required_result_prompt", "description": "Asks for its context"},
    ]);
    serde_json::from_value(all).unwrap()
}

/// A prompt that needs nobody; none where there is none of this name.
pub(crate) fn prompt(name: &str, args: &Map<String, Value>) -> Option<GetPromptResult> {
    let said = |content: Value| json!({"role": "user", "content": content});
    let text = |text: &str| said(json!({"type": "text", "text": text}));
    let given = |name: &str| args.get(name).and_then(Value::as_str).unwrap_or_default();
    let messages = match name {
        "test_simple_prompt" => json!([text("This is a simple prompt for testing.")]),
        "test_prompt_with_arguments" => json!([text(&format!(
            "Prompt with arguments: arg1='{}', arg2='{}'",
            given("arg1"),
            given("arg2")
        ))]),
        "test_prompt_with_embedded_resource" => json!([
            said(resource(
                given("resourceUri"),
                "text/plain",
                "Embedded resource content for testing."
            )),
            text("Please process the embedded resource above."),
        ]),
        "test_prompt_with_image" => json!([
            said(json!({"type": "image", "data": PICTURE, "mimeType": "image/png"})),
            text("Please analyze the image above."),
        ]),
        _ => return None,
    };
    Some(serde_json::from_value(json!({"resultType": "complete", "messages": messages})).unwrap())
}
