//! Policies.

use std::sync::LazyLock;

use kernel::{
    catalogue::Catalogue,
    operation::{Effect, ResourceRule, Retry, Undo},
};
use policy::{Bundle, Layer, Source};
use serde_json::json;

/// A read, a write that can be taken back and one that cannot.
static CATALOGUE: LazyLock<Option<Catalogue>> = LazyLock::new(|| {
    let input = json!({"type": "object", "required": ["account", "amount"],
        "properties": {"account": {"type": "string"}, "amount": {"type": "integer"}}});
    let make = |id: &str, effect, undo| {
        let mut operation = testkit::operation(id, effect, undo, Retry::Never);
        operation.input = input.clone().into();
        operation.resource = Some(ResourceRule { kind: "Account".into(), id: "/account".into() });
        operation
    };
    let operations = [
        make("crm.get", Effect::Read, Undo::None),
        make("crm.set", Effect::Write, Undo::Compensate),
        make("mail.send", Effect::Write, Undo::None),
    ];
    Catalogue::new(operations).ok()
});

/// The bytes are the operator's rules.
pub(crate) fn load(bytes: &[u8]) {
    let catalogue = CATALOGUE.as_ref();
    assert!(catalogue.is_some(), "the catalogue is one");
    let (Some(catalogue), Ok(text)) = (catalogue, std::str::from_utf8(bytes)) else {
        return;
    };
    let name = "a.cedar".to_owned();
    let source = Source { layer: Layer::Operator, name, text: text.to_owned() };
    let Err(problems) = Bundle::load(catalogue, &[source]) else {
        return;
    };
    assert!(!problems.is_empty(), "refused without a reason");
    for problem in problems {
        let lines = text.lines().count();
        assert!(!problem.message.is_empty(), "no message");
        assert!(problem.line >= 1 && problem.column >= 1, "no place: {problem}");
        assert!(problem.line <= lines + 1, "beyond the end ({lines} lines): {problem}");
    }
}
