//! Reads `skills/<name>/SKILL.md` in the format of agentskills.io: YAML between two lines of dashes,
//! then Markdown. A skill that its reference validator refuses is refused here, and no other.

use std::collections::BTreeSet;

use kernel::agent::Skill;

use crate::{
    problem::{Place, Problem},
    yaml::{Doc, Kind},
};

/// Longest name of a skill, in characters.
const NAME_MAX: usize = 64;

/// Longest description, in characters.
const DESCRIPTION_MAX: usize = 1_024;

/// Longest `compatibility`, in characters.
const COMPATIBILITY_MAX: usize = 500;

/// Longest text of a skill, in bytes: it is put before a model at once.
const BODY_MAX: usize = 64 * 1024;

/// Every key the format knows.
const KEYS: [&str; 6] =
    ["name", "description", "license", "compatibility", "metadata", "allowed-tools"];

/// Reads the skill in a folder called `folder`.
///
/// # Errors
/// Everything wrong with it.
pub fn read_skill(file: &str, folder: &str, bytes: &[u8]) -> Result<Skill, Vec<Problem>> {
    let first = Place { line: 1, column: 1 };
    let refuse = |message: String, fix: &str| vec![Problem::new(file, first, message, fix)];
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Err(refuse("not UTF-8 text".to_owned(), "save the file as UTF-8"));
    };
    let Some((front, body)) = split(text) else {
        let message = "it does not begin with YAML between two lines of `---`";
        return Err(refuse(message.to_owned(), "begin with `---`, `name:` and `description:`"));
    };
    // The first line is the dashes: places count from there.
    let doc = Doc::parse(file, format!("\n{front}").as_bytes()).map_err(|problem| vec![problem])?;
    let Kind::Map(entries) = &doc.root.kind else {
        return Err(refuse("the front matter is no map".to_owned(), "write `key: value` lines"));
    };
    let mut problems = Vec::new();
    let mut wrong = |place: Place, message: String, fix: &str| {
        problems.push(Problem::new(file, place, message, fix));
    };
    let mut seen = BTreeSet::new();
    let (mut name, mut description) = (None, None);
    for (key, node) in entries {
        seen.insert(key.name.as_str());
        if !KEYS.contains(&key.name.as_str()) {
            let message = format!("`{}` is no key of a skill", crate::read::cut(&key.name));
            wrong(key.place, message, "put it under `metadata:`");
        }
        let text = match &node.kind {
            Kind::Text(text) => text.value.trim().to_owned(),
            _ => node.to_value().to_string(),
        };
        match key.name.as_str() {
            "name" => {
                if let Some((message, fix)) = wrong_name(&text, folder) {
                    wrong(node.place, message, fix);
                }
                name = Some(text);
            }
            "description" => {
                let length = text.chars().count();
                if length == 0 || length > DESCRIPTION_MAX {
                    let message = format!(
                        "a description has 1 to {DESCRIPTION_MAX} characters, not {length}"
                    );
                    wrong(node.place, message, "say what it is for and when to use it");
                }
                description = Some(text);
            }
            "compatibility" if text.chars().count() > COMPATIBILITY_MAX => {
                let message =
                    format!("`compatibility` is longer than {COMPATIBILITY_MAX} characters");
                wrong(node.place, message, "write it shorter");
            }
            _ => {}
        }
    }
    for needed in ["name", "description"] {
        if !seen.contains(needed) {
            wrong(first, format!("`{needed}` is missing"), "add it to the front matter");
        }
    }
    if body.len() > BODY_MAX {
        let message = format!("its text is longer than {BODY_MAX} bytes");
        wrong(first, message, "move details into files that it refers to");
    }
    match (name, description, problems.is_empty()) {
        (Some(name), Some(description), true) => {
            Ok(Skill { name, description, text: body.trim().to_owned() })
        }
        _ => Err(problems),
    }
}

/// Front matter and body.
fn split(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("---")?;
    let (front, rest) = rest.split_once("\n---")?;
    let body = rest.split_once('\n').map_or("", |(_, body)| body);
    Some((front, body))
}

/// What is wrong with a name, and what to do.
fn wrong_name(name: &str, folder: &str) -> Option<(String, &'static str)> {
    let length = name.chars().count();
    let fine = |c: char| c == '-' || c.is_alphanumeric() && c.to_lowercase().eq([c]);
    if length == 0 || length > NAME_MAX {
        let message = format!("a name has 1 to {NAME_MAX} characters, not {length}");
        Some((message, "choose a shorter one"))
    } else if !name.chars().all(fine) {
        Some((format!("`{name}` is no name of a skill"), "use lower-case letters, digits and `-`"))
    } else if name.starts_with('-') || name.ends_with('-') || name.contains("--") {
        Some((format!("`{name}` has a `-` at an end, or two in a row"), "leave it out"))
    } else if name != folder {
        Some((format!("the skill is called `{name}`, its folder `{folder}`"), "rename one of them"))
    } else {
        None
    }
}
