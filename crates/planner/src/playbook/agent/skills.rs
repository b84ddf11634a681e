//! Skills, disclosed step by step: their names at the beginning, the text of one when the agent loads it, and of the
//! files beside it one at a time.
//!
//! The files are those of the pack that the plan was compiled from, by their paths: nothing is looked up anywhere, so no
//! path leads out of a skill.

use kernel::agent::{Skill, SkillFile};
use serde_json::Value;

use super::{
    Frame,
    calls::{At, told, told_error, told_piece},
    nearest::nearest,
    talk::{Piece, head},
};

impl Frame {
    /// Tells the text of a skill, or of a file beside it.
    pub(super) fn load_skill(&self, args: &Value) -> At {
        let text = |name: &str| args.get(name).and_then(Value::as_str).unwrap_or_default();
        let (name, file) = (text("name"), text("file"));
        let skills = &self.code.spec.skills;
        let Some(skill) = skills.iter().find(|skill| skill.name == name) else {
            let hint = nearest(name, skills.iter().map(|skill| skill.name.as_str()));
            let hint = hint.map(|n| format!("; did you mean `{n}`?")).unwrap_or_default();
            return told_error(format!("there is no skill `{name}`{hint}"));
        };
        let from = args.get("from").and_then(Value::as_u64).unwrap_or_default();
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        match file {
            _ if skill.files.is_empty() => told(skill.text.clone()),
            // The text is told whole: it is what the agent is to follow.
            "" => part_of(&with_files(skill), format!("`{name}`"), (from, usize::MAX)),
            path => match found(skill, path) {
                Ok((path, text)) => {
                    part_of(text, format!("`{name}/{path}`"), (from, self.result_bytes_max()))
                }
                Err(problem) => told_error(problem),
            },
        }
    }
}

/// A file of a skill, exactly by its path.
fn found<'a>(skill: &'a Skill, path: &str) -> Result<(&'a str, &'a str), String> {
    let wanted = path.trim_start_matches("./");
    let name = &skill.name;
    let Some(SkillFile { path, text }) = skill.files.iter().find(|file| file.path == wanted) else {
        let hint = nearest(wanted, skill.files.iter().map(|file| file.path.as_str()));
        let hint = hint.map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
        return Err(format!("there is no such file in `{name}`{hint}"));
    };
    let text = text.as_deref().ok_or_else(|| {
        format!("`{path}` cannot be read here: it is no text, or longer than may be told")
    })?;
    Ok((path, text))
}

/// The text of a skill, with what lies beside it.
fn with_files(skill: &Skill) -> String {
    let files: Vec<String> = skill.files.iter().map(|file| format!("\n- {}", file.path)).collect();
    format!("{}\n\nFiles beside it, for `file`:{}", skill.text, files.concat())
}

/// A part of a text, from a byte on, and where it goes on.
fn part_of(text: &str, of: String, (from, bytes_max): (usize, usize)) -> At {
    let from = head(text, from).len();
    let part = head(text.get(from..).unwrap_or_default(), bytes_max);
    let piece = Piece { of, from, to: from.saturating_add(part.len()), whole: text.len() };
    told_piece(format!("{part}{}", piece.mark()), piece)
}
