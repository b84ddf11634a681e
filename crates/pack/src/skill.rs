//! Reads `skills/<name>/SKILL.md` in the format of agentskills.io: YAML between two lines of dashes,
//! then Markdown. A skill that its reference validator refuses is refused here, and no other but
//! those that `tests/skills/run` names with a reason.

use std::collections::BTreeMap;

use kernel::agent::{Skill, SkillFile};
use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};

use crate::{
    problem::{Place, Problem},
    yaml::{Doc, Key, Kind, Node},
};

/// Longest name of a skill, in characters.
const NAME_MAX: usize = 64;

/// Longest description, in characters.
const DESCRIPTION_MAX: usize = 1_024;

/// Longest `compatibility`, in characters.
const COMPATIBILITY_MAX: usize = 500;

/// Longest text of a skill, in bytes: it is put before a model at once.
const BODY_MAX: usize = 64 * 1024;

/// Most files beside the text of a skill that an agent may read.
pub const SKILL_FILES_MAX: usize = 32;

/// Longest file that an agent may read, in bytes.
pub const SKILL_FILE_BYTES_MAX: usize = 64 * 1024;

/// Most bytes of all of them: they stand in the plans of the agents that have the skill.
pub const SKILL_FILES_BYTES_MAX: usize = 256 * 1024;

/// The file that a skill begins with.
const FIRST_FILE: &str = "SKILL.md";

/// Every key the format knows.
const KEYS: [&str; 6] =
    ["name", "description", "license", "compatibility", "metadata", "allowed-tools"];

/// Keys whose values are text; what the others hold is for whoever reads them.
const TEXTS: [&str; 3] = ["name", "description", "compatibility"];

/// What frames the front matter.
const DASHES: &str = "---";

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
    let (front, body) = match split(text) {
        Split::Parts(front, body) => (front, body),
        Split::Unframed => {
            let message = "it does not begin with YAML between two lines of `---`";
            return Err(refuse(message.to_owned(), "begin with `---`, `name:` and `description:`"));
        }
        Split::Cut => {
            let message =
                "`---` stands within a line of the front matter, where readers may cut it off";
            return Err(refuse(message.to_owned(), "write a dash in another way"));
        }
    };
    if let Some(strange) = front.chars().find(|c| !is_printable(*c)) {
        let message = format!("the front matter holds {}", strange.escape_unicode());
        return Err(refuse(message, "leave out what YAML has no sign for"));
    }
    // The first line is the dashes: places count from there.
    let doc = Doc::parse_strict(file, format!("\n{front}").as_bytes())
        .map_err(|problem| vec![problem])?;
    let Kind::Map(entries) = &doc.root.kind else {
        return Err(refuse("the front matter is no map".to_owned(), "write `key: value` lines"));
    };
    let mut problems = Vec::new();
    let (name, description) = read_fields((file, folder), entries, &mut problems);
    let mut wrong = |message: String, fix: &str| {
        problems.push(Problem::new(file, first, message, fix));
    };
    for needed in ["name", "description"] {
        if !entries.iter().any(|(key, _)| key.name == needed) {
            wrong(format!("`{needed}` is missing"), "add it to the front matter");
        }
    }
    if body.len() > BODY_MAX {
        let message = format!("its text is longer than {BODY_MAX} bytes");
        wrong(message, "move details into files that it refers to");
    }
    match (name, description, problems.is_empty()) {
        (Some(name), Some(description), true) => {
            Ok(Skill { name, description, text: body.trim().to_owned(), files: Vec::new() })
        }
        _ => Err(problems),
    }
}

/// The files beside a skill's text, in the order of their names; of those that are no text, or too long to be told,
/// that they are there.
pub(crate) fn files_beside(folder: &str, files: &BTreeMap<String, Vec<u8>>) -> Vec<SkillFile> {
    let prefix = format!("skills/{folder}/");
    let within =
        files.iter().filter_map(|(path, bytes)| Some((path.strip_prefix(&prefix)?, bytes)));
    let mut left = SKILL_FILES_BYTES_MAX;
    let beside = within.filter(|(path, _)| *path != FIRST_FILE).take(SKILL_FILES_MAX);
    let told = beside.map(|(path, bytes)| {
        let is_short = bytes.len() <= SKILL_FILE_BYTES_MAX.min(left);
        let text = std::str::from_utf8(bytes).ok().filter(|_| is_short).map(str::to_owned);
        left = left.saturating_sub(text.as_ref().map_or(0, String::len));
        SkillFile { path: path.to_owned(), text }
    });
    told.collect()
}

/// Name and description; what is wrong with any field goes to `problems`.
fn read_fields(
    (file, folder): (&str, &str),
    entries: &[(Key, Node)],
    problems: &mut Vec<Problem>,
) -> (Option<String>, Option<String>) {
    let mut wrong = |place: Place, message: String, fix: &str| {
        problems.push(Problem::new(file, place, message, fix));
    };
    let (mut name, mut description) = (None, None);
    for (key, node) in entries {
        if !KEYS.contains(&key.name.as_str()) {
            let message = format!("`{}` is no key of a skill", crate::read::cut(&key.name));
            wrong(key.place, message, "put it under `metadata:`");
        }
        if !TEXTS.contains(&key.name.as_str()) {
            continue;
        }
        let Kind::Text(text) = &node.kind else {
            let message = format!("`{}` is {}, not text", key.name, node.describe());
            wrong(node.place, message, "write text after the colon");
            continue;
        };
        let text = text.value.as_str();
        match key.name.as_str() {
            "name" => {
                let text: String = text.trim().nfkc().collect();
                if let Some((message, fix)) = wrong_name(&text, folder) {
                    wrong(node.place, message, fix);
                }
                name = Some(text);
            }
            "description" => {
                if let Some(message) = wrong_description(text) {
                    wrong(node.place, message, "say what it is for and when to use it");
                }
                description = Some(text.trim().to_owned());
            }
            _ if text.chars().count() > COMPATIBILITY_MAX => {
                let message =
                    format!("`compatibility` is longer than {COMPATIBILITY_MAX} characters");
                wrong(node.place, message, "write it shorter");
            }
            _ => {}
        }
    }
    (name, description)
}

/// A file, taken apart.
enum Split<'t> {
    /// Front matter and body.
    Parts(&'t str, &'t str),
    /// It begins with no dashes, or no others follow.
    Unframed,
    /// The next dashes stand within a line.
    Cut,
}

/// The next three dashes end the front matter, wherever they stand: so the reference reads it. Where that
/// would cut a line in two, it loses what follows without a word; then nothing is read.
fn split(text: &str) -> Split<'_> {
    let parts = text.strip_prefix(DASHES).and_then(|rest| rest.split_once(DASHES));
    let Some((front, body)) = parts else { return Split::Unframed };
    let (_, last) = front.rsplit_once('\n').unwrap_or(("", front));
    if last.trim().is_empty() { Split::Parts(front, body) } else { Split::Cut }
}

fn wrong_description(text: &str) -> Option<String> {
    // What stands around it counts for the longest length, not for the shortest.
    let length = if text.trim().is_empty() { 0 } else { text.chars().count() };
    (length == 0 || length > DESCRIPTION_MAX)
        .then(|| format!("a description has 1 to {DESCRIPTION_MAX} characters, not {length}"))
}

/// What YAML lets stand as it is.
fn is_printable(c: char) -> bool {
    let controls = c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    !controls && !matches!(c, '\u{FFFE}' | '\u{FFFF}')
}

/// A letter or a number. A mark is neither, though Unicode calls some alphabetic; nor is a letter in a
/// black circle or square.
fn is_letter_or_number(c: char) -> bool {
    const ENCLOSED: [std::ops::RangeInclusive<char>; 2] =
        ['\u{1F150}'..='\u{1F169}', '\u{1F170}'..='\u{1F189}'];
    c.is_alphanumeric() && !is_combining_mark(c) && !ENCLOSED.iter().any(|range| range.contains(&c))
}

/// What is wrong with a name in its compatible form (NFKC), and what to do.
fn wrong_name(name: &str, folder: &str) -> Option<(String, &'static str)> {
    let length = name.chars().count();
    let fine = |c: char| c == '-' || is_letter_or_number(c);
    if length == 0 || length > NAME_MAX {
        let message = format!("a name has 1 to {NAME_MAX} characters, not {length}");
        Some((message, "choose a shorter one"))
    } else if !name.chars().all(fine) || name.to_lowercase() != name {
        Some((format!("`{name}` is no name of a skill"), "use lower-case letters, digits and `-`"))
    } else if name.starts_with('-') || name.ends_with('-') || name.contains("--") {
        Some((format!("`{name}` has a `-` at an end, or two in a row"), "leave it out"))
    } else if folder.nfkc().ne(name.chars()) {
        Some((format!("the skill is called `{name}`, its folder `{folder}`"), "rename one of them"))
    } else {
        None
    }
}
