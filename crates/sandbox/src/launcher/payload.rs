//! The process that becomes the program.

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::{Command, exit},
};

use rustix::{
    process::{Signal, set_parent_process_death_signal, setsid},
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

use crate::{
    confine::{confine, scratch},
    control::Control,
    profile::Account,
    sys::{Closing, close_range},
    wire::{At, Fault, Order, say},
};

/// Where the proxy's socket is inside.
pub(super) const PROXY: &str = "/run/harness/proxy.sock";

/// What programs read where they are to ask a proxy.
const VARIABLES: [&str; 4] = ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"];

/// Becomes the program, or says through `failure` why not and ends.
pub(super) fn become_program(order: &Order, stdio: [OwnedFd; 3], failure: &File) -> ! {
    let fault = match prepare(order, stdio) {
        Ok(()) => execute(order),
        Err(fault) => fault,
    };
    say(failure, &fault).unwrap_or(());
    exit(1)
}

fn prepare(order: &Order, stdio: [OwnedFd; 3]) -> Result<(), Fault> {
    // Dies with the guard, or with the first process of its namespace.
    set_parent_process_death_signal(Some(Signal::KILL)).at("death with the guard")?;
    setsid().at("a session of its own")?;
    let [input, output, errors] = stdio;
    dup2_stdin(&input).at("input")?;
    dup2_stdout(&output).at("output")?;
    dup2_stderr(&errors).at("errors")?;
    if order.omitted.keeps(Control::Descriptors) {
        close_range(3, u32::MAX, Closing::OnExec).at("closing descriptors")?;
    }
    let folder = order.folder.as_deref().unwrap_or(scratch(order));
    confine(order)?;
    // By the rights that it has: a folder outside of the profile is no place to stand.
    std::env::set_current_dir(folder).at(&format!("entering {}", folder.display()))
}

/// Takes on another account for good. Its capabilities, if it has any, stay until they are dropped.
pub(super) fn take_account(account: Account) -> Result<(), Fault> {
    let user = rustix::process::Uid::from_raw(account.uid);
    let group = rustix::process::Gid::from_raw(account.gid);
    set_thread_groups(&[]).at("leaving groups")?;
    set_thread_res_gid(group, group, group).at("taking the group")?;
    set_thread_res_uid(user, user, user).at("taking the user")
}

/// Only returns where it failed.
fn execute(order: &Order) -> Fault {
    let mut command = Command::new(&order.program);
    command.args(&order.arguments);
    if order.omitted.keeps(Control::Environment) {
        command.env_clear();
    }
    command.envs(&order.environment);
    if !order.environment.contains_key("TMPDIR") {
        command.env("TMPDIR", scratch(order));
    }
    if order.proxy.is_some() {
        command.env("HARNESS_PROXY", PROXY);
        let bridge = order.proxy_port.map(|port| format!("http://127.0.0.1:{port}"));
        for (name, address) in VARIABLES.into_iter().zip(bridge.iter().cycle()) {
            if !order.environment.contains_key(name) {
                command.env(name, address);
            }
        }
    }
    let error: io::Error = command.exec();
    let errno = error.raw_os_error().unwrap_or(0);
    Fault { step: EXEC.to_owned(), errno, problem: error.to_string() }
}

/// The step at which it is the program that is wrong, not the sandbox.
pub(crate) const EXEC: &str = "exec";
