//! `store check`: the file, every chain, every receipt, and whether lists say what journals say.

use std::collections::BTreeMap;

use ::receipts::{dsse, key::Keys};
use kernel::{
    event::{Body, Record},
    id::RunId,
    project::{Change, RunRow},
    run::Run,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{
    ApprovalEntry, ExceptionEntry, ExceptionFilter, Halts as _, Log as _, Page, Query as _,
    RunEntry, RunFilter, State,
};

use super::{App, Caller, header_of, intents::Nothing, problem::Problem, receipts};

/// Most problems told; the rest is counted.
const PROBLEMS_MAX: usize = 100;

/// What a check of the whole store found.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct StoreChecked {
    /// Whether nothing is wrong.
    pub sound: bool,
    /// Schema version of the file.
    pub store_version: u32,
    /// Runs whose chain was verified and whose lists were compared.
    pub runs: u64,
    /// Events in them.
    pub events: u64,
    /// Receipts whose signature and place in the log were verified.
    pub receipts: u64,
    /// Root of the receipt log.
    pub log_root: String,
    /// Entries of the halt log.
    pub halts: u64,
    /// Runs that could not be folded because what they are pinned to is not here; one that is not over
    /// is a problem, too.
    pub not_foldable: Vec<String>,
    /// What is wrong, one sentence each.
    pub problems: Vec<String>,
    /// Problems beyond those.
    pub more_problems: u64,
}

impl StoreChecked {
    fn wrong(&mut self, problem: String) {
        self.sound = false;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        } else {
            self.more_problems += 1;
        }
    }
}

/// Checks the whole store of the tenant. Reads only; whoever writes meanwhile is not disturbed.
///
/// # Errors
/// When the medium fails. Damage is an answer.
pub async fn check(app: &App, caller: &Caller, _: Nothing) -> Result<StoreChecked, Problem> {
    check_with(app, caller, &receipts::own_keys(app)).await
}

/// As [`check`], trusting these keys.
pub(super) async fn check_with(
    app: &App,
    caller: &Caller,
    keys: &Keys,
) -> Result<StoreChecked, Problem> {
    let mut found =
        StoreChecked { sound: true, store_version: store::VERSION, ..StoreChecked::default() };
    let integrity = app.store.integrity_check(usize::MAX >> 1).await?;
    integrity.problems.into_iter().for_each(|problem| found.wrong(problem));
    check_log(app, caller, &mut found).await?;
    let queues = Queues::load(app, caller).await?;
    let mut unsure = Vec::new();
    let mut after = None;
    loop {
        let page = Page { after, limit: store::PAGE_MAX };
        let listed = app.store.runs(caller.tenant(), RunFilter::default(), page).await?;
        for entry in &listed.items {
            if check_run(app, caller, (entry, &queues, keys), &mut found).await? == Lists::Differ {
                unsure.push(entry.run.clone());
            }
        }
        after = listed.next;
        if after.is_none() {
            break;
        }
    }
    compare_again(app, caller, &unsure, &mut found).await?;
    Ok(found)
}

async fn check_log(app: &App, caller: &Caller, found: &mut StoreChecked) -> Result<(), Problem> {
    match app.store.halt_log(caller.tenant()).await {
        Ok(log) => found.halts = log.len() as u64,
        Err(error) => found.wrong(error.to_string()),
    }
    // Before the log: whoever writes meanwhile makes checkpoints of what was not read yet.
    let kept = app.store.checkpoint(caller.tenant()).await?;
    let tree = match receipts::tree(app, caller).await {
        Ok(tree) => tree,
        Err(problem) => {
            found.wrong(problem.detail);
            return Ok(());
        }
    };
    let root = tree.root(tree.size());
    found.log_root = root.map(|root| root.to_string()).unwrap_or_default();
    if let Some(kept) = kept
        && tree.root(kept.size) != Some(kept.root)
    {
        found.wrong(format!("the receipt log contradicts its checkpoint of size {}", kept.size));
    }
    Ok(())
}

/// Asks and exceptions by run, as the lists say.
#[derive(Debug, Default, PartialEq)]
struct Queues {
    approvals: BTreeMap<RunId, Vec<ApprovalEntry>>,
    exceptions: BTreeMap<RunId, Vec<ExceptionEntry>>,
}

impl Queues {
    async fn load(app: &App, caller: &Caller) -> Result<Self, Problem> {
        let mut queues = Self::default();
        let mut after = None;
        loop {
            let page = Page { after, limit: store::PAGE_MAX };
            let listed = app.store.approvals(caller.tenant(), State::All, page).await?;
            for entry in listed.items {
                queues.approvals.entry(entry.run.clone()).or_default().push(entry);
            }
            after = listed.next;
            if after.is_none() {
                break;
            }
        }
        loop {
            let page = Page { after, limit: store::PAGE_MAX };
            let wanted = (State::All, ExceptionFilter::default());
            let listed = app.store.exceptions(caller.tenant(), wanted, page).await?;
            for entry in listed.items {
                queues.exceptions.entry(entry.run.clone()).or_default().push(entry);
            }
            after = listed.next;
            if after.is_none() {
                return Ok(queues);
            }
        }
    }
}

/// Whether the lists say of a run what its journal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lists {
    Agree,
    Differ,
}

async fn check_run(
    app: &App,
    caller: &Caller,
    (entry, queues, keys): (&RunEntry, &Queues, &Keys),
    found: &mut StoreChecked,
) -> Result<Lists, Problem> {
    let run = &entry.run;
    found.runs += 1;
    let records = match app.records(caller, run).await {
        Ok(records) => records,
        // The integrity check has named it.
        Err(problem) => {
            if found.sound {
                found.wrong(format!("run {run}: {}", problem.detail));
            }
            return Ok(Lists::Agree);
        }
    };
    found.events += records.len() as u64;
    check_envelopes(app, caller, (run, keys), found).await?;
    match changes(app, run, &records).await {
        Ok(changes) => {
            let seen = (entry, queues);
            let differences = differences(app, caller, seen, (&changes, &records)).await?;
            return Ok(if differences.is_empty() { Lists::Agree } else { Lists::Differ });
        }
        Err(Unfoldable::Wrong(problem)) => found.wrong(format!("run {run}: {problem}")),
        Err(Unfoldable::Unpinned(problem)) => {
            if !is_over(&records) {
                found.wrong(format!("run {run}: it is not over and cannot go on: {problem}"));
            }
            found.not_foldable.push(format!("run {run}: {problem}"));
        }
    }
    Ok(Lists::Agree)
}

/// Why a run could not be folded.
enum Unfoldable {
    /// Its journal is not in order.
    Wrong(String),
    /// What it is pinned to is not here.
    Unpinned(String),
}

/// What a journal changed in the lists.
async fn changes(app: &App, run: &RunId, records: &[Record]) -> Result<Vec<Change>, Unfoldable> {
    let header = records.first().and_then(header_of);
    let header =
        header.ok_or_else(|| Unfoldable::Wrong("its journal has no beginning".to_owned()))?;
    let loaded = app.shelf.pins(run, header).await.map_err(Unfoldable::Unpinned)?;
    Run::project(records, loaded.pins).map_err(|fault| Unfoldable::Wrong(fault.to_string()))
}

/// Whether nothing will follow by itself: closed, and at most looked at since.
fn is_over(records: &[Record]) -> bool {
    let looks = |body: &Body| matches!(body, Body::Claimed { .. } | Body::PolicyChanged { .. });
    let last = records.iter().rev().find(|record| !looks(&record.event.body));
    last.is_some_and(|record| matches!(record.event.body, Body::Closed { .. }))
}

/// Runs go on while they are read, and what was compared may be two moments. These are read once more; a
/// difference counts where the journal stood still meanwhile.
async fn compare_again(
    app: &App,
    caller: &Caller,
    unsure: &[RunId],
    found: &mut StoreChecked,
) -> Result<(), Problem> {
    let mut entries = Vec::new();
    for run in unsure {
        entries.extend(app.store.run(caller.tenant(), run).await?);
    }
    let queues =
        if entries.is_empty() { Queues::default() } else { Queues::load(app, caller).await? };
    for entry in &entries {
        let run = &entry.run;
        let records = app.records(caller, run).await?;
        let Ok(changes) = changes(app, run, &records).await else { continue };
        let differences = differences(app, caller, (entry, &queues), (&changes, &records)).await?;
        let now = app.store.run(caller.tenant(), run).await?;
        if now.is_none_or(|now| now.head != entry.head) {
            continue;
        }
        for what in differences {
            found.wrong(format!("run {run}: {what} in the lists are not what its journal says"));
        }
    }
    Ok(())
}

async fn check_envelopes(
    app: &App,
    caller: &Caller,
    (run, keys): (&RunId, &Keys),
    found: &mut StoreChecked,
) -> Result<(), Problem> {
    for line in receipts::entries(app, caller, run).await? {
        match app.store.receipt(caller.tenant(), &line.id).await {
            Ok(Some(stored)) => match dsse::open(&stored.envelope, keys) {
                Ok(_) => found.receipts += 1,
                Err(error) => found.wrong(format!("run {run}, receipt {}: {error}", line.id)),
            },
            Ok(None) => found.wrong(format!("run {run}, receipt {}: it is gone", line.id)),
            Err(error) => found.wrong(error.to_string()),
        }
    }
    Ok(())
}

/// What the lists should say about one run.
#[derive(Default)]
struct Expected {
    row: Option<RunRow>,
    queues: Queues,
    tokens: BTreeMap<String, String>,
    receipts: Vec<String>,
}

impl Expected {
    fn of(run: &RunId, changes: &[Change]) -> Self {
        let mut expected = Self::default();
        for change in changes {
            expected.apply(run, change);
        }
        expected
    }

    fn apply(&mut self, run: &RunId, change: &Change) {
        let run = run.clone();
        match change {
            Change::Run(row) => self.row = Some((**row).clone()),
            Change::ApprovalOpened(row) => {
                let (row, state, closed_at) = ((**row).clone(), None, None);
                let entry = ApprovalEntry { run: run.clone(), row, state, closed_at };
                self.queues.approvals.entry(run).or_default().push(entry);
            }
            Change::ApprovalClosed { id, state, at } => {
                let mine = self.queues.approvals.entry(run).or_default().iter_mut();
                for entry in mine.filter(|entry| entry.row.id == *id) {
                    (entry.state, entry.closed_at) = (Some(state.clone()), Some(*at));
                }
            }
            Change::ExceptionOpened(row) => {
                let exception = row.exception.clone();
                let mine = self.queues.exceptions.entry(run.clone()).or_default();
                mine.retain(|entry| entry.exception.id != exception.id);
                mine.push(ExceptionEntry { run, exception, closed_at: None });
            }
            Change::ExceptionClosed { id, at } => {
                let mine = self.queues.exceptions.entry(run).or_default().iter_mut();
                for entry in mine.filter(|entry| entry.exception.id == *id) {
                    entry.closed_at = Some(*at);
                }
            }
            Change::Token { id, action, state, .. } => {
                self.tokens.insert(id.to_string(), format!("{action} {state}"));
            }
            Change::Receipt { id, .. } => self.receipts.push(id.to_string()),
        }
    }
}

/// What the lists say of a run that its journal does not.
async fn differences(
    app: &App,
    caller: &Caller,
    (entry, queues): (&RunEntry, &Queues),
    (changes, records): (&[Change], &[Record]),
) -> Result<Vec<&'static str>, Problem> {
    let run = &entry.run;
    let expected = Expected::of(run, changes);
    let mut differing = Vec::new();
    let mut differs = |what: &'static str| differing.push(what);
    if expected.row != entry.row || entry.next_seq != records.len() as u64 {
        differs("its status and facts");
    }
    if sorted(&expected.queues.approvals, run, |e| e.row.id.to_string())
        != sorted(&queues.approvals, run, |e| e.row.id.to_string())
    {
        differs("its approvals");
    }
    if sorted(&expected.queues.exceptions, run, |e| e.exception.id.to_string())
        != sorted(&queues.exceptions, run, |e| e.exception.id.to_string())
    {
        differs("its exceptions");
    }
    if expected.tokens != tokens(app, caller, run).await? {
        differs("its rollback tokens");
    }
    let listed = receipts::entries(app, caller, run).await?;
    if !listed.iter().map(|line| line.id.to_string()).eq(expected.receipts) {
        differs("its receipts");
    }
    Ok(differing)
}

fn sorted<T: Clone>(
    all: &BTreeMap<RunId, Vec<T>>,
    run: &RunId,
    id: impl Fn(&T) -> String,
) -> Vec<T> {
    let mut mine = all.get(run).cloned().unwrap_or_default();
    mine.sort_by_key(|entry| id(entry));
    mine
}

async fn tokens(
    app: &App,
    caller: &Caller,
    run: &RunId,
) -> Result<BTreeMap<String, String>, Problem> {
    let mut tokens = BTreeMap::new();
    let mut after = None;
    loop {
        let page = Page { after, limit: store::PAGE_MAX };
        let listed = app.store.tokens(caller.tenant(), run, page).await?;
        let each = listed.items.into_iter();
        tokens.extend(each.map(|t| (t.id.to_string(), format!("{} {}", t.action, t.state))));
        after = listed.next;
        if after.is_none() {
            return Ok(tokens);
        }
    }
}
