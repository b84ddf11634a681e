//! A Rust function as an operation of the catalogue: what it is told as, what it does, how it is called.

use std::{collections::BTreeMap, fmt, future::Future, sync::Arc};

use kernel::{
    Label, LabelMap, RunId,
    exception::Class,
    gate::Permit,
    id::EffectKey,
    label::{Confidentiality, Trust},
    operation::{
        Binding, Companion, Companions, Contract, Critical, Effect, Facts, Operation, Retry,
        TIMEOUT_DEFAULT_MS, TIMEOUT_MAX_MS, Undo,
    },
    pointer,
    port::Task,
};
use schemars::JsonSchema;
use serde::{Deserialize as _, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    Argument, Error, Failed, IntoFailed,
    argument::{Fallible, Output, schema_of},
};

/// The connector that every tool belongs to: the operation of the tool `weather` is `tool.weather`.
pub const TOOL_CONNECTOR: &str = "tool";

/// Longest name of a tool, in characters.
pub const NAME_MAX_CHARS: usize = 64;

/// What a call may know beside its arguments.
#[derive(Clone, Debug)]
pub struct Context {
    run: RunId,
    key: EffectKey,
    attempt: u32,
    args: Arc<Value>,
    labels: LabelMap,
}

impl Context {
    pub(crate) fn of(permit: &Permit) -> Self {
        Self {
            run: permit.run().clone(),
            key: permit.key().clone(),
            attempt: permit.attempt(),
            args: Arc::clone(permit.args()),
            labels: permit.arg_labels().clone(),
        }
    }

    /// The run that calls.
    #[must_use]
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// The same for every try of the same effect: hand it to a system that deduplicates.
    #[must_use]
    pub fn key(&self) -> &EffectKey {
        &self.key
    }

    /// Which call of this effect, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The label of the argument at a JSON pointer, such as `/account`.
    #[must_use]
    pub fn label(&self, pointer: &str) -> Label {
        self.labels.at(pointer)
    }

    /// One argument, typed; absent is `null`.
    ///
    /// # Errors
    /// When it does not fit the type, or its label not what the type promises; nothing has happened then.
    pub fn argument<T: Argument>(&self, name: &str) -> Result<T, Failed> {
        let value = self.args.get(name).unwrap_or(&Value::Null);
        let unfit = |e| Failed::nothing_happened(Class::InvalidArguments, e);
        let plain = T::Plain::deserialize(value).map_err(unfit)?;
        T::accept(plain, || self.label(&format!("/{}", pointer::escape(name))))
    }

    /// All arguments as one struct.
    ///
    /// # Errors
    /// When they do not fit the type; nothing has happened then.
    pub fn arguments<A: DeserializeOwned>(&self) -> Result<A, Failed> {
        let unfit = |e| Failed::nothing_happened(Class::InvalidArguments, e);
        A::deserialize(&*self.args).map_err(unfit)
    }
}

type Later = dyn Fn(Context) -> Task<'static, Result<Value, Failed>> + Send + Sync;
type Now = dyn Fn(&Context) -> Result<Value, Failed> + Send + Sync;

/// What a tool does when it is called.
#[derive(Clone)]
pub enum Body {
    /// Waits for something.
    Async(Arc<Later>),
    /// Works until it is done, on a thread that may block.
    Blocking(Arc<Now>),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Async(_) => "Async(..)",
            Self::Blocking(_) => "Blocking(..)",
        })
    }
}

/// The write that takes a write back: another tool, and where its arguments come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenBackBy {
    /// Name of the tool.
    pub tool: String,
    /// Its argument → pointer into `{args, output, key}` of the call that is taken back.
    pub with: BTreeMap<String, String>,
}

/// A tool: an operation, and the Rust code behind it.
///
/// Whatever is not said takes its strictest value: it writes, cannot be taken back, is never tried again,
/// sends things out, all of its arguments matter, and its result is untrusted and secret.
#[derive(Clone, Debug)]
pub struct Tool {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) input: Arc<Value>,
    pub(crate) output: Arc<Value>,
    pub(crate) facts: Facts,
    pub(crate) label: Label,
    pub(crate) timeout_ms: u32,
    pub(crate) taken_back_by: Option<TakenBackBy>,
    pub(crate) body: Body,
}

/// An item that `#[tool]` has made a tool of.
pub trait Define {
    /// The tool.
    fn define() -> Tool;
}

/// The facts of a tool that says nothing about itself.
#[must_use]
pub fn strictest() -> Facts {
    Facts {
        effect: Effect::Write,
        undo: Undo::None,
        retry: Retry::Never,
        egress: true,
        critical: Critical::All,
    }
}

impl Tool {
    /// The tool that `#[tool]` made of a function, by the function's name: `Tool::of::<weather>()`.
    #[must_use]
    pub fn of<T: Define>() -> Self {
        T::define()
    }

    /// A tool made of a closure over one struct of arguments.
    #[must_use]
    pub fn new<A, T, E, F, W>(name: &str, description: &str, call: F) -> Self
    where
        A: DeserializeOwned + JsonSchema,
        T: Output,
        E: IntoFailed,
        F: Fn(A) -> W + Send + Sync + 'static,
        W: Future<Output = Result<T, E>> + Send + 'static,
    {
        let later = move |context: Context| -> Task<'static, Result<Value, Failed>> {
            match context.arguments::<A>() {
                Ok(args) => {
                    let answer = call(args);
                    Box::pin(async move { Fallible(answer.await).into_value() })
                }
                Err(failed) => Box::pin(std::future::ready(Err(failed))),
            }
        };
        let schemas = (schema_of::<A>(), T::schema());
        Self::made(name, description, schemas, Body::Async(Arc::new(later)))
    }

    /// A tool from its parts, with the strictest facts.
    #[must_use]
    pub fn made(
        name: &str,
        description: &str,
        (input, output): (Arc<Value>, Arc<Value>),
        body: Body,
    ) -> Self {
        Self {
            name: name.to_owned(),
            description: description.to_owned(),
            input,
            output,
            facts: strictest(),
            label: Label::default(),
            timeout_ms: TIMEOUT_DEFAULT_MS,
            taken_back_by: None,
            body,
        }
    }

    /// What is known about its effect.
    #[must_use]
    pub fn facts(mut self, facts: Facts) -> Self {
        self.facts = facts;
        self
    }

    /// It changes nothing and sends nothing out.
    #[must_use]
    pub fn reads(mut self) -> Self {
        self.facts = Facts { effect: Effect::Read, egress: false, ..self.facts };
        self
    }

    /// It changes things here and sends nothing out.
    #[must_use]
    pub fn stays_inside(mut self) -> Self {
        self.facts.egress = false;
        self
    }

    /// The write that takes it back, with each argument's pointer into `{args, output, key}`.
    #[must_use]
    pub fn taken_back_by(mut self, tool: &str, with: &[(&str, &str)]) -> Self {
        let pair = |(argument, pointer): &(&str, &str)| ((*argument).into(), (*pointer).into());
        let with = with.iter().map(pair).collect();
        self.taken_back_by = Some(TakenBackBy { tool: tool.to_owned(), with });
        self.facts.undo = Undo::Compensate;
        self
    }

    /// A declared system of record vouches for its result.
    #[must_use]
    pub fn verified(mut self) -> Self {
        self.label.trust = Trust::Verified;
        self
    }

    /// How far its result may travel.
    #[must_use]
    pub fn confidentiality(mut self, confidentiality: Confidentiality) -> Self {
        self.label.confidentiality = confidentiality;
        self
    }

    /// How long a call may take, in milliseconds.
    #[must_use]
    pub fn timeout_ms(mut self, timeout_ms: u32) -> Self {
        self.timeout_ms = timeout_ms;
        self
    }

    /// Its name, as the model calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the model is told about it.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// JSON Schema of its arguments.
    #[must_use]
    pub fn input(&self) -> &Value {
        &self.input
    }

    /// JSON Schema of its result.
    #[must_use]
    pub fn output(&self) -> &Value {
        &self.output
    }

    /// Its operation, for a catalogue.
    ///
    /// # Errors
    /// What is wrong with its name, its description, its schema or its limits.
    pub fn operation(&self) -> Result<Operation, Error> {
        self.check()?;
        let wrong = |problem: String| Error::Tool { tool: self.name.clone(), problem };
        let undo_with = self.taken_back_by.as_ref().map(companion).transpose().map_err(wrong)?;
        Ok(Operation {
            id: id(&self.name).ok_or_else(|| wrong("its name is no id".to_owned()))?,
            summary: self.name.clone(),
            facts: self.facts.clone(),
            resource: None,
            input: Arc::clone(&self.input),
            output: Arc::clone(&self.output),
            labels: LabelMap::uniform(self.label.clone()),
            clearance: Label::new(Trust::Untrusted, Confidentiality::Secret),
            maskable: Vec::new(),
            contract: Contract::default(),
            companions: Companions { undo_with, ..Companions::default() },
            groups: Vec::new(),
            timeout_ms: self.timeout_ms,
            cost_max: None,
            rate: None,
            witness: Default::default(),
            binding: Arc::new(Value::Null),
        })
    }

    /// What is wrong with it, whatever else the agent has.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong =
            |problem: &str| Error::Tool { tool: self.name.clone(), problem: problem.into() };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if self.name.is_empty() || self.name.len() > NAME_MAX_CHARS {
            return Err(wrong("a name has 1 to 64 characters"));
        }
        if !self.name.chars().all(is_plain) {
            return Err(wrong("a name has letters, digits, `_` and `-` only"));
        }
        if self.description.trim().is_empty() {
            return Err(wrong("a model must be told what it is for: describe it"));
        }
        if self.input.get("type").and_then(Value::as_str) != Some("object") {
            return Err(wrong("its arguments must be a struct with named fields"));
        }
        if self.timeout_ms == 0 || self.timeout_ms > TIMEOUT_MAX_MS {
            return Err(wrong("`timeout_ms` is between 1 and 600000"));
        }
        if self.facts.effect == Effect::Read && self.facts.undo != Undo::None {
            return Err(wrong("a read has nothing to take back"));
        }
        if (self.facts.undo == Undo::Compensate) != self.taken_back_by.is_some() {
            return Err(wrong("what is compensated names the tool that does it"));
        }
        if self.facts.undo == Undo::Restore || self.facts.retry == Retry::Probe {
            return Err(wrong("restoring and probing need companion calls: use a pack"));
        }
        Ok(())
    }
}

/// The operation of a tool of this name.
pub(crate) fn id(tool: &str) -> Option<kernel::id::OperationId> {
    format!("{TOOL_CONNECTOR}.{tool}").parse().ok()
}

fn companion(by: &TakenBackBy) -> Result<Companion, String> {
    let operation = id(&by.tool).ok_or_else(|| format!("`{}` is no name of a tool", by.tool))?;
    let bad = |pointer: &&String| {
        let roots = ["/args", "/output", "/key"];
        !roots.iter().any(|root| {
            pointer.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    if let Some(pointer) = by.with.values().find(bad) {
        return Err(format!("`{pointer}` does not begin with /args, /output or /key"));
    }
    let with = by.with.iter().map(|(name, from)| (name.clone(), Binding::From(from.clone())));
    Ok(Companion { operation, with: with.collect(), image: Vec::new() })
}
