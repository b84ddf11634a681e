//! Sessions of people in a browser, and the one-time links that begin them where there is no provider.

use std::collections::BTreeSet;

use kernel::{
    Digest,
    id::At,
    principal::{Kind as Actor, Principal},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{Document, Documents as _, Expected};

use super::{Credential, Signed, fresh_secret, hash_of, name_of, not_signed_in, read, tokens};
use crate::app::{
    App, Caller,
    caller::{Right, Vouched},
    problem::{Kind, Problem},
    runs::rfc3339,
};

/// The kind of document a session is kept as.
pub(super) const KIND: &str = "session";

/// The kind of document a link is kept as.
pub(super) const LINK: &str = "link";

/// How long a link may be used, in milliseconds.
const LINK_MS: i64 = 10 * 60_000;

/// How long a session lasts, in milliseconds.
const SESSION_MS: i64 = 12 * 3_600_000;

/// Asks for a link for oneself.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MakeLink {}

/// A link that signs in once.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LinkView {
    /// Path and query below the server's address. Whoever opens it first is signed in.
    pub path: String,
    /// Who it signs in.
    pub person: String,
    /// Until when.
    pub expires_at: String,
}

/// What a browser is given.
#[derive(Clone, Debug)]
pub struct Cookie {
    /// The secret that stands in the cookie.
    pub secret: String,
    /// When it ends.
    pub expires_at: At,
}

/// How a session begins.
pub(super) enum Begun {
    Link {
        scopes: BTreeSet<Right>,
        until: At,
    },
    /// It ends with the token and can do no more than it.
    With {
        token: String,
        scopes: BTreeSet<Right>,
        until: At,
    },
    /// An identity provider vouches for whom it calls by this name; roles are as they were then.
    Provider {
        issuer: String,
        name: String,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    person: Principal,
    /// What whoever asked for it might do: the session does no more. All, at the terminal.
    #[serde(default = "all_rights")]
    scopes: BTreeSet<Right>,
    /// When whatever they asked with ends: the session ends with it.
    #[serde(default = "never")]
    until: At,
}

fn all_rights() -> BTreeSet<Right> {
    Right::ALL.into()
}

fn never() -> At {
    At::MAX
}

/// Makes a link that signs the caller in, once, within ten minutes.
///
/// # Errors
/// When the caller is not a person.
pub async fn link(app: &App, caller: &Caller, _: MakeLink) -> Result<LinkView, Problem> {
    let person = caller.principal().clone();
    if person.kind != Actor::Person {
        return Err(Problem::new(Kind::NotAllowed, "not-a-person", "only people sign in"));
    }
    let (secret, hash) = fresh_secret()?;
    let expires_at = app.now() + LINK_MS;
    let scopes = match caller.vouched() {
        Vouched::Terminal => all_rights(),
        Vouched::Credential => caller.rights().clone(),
    };
    let link = Link { person: person.clone(), scopes, until: caller.ends_at() };
    let body = serde_json::to_vec(&link).map_err(super::unreadable)?;
    let document = Document { kind: LINK, id: hash.hex(), due: Some(expires_at), body };
    app.store.keep(caller.tenant(), document, Expected::Absent).await?;
    let path = format!("/sign-in?link={secret}");
    Ok(LinkView { path, person: person.id.to_string(), expires_at: rfc3339(expires_at) })
}

impl App {
    /// Begins a session with a link, which is used up by it.
    ///
    /// # Errors
    /// When the link was used, has expired or never was.
    pub async fn sign_in_with_link(&self, secret: &str) -> Result<Cookie, Problem> {
        let refused = || not_signed_in("this link was used, has expired or never was");
        let (tenant, id) = (&self.config.tenant, hash_of(secret).hex());
        let kept = self.store.document(tenant, LINK, &id).await?.ok_or_else(refused)?;
        // Of two that come at once, one removes it.
        if !self.store.discard(tenant, LINK, &id).await?
            || kept.due.is_none_or(|due| due <= self.now())
        {
            return Err(refused());
        }
        let Link { person, scopes, until } = read(&kept.body)?;
        self.begin_session(person, Begun::Link { scopes, until }).await
    }

    /// Begins a session with a person's token.
    ///
    /// # Errors
    /// When the token is not valid, or not a person's.
    pub async fn sign_in_with_token(&self, token: &str) -> Result<Cookie, Problem> {
        let signed = self.bearer(token.trim()).await?;
        let person = signed.caller.principal().clone();
        if person.kind != Actor::Person {
            return Err(not_signed_in("agents and services use the API; only people sign in here"));
        }
        let token = self.credential(tokens::KIND, &signed.credential).await?;
        let scopes = token.map(|token| token.scopes.clone()).unwrap_or_default();
        self.begin_session(
            person,
            Begun::With { token: signed.credential, scopes, until: signed.expires_at },
        )
        .await
    }

    pub(super) async fn begin_session(
        &self,
        person: Principal,
        begun: Begun,
    ) -> Result<Cookie, Problem> {
        let declared = self.config.person(name_of(&person.id)).is_ok();
        let (secret, hash) = fresh_secret()?;
        let now = self.now();
        let mut issuer = None;
        let (name, scopes, until, through) = match begun {
            Begun::Link { scopes, until } => ("a one-time link".to_owned(), scopes, until, None),
            Begun::With { token, scopes, until } => {
                ("a token".to_owned(), scopes, until, Some(token))
            }
            Begun::Provider { issuer: by, name } => {
                issuer = Some(by);
                (format!("the provider: {name}"), Right::ALL.into(), At::MAX, None)
            }
        };
        let expires_at = until.min(now + SESSION_MS);
        let credential = Credential {
            name,
            created_by: person.id.clone(),
            principal: person,
            declared,
            owner: None,
            scopes,
            secret: hash,
            created_at: now,
            expires_at,
            revoked_at: None,
            used_at: Some(now),
            through,
            issuer,
        };
        self.keep_credential(KIND, &hash.hex(), credential, Expected::Absent).await?;
        Ok(Cookie { secret, expires_at })
    }

    /// Who a session's cookie stands for.
    ///
    /// # Errors
    /// When there is no such session, or it has ended.
    pub async fn session(&self, secret: &str) -> Result<Signed, Problem> {
        let hash = hash_of(secret);
        self.signed(KIND, &hash.hex(), hash).await
    }

    /// Ends a session.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sign_out(&self, secret: &str) -> Result<(), Problem> {
        let id = hash_of(secret).hex();
        self.store.discard(&self.config.tenant, KIND, &id).await?;
        self.identity.changed(format!("{KIND}/{id}"), None);
        Ok(())
    }
}

/// What every form of a session carries, so that no other page can send one.
#[must_use]
pub fn form_token(secret: &str) -> String {
    Digest::of_parts("harness/form/v1", &[secret.as_bytes()]).hex()
}
