//! The process outside of a sandbox that watches over it: it starts the program, holds its deadline, and when the
//! program ends, the supervisor asks or the supervisor is gone, kills what is left and clears up.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::{
            fs::{DirBuilderExt, MetadataExt},
            net::UnixStream,
        },
    },
    path::Path,
    process::exit,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    pipe::{PipeFlags, pipe_with},
    process::{
        DumpableBehavior, Pid, Signal, getpid, kill_process, kill_process_group,
        set_child_subreaper, set_dumpable_behavior, set_parent_process_death_signal, setsid,
    },
    stdio::dup2_stdin,
};

use super::{
    init, keeper,
    payload::{become_program, take_account},
    reaper::{Ended, Reaper},
};
use crate::{
    Tier, cgroup,
    child::{End, Limit, Outcome},
    control::Control,
    local::Holder,
    scratch,
    sys::{Closing, Side, children_usage, close_range, fork},
    wire::{At, Fault, Handed, Order, OwnUserNamespace, Started, Word, hear, receive_order, say},
    workspace::WORK,
};

/// How often the size of a private temporary folder is looked at.
const SCRATCH_EVERY: Duration = Duration::from_millis(200);

/// How long killed processes may take to be gone before they are reported as left behind.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// How much rather than others a program in a sandbox is killed for memory, of 1000.
const OOM_SCORE: &str = "500";

pub(super) fn run() -> i32 {
    let Ok(socket) = take_socket() else {
        return 1;
    };
    let Ok((mut order, (stdio, door))) = receive_order(&socket) else {
        return 1;
    };
    if let Some(container) = order.container.take() {
        let word = keeper::keep(&container, &order.limits, stdio, &socket);
        let status = i32::from(matches!(word, Word::Failed(_)));
        say(&socket, &word).unwrap_or(());
        return status;
    }
    let word = guard(&mut order, (stdio, door), &socket);
    order.groups.remove(&order.id);
    if let Some(folder) = &order.scratch {
        scratch::remove(folder);
    }
    if let Some(workspace) = &order.mounts.workspace {
        scratch::remove(&workspace.upper.join(WORK));
    }
    let status = i32::from(matches!(word, Word::Failed(_)));
    // The supervisor may be gone.
    say(&socket, &word).unwrap_or(());
    status
}

/// The socket came as the standard input, the one descriptor that needs no `unsafe` to be handed over.
fn take_socket() -> io::Result<UnixStream> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let null = File::open("/dev/null")?;
    dup2_stdin(&null)?;
    // Away from the supervisor's terminal and from signals to its group.
    setsid()?;
    set_child_subreaper(Some(getpid()))?;
    Ok(socket)
}

/// Where no user namespace can be made, processes are counted for the whole account: those that are there now are added
/// to the limit.
fn fork_or_count(order: &mut Order) -> io::Result<Side> {
    let forked = fork(namespaces(order));
    let alone = order.tier == Tier::Restricted && order.own_user_namespace == OwnUserNamespace::Yes;
    if forked.is_ok() || !alone {
        return forked;
    }
    order.own_user_namespace = OwnUserNamespace::No;
    order.counted_besides = tasks_of(order.account.uid);
    fork(namespaces(order))
}

/// Processes and threads of an account.
fn tasks_of(uid: u32) -> u64 {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let own = processes.filter(|entry| entry.metadata().is_ok_and(|held| held.uid() == uid));
    let tasks = own.filter_map(|entry| fs::read_dir(entry.path().join("task")).ok());
    tasks.map(|tasks| u64::try_from(tasks.count()).unwrap_or(0)).sum()
}

fn holder(order: &Order) -> Holder {
    if order.groups.pids.is_some() {
        return Holder::ControlGroup;
    }
    let alone = order.tier == Tier::Isolated
        || order.run_as.is_some()
        || order.own_user_namespace == OwnUserNamespace::Yes;
    if alone { Holder::Account } else { Holder::SharedAccount }
}

/// What the guard holds of the program once it runs.
struct Program {
    process: Pid,
    /// The status that the first process of a namespace reports.
    status: File,
    started: Instant,
    /// Kept open: the program's side sees by it that the guard lives.
    _alive: File,
}

fn guard(order: &mut Order, handed: Handed, socket: &UnixStream) -> Word {
    let started = match start(order, handed, socket) {
        Ok(started) => started,
        Err(fault) => return Word::Failed(fault),
    };
    let process = started.process.as_raw_nonzero().get();
    let reaper = match Reaper::start() {
        Ok(reaper) => reaper,
        Err(error) => {
            kill(order.tier, started.process);
            return Word::Failed(Fault::new("waiting for processes", error));
        }
    };
    // A supervisor that is gone is seen below.
    let started_word = Started { process, processes: holder(order) };
    say(socket, &Word::Started(started_word)).unwrap_or(());
    Word::Ended(watch(order, started, reaper, socket))
}

fn start(order: &mut Order, (stdio, door): Handed, socket: &UnixStream) -> Result<Program, Fault> {
    let began = Instant::now();
    if order.omitted.keeps(Control::Descriptors) {
        close_inherited(stdio.iter().chain(&door), socket)?;
    }
    order.groups.make(&order.id, &order.limits, &order.omitted).at("control group")?;
    if let Some(folder) = &order.scratch {
        make_scratch(folder, order)?;
    }
    let pair = || pipe_with(PipeFlags::CLOEXEC).map(|(r, w)| (File::from(r), File::from(w)));
    let (alive_there, mut alive) = pair().at("pipe")?;
    let (failure, failure_there) = pair().at("pipe")?;
    let (status, status_there) = pair().at("pipe")?;
    let doors = order.groups.doors(&order.id).at("control group")?;
    let process = match fork_or_count(order).at("namespaces")? {
        Side::Parent(process) => process,
        Side::Child => {
            drop((alive, failure, status));
            let ends = init::Ends { failure: failure_there, status: status_there };
            // Where memory runs out on the whole machine, this goes first. Raising it needs no right.
            fs::write("/proc/self/oom_score_adj", OOM_SCORE).unwrap_or(());
            let entered = cgroup::enter(doors).at("control group");
            if let Err(fault) = entered.and_then(|()| wait_for_guard(&alive_there)) {
                say(&ends.failure, &fault).unwrap_or(());
                exit(1);
            }
            run_inside(order, (stdio, door), ends)
        }
    };
    drop((stdio, door, doors, alive_there, failure_there, status_there));
    let id = process.as_raw_nonzero().get();
    // Only now: the maps of a process that was not dumpable would belong to root.
    let hide = || set_dumpable_behavior(DumpableBehavior::NotDumpable).at("not dumpable");
    let entered = write_maps(order, id)
        .and_then(|()| hide())
        .and_then(|()| order.groups.join(&order.id, id).at("control group"))
        .and_then(|()| alive.write_all(&[1]).at("pipe"));
    if let Err(fault) = entered.and_then(|()| wait_for_exec(order, &failure, socket, began)) {
        kill(order.tier, process);
        while rustix::process::wait(rustix::process::WaitOptions::empty()).is_ok() {}
        return Err(fault);
    }
    Ok(Program { process, status, started: began, _alive: alive })
}

/// The child's side: never comes back.
fn run_inside(order: &Order, (stdio, door): Handed, ends: init::Ends) -> ! {
    if order.tier == Tier::Isolated {
        init::run(order, (stdio, door), ends);
    }
    if let Some(Err(fault)) = order.run_as.map(take_account) {
        say(&ends.failure, &fault).unwrap_or(());
        exit(1);
    }
    become_program(order, stdio, &ends.failure)
}

/// From here on this process dies with the guard, and the guard has written its account maps.
fn wait_for_guard(mut alive: &File) -> Result<(), Fault> {
    set_parent_process_death_signal(Some(Signal::KILL)).at("death with the guard")?;
    alive.read_exact(&mut [0]).at("waiting for the guard")
}

/// Closes what the supervisor let through: everything but the ends that this process was given.
fn close_inherited<'d>(
    handed: impl Iterator<Item = &'d OwnedFd>,
    socket: &UnixStream,
) -> Result<(), Fault> {
    let own = handed.map(AsRawFd::as_raw_fd).chain([socket.as_raw_fd()]);
    let mut own: Vec<u32> = own.filter_map(|number| u32::try_from(number).ok()).collect();
    own.sort_unstable();
    let mut first = 3;
    for number in own {
        if number > first {
            close_range(first, number - 1, Closing::Now).at("closing descriptors")?;
        }
        first = first.max(number + 1);
    }
    close_range(first, u32::MAX, Closing::Now).at("closing descriptors")
}

fn namespaces(order: &Order) -> i32 {
    if order.tier == Tier::Restricted {
        return match order.own_user_namespace {
            OwnUserNamespace::Yes => libc::CLONE_NEWUSER,
            OwnUserNamespace::No => 0,
        };
    }
    let each = [
        (Control::Root, libc::CLONE_NEWNS),
        (Control::Pids, libc::CLONE_NEWPID),
        (Control::Network, libc::CLONE_NEWNET),
        (Control::Ipc, libc::CLONE_NEWIPC),
        (Control::HostName, libc::CLONE_NEWUTS),
    ];
    let kept = each.into_iter().filter(|(control, _)| order.omitted.keeps(*control));
    kept.fold(libc::CLONE_NEWUSER | libc::CLONE_NEWCGROUP, |all, (_, one)| all | one)
}

/// The one account that exists inside keeps its numbers: who owns a file reads the same inside and outside.
fn write_maps(order: &Order, process: i32) -> Result<(), Fault> {
    if namespaces(order) & libc::CLONE_NEWUSER == 0 {
        return Ok(());
    }
    let folder = Path::new("/proc").join(process.to_string());
    let account = order.account;
    // Only root may leave groups behind inside; everybody else must give that up to map a group at all.
    if order.run_as.is_none() {
        fs::write(folder.join("setgroups"), "deny").at("account map")?;
    }
    let map = |name: &str, id: u32| fs::write(folder.join(name), format!("{id} {id} 1"));
    map("gid_map", account.gid).at("account map")?;
    map("uid_map", account.uid).at("account map")
}

fn make_scratch(folder: &Path, order: &Order) -> Result<(), Fault> {
    fs::DirBuilder::new().mode(0o700).create(folder).at("private temporary folder")?;
    let Some(account) = order.run_as else {
        return Ok(());
    };
    let owned = std::os::unix::fs::chown(folder, Some(account.uid), Some(account.gid));
    owned.at("private temporary folder")
}

/// Returns when the program runs; earlier with what went wrong.
fn wait_for_exec(
    order: &Order,
    failure: &File,
    socket: &UnixStream,
    began: Instant,
) -> Result<(), Fault> {
    let deadline = began + Duration::from_millis(order.limits.deadline_ms);
    let ready = wait_for([failure.as_fd(), socket.as_fd()], Some(deadline));
    match ready {
        [true, _] => match hear::<Fault>(io::BufReader::new(failure)).at("set-up")? {
            Some(fault) => Err(fault),
            None => Ok(()),
        },
        [false, true] => Err(Fault::new("set-up", "the supervisor is gone")),
        [false, false] => Err(Fault::new("set-up", "it took longer than the deadline")),
    }
}

fn watch(order: &Order, mut program: Program, mut reaper: Reaper, socket: &UnixStream) -> Outcome {
    let deadline = program.started + Duration::from_millis(order.limits.deadline_ms);
    let scratch = order.scratch.as_deref().filter(|_| order.omitted.keeps(Control::Scratch));
    let mut reached = Vec::new();
    let mut asked = false;
    let status = loop {
        let look = scratch.map(|_| Instant::now() + SCRATCH_EVERY);
        // Once it is being killed there is only the end to wait for.
        let stopping = asked || !reached.is_empty();
        let until = if stopping { None } else { Some(look.unwrap_or(deadline).min(deadline)) };
        let ready = match stopping {
            true => [true, false],
            false => wait_for([reaper.as_fd(), socket.as_fd()], until),
        };
        match ready {
            [true, _] => match reaper.next() {
                Some(Ended { process, status }) if is(program.process, process) => {
                    break report(&mut program, status);
                }
                Some(_) => continue,
                None => break Some(-1),
            },
            [false, true] => asked = true,
            [false, false] if Instant::now() >= deadline => reached.push(Limit::Deadline),
            [false, false] => match scratch {
                Some(folder) if scratch::bytes(folder) > order.limits.scratch_bytes => {
                    reached.push(Limit::Scratch);
                }
                _ => continue,
            },
        }
        kill(order.tier, program.process);
    };
    kill(order.tier, program.process);
    let survivors = !all_gone(&mut reaper);
    add_limits(order, status, &mut reached);
    let (cpu_ms, peak_memory_bytes) = children_usage();
    let wall_ms = u64::try_from(program.started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let end = End::from_status(status);
    Outcome { end, limits: reached, asked, survivors, wall_ms, cpu_ms, peak_memory_bytes }
}

fn is(process: Pid, number: i32) -> bool {
    process.as_raw_nonzero().get() == number
}

/// The program's status: what the first process of its namespace said, or where there is none its own.
fn report(program: &mut Program, own: i32) -> Option<i32> {
    let mut said = [0; 4];
    match program.status.read_exact(&mut said) {
        Ok(()) => Some(i32::from_le_bytes(said)),
        Err(_) => Some(own),
    }
}

/// What the ending says about limits that the kernel holds.
fn add_limits(order: &Order, status: Option<i32>, reached: &mut Vec<Limit>) {
    let signal = match End::from_status(status) {
        End::Signal(signal) => signal,
        End::Exit(_) => 0,
    };
    if signal == libc::SIGXCPU {
        reached.push(Limit::CpuTime);
    }
    if signal == libc::SIGXFSZ {
        reached.push(Limit::FileSize);
    }
    if order.groups.ran_out_of_memory(&order.id) {
        reached.push(Limit::Memory);
    }
    if order.groups.ran_out_of_processes(&order.id) {
        reached.push(Limit::Processes);
    }
}

/// Kills the program and all it started. Nothing can have left its group, or its namespace.
fn kill(tier: Tier, process: Pid) {
    if tier == Tier::Restricted {
        kill_process_group(process, Signal::KILL).unwrap_or(());
    }
    kill_process(process, Signal::KILL).unwrap_or(());
}

/// Whether every process has been waited for.
fn all_gone(reaper: &mut Reaper) -> bool {
    let until = Instant::now() + GONE_WITHIN;
    loop {
        match wait_for([reaper.as_fd()], Some(until)) {
            [true] if reaper.next().is_none() => return true,
            [true] => {}
            [false] => return false,
        }
    }
}

/// Which of these can be read, or have been closed at the other end; none when the time came first.
pub(super) fn wait_for<const N: usize>(
    descriptors: [BorrowedFd<'_>; N],
    until: Option<Instant>,
) -> [bool; N] {
    loop {
        let mut polled =
            descriptors.map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN));
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut polled, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return [true; N],
            Ok(_) => return polled.map(|polled| !polled.revents().is_empty()),
        }
    }
}
