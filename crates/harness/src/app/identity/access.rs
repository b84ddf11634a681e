//! Access tokens of the provider, as clients of MCP come with them: JWTs after RFC 9068, made for exactly the address that
//! is called (RFC 8707).
//!
//! What is called describes itself (RFC 9728), so that a client finds out by itself who gives permissions. A token stands
//! for a client: one that a person let in acts for that person and only proposes, one that came by itself is a service.
//! Nothing of a token goes on to a server behind us, and what a client says about itself counts for nothing.

use std::collections::BTreeSet;

use jsonwebtoken::{Validation, decode};
use kernel::{
    id::At,
    principal::{Kind as Actor, Principal},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Signed, not_signed_in,
    oidc::{Doubt, groups_of, named, no_group, person_of},
};
use crate::app::{
    App, Caller,
    caller::{Right, rights_of},
    config::{Access, Oidc},
    problem::{Kind, Problem},
};

/// Where descriptions stand (RFC 9728): the path of what is described follows.
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// What an access token says that it is, so that no token that was made for something else is taken for one (RFC 9068).
const TYPES: [&str; 2] = ["at+jwt", "application/at+jwt"];

/// Longest names of people and clients that are looked at, in bytes.
const NAME_BYTES_MAX: usize = 2_048;

/// Something that is called with access tokens, as a refusal names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its address, which a token has to be made for.
    pub address: String,
    /// Where its description is.
    pub described_at: String,
    /// The scope that calling it needs.
    pub scope: String,
}

/// How something that is called with access tokens describes itself: the document of RFC 9728.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Described {
    resource: String,
    authorization_servers: Vec<String>,
    scopes_supported: Vec<String>,
    bearer_methods_supported: [&'static str; 1],
    resource_name: &'static str,
}

/// What is read of an access token; issuer, audience and times are checked while it is.
#[derive(Debug, Deserialize)]
struct Granted {
    sub: String,
    client_id: String,
    iat: i64,
    exp: i64,
    #[serde(default)]
    scope: String,
    /// A token that is bound to a key is worth something only beside a proof of it.
    #[serde(default)]
    cnf: Option<Value>,
    #[serde(flatten)]
    more: Map<String, Value>,
}

impl App {
    /// What is served at a path, where clients come with access tokens.
    #[must_use]
    pub fn resource(&self, path: &str) -> Option<Resource> {
        let access = self.config.oidc.as_ref()?.access.as_ref()?;
        Some(Resource {
            address: self.address_of(path)?,
            described_at: self.address_of(&format!("{WELL_KNOWN}{path}"))?,
            scope: access.to_call()?.to_owned(),
        })
    }

    /// How what is served at a path describes itself.
    ///
    /// # Errors
    /// When nobody comes with access tokens here.
    pub fn described(&self, path: &str) -> Result<Described, Problem> {
        let oidc = self.config.oidc.as_ref();
        let both = oidc.and_then(|oidc| Some((oidc, oidc.access.as_ref()?)));
        let (oidc, access) = both.ok_or_else(no_access)?;
        Ok(Described {
            resource: self.address_of(path).ok_or_else(no_access)?,
            authorization_servers: vec![oidc.issuer.clone()],
            scopes_supported: access.scopes.keys().cloned().collect(),
            bearer_methods_supported: ["header"],
            resource_name: "harness",
        })
    }

    /// Who an access token stands for that was made for this.
    ///
    /// # Errors
    /// When it proves nothing, was made for something else, has ended, or does not reach far enough.
    pub async fn access(&self, resource: &Resource, token: &str) -> Result<Signed, Problem> {
        let (provider, oidc) = self.provider()?;
        let access = oidc.access.as_ref().ok_or_else(no_access)?;
        let now = self.now();
        let (header, key) = provider.key_for(oidc, (token, now)).await.map_err(told)?;
        let is_access = header
            .typ
            .as_deref()
            .is_some_and(|typ| TYPES.iter().any(|known| typ.eq_ignore_ascii_case(known)));
        if !is_access {
            return Err(unproven("it is no access token after RFC 9068: its type is not at+jwt"));
        }
        let audiences: Vec<&String> =
            std::iter::once(&resource.address).chain(&access.audiences).collect();
        let mut rules = Validation::new(header.alg);
        rules.set_issuer(&[&oidc.issuer]);
        rules.set_audience(&audiences);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        rules.validate_nbf = true;
        let read = decode::<Granted>(token, &key, &rules);
        let granted = read.map_err(|error| unproven(&error.to_string()))?.claims;
        let skew_s = i64::try_from(rules.leeway).unwrap_or_default();
        if granted.iat > now / 1_000 + skew_s {
            return Err(unproven("it was made in the future"));
        }
        if granted.cnf.is_some() {
            return Err(unproven("it is bound to a key, and proofs of keys are not taken here"));
        }
        let names = [&granted.sub, &granted.client_id];
        if names.iter().any(|name| name.is_empty() || name.len() > NAME_BYTES_MAX) {
            return Err(unproven("it does not say in a few words whom it is for"));
        }
        self.admitted((oidc, access), &granted)
    }

    /// Whoever was granted this, with no right beyond what its scopes give.
    fn admitted(
        &self,
        (oidc, access): (&Oidc, &Access),
        granted: &Granted,
    ) -> Result<Signed, Problem> {
        let roles = access.roles_of(&granted.scope);
        let rights = rights_of(Actor::Service, &roles);
        if !rights.contains(&Right::Propose) {
            let detail = "this access token does not reach far enough to call anything";
            let next = format!("ask for the scope `{}`", access.to_call().unwrap_or_default());
            return Err(Problem::new(Kind::NotAllowed, "insufficient-scope", detail).next(next));
        }
        let (client, issuer) = (granted.client_id.as_str(), oidc.issuer.as_str());
        let (principal, acts_for) = if granted.sub == granted.client_id {
            let id = named("service", "harness/oidc-service/v1", &[issuer, client])?;
            (Principal { id, kind: Actor::Service, roles }, None)
        } else {
            // Whoever may not enter by the pages does not by a program of theirs.
            let roles = oidc.roles_of(&groups_of(oidc, &granted.more)).ok_or_else(no_group)?;
            let person =
                Principal { id: person_of(oidc, &granted.sub)?, kind: Actor::Person, roles };
            let id = named("agent", "harness/oidc-client/v1", &[issuer, client, &granted.sub])?;
            (Principal { id, kind: Actor::Agent, roles: BTreeSet::new() }, Some(person))
        };
        let expires_at: At = granted.exp.saturating_mul(1_000);
        let credential = principal.id.to_string();
        let caller = Caller::of(self.config.tenant.clone(), principal, acts_for);
        let caller = caller.narrowed_to(&rights).until(expires_at);
        Ok(Signed { caller, credential, expires_at })
    }
}

fn told(doubt: Doubt) -> Problem {
    match doubt {
        Doubt::Unproven(why) => unproven(&why),
        Doubt::Silent(problem) => problem,
    }
}

fn unproven(why: &str) -> Problem {
    let problem = not_signed_in(&format!("this access token does not count: {why}"));
    problem
        .next("ask the authority that the server's metadata names for one that is for this address")
}

fn no_access() -> Problem {
    let detail = "nobody comes here with access tokens of a provider";
    Problem::new(Kind::NotFound, "no-access-tokens", detail)
        .next("send a token of `harness token create`, or add [oidc.access] to harness.toml")
}
