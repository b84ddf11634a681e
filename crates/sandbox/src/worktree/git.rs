//! `git`, run so that nothing but what is passed here decides what it does: no setting of the account or the system, no
//! hook, no filter, no helper, no host. What repositories and trees bring along is data.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Write},
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use crate::{
    capture::{Captured, Reading},
    error::Error,
    step::{self, PATHS, Running, Watch},
};

/// How long one step may take.
const STEP_WITHIN: Duration = Duration::from_secs(600);

/// How much a step may say, in bytes: a list of 200,000 long paths fits.
const OUTPUT_MAX: u64 = 128 << 20;

/// How much of its errors is kept, in bytes.
const ERRORS_MAX: u64 = 4 << 10;

/// What `git` runs as a program or reads as a setting of somebody else's, switched off. These win over every file.
const SETTINGS: [&str; 25] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.pager=cat",
    "core.editor=false",
    "core.askPass=false",
    "core.sshCommand=false",
    "core.alternateRefsCommand=false",
    "core.autocrlf=false",
    "core.eol=lf",
    "core.symlinks=true",
    "core.fileMode=true",
    "core.protectHFS=true",
    "core.protectNTFS=true",
    "core.sparseCheckout=false",
    "core.splitIndex=false",
    "credential.helper=",
    "protocol.allow=never",
    "commit.gpgSign=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
    "i18n.commitEncoding=UTF-8",
];

/// Every variable it sees; nothing is inherited.
const ENVIRONMENT: [(&str, &str); 20] = [
    ("PATH", "/usr/bin:/bin"),
    ("LC_ALL", "C"),
    ("HOME", "/dev/null"),
    ("XDG_CONFIG_HOME", "/dev/null"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_SYSTEM", "/dev/null"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_ASKPASS", "false"),
    ("SSH_ASKPASS", "false"),
    ("GIT_ALLOW_PROTOCOL", "none"),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_LITERAL_PATHSPECS", "1"),
    ("GIT_PAGER", "cat"),
    ("GIT_EDITOR", "false"),
    ("GIT_SEQUENCE_EDITOR", "false"),
    ("GIT_ADVICE", "0"),
];

/// Who is written into commits, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// A name.
    pub name: String,
    /// An address.
    pub email: String,
    /// Seconds since 1970, in UTC.
    pub at_s: u64,
}

impl Author {
    /// As commits have it.
    pub(crate) fn line(&self) -> Result<String, Error> {
        let Self { name, email, at_s } = self;
        for text in [name, email] {
            if text.trim().is_empty() || text.contains(['<', '>', '\n', '\r', '\0']) {
                return Err(Error::git("writing a commit", "the author's name or address is none"));
            }
        }
        Ok(format!("{name} <{email}> {at_s} +0000"))
    }
}

/// Where `git` is, and the folders it works on.
#[derive(Clone, Debug)]
pub(crate) struct Git {
    program: PathBuf,
    variables: Vec<(&'static str, OsString)>,
}

/// How a step ended, and what it said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: ExitStatus,
    pub(crate) output: Captured,
    errors: Captured,
}

impl Git {
    pub(crate) fn find() -> Result<Self, Error> {
        let program = step::find("git").ok_or_else(|| {
            Error::git("finding git", format!("there is none in {}", PATHS.join(", ")))
        })?;
        Ok(Self::at(program))
    }

    pub(crate) fn at(program: PathBuf) -> Self {
        Self { program, variables: Vec::new() }
    }

    /// The same, with one more variable.
    pub(crate) fn with(&self, name: &'static str, value: impl AsRef<OsStr>) -> Self {
        let mut git = self.clone();
        git.variables.push((name, value.as_ref().to_owned()));
        git
    }

    /// Runs a step that must end well, and gives what it said.
    pub(crate) fn run<A: AsRef<OsStr>>(
        &self,
        step: &'static str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Vec<u8>, Error> {
        self.tell(step, arguments, |_| Ok(()))?.done(step)
    }

    /// Runs a step and writes to it; it may end as it likes.
    pub(crate) fn tell<A: AsRef<OsStr>>(
        &self,
        step: &'static str,
        arguments: impl IntoIterator<Item = A>,
        write: impl FnOnce(&mut dyn Write) -> Result<(), Error>,
    ) -> Result<Said, Error> {
        self.tell_up_to(OUTPUT_MAX, step, arguments, write)
    }

    /// The same, where more than `most` bytes are no error but left out.
    pub(crate) fn tell_up_to<A: AsRef<OsStr>>(
        &self,
        most: u64,
        step: &'static str,
        arguments: impl IntoIterator<Item = A>,
        write: impl FnOnce(&mut dyn Write) -> Result<(), Error>,
    ) -> Result<Said, Error> {
        let failed = |error: io::Error| Error::git(step, error.to_string());
        let mut command = Command::new(&self.program);
        command.env_clear().envs(ENVIRONMENT).current_dir("/").arg("--no-pager");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting])).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Running(command.spawn().map_err(failed)?);
        let watch = Watch::start(&child.0, STEP_WITHIN).map_err(failed)?;
        let output = child.0.stdout.take().map(|from| Reading::start(from.into(), most));
        let errors = child.0.stderr.take().map(|from| Reading::start(from.into(), ERRORS_MAX));
        let (output, errors) =
            (output.transpose().map_err(failed)?, errors.transpose().map_err(failed)?);
        let mut told = Ok(());
        if let Some(input) = child.0.stdin.take() {
            let mut input = io::BufWriter::with_capacity(64 << 10, input);
            told = write(&mut input);
            if told.is_err() {
                // It must not take the end of its input for the end of what it was to be told.
                child.0.kill().unwrap_or(());
            }
            // Whoever stops reading says why at its end.
            input.flush().unwrap_or(());
        }
        let status = child.0.wait().map_err(failed)?;
        drop(watch);
        let output = output.map(Reading::finish).unwrap_or_default();
        let errors = errors.map(Reading::finish).unwrap_or_default();
        match told {
            Err(Error::Io { .. }) if !status.success() => {}
            told => told?,
        }
        Ok(Said { status, output, errors })
    }
}

impl Said {
    /// What it said, if it ended well and that is all of it.
    pub(crate) fn done(self, step: &'static str) -> Result<Vec<u8>, Error> {
        if !self.status.success() {
            return Err(self.failed(step));
        }
        if self.output.dropped > 0 {
            return Err(Error::git(step, format!("it said more than {OUTPUT_MAX} bytes")));
        }
        Ok(self.output.bytes)
    }

    /// Why it did not end well.
    pub(crate) fn failed(&self, step: &'static str) -> Error {
        let said = self.errors.text();
        let said = said.trim();
        if said.is_empty() {
            return Error::git(step, format!("it ended with {}", self.status));
        }
        Error::git(step, said.escape_debug().to_string().replace("\\n", "; "))
    }
}

/// A text that `git` says on a line by itself.
pub(crate) fn line(step: &'static str, said: Vec<u8>) -> Result<String, Error> {
    let text = String::from_utf8(said).map_err(|_| Error::git(step, "it said no text"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    if text.is_empty() || text.contains('\n') {
        return Err(Error::git(step, "it said something else than one line"));
    }
    Ok(text.to_owned())
}
