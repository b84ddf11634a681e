//! An agent killed after every append, and one that is run twice: what is durable is never done again, and
//! equal inputs give equal bytes.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use embed::{Agent, Tool, World};
use engine::{Clock, Entropy};
use kernel::{
    Digest,
    event::Body,
    id::{At, RunId, Tenant},
    input::Now,
    port::{Batch, Journal, JournalError, Loaded, Posted, Task},
    run::Status,
};
use models::{Line, ScriptedModel};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use store::Ram;

/// A clock that stands still.
#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Now {
        Now { at: 1_800_000_000_000, boot_ms: 1_000_000 }
    }
}

/// Bytes that follow from how many were drawn.
#[derive(Debug, Default)]
struct Counted(Mutex<u64>);

impl Entropy for Counted {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), String> {
        let mut drawn = self.0.lock().unwrap();
        for chunk in buffer.chunks_mut(32) {
            *drawn += 1;
            let bytes = Digest::of(&drawn.to_be_bytes()).0;
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        Ok(())
    }
}

/// A store whose process dies right after the n-th append: nothing comes back from it.
#[derive(Debug)]
struct Dying {
    store: Arc<Ram>,
    left: AtomicUsize,
    died: Arc<tokio::sync::Notify>,
}

impl Journal for Dying {
    fn append(&self, batch: Batch) -> Task<'_, Result<(), JournalError>> {
        Box::pin(async move {
            self.store.append(batch).await?;
            if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
                self.died.notify_one();
                pending::<()>().await;
            }
            Ok(())
        })
    }

    fn post(
        &self,
        tenant: Tenant,
        run: RunId,
        posted: Posted,
    ) -> Task<'_, Result<(), JournalError>> {
        self.store.post(tenant, run, posted)
    }

    fn claim(&self, tenant: Tenant, run: RunId) -> Task<'_, Result<Loaded, JournalError>> {
        self.store.claim(tenant, run)
    }

    fn due(&self, now: At, limit: usize) -> Task<'_, Result<Vec<(Tenant, RunId)>, JournalError>> {
        self.store.due(now, limit)
    }
}

#[derive(Deserialize, JsonSchema)]
struct Args {
    n: u64,
}

/// Three turns of calls, two of them side by side, then an answer. What it says follows from what it was
/// told: whichever process asks, it is asked the same.
fn model(asked: &Arc<AtomicUsize>) -> ScriptedModel {
    let asked = Arc::clone(asked);
    ScriptedModel::new("model", move |_, prompt| {
        asked.fetch_add(1, Ordering::SeqCst);
        match prompt.turn {
            turn @ 0..3 => Ok(Line::call(&turn.to_string(), "double", json!({ "n": turn }))),
            _ => Ok(Line::text("All doubled.")),
        }
    })
}

fn agent(world: World, asked: &Arc<AtomicUsize>, called: &Arc<AtomicUsize>) -> Agent {
    let called = Arc::clone(called);
    let double = Tool::new("double", "Doubles.", move |args: Args| {
        called.fetch_add(1, Ordering::SeqCst);
        async move { Ok::<_, String>(args.n * 2) }
    });
    Agent::builder().model(model(asked)).tool(double.reads()).world(world).build().unwrap()
}

fn world(store: &Arc<Ram>) -> World {
    let mut world = World::over(Arc::clone(store));
    world.clock = Arc::new(Still);
    world.entropy = Arc::new(Counted::default());
    world
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// C034: two runs of one agent under equal clocks and equal chance give equal hashes, event by event.
#[test]
fn the_same_agent_twice_gives_the_same_hashes() {
    let once = || {
        let (asked, called) = (Arc::default(), Arc::default());
        let outcome = runtime().block_on(async {
            agent(world(&Arc::new(Ram::new())), &asked, &called).run("Double them").await.unwrap()
        });
        assert_eq!(outcome.text(), "All doubled.");
        outcome.records.iter().map(|record| record.hash).collect::<Vec<_>>()
    };
    let (one, two) = (once(), once());
    assert!(one.len() > 20, "{} events", one.len());
    assert_eq!(one, two);
}

/// C072: killed right after every append and taken up by the next process: no model call that was answered
/// is made again, no tool is called twice, and the end is the same.
#[test]
fn an_agent_killed_after_any_append_pays_for_nothing_twice() {
    let mut deaths = 0;
    for at in 1.. {
        let (asked, called) = (Arc::default(), Arc::default());
        let store = Arc::new(Ram::new());
        let died = Arc::new(tokio::sync::Notify::new());
        let dying = Dying {
            store: Arc::clone(&store),
            left: AtomicUsize::new(at),
            died: Arc::clone(&died),
        };
        let first = runtime();
        let finished = first.block_on(async {
            let mut world = world(&store);
            world.journal = Arc::new(dying);
            let agent = agent(world, &asked, &called);
            tokio::select! {
                ended = agent.run("Double them") => Some(ended.unwrap()),
                () = died.notified() => None,
            }
        });
        drop(first);
        if finished.is_some() {
            break;
        }
        deaths += 1;
        let output = runtime().block_on(async {
            let next = agent(world(&store), &asked, &called);
            tokio::select! {
                () = next.serve() => unreachable!("it serves until dropped"),
                output = over(&store) => output,
            }
        });
        assert_eq!(output, json!("All doubled."), "killed after append {at}");
        assert_eq!(asked.load(Ordering::SeqCst), 4, "model calls, killed after append {at}");
        assert_eq!(called.load(Ordering::SeqCst), 3, "tool calls, killed after append {at}");
    }
    assert!(deaths >= 8, "{deaths} appends");
}

/// The result of the store's one run, once it is over.
async fn over(store: &Arc<Ram>) -> serde_json::Value {
    let tenant = Tenant::default();
    loop {
        tokio::task::yield_now().await;
        let (filter, page) = (store::RunFilter::default(), store::Page::default());
        let runs = store::Query::runs(&**store, &tenant, filter, page).await.unwrap();
        let Some(entry) = runs.items.first() else { continue };
        if entry.row.as_ref().is_none_or(|row| row.status != Status::Succeeded) {
            continue;
        }
        let loaded = store.claim(tenant.clone(), entry.run.clone()).await.unwrap();
        let output = loaded.records.iter().rev().find_map(|record| match &record.event.body {
            Body::Finished { output, .. } => Some((*output.value()).clone()),
            _ => None,
        });
        if let Some(output) = output {
            return output;
        }
    }
}
