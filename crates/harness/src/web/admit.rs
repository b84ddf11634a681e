//! Who calls a face of MCP: a token of ours, or one that the provider made for exactly this address. Whoever comes without
//! one is told where to get it.

use axum::{
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};

use super::{Client, Told, Web, signed::bearer_of};
use crate::app::{
    identity::{Resource, Signed},
    problem::{Kind, Problem},
};

/// Longest access token that is looked at, in bytes.
const ACCESS_BYTES_MAX: usize = 16 * 1024;

/// How tokens of our own begin.
const OURS: &str = "hns_";

impl Web {
    /// Whoever calls what is served at a path.
    pub(crate) async fn admit(
        &self,
        headers: &HeaderMap,
        Client(address): Client,
        path: &str,
    ) -> Result<Signed, Box<Response>> {
        let resource = self.app.resource(path);
        let token = bearer_of(headers, ACCESS_BYTES_MAX);
        let signed = match (token, &resource) {
            (None, _) => Err(none_shown(resource.as_ref())),
            (Some(token), Some(resource)) if !token.starts_with(OURS) => {
                self.app.access(resource, token).await
            }
            (Some(token), _) => self.app.bearer(token).await,
        };
        let counted = match &signed {
            Ok(signed) => self.limits.count(&signed.credential),
            Err(_) => self.limits.count_stranger(address),
        };
        counted.map_err(|told| Box::new(told.into_response()))?;
        let error = token.map(|_| "invalid_token");
        signed.map_err(|problem| Box::new(refused(problem, resource.as_ref(), error)))
    }
}

fn none_shown(resource: Option<&Resource>) -> Problem {
    let next = match resource {
        Some(_) => {
            "get one from the authority that the metadata in `WWW-Authenticate` names, or send one of `harness token create`"
        }
        None => "send `Authorization: Bearer hns_…`; `harness token create` makes one",
    };
    Problem::new(Kind::NotSignedIn, "not-signed-in", "a token is needed").next(next)
}

/// The refusal, with what a client needs to do better (RFC 6750, RFC 9728). Why a token does not count stands in the body.
fn refused(problem: Problem, resource: Option<&Resource>, error: Option<&str>) -> Response {
    let error = match (problem.kind, &*problem.code) {
        (Kind::NotSignedIn, _) => error,
        (_, "insufficient-scope") => Some("insufficient_scope"),
        _ => return Told::from(problem).into_response(),
    };
    let mut response = Told::from(problem).into_response();
    let Some(Resource { described_at, scope, .. }) = resource else { return response };
    let error = error.map(|error| format!("error=\"{error}\", ")).unwrap_or_default();
    let challenge =
        format!("Bearer {error}resource_metadata=\"{described_at}\", scope=\"{scope}\"");
    if let Ok(challenge) = HeaderValue::from_str(&challenge) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}
