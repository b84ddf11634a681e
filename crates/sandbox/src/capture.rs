//! What a program writes, up to a limit: the rest is read too, so that it is not held up, but only counted.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// Bytes that are read at a time.
const CHUNK: usize = 16 << 10;

/// How long the rest of an output may take after the program and all it started have ended. Only a descriptor that
/// the program handed to somebody outside can keep it open that long.
const REST_WITHIN: Duration = Duration::from_secs(2);

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Captured {
    /// The first bytes, up to the limit.
    pub bytes: Vec<u8>,
    /// How many more there were, which are lost.
    pub dropped: u64,
}

impl Captured {
    /// As text, with a line at the end that says how much is missing, if something is.
    #[must_use]
    pub fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes).into_owned();
        if self.dropped == 0 {
            return text;
        }
        format!("{text}\n[{} more bytes were written and are not shown]\n", self.dropped)
    }
}

/// An output that is being read by a thread.
#[derive(Debug)]
pub(crate) struct Reading {
    captured: Arc<Mutex<Captured>>,
    ended: mpsc::Receiver<()>,
}

impl Reading {
    pub(crate) fn start(from: OwnedFd, most: u64) -> io::Result<Self> {
        let captured = Arc::new(Mutex::new(Captured::default()));
        let (end, ended) = mpsc::channel();
        let shared = Arc::clone(&captured);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        thread::Builder::new().stack_size(128 << 10).spawn(move || {
            read(File::from(from), &shared, most);
            end.send(()).unwrap_or(());
        })?;
        Ok(Self { captured, ended })
    }

    /// All of it, once nobody can write to it any more.
    pub(crate) fn finish(self) -> Captured {
        self.ended.recv_timeout(REST_WITHIN).unwrap_or(());
        let mut captured = self.captured.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *captured)
    }
}

fn read(mut from: File, to: &Mutex<Captured>, most: usize) {
    let mut chunk = vec![0; CHUNK];
    loop {
        let got = match from.read(&mut chunk) {
            Ok(0) => return,
            Ok(got) => chunk.get(..got).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        let mut captured = to.lock().unwrap_or_else(PoisonError::into_inner);
        let room = most.saturating_sub(captured.bytes.len()).min(got.len());
        let (kept, rest) = got.split_at(room);
        captured.bytes.extend_from_slice(kept);
        captured.dropped += u64::try_from(rest.len()).unwrap_or(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_above_the_limit_is_counted_and_said() {
        let (from, to) = rustix::pipe::pipe().unwrap();
        let reading = Reading::start(from, 10).unwrap();
        let mut to = File::from(to);
        to.write_all(&[b'a'; 4]).unwrap();
        to.write_all(&[b'b'; 100_000]).unwrap();
        drop(to);
        let captured = reading.finish();
        assert_eq!(captured.bytes, b"aaaabbbbbb");
        assert_eq!(captured.dropped, 99_994);
        assert!(captured.text().ends_with("[99994 more bytes were written and are not shown]\n"));
    }
}
