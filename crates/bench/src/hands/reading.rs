//! A file of 1 MB, read through the gate: judged, read, hashed, looked through for secrets, journaled, receipted.

use std::{fmt::Write as _, fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use connect::{
    Connectors, Departed, Host, Listen, Secrets, Systems, Traffic,
    circuit::CircuitRule,
    clock::Clock,
    people::{People, Word},
};
use kernel::{
    id::{At, OperationId, RunId, Tenant},
    port::{Connector as _, Failure, Task},
};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use store::Ram;
use tokio::runtime::Runtime;

use crate::{
    error::{Broken, Doing as _},
    line::{AT, BOOT_MS, Line, Sink},
    options::Options,
    report::{Figure, Floor, Goal, Report},
    spread::{Spread, median, millis, process_cpu},
    world::{Deed, FILE, FOLDER, World},
};

/// Size of the file.
const FILE_BYTES: usize = 1 << 20;

/// Secrets that an installation has, and that are looked for.
const SECRETS: usize = 10;

/// Processor time of one read, in ms.
const READ_MS: f64 = 2.0;

/// The moment of a run that is driven by hand.
#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn boot_ms(&self) -> u64 {
        BOOT_MS
    }

    fn now_ms(&self) -> At {
        AT
    }
}

/// Nobody listens.
#[derive(Debug)]
struct Nobody;

impl Traffic for Nobody {
    fn saw(&self, _: (&RunId, &OperationId), _: &Departed) {}
}

impl Listen for Nobody {
    fn wrote(&self, _: (&Tenant, &RunId, &OperationId), _: &str) {}
}

impl People for Nobody {
    fn tell<'a>(&'a self, _: Word<'a>) -> Task<'a, Result<Vec<String>, Failure>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

pub(crate) fn measure(options: &Options, report: &mut Report) -> Result<(), Broken> {
    let folder = tempfile::tempdir_in(&options.dir).doing("make a folder")?;
    let file = folder.path().join("work").join(FILE);
    fs::create_dir(folder.path().join("work")).doing("make a folder")?;
    fs::write(&file, text()).doing("write the file")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.doing("start a runtime")?;
    let world = World::real(Deed::File, options.pick(60, 6))?;
    let connectors = connectors(folder.path(), &world)?;
    // Schemas and bindings compile at their first use.
    read_ms(&world, &connectors, &runtime)?;
    let (mut value, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds() {
        floor.push(bare_ms(&file, options)?);
        value.push(read_ms(&world, &connectors, &runtime)?);
    }
    let floor = Floor { name: "reading and hashing it", value: Spread::of(floor) };
    let name = "a file of 1 MB read through the gate, as much as fits into a result";
    let value = (Spread::of(value), "ms CPU");
    report.add(Figure::new(name, value, Some(floor), Goal::AtMost(READ_MS)));
    Ok(())
}

/// Lines as a log has them.
fn text() -> String {
    let mut text = String::with_capacity(FILE_BYTES + 256);
    for n in 0_usize.. {
        // Writing into a string cannot fail.
        let _ = writeln!(
            text,
            "2026-12-01T09:14:{:02}Z order 20261201-{n:06} of ACC-{:04}, {}.00 EUR, see https://example.com/o/{n}?x=1; \
             {{\"Id\": \"CTR-{:04}\", \"Owner\": \"Ana\", \"Version\": 7, \"Token\": \"next-{n}\"}}",
            n % 60,
            n % 9_973,
            n * 37 % 10_007,
            n % 997
        );
        if text.len() >= FILE_BYTES {
            break;
        }
    }
    text.truncate(FILE_BYTES);
    text
}

fn connectors(folder: &Path, world: &World) -> Result<Connectors, Broken> {
    let work = folder.join("work").canonicalize().doing("find the folder")?;
    let systems = json!({ FOLDER: { "kind": "folder", "path": work } });
    let systems: Systems = serde_json::from_value(systems).doing("declare the folder")?;
    let mut declared = Vec::new();
    for n in 0..SECRETS {
        let path = folder.join(format!("secret-{n}"));
        fs::write(&path, format!("s3cret/+value-{n:0>32}")).doing("write a secret")?;
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&path, private).doing("keep a secret private")?;
        declared.push((format!("secret-{n}"), format!("file:{}", path.display())));
    }
    let pairs = declared.iter().map(|(name, place)| (name.as_str(), place.as_str()));
    let secrets = Secrets::parse(pairs).doing("declare the secrets")?;
    let host = Host {
        clock: Arc::new(Still),
        validate: Arc::clone(&world.validate),
        blobs: None,
        circuit: CircuitRule::default(),
        traffic: Arc::new(Nobody),
        listen: Arc::new(Nobody),
        people: Arc::new(Nobody),
        kept: None,
    };
    Connectors::new(systems, secrets, host).doing("put the connectors together")
}

/// Median processor time of the reads of one run, all threads of the process.
fn read_ms(world: &Arc<World>, connectors: &Connectors, runtime: &Runtime) -> Result<f64, Broken> {
    let mut line = Line::open(world, Sink::Ram(Box::new(Ram::new())))?;
    let mut samples = Vec::with_capacity(world.actions());
    let mut failed = None;
    loop {
        let before = process_cpu();
        let goes_on = line.step_by(|permit| {
            let outcome = runtime.block_on(connectors.call(permit));
            failed = failed.take().or_else(|| outcome.as_ref().err().cloned());
            outcome
        })?;
        if !goes_on {
            break;
        }
        samples.push(millis(process_cpu().saturating_sub(before)));
    }
    match failed {
        Some(failure) => Err(Broken::new("read the file", failure.message)),
        None => Ok(median(samples)),
    }
}

fn bare_ms(file: &Path, options: &Options) -> Result<f64, Broken> {
    let mut samples = Vec::new();
    for _ in 0..options.pick(60, 6) {
        let before = process_cpu();
        let bytes = fs::read(file).doing("read the file")?;
        std::hint::black_box(Sha256::digest(&bytes));
        samples.push(millis(process_cpu().saturating_sub(before)));
    }
    Ok(median(samples))
}
