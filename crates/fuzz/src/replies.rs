//! What models answer, on every wire, whole and in pieces.

use std::sync::Arc;

use kernel::conversation::{Item, Prompt, Reply, Said, Segment, Thread, ToolChoice};
use models::{ApiKind, Error, MESSAGE_MAX_CHARS, Provider, fuzzing};
use serde_json::Value;

const WIRES: [ApiKind; 4] =
    [ApiKind::OpenAi, ApiKind::OpenAiResponses, ApiKind::Anthropic, ApiKind::Gemini];

/// What may stand around a provider's message in an error, in characters.
const AROUND_MAX_CHARS: usize = 200;

/// The bytes are an answer's body: read as one, and as a stream that comes in pieces.
pub(crate) fn read(bytes: &[u8]) {
    for wire in WIRES {
        let provider = Provider::new("p", wire, "https://models.example/v1", "model-1");
        let whole = fuzzing::read(&provider, bytes);
        let heard = fuzzing::hear(&provider, bytes, bytes.len());
        for length in [1, 7] {
            let again = fuzzing::hear(&provider, bytes, length);
            assert_eq!(again, heard, "{wire}: in pieces of {length}");
        }
        if let Ok(reply) = &heard {
            // What was heard is journaled, and read again from there.
            assert_eq!(Ok(reply), whole.as_ref(), "{wire}: heard and read");
        }
        match &whole {
            Ok(reply) => go_on(&provider, reply),
            Err(error) => check(error),
        }
        if let Err(error) = &heard {
            check(error);
        }
    }
}

/// A refusal says why, within its limit.
fn check(error: &Error) {
    let said = error.to_string();
    assert!(!said.is_empty() && !error.code().is_empty());
    assert!(said.chars().count() <= MESSAGE_MAX_CHARS + AROUND_MAX_CHARS, "{said}");
}

/// After any reply the conversation goes on: it is journaled, and the next request is JSON.
fn go_on(provider: &Provider, reply: &Reply) {
    let value = serde_json::to_value(reply).unwrap_or_default();
    assert_eq!(serde_json::from_value::<Reply>(value.clone()).ok().as_ref(), Some(reply));
    let call = reply.items.iter().find_map(|item| match item {
        Item::Call { id, name, .. } => Some((id.clone(), name.clone())),
        _ => None,
    });
    let answer = call.map(|(call, name)| {
        let content = "3".to_owned();
        Segment::Result { call, name, content, is_error: false }
    });
    let opening = Thread::after(None, 1, said(0, Vec::new()));
    let reply = Said::Reply(Arc::new(value).into());
    let heard = Thread::after(Some(opening), 2, reply);
    let thread = Thread::after(Some(heard), 3, said(1, answer.into_iter().collect()));
    let request = fuzzing::request(provider, &thread);
    let is_json =
        |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).is_ok_and(|v| v.is_object());
    assert!(request.as_deref().is_ok_and(is_json), "the conversation cannot go on: {request:?}");
}

fn said(turn: u32, segments: Vec<Segment>) -> Said {
    let prompt = Prompt {
        conversation: "talk#1".to_owned(),
        turn,
        segments,
        tools: Vec::new(),
        tool_choice: ToolChoice::Auto,
        output: None,
        output_tokens_max: 1_000,
        temperature_milli: None,
    };
    Said::Prompt(Arc::new(serde_json::to_value(prompt).unwrap_or_default()).into())
}
