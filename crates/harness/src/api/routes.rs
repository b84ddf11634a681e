//! The table: one line for each route. A new operation becomes reachable by a line here.

use serde_json::{Value, json};

/// The method of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
    Delete,
}

/// One route.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) verb: Verb,
    /// Its template; the names in braces are fields of the operation's request.
    pub(super) path: &'static str,
    /// The operation of `app` it calls.
    pub(super) op: &'static str,
    /// What it does, for the document.
    pub(super) summary: &'static str,
    /// A field of the request that the path stands for: its name and value.
    pub(super) fixed: Option<(&'static str, &'static str)>,
    /// Whether a decision needs the version it was made from.
    pub(super) decides: Option<Decides>,
    /// Whether its answer is kept for whoever repeats the request.
    pub(super) shown: Shown,
}

/// How often an answer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// To each repetition of its request.
    Again,
    /// It holds a secret: it is kept nowhere.
    Once,
}

/// What a decision is about: it is compared with the version that the caller has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decides {
    Approval,
    Exception,
}

impl Decides {
    /// The operation that shows it, and the field that names it.
    pub(super) fn shown_by(self) -> (&'static str, &'static str) {
        match self {
            Self::Approval => ("approval.get", "approval"),
            Self::Exception => ("exception.get", "exception"),
        }
    }
}

impl Route {
    /// Names in braces.
    pub(super) fn path_fields(&self) -> impl Iterator<Item = &'static str> {
        let parts = self.path.split('/');
        parts.filter_map(|part| part.strip_prefix('{').and_then(|p| p.strip_suffix('}')))
    }

    /// The fixed field as JSON.
    pub(super) fn fixed_field(&self) -> Option<(&'static str, Value)> {
        self.fixed.map(|(name, value)| (name, json!(value)))
    }
}

const fn route(verb: Verb, path: &'static str, op: &'static str, summary: &'static str) -> Route {
    Route { verb, path, op, summary, fixed: None, decides: None, shown: Shown::Again }
}

const fn get(path: &'static str, op: &'static str, summary: &'static str) -> Route {
    route(Verb::Get, path, op, summary)
}

const fn post(path: &'static str, op: &'static str, summary: &'static str) -> Route {
    route(Verb::Post, path, op, summary)
}

const fn steer(path: &'static str, verb: &'static str, summary: &'static str) -> Route {
    Route { fixed: Some(("verb", verb)), ..route(Verb::Post, path, "run.steer", summary) }
}

const fn decide(path: &'static str, verb: &'static str, summary: &'static str) -> Route {
    Route {
        fixed: Some(("verb", verb)),
        decides: Some(Decides::Approval),
        ..route(Verb::Post, path, "approval.decide", summary)
    }
}

const fn settle(path: &'static str, verb: &'static str, summary: &'static str) -> Route {
    Route {
        fixed: Some(("verb", verb)),
        decides: Some(Decides::Exception),
        ..route(Verb::Post, path, "exception.settle", summary)
    }
}

const fn claim_ask(path: &'static str, verb: &'static str, summary: &'static str) -> Route {
    claim("approval.claim", path, verb, summary)
}

const fn claim_exception(path: &'static str, verb: &'static str, summary: &'static str) -> Route {
    claim("exception.claim", path, verb, summary)
}

const fn claim(
    op: &'static str,
    path: &'static str,
    verb: &'static str,
    summary: &'static str,
) -> Route {
    Route { fixed: Some(("verb", verb)), ..route(Verb::Post, path, op, summary) }
}

/// Every route that is one operation.
pub(super) const ROUTES: &[Route] = &[
    get("/v1/intents", "intent.list", "What can be asked for"),
    post("/v1/intents", "intent.submit", "Submit an intent; durable once it is answered"),
    post("/v1/plans", "intent.plan", "The plan a submission would run, without running it"),
    get("/v1/runs", "run.list", "Runs, newest first"),
    post("/v1/runs", "run.start", "Hand a task in words to an agent"),
    get("/v1/runs/{run}", "run.get", "One run in full"),
    get("/v1/runs/{run}/context", "run.context", "What each model call of a run saw"),
    get("/v1/runs/{run}/speech", "run.speech", "What is being said in a run, as it is said"),
    get("/v1/runs/{run}/artifacts", "run.artifacts", "Files a run published as results"),
    get(
        "/v1/runs/{run}/artifacts/{artifact}",
        "run.artifact",
        "What a published file holds, as base64, a piece at a time",
    ),
    get("/v1/runs/{run}/egress", "run.egress", "What a run's programs asked of the outside"),
    get("/v1/runs/{run}/attachments/{name}", "run.attachment", "A file that was attached to a run"),
    get("/v1/runs/{run}/plan", "plan.get", "The plan a run was begun with"),
    get("/v1/runs/{run}/events", "run.events", "A run's events, in order"),
    get("/v1/runs/{run}/receipts", "receipt.list", "A run's receipts"),
    post("/v1/runs/{run}/resume", "run.resume", "Let a paused or abandoned run go on"),
    steer("/v1/runs/{run}/cancel", "cancel", "End a run; what it did stays done"),
    steer("/v1/runs/{run}/pause", "pause", "Hold a run"),
    steer("/v1/runs/{run}/tell", "tell", "Tell whoever plans a run something"),
    steer("/v1/runs/{run}/signal", "signal", "Send a run the signal it waits for"),
    get("/v1/runs/{run}/rollback", "run.rollback-preview", "What taking a run back would do"),
    post("/v1/runs/{run}/rollback", "run.rollback", "Take a run's effects back"),
    post("/v1/runs/{run}/replay", "run.replay", "Replay a run from its journal, without effects"),
    post("/v1/runs/{run}/verify", "run.verify", "Verify a run's receipts"),
    post("/v1/runs/{run}/export", "run.export", "A bundle that verifies elsewhere"),
    Route {
        shown: Shown::Once,
        ..post("/v1/runs/{run}/leases", "lease.create", "Let a job's port be reached from outside")
    },
    get("/v1/leases", "lease.list", "Ports of jobs that are reached from outside"),
    route(Verb::Delete, "/v1/leases/{lease}", "lease.end", "End a lease"),
    get("/v1/work", "work.list", "Work of runs that is kept apart, and was not dropped"),
    get("/v1/runs/{run}/work", "work.preview", "What merging a run's work would come to"),
    post("/v1/runs/{run}/work/merge", "work.merge", "Merge a run's work, as a run of its own"),
    Route {
        ..route(Verb::Delete, "/v1/runs/{run}/work", "work.drop", "Drop what a run did apart")
    },
    get("/v1/approvals", "approval.list", "What waits for a decision, soonest expiry first"),
    get("/v1/approvals/{approval}", "approval.get", "The card of an open ask"),
    decide("/v1/approvals/{approval}/approve", "approve", "Yes, to exactly what was shown"),
    decide("/v1/approvals/{approval}/deny", "deny", "No, with a reason"),
    decide("/v1/approvals/{approval}/edit", "edit", "Not this, but with these arguments"),
    decide("/v1/approvals/{approval}/reply", "reply", "Answer a typed question"),
    post("/v1/approvals/decide", "approval.decide-batch", "Several answers; each counts alone"),
    claim_ask("/v1/approvals/{approval}/claim", "claim", "Look after it yourself"),
    claim_ask("/v1/approvals/{approval}/assign", "assign", "Have somebody look after it"),
    claim_ask("/v1/approvals/{approval}/release", "release", "Nobody looks after it any more"),
    claim_ask("/v1/approvals/{approval}/set-aside", "set_aside", "To the end of the list"),
    claim_ask("/v1/approvals/{approval}/take-up", "take_up", "Back to its place in the list"),
    get("/v1/exceptions", "exception.list", "Runs that need someone, oldest first"),
    get("/v1/exceptions/{exception}", "exception.get", "What happened, and what may be decided"),
    settle("/v1/exceptions/{exception}/happened", "happened", "The effect is there"),
    settle(
        "/v1/exceptions/{exception}/did-not-happen",
        "did_not_happen",
        "The effect is not there",
    ),
    settle("/v1/exceptions/{exception}/retry", "retry", "Try the step again"),
    settle("/v1/exceptions/{exception}/answer", "use", "Go on with this as the step's output"),
    settle("/v1/exceptions/{exception}/skip", "skip", "Go on without the step"),
    settle("/v1/exceptions/{exception}/stop", "stop", "End the run as declared"),
    settle("/v1/exceptions/{exception}/rollback", "rollback", "Take the run's effects back"),
    settle("/v1/exceptions/{exception}/close", "close", "Nothing more is to be done"),
    claim_exception("/v1/exceptions/{exception}/claim", "claim", "Look after it yourself"),
    claim_exception("/v1/exceptions/{exception}/assign", "assign", "Have somebody look after it"),
    claim_exception(
        "/v1/exceptions/{exception}/release",
        "release",
        "Nobody looks after it any more",
    ),
    claim_exception("/v1/exceptions/{exception}/set-aside", "set_aside", "To the end of the list"),
    claim_exception(
        "/v1/exceptions/{exception}/take-up",
        "take_up",
        "Back to its place in the list",
    ),
    post(
        "/v1/gate/tool-call",
        "gate.call",
        "Judge and record a call another agent is about to make",
    ),
    post("/v1/gate/tool-call/{run}/take", "gate.take", "Wait for the verdict, and take the call"),
    post("/v1/gate/tool-call/{run}/report", "gate.report", "Say what came of a call"),
    post("/v1/gate/hook", "gate.hook", "What a hook of a coding agent was told, and its answer"),
    get("/v1/tools", "tool.list", "What can be called as a tool"),
    post("/v1/tools/{tool}/call", "tool.call", "Call a tool: a run, durable once it is answered"),
    post("/v1/tools/watch", "tool.watch", "Wait until a list of what can be called is another"),
    get("/v1/proxy/tools", "proxy.list", "What servers of MCP behind the proxy offer"),
    post(
        "/v1/proxy/watch",
        "proxy.watch",
        "Wait for changes of what servers behind the proxy have",
    ),
    post("/v1/proxy/complete", "proxy.complete", "How an argument of theirs may go on"),
    get(
        "/v1/proxy/learned",
        "proxy.learn",
        "What clients of the proxy did, as a draft of what they may",
    ),
    post(
        "/v1/proxy/tools/{tool}/call",
        "proxy.call",
        "Call a tool of a server behind the proxy, or read what it has",
    ),
    post("/v1/tool-calls/{run}/wait", "tool.wait", "Wait for a call of one's own"),
    post(
        "/v1/tool-calls/{run}/answer",
        "tool.answer",
        "Answer what a server asks in the middle of a call",
    ),
    post(
        "/v1/tool-calls/{run}/leave",
        "tool.leave",
        "Let go of a call: cancelled if nothing was begun",
    ),
    Route {
        // It holds what the job is about.
        shown: Shown::Once,
        ..post(
            "/v1/workers/{system}/lease",
            "worker.lease",
            "Take the job of a worker's system that has waited longest, or wait for one",
        )
    },
    post(
        "/v1/workers/{system}/leases/{lease}/heartbeat",
        "worker.heartbeat",
        "Say that a job is still being worked at",
    ),
    post(
        "/v1/workers/{system}/leases/{lease}/commit",
        "worker.commit",
        "Say what came of a job; the first word counts",
    ),
    get("/v1/receipts", "receipt.ledger", "Receipts, run by run, the newest run first"),
    get("/v1/receipts/export", "receipt.export", "A part of the log, each receipt with its proof"),
    post("/v1/receipts/{receipt}/verify", "receipt.verify", "Verify one receipt's exact bytes"),
    get("/v1/receipts/{receipt}", "receipt.get", "One receipt with its envelope"),
    get("/v1/checkpoint", "receipt.checkpoint", "A signed checkpoint of the receipt log"),
    get("/v1/explanations/{id}", "explain", "What a run, receipt or exception is about"),
    get("/v1/kpis", "kpi.report", "Each pack's figures, from the journal"),
    get("/v1/packs", "pack.list", "Packs that are configured or installed"),
    post("/v1/packs", "pack.install", "Install a pack; what it asks for was reviewed before"),
    post("/v1/pack-reviews", "pack.review", "What a pack asks for, and what would be different"),
    get("/v1/packs/status", "pack.status", "How packs and their systems stand"),
    get("/v1/packs/{pack}", "pack.get", "One pack, its versions and what was done to it"),
    get(
        "/v1/packs/{pack}/failures",
        "pack.failures",
        "What failed last so that a person was needed",
    ),
    Route {
        ..route(Verb::Delete, "/v1/packs/{pack}", "pack.remove", "Remove a pack; its runs stay")
    },
    post("/v1/packs/{pack}/upgrade", "pack.upgrade", "Replace a pack by a newer version"),
    post("/v1/packs/{pack}/enable", "pack.enable", "Let a pack take work again"),
    post("/v1/packs/{pack}/disable", "pack.disable", "Let a pack take no new work"),
    post("/v1/packs/{pack}/rollback", "pack.rollback", "Put an earlier version in force again"),
    get("/v1/policies/check", "policy.check", "What the policies in force permit by mistake"),
    get("/v1/policies/matrix", "policy.matrix", "Each operation's verdict"),
    post("/v1/policies/explain", "policy.explain", "What policy would say of an action"),
    get("/v1/halts", "halt.list", "What is halted"),
    post("/v1/halts", "halt.set", "Halt everything, a pack, a connector, an agent or a run"),
    post("/v1/halts/{halt}/lift", "halt.lift", "Lift a halt"),
    get("/v1/tokens", "token.list", "Tokens, without their secrets"),
    Route { shown: Shown::Once, ..post("/v1/tokens", "token.create", "A token, shown this once") },
    Route { ..route(Verb::Delete, "/v1/tokens/{token}", "token.revoke", "End a token at once") },
    get("/v1/doctor", "doctor", "Whether everything is as it should be"),
    post("/v1/store/check", "store.check", "Verify every chain of the store"),
];
