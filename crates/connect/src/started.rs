//! Programs started in a sandbox.

use std::{io, sync::Arc, thread, time::Duration};

use kernel::{
    exception::{Class, Landed},
    port::Failure,
};
use sandbox::{
    Child, Command, End, Finished, Input, Leash, Limit, MicroVm, Output, Pinned, Profile, Sandbox,
    Tier,
};
use tokio::{net::unix::pipe, sync::oneshot, task::spawn_blocking};

use crate::{
    call::{Departure, clip, fail},
    clock::Clock,
    redact::Redactor,
    system::ContainerRules,
};

/// How long a program is waited for that has ended, for what it said.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(2);

/// Longest part of what a program wrote to its errors that a failure tells, in characters.
pub(crate) const SAID_MAX_CHARS: usize = 300;

/// A program that is talked to over its input and its output. It is ended when this is let go of.
pub(crate) struct Talking {
    /// What it writes.
    pub(crate) from: pipe::Receiver,
    /// What it reads.
    pub(crate) to: pipe::Sender,
    /// What it does not outlive.
    pub(crate) leash: Leash,
    /// How it ended.
    pub(crate) ended: LastWords,
}

/// What is known of a program once it has ended.
pub(crate) struct LastWords(oneshot::Receiver<Option<Finished>>);

impl LastWords {
    /// How it ended, with the end of what it wrote about it; none where that is not known in time. One that was ended by us
    /// has said nothing by ending.
    pub(crate) async fn told(self, redactor: &Redactor) -> Option<String> {
        let last = tokio::time::timeout(LAST_WORDS_WITHIN, self.0).await;
        let Finished { outcome, errors, .. } = last.ok().and_then(Result::ok).flatten()?;
        // Half of a secret is not found: it is taken out before anything is cut.
        let text = redactor.scrub_text(&errors.text());
        let said = match text.trim() {
            "" => String::new(),
            text => format!(": {}", ending(text)),
        };
        let how = match outcome.asked {
            true => String::new(),
            false => format!(" and {}", how_it_ended(outcome.end, &outcome.limits)),
        };
        Some(format!("{how}{said}"))
    }
}

/// The walls that programs of one system run between.
#[derive(Clone, Debug)]
pub(crate) struct Walls {
    sandbox: Arc<dyn Sandbox>,
    image: Option<String>,
}

impl Walls {
    /// The walls of a tier; what this machine is missing for them shows when they are asked for.
    ///
    /// # Errors
    /// Says what is declared that does not go together.
    pub(crate) fn new(tier: Tier, container: Option<&ContainerRules>) -> Result<Self, String> {
        let (sandbox, image): (Arc<dyn Sandbox>, _) = match (tier, container) {
            (Tier::Container, Some(rules)) => {
                let engine = match (rules.engine, &rules.program) {
                    (Some(engine), Some(program)) if program.is_absolute() => {
                        Some((engine, program.clone()))
                    }
                    (_, Some(_)) => {
                        return Err(
                            "`container.program` needs `container.engine`, and an absolute path"
                                .to_owned(),
                        );
                    }
                    (Some(engine), None) => Some((engine, engine.usual_program())),
                    (None, None) => None,
                };
                let pinned =
                    Pinned::new(&rules.image, engine).map_err(|error| error.to_string())?;
                (Arc::new(pinned), Some(rules.image.clone()))
            }
            (Tier::Container, None) => {
                return Err(
                    "`tier = \"container\"` needs `container.image`, by its digest: NAME@sha256:…"
                        .to_owned(),
                );
            }
            (_, Some(_)) => {
                return Err(
                    "`container` means something with `tier = \"container\"` alone".to_owned()
                );
            }
            (Tier::MicroVm, None) => (Arc::new(MicroVm), None),
            (Tier::Restricted | Tier::Isolated, None) => {
                (Arc::new(sandbox::Local::new(tier)), None)
            }
        };
        Ok(Self { sandbox, image })
    }

    /// The image that programs run on, by its digest.
    pub(crate) fn image(&self) -> Option<&str> {
        self.image.as_deref()
    }

    /// Whether this machine can hold the profile: the tier it would run in, or what is missing.
    pub(crate) fn held(&self, profile: &Profile) -> Result<Tier, String> {
        let checked = self.sandbox.check(profile);
        checked.map(|_| self.sandbox.tier()).map_err(|error| error.to_string())
    }

    /// Runs a program to its end. When the caller lets go before, or its run is to end, it and all it started are
    /// killed; in the second case how it ended is still told.
    pub(crate) async fn run(
        &self,
        system: &str,
        what: (Profile, Command),
        departure: &Departure,
    ) -> Result<Finished, Failure> {
        let child = self.start(system, what, departure).await?;
        let lost = |why: String| {
            let message = format!("nobody knows how the program of `{system}` ended: {why}");
            fail(Class::Unavailable, departure.landed(), message)
        };
        // Whoever gives up waiting ends it by letting go.
        let leash = child.leash().map_err(|error| lost(error.to_string()))?;
        let mut ending = spawn_blocking(move || child.wait());
        let finished = tokio::select! {
            biased;
            finished = &mut ending => finished,
            () = departure.stop_wanted() => {
                drop(leash);
                ending.await
            }
        };
        let finished = finished.map_err(|error| lost(error.to_string()))?;
        finished.map_err(|error| lost(error.to_string()))
    }

    /// Starts a program that is talked to. That it runs is no effect of a call: what a call does leaves later, or not at all.
    pub(crate) async fn talk(
        &self,
        system: &str,
        (profile, run): (Profile, &[String]),
        clock: &Arc<dyn Clock>,
    ) -> Result<Talking, Failure> {
        let no_pipe = |error: io::Error| {
            let message = format!("`{system}` was not started: there is no pipe to it: {error}");
            fail(Class::Unavailable, Landed::No, message)
        };
        let (their_input, to) = io::pipe().map_err(no_pipe)?;
        let (from, their_output) = io::pipe().map_err(no_pipe)?;
        let command = Command::new(run.first().map(String::as_str).unwrap_or_default())
            .arguments(run.iter().skip(1))
            .input(Input::From(their_input.into()))
            .output(Output::To(their_output.into()));
        let to = pipe::Sender::from_owned_fd(to.into()).map_err(no_pipe)?;
        let from = pipe::Receiver::from_owned_fd(from.into()).map_err(no_pipe)?;
        let departure = Departure::of_our_own(Arc::clone(clock));
        let child = self.start(system, (profile, command), &departure).await;
        let child = child.map_err(|failure| Failure { landed: Landed::No, ..failure })?;
        let leash = child.leash().map_err(no_pipe)?;
        let (tell, told) = oneshot::channel();
        // Somebody has to wait for it, and not in a place that others wait for.
        let waiting = thread::Builder::new().name(format!("talk {system}")).spawn(move || {
            let _nobody_asks = tell.send(child.wait().ok());
        });
        waiting.map_err(no_pipe)?;
        Ok(Talking { from, to, leash, ended: LastWords(told) })
    }

    /// Starts a program, which runs until it ends or what is returned is dropped.
    pub(crate) async fn start(
        &self,
        system: &str,
        (profile, command): (Profile, Command),
        departure: &Departure,
    ) -> Result<Child, Failure> {
        departure.leave()?;
        let walls = Arc::clone(&self.sandbox);
        let spawned = spawn_blocking(move || walls.spawn(&profile, command)).await;
        // Nothing runs when it could not be started.
        let not_started = |why: String| {
            let message = format!("the program of `{system}` was not started: {why}");
            fail(Class::Unavailable, Landed::No, message)
        };
        let spawned = spawned.map_err(|error| not_started(error.to_string()))?;
        spawned.map_err(|error| not_started(error.to_string()))
    }
}

/// How a program ended, for people.
pub(crate) fn how_it_ended(end: End, limits: &[Limit]) -> String {
    let how = match end {
        End::Exit(code) => format!("ended with exit code {code}"),
        End::Signal(signal) => format!("was ended by signal {signal}"),
    };
    match limits.first() {
        Some(limit) => format!("{how}, at its limit `{}`", name(*limit)),
        None => how,
    }
}

/// A limit as profiles spell it.
pub(crate) fn name(limit: Limit) -> String {
    let name = serde_json::to_value(limit).unwrap_or_default();
    name.as_str().unwrap_or_default().to_owned()
}

/// The end of a text is where a program says why it gave up.
pub(crate) fn ending(text: &str) -> String {
    clip(tail(text, SAID_MAX_CHARS).trim(), SAID_MAX_CHARS)
}

/// The last characters of a text.
pub(crate) fn tail(text: &str, most: usize) -> String {
    let skipped = text.chars().count().saturating_sub(most);
    text.chars().skip(skipped).collect()
}
