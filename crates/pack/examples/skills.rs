//! Judges every skill below a folder, as packs are judged: one JSON line a skill. For `tests/skills/run`.

use std::{
    env, fs,
    io::{self, Write as _},
    path::Path,
};

use serde_json::json;

fn main() -> io::Result<()> {
    let Some(folder) = env::args_os().nth(1) else {
        return Err(io::Error::other("say which folder holds the skills"));
    };
    let mut out = io::stdout().lock();
    for case in sorted(Path::new(&folder))? {
        for skill in sorted(&case)? {
            let name = skill.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let said = match fs::read(skill.join("SKILL.md")) {
                Ok(bytes) => match pack::read_skill("SKILL.md", &name, &bytes) {
                    Ok(_) => Vec::new(),
                    Err(problems) => problems.iter().map(ToString::to_string).collect(),
                },
                Err(error) => vec![error.to_string()],
            };
            let case = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
            writeln!(out, "{}", json!({ "case": case, "said": said }))?;
        }
    }
    Ok(())
}

fn sorted(folder: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        found.push(entry?.path());
    }
    found.sort();
    Ok(found)
}
