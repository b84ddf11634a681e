//! The demo's home: its own folder with configuration, keys, pack and world. Nothing outside is touched.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::{fs::OpenOptionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use world::{AsOf, Tokens, World, WorldConfig};

use super::{
    explain::Explanations,
    host::make_private_dir,
    intents::PlanView,
    kpis::KpiReport,
    problem::{Kind, Problem},
    receipts::Verified,
    rollbacks::RollbackView,
    runs::{ReplayView, RunDetail},
};

/// The account the demo reviews.
pub const ACCOUNT: &str = "ACC-0042";
/// The idempotency key of the demo's run: the same home is the same run.
pub const KEY: &str = "demo";
/// How long a world lives that nobody stops, in minutes.
const WORLD_MINUTES: u64 = 30;
/// Marks a folder as a demo's own, so that nothing else is ever wiped.
const MARKER: &str = ".harness-demo";
/// What the mark says.
const MARKED: &str = "a demo of harness lives here; it may be deleted\n";

/// A file of the shipped pack.
type Shipped = (&'static str, &'static str);

macro_rules! shipped {
    ($($path:literal)*) => {
        /// The customer-ops pack, as shipped. A test holds it against the folder.
        pub const PACK: &[Shipped] = &[$(($path, include_str!(concat!("../../../../packs/customer-ops/", $path)))),*];
    };
}

include!("demo_files.rs");

/// What the operator of the demo allows; the pack's own policies narrow it.
const OPERATOR: &str = r#"// The operator's policy: what may happen here at all. The pack's policies narrow it further.
@id("demo.reads")
@reason("The demo may read the systems it declares.")
permit (principal, action in Action::"read", resource);

@id("demo.writes")
@reason("The demo may use the pack's writes; each asks a person.")
permit (principal, action in Action::"write", resource);
"#;

/// Where the world is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Base URL of its HTTP systems.
    pub url: String,
    /// Address of its mail sink.
    pub smtp: String,
    /// Its process.
    pub pid: u32,
}

/// The demo's story as one document.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Told {
    /// What might happen, stored before anything did.
    pub plan: PlanView,
    /// What was asked, and answered.
    pub decisions: Vec<Decided>,
    /// What came of it.
    pub run: RunDetail,
    /// Whether its receipts verify.
    pub verified: Verified,
    /// Every write, explained.
    pub explained: Explanations,
    /// What was taken back.
    pub rolled_back: RollbackView,
    /// Whether the world is what it was before the run.
    pub world_restored: bool,
    /// Measures, from the journal.
    pub kpis: KpiReport,
    /// The replay, with the world switched off.
    pub replayed: ReplayView,
}

/// An answer to an ask.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Decided {
    /// The ask.
    pub approval: String,
    /// What it was about, in one sentence.
    pub summary: String,
    /// `approved` or `denied`.
    pub decision: String,
}

/// A demo's folder.
#[derive(Clone, Debug)]
pub struct Home {
    dir: PathBuf,
}

fn failed(what: &str, error: impl std::fmt::Display) -> Problem {
    Problem::new(Kind::Unexpected, "demo", format!("{what}: {error}"))
}

impl Home {
    /// Names a home; nothing is written yet.
    #[must_use]
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.to_path_buf() }
    }

    /// The default home of this user.
    #[must_use]
    pub fn default_dir() -> PathBuf {
        let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
        data.or(home).unwrap_or_else(std::env::temp_dir).join("harness").join("demo")
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.join("harness.toml")
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether a demo has been here.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.dir.join(MARKER).is_file()
    }

    /// Forgets an earlier demo, and only that.
    ///
    /// # Errors
    /// When the folder holds something else, or cannot be removed.
    pub fn wipe(&self) -> Result<(), Problem> {
        let entries = fs::read_dir(&self.dir).map(Iterator::count).unwrap_or(0);
        if !self.dir.exists() || (self.dir.is_dir() && entries == 0) {
            return Ok(());
        }
        if !self.exists() {
            let detail = format!("{} holds something that is not a demo", self.dir.display());
            return Err(
                Problem::usage("demo-home", detail).next("name an empty folder with --home")
            );
        }
        fs::remove_dir_all(&self.dir).map_err(|e| failed("cannot forget the earlier demo", e))
    }

    /// Writes everything the demo needs, for a world at this place.
    ///
    /// # Errors
    /// What could not be written.
    pub fn write(&self, place: &Place) -> Result<(), Problem> {
        let write = |path: PathBuf, text: &str| {
            let folder = path.parent().unwrap_or(&self.dir);
            make_private_dir(folder).map_err(|e| failed("cannot make a folder", e))?;
            let file = fs::OpenOptions::new()
                .create(true)
                .truncate(true)
                .write(true)
                .mode(0o600)
                .open(&path);
            let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
            written.map_err(|e| failed(&format!("cannot write {}", path.display()), e))
        };
        write(self.dir.join(MARKER), MARKED)?;
        for (path, text) in PACK {
            write(self.dir.join("packs/customer-ops").join(path), text)?;
        }
        let tokens = Tokens::from_seed(WorldConfig::default().seed);
        let each = [
            ("crm", tokens.crm),
            ("desk", tokens.desk),
            ("billing", tokens.billing),
            ("usage", tokens.usage),
        ];
        for (name, token) in each {
            write(self.dir.join("secrets").join(name), &token.write)?;
        }
        write(self.dir.join("operator.cedar"), OPERATOR)?;
        let saved = serde_json::to_string_pretty(place).unwrap_or_default();
        write(self.dir.join("world.json"), &saved)?;
        write(self.config(), &self.toml(place))
    }

    fn toml(&self, place: &Place) -> String {
        let mut text = String::from(
            "# Written by `harness demo`. Two people, so that nobody approves what they asked for.\n\
             store = \"store\"\npacks = [\"packs/customer-ops\"]\nme = \"demo-user\"\n\n\
             [approvals]\nterminal = \"name\"   # made-up people: elsewhere a decision needs a token\n\n\
             [policy]\noperator = [\"operator.cedar\"]\n\n\
             [keys]\nreceipts = \"file:keys/receipts.key\"\n\n\
             [people.demo-user]\nroles = [\"requester\", \"operator\"]\n\n\
             [people.demo-approver]\nroles = [\"approver\", \"finance\"]\n",
        );
        for name in ["crm", "desk", "billing", "usage"] {
            text.push_str(&format!(
                "\n[systems.{name}]\nkind = \"http\"\nurl = \"{}/{name}\"\n",
                place.url
            ));
        }
        text.push_str(&format!(
            "\n[systems.smtp]\nkind = \"smtp\"\naddress = \"{}\"\ntls = \"none\"\n",
            place.smtp
        ));
        text.push_str("\n[secrets]\n");
        for name in ["crm", "desk", "billing", "usage"] {
            let path = self.dir.join("secrets").join(name);
            text.push_str(&format!("{name}_token = \"file:{}\"\n", path.display()));
        }
        text
    }

    /// The world this home was written for, if it still answers.
    #[must_use]
    pub fn living_world(&self) -> Option<Place> {
        let place = self.saved_place()?;
        get(&place, "/_world/hash").ok().map(|_| place)
    }

    fn saved_place(&self) -> Option<Place> {
        let text = fs::read_to_string(self.dir.join("world.json")).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// The world's hash when this demo began: `now` for a fresh one, what was noted for one that goes on.
    ///
    /// # Errors
    /// When it cannot be noted.
    pub fn hash_at_start(&self, now: &str) -> Result<String, Problem> {
        let path = self.dir.join("world.hash");
        if let Ok(noted) = fs::read_to_string(&path) {
            return Ok(noted.trim().to_owned());
        }
        fs::write(&path, now).map_err(|e| failed("cannot note the world's hash", e))?;
        Ok(now.to_owned())
    }

    /// Starts the world as a process of its own, at the earlier address where there is one.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_world(&self) -> Result<Place, Problem> {
        make_private_dir(&self.dir).map_err(|e| failed("cannot make the demo's folder", e))?;
        // Marked before anything else lies here: a demo cut off right after is still a demo's own.
        fs::write(self.dir.join(MARKER), MARKED)
            .map_err(|e| failed("cannot mark the folder", e))?;
        let earlier = self.saved_place();
        let again = earlier.and_then(|place| {
            let listen = place.url.strip_prefix("http://")?.to_owned();
            self.spawn_world(&listen, &place.smtp).ok()
        });
        match again {
            Some(place) => Ok(place),
            None => self.spawn_world("127.0.0.1:0", "127.0.0.1:0"),
        }
    }

    fn spawn_world(&self, listen: &str, smtp: &str) -> Result<Place, Problem> {
        let own = std::env::current_exe().map_err(|e| failed("cannot find this program", e))?;
        let mut command = Command::new(own);
        command
            .arg("demo-world")
            .args(["--listen", listen, "--smtp-listen", smtp, "--minutes"])
            .arg(WORLD_MINUTES.to_string())
            .arg("--db")
            .arg(self.dir.join("world.db"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A key pressed at the terminal must not end the world before the run is held.
            .process_group(0);
        let mut child = command.spawn().map_err(|e| failed("cannot start the demo world", e))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            let read = BufReader::new(stdout.take(64 * 1024)).read_line(&mut line);
            read.map_err(|e| failed("the demo world said nothing", e))?;
        }
        serde_json::from_str(&line).map_err(|_| {
            let said = match line.trim() {
                "" => {
                    let db = self.dir.join("world.db");
                    format!("it ended at once; `harness demo-world --db {}` says why", db.display())
                }
                said => said.to_owned(),
            };
            failed("the demo world did not start", said)
        })
    }

    /// Ends the world this home was written for.
    pub fn stop_world(&self) {
        let pid = self.living_world().and_then(|place| i32::try_from(place.pid).ok());
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            // Gone already is as good as ended.
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
}

/// The world's database hash, as it says itself.
///
/// # Errors
/// When it does not answer.
pub fn world_hash(place: &Place) -> Result<String, Problem> {
    let answer = get(place, "/_world/hash")?;
    let text = |key: &str| answer.get(key).and_then(Value::as_str).map(str::to_owned);
    text("sha256")
        .or_else(|| text("hash"))
        .ok_or_else(|| failed("the demo world", "it gave no hash"))
}

/// Messages the world's mail sink holds.
///
/// # Errors
/// When it does not answer.
pub fn world_mail(place: &Place) -> Result<Value, Problem> {
    get(place, "/_world/mail")
}

/// One GET on loopback.
fn get(place: &Place, path: &str) -> Result<Value, Problem> {
    let unreachable = |e: std::io::Error| failed("the demo world does not answer", e);
    let host = place.url.strip_prefix("http://").unwrap_or(&place.url);
    let address: SocketAddr = host.parse().map_err(|e| failed("the demo world's address", e))?;
    let limit = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&address, limit).map_err(unreachable)?;
    stream.set_read_timeout(Some(limit)).map_err(unreachable)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(unreachable)?;
    let mut answer = String::new();
    stream.take(16 * 1024 * 1024).read_to_string(&mut answer).map_err(unreachable)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    serde_json::from_str(body).map_err(|e| failed("the demo world's answer", e))
}

/// How a world is started.
#[derive(Clone, Debug)]
pub struct WorldOptions {
    /// Where its HTTP systems listen.
    pub listen: SocketAddr,
    /// Where its mail sink listens.
    pub smtp_listen: SocketAddr,
    /// Its database; none = in memory.
    pub db: Option<PathBuf>,
    /// What its data grow from.
    pub seed: u64,
    /// How long it lives, in minutes; none = until told to end.
    pub minutes: Option<u64>,
    /// Which clock its answers tell as the time their data are of: `wall`, or its own, `world`.
    pub as_of: Option<String>,
}

/// Runs a world until `end` or its time is up; says where it is once it listens.
///
/// # Errors
/// When it cannot start.
pub async fn run_world(
    options: WorldOptions,
    ready: impl FnOnce(&Place),
    end: impl Future<Output = ()>,
) -> Result<(), Problem> {
    let WorldOptions { listen, smtp_listen, db, seed, minutes, as_of } = options;
    let as_of = match as_of.as_deref() {
        None | Some("wall") => AsOf::Wall,
        Some("world") => AsOf::World,
        Some(other) => {
            return Err(Problem::usage(
                "no-such-clock",
                format!("`{other}` is no clock of a world"),
            )
            .next("write `wall` or `world`"));
        }
    };
    let config = WorldConfig { seed, listen, smtp_listen, db, as_of, ..WorldConfig::default() };
    let world = World::start(config).await.map_err(|e| failed("cannot start the demo world", e))?;
    let place = Place {
        url: world.base_url(),
        smtp: world.smtp_addr().to_string(),
        pid: std::process::id(),
    };
    ready(&place);
    let lifetime = async {
        match minutes {
            Some(minutes) => {
                tokio::time::sleep(Duration::from_secs(minutes.saturating_mul(60))).await
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = end => {}
        () = lifetime => {}
    }
    world.shutdown().await;
    Ok(())
}
