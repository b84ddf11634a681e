//! What is known about public servers: what each of their tools does to the world, and what takes it back. Somebody read
//! them; a tool that takes other arguments than it did then is another one, and stays unclassified.

use std::collections::{BTreeMap, BTreeSet};

use ::mcp::client::Tool;
use openapi::write::Node;
use serde_json::{Map, Value};

use crate::app::{problem::Problem, value::at};

/// The files, by name.
const FILES: [(&str, &str); 6] = [
    ("filesystem", include_str!("profiles/filesystem.yaml")),
    ("git", include_str!("profiles/git.yaml")),
    ("memory", include_str!("profiles/memory.yaml")),
    ("sqlite", include_str!("profiles/sqlite.yaml")),
    ("time", include_str!("profiles/time.yaml")),
    ("fetch", include_str!("profiles/fetch.yaml")),
];

/// What stands for the connector's name in a file.
const SERVER: &str = "SERVER.";

/// What is known about one server.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    name: &'static str,
    whole: Value,
}

impl Profile {
    /// The profile of a name.
    ///
    /// # Errors
    /// That there is none, with those there are.
    pub fn named(name: &str) -> Result<Self, Problem> {
        Self::all().find(|profile| profile.name == name).ok_or_else(|| {
            let names: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
            Problem::usage("no-such-profile", format!("there is no profile `{name}`")).next(
                format!("there are {}; without one, classify the draft yourself", names.join(", ")),
            )
        })
    }

    /// The profile of the server that these words start: by the words of whoever starts it, never by what the server says
    /// about itself.
    pub(super) fn by_words(words: &[String]) -> Option<Self> {
        let parts: BTreeSet<&str> =
            words.iter().flat_map(|word| word.split(['/', '@', '=', ':'])).collect();
        Self::all().find(|profile| {
            let own = at(&profile.whole, "/words").as_array().into_iter().flatten();
            own.filter_map(Value::as_str).any(|word| parts.contains(word))
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    fn all() -> impl Iterator<Item = Self> {
        FILES.iter().filter_map(|(name, text)| {
            let whole = pack::yaml_value(name, text.as_bytes()).ok()?;
            Some(Self { name, whole })
        })
    }

    /// What is known of a tool, as entries of its operation and of its request; nothing where it is not the tool that was
    /// read, or lacks another one that takes it back.
    pub(super) fn of(&self, tool: &Tool, connector: &str, all: &[Tool]) -> Option<Known> {
        let told = self.whole.get("tools")?.get(&tool.name)?.as_object()?;
        let takes: BTreeSet<&str> = texts(told.get("takes")).collect();
        let has = at(&tool.input, "/properties").as_object();
        if has.into_iter().flat_map(Map::keys).any(|name| !takes.contains(name.as_str())) {
            return None;
        }
        let there = |name: &str| all.iter().any(|other| other.name == name);
        if !texts(told.get("needs")).all(there) {
            return None;
        }
        let mut known = Known::default();
        for (key, value) in told {
            match key.as_str() {
                "takes" | "needs" => {}
                "landed_on_error" => known.request.push((key.clone(), Node::schema(value))),
                _ => {
                    let value = renamed(value, connector);
                    known.is_egress |= key == "egress";
                    known.operation.insert(key.clone(), Node::schema(&value));
                }
            }
        }
        Some(known)
    }
}

/// What is known of a tool.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Entries of its operation.
    pub(super) operation: BTreeMap<String, Node>,
    /// Entries of its request.
    pub(super) request: Vec<(String, Node)>,
    /// Whether something leaves to a place that nobody declared.
    pub(super) is_egress: bool,
}

fn texts(value: Option<&Value>) -> impl Iterator<Item = &str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// With the connector's name where the file leaves room for it.
fn renamed(value: &Value, connector: &str) -> Value {
    match value {
        Value::String(text) => match text.strip_prefix(SERVER) {
            Some(operation) => Value::String(format!("{connector}.{operation}")),
            None => value.clone(),
        },
        Value::Array(items) => items.iter().map(|item| renamed(item, connector)).collect(),
        Value::Object(map) => {
            map.iter().map(|(key, inner)| (key.clone(), renamed(inner, connector))).collect()
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tool(name: &str, takes: &[&str]) -> Tool {
        let properties: Map<String, Value> =
            takes.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
        let input = json!({"type": "object", "properties": properties});
        Tool { name: name.into(), title: None, description: None, input, output: None, hints: None }
    }

    /// Every file reads, and none knows a tool as a read that another one is needed to take back.
    #[test]
    fn every_profile_is_sound() {
        assert_eq!(Profile::all().count(), FILES.len());
        for profile in Profile::all() {
            let tools = profile.whole["tools"].as_object().unwrap();
            for (name, told) in tools {
                assert!(told["takes"].is_array(), "{name} says what it takes");
                assert!(told["effect"] != "read" || told.get("undo").is_none(), "{name}");
                for needed in texts(told.get("needs")) {
                    assert!(tools.contains_key(needed), "{name} needs {needed}");
                }
            }
        }
    }

    /// C134: a server is known by how it was started, not by its own word; a tool that takes something else than what was
    /// read is another one, and one whose way back is missing is not classified.
    #[test]
    fn a_tool_that_is_another_one_stays_unclassified() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let started =
            "node /x/node_modules/@modelcontextprotocol/server-filesystem/dist/index.js /srv";
        let profile = Profile::by_words(&words(started)).unwrap();
        assert_eq!(profile.name(), "filesystem");
        assert_eq!(Profile::by_words(&words("node /x/my-server-filesystem-fork.js")), None);
        let reads = tool("read_text_file", &["path", "head"]);
        let writes = tool("write_file", &["path", "content"]);
        let both = [reads.clone(), writes.clone()];
        let known = profile.of(&reads, "fs", &both).unwrap();
        assert_eq!(known.operation["effect"], Node::text("read"));
        let known = profile.of(&writes, "fs", &both).unwrap();
        assert!(format!("{known:?}").contains("fs.read_text_file"));
        assert!(profile.of(&writes, "fs", &both[1..]).is_none(), "nothing to look with");
        let other = tool("read_text_file", &["path", "then_run"]);
        assert!(profile.of(&other, "fs", &both).is_none(), "it takes something else");
        assert!(profile.of(&tool("remove", &[]), "fs", &both).is_none(), "nobody read it");
    }
}
