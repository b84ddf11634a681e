//! What agents and programs are given must not hold what they are held by: the store, keys, secrets, policies, packs
//! and the configuration itself.

use std::path::{Path, PathBuf};

use connect::System;

use super::Config;
use crate::app::problem::Problem;

/// How much somebody may do in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    Read,
    Write,
}

/// Something of the harness's own: what it is, where it is, and what nobody else may do with it.
struct Own {
    what: String,
    path: PathBuf,
    closed_to: Leave,
}

/// Refuses folders and profiles that reach the harness's own files.
///
/// # Errors
/// Names the system, the place that is open, and what lies there.
pub(super) fn check(config: &Config, file: &str) -> Result<(), Problem> {
    let own = own_of(config, file);
    for (name, system) in &config.systems {
        for (field, path, leave) in opened(system) {
            let place = resolved(path);
            let touches = |own: &&Own| {
                let closed = leave == Leave::Write || own.closed_to == Leave::Read;
                closed && (own.path.starts_with(&place) || place.starts_with(&own.path))
            };
            if let Some(own) = own.iter().find(touches) {
                let detail = format!(
                    "[systems.{name}] opens {} (`{field}`), where {} lies: whoever works there could change what it is held by",
                    path.display(),
                    own.what
                );
                return Err(Problem::usage("own-files-open", detail).next(
                    "open a folder that holds nothing of the harness, or move that elsewhere",
                ));
            }
        }
    }
    Ok(())
}

/// What of the harness's own a place is or lies in, if it is for nobody else at all or may not be changed by them.
#[must_use]
pub fn own_place(config: &Config, place: &Path) -> Option<String> {
    let file = config.file.as_deref().unwrap_or("default");
    let place = resolved(place);
    let own = own_of(config, file);
    own.iter().find(|own| place.starts_with(&own.path)).map(|own| own.what.clone())
}

/// A place that decides about agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it may not even be read.
    pub secret: Secret,
}

/// Whether a place holds what nobody else may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secret {
    /// It may not be read.
    Yes,
    /// It may be read, and not changed.
    No,
}

/// Every place of the harness's own.
#[must_use]
pub fn own_places(config: &Config) -> Vec<Place> {
    let own = own_of(config, config.file.as_deref().unwrap_or("default")).into_iter();
    own.map(|own| Place {
        secret: if own.closed_to == Leave::Read { Secret::Yes } else { Secret::No },
        path: own.path,
    })
    .collect()
}

/// What a system opens to whoever calls it.
fn opened(system: &System) -> Vec<(&'static str, &Path, Leave)> {
    let profiles = match system {
        System::Process(process) => vec![&process.profile],
        System::Mcp(server) => vec![&server.profile],
        System::Acp(agent) => vec![&agent.profile],
        System::Folder(folder) => {
            let shell = folder.shell.as_ref().map(|shell| &shell.profile);
            shell.into_iter().chain(folder.code.as_ref().map(|code| &code.profile)).collect()
        }
        System::Http { .. }
        | System::Sqlite { .. }
        | System::Postgres { .. }
        | System::Smtp { .. }
        | System::Web(_)
        | System::Worker(_) => Vec::new(),
    };
    let folder = match system {
        System::Folder(folder) => Some(("path", folder.path.as_path(), Leave::Write)),
        _ => None,
    };
    let mut all: Vec<_> = folder.into_iter().collect();
    if let System::Folder(folder) = system
        && let Some(code) = &folder.code
    {
        let languages = [&code.python, &code.javascript].into_iter().flatten();
        let packages = languages.filter_map(|language| language.packages.as_deref());
        all.extend(packages.map(|path| ("code", path, Leave::Read)));
    }
    for profile in profiles {
        let reads =
            profile.paths.read.iter().chain(profile.mounts.read.iter().map(|bind| &bind.from));
        let lower = profile.mounts.workspace.iter().map(|workspace| &workspace.lower);
        all.extend(
            reads.chain(lower).map(|path| ("profile.paths.read", path.as_path(), Leave::Read)),
        );
        let upper = profile.mounts.workspace.iter().map(|workspace| &workspace.upper);
        let writes = profile.paths.write.iter().chain(upper);
        all.extend(writes.map(|path| ("profile.paths.write", path.as_path(), Leave::Write)));
    }
    all
}

fn own_of(config: &Config, file: &str) -> Vec<Own> {
    let secret = |what: &str, path: &Path| Own {
        what: format!("{what} ({})", path.display()),
        path: resolved(path),
        closed_to: Leave::Read,
    };
    let shown = |what: &str, path: &Path| Own { closed_to: Leave::Write, ..secret(what, path) };
    let mut own = vec![secret("the store", &config.store)];
    if file != "default" {
        own.push(shown("the configuration", Path::new(file)));
    }
    own.extend(config.operator_policies.iter().map(|path| shown("the operator's policy", path)));
    own.extend(config.packs.iter().map(|path| shown("a pack", path)));
    let references = config.secrets.values().chain(config.own_secrets.values());
    let files = references.filter_map(|reference| reference.strip_prefix("file:"));
    own.extend(files.map(|path| secret("a secret or key", Path::new(path))));
    let programs = config.hooks.iter().filter_map(super::hooks::Declared::own_program);
    own.extend(programs.map(|path| shown("the program of a hook", &path)));
    own
}

/// A path without links, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    for there in path.ancestors() {
        if let Ok(found) = there.canonicalize() {
            return found.join(path.strip_prefix(there).unwrap_or(Path::new("")));
        }
    }
    path.to_owned()
}
