use embed::{Signal, sensor};
use serde_json::Value;

#[sensor(tool = "x")]
async fn check(_: &Value) -> Signal {
    Signal::Pass
}

fn main() {}
