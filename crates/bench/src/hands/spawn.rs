//! Starting a program in each tier, against starting it plainly, by turns.

use std::process;

use sandbox::{Command, Local, Profile, Sandbox as _, Tier};

use crate::{
    error::{Broken, Doing as _},
    options::Options,
    report::{Figure, Floor, Goal, Report},
    spread::{Spread, millis, wall},
};

/// What is started.
const TRUE: &str = "/usr/bin/true";

/// What each tier may add, in ms.
const TIERS: [(Tier, f64); 2] = [(Tier::Restricted, 3.0), (Tier::Isolated, 12.0)];

pub(crate) fn measure(options: &Options, report: &mut Report) -> Result<(), Broken> {
    let profile = Profile::default();
    for (tier, most) in TIERS {
        let name = format!("a program in the {} tier, beyond a plain one", tier.name());
        let local = Local::new(tier);
        if let Err(refused) = local.check(&profile) {
            report.add(Figure::unmeasured(&name, "ms", (Goal::AtMost(most), refused.to_string())));
            continue;
        }
        let (mut beyond, mut floor) = (Vec::new(), Vec::new());
        for _ in 0..options.pick(101, 5) {
            let plain = || process::Command::new(TRUE).env_clear().status();
            let (took, status) = wall(plain);
            status.doing("start a program")?;
            let plain = millis(took);
            let (took, done) = wall(|| local.spawn(&profile, Command::new(TRUE))?.wait());
            let done = done.doing("start a program in a sandbox")?;
            if !done.outcome.is_success() {
                return Err(Broken::new("run a program in a sandbox", done.outcome.end));
            }
            floor.push(plain);
            beyond.push(millis(took) - plain);
        }
        let floor = Floor { name: "starting it plainly", value: Spread::of(floor) };
        let beyond = (Spread::of(beyond), "ms");
        report.add(Figure::new(name, beyond, Some(floor), Goal::AtMost(most)));
    }
    Ok(())
}
