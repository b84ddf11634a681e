//! Commands as another program starts them: at a terminal, without one, with little to work with.

use std::process::Command;

/// Passes on what the terminal shows as it shows it, and types a line when a token is asked for. Its exit code is
/// the command's.
const AT_A_TERMINAL: &str = r#"
import os, pty, sys
typed, command = sys.argv[1], sys.argv[2:]
child, terminal = pty.fork()
if child == 0:
    os.execv(command[0], command)
shown, answered = b"", False
while True:
    try:
        piece = os.read(terminal, 4096)
    except OSError:
        break
    if not piece:
        break
    sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
    if not answered:
        shown += piece
        if b"Your token: " in shown:
            answered = True
            os.write(terminal, typed.encode() + b"\n")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;

/// The same command at a terminal of its own, where `typed` is typed once it asks for a token.
pub(crate) fn at_terminal(command: &Command, typed: &str) -> Command {
    within("python3", &["-c", AT_A_TERMINAL, typed], command)
}

/// The same command in a session of its own: there is no terminal, whoever runs the tests.
pub(crate) fn without_terminal(command: &Command) -> Command {
    within("setsid", &["--wait"], command)
}

/// The same command, which may open so many files, and more only once it asks.
pub(crate) fn with_few_files(command: &Command, files: usize) -> Command {
    within("sh", &["-c", &format!("ulimit -Sn {files}; exec \"$@\""), "sh"], command)
}

fn within(program: &str, words: &[&str], command: &Command) -> Command {
    let mut outer = Command::new(program);
    outer.args(words).arg(command.get_program()).args(command.get_args());
    outer.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        outer.current_dir(folder);
    }
    outer
}
