//! What the tests run: the guard of sandboxes, the probe inside, and whoever starts them as another account.
#![allow(clippy::print_stdout, reason = "the tests read it")]

use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
    process::ExitCode,
};

use sandbox::{
    Command, Control, Error, Ground, Local, Profile, Sandbox, Start, Tier, Worktrees,
    probe::{Tried, attempts},
    selftest,
};

fn main() -> ExitCode {
    sandbox::launcher::main_if_asked();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = std::env::current_exe().map_err(|error| error.to_string()).and_then(|own| {
        let said = |error: Error| format!("{}: {error}", error.code());
        match words.as_slice() {
            ["selftest"] => report(&own).map_err(said),
            ["mutations", "restricted"] => mutate(&own, Tier::Restricted).map_err(said),
            ["mutations", "isolated"] => mutate(&own, Tier::Isolated).map_err(said),
            ["supervise", tier, beat] => supervise(&own, tier, beat).map_err(said),
            ["abuse", tier, word, without @ ..] => abuse(&own, tier, word, without).map_err(said),
            ["nested", "restricted"] => nest(&own, Tier::Restricted).map_err(said),
            ["nested", "isolated"] => nest(&own, Tier::Isolated).map_err(said),
            ["job", jobs, name, repository] => job(&own, jobs, name, repository).map_err(said),
            _ => Err("selftest, mutations, supervise or nested".to_owned()),
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn report(own: &Path) -> Result<(), Error> {
    let report = selftest(own)?;
    println!("{}", serde_json::to_string(&report).unwrap_or_default());
    Ok(())
}

/// Makes each attempt without what is said to hold it. A line for each: the attempt, what was left out, what came of it.
fn mutate(own: &Path, tier: Tier) -> Result<(), Error> {
    let ground = Ground::make(own)?;
    let mut sets: BTreeMap<&[Control], Vec<&str>> = BTreeMap::new();
    let attempts = attempts();
    for attempt in &attempts {
        if let Some(controls) = attempt.held_by(tier).filter(|controls| !controls.is_empty()) {
            sets.entry(controls).or_default().push(attempt.name);
        }
    }
    for (controls, names) in sets {
        let sandbox = Local::with_launcher(tier, own).without(controls);
        let (said, finished) = ground.attempt(&sandbox, &names)?;
        for name in names {
            let tried = said.iter().find(|said| said.name == name).map(|said| &said.tried);
            let (came, why) = match tried {
                Some(Tried::Reached(why)) => ("reached", why.clone()),
                Some(Tried::Held(why)) => ("held", why.clone()),
                None => ("lost", format!("{:?}", finished.outcome)),
            };
            println!("{came}\t{name}\t{controls:?}\t{why}");
        }
    }
    Ok(())
}

/// Starts a program that writes to a file over and over, says so, and goes on until it is killed.
fn supervise(own: &Path, tier: &str, beat: &str) -> Result<(), Error> {
    let tier = if tier == "isolated" { Tier::Isolated } else { Tier::Restricted };
    let ground = Ground::make(own)?;
    let mut profile = ground.profile();
    profile.paths.write.extend(PathBuf::from(beat).parent().map(Path::to_owned));
    let script = format!("while :; do date +%s%N > {beat}; done & while :; do :; done");
    let command = Command::new("/bin/sh").arguments(["-c", &script]);
    let child = Local::with_launcher(tier, own).spawn(&profile, command)?;
    println!("{} {}", child.guard_id(), child.id());
    let _end = std::io::stdin().read_to_end(&mut Vec::new());
    Ok(())
}

/// Runs one of the probe's abuses, without these controls, and says how it ended.
fn abuse(own: &Path, tier: &str, word: &str, without: &[&str]) -> Result<(), Error> {
    let tier = if tier == "isolated" { Tier::Isolated } else { Tier::Restricted };
    let without: Vec<Control> =
        Control::ALL.into_iter().filter(|c| without.contains(&format!("{c:?}").as_str())).collect();
    let ground = Ground::make(own)?;
    let mut profile = ground.profile();
    profile.limits.file_bytes = 8 << 20;
    let command = Command::new(own).arguments(["--harness-sandbox-probe", word]);
    let sandbox = Local::with_launcher(tier, own).without(&without);
    println!("{:?}", sandbox.spawn(&profile, command)?.wait()?.outcome.end);
    Ok(())
}

/// Makes the folder of a job, starts a program in it, and says its process; whoever started this ends it.
fn job(own: &Path, jobs: &str, name: &str, repository: &str) -> Result<(), Error> {
    let jobs = Worktrees::open(Path::new(jobs))?;
    println!("making");
    let job = jobs.create(name, Path::new(repository), Start::Head)?;
    let sandbox = Local::with_launcher(Tier::Isolated, own);
    let command = Command::new("/bin/sleep").arguments(["600"]);
    let child = job.spawn(&sandbox, &Profile::default(), command)?;
    println!("{}", child.id());
    child.wait().map(drop)
}

/// Starts a sandbox from inside of one.
fn nest(own: &Path, tier: Tier) -> Result<(), Error> {
    let script = "echo hello; for n in 1 2 3 4 5 6 7 8 9 10; do sleep 5 & done";
    let mut profile = Profile::default();
    profile.limits.processes = 6;
    let command = Command::new("/bin/sh").arguments(["-c", script]);
    let child = Local::with_launcher(tier, own).spawn(&profile, command)?;
    let held_by = child.processes_held_by();
    let finished = child.wait()?;
    println!("{held_by:?} {}{}", finished.output.text(), finished.errors.text());
    Ok(())
}
