//! Reads the `request` of an operation of an agent that somebody else runs.

use serde_json::{Map, Value, json};

use crate::{binding::read_picks, read::Fields};

/// What is done while the agent waits for somebody.
const INPUT: [(&str, &str); 2] = [("fail", "fail"), ("wait", "wait")];

/// What the agent's own word that it failed says about the effect.
const LANDED: [(&str, &str); 2] = [("no", "no"), ("unknown", "unknown")];

/// Longest fixed text beside a message, in characters.
const METADATA_MAX_CHARS: usize = 500;

pub(crate) fn read_request(request: &mut Fields<'_, '_>, binding: &mut Map<String, Value>) {
    let reader = request.reader;
    for name in ["text", "data"] {
        if let Some(pointer) = request.pointer(name) {
            binding.insert(name.into(), json!(pointer));
        }
    }
    if !binding.contains_key("text") && !binding.contains_key("data") {
        let fix = "write `text: /question`, or `data: \"\"` for all of the arguments";
        reader.wrong(request.place, "a message has words or data", fix);
    }
    if let Some(node) = request.get("metadata") {
        let mut told = Map::new();
        for (key, node) in reader.entries(node, "metadata") {
            let Some(text) = reader.text(node, "metadata") else { continue };
            if text.chars().count() > METADATA_MAX_CHARS {
                let message = format!("more than {METADATA_MAX_CHARS} characters");
                reader.wrong(node.place, message, "say it shorter");
            }
            told.insert(key.name.clone(), json!(text));
        }
        binding.insert("metadata".into(), Value::Object(told));
    }
    for (name, known) in [("on_input_required", &INPUT), ("landed_on_error", &LANDED)] {
        if let Some(value) = request.choice(name, known) {
            binding.insert(name.into(), json!(value));
        }
    }
    read_picks(request, binding);
}
