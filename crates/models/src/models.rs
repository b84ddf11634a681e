//! Roles as operations: `model.<role>` asks the first provider of the role that may be asked, and the
//! next one where the first has no answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use kernel::{
    attachment::Kind,
    conversation::{MODEL_CONNECTOR, PROVIDED_TOOLS, Reply, Usage},
    gate::Permit,
    id::Digest,
    label::{Confidentiality, Label, LabelMap},
    operation::{Companions, Contract, Critical, Effect, Facts, Operation, Retry, Undo},
    port::{Connector, Outcome, Returned, Task},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    ask::{Ask, Embedded, Model, Progress},
    attached::Files,
    clock::Clock,
    error::Error,
    gauge::Gauge,
    role::{Purpose, Role, Terms, Weaker},
};

mod builder;

pub use builder::{Builder, PROVIDERS_MAX};

/// Most effects of which it is remembered who failed them.
const FAILED_MAX: usize = 1_024;

/// Most tokens a model is thought to read or write where its configuration does not say.
const TOKENS_DEFAULT: u64 = 1_000_000;

#[derive(Debug)]
struct Member {
    model: Arc<dyn Model>,
    terms: Terms,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    gauge: Gauge,
    calls: u64,
    failed: u64,
    usage: Usage,
    last: Option<&'static str>,
}

impl Member {
    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How a provider is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Which.
    pub provider: String,
    /// Roles that name it.
    pub roles: Vec<String>,
    /// What may be shown to it.
    pub clearance: Confidentiality,
    /// How far it is trusted.
    pub tier: crate::Tier,
    /// Its breaker: `closed`, `open` or `half_open`.
    pub circuit: &'static str,
    /// Calls in a row that nobody answered.
    pub failures_in_a_row: u32,
    /// Calls since the process started.
    pub calls: u64,
    /// Of these, those without a reply.
    pub failed: u64,
    /// Tokens since the process started.
    pub usage: Usage,
    /// Code of the last error.
    pub last_error: Option<&'static str>,
}

/// The models of this installation, by role.
#[derive(Debug)]
pub struct Models {
    members: BTreeMap<String, Member>,
    roles: BTreeMap<String, Role>,
    progress: Option<Arc<dyn Progress>>,
    files: Option<Arc<dyn Files>>,
    clock: Arc<dyn Clock>,
    /// Effects whose last try failed, and how far down the role's list: the next try begins below.
    failed: Mutex<BTreeMap<String, usize>>,
}

/// What a call brings home.
enum Brought {
    Said(Box<Reply>),
    Embedded(Embedded),
}

/// What a call asks for.
enum Wanted {
    Conversation,
    Vectors(Vec<String>),
}

/// Arguments of a role that embeds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Texts {
    texts: Vec<String>,
}

impl Models {
    /// Begins with nothing.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// What stands behind a provider's name.
    #[must_use]
    pub fn model(&self, provider: &str) -> Option<&Arc<dyn Model>> {
        self.members.get(provider).map(|member| &member.model)
    }

    /// One operation a role, for the catalogue.
    ///
    /// Asking is a read of a declared system within its clearance, so it is no egress. The operation's
    /// clearance is the highest of the role's providers: those below what is shown are passed over when
    /// it is called. The result says nothing about trust of its own: the kernel joins the arguments'
    /// labels to it, so a reply is trusted as far as all that the model was shown. Therefore whoever
    /// proposes a turn labels it with all that its conversation holds, not only with what is new.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        self.roles.iter().filter_map(|(name, role)| self.operation(name, role)).collect()
    }

    fn operation(&self, name: &str, role: &Role) -> Option<Operation> {
        let members: Vec<&Member> = self.eligible(role).map(|(_, _, member)| member).collect();
        let clearance = members.iter().map(|member| member.terms.clearance).max()?;
        let cost = |member: &&Member| {
            let terms = &member.terms;
            let read = terms.context_tokens_max.unwrap_or(TOKENS_DEFAULT);
            let written = terms.output_tokens_max.map_or(TOKENS_DEFAULT, u64::from);
            terms.price.map(|price| price.cost_max(read, written))
        };
        let (summary, input, output) = schemas(name, role.purpose);
        let mut groups = vec![MODEL_CONNECTOR.to_owned()];
        if members.iter().any(|member| member.terms.provided_tools > 0) {
            groups.push(PROVIDED_TOOLS.to_owned());
        }
        Some(Operation {
            id: format!("{MODEL_CONNECTOR}.{name}").parse().ok()?,
            summary,
            facts: Facts {
                effect: Effect::Read,
                undo: Undo::None,
                retry: Retry::Never,
                egress: false,
                critical: Critical::All,
            },
            resource: None,
            input: Arc::new(input),
            output: Arc::new(output),
            labels: LabelMap::uniform(Label::bottom()),
            clearance: Label::new(kernel::label::Trust::Untrusted, clearance),
            maskable: Vec::new(),
            contract: Contract::default(),
            companions: Companions::default(),
            groups,
            timeout_ms: role.timeout_ms,
            cost_max: members.iter().filter_map(cost).max_by_key(|cost| cost.minor),
            rate: None,
            witness: Default::default(),
            binding: Arc::new(Value::Null),
        })
    }

    /// How every provider is doing.
    #[must_use]
    pub fn status(&self) -> Vec<Health> {
        let now = self.clock.boot_ms();
        let health = |(name, member): (&String, &Member)| {
            let named = self.roles.iter().filter(|(_, role)| role.providers.contains(name));
            member.with(|state| Health {
                provider: name.clone(),
                roles: named.map(|(role, _)| role.clone()).collect(),
                clearance: member.terms.clearance,
                tier: member.terms.tier,
                circuit: state.gauge.word(now),
                failures_in_a_row: state.gauge.failures(),
                calls: state.calls,
                failed: state.failed,
                usage: state.usage,
                last_error: state.last,
            })
        };
        self.members.iter().map(health).collect()
    }

    /// Whether a role has a provider that can be sent all of these kinds.
    #[must_use]
    pub fn takes(&self, role: &str, kinds: &BTreeSet<Kind>) -> bool {
        let lacks =
            |member: &Member| kinds.difference(&member.terms.takes).any(|k| *k != Kind::Text);
        let role = self.roles.get(role);
        role.is_some_and(|role| self.eligible(role).any(|(_, _, member)| !lacks(member)))
    }

    /// Providers of a role that its rule about weaker ones allows, with their place in its list.
    fn eligible<'a>(
        &'a self,
        role: &'a Role,
    ) -> impl Iterator<Item = (usize, &'a str, &'a Member)> {
        let known = role.providers.iter().enumerate();
        let known =
            known.filter_map(|(at, name)| Some((at, name.as_str(), self.members.get(name)?)));
        let bar = role.providers.first().and_then(|name| self.members.get(name));
        let bar = bar.map(|member| member.terms.tier);
        known.filter(move |(_, _, member)| {
            role.weaker == Weaker::Allowed || Some(member.terms.tier) <= bar
        })
    }

    async fn run(&self, permit: Permit) -> Outcome {
        let role = permit.operation().id.as_str().split_once('.').map_or("", |(_, role)| role);
        let Some(known) = self.roles.get(role) else {
            return Err(Error::config(format!("there is no role `{role}`")).into_failure("models"));
        };
        let asked = self.ask_of(&permit, known);
        let (ask, wanted) = asked.map_err(|error| error.into_failure("models"))?;
        let shown = permit.arg_labels().join_all().confidentiality;
        match self.try_each(known, &ask, &wanted, shown).await {
            Ok((member, brought)) => self.returned(member, brought),
            Err((provider, error)) => Err(error.into_failure(provider)),
        }
    }

    /// Asks one provider after the other until one answers or none is left.
    async fn try_each<'a>(
        &'a self,
        role: &'a Role,
        ask: &Ask,
        wanted: &Wanted,
        shown: Confidentiality,
    ) -> Result<(&'a Member, Brought), (&'a str, Error)> {
        let began = self.clock.boot_ms();
        let below = self.below(ask);
        let mut first_below: Vec<_> = self.eligible(role).collect();
        // Whoever failed this very effect is asked again last.
        first_below.sort_by_key(|(at, _, _)| (below.is_some_and(|below| *at <= below), *at));
        let why = format!("what is said is {shown:?}, above every clearance").to_lowercase();
        let mut failed = ("models", Error::NoProvider(why));
        for (at, name, member) in first_below {
            if member.terms.clearance < shown {
                continue;
            }
            let now = self.clock.boot_ms();
            let left_ms = ask.timeout_ms.saturating_sub(now.saturating_sub(began));
            let has_failed = failed.0 != "models";
            if has_failed && (left_ms == 0 || now > ask.dispatch_by_boot_ms) {
                break;
            }
            if let Err(wait) = member.with(|state| state.gauge.enter(now, left_ms)) {
                failed = sooner(failed, (name, wait.error(name)));
                continue;
            }
            match self.try_one(member, Ask { timeout_ms: left_ms, ..ask.clone() }, wanted).await {
                Ok(brought) => {
                    self.forget(ask);
                    return Ok((member, brought));
                }
                Err(error) => {
                    self.remember(ask, at);
                    let goes_on = error.may_fall_back();
                    failed = (name, error);
                    if !goes_on {
                        break;
                    }
                }
            }
        }
        Err(failed)
    }

    async fn try_one(&self, member: &Member, ask: Ask, wanted: &Wanted) -> Result<Brought, Error> {
        let trial = Trial { member, clock: &*self.clock, came_back: None };
        let brought = match wanted {
            Wanted::Conversation => {
                member.model.ask(ask).await.map(|reply| Brought::Said(Box::new(reply)))
            }
            Wanted::Vectors(texts) => member.model.embed(texts, &ask).await.map(Brought::Embedded),
        };
        trial.end(&brought);
        brought
    }

    fn below(&self, ask: &Ask) -> Option<usize> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get(ask.key.as_str()).copied()
    }

    fn remember(&self, ask: &Ask, at: usize) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.len() >= FAILED_MAX {
            failed.pop_first();
        }
        failed.insert(ask.key.to_string(), at);
    }

    fn forget(&self, ask: &Ask) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).remove(ask.key.as_str());
    }

    fn returned(&self, member: &Member, brought: Brought) -> Outcome {
        let (usage, received, output) = match brought {
            Brought::Said(reply) => {
                (reply.usage, Digest::of(reply.raw.as_bytes()), serde_json::to_value(&*reply))
            }
            Brought::Embedded(embedded) => {
                let output = serde_json::to_value(&embedded);
                let bytes = output.as_ref().map(Value::to_string).unwrap_or_default();
                (embedded.usage, Digest::of(bytes.as_bytes()), output)
            }
        };
        let garbage = |e: serde_json::Error| Error::garbage(e.to_string()).into_failure("models");
        Ok(Returned {
            output: Arc::new(output.map_err(garbage)?),
            labels: LabelMap::uniform(Label::bottom()),
            external_ref: None,
            cost: member.terms.price.map(|price| price.cost(&usage)),
            received,
        })
    }
}

impl Connector for Models {
    fn call(&self, permit: Permit) -> Task<'_, Outcome> {
        Box::pin(self.run(permit))
    }
}

/// Counts a call when it ends; one that is dropped on the way says nothing about its provider.
struct Trial<'a> {
    member: &'a Member,
    clock: &'a dyn Clock,
    came_back: Option<()>,
}

impl Trial<'_> {
    fn end(mut self, brought: &Result<Brought, Error>) {
        self.came_back = Some(());
        let now = self.clock.boot_ms();
        self.member.with(|state| {
            state.calls = state.calls.saturating_add(1);
            match brought {
                Ok(brought) => {
                    let usage = match brought {
                        Brought::Said(reply) => reply.usage,
                        Brought::Embedded(embedded) => embedded.usage,
                    };
                    state.usage = state.usage.plus(usage);
                    state.gauge.note(None, now);
                }
                Err(error) => {
                    state.failed = state.failed.saturating_add(1);
                    state.last = Some(error.code());
                    match error {
                        Error::TooLate => state.gauge.forget(now),
                        _ => state.gauge.note(Some(error), now),
                    }
                }
            }
        });
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if self.came_back.is_none() {
            let now = self.clock.boot_ms();
            self.member.with(|state| state.gauge.forget(now));
        }
    }
}

/// Of two reasons not to be asked, the one that passes sooner; a real failure before either.
fn sooner<'a>(known: (&'a str, Error), other: (&'a str, Error)) -> (&'a str, Error) {
    match (known.1.retry_after_ms(), other.1.retry_after_ms()) {
        _ if matches!(known.1, Error::NoProvider(_)) => other,
        (Some(known_ms), Some(other_ms)) if other_ms < known_ms => other,
        _ => known,
    }
}

impl Models {
    fn ask_of(&self, permit: &Permit, role: &Role) -> Result<(Ask, Wanted), Error> {
        let thread = permit.thread().ok_or_else(|| Error::Thread("there is none".to_owned()))?;
        let text = |name: &str| permit.args().get(name).and_then(Value::as_str).unwrap_or_default();
        if !permit.masks().is_empty() {
            return Err(Error::config("a model's reply cannot be masked"));
        }
        let wanted = match role.purpose {
            Purpose::Converse => Wanted::Conversation,
            Purpose::Embed => {
                let texts = Texts::deserialize(&**permit.args());
                Wanted::Vectors(texts.map_err(|e| Error::BadRequest(e.to_string()))?.texts)
            }
        };
        let ask = Ask {
            tenant: permit.tenant().clone(),
            run: permit.run().clone(),
            conversation: text("conversation").to_owned(),
            thread: Arc::clone(thread),
            key: permit.key().clone(),
            timeout_ms: u64::from(permit.operation().timeout_ms),
            dispatch_by_boot_ms: permit.dispatch_by_boot_ms(),
            progress: self.progress.clone(),
            files: self.files.clone(),
        };
        Ok((ask, wanted))
    }
}

fn schemas(name: &str, purpose: Purpose) -> (String, Value, Value) {
    match purpose {
        Purpose::Converse => (
            format!("Ask the model `{name}`"),
            json!({"type": "object",
                "required": ["conversation", "turn", "segments", "output_tokens_max"],
                "properties": {"conversation": {"type": "string"}, "segments": {"type": "array"}}}),
            json!({"type": "object",
                "required": ["provider", "model", "wire", "items", "stop", "usage", "raw"],
                "properties": {"items": {"type": "array"}, "raw": {"type": "string"}}}),
        ),
        Purpose::Embed => (
            format!("Turn texts into vectors with the model `{name}`"),
            json!({"type": "object", "required": ["texts"], "additionalProperties": false,
                "properties": {"texts": {"type": "array", "items": {"type": "string"}}}}),
            json!({"type": "object", "required": ["provider", "model", "vectors", "usage"],
                "properties": {"vectors": {"type": "array"}}}),
        ),
    }
}
