//! Reads the `request` of an operation of an MCP server.

use serde_json::{Map, Value, json};

use crate::{binding::read_picks, read::Fields};

/// What is asked of a server.
pub(crate) const ERRANDS: [&str; 4] = ["call", "resources", "read", "prompt"];

/// Which part of a tool's result is the answer.
const ANSWERS: [(&str, &str); 3] =
    [("text", "text"), ("structured", "structured"), ("whole", "whole")];

/// What is read, and a prompt, come in parts that are known, or as they came.
const WHOLE: [(&str, &str); 1] = [("whole", "whole")];

/// What a tool's own word that it failed says about its effect.
const LANDED: [(&str, &str); 2] = [("no", "no"), ("unknown", "unknown")];

/// Digits of a digest.
const DIGITS: usize = 64;

pub(crate) fn read_request(request: &mut Fields<'_, '_>, binding: &mut Map<String, Value>) {
    let names = ERRANDS.map(|name| (name, name));
    let errand = request.choice("do", &names).unwrap_or("call");
    binding.insert("do".into(), json!(errand));
    match errand {
        "read" => {
            let reader = request.reader;
            if let Some(pointer) = request.need("uri").and_then(|node| reader.pointer(node, "uri"))
            {
                binding.insert("uri".into(), json!(pointer));
            }
        }
        "prompt" => {
            binding.insert("prompt".into(), json!(request.need_text("prompt")));
        }
        "resources" => {}
        _ => read_call(request, binding),
    }
    if matches!(errand, "read" | "prompt")
        && let Some(answer) = request.choice("answer", &WHOLE)
    {
        binding.insert("answer".into(), json!(answer));
    }
    read_picks(request, binding);
}

fn read_call(request: &mut Fields<'_, '_>, binding: &mut Map<String, Value>) {
    binding.insert("tool".into(), json!(request.need_text("tool")));
    let reader = request.reader;
    if let Some(node) = request.need("definition") {
        let text = reader.text(node, "definition").unwrap_or_default();
        let digits = text.strip_prefix("sha256:").unwrap_or_default();
        let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if digits.len() != DIGITS || !digits.chars().all(is_digit) {
            let fix = "take the one that `harness mcp import` or `harness mcp accept` writes";
            reader.wrong(node.place, "`definition` is the digest of what was accepted", fix);
        }
        binding.insert("definition".into(), json!(text));
    }
    // What the server said about it when it was accepted, for whoever reads the file and for `harness mcp diff`.
    request.get("described");
    for (name, known) in [("answer", &ANSWERS[..]), ("landed_on_error", &LANDED[..])] {
        if let Some(value) = request.choice(name, known) {
            binding.insert(name.into(), json!(value));
        }
    }
}
