//! What a client of the proxy should keep its hands off, as far as its own configuration can say so: servers that it has
//! beside the proxy although they stand behind it, what decides about it, and tools that change something.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use connect::System;
use kernel::operation::Effect;
use serde_json::Value;

use crate::app::{
    config::{Config, OwnPlace, mcp::Servers, own_places},
    shelf,
    tools::proxy::WAIT,
    value::at,
};

/// What stands behind the proxy, and what must not stand beside it.
#[derive(Clone, Debug, Default)]
pub struct Guarded {
    /// Tools that somebody classified as reads, by the names that the proxy gives them.
    pub reads: BTreeSet<String>,
    /// All others that are passed on.
    pub writes: BTreeSet<String>,
    /// What decides about the client.
    pub own: Vec<OwnPlace>,
    servers: Vec<Server>,
}

#[derive(Clone, Debug)]
struct Server {
    name: String,
    url: Option<String>,
    run: Vec<String>,
}

impl Guarded {
    /// As the configuration has it: its own packs are read, those that were installed are not.
    #[must_use]
    pub fn of(config: &Config, only: &[String]) -> Self {
        let meant = Servers::of(only).or(config.mcp.proxy.clone()).unwrap_or(Servers::All);
        let mut tools: Vec<(String, String, Effect)> = Vec::new();
        let mut behind = BTreeSet::new();
        for folder in &config.packs {
            // A pack that does not load is told where it is used.
            let loaded =
                shelf::read_folder(folder).ok().and_then(|files| pack::Pack::load(files).ok());
            let connectors = loaded.iter().flat_map(|loaded| loaded.pack.connectors.values());
            for connector in connectors.filter(|connector| meant.has(&connector.name)) {
                let named = connector.operations.iter().filter_map(|operation| {
                    let tool = tool_of(&operation.binding)?;
                    Some((connector.name.clone(), tool, operation.facts.effect))
                });
                let before = tools.len();
                tools.extend(named);
                if tools.len() > before {
                    behind.extend(connector.system.clone());
                }
            }
        }
        let servers = config.systems.iter().filter_map(|(name, system)| match system {
            System::Mcp(system) if behind.contains(name) => {
                let (url, run) = (system.url.clone(), system.run.clone());
                Some(Server { name: name.clone(), url, run })
            }
            _ => None,
        });
        let servers = servers.collect();
        let (reads, writes) = by_name(tools);
        Self { reads, writes, own: own_places(config), servers }
    }

    /// The server behind the proxy that an entry of a client's configuration reaches directly, if it is one.
    #[must_use]
    pub fn reached_by(&self, name: &str, entry: &Value) -> Option<&str> {
        let url = at(entry, "/url").as_str().map(plain);
        let program = at(entry, "/command").as_str();
        let words = at(entry, "/args").as_array().into_iter().flatten().filter_map(Value::as_str);
        let words: Vec<&str> = program.into_iter().chain(words).collect();
        let is_same = |server: &&Server| {
            let same_url = url.is_some() && url == server.url.as_deref().map(plain);
            server.name == name || same_url || same_program(&words, &server.run)
        };
        self.servers.iter().find(is_same).map(|server| server.name.as_str())
    }
}

fn tool_of(binding: &Value) -> Option<String> {
    let is_call = at(binding, "/do").as_str().is_none_or(|errand| errand == "call");
    let is_tool = *at(binding, "/kind") == "mcp" && is_call;
    is_tool.then(|| at(binding, "/tool").as_str().map(str::to_owned)).flatten()
}

/// Tools by the names that the proxy gives them: a name that two servers have is told with its server.
fn by_name(tools: Vec<(String, String, Effect)>) -> (BTreeSet<String>, BTreeSet<String>) {
    let mut times: BTreeMap<&str, u32> = BTreeMap::from([(WAIT, 1)]);
    for (_, tool, _) in &tools {
        *times.entry(tool.as_str()).or_default() += 1;
    }
    let twice: BTreeSet<String> =
        times.iter().filter(|(_, n)| **n > 1).map(|(name, _)| (*name).to_owned()).collect();
    let (mut reads, mut writes) = (BTreeSet::new(), BTreeSet::new());
    for (connector, tool, effect) in tools {
        let name = if twice.contains(&tool) { format!("{connector}__{tool}") } else { tool };
        match effect {
            Effect::Read => reads.insert(name),
            Effect::Write => writes.insert(name),
        };
    }
    (reads, writes)
}

fn plain(url: &str) -> String {
    url.trim_end_matches('/').to_ascii_lowercase()
}

/// Whether two command lines start the same: one may name the program by its path. What stands between a runner such as
/// `npx` and the server is the runner's.
fn same_program(words: &[&str], run: &[String]) -> bool {
    let name =
        |word: &str| Path::new(word).file_name().map(|name| name.to_string_lossy().into_owned());
    let (Some(program), Some(first)) = (words.first(), run.first()) else { return false };
    let rest = |from: usize| words.iter().skip(from).copied();
    let own = || run.iter().skip(1).map(String::as_str);
    (name(program) == name(first) && rest(1).eq(own()))
        || rest(1).zip(2..).any(|(word, after)| name(word) == name(first) && rest(after).eq(own()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn behind() -> Guarded {
        let server = |name: &str, url: Option<&str>, run: &[&str]| Server {
            name: name.to_owned(),
            url: url.map(str::to_owned),
            run: run.iter().map(|word| (*word).to_owned()).collect(),
        };
        let servers = vec![
            server("notes", Some("https://notes.example/mcp"), &[]),
            server("files", None, &["/opt/bin/mcp-server-filesystem", "/srv"]),
        ];
        Guarded { servers, ..Guarded::default() }
    }

    /// A server is known again by its address, its program or its name, however a client writes it.
    #[test]
    fn a_server_that_stands_behind_the_proxy_is_known_again_beside_it() {
        let behind = behind();
        for (name, entry, found) in [
            ("a", json!({"url": "https://Notes.example/mcp/"}), Some("notes")),
            ("a", json!({"url": "https://notes.example/other"}), None),
            ("notes", json!({"command": "x"}), Some("notes")),
            ("a", json!({"command": "mcp-server-filesystem", "args": ["/srv"]}), Some("files")),
            (
                "a",
                json!({"command": "npx", "args": ["-y", "mcp-server-filesystem", "/srv"]}),
                Some("files"),
            ),
            ("a", json!({"command": "/usr/bin/mcp-server-filesystem", "args": ["/other"]}), None),
            ("a", json!({"command": "npx", "args": ["-y", "other", "/srv"]}), None),
            ("a", json!({}), None),
        ] {
            assert_eq!(behind.reached_by(name, &entry), found, "{entry}");
        }
    }

    #[test]
    fn tools_have_the_names_that_the_proxy_gives_them() {
        let tool =
            |connector: &str, tool: &str, effect| (connector.to_owned(), tool.to_owned(), effect);
        let (reads, writes) = by_name(vec![
            tool("notes", "search", Effect::Read),
            tool("files", "search", Effect::Read),
            tool("files", "write", Effect::Write),
            tool("files", WAIT, Effect::Read),
        ]);
        let names = |all: &BTreeSet<String>| all.iter().cloned().collect::<Vec<_>>();
        assert_eq!(names(&reads), ["files__harness_wait", "files__search", "notes__search"]);
        assert_eq!(names(&writes), ["write"]);
    }
}
