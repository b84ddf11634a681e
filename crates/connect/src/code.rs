//! Code in a declared folder: source in Python or JavaScript, by an interpreter that the operator names, with packages
//! that the operator has installed from a lock.
//!
//! In the isolated tier or a container. Packages are read and never written; nothing is installed by a call.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use kernel::{
    Digest,
    exception::{Class, Landed},
    port::Failure,
};
use rustix::fs::{MemfdFlags, memfd_create};
use sandbox::{Command, Input, Tier};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::{
    call::{Call, Departure, fail, refuse},
    error::Error,
    folder::{REPOSITORY, read_args},
    place::{Access, Place, with_streams},
    secret::Vault,
    system::{CodeRules, Language, ShellRules},
    way_out::Around,
};

/// Most bytes of source.
const SOURCE_MAX_BYTES: usize = 256 * 1024;

/// Most bytes of a lock.
const LOCK_MAX_BYTES: u64 = 16 << 20;

/// Most files of a folder that are compared; in a larger one, what changed is not told.
const COMPARED_MAX: usize = 20_000;

/// Most changed files that a result names.
const CHANGED_MAX: usize = 200;

/// Which language code is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tongue {
    Python,
    JavaScript,
}

impl Tongue {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::JavaScript => "javascript",
        }
    }

    /// How an interpreter is told to run what it reads, and where its packages are.
    fn how(self) -> (&'static [&'static str], &'static str) {
        match self {
            // `-B`: compiled files would be changes of the folder; `-s`: no packages of an account.
            Self::Python => (&["-B", "-s", "-"], "PYTHONPATH"),
            Self::JavaScript => (&["-"], "NODE_PATH"),
        }
    }
}

/// Interpreters, and what stands around them.
#[derive(Debug)]
pub(crate) struct Code {
    system: String,
    place: Place,
    python: Option<Language>,
    javascript: Option<Language>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    source: String,
}

impl Code {
    pub(crate) fn new(
        (system, folder): (&str, &Path),
        rules: &CodeRules,
        vault: &Vault,
    ) -> Result<Self, Error> {
        let wrong = |problem: String| Error::System { system: system.to_owned(), problem };
        let mut walls = ShellRules {
            tier: rules.tier,
            container: rules.container.clone(),
            profile: rules.profile.clone(),
            egress: rules.egress.clone(),
        };
        let languages = [&rules.python, &rules.javascript];
        for language in languages.into_iter().flatten() {
            language.check(folder).map_err(&wrong)?;
            let read = &mut walls.profile.paths.read;
            // In a container the interpreter is the image's.
            let of_host = Some(&language.interpreter).filter(|_| rules.tier < Tier::Container);
            read.extend(of_host.into_iter().chain(&language.packages).cloned());
        }
        if rules.tier < Tier::Isolated {
            return Err(wrong("`code` needs `tier = \"isolated\"` or \"container\"".to_owned()));
        }
        if rules.python.is_none() && rules.javascript.is_none() {
            return Err(wrong("`code` names neither `python` nor `javascript`".to_owned()));
        }
        let place = Place::new((system, folder), &walls, vault)?;
        let (python, javascript) = (rules.python.clone(), rules.javascript.clone());
        Ok(Self { system: system.to_owned(), place, python, javascript })
    }

    /// The tier it would run in, or what this machine is missing.
    pub(crate) fn held(&self) -> Result<Tier, String> {
        self.place.held()
    }

    /// Whether code may ask the outside for anything.
    pub(crate) fn has_way_out(&self) -> bool {
        self.place.has_way_out()
    }

    /// Runs source to its end. What it ends with is a result, not a failure, unless its time was over.
    pub(crate) async fn call(
        &self,
        tongue: Tongue,
        (call, around, at): (&Call, &Around<'_>, &Path),
        departure: &Departure,
    ) -> Result<Value, Failure> {
        let Asked { source } = read_args(&call.args)?;
        if source.trim().is_empty() || source.len() > SOURCE_MAX_BYTES {
            return Err(refuse(format!("`source` must have 1 to {SOURCE_MAX_BYTES} bytes")));
        }
        let language = match tongue {
            Tongue::Python => &self.python,
            Tongue::JavaScript => &self.javascript,
        };
        let language = language.as_ref().ok_or_else(|| self.has_none(tongue))?;
        let lock = language.lock_hash().map_err(|problem| {
            fail(Class::Permission, Landed::No, format!("nothing was run: {problem}"))
        })?;
        let unread = |error: io::Error| refuse(format!("the source cannot be handed on: {error}"));
        let input = in_memory(&source).map_err(unread)?;
        let (mut profile, out) = self.place.open((Access::Change, at), (call, around))?;
        let (arguments, variable) = tongue.how();
        if let Some(packages) = &language.packages {
            let packages = packages.display().to_string();
            profile.environment.insert(variable.to_owned(), packages);
        }
        let command = Command::new(&language.interpreter)
            .arguments(arguments)
            .input(Input::From(input.into()));
        let before = seen(at).await;
        let ran = self.place.run((call, around, departure), (profile, out), command).await;
        let (finished, requests) = ran?;
        let changed = changes(before, seen(at).await);
        let mut result = self.place.ended(&finished, &requests);
        if let Some(fields) = result.as_object_mut() {
            fields.insert("lock".to_owned(), json!(lock));
            fields.extend(changed);
        }
        with_streams(&finished, &around.vault.redactor(), &result)
    }

    fn has_none(&self, tongue: Tongue) -> Failure {
        let (system, language) = (&self.system, tongue.name());
        let message = format!(
            "`{system}` runs no {language}; the operator names its interpreter under [systems.{system}.code.{language}]"
        );
        fail(Class::Permission, Landed::No, message)
    }
}

/// What stands in a folder; `None` where it is too much to compare.
async fn seen(folder: &Path) -> Option<Seen> {
    let folder = folder.to_owned();
    spawn_blocking(move || look(&folder)).await.ok().flatten()
}

impl Language {
    /// Whether it makes sense: what code can write must not decide what code is run by.
    fn check(&self, folder: &Path) -> Result<(), String> {
        let named = [Some(&self.interpreter), self.packages.as_ref(), self.lock.as_ref()];
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        for path in named.into_iter().flatten() {
            if !path.is_absolute() {
                return Err(format!("`{}` must be an absolute path", path.display()));
            }
            let place = path.canonicalize().unwrap_or_else(|_| path.clone());
            if place.starts_with(&folder) || folder.starts_with(&place) {
                return Err(format!(
                    "`{}` lies in the folder that code may change; move it out of there",
                    path.display()
                ));
            }
        }
        if self.packages.is_some() && self.lock.is_none() {
            return Err("`packages` needs the `lock` that they were installed from".to_owned());
        }
        if self.lock.is_none() && self.lock_sha256.is_some() {
            return Err("`lock_sha256` needs a `lock`".to_owned());
        }
        Ok(())
    }

    /// The SHA-256 of the lock as it is now, in lower-case hex.
    fn lock_hash(&self) -> Result<Option<String>, String> {
        let Some(lock) = &self.lock else { return Ok(None) };
        let told = |error: io::Error| format!("the lock {}: {error}", lock.display());
        let mut bytes = Vec::new();
        let file = File::open(lock).map_err(told)?;
        file.take(LOCK_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(told)?;
        if bytes.len() as u64 > LOCK_MAX_BYTES {
            return Err(format!("the lock {} is above {LOCK_MAX_BYTES} bytes", lock.display()));
        }
        let hash = kernel::id::hex(&Digest::of(&bytes).0);
        match &self.lock_sha256 {
            Some(pinned) if !pinned.eq_ignore_ascii_case(&hash) => Err(format!(
                "the lock {} is not the one that `lock_sha256` pins: install from it anew and pin it",
                lock.display()
            )),
            _ => Ok(Some(hash)),
        }
    }
}

/// A file in memory: it may be longer than a pipe holds, and nobody has to feed it.
fn in_memory(text: &str) -> io::Result<File> {
    let mut file = File::from(memfd_create("source", MemfdFlags::CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file)
}

/// Files by path below the folder, and what tells one state of a file from another: nobody sets the last of it at will.
type Seen = BTreeMap<PathBuf, (u64, u64, i64, i64)>;

fn look(folder: &Path) -> Option<Seen> {
    let mut seen = Seen::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).ok()? {
            let entry = entry.ok()?;
            // The entry itself: links are not followed.
            let found = entry.metadata().ok()?;
            if found.is_dir() {
                if entry.file_name() != REPOSITORY {
                    open.push(entry.path());
                }
                continue;
            }
            let path = entry.path().strip_prefix(folder).ok()?.to_owned();
            seen.insert(path, (found.ino(), found.size(), found.ctime(), found.ctime_nsec()));
            if seen.len() + open.len() > COMPARED_MAX {
                return None;
            }
        }
    }
    Some(seen)
}

/// What differs between two looks, as fields of a result.
fn changes(before: Option<Seen>, after: Option<Seen>) -> Vec<(String, Value)> {
    let (Some(before), Some(after)) = (before, after) else {
        return vec![("changed".to_owned(), Value::Null), ("changed_cut".to_owned(), json!(0))];
    };
    let gone = before.keys().filter(|path| !after.contains_key(*path)).map(|p| (p, "removed"));
    let here = after.iter().filter_map(|(path, now)| match before.get(path) {
        None => Some((path, "made")),
        Some(then) if then != now => Some((path, "changed")),
        Some(_) => None,
    });
    let mut all: Vec<(&PathBuf, &str)> = here.chain(gone).collect();
    all.sort();
    let told = all.iter().take(CHANGED_MAX);
    let told = told.map(|(path, how)| json!({"path": path.to_string_lossy(), "how": how}));
    let told: Vec<Value> = told.collect();
    let cut = all.len().saturating_sub(CHANGED_MAX);
    vec![("changed".to_owned(), json!(told)), ("changed_cut".to_owned(), json!(cut))]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn language(below: &Path) -> Language {
        Language {
            interpreter: PathBuf::from("/usr/bin/python3"),
            packages: Some(below.join("packages")),
            lock: Some(below.join("lock")),
            lock_sha256: None,
        }
    }

    #[test]
    fn what_code_can_change_never_decides_what_runs_it() {
        let dir = tempfile::tempdir().unwrap();
        let (work, beside) = (dir.path().join("work"), dir.path().join("beside"));
        fs::create_dir_all(&work).unwrap();
        assert_eq!(language(&beside).check(&work), Ok(()));
        assert!(language(&work).check(&work).unwrap_err().contains("move it out of there"));
        let bare = Language { lock: None, ..language(&beside) };
        assert!(bare.check(&work).unwrap_err().contains("needs the `lock`"));
        let relative = Language { interpreter: "python3".into(), ..language(&beside) };
        assert!(relative.check(&work).unwrap_err().contains("absolute"));
    }

    /// C220: what was installed from another lock is not used.
    #[test]
    fn a_lock_that_is_not_the_pinned_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("lock"), "left-pad==1.3.0\n").unwrap();
        let free = language(dir.path());
        let hash = free.lock_hash().unwrap().unwrap();
        assert_eq!(hash.len(), 64);
        let pinned = Language { lock_sha256: Some(hash.to_uppercase()), ..free };
        assert_eq!(pinned.lock_hash().unwrap().unwrap(), hash);
        fs::write(dir.path().join("lock"), "left-pad==6.6.6\n").unwrap();
        assert!(pinned.lock_hash().unwrap_err().contains("pin"));
        fs::remove_file(dir.path().join("lock")).unwrap();
        assert!(pinned.lock_hash().is_err());
    }

    #[test]
    fn changes_are_told_by_path_and_those_of_git_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at(".git")).unwrap();
        fs::write(at("same"), "1").unwrap();
        fs::write(at("gone"), "1").unwrap();
        fs::write(at("other"), "1").unwrap();
        let before = look(dir.path());
        fs::remove_file(at("gone")).unwrap();
        fs::write(at("other"), "22").unwrap();
        fs::write(at("new"), "1").unwrap();
        fs::write(at(".git/x"), "1").unwrap();
        let fields: BTreeMap<String, Value> =
            changes(before, look(dir.path())).into_iter().collect();
        let told = json!([
            {"path": "gone", "how": "removed"}, {"path": "new", "how": "made"}, {"path": "other", "how": "changed"}
        ]);
        assert_eq!(fields["changed"], told);
        assert_eq!(changes(None, look(dir.path()))[0].1, Value::Null);
    }
}
