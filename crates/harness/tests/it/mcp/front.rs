//! A proxy in front of the server for tests, in a project that the proxy itself made.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Pipe, Speaks, client::post};
use crate::{
    servers::Serving,
    support::{Ran, program},
};

/// Tools of the server that somebody classified as reads.
const READS: [&str; 6] = ["add", "echo", "image", "big", "lies", "route"];

pub(crate) struct Front {
    dir: TempDir,
    serving: Serving,
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
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        fs::create_dir(&state).unwrap();
        let serving = Serving::start(&state);
        let front = Self { dir, serving };
        let url = front.serving.1.clone();
        let first = front.first(&["--url", &url, "--name", "notes", "--mode", mode]);
        assert_eq!(first.code, 0, "{first:?}");
        // Somebody else decides, and by their name alone.
        front.edit("harness.toml", "me = \"ulla\"", "me = \"ulla\"\napprovals.terminal = \"name\"");
        front.edit("harness.toml", "[policy]", "[people.mira]\nroles = [\"approver\"]\n[policy]");
        front
    }

    /// `mcp proxy` by somebody who has no project yet, until its client hangs up.
    pub(super) fn first(&self, words: &[&str]) -> Ran {
        let project = self.project().display().to_string();
        let all = [&["mcp", "proxy", "--project", &project], words].concat();
        Ran::of(&all, program(self.dir.path()).env("USER", "ulla").args(&all).output().unwrap())
    }

    pub(super) fn project(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    /// Where the server itself is.
    pub(super) fn upstream(&self) -> &str {
        &self.serving.1
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
        let host = self.serving.1.trim_start_matches("http://").trim_end_matches("/mcp").to_owned();
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
