//! Who somebody is: bearer tokens, one-time links, sessions. Only hashes of secrets are kept.

mod access;
mod known;
mod oidc;
mod sessions;
mod tokens;
mod typed;

use std::{collections::BTreeSet, sync::Arc};

use kernel::{
    Digest,
    id::{At, PrincipalId},
    principal::{Kind as Actor, Principal},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use store::{Document, Documents as _, Expected, Kept, PAGE_MAX};

pub use access::{Described, Resource};
pub(super) use known::Known;
pub(super) use oidc::Provider;
pub use oidc::{Departure, Returned};
pub use sessions::{Cookie, LinkView, MakeLink, form_token, link};
pub(super) use tokens::agents as token_agents;
pub use tokens::{
    MakeToken, RevokeToken, TokenList, TokenMade, TokenView, create as create_token,
    list as list_tokens, revoke as revoke_token,
};
pub use typed::{TOKEN_NEEDED, check_typed};

use super::{
    App, Caller,
    caller::Right,
    problem::{Kind, Problem},
};

/// A signed-in caller.
#[derive(Clone, Debug)]
pub struct Signed {
    /// Who calls.
    pub caller: Caller,
    /// Which credential: the id of a token or session. For rate limits and logs.
    pub credential: String,
    /// When it ends.
    pub expires_at: At,
}

/// A token or a session as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Credential {
    /// What people call it; for a session, how it was begun.
    name: String,
    /// Who it stands for.
    principal: Principal,
    /// Whether the principal is somebody declared in the configuration, whose roles count as they are now.
    declared: bool,
    /// The person an agent acts for.
    #[serde(default)]
    owner: Option<PrincipalId>,
    /// What it may be used for, of what its principal may do.
    scopes: BTreeSet<Right>,
    /// SHA-256 of the secret.
    secret: Digest,
    created_at: At,
    created_by: PrincipalId,
    expires_at: At,
    #[serde(default)]
    revoked_at: Option<At>,
    #[serde(default)]
    used_at: Option<At>,
    /// The token a session was begun with: it ends with it.
    #[serde(default)]
    through: Option<String>,
    /// The identity provider that vouched for a session: it ends when another one is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
}

impl Credential {
    /// Who calls with it, now.
    fn caller(&self, app: &App) -> Result<Caller, Problem> {
        let mut principal = self.principal.clone();
        let vouches =
            |issuer: &String| app.config.oidc.as_ref().is_some_and(|o| o.issuer == *issuer);
        if self.issuer.as_ref().is_some_and(|issuer| !vouches(issuer)) {
            return Err(not_signed_in("the provider it came from is not configured any more"));
        }
        if self.declared {
            let declared = app.config.person(name_of(&principal.id));
            let declared = declared.map_err(|_| not_signed_in("whoever it stands for is gone"))?;
            // A token may have fewer roles than its person, never more.
            principal.roles.retain(|role| declared.roles.contains(role));
        }
        let acts_for = self.owner.clone().map(|id| Principal {
            roles: app.config.person(name_of(&id)).map(|p| p.roles).unwrap_or_default(),
            id,
            kind: Actor::Person,
        });
        let tenant = app.config.tenant.clone();
        Ok(Caller::of(tenant, principal, acts_for).narrowed_to(&self.scopes).until(self.expires_at))
    }
}

impl App {
    /// Who a bearer token stands for.
    ///
    /// # Errors
    /// When it is malformed, unknown, revoked or expired; which one is not told.
    pub async fn bearer(&self, token: &str) -> Result<Signed, Problem> {
        let refused = || not_signed_in("this token is not valid");
        let (id, secret) = tokens::parse(token).ok_or_else(refused)?;
        self.signed(tokens::KIND, &id, secret).await
    }

    async fn signed(
        &self,
        kind: &'static str,
        id: &str,
        secret: Digest,
    ) -> Result<Signed, Problem> {
        let refused = || not_signed_in("this credential is not valid");
        let credential = self.credential(kind, id).await?.ok_or_else(refused)?;
        let now = self.now();
        let ended = credential.revoked_at.is_some() || credential.expires_at <= now;
        if !same(&credential.secret, &secret) || ended {
            return Err(refused());
        }
        if let Some(token) = &credential.through {
            let token = self.credential(tokens::KIND, token).await?;
            token.filter(|token| token.revoked_at.is_none()).ok_or_else(refused)?;
        }
        let caller = credential.caller(self)?;
        if self.identity.use_is_due(&format!("{kind}/{id}"), credential.used_at, now) {
            // A note for people; that it could not be made must not lock anybody out.
            drop(self.note_use(kind, id).await);
        }
        Ok(Signed { caller, credential: id.to_owned(), expires_at: credential.expires_at })
    }

    async fn credential(
        &self,
        kind: &'static str,
        id: &str,
    ) -> Result<Option<Arc<Credential>>, Problem> {
        let key = format!("{kind}/{id}");
        let reading = match self.identity.find(&key) {
            Ok(known) => return Ok(Some(known)),
            Err(reading) => reading,
        };
        let Some(kept) = self.store.document(&self.config.tenant, kind, id).await? else {
            return Ok(None);
        };
        let credential: Arc<Credential> = Arc::new(read(&kept.body)?);
        self.identity.found(&reading, key, Arc::clone(&credential));
        Ok(Some(credential))
    }

    /// Notes that a credential was used, in the store alone.
    async fn note_use(&self, kind: &'static str, id: &str) -> Result<(), Problem> {
        match self.store.document(&self.config.tenant, kind, id).await? {
            Some(kept) => self.write_use(kind, kept).await,
            None => Ok(()),
        }
    }

    /// Writes the time of use into what was read. Whatever happened to it since counts more.
    async fn write_use(&self, kind: &'static str, kept: Kept) -> Result<(), Problem> {
        let used = Credential { used_at: Some(self.now()), ..read(&kept.body)? };
        let body = serde_json::to_vec(&used).map_err(unreadable)?;
        let document = Document { kind, id: kept.id, due: kept.due, body };
        let expected = Expected::Version(kept.version);
        match self.store.keep(&self.config.tenant, document, expected).await {
            Ok(_) | Err(store::Error::Stale { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn keep_credential(
        &self,
        kind: &'static str,
        id: &str,
        credential: Credential,
        expected: Expected,
    ) -> Result<(), Problem> {
        let body = serde_json::to_vec(&credential).map_err(unreadable)?;
        let due = Some(credential.expires_at);
        let document = Document { kind, id: id.to_owned(), due, body };
        self.store.keep(&self.config.tenant, document, expected).await?;
        self.identity.changed(format!("{kind}/{id}"), Some(Arc::new(credential)));
        Ok(())
    }

    /// Whether anybody could sign in or send a token.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn has_credentials(&self) -> Result<bool, Problem> {
        let (tenant, now) = (&self.config.tenant, self.now());
        let mut after = None;
        loop {
            let page = self.store.documents(tenant, tokens::KIND, (after, PAGE_MAX)).await?;
            after = page.last().map(|kept| kept.id.clone());
            for kept in &page {
                let credential: Credential = read(&kept.body)?;
                if credential.revoked_at.is_none() && credential.expires_at > now {
                    return Ok(true);
                }
            }
            if page.len() < PAGE_MAX {
                return Ok(false);
            }
        }
    }

    /// Forgets credentials that ended, links and kept answers that nobody needs any more.
    pub(crate) async fn sweep_credentials(&self) {
        for kind in [tokens::KIND, sessions::KIND, sessions::LINK, super::answers::KIND] {
            // Ended tokens stay visible for a while: somebody may ask why a call is refused.
            let before = match kind {
                tokens::KIND => self.now() - tokens::ENDED_KEPT_MS,
                _ => self.now(),
            };
            let Ok(ended) = self.store.due_documents(kind, before, 1_000).await else { continue };
            for document in ended {
                drop(self.store.discard(&document.tenant, kind, &document.id).await);
                self.identity.changed(format!("{kind}/{}", document.id), None);
            }
        }
    }
}

/// A fresh secret and its hash.
fn fresh_secret() -> Result<(String, Digest), Problem> {
    let text = fresh_hex::<32>()?;
    let hash = hash_of(&text);
    Ok((text, hash))
}

pub(super) fn fresh_hex<const N: usize>() -> Result<String, Problem> {
    let mut bytes = [0_u8; N];
    getrandom::fill(&mut bytes)
        .map_err(|e| Problem::new(Kind::Unexpected, "no-randomness", e.to_string()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn hash_of(secret: &str) -> Digest {
    Digest::of_parts("harness/credential/v1", &[secret.as_bytes()])
}

/// Compares without telling by time how much was right.
fn same(one: &Digest, other: &Digest) -> bool {
    one.0.iter().zip(other.0).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

/// The name of a declared person: an id without its prefix.
fn name_of(id: &PrincipalId) -> &str {
    let id = id.as_str();
    id.strip_prefix("person:").unwrap_or(id)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(unreadable)
}

fn unreadable(error: serde_json::Error) -> Problem {
    Problem::new(Kind::Unexpected, "credential-unreadable", error.to_string())
        .next("`harness doctor` checks the store")
}

fn not_signed_in(detail: &str) -> Problem {
    Problem::new(Kind::NotSignedIn, "not-signed-in", detail)
        .next("sign in again, or send a token that is valid: `harness token create`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{
        config::{Config, Overrides},
        host::Lock,
        identity::tokens::{MakeToken, RevokeToken},
    };

    struct Office {
        app: Arc<App>,
        ulla: Caller,
        _dir: tempfile::TempDir,
    }

    impl Office {
        async fn open() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let text = "store = \"store\"\nme = \"ulla\"\n[people.ulla]\nroles = [\"operator\"]\n\
                        [keys]\nreceipts = \"file:keys/receipts.key\"\n";
            let file = dir.path().join("harness.toml");
            std::fs::write(&file, text).unwrap();
            let overrides = Overrides { config: Some(file), ..Overrides::default() };
            let config = Config::load(&overrides, dir.path()).unwrap();
            let ulla = Caller::person(&config, "ulla").unwrap();
            let lock = Lock::take(&config.store).unwrap().unwrap();
            let app = App::open(config, lock).await.unwrap();
            Self { app, ulla, _dir: dir }
        }

        async fn token(&self) -> (String, String) {
            let request = MakeToken {
                name: "a test".to_owned(),
                sort: "person".to_owned(),
                ..MakeToken::default()
            };
            let made = create_token(&self.app, &self.ulla, request).await.unwrap();
            (made.kept.id, made.token)
        }

        async fn kept(&self, id: &str) -> Kept {
            let tenant = &self.app.config.tenant;
            self.app.store.document(tenant, tokens::KIND, id).await.unwrap().unwrap()
        }

        async fn revoke(&self, id: &str) {
            let request = RevokeToken { token: id.to_owned() };
            revoke_token(&self.app, &self.ulla, request).await.unwrap();
        }

        /// Refused as it is remembered, and as it is kept.
        async fn is_refused(&self, id: &str, token: &str) {
            assert!(self.app.bearer(token).await.is_err(), "as remembered");
            self.app.identity.changed(format!("{}/{id}", tokens::KIND), None);
            assert!(self.app.bearer(token).await.is_err(), "as kept");
        }
    }

    #[tokio::test]
    async fn a_note_of_use_never_undoes_a_revocation() {
        let office = Office::open().await;
        let (id, token) = office.token().await;
        // A request has read the token to note its use; before it writes, the token is revoked.
        let read_before = office.kept(&id).await;
        office.revoke(&id).await;
        office.app.write_use(tokens::KIND, read_before).await.unwrap();
        office.is_refused(&id, &token).await;
        // The other way round both stand.
        let (id, token) = office.token().await;
        office.app.bearer(&token).await.unwrap();
        office.revoke(&id).await;
        office.is_refused(&id, &token).await;
        let kept: Credential = read(&office.kept(&id).await.body).unwrap();
        assert!(kept.used_at.is_some() && kept.revoked_at.is_some(), "{kept:?}");
    }

    #[tokio::test]
    async fn what_was_read_before_a_revocation_is_not_remembered_after_it() {
        let office = Office::open().await;
        let (id, token) = office.token().await;
        let key = format!("{}/{id}", tokens::KIND);
        office.app.identity.changed(key.clone(), None);
        let reading = office.app.identity.find(&key).unwrap_err();
        let read_before = Arc::new(read(&office.kept(&id).await.body).unwrap());
        office.revoke(&id).await;
        office.app.identity.found(&reading, key, read_before);
        office.is_refused(&id, &token).await;
    }

    #[tokio::test]
    async fn a_note_of_use_never_brings_a_session_back() {
        let office = Office::open().await;
        let (_, token) = office.token().await;
        let cookie = office.app.sign_in_with_token(&token).await.unwrap();
        let id = hash_of(&cookie.secret).hex();
        let tenant = &office.app.config.tenant;
        let kept = office.app.store.document(tenant, sessions::KIND, &id).await.unwrap().unwrap();
        office.app.sign_out(&cookie.secret).await.unwrap();
        office.app.write_use(sessions::KIND, kept).await.unwrap();
        assert!(office.app.session(&cookie.secret).await.is_err());
    }
}
