//! Files of one folder, and a shell in it.
//!
//! The operator declares the folder and whether there is a shell; a pack names the system. Files are read and changed by
//! `files`, which nothing leads out of; the shell is a program in a sandbox that sees the folder and the system's
//! libraries. A change says what it expects to be there, and everything but a command of the shell can be taken back.

use std::{path::PathBuf, sync::Arc};

use files::{Count, Edit, Expect, Hash, Image, List, Pattern, Range, Root, Search};
use kernel::{
    exception::{Class, Landed},
    operation::Operation,
    port::Failure,
};
use sandbox::{Captured, Command, End, Limit, Profile, Tier};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use tokio::task::spawn_blocking;

use crate::{
    call::{Call, Departure, fail, refuse},
    error::{Error, hint},
    read::Reader,
    secret::Vault,
    started::{Walls, how_it_ended, name},
    system::FolderSystem,
    way_out::{Around, WayOut},
};

/// Most bytes of a command.
const COMMAND_MAX_BYTES: usize = 64 * 1024;

/// The shell that reads a command.
const SHELL: &str = "/bin/sh";

/// What can be done in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Read,
    List,
    Search,
    Write,
    Edit,
    Move,
    Remove,
    MakeFolder,
    Image,
    Restore,
    Shell,
}

/// Every deed by its name in packs; the shipped `workbench` uses each.
const DEEDS: [(&str, Deed); 11] = [
    ("read", Deed::Read),
    ("list", Deed::List),
    ("search", Deed::Search),
    ("write", Deed::Write),
    ("edit", Deed::Edit),
    ("move", Deed::Move),
    ("remove", Deed::Remove),
    ("make_folder", Deed::MakeFolder),
    ("image", Deed::Image),
    ("restore", Deed::Restore),
    ("shell", Deed::Shell),
];

impl Deed {
    fn is_change(self) -> bool {
        match self {
            Self::Read | Self::List | Self::Search | Self::Image => false,
            Self::Write
            | Self::Edit
            | Self::Move
            | Self::Remove
            | Self::MakeFolder
            | Self::Restore
            | Self::Shell => true,
        }
    }
}

/// A deed in a declared folder.
#[derive(Debug)]
pub(crate) struct Hand {
    pub(crate) system: String,
    deed: Deed,
}

impl Hand {
    pub(crate) fn compile(binding: &Reader<'_>, operation: &Operation) -> Result<Self, Error> {
        binding.only(&["kind", "system", "do"])?;
        let wanted = binding.text("do")?;
        let found = DEEDS.iter().find(|(known, _)| *known == wanted).map(|(_, deed)| *deed);
        let known = DEEDS.iter().map(|(known, _)| *known);
        let deed = found.ok_or_else(|| {
            binding.error(
                "do",
                format!("nothing called `{wanted}` is done in folders{}", hint(wanted, known)),
            )
        })?;
        // Facts decide who is asked: a change that calls itself a read would be made without asking.
        if deed.is_change() && !operation.is_write() {
            return Err(
                binding.error("do", format!("`{wanted}` changes files; say `effect: write`"))
            );
        }
        Ok(Self { system: binding.text("system")?.to_owned(), deed })
    }
}

/// A declared folder.
#[derive(Debug)]
pub(crate) struct Folder {
    name: String,
    path: PathBuf,
    shell: Option<Commands>,
}

/// The shell of a folder.
#[derive(Debug)]
struct Commands {
    walls: Walls,
    profile: Profile,
    out: WayOut,
}

impl Folder {
    pub(crate) fn new(name: &str, declared: &FolderSystem, vault: &Vault) -> Result<Self, Error> {
        let wrong = |problem: String| Error::System { system: name.to_owned(), problem };
        let path = declared.path.clone();
        if !path.is_absolute() {
            return Err(wrong(format!("`path` must be absolute, not `{}`", path.display())));
        }
        let shell = match &declared.shell {
            None => None,
            Some(shell) => {
                let profile = inside(shell.profile.clone(), &path);
                profile.check().map_err(|error| wrong(error.to_string()))?;
                let out = WayOut::new(name, &shell.egress, (shell.tier, &profile), vault)?;
                Some(Commands { walls: Walls::new(shell.tier), profile, out })
            }
        };
        Ok(Self { name: name.to_owned(), path, shell })
    }

    /// The tier its shell would run in, or what this machine is missing; none where it has no shell.
    pub(crate) fn held(&self) -> Option<Result<Tier, String>> {
        self.shell.as_ref().map(|shell| shell.walls.held(&shell.profile))
    }

    pub(crate) async fn call(
        &self,
        hand: &Hand,
        (call, around): (&Call, &Around<'_>),
        departure: &Departure,
    ) -> Result<Value, Failure> {
        if hand.deed == Deed::Shell {
            return self.shell((call, around), departure).await;
        }
        let (deed, args, path) = (hand.deed, Arc::clone(&call.args), self.path.clone());
        departure.leave()?;
        let done = spawn_blocking(move || {
            let root = Root::open(&path).map_err(|error| said(&error, deed))?;
            do_it(&root, deed, &args)
        });
        done.await.map_err(|error| {
            let message = format!("the files of `{}` were left alone: {error}", self.name);
            fail(Class::Unavailable, departure.landed(), message)
        })?
    }

    async fn shell(
        &self,
        (call, around): (&Call, &Around<'_>),
        departure: &Departure,
    ) -> Result<Value, Failure> {
        let Some(Commands { walls, profile, out }) = &self.shell else {
            let message = format!(
                "`{}` has no shell; the operator gives it one under [systems.{}.shell]",
                self.name, self.name
            );
            return Err(fail(Class::Permission, Landed::No, message));
        };
        let Shell { command } = read_args(&call.args)?;
        if command.trim().is_empty() || command.len() > COMMAND_MAX_BYTES || command.contains('\0')
        {
            return Err(refuse(format!(
                "`command` must have 1 to {COMMAND_MAX_BYTES} bytes and no NUL"
            )));
        }
        let mut profile = profile.clone();
        let most = u64::from(call.operation.timeout_ms).max(1);
        profile.limits.deadline_ms = profile.limits.deadline_ms.min(most);
        let out = out.open(call, around, &mut profile)?;
        let run = Command::new(SHELL).arguments(["-c", &command]);
        let finished = walls.run(&self.name, (profile, run), departure).await?;
        let requests = out.close().await;
        let (end, limits) = (finished.outcome.end, &finished.outcome.limits);
        if limits.contains(&Limit::Deadline) || finished.outcome.asked {
            let how = how_it_ended(end, limits);
            return Err(fail(Class::Timeout, departure.landed(), format!("the command {how}")));
        }
        let (exit_code, signal) = match end {
            End::Exit(code) => (Some(code), None),
            End::Signal(signal) => (None, Some(signal)),
        };
        let limits: Vec<String> = limits.iter().map(|limit| name(*limit)).collect();
        let text = |kept: &Captured| String::from_utf8_lossy(&kept.bytes).into_owned();
        Ok(json!({
            "exit_code": exit_code, "signal": signal, "limits": limits, "requests": requests,
            "output": text(&finished.output), "output_cut": finished.output.dropped,
            "errors": text(&finished.errors), "errors_cut": finished.errors.dropped,
        }))
    }
}

/// The profile of a shell: it starts in the folder and may change what is in it, but not what `git` would run for
/// whoever works there next.
fn inside(mut profile: Profile, folder: &std::path::Path) -> Profile {
    let repository = folder.join(".git");
    let named = [&profile.paths.read, &profile.paths.write, &profile.paths.none];
    if !named.into_iter().flatten().any(|path| *path == repository) {
        // What is not there cannot be opened, nor made: its folder would be.
        if repository.exists() {
            profile.paths.read.push(repository);
        }
    }
    profile.paths.write.push(folder.to_owned());
    profile.folder.get_or_insert_with(|| folder.to_owned());
    profile
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shell {
    command: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reading {
    path: String,
    #[serde(default)]
    from_line: Option<u64>,
    #[serde(default)]
    lines: Option<u64>,
    #[serde(default)]
    from_byte: Option<u64>,
    #[serde(default)]
    bytes: Option<u64>,
}

impl Reading {
    fn range(&self) -> Result<Range, Failure> {
        let bytes = self.bytes.unwrap_or(files::READ_BYTES);
        match (self.from_line, self.lines, self.from_byte) {
            (None, None, from) => Ok(Range::Bytes { from: from.unwrap_or(0), bytes }),
            (from, lines, None) => {
                let (from, lines) = (from.unwrap_or(1), lines.unwrap_or(u64::MAX));
                Ok(Range::Lines { from, lines, bytes })
            }
            (_, _, Some(_)) => Err(refuse(
                "read by lines or by bytes: `from_byte` does not go with `from_line` and `lines`",
            )),
        }
    }
}

/// What somebody knows to be at a path: `absent`, `any`, or the SHA-256 that a read gave.
#[derive(Clone, Copy)]
struct Was(Expect);

impl<'de> Deserialize<'de> for Was {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "absent" => Ok(Self(Expect::Absent)),
            "any" => Ok(Self(Expect::Any)),
            hash => match hash.parse::<Hash>() {
                Ok(hash) => Ok(Self(Expect::Hash(hash))),
                Err(_) => {
                    let known = "`was` is `absent`, `any`, or the sha256 that a read gave";
                    Err(serde::de::Error::custom(known))
                }
            },
        }
    }
}

fn expected(was: Option<Was>, otherwise: Expect) -> Expect {
    was.map_or(otherwise, |was| was.0)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Writing {
    path: String,
    text: String,
    #[serde(default)]
    was: Option<Was>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Editing {
    path: String,
    edits: Vec<OneEdit>,
    #[serde(default)]
    was: Option<Was>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OneEdit {
    old: String,
    new: String,
    /// How often it is there: a number, or `all`; once where nothing is said.
    #[serde(default)]
    times: Option<Times>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Times {
    So(usize),
    Word(AllOfThem),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum AllOfThem {
    All,
}

impl From<OneEdit> for Edit {
    fn from(edit: OneEdit) -> Self {
        let count = match edit.times {
            None => Count::default(),
            Some(Times::So(times)) => Count::Exactly(times),
            Some(Times::Word(AllOfThem::All)) => Count::All,
        };
        Self { old: edit.old, new: edit.new, count }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Moving {
    from: String,
    to: String,
    #[serde(default)]
    was: Option<Was>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Naming {
    path: String,
    #[serde(default)]
    was: Option<Was>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Restoring {
    path: String,
    image: Image,
}

fn read_args<T: DeserializeOwned>(args: &Value) -> Result<T, Failure> {
    T::deserialize(args).map_err(|error| refuse(format!("the arguments do not fit: {error}")))
}

fn do_it(root: &Root, deed: Deed, args: &Value) -> Result<Value, Failure> {
    let failed = |error: files::Error| said(&error, deed);
    match deed {
        Deed::Read => {
            let reading: Reading = read_args(args)?;
            let part = root.read(&reading.path, reading.range()?).map_err(failed)?;
            to_value(&part)
        }
        Deed::List => {
            let (mut rest, path) = without(args, "path")?;
            let path = path.unwrap_or_else(|| ".".to_owned());
            let options: List = read_args(&Value::Object(std::mem::take(&mut rest)))?;
            to_value(&root.list(&path, &options).map_err(failed)?)
        }
        Deed::Search => {
            let (rest, regex) = without(args, "regex")?;
            let (rest, text) = without(&Value::Object(rest), "text")?;
            let pattern = match (regex, text) {
                (Some(regex), None) => Pattern::Regex(regex),
                (None, Some(text)) => Pattern::Literal(text),
                _ => return Err(refuse("search for one of `regex` and `text`")),
            };
            let search: Search = read_args(&Value::Object(rest))?;
            to_value(&root.search(&pattern, &search).map_err(failed)?)
        }
        Deed::Image => {
            let Naming { path, .. } = read_args(args)?;
            let image = root.before(&path).map_err(failed)?;
            Ok(json!({ "path": path, "image": to_value(&image)? }))
        }
        Deed::Shell => Err(refuse("a shell is no file")),
        Deed::Write | Deed::Edit | Deed::Move | Deed::Remove | Deed::MakeFolder | Deed::Restore => {
            change(root, deed, args)
        }
    }
}

fn change(root: &Root, deed: Deed, args: &Value) -> Result<Value, Failure> {
    let failed = |error: files::Error| said(&error, deed);
    match deed {
        Deed::Write => {
            let Writing { path, text, was } = read_args(args)?;
            // A file that nobody has read is not overwritten.
            let expect = expected(was, Expect::Absent);
            let written = root.write(&path, text.as_bytes(), expect).map_err(failed)?;
            Ok(json!({ "path": path, "hash": written.hash, "size": written.size }))
        }
        Deed::Edit => {
            let Editing { path, edits, was } = read_args(args)?;
            let edits: Vec<Edit> = edits.into_iter().map(Edit::from).collect();
            let expect = expected(was, Expect::Any);
            let written = root.edit(&path, &edits, expect).map_err(failed)?;
            Ok(json!({ "path": path, "hash": written.hash, "size": written.size }))
        }
        Deed::Move => {
            let Moving { from, to, was } = read_args(args)?;
            root.move_to(&from, &to, expected(was, Expect::Any)).map_err(failed)?;
            Ok(json!({ "from": from, "to": to }))
        }
        Deed::Remove => {
            let Naming { path, was } = read_args(args)?;
            root.remove(&path, expected(was, Expect::Any)).map_err(failed)?;
            Ok(json!({ "path": path }))
        }
        Deed::MakeFolder => {
            let Naming { path, .. } = read_args(args)?;
            root.make_folder(&path).map_err(failed)?;
            Ok(json!({ "path": path }))
        }
        _ => {
            let Restoring { path, image } = read_args(args)?;
            root.restore(&path, &image, Expect::Any).map_err(failed)?;
            Ok(json!({ "path": path }))
        }
    }
}

/// The arguments without one text among them.
fn without(args: &Value, key: &str) -> Result<(Map<String, Value>, Option<String>), Failure> {
    let mut map = args.as_object().cloned().unwrap_or_default();
    match map.remove(key) {
        None => Ok((map, None)),
        Some(Value::String(text)) => Ok((map, Some(text))),
        Some(_) => Err(refuse(format!("`{key}` must be text"))),
    }
}

fn to_value(value: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(value)
        .map_err(|error| fail(Class::UnexpectedShape, Landed::No, error.to_string()))
}

/// What `files` says, as a failure with its class. A change happens as a whole or not at all; only what the disk says
/// about a change that is under way leaves that open.
fn said(error: &files::Error, deed: Deed) -> Failure {
    use files::Error as E;
    let (class, landed) = match error {
        E::Path { .. }
        | E::Absent { .. }
        | E::NoFolder { .. }
        | E::Kind { .. }
        | E::NotEmpty { .. }
        | E::TooLarge { .. }
        | E::Edit { .. }
        | E::Binary { .. }
        | E::Pattern { .. } => (Class::InvalidArguments, Landed::No),
        E::Outside { .. } | E::Link { .. } => (Class::Permission, Landed::No),
        E::Conflict { .. } => (Class::Stale, Landed::No),
        E::Busy { .. } | E::Unsupported { .. } => (Class::Unavailable, Landed::No),
        E::Tangled { .. } | E::Io { .. } => {
            let landed = if deed.is_change() { Landed::Unknown } else { Landed::No };
            (Class::Unavailable, landed)
        }
    };
    fail(class, landed, format!("{error}; {}", error.next_step()))
}
