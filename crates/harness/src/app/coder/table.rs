//! What the tools of coding agents are: one table for each host. What stands in no table is taken for the gravest.

use kernel::Digest;
use serde_json::{Map, Value, json};

use super::own;
use crate::app::{config::Config, problem::Problem};

/// Longest text about one use, in bytes.
pub(super) const TEXT_MAX_BYTES: usize = 32_768;

/// Most files that one use may name.
const FILES_MAX: usize = 256;

/// The server of the harness itself, as clients name its tools: it judges its calls itself.
const OURS: &str = "mcp__harness__";

/// The host of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Agent {
    ClaudeCode,
    Codex,
}

impl Agent {
    pub(super) fn of(name: &str) -> Result<Self, Problem> {
        match name {
            "claude-code" => Ok(Self::ClaudeCode),
            "codex" => Ok(Self::Codex),
            _ => Err(Problem::usage("unknown-agent", "no such host of agents is known")
                .next("use claude-code or codex")),
        }
    }
}

/// What sort of use it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    /// Reads files or searches them; the fields that name where.
    Look(&'static [&'static str]),
    /// Changes the file in this field.
    Change(&'static str),
    /// Runs the command in this field.
    Run(&'static str),
    /// Changes the files that the patch in this field names.
    Patch(&'static str),
    /// Fetches what this field names.
    Fetch(&'static str),
    /// Changes nothing but the agent's own notes and questions.
    Within,
    /// Anything else.
    Call,
}

/// Tools of Claude Code.
const CLAUDE_CODE: [(&str, Sort); 23] = [
    ("Bash", Sort::Run("command")),
    ("Read", Sort::Look(&["file_path"])),
    ("NotebookRead", Sort::Look(&["notebook_path"])),
    ("Glob", Sort::Look(&["path", "pattern"])),
    ("Grep", Sort::Look(&["path", "pattern"])),
    ("LS", Sort::Look(&["path"])),
    ("Write", Sort::Change("file_path")),
    ("Edit", Sort::Change("file_path")),
    ("MultiEdit", Sort::Change("file_path")),
    ("NotebookEdit", Sort::Change("notebook_path")),
    ("WebFetch", Sort::Fetch("url")),
    ("WebSearch", Sort::Fetch("query")),
    ("TodoWrite", Sort::Within),
    ("TaskCreate", Sort::Within),
    ("TaskUpdate", Sort::Within),
    ("TaskList", Sort::Within),
    ("Task", Sort::Within),
    ("Agent", Sort::Within),
    ("AskUserQuestion", Sort::Within),
    ("EnterPlanMode", Sort::Within),
    ("ExitPlanMode", Sort::Within),
    ("BashOutput", Sort::Within),
    ("Skill", Sort::Within),
];

/// Tools of Codex that its hooks are told of.
const CODEX: [(&str, Sort); 3] = [
    ("Bash", Sort::Run("command")),
    ("apply_patch", Sort::Patch("command")),
    ("update_plan", Sort::Within),
];

/// A use as it is judged.
#[derive(Debug)]
pub(super) struct Use {
    /// The intent of the pack.
    pub(super) intent: &'static str,
    /// Its inputs.
    pub(super) arguments: Value,
    /// Of tool and input as they were given.
    pub(super) digest: String,
}

/// What a use of a tool comes to.
pub(super) fn used(
    agent: Agent,
    (tool, input, cwd): (&str, &Value, &str),
    config: &Config,
) -> Result<Use, Problem> {
    let table: &[(&str, Sort)] = match agent {
        Agent::ClaudeCode => &CLAUDE_CODE,
        Agent::Codex => &CODEX,
    };
    let known = table.iter().find(|(name, _)| *name == tool).map(|(_, sort)| *sort);
    let sort = match known {
        Some(sort) => sort,
        None if tool.starts_with(OURS) => Sort::Within,
        None => Sort::Call,
    };
    let (intent, what, touched) = sorted(sort, input)?;
    let read = matches!(sort, Sort::Run(_)).then(|| shell::read(&what));
    let looks = read.as_ref().is_some_and(|read| read.only_reads() && stays(read));
    let own = match &read {
        Some(read) => own::of_command(config, (&what, read), cwd),
        None => touched.iter().find_map(|path| own::of_path(config, path, cwd)),
    };
    let effects: Vec<&str> =
        read.iter().flat_map(|read| &read.effects).map(|effect| effect.name()).collect();
    let rest = rest_of(input, sort);
    let digest =
        Digest::of_parts("harness/use/v1", &[tool.as_bytes(), input.to_string().as_bytes()]);
    Ok(Use {
        intent: if looks { "look" } else { intent },
        arguments: json!({
            "tool": tool, "what": what, "detail": rest, "own": own.unwrap_or_default(),
            "effects": effects, "cwd": cwd,
        }),
        digest: digest.hex(),
    })
}

/// Whether a command looks where it stands: one that goes elsewhere first has paths that mean something else.
fn stays(read: &shell::Reading) -> bool {
    !read.programs.iter().any(|program| ["cd", "pushd", "popd"].contains(&program.name.as_str()))
}

/// The intent, what the use is on, and the paths that it names.
fn sorted(sort: Sort, input: &Value) -> Result<(&'static str, String, Vec<String>), Problem> {
    let field = |name: &str| {
        let found = input.get(name).and_then(Value::as_str);
        found.map(str::to_owned).ok_or_else(|| {
            Problem::usage("bad-event", format!("`tool_input` has no text `{name}`"))
                .next("this version of the agent has other tools; its use is denied")
        })
    };
    let sorted = match sort {
        Sort::Look(fields) => {
            let named: Vec<String> = fields.iter().filter_map(|name| field(name).ok()).collect();
            ("look", named.join(" "), named)
        }
        Sort::Change(name) => ("change", field(name)?, vec![field(name)?]),
        Sort::Run(name) => ("run", command(input, name)?, Vec::new()),
        Sort::Patch(name) => {
            let patch = command(input, name)?;
            let files = patched(&patch)?;
            ("change", files.join(" "), files)
        }
        Sort::Fetch(name) => ("fetch", field(name)?, Vec::new()),
        Sort::Within => ("look", String::new(), Vec::new()),
        Sort::Call => ("call", input.to_string(), paths_in(input)),
    };
    fits(&sorted.1)?;
    Ok(sorted)
}

/// A command as text; some hosts send it in words.
fn command(input: &Value, name: &str) -> Result<String, Problem> {
    match input.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        _ => Err(Problem::usage("bad-event", format!("`tool_input` has no text `{name}`"))
            .next("this version of the agent has other tools; its use is denied")),
    }
}

/// The files that a patch names.
fn patched(patch: &str) -> Result<Vec<String>, Problem> {
    let marks = ["*** Add File: ", "*** Update File: ", "*** Delete File: ", "*** Move to: "];
    let named =
        patch.lines().filter_map(|line| marks.iter().find_map(|mark| line.strip_prefix(mark)));
    let files: Vec<String> = named.map(|name| name.trim().to_owned()).collect();
    if files.is_empty() || files.len() > FILES_MAX {
        let detail = format!("a patch names 1 to {FILES_MAX} files, not {}", files.len());
        return Err(Problem::usage("bad-event", detail).next("send smaller patches"));
    }
    Ok(files)
}

/// Every text in the input of an unknown tool may be a path.
pub(super) fn paths_in(input: &Value) -> Vec<String> {
    let (mut found, mut todo) = (Vec::new(), vec![input]);
    while let Some(value) = todo.pop() {
        match value {
            Value::String(text) => found.push(text.clone()),
            Value::Array(items) => todo.extend(items),
            Value::Object(map) => todo.extend(map.values()),
            _ => {}
        }
    }
    found
}

/// Everything a use is called with but what stands in `what`; what is too long is named by its digest.
fn rest_of(input: &Value, sort: Sort) -> String {
    let shown = match sort {
        Sort::Change(name) | Sort::Run(name) | Sort::Fetch(name) => Some(name),
        Sort::Call => return String::new(),
        Sort::Look(_) | Sort::Patch(_) | Sort::Within => None,
    };
    let mut rest: Map<String, Value> = input.as_object().cloned().unwrap_or_default();
    if let Some(name) = shown {
        rest.remove(name);
    }
    if rest.is_empty() {
        return String::new();
    }
    let text = Value::Object(rest).to_string();
    match text.len() {
        0..=TEXT_MAX_BYTES => text,
        length => format!("{length} bytes, {}", Digest::of(text.as_bytes())),
    }
}

pub(super) fn fits(text: &str) -> Result<(), Problem> {
    if text.len() <= TEXT_MAX_BYTES {
        return Ok(());
    }
    let detail =
        format!("{} bytes are too long to be judged; at most {TEXT_MAX_BYTES}", text.len());
    Err(Problem::usage("use-too-long", detail).next("write a file, and use that"))
}
