//! A door before the server for tests that wants OAuth, and the authority behind it: both on one address. The folder says how
//! they behave (`lasts`: seconds that a token holds; `no`: the person refuses; `withdrawn`: no token is good any more;
//! `elsewhere`: the address that metadata leads to; `registers`: where one registers) and holds what was asked of them, a
//! line each, in `asked`.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use axum::{
    Form, Json, Router,
    extract::{Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Redirect, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

type Fields = BTreeMap<String, String>;

/// The authority, and what it has given out.
#[derive(Clone)]
pub(crate) struct Guard {
    base: String,
    folder: PathBuf,
    given: Arc<Mutex<Given>>,
}

#[derive(Default)]
struct Given {
    count: u32,
    /// Codes, each with its challenge.
    codes: BTreeMap<String, String>,
    access: String,
    refresh: String,
}

impl Guard {
    pub(crate) fn new(base: String, folder: PathBuf) -> Self {
        Self { base, folder, given: Arc::default() }
    }

    /// The door around what is behind it.
    pub(crate) fn around(self, behind: Router) -> Router {
        let guarded = behind.layer(middleware::from_fn_with_state(self.clone(), let_in));
        let resource = "/.well-known/oauth-protected-resource/mcp";
        Router::new()
            .route(resource, get(about_resource))
            .route("/.well-known/oauth-authorization-server", get(about_authority))
            .route("/register", post(register))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .with_state(self)
            .merge(guarded)
    }

    fn told(&self, how: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(how)).ok()
    }

    fn note(&self, text: &str) {
        let file = fs::OpenOptions::new().create(true).append(true).open(self.folder.join("asked"));
        writeln!(file.unwrap(), "{text}").unwrap();
    }

    fn tokens(&self, scope: &str) -> Value {
        let mut given = self.given.lock().unwrap();
        given.count += 1;
        given.access = format!("access-canary-{:04}-of-the-authority", given.count);
        given.refresh = format!("refresh-canary-{:04}-of-the-authority", given.count);
        let lasts = self.told("lasts").and_then(|text| text.trim().parse().ok()).unwrap_or(3_600);
        json!({
            "access_token": given.access, "refresh_token": given.refresh, "token_type": "Bearer",
            "expires_in": lasts, "scope": scope,
        })
    }
}

async fn let_in(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|text| text.to_str().ok());
    let good = {
        let given = guard.given.lock().unwrap();
        !given.access.is_empty() && shown == Some(&format!("Bearer {}", given.access))
    };
    if good && guard.told("withdrawn").is_none() {
        return next.run(request).await;
    }
    let known = format!(
        "Bearer resource_metadata=\"{}/.well-known/oauth-protected-resource/mcp\", scope=\"notes\"",
        guard.base
    );
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, known)]).into_response()
}

async fn about_resource(State(guard): State<Guard>) -> Json<Value> {
    let authority = guard.told("elsewhere").unwrap_or_else(|| guard.base.clone());
    Json(json!({
        "resource": format!("{}/mcp", guard.base),
        "authorization_servers": [authority.trim()],
        "scopes_supported": ["notes"],
    }))
}

async fn about_authority(State(guard): State<Guard>) -> Json<Value> {
    let base = &guard.base;
    let registers = guard.told("registers").unwrap_or_else(|| format!("{base}/register"));
    Json(json!({
        "issuer": base,
        "authorization_endpoint": format!("{base}/authorize"),
        "token_endpoint": format!("{base}/token"),
        "registration_endpoint": registers,
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "authorization_response_iss_parameter_supported": true,
        "scopes_supported": ["notes"],
    }))
}

async fn register(
    State(guard): State<Guard>,
    Json(asked): Json<Value>,
) -> (StatusCode, Json<Value>) {
    guard.note(&format!("register {}", asked["client_name"]));
    let mut known = asked;
    known["client_id"] = json!("client-of-the-fixture");
    (StatusCode::CREATED, Json(known))
}

async fn authorize(State(guard): State<Guard>, Query(asked): Query<Fields>) -> Response {
    let text = |name: &str| asked.get(name).cloned().unwrap_or_default();
    let sound = text("code_challenge_method") == "S256"
        && text("response_type") == "code"
        && text("resource") == format!("{}/mcp", guard.base);
    if !sound {
        return StatusCode::BAD_REQUEST.into_response();
    }
    guard.note(&format!("authorize {}", text("scope")));
    let (back, state, base) = (text("redirect_uri"), text("state"), &guard.base);
    if guard.told("no").is_some() {
        return Redirect::to(&format!("{back}?error=access_denied&state={state}")).into_response();
    }
    let mut given = guard.given.lock().unwrap();
    given.count += 1;
    let code = format!("code-{}", given.count);
    given.codes.insert(code.clone(), text("code_challenge"));
    Redirect::to(&format!("{back}?code={code}&state={state}&iss={base}")).into_response()
}

async fn token(
    State(guard): State<Guard>,
    headers: HeaderMap,
    Form(asked): Form<Fields>,
) -> (StatusCode, Json<Value>) {
    let text = |name: &str| asked.get(name).cloned().unwrap_or_default();
    let grant = text("grant_type");
    guard.note(&format!("token {grant}"));
    let refused = || (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_grant"})));
    if text("resource") != format!("{}/mcp", guard.base) {
        return refused();
    }
    let good = match grant.as_str() {
        "authorization_code" => {
            let challenge = guard.given.lock().unwrap().codes.remove(&text("code"));
            let proof = URL_SAFE_NO_PAD.encode(Sha256::digest(text("code_verifier").as_bytes()));
            challenge == Some(proof)
        }
        "refresh_token" => text("refresh_token") == guard.given.lock().unwrap().refresh,
        "client_credentials" => {
            let shown = headers.get(header::AUTHORIZATION).and_then(|text| text.to_str().ok());
            let basic =
                base64::engine::general_purpose::STANDARD.encode("robot:robot-canary-secret");
            shown == Some(&format!("Basic {basic}"))
                || text("client_secret") == "robot-canary-secret"
        }
        _ => false,
    };
    if !good || guard.told("withdrawn").is_some() {
        return refused();
    }
    (StatusCode::OK, Json(guard.tokens("notes")))
}
