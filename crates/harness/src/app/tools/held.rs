//! Which call a repetition belongs to. A call is remembered from before its run begins until its outcome was told: what
//! is asked again meanwhile is the same call, and what is asked again afterwards is another.

use std::time::Duration;

use kernel::{Digest, canon, id::RunId};
use mcp::server::{Broken, Seal};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Document, Documents as _, Expected};

use crate::app::{
    App, Caller,
    problem::{Kind, Problem},
};

/// The kind of document a call is remembered as, by what it is about.
const CALL: &str = "tool-call";

/// The kind of document that leads from a run to its call.
const RUN: &str = "tool-run";

/// The kind of document that holds the key of what clients keep for us.
const KEY: &str = "tool-key";

/// How long a call is remembered, in ms: longer than anything waits for a person.
const KEPT_MS: i64 = 30 * 24 * 3_600_000;

/// How long what a client keeps is taken back.
const STATE_LASTS: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Times a change is made again when somebody else made one meanwhile.
pub(super) const TRIES: usize = 5;

/// Bytes of the key.
const KEY_BYTES: usize = 32;

/// What a call is about: who calls, what, with which arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::app) struct About(String);

impl About {
    pub(in crate::app) fn of(
        caller: &Caller,
        tool: &str,
        arguments: &Value,
    ) -> Result<Self, Problem> {
        let arguments = canon::bytes(arguments).map_err(|error| {
            Problem::usage("bad-arguments", error.to_string())
                .next("send numbers that JSON keeps exactly")
        })?;
        let parts = [caller.principal().id.as_str().as_bytes(), tool.as_bytes(), &arguments];
        Ok(Self(Digest::of_parts("harness/tool-call/v1", &parts).hex()))
    }
}

/// A call that nobody made yet, as far as anybody knows.
pub(super) struct New {
    /// The idempotency key of its run.
    pub(super) key: String,
    /// What it is remembered by, to be written with its run.
    pub(super) document: Document,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// The idempotency key of its run.
    key: String,
}

/// What a client gives back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    run: RunId,
}

impl App {
    /// A new call, should it not be under way.
    pub(super) fn tool_new(&self, about: &About) -> Result<New, Problem> {
        let key = uuid::Uuid::now_v7().to_string();
        let body = serde_json::to_vec(&Kept { key: key.clone() }).map_err(unreadable)?;
        Ok(New { key, document: self.tool_document((CALL, &about.0), body) })
    }

    /// The key of the run of a call that is under way.
    pub(super) async fn tool_found(
        &self,
        caller: &Caller,
        about: &About,
    ) -> Result<Option<String>, Problem> {
        let found = self.store.document(caller.tenant(), CALL, &about.0).await?;
        let kept = found.map(|found| serde_json::from_slice::<Kept>(&found.body));
        Ok(kept.transpose().map_err(unreadable)?.map(|kept| kept.key))
    }

    /// The key of the run that a call belongs to: of the one under way, or of a new one.
    pub(in crate::app) async fn tool_key(
        &self,
        caller: &Caller,
        about: &About,
    ) -> Result<String, Problem> {
        for _ in 0..TRIES {
            // Most calls are made once: it is written before anybody looks whether it is there.
            let New { key, document } = self.tool_new(about)?;
            match self.store.keep(caller.tenant(), document, Expected::Absent).await {
                Ok(_) => return Ok(key),
                Err(store::Error::Stale { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(key) = self.tool_found(caller, about).await? {
                return Ok(key);
            }
        }
        Err(busy())
    }

    fn tool_document(&self, (kind, id): (&'static str, &str), body: Vec<u8>) -> Document {
        Document { kind, id: id.to_owned(), due: Some(self.now() + KEPT_MS), body }
    }

    async fn keep_tool(
        &self,
        caller: &Caller,
        (kind, id): (&'static str, &str),
        body: Vec<u8>,
    ) -> Result<(), store::Error> {
        let document = self.tool_document((kind, id), body);
        self.store.keep(caller.tenant(), document, Expected::Absent).await.map(drop)
    }

    /// Remembers which call a run is of, for whoever asks after the run alone.
    pub(super) async fn tool_runs(
        &self,
        caller: &Caller,
        run: &RunId,
        about: &About,
    ) -> Result<(), Problem> {
        match self.keep_tool(caller, (RUN, run.as_str()), about.0.clone().into_bytes()).await {
            Ok(()) | Err(store::Error::Stale { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The outcome was told: whoever asks for the same from now on asks for it once more.
    pub(in crate::app) async fn tool_told(
        &self,
        caller: &Caller,
        run: &RunId,
        about: Option<&About>,
    ) -> Result<(), Problem> {
        let tenant = caller.tenant();
        let named = match about {
            Some(about) => Some(about.0.clone()),
            None => {
                let found = self.store.document(tenant, RUN, run.as_str()).await?;
                found.and_then(|found| String::from_utf8(found.body).ok())
            }
        };
        if let Some(named) = named {
            // Should the process die before, it was not told, and is once more: what was done is not done again.
            self.store.discard_soon(tenant, RUN, run.as_str());
            self.store.discard_soon(tenant, CALL, &named);
        }
        Ok(())
    }

    /// What a client is to give back with the same call.
    pub(super) async fn tool_state(&self, run: &RunId, about: &About) -> Result<String, Problem> {
        let seal = self.tool_seal().await?;
        let state = State { run: run.clone() };
        seal.close(&state, about.0.as_bytes(), STATE_LASTS).map_err(broken)
    }

    /// The run that a client's state names, if it was given out for exactly this call.
    pub(super) async fn tool_opened(&self, state: &str, about: &About) -> Result<RunId, Problem> {
        let seal = self.tool_seal().await?;
        let state: State = seal.open(state, about.0.as_bytes()).map_err(broken)?;
        Ok(state.run)
    }

    /// The key lies in the store, so that a call that waits for a person outlives the process.
    async fn tool_seal(&self) -> Result<Seal, Problem> {
        let tenant = &self.config.tenant;
        for _ in 0..TRIES {
            if let Some(found) = self.store.document(tenant, KEY, "current").await? {
                return Seal::new(&found.body).map_err(broken);
            }
            let mut key = [0_u8; KEY_BYTES];
            getrandom::fill(&mut key)
                .map_err(|error| Problem::new(Kind::Unexpected, "no-chance", error.to_string()))?;
            let document =
                Document { kind: KEY, id: "current".to_owned(), due: None, body: key.to_vec() };
            match self.store.keep(tenant, document, Expected::Absent).await {
                Ok(_) | Err(store::Error::Stale { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Problem::new(Kind::TryAgain, "call-busy", "the key of calls is being made")
            .next("repeat it"))
    }

    /// Forgets calls that nobody asked after.
    pub(in crate::app) async fn sweep_tools(&self) {
        for kind in [CALL, RUN] {
            let Ok(old) = self.store.due_documents(kind, self.now(), 1_000).await else { return };
            for document in old {
                drop(self.store.discard(&document.tenant, kind, &document.id).await);
            }
        }
    }
}

/// Somebody begins, and is told of, the same call all the time.
pub(super) fn busy() -> Problem {
    Problem::new(Kind::TryAgain, "call-busy", "the same call is being made just now")
        .next("repeat it")
}

fn broken(broken: Broken) -> Problem {
    Problem::usage("state-invalid", broken.to_string()).next("make the call again without it")
}

fn unreadable(error: serde_json::Error) -> Problem {
    Problem::new(Kind::Unexpected, "call-unreadable", error.to_string())
}
