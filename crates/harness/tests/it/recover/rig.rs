//! An app of its own on a world of its own, both in this process: every call crosses a socket.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use harness::app::{
    App, Caller,
    config::{Config, Overrides},
    host::Lock,
    ops,
    problem::Problem,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use world::{Fault, World, WorldConfig};

use crate::support::{PERMIT_ALL, root};

/// How long a call of the help desk may take here, in milliseconds: long enough for an answer on
/// loopback, short enough to wait for when there is none.
const DESK_TIMEOUT_MS: u32 = 1_500;

/// Systems with a token.
const SYSTEMS: [&str; 4] = ["crm", "desk", "billing", "usage"];

/// A pack's files, by path.
pub(crate) type Files = Vec<(String, String)>;

/// A shipped connector, its help desk with a short patience.
pub(crate) fn connector(name: &str) -> (String, String) {
    let path = root().join(format!("packs/customer-ops/connectors/{name}.yaml"));
    let text = fs::read_to_string(path).unwrap();
    let patience = format!("timeout_ms: {DESK_TIMEOUT_MS}");
    let text = if name == "desk" { text.replacen("timeout_ms: 8000", &patience, 1) } else { text };
    (format!("connectors/{name}.yaml"), text)
}

/// Every file of the customer-ops pack, its help desk with a short patience.
pub(crate) fn customer_ops() -> Files {
    let folder = root().join("packs/customer-ops");
    let mut files: Files = crate::support::files(&folder)
        .into_iter()
        .map(|(path, bytes)| {
            let path = path.strip_prefix(&folder).unwrap().display().to_string();
            (path, String::from_utf8(bytes).unwrap())
        })
        .collect();
    files.retain(|(path, _)| path != "connectors/desk.yaml");
    files.push(connector("desk"));
    // What waits for a second in an office waits for nothing here: no test sits a pause out.
    for (_, text) in files.iter_mut().filter(|(path, _)| path == "exceptions.yaml") {
        for delay in ["delay: 1s", "delay: 2s", "delay: 5s"] {
            *text = text.replace(delay, "delay: 0ms");
        }
    }
    files
}

/// Replaces text that stands in a file exactly once.
pub(crate) fn edit(files: &mut Files, path: &str, from: &str, to: &str) {
    let (_, text) = files.iter_mut().find(|(known, _)| known == path).unwrap();
    assert_eq!(text.matches(from).count(), 1, "`{from}` in {path}");
    *text = text.replace(from, to);
}

/// An open store over a world, and the people of an office.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) app: Arc<App>,
    pub(crate) world: World,
    dir: TempDir,
}

impl Rig {
    /// A store that this pack is configured in, and a world with these faults.
    pub(crate) async fn open(files: &Files, faults: Vec<Fault>) -> Result<Self, Problem> {
        Self::open_with(files, faults, "").await
    }

    /// As [`Rig::open`], with more lines of configuration.
    pub(crate) async fn open_with(
        files: &Files,
        faults: Vec<Fault>,
        more: &str,
    ) -> Result<Self, Problem> {
        let world = World::start(WorldConfig { faults, ..WorldConfig::default() }).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        write_all(dir.path(), files, &world, more);
        let app = open(dir.path()).await?;
        Ok(Self { app, world, dir })
    }

    /// Closes the store and opens it again: another process, as far as the journal can tell.
    pub(crate) async fn reopen(self) -> Self {
        self.app.shut_down().await.unwrap();
        let Self { app, world, dir } = self;
        drop(app);
        let app = open(dir.path()).await.unwrap();
        Self { app, world, dir }
    }

    /// Ends without a farewell and opens again: nothing was held, nothing was drained.
    pub(crate) async fn crash(self) -> Self {
        let Self { app, world, dir } = self;
        let app = Arc::into_inner(app).expect("a parked run keeps nothing of the app");
        drop(app);
        let app = open(dir.path()).await.unwrap();
        Self { app, world, dir }
    }

    /// One operation of the facade, as this person.
    pub(crate) async fn call(&self, who: &str, op: &str, body: Value) -> Result<Value, Problem> {
        let caller = Caller::person(self.app.config(), who).unwrap();
        ops::call(&self.app, &caller, op, body).await
    }

    pub(crate) async fn ok(&self, who: &str, op: &str, body: Value) -> Value {
        self.call(who, op, body).await.unwrap_or_else(|problem| panic!("{op}: {problem:#?}"))
    }

    /// Submits an intent and waits until its run parks: the run's id.
    pub(crate) async fn submit(&self, intent: &str, inputs: Value, key: &str) -> String {
        let body = json!({
            "intent": intent, "inputs": inputs, "idempotency_key": key, "wait_ms": 60_000,
        });
        let submitted = self.ok("ulla", "intent.submit", body).await;
        submitted["run"]["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn run(&self, run: &str) -> Value {
        self.ok("ulla", "run.get", json!({"run": run})).await
    }

    pub(crate) async fn explain(&self, id: &str) -> Value {
        self.ok("ulla", "explain", json!({"id": id})).await
    }

    /// Answers the open question of a run, as mira.
    pub(crate) async fn reply(&self, run: &str, value: Value) -> Value {
        let detail = self.run(run).await;
        let question = detail["waiting_for"][0].as_str().unwrap_or_else(|| panic!("{detail:#}"));
        let body =
            json!({"approval": question, "verb": "reply", "value": value, "wait_ms": 60_000});
        self.ok("mira", "approval.decide", body).await;
        self.run(run).await
    }

    /// Approves whatever a run asks for, one ask after the other, as mira.
    pub(crate) async fn approve_all(&self, run: &str) -> Value {
        loop {
            let detail = self.run(run).await;
            let Some(approval) = detail["waiting_for"][0].as_str() else { return detail };
            let card = self.ok("mira", "approval.get", json!({"approval": approval})).await;
            let body = json!({
                "approval": approval, "verb": "approve", "digest": card["digest"], "wait_ms": 60_000,
            });
            self.ok("mira", "approval.decide", body).await;
        }
    }

    /// Settles the open exception of a run, as mira.
    pub(crate) async fn settle(&self, run: &str, verb: &str, value: Value) -> Value {
        let detail = self.run(run).await;
        let exception = detail["exceptions"][0].as_str().unwrap_or_else(|| panic!("{detail:#}"));
        let body = json!({
            "exception": exception, "verb": verb, "value": value, "evidence": "seen by a test",
        });
        self.ok("mira", "exception.settle", body).await;
        self.run(run).await
    }

    /// What the world says at a path.
    pub(crate) async fn world_get(&self, path: &str) -> Value {
        self.world_ask("GET", path, &Value::Null).await
    }

    /// Asks the world for something: its answer's body.
    pub(crate) async fn world_ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let tokens = self.world.tokens();
        let token = match path.trim_start_matches('/').split('/').next() {
            Some("crm") => &tokens.crm.write,
            Some("desk") => &tokens.desk.write,
            Some("billing") => &tokens.billing.write,
            _ => &tokens.usage.write,
        };
        let mut stream = TcpStream::connect(self.world.http_addr()).await.unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: world\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    /// Effects the world was asked for, as it counted them: none was performed twice.
    pub(crate) async fn effects(&self) -> Vec<Value> {
        let effects =
            self.world_get("/_world/effects").await["effects"].as_array().unwrap().clone();
        for effect in &effects {
            assert!(effect["times_performed"].as_u64().unwrap() <= 1, "{effect}");
        }
        assert_eq!(self.world_get("/_world/mail").await["duplicates"], 0);
        effects
    }

    /// The world's hash over everything businesses would notice.
    pub(crate) async fn hash(&self) -> Value {
        self.world_get("/_world/hash").await["hash"].clone()
    }
}

async fn open(dir: &Path) -> Result<Arc<App>, Problem> {
    let overrides = Overrides { config: Some(dir.join("harness.toml")), ..Overrides::default() };
    let config = Config::load(&overrides, dir)?;
    let lock = Lock::take(&config.store)?.expect("nobody else owns this store");
    App::open(config, lock).await
}

fn write_all(dir: &Path, files: &Files, world: &World, more: &str) {
    for (path, text) in files {
        let path = dir.join("pack").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fs::write(dir.join("operator.cedar"), PERMIT_ALL).unwrap();
    fs::create_dir_all(dir.join("secrets")).unwrap();
    let tokens = world.tokens();
    let tokens = [&tokens.crm, &tokens.desk, &tokens.billing, &tokens.usage];
    let mut secrets = String::from("[secrets]\n");
    let mut systems = String::new();
    for (system, token) in SYSTEMS.iter().zip(tokens) {
        let path = dir.join("secrets").join(system);
        fs::write(&path, &token.write).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        secrets.push_str(&format!("{system}_token = \"file:{}\"\n", path.display()));
        let url = format!("{}/{system}", world.base_url());
        systems.push_str(&format!("[systems.{system}]\nkind = \"http\"\nurl = \"{url}\"\n"));
    }
    let smtp = world.smtp_addr();
    systems.push_str(&format!(
        "[systems.smtp]\nkind = \"smtp\"\naddress = \"{smtp}\"\ntls = \"none\"\n"
    ));
    let config = format!(
        "store = \"store\"\npacks = [\"pack\"]\nme = \"ulla\"\napprovals.terminal = \"name\"\n\
         [people.ulla]\nroles = [\"requester\", \"operator\"]\n[people.mira]\nroles = [\"approver\", \"finance\"]\n\
         [keys]\nreceipts = \"file:keys/receipts.key\"\n[policy]\noperator = [\"operator.cedar\"]\n\
         {systems}{secrets}{more}"
    );
    fs::write(dir.join("harness.toml"), config).unwrap();
}
