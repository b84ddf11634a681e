//! What a program writes while it runs: kept up to a limit, and told to whoever watches its run.

use std::{
    fs::File,
    io::{self, Read, pipe},
    os::fd::OwnedFd,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use kernel::id::{OperationId, RunId, Tenant};
use sandbox::{Captured, Command, Output};

use crate::{
    call::Call,
    redact::{Redactor, Scrubber},
};

/// Bytes that are read at a time.
const CHUNK: usize = 16 << 10;

/// How long the rest of an output may take after the program and all it started have ended.
const REST_WITHIN: Duration = Duration::from_secs(2);

/// Who is told what programs write, as they write it. Lossy and never journaled; what counts is the result.
pub trait Listen: Send + Sync + std::fmt::Debug {
    /// A piece of what a program of this run wrote to its output or its errors, without secrets.
    fn wrote(&self, call: (&Tenant, &RunId, &OperationId), text: &str);
}

/// Whose words these are, and who hears them.
#[derive(Clone, Debug)]
pub(crate) struct Ear {
    pub(crate) listen: Arc<dyn Listen>,
    pub(crate) redactor: Arc<Redactor>,
    tenant: Tenant,
    run: RunId,
    operation: OperationId,
}

impl Ear {
    pub(crate) fn new(call: &Call, listen: &Arc<dyn Listen>, redactor: Arc<Redactor>) -> Self {
        Self {
            listen: Arc::clone(listen),
            redactor,
            tenant: call.tenant.clone(),
            run: call.run.clone(),
            operation: call.operation.id.clone(),
        }
    }

    fn tell(&self, clean: &[u8]) {
        if !clean.is_empty() {
            let call = (&self.tenant, &self.run, &self.operation);
            self.listen.wrote(call, &String::from_utf8_lossy(clean));
        }
    }
}

/// A stream that is being read by a thread.
#[derive(Debug)]
pub(crate) struct Tap(mpsc::Receiver<Captured>);

impl Tap {
    fn start(mut from: File, most: usize, ear: Ear) -> io::Result<Self> {
        let (end, ended) = mpsc::channel();
        thread::Builder::new().name("tap".to_owned()).spawn(move || {
            // Whoever waited for it may have gone.
            end.send(hear(&mut from, most, &ear)).unwrap_or(());
        })?;
        Ok(Self(ended))
    }

    /// All of it, once nobody can write to it any more.
    pub(crate) fn finish(&self) -> Captured {
        self.0.recv_timeout(REST_WITHIN).unwrap_or_default()
    }
}

/// Has both streams of a command heard: the command, its output, its errors.
pub(crate) fn tapped(command: Command, most: u64, ear: &Ear) -> io::Result<(Command, [Tap; 2])> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let ((output, to), (errors, to_errors)) = (pipe()?, pipe()?);
    let command = command.output(Output::To(to.into())).errors(Output::To(to_errors.into()));
    let tap = |from: OwnedFd| Tap::start(File::from(from), most, ear.clone());
    Ok((command, [tap(output.into())?, tap(errors.into())?]))
}

fn hear(from: &mut impl Read, most: usize, ear: &Ear) -> Captured {
    let mut scrubber = Scrubber::lines(Arc::clone(&ear.redactor));
    let mut kept = Captured::default();
    let mut chunk = vec![0; CHUNK];
    loop {
        let got = match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(got) => chunk.get(..got).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let room = most.saturating_sub(kept.bytes.len()).min(got.len());
        let (first, rest) = got.split_at(room);
        kept.bytes.extend_from_slice(first);
        kept.dropped += rest.len() as u64;
        ear.tell(&scrubber.push(got));
    }
    ear.tell(&scrubber.finish());
    kept
}

#[cfg(test)]
mod tests {
    use std::{io::Write, sync::Mutex};

    use super::*;

    #[derive(Debug, Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Listen for Heard {
        fn wrote(&self, _: (&Tenant, &RunId, &OperationId), text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }

    #[test]
    fn pieces_are_told_while_it_runs_without_secrets_and_the_rest_is_counted() {
        let heard = Arc::new(Heard::default());
        let redactor = Redactor::new([("token", "tok-c4nary-7731")]).unwrap();
        let tenant = Tenant::default();
        let ear = Ear {
            listen: Arc::clone(&heard) as Arc<dyn Listen>,
            redactor: Arc::new(redactor),
            run: RunId::of_intent(&tenant, "test", "k"),
            tenant,
            operation: "sys.op".parse().unwrap(),
        };
        let (from, mut to) = pipe().unwrap();
        let tap = Tap::start(File::from(OwnedFd::from(from)), 8, ear).unwrap();
        to.write_all(&[b'a'; 4_000]).unwrap();
        to.write_all(b" tok-c4n").unwrap();
        to.write_all(b"ary-7731 end").unwrap();
        drop(to);
        let kept = tap.finish();
        assert_eq!((kept.bytes.len(), kept.dropped), (8, 4_012));
        let told = heard.0.lock().unwrap().concat();
        assert_eq!(told, format!("{} [secret:token] end", "a".repeat(4_000)));
    }
}
