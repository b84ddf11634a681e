//! What it costs to start `true`: plain, and in each tier with the default profile. Prints medians of 60 in
//! milliseconds, each round running all three so that a busy machine is busy for all of them.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a measurement that is run by hand"
)]

use std::{process, time::Instant};

use sandbox::{Command, Local, Profile, Sandbox, Tier, launcher};

const ROUNDS: usize = 60;

fn main() {
    launcher::main_if_asked();
    let profile = Profile::default();
    let tiers = [Tier::Restricted, Tier::Isolated].map(Local::new);
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let status = process::Command::new("/usr/bin/true").env_clear().status().unwrap();
        times[0].push(began.elapsed());
        assert!(status.success());
        for (tier, times) in tiers.iter().zip(&mut times[1..]) {
            let began = Instant::now();
            let done = tier.spawn(&profile, Command::new("/usr/bin/true")).unwrap().wait().unwrap();
            times.push(began.elapsed());
            assert!(done.outcome.is_success(), "{done:?}");
        }
    }
    for (name, times) in ["plain", "restricted", "isolated"].iter().zip(&mut times) {
        times.sort();
        let millis = |at: usize| times[at].as_secs_f64() * 1000.0;
        println!("{name:<10}  min {:6.2}  median {:6.2}", millis(0), millis(ROUNDS / 2));
    }
}
