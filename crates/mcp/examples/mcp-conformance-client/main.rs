//! The program that the official conformance suite starts as a client: its last argument is an address, and the scenario
//! stands in its environment. Everything that goes over the wire is said by the harness's own client; what is here only
//! decides what is called, and stands in for the person who logs in and answers.
#![allow(
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a program of tests"
)]

mod login;

use std::{env, process::ExitCode, sync::Arc};

use mcp::client::{
    Answer, Answering, Client, Error, Generation, Http, Person, Question, Setup, Tool,
};
use serde_json::{Map, Value, json};

/// How often permissions are asked for, before whoever asks for more is given up.
const LOGINS_MAX: usize = 3;

/// Says yes to whatever is suggested.
struct Agreeable;

impl Person for Agreeable {
    fn answer(&self, question: Question) -> Answering<'_> {
        Box::pin(async move { Answer::Accept(question.defaults()) })
    }
}

/// What the suite tells of a scenario.
struct Scenario {
    name: String,
    url: String,
    context: Value,
    generation: Generation,
}

impl Scenario {
    fn given() -> Self {
        let text = |name: &str| env::var(name).unwrap_or_default();
        let generation = match text("MCP_CONFORMANCE_PROTOCOL_VERSION").as_str() {
            "2026-07-28" => Generation::Stateless,
            _ => Generation::Sessions,
        };
        Self {
            name: text("MCP_CONFORMANCE_SCENARIO"),
            url: env::args().next_back().unwrap(),
            context: serde_json::from_str(&text("MCP_CONFORMANCE_CONTEXT")).unwrap_or_default(),
            generation,
        }
    }

    async fn connect(&self, token: Option<&str>) -> Result<Client, Error> {
        let bearer = token.map(|token| ("authorization".to_owned(), format!("Bearer {token}")));
        let http = Http { url: self.url.clone(), headers: bearer.into_iter().collect() };
        let setup = Setup { generation: self.generation, ..Setup::default() };
        Client::over_http_with(&http, setup, Arc::new(Agreeable)).await
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let scenario = Scenario::given();
    match played(&scenario).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", scenario.name);
            ExitCode::FAILURE
        }
    }
}

/// Calls everything there is, and logs in as often as the server wants it.
async fn played(scenario: &Scenario) -> Result<(), String> {
    let mut grant = login::first(scenario).await?;
    for logins in 0.. {
        let token = grant.as_ref().map(|grant| grant.access_token.clone());
        match calls(scenario, token.as_deref()).await {
            Ok(()) => return Ok(()),
            Err(Error::Refused(refusal)) if logins < LOGINS_MAX => {
                grant = Some(login::again(scenario, &refusal, grant.as_ref()).await?);
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}

async fn calls(scenario: &Scenario, token: Option<&str>) -> Result<(), Error> {
    let client = scenario.connect(token).await?;
    let tools = client.tools().await?;
    let wanted = scenario.context["toolCalls"].as_array().cloned();
    let calls: Vec<(String, Map<String, Value>)> = match wanted {
        Some(calls) => calls.iter().map(told).collect(),
        None => tools.iter().map(|tool| (tool.name.clone(), made_up(tool, &tools))).collect(),
    };
    for (tool, args) in calls {
        match client.call(&tool, args).await {
            Err(refused @ Error::Refused(_)) => return Err(refused),
            // Whatever else a tool says is its own affair: the suite looks at what was sent.
            Err(error) => eprintln!("{tool}: {error}"),
            Ok(_) => {}
        }
    }
    client.close(std::time::Duration::from_secs(2)).await;
    Ok(())
}

fn told(call: &Value) -> (String, Map<String, Value>) {
    let args = call["arguments"].as_object().cloned().unwrap_or_default();
    (call["name"].as_str().unwrap_or_default().to_owned(), args)
}

/// Arguments that fit a tool's schema as far as its types go. What is to be repeated of another tool is repeated.
fn made_up(tool: &Tool, all: &[Tool]) -> Map<String, Value> {
    if tool.name == "json_schema_echo" {
        let schema = all.iter().find(|one| one.name == "json_schema_2020_12_tool");
        let schema = schema.map_or(Value::Null, |one| one.input.clone());
        return Map::from_iter([("schema".to_owned(), schema)]);
    }
    let required = tool.input["required"].as_array().cloned().unwrap_or_default();
    let one = |name: &Value| {
        let name = name.as_str()?;
        let value = match tool.input["properties"][name]["type"].as_str() {
            Some("number" | "integer") => json!(1),
            Some("boolean") => json!(true),
            Some("array") => json!([]),
            Some("object") => json!({}),
            Some("null") => Value::Null,
            _ => json!("test"),
        };
        Some((name.to_owned(), value))
    };
    required.iter().filter_map(one).collect()
}
