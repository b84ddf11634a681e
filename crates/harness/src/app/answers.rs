//! Answers kept for a day, so that a request repeated under its key is answered, not done again.

use kernel::Digest;
use serde::{Deserialize, Serialize};
use store::{Document, Documents as _, Expected};

use super::{
    App, Caller,
    problem::{Kind, Problem},
};

/// The kind of document an answer is kept as.
pub(super) const KIND: &str = "answer";

/// How long an answer is kept, in milliseconds.
const KEPT_MS: i64 = 24 * 3_600_000;

/// An answer as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Content type.
    pub kind: String,
    /// The body.
    pub body: String,
}

/// What a request that names a key meets.
#[derive(Debug)]
pub enum Claimed {
    /// It is the first; settle it under this version.
    Now(u64),
    /// It was answered before.
    Before(Answer),
    /// Another request used the key.
    Other,
    /// The first is not answered yet.
    InFlight,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// Of the request; empty where the place is free again.
    digest: String,
    claimed_at: i64,
    /// The process that claimed it: without an answer it is at work, or it died.
    #[serde(default)]
    by: String,
    answer: Option<Answer>,
}

impl App {
    /// Where the answer to one caller's key at one route is kept.
    #[must_use]
    pub fn answer_place(caller: &Caller, route: &str, key: &str) -> String {
        let parts = [caller.principal().id.as_str().as_bytes(), route.as_bytes(), key.as_bytes()];
        Digest::of_parts("harness/answer/v1", &parts).hex()
    }

    /// Claims a place for a request with this digest.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn claim_answer(&self, place: &str, digest: &str) -> Result<Claimed, Problem> {
        let (tenant, now) = (&self.config.tenant, self.now());
        let by = self.feed.process();
        let claim =
            Kept { digest: digest.to_owned(), claimed_at: now, by: by.clone(), answer: None };
        let claim = document(place, now + KEPT_MS, &claim)?;
        match self.store.keep(tenant, claim.clone(), Expected::Absent).await {
            Ok(version) => return Ok(Claimed::Now(version)),
            Err(store::Error::Stale { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let Some(found) = self.store.document(tenant, KIND, place).await? else {
            return Ok(Claimed::InFlight);
        };
        let kept: Kept = serde_json::from_slice(&found.body).map_err(unreadable)?;
        let is_free = kept.digest.is_empty();
        if kept.digest != digest && !is_free {
            return Ok(Claimed::Other);
        }
        match kept.answer {
            Some(answer) => Ok(Claimed::Before(answer)),
            // A store has one owner at a time: whoever claimed it is this process, or is gone.
            None if kept.by == by && !is_free => Ok(Claimed::InFlight),
            None => match self.store.keep(tenant, claim, Expected::Version(found.version)).await {
                Ok(version) => Ok(Claimed::Now(version)),
                Err(store::Error::Stale { .. }) => Ok(Claimed::InFlight),
                Err(error) => Err(error.into()),
            },
        }
    }

    /// Keeps the answer to a claimed request, or frees the place when there is none to keep.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn settle_answer(
        &self,
        place: &str,
        version: u64,
        answer: Option<Answer>,
    ) -> Result<(), Problem> {
        let tenant = &self.config.tenant;
        let Some(found) = self.store.document(tenant, KIND, place).await? else { return Ok(()) };
        let kept: Kept = serde_json::from_slice(&found.body).map_err(unreadable)?;
        // An answer that is too large to keep is given once.
        let answer = answer.filter(|answer| answer.body.len() < store::DOCUMENT_BYTES_MAX / 2);
        let now = self.now();
        let (kept, due) = match answer {
            Some(answer) => (Kept { answer: Some(answer), ..kept }, now + KEPT_MS),
            None => (Kept { digest: String::new(), ..kept }, now),
        };
        let settled = document(place, due, &kept)?;
        match self.store.keep(tenant, settled, Expected::Version(version)).await {
            // Somebody took the claim over: theirs counts.
            Ok(_) | Err(store::Error::Stale { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn document(place: &str, due: i64, kept: &Kept) -> Result<Document, Problem> {
    let body = serde_json::to_vec(kept).map_err(unreadable)?;
    Ok(Document { kind: KIND, id: place.to_owned(), due: Some(due), body })
}

fn unreadable(error: serde_json::Error) -> Problem {
    Problem::new(Kind::Unexpected, "answer-unreadable", error.to_string())
}
