//! Many sandboxes at once: what each holds that is ours and not its program's.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use sandbox::{Child, Command, Local, Profile, Sandbox as _, Tier};

use crate::{
    error::{Broken, Doing as _},
    options::Options,
    report::{Figure, Goal, Report},
    spread::Spread,
};

/// How many there are at once.
const SANDBOXES: usize = 50;

/// What runs in each of them; its memory is not ours.
const PROGRAM: &str = "sleep";

/// 10 MB.
const EACH_MIB: f64 = 9.5;

pub(crate) fn measure(options: &Options, report: &mut Report) -> Result<(), Broken> {
    let profile = Profile::default();
    let count = options.pick(SANDBOXES, 5);
    for tier in [Tier::Restricted, Tier::Isolated] {
        let name = format!("memory of each of {count} sandboxes at once, {}", tier.name());
        let local = Local::new(tier);
        if let Err(refused) = local.check(&profile) {
            let why = (Goal::AtMost(EACH_MIB), refused.to_string());
            report.add(Figure::unmeasured(&name, "MiB", why));
            continue;
        }
        let before = held_kib(std::process::id())?;
        let start = || {
            let command = Command::new(format!("/usr/bin/{PROGRAM}")).arguments(["600"]);
            local.spawn(&profile, command)
        };
        let running: Vec<Child> =
            (0..count).map(|_| start()).collect::<Result<_, _>>().doing("start a program")?;
        let mut all = held_kib(std::process::id())? - before;
        let parents = parents()?;
        for pid in running.iter().flat_map(|child| ours(child.guard_id(), &parents)) {
            all += held_kib(pid)?;
        }
        for child in running {
            child.kill();
            child.wait().doing("end a program")?;
        }
        #[expect(clippy::cast_precision_loss, reason = "a count of sandboxes fits")]
        let each = Spread::of(vec![all / 1024.0 / count as f64]);
        report.add(Figure::new(name, (each, "MiB"), None, Goal::AtMost(EACH_MIB)));
    }
    Ok(())
}

/// A process of this machine.
struct Process {
    parent: u32,
    name: String,
}

/// Every process that can be seen.
fn parents() -> Result<BTreeMap<u32, Process>, Broken> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc").doing("list the processes")?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        // One that has ended meanwhile holds nothing.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((head, rest)) = stat.rsplit_once(')') else { continue };
        let name = head.split_once('(').map_or("", |(_, name)| name).to_owned();
        let parent = rest.split_whitespace().nth(1).and_then(|parent| parent.parse().ok());
        all.extend(parent.map(|parent| (pid, Process { parent, name })));
    }
    Ok(all)
}

/// A guard and what it started, without the program.
fn ours(guard: u32, all: &BTreeMap<u32, Process>) -> Vec<u32> {
    let mut family = BTreeSet::from([guard]);
    loop {
        let is_child = |(pid, process): &(&u32, &Process)| {
            family.contains(&process.parent) && !family.contains(pid)
        };
        let found: Vec<u32> = all.iter().filter(is_child).map(|(pid, _)| *pid).collect();
        if found.is_empty() {
            break;
        }
        family.extend(found);
    }
    let is_ours = |pid: &u32| all.get(pid).is_some_and(|process| process.name != PROGRAM);
    family.into_iter().filter(is_ours).collect()
}

/// What a process holds, in KiB: its own pages, and its share of those that others hold too.
fn held_kib(pid: u32) -> Result<f64, Broken> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(path).doing("read what a process holds")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse().doing("read what a process holds")
}
