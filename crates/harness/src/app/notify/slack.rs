//! Answers from Slack: a button is pressed, Slack signs what it says about it, and a declared person has
//! decided, by the same operation and bound to the same digest as everywhere else.

use connect::outward::{form_field, host_of};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Sort, Subject,
    outbox::{Channel, Entry, More, State},
};
use crate::app::{
    App, Caller,
    approvals::{self, Card, GetApproval},
    config::notify::{Address, Slack},
    ops,
    problem::{Kind, Problem},
};

/// How far the time of a request may lie from ours, in milliseconds: older ones may be repeated by others.
const WINDOW_MS: i64 = 5 * 60_000;

/// What Slack says about itself and time.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// `X-Slack-Request-Timestamp`, in Unix seconds.
    pub seconds: &'a str,
    /// `X-Slack-Signature`.
    pub signature: &'a str,
}

/// What is read of Slack's message; it says much more.
#[derive(Debug, Deserialize)]
struct Pressed {
    #[serde(rename = "type")]
    kind: String,
    user: User,
    #[serde(default)]
    actions: Vec<Action>,
    #[serde(default)]
    response_url: Option<String>,
}

#[derive(Debug, Deserialize)]
struct User {
    id: String,
}

#[derive(Debug, Deserialize)]
struct Action {
    action_id: String,
    #[serde(default)]
    value: Option<String>,
}

/// What a button of ours carries.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Carried {
    approval: String,
    digest: String,
}

impl App {
    /// Takes a request of Slack in, and answers what happened. Whoever pressed is told at the address that
    /// came with it, too.
    ///
    /// # Errors
    /// When it is not Slack's, is too old, or nothing of Slack's is configured.
    pub async fn answer_slack(&self, signed: Signed<'_>, body: &[u8]) -> Result<String, Problem> {
        let slack = self.config.notify.slack.as_ref();
        let slack = slack.ok_or_else(|| Problem::not_found("hook", "slack"))?;
        self.check_slack(slack, signed, body)?;
        let malformed = || {
            Problem::usage("bad-request", "this is no message of a button")
                .next("point interactivity of the Slack app here, and nothing else")
        };
        let text = std::str::from_utf8(body).ok().and_then(|body| form_field(body, "payload"));
        let text = text.ok_or_else(malformed)?;
        let pressed: Pressed = serde_json::from_str(&text).map_err(|_| malformed())?;
        let action = pressed.actions.first().filter(|_| pressed.kind == "block_actions");
        // A button that is a link says that it was pressed, too.
        let Some(action) = action.filter(|action| action.action_id != "open") else {
            return Ok(String::new());
        };
        let carried = action.value.as_deref().and_then(|value| serde_json::from_str(value).ok());
        let carried: Carried = carried.ok_or_else(malformed)?;
        let told =
            self.decide_by_button(slack, &pressed.user.id, (&action.action_id, &carried)).await;
        self.reply(slack, pressed.response_url, &carried, &told).await?;
        Ok(told)
    }

    fn check_slack(&self, slack: &Slack, signed: Signed<'_>, body: &[u8]) -> Result<(), Problem> {
        let refused = || {
            Problem::new(
                Kind::NotSignedIn,
                "not-signed",
                "this request does not carry Slack's signature of now",
            )
            .next("check notify.slack.signing_secret, and the clock of this machine")
        };
        let at = signed.seconds.parse::<i64>().ok().and_then(|s| s.checked_mul(1_000));
        let is_now = at.is_some_and(|at| self.now().abs_diff(at) <= WINDOW_MS.unsigned_abs());
        let place = (signed.seconds, signed.signature);
        let is_theirs = self.notifier.outward.is_from_slack(&slack.secret, place, body);
        let is_theirs = is_theirs.map_err(|error| super::invalid(error.to_string()))?;
        if is_now && is_theirs { Ok(()) } else { Err(refused()) }
    }

    async fn decide_by_button(
        &self,
        slack: &Slack,
        user: &str,
        (verb, carried): (&str, &Carried),
    ) -> String {
        let Some(caller) = self.person_of(slack, user) else {
            return "Nobody here knows who you are in the harness: nothing was decided. Ask the operator to \
                    list you under notify.slack.users."
                .to_owned();
        };
        let reason = if verb == "deny" { "denied in Slack" } else { "" };
        let request = json!({
            "approval": carried.approval, "digest": carried.digest, "verb": verb, "reason": reason,
            // Slack waits for three seconds; the run goes on by itself.
            "wait_ms": 0,
        });
        let who = caller.principal().id.clone();
        match ops::call(self, &caller, "approval.decide", request).await {
            Ok(_) if verb == "approve" => format!("Approved by {who}. It goes on as shown."),
            Ok(_) => format!("Denied by {who}."),
            Err(problem) => match self.who_was_faster(&caller, carried).await {
                Some(told) => told,
                None => format!("Nothing was decided: {}.", problem.detail),
            },
        }
    }

    /// Whom a button was pressed by: Slack's signature and the operator's list vouch for them, as a credential
    /// does.
    fn person_of(&self, slack: &Slack, user: &str) -> Option<Caller> {
        let person = self.config.person(slack.users.get(user)?).ok()?;
        Some(Caller::of(self.config.tenant.clone(), person, None))
    }

    /// What became of an ask that is not open any more.
    async fn who_was_faster(&self, caller: &Caller, carried: &Carried) -> Option<String> {
        let id = carried.approval.clone();
        let run = approvals::run_of_approval(self, caller, &id).await.ok()?;
        if approvals::get(self, caller, GetApproval { approval: id.clone() }).await.is_ok() {
            return None;
        }
        let subject = Subject { run, ..bare(&id) };
        let (state, by) = self.how_it_ended(&subject).await.ok()?;
        Some(match by {
            Some(by) => format!("Nothing was decided by this: {by} was faster ({state})."),
            None => format!("Nothing was decided: it is not open any more ({state})."),
        })
    }

    /// The card of an open ask, as the channel is shown it.
    pub(super) async fn card_of(&self, subject: &Subject) -> Option<Card> {
        if subject.sort != Sort::Approval {
            return None;
        }
        let caller = self.own_caller().ok()?;
        let approval = subject.id.clone();
        approvals::get(self, &caller, GetApproval { approval }).await.ok()
    }

    /// Answers at the address that came along, if that is where the channel is, too.
    async fn reply(
        &self,
        slack: &Slack,
        url: Option<String>,
        carried: &Carried,
        told: &str,
    ) -> Result<(), Problem> {
        let ours = match &slack.address {
            Address::Plain(url) => Some(url.clone()),
            Address::Secret(name) => self.notifier.outward.address(name).ok(),
        };
        let host = ours.as_deref().and_then(host_of);
        let Some(url) = url.filter(|url| host.is_some() && host_of(url) == host) else {
            return Ok(());
        };
        self.enqueue(Entry {
            channel: Channel::SlackReply { url },
            happening: None,
            subject: bare(&carried.approval),
            more: More { text: Some(told.to_owned()), ..More::default() },
            at: self.now(),
            state: State::Waiting,
            tries: 0,
            trouble: None,
        })
        .await
    }
}

fn bare(approval: &str) -> Subject {
    Subject {
        sort: Sort::Approval,
        id: approval.to_owned(),
        run: String::new(),
        step: String::new(),
        about: "action".to_owned(),
        class: None,
        roles: Vec::new(),
        opened_at: 0,
        expires_at: None,
    }
}

/// As Slack shows it to whoever pressed.
#[must_use]
pub fn shown(told: &str) -> Value {
    json!({"response_type": "ephemeral", "replace_original": false, "text": told})
}
