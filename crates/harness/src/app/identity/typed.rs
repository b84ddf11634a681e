//! Decisions at the terminal that need more than a name: a token, typed when it is asked for.

use kernel::principal::Kind as Actor;

use super::tokens;
use crate::app::{
    App, Caller,
    caller::Vouched,
    config::AtTerminal,
    problem::{Kind, Problem},
};

/// The code of what asks for a token.
pub const TOKEN_NEEDED: &str = "token-needed";

/// Operations that are decisions of a person.
const DECISIONS: [&str; 3] = ["approval.decide", "approval.decide-batch", "exception.settle"];

/// Operations that make a credential for whoever asks.
const MAKES_CREDENTIAL: [&str; 2] = ["token.create", "token.link"];

/// Where the configuration says so, a decision by a command on this machine comes with a token of the
/// person; and so does the making of another credential, once they have a token.
///
/// # Errors
/// When it came without one.
pub async fn check_typed(app: &App, caller: &Caller, op: &str) -> Result<(), Problem> {
    if app.config.terminal == AtTerminal::Name || caller.vouched() == Vouched::Credential {
        return Ok(());
    }
    let needed = match op {
        _ if DECISIONS.contains(&op) => true,
        _ if MAKES_CREDENTIAL.contains(&op) => tokens::has_one(app, caller).await?,
        _ => false,
    };
    if !needed {
        return Ok(());
    }
    let detail = "this is decided with a token of yours, typed at the terminal";
    Err(Problem::new(Kind::NotSignedIn, TOKEN_NEEDED, detail)
        .next("run it where you can type your token; `harness token create` makes the first one"))
}

impl App {
    /// A declared person who typed a token of theirs.
    ///
    /// # Errors
    /// When the token is not valid, or somebody else's.
    pub async fn typed(&self, person: &str, token: &str) -> Result<Caller, Problem> {
        let declared = Caller::person(&self.config, person)?;
        let signed = self.bearer(token).await?;
        let principal = signed.caller.principal();
        if principal.kind != Actor::Person || principal.id != declared.principal().id {
            return Err(super::not_signed_in("this token is somebody else's"));
        }
        Ok(signed.caller)
    }
}
