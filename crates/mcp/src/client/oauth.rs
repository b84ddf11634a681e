//! OAuth 2.1 as a client of servers: where a server says that its permissions come from, a person grants them there once, and
//! what was granted is renewed without anybody.
//!
//! Discovery after RFC 9728 and RFC 8414, PKCE with S256, the resource of RFC 8707 in every request, registration by id, by
//! document or anew (RFC 7591), the issuer of RFC 9207. Every exchange goes through a [`Wire`] of the caller, which decides
//! where one may be led: addresses in metadata are the server's word. Nothing is kept here.

use std::{fmt, pin::Pin, sync::Arc};

use rmcp::transport::auth::{
    AuthError, AuthorizationCallback, AuthorizationManager, ClientCredentialsConfig,
    InMemoryCredentialStore, OAuthClientConfig, OAuthHttpClient, OAuthHttpClientFuture,
    OAuthHttpRequest, OAuthTokenResponse, StoredCredentials,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How an application that nobody registered calls itself.
const OWN_NAME: &str = "harness";

/// Says in an authority's metadata that an application may be the address of its description.
const DOCUMENTS: &str = "client_id_metadata_document_supported";

/// One request of HTTP.
#[derive(Clone, Default)]
pub struct Ask {
    /// Where to, whole.
    pub url: String,
    /// Headers, by name.
    pub headers: Vec<(String, String)>,
    /// What is posted; none asks with GET.
    pub body: Option<Vec<u8>>,
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask").field("url", &self.url).finish_non_exhaustive()
    }
}

/// What came back.
#[derive(Clone, Default)]
pub struct Reply {
    /// Status of HTTP.
    pub status: u16,
    /// Headers, by name.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("status", &self.status).finish_non_exhaustive()
    }
}

/// An exchange under way.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Result<Reply, String>> + Send + 'a>>;

/// The way out for everything that is asked here.
pub trait Wire: Send + Sync {
    /// One exchange. No redirect is followed.
    fn send(&self, ask: Ask) -> Sending<'_>;
}

/// Why there is no permission.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The server names nobody who gives permissions.
    #[error(
        "it says nowhere who gives permissions for it (no metadata after RFC 9728 or RFC 8414)"
    )]
    NoAuthority,
    /// Nobody has granted anything, or it was taken back.
    #[error("nobody has logged in, or what was granted is no longer accepted")]
    LoginNeeded,
    /// It went wrong on the way.
    #[error("{0}")]
    Failed(String),
}

impl Denied {
    fn of(error: AuthError) -> Self {
        match error {
            AuthError::NoAuthorizationSupport => Self::NoAuthority,
            AuthError::AuthorizationRequired
            | AuthError::TokenRefreshRejected(_)
            | AuthError::TokenExpired => Self::LoginNeeded,
            AuthError::DiscoveryRequestFailed { source, .. } => Self::Failed(source.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

/// Who asks for permissions, as the authority knows it.
#[derive(Clone)]
pub enum Applicant {
    /// Registered there by hand.
    Known {
        /// Its id.
        id: String,
        /// What proves it, where it has one.
        secret: Option<String>,
    },
    /// Described by a document at this https address, which is its id; where the authority does not know how to read one, it
    /// registers itself.
    Document(String),
    /// Nobody yet: it registers itself.
    Anew,
}

impl fmt::Debug for Applicant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known { id, .. } => {
                f.debug_struct("Known").field("id", id).finish_non_exhaustive()
            }
            Self::Document(url) => f.debug_tuple("Document").field(url).finish(),
            Self::Anew => f.write_str("Anew"),
        }
    }
}

/// What was granted, with all that renewing it needs. Whoever keeps it keeps a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Id of the application it was granted to.
    pub client_id: String,
    /// What proves that application, where it has something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    /// Who granted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// What is shown to the server.
    pub access_token: String,
    /// What renews it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// How long it holds from when it was given, in seconds; none where nobody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<u64>,
    /// What it is good for.
    #[serde(default)]
    pub scopes: Vec<String>,
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("client_id", &self.client_id)
            .field("issuer", &self.issuer)
            .field("expires_in_s", &self.expires_in_s)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

impl Grant {
    /// When it ends, in milliseconds since 1970, if it was given now.
    #[must_use]
    pub fn ends_at_ms(&self, now_ms: i64) -> Option<i64> {
        let lasts_ms = i64::try_from(self.expires_in_s?).ok()?.saturating_mul(1_000);
        Some(now_ms.saturating_add(lasts_ms))
    }

    fn of(
        token: &OAuthTokenResponse,
        (id, secret): (String, Option<String>),
        (issuer, asked): (Option<String>, Vec<String>),
    ) -> Result<Self, Denied> {
        // What the library keeps behind accessors of another library, JSON says plainly.
        let said = serde_json::to_value(token).map_err(|e| Denied::Failed(e.to_string()))?;
        let text = |name: &str| said.get(name).and_then(Value::as_str).map(str::to_owned);
        let access_token = text("access_token")
            .ok_or_else(|| Denied::Failed("the authority gave no token".to_owned()))?;
        let scopes = text("scope").map(|all| all.split_whitespace().map(str::to_owned).collect());
        Ok(Self {
            client_id: id,
            client_secret: secret,
            issuer,
            access_token,
            refresh_token: text("refresh_token"),
            expires_in_s: said.get("expires_in").and_then(Value::as_u64),
            scopes: scopes.unwrap_or(asked),
        })
    }

    fn stored(&self) -> Result<StoredCredentials, Denied> {
        let token = json!({
            "access_token": self.access_token,
            "token_type": "bearer",
            "refresh_token": self.refresh_token,
        });
        let token: OAuthTokenResponse =
            serde_json::from_value(token).map_err(|e| Denied::Failed(e.to_string()))?;
        let stored =
            StoredCredentials::new(self.client_id.clone(), Some(token), self.scopes.clone(), None);
        Ok(stored.with_issuer(self.issuer.clone()))
    }
}

/// A server whose permissions are asked for.
#[derive(Clone)]
pub struct Authority {
    server: String,
    wire: Arc<dyn Wire>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Who gives permissions, as it describes itself.
struct Found {
    manager: AuthorizationManager,
    issuer: Option<String>,
    reads_documents: bool,
}

/// Passes on what the library asks for.
struct Through(Arc<dyn Wire>);

impl OAuthHttpClient for Through {
    fn execute(&self, asked: OAuthHttpRequest) -> OAuthHttpClientFuture<'_> {
        Box::pin(async move {
            let reply = self.0.send(plain(&asked.request)?).await?;
            let mut response = http::Response::builder().status(reply.status);
            for (name, value) in reply.headers {
                response = response.header(name, value);
            }
            Ok(response.body(reply.body)?)
        })
    }
}

fn plain(request: &http::Request<Vec<u8>>) -> Result<Ask, String> {
    let body = match *request.method() {
        http::Method::GET => None,
        http::Method::POST => Some(request.body().clone()),
        ref other => return Err(format!("{other} is nothing that OAuth asks with")),
    };
    let readable = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        let value = value.to_str().map_err(|_| format!("`{name}` is no text"))?;
        Ok((name.to_string(), value.to_owned()))
    };
    let headers = request.headers().iter().map(readable).collect::<Result<_, String>>()?;
    Ok(Ask { url: request.uri().to_string(), headers, body })
}

/// A login that waits for a person.
pub struct Login {
    manager: AuthorizationManager,
    client: (String, Option<String>),
    asked: Vec<String>,
    issuer: Option<String>,
    address: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl Login {
    /// The page where a person says yes.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Who is asked, in its own words.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// What is asked for.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        &self.asked
    }

    /// Takes what the person was sent back with: the whole address.
    ///
    /// # Errors
    /// When the person said no, when it is the answer to another question or of another authority, or when there is no token
    /// for it.
    pub async fn finish(self, came_back: &str) -> Result<Grant, Denied> {
        let callback = AuthorizationCallback::from_redirect_url(came_back).map_err(Denied::of)?;
        let token = self
            .manager
            .exchange_code_for_token_with_issuer(
                &callback.code,
                &callback.csrf_token,
                callback.issuer.as_deref(),
            )
            .await
            .map_err(Denied::of)?;
        Grant::of(&token, self.client, (self.issuer, self.asked))
    }
}

impl Authority {
    /// Of the server at this address.
    #[must_use]
    pub fn of(server: impl Into<String>, wire: Arc<dyn Wire>) -> Self {
        Self { server: server.into(), wire }
    }

    /// Finds out who gives permissions.
    async fn found(&self, challenge: Option<&str>) -> Result<Found, Denied> {
        let through = Arc::new(Through(Arc::clone(&self.wire)));
        let made = AuthorizationManager::new_with_oauth_http_client(self.server.as_str(), through);
        let mut manager = made.await.map_err(Denied::of)?;
        let resolved = manager.resolve_metadata_from_challenge(challenge).await;
        let resolved = resolved.map_err(Denied::of)?;
        if !resolved.source.is_discovered() {
            // Addresses that nobody published are guesses, and credentials are not sent to guesses.
            return Err(Denied::NoAuthority);
        }
        let issuer = resolved.metadata.issuer.clone();
        let documents = resolved.metadata.additional_fields.get(DOCUMENTS);
        let reads_documents = documents.is_some_and(|said| *said == true);
        manager.set_metadata(resolved.metadata);
        Ok(Found { manager, issuer, reads_documents })
    }

    /// Begins a login: what the person's browser is sent back to, and which permissions beyond those that the server asks for
    /// in its challenge.
    ///
    /// # Errors
    /// No authority, one that cannot be used safely, or one that does not take the applicant.
    pub async fn begin(
        &self,
        applicant: &Applicant,
        redirect: &str,
        (challenge, scopes): (Option<&str>, &[String]),
    ) -> Result<Login, Denied> {
        let Found { mut manager, issuer, reads_documents } = self.found(challenge).await?;
        let mut asked = manager.select_scopes(None, &[]);
        for scope in scopes {
            if !asked.contains(scope) {
                asked.push(scope.clone());
            }
        }
        let asked_for: Vec<&str> = asked.iter().map(String::as_str).collect();
        let client = match applicant {
            Applicant::Known { id, secret } => (id.clone(), secret.clone()),
            Applicant::Document(url) if reads_documents => (url.clone(), None),
            Applicant::Document(_) | Applicant::Anew => {
                let registered = manager.register_client(OWN_NAME, redirect, &asked_for).await;
                let registered = registered.map_err(Denied::of)?;
                (registered.client_id, registered.client_secret)
            }
        };
        configure(&mut manager, &client, redirect)?;
        let address = manager.get_authorization_url(&asked_for).await.map_err(Denied::of)?;
        Ok(Login { manager, client, asked, issuer, address })
    }

    /// Renews what was granted, without anybody. The permission that it replaces may be worth nothing afterwards.
    ///
    /// # Errors
    /// [`Denied::LoginNeeded`] where it cannot be renewed: nothing to renew it with, taken back, or the server names another
    /// authority now.
    pub async fn renew(&self, grant: &Grant) -> Result<Grant, Denied> {
        if grant.refresh_token.is_none() {
            return Err(Denied::LoginNeeded);
        }
        let Found { mut manager, issuer, .. } = self.found(None).await?;
        if grant.issuer.is_some() && grant.issuer != issuer {
            // A token of one authority is never shown to another.
            return Err(Denied::LoginNeeded);
        }
        let store = InMemoryCredentialStore::new();
        let kept = rmcp::transport::auth::CredentialStore::save(&store, grant.stored()?).await;
        kept.map_err(Denied::of)?;
        manager.set_credential_store(store);
        let client = (grant.client_id.clone(), grant.client_secret.clone());
        configure(&mut manager, &client, "http://127.0.0.1/")?;
        let token = manager.refresh_token().await.map_err(Denied::of)?;
        Grant::of(&token, client, (issuer, grant.scopes.clone()))
    }

    /// A permission for a machine: an application proves itself, and no person is asked.
    ///
    /// # Errors
    /// No authority, or one that refuses the application.
    pub async fn machine(
        &self,
        (id, secret): (&str, &str),
        (challenge, scopes): (Option<&str>, &[String]),
    ) -> Result<Grant, Denied> {
        let Found { mut manager, issuer, .. } = self.found(challenge).await?;
        let mut asked = manager.select_scopes(None, &[]);
        asked.extend(scopes.iter().filter(|one| !asked.contains(one)).cloned().collect::<Vec<_>>());
        let config = ClientCredentialsConfig::ClientSecret {
            client_id: id.to_owned(),
            client_secret: secret.to_owned(),
            scopes: asked.clone(),
            resource: Some(self.server.clone()),
        };
        manager.validate_client_credentials_metadata(&config).map_err(Denied::of)?;
        manager.configure_client_credentials(&config).map_err(Denied::of)?;
        let token = manager.exchange_client_credentials(&config).await.map_err(Denied::of)?;
        Grant::of(&token, (id.to_owned(), Some(secret.to_owned())), (issuer, asked))
    }
}

fn configure(
    manager: &mut AuthorizationManager,
    (id, secret): &(String, Option<String>),
    redirect: &str,
) -> Result<(), Denied> {
    let mut config = OAuthClientConfig::new(id.clone(), redirect);
    if let Some(secret) = secret {
        config = config.with_client_secret(secret.clone());
    }
    manager.configure_client(config).map_err(Denied::of)
}
