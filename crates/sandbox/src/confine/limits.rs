use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    control::Control,
    wire::{At, Fault, Order},
};

/// A core limit of one byte: files below a page are not written, and 1 is the value at which the kernel does not
/// start a handler that `core_pattern` pipes to either, which it does at 0. See core(5).
const CORE_BYTES: u64 = 1;

/// Sets the limits that count for each process. The program can only lower them.
pub(super) fn set(order: &Order) -> Result<(), Fault> {
    let limits = &order.limits;
    let kept = |control| order.omitted.keeps(control);
    if kept(Control::CoreDumps) {
        both(Resource::Core, CORE_BYTES, CORE_BYTES).at("limit of core dumps")?;
    }
    if kept(Control::Memory) && order.groups.memory.is_none() {
        both(Resource::As, limits.memory_bytes, limits.memory_bytes).at("limit of memory")?;
    }
    if kept(Control::CpuTime) {
        // The soft one sends a signal that says why; the hard one, a second later, kills.
        let hard = limits.cpu_seconds.saturating_add(1);
        both(Resource::Cpu, limits.cpu_seconds, hard).at("limit of processor time")?;
    }
    if kept(Control::FileSize) {
        both(Resource::Fsize, limits.file_bytes, limits.file_bytes).at("limit of file size")?;
    }
    if kept(Control::OpenFiles) {
        both(Resource::Nofile, limits.open_files, limits.open_files).at("limit of open files")?;
    }
    if kept(Control::Processes) {
        // One more than the profile says: the first process of a namespace is ours.
        let most = limits.processes.saturating_add(1).saturating_add(order.counted_besides);
        both(Resource::Nproc, most, most).at("limit of processes")?;
    }
    Ok(())
}

/// Never above what this process itself may have.
fn both(resource: Resource, soft: u64, hard: u64) -> rustix::io::Result<()> {
    let most = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let limit = Rlimit { current: Some(soft.min(most)), maximum: Some(hard.min(most)) };
    setrlimit(resource, limit)
}
