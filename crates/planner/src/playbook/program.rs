//! The playbook compiled: every expression parsed once, every class of failure with its remedies.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kernel::{
    exception::Class,
    id::OperationId,
    operation::Effect,
    plan::Plan,
    playbook::{self, FOR_EACH_MAX, Recovery, STEPS_MAX, Work, join_path},
};
use serde_json::Value;

use super::{
    agent::AgentCode,
    defaults,
    formula::{Formula, ROOTS},
};

/// A playbook that cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An expression does not parse.
    #[error("step `{step}`, {place}: {source}")]
    Expression {
        /// Static path of the step.
        step: String,
        /// Which of its keys.
        place: &'static str,
        /// What is wrong.
        source: expr::Error,
    },
    /// Two siblings with one id.
    #[error("step `{0}` stands twice in its list; rename one of them")]
    Twice(String),
    /// An id that would make paths ambiguous.
    #[error("step id `{0}` is empty or holds `/`, `[` or `]`; use letters, digits and `_`")]
    Id(String),
    /// A loop variable hides a root variable.
    #[error("step `{step}`: the loop variable may not be called `{name}`; rename it")]
    Variable {
        /// Static path of the step.
        step: String,
        /// The name.
        name: String,
    },
    /// A branch would end the playbook while others are still at work.
    #[error(
        "step `{0}`: `return` cannot stand in a branch of `parallel`; put it after the branches"
    )]
    ReturnInParallel(String),
    /// An agent that cannot be run.
    #[error("step `{step}`: {problem}")]
    Agent {
        /// Static path of the step.
        step: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// Too many steps.
    #[error("the playbook has more than {STEPS_MAX} steps; split it")]
    TooLong,
    /// A loop allows too many turns.
    #[error("step `{0}`: `max` is over the limit of {FOR_EACH_MAX} turns; lower it")]
    TooManyTurns(String),
}

/// Steps that run one after the other.
pub(super) type Block = Arc<[Arc<Code>]>;

/// One step, compiled.
#[derive(Debug)]
pub(super) struct Code {
    pub(super) id: String,
    /// Static path: loop turns as `[]`.
    pub(super) site: String,
    pub(super) when: Option<Formula>,
    pub(super) job: Job,
    pub(super) checks: Vec<Check>,
    pub(super) remedies: BTreeMap<Class, Arc<[Remedy]>>,
    pub(super) caveat: Option<String>,
    /// Whether running it may end the playbook it stands in.
    pub(super) may_return: bool,
    /// Whether the run may go on when an expression of this step has no result: then that it had one
    /// decides about what the step does.
    pub(super) outlives_evaluation: bool,
    /// Whether the run may go on when an answer breaks its contract: then that it did not shows in all
    /// of it.
    pub(super) outlives_answer: bool,
}

/// A check on a result.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) that: Formula,
    pub(super) class: Class,
}

/// One use of an operation.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) operation: OperationId,
    pub(super) effect: Effect,
    pub(super) with: Formula,
}

/// One typed question.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) question: Formula,
    pub(super) answer: Arc<Value>,
    pub(super) role: String,
    pub(super) expires_ms: i64,
}

/// What a step does.
#[derive(Debug)]
pub(super) enum Job {
    Do(Call),
    Ask(Form),
    Agent(Arc<AgentCode>),
    Playbook { with: Formula, body: Block },
    Parallel { branches: Block },
    ForEach(Arc<Turns>),
    Sleep { ms: i64 },
    Await { signal: Formula, timeout_ms: i64 },
    Return(Formula),
}

/// A loop.
#[derive(Debug)]
pub(super) struct Turns {
    pub(super) items: Formula,
    pub(super) var: Arc<str>,
    pub(super) max: u32,
    pub(super) body: Block,
    pub(super) collect: Option<Formula>,
}

/// A way out of a failure, compiled.
#[derive(Debug)]
pub(super) enum Remedy {
    Retry { times: u32, delay_ms: i64 },
    Fallback { call: Call, caveat: String },
    Partial { value: Formula, caveat: String, forbid: BTreeSet<OperationId> },
    Clarify { form: Form },
    Escalate { owner: String },
    Stop,
    Log { caveat: String },
}

impl Remedy {
    /// Whether the steps after it run with another result in place of the one that failed.
    pub(super) fn goes_on(&self) -> bool {
        match self {
            Self::Fallback { .. }
            | Self::Partial { .. }
            | Self::Clarify { .. }
            | Self::Escalate { .. }
            | Self::Log { .. } => true,
            Self::Retry { .. } | Self::Stop => false,
        }
    }
}

/// Compiles the playbook of a plan.
pub(super) fn compile(plan: &Plan) -> Result<Block, Error> {
    let mut count = 0_usize;
    playbook::visit_steps(&plan.playbook.steps, &mut |_, _| count = count.saturating_add(1));
    if count > STEPS_MAX {
        return Err(Error::TooLong);
    }
    Compiler { plan }.block("", &plan.playbook.steps)
}

struct Compiler<'a> {
    plan: &'a Plan,
}

impl Compiler<'_> {
    fn block(&self, parent: &str, steps: &[playbook::Step]) -> Result<Block, Error> {
        let mut seen = BTreeSet::new();
        let mut block = Vec::with_capacity(steps.len());
        for step in steps {
            if step.id.is_empty() || step.id.contains(['/', '[', ']']) {
                return Err(Error::Id(step.id.clone()));
            }
            let site = join_path(parent, &step.id);
            if !seen.insert(&step.id) {
                return Err(Error::Twice(site));
            }
            block.push(Arc::new(self.step(site, step)?));
        }
        Ok(block.into())
    }

    fn step(&self, site: String, step: &playbook::Step) -> Result<Code, Error> {
        let when = match &step.when {
            Some(text) => Some(expression(&site, "when", text)?),
            None => None,
        };
        let checks = step.expect.iter().map(|check| {
            let that = expression(&site, "expect", &check.that)?;
            Ok(Check { that, class: check.class })
        });
        let checks = checks.collect::<Result<_, Error>>()?;
        let job = self.job(&site, &step.work)?;
        let may_return = match &job {
            Job::Return(_) => true,
            Job::ForEach(turns) => turns.body.iter().any(|code| code.may_return),
            // A return inside ends the inlined playbook only.
            Job::Playbook { .. } | Job::Agent(_) => false,
            Job::Parallel { .. } | Job::Do(_) | Job::Ask(_) | Job::Sleep { .. } => false,
            Job::Await { .. } => false,
        };
        let remedies = self.remedies(&site, &job, step)?;
        let outlives_evaluation =
            step.on_failure.get(&Class::UnexpectedShape).is_some_and(|list| {
                let helps = |recovery: &&Recovery| !matches!(recovery, Recovery::Retry { .. });
                list.iter().find(helps).is_some_and(|first| !matches!(first, Recovery::Stop))
            });
        let outlives_answer = remedies
            .iter()
            .any(|(class, list)| class.is_about_content() && list.iter().any(Remedy::goes_on));
        Ok(Code {
            id: step.id.clone(),
            site,
            when,
            job,
            checks,
            remedies,
            caveat: step.caveat.clone(),
            may_return,
            outlives_evaluation,
            outlives_answer,
        })
    }

    fn job(&self, site: &str, work: &Work) -> Result<Job, Error> {
        Ok(match work {
            Work::Do { operation, with } => Job::Do(self.call(site, "with", operation, with)?),
            Work::Ask { question, answer, role, expires_ms } => {
                let question = template(site, "ask", &Value::String(question.clone()))?;
                let answer = Arc::new(answer.clone());
                Job::Ask(Form { question, answer, role: role.clone(), expires_ms: *expires_ms })
            }
            Work::Agent { agent, with } => {
                let block = |site: &str, steps: &[playbook::Step]| self.block(site, steps);
                let code = AgentCode::compile((site, self.plan), agent, with, &block)?;
                Job::Agent(Arc::new(code))
            }
            Work::Playbook { with, steps, .. } => {
                let body = self.block(site, steps)?;
                Job::Playbook { with: template(site, "with", with)?, body }
            }
            Work::Parallel { branches } => {
                let branches = self.block(site, branches)?;
                if branches.iter().any(|code| code.may_return) {
                    return Err(Error::ReturnInParallel(site.to_owned()));
                }
                Job::Parallel { branches }
            }
            Work::ForEach { items, var, max, steps, collect } => {
                let collect = match collect {
                    Some(value) => Some(template(site, "collect", value)?),
                    None => None,
                };
                check_loop(site, var, *max)?;
                let body = self.block(&format!("{site}[]"), steps)?;
                let items = expression(site, "for_each", items)?;
                let (var, max) = (var.as_str().into(), *max);
                Job::ForEach(Arc::new(Turns { items, var, max, body, collect }))
            }
            Work::Sleep { ms } => Job::Sleep { ms: *ms },
            Work::Await { signal, timeout_ms } => {
                let signal = template(site, "wait", &Value::String(signal.clone()))?;
                Job::Await { signal, timeout_ms: *timeout_ms }
            }
            Work::Return { value } => Job::Return(template(site, "return", value)?),
        })
    }

    fn call(
        &self,
        site: &str,
        place: &'static str,
        operation: &OperationId,
        with: &Value,
    ) -> Result<Call, Error> {
        // What the plan does not hold will be refused; until then it counts as a write.
        let effect =
            self.plan.step(site, operation).map_or(Effect::Write, |step| step.facts.effect);
        Ok(Call { operation: operation.clone(), effect, with: template(site, place, with)? })
    }

    fn remedies(
        &self,
        site: &str,
        job: &Job,
        step: &playbook::Step,
    ) -> Result<BTreeMap<Class, Arc<[Remedy]>>, Error> {
        let is_read = matches!(job, Job::Do(call) if call.effect == Effect::Read);
        let mut remedies = BTreeMap::new();
        for class in Class::ALL {
            let list = match step.on_failure.get(&class) {
                Some(declared) => {
                    let list = declared.iter().map(|recovery| self.remedy(site, recovery));
                    list.collect::<Result<Arc<[Remedy]>, Error>>()?
                }
                None if is_read => defaults::of_read(class).into(),
                None => defaults::of_others(class).into(),
            };
            remedies.insert(class, list);
        }
        Ok(remedies)
    }

    fn remedy(&self, site: &str, recovery: &Recovery) -> Result<Remedy, Error> {
        const PLACE: &str = "on_failure";
        Ok(match recovery {
            Recovery::Retry { times, delay_ms } => {
                Remedy::Retry { times: *times, delay_ms: *delay_ms }
            }
            Recovery::Fallback { operation, with, caveat } => {
                let call = self.call(site, PLACE, operation, with)?;
                Remedy::Fallback { call, caveat: caveat.clone() }
            }
            Recovery::Partial { value, caveat, forbid } => {
                let value = template(site, PLACE, value)?;
                Remedy::Partial { value, caveat: caveat.clone(), forbid: forbid.clone() }
            }
            Recovery::Clarify { question, answer, role, expires_ms } => {
                let question = template(site, PLACE, &Value::String(question.clone()))?;
                let (answer, role) = (Arc::new(answer.clone()), role.clone());
                Remedy::Clarify { form: Form { question, answer, role, expires_ms: *expires_ms } }
            }
            Recovery::Escalate { owner } => Remedy::Escalate { owner: owner.clone() },
            Recovery::Stop => Remedy::Stop,
            Recovery::Log { caveat } => Remedy::Log { caveat: caveat.clone() },
        })
    }
}

fn check_loop(site: &str, var: &str, max: u32) -> Result<(), Error> {
    if ROOTS.contains(&var) {
        return Err(Error::Variable { step: site.to_owned(), name: var.to_owned() });
    }
    if max > FOR_EACH_MAX {
        return Err(Error::TooManyTurns(site.to_owned()));
    }
    Ok(())
}

fn expression(step: &str, place: &'static str, text: &str) -> Result<Formula, Error> {
    let wrap = |source| Error::Expression { step: step.to_owned(), place, source };
    Formula::expression(text).map_err(wrap)
}

fn template(step: &str, place: &'static str, value: &Value) -> Result<Formula, Error> {
    let wrap = |source| Error::Expression { step: step.to_owned(), place, source };
    Formula::template(value).map_err(wrap)
}
