//! The registry: every declared system, every compiled binding, one way to call.

mod agents;
mod login;
mod offers;
mod runs;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ::secrets::keeper::{Keeper, Origin};
use kernel::{
    exception::{Class, Landed},
    gate::Permit,
    id::OperationId,
    operation::{Operation, TIMEOUT_MAX_MS},
    port::{Connector, Failure, Outcome, Task, Validate},
};
use sandbox::Tier;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::{
    acp,
    binding::{Binding, compile},
    blob::BlobSink,
    call::{Arrived, Call, Departure, MESSAGE_MAX_CHARS, clip, fail, refuse},
    checks::{check_expected, check_whole},
    circuit::CircuitRule,
    clock::Clock,
    error::{Error, hint},
    folder::Folder,
    gauge::{Health, Moment},
    hook::{self, Hook},
    http,
    ingest::{Pick, Received, Rules, ingest},
    mail, mcp,
    outside::Outside,
    pages::Runner,
    people::People,
    process::Program,
    read::Reader,
    redact::Redactor,
    secret::{Secrets, Vault},
    sql,
    system::Systems,
    tap::Listen,
    target::Target,
    underway::Underway,
    way_out::{Around, Traffic},
    worker::Chore,
};

/// Most calls to one system at the same time.
pub const CONCURRENT_PER_SYSTEM_MAX: usize = 8;

/// How long a mail server may take over a message of the harness's own.
const NOTICE_WITHIN: Duration = Duration::from_secs(30);

/// Most compiled bindings that are kept.
const COMPILED_MAX: usize = 4_096;

/// What the host gives: clocks, the schema validator and a place for large results.
#[derive(Clone, Debug)]
pub struct Host {
    /// Boot-time and wall clock.
    pub clock: Arc<dyn Clock>,
    /// Checks output schemas.
    pub validate: Arc<dyn Validate>,
    /// Where results above [`crate::blob::PREVIEW_BYTES`] go; absent = they fail.
    pub blobs: Option<Arc<dyn BlobSink>>,
    /// When circuits open.
    pub circuit: CircuitRule,
    /// Who is told what sandboxed programs ask of the outside.
    pub traffic: Arc<dyn Traffic>,
    /// Who is told what commands and code write, while they run.
    pub listen: Arc<dyn Listen>,
    /// Where folders of runs are kept whose work is kept apart; absent = no system may keep it so.
    pub kept: Option<PathBuf>,
    /// Who tells people what runs have to say to them.
    pub people: Arc<dyn People>,
}

/// All connectors of one installation.
#[derive(Debug)]
pub struct Connectors {
    targets: BTreeMap<String, Target>,
    vault: Vault,
    host: Host,
    compiled: Mutex<BTreeMap<OperationId, Vec<Compiled>>>,
    outside: Outside,
    underway: Underway,
    /// Turns of hooks: each is a process of this machine.
    hooks: Semaphore,
    /// The hooks that may be run.
    declared: Vec<Hook>,
    /// Where what is personal is kept sealed that is taken out of answers; absent = nowhere.
    keeper: Option<Arc<Keeper>>,
    /// Where whoever a run is made for can be asked and told.
    passing: Arc<dyn mcp::Passing>,
    /// Who judges what agents do with tools of their own.
    judges: Arc<dyn acp::Judges>,
}

#[derive(Clone, Debug)]
struct Compiled {
    operation: Arc<Operation>,
    binding: Arc<Binding>,
}

impl Connectors {
    /// Builds the registry. Secrets that cannot be resolved now fail when they are needed; see
    /// [`Self::unresolved`].
    ///
    /// # Errors
    /// A system that cannot be used as declared.
    pub fn new(systems: Systems, secrets: Secrets, host: Host) -> Result<Self, Error> {
        let vault = Vault::new(secrets)?;
        let mut targets = BTreeMap::new();
        for (name, system) in systems {
            let target = Target::new(&name, system, (&vault, host.kept.as_deref()), host.circuit)?;
            targets.insert(name, target);
        }
        let (compiled, outside) = (Mutex::default(), Outside::default());
        let hooks = Semaphore::new(hook::AT_A_TIME_MAX);
        let (underway, declared, keeper) = (Underway::default(), Vec::new(), None);
        let (passing, judges) = (Arc::new(mcp::NobodyThere), Arc::new(acp::NobodyJudges));
        Ok(Self {
            targets,
            vault,
            host,
            compiled,
            outside,
            underway,
            hooks,
            declared,
            keeper,
            passing,
            judges,
        })
    }

    /// With where whoever a run is made for can be asked and told.
    #[must_use]
    pub fn passing_to(self, passing: Arc<dyn mcp::Passing>) -> Self {
        Self { passing, ..self }
    }

    /// With who judges what agents do with tools of their own; without, nobody permits anything.
    #[must_use]
    pub fn judged_by(self, judges: Arc<dyn acp::Judges>) -> Self {
        Self { judges, ..self }
    }

    /// With what keeps what is personal, sealed, once it is taken out of an answer.
    #[must_use]
    pub fn keeping(self, keeper: Arc<Keeper>) -> Self {
        Self { keeper: Some(keeper), ..self }
    }

    /// With these hooks of the operator: no other program is run, whatever a plan says.
    ///
    /// # Errors
    /// A hook that cannot be used as declared.
    pub fn with_hooks<'o>(
        self,
        hooks: impl IntoIterator<Item = &'o Operation>,
    ) -> Result<Self, Error> {
        let hooks = hooks.into_iter().map(|one| Hook::compile(&Reader::of(one)?, one));
        Ok(Self { declared: hooks.collect::<Result<_, _>>()?, ..self })
    }

    /// Checks at load that an operation could be called: its binding compiles, its system is declared and
    /// of the right kind, its secrets are declared.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place and what to do.
    pub fn check(&self, operation: &Operation) -> Result<(), Error> {
        let binding = compile(operation)?;
        let kinds: &[&str] = match &binding {
            Binding::Http(_) => &["http"],
            Binding::Sql(_) => &["sqlite", "postgres"],
            Binding::Mail(_) => &["smtp"],
            Binding::Process(_) => &["process"],
            Binding::Folder(_) => &["folder"],
            Binding::Web(_) => &["web"],
            Binding::Worker(_) => &["worker"],
            Binding::Mcp(_) => &["mcp"],
            Binding::A2a(_) => &["http"],
            Binding::Acp(_) => &["acp"],
            Binding::Builtin(_) | Binding::Hook(_) | Binding::Outside => &[],
        };
        let Some(name) = binding.system() else { return Ok(()) };
        let known = self.targets.keys().map(String::as_str);
        let target = self.targets.get(name).ok_or_else(|| Error::UnknownSystem {
            operation: operation.id.clone(),
            system: name.to_owned(),
            hint: hint(name, known),
        })?;
        let kind = target.system.kind();
        // Policy and labels see what leaves only where the operation says so.
        if target.lets_out(&binding) && !operation.facts.egress {
            let text = format!("`{name}` may ask the outside for something; say `egress: true`");
            return Err(Reader::of(operation)?.error("system", text));
        }
        if kinds.contains(&kind) {
            return match (&binding, &target.clients) {
                (Binding::Http(route), Some(clients)) => {
                    http::check_granted(route, clients, &self.vault)
                }
                (Binding::A2a(delegation), Some(clients)) => {
                    delegation.check_granted(clients, &self.vault)
                }
                _ => Ok(()),
            };
        }
        let text =
            format!("system `{name}` is of kind {kind}, this binding needs {}", kinds.join(" or "));
        Err(Reader::of(operation)?.error("system", text))
    }

    /// Every declared secret that has no usable value now, and why.
    #[must_use]
    pub fn unresolved(&self) -> Vec<Error> {
        self.vault.unresolved()
    }

    /// The call, after everything was taken out of the permit. Deadline, scrubbing and ingest for all kinds.
    pub(crate) async fn run(&self, call: Call) -> Outcome {
        let departure = Arc::new(Departure::new(&call, Arc::clone(&self.host.clock)));
        let deadline =
            Duration::from_millis(u64::from(call.operation.timeout_ms.min(TIMEOUT_MAX_MS)));
        let outcome = self.reach(&call, &departure, deadline).await;
        if let Some(keeper) = self.keeper.clone() {
            // What could not be made durable is taken out all the same; it cannot be opened after a loss of power.
            let _unsettled = tokio::task::spawn_blocking(move || keeper.settle()).await;
        }
        outcome.map_err(|failure| {
            let message = self.redactor_of(&call).scrub_text(&failure.message);
            Failure { message: clip(&message, MESSAGE_MAX_CHARS), ..failure }
        })
    }

    /// What is taken out of everything that comes in or is told, as it is now.
    #[must_use]
    pub fn redactor(&self) -> Arc<Redactor> {
        self.vault.redactor()
    }

    /// The same, with what is personal in the answers of the system that is called.
    fn redactor_of(&self, call: &Call) -> Arc<Redactor> {
        let binding = self.compiled(&call.operation).ok();
        let target = binding.as_ref().and_then(|b| self.targets.get(b.system()?));
        let redactor = match target {
            Some(target) => Arc::new(self.vault.redactor().with(target.system.redact())),
            None => self.vault.redactor(),
        };
        let Some(keeper) = &self.keeper else { return redactor };
        let origin = Origin {
            tenant: call.tenant.to_string(),
            run: call.run.to_string(),
            at: self.host.clock.now_ms(),
        };
        Arc::new(redactor.keeping(Arc::clone(keeper), origin))
    }

    /// Calls that agents outside make.
    #[must_use]
    pub fn outside(&self) -> &Outside {
        &self.outside
    }

    /// How every declared system stands, as far as this process has called it.
    #[must_use]
    pub fn health(&self) -> Vec<Health> {
        let now = self.moment();
        let seen = self.targets.iter().map(|(name, target)| target.gauge().health(name, now));
        seen.collect()
    }

    fn moment(&self) -> Moment {
        Moment { boot_ms: self.host.clock.boot_ms(), at: self.host.clock.now_ms() }
    }

    /// Takes down what a call says about its target.
    fn note(&self, call: &Call, departure: &Departure, failed: Option<&Failure>, began: u64) {
        let binding = self.compiled(&call.operation).ok();
        let target = binding.as_ref().and_then(|b| self.targets.get(b.system()?));
        let Some(target) = target.filter(|_| departure.was_admitted()) else { return };
        let now = self.moment();
        // What was refused here, for want of a secret for one, says nothing about the target.
        let silent = failed.is_some_and(|f| matches!(f.class, Class::Timeout | Class::Unavailable));
        match departure.was_tried() && (departure.was_sent() || silent) {
            true => target.gauge().note(call, failed, began, now),
            false => target.gauge().forget(call, now),
        }
    }

    /// Lets a call at its target: at once and in its turn, or not at all.
    async fn enter<'t>(
        &self,
        (name, target, turns): (&str, &Target, &'t Semaphore),
        call: &Call,
        departure: &Departure,
    ) -> Result<tokio::sync::SemaphorePermit<'t>, Failure> {
        let turn = self.line_up((name, target, turns), call, departure).await?;
        departure.mark_tried();
        Ok(turn)
    }

    /// As [`Self::enter`], where how the call ends says nothing about the others of its target.
    async fn line_up<'t>(
        &self,
        (name, target, turns): (&str, &Target, &'t Semaphore),
        call: &Call,
        departure: &Departure,
    ) -> Result<tokio::sync::SemaphorePermit<'t>, Failure> {
        target.gauge().admit(call, name, self.moment())?;
        departure.mark_admitted();
        let turn = turns.acquire().await;
        turn.map_err(|_| fail(Class::Unavailable, Landed::No, "the system is being shut down"))
    }

    async fn reach(&self, call: &Call, departure: &Arc<Departure>, deadline: Duration) -> Outcome {
        let _stay = self.underway.enter(call, departure);
        let began = self.host.clock.boot_ms();
        let binding = self.compiled(&call.operation).map_err(|error| refuse(error.to_string()))?;
        check_expected(call)?;
        check_whole(call)?;
        // The deadline is the target's.
        let answer = self.ask((&binding, call), departure, deadline);
        let answer = tokio::select! {
            biased;
            answer = tokio::time::timeout(deadline, answer) => {
                answer.unwrap_or_else(|_| Err(departure.out_of_time(deadline)))
            }
            failure = withdrawn(departure) => Err(failure),
        };
        self.note(call, departure, answer.as_ref().err(), began);
        let (arrived, pick) = answer?;
        // A slow disk of ours must not turn an effect that is known into one that is in doubt.
        let received = arrived.keep().await?;
        let redactor = self.redactor_of(call);
        let rules = Rules {
            operation: &call.operation,
            args: &call.args,
            masks: &call.masks,
            redactor: &redactor,
            validate: &*self.host.validate,
            now: self.host.clock.now_ms(),
            pick,
        };
        ingest(received, &rules)
    }

    /// One call to the target, up to the last byte of its answer.
    async fn ask<'b>(
        &self,
        (binding, call): (&'b Binding, &Call),
        departure: &Arc<Departure>,
        deadline: Duration,
    ) -> Result<(Arrived, Pick<'b>), Failure> {
        match binding {
            Binding::Builtin(builtin) => {
                departure.leave()?;
                let host = (&*self.host.clock, &*self.host.people);
                let value = builtin.run(call, host).await?;
                Ok((Received::Value(value).into(), Pick::default()))
            }
            Binding::Hook(hook) => {
                if !hook.is_among(&self.declared) {
                    return Err(refuse("[[hooks]] of the configuration names no such program"));
                }
                let turn = self.hooks.acquire().await;
                let _turn = turn.map_err(|_| refuse("the process is being shut down"))?;
                let value = hook.run(call, departure).await?;
                Ok((Received::Value(value).into(), Pick::default()))
            }
            Binding::Outside => {
                let value = self.outside.call(call, departure).await?;
                Ok((Received::Value(value).into(), Pick::default()))
            }
            Binding::Http(route) => self.request(route, call, departure).await,
            Binding::Sql(query) => {
                let target = self.target(&query.system)?;
                let _turn =
                    self.enter((&query.system, target, &target.turns), call, departure).await?;
                let wire =
                    sql::Wire { system: &target.system, vault: &self.vault, departure, deadline };
                Ok((sql::call(query, call, &wire).await?.into(), Pick::default()))
            }
            Binding::Mail(sender) => {
                let target = self.target(&sender.system)?;
                let _turn =
                    self.enter((&sender.system, target, &target.turns), call, departure).await?;
                let (name, system, vault) = (&*sender.system, &target.system, &self.vault);
                let wire = mail::Wire { name, system, vault, departure, deadline };
                let value = mail::call(sender, call, &wire).await?;
                Ok((Received::Value(value).into(), mail::pick()))
            }
            Binding::Process(tool) => {
                let target = self.target(&tool.system)?;
                let _turn =
                    self.enter((&tool.system, target, &target.turns), call, departure).await?;
                let program = target.program.as_ref().ok_or_else(|| wrong_kind(&tool.system))?;
                let received = program.call((tool, call), &self.around(), departure).await?;
                Ok((received.into(), tool.pick()))
            }
            Binding::Folder(hand) => {
                let target = self.target(&hand.system)?;
                let turns = if hand.is_command() { &target.commands } else { &target.turns };
                let _turn = self.enter((&hand.system, target, turns), call, departure).await?;
                let folder = target.folder.as_ref().ok_or_else(|| wrong_kind(&hand.system))?;
                let value = folder.call(hand, (call, &self.around()), departure).await?;
                Ok((Received::Value(value).into(), hand.pick()))
            }
            Binding::Mcp(errand) => self.ask_server(errand, call, departure).await,
            Binding::A2a(delegation) => self.delegate(delegation, call, departure).await,
            Binding::Acp(prompt) => self.prompt(prompt, call, (departure, deadline)).await,
            Binding::Web(runner) => {
                let value = self.run_errand(runner, call, departure).await?;
                Ok((Received::Value(value).into(), Pick::default()))
            }
            Binding::Worker(chore) => self.put_in_line((chore, call), departure, deadline).await,
        }
    }

    async fn request<'b>(
        &self,
        route: &'b http::Route,
        call: &Call,
        departure: &Arc<Departure>,
    ) -> Result<(Arrived, Pick<'b>), Failure> {
        let target = self.target(&route.system)?;
        let _turn = self.enter((&route.system, target, &target.turns), call, departure).await?;
        let clients = target.clients.as_ref().ok_or_else(|| wrong_kind(&route.system))?;
        let (vault, sink) = (&self.vault, self.host.blobs.as_deref());
        let redactor = self.redactor_of(call);
        http::call(route, call, &http::Wire { clients, vault, sink, departure, redactor }).await
    }

    /// One job for a worker. It takes no turn: a line of its own bounds what waits, and nothing leaves before a worker
    /// takes it.
    async fn put_in_line<'b>(
        &self,
        (chore, call): (&'b Chore, &Call),
        departure: &Arc<Departure>,
        deadline: Duration,
    ) -> Result<(Arrived, Pick<'b>), Failure> {
        let target = self.target(&chore.system)?;
        let desk = target.desk.as_ref().ok_or_else(|| wrong_kind(&chore.system))?;
        target.gauge().admit(call, &chore.system, self.moment())?;
        departure.mark_admitted();
        let redactor = self.vault.redactor();
        let bytes = desk.call((chore, call), (departure, deadline), &redactor).await?;
        Ok((Received::Bytes(bytes).into(), chore.pick()))
    }

    /// One errand to the web, in its turn.
    async fn run_errand(
        &self,
        runner: &Runner,
        call: &Call,
        departure: &Departure,
    ) -> Result<Value, Failure> {
        let target = self.target(&runner.system)?;
        let place = (runner.system.as_str(), target, &target.turns);
        // A host that wants a pause, or does not answer, must not close the web to everybody.
        let _turn = match runner.has_one_target() {
            true => self.enter(place, call, departure).await?,
            false => self.line_up(place, call, departure).await?,
        };
        let pages = target.pages.as_ref().ok_or_else(|| wrong_kind(&runner.system))?;
        pages.call(runner, (call, &self.vault), departure).await
    }

    /// Sends a message of the harness's own through a declared mail server, in its turn.
    ///
    /// # Errors
    /// Why it was not sent, or that nobody knows; sent again it has the same Message-ID.
    pub async fn notify(&self, notice: &mail::Notice<'_>) -> Result<(), Failure> {
        let target = self.target(notice.system)?;
        let departure = Arc::new(Departure::of_our_own(Arc::clone(&self.host.clock)));
        let turn = target.turns.acquire().await;
        let _turn = turn
            .map_err(|_| fail(Class::Unavailable, Landed::No, "the system is being shut down"))?;
        let (system, vault, deadline) = (&target.system, &self.vault, NOTICE_WITHIN);
        let wire =
            mail::Wire { name: notice.system, system, vault, departure: &departure, deadline };
        let sent = tokio::time::timeout(deadline, mail::notify(notice, &wire)).await;
        let sent = sent.unwrap_or_else(|_| Err(departure.out_of_time(deadline)));
        sent.map_err(|failure| {
            let message = self.vault.redactor().scrub_text(&failure.message);
            Failure { message: clip(&message, MESSAGE_MAX_CHARS), ..failure }
        })
    }

    /// The kind of a declared system.
    #[must_use]
    pub fn kind(&self, system: &str) -> Option<&'static str> {
        self.targets.get(system).map(|target| target.system.kind())
    }

    /// Every declared program and shell with the tier it runs in, or why this machine cannot hold its profile.
    pub fn programs(&self) -> impl Iterator<Item = (&str, Result<Tier, String>)> {
        self.targets.iter().filter_map(|(name, target)| {
            let program = target.program.as_ref().map(Program::held);
            let shell = || target.folder.as_ref().and_then(Folder::held);
            let server = || target.servers.as_ref().and_then(mcp::Servers::held);
            let agent = || target.agent.as_ref().map(acp::Agent::held);
            Some((name.as_str(), program.or_else(shell).or_else(server).or_else(agent)?))
        })
    }

    fn around(&self) -> Around<'_> {
        let Host { clock, traffic, listen, .. } = &self.host;
        let blobs = self.host.blobs.as_deref();
        let passing = &self.passing;
        Around { vault: &self.vault, clock, traffic, listen, passing, blobs }
    }

    fn target(&self, name: &str) -> Result<&Target, Failure> {
        self.targets.get(name).ok_or_else(|| refuse(format!("no system `{name}` is declared")))
    }

    /// The compiled binding of this very definition. Several definitions of one name live side by side
    /// while runs pinned to an earlier pack finish.
    fn compiled(&self, operation: &Arc<Operation>) -> Result<Arc<Binding>, Error> {
        let same = |known: &&Compiled| {
            Arc::ptr_eq(&known.operation, operation) || known.operation == *operation
        };
        let find = |all: &BTreeMap<OperationId, Vec<Compiled>>| {
            all.get(&operation.id)
                .and_then(|known| known.iter().find(same))
                .map(|known| Arc::clone(&known.binding))
        };
        if let Some(binding) = find(&self.compiled.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(binding);
        }
        let binding = Arc::new(compile(operation)?);
        let mut all = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if all.values().map(Vec::len).sum::<usize>() >= COMPILED_MAX {
            all.clear();
        }
        let entry = Compiled { operation: Arc::clone(operation), binding: Arc::clone(&binding) };
        all.entry(operation.id.clone()).or_default().push(entry);
        Ok(binding)
    }
}

impl Connector for Connectors {
    fn call(&self, permit: Permit) -> Task<'_, Outcome> {
        Box::pin(self.run(Call::of(permit)))
    }
}

/// Waits until the run of a call that has not left is to end; never where it has.
async fn withdrawn(departure: &Departure) -> Failure {
    departure.stop_wanted().await;
    if !departure.withdraw() {
        return std::future::pending().await;
    }
    fail(Class::Unavailable, Landed::No, "withdrawn: the run was cancelled before the call left")
}
fn wrong_kind(system: &str) -> Failure {
    refuse(format!("system `{system}` is of another kind than the binding needs"))
}
