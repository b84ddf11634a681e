//! Reads the `request` of an operation of an agent of the Agent Client Protocol.

use serde_json::{Map, Value, json};

use crate::read::Fields;

/// What a turn is that ended before its agent was through.
const UNFINISHED: [(&str, &str); 2] = [("fail", "fail"), ("tell", "tell")];

/// What the agent's own word that it failed says about the effect.
const LANDED: [(&str, &str); 2] = [("no", "no"), ("unknown", "unknown")];

pub(crate) fn read_request(request: &mut Fields<'_, '_>, binding: &mut Map<String, Value>) {
    for name in ["text", "result"] {
        if let Some(pointer) = request.pointer(name) {
            binding.insert(name.into(), json!(pointer));
        }
    }
    for (name, known) in [("unfinished", &UNFINISHED), ("landed_on_error", &LANDED)] {
        if let Some(value) = request.choice(name, known) {
            binding.insert(name.into(), json!(value));
        }
    }
}
