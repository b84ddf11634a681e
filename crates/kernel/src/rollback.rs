//! Rollback tokens: the right to take one effect back, once.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    action::Resource,
    canon,
    id::{At, Digest, Seq, TokenId},
    label::LabelMap,
    operation::{Companion, Undo},
};

/// How long a token can be redeemed when nothing else is said: thirty days.
pub const TOKEN_EXPIRES_MS: i64 = 30 * 24 * 3_600_000;

/// Where a token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It can be redeemed.
    Armed,
    /// It is being redeemed.
    Redeeming,
    /// It has been dealt with, well or badly; never again.
    Spent,
}

/// A token as folded from the journal.
#[derive(Clone, Debug)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// The action it takes back.
    pub action: Seq,
    /// Restore or compensate.
    pub undo: Undo,
    /// The write that takes it back.
    pub undo_with: Companion,
    /// The read that sees the image, where there is one.
    pub before: Option<Companion>,
    /// The record it touches, where the operation names one.
    pub resource: Option<Resource>,
    /// What was there before.
    pub before_image: Option<Arc<Value>>,
    /// What was there after.
    pub after_image: Option<Arc<Value>>,
    /// `{args, before, output, after, key}` to bind the undo from.
    pub scope: Arc<Value>,
    /// Labels of everything in scope.
    pub labels: LabelMap,
    /// Until when.
    pub expires_at: At,
    /// Whether it was used.
    pub state: State,
    /// Whether its effect is known to have happened.
    pub landed: bool,
}

impl Token {
    /// Stands for having seen this image of what it takes back: of what is compared in it, and of nothing
    /// else. `None` where nothing is compared.
    #[must_use]
    pub fn seen(&self, now: &Value) -> Option<Digest> {
        let compared = crate::pointer::project(now, &self.before.as_ref()?.image);
        let bytes = canon::bytes(&compared).ok()?;
        Some(Digest::of_parts("harness/seen-image/v1", &[self.id.as_str().as_bytes(), &bytes]))
    }
}
