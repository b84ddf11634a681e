//! Sign-in with an identity provider: OpenID Connect, authorization code with PKCE.
//!
//! Nothing is kept here while somebody is at the provider. Their browser holds one secret; `state`, `nonce`
//! and the code verifier are hashes of it, each under its own name. So an answer counts only in the browser
//! that asked, a code is worth nothing to whoever sees it pass, and an identity token was made for this
//! sign-in. What the provider says about itself is read again after an hour, or when it signs with a key
//! nobody knows yet.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use connect::{
    Secrets,
    outward::{Ask, Outward, form},
};
use jsonwebtoken::{
    Algorithm, DecodingKey, Header, Validation, decode, decode_header,
    jwk::{Jwk, JwkSet, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use kernel::{
    Digest,
    id::{At, PrincipalId},
    principal::{Kind as Actor, Principal},
};
use secrets::Safe;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{Cookie, fresh_hex, not_signed_in, same, sessions::Begun};
use crate::app::{
    App,
    config::Oidc,
    parse_id,
    problem::{Kind, Problem},
    value::visible,
};

/// How long somebody may be at the provider, in milliseconds.
const AWAY_MS: i64 = 10 * 60_000;

/// How long it is believed what a provider says about itself, in milliseconds.
const BELIEVED_MS: i64 = 3_600_000;

/// How soon it is asked again because of an unknown key, in milliseconds.
const ASKED_AGAIN_MS: i64 = 10_000;

/// How soon a provider that did not answer is asked again, in milliseconds: whoever comes meanwhile is told at once.
const SILENT_MS: i64 = 2_000;

/// Longest code or token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 64 * 1024;

/// Most groups of one person that are looked at.
const GROUPS_MAX: usize = 2_000;

/// Longest name that is kept, in characters.
const NAME_CHARS_MAX: usize = 80;

/// What identity tokens may be signed with: never with nothing, and never with a secret that both hold.
const SIGNED_WITH: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Name of the client's secret in its vault.
const SECRET: &str = "oidc.client_secret";

/// What it is granted to.
const GRANTEE: &str = "harness:sign-in";

/// The provider, as far as it is known.
#[derive(Debug)]
pub(in crate::app) struct Provider {
    outward: Outward,
    seen: Mutex<Seen>,
    /// Held by whoever asks: the others wait for what it hears.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Seen {
    known: Option<Arc<Known>>,
    /// When it last gave no answer, and what was told.
    silent: Option<(At, Problem)>,
}

/// Why a token does not count.
pub(super) enum Doubt {
    /// It proves nothing.
    Unproven(String),
    /// Nobody can say: the provider does not answer.
    Silent(Problem),
}

impl Doubt {
    fn of(error: &jsonwebtoken::errors::Error) -> Self {
        Self::Unproven(error.to_string())
    }
}

#[derive(Debug)]
struct Known {
    at: At,
    place: Place,
    keys: JwkSet,
}

/// What a provider says about itself.
#[derive(Debug, Deserialize)]
struct Place {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    userinfo_endpoint: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Tokens {
    id_token: String,
    #[serde(default)]
    access_token: Option<String>,
}

/// What is checked of an identity token; issuer, audience and expiry are checked while it is read.
#[derive(Debug, Deserialize)]
struct Claims {
    sub: String,
    nonce: Option<String>,
    iat: i64,
    #[serde(default)]
    azp: Option<String>,
    #[serde(default)]
    aud: Value,
    #[serde(flatten)]
    more: Map<String, Value>,
}

/// Where to send a browser, and what it is to keep meanwhile.
#[derive(Clone, Debug)]
pub struct Departure {
    /// The provider's page.
    pub location: String,
    /// The secret of a cookie.
    pub kept: String,
    /// For how long, in seconds.
    pub kept_s: i64,
}

/// What a browser comes back with.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Returned {
    /// What the tokens are fetched with.
    pub code: String,
    /// Ties the answer to the question.
    pub state: String,
    /// What went wrong at the provider.
    pub error: String,
    /// Who says so, where the provider tells.
    pub iss: Option<String>,
}

/// What a browser kept: a secret, when it left, and where it wanted to go.
struct Kept<'a> {
    text: &'a str,
    at: At,
    to: &'a str,
}

impl<'a> Kept<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(3, '.');
        let (secret, at, to) = (parts.next()?, parts.next()?, parts.next()?);
        (secret.len() == 64).then_some(())?;
        Some(Self { text, at: at.parse().ok()?, to })
    }

    /// A hash of all of it under a name: whoever sees one learns nothing of the others.
    fn derive(&self, name: &str) -> String {
        Digest::of_parts("harness/oidc/v1", &[name.as_bytes(), self.text.as_bytes()]).hex()
    }
}

impl Provider {
    pub(in crate::app) fn new(
        oidc: Option<&Oidc>,
        safe: &Arc<Safe>,
    ) -> Result<Option<Self>, Problem> {
        let Some(oidc) = oidc else { return Ok(None) };
        let invalid = |detail: String| {
            Problem::usage("oidc-invalid", detail).next("correct [oidc] in harness.toml")
        };
        let secret = oidc.client_secret.iter().map(|reference| (SECRET, reference.as_str()));
        let outward = Secrets::parse(secret)
            .map(|secrets| secrets.kept_in(Arc::clone(safe)))
            .and_then(|secrets| Outward::new(secrets, GRANTEE, &oidc.private_hosts));
        let outward = outward.map_err(|error| invalid(error.to_string()))?;
        outward
            .check(&oidc.issuer)
            .map_err(|problem| invalid(format!("oidc.issuer: {problem}")))?;
        Ok(Some(Self { outward, seen: Mutex::default(), asking: tokio::sync::Mutex::default() }))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn get<T: DeserializeOwned>(&self, what: &str, ask: Ask, now: At) -> Result<T, Problem> {
        let reply = self.outward.ask(ask, now).await.map_err(|problem| silent(what, &problem))?;
        if reply.status != 200 {
            return Err(silent(what, &format!("it answered {}", reply.status)));
        }
        serde_json::from_slice(&reply.body).map_err(|error| silent(what, &error.to_string()))
    }

    /// What the provider says about itself; read again when it is old, or a key is missing. However many need it at
    /// once, and whatever they show, it is asked by one of them, and not again too soon.
    async fn known(
        &self,
        oidc: &Oidc,
        (now, key): (At, Option<&str>),
    ) -> Result<Arc<Known>, Problem> {
        if let Some(told) = self.fresh(now, key) {
            return told;
        }
        let _turn = self.asking.lock().await;
        // Whoever waited finds what the one before has heard.
        if let Some(told) = self.fresh(now, key) {
            return told;
        }
        let told = self.ask_anew(oidc, now).await;
        let mut seen = self.seen();
        match &told {
            Ok(known) => *seen = Seen { known: Some(Arc::clone(known)), silent: None },
            Err(problem) => seen.silent = Some((now, problem.clone())),
        }
        told
    }

    /// What needs no asking.
    fn fresh(&self, now: At, key: Option<&str>) -> Option<Result<Arc<Known>, Problem>> {
        let seen = self.seen();
        if let Some(known) = &seen.known {
            let age = now - known.at;
            let misses = key.is_some_and(|key| known.keys.find(key).is_none());
            if age < ASKED_AGAIN_MS || (age < BELIEVED_MS && !misses) {
                return Some(Ok(Arc::clone(known)));
            }
        }
        let silent = seen.silent.as_ref().filter(|(at, _)| now - at < SILENT_MS);
        silent.map(|(_, problem)| Err(problem.clone()))
    }

    async fn ask_anew(&self, oidc: &Oidc, now: At) -> Result<Arc<Known>, Problem> {
        let base = oidc.issuer.trim_end_matches('/');
        let url = format!("{base}/.well-known/openid-configuration");
        let place: Place = self.get("discovery", Ask { url, ..Ask::default() }, now).await?;
        if place.issuer != oidc.issuer {
            return Err(silent("discovery", "it calls itself by another name than oidc.issuer"));
        }
        let endpoints = [&place.authorization_endpoint, &place.token_endpoint, &place.jwks_uri];
        for endpoint in endpoints {
            self.outward.check(endpoint).map_err(|problem| silent("discovery", &problem))?;
        }
        let url = place.jwks_uri.clone();
        let keys: JwkSet = self.get("keys", Ask { url, ..Ask::default() }, now).await?;
        Ok(Arc::new(Known { at: now, place, keys }))
    }

    /// Reads a token's header, and finds the key that its provider lists for it. Nothing of it is believed yet, and
    /// nowhere that it names is asked.
    pub(super) async fn key_for(
        &self,
        oidc: &Oidc,
        (token, now): (&str, At),
    ) -> Result<(Header, DecodingKey), Doubt> {
        let unproven = |why: &str| Err(Doubt::Unproven(why.to_owned()));
        let header = decode_header(token).map_err(|error| Doubt::of(&error))?;
        if !SIGNED_WITH.contains(&header.alg) {
            return unproven("it is signed in a way that proves nothing");
        }
        if header.crit.is_some() {
            return unproven("it wants something understood that is not understood here");
        }
        let known = self.known(oidc, (now, header.kid.as_deref())).await.map_err(Doubt::Silent)?;
        let Some(key) = key_of(&known.keys, header.kid.as_deref()) else {
            return unproven("it is signed with a key that its provider does not list");
        };
        let about = &key.common;
        let is_for_others =
            about.public_key_use.as_ref().is_some_and(|what| *what != PublicKeyUse::Signature)
                || about
                    .key_operations
                    .as_ref()
                    .is_some_and(|all| !all.contains(&KeyOperations::Verify));
        if is_for_others {
            return unproven("its key is not for signatures");
        }
        if about.key_algorithm.is_some_and(|alg| alg != KeyAlgorithm::from(header.alg)) {
            return unproven("its key is for signatures of another sort");
        }
        let key = DecodingKey::from_jwk(key).map_err(|error| Doubt::of(&error))?;
        Ok((header, key))
    }

    /// The claims of an identity token that this provider made for us, now.
    async fn verify(&self, oidc: &Oidc, token: &str, now: At) -> Result<Claims, Problem> {
        let found = self.key_for(oidc, (token, now)).await;
        let (header, key) = found.map_err(|doubt| match doubt {
            Doubt::Unproven(why) => unproven(&why),
            Doubt::Silent(problem) => problem,
        })?;
        let mut rules = Validation::new(header.alg);
        rules.set_issuer(&[&oidc.issuer]);
        rules.set_audience(&[&oidc.client_id]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        rules.validate_nbf = true;
        let read = decode::<Claims>(token, &key, &rules);
        let claims = read.map_err(|error| unproven(&error.to_string()))?.claims;
        let skew_s = i64::try_from(rules.leeway).unwrap_or_default();
        if claims.iat > now / 1_000 + skew_s {
            return Err(unproven("it was made in the future"));
        }
        let several = claims.aud.as_array().is_some_and(|all| all.len() > 1);
        let is_ours = claims.azp.as_ref().map_or(!several, |azp| *azp == oidc.client_id);
        if !is_ours {
            return Err(unproven("it was made for another party"));
        }
        Ok(claims)
    }
}

/// The key of this id; without one, the only key there is.
fn key_of<'a>(keys: &'a JwkSet, kid: Option<&str>) -> Option<&'a Jwk> {
    match (kid, keys.keys.as_slice()) {
        (Some(kid), _) => keys.find(kid),
        (None, [only]) => Some(only),
        (None, _) => None,
    }
}

impl App {
    /// Whether people sign in with a provider.
    #[must_use]
    pub fn has_provider(&self) -> bool {
        self.provider.is_some()
    }

    pub(super) fn provider(&self) -> Result<(&Provider, &Oidc), Problem> {
        let both = self.provider.as_ref().zip(self.config.oidc.as_ref());
        both.ok_or_else(|| {
            Problem::new(Kind::NotFound, "no-provider", "no identity provider is configured")
                .next("sign in with a link or a token, or add [oidc] to harness.toml")
        })
    }

    /// Sends somebody to the provider; `back` is where they come back to, `to` where they want to go then.
    ///
    /// # Errors
    /// When there is no provider, or it does not answer.
    pub async fn depart(&self, back: &str, to: &str) -> Result<Departure, Problem> {
        let (provider, oidc) = self.provider()?;
        let known = provider.known(oidc, (self.now(), None)).await?;
        let kept = format!("{}.{}.{to}", fresh_hex::<32>()?, self.now());
        let left = Kept::of(&kept).ok_or_else(|| not_signed_in("this leads nowhere"))?;
        let query = form(&[
            ("response_type", "code"),
            ("client_id", &oidc.client_id),
            ("redirect_uri", back),
            ("scope", &oidc.scope),
            ("state", &left.derive("state")),
            ("nonce", &left.derive("nonce")),
            ("code_challenge", &challenge(&left.derive("verifier"))),
            ("code_challenge_method", "S256"),
        ]);
        let page = &known.place.authorization_endpoint;
        let joint = if page.contains('?') { '&' } else { '?' };
        Ok(Departure { location: format!("{page}{joint}{query}"), kept, kept_s: AWAY_MS / 1_000 })
    }

    /// Signs somebody in who comes back from the provider: a session, and where they wanted to go.
    ///
    /// # Errors
    /// When what they bring does not belong to what their browser kept, the provider does not vouch for
    /// them, or nobody of their groups may enter.
    pub async fn come_back(
        &self,
        back: &str,
        kept: &str,
        returned: &Returned,
    ) -> Result<(Cookie, String), Problem> {
        let (provider, oidc) = self.provider()?;
        let kept = Kept::of(kept).ok_or_else(|| unproven("this browser did not ask for it"))?;
        let now = self.now();
        let state = Digest::of_parts("harness/compare/v1", &[returned.state.as_bytes()]);
        let wanted = Digest::of_parts("harness/compare/v1", &[kept.derive("state").as_bytes()]);
        if !same(&state, &wanted) {
            return Err(unproven("it answers another question than this browser's"));
        }
        if !(0..AWAY_MS).contains(&(now - kept.at)) {
            return Err(unproven("it took too long"));
        }
        if returned.iss.as_ref().is_some_and(|iss| *iss != oidc.issuer) {
            return Err(unproven("somebody else than the provider answers"));
        }
        if !returned.error.is_empty() || returned.code.is_empty() {
            return Err(unproven("the provider did not sign them in"));
        }
        let tokens = self.fetch_tokens(back, &returned.code, &kept.derive("verifier")).await?;
        let claims = provider.verify(oidc, &tokens.id_token, now).await?;
        if claims.nonce.as_deref() != Some(kept.derive("nonce").as_str()) {
            return Err(unproven("it was made for another sign-in"));
        }
        let claims = self.complete(claims, tokens.access_token).await?;
        let cookie = self.enter(oidc, &claims).await?;
        Ok((cookie, kept.to.to_owned()))
    }

    async fn fetch_tokens(
        &self,
        back: &str,
        code: &str,
        verifier: &str,
    ) -> Result<Tokens, Problem> {
        let (provider, oidc) = self.provider()?;
        if code.len() > TOKEN_BYTES_MAX {
            return Err(unproven("its code is too long"));
        }
        let known = provider.known(oidc, (self.now(), None)).await?;
        let body = form(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", back),
            ("client_id", &oidc.client_id),
            ("code_verifier", verifier),
        ]);
        let secret = oidc.client_secret.as_ref();
        let ask = Ask {
            url: known.place.token_endpoint.clone(),
            headers: vec![
                ("content-type", "application/x-www-form-urlencoded".to_owned()),
                ("accept", "application/json".to_owned()),
            ],
            body: Some(body.into_bytes()),
            login: secret.map(|_| (oidc.client_id.clone(), SECRET.to_owned())),
        };
        let tokens: Tokens = provider.get("tokens", ask, self.now()).await?;
        if tokens.id_token.len() > TOKEN_BYTES_MAX {
            return Err(unproven("its identity token is too long"));
        }
        Ok(tokens)
    }

    /// Asks for groups that do not stand in the identity token.
    async fn complete(&self, claims: Claims, access: Option<String>) -> Result<Claims, Problem> {
        let (provider, oidc) = self.provider()?;
        let known = provider.known(oidc, (self.now(), None)).await?;
        let asks = known.place.userinfo_endpoint.clone().zip(access);
        let Some((url, access)) = asks.filter(|_| !claims.more.contains_key(&oidc.groups_claim))
        else {
            return Ok(claims);
        };
        let headers = vec![("authorization", format!("Bearer {access}"))];
        let ask = Ask { url, headers, ..Ask::default() };
        let info: Map<String, Value> = provider.get("userinfo", ask, self.now()).await?;
        // Somebody else's groups are nothing to them.
        if info.get("sub").and_then(Value::as_str) != Some(claims.sub.as_str()) {
            return Err(unproven("the provider told about somebody else"));
        }
        let mut more = info;
        more.extend(claims.more);
        Ok(Claims { more, ..claims })
    }

    async fn enter(&self, oidc: &Oidc, claims: &Claims) -> Result<Cookie, Problem> {
        let roles = oidc.roles_of(&groups_of(oidc, &claims.more)).ok_or_else(no_group)?;
        let id = person_of(oidc, &claims.sub)?;
        let name = claims.more.get(&oidc.name_claim).and_then(Value::as_str).unwrap_or_default();
        let name = visible(&name.chars().take(NAME_CHARS_MAX).collect::<String>());
        let person = Principal { id, kind: Actor::Person, roles };
        let begun = Begun::Provider { issuer: oidc.issuer.clone(), name };
        self.begin_session(person, begun).await
    }
}

/// The groups that claims tell of.
pub(super) fn groups_of(oidc: &Oidc, claims: &Map<String, Value>) -> Vec<String> {
    match claims.get(&oidc.groups_claim) {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(all)) => {
            let texts = all.iter().take(GROUPS_MAX).filter_map(Value::as_str);
            texts.map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

/// Somebody whom the provider calls so: stable for as long as it keeps its subjects, and nobody declared can have it.
pub(super) fn person_of(oidc: &Oidc, sub: &str) -> Result<PrincipalId, Problem> {
    named("person", "harness/oidc-subject/v1", &[&oidc.issuer, sub])
}

/// An id that is made of whoever it stands for, and says nothing about them.
pub(super) fn named(sort: &str, of: &str, parts: &[&str]) -> Result<PrincipalId, Problem> {
    let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
    let digest = Digest::of_parts(of, &parts).hex();
    parse_id(&format!("{sort}:oidc-{}", digest.get(..32).unwrap_or(&digest)))
}

pub(super) fn no_group() -> Problem {
    Problem::new(Kind::NotAllowed, "no-group", "none of their groups may enter here")
        .next("have yourself added to a group, or have the group listed under oidc.roles")
}

/// The S256 challenge of a verifier.
fn challenge(verifier: &str) -> String {
    connect::outward::sha256_base64url(verifier)
}

fn silent(what: &str, problem: &str) -> Problem {
    let detail = format!("the identity provider does not answer as it should ({what}): {problem}");
    Problem::new(Kind::TryAgain, "provider-silent", detail)
        .next("try again; `oidc.issuer` must be what the provider calls itself")
}

fn unproven(why: &str) -> Problem {
    Problem::new(Kind::NotSignedIn, "not-signed-in", format!("this sign-in does not count: {why}"))
        .next("sign in again from the sign-in page")
}

#[cfg(test)]
mod tests;
