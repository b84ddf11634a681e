//! Processes as connectors: a program of the operator's, started in a sandbox for each call, that reads one JSON
//! object and writes its answer.
//!
//! What the program is, and what it may reach, the operator declares as a system; a pack only names the system. It
//! is started for one call and ended with it, whatever it started itself.

use std::{
    fs::File,
    io::{self, Seek, Write},
    path::PathBuf,
};

use kernel::{
    exception::{Class, Landed},
    operation::Operation,
    port::Failure,
};
use rustix::fs::{MemfdFlags, memfd_create};
use sandbox::{Command, End, Finished, Input, Limit, Profile, Tier};
use secrets::Use;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    call::{Call, Departure, clip, fail, landed_if_write, outside_class, refuse},
    error::Error,
    ingest::{Pick, Received},
    read::Reader,
    redact::Redactor,
    secret::Vault,
    started::{SAID_MAX_CHARS, Walls, ending, how_it_ended, tail},
    system::ProcessSystem,
    way_out::{Around, Opened, WayOut},
};

/// The contract between the harness and the program: what it reads.
const CALL_SCHEMA: &str = "harness.call/v1";

/// Longest pause that a program may ask for, in milliseconds: it holds for every run.
const PAUSE_MAX_MS: u32 = 3_600_000;

/// Most characters of what a program that judges wrote: the end says what came of it.
const FOUND_MAX_CHARS: usize = 4_000;

/// What a shell says of a program that it could not start, or did not find.
const NOT_STARTED: [i32; 2] = [126, 127];

/// Most parts of a command line.
const RUN_MAX: usize = 256;

/// What is called of a declared program.
#[derive(Debug)]
pub(crate) struct Tool {
    pub(crate) system: String,
    result: String,
    external_ref: Option<String>,
    answers: Answers,
}

/// What the end of a program means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    /// What it wrote is the answer; an exit code that is not 0 is a failure.
    Words,
    /// Its exit code says whether what it looked at is as it should be, and what it wrote is why.
    Verdict,
}

impl Tool {
    pub(crate) fn compile(binding: &Reader<'_>) -> Result<Self, Error> {
        binding.only(&["kind", "system", "result", "external_ref", "answer"])?;
        let answers = match binding.text_opt("answer")? {
            None => Answers::Words,
            Some("verdict") => Answers::Verdict,
            Some(_) => return Err(binding.error("answer", "must be `verdict`")),
        };
        Ok(Self {
            answers,
            system: binding.text("system")?.to_owned(),
            result: binding.pointer("result")?.unwrap_or_default(),
            external_ref: binding.pointer("external_ref")?,
        })
    }

    pub(crate) fn pick(&self) -> Pick<'_> {
        let external_ref = self.external_ref.as_deref();
        Pick { result: &self.result, external_ref, ..Pick::default() }
    }
}

/// A declared program, and the walls around it.
#[derive(Debug)]
pub(crate) struct Program {
    name: String,
    run: Vec<String>,
    profile: Profile,
    secrets: Vec<(String, String)>,
    walls: Walls,
    out: WayOut,
}

impl Program {
    /// Checks what is declared; whether this machine can hold it shows in [`Self::held`], and again at each start.
    pub(crate) fn new(name: &str, declared: &ProcessSystem, vault: &Vault) -> Result<Self, Error> {
        let wrong = |problem: String| Error::System { system: name.to_owned(), problem };
        let program = declared.run.first().filter(|program| !program.is_empty());
        let program = program.ok_or_else(|| {
            wrong("`run` must name a program, such as `[\"/usr/local/bin/lint\"]`".to_owned())
        })?;
        if declared.run.len() > RUN_MAX || declared.run.iter().any(|part| part.contains('\0')) {
            return Err(wrong(format!("`run` holds a NUL or more than {RUN_MAX} parts")));
        }
        let mut profile = declared.profile.clone();
        // What is run is named already.
        let path = PathBuf::from(program);
        let of_host = declared.tier < Tier::Container;
        if of_host && path.is_absolute() && !profile.paths.none.contains(&path) {
            profile.paths.read.push(path);
        }
        profile.check().map_err(|error| wrong(error.to_string()))?;
        // What an engine is told stands in its command line, and in what it keeps of the container.
        if declared.tier >= Tier::Container && !declared.secrets.is_empty() {
            return Err(wrong(
                "`secrets` would be told to the container's engine, where others see them; have the proxy add them: `egress` with `inject`".to_owned(),
            ));
        }
        let mut shown = profile.clone();
        for (variable, secret) in &declared.secrets {
            vault.check(secret, &Use::by(name))?;
            if variable == "TMPDIR" || shown.environment.contains_key(variable) {
                let problem =
                    format!("`{variable}` is in `secrets` and in the profile's environment");
                return Err(wrong(problem));
            }
            shown.environment.insert(variable.clone(), String::new());
        }
        shown.check().map_err(|error| wrong(error.to_string()))?;
        let secrets = declared.secrets.iter().map(|(name, secret)| (name.clone(), secret.clone()));
        let (name, run, secrets) = (name.to_owned(), declared.run.clone(), secrets.collect());
        let out = WayOut::new(&name, &declared.egress, (declared.tier, &profile), vault)?;
        let walls = Walls::new(declared.tier, declared.container.as_ref()).map_err(&wrong)?;
        Ok(Self { name, run, profile, secrets, walls, out })
    }

    /// Whether this machine can hold the profile: the tier it would run in, or what is missing.
    pub(crate) fn held(&self) -> Result<Tier, String> {
        self.walls.held(&self.profile)
    }

    /// Whether it may ask the outside for anything.
    pub(crate) fn has_way_out(&self) -> bool {
        self.out.is_open()
    }

    /// Runs it for one call. The caller bounds the time: when it gives up, the program and whatever it started are
    /// ended.
    pub(crate) async fn call(
        &self,
        (tool, call): (&Tool, &Call),
        around: &Around<'_>,
        departure: &Departure,
    ) -> Result<Received, Failure> {
        let mut profile = self.profile_of(call, around.vault)?;
        let input = self.input(call)?;
        let command = Command::new(self.run.first().map(String::as_str).unwrap_or_default())
            .arguments(self.run.iter().skip(1))
            .input(Input::From(input.into()));
        let _out = self.out.open(call, around, &mut profile)?;
        let finished = self.walls.run(&self.name, (profile, command), departure).await?;
        let redactor = around.vault.redactor();
        if tool.answers == Answers::Verdict
            && let Some(verdict) = verdict(&finished, &redactor)
        {
            return Ok(Received::Value(verdict));
        }
        self.read(finished, &call.operation, &redactor)
    }

    /// The profile of one call: no longer than the call, and with the secrets as they are now.
    fn profile_of(&self, call: &Call, vault: &Vault) -> Result<Profile, Failure> {
        let mut profile = self.whole_profile(vault)?;
        let most = u64::from(call.operation.timeout_ms);
        profile.limits.deadline_ms = profile.limits.deadline_ms.min(most.max(1));
        Ok(profile)
    }

    /// What it is and the walls around it, for one that is started for more than one call.
    pub(crate) fn parts(&self) -> (Walls, Vec<String>) {
        (self.walls.clone(), self.run.clone())
    }

    /// Opens its way out, and puts it into the profile.
    pub(crate) fn open(
        &self,
        call: &Call,
        around: &Around<'_>,
        profile: &mut Profile,
    ) -> Result<Opened, Failure> {
        self.out.open(call, around, profile)
    }

    /// The profile, with the secrets as they are now.
    pub(crate) fn whole_profile(&self, vault: &Vault) -> Result<Profile, Failure> {
        let mut profile = self.profile.clone();
        for (variable, secret) in &self.secrets {
            let value = vault.resolve(secret, &Use::by(&self.name));
            let value = value.map_err(|e| fail(Class::Permission, Landed::No, e.to_string()))?;
            profile.environment.insert(variable.clone(), value.expose().to_owned());
        }
        Ok(profile)
    }

    /// What the program reads, as a file in memory: it may be longer than a pipe holds, and nobody has to feed it.
    fn input(&self, call: &Call) -> Result<File, Failure> {
        let told = json!({
            "schema": CALL_SCHEMA,
            "operation": call.operation.id.as_str(),
            "args": &*call.args,
            "key": call.key.as_str(),
            "run": call.run.as_str(),
            "timeout_ms": call.operation.timeout_ms,
        });
        let write = || -> io::Result<File> {
            let mut file = File::from(memfd_create("call", MemfdFlags::CLOEXEC)?);
            serde_json::to_writer(&mut file, &told)?;
            file.write_all(b"\n")?;
            file.rewind()?;
            Ok(file)
        };
        write().map_err(|error| refuse(format!("`{}` cannot be told its call: {error}", self.name)))
    }

    /// What a program that has ended said.
    fn read(
        &self,
        finished: Finished,
        operation: &Operation,
        redactor: &Redactor,
    ) -> Result<Received, Failure> {
        let Finished { outcome, output, errors } = finished;
        let unknown = if operation.is_write() { Landed::Unknown } else { Landed::No };
        let name = &self.name;
        // It was told that there are no more processes, and went on.
        let stopped = outcome.limits.iter().any(|limit| *limit != Limit::Processes);
        if outcome.end != End::Exit(0) || outcome.asked || stopped {
            if let (End::Exit(_), Ok(said)) = (outcome.end, serde_json::from_slice(&output.bytes)) {
                return Err(told(said, unknown, redactor));
            }
            let how = how_it_ended(outcome.end, &outcome.limits);
            // Half of a secret is not found: it is taken out before anything is cut.
            let text = redactor.scrub_text(&errors.text());
            let message = match text.trim() {
                "" => format!("the program of `{name}` {how}"),
                text => format!("the program of `{name}` {how}: {}", ending(text)),
            };
            let late = outcome.limits.contains(&Limit::Deadline);
            let class = if late { Class::Timeout } else { Class::Unavailable };
            return Err(fail(class, unknown, message));
        }
        if output.dropped > 0 {
            let most = self.profile.limits.output_bytes;
            let message = format!(
                "the program of `{name}` wrote more than {most} bytes, which is `limits.output_bytes`"
            );
            return Err(fail(Class::UnexpectedShape, landed_if_write(operation), message));
        }
        Ok(Received::Bytes(output.bytes))
    }
}

/// What a program that came to its end found, by its exit code. One that was ended, or that a shell could not start, found
/// nothing: that is a failure like every other.
fn verdict(finished: &Finished, redactor: &Redactor) -> Option<Value> {
    let Finished { outcome, output, errors } = finished;
    let stopped = outcome.limits.iter().any(|limit| *limit != Limit::Processes);
    let word = match outcome.end {
        _ if outcome.asked || stopped => return None,
        End::Exit(0) => "pass",
        End::Exit(code) if !NOT_STARTED.contains(&code) => "fail",
        _ => return None,
    };
    // Half of a secret is not found: it is taken out before anything is cut.
    let texts = [output, errors].map(|said| redactor.scrub_text(&said.text()));
    let said: Vec<&str> =
        texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).collect();
    let message = tail(&said.join("\n"), FOUND_MAX_CHARS);
    Some(json!({ "verdict": word, "message": message }))
}

/// What a program that failed says about it: its only words of ours.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    class: Class,
    message: String,
    #[serde(default)]
    landed: Option<Landed>,
    #[serde(default)]
    retry_after_ms: Option<u32>,
}

fn told(said: Said, unknown: Landed, redactor: &Redactor) -> Failure {
    // A read has no effect, whatever its program says.
    let landed = match unknown {
        Landed::Unknown => said.landed.unwrap_or(unknown),
        Landed::No | Landed::Yes => unknown,
    };
    let retry_after_ms = said.retry_after_ms.map(|ms| i64::from(ms.min(PAUSE_MAX_MS)));
    let class = outside_class(said.class);
    let message = clip(&redactor.scrub_text(&said.message), SAID_MAX_CHARS);
    Failure { retry_after_ms, ..fail(class, landed, message) }
}
