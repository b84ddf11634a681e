use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath,
    PathFd, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope,
};

use super::scratch;
use crate::{
    Tier,
    control::Control,
    paths::Access,
    wire::{Fault, Order},
};

/// What files, TCP and scopes are written against. Older kernels refuse in the restricted tier.
const VERSION: ABI = ABI::V6;

/// Devices that every program may use.
const DEVICES: [&str; 5] = ["/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero"];

/// The rules as the kernel takes them, or nothing where no part is in force.
pub(super) fn prepare(order: &Order) -> Result<Option<RulesetCreated>, Fault> {
    let kept = |control| order.omitted.keeps(control);
    let controls = [Control::Files, Control::Ports, Control::AbstractSockets, Control::Signals];
    if !controls.into_iter().any(kept) {
        return Ok(None);
    }
    let fault = |error: landlock::RulesetError| Fault::new("landlock", error);
    // In the isolated tier namespaces hold the same lines, so an older version adds what it can.
    let level = match order.tier {
        Tier::Restricted => CompatLevel::HardRequirement,
        _ => CompatLevel::BestEffort,
    };
    let mut rules = Ruleset::default().set_compatibility(level);
    if kept(Control::Files) {
        rules = rules.handle_access(AccessFs::from_all(VERSION)).map_err(fault)?;
    }
    if kept(Control::Ports) {
        let ports = AccessNet::BindTcp | AccessNet::ConnectTcp;
        rules = rules.handle_access(ports).map_err(fault)?;
    }
    if kept(Control::AbstractSockets) {
        rules = rules.scope(Scope::AbstractUnixSocket).map_err(fault)?;
    }
    if kept(Control::Signals) {
        rules = rules.scope(Scope::Signal).map_err(fault)?;
    }
    let rules = rules.create().map_err(fault)?;
    let rules = if kept(Control::Files) { name_files(rules, order)? } else { rules };
    let port = order.proxy_port.filter(|_| kept(Control::Ports) && order.proxy.is_some());
    let rules = match port {
        Some(port) => rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp)).map_err(fault)?,
        None => rules,
    };
    let port = order.serve_port.filter(|_| kept(Control::Ports));
    let rules = match port {
        Some(port) => rules.add_rule(NetPort::new(port, AccessNet::BindTcp)).map_err(fault)?,
        None => rules,
    };
    Ok(Some(rules))
}

pub(super) fn enforce(rules: RulesetCreated) -> Result<(), Fault> {
    // `no_new_privs` was set before, or left out on purpose.
    let rules = rules.no_new_privs(false);
    rules.restrict_self().map(drop).map_err(|error| Fault::new("landlock", error))
}

fn name_files(mut rules: RulesetCreated, order: &Order) -> Result<RulesetCreated, Fault> {
    let named = order.rules.rules.iter();
    let mut open: Vec<(&Path, BitFlags<AccessFs>)> = named
        .filter(|rule| rule.access != Access::None)
        .map(|rule| (rule.path.as_path(), rights(rule.access)))
        .collect();
    open.push((scratch(order), rights(Access::Write)));
    let device = AccessFs::ReadFile | AccessFs::WriteFile;
    open.extend(DEVICES.iter().map(|path| (Path::new(*path), device)));
    if order.tier == Tier::Isolated {
        open.push((Path::new("/proc"), rights(Access::Read)));
        // Nothing is in this tree that its mounts do not hold closed; its folders may be listed.
        open.push((Path::new("/"), AccessFs::ReadDir.into()));
        open.push((Path::new("/dev/shm"), rights(Access::Write)));
        let mounts = &order.mounts;
        open.extend(mounts.read.iter().map(|bind| (bind.at.as_path(), rights(Access::Read))));
        let made = mounts.tmpfs.iter().map(|tmpfs| tmpfs.at.as_path());
        let made = made.chain(mounts.workspace.iter().map(|workspace| workspace.at.as_path()));
        open.extend(made.map(|path| (path, rights(Access::Write))));
    }
    for (path, access) in open {
        let fault = |error: &dyn std::fmt::Display| {
            Fault::new(format!("landlock rule for {}", path.display()), error)
        };
        let handle = PathFd::new(path).map_err(|error| fault(&error))?;
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(VERSION) };
        rules = rules.add_rule(PathBeneath::new(handle, access)).map_err(|error| fault(&error))?;
    }
    Ok(rules)
}

/// Reading includes executing. Writing includes neither devices nor their controls.
fn rights(access: Access) -> BitFlags<AccessFs> {
    let devices = AccessFs::MakeBlock | AccessFs::MakeChar | AccessFs::IoctlDev;
    match access {
        Access::None => BitFlags::EMPTY,
        Access::Read => AccessFs::from_read(VERSION),
        Access::Write => AccessFs::from_all(VERSION) & !devices,
    }
}
