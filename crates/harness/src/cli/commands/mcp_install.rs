//! `harness mcp install`: a client of MCP is led to the proxy by a few lines of its own configuration, shown before they
//! are written, and taken out again with `--undo`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args as ClapArgs, ValueEnum};
use serde_json::{Map, Value, json};

use super::{
    Outcome,
    hook::install::{difference, read},
    mcp_rules::{self, About},
};
use crate::{
    app::{
        problem::{Kind, Problem},
        servers::clients::Guarded,
    },
    cli::{
        Context,
        client::{self, Client},
        screen::{write_err, write_out},
    },
};

/// What our entry is called in a client's configuration.
pub(super) const NAME: &str = "harness";

/// What our lines stand between in a configuration that is no JSON.
const BEGIN: &str = "# begin: written by `harness mcp install`";
const END: &str = "# end: written by `harness mcp install`";

/// What switches off a server that stands behind the proxy, in such a configuration.
const OFF: &str = "enabled = false # written by `harness mcp install`";

/// Clients whose configuration is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Whose {
    /// `.mcp.json` of the project
    ClaudeCode,
    /// `~/.codex/config.toml`
    Codex,
    /// `.cursor/mcp.json` of the project
    Cursor,
    /// `.vscode/mcp.json` of the project
    Vscode,
}

impl Whose {
    fn word(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::Codex => "codex",
            Self::Cursor => "cursor",
            Self::Vscode => "vscode",
        }
    }

    fn file(self) -> PathBuf {
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        match self {
            Self::ClaudeCode => ".mcp.json".into(),
            Self::Codex => home.join(".codex/config.toml"),
            Self::Cursor => ".cursor/mcp.json".into(),
            Self::Vscode => ".vscode/mcp.json".into(),
        }
    }

    /// Where servers stand in it.
    fn key(self) -> &'static str {
        match self {
            Self::ClaudeCode | Self::Cursor => "mcpServers",
            Self::Vscode => "servers",
            Self::Codex => "mcp_servers",
        }
    }

    /// The variable that its token is read from: it stands in no file.
    fn variable(self) -> String {
        format!("HARNESS_TOKEN_{}", self.word().replace('-', "_").to_uppercase())
    }

    /// How its configuration names that variable.
    fn reference(self) -> String {
        match self {
            Self::ClaudeCode => format!("${{{}}}", self.variable()),
            _ => format!("${{env:{}}}", self.variable()),
        }
    }
}

/// Options.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Which client
    client: Whose,
    /// Its file [default: that of the project, below the working folder; Codex has one for all]
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// The file of its rules [default: .claude/settings.json, .cursor/cli.json or .vscode/settings.json of the project; Codex
    /// has none of its own]
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// Where the proxy serves already, such as http://127.0.0.1:7411/mcp/proxy: a token of its own is made for the client,
    /// which may propose and nothing else. Otherwise the client starts the proxy
    #[arg(long, value_name = "URL")]
    at: Option<String>,
    /// Connectors that are passed on; may be given several times. Otherwise those of `mcp.proxy`, else all
    #[arg(long = "only", value_name = "NAME", conflicts_with = "at")]
    only: Vec<String>,
    /// Take the lines out again, and end the token that was made
    #[arg(long, conflicts_with_all = ["at", "only"])]
    undo: bool,
    /// Write it
    #[arg(long)]
    yes: bool,
}

impl Args {
    /// Shows the difference, and writes it where that was said.
    ///
    /// # Errors
    /// When the configuration cannot be read, is not what it should be, or cannot be written.
    pub(super) fn outcome(self, context: &Context) -> Result<Outcome, Problem> {
        let context = context.clone();
        Ok(Outcome::Async(Box::pin(async move { self.run(&context).await })))
    }

    async fn run(self, context: &Context) -> Result<u8, Problem> {
        let (changes, open) = self.changes(context)?;
        let failed = |e: std::io::Error| Problem::new(Kind::Unexpected, "output", e.to_string());
        for change in &changes {
            write_out(change.shown().as_bytes()).map_err(failed)?;
        }
        if !self.undo {
            stays_open(self.client, &open);
        }
        if !self.yes {
            write_err("nothing was written; the same with --yes writes it");
            return Ok(0);
        }
        // A token that cannot be made leaves the configuration as it is.
        let token = match self.at.is_some() {
            true => Some(make_token(self.client, context).await?),
            false => None,
        };
        mcp_rules::write_all(&changes)?;
        if self.undo {
            let ended = end_tokens(self.client, context).await?;
            write_err(&format!("taken out; {ended} of its tokens ended"));
        } else if let Some(token) = token {
            let told = format!("export {}={token}\n", self.client.variable());
            write_out(told.as_bytes()).map_err(failed)?;
            write_err(
                "written; the client reads its token from that variable, and nobody can show it again",
            );
        } else {
            write_err("written; the same with --undo takes it out again");
        }
        Ok(0)
    }

    /// What would be different, and which servers the client reaches directly all the same.
    fn changes(&self, context: &Context) -> Result<(Vec<Change>, Vec<String>), Problem> {
        let path = self.settings.clone().unwrap_or_else(|| self.client.file());
        let rules =
            mcp_rules::file_of(self.client).map(|usual| self.rules.clone().unwrap_or(usual));
        let entry = if self.undo { None } else { Some(self.entry(context)?) };
        // A proxy elsewhere has its configuration elsewhere: of what stands behind it nothing is known here.
        let config =
            client::load_here(&context.overrides, "what stands behind the proxy is read here");
        let guarded = config.map(|config| Guarded::of(&config, &self.only)).unwrap_or_default();
        let (change, others) = match self.client {
            Whose::Codex => in_toml(&path, entry.as_ref().map(|entry| (entry, &guarded)))?,
            _ => in_json(&path, self.client.key(), entry)?,
        };
        let reaches = |(name, entry): &(String, Value)| guarded.reached_by(name, entry).is_some();
        let (direct, open): (Others, Others) = others.into_iter().partition(reaches);
        let names = |all: Others| all.into_iter().map(|(name, _)| name).collect::<Vec<String>>();
        let (direct, mut open) = (names(direct), names(open));
        if self.client == Whose::Codex {
            open.extend(direct.iter().filter(|name| is_on(&change.after, name)).cloned());
        } else if !mcp_rules::can_deny_servers(self.client) {
            open.extend(
                direct.iter().map(|name| format!("{name} (which stands behind the proxy)")),
            );
        }
        let mut changes = vec![change];
        if let Some(rules) = rules {
            changes.extend(self.in_rules((&path, &rules), (&guarded, &direct))?);
        }
        Ok((changes, open))
    }

    fn in_rules(
        &self,
        (path, rules): (&Path, &Path),
        (guarded, direct): (&Guarded, &[String]),
    ) -> Result<[Change; 2], Problem> {
        if self.undo {
            return mcp_rules::taken_out(rules);
        }
        let program = program()?;
        let about =
            About { client: self.client, guarded, direct, files: [path, rules], program: &program };
        mcp_rules::added(rules, &about)
    }

    /// What stands in the configuration for us.
    fn entry(&self, context: &Context) -> Result<Value, Problem> {
        if let Some(url) = &self.at {
            if !url.starts_with("http://") && !url.starts_with("https://") {
                return Err(Problem::usage("no-address", format!("`{url}` is no address"))
                    .next("name it as http://127.0.0.1:7411/mcp/proxy"));
            }
            let bearer = format!("Bearer {}", self.client.reference());
            return Ok(match self.client {
                Whose::Codex => {
                    json!({ "url": url, "bearer_token_env_var": self.client.variable() })
                }
                Whose::Cursor => json!({ "url": url, "headers": { "Authorization": bearer } }),
                Whose::ClaudeCode | Whose::Vscode => {
                    json!({ "type": "http", "url": url, "headers": { "Authorization": bearer } })
                }
            });
        }
        let program = program()?;
        let config = client::load_here(&context.overrides, "the client starts the proxy here")?;
        let file = config.file.ok_or_else(|| {
            Problem::usage("no-config", "there is no harness.toml here")
                .next("name the one whose policies decide with --config")
        })?;
        // Found once and for all: a file nearer to where an agent works must not be another judge.
        let file = fs::canonicalize(&file).unwrap_or_else(|_| file.into());
        let mut args =
            vec!["--quiet".to_owned(), "--config".to_owned(), file.display().to_string()];
        args.extend(["mcp".to_owned(), "proxy".to_owned()]);
        args.extend(self.only.iter().flat_map(|name| ["--only".to_owned(), name.clone()]));
        let mut entry = json!({ "command": program, "args": args });
        if let (Whose::Vscode, Some(map)) = (self.client, entry.as_object_mut()) {
            map.insert("type".to_owned(), json!("stdio"));
        }
        Ok(entry)
    }
}

/// A file before and after.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) path: PathBuf,
    pub(super) before: String,
    pub(super) after: String,
}

impl Change {
    fn shown(&self) -> String {
        let path = self.path.display();
        let difference = difference(&self.before, &self.after);
        match difference.is_empty() {
            true if self.before.is_empty() && self.after.is_empty() => String::new(),
            // What stands in it was shown where it is added.
            _ if mcp_rules::is_note(&self.path) => {
                format!("{path}: what of it is ours, for --undo\n")
            }
            true => format!("{path}: nothing to change\n"),
            false => format!("{path}\n{difference}"),
        }
    }
}

/// Where this program is.
fn program() -> Result<String, Problem> {
    let program = std::env::current_exe().map_err(|error| {
        Problem::new(Kind::Unexpected, "no-program", format!("where is this program? {error}"))
    })?;
    Ok(program.display().to_string())
}

/// What this leaves as it is, so that nobody takes it for more than it is.
fn stays_open(client: Whose, others: &[String]) {
    write_err("what stays open:");
    if !others.is_empty() {
        write_err(&format!(
            "  servers that this client still reaches directly: {}",
            others.join(", ")
        ));
    }
    write_err(
        "  the client's own tools (its shell, its editor) do not come this way: `harness hook install` judges those",
    );
    write_err(
        "  a program that the client may start reaches a server by itself, with whatever secrets lie beside it",
    );
    for limit in mcp_rules::not_said(client) {
        write_err(&format!("  {limit}"));
    }
    write_err("where the proxy does not run, the client has none of its tools: that fails closed");
    if client == Whose::ClaudeCode {
        write_err("Claude Code asks once whether to trust servers of a project's .mcp.json");
    }
}

/// Servers of a client that are not ours, as they stand in its configuration.
type Others = Vec<(String, Value)>;

/// A configuration in JSON: what would be different, and the other servers in it.
fn in_json(path: &Path, key: &str, entry: Option<Value>) -> Result<(Change, Others), Problem> {
    let (before, mut settings) = read(path)?;
    let mut others = Vec::new();
    if let Some(map) = settings.as_object_mut() {
        let servers = map.entry(key).or_insert_with(|| json!({}));
        let servers = servers.as_object_mut().ok_or_else(|| {
            Problem::usage(
                "settings-unreadable",
                format!("{}: `{key}` is no object", path.display()),
            )
            .next("correct the file, or name another with --settings")
        })?;
        check_ours(path, servers.get(NAME))?;
        match entry {
            Some(entry) => drop(servers.insert(NAME.to_owned(), entry)),
            None => drop(servers.remove(NAME)),
        }
        let rest = servers.iter().filter(|(name, _)| *name != NAME);
        others.extend(rest.map(|(name, entry)| (name.clone(), entry.clone())));
        if servers.is_empty() {
            map.remove(key);
        }
    }
    let is_empty = settings.as_object().is_some_and(Map::is_empty);
    let after = match is_empty {
        true => String::new(),
        false => serde_json::to_string_pretty(&settings).unwrap_or_default() + "\n",
    };
    Ok((Change { path: path.to_owned(), before, after }, others))
}

/// That what stands under our name is ours: an entry of somebody else's is not written over.
fn check_ours(path: &Path, entry: Option<&Value>) -> Result<(), Problem> {
    let Some(entry) = entry else { return Ok(()) };
    let words = entry["args"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let starts = words.collect::<Vec<_>>().windows(2).any(|pair| pair == ["mcp", "proxy"]);
    let asks = entry.to_string().contains("HARNESS_TOKEN_");
    if starts || asks {
        return Ok(());
    }
    let detail = format!("{}: `{NAME}` is there already, and is not from here", path.display());
    Err(Problem::new(Kind::Conflict, "entry-there", detail).next("rename it, or take it out"))
}

/// A configuration in TOML: our lines stand between two marks, and everything else stays as it is written.
fn in_toml(path: &Path, entry: Option<(&Value, &Guarded)>) -> Result<(Change, Others), Problem> {
    let refuse = |detail: String| {
        Problem::usage("settings-unreadable", format!("{}: {detail}", path.display()))
            .next("correct the file, or name another with --settings")
    };
    let before = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(refuse(error.to_string())),
    };
    let mut rest = without(&before).ok_or_else(|| refuse(format!("`{BEGIN}` has no end")))?;
    let settings: toml::Table = rest.parse().map_err(|error| refuse(format!("{error}")))?;
    let servers = settings.get("mcp_servers").and_then(toml::Value::as_table);
    let others: Others = servers
        .into_iter()
        .flatten()
        .map(|(name, entry)| (name.clone(), serde_json::to_value(entry).unwrap_or_default()))
        .collect();
    if others.iter().any(|(name, _)| name == NAME) {
        let detail = format!("{}: `{NAME}` is there already, and is not from here", path.display());
        return Err(
            Problem::new(Kind::Conflict, "entry-there", detail).next("rename it, or take it out")
        );
    }
    if let Some((entry, guarded)) = entry {
        for (name, _) in others.iter().filter(|(name, one)| guarded.reached_by(name, one).is_some())
        {
            rest = switched_off(&rest, name);
        }
        if !rest.is_empty() && !rest.ends_with('\n') {
            rest.push('\n');
        }
        rest.push_str(&our_lines(entry, guarded));
        // What was written has to read back.
        rest.parse::<toml::Table>().map_err(|error| refuse(format!("{error}")))?;
    }
    Ok((Change { path: path.to_owned(), before, after: rest }, others))
}

/// Our lines: whatever is not known to be a read is asked about.
fn our_lines(entry: &Value, guarded: &Guarded) -> String {
    let lines = entry.as_object().into_iter().flatten();
    let lines: String = lines.map(|(key, value)| format!("{key} = {value}\n")).collect();
    let reads = guarded.reads.iter().map(|tool| {
        format!("[mcp_servers.{NAME}.tools.{}]\napproval_mode = \"auto\"\n", json!(tool))
    });
    let reads: String = reads.collect();
    format!(
        "{BEGIN}\n[mcp_servers.{NAME}]\n{lines}default_tools_approval_mode = \"prompt\"\n{reads}{END}\n"
    )
}

/// The text with one line more below the table of a server; as it is where something is said about that already.
fn switched_off(text: &str, name: &str) -> String {
    let heads = [format!("[mcp_servers.{name}]"), format!("[mcp_servers.{}]", json!(name))];
    let is_head = |line: &&str| heads.iter().any(|head| line.trim() == head);
    let Some(head) = text.lines().find(is_head) else { return text.to_owned() };
    let changed = text.replacen(head, &format!("{head}\n{OFF}"), 1);
    if changed.parse::<toml::Table>().is_ok() { changed } else { text.to_owned() }
}

/// Whether a server is not switched off.
fn is_on(text: &str, name: &str) -> bool {
    let settings: toml::Table = text.parse().unwrap_or_default();
    let server = settings.get("mcp_servers").and_then(|all| all.get(name));
    server.and_then(|server| server.get("enabled")).and_then(toml::Value::as_bool) != Some(false)
}

/// The text without our lines; none where they do not end.
fn without(text: &str) -> Option<String> {
    let text = text.replace(&format!("{OFF}\n"), "");
    let Some((head, rest)) = text.split_once(BEGIN) else { return Some(text) };
    let (_, tail) = rest.split_once(END)?;
    Some(format!("{head}{}", tail.trim_start_matches('\n')))
}

/// What its token is kept as.
fn label(client: Whose) -> String {
    format!("mcp install {}", client.word())
}

async fn make_token(whose: Whose, context: &Context) -> Result<String, Problem> {
    let client = Client::open(&context.overrides).await?;
    let owner = match &context.overrides.server {
        None => Some(client::load(&context.overrides)?.me),
        Some(_) => None,
    };
    let body = json!({
        "name": label(whose), "sort": "agent", "principal": whose.word(), "owner": owner,
        "roles": [], "scopes": ["propose"], "valid_ms": null,
    });
    let made = client.call("token.create", body).await;
    client.close().await?;
    let made = made?;
    Ok(made.get("token").and_then(Value::as_str).unwrap_or_default().to_owned())
}

/// Ends the tokens that were made for a client; how many.
async fn end_tokens(whose: Whose, context: &Context) -> Result<usize, Problem> {
    let client = Client::open(&context.overrides).await?;
    let ended = end_all(whose, &client).await;
    client.close().await?;
    ended
}

async fn end_all(whose: Whose, client: &Client) -> Result<usize, Problem> {
    let listed = client.call("token.list", json!({})).await?;
    let mut ended = 0;
    let items = listed.get("items").and_then(Value::as_array);
    for token in items.into_iter().flatten() {
        let is_ours = token["name"] == label(whose).as_str() && token["state"] == "valid";
        if let Some(id) = token["id"].as_str().filter(|_| is_ours) {
            client.call("token.revoke", json!({ "token": id })).await?;
            ended += 1;
        }
    }
    Ok(ended)
}
