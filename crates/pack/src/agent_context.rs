//! Reads `context:` of an agent: values of the run, and the read that it is reminded by.

use std::collections::BTreeMap;

use kernel::{
    agent::{Context, MemorySource, STATE_VALUES_MAX, StateSource},
    id::OperationId,
};

use crate::{
    read::{Fields, Reader},
    steps::read_with,
    yaml::Node,
};

/// Most tokens of one source.
const TOKENS_MAX: i64 = 100_000;

/// Tokens of a source that names no budget.
const TOKENS_USUAL: u32 = 1_000;

pub(crate) fn read_context(node: &Node, reader: Reader<'_>) -> Context {
    let Some(mut fields) = reader.fields(node, "context") else { return Context::default() };
    let state = fields.get("state").and_then(|node| read_state(node, reader));
    let memory = fields.get("memory").and_then(|node| read_memory(node, reader));
    fields.done();
    Context { state, memory }
}

fn read_state(node: &Node, reader: Reader<'_>) -> Option<StateSource> {
    let mut fields = reader.fields(node, "state")?;
    let tokens_max = read_tokens(&mut fields);
    let listed = fields.need("values").map(|node| (node.place, reader.entries(node, "values")));
    fields.done();
    let (place, entries) = listed?;
    if entries.is_empty() || entries.len() > STATE_VALUES_MAX {
        let message = format!("`values` has {} values, not 1 to {STATE_VALUES_MAX}", entries.len());
        reader.wrong(place, message, "name those that the agent decides by");
    }
    let mut values = BTreeMap::new();
    for (key, node) in entries {
        if reader.check_name(&key.name, key.place, "the name of a value") {
            values.insert(key.name.clone(), node.to_value());
        }
    }
    Some(StateSource { values, tokens_max })
}

fn read_memory(node: &Node, reader: Reader<'_>) -> Option<MemorySource> {
    let mut fields = reader.fields(node, "memory")?;
    let tokens_max = read_tokens(&mut fields);
    let operation = fields.need_parse::<OperationId>("do");
    let with = read_with(&mut fields);
    fields.done();
    Some(MemorySource { operation: operation?, with, tokens_max })
}

fn read_tokens(fields: &mut Fields<'_, '_>) -> u32 {
    let reader = fields.reader;
    let given =
        fields.get("tokens").and_then(|node| reader.integer(node, "tokens", 1..=TOKENS_MAX));
    given.and_then(|tokens| u32::try_from(tokens).ok()).unwrap_or(TOKENS_USUAL)
}
