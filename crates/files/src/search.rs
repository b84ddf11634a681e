use std::{
    num::NonZero,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder};
use ignore::overrides::{Override, OverrideBuilder};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::{
    beneath::Links,
    error::Error,
    hits::{Found, Hits, Lines, Most, Stop},
    limits::DEPTH_MAX,
    list::{Hidden, Ignored, Kind},
    place::{Place, join, order},
    root::{READ, Root, open_name, regular, size},
    rules::Rules,
    walk::{Item, items},
};

/// Most matching lines that one search returns.
pub const MATCHES_MAX: usize = 10_000;

/// Most bytes of text that one search returns: 8 MiB.
pub const HIT_BYTES_MAX: usize = 8 << 20;

/// Most bytes of one line; the rest of it is cut.
pub const LINE_BYTES_MAX: usize = 500;

/// Most lines before and after a match.
pub const CONTEXT_MAX: usize = 20;

/// Most globs of one search.
pub const GLOBS_MAX: usize = 200;

/// Threads of one search: beyond, the kernel's locks on folders cost more than they give.
const THREADS_MAX: usize = 8;

/// Files that one turn of a thread searches, so that one large folder is work for all of them.
const FILES_A_TURN: usize = 128;

/// Memory that a compiled expression may take, in bytes.
const EXPRESSION_BYTES_MAX: usize = 10 << 20;

/// Memory that one line may take, in bytes; a file with a longer one counts as unreadable.
const LINE_HEAP_BYTES: usize = 64 << 20;

/// What to look for. Lines are matched one by one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// A regular expression, in the syntax of Rust's `regex`: no look-around, linear time.
    Regex(String),
    /// Exactly this text.
    Literal(String),
}

/// Whether upper and lower case differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Case {
    /// They differ.
    #[default]
    Sensitive,
    /// They do not.
    Insensitive,
    /// They differ where the pattern holds an upper-case letter.
    Smart,
}

/// How to search.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Search {
    /// The folder or file to search; `.` for the root.
    pub path: String,
    /// Whether upper and lower case differ.
    pub case: Case,
    /// Globs of paths from the root, as in ignore files: only files that one of them matches, and none that one with a
    /// `!` before it matches; at most [`GLOBS_MAX`]. They narrow, and show nothing that is hidden or ignored.
    pub globs: Vec<String>,
    /// Lines before each match, at most [`CONTEXT_MAX`].
    pub lines_before: usize,
    /// Lines after each match, at most [`CONTEXT_MAX`].
    pub lines_after: usize,
    /// Most matching lines: 1,000 where nothing else is said, at most [`MATCHES_MAX`].
    pub matches: usize,
    /// Most bytes of text: 256 KiB where nothing else is said, at most [`HIT_BYTES_MAX`].
    pub bytes: usize,
    /// Most time, in milliseconds: 10,000 where nothing else is said. Looked at between files.
    pub time_ms: u64,
    /// Names that begin with a dot.
    pub hidden: Hidden,
    /// What files of rules name.
    pub ignored: Ignored,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            path: ".".to_owned(),
            case: Case::default(),
            globs: Vec::new(),
            lines_before: 0,
            lines_after: 0,
            matches: 1_000,
            bytes: 256 << 10,
            time_ms: 10_000,
            hidden: Hidden::default(),
            ignored: Ignored::default(),
        }
    }
}

impl Root {
    /// Searches the files below a folder, or one file. Links are not followed but for the path that was named; files
    /// with a zero byte are left out. The same files give the same answer in the same order, unless time was up.
    ///
    /// # Errors
    ///
    /// [`Error::Pattern`] for a pattern or a glob that has no meaning; [`Error::Absent`], [`Error::Kind`].
    pub fn search(&self, pattern: &Pattern, search: &Search) -> Result<Found, Error> {
        let place = Place::any(&search.path)?;
        let most = Most {
            matches: search.matches.clamp(1, MATCHES_MAX),
            bytes: search.bytes.clamp(1, HIT_BYTES_MAX),
            line_bytes: LINE_BYTES_MAX,
        };
        let run = Run {
            root: self,
            search,
            matcher: matcher(pattern, search.case)?,
            globs: globs(&search.globs)?,
            base: None,
            base_path: place.text(),
            most,
            hits: Hits::new(most),
            queue: Queue::default(),
            looked: AtomicU64::new(0),
            ends: Instant::now().checked_add(Duration::from_millis(search.time_ms)),
        };
        if self.look(place)? == Kind::File {
            let (file, stat) = self.open_file(place)?;
            run.file(&mut run.searcher(), place.text(), &file, size(&stat));
            Ok(run.hits.finish())
        } else {
            let run = Run { base: Some(self.open_folder(place)?), ..run };
            let rules = match search.ignored {
                Ignored::Skip => Rules::above(self, place.text()),
                Ignored::Show => None,
            };
            run.queue.push(Job::Folder { path: place.text().to_owned(), rules, depth: 0 });
            let threads = thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX);
            thread::scope(|scope| {
                for _ in 1..threads {
                    // Where no more threads may be made, those that are there do the work.
                    let spawned = thread::Builder::new().spawn_scoped(scope, || run.work());
                    if spawned.is_err() {
                        break;
                    }
                }
                run.work();
            });
            Ok(run.hits.finish())
        }
    }
}

fn matcher(pattern: &Pattern, case: Case) -> Result<RegexMatcher, Error> {
    let (text, what) = match pattern {
        Pattern::Regex(text) => (text, "the expression"),
        Pattern::Literal(text) => (text, "the text to search"),
    };
    let refused =
        |problem: String| Error::Pattern { what, text: text.chars().take(200).collect(), problem };
    if text.is_empty() {
        return Err(refused("it is empty".to_owned()));
    }
    RegexMatcherBuilder::new()
        .multi_line(true)
        .line_terminator(Some(b'\n'))
        .fixed_strings(matches!(pattern, Pattern::Literal(_)))
        .case_insensitive(case == Case::Insensitive)
        .case_smart(case == Case::Smart)
        .size_limit(EXPRESSION_BYTES_MAX)
        .build(text)
        .map_err(|error| refused(error.to_string()))
}

fn globs(globs: &[String]) -> Result<Override, Error> {
    let mut builder = OverrideBuilder::new("");
    let refused = |text: &str, error: ignore::Error| Error::Pattern {
        what: "the glob",
        text: text.to_owned(),
        problem: error.to_string(),
    };
    if globs.len() > GLOBS_MAX {
        return Err(Error::Pattern {
            what: "the globs",
            text: format!("{} of them", globs.len()),
            problem: format!("there may be at most {GLOBS_MAX}"),
        });
    }
    for glob in globs {
        builder.add(glob).map_err(|error| refused(glob, error))?;
    }
    builder.build().map_err(|error| refused(&globs.join(" "), error))
}

/// One search, shared by its threads.
struct Run<'a> {
    root: &'a Root,
    search: &'a Search,
    matcher: RegexMatcher,
    globs: Override,
    /// The folder that is searched, and its path from the root.
    base: Option<OwnedFd>,
    base_path: &'a str,
    most: Most,
    hits: Hits,
    queue: Queue,
    looked: AtomicU64,
    ends: Option<Instant>,
}

/// Work for one turn of a thread. Folders wait as paths, so that few descriptors are open however many wait.
enum Job {
    Folder { path: String, rules: Option<Arc<Rules>>, depth: usize },
    Files { fd: Arc<OwnedFd>, path: String, names: Vec<String> },
}

impl Run<'_> {
    fn searcher(&self) -> Searcher {
        SearcherBuilder::new()
            .line_number(true)
            .before_context(self.search.lines_before.min(CONTEXT_MAX))
            .after_context(self.search.lines_after.min(CONTEXT_MAX))
            .binary_detection(BinaryDetection::quit(0))
            .heap_limit(Some(LINE_HEAP_BYTES))
            .bom_sniffing(false)
            .build()
    }

    fn work(&self) {
        let mut searcher = self.searcher();
        while let Some((turn, job)) = self.queue.pop() {
            match job {
                Job::Folder { path, rules, depth } => {
                    self.folder(&mut searcher, &path, (rules, depth));
                }
                Job::Files { fd, path, names } => {
                    self.files(&mut searcher, fd.as_fd(), &path, &names);
                }
            }
            drop(turn);
        }
    }

    fn unreadable(&self) {
        self.hits.skip(|skipped| skipped.unreadable += 1);
    }

    fn folder(
        &self,
        searcher: &mut Searcher,
        path: &str,
        (rules, depth): (Option<Arc<Rules>>, usize),
    ) {
        if self.is_over() {
            return;
        }
        let Some(fd) = self.open(path) else { return self.unreadable() };
        let Ok(found) = items(path, fd.as_fd()) else { return self.unreadable() };
        if found.unnamed > 0 {
            self.hits.skip(|skipped| skipped.unnamed += found.unnamed);
        }
        let entries = found.items.len() as u64;
        if self.looked.fetch_add(entries, Relaxed) + entries > self.root.limits().walk_entries {
            self.hits.stop(Stop::Entries);
            return self.queue.close();
        }
        let rules = match self.search.ignored {
            Ignored::Skip => Rules::of(fd.as_fd(), path, &found, rules),
            Ignored::Show => None,
        };
        let (mut names, mut folders) = (Vec::new(), Vec::new());
        for item in found.items {
            let below = join(path, &item.name);
            if self.leaves_out(&item, &below, rules.as_deref()) {
                continue;
            }
            match item.kind {
                Kind::File => names.push(item.name),
                Kind::Folder if depth < DEPTH_MAX => {
                    folders.push(Job::Folder {
                        path: below,
                        rules: rules.clone(),
                        depth: depth + 1,
                    });
                }
                Kind::Folder | Kind::Link | Kind::Other => {}
            }
        }
        // The first ones are taken first: they bring the bound down.
        folders.reverse();
        self.queue.extend(folders);
        let fd = Arc::new(fd);
        let mut turns = names.chunks(FILES_A_TURN);
        let first = turns.next().unwrap_or_default();
        for names in turns.rev() {
            let (fd, path, names) = (Arc::clone(&fd), path.to_owned(), names.to_vec());
            self.queue.push(Job::Files { fd, path, names });
        }
        self.files(searcher, fd.as_fd(), path, first);
    }

    /// Opens a folder below the one that is searched, through no link.
    fn open(&self, path: &str) -> Option<OwnedFd> {
        let below = path.strip_prefix(self.base_path).unwrap_or(path).trim_start_matches('/');
        let base = self.base.as_ref()?.as_fd();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        self.root.resolve_from(base, below, flags, Links::Refused).ok()
    }

    fn leaves_out(&self, item: &Item, path: &str, rules: Option<&Rules>) -> bool {
        (self.search.hidden == Hidden::Skip && item.name.starts_with('.'))
            || rules.is_some_and(|rules| rules.ignores(path, item.kind))
            || self.globs.matched(path, item.kind == Kind::Folder).is_ignore()
    }

    fn files(&self, searcher: &mut Searcher, fd: BorrowedFd<'_>, folder: &str, names: &[String]) {
        let bound = self.hits.bound();
        for name in names {
            if self.is_over() {
                return;
            }
            let path = join(folder, name);
            if bound.as_ref().is_some_and(|bound| order(&path, bound).is_gt()) {
                return;
            }
            let opened = open_name(fd, name, READ).ok().and_then(|fd| regular(&path, fd).ok());
            match opened {
                Some((file, stat)) => self.file(searcher, &path, &file, size(&stat)),
                None => self.unreadable(),
            }
        }
    }

    fn file(&self, searcher: &mut Searcher, path: &str, file: &std::fs::File, size: u64) {
        if size == 0 {
            return;
        }
        if size > self.root.limits().search_file_bytes {
            return self.hits.skip(|skipped| skipped.large += 1);
        }
        let mut lines = Lines::new(self.most);
        match searcher.search_file(&self.matcher, file, &mut lines) {
            Ok(()) if lines.is_binary => self.hits.skip(|skipped| skipped.binary += 1),
            Ok(()) => self.hits.add(path, lines),
            Err(_) => self.unreadable(),
        }
    }

    fn is_over(&self) -> bool {
        if self.queue.closed.load(Relaxed) {
            return true;
        }
        let is_late = self.ends.is_some_and(|ends| Instant::now() >= ends);
        if is_late {
            self.hits.stop(Stop::Time);
            self.queue.close();
        }
        is_late
    }
}

/// What is still to be done, the newest first.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    closed: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    jobs: Vec<Job>,
    /// How many threads are at a job, which may bring new ones.
    busy: usize,
}

/// A thread's turn. It ends when this is dropped, also by a panic, so that the others do not wait for ever.
struct Turn<'a>(&'a Queue);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.waiting().busy -= 1;
        self.0.changed.notify_all();
    }
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Job) {
        self.waiting().jobs.push(job);
        self.changed.notify_one();
    }

    fn extend(&self, jobs: Vec<Job>) {
        if !jobs.is_empty() {
            self.waiting().jobs.extend(jobs);
            self.changed.notify_all();
        }
    }

    fn close(&self) {
        self.closed.store(true, Relaxed);
        self.waiting().jobs.clear();
        self.changed.notify_all();
    }

    fn pop(&self) -> Option<(Turn<'_>, Job)> {
        let mut waiting = self.waiting();
        loop {
            if self.closed.load(Relaxed) {
                return None;
            }
            if let Some(job) = waiting.jobs.pop() {
                waiting.busy += 1;
                return Some((Turn(self), job));
            }
            if waiting.busy == 0 {
                return None;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
