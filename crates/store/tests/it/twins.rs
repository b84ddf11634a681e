//! RAM and SQLite answer the same to the same long, arbitrary history.

use kernel::{
    event::Record,
    id::{Digest, Tenant},
    port::{Batch, Journal, JournalError},
    project::Change,
    run::Status,
};
use store::{Erase, Log, Page, Query, Ram, RunFilter, Store};

use crate::make::*;

const STEPS: u64 = 400;

/// A fixed sequence of numbers below `bound` (a linear congruential generator).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// One step of the history; what it answered, as text.
async fn step(store: &dyn Store, mut dice: Dice, tenant: &Tenant) -> String {
    let number = dice.below(5);
    let run = run(&number.to_string());
    let signal = format!("s{}", dice.below(30));
    match dice.below(6) {
        0 => format!(
            "{:?}",
            store.claim(tenant.clone(), run).await.map(|loaded| {
                let inbox: Vec<_> = loaded.inbox.into_iter().map(|item| item.signal_id).collect();
                (loaded.records, loaded.epoch, inbox)
            })
        ),
        1 => format!("{:?}", store.post(tenant.clone(), run, posted(&signal, "x")).await),
        2 if dice.below(8) == 0 => format!("{:?}", store.erase_run(tenant, &run).await),
        _ => {
            let entry = store.run(tenant, &run).await.unwrap();
            let (seq, head) =
                entry.as_ref().map_or((0, Digest::default()), |e| (e.next_seq, e.head));
            // Now and then a writer that is late or fenced off.
            let (late, fenced) = (dice.below(6) == 0, dice.below(6) == 0);
            let seq = if late { seq.saturating_sub(1) } else { seq };
            let epoch = entry.map_or(0, |e| e.epoch).saturating_sub(u64::from(fenced));
            let mut records = records(&run, seq, head, 1 + dice.below(3));
            if dice.below(3) == 0 {
                let last = &records[records.len() - 1];
                let operation = format!("crm.op{}", dice.below(3));
                let proposed = proposal(&run, last.event.seq + 1, last.hash, &operation);
                records.push(proposed);
            }
            format!(
                "{:?}",
                store.append(next((tenant, number), records, (epoch, signal), dice)).await
            )
        }
    }
}

fn next(
    (tenant, number): (&Tenant, u64),
    records: Vec<Record>,
    (epoch, signal): (u64, String),
    mut dice: Dice,
) -> Batch {
    let mut batch = batch(tenant, records);
    batch.epoch = epoch;
    batch.consumed = vec![signal];
    batch.wake_at = (dice.below(2) == 0).then(|| dice.below(1_000) as i64);
    batch.receipts = vec![receipt(tenant, &batch.run, batch.expected_seq)];
    // When it opened and whom it is about stays; where it stands and since when does not.
    let mut row = row((number * 7 % 5) as i64, &[&format!("customer:{}", number % 3)]);
    row.at = dice.below(1_000) as i64;
    row.events = batch.expected_seq + batch.records.len() as u64;
    row.status = [Status::Waiting, Status::Running, Status::Asking][dice.below(3) as usize];
    batch.changes = vec![Change::Run(Box::new(row))];
    batch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_stores_tell_one_story() {
    let folder = Folder::new();
    let (ram, file, tenant) = (Ram::new(), folder.open(), tenant("default"));
    let mut lost = 0;
    for n in 0..STEPS {
        let in_ram = step(&ram, Dice(n), &tenant).await;
        let in_file = step(&*file, Dice(n), &tenant).await;
        assert_eq!(in_ram, in_file, "step {n}");
        lost += u64::from(in_ram.contains("Lost"));
        let now = (n % 1_000) as i64;
        assert_eq!(
            ram.due(now, 3).await.unwrap(),
            file.due(now, 3).await.unwrap(),
            "due at step {n}"
        );
    }
    assert!((5..STEPS / 2).contains(&lost), "{lost} lost: the history is not the one meant");
    for status in [None, Some(Status::Waiting), Some(Status::Running), Some(Status::Asking)] {
        let filter = RunFilter { status, ..RunFilter::default() };
        let listed = ram.runs(&tenant, filter.clone(), Page::default()).await.unwrap();
        assert_eq!(listed, file.runs(&tenant, filter, Page::default()).await.unwrap());
    }
    for (customer, operation) in (0..3).flat_map(|c| (0..3).map(move |o| (c, o))) {
        let filter = RunFilter {
            subjects: vec![format!("customer:{customer}")],
            operation: Some(format!("crm.op{operation}").parse().unwrap()),
            ..RunFilter::default()
        };
        let listed = ram.runs(&tenant, filter.clone(), Page::default()).await.unwrap();
        assert_eq!(listed, file.runs(&tenant, filter, Page::default()).await.unwrap());
    }
    assert_eq!(
        ram.leaves(&tenant, 0, 999).await.unwrap(),
        file.leaves(&tenant, 0, 999).await.unwrap()
    );
    let error = ram.claim(tenant.clone(), run("none")).await.unwrap_err();
    assert!(matches!(error, JournalError::NoRun(_)));
}

/// C145: what a tenant reads and writes, in every step of an arbitrary history and in every list, is what it would be if
/// nobody else were in the store, whatever another tenant does under the same names in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_tenant_notices_that_another_is_there() {
    let folder = Folder::new();
    let (alone, shared) = (Ram::new(), folder.open());
    let (ours, theirs) = (tenant("ours"), tenant("theirs"));
    for n in 0..STEPS {
        // The other's histories are of the same runs, signals and customers, and are cut in anywhere.
        for more in 0..Dice(n ^ 0x5eed).below(3) {
            step(&*shared, Dice(n.wrapping_mul(31) + more), &theirs).await;
        }
        let told = step(&*shared, Dice(n), &ours).await;
        assert_eq!(told, step(&alone, Dice(n), &ours).await, "step {n}");
        assert!(!told.contains("theirs"), "step {n}: {told}");
    }
    let subjects = |customer: u64| vec![format!("customer:{customer}")];
    for filter in (0..3)
        .map(|customer| RunFilter { subjects: subjects(customer), ..RunFilter::default() })
        .chain([RunFilter::default()])
    {
        let listed = shared.runs(&ours, filter.clone(), Page::default()).await.unwrap();
        assert!(!listed.items.is_empty());
        assert_eq!(listed, alone.runs(&ours, filter, Page::default()).await.unwrap());
    }
    let leaves = shared.leaves(&ours, 0, 999).await.unwrap();
    assert_eq!(leaves, alone.leaves(&ours, 0, 999).await.unwrap());
    assert_eq!(shared.log_size(&ours).await.unwrap(), leaves.len() as u64);
    for customer in 0..3 {
        let name = format!("customer:{customer}");
        let erased = shared.erase_subject(&ours, &name).await.unwrap();
        assert_eq!(erased, alone.erase_subject(&ours, &name).await.unwrap());
    }
    // And what was erased was ours alone.
    let kept = shared.runs(&theirs, RunFilter::default(), Page::default()).await.unwrap();
    assert!(!kept.items.is_empty());
    for entry in kept.items {
        let records = shared.events(&theirs, &entry.run, 0, 999).await.unwrap();
        assert_eq!(records.len() as u64, entry.next_seq);
    }
}
