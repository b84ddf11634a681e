//! File operations as a caller meets them, on a folder of its own; what may be followed is followed by the kernel in one
//! run and by our own walk in another.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test says what is wrong by panicking; shared steps are not marked as tests"
)]

mod changes;
mod endings;
mod escapes;
mod images;
mod lists;
mod races;
mod reads;
mod searches;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use files::{Content, Range, Root};
use tempfile::TempDir;

/// What stands outside, and must be read by nobody.
const SECRET: &str = "kept outside of the root";

/// Two folders side by side: the root, and what is outside of it.
struct Ground {
    dir: TempDir,
}

impl Ground {
    /// In memory where there is such a folder: nothing here outlives the test, and disks are slow to be sure.
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let ground = Self { dir: dir.or_else(|_| tempfile::tempdir()).unwrap() };
        fs::create_dir(ground.path()).unwrap();
        fs::create_dir(ground.outside()).unwrap();
        fs::write(ground.outside().join("secret.txt"), SECRET).unwrap();
        ground
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    fn root(&self) -> Root {
        Root::open(self.path()).unwrap()
    }

    /// The root as it is resolved by the kernel, and by our own walk.
    fn roots(&self) -> [Root; 2] {
        [self.root(), self.root().walking()]
    }

    /// Puts a file below the root, with the folders around it.
    fn put(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn get(&self, path: &str) -> String {
        fs::read_to_string(self.path().join(path)).unwrap()
    }
}

/// Tells the other threads of a test to end when it is dropped, also by a panic: nobody waits for ever.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Everything below a folder: what each path is, its mode, and its content.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stat = fs::symlink_metadata(&path).unwrap();
        let content = match stat.file_type() {
            kind if kind.is_file() => fs::read(&path).unwrap(),
            kind if kind.is_symlink() => {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            }
            kind if kind.is_dir() => {
                found.extend(snapshot(&path));
                Vec::new()
            }
            _ => Vec::new(),
        };
        found.insert(path, (stat.permissions().mode(), content));
    }
    found
}

/// The names right in a folder that only our own files in the making have.
fn left(folder: &Path) -> usize {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().starts_with(".harness-files-")).count()
}

fn text(root: &Root, path: &str) -> Result<String, files::Error> {
    match root.read(path, Range::default())?.content {
        Content::Text(text) => Ok(text),
        Content::Binary(_) => panic!("{path} is not text"),
    }
}
