//! Limits of a run: reserved before spent, settled after.

use serde::{Deserialize, Serialize};

use crate::money::Money;

/// Caps of one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Calls to connectors, helpers and retries included.
    pub calls_max: u32,
    /// Of these, writes.
    pub writes_max: u32,
    /// Money the calls themselves may cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_max: Option<Money>,
    /// Tries of failed steps beyond their first, over the whole run; absent = as many as its steps say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries_max: Option<u32>,
    /// Calls to models, helpers and retries included; absent = [`MODEL_CALLS_DEFAULT`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_calls_max: Option<u32>,
    /// Wall time from the first event, waiting included, in milliseconds.
    pub wall_max_ms: i64,
}

/// Model calls of a run whose budget does not say.
pub const MODEL_CALLS_DEFAULT: u32 = 1_000;

impl Default for Budget {
    fn default() -> Self {
        Self {
            calls_max: 1_000,
            writes_max: 50,
            cost_max: None,
            retries_max: None,
            model_calls_max: None,
            wall_max_ms: 30 * 24 * 3_600_000,
        }
    }
}

/// What a run has used, reservations included.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spent {
    /// Calls dispatched.
    pub calls: u32,
    /// Writes dispatched.
    pub writes: u32,
    /// Model calls dispatched; not among `calls`.
    #[serde(default)]
    pub model_calls: u32,
    /// Minor units reserved and not settled.
    pub reserved_minor: i64,
    /// Minor units settled.
    pub settled_minor: i64,
}

/// The limit that a reservation would break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// `calls_max` is used up.
    #[error("calls_max is used up")]
    Calls,
    /// `model_calls_max` is used up.
    #[error("model_calls_max is used up")]
    ModelCalls,
    /// `writes_max` is used up.
    #[error("writes_max is used up")]
    Writes,
    /// `cost_max` would be passed, or the currency differs from it.
    #[error("cost_max would be passed")]
    Cost,
}

impl Spent {
    /// Whether one more call of this sort fits; changes nothing.
    ///
    /// # Errors
    /// Names the limit that would break.
    pub fn check(&self, budget: &Budget, sort: Sort, cost: Option<Money>) -> Result<(), Exceeded> {
        let model_calls_max = budget.model_calls_max.unwrap_or(MODEL_CALLS_DEFAULT);
        if sort == Sort::Model && self.model_calls >= model_calls_max {
            return Err(Exceeded::ModelCalls);
        }
        if sort != Sort::Model && self.calls >= budget.calls_max {
            return Err(Exceeded::Calls);
        }
        if sort == Sort::Write && self.writes >= budget.writes_max {
            return Err(Exceeded::Writes);
        }
        match (budget.cost_max, cost) {
            (Some(cap), Some(cost)) if cap.currency == cost.currency => {
                let total = self.reserved_minor.checked_add(self.settled_minor);
                let total = total.and_then(|t| t.checked_add(cost.minor));
                if total.is_some_and(|t| t <= cap.minor) { Ok(()) } else { Err(Exceeded::Cost) }
            }
            (Some(_), Some(_)) => Err(Exceeded::Cost),
            (None, _) | (Some(_), None) => Ok(()),
        }
    }

    /// Takes the worst case of one call out of the budget.
    pub fn reserve(&mut self, sort: Sort, cost: Option<Money>) {
        self.calls = self.calls.saturating_add(u32::from(sort != Sort::Model));
        self.writes = self.writes.saturating_add(u32::from(sort == Sort::Write));
        self.model_calls = self.model_calls.saturating_add(u32::from(sort == Sort::Model));
        self.reserved_minor = self.reserved_minor.saturating_add(cost.map_or(0, |c| c.minor));
    }

    /// Replaces a reservation by what the call really cost.
    pub fn settle(&mut self, reserved: Option<Money>, cost: Option<Money>) {
        self.reserved_minor = self.reserved_minor.saturating_sub(reserved.map_or(0, |c| c.minor));
        self.settled_minor = self.settled_minor.saturating_add(cost.map_or(0, |c| c.minor));
    }
}

/// What a call counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// It changes nothing.
    Read,
    /// It changes the world.
    Write,
    /// It asks a model.
    Model,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Currency;

    #[test]
    fn stops_exactly_at_each_bound() {
        let eur = |minor| Some(Money { minor, currency: Currency::parse("EUR").unwrap() });
        let budget = Budget { calls_max: 3, writes_max: 1, cost_max: eur(10), ..Budget::default() };
        let mut spent = Spent::default();
        assert_eq!(spent.check(&budget, Sort::Write, eur(10)), Ok(()));
        assert_eq!(spent.check(&budget, Sort::Write, eur(11)), Err(Exceeded::Cost));
        spent.reserve(Sort::Write, eur(10));
        assert_eq!(spent.check(&budget, Sort::Write, None), Err(Exceeded::Writes));
        assert_eq!(
            spent.check(&budget, Sort::Read, eur(1)),
            Err(Exceeded::Cost),
            "reserved counts"
        );
        spent.settle(eur(10), eur(4));
        assert_eq!(spent.check(&budget, Sort::Read, eur(6)), Ok(()));
        spent.reserve(Sort::Read, None);
        spent.reserve(Sort::Read, None);
        assert_eq!(spent.check(&budget, Sort::Read, None), Err(Exceeded::Calls));
    }

    #[test]
    fn model_calls_have_a_bound_of_their_own() {
        let budget = Budget { calls_max: 0, model_calls_max: Some(2), ..Budget::default() };
        let mut spent = Spent::default();
        for _ in 0..2 {
            assert_eq!(spent.check(&budget, Sort::Model, None), Ok(()));
            spent.reserve(Sort::Model, None);
        }
        assert_eq!(spent.check(&budget, Sort::Model, None), Err(Exceeded::ModelCalls));
        assert_eq!(spent.check(&budget, Sort::Read, None), Err(Exceeded::Calls));
    }
}
