//! Agents that work for runs of ours by the Agent Client Protocol: what one of them wants to do with a tool of its own is a
//! call of an agent that is not ours, judged, asked about and recorded as every other. The agent asks as itself, for the
//! person that its run is for, and with no right but to propose.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use connect::{
    acp::{Judged, Judges, Over, Prompted, Use},
    outside::Report,
};
use kernel::{
    id::{EffectKey, RunId},
    input::Input,
    port::Task,
    principal::{Kind as Actor, Principal},
};
use serde_json::json;
use store::Query as _;
use tokio::{
    sync::oneshot,
    time::{Duration, sleep},
};

use super::{PACK, kinds};
use crate::app::{
    App, Caller,
    gate::{self, GateCall, GateTake, GateVerdict, GateView},
    header_of, parse_id,
    problem::{Kind, Problem},
    runs,
    whole::Whole,
};

/// How often an ask is looked at, though nobody says that it changed, in ms.
const LOOK_MS: u64 = 30_000;

/// A use that was permitted and is not reported: its turn, and what its agent calls it.
type Place = (EffectKey, String);

/// Who judges what these agents are about to do.
#[derive(Debug)]
pub(in crate::app) struct Judging {
    app: Arc<Whole>,
    permitted: Arc<Permitted>,
}

/// Uses that were permitted, and their runs.
#[derive(Debug, Default)]
struct Permitted(Mutex<BTreeMap<Place, RunId>>);

impl Permitted {
    fn all(&self) -> MutexGuard<'_, BTreeMap<Place, RunId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Judging {
    /// It judges by this app.
    pub(in crate::app) fn of(app: &Arc<Whole>) -> Arc<Self> {
        Arc::new(Self { app: Arc::clone(app), permitted: Arc::default() })
    }
}

impl Judges for Judging {
    fn judge(&self, at: Prompted, used: Use) -> Task<'_, Judged> {
        Box::pin(async move {
            let no =
                |because: &str| Judged { allowed: false, run: None, because: because.to_owned() };
            let Some(app) = self.app.get() else { return no("nobody is there to judge it") };
            let (tell, told) = oneshot::channel();
            // It goes on when its agent is gone, so that nothing is left asking a person in vain.
            tokio::spawn(judge(app, Arc::clone(&self.permitted), (at, used), tell));
            told.await.unwrap_or_else(|_| no("it could not be judged"))
        })
    }

    fn over(&self, at: &Prompted, over: Over) {
        let run = self.permitted.all().remove(&(at.key.clone(), over.id));
        if let (Some(run), Some(app)) = (run, self.app.get()) {
            let ended = if over.well { "well" } else { "badly" };
            let report = Report::Done(json!({ "ended": ended, "text": over.text }));
            // One that was ended meanwhile needs no report.
            let _was_open = app.connectors.outside().report(&at.tenant, &run, report);
        }
    }

    fn left(&self, at: &Prompted) {
        let mut open = Vec::new();
        self.permitted.all().retain(|(key, _), run| {
            let stays = *key != at.key;
            if !stays {
                open.push(run.clone());
            }
            stays
        });
        let Some(app) = self.app.get() else { return };
        for run in open {
            let message = "the agent was permitted this, and never said what came of it";
            let report = Report::Failed(message.to_owned());
            let _was_open = app.connectors.outside().report(&at.tenant, &run, report);
        }
    }
}

/// Judges one use, and tells whoever waits for it. Where nobody does any more, it is taken back.
async fn judge(
    app: Arc<App>,
    permitted: Arc<Permitted>,
    (at, used): (Prompted, Use),
    mut tell: oneshot::Sender<Judged>,
) {
    let place = (at.key.clone(), used.id.clone());
    let said = match begun(&app, &at, &used).await {
        Ok((caller, view)) => {
            let run = view.run.clone();
            let decided = tokio::select! {
                biased;
                () = tell.closed() => return take_back(&app, &caller, &run).await,
                decided = decided(&app, &caller, view) => decided,
            };
            match decided {
                Ok(view) if view.verdict == GateVerdict::Allow => {
                    return allow(&app, (&permitted, place), (&caller, &run), tell).await;
                }
                Ok(view) => {
                    let because = match view.because.is_empty() {
                        true => "it was not permitted".to_owned(),
                        false => view.because.join("; "),
                    };
                    Judged { allowed: false, run: Some(run), because }
                }
                Err(problem) => {
                    take_back(&app, &caller, &run).await;
                    Judged { allowed: false, run: Some(run), because: words(&problem) }
                }
            }
        }
        Err(problem) => Judged { allowed: false, run: None, because: words(&problem) },
    };
    // Whoever is gone needs no no.
    let _gone = tell.send(said);
}

/// Tells a yes. One that nobody hears was not made.
async fn allow(
    app: &App,
    (permitted, place): (&Permitted, Place),
    (caller, run): (&Caller, &str),
    tell: oneshot::Sender<Judged>,
) {
    let Ok(id) = parse_id::<RunId>(run) else { return };
    // Its agent may report it as soon as it hears. One that asks about the same use again gave up the first.
    let before = permitted.all().insert(place.clone(), id.clone());
    if let Some(before) = before {
        let report = Report::Failed("the agent asked for the same once more".to_owned());
        let _was_open = app.connectors.outside().report(caller.tenant(), &before, report);
    }
    let yes = Judged { allowed: true, run: Some(run.to_owned()), because: String::new() };
    if tell.send(yes).is_err() {
        permitted.all().remove(&place);
        let report = Report::NotMade("the agent was gone before it heard".to_owned());
        let _was_open = app.connectors.outside().report(caller.tenant(), &id, report);
    }
}

/// The call as it is asked for: who asks, and where it stands.
async fn begun(app: &App, at: &Prompted, used: &Use) -> Result<(Caller, GateView), Problem> {
    let caller = caller_of(app, at).await?;
    let (intent, arguments) = kinds::judged_as((at, used), &app.config)?;
    let call = GateCall {
        tool: format!("{PACK}/{intent}"),
        arguments,
        idempotency_key: None,
        wait_ms: Some(0),
    };
    let view = gate::call(app, &caller, call).await?;
    Ok((caller, view))
}

/// Waits until it is decided. A yes is taken: from then on the call counts as made.
async fn decided(app: &App, caller: &Caller, mut view: GateView) -> Result<GateView, Problem> {
    let mut changed = app.feed().watch();
    while matches!(view.verdict, GateVerdict::Ask | GateVerdict::Pending) {
        let take = GateTake { run: view.run.clone(), wait_ms: Some(1_000) };
        view = gate::take(app, caller, take).await?;
        if view.verdict == GateVerdict::Ask {
            tokio::select! {
                _ = changed.changed() => {}
                () = sleep(Duration::from_millis(LOOK_MS)) => {}
            }
        }
    }
    Ok(view)
}

/// Nobody waits for it any more.
async fn take_back(app: &App, caller: &Caller, run: &str) {
    let Ok(run) = parse_id::<RunId>(run) else { return };
    let reason = "its agent does not wait for it any more".to_owned();
    let report = Report::NotMade(reason.clone());
    let _was_taken = app.connectors.outside().report(caller.tenant(), &run, report);
    let cancel = Input::Cancel { by: caller.principal().clone(), reason };
    // One that is over cannot be ended.
    drop(runs::hand_in(app, caller, &run, cancel).await);
}

/// The agent itself, for the person that its run is for.
async fn caller_of(app: &App, at: &Prompted) -> Result<Caller, Problem> {
    let first = app.store.events(&at.tenant, &at.run, 0, 1).await?;
    let header = first.first().and_then(header_of);
    let header = header.ok_or_else(|| Problem::not_found("run", at.run.as_str()))?;
    let id = parse_id(&format!("agent:acp-{}", at.system))?;
    let agent = Principal { id, kind: Actor::Agent, roles: Default::default() };
    Ok(Caller::of(at.tenant.clone(), agent, Some(header.chain.on_behalf_of.clone())))
}

fn words(problem: &Problem) -> String {
    match (&problem.next, problem.kind) {
        (Some(next), Kind::NotFound) => {
            format!("{}; {next}; is the pack `{PACK}` among `packs`?", problem.detail)
        }
        _ => problem.detail.clone(),
    }
}
