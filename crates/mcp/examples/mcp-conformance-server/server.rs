//! How the server answers.

#![expect(deprecated, reason = "the older generation asks for models, logs and subscriptions")]

use std::time::Duration;

use rmcp::{
    ErrorData, ServerHandler,
    model::*,
    service::{RequestContext, RoleServer, SubscriptionContext},
};
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::{rounds, things};

/// Between two notifications of one call: the suite wants to see that they come one by one.
const PACE: Duration = Duration::from_millis(50);

/// How long an answer may be kept by whoever asked.
const FRESH_MS: u64 = 1_000;

/// What changed, for whoever listens.
#[derive(Clone, Copy, Debug)]
enum Changed {
    Tools,
    Prompts,
}

/// One server; copies of it hear of the same changes.
#[derive(Clone, Debug)]
pub(crate) struct Suite {
    changes: broadcast::Sender<Changed>,
}

impl Default for Suite {
    fn default() -> Self {
        Self { changes: broadcast::channel(16).0 }
    }
}

fn text(text: impl Into<String>) -> Result<CallToolResponse, ErrorData> {
    Ok(CallToolResult::success(vec![ContentBlock::text(text.into())]).into())
}

fn argument(request: &CallToolRequestParams, name: &str) -> String {
    let value = request.arguments.as_ref().and_then(|map| map.get(name));
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn is_stateless(context: &RequestContext<RoleServer>) -> bool {
    context.protocol_version().is_some_and(|version| !version.has_initialize())
}

/// Asks the client's person, over a session.
async fn elicit(
    context: &RequestContext<RoleServer>,
    message: &str,
    schema: Value,
) -> Result<CallToolResponse, ErrorData> {
    let asked = json!({"mode": "form", "message": message, "requestedSchema": schema});
    let asked: ElicitRequestParams = serde_json::from_value(asked).unwrap();
    let request = ServerRequest::ElicitRequest(ElicitRequest::new(asked));
    match context.peer.send_request(request).await {
        Ok(answer) => {
            let answer = serde_json::to_value(&answer).unwrap();
            text(format!(
                "User response: action={}, content={}",
                answer["action"], answer["content"]
            ))
        }
        Err(error) => Ok(CallToolResult::error(vec![ContentBlock::text(error.to_string())]).into()),
    }
}

fn defaults() -> Value {
    json!({"type": "object", "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": true},
    }, "required": []})
}

fn choices() -> Value {
    let titled = |title: &str| -> Value {
        let one = |n: &str, nth: &str| json!({"const": format!("value{n}"), "title": format!("{nth} {title}")});
        json!([one("1", "First"), one("2", "Second"), one("3", "Third")])
    };
    let plain = json!(["option1", "option2", "option3"]);
    json!({"type": "object", "properties": {
        "untitledSingle": {"type": "string", "enum": plain},
        "titledSingle": {"type": "string", "oneOf": titled("Option")},
        "legacyEnum": {
            "type": "string", "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": plain}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled("Choice")}},
    }, "required": []})
}

/// Asks the client's model, over a session.
async fn think(
    context: &RequestContext<RoleServer>,
    prompt: String,
) -> Result<CallToolResponse, ErrorData> {
    let asked = CreateMessageRequestParams::new(vec![SamplingMessage::user_text(prompt)], 100);
    let request = ServerRequest::CreateMessageRequest(CreateMessageRequest::new(asked));
    match context.peer.send_request(request).await {
        Ok(answer) => {
            let answer = serde_json::to_value(&answer).unwrap();
            text(format!("LLM response: {}", answer["content"]["text"]))
        }
        Err(error) => Ok(CallToolResult::error(vec![ContentBlock::text(error.to_string())]).into()),
    }
}

async fn log(context: &RequestContext<RoleServer>) -> Result<CallToolResponse, ErrorData> {
    // Without a session, a caller who names no level wants no log.
    let wanted =
        !is_stateless(context) || context.meta.get("io.modelcontextprotocol/logLevel").is_some();
    for line in ["Tool execution started", "Tool processing data", "Tool execution completed"] {
        if wanted {
            let said = json!({"level": "info", "logger": "suite", "data": line});
            let said: LoggingMessageNotificationParam = serde_json::from_value(said).unwrap();
            let _gone = context.peer.notify_logging_message(said).await;
        }
        tokio::time::sleep(PACE).await;
    }
    text("Logged")
}

async fn progress(context: &RequestContext<RoleServer>) -> Result<CallToolResponse, ErrorData> {
    for done in [0, 50, 100] {
        if let Some(token) = context.meta.get_progress_token() {
            let said = json!({"progressToken": token, "progress": done, "total": 100});
            let said: ProgressNotificationParam = serde_json::from_value(said).unwrap();
            let _gone = context.peer.notify_progress(said).await;
        }
        tokio::time::sleep(PACE).await;
    }
    text("Done")
}

impl Suite {
    async fn changed(
        &self,
        context: &RequestContext<RoleServer>,
        what: Changed,
    ) -> Result<CallToolResponse, ErrorData> {
        let _nobody_listens = self.changes.send(what);
        if !is_stateless(context) {
            let _gone = match what {
                Changed::Tools => context.peer.notify_tool_list_changed().await,
                Changed::Prompts => context.peer.notify_prompt_list_changed().await,
            };
        }
        text("Changed")
    }
}

impl ServerHandler for Suite {
    fn get_info(&self) -> ServerConfig {
        let offers = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_completions()
            .enable_logging();
        ServerConfig::new(offers.build())
            .with_server_info(Implementation::new("conformance", "1.0.0"))
            .with_instructions("Every fixture that the conformance suite names")
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let all = ListToolsResult::with_all_items(things::tools());
        Ok(all.with_ttl_ms(FRESH_MS).with_cache_scope(CacheScope::Public))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        things::tools().into_iter().find(|tool| tool.name == name)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if let Some(result) = things::plain(&request.name) {
            return Ok(result.into());
        }
        let client = context.client_capabilities();
        if let Some(round) = rounds::call(&request, client.as_ref()) {
            return round;
        }
        match &*request.name {
            "test_tool_with_logging" | "test_logging_tool" => log(&context).await,
            "test_tool_with_progress" => progress(&context).await,
            "test_sampling" => think(&context, argument(&request, "prompt")).await,
            "test_elicitation" => {
                let schema = json!({"type": "object", "properties": {
                    "username": {"type": "string", "description": "User's response"},
                    "email": {"type": "string", "description": "User's email address"},
                }, "required": ["username", "email"]});
                elicit(&context, &argument(&request, "message"), schema).await
            }
            "test_elicitation_sep1034_defaults" => {
                elicit(&context, "All of these have defaults", defaults()).await
            }
            "test_elicitation_sep1330_enums" => elicit(&context, "Choose", choices()).await,
            "test_missing_capability" => match client.is_some_and(|one| one.sampling.is_some()) {
                true => text("It is there"),
                false => {
                    let needs = serde_json::from_value(json!({"sampling": {}})).unwrap();
                    Err(ErrorData::missing_required_client_capability(needs))
                }
            },
            "test_streaming_elicitation" => Ok(rounds::streaming(&request)),
            "test_trigger_tool_change" => self.changed(&context, Changed::Tools).await,
            "test_trigger_prompt_change" => self.changed(&context, Changed::Prompts).await,
            other => Err(ErrorData::invalid_params(format!("no tool {other}"), None)),
        }
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let all = ListResourcesResult::with_all_items(things::resources());
        Ok(all.with_ttl_ms(FRESH_MS).with_cache_scope(CacheScope::Public))
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let one = serde_json::from_value(things::template()).unwrap();
        let all = ListResourceTemplatesResult::with_all_items(vec![one]);
        Ok(all.with_ttl_ms(FRESH_MS).with_cache_scope(CacheScope::Public))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let read = things::read(&request.uri)?;
        Ok(read.with_ttl_ms(FRESH_MS).with_cache_scope(CacheScope::Private).into())
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        things::read(&request.uri).map(drop)
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        things::read(&request.uri).map(drop)
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let all = ListPromptsResult::with_all_items(things::prompts());
        Ok(all.with_ttl_ms(FRESH_MS).with_cache_scope(CacheScope::Public))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let args = request.arguments.clone().unwrap_or_default();
        if request.name == "test_input_required_result_prompt" {
            return match rounds::context(request.input_responses.as_ref()) {
                Ok(context) => {
                    let said = PromptMessage::new_text(Role::User, format!("In {context}"));
                    Ok(GetPromptResult::new(vec![said]).into())
                }
                Err(asks) => Ok(GetPromptResponse::InputRequired(*asks)),
            };
        }
        let prompt = things::prompt(&request.name, &args);
        let none = || ErrorData::invalid_params(format!("no prompt {}", request.name), None);
        Ok(prompt.ok_or_else(none)?.into())
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let begun = request.argument.value;
        let known = ["paris", "park", "party", "test-1", "test-2"];
        let values: Vec<&str> = known.into_iter().filter(|word| word.starts_with(&begun)).collect();
        let found = json!({
            "resultType": "complete",
            "completion": {"values": values, "total": values.len(), "hasMore": false},
        });
        Ok(serde_json::from_value(found).unwrap())
    }

    async fn set_level(
        &self,
        _request: SetLevelRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut changes = self.changes.subscribe();
        loop {
            let changed = tokio::select! {
                () = context.cancelled() => return Ok(()),
                changed = changes.recv() => changed,
            };
            // Whoever did not want to hear of it is not told: the library refuses.
            let _unwanted = match changed {
                Ok(Changed::Tools) => context.sink().notify_tool_list_changed().await,
                Ok(Changed::Prompts) => context.sink().notify_prompt_list_changed().await,
                Err(_) => return Ok(()),
            };
        }
    }
}
