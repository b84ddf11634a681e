//! Which calls are commands: the deeds of folders that run something, by the binding of their operation.

use serde_json::Value;

use crate::reading::{Reading, read, read_code};

/// What the text of a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// A command line, in the argument `command`.
    Command,
    /// Source code of another language, in the argument `source`.
    Code,
}

/// Deeds of folders that run something.
const DEEDS: [(&str, Sort); 5] = [
    ("shell", Sort::Command),
    ("look", Sort::Command),
    ("job_start", Sort::Command),
    ("python", Sort::Code),
    ("javascript", Sort::Code),
];

/// What an operation with this binding runs; `None` where it runs nothing that a caller writes.
#[must_use]
pub fn sort_of(binding: &Value) -> Option<Sort> {
    deed(binding).map(|(_, sort)| sort)
}

fn deed(binding: &Value) -> Option<(&'static str, Sort)> {
    let is_folder = binding.get("kind").and_then(Value::as_str) == Some("folder");
    let deed = binding.get("do").and_then(Value::as_str).filter(|_| is_folder)?;
    DEEDS.into_iter().find(|(known, _)| *known == deed)
}

/// The reading of a call with these arguments; one whose text is missing is unknown. `None` where it runs nothing.
#[must_use]
pub fn of_call(binding: &Value, args: &Value) -> Option<Reading> {
    let (name, sort) = deed(binding)?;
    Some(match sort {
        Sort::Command => match args.get("command").and_then(Value::as_str) {
            Some(command) => read(command),
            None => {
                let unknown = vec!["which command it is".to_owned()];
                Reading { unknown, ..Reading::default() }.finish()
            }
        },
        Sort::Code => read_code(name),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Effect;

    #[test]
    fn only_deeds_that_run_something_are_read_and_nothing_passes_without_its_text() {
        let folder = |deed: &str| json!({"kind": "folder", "system": "work", "do": deed});
        let ls = json!({"command": "ls", "source": "rm"});
        assert!(of_call(&folder("shell"), &ls).unwrap().only_reads());
        assert!(of_call(&folder("job_start"), &ls).unwrap().only_reads());
        assert_eq!(of_call(&folder("python"), &ls).unwrap().gravest(), Some(Effect::RunsCode));
        assert_eq!(of_call(&folder("read"), &ls), None);
        assert_eq!(of_call(&json!({"kind": "http", "do": "shell"}), &ls), None);
        for odd in [json!({}), json!({"command": 1}), json!(null)] {
            assert_eq!(of_call(&folder("shell"), &odd).unwrap().gravest(), Some(Effect::Unknown));
        }
    }
}
