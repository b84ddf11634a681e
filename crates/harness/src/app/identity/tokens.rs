//! Bearer tokens: `hns_<id>_<secret><check>`. Made once, shown once, kept as a hash.

use std::collections::BTreeSet;

use kernel::{
    Digest,
    id::At,
    principal::{Kind as Actor, Principal},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{Documents as _, Expected, PAGE_MAX};

use super::{Credential, fresh_hex, fresh_secret, hash_of, name_of, read};
use crate::app::{
    App, Caller,
    caller::{Right, Vouched},
    intents::Nothing,
    parse_id,
    problem::{Kind, Problem},
    runs::rfc3339,
};

/// The kind of document a token is kept as.
pub(super) const KIND: &str = "token";

/// How long a token is valid when nothing else is said, in milliseconds.
const VALID_MS: i64 = 90 * 24 * 3_600_000;

/// Longest validity, in milliseconds.
const VALID_MAX_MS: i64 = 366 * 24 * 3_600_000;

/// How long ended tokens are still listed, in milliseconds.
pub(super) const ENDED_KEPT_MS: i64 = 30 * 24 * 3_600_000;

/// Roles of programs; others belong to people.
const SERVICE_ROLES: [&str; 4] = ["viewer", "requester", "operator", "admin"];

/// What a token should be.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MakeToken {
    /// What it is for, in words.
    pub name: String,
    /// `person` (for yourself), `agent` or `service`.
    pub sort: String,
    /// The agent's or service's name; for a person nobody else than who asks.
    pub principal: Option<String>,
    /// Roles: of a person, of those they hold (all when none is named); of a service, `viewer`,
    /// `requester`, `operator` or `admin`. An agent has none: it may only propose.
    pub roles: BTreeSet<String>,
    /// Rights it may be used for, of those that the roles give; all when none is named. Of a person's own
    /// token, those alone that are held by whoever asks: a token for reading makes none for more.
    pub scopes: BTreeSet<Right>,
    /// The declared person an agent acts for: they cannot approve what it proposes.
    pub owner: Option<String>,
    /// How long it is valid, in ms; 90 days when nothing is said, at most 366, and never longer than the
    /// credential it was asked for with.
    pub valid_ms: Option<i64>,
}

/// A token, shown this once.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TokenMade {
    /// The token. Nobody can show it again.
    pub token: String,
    /// What is kept of it.
    pub kept: TokenView,
}

/// What is known about a token.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    /// Its id, the first part of the token.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// Who it stands for.
    pub principal: String,
    /// The person an agent acts for.
    pub owner: Option<String>,
    /// Roles.
    pub roles: Vec<String>,
    /// Rights it is narrowed to.
    pub scopes: Vec<Right>,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: String,
    /// Until when it is valid.
    pub expires_at: String,
    /// When it was last used, to the hour.
    pub used_at: Option<String>,
    /// `valid`, `expired` or `revoked`.
    pub state: String,
}

/// All tokens.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TokenList {
    /// In order of their ids.
    pub items: Vec<TokenView>,
}

/// Which token to end.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeToken {
    /// Its id, such as `5f2c…`, or the whole token.
    pub token: String,
}

/// Makes a token.
///
/// # Errors
/// When the caller may not, or what is asked for makes no sense.
pub async fn create(app: &App, caller: &Caller, request: MakeToken) -> Result<TokenMade, Problem> {
    let (principal, declared) = principal_of(caller, &request)?;
    let owner = match (&request.owner, principal.kind) {
        (Some(name), Actor::Agent) => Some(app.config.person(name)?.id),
        (None, Actor::Agent) => {
            let detail = "an agent's token names the person it acts for";
            return Err(Problem::usage("no-owner", detail).next("add --owner PERSON"));
        }
        (Some(_), _) => {
            let detail = "only an agent acts for somebody else";
            return Err(Problem::usage("owner-unused", detail).next("leave the owner out"));
        }
        (None, _) => None,
    };
    if request.name.is_empty() || request.name.len() > 200 {
        return Err(Problem::usage("bad-name", "a token's name has 1 to 200 characters")
            .next("say what the token is for"));
    }
    let now = app.now();
    let expires_at = ends_at(caller, request.valid_ms, now)?;
    let scopes = scopes_of(caller, &request)?;
    let (id, (secret, hash)) = (fresh_hex::<8>()?, fresh_secret()?);
    let credential = Credential {
        name: request.name,
        principal,
        declared,
        owner,
        scopes,
        secret: hash,
        created_at: now,
        created_by: caller.principal().id.clone(),
        expires_at,
        revoked_at: None,
        used_at: None,
        through: None,
        issuer: None,
    };
    app.keep_credential(KIND, &id, credential.clone(), Expected::Absent).await?;
    let token = format!("hns_{id}_{secret}{}", check(&id, &secret));
    Ok(TokenMade { token, kept: view(&id, &credential, now) })
}

/// When a new token ends: no later than whatever its maker called with.
fn ends_at(caller: &Caller, valid_ms: Option<i64>, now: At) -> Result<At, Problem> {
    let refused = |detail: String| {
        Err(Problem::usage("bad-validity", detail)
            .next("ask for less; a new one can be made before it ends"))
    };
    let wanted = valid_ms.unwrap_or(VALID_MS);
    if !(1..=VALID_MAX_MS).contains(&wanted) {
        return refused("a token is valid for at most 366 days".to_owned());
    }
    let (wanted, most) = (now.saturating_add(wanted), caller.ends_at());
    if valid_ms.is_some() && wanted > most {
        let detail =
            format!("it would outlive the credential you use, which ends {}", rfc3339(most));
        return refused(detail);
    }
    Ok(wanted.min(most))
}

/// What a new token may be used for. A person's is made by that person, and does no more than what it was
/// made with; what an agent's or a service's may do is the admin's to say, within their roles.
fn scopes_of(caller: &Caller, request: &MakeToken) -> Result<BTreeSet<Right>, Problem> {
    let all = || BTreeSet::from(Right::ALL);
    let own = request.sort == "person" && caller.vouched() == Vouched::Credential;
    let most = if own { caller.rights().clone() } else { all() };
    if request.scopes.is_empty() {
        return Ok(most);
    }
    match request.scopes.difference(&most).next() {
        None => Ok(request.scopes.clone()),
        Some(missing) => {
            let missing = serde_json::to_value(missing).unwrap_or_default();
            let missing = missing.as_str().unwrap_or_default();
            let detail = format!("what you call with does not hold the right `{missing}` itself");
            Err(Problem::new(Kind::NotAllowed, "scope-not-held", detail)
                .next("name rights that it holds, or ask with a credential that holds more"))
        }
    }
}

/// Who a new token stands for, and whether their roles are looked up whenever it is used.
fn principal_of(caller: &Caller, request: &MakeToken) -> Result<(Principal, bool), Problem> {
    let unknown_sort = || {
        Problem::usage("bad-sort", format!("`{}` is no sort of token", request.sort))
            .next("use one of person, agent, service")
    };
    if request.sort == "person" {
        let own = caller.principal();
        if own.kind != Actor::Person
            || request.principal.as_ref().is_some_and(|p| p != name_of(&own.id))
        {
            let detail = "a token of a person is made by that person alone";
            return Err(Problem::new(Kind::NotAllowed, "not-yourself", detail)
                .next("sign in as them, or make a token for an agent or a service"));
        }
        let roles =
            if request.roles.is_empty() { own.roles.clone() } else { request.roles.clone() };
        if let Some(role) = roles.iter().find(|role| !own.roles.contains(*role)) {
            let detail = format!("{} does not hold the role `{role}`", own.id);
            return Err(Problem::new(Kind::NotAllowed, "role-not-held", detail)
                .next("name roles that you hold"));
        }
        return Ok((Principal { roles, ..own.clone() }, true));
    }
    let kind = match request.sort.as_str() {
        "agent" => Actor::Agent,
        "service" => Actor::Service,
        _ => return Err(unknown_sort()),
    };
    caller.needs(&[Right::Admin])?;
    let name = request.principal.as_deref().ok_or_else(|| {
        Problem::usage("no-principal", format!("which {} is it for?", request.sort))
            .next("name it, such as `ci`")
    })?;
    let role = request
        .roles
        .iter()
        .find(|role| kind == Actor::Agent || !SERVICE_ROLES.contains(&role.as_str()));
    if let Some(role) = role {
        let detail = format!("an agent or a service cannot hold the role `{role}`");
        return Err(Problem::usage("role-for-people", detail)
            .next("agents have no roles; services may be viewer, requester, operator or admin"));
    }
    let id = parse_id(&format!("{}:{name}", request.sort))?;
    Ok((Principal { id, kind, roles: request.roles.clone() }, false))
}

/// Lists tokens, never their secrets: all of them to admins, to others their own.
///
/// # Errors
/// When the store cannot be read.
pub async fn list(app: &App, caller: &Caller, _: Nothing) -> Result<TokenList, Problem> {
    let is_admin = caller.may(Right::Admin);
    let mut kept = all(app, caller).await?;
    kept.retain(|(_, token)| is_admin || token.principal.id == caller.principal().id);
    let items = kept.iter().map(|(id, token)| view(id, token, app.now())).collect();
    Ok(TokenList { items })
}

async fn all(app: &App, caller: &Caller) -> Result<Vec<(String, Credential)>, Problem> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = app.store.documents(caller.tenant(), KIND, (after, PAGE_MAX)).await?;
        let full = page.len() == PAGE_MAX;
        after = page.last().map(|kept| kept.id.clone());
        for kept in page {
            found.push((kept.id, read(&kept.body)?));
        }
        if !full {
            return Ok(found);
        }
    }
}

/// Agents that have, or had, a token of their own.
///
/// # Errors
/// When the store cannot be read.
pub(in crate::app) async fn agents(
    app: &App,
    caller: &Caller,
) -> Result<BTreeSet<String>, Problem> {
    let kept = all(app, caller).await?.into_iter().map(|(_, token)| token.principal);
    let agents = kept.filter(|principal| principal.kind == Actor::Agent);
    Ok(agents.map(|principal| principal.id.to_string()).collect())
}

/// Ends a token at once, also on streams that are open. People end their own, admins every one.
///
/// # Errors
/// When there is no such token, or it is somebody else's.
pub async fn revoke(
    app: &App,
    caller: &Caller,
    request: RevokeToken,
) -> Result<TokenView, Problem> {
    let given = request.token.trim();
    let id = given.strip_prefix("hns_").and_then(|rest| rest.split('_').next()).unwrap_or(given);
    let unknown = || {
        Problem::new(Kind::NotFound, "token-not-found", "there is no such token")
            .next("`harness token list` shows what there is")
    };
    let credential = app.credential(KIND, id).await?.ok_or_else(unknown)?;
    if credential.principal.id != caller.principal().id {
        caller.needs(&[Right::Admin])?;
    }
    // As it is kept: what is remembered may not know of its last use.
    let kept = app.store.document(caller.tenant(), KIND, id).await?.ok_or_else(unknown)?;
    let (now, kept) = (app.now(), read::<Credential>(&kept.body)?);
    let ended = Credential { revoked_at: Some(kept.revoked_at.unwrap_or(now)), ..kept };
    app.keep_credential(KIND, id, ended.clone(), Expected::Any).await?;
    Ok(view(id, &ended, now))
}

/// Whether somebody has a valid token of their own.
///
/// # Errors
/// When the store cannot be read.
pub(super) async fn has_one(app: &App, caller: &Caller) -> Result<bool, Problem> {
    let own = list(app, caller, Nothing {}).await?.items;
    let me = caller.principal().id.as_str();
    Ok(own.iter().any(|token| token.principal == me && token.state == "valid"))
}

fn view(id: &str, credential: &Credential, now: i64) -> TokenView {
    let state = match credential.revoked_at {
        Some(_) => "revoked",
        None if credential.expires_at <= now => "expired",
        None => "valid",
    };
    TokenView {
        id: id.to_owned(),
        name: credential.name.clone(),
        principal: credential.principal.id.to_string(),
        owner: credential.owner.as_ref().map(ToString::to_string),
        roles: credential.principal.roles.iter().cloned().collect(),
        scopes: credential.scopes.iter().copied().collect(),
        created_by: credential.created_by.to_string(),
        created_at: rfc3339(credential.created_at),
        expires_at: rfc3339(credential.expires_at),
        used_at: credential.used_at.map(rfc3339),
        state: state.to_owned(),
    }
}

/// Tells a typo from a secret that is unknown, without a look at the store.
fn check(id: &str, secret: &str) -> String {
    let digest = Digest::of_parts("harness/token-check/v1", &[id.as_bytes(), secret.as_bytes()]);
    digest.hex().chars().take(6).collect()
}

/// Id and hash of the secret of a token that is well-formed.
pub(super) fn parse(token: &str) -> Option<(String, Digest)> {
    let (id, rest) = token.strip_prefix("hns_")?.split_once('_')?;
    let (secret, given) = rest.split_at_checked(64)?;
    let hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let fits = id.len() == 16 && hex(id) && hex(secret) && given == check(id, secret);
    fits.then(|| (id.to_owned(), hash_of(secret)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_in_a_token_is_no_token() {
        let (id, secret) = ("0123456789abcdef", "ab".repeat(32));
        let token = format!("hns_{id}_{secret}{}", check(id, &secret));
        assert_eq!(parse(&token), Some((id.to_owned(), hash_of(&secret))));
        for at in 0..token.len() {
            let mut typo = token.clone().into_bytes();
            typo[at] = if typo[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(parse(&String::from_utf8(typo).unwrap()), None, "at {at}");
        }
        for text in ["", "hns_", "hns__", "hns_ä_ä", &token[..token.len() - 1]] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
