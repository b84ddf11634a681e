//! The shell of a declared folder: a command, in a sandbox that sees the folder and the system's libraries.

use std::path::{Path, PathBuf};

use kernel::{
    exception::{Class, Landed},
    port::Failure,
};
use sandbox::{Captured, Command, End, Finished, Limit, Profile, Tier};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    call::{Call, Departure, fail, refuse},
    error::Error,
    folder::{REPOSITORY, RESULT_BYTES, read_args, shrinking},
    redact::Redactor,
    secret::Vault,
    started::{Walls, how_it_ended, name},
    system::ShellRules,
    way_out::{Around, WayOut},
};

/// Most bytes of a command.
const COMMAND_MAX_BYTES: usize = 64 * 1024;

/// The program that reads a command.
const SHELL: &str = "/bin/sh";

/// Longest value of a secret, in bytes.
const SECRET_MAX: usize = 4096;

/// A shell, and what stands around it.
#[derive(Debug)]
pub(crate) struct Shell {
    system: String,
    folder: PathBuf,
    walls: Walls,
    profile: Profile,
    out: WayOut,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    command: String,
}

impl Shell {
    pub(crate) fn new(
        (system, folder): (&str, &Path),
        rules: &ShellRules,
        vault: &Vault,
    ) -> Result<Self, Error> {
        let profile = rules.profile.clone();
        profile.check().map_err(|error| Error::System {
            system: system.to_owned(),
            problem: error.to_string(),
        })?;
        let out = WayOut::new(system, &rules.egress, (rules.tier, &profile), vault)?;
        let (system, folder) = (system.to_owned(), folder.to_owned());
        Ok(Self { system, folder, walls: Walls::new(rules.tier), profile, out })
    }

    /// The tier it would run in, or what this machine is missing.
    pub(crate) fn held(&self) -> Result<Tier, String> {
        self.walls.held(&self.inside()?)
    }

    /// Whether its commands may ask the outside for anything.
    pub(crate) fn has_way_out(&self) -> bool {
        self.out.is_open()
    }

    /// Runs a command to its end. What it ends with is a result, not a failure, unless its time was over.
    pub(crate) async fn call(
        &self,
        (call, around): (&Call, &Around<'_>),
        departure: &Departure,
    ) -> Result<Value, Failure> {
        let Asked { command } = read_args(&call.args)?;
        if command.trim().is_empty() || command.len() > COMMAND_MAX_BYTES || command.contains('\0')
        {
            return Err(refuse(format!(
                "`command` must have 1 to {COMMAND_MAX_BYTES} bytes and no NUL"
            )));
        }
        let profile = self.inside();
        let mut profile =
            profile.map_err(|problem| fail(Class::Unavailable, Landed::No, problem))?;
        let most = u64::from(call.operation.timeout_ms).max(1);
        profile.limits.deadline_ms = profile.limits.deadline_ms.min(most);
        let out = self.out.open(call, around, &mut profile)?;
        let run = Command::new(SHELL).arguments(["-c", &command]);
        let finished = self.walls.run(&self.system, (profile, run), departure).await?;
        let requests = out.close().await;
        let outcome = &finished.outcome;
        if outcome.limits.contains(&Limit::Deadline) || outcome.asked {
            let how = how_it_ended(outcome.end, &outcome.limits);
            return Err(fail(Class::Timeout, departure.landed(), format!("the command {how}")));
        }
        result(&finished, &requests, &around.vault.redactor())
    }

    /// The profile as the folder is now: a command starts in it and may change what is in it, but not the repository that
    /// is there, where it could plant what `git` runs for whoever works there next.
    fn inside(&self) -> Result<Profile, String> {
        let mut profile = self.profile.clone();
        let folder = &self.folder;
        let folder = folder
            .canonicalize()
            .map_err(|error| format!("{} cannot be opened: {error}", folder.display()))?;
        let repository = folder.join(REPOSITORY);
        let named = [&profile.paths.read, &profile.paths.write, &profile.paths.none];
        if !named.into_iter().flatten().any(|path| *path == repository) {
            match repository.symlink_metadata() {
                Ok(found) if found.is_symlink() => {
                    return Err(format!(
                        "{} is a link, which a command could replace; name the repository itself under `paths.read` of the shell's profile",
                        repository.display()
                    ));
                }
                Ok(_) => profile.paths.read.push(repository),
                Err(_) => {}
            }
        }
        profile.paths.write.push(folder.clone());
        profile.folder.get_or_insert(folder);
        Ok(profile)
    }
}

/// What a command came to, in as many bytes as a result may have.
fn result(finished: &Finished, requests: &[Value], redactor: &Redactor) -> Result<Value, Failure> {
    let outcome = &finished.outcome;
    let (exit_code, signal) = match outcome.end {
        End::Exit(code) => (Some(code), None),
        End::Signal(signal) => (None, Some(signal)),
    };
    let limits: Vec<String> = outcome.limits.iter().map(|limit| name(*limit)).collect();
    let text = |kept: &Captured| {
        // What was cut off may have been the other half of a secret.
        let unsure = if kept.dropped > 0 { SECRET_MAX } else { 0 };
        let (bytes, cut) = kept.bytes.split_at(kept.bytes.len().saturating_sub(unsure));
        let text = redactor.scrub_text(&String::from_utf8_lossy(bytes));
        (text, kept.dropped + cut.len() as u64)
    };
    let (output, errors) = (text(&finished.output), text(&finished.errors));
    shrinking(RESULT_BYTES / 2, |most| {
        let (output, output_cut) = ends_of(&output, most);
        let (errors, errors_cut) = ends_of(&errors, most);
        Ok(json!({
            "exit_code": exit_code, "signal": signal, "limits": limits, "requests": requests,
            "output": output, "output_cut": output_cut,
            "errors": errors, "errors_cut": errors_cut,
        }))
    })
}

/// The beginning and the end of a text, and how many bytes of all there were are not in it: what a program did stands at
/// the beginning, and how it ended at the end.
fn ends_of((text, cut): &(String, u64), most: usize) -> (String, u64) {
    if text.len() <= most {
        return (text.clone(), *cut);
    }
    let head = text.floor_char_boundary(most / 2);
    let tail = text.ceil_char_boundary(text.len() - most / 2);
    let (first, last) =
        (text.get(..head).unwrap_or_default(), text.get(tail..).unwrap_or_default());
    let missing = cut + (tail - head) as u64;
    (format!("{first}\n[… {missing} bytes are not shown …]\n{last}"), missing)
}
