//! `[[hooks]]`: programs of the operator that look at calls and at agents, in the hook contract of Claude Code.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use kernel::{
    conversation::MODEL_CONNECTOR,
    hook::{HOOK_CONNECTOR, HOOKS_MAX, Hook, Moment},
    id::OperationId,
    label::{Confidentiality, Label, LabelMap, Trust},
    operation::{Effect, Facts, Operation, Retry, TIMEOUT_DEFAULT_MS, TIMEOUT_MAX_MS, Undo},
    playbook::{Step, Work, visit_steps},
};
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{super::problem::Problem, File, Notify, Oidc};

/// Most variables one hook may be shown.
const ENV_MAX: usize = 32;

/// Longest pattern, in bytes.
const MATCHES_MAX_BYTES: usize = 1_000;

/// Largest compiled pattern, in bytes.
const PATTERN_MAX_BYTES: usize = 1 << 20;

/// When a hook is asked, as Claude Code calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum On {
    /// Before a call that policy does not deny: it may deny it, or have a person asked.
    PreToolUse,
    /// After a call that worked: what it says is told to the agent.
    PostToolUse,
    /// After a call that failed: what it says is told to the agent.
    PostToolUseFailure,
    /// When an agent begins: what it says is told to the agent.
    SessionStart,
    /// Before an agent is told its task or what a person says: it may keep that from it, or say something
    /// beside it.
    UserPromptSubmit,
    /// When an agent gives its answer: it may send it on.
    Stop,
}

impl On {
    fn moment(self) -> Moment {
        match self {
            Self::PreToolUse => Moment::Before,
            Self::PostToolUse => Moment::After,
            Self::PostToolUseFailure => Moment::Failure,
            Self::SessionStart => Moment::Start,
            Self::UserPromptSubmit => Moment::Prompt,
            Self::Stop => Moment::Stop,
        }
    }
}

/// One of `[[hooks]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HookFile {
    /// Its name in journals and rules: small letters, digits and `_`. By default the program's, without
    /// its ending.
    pub name: Option<String>,
    /// When it is asked.
    pub on: On,
    /// At which operations it looks, or at which agents by their names: exactly these with `|` between
    /// them, or else a regular expression that is found anywhere in one. Absent, empty or `*`: at all.
    #[serde(default)]
    pub matches: String,
    /// The program and its arguments. No shell reads them; a path is relative to this file's folder.
    pub run: Vec<String>,
    /// How long it may take, in milliseconds. By default 10,000.
    pub timeout_ms: Option<u32>,
    /// Variables of this process that it is shown beside `PATH` and `HOME`.
    #[serde(default)]
    pub env: Vec<String>,
    /// The name that it is told as `tool_name`, such as `Bash`. By default the operation's id.
    pub shown_as: Option<String>,
}

/// A hook in force.
#[derive(Clone, Debug)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// Which operations or agents, as written.
    pub matches: String,
    on: On,
    matcher: Matcher,
    operation: Operation,
}

#[derive(Clone, Debug)]
enum Matcher {
    All,
    These(BTreeSet<String>),
    Pattern(Regex),
}

impl Matcher {
    fn of(text: &str) -> Result<Self, String> {
        let is_plain =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '|' | ' ');
        if text.len() > MATCHES_MAX_BYTES {
            return Err(format!("`matches` is longer than {MATCHES_MAX_BYTES} bytes"));
        }
        if text.is_empty() || text == "*" {
            return Ok(Self::All);
        }
        if text.chars().all(is_plain) {
            return Ok(Self::These(text.split('|').map(|id| id.trim().to_owned()).collect()));
        }
        let pattern = regex::RegexBuilder::new(text).size_limit(PATTERN_MAX_BYTES).build();
        pattern.map(Self::Pattern).map_err(|e| format!("`matches` is no regular expression: {e}"))
    }

    fn fits(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.contains(name),
            // As in Claude Code, anywhere in the name: whoever means less writes `^` and `$`.
            Self::Pattern(pattern) => pattern.is_match(name),
        }
    }
}

impl Declared {
    /// Whether it looks at calls of this operation. What is said to a model is no call of a tool.
    #[must_use]
    pub fn looks_at(&self, id: &OperationId) -> bool {
        let is_tool = id.connector() != MODEL_CONNECTOR;
        is_tool && !self.is_of_agent() && self.matcher.fits(id.as_str())
    }

    /// Whether it looks at agents instead of calls.
    #[must_use]
    pub fn is_of_agent(&self) -> bool {
        self.on.moment().is_of_agent()
    }

    /// Whether it looks at an agent of this name.
    #[must_use]
    pub fn looks_at_agent(&self, name: &str) -> bool {
        self.is_of_agent() && self.matcher.fits(name)
    }

    /// As it is written, in one line.
    pub(super) fn words(&self) -> String {
        let run = self.operation.binding.get("run").map(ToString::to_string).unwrap_or_default();
        let matches = if self.matches.is_empty() { "*" } else { &self.matches };
        format!("{:?} {matches} {run} within {} ms", self.on, self.operation.timeout_ms)
    }

    /// Its program, where nobody can run it now.
    #[must_use]
    pub fn missing_program(&self) -> Option<String> {
        let (program, own) = (self.text("/run/0"), self.own_program());
        let places: Vec<PathBuf> = match own {
            Some(path) => vec![path],
            None => std::env::var_os("PATH").map_or_else(Vec::new, |path| {
                std::env::split_paths(&path).map(|place| place.join(program)).collect()
            }),
        };
        let runs = |place: &PathBuf| {
            std::fs::metadata(place)
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        };
        (!places.iter().any(runs)).then(|| program.to_owned())
    }

    /// Where its program is, where that is said by a path and not left to `PATH`.
    #[must_use]
    pub fn own_program(&self) -> Option<PathBuf> {
        let (program, folder) = (self.text("/run/0"), self.text("/in"));
        program.contains('/').then(|| Path::new(folder).join(program))
    }

    fn text(&self, at: &str) -> &str {
        let text = self.operation.binding.pointer(at).and_then(|text| text.as_str());
        text.unwrap_or_default()
    }

    /// What it is as an operation: everything that can change what it does.
    #[must_use]
    pub fn operation(&self) -> &Operation {
        &self.operation
    }
}

/// The hooks of a plan that may use these operations and has these agents, in the order of the
/// configuration. Hooks that have nothing to look at are left out.
#[must_use]
pub fn for_plan(
    declared: &[Declared],
    operations: &BTreeSet<OperationId>,
    agents: &BTreeSet<String>,
) -> Vec<Hook> {
    let hook = |one: &Declared| {
        let looks_at = operations.iter().filter(|id| one.looks_at(id)).cloned().collect();
        let agents = agents.iter().filter(|name| one.looks_at_agent(name)).cloned().collect();
        let operation = Arc::new(one.operation.clone());
        Hook { on: one.on.moment(), looks_at, agents, operation }
    };
    let looks = |hook: &Hook| !(hook.looks_at.is_empty() && hook.agents.is_empty());
    declared.iter().map(hook).filter(looks).collect()
}

/// The names of the agents of a playbook, at any depth.
#[must_use]
pub fn agents_of(steps: &[Step]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    visit_steps(steps, &mut |_, step| {
        if let Work::Agent { agent, .. } = &step.work {
            names.insert(agent.name.clone());
        }
    });
    names
}

/// Where secrets of the harness's own are kept, by what they are for.
pub(super) fn own_secrets(
    oidc: Option<&Oidc>,
    notify: &Notify,
    [receipts, secrets]: [&String; 2],
) -> BTreeMap<String, String> {
    let client = oidc.and_then(|oidc| oidc.client_secret.clone());
    let client = client.map(|reference| ("oidc.client_secret".to_owned(), reference));
    let keys = [("keys.receipts", receipts), ("keys.secrets", secrets)];
    let keys = keys.into_iter().map(|(name, reference)| (name.to_owned(), reference.clone()));
    notify.secrets.iter().cloned().chain(client).chain(keys).collect()
}

/// Reads `[[hooks]]`.
///
/// # Errors
/// What is wrong with which of them.
pub(super) fn read(
    file: &File,
    own_secrets: &BTreeMap<String, String>,
    (base, origin): (&Path, &str),
) -> Result<Vec<Declared>, Problem> {
    let wrong = |name: &str, what: String| {
        let problem = Problem::usage("config-invalid", format!("hook `{name}`: {what}"));
        problem.at(origin).next("correct [[hooks]]; `docs/hooks.md` says what each key means")
    };
    if file.hooks.len() > HOOKS_MAX {
        let what = format!("there are {} hooks; {HOOKS_MAX} is the most", file.hooks.len());
        return Err(wrong("*", what));
    }
    let mut declared: Vec<Declared> = Vec::new();
    let all = file.secrets.iter().chain(own_secrets);
    let secrets = all.map(|(name, reference)| (name.clone(), reference.clone())).collect();
    for file in &file.hooks {
        let name = name_of(file).map_err(|what| wrong(&file.run.join(" "), what))?;
        if declared.iter().any(|known| known.name == name) {
            let what = "two hooks have this name; give one of them another with `name`";
            return Err(wrong(&name, what.to_owned()));
        }
        let one = declare(file, &name, (&secrets, base)).map_err(|what| wrong(&name, what))?;
        declared.push(one);
    }
    Ok(declared)
}

/// The name of a hook: given, or its program's.
fn name_of(file: &HookFile) -> Result<String, String> {
    let program = file.run.first().filter(|program| !program.is_empty());
    let program = program.ok_or_else(|| "`run` names no program".to_owned())?;
    let own = Path::new(program).file_stem().map(|stem| stem.to_string_lossy().to_lowercase());
    let own = own.unwrap_or_default().replace(['-', '.', ' '], "_");
    let name = file.name.clone().unwrap_or(own);
    let is_sound = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if is_sound && name.len() <= 64 {
        return Ok(name);
    }
    Err(format!("`{name}` is no name; give it a `name` of small letters, digits and `_`"))
}

fn declare(
    file: &HookFile,
    name: &str,
    (secrets, base): (&BTreeMap<String, String>, &Path),
) -> Result<Declared, String> {
    let timeout_ms = file.timeout_ms.unwrap_or(TIMEOUT_DEFAULT_MS);
    if !(1..=TIMEOUT_MAX_MS).contains(&timeout_ms) {
        return Err(format!("`timeout_ms` is from 1 to {TIMEOUT_MAX_MS}"));
    }
    if file.run.iter().any(|part| part.contains('\0')) {
        return Err("`run` holds a NUL byte".to_owned());
    }
    if file.shown_as.is_some() && file.on.moment().is_of_agent() {
        return Err(format!("`shown_as` is the name of a tool, and {:?} is about none", file.on));
    }
    check_env(&file.env, secrets)?;
    let matcher = Matcher::of(&file.matches)?;
    let id = format!("{HOOK_CONNECTOR}.{name}");
    let id = id.parse().map_err(|e: kernel::id::BadId| e.to_string())?;
    let folder = std::path::absolute(base).unwrap_or_else(|_| PathBuf::from(base));
    let mut binding = json!({
        "kind": "hook",
        "on": file.on.moment(),
        "run": file.run,
        "in": folder,
        "env": file.env,
    });
    if let (Some(shown_as), Some(binding)) = (&file.shown_as, binding.as_object_mut()) {
        binding.insert("shown_as".to_owned(), json!(shown_as));
    }
    let operation = operation((id, file.on), timeout_ms, binding);
    let (name, matches) = (name.to_owned(), file.matches.clone());
    Ok(Declared { name, matches, on: file.on, matcher, operation })
}

/// A hook as an operation: a read of this machine that may be made again, and may be shown everything.
fn operation(
    (id, on): (OperationId, On),
    timeout_ms: u32,
    binding: serde_json::Value,
) -> Operation {
    let verdicts = ["pass", "ask", "deny"];
    let about = match on {
        On::PreToolUse | On::PostToolUse | On::PostToolUseFailure => "{/operation}",
        On::SessionStart => "the beginning of {/agent}",
        On::UserPromptSubmit => "what {/agent} is told",
        On::Stop => "the answer of {/agent}",
    };
    Operation {
        summary: format!("Have `{id}` look at {about}"),
        id,
        facts: Facts {
            effect: Effect::Read,
            undo: Undo::None,
            retry: Retry::Keyed,
            ..Facts::default()
        },
        resource: None,
        input: Arc::new(json!({ "type": "object" })),
        output: Arc::new(json!({
            "type": "object",
            "required": ["verdict"],
            "properties": {
                "verdict": { "enum": verdicts },
                "reason": { "type": "string" },
                "told": { "type": "string" },
            },
        })),
        // It is the operator's, and may repeat whatever it reads; what it was shown joins this.
        labels: LabelMap::uniform(Label::new(Trust::Verified, Confidentiality::Internal)),
        clearance: Label::new(Trust::Untrusted, Confidentiality::Secret),
        maskable: Vec::new(),
        contract: Default::default(),
        companions: Default::default(),
        groups: Vec::new(),
        timeout_ms,
        cost_max: None,
        rate: None,
        witness: Default::default(),
        binding: Arc::new(binding),
    }
}

/// Variables may be shown unless they hold a secret of ours.
fn check_env(env: &[String], secrets: &BTreeMap<String, String>) -> Result<(), String> {
    if env.len() > ENV_MAX {
        return Err(format!("`env` names {} variables; {ENV_MAX} is the most", env.len()));
    }
    for name in env {
        let is_sound = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_sound {
            return Err(format!("`{name}` is no name of a variable"));
        }
        let holds = |(_, reference): &(&String, &String)| {
            reference.strip_prefix("env:").is_some_and(|held| held == name)
        };
        if let Some((secret, _)) = secrets.iter().find(holds) {
            return Err(format!("{name} holds the secret `{secret}`, which no hook is shown"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(matches: &str, id: &str) -> bool {
        Matcher::of(matches).unwrap().fits(id)
    }

    #[test]
    fn a_matcher_is_a_name_names_or_a_pattern_as_in_claude_code() {
        for all in ["", "*", ".*"] {
            assert!(fits(all, "crm.update_account"), "{all}");
        }
        assert!(fits("crm.get", "crm.get"));
        assert!(!fits("crm.get", "crm.get_account"), "a name is exact");
        assert!(!fits("crm", "crm.get"));
        assert!(fits("crm.get|mail.send", "mail.send"));
        assert!(fits("crm.get | mail.send", "mail.send"));
        assert!(!fits("crm.get|mail.send", "mail.send_all"));
        assert!(fits("crm.*", "crm.update_account"));
        assert!(!fits("crm.*", "mail.send"));
        assert!(fits("(update|delete)_", "crm.delete_account"), "anywhere in it");
        assert!(!fits("^delete_", "crm.delete_account"));
        assert!(Matcher::of("(").unwrap_err().contains("no regular expression"));
    }

    #[test]
    fn models_are_no_tools_and_what_has_nothing_to_look_at_is_left_out() {
        let file = |matches: &str| HookFile {
            name: None,
            on: On::PreToolUse,
            matches: matches.to_owned(),
            run: vec!["./my-check.sh".to_owned()],
            timeout_ms: None,
            env: Vec::new(),
            shown_as: None,
        };
        let declared = |matches: &str| {
            vec![
                declare(&file(matches), "my_check", (&BTreeMap::new(), Path::new("/etc"))).unwrap(),
            ]
        };
        assert_eq!(name_of(&file("*")).unwrap(), "my_check");
        let operations = ["crm.get", "model.main"].map(|id| id.parse().unwrap()).into();
        let nobody = BTreeSet::new();
        let hooks = for_plan(&declared("*"), &operations, &nobody);
        assert_eq!(hooks[0].operation.id.as_str(), "hook.my_check");
        assert_eq!(hooks[0].looks_at, ["crm.get".parse().unwrap()].into());
        assert!(for_plan(&declared("mail.send"), &operations, &nobody).is_empty());
    }
}
