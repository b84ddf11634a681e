use embed::{Signal, sensor};
use serde_json::Value;

#[sensor]
fn check(_: &Value) -> Signal {
    Signal::Pass
}

fn main() {}
