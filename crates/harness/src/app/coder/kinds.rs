//! What agents of the Agent Client Protocol want to do, as it is judged. What a tool is they say themselves: of the kind that
//! they name and what else they show, the graver counts.

use connect::acp::{Kind, Prompted, Use};
use kernel::Digest;
use serde_json::{Value, json};

use super::{
    own,
    table::{TEXT_MAX_BYTES, fits, paths_in},
};
use crate::app::{config::Config, problem::Problem};

/// Longest name of a tool, in characters.
const TOOL_MAX_CHARS: usize = 200;

/// Longest text about what would be touched, in characters.
const OWN_MAX_CHARS: usize = 400;

/// The intent of the pack, and its inputs.
pub(super) fn judged_as(
    (at, used): (&Prompted, &Use),
    config: &Config,
) -> Result<(&'static str, Value), Problem> {
    let command = command(&used.input);
    let read = command.as_ref().map(|command| shell::read(command));
    let what = match (&command, used.paths.is_empty()) {
        (Some(command), _) => command.clone(),
        (None, false) => used.paths.join(" "),
        (None, true) => used.title.clone(),
    };
    fits(&what)?;
    let texts = || used.paths.iter().cloned().chain(paths_in(&used.input));
    let of_path = |path: String| own::of_path(config, &path, &at.cwd);
    let own = match (&command, &read) {
        (Some(command), Some(read)) => own::of_command(config, (command, read), &at.cwd),
        _ => None,
    };
    let own = own.or_else(|| texts().find_map(of_path)).unwrap_or_default();
    let effects: Vec<&str> =
        read.iter().flat_map(|read| &read.effects).map(|effect| effect.name()).collect();
    let tool = format!("{}: {}", at.system, used.name.as_deref().unwrap_or(used.kind.name()));
    let inputs = json!({
        "tool": clip(&tool, TOOL_MAX_CHARS), "what": what, "detail": detail(used),
        "own": clip(&own, OWN_MAX_CHARS), "effects": effects, "cwd": at.cwd, "for": at.run.as_str(),
    });
    Ok((intent(used, command.as_deref()), inputs))
}

/// The gravest of what the kind says, and what is shown. That something surely only looks, only a kind says here, and it is
/// the agent's word.
fn intent(used: &Use, command: Option<&str>) -> &'static str {
    match used.kind {
        _ if command.is_some() => "run",
        Kind::Edit | Kind::Delete | Kind::Move => "change",
        // What it would run nobody can tell.
        Kind::Execute | Kind::SwitchMode | Kind::Other => "call",
        _ if used.changes => "change",
        Kind::Fetch => "fetch",
        Kind::Read | Kind::Search | Kind::Think => "look",
    }
}

/// The command of a use, where it has one: as text, or in words.
fn command(input: &Value) -> Option<String> {
    match input.get("command").or_else(|| input.get("cmd"))? {
        Value::String(text) => Some(text.clone()),
        Value::Array(words) => {
            let words: Option<Vec<String>> =
                words.iter().map(|word| word.as_str().map(quoted)).collect();
            words.map(|words| words.join(" "))
        }
        // A command that is neither is one all the same, and nobody can read it.
        other => Some(other.to_string()),
    }
}

/// A word as a shell reads it as one.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@+%".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// Everything else that is known of a use; what is too long is named by its digest.
fn detail(used: &Use) -> String {
    let known = json!({
        "title": used.title, "kind": used.kind.name(), "input": used.input, "files": used.paths,
        "changes": used.changes,
    });
    let text = known.to_string();
    match text.len() {
        0..=TEXT_MAX_BYTES => text,
        length => format!("{length} bytes, {}", Digest::of(text.as_bytes())),
    }
}

fn clip(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

#[cfg(test)]
mod tests {
    use connect::acp::{Kind, Use};
    use serde_json::json;

    use super::{command, intent};

    /// C133: the kind is the agent's word, and what it shows beside it can only make it graver.
    #[test]
    fn the_graver_of_kind_and_what_is_shown_counts() {
        let none = json!({});
        for (kind, input, changes, wanted) in [
            (Kind::Read, none.clone(), false, "look"),
            (Kind::Search, none.clone(), false, "look"),
            (Kind::Think, none.clone(), false, "look"),
            (Kind::Fetch, none.clone(), false, "fetch"),
            (Kind::Edit, none.clone(), false, "change"),
            (Kind::Delete, none.clone(), false, "change"),
            (Kind::Move, none.clone(), false, "change"),
            (Kind::Execute, none.clone(), false, "call"),
            (Kind::SwitchMode, none.clone(), false, "call"),
            (Kind::Other, none.clone(), false, "call"),
            (Kind::Execute, json!({"command": "ls"}), false, "run"),
            // A read that runs something, or changes something, is none.
            (Kind::Read, json!({"command": "rm -r ."}), false, "run"),
            (Kind::Think, json!({"cmd": ["rm", "-r", "."]}), false, "run"),
            (Kind::Read, json!({"command": {"odd": 1}}), false, "run"),
            (Kind::Read, none.clone(), true, "change"),
            (Kind::Fetch, none, true, "change"),
        ] {
            let shown = format!("{kind:?} {input} {changes}");
            let command = command(&input);
            let (id, title, paths) = ("t".to_owned(), "x".to_owned(), Vec::new());
            let used = Use { id, title, name: None, kind, input, paths, changes };
            assert_eq!(intent(&used, command.as_deref()), wanted, "{shown}");
        }
    }

    #[test]
    fn words_of_a_command_stay_words() {
        let said = json!({"command": ["bash", "-lc", "echo 'a b' > x"]});
        assert_eq!(command(&said).unwrap(), r"bash -lc 'echo '\''a b'\'' > x'");
    }
}
