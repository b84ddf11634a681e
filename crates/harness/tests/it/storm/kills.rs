use std::sync::atomic::Ordering;

use super::{Storm, asked};

/// Kills of a plain test run; `./proof` takes a thousand.
const SAMPLE: u64 = 10;
/// How long an owner lives at most, in milliseconds.
const LIFE_MS: u64 = 2_000;
/// Minutes the world plays on.
const WORLD_MINUTES: u64 = 90;

/// C207: kill -9 at random moments; nothing twice, nothing lost, nothing torn.
#[test]
fn killed_again_and_again_nothing_happens_twice_and_nothing_is_lost() {
    let kills = asked("HARNESS_KILLS", SAMPLE);
    let storm = Storm::new(WORLD_MINUTES);
    let seen = storm.under_load(|works| {
        while u64::from(storm.killed()) < kills && works() {
            if storm.odd.below(3) == 0 {
                storm.trouble();
            }
            // Now and then nobody owns the store, and commands do everything themselves.
            if storm.odd.below(12) == 0 {
                storm.odd.moment(LIFE_MS);
                continue;
            }
            if let Some(owner) = storm.serve() {
                storm.odd.moment(LIFE_MS);
                storm.kill(owner);
            }
        }
    });
    let book = storm.book();
    let (owners, commands) = (&storm.owners, &storm.commands);
    println!(
        "kills: {} of owners, {} of commands, seed {:#x}; {} runs, {} effects, {} events, \
         {} commands (exit codes {:?}); nothing twice, nothing lost",
        owners.load(Ordering::Relaxed),
        commands.load(Ordering::Relaxed),
        storm.seed,
        seen.runs,
        seen.effects,
        seen.events,
        book.commands,
        book.codes,
    );
}
