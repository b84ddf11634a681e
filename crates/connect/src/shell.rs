//! The shell of a declared folder: a command, in a sandbox that sees the folder and the system's libraries.

use std::path::Path;

use kernel::{
    exception::{Class, Landed},
    id::{RunId, Tenant},
    port::Failure,
};
use sandbox::Command;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    call::{Call, Departure, clip, fail, refuse},
    error::Error,
    folder::read_args,
    jobs::{Jobs, Prepared, Served, Started},
    place::{Access, Place, with_streams},
    secret::Vault,
    system::ShellRules,
    way_out::Around,
};

/// Most bytes of a command.
const COMMAND_MAX_BYTES: usize = 64 * 1024;

/// Longest part of a reading that a refusal tells, in characters.
const SUMMARY_MAX_CHARS: usize = 300;

/// The program that reads a command.
const SHELL: &str = "/bin/sh";

/// A shell, and what stands around it.
#[derive(Debug)]
pub(crate) struct Shell {
    pub(crate) place: Place,
    jobs: Jobs,
}

/// What is done with a shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// A command is run to its end.
    Run,
    /// A command that surely only looks is run to its end, and can do nothing else.
    Look,
    /// A command is started, and goes on.
    Start,
    /// What a job has said is read.
    Read,
    /// A job is ended.
    Stop,
    /// The jobs of the run are told.
    List,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    command: String,
}

impl Shell {
    pub(crate) fn new(at: (&str, &Path), rules: &ShellRules, vault: &Vault) -> Result<Self, Error> {
        Ok(Self { place: Place::new(at, rules, vault)?, jobs: Jobs::default() })
    }

    pub(crate) async fn call(
        &self,
        wanted: Use,
        (call, around, at): (&Call, &Around<'_>, &Path),
        departure: &Departure,
    ) -> Result<Value, Failure> {
        match wanted {
            Use::Run => self.run(Access::Change, (call, around, at), departure).await,
            Use::Look => self.run(Access::Look, (call, around, at), departure).await,
            Use::Start => self.start((call, around, at), departure).await,
            Use::Read => {
                departure.leave()?;
                self.jobs.read(call).await
            }
            Use::Stop => {
                departure.leave()?;
                self.jobs.stop(call).await
            }
            Use::List => {
                departure.leave()?;
                Ok(self.jobs.list(call))
            }
        }
    }

    /// A job of a run that may be reached at the port at which it listens.
    pub(crate) fn served(&self, tenant: &Tenant, run: &RunId, job: u64) -> Option<Served> {
        self.jobs.served(tenant, run, job)
    }

    /// Ends whatever a run has started here.
    pub(crate) fn over(&self, tenant: &Tenant, run: &RunId) {
        self.jobs.over(tenant, run);
    }

    /// Runs a command to its end. What it ends with is a result, not a failure, unless its time was over.
    async fn run(
        &self,
        access: Access,
        (call, around, at): (&Call, &Around<'_>, &Path),
        departure: &Departure,
    ) -> Result<Value, Failure> {
        let text = command_of(call)?;
        if access == Access::Look {
            let reading = ::shell::read(&text);
            if !reading.only_reads() {
                let summary = clip(&reading.summary, SUMMARY_MAX_CHARS);
                return Err(refuse(format!(
                    "this does more than look, so nothing was run. {summary}"
                )));
            }
        }
        let opened = self.place.open((access, at), (call, around))?;
        let command = Command::new(SHELL).arguments(["-c", &text]);
        let (finished, requests) =
            self.place.run((call, around, departure), opened, command).await?;
        with_streams(&finished, &around.vault.redactor(), &self.place.ended(&finished, &requests))
    }

    /// Starts a command that goes on: the result says which job it is.
    async fn start(
        &self,
        (call, around, at): (&Call, &Around<'_>, &Path),
        departure: &Departure,
    ) -> Result<Value, Failure> {
        let text = command_of(call)?;
        self.jobs.admit(call)?;
        let (profile, out) = self.place.open((Access::Change, at), (call, around))?;
        let not_started = |error: std::io::Error| {
            let message = format!("the job was not started: {error}");
            fail(Class::Unavailable, Landed::No, message)
        };
        let prepared = Prepared::new(Command::new(SHELL).arguments(["-c", &text]));
        let (command, output) = prepared.map_err(not_started)?.split();
        let child = self.place.start(profile, command, departure).await?;
        let redactor = around.vault.redactor();
        let kept = self.jobs.keep(call, &text, Started { child, output, out, redactor });
        // What cannot be kept is ended with its handle, and may have done something.
        kept.map_err(|error| {
            let message = format!("the job was ended at once: {error}");
            fail(Class::Unavailable, departure.landed(), message)
        })
    }
}

fn command_of(call: &Call) -> Result<String, Failure> {
    let Asked { command } = read_args(&call.args)?;
    if command.trim().is_empty() || command.len() > COMMAND_MAX_BYTES || command.contains('\0') {
        return Err(refuse(format!(
            "`command` must have 1 to {COMMAND_MAX_BYTES} bytes and no NUL"
        )));
    }
    Ok(command)
}
