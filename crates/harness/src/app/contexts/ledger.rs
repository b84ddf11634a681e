//! What each source of a context took, beside what it may take.

use std::collections::BTreeMap;

use kernel::{
    agent::{Agent, ShareOf},
    conversation::{Prompt, Reply, Said, Source, tokens},
    event::Record,
    playbook::{Work, visit_steps},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{App, Caller, Talk, word};
use crate::app::header_of;

/// The sources that a context is assembled from, in the order they are told.
const SEVEN: [Source; 7] = [
    Source::System,
    Source::Policy,
    Source::Guide,
    Source::Memory,
    Source::History,
    Source::Tool,
    Source::State,
];

/// The line of everything together.
const WHOLE: &str = "whole";

/// What one source took of a context.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LedgerLine {
    /// The source; what the model itself said counts as `history`.
    pub source: String,
    /// Pieces that came from it.
    pub pieces: u64,
    /// Their bytes; of pictures and documents what they count for.
    pub bytes: u64,
    /// Their tokens at the most: an estimate that errs on the safe side.
    pub tokens: u64,
    /// Tokens of the largest piece.
    pub largest: u64,
    /// Most tokens that it may take; absent where only the whole has a budget.
    pub budget: Option<u64>,
    /// Whether the budget is that of each piece instead of all together.
    pub each: bool,
}

/// The agents of a run's plan by the static path of their step; none where the plan is gone.
pub(super) async fn agents_of(
    app: &App,
    caller: &Caller,
    records: &[Record],
) -> BTreeMap<String, Agent> {
    let mut agents = BTreeMap::new();
    let Some(header) = records.first().and_then(header_of) else { return agents };
    let Ok(plan) = app.shelf.plan(caller.tenant(), header.plan).await else { return agents };
    visit_steps(&plan.playbook.steps, &mut |path, step| {
        if let Work::Agent { agent, .. } = &step.work {
            agents.insert(path.to_owned(), Agent::clone(agent));
        }
    });
    agents
}

/// The ledger of one model call.
pub(super) fn of(talk: &Talk, agents: &BTreeMap<String, Agent>) -> Vec<LedgerLine> {
    let mut taken: BTreeMap<Source, Vec<usize>> = BTreeMap::new();
    for link in talk.thread.since(|_| false) {
        match link.said() {
            Said::Prompt(said) => {
                let prompt = Prompt::deserialize(&*said.value());
                for segment in prompt.map(|prompt| prompt.segments).unwrap_or_default() {
                    taken.entry(segment.source()).or_default().push(segment.length());
                }
            }
            Said::Reply(said) => {
                let reply = Reply::deserialize(&*said.value());
                let items = reply.map(|reply| reply.items).unwrap_or_default();
                let length = items.iter().map(kernel::conversation::Item::length).sum();
                taken.entry(Source::History).or_default().push(length);
            }
        }
    }
    let agent = agent_of(talk, agents);
    let others = taken.keys().copied().filter(|source| !SEVEN.contains(source));
    let sources: Vec<Source> = SEVEN.into_iter().chain(others).collect();
    let mut lines: Vec<LedgerLine> = sources
        .into_iter()
        .map(|source| {
            let pieces = taken.get(&source).map(Vec::as_slice).unwrap_or_default();
            let share = agent.and_then(|agent| agent.share(source));
            LedgerLine {
                budget: share.map(|share| share.tokens_max),
                each: share.is_some_and(|share| share.of == ShareOf::Piece),
                ..line(&word(&source), pieces)
            }
        })
        .collect();
    let all: Vec<usize> = taken.into_values().flatten().collect();
    let budget = agent.map(|agent| u64::from(agent.limits.context_tokens_max));
    lines.push(LedgerLine { budget, ..line(WHOLE, &all) });
    lines
}

fn line(source: &str, pieces: &[usize]) -> LedgerLine {
    let bytes: usize = pieces.iter().sum();
    LedgerLine {
        source: source.to_owned(),
        pieces: u64::try_from(pieces.len()).unwrap_or(u64::MAX),
        bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
        tokens: tokens(bytes),
        largest: tokens(pieces.iter().copied().max().unwrap_or_default()),
        budget: None,
        each: false,
    }
}

/// The agent whose conversation it is; none for what sums up or answers a declared question.
fn agent_of<'a>(talk: &Talk, agents: &'a BTreeMap<String, Agent>) -> Option<&'a Agent> {
    let conversation = &talk.prompt.as_ref()?.conversation;
    let (path, number) = conversation.rsplit_once('#')?;
    number.parse::<u32>().ok()?;
    agents.get(&without_turns(path))
}

/// A path as plans have it: turns of loops are shown as `[]`.
fn without_turns(path: &str) -> String {
    let mut inside = false;
    let keep = |c: &char| {
        let is_kept = !inside || *c == ']';
        inside = match c {
            '[' => true,
            ']' => false,
            _ => inside,
        };
        is_kept
    };
    path.chars().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_of_loops_are_no_part_of_a_static_path() {
        assert_eq!(without_turns("a/b[3]/c[12]"), "a/b[]/c[]");
        assert_eq!(without_turns("hand_over"), "hand_over");
    }
}
