//! An agent with one tool, offline: `cargo run -p harness-embed --example hello`.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use embed::{
    Agent,
    models::{Line, ScriptedModel},
    tool,
};

/// Tells the weather in a city.
#[tool(effect = "read", egress = false)]
async fn weather(city: String) -> String {
    format!("sunny in {city}")
}

#[tokio::main]
async fn main() -> Result<(), embed::Error> {
    let call = Line::call("1", "weather", serde_json::json!({ "city": "Bern" }));
    let model = ScriptedModel::lines("demo", vec![call, Line::text("It is sunny in Bern.")]);
    let agent = Agent::builder().model(model).registered().build()?;
    let outcome = agent.run("How is the weather in Bern?").await?;
    println!("{} ({} receipts)", outcome.text(), outcome.receipts.len());
    Ok(())
}
