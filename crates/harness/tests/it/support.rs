//! The built binary, a world of its own, a folder of its own. Nothing of the user's is touched and no
//! process outlives its test.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The program under test.
pub(crate) const BIN: &str = env!("CARGO_BIN_EXE_harness");

/// The address of the demo's champion: no file of a store may hold it in clear.
pub(crate) const CANARY: &str = "ana.keller@northwind-robotics.example";

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The program with an empty user: no configuration, no store, no colour wish, no variable of ours.
pub(crate) fn program(dir: &Path) -> Command {
    let mut command = Command::new(BIN);
    let user = dir.join("user");
    fs::create_dir_all(&user).unwrap();
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HARNESS_") {
            command.env_remove(name);
        }
    }
    command
        .current_dir(dir)
        .env("HOME", &user)
        .env("XDG_CONFIG_HOME", user.join("config"))
        .env("XDG_DATA_HOME", user.join("data"))
        .env("XDG_CACHE_HOME", user.join("cache"))
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
        .env("COLUMNS", "80")
        .stdin(Stdio::null());
    command
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    said: String,
}

impl Ran {
    pub(crate) fn of(said: &[&str], output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            said: said.join(" "),
        }
    }

    /// Holds the exit code, and shows everything when it is another.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "harness {}: {self:#?}", self.said);
        self
    }

    /// The one document on standard output, which names its schema.
    #[track_caller]
    pub(crate) fn document(&self) -> Value {
        let text = &self.stdout;
        assert!(text.ends_with('\n') && text.trim_end().lines().count() == 1, "{self:#?}");
        let value: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {self:#?}"));
        assert!(value["schema"].is_string(), "{self:#?}");
        value
    }

    /// The one problem on standard error; nothing stands on standard output.
    #[track_caller]
    pub(crate) fn problem(&self) -> Value {
        assert_eq!(self.stdout, "", "{self:#?}");
        assert_eq!(self.stderr.trim_end().lines().count(), 1, "{self:#?}");
        let value: Value =
            serde_json::from_str(&self.stderr).unwrap_or_else(|e| panic!("{e}: {self:#?}"));
        assert_eq!(value["schema"], "harness.problem/v1", "{self:#?}");
        assert!(value["detail"].as_str().is_some_and(|d| !d.is_empty()), "{self:#?}");
        value
    }
}

/// Runs the program in a folder of its own, without a configuration.
pub(crate) fn run_in(dir: &Path, args: &[&str]) -> Ran {
    Ran::of(args, program(dir).args(args).output().unwrap())
}

/// The demo companies, in a process of their own that ends with this value.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) url: String,
    pub(crate) smtp: String,
    child: Option<Child>,
    pid: u32,
}

impl World {
    pub(crate) fn start(dir: &Path) -> Self {
        Self::start_for(dir, 20)
    }

    /// A world that ends by itself after so many minutes at the latest.
    pub(crate) fn start_for(dir: &Path, minutes: u64) -> Self {
        Self::start_with(dir, &["--minutes", &minutes.to_string()])
    }

    fn start_with(dir: &Path, more: &[&str]) -> Self {
        let mut child = program(dir)
            .arg("demo-world")
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut world = Self::at(&serde_json::from_str(&line).unwrap());
        world.child = Some(child);
        world
    }

    /// A world that somebody else started, as `world.json` says.
    pub(crate) fn at(place: &Value) -> Self {
        let text = |key: &str| place[key].as_str().unwrap().to_owned();
        let pid = u32::try_from(place["pid"].as_u64().unwrap()).unwrap();
        Self { url: text("url"), smtp: text("smtp"), child: None, pid }
    }

    /// Ends it now.
    pub(crate) fn stop(&mut self) {
        match self.child.take() {
            Some(mut child) => {
                let _gone = child.kill();
                child.wait().unwrap();
            }
            None => kill(self.pid, "KILL"),
        }
    }

    /// One request; the answer's status and JSON body.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let host = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let system = path.trim_start_matches('/').split('/').next().unwrap();
        let token = if system == "_world" { String::new() } else { self.token(system) };
        let key = match method {
            "PATCH" => {
                format!(
                    "Idempotency-Key: {}\r\n",
                    kernel::Digest::of(body.to_string().as_bytes()).hex()
                )
            }
            _ => String::new(),
        };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n{key}\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}")))
    }

    pub(crate) fn token(&self, system: &str) -> String {
        let (_, world) = self.ask("GET", "/_world", &Value::Null);
        world["tokens"][system]["write"].as_str().unwrap().to_owned()
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, &Value::Null);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Every effect it was asked for, as it counted them itself.
    pub(crate) fn effects(&self) -> Vec<Value> {
        self.get("/_world/effects")["effects"].as_array().unwrap().clone()
    }

    /// Its own hash over all business records.
    pub(crate) fn hash(&self) -> String {
        self.get("/_world/hash")["hash"].as_str().unwrap().to_owned()
    }

    pub(crate) fn mails(&self) -> Vec<Value> {
        self.get("/_world/mail")["messages"].as_array().unwrap().clone()
    }

    pub(crate) fn fault(&self, rule: &Value) {
        let (status, body) = self.ask("POST", "/_world/faults", rule);
        assert_eq!(status, 201, "{body}");
    }

    pub(crate) fn heal(&self) {
        let (status, body) = self.ask("DELETE", "/_world/faults", &Value::Null);
        assert_eq!(status, 200, "{body}");
    }

    /// Nothing happened twice, as the world saw it.
    #[track_caller]
    pub(crate) fn performed_nothing_twice(&self) {
        for effect in self.effects() {
            let times = effect["times_performed"].as_u64().unwrap();
            assert!(times <= 1, "performed {times} times: {effect}");
            assert!(effect["key"].is_string(), "an effect without a key: {effect}");
        }
        let mail = self.get("/_world/mail");
        assert_eq!(mail["duplicates"], 0, "{mail}");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Sends a signal to one process by id; one that is gone is gone.
pub(crate) fn kill(pid: u32, signal: &str) {
    let _gone = Command::new("kill")
        .args(["-s", signal, "--", &pid.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// Who may do what in an office.
pub(crate) const PERMIT_ALL: &str = "@id(\"office.all\")\n@reason(\"The office uses its pack.\")\n\
     permit (principal, action, resource);\n";

/// A folder with a hand-written harness.toml, three people, and a world to work on.
#[derive(Debug)]
pub(crate) struct Office {
    serving: Option<Serving>,
    pub(crate) world: World,
    dir: TempDir,
    /// Variables of every command.
    variables: Vec<(&'static str, String)>,
}

impl Office {
    /// An office whose operator permits what the pack wants.
    pub(crate) fn open() -> Self {
        Self::with_policy(Some(PERMIT_ALL))
    }

    /// As [`Office::open`], with an owner who answers: timers run, and every command is quicker.
    pub(crate) fn served() -> Self {
        let mut office = Self::open();
        office.serving = Some(Serving::start(&office));
        office
    }

    /// As [`Office::open`], for a long day of so many minutes.
    pub(crate) fn open_for(minutes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = World::start_for(dir.path(), minutes);
        Self::furnished(dir, world, Some(PERMIT_ALL))
    }

    /// As [`Office::open`], in a world whose data are of its own time, which stands still unless moved.
    pub(crate) fn out_of_time() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = World::start_with(dir.path(), &["--minutes", "20", "--as-of", "world"]);
        Self::furnished(dir, world, Some(PERMIT_ALL))
    }

    /// An office with this operator policy, or none at all.
    pub(crate) fn with_policy(policy: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = World::start(dir.path());
        Self::furnished(dir, world, policy)
    }

    fn furnished(dir: TempDir, world: World, policy: Option<&str>) -> Self {
        let office = Self { serving: None, world, dir, variables: Vec::new() };
        copy(&root().join("packs/customer-ops"), &office.path("packs/customer-ops"));
        fs::create_dir_all(office.path("secrets")).unwrap();
        for system in ["crm", "desk", "billing", "usage"] {
            let path = office.path(&format!("secrets/{system}"));
            fs::write(&path, office.world.token(system)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        if let Some(policy) = policy {
            fs::write(office.path("operator.cedar"), policy).unwrap();
        }
        fs::write(office.config(), office.toml(policy)).unwrap();
        office
    }

    fn toml(&self, policy: Option<&str>) -> String {
        let mut text = String::from(
            "store = \"store\"\npacks = [\"packs/customer-ops\"]\nme = \"ulla\"\n\
             approvals.terminal = \"name\"\n\
             [people.ulla]\nroles = [\"requester\", \"approver\", \"operator\"]\n\
             [people.mira]\nroles = [\"approver\", \"finance\"]\n\
             [people.ada]\nroles = [\"admin\"]\n\
             [people.lars]\nroles = [\"viewer\"]\n\
             [keys]\nreceipts = \"file:keys/receipts.key\"\n",
        );
        if policy.is_some() {
            text.push_str("[policy]\noperator = [\"operator.cedar\"]\n");
        }
        let mut secrets = String::from("[secrets]\n");
        for system in ["crm", "desk", "billing", "usage"] {
            let url = &self.world.url;
            text.push_str(&format!(
                "[systems.{system}]\nkind = \"http\"\nurl = \"{url}/{system}\"\n"
            ));
            let path = self.path(&format!("secrets/{system}"));
            secrets.push_str(&format!("{system}_token = \"file:{}\"\n", path.display()));
        }
        let smtp = &self.world.smtp;
        text.push_str(&format!(
            "[systems.smtp]\nkind = \"smtp\"\naddress = \"{smtp}\"\ntls = \"none\"\n"
        ));
        text + &secrets
    }

    /// Says something else in the configuration, where it says `from`.
    #[track_caller]
    pub(crate) fn reconfigure(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.config()).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(self.config(), text.replacen(from, to, 1)).unwrap();
    }

    /// A path below the office's folder.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("harness.toml")
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A command in this office, not yet started.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = program(self.dir());
        command.arg("--config").arg(self.config()).args(args);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// From now on commands have this variable.
    pub(crate) fn set(&mut self, name: &'static str, value: &str) {
        self.variables.push((name, value.to_owned()));
    }

    /// Runs a command that reads this from its standard input.
    pub(crate) fn tell(&self, args: &[&str], input: &str) -> Ran {
        let mut command = self.command(args);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // One that refuses before it reads has closed it.
        let _closed = child.stdin.take().unwrap().write_all(input.as_bytes());
        Ran::of(args, child.wait_with_output().unwrap())
    }

    /// Runs a command as it is typed.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::of(args, self.command(args).output().unwrap())
    }

    /// Runs a command in JSON mode.
    pub(crate) fn json(&self, args: &[&str]) -> Ran {
        self.run(&[args, &["-o", "json"]].concat())
    }

    /// Runs a command in JSON mode as another person.
    pub(crate) fn json_as(&self, person: &str, args: &[&str]) -> Ran {
        self.json(&[&["--as", person], args].concat())
    }

    /// Submits a change of a contract's payment terms; it asks before it writes.
    pub(crate) fn submit_change(&self, account: &str, days: u32, key: &str) -> Value {
        let submitted = self.json(&change(account, days, key).each()).exits(0).document();
        assert_eq!(submitted["run"]["status"], "asking", "{submitted}");
        submitted
    }

    /// The open approval of a run: its id and the digest of its card.
    pub(crate) fn card(&self, run: &str) -> (String, String) {
        let detail = self.json(&["run", "get", run]).exits(0).document();
        let approval = detail["waiting_for"][0].as_str().unwrap_or_else(|| panic!("{detail:#}"));
        let card = self.json(&["approval", "get", approval]).exits(0).document();
        (approval.to_owned(), card["digest"].as_str().unwrap().to_owned())
    }

    /// Approves what a run asks, as mira.
    pub(crate) fn approve(&self, run: &str) -> Ran {
        let (approval, digest) = self.card(run);
        self.json_as("mira", &["approval", "approve", &approval, "--digest", &digest])
    }

    /// A run of a contract change that has ended well: its id.
    pub(crate) fn changed(&self, account: &str, days: u32, key: &str) -> String {
        let submitted = self.submit_change(account, days, key);
        let run = id_of(&submitted);
        let approved = self.approve(&run).exits(0).document();
        assert_eq!(approved["status"], "succeeded", "{approved}");
        run
    }

    /// The contract of an account as the CRM has it.
    pub(crate) fn contract(&self, account: &str) -> Value {
        self.world.get(&format!("/crm/contracts/{}", account.replace("ACC", "CTR")))
    }

    /// Changes a contract behind the harness's back.
    pub(crate) fn meddle(&self, account: &str, change: &Value) {
        let path = format!("/crm/contracts/{}", account.replace("ACC", "CTR"));
        let (status, body) = self.world.ask("PATCH", &path, change);
        assert_eq!(status, 200, "{body}");
    }

    /// Writes the world asked for so far, each with how often it was performed.
    pub(crate) fn writes(&self) -> Vec<Value> {
        self.world.effects().into_iter().filter(|e| e["key"].is_string()).collect()
    }
}

/// `harness serve`, from the moment it says that it serves; killed when its value goes.
#[derive(Debug)]
pub(crate) struct Serving(Child);

impl Serving {
    pub(crate) fn start(office: &Office) -> Self {
        Self::with(office, &["serve"]).0
    }

    /// With the API and the UI at a free port of this machine: the host and port.
    pub(crate) fn listening(office: &Office) -> (Self, String) {
        let (serving, line) = Self::with(office, &["serve", "--listen", "127.0.0.1:0"]);
        let (_, place) = line.split_once(" at http://").unwrap_or_else(|| panic!("{line}"));
        (serving, place.split(';').next().unwrap().to_owned())
    }

    /// As [`Serving::listening`], with a log of this level in a file.
    pub(crate) fn logging(office: &Office, level: &str, log: &Path) -> (Self, String) {
        Self::logging_of(office.command(&["serve", "--listen", "127.0.0.1:0"]), level, log)
    }

    /// The same of a command that was put together elsewhere.
    pub(crate) fn logging_of(mut command: Command, level: &str, log: &Path) -> (Self, String) {
        command.env("HARNESS_LOG", level).stderr(fs::File::create(log).unwrap());
        let mut child = command.spawn().unwrap();
        loop {
            let said = fs::read_to_string(log).unwrap();
            let place = said.lines().find_map(|line| line.split_once(" at http://"));
            if let Some((_, place)) = place.filter(|(begins, _)| begins.starts_with("serving ")) {
                return (Self(child), place.split(';').next().unwrap().to_owned());
            }
            assert!(child.try_wait().unwrap().is_none(), "{said}");
            std::thread::yield_now();
        }
    }

    fn with(office: &Office, args: &[&str]) -> (Self, String) {
        Self::of(office.command(args))
    }

    /// As a command that was put together elsewhere, with the line that it serves by.
    pub(crate) fn of(mut command: Command) -> (Self, String) {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("serving "), "{line}");
        (Self(child), line)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Tells it to end, and waits until it has.
    pub(crate) fn end(mut self, signal: &str) -> Option<i32> {
        kill(self.0.id(), signal);
        self.0.wait().unwrap().code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// The arguments of a submission.
#[derive(Debug)]
pub(crate) struct Words(Vec<String>);

impl Words {
    pub(crate) fn each(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}

/// `intent submit contract_field_change`, under a key.
pub(crate) fn change(account: &str, days: u32, key: &str) -> Words {
    let inputs = json!({
        "account": account, "field": "PaymentTermsDays", "value": days.to_string(),
        "reason": "as agreed in the call",
    });
    let inputs = inputs.to_string();
    let words =
        ["intent", "submit", "contract_field_change", "--json", &inputs, "--idempotency-key", key];
    Words(words.map(str::to_owned).to_vec())
}

/// The run's id in an answer that shows one.
pub(crate) fn id_of(answer: &Value) -> String {
    let id = answer.pointer("/run/id").or(answer.get("id"));
    id.and_then(Value::as_str).unwrap_or_else(|| panic!("no run in {answer}")).to_owned()
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Every file below a folder, with its bytes.
pub(crate) fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(current) = folders.pop() {
        for entry in fs::read_dir(&current).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let bytes = fs::read(&path).unwrap();
                found.push((path, bytes));
            }
        }
    }
    found
}

/// Whether bytes hold a text.
pub(crate) fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// A demo's folder; its world ends with this value.
#[derive(Debug)]
pub(crate) struct DemoHome {
    dir: TempDir,
}

impl DemoHome {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("demo")
    }

    /// `harness demo` in this home, not yet started.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = program(self.dir.path());
        command.arg("demo").arg("--home").arg(self.path()).args(args);
        command
    }

    pub(crate) fn demo(&self, args: &[&str]) -> Ran {
        Ran::of(args, self.command(args).output().unwrap())
    }

    /// Any other command, on the demo's store.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        let config = self.path().join("harness.toml");
        let output = program(self.dir.path()).arg("--config").arg(config).args(args).output();
        Ran::of(args, output.unwrap())
    }

    /// Where its world was last.
    pub(crate) fn place(&self) -> Option<Value> {
        let text = fs::read_to_string(self.path().join("world.json")).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// The world of this home, played again from its database: a finished demo has switched it off.
    pub(crate) fn world_again(&self) -> World {
        let mut child = program(self.dir.path())
            .args(["demo-world", "--minutes", "20", "--db"])
            .arg(self.path().join("world.db"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut world = World::at(&serde_json::from_str(&line).unwrap());
        world.child = Some(child);
        world
    }
}

impl Drop for DemoHome {
    fn drop(&mut self) {
        // The world of a killed demo plays on, recorded or not: end it, and only it. The folder's name
        // is this test's alone.
        let home = self.path().display().to_string();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if holds(&line, "demo-world") && holds(&line, &home) {
                kill(pid, "KILL");
            }
        }
    }
}
