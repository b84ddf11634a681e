//! JSON Schemas of each kind of file, for editors and for other programs. The loader is stricter: it
//! also checks names, types and facts against each other.

use serde_json::Value;

/// Name of each kind of file with its JSON Schema.
#[must_use]
pub fn schemas() -> Vec<(&'static str, Value)> {
    let texts = [
        ("pack", include_str!("editor/pack.json")),
        ("intent", include_str!("editor/intent.json")),
        ("playbook", include_str!("editor/playbook.json")),
        ("agent", include_str!("editor/agent.json")),
        ("connector", include_str!("editor/connector.json")),
        ("exceptions", include_str!("editor/exceptions.json")),
        ("kpis", include_str!("editor/kpis.json")),
        ("policy-cases", include_str!("editor/policy-cases.json")),
    ];
    texts.map(|(name, text)| (name, serde_json::from_str(text).unwrap_or_default())).into()
}
