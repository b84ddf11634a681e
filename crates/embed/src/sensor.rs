//! Sensors: Rust code that looks at a tool's result and says something about it to the model.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use serde::Serialize;
use serde_json::{Value, json};

/// Longest message of a sensor, in characters.
pub const SIGNAL_MAX_CHARS: usize = 2_000;

/// What a sensor found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "message")]
pub enum Signal {
    /// Nothing wrong.
    Pass,
    /// Something is wrong; what, and what to do about it. The model reads it in its next turn.
    Fail(String),
    /// It could not look; why.
    NotRun(String),
}

type Look = dyn Fn(&Value) -> Signal + Send + Sync;

/// A sensor on the result of one tool. Its message is as trusted as the result it is about.
#[derive(Clone)]
pub struct Sensor {
    name: String,
    tool: String,
    look: Arc<Look>,
}

impl fmt::Debug for Sensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sensor").field("name", &self.name).field("tool", &self.tool).finish()
    }
}

impl Sensor {
    /// A sensor that looks at what a tool returned.
    #[must_use]
    pub fn new(
        name: &str,
        tool: &str,
        look: impl Fn(&Value) -> Signal + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.to_owned(), tool: tool.to_owned(), look: Arc::new(look) }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tool it looks at.
    #[must_use]
    pub fn tool(&self) -> &str {
        &self.tool
    }

    fn sense(&self, output: &Value) -> Signal {
        let seen = catch_unwind(AssertUnwindSafe(|| (self.look)(output)));
        match seen {
            Ok(Signal::Fail(message)) => Signal::Fail(cut(&message)),
            Ok(Signal::NotRun(why)) => Signal::NotRun(cut(&why)),
            Ok(Signal::Pass) => Signal::Pass,
            Err(_) => Signal::NotRun("the sensor stopped unexpectedly".to_owned()),
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(SIGNAL_MAX_CHARS).collect()
}

/// What a tool with sensors returns: its result, and what each of them found.
pub(crate) fn accompanied(result: Value, sensors: &[Sensor]) -> Value {
    if sensors.is_empty() {
        return result;
    }
    let signals = sensors.iter().map(|sensor| {
        let mut signal = json!(sensor.sense(&result));
        if let Some(fields) = signal.as_object_mut() {
            fields.insert("sensor".to_owned(), json!(sensor.name));
        }
        signal
    });
    let signals: Vec<Value> = signals.collect();
    json!({ "result": result, "signals": signals })
}

/// JSON Schema of what [`accompanied`] makes of results of this schema.
pub(crate) fn schema(result: &Value) -> Value {
    // References lead into the result's own schema, so that it stays the root and only its place is told.
    let result = match result.get("$defs") {
        Some(_) => json!({}),
        None => result.clone(),
    };
    json!({
        "type": "object",
        "required": ["result", "signals"],
        "properties": { "result": result, "signals": { "type": "array" } },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_comes_with_what_each_sensor_found() {
        let wrong = |_: &Value| -> Signal { panic!("a broken sensor") };
        let sensors = [
            Sensor::new("even", "t", |v| match v.as_i64() {
                Some(n) if n % 2 == 0 => Signal::Pass,
                _ => Signal::Fail("use an even number".to_owned()),
            }),
            Sensor::new("broken", "t", wrong),
        ];
        assert_eq!(accompanied(json!(3), &[]), json!(3));
        assert_eq!(
            accompanied(json!(3), &sensors),
            json!({"result": 3, "signals": [
                {"sensor": "even", "verdict": "fail", "message": "use an even number"},
                {"sensor": "broken", "verdict": "not_run",
                 "message": "the sensor stopped unexpectedly"},
            ]})
        );
    }
}
