//! Connections to servers: made when they are needed, kept while they are sound, made anew when they are over.
//!
//! A program is shared by the runs of one tenant, unless it has a way out: then each run has its own, so that what it asks
//! of the outside stands beside that run. What keeps one tenant's program from another's is the sandbox.

mod look;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ::mcp::client::{
    Able, CONNECT_WITHIN, Client, Error as ClientError, Generation, Http, Listener, Prompt,
    ServerIs, Setup, Tool,
    oauth::{Grant, Login},
};
use kernel::{
    exception::{Class, Landed},
    id::{Digest, RunId, Tenant},
    port::Failure,
};
use reqwest::Url;
use sandbox::{Leash, Profile, Tier};
use secrets::Use;
use tokio::sync::{Mutex as Slot, OwnedMutexGuard};

use super::{
    Errand, Wire,
    ears::{AnsweredBy, Ears},
    failure,
    permission::Permission,
};
use crate::{
    call::{Arrived, Call, fail},
    clock::Clock,
    error::Error,
    process::Program,
    redact::Redactor,
    secret::Vault,
    started::{Talking, Walls},
    system::{MayAsk, McpHeader, McpSystem, ProcessSystem, Speaks},
    way_out::{Around, Opened},
};

/// How long a server may take until it has answered its first message. Whoever waits for it waits no longer than its
/// own call may; the next one finds it ready.
const START_WITHIN: Duration = Duration::from_secs(60);

/// How long a server that is let go of may take to end.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(2);

/// Shortest time that people may be waited for, in milliseconds.
const WITHIN_MIN_MS: u32 = 1_000;

/// Most connections to one server at the same time.
const LIVE_MAX: usize = 32;

/// Whose connection it is: a run's own where there is one.
type Key = (Tenant, Option<RunId>);

type Place = Arc<Slot<Option<Arc<Live>>>>;

/// One declared server, and the connections to it.
pub(crate) struct Servers {
    name: String,
    reach: Reach,
    /// What it may ask of whoever a call is passed on for.
    may: Able,
    /// Who of ours answers where no client does.
    answered: Option<AnsweredBy>,
    generation: Generation,
    live: Mutex<BTreeMap<Key, Place>>,
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Servers").field("name", &self.name).finish_non_exhaustive()
    }
}

enum Reach {
    Program(Box<Program>),
    Http(Box<Address>),
}

struct Address {
    url: String,
    headers: BTreeMap<String, McpHeader>,
    /// What is granted over OAuth, where it wants that.
    permission: Option<Permission>,
    host: String,
    port: Option<u16>,
    path: String,
}

impl Address {
    fn asked<'a>(&'a self, system: &'a str) -> Use<'a> {
        let (host, path) = (Some(self.host.as_str()), Some(self.path.as_str()));
        Use { host, port: self.port, method: Some("POST"), path, ..Use::by(system) }
    }
}

/// A connection that was made.
struct Live {
    client: Client,
    ears: Arc<Ears>,
    born_boot_ms: u64,
    /// How long it may live, in milliseconds; none where nothing ends it.
    lives_ms: Option<u64>,
    /// Which secrets it was made with.
    made_with: Digest,
    _program: Option<Leash>,
    _out: Opened,
}

/// All that is needed to make a connection.
struct Prepared {
    name: String,
    generation: Generation,
    what: Ready,
    out: Opened,
    made_with: Digest,
    clock: Arc<dyn Clock>,
    redactor: Arc<Redactor>,
    ears: Arc<Ears>,
}

enum Ready {
    Program { walls: Walls, run: Vec<String>, profile: Box<Profile> },
    Http(Http),
}

/// A server as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    /// Who it says that it is.
    pub server: ServerIs,
    /// Its tools.
    pub tools: Vec<Tool>,
    /// Its prompts.
    pub prompts: Vec<Prompt>,
}

impl Servers {
    pub(crate) fn new(name: &str, declared: &McpSystem, vault: &Vault) -> Result<Self, Error> {
        let wrong =
            |problem: &str| Error::System { system: name.to_owned(), problem: problem.to_owned() };
        let reach = match (&declared.url, declared.run.is_empty()) {
            (None, false) => {
                if !declared.headers.is_empty() || declared.oauth.is_some() {
                    let problem = "`headers` and `oauth` belong to `url`; a program has `secrets`";
                    return Err(wrong(problem));
                }
                if declared.tier < Tier::Isolated {
                    let problem = "an MCP server is a program that others wrote: `tier` is \"isolated\" or \"container\"";
                    return Err(wrong(problem));
                }
                Reach::Program(Box::new(Program::new(name, &process(declared), vault)?))
            }
            (Some(url), true) => {
                if !declared.secrets.is_empty() || !declared.egress.0.is_empty() {
                    let problem =
                        "`secrets` and `egress` belong to `run`; a server at a `url` has `headers`";
                    return Err(wrong(problem));
                }
                Reach::Http(Box::new(address(name, url, declared, vault)?))
            }
            _ => return Err(wrong("say either `run` (a program) or `url` (its address)")),
        };
        let may = |what| declared.may_ask.contains(&what);
        let may = Able {
            elicitation: may(MayAsk::Elicitation),
            sampling: may(MayAsk::Sampling),
            roots: may(MayAsk::Roots),
        };
        let answered = answered(declared).map_err(wrong)?;
        let generation = match declared.speaks {
            Speaks::Either => Generation::Either,
            Speaks::Sessions => Generation::Sessions,
            Speaks::Stateless => Generation::Stateless,
        };
        let (name, live) = (name.to_owned(), Mutex::default());
        Ok(Self { name, reach, may, answered, generation, live })
    }

    /// Whether its program may ask the outside for anything.
    pub(crate) fn has_way_out(&self) -> bool {
        match &self.reach {
            Reach::Program(program) => program.has_way_out(),
            Reach::Http(_) => false,
        }
    }

    /// Whether this machine can hold its profile, where it is a program.
    pub(crate) fn held(&self) -> Option<Result<Tier, String>> {
        match &self.reach {
            Reach::Program(program) => Some(program.held()),
            Reach::Http(_) => None,
        }
    }

    /// Makes a call.
    pub(crate) async fn call(
        &self,
        errand: &Errand,
        (call, around): (&Call, &Around<'_>),
        wire: &Wire<'_>,
    ) -> Result<Arrived, Failure> {
        wire.departure.check()?;
        let run = self.has_way_out().then(|| call.run.clone());
        let key = (call.tenant.clone(), run);
        let mut live = match self.live(&key, Some(call), around).await {
            Err(refused) if self.renewed(around, refused.class).await? => {
                self.live(&key, Some(call), around).await?
            }
            made => made?,
        };
        let mut tools = errand.look(&live.client).await;
        if matches!(&tools, Err(ClientError::Refused(refusal)) if !refusal.too_narrow)
            && self.renewed(around, Class::Permission).await?
        {
            live = self.live(&key, Some(call), around).await?;
            tools = errand.look(&live.client).await;
        }
        if live.client.is_over() || matches!(tools, Err(ClientError::Over)) {
            // It ended meanwhile, and nothing but a look has reached it.
            self.forget(&key);
            live = self.live(&key, Some(call), around).await?;
            tools = errand.look(&live.client).await;
        }
        let tools = tools.map_err(|error| failure(error, Landed::No))?;
        if matches!(self.reach, Reach::Http(_)) && wire.departure.left() < CONNECT_WITHIN {
            let message =
                "too late to send: what is left of the dispatch window does not suffice to connect";
            return Err(fail(Class::Timeout, Landed::No, message));
        }
        let during = live.ears.during((call, &self.answered), &live.client, wire.departure).await;
        errand.run((&live.client, tools), (call, during.listener().as_ref()), wire).await
    }

    /// What a run started of its own is ended with it.
    pub(crate) fn over(&self, tenant: &Tenant, run: &RunId) {
        self.forget(&(tenant.clone(), Some(run.clone())));
    }

    fn forget(&self, key: &Key) {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    fn place(&self, key: &Key) -> Result<Place, Failure> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if !live.contains_key(key) && live.len() >= LIVE_MAX {
            let idle = live.iter().find(|(_, place)| is_idle(place)).map(|(key, _)| key.clone());
            let idle = idle.ok_or_else(|| {
                let message =
                    format!("`{}` has {LIVE_MAX} connections, all of them busy", self.name);
                fail(Class::Unavailable, Landed::No, message)
            })?;
            live.remove(&idle);
        }
        Ok(Arc::clone(live.entry(key.clone()).or_default()))
    }

    /// A connection that will live as long as the call may take.
    async fn live(
        &self,
        key: &Key,
        call: Option<&Call>,
        around: &Around<'_>,
    ) -> Result<Arc<Live>, Failure> {
        self.permitted(around, None).await?;
        let mut place = self.place(key)?.lock_owned().await;
        let needs_ms = call.map_or(0, |call| u64::from(call.operation.timeout_ms));
        let made_with = self.made_with(around.vault)?;
        if let Some(live) = place.as_ref().filter(|live| live.made_with == made_with)
            && live.lasts(needs_ms, around.clock.boot_ms())
        {
            return Ok(Arc::clone(live));
        }
        *place = None;
        let prepared = self.prepare(call, around)?;
        // Whoever gives up waiting leaves it to the next one.
        let started = tokio::spawn(make(prepared, place)).await;
        started.unwrap_or_else(|error| {
            let message = format!("`{}` could not be started: {error}", self.name);
            Err(fail(Class::Unavailable, Landed::No, message))
        })
    }

    /// Sees to it that what is shown to the server is good for a while, where it wants OAuth. Nobody is waited for: where a
    /// person has to log in, that is the failure.
    async fn permitted(&self, around: &Around<'_>, refused: Option<&str>) -> Result<(), Failure> {
        let Some(permission) = self.permission() else { return Ok(()) };
        let now_ms = around.clock.now_ms();
        permission.token(around.vault, (now_ms, refused)).await.map(drop)
    }

    /// Whether what the server refused could be renewed.
    async fn renewed(&self, around: &Around<'_>, class: Class) -> Result<bool, Failure> {
        let Some(permission) = self.permission().filter(|_| class == Class::Permission) else {
            return Ok(false);
        };
        let shown = permission.shown()?;
        self.permitted(around, Some(&shown)).await.map(|()| true)
    }

    /// Begins a login of a person: where their browser is sent back to.
    pub(crate) async fn log_in(&self, redirect: &str, vault: &Vault) -> Result<Login, Failure> {
        self.permission().ok_or_else(|| self.unasked())?.login(redirect, vault).await
    }

    /// Keeps what was granted.
    pub(crate) fn keep(&self, grant: &Grant, now_ms: i64) -> Result<(), Failure> {
        self.permission().ok_or_else(|| self.unasked())?.keep(grant, now_ms)
    }

    fn unasked(&self) -> Failure {
        let name = &self.name;
        let text = format!("`{name}` wants no login: [systems.{name}] has no `oauth`");
        fail(Class::InvalidArguments, Landed::No, text)
    }

    fn permission(&self) -> Option<&Permission> {
        match &self.reach {
            Reach::Http(address) => address.permission.as_ref(),
            Reach::Program(_) => None,
        }
    }

    /// Which secrets a connection is made with now; never their values.
    fn made_with(&self, vault: &Vault) -> Result<Digest, Failure> {
        let all = match &self.reach {
            Reach::Program(program) => {
                let profile = program.whole_profile(vault)?;
                serde_json::to_vec(&profile.environment).unwrap_or_default()
            }
            Reach::Http(address) => {
                serde_json::to_vec(&self.headers(address, vault)?).unwrap_or_default()
            }
        };
        Ok(Digest::of(&all))
    }

    fn headers(&self, address: &Address, vault: &Vault) -> Result<Vec<(String, String)>, Failure> {
        let one = |(name, header): (&String, &McpHeader)| {
            let value = vault.resolve(&header.secret, &address.asked(&self.name));
            let value = value.map_err(|e| fail(Class::Permission, Landed::No, e.to_string()))?;
            Ok((name.clone(), format!("{}{}", header.prefix, value.expose())))
        };
        let mut headers = address.headers.iter().map(one).collect::<Result<Vec<_>, Failure>>()?;
        if let Some(permission) = &address.permission {
            let bearer = format!("Bearer {}", permission.shown()?.as_str());
            headers.push(("authorization".to_owned(), bearer));
        }
        Ok(headers)
    }

    fn prepare(&self, call: Option<&Call>, around: &Around<'_>) -> Result<Prepared, Failure> {
        let mut out = Opened::default();
        let what = match &self.reach {
            Reach::Program(program) => {
                let mut profile = program.whole_profile(around.vault)?;
                if let Some(call) = call {
                    out = program.open(call, around, &mut profile)?;
                }
                let (walls, run) = program.parts();
                Ready::Program { walls, run, profile: Box::new(profile) }
            }
            Reach::Http(address) => {
                let headers = self.headers(address, around.vault)?;
                Ready::Http(Http { url: address.url.clone(), headers })
            }
        };
        Ok(Prepared {
            name: self.name.clone(),
            generation: self.generation,
            what,
            out,
            made_with: self.made_with(around.vault)?,
            clock: Arc::clone(around.clock),
            redactor: around.vault.redactor(),
            ears: Ears::new(
                (&self.name, self.may),
                Arc::clone(around.passing),
                around.vault.redactor(),
            ),
        })
    }
}

fn is_idle(place: &Place) -> bool {
    let free = place.try_lock();
    free.is_ok_and(|live| live.as_ref().is_none_or(|live| Arc::strong_count(live) == 1))
}

impl Live {
    /// Whether it is there for as long as the call may take.
    fn lasts(&self, needs_ms: u64, now_boot_ms: u64) -> bool {
        let age_ms = now_boot_ms.saturating_sub(self.born_boot_ms);
        !self.client.is_over()
            && self.lives_ms.is_none_or(|lives_ms| age_ms.saturating_add(needs_ms) <= lives_ms)
    }
}

/// Makes a connection and leaves it where the next one finds it.
async fn make(
    prepared: Prepared,
    mut place: OwnedMutexGuard<Option<Arc<Live>>>,
) -> Result<Arc<Live>, Failure> {
    let born_boot_ms = prepared.clock.boot_ms();
    let (client, program) = start(&prepared).await?;
    let lives_ms = match &prepared.what {
        Ready::Program { profile, .. } => Some(profile.limits.deadline_ms),
        Ready::Http(_) => None,
    };
    let Prepared { made_with, out, ears, .. } = prepared;
    let live =
        Live { client, ears, born_boot_ms, lives_ms, made_with, _program: program, _out: out };
    let live = Arc::new(live);
    *place = Some(Arc::clone(&live));
    Ok(live)
}

/// Makes a connection: the leash of the program, where there is one.
async fn start(prepared: &Prepared) -> Result<(Client, Option<Leash>), Failure> {
    let generation = prepared.generation;
    let setup = Setup { within: START_WITHIN, generation, ..Setup::default() };
    let listener = Arc::clone(&prepared.ears) as Arc<dyn Listener>;
    let (walls, run, profile) = match &prepared.what {
        Ready::Http(http) => {
            let client = Client::over_http_for(http, setup, Some(listener)).await;
            return client.map(|client| (client, None)).map_err(|e| failure(e, Landed::No));
        }
        Ready::Program { walls, run, profile } => (walls, run, profile),
    };
    let name = &prepared.name;
    let talking = walls.talk(name, ((**profile).clone(), run), &prepared.clock).await?;
    let Talking { from, to, leash, ended } = talking;
    match Client::over_pipes_for(from, to, setup, Some(listener)).await {
        Ok(client) => Ok((client, Some(leash))),
        Err(error) => {
            drop(leash);
            let plain = failure(error, Landed::No);
            // Why a server could not be talked to, with the end of what its program wrote about it.
            Err(match ended.told(&prepared.redactor).await {
                Some(how) => {
                    Failure { message: format!("`{name}` could not be talked to{how}"), ..plain }
                }
                None => plain,
            })
        }
    }
}

/// Who of ours answers what this server asks, where no client does.
fn answered(declared: &McpSystem) -> Result<Option<AnsweredBy>, &'static str> {
    let within = declared.answered_within_ms;
    let Some(role) = &declared.answered_by else {
        return match within {
            None => Ok(None),
            Some(_) => Err("`answered_within_ms` needs `answered_by`: the role that answers"),
        };
    };
    if !declared.may_ask.contains(&MayAsk::Elicitation) {
        return Err("`answered_by` needs `may_ask = [\"elicitation\"]`: else nobody is asked");
    }
    if role.trim().is_empty() {
        return Err("`answered_by` is the name of a role");
    }
    if within.is_some_and(|ms| ms < WITHIN_MIN_MS) {
        return Err("`answered_within_ms` is at least 1000: nobody answers sooner");
    }
    let within = within.map(|ms| Duration::from_millis(u64::from(ms)));
    Ok(Some(AnsweredBy { role: role.clone(), within }))
}

/// A server as the program that it is.
fn process(declared: &McpSystem) -> ProcessSystem {
    ProcessSystem {
        run: declared.run.clone(),
        tier: declared.tier,
        container: declared.container.clone(),
        profile: declared.profile.clone(),
        egress: declared.egress.clone(),
        secrets: declared.secrets.clone(),
        rate: declared.rate,
        redact: declared.redact,
    }
}

fn address(name: &str, url: &str, declared: &McpSystem, vault: &Vault) -> Result<Address, Error> {
    let wrong = |problem: String| Error::System { system: name.to_owned(), problem };
    let names = declared.headers.keys().map(|name| (name.clone(), String::new()));
    let http = Http { url: url.to_owned(), headers: names.collect() };
    http.check().map_err(|error| wrong(error.to_string()))?;
    let parsed = Url::parse(url).map_err(|error| wrong(error.to_string()))?;
    let named = declared.headers.keys().any(|name| name.eq_ignore_ascii_case("authorization"));
    if declared.oauth.is_some() && named {
        let problem = "`oauth` makes the header `authorization`: it cannot be under `headers`, too";
        return Err(wrong(problem.to_owned()));
    }
    let permission = declared.oauth.as_ref().map(|oauth| {
        let safe = vault.secrets().safe();
        let safe = safe.ok_or_else(|| wrong("`oauth` needs a file of secrets".to_owned()))?;
        Permission::new((name, url), oauth, Arc::clone(safe))
    });
    let address = Address {
        url: url.to_owned(),
        headers: declared.headers.clone(),
        permission: permission.transpose()?,
        host: parsed.host_str().unwrap_or_default().to_owned(),
        port: parsed.port_or_known_default(),
        path: parsed.path().to_owned(),
    };
    for header in declared.headers.values() {
        vault.check(&header.secret, &address.asked(name))?;
    }
    Ok(address)
}
