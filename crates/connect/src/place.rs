//! The folder that commands and code run in, and the walls around them.

use std::path::{Path, PathBuf};

use kernel::{
    exception::{Class, Landed},
    port::Failure,
};
use sandbox::{Captured, Command, End, Finished, Limit, Profile, Tier};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::{
    call::{Call, Departure, fail},
    error::Error,
    folder::REPOSITORY,
    redact::Redactor,
    secret::Vault,
    started::{Walls, how_it_ended, name},
    system::ShellRules,
    tap::{Ear, tapped},
    way_out::{Around, Opened, WayOut},
};

/// Longest value of a secret, in bytes.
const SECRET_MAX: usize = 4096;

/// A folder, and what stands around whatever runs in it.
#[derive(Debug)]
pub(crate) struct Place {
    system: String,
    folder: PathBuf,
    walls: Walls,
    profile: Profile,
    out: WayOut,
}

/// What may be done with the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It may be changed, and the declared way out is open.
    Change,
    /// It may be looked at: nothing of this machine can be written, and nothing leaves.
    Look,
}

/// A text that was written, and how many bytes of it are missing.
pub(crate) type Written = (String, u64);

impl Place {
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
        let walls = Walls::new(rules.tier, rules.container.as_ref());
        let walls =
            walls.map_err(|problem| Error::System { system: system.to_owned(), problem })?;
        let (system, folder) = (system.to_owned(), folder.to_owned());
        Ok(Self { system, folder, walls, profile, out })
    }

    /// The tier it would run in, or what this machine is missing.
    pub(crate) fn held(&self) -> Result<Tier, String> {
        self.walls.held(&self.inside(Access::Change, &self.folder)?)
    }

    /// How a program ended, as results tell it, with the image that it ran on.
    pub(crate) fn ended(&self, finished: &Finished, requests: &[Value]) -> Value {
        let mut told = ended(finished, requests);
        if let (Some(fields), Some(image)) = (told.as_object_mut(), self.walls.image()) {
            fields.insert("image".to_owned(), json!(image));
        }
        told
    }

    /// Whether anything in it may ask the outside for something.
    pub(crate) fn has_way_out(&self) -> bool {
        self.out.is_open()
    }

    /// The profile of one call in a folder, the declared one or that of its run, with its way out.
    pub(crate) fn open(
        &self,
        (access, at): (Access, &Path),
        (call, around): (&Call, &Around<'_>),
    ) -> Result<(Profile, Opened), Failure> {
        let profile = self.inside(access, at);
        let mut profile =
            profile.map_err(|problem| fail(Class::Unavailable, Landed::No, problem))?;
        let out = match access {
            Access::Change => self.out.open(call, around, &mut profile)?,
            Access::Look => Opened::default(),
        };
        Ok((profile, out))
    }

    /// Runs a program to its end within the time of its call, and gives what was asked of the outside with it.
    pub(crate) async fn run(
        &self,
        (call, around, departure): (&Call, &Around<'_>, &Departure),
        (mut profile, out): (Profile, Opened),
        command: Command,
    ) -> Result<(Finished, Vec<Value>), Failure> {
        let most = u64::from(call.operation.timeout_ms).max(1);
        profile.limits.deadline_ms = profile.limits.deadline_ms.min(most);
        let ear = Ear::new(call, around.listen, around.vault.redactor());
        let heard = tapped(command, profile.limits.output_bytes, &ear);
        let (command, taps) = heard.map_err(|error| {
            let message = format!("nothing was started: its output cannot be read: {error}");
            fail(Class::Unavailable, Landed::No, message)
        })?;
        let mut finished = self.walls.run(&self.system, (profile, command), departure).await?;
        let streams = spawn_blocking(move || taps.map(|tap| tap.finish())).await;
        let [output, errors] = streams.unwrap_or_default();
        (finished.output, finished.errors) = (output, errors);
        let requests = out.close().await;
        let outcome = &finished.outcome;
        // Of a command that was ended with its run, what it did until then is told.
        let given_up = outcome.asked && !departure.is_stop_wanted();
        if outcome.limits.contains(&Limit::Deadline) || given_up {
            let how = how_it_ended(outcome.end, &outcome.limits);
            return Err(fail(Class::Timeout, departure.landed(), format!("the command {how}")));
        }
        Ok((finished, requests))
    }

    /// Starts a program that goes on when the call is over.
    pub(crate) async fn start(
        &self,
        profile: Profile,
        command: Command,
        departure: &Departure,
    ) -> Result<sandbox::Child, Failure> {
        self.walls.start(&self.system, (profile, command), departure).await
    }

    /// The profile as the folder is now: a command starts in it and may change what is in it, but not the repository that
    /// is there, where it could plant what `git` runs for whoever works there next.
    fn inside(&self, access: Access, folder: &Path) -> Result<Profile, String> {
        let mut profile = self.profile.clone();
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
        if access == Access::Look {
            let paths = &mut profile.paths;
            paths.read.append(&mut paths.write);
            profile.mounts.workspace = None;
            profile.proxy = None;
        }
        profile.folder.get_or_insert(folder);
        Ok(profile)
    }
}

/// How a program ended, as results tell it.
fn ended(finished: &Finished, requests: &[Value]) -> Value {
    let outcome = &finished.outcome;
    let (exit_code, signal) = match outcome.end {
        End::Exit(code) => (Some(code), None),
        End::Signal(signal) => (None, Some(signal)),
    };
    let limits: Vec<String> = outcome.limits.iter().map(|limit| name(*limit)).collect();
    json!({ "exit_code": exit_code, "signal": signal, "limits": limits, "requests": requests })
}

/// What was written, without secrets.
pub(crate) fn written(kept: &Captured, redactor: &Redactor) -> Written {
    // What was cut off may have been the other half of a secret.
    let unsure = if kept.dropped > 0 { SECRET_MAX } else { 0 };
    let (bytes, cut) = kept.bytes.split_at(kept.bytes.len().saturating_sub(unsure));
    let text = redactor.scrub_text(&String::from_utf8_lossy(bytes));
    (text, kept.dropped + cut.len() as u64)
}

/// The beginning and the end of a text, and how many bytes of all there were are not in it: what a program did stands at
/// the beginning, and how it ended at the end.
pub(crate) fn ends_of((text, cut): &Written, most: usize) -> Written {
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

/// A result with what was written, in as many bytes as one may have.
pub(crate) fn with_streams(
    finished: &Finished,
    redactor: &Redactor,
    result: &Value,
) -> Result<Value, Failure> {
    let (output, errors) =
        (written(&finished.output, redactor), written(&finished.errors, redactor));
    crate::folder::shrinking(crate::folder::RESULT_BYTES / 2, |most| {
        let (output, output_cut) = ends_of(&output, most);
        let (errors, errors_cut) = ends_of(&errors, most);
        let mut result = result.clone();
        if let Some(fields) = result.as_object_mut() {
            fields.insert("output".to_owned(), json!(output));
            fields.insert("output_cut".to_owned(), json!(output_cut));
            fields.insert("errors".to_owned(), json!(errors));
            fields.insert("errors_cut".to_owned(), json!(errors_cut));
        }
        Ok(result)
    })
}

#[cfg(test)]
mod tests {
    use sandbox::Paths;

    use super::*;
    use crate::secret::Secrets;

    /// The sandbox holds what looks, whatever the reading of a command says (C121).
    #[test]
    fn what_only_looks_can_write_nothing_and_has_no_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().canonicalize().unwrap();
        let opened = folder.parent().unwrap().join("opened");
        let paths = Paths { write: vec![opened.clone()], ..Paths::default() };
        let proxy = Some(folder.join("proxy"));
        let profile = Profile { paths, proxy, ..Profile::default() };
        let rules = ShellRules {
            tier: Tier::Isolated,
            container: None,
            profile,
            egress: egress::Rules(Vec::new()),
        };
        let vault = Vault::new(Secrets::default()).unwrap();
        let place = Place::new(("work", &folder), &rules, &vault).unwrap();
        let change = place.inside(Access::Change, &folder).unwrap();
        assert_eq!(change.paths.write, [opened.clone(), folder.clone()]);
        let look = place.inside(Access::Look, &folder).unwrap();
        assert!(look.paths.write.is_empty() && look.proxy.is_none());
        assert_eq!(look.paths.read, [opened, folder]);
    }
}
