//! What a command may run and do, as a person who is asked about it reads it. It comes from the text of the command, read
//! by us, and not from what anybody says about it.

use kernel::run::ActionView;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shell::Reading;

/// What a command or code may run and do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommandRead {
    /// A few plain sentences.
    pub summary: String,
    /// Every program that it may run.
    pub programs: Vec<ProgramRead>,
    /// Everything that any of it may do: `reads`, `writes`, `deletes`, `network`, `settings`, `runs_code`, `privilege`,
    /// `unknown`.
    pub effects: Vec<String>,
    /// Files that it writes, as far as they are named.
    pub writes: Vec<String>,
    /// What cannot be known before it runs.
    pub unknown: Vec<String>,
}

/// A program that may run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProgramRead {
    /// Its name as the command has it.
    pub name: String,
    /// What it may do.
    pub effects: Vec<String>,
    /// What hands the command on to it, outermost first.
    pub through: Vec<String>,
}

/// The reading of an action that runs something; none where it does not.
pub(super) fn of_action(action: &ActionView) -> Option<CommandRead> {
    shell::of_call(&action.operation.binding, &action.args).map(of_reading)
}

fn of_reading(reading: Reading) -> CommandRead {
    let names = |effects: &std::collections::BTreeSet<shell::Effect>| {
        effects.iter().map(|effect| effect.name().to_owned()).collect()
    };
    let programs = reading.programs.into_iter().map(|program| ProgramRead {
        effects: names(&program.effects),
        name: program.name,
        through: program.through,
    });
    CommandRead {
        programs: programs.collect(),
        effects: names(&reading.effects),
        summary: reading.summary,
        writes: reading.writes,
        unknown: reading.unknown,
    }
}
