//! What an agent's turn costs: many agents against a model server that answers at once, everything on.
//!
//! A conversation is a run like any other: the planner asks the model, the gate validates, judges fifty
//! rules, dispatches, and signs a receipt for every tool call; the journal is in memory or on a disk. One
//! tool, `add`, so that what is measured is the harness and its HTTP client.

use std::{fmt::Write as _, path::PathBuf, sync::Arc};

use ::receipts::key::Signer;
use engine::{Engine, Loaded, OsEntropy, Submitted};
use kernel::{
    Digest, RunId,
    agent::{Agent, AgentTool, Circles, Does, Limits, Results},
    budget::Budget,
    canon,
    catalogue::Catalogue,
    conversation::MODEL_CONNECTOR,
    event::{Body, End, Header, MACHINE},
    exception::{Class, Landed},
    gate::Permit,
    id::Tenant,
    label::{Confidentiality, Label, LabelMap, Trust},
    operation::{Effect, Facts, Operation, Retry},
    plan::{Asks, Plan, PlanStep},
    planning::Labelled,
    playbook::{Playbook, Step, Work, call_path, think_path},
    port::{Connector, Failure, Journal, Judge, Outcome, Returned, Task, Validate},
    principal::{Chain, Grant, Kind as ActorKind, Principal},
    run::{Genesis, Pins},
};
use models::{ApiKind, Client, Http, Key, Models, Plaintext, Provider, Role, Streaming};
use pack::Schemas;
use planner::Program;
use policy::{Bundle, Layer, Source};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use serde_json::{Value, json};
use store::{Query as _, Ram, Sqlite, Stats};

use super::{
    host::{Sealer, SystemClock},
    problem::{Kind, Problem},
};

/// Rules in force; a quarter of them apply to what is called.
const RULES: usize = 50;

/// Of these, about the tool that is called.
const RULES_APPLY: usize = 12;

/// The tool.
const ADD: &str = "sums.add";

/// How an agent is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Base address of a server on OpenAI's Chat wire.
    pub base_url: String,
    /// The model to name.
    pub model: String,
    /// Agents at a time.
    pub agents: u32,
    /// Conversations of each, one after the other.
    pub convs: u32,
    /// How answers come.
    pub answers: Answers,
    /// A folder for the journal; none = in memory.
    pub store: Option<PathBuf>,
}

/// How a model's answers come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// In one piece.
    Whole,
    /// As streams.
    Streamed,
}

/// What it cost.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Measured {
    /// Tool calls that were validated, allowed, executed and receipted.
    pub turns: u64,
    /// From the first conversation's beginning to the last one's end, in seconds.
    pub wall_s: f64,
    /// Processor time of this process meanwhile, in seconds.
    pub cpu_s: f64,
    /// Transactions meanwhile, each one flush to the disk; none in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commits: Option<u64>,
    /// Batches meanwhile, each of which somebody waited for until it was durable; none in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writes: Option<u64>,
}

/// Runs the conversations.
///
/// # Errors
/// When the store or the policy cannot be used, or a conversation did not end with an answer.
pub async fn agent(options: Options) -> Result<Measured, Problem> {
    let bench = Arc::new(Bench::open(&options).await?);
    let before = bench.stats().await?;
    let (cpu, wall) = (seconds(ClockId::ProcessCPUTime), seconds(ClockId::Monotonic));
    let mut agents = tokio::task::JoinSet::new();
    for agent in 0..options.agents {
        let bench = Arc::clone(&bench);
        agents.spawn(async move {
            for conversation in 0..options.convs {
                bench.converse(agent, conversation).await?;
            }
            Ok::<(), Problem>(())
        });
    }
    while let Some(ended) = agents.join_next().await {
        ended.map_err(|e| broken(e.to_string()))??;
    }
    let after = bench.stats().await?;
    let meanwhile = |of: fn(&Stats) -> u64| Some(of(after.as_ref()?) - of(before.as_ref()?));
    let mut measured = Measured {
        turns: 0,
        wall_s: seconds(ClockId::Monotonic) - wall,
        cpu_s: seconds(ClockId::ProcessCPUTime) - cpu,
        commits: meanwhile(|stats| stats.commits),
        writes: meanwhile(|stats| stats.writes),
    };
    for agent in 0..options.agents {
        for conversation in 0..options.convs {
            measured.turns += bench.turns(agent, conversation).await?;
        }
    }
    bench.close().await?;
    Ok(measured)
}

fn seconds(clock: ClockId) -> f64 {
    let now = clock_gettime(clock);
    #[expect(clippy::cast_precision_loss, reason = "seconds of one measurement fit")]
    let whole = now.tv_sec as f64;
    #[expect(clippy::cast_precision_loss, reason = "below a thousand million")]
    let rest = now.tv_nsec as f64;
    whole + rest / 1e9
}

fn broken(what: impl Into<String>) -> Problem {
    Problem::new(Kind::Unexpected, "bench-broken", what.into())
        .next("check that the server at --base-url speaks OpenAI's Chat Completions")
}

struct Bench {
    engine: Arc<Engine>,
    journal: Arc<dyn Journal>,
    sqlite: Option<Arc<Sqlite>>,
    header: Header,
}

impl Bench {
    async fn open(options: &Options) -> Result<Self, Problem> {
        let models = open_models(options)?;
        let catalogue = catalogue(&models)?;
        let sources: Vec<Source> = rules();
        let bundle = Bundle::load(&catalogue, &sources).map_err(|problems| {
            broken(problems.first().map(ToString::to_string).unwrap_or_default())
        })?;
        let bundle = Arc::new(bundle.bundle);
        let plan = plan(&catalogue, bundle.digest());
        let header = header(&plan, &catalogue)?;
        let sqlite = match &options.store {
            None => None,
            Some(folder) => {
                super::host::make_private_dir(folder).map_err(|e| broken(e.to_string()))?;
                Some(Sqlite::open(&folder.join("harness.db"), store::Options::default())?)
            }
        };
        let journal: Arc<dyn Journal> = match &sqlite {
            Some(sqlite) => Arc::clone(sqlite) as Arc<dyn Journal>,
            None => Arc::new(Ram::new()),
        };
        let program = Program::compile(Arc::new(plan)).map_err(|e| broken(e.to_string()))?;
        let shelf = Shelf {
            program,
            catalogue: Arc::new(catalogue),
            bundle,
            schemas: Arc::new(Schemas::new()),
        };
        let mut seed = [0_u8; 32];
        getrandom::fill(&mut seed).map_err(|e| broken(e.to_string()))?;
        let runs_max = usize::try_from(options.agents).unwrap_or(usize::MAX);
        let engine = Engine::new(engine::Options {
            journal: Arc::clone(&journal),
            connector: Arc::new(Doors { models }),
            loader: Arc::new(shelf),
            seal: Arc::new(Sealer(Arc::new(Signer::from_seed(&seed)))),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
            runs_max,
        });
        Ok(Self { engine, journal, sqlite, header })
    }

    async fn converse(&self, agent: u32, conversation: u32) -> Result<(), Problem> {
        let tenant = Tenant::default();
        let id = RunId::of_intent(&tenant, "bench", &format!("{agent}/{conversation}"));
        let task = format!("Agent {agent}: add the numbers you are given.");
        let label = Label::new(Trust::User, Confidentiality::Internal);
        let intent = Labelled { value: Arc::new(json!(task)), labels: LabelMap::uniform(label) };
        let genesis =
            Genesis { id: id.clone(), header: self.header.clone(), intent, subjects: Vec::new() };
        // Boxed: what submitting takes is not kept while the conversation goes on.
        if let Submitted::Existing(_) = Box::pin(self.engine.submit(genesis)).await? {
            let found = Problem::usage("bench-store", "the store holds an earlier measurement");
            return Err(found.next("name an empty folder with --store"));
        }
        self.engine.settled(&tenant, &id).await;
        Ok(())
    }

    /// Turns of a conversation that came to an answer: calls that were made, did what they should, and have a receipt.
    async fn turns(&self, agent: u32, conversation: u32) -> Result<u64, Problem> {
        let tenant = Tenant::default();
        let id = RunId::of_intent(&tenant, "bench", &format!("{agent}/{conversation}"));
        let ended = self.journal.claim(tenant, id.clone()).await?;
        let (mut turns, mut finished) = (0, false);
        for record in &ended.records {
            match record.event.body {
                Body::Receipted { class: None, landed: Landed::Yes, .. } => turns += 1,
                Body::Finished { end: End::Succeeded, .. } => finished = true,
                _ => {}
            }
        }
        if finished { Ok(turns) } else { Err(broken(format!("conversation {id} has no answer"))) }
    }

    /// What the store on the disk did since it was opened.
    async fn stats(&self) -> Result<Option<Stats>, Problem> {
        let Some(sqlite) = &self.sqlite else { return Ok(None) };
        Ok(Some(sqlite.stats(&Tenant::default()).await?))
    }

    async fn close(&self) -> Result<(), Problem> {
        self.engine.drain().await;
        match &self.sqlite {
            Some(sqlite) => Ok(sqlite.close().await?),
            None => Ok(()),
        }
    }
}

fn open_models(options: &Options) -> Result<Arc<Models>, Problem> {
    let wrong = |error: models::Error| {
        Problem::usage("bench-model", error.to_string()).next("correct --base-url and --model")
    };
    let mut provider = Provider::new("bench", ApiKind::OpenAi, &options.base_url, &options.model);
    provider.streaming = match options.answers {
        Answers::Whole => Streaming::Off,
        Answers::Streamed => Streaming::On,
    };
    provider.plaintext = Plaintext::Loopback;
    provider.clearance = Confidentiality::Confidential;
    provider.connections_max = u16::try_from(options.agents).ok().filter(|agents| *agents > 64);
    let client = Client::new(provider, Key::none(), &Http::default()).map_err(wrong)?;
    let models = Models::builder().client(client).role("main", Role::of(&["bench"]));
    Ok(Arc::new(models.build().map_err(wrong)?))
}

fn add_operation(id: &str) -> Result<Operation, Problem> {
    let label = Label::new(Trust::Verified, Confidentiality::Internal);
    Ok(Operation {
        id: id.parse().map_err(|e: kernel::id::BadId| broken(e.to_string()))?,
        summary: "Add {/a} and {/b}.".to_owned(),
        facts: Facts { effect: Effect::Read, retry: Retry::Never, ..Facts::default() },
        resource: None,
        input: Arc::new(json!({
            "type": "object",
            "required": ["a", "b"],
            "properties": { "a": { "type": "integer" }, "b": { "type": "integer" } },
        })),
        output: Arc::new(json!({ "type": "integer" })),
        labels: LabelMap::uniform(label),
        clearance: Label::new(Trust::Untrusted, Confidentiality::Confidential),
        maskable: Vec::new(),
        contract: Default::default(),
        companions: Default::default(),
        groups: Vec::new(),
        timeout_ms: 10_000,
        cost_max: None,
        rate: None,
        witness: Default::default(),
        binding: Arc::new(Value::Null),
    })
}

/// The tool, the model, and ten operations that nobody calls: the other rules are about those.
fn catalogue(models: &Models) -> Result<Catalogue, Problem> {
    let mut operations = models.operations();
    operations.push(add_operation(ADD)?);
    for n in 0..10 {
        operations.push(add_operation(&format!("other.op{n}"))?);
    }
    Catalogue::new(operations).map_err(|e| broken(e.to_string()))
}

fn rules() -> Vec<Source> {
    let mut text = String::from(
        "@id(\"bench.permit\") @reason(\"The agent may add and think.\")\n\
         permit (principal, action in [Action::\"sums.add\", Action::\"model.main\"], resource);\n",
    );
    for n in 1..RULES {
        // Writing into a string cannot fail.
        let _ = if n < RULES_APPLY {
            writeln!(
                text,
                "@id(\"bench.sums{n}\") @reason(\"Too large.\")\n\
                 forbid (principal, action == Action::\"{ADD}\", resource)\n\
                 when {{ context.args.a > {} && context.run.denied > {n} }};",
                1_000_000_000 + n
            )
        } else {
            writeln!(
                text,
                "@id(\"bench.other{n}\") @reason(\"About something else.\")\n\
                 forbid (principal, action == Action::\"other.op{}\", resource)\n\
                 when {{ context.args.a > {n} }};",
                n % 10
            )
        };
    }
    vec![Source { layer: Layer::Operator, name: "bench.cedar".to_owned(), text }]
}

fn plan(catalogue: &Catalogue, policy: Digest) -> Plan {
    let limits = Limits {
        turns_max: 10_000,
        calls_max: 100_000,
        tokens_max: u64::MAX >> 12,
        context_tokens_max: 100_000_000,
        circles: Circles::Ignore,
        ..Limits::default()
    };
    let entry = |id: &str| catalogue.iter().find(|(known, _)| known.as_str() == id);
    let tool = entry(ADD).map(|(id, entry)| AgentTool {
        name: "add".to_owned(),
        description: "Adds two whole numbers.".to_owned(),
        input: Arc::clone(&entry.operation.input),
        does: Does::Operation { operation: id.clone(), effect: Effect::Read },
    });
    let agent = Agent {
        role: "main".to_owned(),
        instructions: "Add what you are told to add, then say that you are done.".to_owned(),
        tools: tool.into_iter().collect(),
        results: Results::Shown,
        limits,
        ..Agent::named("adder".to_owned())
    };
    let row = |path: String, id: &str| {
        entry(id).map(|(id, entry)| PlanStep {
            path,
            operation: id.clone(),
            definition: entry.digest,
            facts: entry.operation.facts.clone(),
            times_max: 100_000,
            cost_max: None,
            conditional: true,
            asks: Asks::No,
        })
    };
    let steps = [
        row(think_path("agent"), &format!("{MODEL_CONNECTOR}.main")),
        row(call_path("agent", ADD), ADD),
    ];
    let step = |id: &str, work| Step {
        id: id.to_owned(),
        work,
        when: None,
        expect: Vec::new(),
        on_failure: Default::default(),
        undo: None,
        caveat: None,
    };
    let (with, value) = (json!("${{ intent }}"), json!("${{ steps.agent.output }}"));
    Plan {
        schema: pack::PLAN_SCHEMA.to_owned(),
        intent: "bench".to_owned(),
        inputs: Some(Digest::default()),
        pack: "bench".to_owned(),
        pack_version: "0.0.0".to_owned(),
        pack_digest: Digest::default(),
        policy_digest: policy,
        config_digest: Digest::default(),
        servers: Default::default(),
        steps: steps.into_iter().flatten().collect(),
        playbook: Playbook {
            name: "bench".to_owned(),
            steps: vec![
                step("agent", Work::Agent { agent: Box::new(agent), with }),
                step("end", Work::Return { value }),
            ],
        },
        constants: Value::Null,
        hooks: Vec::new(),
    }
}

fn header(plan: &Plan, catalogue: &Catalogue) -> Result<Header, Problem> {
    let id = |text: &str| text.parse().map_err(|e: kernel::id::BadId| broken(e.to_string()));
    let agent =
        Principal { id: id("agent:bench")?, kind: ActorKind::Agent, roles: Default::default() };
    let person =
        Principal { id: id("person:bench")?, kind: ActorKind::Person, roles: Default::default() };
    let operations = catalogue.iter().map(|(id, _)| id.clone()).collect();
    Ok(Header {
        machine: MACHINE,
        chain: Chain { agent, on_behalf_of: person, tenant: Tenant::default() },
        intent: plan.intent.clone(),
        pack: "bench@0.0.0".to_owned(),
        pack_digest: plan.pack_digest,
        plan: canon::digest(plan).map_err(|e| broken(e.to_string()))?,
        policy: plan.policy_digest,
        config: plan.config_digest,
        grant: Grant { operations },
        budget: Budget {
            calls_max: u32::MAX,
            model_calls_max: Some(u32::MAX),
            ..Budget::default()
        },
        approvers: Default::default(),
        autonomy: Default::default(),
        mode: Default::default(),
        owner: "bench".to_owned(),
        unusual: Vec::new(),
        submitted_by: None,
    })
}

/// What every conversation is pinned to.
#[derive(Debug)]
struct Shelf {
    program: Program,
    catalogue: Arc<Catalogue>,
    bundle: Arc<Bundle>,
    schemas: Arc<Schemas>,
}

impl engine::Loader for Shelf {
    fn load<'a>(&'a self, run: &'a RunId, _: &'a Header) -> Task<'a, Result<Loaded, String>> {
        let schemas = Arc::clone(&self.schemas) as Arc<dyn Validate>;
        let planner = Box::new(self.program.planner(run).with_schemas(Arc::clone(&schemas)));
        let (plan, catalogue) = (Arc::clone(self.program.plan()), Arc::clone(&self.catalogue));
        let loaded = Loaded {
            pins: Pins { plan, catalogue, planner },
            judge: Arc::clone(&self.bundle) as Arc<dyn Judge>,
            validate: schemas,
            current_policy: self.bundle.digest(),
        };
        Box::pin(async move { Ok(loaded) })
    }
}

/// The model, and the tool.
#[derive(Debug)]
struct Doors {
    models: Arc<Models>,
}

impl Connector for Doors {
    fn call(&self, permit: Permit) -> Task<'_, Outcome> {
        if permit.operation().is_model_call() {
            return self.models.call(permit);
        }
        let number = |name: &str| permit.args().get(name).and_then(Value::as_i64);
        let sum = number("a").zip(number("b")).and_then(|(a, b)| a.checked_add(b));
        let outcome = match sum {
            Some(sum) => Ok(Returned {
                output: Arc::new(json!(sum)),
                labels: permit.operation().labels.clone(),
                external_ref: None,
                cost: None,
                received: Digest::default(),
            }),
            None => Err(Failure {
                class: Class::InvalidArguments,
                landed: Landed::No,
                message: "the sum does not fit".to_owned(),
                retry_after_ms: None,
                sample: None,
            }),
        };
        Box::pin(async move { outcome })
    }
}
