//! Small parts alone, to tell where the larger figures come from.

use std::{sync::Arc, time::Instant};

use expr::{Cost, DEFAULT_COST, Env, Expr, Join, Key};
use kernel::{
    Digest, Label, LabelMap,
    id::Tenant,
    label::{Confidentiality, Trust},
    port::{Batch, Journal as _},
    run::{Ports, Run},
    sealed::Sealed,
};
use receipts::dsse;
use serde_json::{Value, json};
use store::Sqlite;

use crate::{
    error::{Broken, Doing as _},
    floor,
    options::Options,
    report::{Figure, Floor, Goal, Report},
    spread::{Spread, each_cpu, millis},
    world::{Deed, OsSalts, World},
};

/// Everything else.
pub(crate) fn measure(options: &Options, report: &mut Report) -> Result<(), Broken> {
    evaluate(options, report)?;
    seal(options, report)?;
    sign(options, report)?;
    append(options, report)
}

/// A kernel label where expressions need one.
#[derive(Clone, Debug)]
struct Worn(Label);

impl Join for Worn {
    fn join(&self, other: &Self) -> Self {
        Self(self.0.join(&other.0))
    }

    fn bottom() -> Self {
        Self(Label::bottom())
    }
}

/// One root variable, labelled as a whole.
#[derive(Debug)]
struct Scope {
    usage: Value,
    label: Label,
}

impl Env for Scope {
    type Label = Worn;

    fn value(&self, root: &str) -> Option<&Value> {
        (root == "usage").then_some(&self.usage)
    }

    fn label(&self, _: &str, _: &[Key<'_>]) -> Worn {
        Worn(self.label.clone())
    }
}

fn evaluate(options: &Options, report: &mut Report) -> Result<(), Broken> {
    let source = r#"usage.seats > 100 && usage.health != "red" ? usage.arr.minor * 110 / 100 : usage.arr.minor"#;
    let expression = Expr::parse(source).doing("parse an expression")?;
    let scope = Scope {
        usage: json!({"seats": 140, "health": "green", "arr": {"minor": 4_200_000, "currency": "EUR"}}),
        label: Label::new(Trust::Verified, Confidentiality::Internal),
    };
    let evaluate = || expression.eval(&scope, &mut Cost::new(DEFAULT_COST)).map(|l| l.value);
    evaluate().doing("evaluate an expression")?;
    let samples = (0..options.rounds()).map(|_| each_cpu(9, 500, evaluate)).collect();
    let value = (Spread::of(samples), "us CPU");
    report.add(Figure::new("evaluate one expression, labels included", value, None, Goal::None));
    Ok(())
}

fn seal(options: &Options, report: &mut Report) -> Result<(), Broken> {
    let fields = (0..50).map(|n| (format!("field_{n:02}"), json!(format!("value number {n}"))));
    let value = Arc::new(Value::Object(fields.collect()));
    let bytes = kernel::canon::bytes(&*value).doing("write a value")?;
    let labels = LabelMap::uniform(Label::new(Trust::Verified, Confidentiality::Internal));
    let seal = || Sealed::new(Arc::clone(&value), labels.clone(), [7; 16]);
    seal().doing("seal a value")?;
    let (mut sealed, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds() {
        floor.push(each_cpu(9, 500, || Digest::of(&bytes)));
        sealed.push(each_cpu(9, 50, seal));
    }
    let floor = Floor { name: "SHA-256 of the value", value: Spread::of(floor) };
    let value = (Spread::of(sealed), "us CPU");
    report.add(Figure::new("seal a value of 50 leaves", value, Some(floor), Goal::None));
    Ok(())
}

fn sign(options: &Options, report: &mut Report) -> Result<(), Broken> {
    use ed25519_dalek::Signer as _;
    let world = World::real(Deed::Read, 1)?;
    let (payload, key) = ([b'{'; 2_000], ed25519_dalek::SigningKey::from_bytes(&[7; 32]));
    let (mut value, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds() {
        floor.push(each_cpu(9, 50, || key.sign(&payload)));
        value.push(each_cpu(9, 50, || dsse::envelope(&world.signer, &payload)));
    }
    let floor = Floor { name: "one bare Ed25519 signature", value: Spread::of(floor) };
    let value = (Spread::of(value), "us CPU");
    report.add(Figure::new("sign a receipt of 2,000 bytes", value, Some(floor), Goal::None));
    Ok(())
}

/// Opening runs one after the other: each is one append, and nothing overlaps.
fn append(options: &Options, report: &mut Report) -> Result<(), Broken> {
    let folder = tempfile::tempdir_in(&options.dir).doing("make a folder")?;
    let path = folder.path().join("store.db");
    let store = Sqlite::open(&path, store::Options::default()).doing("open the store")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.doing("start a runtime")?;
    let world = World::real(Deed::Read, 1)?;
    let (count, mut samples) = (options.pick(400, 40), Vec::new());
    for n in 0..count {
        let batch = opening_batch(&world, n)?;
        let before = Instant::now();
        runtime.block_on(store.append(batch)).doing("append")?;
        samples.push(millis(before.elapsed()));
    }
    let flushes = floor::flushes(&options.dir, count)?.into_iter().map(millis).collect();
    let floor = Floor { name: "fdatasync of 4 KiB", value: Spread::of(flushes) };
    let name = "append one batch of 4 events to SQLite, alone";
    report.add(Figure::new(name, (Spread::of(samples), "ms"), Some(floor), Goal::None));
    Ok(())
}

fn opening_batch(world: &Arc<World>, n: usize) -> Result<Batch, Broken> {
    let mut salts = OsSalts::default();
    let (judge, validate) = (&*world.judge, &*world.validate);
    let mut ports = Ports { judge, validate, salts: &mut salts };
    let now = kernel::input::Now { at: 1_800_000_000_000, boot_ms: 1 };
    let genesis = world.genesis(&format!("append-{n}"));
    let mut run = Run::open(genesis, world.pins(), now, &mut ports).doing("open a run")?;
    let pending = run.take();
    Ok(Batch {
        tenant: Tenant::default(),
        run: run.id().clone(),
        expected_seq: 0,
        epoch: 0,
        records: pending.records,
        receipts: Vec::new(),
        changes: pending.changes,
        consumed: Vec::new(),
        wake_at: None,
        reach: pending.reach,
    })
}
