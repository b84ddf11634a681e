//! Programs as connectors, end to end: a pack names a system, the operator's program is started in a sandbox for
//! each call, and what it says is judged, labelled, journaled and replayed like every other answer.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{PERMIT_ALL, Ran, id_of, run_in};

const SECRET: &str = "s3cr3t-of-the-tool-0123456789";

/// What it does is in its arguments.
const TOOL: &str = r#"import json, os, socket, sys, time
call = json.load(sys.stdin)
mode = call["args"]["mode"]
def tried(what):
    try:
        what()
        return True
    except OSError:
        return False
if mode == "echo":
    print(json.dumps({"call": call, "names": sorted(os.environ), "token": os.environ.get("TOOL_TOKEN")}))
elif mode == "reach":
    there = json.loads(call["args"]["there"])
    opened = [path for path in there["files"] if tried(lambda: open(path, "rb").read(1))]
    listed = []
    for path in there["folders"]:
        tried(lambda: listed.extend(os.listdir(path)))
    called = tried(lambda: socket.create_connection(("127.0.0.1", there["port"]), 2))
    wrote = tried(lambda: open(sys.argv[0], "a"))
    scratch = tried(lambda: open(os.path.join(os.environ["TMPDIR"], "x"), "w"))
    print(json.dumps({"opened": opened, "listed": listed, "called": called, "wrote": wrote, "scratch": scratch}))
elif mode == "exit":
    print("the disk is on fire", file=sys.stderr)
    sys.exit(3)
elif mode == "says":
    print(json.dumps({"class": "rate_limit", "message": "come back later", "landed": "no"}))
    sys.exit(1)
elif mode == "pauses":
    print(json.dumps({"class": "in_doubt", "message": "half a day", "retry_after_ms": 43200000}))
    sys.exit(1)
elif mode == "leaks":
    print("A" * 50 + os.environ["TOOL_TOKEN"] + "B" * 274, file=sys.stderr)
    sys.exit(3)
elif mode == "garbage":
    print("no json")
elif mode == "flood":
    print(json.dumps({"text": "x" * 3_000_000}))
elif mode == "asks":
    there = json.loads(call["args"]["there"])
    def ask(url):
        proxy = socket.socket(socket.AF_UNIX)
        proxy.connect(os.environ["HARNESS_PROXY"])
        proxy.sendall(f"GET {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: mine\r\n\r\n".encode())
        answer = b""
        while part := proxy.recv(65536):
            answer += part
        return answer.decode()
    print(json.dumps({"answers": [ask(url) for url in there]}))
elif mode == "fetches":
    import subprocess, urllib.request
    there = json.loads(call["args"]["there"])
    def fetch(url):
        try:
            return urllib.request.urlopen(url, timeout=10).read().decode()
        except OSError as error:
            return str(error)
    curl = subprocess.run(["curl", "-s", there[0]], capture_output=True, text=True).stdout
    print(json.dumps({"answers": [fetch(url) for url in there] + [curl]}))
elif mode == "stands":
    if os.fork() == 0:
        os.execvp("sleep", ["sleep", call["args"]["there"]])
    time.sleep(3600)
"#;

const PACK: &str = r#"schema: harness.pack/v1
name: tools
version: 0.1.0
owner: tests
description: A program that is told what to do.
harness: ">=0.1"
asks: {operations: [tool.look, tool.save], secrets: [], egress: []}
roles: [approver]
constants: {}
"#;

const CONNECTOR: &str = r#"schema: harness.connector/v1
name: tool
kind: process
system: tool
defaults:
  labels: {trust: verified, confidentiality: internal}
  clearance: {confidentiality: internal}
operations:
  look:
    effect: read
    summary: "Look: {/mode}"
    timeout_ms: 20000
    input: INPUT
    output: {type: object}
  save:
    effect: write
    summary: "Save: {/mode}"
    timeout_ms: 20000
    input: INPUT
    output: {type: object}
"#;

/// An intent for each operation.
fn intent(operation: &str) -> [(String, String); 2] {
    let intent = format!(
        "schema: harness.intent/v1\nname: {operation}\ntitle: Do it\ninput:\n  type: object\n  required: [mode, there]\n  \
         additionalProperties: false\n  properties: {{mode: {{type: string}}, there: {{type: string}}}}\n\
         playbook: {operation}\nagent: agent:tools\ntriggers: [{operation} it]\nexamples: []\nsubjects: {{}}\n"
    );
    let playbook = format!(
        "schema: harness.playbook/v1\nname: {operation}\nsteps:\n  - id: tool\n    do: tool.{operation}\n    with:\n      \
         mode: ${{{{ intent.mode }}}}\n      there: ${{{{ intent.there }}}}\n    on_failure:\n      \
         rate_limit: [stop]\n      unavailable: [stop]\n      timeout: [stop]\n      \
         unexpected_shape: [stop]\n  - id: result\n    return: ${{{{ steps.tool.output }}}}\n"
    );
    [
        (format!("intents/{operation}.yaml"), intent),
        (format!("playbooks/{operation}.yaml"), playbook),
    ]
}

/// A store, a pack of one program, and what it may reach.
struct Shop {
    dir: TempDir,
}

impl Shop {
    fn open(tier: &str) -> Self {
        let shop = Self { dir: tempfile::tempdir().unwrap() };
        let input = "{type: object, required: [mode, there], additionalProperties: false, \
                     properties: {mode: {type: string}, there: {type: string}}}";
        let connector = CONNECTOR.replace("INPUT", input);
        let files = [("pack.yaml".to_owned(), PACK.to_owned())].into_iter();
        let files = files.chain([("connectors/tool.yaml".to_owned(), connector)]);
        for (path, text) in files.chain(intent("look")).chain(intent("save")) {
            let path = shop.path("pack").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::write(shop.path("tool.py"), TOOL).unwrap();
        fs::write(shop.path("operator.cedar"), PERMIT_ALL).unwrap();
        let secret = shop.path("token");
        fs::write(&secret, SECRET).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let script = shop.path("tool.py").display().to_string();
        let config = format!(
            "store = \"store\"\npacks = [\"pack\"]\nme = \"ulla\"\napprovals.terminal = \"name\"\n\
             [people.ulla]\nroles = [\"requester\", \"approver\", \"operator\"]\n\
             [people.mira]\nroles = [\"approver\"]\n[keys]\nreceipts = \"file:keys/receipts.key\"\n[policy]\noperator = [\"operator.cedar\"]\n\
             [secrets]\ntool_token = \"file:{}\"\n\
             [systems.tool]\nkind = \"process\"\nrun = [\"/usr/bin/python3\", \"{script}\"]\ntier = \"{tier}\"\n\
             secrets = {{ TOOL_TOKEN = \"tool_token\" }}\n\
             [systems.tool.profile.paths]\nread = [\"{script}\"]\n",
            secret.display()
        );
        fs::write(shop.path("harness.toml"), config).unwrap();
        shop
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(below)
    }

    fn json(&self, args: &[&str]) -> Ran {
        run_in(self.dir.path(), &[&["-o", "json"], args].concat())
    }

    fn doctor(&self) -> Value {
        let checks = self.json(&["doctor"]).document()["checks"].clone();
        let checks = checks.as_array().unwrap().clone();
        checks.into_iter().find(|check| check["id"] == "programs").unwrap()
    }

    /// Whether this machine can hold the program; where it cannot, that it is refused and why is what is to be seen.
    fn is_held(&self) -> bool {
        let check = self.doctor();
        if check["result"] == "ok" {
            return true;
        }
        assert!(
            std::env::var_os("HARNESS_TEST_SANDBOX").is_none_or(|all| all != "all"),
            "{check:#}"
        );
        let ended = self.look("look", json!({ "mode": "echo", "there": "" }));
        assert_eq!(ended["run"]["status"], "failed", "{ended:#}");
        let said = ended["troubles"][0]["said"].as_str().unwrap();
        assert!(said.contains("was not started"), "{said}");
        println!("skipped: {}", check["found"]);
        false
    }

    /// Runs an intent to its end: the run in full.
    fn look(&self, intent: &str, inputs: Value) -> Value {
        let key = format!("{intent}-{inputs}");
        let key = format!("k{:x}", key.len()) + inputs["mode"].as_str().unwrap();
        let inputs = inputs.to_string();
        let submit = ["intent", "submit", intent, "--json", &inputs, "--idempotency-key", &key];
        let run = id_of(&self.json(&submit).document());
        self.json(&["run", "get", &run]).exits(0).document()
    }

    /// The configuration that a run is pinned to.
    fn plan_config(&self, ended: &Value) -> Value {
        let run = ended["run"]["id"].as_str().unwrap();
        let events = self.json(&["run", "events", run]).exits(0).document();
        let config = events["items"][0]["body"]["header"]["config"].clone();
        assert!(config.is_string(), "{events:#}");
        config
    }

    fn replays(&self, ended: &Value) {
        let run = ended["run"]["id"].as_str().unwrap();
        let replay = self.json(&["run", "replay", run]).exits(0).document();
        assert_eq!(replay["identical"], true, "{replay:#}");
    }
}

fn echo() -> Value {
    json!({ "mode": "echo", "there": "" })
}

/// C150: the secret in its environment stands neither in the run that it told it to nor in what is exported of it.
#[test]
fn a_program_reads_its_call_and_answers_it_and_a_replay_needs_no_program() {
    for tier in ["restricted", "isolated"] {
        let shop = Shop::open(tier);
        if !shop.is_held() {
            continue;
        }
        assert_eq!(shop.doctor()["found"], format!("tool ({tier} sandbox)"));
        let ended = shop.look("look", echo());
        assert_eq!(ended["run"]["status"], "succeeded", "{ended:#}");
        let call = &ended["output"]["call"];
        assert_eq!(call["schema"], "harness.call/v1");
        assert_eq!(call["operation"], "tool.look");
        assert_eq!(call["args"], echo());
        assert_eq!(call["run"], ended["run"]["id"]);
        assert!(call["key"].as_str().is_some_and(|key| !key.is_empty()), "{call}");
        // Nothing is inherited; its secret is there, and never comes back.
        let names = &ended["output"]["names"];
        let mut known = json!(["LANG", "LC_CTYPE", "PATH", "TMPDIR", "TOOL_TOKEN"]);
        if names.as_array().unwrap().len() == 4 {
            known.as_array_mut().unwrap().remove(1);
        }
        assert_eq!(*names, known, "{tier}");
        assert!(!ended.to_string().contains(SECRET), "{ended:#}");
        let run = ended["run"]["id"].as_str().unwrap();
        let exported = shop.path("run.bundle").display().to_string();
        shop.json(&["run", "export", run, "--to", &exported]).exits(0);
        assert!(!crate::support::holds(&fs::read(&exported).unwrap(), SECRET));
        fs::remove_file(shop.path("tool.py")).unwrap();
        shop.replays(&ended);
    }
}

/// C126: a connector that is turned against its host reads no credential of another, no file and no store. C146: without
/// rules it has no network at all.
#[test]
fn a_program_reaches_neither_secrets_nor_the_store_nor_a_network() {
    for tier in ["restricted", "isolated"] {
        let shop = Shop::open(tier);
        if !shop.is_held() {
            continue;
        }
        shop.json(&["doctor"]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let files = ["token", "harness.toml", "operator.cedar", "keys/receipts.key"];
        let files = files.map(|name| shop.path(name));
        assert!(files.iter().all(|path| path.is_file()), "what is tried to be read is there");
        let folders = [shop.path("store"), shop.path("keys"), shop.path("")];
        let there = json!({
            "files": files, "folders": folders, "port": listener.local_addr().unwrap().port(),
        });
        let ended = shop.look("look", json!({ "mode": "reach", "there": there.to_string() }));
        // In a tree of its own the folder around the program exists, and holds the program.
        let listed = if tier == "isolated" { json!(["tool.py"]) } else { json!([]) };
        let expected = json!({
            "opened": [], "listed": listed, "called": false, "wrote": false, "scratch": true,
        });
        assert_eq!(ended["output"], expected, "{tier}: {ended:#}");
    }
}

/// An HTTP server that answers with what it was asked.
fn echoing() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, seen) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())));
    let kept = Arc::clone(&seen);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut asked) = (stream.unwrap(), String::new());
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while !asked.ends_with("\r\n\r\n") && reader.read_line(&mut asked).unwrap() > 0 {}
            kept.lock().unwrap().push(asked.clone());
            let length = asked.len();
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            stream.write_all((head + &asked).as_bytes()).unwrap();
        }
    });
    (port, seen)
}

/// C151: the secret is added outside of where the program runs.
#[test]
fn a_program_asks_the_outside_only_what_rules_allow_and_never_sees_the_secret() {
    let shop = Shop::open("isolated");
    if !shop.is_held() {
        return;
    }
    let (port, seen) = echoing();
    let config = fs::read_to_string(shop.path("harness.toml")).unwrap();
    let config = config.replace("secrets = { TOOL_TOKEN = \"tool_token\" }\n", "");
    let rule = format!(
        "[[systems.tool.egress]]\nhost = \"127.0.0.1\"\nscheme = \"http\"\nport = {port}\nmethods = [\"GET\"]\n\
         paths = [\"/open/**\"]\nprivate = [\"127.0.0.1\"]\n\
         inject = [{{ header = \"authorization\", prefix = \"Bearer \", secret = \"tool_token\" }}]\n"
    );
    fs::write(shop.path("harness.toml"), config + &rule).unwrap();
    // What leaves is a fact of the operation, for policy and for people.
    let refused = shop.json(&["doctor"]).exits(2).problem();
    let said = "`tool` may ask the outside for something; say `egress: true`";
    assert!(refused["detail"].as_str().unwrap().contains(said), "{refused:#}");
    let connector = shop.path("pack/connectors/tool.yaml");
    let text = fs::read_to_string(&connector).unwrap();
    let text = text.replace("  look:\n", "  look:\n    egress: true\n");
    fs::write(&connector, text.replace("  save:\n", "  save:\n    egress: true\n")).unwrap();
    let pack = shop.path("pack/pack.yaml");
    let text = fs::read_to_string(&pack).unwrap();
    fs::write(&pack, text.replace("egress: []", "egress: [\"system:tool\"]")).unwrap();
    let urls = [
        format!("http://127.0.0.1:{port}/open/1"),
        format!("http://127.0.0.1:{port}/closed"),
        "http://169.254.169.254/latest".to_owned(),
    ];
    let there = json!(urls).to_string();
    let ended = shop.look("look", json!({ "mode": "asks", "there": there }));
    assert_eq!(ended["run"]["status"], "succeeded", "{ended:#}");
    let answers = ended["output"]["answers"].as_array().unwrap();
    let answer = |n: usize| answers[n].as_str().unwrap();
    assert!(answer(0).starts_with("HTTP/1.1 200"), "{answers:#?}");
    assert!(answer(1).starts_with("HTTP/1.1 403") && answer(1).contains("egress-"), "{answers:#?}");
    assert!(answer(2).starts_with("HTTP/1.1 403") && answer(2).contains("egress-"), "{answers:#?}");
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 1, "what is refused goes nowhere: {seen:#?}");
    assert!(
        seen[0].to_lowercase().contains(&format!("authorization: bearer {SECRET}")),
        "{seen:#?}"
    );
    assert!(!seen[0].contains("mine"), "{seen:#?}");
    // C146, C218: each is kept with its run, what was refused included.
    let run = ended["run"]["id"].as_str().unwrap();
    let egress = shop.json(&["run", "egress", run]).exits(0).document();
    let items = egress["items"].as_array().unwrap();
    let told: Vec<_> = items.iter().map(|one| (&one["path"], &one["refused"])).collect();
    assert_eq!(told.len(), 3, "{egress:#}");
    assert_eq!(told[0], (&json!("/open/1"), &json!(null)), "{egress:#}");
    assert!(told[1..].iter().all(|(_, refused)| refused.is_string()), "{egress:#}");
    assert!(!egress.to_string().contains(SECRET), "{egress:#}");
    assert!(!ended.to_string().contains(SECRET), "{ended:#}");
}

/// C146, C218, C220: what knows `HTTP_PROXY` and no socket asks under the same rules, and is written down as well.
#[test]
fn usual_programs_ask_through_a_port_under_the_same_rules() {
    let shop = Shop::open("isolated");
    if !shop.is_held() {
        return;
    }
    let (port, seen) = echoing();
    let config = fs::read_to_string(shop.path("harness.toml")).unwrap();
    let paths = "[systems.tool.profile.paths]\n";
    let config =
        config.replace(paths, &format!("[systems.tool.profile]\nproxy_port = 3128\n{paths}"));
    let rule = format!(
        "[[systems.tool.egress]]\nhost = \"127.0.0.1\"\nscheme = \"http\"\nport = {port}\nmethods = [\"GET\"]\n\
         paths = [\"/open/**\"]\nprivate = [\"127.0.0.1\"]\n"
    );
    fs::write(shop.path("harness.toml"), config + &rule).unwrap();
    let connector = shop.path("pack/connectors/tool.yaml");
    let text = fs::read_to_string(&connector).unwrap();
    let text = text.replace("  look:\n", "  look:\n    egress: true\n");
    fs::write(&connector, text.replace("  save:\n", "  save:\n    egress: true\n")).unwrap();
    let pack = shop.path("pack/pack.yaml");
    let text = fs::read_to_string(&pack).unwrap();
    fs::write(&pack, text.replace("egress: []", "egress: [\"system:tool\"]")).unwrap();
    let urls =
        [format!("http://127.0.0.1:{port}/open/1"), format!("http://127.0.0.1:{port}/closed")];
    let there = json!(urls).to_string();
    let ended = shop.look("look", json!({ "mode": "fetches", "there": there }));
    assert_eq!(ended["run"]["status"], "succeeded", "{ended:#}");
    let answers = ended["output"]["answers"].as_array().unwrap();
    let answer = |n: usize| answers[n].as_str().unwrap();
    assert!(answer(0).starts_with("GET /open/1 HTTP/1.1"), "{answers:#?}");
    assert!(answer(1).contains("403"), "{answers:#?}");
    assert!(answer(2).contains("curl/"), "{answers:#?}");
    assert_eq!(seen.lock().unwrap().len(), 2, "what is refused goes nowhere");
    let run = ended["run"]["id"].as_str().unwrap();
    let egress = shop.json(&["run", "egress", run]).exits(0).document();
    assert_eq!(egress["items"].as_array().unwrap().len(), 3, "{egress:#}");
}

const IMAGE: &str =
    "example.org/tools@sha256:00000000000000000000000000000000000000000000000000000000000000aa";

/// Speaks as podman does, as far as it is asked; what it runs, it runs on this machine.
const ENGINE: &str = r#"#!/bin/sh
state=@STATE@
printf '%s\n' "$*" >> "$state/log"
verb=$1; shift
case $verb in
info) echo '{"host":{"cgroupVersion":"v2","cgroupControllers":["cpu","memory","pids"],"security":{"rootless":true,"seccompEnabled":true}}}' ;;
create)
  for word; do
    case $word in
    --name=*) name=${word#--name=} ;;
    --entrypoint=*) entry=${word#--entrypoint=} ;;
    --*) ;;
    *) break ;;
    esac
    shift
  done
  shift
  mkdir -p "$state/$name"
  printf '%s\n' "$entry" "$@" > "$state/$name/words"
  echo 0123456789abcdef ;;
start)
  exec 3<&0
  xargs -d '\n' -a "$state/$3/words" sh -c 'exec "$@" <&3' sh ;;
rm) for name; do :; done; rm -rf "$state/$name" ;;
inspect) echo false ;;
*) : ;;
esac
"#;

impl Shop {
    fn reconfigure(&self, from: &str, to: &str) {
        let config = fs::read_to_string(self.path("harness.toml")).unwrap();
        assert!(config.contains(from), "{config}");
        fs::write(self.path("harness.toml"), config.replace(from, to)).unwrap();
    }

    /// With an engine of this name and the image, beside the paths of the profile.
    fn in_container(&self, container: &str) {
        let paths = "[systems.tool.profile.paths]\n";
        self.reconfigure(paths, &format!("[systems.tool.container]\n{container}\n{paths}"));
    }
}

/// C226, C231: a program runs on an image that is pinned by its digest, by an engine that is asked for exactly that.
#[test]
fn a_program_runs_in_a_container_of_a_pinned_image() {
    let shop = Shop::open("container");
    let engine = shop.path("podman");
    fs::create_dir(shop.path("engine")).unwrap();
    let script = ENGINE.replace("@STATE@", &shop.path("engine").display().to_string());
    fs::write(&engine, script).unwrap();
    fs::set_permissions(&engine, fs::Permissions::from_mode(0o755)).unwrap();
    let program = engine.display();
    // A secret is never told to an engine: it would stand in a command line.
    let refused = shop.json(&["doctor"]).exits(2).problem();
    assert!(refused["detail"].as_str().unwrap().contains("inject"), "{refused:#}");
    shop.reconfigure("secrets = { TOOL_TOKEN = \"tool_token\" }\n", "");
    shop.in_container(&format!(
        "image = \"{IMAGE}\"\nengine = \"podman\"\nprogram = \"{program}\""
    ));
    assert_eq!(shop.doctor()["found"], "tool (container sandbox)");
    let ended = shop.look("look", echo());
    assert_eq!(ended["run"]["status"], "succeeded", "{ended:#}");
    assert_eq!(ended["output"]["call"]["args"], echo());
    let log = fs::read_to_string(shop.path("engine/log")).unwrap();
    let created = log.lines().find(|line| line.starts_with("create ")).unwrap();
    for word in ["--network=none", "--pull=never", "--cap-drop=all", IMAGE] {
        assert!(created.contains(word), "{word}: {created}");
    }
    // Another image is another configuration, which runs are pinned to.
    let before = shop.plan_config(&ended);
    let other = IMAGE.replace("00aa", "00bb");
    shop.reconfigure(IMAGE, &other);
    let again = shop.look("look", json!({ "mode": "echo", "there": "once more" }));
    assert_ne!(shop.plan_config(&again), before);
}

/// C226, C227: what this machine lacks for a tier is refused by its name, and nothing runs in a weaker one.
#[test]
fn a_tier_that_is_not_there_is_refused_by_name() {
    let shop = Shop::open("container");
    shop.reconfigure("secrets = { TOOL_TOKEN = \"tool_token\" }\n", "");
    let refused = shop.json(&["doctor"]).exits(2).problem();
    assert!(refused["detail"].as_str().unwrap().contains("container.image"), "{refused:#}");
    shop.in_container("image = \"example.org/tools:latest\"");
    let refused = shop.json(&["doctor"]).exits(2).problem();
    assert!(refused["detail"].as_str().unwrap().contains("digest"), "{refused:#}");
    let nobody = shop.path("nobody").display().to_string();
    let nowhere = format!("image = \"{IMAGE}\"\nengine = \"podman\"\nprogram = \"{nobody}\"");
    shop.reconfigure("image = \"example.org/tools:latest\"", &nowhere);
    let check = shop.doctor();
    assert!(
        check["result"] != "ok" && check["found"].as_str().unwrap().contains("engine"),
        "{check:#}"
    );
    let ended = shop.look("look", echo());
    assert_eq!(ended["run"]["status"], "failed", "{ended:#}");
    assert!(
        ended["troubles"][0]["said"].as_str().unwrap().contains("was not started"),
        "{ended:#}"
    );
    shop.reconfigure(&format!("[systems.tool.container]\n{nowhere}\n"), "");
    shop.reconfigure("tier = \"container\"", "tier = \"microvm\"");
    let check = shop.doctor();
    assert!(check["found"].as_str().unwrap().contains("/dev/kvm"), "{check:#}");
}

/// C128: what failed is told by its class, also to whoever plans next; C126: a program that crashes takes nothing else with
/// it, since the next call of the same system is answered.
#[test]
fn every_way_to_fail_has_its_class() {
    let shop = Shop::open("restricted");
    if !shop.is_held() {
        return;
    }
    let ways = [
        ("exit", "unavailable", "ended with exit code 3: the disk is on fire"),
        ("says", "rate_limit", "come back later"),
        ("garbage", "unexpected_shape", ""),
        ("flood", "unexpected_shape", "wrote more than 1048576 bytes"),
        ("pauses", "unavailable", "half a day"),
    ];
    for (mode, class, said) in ways {
        let ended = shop.look("look", json!({ "mode": mode, "there": "" }));
        let trouble = &ended["troubles"][0];
        assert_eq!(trouble["class"], class, "{mode}: {trouble:#}");
        assert!(trouble["said"].as_str().unwrap().contains(said), "{mode}: {trouble:#}");
        assert_eq!(trouble["landed"], "no", "{mode}: a read has no effect");
        shop.replays(&ended);
    }
    assert_eq!(shop.look("look", echo())["run"]["status"], "succeeded", "the next one is answered");
}

/// C229, C231: what a program runs in is part of the configuration that its receipt names. Nothing widens it for a run that
/// is under way; a wider one is another start under another digest.
#[test]
fn a_receipt_names_what_its_program_ran_in() {
    let shop = Shop::open("restricted");
    if !shop.is_held() {
        return;
    }
    let config = |ended: &Value| {
        assert_eq!(ended["run"]["status"], "succeeded", "{ended:#}");
        let receipt = ended["actions"][0]["receipt"].as_str().unwrap();
        let receipt = shop.json(&["receipt", "get", receipt]).exits(0).document();
        receipt["statement"]["predicate"]["config"].as_str().unwrap().to_owned()
    };
    // Each is a run of its own.
    let other = |there: &str| json!({ "mode": "echo", "there": there });
    let first = config(&shop.look("look", echo()));
    assert_eq!(config(&shop.look("look", other("1"))), first, "the same walls");
    let text = fs::read_to_string(shop.path("harness.toml")).unwrap();
    let wider = text.replace(
        "[systems.tool.profile.paths]\nread = [",
        "[systems.tool.profile.paths]\nread = [\"/var\", ",
    );
    assert_ne!(wider, text);
    fs::write(shop.path("harness.toml"), wider).unwrap();
    assert_ne!(config(&shop.look("look", other("22"))), first, "wider walls are others");
}

/// What is cut is cut after secrets were taken out: half of one would not be known.
#[test]
fn no_part_of_a_secret_comes_back_in_a_failure() {
    let shop = Shop::open("restricted");
    if !shop.is_held() {
        return;
    }
    let ended = shop.look("look", json!({ "mode": "leaks", "there": "" }));
    assert_eq!(ended["troubles"][0]["class"], "unavailable", "{ended:#}");
    assert!(!ended.to_string().contains("tool-0123456789"), "{ended:#}");
}

#[test]
fn what_a_failed_write_did_is_unknown_unless_its_program_says_so() {
    let shop = Shop::open("restricted");
    if !shop.is_held() {
        return;
    }
    let approved = |mode: &str| {
        let asking = shop.look("save", json!({ "mode": mode, "there": "" }));
        assert_eq!(asking["run"]["status"], "asking", "no way back is declared: {asking:#}");
        let approval = asking["waiting_for"][0].as_str().unwrap();
        let card = shop.json(&["approval", "get", approval]).exits(0).document();
        let digest = card["digest"].as_str().unwrap();
        shop.json(&["--as", "mira", "approval", "approve", approval, "--digest", digest]);
        let run = asking["run"]["id"].as_str().unwrap();
        shop.json(&["run", "get", run]).exits(0).document()
    };
    let unknown = approved("exit");
    assert_eq!(unknown["run"]["status"], "needs_person", "{unknown:#}");
    let open = shop.json(&["exception", "list"]).exits(0).document();
    assert_eq!(open["items"][0]["need"], "in_doubt", "{open:#}");
    let refused = approved("says");
    assert_eq!(refused["troubles"][0]["landed"], "no", "{refused:#}");
    assert_eq!(approved("echo")["run"]["status"], "succeeded");
}

#[test]
fn a_program_that_stands_still_is_ended_with_all_it_started() {
    let shop = Shop::open("restricted");
    if !shop.is_held() {
        return;
    }
    let connector = shop.path("pack/connectors/tool.yaml");
    let text = fs::read_to_string(&connector).unwrap().replace("20000", "1500");
    fs::write(&connector, text).unwrap();
    // Nothing else on this machine sleeps exactly so long.
    let span = format!("98{}", std::process::id());
    let ended = shop.look("look", json!({ "mode": "stands", "there": span }));
    let trouble = &ended["troubles"][0];
    assert_eq!(trouble["class"], "timeout", "{trouble:#}");
    let sleeps = |entry: fs::DirEntry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line == format!("sleep\0{span}\0").into_bytes()
    };
    let left = fs::read_dir("/proc").unwrap().flatten().any(sleeps);
    assert!(!left, "what it started goes on");
}

#[test]
fn what_is_declared_wrongly_is_refused_at_its_place() {
    let cases = [
        ("run = [\"/usr/bin/python3\"", "run = [] #", "`run` must name a program"),
        (
            "TOOL_TOKEN = \"tool_token\"",
            "TOOL_TOKEN = \"tool_tokem\"",
            "did you mean `tool_token`?",
        ),
        ("tier = \"restricted\"", "tier = \"open\"", "open"),
        ("[systems.tool.profile.paths]", "[systems.tool.profile.path]", "path"),
        ("read = [\"/", "read = [\"tool/../", "no absolute path"),
        (
            "[systems.tool.profile.paths]",
            "egress = [{ host = \"a.example\", methods = [\"GET\"], paths = [\"/**\"] }]\n[systems.tool.profile.paths]",
            "`egress` needs `tier",
        ),
        ("TOOL_TOKEN =", "PATH =", "`PATH` is in `secrets` and in the profile's environment"),
    ];
    for (from, to, said) in cases {
        let shop = Shop::open("restricted");
        let config = shop.path("harness.toml");
        let text = fs::read_to_string(&config).unwrap();
        assert_eq!(text.matches(from).count(), 1, "{from}");
        fs::write(&config, text.replace(from, to)).unwrap();
        let problem = shop.json(&["doctor"]).exits(2).problem();
        assert!(problem.to_string().contains(said), "{from}: {problem:#}");
    }
}
