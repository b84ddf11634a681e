//! What lists may be filtered by, wherever something belongs to a run.

use clap::Args;
use serde_json::{Value, json};

/// What the runs of the listed are about.
#[derive(Debug, Args)]
pub struct About {
    /// Of runs of this intent
    #[arg(long)]
    intent: Option<String>,
    /// Of runs by this agent
    #[arg(long)]
    agent: Option<String>,
    /// Of runs of this pack, in every version or in this one
    #[arg(long, value_name = "NAME[@VERSION]")]
    pack: Option<String>,
    /// About a call of this operation, such as billing.create_refund
    #[arg(long)]
    operation: Option<String>,
    /// About this customer
    #[arg(long)]
    customer: Option<String>,
    /// About this account
    #[arg(long)]
    account: Option<String>,
    /// Since this time, such as 2026-11-24 or 2026-11-24T08:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Where the page before ended
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
}

impl About {
    /// A request with these filters, and with what else it says.
    #[must_use]
    pub fn with(self, more: Value) -> Value {
        let mut body = json!({
            "intent": self.intent, "agent": self.agent, "pack": self.pack,
            "operation": self.operation, "customer": self.customer, "account": self.account,
            "since": self.since, "until": self.until, "after": self.after,
        });
        if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
            body.extend(more);
        }
        body
    }
}
