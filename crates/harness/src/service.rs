//! The deploy: one listener that carries the API and the UI, beside the owner's socket.

use std::sync::Arc;

use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state},
};
use tokio::{net::TcpListener, sync::watch};

use crate::{
    api,
    app::{
        App,
        problem::{Kind, Problem},
    },
    ui,
    web::{self, Web},
};

/// A server elsewhere, asked as if it were in this process.
#[derive(Debug)]
pub struct Elsewhere(api::Remote);

impl Elsewhere {
    /// A server at an address, asked with a token.
    ///
    /// # Errors
    /// When the address is none, or would send the token in the clear beyond this machine.
    pub fn new(url: &str, token: String) -> Result<Self, Problem> {
        api::Remote::new(url, token).map(Self)
    }

    /// Calls one operation there.
    ///
    /// # Errors
    /// What it refused, or that it does not answer.
    pub async fn call(
        &self,
        op: &str,
        body: serde_json::Value,
    ) -> Result<serde_json::Value, Problem> {
        self.0.call(op, body).await
    }
}

/// A listener that was opened, not yet answered.
#[derive(Debug)]
pub struct Service {
    web: Arc<Web>,
    listener: TcpListener,
}

impl Service {
    /// Opens the address of the configuration.
    ///
    /// # Errors
    /// When it is taken, or reaches beyond this machine without what that needs.
    pub async fn open(app: Arc<App>, ends: watch::Receiver<bool>) -> Result<Self, Problem> {
        let serve = &app.config().serve;
        if !serve.listen.ip().is_loopback() {
            check_exposed(&app).await?;
        }
        let listener = TcpListener::bind(serve.listen).await.map_err(|error| {
            let detail = format!("cannot listen at {}: {error}", serve.listen);
            Problem::new(Kind::TryAgain, "address-taken", detail)
                .next("stop what listens there, or name another address with --listen")
        })?;
        let service = Self { web: Web::new(app, ends), listener };
        service.web.app.serves_pages_at(service.url());
        Ok(service)
    }

    /// The address as people type it.
    #[must_use]
    pub fn url(&self) -> String {
        let public = self.web.app.config().serve.public_url.clone();
        let own = || match self.listener.local_addr() {
            Ok(address) => format!("http://{address}"),
            Err(_) => format!("http://{}", self.web.app.config().serve.listen),
        };
        public.unwrap_or_else(own)
    }

    /// Answers until the end is told, then finishes what was begun.
    pub async fn answer_all(self) {
        let guarded = from_fn_with_state(Arc::clone(&self.web), web::guard);
        let router = routes()
            .method_not_allowed_fallback(web::other_method)
            .fallback(web::nothing_here)
            .layer(guarded)
            .layer(from_fn(ui::for_browsers))
            .with_state(Arc::clone(&self.web));
        web::serve(self.web, self.listener, router).await;
    }
}

/// Every address of this server.
fn routes() -> Router<Arc<Web>> {
    api::router().merge(web::door()).merge(web::hooks()).merge(web::provider()).merge(ui::router())
}

/// Whoever lets strangers in has TLS in front and somebody who can be told from them.
async fn check_exposed(app: &App) -> Result<(), Problem> {
    let refuse =
        |detail: &str, next: &str| Err(Problem::usage("exposed", detail).next(next.to_owned()));
    if !app.config().serve.has_tls() {
        return refuse(
            "listening beyond this machine needs TLS in front",
            "set serve.public_url to the https:// address that people use, or listen at 127.0.0.1",
        );
    }
    if !app.has_provider() && !app.has_credentials().await? {
        return refuse(
            "listening beyond this machine needs tokens or a provider",
            "make one with `harness token create`, add [oidc], or listen at 127.0.0.1",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::routes;

    /// C020: six places and nothing else is served, whether it is linked or not.
    #[test]
    fn there_is_no_address_beside_the_six_places() {
        // The router itself is asked, so that no table can forget what is served.
        let told = format!("{:?}", routes());
        let paths: BTreeSet<&str> = told.split('"').filter(|part| part.starts_with('/')).collect();
        assert!(paths.contains("/v1/runs/{run}") && paths.contains("/approvals/{id}"), "{told}");
        let roots: BTreeSet<&str> = paths
            .iter()
            // What the router itself adds, for what nothing answers.
            .filter(|path| !path.starts_with("/v1/") && !path.starts_with("/{*__private"))
            .filter_map(|path| path.split('/').nth(1))
            .collect();
        let places = ["approvals", "exceptions", "packs", "receipts", "rollback", "runs"];
        let beside = ["", "assets", "live", "sign-in", "sign-out"];
        let programs = [".well-known", "a2a", "healthz", "hooks", "mcp", "metrics", "readyz"];
        let known: BTreeSet<&str> = places.into_iter().chain(beside).chain(programs).collect();
        assert_eq!(roots, known);
    }
}
