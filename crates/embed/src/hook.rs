//! Hooks: Rust code that looks at a call before it is made and may only narrow.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use kernel::{
    Label,
    decision::{self, Decision, Question, Requirement, Rule, RunFacts},
    operation::Facts,
    port::Judge,
};
use serde_json::Value;

/// Role that is asked when a hook asks.
pub const HOOK_ROLE: &str = "approver";

/// A call that is wanted: policy has judged it, nothing has happened.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    question: &'a Question<'a>,
}

impl<'a> Call<'a> {
    /// The tool's name.
    #[must_use]
    pub fn tool(&self) -> &'a str {
        let id = self.question.operation.id.as_str();
        id.split_once('.').map_or(id, |(_, name)| name)
    }

    /// What is known about the tool's effect.
    #[must_use]
    pub fn facts(&self) -> &'a Facts {
        &self.question.operation.facts
    }

    /// The arguments.
    #[must_use]
    pub fn args(&self) -> &'a Value {
        self.question.args
    }

    /// The label of the argument at a JSON pointer; `""` for all of them.
    #[must_use]
    pub fn label(&self, pointer: &str) -> Label {
        self.question.arg_labels.at(pointer)
    }

    /// The label of everything that led to the call being wanted at all.
    #[must_use]
    pub fn existence(&self) -> &'a Label {
        self.question.existence
    }

    /// What the run has done so far.
    #[must_use]
    pub fn run(&self) -> &'a RunFacts {
        self.question.run
    }
}

/// What a hook says. There is no way to say yes: a hook cannot loosen what policy decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing against it.
    Pass,
    /// A person must approve it first; why.
    Ask(String),
    /// It must not happen; why.
    Deny(String),
}

/// What a hook may return: a [`Verdict`], or a `Result` of one, whose error denies.
#[diagnostic::on_unimplemented(
    message = "a hook returns `Verdict`, not `{Self}`",
    note = "return `embed::Verdict`, or a `Result` of it"
)]
pub trait IntoVerdict {
    /// As a verdict.
    fn into_verdict(self) -> Verdict;
}

impl IntoVerdict for Verdict {
    fn into_verdict(self) -> Verdict {
        self
    }
}

impl<E: fmt::Display> IntoVerdict for Result<Verdict, E> {
    fn into_verdict(self) -> Verdict {
        self.unwrap_or_else(|e| Verdict::Deny(format!("the hook failed: {e}")))
    }
}

type Look = dyn Fn(&Call<'_>) -> Verdict + Send + Sync;

/// A hook. It must depend on nothing but the call: a replay asks it again.
#[derive(Clone)]
pub struct Hook {
    name: String,
    tool: Option<String>,
    look: Arc<Look>,
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").field("name", &self.name).field("tool", &self.tool).finish()
    }
}

impl Hook {
    /// A hook on every call of a tool.
    #[must_use]
    pub fn new<V: IntoVerdict>(
        name: &str,
        look: impl Fn(&Call<'_>) -> V + Send + Sync + 'static,
    ) -> Self {
        let look = move |call: &Call<'_>| look(call).into_verdict();
        Self { name: name.to_owned(), tool: None, look: Arc::new(look) }
    }

    /// The same for one tool alone.
    #[must_use]
    pub fn on(mut self, tool: &str) -> Self {
        self.tool = Some(tool.to_owned());
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tool it looks at; `None` = all of them.
    #[must_use]
    pub fn tool(&self) -> Option<&str> {
        self.tool.as_deref()
    }

    /// What it says; a panic denies.
    fn ask(&self, call: &Call<'_>) -> Verdict {
        let said = catch_unwind(AssertUnwindSafe(|| (self.look)(call)));
        said.unwrap_or_else(|_| Verdict::Deny("the hook stopped unexpectedly".to_owned()))
    }
}

/// Policy, narrowed by hooks.
#[derive(Debug)]
pub(crate) struct Hooked {
    pub(crate) policy: Arc<dyn Judge>,
    pub(crate) hooks: Vec<Hook>,
}

impl Judge for Hooked {
    fn judge(&self, question: &Question<'_>) -> Decision {
        let decided = self.policy.judge(question);
        if question.operation.is_model_call() {
            return decided;
        }
        let call = Call { question };
        let looking =
            self.hooks.iter().filter(|h| h.tool.as_deref().is_none_or(|t| t == call.tool()));
        looking.fold(decided, |decided, hook| {
            if decided.verdict == decision::Verdict::Deny {
                return decided;
            }
            narrow(decided, &hook.name, hook.ask(&call), question)
        })
    }
}

fn narrow(decided: Decision, hook: &str, said: Verdict, question: &Question<'_>) -> Decision {
    let rule = |reason| Rule { layer: "agent".to_owned(), id: format!("hook.{hook}"), reason };
    let (verdict, rule) = match said {
        Verdict::Pass => return decided,
        Verdict::Deny(reason) => (decision::Verdict::Deny, rule(reason)),
        Verdict::Ask(reason) => {
            let given = question.evidence.approvals.get(HOOK_ROLE).copied().unwrap_or_default();
            if given > 0 {
                return decided;
            }
            let mut needed = match &decided.verdict {
                decision::Verdict::Ask(requirement) => requirement.clone(),
                decision::Verdict::Allow | decision::Verdict::Deny => Requirement::default(),
            };
            needed.approvals.entry(HOOK_ROLE.to_owned()).or_insert(1);
            (decision::Verdict::Ask(needed), rule(reason))
        }
    };
    // Whoever denies speaks alone; whoever asks speaks first.
    let others = decided.rules.into_iter().filter(|_| verdict != decision::Verdict::Deny);
    let rules = std::iter::once(rule).chain(others).collect();
    Decision { verdict, rules, policies: decided.policies }
}
