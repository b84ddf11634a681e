//! A definition that was accepted, put into a connector's file: what else stands there stays as it was written.

use std::{ops::Range, path::Path};

use ::mcp::client::{Tool, suspect};
use connect::mcp::definition_digest;
use openapi::{
    name::{name_of, take_free},
    write::{self, Node},
};

use super::draft;
use crate::app::{problem::Problem, value::at};

/// How far operations stand to the right, and their keys.
const OPERATION: usize = 2;
const KEY: usize = 4;

/// How an operation says that its answers are passed on as they come.
const WHOLE: &str = "answer: whole";

/// The text with this tool as it is now, under its operation, or as a new one that nobody has classified.
///
/// # Errors
/// A file that is not written in blocks, as drafts are.
pub(super) fn take(
    text: &str,
    operation: Option<&str>,
    tool: &Tool,
    path: &Path,
) -> Result<String, Problem> {
    let by_hand = |why: &str| {
        let digest = definition_digest(tool).map(|digest| digest.to_string()).unwrap_or_default();
        Problem::usage("not-edited", format!("{why}; nothing was written"))
            .at(path.display().to_string())
            .next(format!(
                "write it yourself: `definition: {digest}` under the `request` of `{}`",
                suspect::shown(&tool.name)
            ))
    };
    let edited = match operation {
        Some(name) => changed(text, name, tool),
        None => added(text, tool),
    };
    let edited =
        edited.ok_or_else(|| by_hand("the file is not written in blocks, as drafts are"))?;
    // What was written has to read back as what was meant.
    let whole = pack::yaml_value(&path.display().to_string(), edited.as_bytes());
    let whole = whole.map_err(|_| by_hand("what would be written cannot be read back"))?;
    let operations = at(&whole, "/operations").as_object().into_iter().flatten();
    let digest = definition_digest(tool).map_err(|error| by_hand(&error))?.to_string();
    let mut calls = operations.map(|(_, operation)| at(operation, "/request"));
    match calls
        .any(|request| *at(request, "/tool") == tool.name && *at(request, "/definition") == digest)
    {
        true => Ok(edited),
        false => Err(by_hand("what would be written says something else")),
    }
}

/// The operation with other schemas and another pin.
fn changed(text: &str, name: &str, tool: &Tool) -> Option<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    // An answer that is passed on as it comes stays one.
    let is_whole = lines.get(block_of(&lines, name)?)?.iter().any(|line| line.trim() == WHOLE);
    let output = if is_whole { draft::whole_output(tool) } else { draft::output(tool) };
    let blocks = [("input", Node::schema(&draft::input(tool))), ("output", Node::schema(&output))];
    for (key, node) in blocks {
        let own = block_of(&lines, name)?;
        let place = key_of(&lines, own, key, KEY)?;
        lines.splice(place, written(key, node, KEY));
    }
    // Of the request only what pins it: what somebody wrote beside that stays.
    let Node::Map(entries) = draft::request(tool).ok()? else { return None };
    for (key, node) in entries {
        if !matches!(key.as_str(), "definition" | "described") {
            continue;
        }
        let own = block_of(&lines, name)?;
        let request = key_of(&lines, own, "request", KEY)?;
        let place = key_of(&lines, request.clone(), &key, KEY + 2);
        let place = place.unwrap_or(request.end..request.end);
        lines.splice(place, written(&key, node, KEY + 2));
    }
    Some(format!("{}\n", lines.join("\n")))
}

/// The file with one operation more, at its end.
fn added(text: &str, tool: &Tool) -> Option<String> {
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let at = lines.iter().position(|line| line.trim_end() == "operations:")?;
    // Anything behind the operations would come to stand between them.
    let behind = lines.get(at + 1..)?.iter();
    if behind.clone().any(|line| !line.is_empty() && !line.starts_with([' ', '#'])) {
        return None;
    }
    let mut taken = behind
        .filter(|line| indent(line) == OPERATION)
        .filter_map(|line| line.trim().strip_suffix(':').map(str::to_owned))
        .collect();
    let own = take_free(&name_of(&tool.name), &mut taken);
    let is_whole = lines.iter().any(|line| line.trim() == WHOLE);
    let node = draft::operation_as(tool, (None, is_whole)).ok()?;
    let block = write::block(&[(own, node)], OPERATION);
    Some(format!("{}\n{block}", lines.join("\n").trim_end()))
}

fn written(key: &str, node: Node, indent: usize) -> Vec<String> {
    let block = write::block(&[(key.to_owned(), node)], indent);
    block.lines().map(str::to_owned).collect()
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// The lines of an operation.
fn block_of(lines: &[String], name: &str) -> Option<Range<usize>> {
    let at = lines.iter().position(|line| line.trim_end() == "operations:")?;
    key_of(lines, at..lines.len(), name, OPERATION)
}

/// The lines of a key inside of these, so far to the right.
fn key_of(lines: &[String], within: Range<usize>, key: &str, right: usize) -> Option<Range<usize>> {
    let is_key = |line: &String| {
        let own = line
            .trim_start()
            .strip_prefix(key)
            .or_else(|| line.trim_start().strip_prefix(&format!("\"{key}\"")));
        indent(line) == right && own.is_some_and(|rest| rest.starts_with(':'))
    };
    let mut inside = within.clone().skip(1);
    let from = inside.find(|index| lines.get(*index).is_some_and(is_key))?;
    let goes_on = |line: &String| line.trim().is_empty() || indent(line) > right;
    let rest = (from + 1..within.end).take_while(|index| lines.get(*index).is_some_and(goes_on));
    let to = rest.last().map_or(from + 1, |last| last + 1);
    Some(from..to)
}
