//! A secret typed at the terminal: not shown, not kept.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// Longest line that is read, in bytes.
const LINE_BYTES_MAX: u64 = 4_096;

/// Asks for a token at the terminal of this process, whatever its input and output are; none without one.
pub(super) fn token() -> Option<String> {
    let token = unseen("Your token: ")?;
    Some(token.as_str().to_owned())
}

/// Asks for a line at the terminal of this process, which does not show it; none without one, or when it is longer
/// than a terminal takes.
pub(super) fn unseen(asked: &str) -> Option<Zeroizing<String>> {
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").ok()?;
    let mut line = Zeroizing::new(String::new());
    {
        // Silent before it is asked: what is typed at once is neither shown nor lost.
        let _quiet = Quiet::new(&terminal)?;
        write!(&terminal, "{asked}").ok()?;
        let input = std::io::Read::take(&terminal, LINE_BYTES_MAX);
        BufReader::new(input).read_line(&mut line).ok()?;
    }
    // The line end that was typed was not shown either.
    writeln!(&terminal).ok()?;
    let is_whole = line.ends_with('\n');
    let line = Zeroizing::new(line.trim().to_owned());
    (is_whole && !line.is_empty()).then_some(line)
}

/// A terminal that does not show what is typed, until it goes.
struct Quiet<'t> {
    terminal: &'t File,
    before: Termios,
}

impl<'t> Quiet<'t> {
    fn new(terminal: &'t File) -> Option<Self> {
        let before = tcgetattr(terminal).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(terminal, OptionalActions::Flush, &quiet).ok()?;
        Some(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _gone = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}
