//! Agents that speak the Agent Client Protocol: programs of the operator's, each started in a sandbox for one call, given one
//! prompt, and ended with it.
//!
//! Such an agent has tools of its own. Before it uses one it may ask; what it asks is judged by whoever the host names, as the
//! use of an agent that is not ours, and answered with a yes for this once or a no. What it does without asking only the
//! sandbox holds. What it says about itself is its word alone: it is bounded, and labelled as the file says.

mod turn;

use std::{path::PathBuf, sync::Arc, time::Duration};

use ::acp::client::{self, Ended, Errand, Error as ClientError, Stop};
use kernel::{
    exception::{Class, Landed},
    id::{EffectKey, RunId, Tenant},
    port::{Failure, Task},
};
use sandbox::Tier;
use serde_json::{Value, json};
use tokio::time::Instant;

pub use ::acp::client::{Is, Kind, Met, Over, Use};

use crate::{
    blob::{BlobSink, pass_on},
    call::{Arrived, Call, Departure, clip, fail, refuse},
    error::Error,
    ingest::Pick,
    process::Program,
    read::Reader,
    redact::Redactor,
    secret::Vault,
    started::Talking,
    system::{AcpSystem, ProcessSystem},
    way_out::Around,
};
use turn::Turn;

/// How long an agent may take until it has a session. Whoever waits for it waits no longer than its own call may.
const START_WITHIN: Duration = Duration::from_secs(60);

/// The folder that an agent works in where its profile names none: its private temporary folder.
const SCRATCH: &str = "/tmp";

/// Longest prompt, in bytes.
const PROMPT_MAX_BYTES: usize = 1 << 20;

/// Longest part of what an agent says about a failure, in characters.
const SAID_MAX_CHARS: usize = 300;

/// Whose turn it is that an agent is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompted {
    /// Whose data and rights are at stake.
    pub tenant: Tenant,
    /// The run that prompts it.
    pub run: RunId,
    /// The call of that run.
    pub key: EffectKey,
    /// The agent, by the name of its system.
    pub system: String,
    /// The folder that it works in, as it sees it.
    pub cwd: String,
}

/// What is decided about a use of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Whether it may be, this once.
    pub allowed: bool,
    /// Where the decision stands.
    pub run: Option<String>,
    /// Why not.
    pub because: String,
}

/// Who judges what agents are about to do with tools of their own.
pub trait Judges: Send + Sync + std::fmt::Debug {
    /// Whether an agent may use a tool, this once. It is waited for as long as the agent's turn goes on, and dropped with it.
    fn judge(&self, at: Prompted, used: Use) -> Task<'_, Judged>;

    /// The agent says that a use is over.
    fn over(&self, at: &Prompted, over: Over);

    /// The turn is over, however it ended: what was permitted and not told of is open.
    fn left(&self, at: &Prompted);
}

/// There is nobody: nothing is permitted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NobodyJudges;

impl Judges for NobodyJudges {
    fn judge(&self, _: Prompted, _: Use) -> Task<'_, Judged> {
        let because = "nobody here judges what agents do".to_owned();
        Box::pin(std::future::ready(Judged { allowed: false, run: None, because }))
    }

    fn over(&self, _: &Prompted, _: Over) {}

    fn left(&self, _: &Prompted) {}
}

/// A prompt for an agent.
#[derive(Debug)]
pub(crate) struct Prompt {
    pub(crate) system: String,
    /// Where its words stand in the arguments.
    text: String,
    unfinished: Unfinished,
    on_error: Landed,
    result: String,
}

/// What a turn is that ended for another reason than that the agent was through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unfinished {
    /// The call fails.
    Fail,
    /// It is an answer, which says why in `stop`.
    Tell,
}

impl Prompt {
    pub(crate) fn compile(binding: &Reader<'_>) -> Result<Self, Error> {
        binding.only(&["kind", "system", "text", "unfinished", "landed_on_error", "result"])?;
        let unfinished = match binding.text_opt("unfinished")? {
            None | Some("fail") => Unfinished::Fail,
            Some("tell") => Unfinished::Tell,
            Some(other) => {
                let text = format!("`{other}` is neither fail nor tell");
                return Err(binding.error("unfinished", text));
            }
        };
        let on_error = match binding.text_opt("landed_on_error")? {
            None | Some("unknown") => Landed::Unknown,
            Some("no") => Landed::No,
            Some(other) => {
                let text = format!("`{other}` is neither no nor unknown");
                return Err(binding.error("landed_on_error", text));
            }
        };
        Ok(Self {
            system: binding.text("system")?.to_owned(),
            text: binding.pointer("text")?.unwrap_or_else(|| "/text".to_owned()),
            unfinished,
            on_error,
            result: binding.pointer("result")?.unwrap_or_default(),
        })
    }

    pub(crate) fn pick(&self) -> Pick<'_> {
        Pick { result: &self.result, ..Pick::default() }
    }

    fn words(&self, call: &Call) -> Result<String, Failure> {
        let found = call.args.pointer(&self.text).and_then(Value::as_str);
        let words = found.filter(|text| !text.trim().is_empty());
        let words = words.ok_or_else(|| {
            refuse(format!("the argument {} must hold the words of the prompt", self.text))
        })?;
        if words.len() > PROMPT_MAX_BYTES {
            return Err(refuse(format!("a prompt has at most {PROMPT_MAX_BYTES} bytes")));
        }
        Ok(words.to_owned())
    }
}

/// What one call needs besides the call itself.
pub(crate) struct Wire<'a> {
    pub(crate) departure: &'a Arc<Departure>,
    pub(crate) deadline: Duration,
    pub(crate) sink: Option<&'a dyn BlobSink>,
    pub(crate) redactor: Arc<Redactor>,
    pub(crate) judges: &'a Arc<dyn Judges>,
}

/// A declared agent.
#[derive(Debug)]
pub(crate) struct Agent {
    name: String,
    program: Program,
    cwd: PathBuf,
}

impl Agent {
    pub(crate) fn new(name: &str, declared: &AcpSystem, vault: &Vault) -> Result<Self, Error> {
        if declared.tier < Tier::Isolated {
            let problem =
                "an agent is a program that others wrote: `tier` is \"isolated\" or \"container\"";
            return Err(Error::System { system: name.to_owned(), problem: problem.to_owned() });
        }
        let program = Program::new(name, &process(declared), vault)?;
        let cwd = declared.profile.folder.clone().unwrap_or_else(|| SCRATCH.into());
        Ok(Self { name: name.to_owned(), program, cwd })
    }

    /// Whether it may ask the outside for anything.
    pub(crate) fn has_way_out(&self) -> bool {
        self.program.has_way_out()
    }

    /// Whether this machine can hold its profile.
    pub(crate) fn held(&self) -> Result<Tier, String> {
        self.program.held()
    }

    /// Starts it, gives it its prompt, and waits for the end of its turn.
    pub(crate) async fn call(
        &self,
        prompt: &Prompt,
        (call, around): (&Call, &Around<'_>),
        wire: &Wire<'_>,
    ) -> Result<Arrived, Failure> {
        let text = prompt.words(call)?;
        wire.departure.check()?;
        // It is told to stop in time to say that it has.
        let grace = client::STOP_WITHIN.min(wire.deadline / 2);
        let until = Instant::now() + wire.deadline.saturating_sub(grace);
        let mut profile = self.program.whole_profile(around.vault)?;
        let _out = self.program.open(call, around, &mut profile)?;
        let (walls, run) = self.program.parts();
        let Talking { from, to, leash, ended } =
            walls.talk(&self.name, (profile, &run), around.clock).await?;
        let at = Prompted {
            tenant: call.tenant.clone(),
            run: call.run.clone(),
            key: call.key.clone(),
            system: self.name.clone(),
            cwd: self.cwd.display().to_string(),
        };
        let ways = (Arc::clone(wire.departure), Arc::clone(wire.judges));
        let turn = Arc::new(Turn::new(at, ways, until, Arc::clone(&wire.redactor)));
        let errand = Errand { text, cwd: self.cwd.clone(), within: START_WITHIN };
        let side = Arc::clone(&turn) as Arc<dyn client::Side>;
        let told = client::prompt((from, to), errand, side).await;
        drop(leash);
        match told {
            Ok(told) => {
                self.check_stop(prompt, &told, (call, wire))?;
                pass_on(&output(told, &turn), call, (wire.sink, &wire.redactor)).await
            }
            Err(error) => {
                let last = ended.told(&wire.redactor).await;
                let failed = self.failure(&error, last, (prompt, call, wire));
                let sample = turn.sample().filter(|_| call.masks.is_empty());
                Err(Failure { sample: sample.map(Arc::new), ..failed })
            }
        }
    }

    /// Meets it, and asks nothing of it.
    pub(crate) async fn meet(&self, around: &Around<'_>) -> Result<Met, Failure> {
        let profile = self.program.whole_profile(around.vault)?;
        let (walls, run) = self.program.parts();
        let Talking { from, to, leash, ended } =
            walls.talk(&self.name, (profile, &run), around.clock).await?;
        let met = client::meet((from, to), START_WITHIN).await;
        drop(leash);
        match met {
            Ok(met) => Ok(met),
            Err(error) => {
                let last = ended.told(&around.vault.redactor()).await.unwrap_or_default();
                let message = format!("`{}` could not be talked to: {error}{last}", self.name);
                Err(fail(class(&error), Landed::No, message))
            }
        }
    }

    /// An agent that is not through has done a part of what it was asked for, or nothing.
    fn check_stop(
        &self,
        prompt: &Prompt,
        told: &Ended,
        (call, wire): (&Call, &Wire<'_>),
    ) -> Result<(), Failure> {
        let is_answer = told.stop == Stop::EndTurn
            || (prompt.unfinished == Unfinished::Tell && told.stop != Stop::Cancelled);
        if is_answer {
            return Ok(());
        }
        let (name, stop) = (&self.name, told.stop.name());
        let said = match told.text.trim() {
            _ if !call.masks.is_empty() => {
                "(withheld: fields of its answers are masked)".to_owned()
            }
            "" => "it says nothing more".to_owned(),
            text => clip(&wire.redactor.scrub_text(text), SAID_MAX_CHARS),
        };
        let landed = if call.operation.is_write() { prompt.on_error } else { Landed::No };
        let class = match told.stop {
            Stop::Refusal => Class::Permission,
            _ => Class::Unavailable,
        };
        let message = format!("`{name}` ended its turn without being through ({stop}): {said}");
        Err(fail(class, landed, message))
    }

    /// What no end of a turn means for the call.
    fn failure(
        &self,
        error: &ClientError,
        last: Option<String>,
        (prompt, call, wire): (&Prompt, &Call, &Wire<'_>),
    ) -> Failure {
        let (name, landed) = (&self.name, wire.departure.landed());
        if let ClientError::Stopped { .. } = error {
            let (class, why) = match wire.departure.is_stop_wanted() {
                true => (Class::Unavailable, "its run is to end".to_owned()),
                false => {
                    let ms = wire.deadline.as_millis();
                    (Class::Timeout, format!("it was not through within {ms} ms"))
                }
            };
            return fail(class, landed, format!("`{name}`: {why}; {error}"));
        }
        if *error == ClientError::NotSent {
            // Why is what the departure says.
            return wire.departure.leave().err().unwrap_or_else(|| {
                fail(Class::Unavailable, Landed::No, format!("`{name}`: {error}"))
            });
        }
        let landed = match error {
            // Its own word that it failed.
            ClientError::Refused { .. } if landed == Landed::Unknown => prompt.on_error,
            _ => landed,
        };
        let told = match call.masks.is_empty() {
            true => error.to_string(),
            false => {
                "it gave no sound answer (withheld: fields of its answers are masked)".to_owned()
            }
        };
        let last = last.filter(|_| call.masks.is_empty()).unwrap_or_default();
        fail(class(error), landed, clip(&format!("`{name}`: {told}{last}"), SAID_MAX_CHARS * 2))
    }
}

fn class(error: &ClientError) -> Class {
    match error {
        ClientError::WantsLogin { .. } => Class::Permission,
        ClientError::Late { .. } => Class::Timeout,
        ClientError::TooMuch { .. } | ClientError::NoText | ClientError::BadSession => {
            Class::UnexpectedShape
        }
        ClientError::Refused { .. }
        | ClientError::Over
        | ClientError::NotSent
        | ClientError::Stopped { .. } => Class::Unavailable,
    }
}

/// What an agent said, and did by its own word, with what was decided about it.
fn output(told: Ended, turn: &Turn) -> Value {
    let uses = told.uses.iter().map(|used| {
        let mut one = json!({
            "id": used.id, "title": used.title, "kind": used.kind.name(),
            "status": used.status.name(),
        });
        if let (Some(asked), Some(one)) = (turn.asked_of(&used.id), one.as_object_mut()) {
            one.insert("asked".to_owned(), asked);
        }
        one
    });
    let mut output = json!({
        "text": told.text, "stop": told.stop.name(), "uses": uses.collect::<Vec<_>>(),
    });
    if let Some(map) = output.as_object_mut() {
        map.extend(told.cut.then(|| ("cut".to_owned(), json!(true))));
        let is = |is: Is| ("agent".to_owned(), json!({"name": is.name, "version": is.version}));
        map.extend(told.agent.map(is));
    }
    output
}

/// An agent as the program that it is.
fn process(declared: &AcpSystem) -> ProcessSystem {
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
