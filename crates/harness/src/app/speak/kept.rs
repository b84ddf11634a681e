//! A call whose client comes back for it. It is kept as its run, so it outlives connections and crashes.

use mcp::server::{Answer, Kept, Line, Stands};

use super::{Behalf, beside, meta, parts, sentence, there, told};
use crate::app::tools::{ToolCall, ToolState};

/// Where it stands. What is in doubt goes on: a person finds out, and it comes to an answer after all.
pub(super) fn kept(seen: &ToolCall, (behalf, line): (&Behalf, &Line)) -> Kept {
    let question = seen.question.clone().map(parts);
    let able = question.filter(|all| all.iter().all(|part| line.able().can(&part.method)));
    let stands = match (seen.state, there(seen), able) {
        (_, Some(Answer::Refused(refusal)), _) => Stands::Refused(refusal),
        (ToolState::Cancelled, ..) => Stands::Cancelled,
        (ToolState::Done, ..) => Stands::Ended(told(seen)),
        // A tool of another server may promise a structured answer, which this is none of.
        (ToolState::Denied | ToolState::Failed, ..) if *behalf != Behalf::Own => {
            let told = told(seen);
            Stands::Ended(if told.passed.is_some() { told } else { beside(told) })
        }
        (ToolState::Denied | ToolState::Failed, ..) => Stands::Ended(told(seen)),
        (_, _, Some(asked)) => Stands::Asks(asked),
        _ => Stands::Working,
    };
    Kept {
        id: seen.run.clone(),
        stands,
        message: sentence(seen),
        begun_at: seen.opened_at.clone(),
        changed_at: seen.changed_at.clone(),
        meta: meta(seen),
    }
}
