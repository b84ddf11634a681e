//! Files of one folder; `shell` is the shell in it, `code` its interpreters.
//!
//! The operator declares the folder and whether there is a shell; a pack names the system. Files are read and changed by
//! `files`, which nothing leads out of; the shell is a program in a sandbox that sees the folder and the system's
//! libraries. A change says what it expects to be there, and everything but a command of the shell can be taken back.

mod asked;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use files::{Edit, Expect, Limits, List, Pattern, Root, Search};
use kernel::{
    exception::{Class, Landed},
    id::{RunId, Tenant},
    operation::{Operation, Undo},
    port::Failure,
};
use sandbox::Tier;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use tokio::task::spawn_blocking;

use asked::{Editing, Moving, Naming, Reading, Restoring, Writing, expected};

use crate::{
    apart::{Deal, Trees},
    artifact,
    blob::PREVIEW_BYTES,
    call::{Call, Departure, fail, refuse},
    code::{Code, Tongue},
    error::{Error, hint},
    ingest::Pick,
    jobs::Served,
    read::Reader,
    redact::Personal,
    secret::Vault,
    shell::{Shell, Use},
    system::{Apart, FolderSystem},
    way_out::Around,
};

/// Most bytes of a file whose image fits into a result, as base64 and with the rest of it: what is changed and taken
/// back is read before and after.
const IMAGE_BYTES: u64 = 180 * 1024;

/// Most bytes of a result that this crate makes; the rest of what a result may hold is for redactions.
pub(crate) const RESULT_BYTES: usize = PREVIEW_BYTES - 16 * 1024;

/// Most bytes of the rest of a result that holds the content of a file.
const AROUND_BYTES: usize = 1024;

/// What `git` keeps its own things under.
pub(crate) const REPOSITORY: &str = ".git";

/// What can be done in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
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
    Shell(Use),
    Code(Tongue),
    Work(Deal),
    Publish,
}

/// Every deed by its name in packs; the shipped `workbench` uses each.
const DEEDS: [(&str, Deed); 22] = [
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
    ("shell", Deed::Shell(Use::Run)),
    ("look", Deed::Shell(Use::Look)),
    ("job_start", Deed::Shell(Use::Start)),
    ("job_read", Deed::Shell(Use::Read)),
    ("job_stop", Deed::Shell(Use::Stop)),
    ("job_list", Deed::Shell(Use::List)),
    ("python", Deed::Code(Tongue::Python)),
    ("javascript", Deed::Code(Tongue::JavaScript)),
    ("publish", Deed::Publish),
    ("work_preview", Deed::Work(Deal::Preview)),
    ("work_merge", Deed::Work(Deal::Merge)),
    ("work_take_back", Deed::Work(Deal::TakeBack)),
];

impl Deed {
    fn is_change(self) -> bool {
        match self {
            // A look is held to it by its sandbox. Whoever may start a job may end it: that changes nothing but the job.
            Self::Read
            | Self::List
            | Self::Search
            | Self::Image
            | Self::Shell(Use::Look | Use::Read | Use::Stop | Use::List)
            | Self::Work(Deal::Preview)
            // It changes nothing but what the harness keeps, as every result does.
            | Self::Publish => false,
            Self::Write
            | Self::Edit
            | Self::Move
            | Self::Remove
            | Self::MakeFolder
            | Self::Restore
            | Self::Shell(Use::Run | Use::Start)
            | Self::Code(_)
            | Self::Work(Deal::Merge | Deal::TakeBack) => true,
        }
    }

    /// Whether it runs what a caller wrote.
    fn runs(self) -> bool {
        matches!(self, Self::Shell(Use::Run | Use::Start) | Self::Code(_))
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
        // A command that is said to be undoable would run without anybody being asked.
        if deed.runs() && operation.facts.undo != Undo::None {
            let text = "nobody can say how to take a command back; leave `undo` out";
            return Err(binding.error("do", text));
        }
        Ok(Self { system: binding.text("system")?.to_owned(), deed })
    }

    /// The receipt of what was kept names it.
    pub(crate) fn pick(&self) -> Pick<'_> {
        let external_ref = (self.deed == Deed::Publish).then_some("/artifact");
        Pick { external_ref, ..Pick::default() }
    }

    /// Whether it takes its turn among commands, which take long.
    pub(crate) fn is_command(&self) -> bool {
        matches!(self.deed, Deed::Shell(_) | Deed::Code(_) | Deed::Work(_))
    }
}

/// A declared folder.
#[derive(Debug)]
pub(crate) struct Folder {
    name: String,
    path: PathBuf,
    shell: Option<Shell>,
    code: Option<Code>,
    /// Where runs work, when not in the folder itself.
    trees: Option<Trees>,
    personal: Personal,
}

impl Folder {
    /// `kept`: where folders of runs are kept.
    pub(crate) fn new(
        name: &str,
        declared: &FolderSystem,
        (vault, kept): (&Vault, Option<&Path>),
    ) -> Result<Self, Error> {
        let wrong = |problem: String| Error::System { system: name.to_owned(), problem };
        let path = declared.path.clone();
        if !path.is_absolute() {
            return Err(wrong(format!("`path` must be absolute, not `{}`", path.display())));
        }
        let shell = declared.shell.as_ref();
        let shell = shell.map(|rules| Shell::new((name, &path), rules, vault)).transpose()?;
        let code = declared.code.as_ref();
        let code = code.map(|rules| Code::new((name, &path), rules, vault)).transpose()?;
        let trees = declared.apart.map(|Apart::Worktree| Trees::new(name, declared, kept));
        let trees = trees.transpose()?;
        let personal = declared.redact;
        Ok(Self { name: name.to_owned(), path, shell, code, trees, personal })
    }

    /// The folders of runs, where their work is kept apart.
    pub(crate) fn trees(&self) -> Option<&Trees> {
        self.trees.as_ref()
    }

    /// The tier its commands and code would run in, or what this machine is missing; none where it has neither.
    pub(crate) fn held(&self) -> Option<Result<Tier, String>> {
        if !self.path.is_dir() {
            return Some(Err(format!("{} is no folder", self.path.display())));
        }
        let shell = self.shell.as_ref().map(|shell| shell.place.held());
        let code = self.code.as_ref().map(Code::held);
        // What is missing comes first.
        match (shell, code) {
            (Some(Ok(_)) | None, Some(code)) => Some(code),
            (shell, _) => shell,
        }
    }

    /// Whether what this does may ask the outside for anything.
    pub(crate) fn has_way_out(&self, hand: &Hand) -> bool {
        match hand.deed {
            Deed::Shell(Use::Run | Use::Start) => {
                self.shell.as_ref().is_some_and(|shell| shell.place.has_way_out())
            }
            Deed::Code(_) => self.code.as_ref().is_some_and(Code::has_way_out),
            _ => false,
        }
    }

    /// A job of a run that may be reached at the port at which it listens.
    pub(crate) fn served(&self, tenant: &Tenant, run: &RunId, job: u64) -> Option<Served> {
        self.shell.as_ref()?.served(tenant, run, job)
    }

    /// Ends whatever a run has started here.
    pub(crate) fn over(&self, tenant: &Tenant, run: &RunId) {
        if let Some(shell) = &self.shell {
            shell.over(tenant, run);
        }
        if let Some(trees) = &self.trees {
            trees.over(run);
        }
    }

    /// The folder that a call works in.
    async fn at(&self, call: &Call) -> Result<PathBuf, Failure> {
        match &self.trees {
            Some(trees) => trees.folder_of(&call.run).await,
            None => Ok(self.path.clone()),
        }
    }

    pub(crate) async fn call(
        &self,
        hand: &Hand,
        (call, around): (&Call, &Around<'_>),
        departure: &Departure,
    ) -> Result<Value, Failure> {
        let has_no = |what: &str, table: &str| {
            let name = &self.name;
            let message = format!(
                "`{name}` has no {what}; the operator gives it one under [systems.{name}.{table}]"
            );
            fail(Class::Permission, Landed::No, message)
        };
        match hand.deed {
            Deed::Shell(wanted) => {
                let shell = self.shell.as_ref().ok_or_else(|| has_no("shell", "shell"))?;
                let at = self.at(call).await?;
                return shell.call(wanted, (call, around, &at), departure).await;
            }
            Deed::Code(tongue) => {
                let code = self.code.as_ref().ok_or_else(|| has_no("interpreter", "code"))?;
                let at = self.at(call).await?;
                return code.call(tongue, (call, around, &at), departure).await;
            }
            Deed::Publish => {
                let redactor = around.vault.redactor().with(self.personal);
                let at = self.at(call).await?;
                return artifact::keep(at, (call, around), (departure, redactor)).await;
            }
            Deed::Work(deal) => {
                let trees = self.trees.as_ref().ok_or_else(|| {
                    let name = &self.name;
                    let message = format!(
                        "runs change the folder of `{name}` itself; say `apart = \"worktree\"` under [systems.{name}]"
                    );
                    fail(Class::Permission, Landed::No, message)
                })?;
                return trees.call(deal, call, departure).await;
            }
            _ => {}
        }
        let (deed, args, path) = (hand.deed, Arc::clone(&call.args), self.at(call).await?);
        // What is to be taken back must leave a file that an image can hold.
        let file_bytes = match call.operation.facts.undo {
            Undo::Restore => IMAGE_BYTES,
            Undo::None | Undo::Compensate => Limits::default().file_bytes,
        };
        let limits = Limits { image_bytes: IMAGE_BYTES, file_bytes, ..Limits::default() };
        let name = self.name.clone();
        departure.leave()?;
        let done = spawn_blocking(move || {
            let root = Root::open_with(&path, limits).map_err(|_| {
                let message =
                    format!("the folder of [systems.{name}] is not there or cannot be opened");
                fail(Class::Unavailable, Landed::No, message)
            })?;
            do_it(&root, deed, &args)
        });
        done.await.map_err(|error| {
            let message = format!("the files of `{}` were left alone: {error}", self.name);
            fail(Class::Unavailable, departure.landed(), message)
        })?
    }
}

/// A result that fits: made of at most so many bytes, and of half as many as often as its JSON is too large.
pub(crate) fn shrinking(
    mut bytes: usize,
    make: impl Fn(usize) -> Result<Value, Failure>,
) -> Result<Value, Failure> {
    loop {
        let value = make(bytes)?;
        let long = serde_json::to_vec(&value).map_or(usize::MAX, |json| json.len());
        if long <= RESULT_BYTES || bytes < 1024 {
            return Ok(value);
        }
        bytes /= 2;
    }
}

/// Changes of files leave repositories to `git`: what stands in one decides what runs on the next `git status`.
fn check_repository(paths: &[&str]) -> Result<(), Failure> {
    let is_in = |path: &&&str| path.split('/').any(|part| part.eq_ignore_ascii_case(REPOSITORY));
    match paths.iter().find(is_in) {
        None => Ok(()),
        Some(path) => {
            let message =
                format!("`{path}` belongs to git, which runs what stands there; change it by hand");
            Err(fail(Class::Permission, Landed::No, message))
        }
    }
}

pub(crate) fn read_args<T: DeserializeOwned>(args: &Value) -> Result<T, Failure> {
    T::deserialize(args).map_err(|error| refuse(format!("the arguments do not fit: {error}")))
}

fn do_it(root: &Root, deed: Deed, args: &Value) -> Result<Value, Failure> {
    let failed = |error: files::Error| said(&error, deed);
    match deed {
        Deed::Read => {
            let reading: Reading = read_args(args)?;
            let range = reading.range(reading.bytes.unwrap_or(files::READ_BYTES))?;
            let part = root.read_within(&reading.path, range, RESULT_BYTES - AROUND_BYTES);
            to_value(&part.map_err(failed)?)
        }
        Deed::List => {
            let (mut rest, path) = without(args, "path")?;
            let path = path.unwrap_or_else(|| ".".to_owned());
            let options: List = read_args(&Value::Object(std::mem::take(&mut rest)))?;
            shrinking(options.entries, |entries| {
                let options = List { entries, ..options.clone() };
                to_value(&root.list(&path, &options).map_err(failed)?)
            })
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
            shrinking(search.bytes.min(RESULT_BYTES), |bytes| {
                let search = Search { bytes, ..search.clone() };
                to_value(&root.search(&pattern, &search).map_err(failed)?)
            })
        }
        Deed::Image => {
            let Naming { path, .. } = read_args(args)?;
            let image = root.before(&path).map_err(failed)?;
            Ok(json!({ "path": path, "image": to_value(&image)? }))
        }
        Deed::Shell(_) | Deed::Code(_) | Deed::Work(_) | Deed::Publish => {
            Err(refuse("what runs is no file"))
        }
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
            check_repository(&[&path])?;
            // A file that nobody has read is not overwritten.
            let expect = expected(was, Expect::Absent);
            let written = root.write(&path, text.as_bytes(), expect).map_err(failed)?;
            Ok(json!({ "path": path, "hash": written.hash, "size": written.size }))
        }
        Deed::Edit => {
            let Editing { path, edits, was } = read_args(args)?;
            check_repository(&[&path])?;
            let edits: Vec<Edit> = edits.into_iter().map(Edit::from).collect();
            let expect = expected(was, Expect::Any);
            let written = root.edit(&path, &edits, expect).map_err(failed)?;
            Ok(json!({ "path": path, "hash": written.hash, "size": written.size }))
        }
        Deed::Move => {
            let Moving { from, to, was } = read_args(args)?;
            check_repository(&[&from, &to])?;
            root.move_to(&from, &to, expected(was, Expect::Any)).map_err(failed)?;
            Ok(json!({ "from": from, "to": to }))
        }
        Deed::Remove => {
            let Naming { path, was } = read_args(args)?;
            check_repository(&[&path])?;
            root.remove(&path, expected(was, Expect::Any)).map_err(failed)?;
            Ok(json!({ "path": path }))
        }
        Deed::MakeFolder => {
            let Naming { path, .. } = read_args(args)?;
            check_repository(&[&path])?;
            root.make_folder(&path).map_err(failed)?;
            Ok(json!({ "path": path }))
        }
        _ => {
            let Restoring { path, image } = read_args(args)?;
            check_repository(&[&path])?;
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
pub(crate) fn said(error: &files::Error, deed: Deed) -> Failure {
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
        // A new content that could not be written is not in place.
        E::Io {
            what:
                "making a file" | "drawing a name" | "writing the file" | "writing the file to disk",
            ..
        } => (Class::Unavailable, Landed::No),
        E::Tangled { .. } | E::Io { .. } => {
            let landed = if deed.is_change() { Landed::Unknown } else { Landed::No };
            (Class::Unavailable, landed)
        }
    };
    fail(class, landed, format!("{error}; {}", error.next_step()))
}
