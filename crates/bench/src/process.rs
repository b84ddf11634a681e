//! The binary from outside: how soon it starts, how large it is, how little it holds while idle.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{
    error::{Broken, Doing as _},
    options::Options,
    report::{Figure, Floor, Goal, Report},
    spread::{Spread, millis, wall},
};

/// How long a server may settle before it counts as idle.
const IDLE_AFTER: Duration = Duration::from_secs(2);

const MEBI: f64 = 1024.0 * 1024.0;

/// Item 6.
pub(crate) fn measure(options: &Options, report: &mut Report) -> Result<(), Broken> {
    start(options, report)?;
    ready(options, report)?;
    let (name, goal) = ("size of the binary", Goal::AtMost(40.0));
    report.add(match std::fs::metadata(&options.binary) {
        Ok(file) => {
            let size = Spread::of(vec![file.len() as f64 / MEBI]);
            Figure::new(name, (size, "MiB"), None, goal)
        }
        Err(_) => Figure::unmeasured(name, "MiB", (goal, no_binary(options))),
    });
    idle(options, report)
}

fn start(options: &Options, report: &mut Report) -> Result<(), Broken> {
    let (name, goal) = ("harness --version", Goal::AtMost(10.0));
    let said = Command::new(&options.binary).arg("--version").output();
    let works = said.is_ok_and(|said| said.status.success() && !said.stdout.is_empty());
    if !works {
        report.add(Figure::unmeasured(name, "ms", (goal, no_binary(options))));
        return Ok(());
    }
    let (mut value, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..options.pick(31, 5) {
        floor.push(child_ms(Command::new("true"))?.0);
        let mut command = Command::new(&options.binary);
        command.arg("--version");
        value.push(child_ms(command)?.0);
    }
    let floor = Floor { name: "starting `true`", value: Spread::of(floor) };
    report.add(Figure::new(name, (Spread::of(value), "ms"), Some(floor), goal));
    Ok(())
}

fn ready(options: &Options, report: &mut Report) -> Result<(), Broken> {
    let (name, goal) = ("harness doctor on an empty store", Goal::AtMost(100.0));
    let (mut value, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds().max(5) {
        let folder = tempfile::tempdir_in(&options.dir).doing("make a folder")?;
        let mut command = Command::new(&options.binary);
        command.arg("doctor").arg("--store").arg(folder.path().join("store")).args(["-o", "json"]);
        command.current_dir(folder.path());
        match child_ms(command) {
            Ok((took, said)) if found_store(&said) => value.push(took),
            Ok(_) | Err(_) => {
                let why = "`harness doctor --store DIR -o json` does not find its store".to_owned();
                report.add(Figure::unmeasured(name, "ms", (goal, why)));
                return Ok(());
            }
        }
        floor.push(child_ms(Command::new("true"))?.0);
    }
    let floor = Floor { name: "starting `true`", value: Spread::of(floor) };
    report.add(Figure::new(name, (Spread::of(value), "ms"), Some(floor), goal));
    Ok(())
}

/// Wall time until a child has ended, and what it said.
fn child_ms(mut command: Command) -> Result<(f64, Vec<u8>), Broken> {
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let (took, said) = wall(|| command.output());
    Ok((millis(took), said.doing("start a child")?.stdout))
}

/// Whether the diagnosis holds a good store. It may have other complaints: no pack is configured here.
fn found_store(said: &[u8]) -> bool {
    let Ok(diagnosis) = serde_json::from_slice::<serde_json::Value>(said) else {
        return false;
    };
    let mut checks =
        diagnosis.get("checks").and_then(|checks| checks.as_array()).into_iter().flatten();
    let is = |check: &serde_json::Value, key: &str, word: &str| {
        check.get(key).and_then(|value| value.as_str()) == Some(word)
    };
    checks.any(|check| is(check, "id", "store") && is(check, "result", "ok"))
}

fn idle(options: &Options, report: &mut Report) -> Result<(), Broken> {
    let folder = tempfile::tempdir_in(&options.dir).doing("make a folder")?;
    let mib = serving_mib(options, &folder.path().join("store"))?;
    report.add(serving("memory of an idle `harness serve`".to_owned(), mib));
    Ok(())
}

/// What an idle server may hold, whatever waits in its store.
pub(crate) fn serving(name: String, mib: Option<f64>) -> Figure {
    let goal = Goal::AtMost(40.0);
    match mib {
        Some(mib) => Figure::new(name, (Spread::of(vec![mib]), "MiB"), None, goal),
        None => {
            let why = "`harness serve --store DIR` does not stay up".to_owned();
            Figure::unmeasured(&name, "MiB", (goal, why))
        }
    }
}

/// Resident MiB of a server over a store that nobody asks for anything; none when it does not stay up.
pub(crate) fn serving_mib(options: &Options, store: &Path) -> Result<Option<f64>, Broken> {
    let mut command = Command::new(&options.binary);
    command.arg("serve").arg("--store").arg(store).current_dir(&options.dir);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return Ok(None) };
    std::thread::sleep(IDLE_AFTER);
    let resident = resident_kib(&mut child).map(|kibi| kibi / 1024.0);
    // It may have ended by itself.
    let _ended = child.kill();
    child.wait().doing("end the server")?;
    Ok(resident)
}

/// Resident memory of a child that still runs, in KiB.
pub(crate) fn resident_kib(child: &mut Child) -> Option<f64> {
    if child.try_wait().ok()?.is_some() {
        return None;
    }
    let path = format!("/proc/{}/status", child.id());
    let status = std::fs::read_to_string(Path::new(&path)).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

fn no_binary(options: &Options) -> String {
    format!("{} does not run here", options.binary.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnosis_counts_by_its_store_alone() {
        let store = r#"{"checks":[{"id":"packs","result":"failed"},{"id":"store","result":"ok"}]}"#;
        assert!(found_store(store.as_bytes()));
        assert!(!found_store(store.replace("ok", "failed").as_bytes()));
        assert!(!found_store(b"usage: harness"));
    }
}
