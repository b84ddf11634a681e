//! What was said before a task that goes on from an earlier one: handed in as inputs, so that every run of a
//! conversation replays alone, under the labels it had.

use kernel::{
    Label,
    conversation::MODEL_CONNECTOR,
    event::{Body, Record},
    hook::{Moment, Opinion},
    id::RunId,
    planning::Mark,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    App, Caller, header_of, parse_id,
    problem::{Kind, Problem},
    runs,
};

/// Most of a conversation that a turn is handed, in bytes of JSON; the oldest turns are left out first.
const EARLIER_MAX_BYTES: usize = 65_536;

/// One message of a conversation and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Turn {
    /// What the person said.
    pub said: Value,
    /// What the agent answered; null where it did not.
    pub answered: Value,
    /// How the run ended.
    pub ended: String,
}

/// A conversation so far.
#[derive(Debug)]
pub(super) struct Before {
    /// From the oldest to the newest.
    pub(super) earlier: Vec<Turn>,
    /// Older turns that are no longer told.
    pub(super) left_out: u64,
    /// The join of everything that was said and answered: it decided what is said next.
    pub(super) label: Label,
}

/// The conversation up to the end of a run.
pub(super) async fn before(
    app: &App,
    caller: &Caller,
    (run, intent): (&str, &str),
) -> Result<Before, Problem> {
    let id: RunId = parse_id(run)?;
    let records = app.own_records(caller, &id).await?;
    let header = records.first().and_then(header_of);
    let opened = records.first().and_then(|record| match &record.event.body {
        Body::Opened { intent, .. } => intent.opening(),
        _ => None,
    });
    let (Some(header), Some(opened)) = (header, opened) else {
        return Err(Problem::new(
            Kind::Conflict,
            "turn-erased",
            format!("what {id} was told is erased"),
        )
        .next("begin a new conversation"));
    };
    if header.intent != intent {
        let detail = format!("{id} is a run of `{}`, and no turn of a conversation", header.intent);
        return Err(
            Problem::usage("not-a-turn", detail).next("name a run that began with a task in words")
        );
    }
    let status = runs::entry_of(app, caller, &id).await?.row.map(|row| row.status);
    let Some(status) = status.filter(|status| status.is_over()) else {
        return Err(Problem::new(Kind::Conflict, "turn-open", format!("{id} has not ended"))
            .next("wait for it, tell it something with `harness run tell`, or cancel it"));
    };
    let output = records.iter().rev().find_map(|record| match &record.event.body {
        Body::Finished { output, .. } => Some(output),
        _ => None,
    });
    let part = |name: &str| opened.value.get(name).cloned().unwrap_or_default();
    let mut earlier: Vec<Turn> = serde_json::from_value(part("earlier")).unwrap_or_default();
    // What a hook kept from the model does not reach it with the next message.
    if !is_kept_back(&records) {
        earlier.push(Turn {
            said: part("task"),
            answered: output.map(|output| (*output.value()).clone()).unwrap_or_default(),
            ended: status.word().to_owned(),
        });
    }
    let mut left_out = part("left_out").as_u64().unwrap_or_default();
    left_out = left_out.saturating_add(shorten(&mut earlier));
    let label = opened.labels.join_all();
    let label = output.map_or(label.clone(), |output| label.join(&output.labels().join_all()));
    Ok(Before { earlier, left_out, label })
}

/// Whether a hook kept the task of a run from its agent: before any model was asked.
fn is_kept_back(records: &[Record]) -> bool {
    let first = records.iter().find_map(|record| match &record.event.body {
        Body::Marked { mark: Mark::Looked { on: Moment::Prompt, said, .. }, .. } => {
            (*said != Opinion::Pass).then_some(true)
        }
        Body::Proposed { operation, .. } => {
            (operation.connector() == MODEL_CONNECTOR).then_some(false)
        }
        _ => None,
    });
    first.unwrap_or_default()
}

/// Leaves out the oldest turns until the rest may be told: how many.
fn shorten(earlier: &mut Vec<Turn>) -> u64 {
    let size = |turn: &Turn| serde_json::to_string(turn).map_or(usize::MAX, |text| text.len());
    let mut left = EARLIER_MAX_BYTES;
    let kept = earlier.iter().rev().take_while(|turn| match left.checked_sub(size(turn)) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    });
    let gone = earlier.len() - kept.count();
    earlier.drain(..gone);
    gone as u64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_oldest_turns_are_left_out() {
        let turn = |n: usize, size: usize| Turn {
            said: json!(n),
            answered: json!("x".repeat(size)),
            ended: "succeeded".to_owned(),
        };
        let mut few = vec![turn(0, 10), turn(1, 10)];
        assert_eq!((shorten(&mut few), few.len()), (0, 2));
        let mut many: Vec<Turn> = (0..9).map(|n| turn(n, 10_000)).collect();
        assert_eq!(shorten(&mut many), 3);
        assert_eq!(many[0].said, json!(3));
        let mut huge = vec![turn(0, 10), turn(1, EARLIER_MAX_BYTES)];
        assert_eq!((shorten(&mut huge), huge.len()), (2, 0));
    }
}
