//! `mcp import`, `mcp diff`, `mcp accept`, `mcp login`: what a server of the Model Context Protocol offers as a file of a pack, and how
//! it differs later from what somebody accepted.
//!
//! A server is only looked at: its tools are listed in the sandbox, without a way out, and none is called.

pub mod clients;
mod draft;
mod edit;
pub mod first;
mod login;
pub mod profile;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use ::mcp::client::{Tool, suspect};
use connect::{
    Connectors, Departed, Host, Listen, McpSystem, Secrets, System, Systems, Traffic,
    mcp::{Listing, definition_digest},
    people::{People, Word},
};
use kernel::{
    exception::{Class, Landed},
    id::{OperationId, RunId, Tenant},
    port::{Failure, Task},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(in crate::app) use draft::held;
pub use login::{LoginAsks, ServerLogin, login};
use profile::Profile;

use super::{
    config::Config,
    host::{OneClock, SystemClock},
    imports::{ConnectorDraft, check_name},
    problem::{Kind, Problem},
    secrets, shelf,
    value::at,
};

/// Largest file of a connector that is looked for, in bytes.
const FILE_BYTES_MAX: u64 = pack::FILE_BYTES_MAX as u64;

/// What is imported.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Name of the connector and of its system.
    pub name: String,
    /// A program and its arguments, or one address; where neither is given, the declared system of that name.
    pub server: Vec<String>,
    /// Files and folders that the program may read.
    pub read: Vec<PathBuf>,
    /// The folder for the file.
    pub folder: PathBuf,
    /// What is known about the server; absent = nothing.
    pub profile: Option<Profile>,
    /// Whether its answers are to be passed on whole, to clients that could always send there what they send: as the
    /// proxy needs them.
    pub passed_on: bool,
    /// Whether its tools are called before anybody has read the draft: suspicious ones are kept back then.
    pub is_unread: bool,
}

/// How a server differs from what was accepted of it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ServerDifference {
    /// The connector.
    pub connector: String,
    /// Its file.
    pub file: String,
    /// Who the server says that it is.
    pub server: String,
    /// Whether every tool is what was accepted.
    pub same: bool,
    /// Each tool that is not, or that nobody has accepted.
    pub tools: Vec<ToolDifference>,
}

/// How one tool differs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ToolDifference {
    /// Its name at the server.
    pub tool: String,
    /// The operation that calls it; none where nobody has accepted it.
    pub operation: Option<String>,
    /// `changed`, `gone` or `new`.
    pub state: String,
    /// The digest that was accepted.
    pub accepted: Option<String>,
    /// The digest as it is now.
    pub now: Option<String>,
    /// What is different, each with before and after.
    pub changes: Vec<Change>,
    /// What to look at first.
    pub suspicious: Vec<String>,
    /// Whether it was taken just now.
    pub taken: bool,
}

/// One part of a definition that is different.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Which part.
    pub part: String,
    /// As it was accepted.
    pub before: String,
    /// As it is now.
    pub after: String,
}

/// Drafts a connector from what a server offers, and writes it; a file that is there is left as it is.
///
/// # Errors
/// A server that cannot be looked at or offers nothing, a name that is none, a file that is there.
pub async fn import(config: &Config, wanted: &Wanted) -> Result<ConnectorDraft, Problem> {
    check_name(&wanted.name)?;
    let system = system_of(config, wanted)?;
    let listing = look(config, &wanted.name, system.clone()).await?;
    let known = known_names(&config.packs, &wanted.name);
    let drafted = draft::draft(&listing, wanted, &system, &known)?;
    let path = wanted.folder.join(format!("{}.yaml", wanted.name));
    write_new(&path, &drafted.text)?;
    Ok(drafted.told(&path))
}

/// How a server differs now from what was accepted of it.
///
/// # Errors
/// A connector that is not there or cannot be read, a server that cannot be looked at.
pub async fn difference(
    config: &Config,
    name: &str,
    file: Option<&Path>,
) -> Result<ServerDifference, Problem> {
    let found = find(config, name, file)?;
    let listing = look_declared(config, &found.system).await?;
    Ok(found.against(&listing))
}

/// Takes the definitions of these tools as they are now, all changed ones where none is named: writes them into the
/// file, where somebody reads, packs and signs them as ever. What a tool does to the world stays as it was written.
///
/// # Errors
/// As [`difference`]; a tool that is not there, or a file that cannot be edited.
pub async fn accept(
    config: &Config,
    (name, file): (&str, Option<&Path>),
    tools: &BTreeSet<String>,
) -> Result<ServerDifference, Problem> {
    let found = find(config, name, file)?;
    let listing = look_declared(config, &found.system).await?;
    let mut difference = found.against(&listing);
    if let Some(stranger) =
        tools.iter().find(|tool| !difference.tools.iter().any(|one| one.tool == **tool))
    {
        let detail = format!("`{}` is no tool of `{name}` that differs", suspect::shown(stranger));
        return Err(Problem::new(Kind::NotFound, "no-such-difference", detail)
            .next(format!("`harness mcp diff {name}` lists what differs")));
    }
    let mut text = found.text.clone();
    for one in &mut difference.tools {
        let wanted =
            if tools.is_empty() { one.state == "changed" } else { tools.contains(&one.tool) };
        if !wanted {
            continue;
        }
        let tool = listing.tools.iter().find(|tool| tool.name == one.tool).ok_or_else(|| {
            let detail = format!("`{}` is gone: there is nothing to accept", one.tool);
            Problem::usage("tool-gone", detail)
                .next("take its operation out of the file, and out of what uses it")
        })?;
        text = edit::take(&text, one.operation.as_deref(), tool, &found.path)?;
        one.taken = true;
    }
    if difference.tools.iter().any(|one| one.taken) {
        replace(&found.path, &text)?;
    }
    Ok(difference)
}

/// A connector's file, and the parts of it that are asked for.
struct Found {
    name: String,
    path: PathBuf,
    text: String,
    whole: Value,
    system: String,
}

impl Found {
    fn against(&self, listing: &Listing) -> ServerDifference {
        let empty = serde_json::Map::new();
        let operations = at(&self.whole, "/operations").as_object().unwrap_or(&empty);
        let mut tools = Vec::new();
        let mut accepted = BTreeSet::new();
        for (name, operation) in operations {
            let Some(tool) = at(operation, "/request/tool").as_str() else { continue };
            accepted.insert(tool.to_owned());
            let mut now = listing.tools.iter().filter(|one| one.name == tool);
            tools.extend(compared(tool, name, operation, (now.next(), now.next())));
        }
        let new = listing.tools.iter().filter(|tool| !accepted.contains(&tool.name));
        tools.extend(new.map(|tool| ToolDifference {
            tool: tool.name.clone(),
            operation: None,
            state: "new".to_owned(),
            accepted: None,
            now: definition_digest(tool).ok().map(|digest| digest.to_string()),
            changes: Vec::new(),
            suspicious: suspect::texts(tool),
            taken: false,
        }));
        let same = tools.iter().all(|one| one.state == "new");
        let server = format!("{} {}", listing.server.name, listing.server.version);
        let (connector, file) = (self.name.clone(), self.path.display().to_string());
        ServerDifference { connector, file, server: suspect::shown(server.trim()), same, tools }
    }
}

/// How one accepted tool differs; nothing where it does not.
fn compared(
    tool: &str,
    name: &str,
    operation: &Value,
    now: (Option<&Tool>, Option<&Tool>),
) -> Option<ToolDifference> {
    let accepted = at(operation, "/request/definition").as_str().map(str::to_owned);
    let mut one = ToolDifference {
        tool: tool.to_owned(),
        operation: Some(name.to_owned()),
        state: "gone".to_owned(),
        accepted: accepted.clone(),
        now: None,
        changes: Vec::new(),
        suspicious: Vec::new(),
        taken: false,
    };
    let Some(current) = now.0 else { return Some(one) };
    one.now = definition_digest(current).ok().map(|digest| digest.to_string());
    if now.1.is_some() {
        one.suspicious.push("two tools have this name".to_owned());
    } else if one.now == accepted {
        return None;
    }
    "changed".clone_into(&mut one.state);
    one.suspicious.extend(suspect::texts(current));
    let described = draft::described(current);
    let was = at(operation, "/request/described");
    for part in ["title", "description", "hints"] {
        let pointer = format!("/{part}");
        one.changes.extend(change(part, at(was, &pointer), at(&described, &pointer)));
    }
    one.changes.extend(change("input", at(operation, "/input"), &draft::input(current)));
    let output = match *at(operation, "/request/answer") == "whole" {
        true => draft::whole_output(current),
        false => draft::output(current),
    };
    one.changes.extend(change("output", at(operation, "/output"), &output));
    Some(one)
}

fn change(part: &str, before: &Value, after: &Value) -> Option<Change> {
    let shown = |value: &Value| match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => super::value::visible(text),
        other => super::value::visible(&other.to_string()),
    };
    (before != after).then(|| Change {
        part: part.to_owned(),
        before: shown(before),
        after: shown(after),
    })
}

/// The system that is looked at: the declared one, or one made of what was given.
fn system_of(config: &Config, wanted: &Wanted) -> Result<McpSystem, Problem> {
    match wanted.server.as_slice() {
        [] => declared(config, &wanted.name),
        [url] if url.starts_with("http://") || url.starts_with("https://") => {
            Ok(McpSystem::at(url.clone()))
        }
        run => {
            let mut system = McpSystem::of_program(run.to_vec());
            let absolute = |path: &PathBuf| {
                std::path::absolute(path).map_err(|error| {
                    Problem::usage("no-such-path", error.to_string())
                        .at(path.display().to_string())
                        .next("name a file or folder that is there")
                })
            };
            let read = wanted.read.iter().map(absolute).collect::<Result<Vec<_>, _>>()?;
            system.profile.paths.read.extend(read);
            Ok(system)
        }
    }
}

fn declared(config: &Config, name: &str) -> Result<McpSystem, Problem> {
    match config.systems.get(name) {
        Some(System::Mcp(system)) => Ok((**system).clone()),
        Some(other) => {
            let detail = format!("[systems.{name}] is of kind {}, not mcp", other.kind());
            Err(Problem::usage("not-a-server", detail)
                .next("name the server: a program with its arguments, or an address"))
        }
        None => {
            let detail = format!("no server is named, and no [systems.{name}] is declared");
            Err(Problem::usage("no-server", detail)
                .next("name the server: a program with its arguments after `--`, or an address"))
        }
    }
}

async fn look_declared(config: &Config, system: &str) -> Result<Listing, Problem> {
    look(config, system, declared(config, system)?).await
}

/// Starts the server in its sandbox, or connects to it, and lists its tools.
async fn look(config: &Config, name: &str, system: McpSystem) -> Result<Listing, Problem> {
    let next = match &system.url {
        Some(_) => "see that it runs at that address, and that this machine reaches it",
        None => {
            "start it by hand and see what it says; what its program needs to read stands under `profile.paths.read`, and there is no network here"
        }
    };
    let connectors = registry(config, name, System::Mcp(Box::new(system)))?;
    connectors.look(name).await.map_err(|failure| {
        if failure.class == Class::Permission {
            return Problem::usage("server-refuses", failure.message)
                .at(format!("[systems.{name}]"))
                .next("see to what it is shown: a secret under `headers`, or `oauth` and a login");
        }
        Problem::new(Kind::TryAgain, "server-not-heard", failure.message)
            .at(format!("[systems.{name}]"))
            .next(next)
    })
}

/// A registry with this one system, for somebody who is no run.
pub(in crate::app) fn registry(
    config: &Config,
    name: &str,
    system: System,
) -> Result<Connectors, Problem> {
    let invalid = |error: connect::Error| {
        Problem::usage("connector-invalid", error.to_string())
            .next(format!("correct what was given, or [systems.{name}] in harness.toml"))
    };
    let references = config.secrets.iter().map(|(name, reference)| (&**name, &**reference));
    let known = Secrets::parse(references).map_err(invalid)?.kept_in(secrets::safe(config)?);
    let host = Host {
        clock: Arc::new(OneClock(Arc::new(SystemClock))),
        validate: Arc::new(pack::Schemas::new()),
        blobs: None,
        circuit: config.circuit,
        traffic: Arc::new(Nobody),
        listen: Arc::new(Nobody),
        kept: None,
        people: Arc::new(Nobody),
    };
    let systems = Systems::from([(name.to_owned(), system)]);
    Connectors::new(systems, known, host).map_err(invalid)
}

/// Names of operations that other connectors have, and of systems: what a tool may be taken for.
fn known_names(packs: &[PathBuf], own: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for folder in packs {
        // A pack that does not load is told where it is used.
        let loaded = shelf::read_folder(folder).ok().and_then(|files| pack::Pack::load(files).ok());
        let connectors = loaded.iter().flat_map(|loaded| loaded.pack.connectors.values());
        for connector in connectors.filter(|connector| connector.name != own) {
            let ids = connector.operations.iter().map(|operation| operation.id.as_str());
            names.extend(ids.filter_map(|id| Some(id.split_once('.')?.1.to_owned())));
        }
    }
    names
}

/// The file of a connector: the one that is named, or the one of that name in a configured pack.
fn find(config: &Config, name: &str, file: Option<&Path>) -> Result<Found, Problem> {
    let candidates: Vec<PathBuf> = match file {
        Some(file) => vec![file.to_owned()],
        None => config.packs.iter().flat_map(|pack| files_of(&pack.join("connectors"))).collect(),
    };
    for path in candidates {
        let Ok(text) = read(&path) else { continue };
        let Ok(whole) = pack::yaml_value(&path.display().to_string(), text.as_bytes()) else {
            continue;
        };
        if *at(&whole, "/kind") == "mcp" && *at(&whole, "/name") == name {
            let system = at(&whole, "/system").as_str().unwrap_or(name).to_owned();
            return Ok(Found { name: name.to_owned(), path, text, whole, system });
        }
    }
    let detail = format!("no connector `{name}` of kind mcp is in a configured pack");
    Err(Problem::new(Kind::NotFound, "no-such-connector", detail)
        .next("name its file with --file, or its pack under `packs` in harness.toml"))
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let yaml = |path: &PathBuf| path.extension().is_some_and(|end| end == "yaml");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(yaml).collect();
    files.sort();
    files
}

fn read(path: &Path) -> std::io::Result<String> {
    if fs::metadata(path)?.len() > FILE_BYTES_MAX {
        return Err(std::io::Error::other("it is larger than a file of a pack may be"));
    }
    fs::read_to_string(path)
}

fn write_new(path: &Path, text: &str) -> Result<(), Problem> {
    let written = File::create_new(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| {
        let shown = path.display().to_string();
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            return Problem::new(Kind::Conflict, "file-there", "a file of this name is there")
                .at(shown)
                .next("move it away, or import under another --name or --to; `harness mcp diff` compares");
        }
        Problem::usage("not-written", format!("it cannot be written: {error}"))
            .at(shown)
            .next("check that the folder is there and that this user may write in it")
    })
}

/// The whole file, or the one that was there.
fn replace(path: &Path, text: &str) -> Result<(), Problem> {
    let beside = path.with_extension("yaml.new");
    let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, path));
    written.map_err(|error| {
        Problem::usage("not-written", format!("it cannot be written: {error}"))
            .at(path.display().to_string())
            .next("check that this user may write in its folder")
    })
}

/// Who hears of what a server that is only looked at does: nobody, for it does nothing that is anybody's.
#[derive(Debug)]
struct Nobody;

impl Traffic for Nobody {
    fn saw(&self, _call: (&RunId, &OperationId), _event: &Departed) {}
}

impl Listen for Nobody {
    fn wrote(&self, _call: (&Tenant, &RunId, &OperationId), _text: &str) {}
}

impl People for Nobody {
    fn tell<'a>(&'a self, _word: Word<'a>) -> Task<'a, Result<Vec<String>, Failure>> {
        let nobody = Failure {
            class: Class::Unavailable,
            landed: Landed::No,
            message: "nobody is told anything here".to_owned(),
            retry_after_ms: None,
            sample: None,
        };
        Box::pin(std::future::ready(Err(nobody)))
    }
}
