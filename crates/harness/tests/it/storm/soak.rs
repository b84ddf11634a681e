use std::{
    fs,
    process::Child,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use super::{Storm, asked, check};

/// How long a plain test run takes part; `./soak` takes an hour, `./test` two minutes.
const SAMPLE_SECONDS: u64 = 10;
/// Shares of the time that are compared; the first is left out, it fills caches.
const WINDOWS: usize = 4;
/// Finished runs a window must hold for its figures to mean something.
const RUNS_MIN: u64 = 25;
/// How much more the last window may use than the second, in percent.
const FLAT_PERCENT: u64 = 130;
/// Memory that comes and goes with luck, in kB.
const SLACK_KB: u64 = 24 * 1024;

/// One look.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    at: Duration,
    rss_kb: u64,
    finished: u64,
    bytes: u64,
}

/// What one share of the time showed.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    runs: u64,
    bytes_per_run: u64,
    rss_kb: u64,
}

fn rss_kb(owner: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", owner.id())).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn look(storm: &Storm, owner: &Child, begun: Instant) -> Option<Look> {
    let conn = check::database(&storm.office);
    let number = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, u64>(0)).ok();
    let pages = number("PRAGMA page_count")?;
    let free = number("PRAGMA freelist_count")?;
    let size = number("PRAGMA page_size")?;
    let finished = number(
        "SELECT count(*) FROM runs WHERE status IN ('succeeded', 'partial', 'failed', 'cancelled', \
         'rolled_back', 'partly_rolled_back')",
    )?;
    let (at, rss_kb) = (begun.elapsed(), rss_kb(owner)?);
    Some(Look { at, rss_kb, finished, bytes: pages.saturating_sub(free) * size })
}

fn windows(looks: &[Look], length: Duration) -> Vec<Window> {
    let share = length / u32::try_from(WINDOWS).unwrap();
    let mut before = Look::default();
    let mut windows = Vec::new();
    for n in 1..=WINDOWS {
        let until = share * u32::try_from(n).unwrap();
        let last = n == WINDOWS;
        let within = looks.iter().filter(|l| l.at > before.at && (last || l.at <= until));
        let within: Vec<&Look> = within.collect();
        let end = within.last().map_or(before, |look| **look);
        let runs = end.finished.saturating_sub(before.finished);
        let mut memory: Vec<u64> = within.iter().map(|look| look.rss_kb).collect();
        memory.sort_unstable();
        windows.push(Window {
            runs,
            bytes_per_run: end.bytes.saturating_sub(before.bytes) / runs.max(1),
            rss_kb: memory.get(memory.len() / 2).copied().unwrap_or_default(),
        });
        before = end;
    }
    windows
}

#[track_caller]
fn is_flat(what: &str, windows: &[Window], slack: u64, of: impl Fn(&Window) -> u64) {
    let (early, late) = (of(&windows[1]), of(&windows[WINDOWS - 1]));
    let most = early * FLAT_PERCENT / 100 + slack;
    assert!(late <= most, "{what} grows: {early} in the second window, {late} in the last");
}

/// C026: continuous load, failing systems, kills; no leak, no stuck run, nothing lost.
#[test]
fn under_load_with_faults_and_kills_memory_and_store_stay_flat() {
    let seconds = asked("HARNESS_SOAK_SECONDS", SAMPLE_SECONDS);
    let length = Duration::from_secs(seconds);
    let storm = Storm::new(seconds / 60 + 60);
    let begun = Instant::now();
    let mut looks = Vec::new();
    let seen = storm.under_load(|works| {
        while begun.elapsed() < length && works() {
            let Some(owner) = storm.serve() else { continue };
            let life = Duration::from_secs(2 + storm.odd.below(seconds / 8 + 1));
            let born = Instant::now();
            while born.elapsed() < life && begun.elapsed() < length {
                if storm.odd.below(4) == 0 {
                    storm.trouble();
                }
                storm.odd.moment(1_500);
                looks.extend(look(&storm, &owner, begun));
            }
            storm.kill(owner);
        }
    });
    let windows = windows(&looks, length);
    println!(
        "soak: {seconds} s, seed {:#x}, {} kills of owners, {} of commands, {} commands,",
        storm.seed,
        storm.owners.load(Ordering::Relaxed),
        storm.commands.load(Ordering::Relaxed),
        storm.book().commands
    );
    println!(
        "soak: {} runs, {} effects, {} events; none stuck, nothing lost, nothing twice",
        seen.runs, seen.effects, seen.events
    );
    println!("soak: window  finished runs  store bytes a run  owner's memory kB");
    for (n, window) in windows.iter().enumerate() {
        println!(
            "soak: {:>6}  {:>13}  {:>17}  {:>17}",
            n + 1,
            window.runs,
            window.bytes_per_run,
            window.rss_kb
        );
    }
    assert!(seen.runs > 0 && seen.effects > 0, "nothing happened");
    if windows[1].runs >= RUNS_MIN && windows[WINDOWS - 1].runs >= RUNS_MIN {
        is_flat("the store", &windows, 0, |window| window.bytes_per_run);
        is_flat("memory", &windows, SLACK_KB, |window| window.rss_kb);
    }
}
