//! A proxy in front of the server for tests, in a project that the proxy itself made.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Pipe, Speaks, client::post};
use crate::{
    servers::{Serving, fixture},
    support::{Ran, program},
};

/// Tools of the server that somebody classified as reads.
const READS: [&str; 6] = ["add", "echo", "image", "big", "lies", "route"];

pub(crate) struct Front {
    dir: TempDir,
    /// Where it is reached at an address.
    serving: Option<Serving>,
    /// What was said when the server was met.
    pub(super) met: String,
}

impl Front {
    /// In front of one server, whose reads somebody classified.
    pub(crate) fn open(mode: &str) -> Self {
        let front = Self::drafted(mode);
        front.classify(&READS);
        front
    }

    /// As the first minute leaves it: nothing is classified.
    pub(super) fn drafted(mode: &str) -> Self {
        Self::met_as(mode, &[])
    }

    /// The same, with a server that is like this from the beginning.
    pub(super) fn met_as(mode: &str, hows: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        fs::create_dir(&state).unwrap();
        for how in hows {
            fs::write(state.join(how), "").unwrap();
        }
        let serving = Some(Serving::start(&state));
        let mut front = Self { dir, serving, met: String::new() };
        let url = front.upstream().to_owned();
        front.made(&["--url", &url, "--name", "notes", "--mode", mode]);
        front
    }

    /// In front of the same server as a program of this machine that looks around; its answers are passed on as they are, and
    /// what it saw stands in its notes.
    pub(super) fn started(mode: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut front = Self { dir, serving: None, met: String::new() };
        fs::create_dir(front.dir.path().join("state")).unwrap();
        front.misbehave("peeks");
        let state = front.dir.path().join("state").canonicalize().unwrap().display().to_string();
        let fixture = fixture().display().to_string();
        front.made(&["--name", "notes", "--mode", mode, "--", &fixture, &state]);
        front
    }

    fn made(&mut self, words: &[&str]) {
        let first = self.first(words);
        assert_eq!(first.code, 0, "{first:?}");
        self.met = first.stderr;
        // Somebody else decides, and by their name alone.
        self.edit("harness.toml", "me = \"ulla\"", "me = \"ulla\"\napprovals.terminal = \"name\"");
        self.edit("harness.toml", "[policy]", "[people.mira]\nroles = [\"approver\"]\n[policy]");
    }

    /// `mcp proxy` by somebody who has no project yet, until its client hangs up.
    pub(super) fn first(&self, words: &[&str]) -> Ran {
        self.first_in("project", words)
    }

    /// The same in another folder beside it.
    pub(super) fn first_in(&self, project: &str, words: &[&str]) -> Ran {
        let project = self.dir.path().join(project).display().to_string();
        let all = [&["mcp", "proxy", "--project", &project], words].concat();
        Ran::of(&all, program(self.dir.path()).env("USER", "ulla").args(&all).output().unwrap())
    }

    pub(super) fn project(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    /// Starts the server anew at the same address, once it has ended.
    pub(super) fn start_anew(&mut self) {
        let state = self.dir.path().join("state");
        let at = self.upstream().trim_start_matches("http://").trim_end_matches("/mcp").to_owned();
        fs::write(state.join("at"), at).unwrap();
        self.serving.take().unwrap().ends();
        self.serving = Some(Serving::start(&state));
    }

    /// The server is shown this secret, which is everybody's.
    pub(super) fn shows(&self, secret: &str) {
        let file = self.project().canonicalize().unwrap().join("secret");
        fs::write(&file, secret).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let path = self.project().join("harness.toml");
        let config = fs::read_to_string(&path).unwrap();
        let holds = "headers = { authorization = { secret = \"notes\", prefix = \"Bearer \" } }";
        let secrets = format!("[secrets]\nnotes = \"file:{}\"", file.display());
        fs::write(&path, format!("{config}{holds}\nshared = true\n{secrets}\n")).unwrap();
    }

    /// Where the server itself is.
    pub(super) fn upstream(&self) -> &str {
        &self.serving.as_ref().unwrap().1
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.project().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from} is in {text}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    pub(super) fn classify(&self, reads: &[&str]) {
        for name in reads {
            let (from, to) = (format!("\n  {name}:\n"), format!("\n  {name}:\n    effect: read\n"));
            self.edit("pack/connectors/notes.yaml", &from, &to);
        }
    }

    pub(super) fn misbehave(&self, how: &str) {
        fs::write(self.dir.path().join("state").join(how), "").unwrap();
    }

    pub(super) fn behave(&self, how: &str) {
        fs::remove_file(self.dir.path().join("state").join(how)).unwrap();
    }

    /// From now on another's server is passed on, too, as `other`.
    pub(super) fn join(&self, other: &Self) {
        let url = other.upstream();
        self.join_as(other, &format!("[systems.other]\nkind = \"mcp\"\nurl = \"{url}\"\n"));
    }

    /// The same, declared by these lines.
    pub(super) fn join_as(&self, other: &Self, system: &str) {
        let moved = self.project().join("second");
        fs::create_dir_all(moved.join("connectors")).unwrap();
        let renamed = |path: &str| {
            let text = fs::read_to_string(other.project().join(path)).unwrap();
            text.replace("notes.", "other.")
                .replace("name: notes", "name: other")
                .replace("system: notes", "system: other")
        };
        fs::write(moved.join("pack.yaml"), renamed("pack/pack.yaml")).unwrap();
        let connector = renamed("pack/connectors/notes.yaml");
        fs::write(moved.join("connectors/other.yaml"), connector).unwrap();
        self.edit("harness.toml", "packs = [\"pack\"]", "packs = [\"pack\", \"second\"]");
        self.edit("harness.toml", "proxy = [\"notes\"]", "proxy = [\"*\"]");
        let path = self.project().join("harness.toml");
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{whole}\n{system}")).unwrap();
    }

    /// What the server wrote down.
    pub(super) fn notes(&self) -> String {
        fs::read_to_string(self.dir.path().join("state/notes")).unwrap_or_default()
    }

    pub(crate) fn command(&self, words: &[&str]) -> std::process::Command {
        let mut command = program(self.dir.path());
        command.arg("--config").arg(self.project().join("harness.toml")).args(words);
        command
    }

    pub(crate) fn json(&self, words: &[&str]) -> Ran {
        let all = [&["-o", "json"], words].concat();
        Ran::of(&all, self.command(&all).output().unwrap())
    }

    pub(super) fn pipe(&self, speaks: Speaks, words: &[&str]) -> Pipe {
        Pipe::with(self.command(&[&["-q", "mcp", "proxy"], words].concat()), speaks)
    }

    /// The same request to the server itself.
    pub(crate) fn direct(&self, method: &str, params: Value) -> Value {
        let host =
            self.upstream().trim_start_matches("http://").trim_end_matches("/mcp").to_owned();
        let answer = post(&host, ("", Speaks::Now), (method, params), &[]);
        let mut data = answer.body.lines().filter_map(|line| line.strip_prefix("data:"));
        let last = data.rfind(|data| data.contains("\"id\""));
        let said: Value = serde_json::from_str(last.unwrap_or(&answer.body)).unwrap();
        said["result"].clone()
    }

    /// The open ask of a run: its id and what it binds.
    pub(super) fn card(&self, run: &str) -> (String, String) {
        let detail = self.json(&["run", "get", run]).exits(0).document();
        let approval = detail["waiting_for"][0].as_str().unwrap_or_else(|| panic!("{detail:#}"));
        let card = self.json(&["approval", "get", approval]).exits(0).document();
        (approval.to_owned(), card["digest"].as_str().unwrap().to_owned())
    }

    pub(super) fn approve(&self, run: &str) -> Ran {
        let (approval, digest) = self.card(run);
        self.json(&["--as", "mira", "approval", "approve", &approval, "--digest", &digest])
    }

    /// Every event of a run.
    pub(super) fn events(&self, run: &str) -> Value {
        self.json(&["run", "events", run]).exits(0).document()
    }

    pub(super) fn runs(&self) -> Vec<Value> {
        let listed = self.json(&["run", "list"]).exits(0).document();
        listed["items"].as_array().unwrap().clone()
    }
}

/// What both generations say of a result, without what the proxy adds and what tells generations apart.
pub(super) fn plain(result: &Value) -> Value {
    let mut plain = result.clone();
    let map = plain.as_object_mut().unwrap_or_else(|| panic!("{result}"));
    map.remove("resultType");
    if let Some(meta) = map.get_mut("_meta").and_then(Value::as_object_mut) {
        meta.retain(|name, _| {
            !name.starts_with("harness/") && !name.starts_with("io.modelcontextprotocol/")
        });
        if meta.is_empty() {
            map.remove("_meta");
        }
    }
    plain
}

pub(super) fn text(text: &str) -> Value {
    json!({ "text": text })
}
