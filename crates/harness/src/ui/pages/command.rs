//! What a command may run and do.

use maud::{Markup, html};

use crate::{
    app::approvals::{CommandRead, ProgramRead},
    ui::{
        icons::Icon,
        parts::{self, Tone},
    },
};

/// Each program with what it may do, and what nobody can know before it runs.
pub(super) fn read(command: &CommandRead) -> Markup {
    html! {
        p { (command.summary) }
        @if !command.programs.is_empty() {
            div.wide { table {
                thead { tr { th scope="col" { "Program" } th scope="col" { "Through" } th scope="col" { "May" } } }
                tbody { @for program in &command.programs { (one(program)) } }
            } }
        }
        @if command.unknown.is_empty() { p.meta { "Read in the text of the command. What it can reach is decided by its sandbox." } }
        @else { p { (parts::tag(Tone::Warn, Icon::Alert, "Not all of it is known")) " What it can reach is decided by its sandbox." } }
    }
}

fn one(program: &ProgramRead) -> Markup {
    let may: Vec<String> = program.effects.iter().map(|effect| effect.replace('_', " ")).collect();
    html! { tr {
        td { code { (program.name) } }
        td { (program.through.join(", ")) }
        td { @if may.is_empty() { "print" } @else { (may.join(", ")) } }
    } }
}
