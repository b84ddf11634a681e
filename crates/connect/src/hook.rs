//! Hooks as commands: programs that speak the hook contract of Claude Code, run around calls of a run and at
//! moments of its agents.
//!
//! A program reads one JSON object on its standard input and answers by its exit code and one JSON object
//! on its standard output, or by plain text where that is something to tell an agent. It may say no, or that a person should decide; its yes changes nothing. It gets
//! a process group of its own, which ends with it; an environment of `PATH`, `HOME` and what is declared;
//! and so much time as its operation has.

#[cfg(test)]
mod tests;

use std::{path::PathBuf, process::Stdio};

use kernel::{
    exception::{Class, Landed},
    hook::{HOOK_CONNECTOR, Moment},
    operation::Operation,
    port::Failure,
};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
};

use crate::{
    call::{Call, Departure, clip, fail, refuse},
    error::Error,
    read::Reader,
};

/// Most bytes a hook may say on standard output.
pub const STDOUT_MAX_BYTES: usize = 64 * 1024;

/// Most bytes that are read of what a hook says on standard error; the rest is thrown away.
pub const STDERR_MAX_BYTES: usize = 16 * 1024;

/// Longest reason or hint that is taken from a hook, in characters.
pub const TEXT_MAX_CHARS: usize = 4_000;

/// Longest text that is told to an agent beside what a person says, in characters.
pub const CONTEXT_MAX_CHARS: usize = 10_000;

/// Most hooks that run at the same time, over all runs.
pub(crate) const AT_A_TIME_MAX: usize = 8;

/// Variables every hook sees, where they are set.
const ALWAYS: [&str; 2] = ["PATH", "HOME"];

/// The exit code with which a hook says no.
const NO: i32 = 2;

/// A hook's command.
#[derive(Debug)]
pub(crate) struct Hook {
    on: Moment,
    program: String,
    args: Vec<String>,
    folder: PathBuf,
    env: Vec<String>,
    shown_as: Option<String>,
}

impl Hook {
    pub(crate) fn compile(binding: &Reader<'_>, operation: &Operation) -> Result<Self, Error> {
        binding.only(&["kind", "on", "run", "in", "env", "shown_as"])?;
        if operation.id.connector() != HOOK_CONNECTOR || operation.is_write() {
            let text = "hooks are declared under [[hooks]] in harness.toml, nowhere else";
            return Err(binding.error("kind", text));
        }
        let on = binding.get("on").and_then(|on| serde_json::from_value(on.clone()).ok());
        let on = on.ok_or_else(|| binding.error("on", "is no moment that a hook can look at"))?;
        let mut run = texts(binding, "run")?.into_iter();
        let program = run.next().ok_or_else(|| binding.error("run", "must name a program"))?;
        let folder = PathBuf::from(binding.text("in")?);
        let shown_as = binding.text_opt("shown_as")?.map(str::to_owned);
        let env = texts(binding, "env")?;
        Ok(Self { on, program, args: run.collect(), folder, env, shown_as })
    }

    /// Whether this is a program that the operator has run as things stand: the same one, at the same place,
    /// shown no more. What is stored names no program that the configuration does not.
    pub(crate) fn is_among(&self, declared: &[Self]) -> bool {
        declared.iter().any(|known| {
            (&known.program, &known.args, &known.folder)
                == (&self.program, &self.args, &self.folder)
                && self.env.iter().all(|name| known.env.contains(name))
        })
    }

    /// Runs the program and reads what it says. The caller bounds the time: when it gives up, the program
    /// and whatever it started are ended.
    pub(crate) async fn run(&self, call: &Call, departure: &Departure) -> Result<Value, Failure> {
        let input = self.input(call)?;
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(&self.folder).env_clear();
        for name in ALWAYS.into_iter().chain(self.env.iter().map(String::as_str)) {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("CLAUDE_PROJECT_DIR", &self.folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        departure.leave()?;
        let child = command.spawn().map_err(|error| {
            let at = self.folder.display();
            failed(format!("the hook's program {} cannot be run in {at}: {error}", self.program))
        })?;
        let ended = talk(child, &input).await?;
        self.read(&ended)
    }

    /// What the program reads: the contract's object.
    fn input(&self, call: &Call) -> Result<Vec<u8>, Failure> {
        let seen = |name: &str| call.args.get(name).cloned().unwrap_or_default();
        let tool = || self.shown_as.clone().map_or_else(|| seen("operation"), Value::String);
        let action = seen("action");
        let use_id = || json!(format!("{}-{action}", call.run.as_str()));
        let about = || [("tool_name", tool()), ("tool_input", seen("args"))].into_iter();
        let of_agent = [("agent_type", seen("agent"))].into_iter();
        let more: Vec<(&str, Value)> = match self.on {
            Moment::Before => about().chain([("tool_use_id", use_id())]).collect(),
            Moment::After => {
                let ended = [("tool_use_id", use_id()), ("tool_response", seen("output"))];
                about().chain(ended).collect()
            }
            Moment::Failure => {
                let ended = [("tool_use_id", use_id()), ("error", seen("failed"))];
                about().chain(ended).collect()
            }
            // A run that goes on asks nobody again: what was said stands in its journal.
            Moment::Start => of_agent.chain([("source", json!("startup"))]).collect(),
            Moment::Prompt => of_agent.chain([("prompt", seen("prompt"))]).collect(),
            Moment::Stop => {
                let active = ("stop_hook_active", seen("active"));
                of_agent.chain([active, ("last_assistant_message", seen("answer"))]).collect()
            }
        };
        let mut input = json!({
            "session_id": call.run.as_str(),
            "transcript_path": "",
            "cwd": self.folder.display().to_string(),
            "permission_mode": "default",
            "hook_event_name": event(self.on),
        });
        if let Some(input) = input.as_object_mut() {
            input.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
        }
        serde_json::to_vec(&input).map_err(|e| refuse(format!("no hook can be shown this: {e}")))
    }

    /// What a program that has ended said, as the kernel reads it.
    fn read(&self, ended: &Ended) -> Result<Value, Failure> {
        match ended.code {
            Some(0) => self.read_answer(&ended.stdout),
            // There is nothing to say no to, and what it complains of is for its operator.
            Some(NO) if self.on == Moment::Start => Ok(answer("pass", "", "")),
            Some(NO) => {
                let why = limited(&ended.stderr);
                Ok(answer("deny", &why, &why))
            }
            Some(code) => {
                let said = clip(ended.stderr.trim(), 200);
                Err(failed(format!("the hook ended with exit code {code}: {said}")))
            }
            None => Err(failed("the hook was ended by a signal".to_owned())),
        }
    }

    fn read_answer(&self, stdout: &[u8]) -> Result<Value, Failure> {
        let stdout = stdout.trim_ascii();
        if stdout.is_empty() {
            return Ok(answer("pass", "", ""));
        }
        let said: Option<Map<String, Value>> = serde_json::from_slice(stdout).ok();
        let Some(said) = said else { return self.read_text(stdout) };
        Ok(match self.on {
            Moment::Before => read_gate(&said)?,
            Moment::Prompt => read_of_agent(&said)?,
            Moment::Stop => read_of_agent(&without_end(said))?,
            Moment::Start => answer("pass", "", &context_of(&said)),
            Moment::After | Moment::Failure => read_watch(&said),
        })
    }

    /// What is no JSON object: something to tell, nothing that counts, or no answer.
    fn read_text(&self, stdout: &[u8]) -> Result<Value, Failure> {
        let text = std::str::from_utf8(stdout).ok().filter(|text| !text.starts_with('{'));
        match (self.on, text) {
            (Moment::Before | Moment::Stop, _) | (Moment::Prompt, None) => {
                Err(failed("the hook's answer is no JSON object".to_owned()))
            }
            (Moment::Start | Moment::Prompt, Some(text)) => {
                Ok(answer("pass", "", &cut(text, CONTEXT_MAX_CHARS)))
            }
            // A program that looks at what is over may say what it likes.
            (Moment::Start, None) | (Moment::After | Moment::Failure, _) => {
                Ok(answer("pass", "", ""))
            }
        }
    }
}

/// The contract's name of a moment.
fn event(on: Moment) -> &'static str {
    match on {
        Moment::Before => "PreToolUse",
        Moment::After => "PostToolUse",
        Moment::Failure => "PostToolUseFailure",
        Moment::Start => "SessionStart",
        Moment::Prompt => "UserPromptSubmit",
        Moment::Stop => "Stop",
    }
}

/// What a hook says about an answer, without its wish that the agent ends: it ends anyway, unless it is sent on.
fn without_end(mut said: Map<String, Value>) -> Map<String, Value> {
    said.remove("continue");
    said
}

/// What is to be told to an agent.
fn context_of(said: &Map<String, Value>) -> String {
    let context = said.get("hookSpecificOutput").and_then(|own| own.get("additionalContext"));
    cut(context.and_then(Value::as_str).unwrap_or_default(), CONTEXT_MAX_CHARS)
}

/// What a hook says before a call. The strictest of what it says counts; a word that is not known is
/// no answer.
fn read_gate(said: &Map<String, Value>) -> Result<Value, Failure> {
    let own = said.get("hookSpecificOutput");
    let of = |name: &str| own.and_then(|own| own.get(name));
    let why = first_text(&[of("permissionDecisionReason"), said.get("reason")]);
    if said.get("async").is_some_and(|value| *value != json!(false)) {
        return Err(failed("a hook that is asked before a call cannot answer later".to_owned()));
    }
    if said.get("continue") == Some(&json!(false)) {
        let why = first_text(&[said.get("stopReason"), said.get("reason")]);
        return Ok(answer("deny", &why, &why));
    }
    let wished = of("updatedInput").filter(|input| !input.is_null());
    let verdict = match (word(of("permissionDecision"))?, word(said.get("decision"))?) {
        (Some("deny"), _) | (_, Some("block")) => "deny",
        // Another input is another call: whoever plans may make it, and it is judged anew.
        (Some("allow" | "ask" | "defer") | None, Some("approve") | None) if wished.is_some() => {
            "deny"
        }
        (Some("ask" | "defer"), Some("approve") | None) => "ask",
        (Some("allow") | None, Some("approve") | None) => "pass",
        (Some(_), _) | (None, Some(_)) => {
            let known = "allow, ask, deny, or as `decision` approve and block";
            return Err(failed(format!("a hook's decision is not known: {known}")));
        }
    };
    let context = first_text(&[of("additionalContext")]);
    let told = match (verdict, wished) {
        ("deny", Some(input)) => {
            let wish = format!("not called as it is; a hook suggests this input instead: {input}");
            joined(&[&why, &limited(&wish)])
        }
        ("deny", None) => joined(&[&why, &context]),
        _ => context,
    };
    Ok(answer(verdict, &why, &told))
}

/// What a hook says about what an agent is told, or answers. Nobody is asked about that: who would have a
/// person asked says no.
fn read_of_agent(said: &Map<String, Value>) -> Result<Value, Failure> {
    let gate = read_gate(said)?;
    let of = |name: &str| gate.get(name).and_then(Value::as_str).unwrap_or_default();
    Ok(match of("verdict") {
        "pass" => answer("pass", "", &context_of(said)),
        "ask" => answer("deny", of("reason"), &joined(&[of("reason"), of("told")])),
        _ => gate,
    })
}

/// What a hook says about how a call ended: it changes nothing, whatever it says.
fn read_watch(said: &Map<String, Value>) -> Value {
    let context = said.get("hookSpecificOutput").and_then(|own| own.get("additionalContext"));
    let blocks = said.get("decision") == Some(&json!("block"));
    let stops = said.get("continue") == Some(&json!(false));
    let reason = said.get("reason").filter(|_| blocks);
    let stop = said.get("stopReason").filter(|_| stops);
    let texts = [reason, stop, context].map(|text| first_text(&[text]));
    let told = joined(&[&texts[0], &texts[1], &texts[2]]);
    answer("pass", "", &told)
}

/// A decision's word; anything but text is none that counts.
fn word(value: Option<&Value>) -> Result<Option<&str>, Failure> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(word)) => Ok(Some(word)),
        Some(_) => Err(failed("a hook's decision is no text".to_owned())),
    }
}

fn first_text(places: &[Option<&Value>]) -> String {
    let text = places.iter().flatten().find_map(|value| value.as_str());
    limited(text.unwrap_or_default())
}

fn limited(text: &str) -> String {
    cut(text, TEXT_MAX_CHARS)
}

fn cut(text: &str, chars_max: usize) -> String {
    text.trim().chars().take(chars_max).collect()
}

fn joined(texts: &[&str]) -> String {
    let texts: Vec<&str> = texts.iter().copied().filter(|text| !text.is_empty()).collect();
    texts.join("\n")
}

fn answer(verdict: &str, reason: &str, told: &str) -> Value {
    let mut answer = Map::from_iter([("verdict".to_owned(), json!(verdict))]);
    for (name, text) in [("reason", reason), ("told", told)] {
        if !text.is_empty() {
            answer.insert(name.to_owned(), json!(text));
        }
    }
    Value::Object(answer)
}

fn failed(message: String) -> Failure {
    fail(Class::Unavailable, Landed::No, message)
}

/// A list of texts of a binding.
fn texts(binding: &Reader<'_>, key: &str) -> Result<Vec<String>, Error> {
    let refuse = || binding.error(key, "must be a list of texts");
    match binding.get(key) {
        None => Ok(Vec::new()),
        Some(Value::Array(items)) => {
            let text = |item: &Value| item.as_str().map(str::to_owned).ok_or_else(refuse);
            items.iter().map(text).collect()
        }
        Some(_) => Err(refuse()),
    }
}

/// A program that has ended.
struct Ended {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
}

/// Ends a process group when its hook is over, however that comes about.
struct Group(Option<Pid>);

impl Group {
    fn end(&mut self) {
        if let Some(group) = self.0.take() {
            // Gone already is what is wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

/// Tells a program its input and hears what it says, until it has ended.
async fn talk(mut child: Child, input: &[u8]) -> Result<Ended, Failure> {
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let mut group = Group(id.and_then(Pid::from_raw));
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(failed("the hook's program has no pipes".to_owned()));
    };
    let tell = async move {
        // A program that does not listen has closed its end; what it says counts all the same.
        let _ = stdin.write_all(input).await;
        drop(stdin);
    };
    let waited = async {
        let status = child.wait().await;
        // What it left behind must not keep its output open, or go on unseen.
        group.end();
        status
    };
    let heard = async {
        let mut said = Vec::new();
        let whole = stdout.take(STDOUT_MAX_BYTES as u64 + 1).read_to_end(&mut said).await;
        if said.len() > STDOUT_MAX_BYTES {
            return Err(failed(format!("the hook said more than {STDOUT_MAX_BYTES} bytes")));
        }
        whole.map(|_| said).map_err(|e| failed(format!("the hook cannot be heard: {e}")))
    };
    let complained = async { Ok(hear_some(stderr).await) };
    let waited = async {
        waited.await.map_err(|error| failed(format!("the hook cannot be waited for: {error}")))
    };
    let told = async {
        tell.await;
        Ok(())
    };
    let (status, stdout, stderr, ()) = tokio::try_join!(waited, heard, complained, told)?;
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    Ok(Ended { code: status.code(), stdout, stderr })
}

/// The beginning of what is said; the rest is read too, so that nobody waits for a full pipe.
async fn hear_some(mut pipe: impl AsyncRead + Unpin) -> Vec<u8> {
    let (mut kept, mut piece) = (Vec::new(), vec![0_u8; 4_096]);
    while let Ok(count @ 1..) = pipe.read(&mut piece).await {
        let room = STDERR_MAX_BYTES.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(piece.get(..room).unwrap_or_default());
    }
    kept
}
