//! The first process of the namespaces: it builds the tree, starts the program, takes care of orphans, and ends when
//! the program does. With it everything ends that is still there, which the kernel sees to.

use std::{fs::File, io::Write, process::exit};

use rustix::{
    io::Errno,
    process::{
        DumpableBehavior, Pid, Signal, WaitOptions, set_dumpable_behavior,
        set_parent_process_death_signal, wait,
    },
};

use super::{
    bridge::Bridge,
    payload::{become_program, take_account},
    root,
};
use crate::{
    confine::empty_sets,
    control::Control,
    sys::{Side, fork, loopback_up},
    wire::{At, Fault, Handed, Order, say},
};

/// The ends of pipes that the guard reads.
#[derive(Debug)]
pub(super) struct Ends {
    /// Where a step that failed is said. It closes when the program runs.
    pub(super) failure: File,
    /// Where the status of the program is said.
    pub(super) status: File,
}

/// Never returns: the process ends with the program.
pub(super) fn run(order: &Order, (stdio, door): Handed, ends: Ends) -> ! {
    let Ends { failure, mut status } = ends;
    let started = build(order).and_then(|bridge| Ok((fork(0).at("fork")?, bridge)));
    match started {
        Ok((Side::Child, _)) => {
            drop((status, door));
            become_program(order, stdio, &failure)
        }
        Ok((Side::Parent(program), bridge)) => {
            drop((failure, stdio));
            // Without it the program finds nobody at the port, and no other way out.
            bridge.map_or(Ok(()), Bridge::serve).unwrap_or(());
            // Without it nobody outside reaches the program's port.
            if let Some((door, port)) = door.zip(order.serve_port) {
                Bridge::inward(door, port).serve().unwrap_or(());
            }
            let ended = reap(program);
            status.write_all(&ended.to_le_bytes()).unwrap_or(());
            exit(0)
        }
        Err(fault) => {
            say(&failure, &fault).unwrap_or(());
            exit(1)
        }
    }
}

fn build(order: &Order) -> Result<Option<Bridge>, Fault> {
    let port = order.proxy_port.filter(|_| order.proxy.is_some());
    if port.is_some() || order.serve_port.is_some() {
        // While there is the right to; nothing else is in this network.
        loopback_up().at("loopback")?;
    }
    if let Some(account) = order.run_as {
        take_account(account)?;
        // Taking an account clears it.
        set_parent_process_death_signal(Some(Signal::KILL)).at("death with the guard")?;
    }
    if order.omitted.keeps(Control::HostName) {
        rustix::system::sethostname(b"sandbox").at("host name")?;
    }
    if order.omitted.keeps(Control::Root) {
        root::build(order)?;
    }
    set_dumpable_behavior(DumpableBehavior::NotDumpable).at("not dumpable")?;
    if order.omitted.keeps(Control::Capabilities) {
        empty_sets()?;
    }
    port.map(Bridge::open).transpose().at("port of the proxy")
}

/// Waits for every child until the program ended; its status as `wait` gives it.
fn reap(program: Pid) -> i32 {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((process, status))) if process == program => return status.as_raw(),
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return -1,
        }
    }
}
