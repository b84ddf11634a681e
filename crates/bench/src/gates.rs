//! What it costs to stand between an agent and its servers: a call through the proxy, the first answer of a server that a
//! client starts, and a document that becomes a connector.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use serde_json::{Value, json};

use crate::{
    error::{Broken, Doing as _},
    options::Options,
    process::resident_kib,
    report::{Figure, Floor, Goal, Report},
    served::{Client, Served, storm, tool_call},
    spread::{Spread, millis, wall},
    upstream::{TOOL, Upstream},
};

/// Processor time of the proxy for one call, in ms: judged and receipted durably, and where everything passes.
const ENFORCED_MS: f64 = 1.5;
const OBSERVED_MS: f64 = 0.4;
/// Calls a second through the proxy.
const CALLS: f64 = 1_500.0;
/// Until `mcp serve` answers for the first time, in ms, and what it holds then: 20 MB.
const FIRST_MS: f64 = 50.0;
const HELD_MIB: f64 = 19.0;
/// A document of so many operations becomes a connector in so many ms.
const OPERATIONS: usize = 1_000;
const IMPORT_MS: f64 = 1_000.0;

/// Item 12.
pub(crate) fn measure(options: &Options, report: &mut Report) -> Result<(), Broken> {
    let upstream = Upstream::start()?;
    for (mode, effect, goal) in [
        ("enforce", "read", ENFORCED_MS),
        ("observe", "read", OBSERVED_MS),
        ("observe", "write", OBSERVED_MS),
    ] {
        proxied(options, &upstream, (mode, effect, goal), report)?;
    }
    first_answer(options, report)?;
    imported(options, report)
}

fn called(n: usize) -> Value {
    // Another text each time: the same call while one waits is the same run.
    json!({ "text": format!("call {n}") })
}

/// Calls through a proxy of this mode, of a tool with this effect. What changes something is asked about where it is
/// enforced, so it is measured where it passes.
fn proxied(
    options: &Options,
    upstream: &Upstream,
    (mode, effect, goal): (&str, &str, f64),
    report: &mut Report,
) -> Result<(), Broken> {
    let folder = tempfile::tempdir_in(&options.dir).doing("make a folder")?;
    let project = project(options, folder.path(), (upstream, mode, effect))?;
    let words = ["mcp", "proxy", "--http", "127.0.0.1:0"];
    let token = ["token", "create", "bench", "--agent", "bench", "--owner", "ann"];
    let Some(served) = Served::of(options, &project, (&words, &token))? else {
        let why = format!("{} mcp proxy does not serve here", options.binary.display());
        report.add(Figure::unmeasured(
            "calls through the proxy",
            "1/s",
            (Goal::AtLeast(CALLS), why),
        ));
        return Ok(());
    };
    let calls = options.pick(1_000, 50);
    let mut client = Client::new(&served)?;
    let (mut cpu, mut took, mut n) = (Vec::new(), Vec::new(), 0);
    // The first round fills caches and is not counted.
    for round in 0..=options.rounds() {
        let before = served.cpu_ms();
        for _ in 0..calls {
            n += 1;
            let (answer, ms) = client.ask(&tool_call("/mcp", (TOOL, called(n))))?;
            check(&answer)?;
            if round > 0 {
                took.push(ms);
            }
        }
        let spent = served.cpu_ms().zip(before).map(|(after, before)| after - before);
        let spent = spent.ok_or_else(|| Broken::new("read a processor time", "there is none"))?;
        if round > 0 {
            cpu.push(spent / calls as f64);
        }
    }
    let what = format!("{mode}, a {effect}");
    let name = format!("a call through the proxy ({what}), cpu of the proxy");
    report.add(Figure::new(name, (Spread::of(cpu), "ms"), None, Goal::AtMost(goal)));
    let name = format!("a call through the proxy ({what}), wall");
    report.add(Figure::new(name, (Spread::of(took), "ms"), None, Goal::None));
    let (mut rates, mut bare) = (Vec::new(), Vec::new());
    let each = options.pick(100, 3);
    let direct = Served::elsewhere(upstream.url().trim_start_matches("http://"));
    for round in 0..options.pick(5, 1) {
        let ask = |c: usize, n: usize| {
            tool_call("/mcp", (TOOL, json!({ "text": format!("{round} {c} {n}") })))
        };
        bare.push(storm(&direct, each, &ask)?.per_second);
        rates.push(storm(&served, each, &ask)?.per_second);
    }
    let bare = Floor { name: "the same without a proxy", value: Spread::of(bare) };
    let name = format!("calls through the proxy ({what})");
    report.add(Figure::new(name, (Spread::of(rates), "1/s"), Some(bare), Goal::AtLeast(CALLS)));
    Ok(())
}

/// Whether a call was made, receipted, and its answer passed on.
fn check(answer: &[u8]) -> Result<(), Broken> {
    let text = String::from_utf8_lossy(answer);
    let data = text.lines().rev().find_map(|line| line.strip_prefix("data:"));
    let said: Value = serde_json::from_str(data.unwrap_or(&text)).doing("read an answer")?;
    let at = |path: &str| said.pointer(path);
    let is_done = at("/result/_meta/harness~1state").and_then(Value::as_str) == Some("done");
    let receipts = at("/result/_meta/harness~1receipts").and_then(Value::as_array);
    if is_done && receipts.is_some_and(|receipts| !receipts.is_empty()) {
        Ok(())
    } else {
        Err(Broken::new("call through the proxy", said.to_string()))
    }
}

/// A project in front of a server, as the first minute makes it, whose one tool somebody classified.
fn project(
    options: &Options,
    folder: &Path,
    (upstream, mode, effect): (&Upstream, &str, &str),
) -> Result<PathBuf, Broken> {
    let project = folder.join("project");
    let mut first = Command::new(&options.binary);
    first.args(["mcp", "proxy", "--name", "notes", "--mode", mode, "--url", &upstream.url()]);
    first.arg("--project").arg(&project).current_dir(folder).env("USER", "ann");
    let said = first.stdin(Stdio::null()).output().doing("make a project")?;
    if !said.status.success() {
        return Err(Broken::new("make a project", String::from_utf8_lossy(&said.stderr).trim()));
    }
    let edit = |file: &str, from: &str, to: &str| {
        let path = project.join(file);
        let text = fs::read_to_string(&path).doing("read a project")?;
        if !text.contains(from) {
            return Err(Broken::new("edit a project", format!("{file} has no {from:?}")));
        }
        fs::write(path, text.replacen(from, to, 1)).doing("edit a project")
    };
    let (from, to) = (format!("\n  {TOOL}:\n"), format!("\n  {TOOL}:\n    effect: {effect}\n"));
    edit("pack/connectors/notes.yaml", &from, &to)?;
    // Nobody is held back here: what is measured is the work.
    edit("harness.toml", "[policy]", "[serve]\nrequests_per_second = 1000000\n[policy]")?;
    Ok(project)
}

/// From the start of the process to its first answer over its pipes, and what it holds then.
fn first_answer(options: &Options, report: &mut Report) -> Result<(), Broken> {
    let folder = tempfile::tempdir_in(&options.dir).doing("make a folder")?;
    let mut made = Command::new(&options.binary);
    made.args(["new", "desk"]).current_dir(folder.path()).stdin(Stdio::null());
    let made = made.output().doing("make a project")?;
    if !made.status.success() {
        return Err(Broken::new("make a project", String::from_utf8_lossy(&made.stderr).trim()));
    }
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "bench", "version": "1"},
    }});
    let (mut took, mut held, mut floor) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.pick(31, 3) {
        let (bare, _) = wall(|| Command::new("true").status());
        floor.push(millis(bare));
        let began = Instant::now();
        let mut child = Command::new(&options.binary)
            .args(["-q", "mcp", "serve"])
            .current_dir(folder.path().join("desk"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .doing("start a server")?;
        let (to, from) = (child.stdin.take(), child.stdout.take());
        let mut line = String::new();
        let said = to.zip(from).map(|(mut to, from)| {
            writeln!(to, "{hello}")?;
            BufReader::new(from).read_line(&mut line)?;
            took.push(millis(began.elapsed()));
            held.extend(resident_kib(&mut child).map(|kib| kib / 1024.0));
            Ok::<_, std::io::Error>(())
        });
        let _ended = child.kill();
        child.wait().doing("end a server")?;
        said.transpose().doing("ask a server")?;
        if !line.contains("\"result\"") {
            return Err(Broken::new("ask a server", line));
        }
    }
    let floor = Floor { name: "starting `true`", value: Spread::of(floor) };
    let name = "start of `mcp serve` to its first answer";
    report.add(Figure::new(name, (Spread::of(took), "ms"), Some(floor), Goal::AtMost(FIRST_MS)));
    let name = "memory of `mcp serve` then";
    report.add(Figure::new(name, (Spread::of(held), "MiB"), None, Goal::AtMost(HELD_MIB)));
    Ok(())
}

/// A document of many operations becomes a connector.
fn imported(options: &Options, report: &mut Report) -> Result<(), Broken> {
    let folder = tempfile::tempdir_in(&options.dir).doing("make a folder")?;
    let document = folder.path().join("shop.json");
    fs::write(&document, document_of(OPERATIONS).to_string()).doing("write a document")?;
    let mut took = Vec::new();
    for round in 0..options.rounds() {
        let to = folder.path().join(round.to_string());
        fs::create_dir(&to).doing("make a folder")?;
        let mut command = Command::new(&options.binary);
        command.args(["-o", "json", "connector", "import", "openapi", "--name", "shop", "--to"]);
        command.arg(&to).arg(&document).current_dir(folder.path()).stdin(Stdio::null());
        let (spent, said) = wall(|| command.output());
        let said = said.doing("import a document")?;
        if !said.status.success() {
            let why = String::from_utf8_lossy(&said.stderr).trim().to_owned();
            return Err(Broken::new("import a document", why));
        }
        took.push(millis(spent));
    }
    let name = format!("import a document of {OPERATIONS} operations");
    report.add(Figure::new(name, (Spread::of(took), "ms"), None, Goal::AtMost(IMPORT_MS)));
    Ok(())
}

/// An OpenAPI document whose operations share their schemas, as those of one house do.
fn document_of(operations: usize) -> Value {
    let one = |n: usize| {
        let item = json!({"$ref": "#/components/schemas/Item"});
        let answer = json!({"200": {"description": "It", "content": {"application/json": {"schema": item}}}});
        let place =
            json!([{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}]);
        let body = json!({"required": true, "content": {"application/json": {"schema": item}}});
        let get = json!({
            "operationId": format!("get_item_{n}"), "summary": "One of them", "parameters": place,
            "responses": answer,
        });
        let put = json!({
            "operationId": format!("put_item_{n}"), "summary": "Another in its place", "parameters": place,
            "requestBody": body, "responses": answer,
        });
        (format!("/items{n}/{{id}}"), json!({ "get": get, "put": put }))
    };
    let paths: serde_json::Map<String, Value> = (0..operations / 2).map(one).collect();
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Shop", "version": "1"},
        "servers": [{"url": "https://shop.example.com/v1"}],
        "paths": paths,
        "components": {"schemas": {
            "Item": {"type": "object", "required": ["id", "name"], "properties": {
                "id": {"type": "string"}, "name": {"type": "string"},
                "price": {"$ref": "#/components/schemas/Money"},
                "tags": {"type": "array", "items": {"type": "string"}},
            }},
            "Money": {"type": "object", "required": ["minor", "currency"], "properties": {
                "minor": {"type": "integer"}, "currency": {"type": "string", "maxLength": 3},
            }},
        }},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_call_that_was_made_and_receipted_counts() {
        let answer = |state: &str, receipts: Value| {
            let meta = json!({"harness/state": state, "harness/receipts": receipts});
            json!({"result": {"_meta": meta}}).to_string()
        };
        assert!(check(answer("done", json!(["r"])).as_bytes()).is_ok());
        assert!(check(format!("data: {}\n", answer("done", json!(["r"]))).as_bytes()).is_ok());
        assert!(check(answer("done", json!([])).as_bytes()).is_err());
        assert!(check(answer("pending_approval", json!(["r"])).as_bytes()).is_err());
    }
}
