//! The queue of asks: what waits, by what it is about.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{Page, Query as _, State};

use crate::app::{
    App, Caller,
    claims::Claim,
    problem::Problem,
    queues::{About, Item, PAGES_MAX},
    runs::{ListRuns, rfc3339},
};

/// An ask as the inbox shows it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalView {
    /// Its id.
    pub id: String,
    /// `action` or `question`.
    pub sort: String,
    /// The run.
    pub run: String,
    /// The step.
    pub step: String,
    /// Roles asked.
    pub roles: Vec<String>,
    /// Since when.
    pub opened_at: String,
    /// Until when.
    pub expires_at: String,
    /// `open`, or how it ended.
    pub state: String,
    /// Who looks after it.
    #[serde(flatten)]
    pub claim: Claim,
}

/// A page of the inbox.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalList {
    /// Soonest expiry first; with `all`, newest first.
    pub items: Vec<ApprovalView>,
    /// Cursor of the next page.
    pub next: Option<String>,
}

/// Which asks.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListApprovals {
    /// Ended ones too.
    pub all: bool,
    /// Of this run.
    pub run: Option<String>,
    /// Of runs of this intent.
    pub intent: Option<String>,
    /// Of runs by this agent.
    pub agent: Option<String>,
    /// Of runs of this pack: `customer-ops`, or `customer-ops@1.0.0`.
    pub pack: Option<String>,
    /// About a call of this operation, such as `billing.create_refund`.
    pub operation: Option<String>,
    /// Of runs about this customer.
    pub customer: Option<String>,
    /// Of runs about this account.
    pub account: Option<String>,
    /// Asked at or after: RFC 3339, or a date in UTC.
    pub since: Option<String>,
    /// Asked before: RFC 3339, or a date in UTC.
    pub until: Option<String>,
    /// Where the page before ended.
    pub after: Option<String>,
    /// How many at most; of what is filtered there may be fewer on a page that has a next one.
    pub limit: Option<usize>,
}

impl ListApprovals {
    /// What is asked of their runs.
    fn runs(&self) -> ListRuns {
        ListRuns {
            intent: self.intent.clone(),
            agent: self.agent.clone(),
            pack: self.pack.clone(),
            operation: self.operation.clone(),
            customer: self.customer.clone(),
            account: self.account.clone(),
            since: self.since.clone(),
            until: self.until.clone(),
            ..ListRuns::default()
        }
    }
}

/// Lists asks.
///
/// # Errors
/// A cursor that makes no sense.
pub async fn list(
    app: &App,
    caller: &Caller,
    request: ListApprovals,
) -> Result<ApprovalList, Problem> {
    let state = if request.all { State::All } else { State::Open };
    let limit = Page { after: None, limit: request.limit.unwrap_or(50) }.size();
    let mut about = About::of(caller, request.run.clone(), request.runs())?;
    let (mut after, mut found) = (request.after, Vec::new());
    for _ in 0..PAGES_MAX {
        let page = Page { after, limit: limit - found.len() };
        let listed = app.store.approvals(caller.tenant(), state, page).await?;
        after = listed.next;
        for entry in listed.items {
            let (action, at) = (entry.row.action, entry.row.opened_at);
            if about.admits(app, caller, Item { run: &entry.run, action, at }).await? {
                found.push(entry);
            }
        }
        if after.is_none() || found.len() >= limit {
            break;
        }
    }
    let ids = found.iter().map(|entry| entry.row.id.to_string());
    let mut claims = app.claims(caller, ids.collect::<Vec<_>>()).await?;
    let items = found.into_iter().map(|entry| ApprovalView {
        claim: claims.remove(entry.row.id.as_str()).unwrap_or_default(),
        id: entry.row.id.to_string(),
        sort: entry.row.sort,
        run: entry.run.to_string(),
        step: entry.row.step,
        roles: entry.row.roles,
        opened_at: rfc3339(entry.row.opened_at),
        expires_at: rfc3339(entry.row.expires_at),
        state: entry.state.unwrap_or_else(|| "open".to_owned()),
    });
    Ok(ApprovalList { items: items.collect(), next: after })
}
