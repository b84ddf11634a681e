//! From an intent to the plan of a run, pinned to what is in force now.

use std::sync::Arc;

use kernel::plan::Plan;
use pack::Pins;
use serde_json::Value;

use super::{
    App, Caller,
    config::hooks,
    header::{config_digest, places_of},
    intents::{Chosen, grant_of},
    problem::Problem,
    shelf::{Planned, Shelved},
};

/// The plan of a run. Calls of any sort that share an intent share its plan, too: it is made once for all of them.
///
/// # Errors
/// As those of [`compile`].
pub(super) fn planned(
    app: &App,
    caller: &Caller,
    chosen: &Chosen,
    inputs: &Value,
) -> Result<Arc<Planned>, Problem> {
    let make = || compile(app, caller, chosen, inputs);
    if !chosen.is_one_of_many {
        return app.shelf.planned(Arc::new(make()?)).map(Arc::new);
    }
    let shelved = &chosen.shelved;
    let fit = shelved.pack.check_inputs((&chosen.intent, inputs), &*shelved.schemas);
    fit.map_err(unfit)?;
    let Pins { policy_digest, config_digest } = pins(app, caller, shelved);
    let shared = shelved.shared_plan((policy_digest, config_digest), || {
        app.shelf.planned(Arc::new(Plan { inputs: None, ..make()? }))
    })?;
    app.shelf.remember(shared.digest, Arc::clone(&shared.plan));
    Ok(shared)
}

/// What a plan that is made now is pinned to.
fn pins(app: &App, caller: &Caller, shelved: &Shelved) -> Pins {
    let stock = app.shelf.stock();
    let config_digest = stock
        .config_digest(caller.tenant(), || config_digest(&app.config, caller.tenant(), &stock));
    Pins { policy_digest: shelved.bundle.digest(), config_digest }
}

fn unfit(problem: pack::Problem) -> Problem {
    Problem::usage("inputs-invalid", problem.message)
        .next("`harness intent list -o json` shows the schema of the inputs")
}

/// Compiles what an intent does, for these inputs, under what is in force now.
///
/// # Errors
/// When the inputs do not fit.
pub(super) fn compile(
    app: &App,
    caller: &Caller,
    chosen: &Chosen,
    inputs: &Value,
) -> Result<Plan, Problem> {
    let shelved = &chosen.shelved;
    let pins = pins(app, caller, shelved);
    let forecast = |operation: &kernel::operation::Operation| shelved.bundle.forecast(operation);
    let with = (&*shelved.schemas as &dyn kernel::port::Validate, &forecast as pack::Forecast<'_>);
    let compiled = shelved.pack.compile(&chosen.intent, inputs, pins, with);
    let mut plan = compiled.map_err(unfit)?;
    // A run keeps the hooks it was opened with: they stand in its plan.
    let agents = hooks::agents_of(&plan.playbook.steps);
    let granted = grant_of(&plan, shelved).operations;
    plan.hooks = hooks::for_plan(&app.config.hooks, &granted, &agents);
    let entries = granted.iter().filter_map(|id| shelved.catalogue.get(id));
    plan.servers = places_of(&app.config, entries.map(|entry| &*entry.operation));
    Ok(plan)
}
