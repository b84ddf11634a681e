//! `harness hook install`: a few lines in the settings of an agent's host, shown before they are written, and taken out
//! again with `--undo`.

use std::{fs, path::PathBuf};

use clap::{Args as ClapArgs, ValueEnum};
use serde_json::{Map, Value, json};

use crate::{
    app::problem::{Kind, Problem},
    cli::{
        Context, client,
        screen::{write_err, write_out},
    },
};

/// How long the host waits for the hook, in seconds: longer than the hook itself takes, for what is late for the host
/// is let pass.
const HOST_WAITS_S: u64 = 120;

/// Events that are judged or recorded.
const EVENTS: [&str; 4] = ["PreToolUse", "PermissionRequest", "PostToolUse", "PostToolUseFailure"];

/// Lines of settings that a difference is made of.
const LINES_MAX: usize = 4_000;

/// Hosts whose settings are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Host {
    /// `.claude/settings.json`
    ClaudeCode,
    /// `.codex/hooks.json`
    Codex,
}

impl Host {
    fn word(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::Codex => "codex",
        }
    }

    fn settings(self) -> &'static str {
        match self {
            Self::ClaudeCode => ".claude/settings.json",
            Self::Codex => ".codex/hooks.json",
        }
    }

    /// Events that the host has.
    fn events(self) -> &'static [&'static str] {
        match self {
            Self::ClaudeCode => &EVENTS,
            Self::Codex => EVENTS.split_at(3).0,
        }
    }
}

/// Options.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Whose settings
    host: Host,
    /// The file [default: that of the project, below the working folder]
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Take the lines out again
    #[arg(long)]
    undo: bool,
    /// Write it
    #[arg(long)]
    yes: bool,
}

impl Args {
    /// Shows the difference, and writes it where that was said.
    ///
    /// # Errors
    /// When the settings cannot be read, are no JSON object, or cannot be written.
    pub fn outcome(self, context: &Context) -> Result<u8, Problem> {
        let path = self.settings.clone().unwrap_or_else(|| self.host.settings().into());
        let (before, settings) = read(&path)?;
        let mut after = without(settings, self.host);
        if !self.undo {
            add(&mut after, self.host, &command(self.host, context)?);
        }
        let is_empty = after.as_object().is_some_and(Map::is_empty);
        let text = match is_empty {
            true => String::new(),
            false => serde_json::to_string_pretty(&after).unwrap_or_default() + "\n",
        };
        let difference = difference(&before, &text);
        let shown = match difference.is_empty() {
            true => format!("{}: nothing to change\n", path.display()),
            false => format!("{}\n{difference}", path.display()),
        };
        let failed = |e: std::io::Error| Problem::new(Kind::Unexpected, "output", e.to_string());
        write_out(shown.as_bytes()).map_err(failed)?;
        if difference.is_empty() {
            return Ok(0);
        }
        if !self.yes {
            write_err("nothing was written; the same with --yes writes it");
            return Ok(0);
        }
        write(&path, &text)?;
        write_err(match self.undo {
            true => "taken out",
            false => {
                "written; the same with --undo takes it out again. Start `harness serve` before the agent: \
                      without it every use is denied"
            }
        });
        Ok(0)
    }
}

/// What the host starts. Whatever ends it, a signal and a missing program too, is a no: the shell says 2 for it.
fn command(host: Host, context: &Context) -> Result<String, Problem> {
    let program = std::env::current_exe().map_err(|error| {
        Problem::new(Kind::Unexpected, "no-program", format!("where is this program? {error}"))
    })?;
    let mut words = vec![quoted(&program.display().to_string())];
    let overrides = &context.overrides;
    match &overrides.server {
        Some(server) => words.extend(["--server".to_owned(), quoted(server)]),
        None => {
            // Found once and for all: a file nearer to where an agent works must not be another judge.
            let config = client::load(overrides)?.file.ok_or_else(|| {
                Problem::usage("no-config", "there is no harness.toml here")
                    .next("name the one whose policies decide with --config")
            })?;
            let config = fs::canonicalize(&config).unwrap_or_else(|_| config.into());
            words.extend(["--config".to_owned(), quoted(&config.display().to_string())]);
        }
    }
    words.extend(["hook".to_owned(), host.word().to_owned()]);
    Ok(format!("{}{}", words.join(" "), ends_with(host)))
}

fn ends_with(_: Host) -> &'static str {
    " || exit 2"
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

pub(in super::super) fn read(path: &std::path::Path) -> Result<(String, Value), Problem> {
    let refuse = |detail: String| {
        Problem::usage("settings-unreadable", format!("{}: {detail}", path.display()))
            .next("correct the file, or name another with --settings")
    };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(refuse(error.to_string())),
    };
    if text.trim().is_empty() {
        return Ok((text, json!({})));
    }
    let settings: Value = serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))?;
    if settings.is_object() { Ok((text, settings)) } else { Err(refuse("no object".to_owned())) }
}

/// Whether a group of hooks is one that was written by this command.
fn is_ours(group: &Value, host: Host) -> bool {
    let end = format!(" hook {}{}", host.word(), ends_with(host));
    let hooks = group.get("hooks").and_then(Value::as_array);
    hooks.into_iter().flatten().any(|hook| {
        hook.get("command").and_then(Value::as_str).is_some_and(|command| command.ends_with(&end))
    })
}

/// The settings without our lines, and without what they leave empty.
fn without(mut settings: Value, host: Host) -> Value {
    let Some(map) = settings.as_object_mut() else { return settings };
    if let Some(hooks) = map.get_mut("hooks").and_then(Value::as_object_mut) {
        for groups in hooks.values_mut().filter_map(Value::as_array_mut) {
            groups.retain(|group| !is_ours(group, host));
        }
        hooks.retain(|event, groups| !(EVENTS.contains(&event.as_str()) && *groups == json!([])));
        if hooks.is_empty() {
            map.remove("hooks");
        }
    }
    settings
}

fn add(settings: &mut Value, host: Host, command: &str) {
    let Some(map) = settings.as_object_mut() else { return };
    let hooks = map.entry("hooks").or_insert_with(|| json!({}));
    let Some(hooks) = hooks.as_object_mut() else { return };
    for event in host.events() {
        let group = json!({
            "matcher": "*",
            "hooks": [{ "type": "command", "command": command, "timeout": HOST_WAITS_S }],
        });
        let groups = hooks.entry(*event).or_insert_with(|| json!([]));
        if let Some(groups) = groups.as_array_mut() {
            groups.push(group);
        }
    }
}

/// Beside, then renamed: never half a file. An empty file is removed.
pub(in super::super) fn write(path: &std::path::Path, text: &str) -> Result<(), Problem> {
    let refuse = |error: std::io::Error| {
        Problem::usage("file-unwritable", format!("cannot write {}: {error}", path.display()))
            .next("name a file in a folder that can be written")
    };
    if text.is_empty() {
        return fs::remove_file(path).map_err(refuse);
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(refuse)?;
    }
    let draft = path.with_extension("draft");
    fs::write(&draft, text).map_err(refuse)?;
    fs::rename(&draft, path).map_err(refuse)
}

/// What is different, line by line.
pub(in super::super) fn difference(before: &str, after: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    if old == new {
        return String::new();
    }
    if old.len().max(new.len()) > LINES_MAX {
        return format!("  {} lines become {}\n", old.len(), new.len());
    }
    let width = new.len() + 1;
    let mut common = vec![0_u32; (old.len() + 1) * width];
    let at = |table: &[u32], i: usize, j: usize| table.get(i * width + j).copied().unwrap_or(0);
    for (i, left) in old.iter().enumerate().rev() {
        for (j, right) in new.iter().enumerate().rev() {
            let best = match left == right {
                true => at(&common, i + 1, j + 1) + 1,
                false => at(&common, i + 1, j).max(at(&common, i, j + 1)),
            };
            if let Some(cell) = common.get_mut(i * width + j) {
                *cell = best;
            }
        }
    }
    let (mut i, mut j, mut text) = (0, 0, String::new());
    loop {
        match (old.get(i), new.get(j)) {
            (Some(left), Some(right)) if left == right => (i, j) = (i + 1, j + 1),
            (Some(left), right)
                if right.is_none() || at(&common, i + 1, j) >= at(&common, i, j + 1) =>
            {
                text.push_str(&format!("- {left}\n"));
                i += 1;
            }
            (_, Some(right)) => {
                text.push_str(&format!("+ {right}\n"));
                j += 1;
            }
            (_, None) => return text,
        }
    }
}
