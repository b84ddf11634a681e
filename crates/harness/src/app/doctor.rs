//! `doctor`: is this installation able to keep its promises right now?

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{Log as _, Query as _};

use super::{
    App, Caller, agents::ASSISTANT, config::hooks::Declared, intents::Nothing, problem::Problem,
    runs::rfc3339, value::counted,
};

/// Runs whose chains are verified in one go.
const RUNS_CHECKED_MAX: usize = 10_000;

/// What was looked at.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Diagnosis {
    /// Whether every check passed.
    pub healthy: bool,
    /// Each check.
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// Its id.
    pub id: String,
    /// `ok`, `warning` or `failed`.
    pub result: String,
    /// What was found.
    pub found: String,
    /// What to do.
    pub fix: Option<String>,
}

fn check(id: &str, problem: Option<String>, good: String, fix: &str) -> Check {
    let result = if problem.is_some() { "failed" } else { "ok" };
    let fix = problem.is_some().then(|| fix.to_owned());
    Check { id: id.to_owned(), result: result.to_owned(), found: problem.unwrap_or(good), fix }
}

/// Looks at store, chains, log, packs, policies, secrets.
///
/// # Errors
/// When the store cannot be read at all.
pub async fn diagnose(app: &App, caller: &Caller, _: Nothing) -> Result<Diagnosis, Problem> {
    let integrity = app.store.integrity_check(RUNS_CHECKED_MAX).await?;
    let broken = integrity.problems.first().map(ToString::to_string);
    let runs = format!("{}, every chain verified", counted(integrity.runs, "run"));
    let mut checks = vec![check("store", broken, runs, "restore the store from a backup")];

    let tree = super::receipts::tree(app, caller).await?;
    let kept = app.store.checkpoint(caller.tenant()).await?;
    let contradiction = kept.as_ref().and_then(|kept| {
        let same = tree.root(kept.size) == Some(kept.root);
        (!same).then(|| format!("the log contradicts its checkpoint of size {}", kept.size))
    });
    let size = format!(
        "{}, checkpoint at {}",
        counted(tree.size(), "receipt"),
        kept.map_or(0, |k| k.size)
    );
    checks.push(check("receipt-log", contradiction, size, "restore the store from a backup"));

    let missing = app.connectors.unresolved();
    let named = missing.first().map(ToString::to_string);
    checks.push(check(
        "secrets",
        named,
        "every secret resolves".to_owned(),
        "correct [secrets] in harness.toml; `harness secret list` shows what is kept",
    ));

    checks.extend(notices_checks(app).await?);
    let stock = app.shelf.stock();
    let packs: Vec<String> = stock.packs().map(|s| s.pack.manifest.name.clone()).collect();
    checks.push(packs_check(&packs));

    let halts = super::halts::list(app, caller, Default::default()).await?;
    checks.push(halts_check(&halts));
    checks.push(circuits_check(app));
    checks.push(slo_check(app));
    checks.extend(models_check(app));
    checks.extend(hooks_check(app));
    checks.extend(programs_check(app));
    checks.extend(super::workers::check(app));

    let stats = app.store.stats(caller.tenant()).await?;
    let queue = format!(
        "{}, {} open, {} open, {} KiB",
        counted(stats.events, "event"),
        counted(stats.approvals_open, "approval"),
        counted(stats.exceptions_open, "exception"),
        stats.file_bytes / 1_024,
    );
    checks.push(check("queue", None, queue, ""));
    let healthy = checks.iter().all(|check| check.result != "failed");
    Ok(Diagnosis { healthy, checks })
}

/// Operations that nobody answers, and systems that asked for a pause: sound, but not all can be done now.
fn circuits_check(app: &App) -> Check {
    let health = app.connectors.health();
    let paused = health.iter().filter_map(|system| {
        let until = system.paused_until?;
        Some(format!("{} asked for a pause until {}", system.system, rfc3339(until)))
    });
    let broken = health.iter().flat_map(|system| &system.operations);
    let broken = broken.filter(|operation| operation.circuit != "closed").map(|operation| {
        let until = operation.open_until.map(|until| format!(" until {}", rfc3339(until)));
        let (name, word) = (&operation.operation, operation.circuit.replace('_', " "));
        format!("{name} is {word}{}", until.unwrap_or_default())
    });
    let trouble: Vec<String> = paused.chain(broken).collect();
    let (result, found, fix) = if trouble.is_empty() {
        ("ok", "every circuit is closed, no system asked for a pause".to_owned(), None)
    } else {
        let fix = "look at those systems; calls go on by themselves once they answer".to_owned();
        ("warning", trouble.join("; "), Some(fix))
    };
    Check { id: "circuits".to_owned(), result: result.to_owned(), found, fix }
}

/// Operations that do less well than is expected of them.
fn slo_check(app: &App) -> Check {
    let health = app.connectors.health();
    let operations = health.iter().flat_map(|system| &system.operations);
    let missed = operations.filter_map(|operation| {
        let recent = operation.recent.filter(|_| super::packs::misses_goal(app, operation))?;
        let (name, well, calls) = (&operation.operation, recent.well, recent.calls);
        Some(format!("{name} did {well} of {calls} calls well, p95 {} ms", recent.p95_ms))
    });
    let missed: Vec<String> = missed.collect();
    let (result, found, fix) = match missed.is_empty() {
        true => ("ok", "no operation misses its goal".to_owned(), None),
        false => {
            let fix = "`harness pack status` shows each against its goal; look at those systems";
            ("warning", missed.join("; "), Some(fix.to_owned()))
        }
    };
    Check { id: "slo".to_owned(), result: result.to_owned(), found, fix }
}

/// Programs of systems, each in a sandbox: where one cannot be held, its calls are refused.
fn programs_check(app: &App) -> Option<Check> {
    let (held, refused): (Vec<_>, Vec<_>) =
        app.connectors.programs().partition(|(_, held)| held.is_ok());
    if held.is_empty() && refused.is_empty() {
        return None;
    }
    let trouble = refused.iter().filter_map(|(name, held)| {
        let why = held.as_ref().err()?;
        Some(format!("the program of `{name}` is not started: {why}"))
    });
    let trouble: Vec<String> = trouble.collect();
    let held = held.iter().filter_map(|(name, held)| {
        Some(format!("{name} ({} sandbox)", held.as_ref().ok()?.name()))
    });
    let held = held.collect::<Vec<_>>().join("; ");
    let fix = "`harness sandbox doctor` shows what this machine can hold";
    Some(check("programs", (!trouble.is_empty()).then(|| trouble.join("; ")), held, fix))
}

/// Hooks that cannot look at anything, or whose program cannot be run, so that their calls are denied.
fn hooks_check(app: &App) -> Option<Check> {
    let declared = &app.config.hooks;
    if declared.is_empty() {
        return None;
    }
    let stock = app.shelf.stock();
    let known: Vec<_> = stock.everything().iter().map(|(id, _)| id).collect();
    let agents = stock.packs().flat_map(|shelved| shelved.pack.agents.keys().map(String::as_str));
    let agents: Vec<&str> = agents.chain([ASSISTANT]).collect();
    let looks = |hook: &&Declared| {
        known.iter().any(|id| hook.looks_at(id))
            || agents.iter().any(|name| hook.looks_at_agent(name))
    };
    let idle = declared.iter().filter(|hook| !looks(hook)).map(|hook| {
        let what = if hook.is_of_agent() { "agent" } else { "operation" };
        format!("hook {} looks at nothing: no {what} fits `{}`", hook.name, hook.matches)
    });
    let gone = declared.iter().filter_map(|hook| {
        Some(format!("hook {}: {} cannot be run", hook.name, hook.missing_program()?))
    });
    let trouble: Vec<String> = gone.chain(idle).collect();
    let (result, found, fix) = if trouble.is_empty() {
        ("ok", counted(declared.len() as u64, "hook"), None)
    } else {
        ("warning", trouble.join("; "), Some("correct [[hooks]] in harness.toml".to_owned()))
    };
    Some(Check { id: "hooks".to_owned(), result: result.to_owned(), found, fix })
}

/// Providers of models: which roles they serve, and whether they are left alone for now. Agents go on with
/// the next one of a role, so trouble is a warning.
fn models_check(app: &App) -> Option<Check> {
    let health = app.models.status();
    if health.is_empty() {
        return None;
    }
    let left_alone = health.iter().filter(|provider| provider.circuit != "closed");
    let trouble: Vec<String> = left_alone
        .map(|provider| {
            let why = provider.last_error.map(|code| format!(": {code}")).unwrap_or_default();
            format!("{} is {}{why}", provider.provider, provider.circuit.replace('_', " "))
        })
        .collect();
    let unused = health.iter().filter(|provider| provider.roles.is_empty());
    let unused = unused.map(|provider| format!("{} has no role", provider.provider));
    let trouble: Vec<String> = trouble.into_iter().chain(unused).collect();
    let serving = health.iter().map(|provider| {
        let (name, roles) = (&provider.provider, provider.roles.join(", "));
        format!(
            "{name} for {roles} ({}, failed {})",
            counted(provider.calls, "call"),
            provider.failed
        )
    });
    let (result, found, fix) = if trouble.is_empty() {
        ("ok", serving.collect::<Vec<_>>().join("; "), None)
    } else {
        let fix =
            "look at [providers] and [models] in harness.toml, and at the providers".to_owned();
        ("warning", trouble.join("; "), Some(fix))
    };
    Some(Check { id: "models".to_owned(), result: result.to_owned(), found, fix })
}

/// What could not be told, and what cannot be told at all. Nobody is locked out by it: the lists are whole.
async fn notices_checks(app: &App) -> Result<Option<Check>, Problem> {
    if !app.config.notify.is_on() {
        return Ok(None);
    }
    let (unresolved, lost) = app.notice_troubles().await?;
    if !unresolved.is_empty() {
        let fix = "correct the references of [notify] in harness.toml";
        return Ok(Some(check("notices", Some(unresolved.join("; ")), String::new(), fix)));
    }
    let (result, found, fix) = if lost.is_empty() {
        ("ok", "every notice was told, or is being tried".to_owned(), None)
    } else {
        let fix =
            "look at the receivers; what waits is in `harness approval list` and `exception list`";
        ("warning", format!("given up: {}", lost.join("; ")), Some(fix.to_owned()))
    };
    Ok(Some(Check { id: "notices".to_owned(), result: result.to_owned(), found, fix }))
}

/// A store without packs is sound; it just cannot do anything yet.
fn packs_check(packs: &[String]) -> Check {
    let (result, found, fix) = if packs.is_empty() {
        let fix = "add a folder to `packs` in harness.toml".to_owned();
        ("warning", "no pack is configured".to_owned(), Some(fix))
    } else {
        ("ok", packs.join(", "), None)
    };
    Check { id: "packs".to_owned(), result: result.to_owned(), found, fix }
}

/// A halt is no damage, but nobody should forget that it stands.
fn halts_check(halts: &super::halts::HaltList) -> Check {
    let each = halts.items.iter().map(|halt| {
        let name = format!("{} {}", halt.scope, halt.name);
        format!("{} by {} since {}", name.trim(), halt.by, halt.at)
    });
    let standing: Vec<String> = each.collect();
    let (result, found, fix) = if standing.is_empty() {
        ("ok", "nothing is halted".to_owned(), None)
    } else {
        let fix = "`harness halt lift ID` lets what it holds go on".to_owned();
        ("warning", standing.join("; "), Some(fix))
    };
    Check { id: "halts".to_owned(), result: result.to_owned(), found, fix }
}
