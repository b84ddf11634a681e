//! The work of runs that is kept apart: which there is, what merging it would come to, merging it as a governed action,
//! and dropping it. Looking and dropping concern folders of the harness's own; a merge is a run with a plan, a receipt
//! and a way back, by the intent that an installed pack declares for it.

use std::sync::Arc;

use connect::apart::Work as Apart;
use kernel::{
    exception::Class,
    id::RunId,
    label::Trust,
    playbook::{Step, Work, visit_steps},
    port::Failure,
};
use pack::Intent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    App, Caller,
    intents::{Chosen, Nothing, Submit, Submitted, of_trust, submit_chosen},
    parse_id,
    problem::{Kind, Problem},
    runs::{self, RunView},
    shelf::Shelved,
};

/// Where folders of runs lie, below the store.
pub(super) const FOLDER: &str = "work";

/// The work of a run in one declared folder.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WorkView {
    /// The system of kind `folder`.
    pub system: String,
    /// The run that did it.
    pub run: RunView,
}

/// Everything that was neither dropped nor came to nothing.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WorkList {
    /// By system and run.
    pub items: Vec<WorkView>,
}

/// Which work, and where it would go.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LookAtWork {
    /// The run that did it.
    pub run: String,
    /// The system of kind `folder`; may be left out where the run worked in one alone.
    #[serde(default)]
    pub system: Option<String>,
    /// The branch it would go to; absent = `harness/` and the run.
    #[serde(default)]
    pub branch: Option<String>,
}

/// What a branch would come to.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WorkPreview {
    /// The system.
    pub system: String,
    /// The run that did it.
    pub run: String,
    /// The branch.
    pub branch: String,
    /// What the branch stands at; absent where it would be new.
    #[serde(default)]
    pub stands_at: Option<String>,
    /// The work as a commit.
    pub commit: String,
    /// `nothing`, `new_branch`, `fast_forward`, `three_way` or `conflict`.
    pub way: String,
    /// Whether it can be merged as it is.
    pub mergeable: bool,
    /// Paths of the branch that would be different.
    pub changes: Vec<WorkChange>,
    /// How many more there are.
    pub changes_cut: u64,
    /// Paths that both changed, each in its own way.
    pub conflicts: Vec<String>,
    /// The difference, line by line.
    pub diff: String,
    /// Bytes of it that are not shown.
    pub diff_cut: u64,
    /// Paths that are not taken over: what belongs to git, sockets, pipes, devices.
    pub left_out: Vec<String>,
    /// How many new files the tree says to ignore; they are not taken over.
    pub ignored: u64,
}

/// A path that would be different.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WorkChange {
    /// The path.
    pub path: String,
    /// `added`, `changed` or `deleted`.
    pub kind: String,
}

/// Asks for a merge.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MergeWork {
    /// The run whose work it is.
    pub run: String,
    /// The system of kind `folder`; may be left out where the run worked in one alone.
    #[serde(default)]
    pub system: Option<String>,
    /// The branch; absent = `harness/` and the run.
    #[serde(default)]
    pub branch: Option<String>,
    /// The `commit` of the preview that was looked at: anything else is refused; absent = as it is now.
    #[serde(default)]
    pub commit: Option<String>,
    /// How long to wait for the merge, in ms; absent = do not wait.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// Which work to drop.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DropWork {
    /// The run that did it.
    pub run: String,
    /// The system of kind `folder`; may be left out where the run worked in one alone.
    #[serde(default)]
    pub system: Option<String>,
}

/// What was dropped.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WorkDropped {
    /// The system.
    pub system: String,
    /// The run.
    pub run: String,
}

/// Lists the work that is there.
///
/// # Errors
/// When a folder of work cannot be read.
pub async fn list(app: &App, caller: &Caller, _: Nothing) -> Result<WorkList, Problem> {
    let mut items = Vec::new();
    for (system, work) in app.connectors.apart() {
        for run in work.runs().await.map_err(refused)? {
            let Ok(run) = runs::view_of(app, caller, &run).await else { continue };
            items.push(WorkView { system: system.to_owned(), run });
        }
    }
    Ok(WorkList { items })
}

/// Shows what merging would come to.
///
/// # Errors
/// When the run did nothing that is there, or is still at it.
pub async fn preview(
    app: &App,
    caller: &Caller,
    request: LookAtWork,
) -> Result<WorkPreview, Problem> {
    let (run, system, work) = found(app, caller, (&request.run, request.system)).await?;
    look(app, (&work, &run, &system), request.branch).await
}

async fn look(
    app: &App,
    (work, run, system): (&Apart, &RunId, &str),
    branch: Option<String>,
) -> Result<WorkPreview, Problem> {
    let mut shown = work.preview(run, branch).await.map_err(refused)?;
    // Files may hold what must not be told: as with every result, it is taken out of what is shown.
    if let Some(diff) = shown.get_mut("diff") {
        app.connectors.redactor().scrub_value(diff);
    }
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("system".to_owned(), json!(system));
    }
    serde_json::from_value(shown)
        .map_err(|error| Problem::new(Kind::Unexpected, "work", error.to_string()))
}

/// Merges work into a branch, as a run of its own: judged by policy, receipted, and taken back by `run rollback`.
///
/// # Errors
/// When there is nothing that could be merged as it is, or no installed pack declares how.
pub async fn merge(app: &App, caller: &Caller, request: MergeWork) -> Result<Submitted, Problem> {
    let (run, system, work) = found(app, caller, (&request.run, request.system)).await?;
    let shown = look(app, (&work, &run, &system), request.branch).await?;
    check_mergeable(&shown, request.commit.as_deref())?;
    let chosen = merging(app, &system)?;
    let submit = Submit {
        intent: Some(chosen.intent.clone()),
        inputs: json!({
            "run": run, "branch": shown.branch, "commit": shown.commit, "stands_at": shown.stands_at,
        }),
        wait_ms: request.wait_ms,
        ..Submit::default()
    };
    submit_chosen(app, caller, (submit, chosen), of_trust(Trust::User)).await
}

fn check_mergeable(shown: &WorkPreview, seen: Option<&str>) -> Result<(), Problem> {
    let WorkPreview { branch, way, conflicts, .. } = shown;
    if seen.is_some_and(|seen| seen != shown.commit) {
        let detail = "the work is not what that preview showed";
        return Err(Problem::new(Kind::Conflict, "work-changed", detail)
            .next("look at it again with `harness run work show`"));
    }
    if shown.mergeable {
        return Ok(());
    }
    if way == "nothing" {
        let detail = format!("`{branch}` has all of it already");
        return Err(Problem::new(Kind::Conflict, "nothing-to-merge", detail)
            .next("drop it with `harness run work drop`"));
    }
    let first = conflicts.first().map(String::as_str).unwrap_or_default();
    let detail = format!(
        "`{branch}` changed the same places: {} paths conflict, `{first}` among them",
        conflicts.len()
    );
    Err(Problem::new(Kind::Conflict, "work-conflicts", detail)
        .next("merge it into another branch with --branch, and settle the conflict there"))
}

/// Drops what a run did: its folder goes, with all that was not merged.
///
/// # Errors
/// When the run did nothing that is there, or is still at it.
pub async fn discard(
    app: &App,
    caller: &Caller,
    request: DropWork,
) -> Result<WorkDropped, Problem> {
    let (run, system, work) = found(app, caller, (&request.run, request.system)).await?;
    work.drop_work(&run).await.map_err(refused)?;
    Ok(WorkDropped { system, run: run.to_string() })
}

/// The work of a run that is over, by the system that it was done in.
async fn found(
    app: &App,
    caller: &Caller,
    (run, system): (&str, Option<String>),
) -> Result<(RunId, String, Apart), Problem> {
    let id: RunId = parse_id(run)?;
    app.check_own(caller, &id).await?;
    let entry = runs::entry_of(app, caller, &id).await?;
    if !entry.row.as_ref().is_some_and(|row| row.status.is_over()) {
        let detail = format!("{id} is not over, and may be changing its work");
        return Err(Problem::new(Kind::Conflict, "run-under-way", detail)
            .next("wait for its end, or cancel it with `harness run cancel`"));
    }
    let mut all = Vec::new();
    for (name, work) in app.connectors.apart() {
        let is_asked = system.as_deref().is_none_or(|asked| asked == name);
        if is_asked && work.runs().await.map_err(refused)?.contains(&id) {
            all.push((name.to_owned(), work));
        }
    }
    let several = all.len() > 1;
    match all.pop() {
        Some((name, work)) if !several => Ok((id, name, work)),
        Some(_) => Err(Problem::usage("which-system", format!("{id} worked in several folders"))
            .next("name one with --system")),
        None => Err(Problem::not_found("work of run", run)
            .next("`harness run work list` shows what there is; what changed nothing is not kept")),
    }
}

/// The intent by which work of a system is merged: one whose playbook does exactly that.
fn merging(app: &App, system: &str) -> Result<Chosen, Problem> {
    let stock = app.shelf.stock();
    let found = stock.packs().find_map(|shelved| {
        let intents = shelved.pack.intents.values();
        let name =
            intents.filter(|intent| merges(shelved, intent, system)).map(|i| &i.name).next()?;
        Some(Chosen::of(Arc::clone(shelved), name.clone()))
    });
    found.ok_or_else(|| {
        let detail = format!("no pack declares how work in [systems.{system}] is merged");
        Problem::new(Kind::Usage, "no-merge", detail).next(
            "have a pack declare an intent whose playbook does `request: {do: work_merge}`, as packs/workbench does",
        )
    })
}

/// Whether the one call that a playbook makes brings work of a system into a branch.
fn merges(shelved: &Shelved, intent: &Intent, system: &str) -> bool {
    let Some(playbook) = shelved.pack.playbooks.get(&intent.playbook) else { return false };
    let (mut merging, mut others) = (0_u32, 0_u32);
    visit_steps(&playbook.steps, &mut |_, step| {
        let Step { work: Work::Do { operation, .. }, .. } = step else { return };
        let entry = shelved.catalogue.get(operation);
        let is_merge = entry.is_some_and(|entry| {
            let binding = &entry.operation.binding;
            binding["kind"] == "folder"
                && binding["do"] == "work_merge"
                && binding["system"] == system
        });
        *(if is_merge { &mut merging } else { &mut others }) += 1;
    });
    (merging, others) == (1, 0)
}

/// What the folder of a run says no to.
fn refused(failure: Failure) -> Problem {
    let kind = match failure.class {
        Class::Stale => Kind::Conflict,
        Class::InvalidArguments => Kind::NotFound,
        Class::Permission => Kind::NotAllowed,
        _ => Kind::TryAgain,
    };
    Problem::new(kind, "work", failure.message)
        .next("`harness run work list` shows the work that is there")
}
