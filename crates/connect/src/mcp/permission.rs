//! Permissions of servers that are granted over OAuth: kept in the file of secrets, shown to their own server alone, renewed
//! before they end, and never handed to whoever calls.
//!
//! A person logs in once (`harness mcp login`); nothing that runs by itself ever waits for one. What was granted stands in
//! three entries, each with a grant of its own, so that what comes back from anywhere is searched for each of them.

use std::{fmt, sync::Arc};

use ::mcp::client::oauth::{Applicant, Ask, Authority, Denied, Grant, Login, Reply, Sending, Wire};
use kernel::{
    exception::{Class, Landed},
    port::Failure,
};
use reqwest::Url;
use secrets::{Book, Safe, Use, Value};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::{
    call::fail,
    error::Error,
    outward::Outward,
    secret::{Secrets, Vault},
    system::{McpGrantee, McpOauth},
};

/// How long before its end a permission is renewed, in milliseconds: a call may wait in line meanwhile.
const EARLY_MS: i64 = 60_000;

/// What the wire of logins is called where secrets are granted to it: it is granted none.
const WIRE: &str = "harness:mcp-login";

/// What is kept beside the tokens.
#[derive(Serialize, Deserialize)]
struct Kept {
    client_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends_at_ms: Option<i64>,
    #[serde(default)]
    scopes: Vec<String>,
}

/// The permission to ask one server.
pub(crate) struct Permission {
    system: String,
    url: String,
    host: String,
    port: Option<u16>,
    declared: McpOauth,
    authority: Authority,
    safe: Arc<Safe>,
    /// One renewal at a time: most authorities take a token that renews once only.
    renewing: Mutex<()>,
}

impl fmt::Debug for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permission").field("system", &self.system).finish_non_exhaustive()
    }
}

/// The way out of everything about permissions: under the rules for what the harness asks by itself, and nowhere on this
/// machine unless the server itself is here.
struct Out {
    outward: Outward,
    private_hosts: Vec<String>,
}

impl Wire for Out {
    fn send(&self, ask: Ask) -> Sending<'_> {
        Box::pin(async move {
            self.may_go(&ask.url)?;
            let sent = self.outward.ask_whole((&ask.url, ask.body), ask.headers).await;
            let (status, headers, body) = sent?;
            Ok(Reply { status, headers, body })
        })
    }
}

impl Out {
    /// What metadata names is the word of whoever wrote it: this machine is for those whom the operator named.
    fn may_go(&self, url: &str) -> Result<(), String> {
        let url = Url::parse(url).map_err(|error| format!("an address cannot be read: {error}"))?;
        let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse();
        let here = host == "localhost"
            || host.ends_with(".localhost")
            || literal.is_ok_and(|ip: std::net::IpAddr| ip.to_canonical().is_loopback());
        if here && !self.private_hosts.contains(&host) {
            let next = "list it under oauth.private_hosts if it should";
            return Err(format!(
                "the server's metadata leads to {host}, this very machine; {next}"
            ));
        }
        Ok(())
    }
}

impl Permission {
    /// For a declared server.
    ///
    /// # Errors
    /// What does not go together in its declaration.
    pub(crate) fn new(
        (system, url): (&str, &str),
        declared: &McpOauth,
        safe: Arc<Safe>,
    ) -> Result<Self, Error> {
        let wrong = |problem: String| Error::System { system: system.to_owned(), problem };
        let parsed = Url::parse(url).map_err(|error| wrong(error.to_string()))?;
        let host = parsed.host_str().unwrap_or_default().to_ascii_lowercase();
        let machine = declared.by == McpGrantee::Machine;
        if machine && (declared.client.is_none() || declared.secret.is_none()) {
            let problem =
                "oauth.by = \"machine\" needs `client` and `secret`: the authority gives both";
            return Err(wrong(problem.to_owned()));
        }
        if declared.secret.is_some() && declared.client.is_none() {
            return Err(wrong("oauth.secret proves an id: name it under oauth.client".to_owned()));
        }
        if declared.client.is_some() && declared.document.is_some() {
            return Err(wrong("oauth has either `client` or `document`".to_owned()));
        }
        let mut private_hosts: Vec<String> =
            declared.private_hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        // Where the operator put the server itself, one may go.
        private_hosts.push(host.clone());
        let outward = Outward::new(Secrets::default(), WIRE, &private_hosts)?;
        let authority = Authority::of(url, Arc::new(Out { outward, private_hosts }));
        Ok(Self {
            system: system.to_owned(),
            url: url.to_owned(),
            host,
            port: parsed.port_or_known_default(),
            declared: declared.clone(),
            authority,
            safe,
            renewing: Mutex::default(),
        })
    }

    fn names(&self) -> [String; 3] {
        ["access", "refresh", "about"].map(|part| format!("mcp.{}.{part}", self.system))
    }

    fn asked(&self) -> Use<'_> {
        Use { host: Some(&self.host), port: self.port, ..Use::by(&self.system) }
    }

    /// Begins a login: where a person's browser is sent back to.
    ///
    /// # Errors
    /// That no person is asked for it, or why nobody can be asked.
    pub(crate) async fn login(&self, redirect: &str, vault: &Vault) -> Result<Login, Failure> {
        if self.declared.by == McpGrantee::Machine {
            let text = format!("`{}` is granted to this installation: nobody logs in", self.system);
            return Err(fail(Class::InvalidArguments, Landed::No, text));
        }
        let applicant = match (&self.declared.client, &self.declared.document) {
            (Some(id), _) => Applicant::Known { id: id.clone(), secret: self.proof(vault)? },
            (None, Some(document)) => Applicant::Document(document.clone()),
            (None, None) => Applicant::Anew,
        };
        let begun = self.authority.begin(&applicant, redirect, (None, &self.declared.scopes)).await;
        begun.map_err(|denied| self.denied(&denied))
    }

    /// What proves the id of this installation, where it is declared.
    fn proof(&self, vault: &Vault) -> Result<Option<String>, Failure> {
        let Some(name) = &self.declared.secret else { return Ok(None) };
        let value = vault.resolve(name, &Use::by(&self.system));
        let value = value.map_err(|e| fail(Class::Permission, Landed::No, e.to_string()))?;
        Ok(Some(value.expose().to_owned()))
    }

    /// Keeps what was granted.
    ///
    /// # Errors
    /// A file of secrets that cannot be written.
    pub(crate) fn keep(&self, grant: &Grant, now_ms: i64) -> Result<(), Failure> {
        let about = Kept {
            client_id: grant.client_id.clone(),
            issuer: grant.issuer.clone(),
            ends_at_ms: grant.ends_at_ms(now_ms),
            scopes: grant.scopes.clone(),
        };
        let about = serde_json::to_string(&about)
            .map_err(|e| fail(Class::Permission, Landed::No, e.to_string()))?;
        let [access, refresh, rest] = self.names();
        let client_secret = format!("mcp.{}.client", self.system);
        let kept = self.safe.change(|book| {
            self.put(book, (&access, Some(&grant.access_token)), now_ms)?;
            self.put(book, (&refresh, grant.refresh_token.as_ref()), now_ms)?;
            self.put(book, (&client_secret, grant.client_secret.as_ref()), now_ms)?;
            self.put(book, (&rest, Some(&about)), now_ms)
        });
        kept.map_err(|e| fail(Class::Permission, Landed::No, e.to_string()))
    }

    /// One entry, for this server at this host alone; gone where there is nothing.
    fn put(
        &self,
        book: &mut Book,
        (name, value): (&str, Option<&String>),
        now_ms: i64,
    ) -> Result<(), secrets::Error> {
        let Some(value) = value else {
            // What was never there need not go.
            let _was = book.remove(name);
            return Ok(());
        };
        let same = book.value(name, &self.asked()).is_ok_and(|kept| kept.expose() == value);
        if !same {
            book.set(name, value, now_ms)?;
        }
        let host = match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        };
        let grant = secrets::Grant {
            system: self.system.clone(),
            host: Some(host),
            method: None,
            path: None,
        };
        book.grant(name, grant).map(drop)
    }

    /// What is kept, and when it ends.
    fn kept(&self) -> Result<(Grant, Option<i64>), Failure> {
        let broken = |text: String| fail(Class::Permission, Landed::No, text);
        let book = self.safe.read().map_err(|error| broken(error.to_string()))?;
        let [access, refresh, about] = self.names();
        let value = |name: &str| book.value(name, &self.asked()).map(Value::expose);
        let (Ok(access), Ok(about)) = (value(&access), value(&about)) else {
            return Err(self.denied(&Denied::LoginNeeded));
        };
        let about: Kept = serde_json::from_str(about)
            .map_err(|_| broken(format!("what is kept of `{}` is none of ours", self.system)))?;
        let grant = Grant {
            client_id: about.client_id,
            client_secret: value(&format!("mcp.{}.client", self.system)).ok().map(str::to_owned),
            issuer: about.issuer,
            access_token: access.to_owned(),
            refresh_token: value(&refresh).ok().map(str::to_owned),
            expires_in_s: None,
            scopes: about.scopes,
        };
        Ok((grant, about.ends_at_ms))
    }

    /// What is shown to the server, as it is kept.
    ///
    /// # Errors
    /// That nobody has logged in.
    pub(crate) fn shown(&self) -> Result<Zeroizing<String>, Failure> {
        self.kept().map(|(grant, _)| Zeroizing::new(grant.access_token))
    }

    /// What is shown to the server now: renewed, where it ends soon or is what the server refused just now.
    ///
    /// # Errors
    /// That somebody has to log in, with the command.
    pub(crate) async fn token(
        &self,
        vault: &Vault,
        (now_ms, refused): (i64, Option<&str>),
    ) -> Result<Zeroizing<String>, Failure> {
        let usable = |grant: &Grant, ends_at_ms: Option<i64>| {
            refused != Some(grant.access_token.as_str())
                && ends_at_ms.is_none_or(|end| now_ms.saturating_add(EARLY_MS) < end)
        };
        let shown = |grant: Grant| Zeroizing::new(grant.access_token);
        if let Ok((grant, ends_at_ms)) = self.kept()
            && usable(&grant, ends_at_ms)
        {
            return Ok(shown(grant));
        }
        let _turn = self.renewing.lock().await;
        let kept = self.kept();
        if let Ok((grant, ends_at_ms)) = &kept
            && usable(grant, *ends_at_ms)
        {
            // Somebody renewed it meanwhile.
            return Ok(shown(grant.clone()));
        }
        let fresh = match self.declared.by {
            McpGrantee::Machine => self.of_machine(vault).await?,
            McpGrantee::Person => {
                let (grant, _) = kept?;
                let renewed = self.authority.renew(&grant).await;
                renewed.map_err(|denied| self.denied(&denied))?
            }
        };
        self.keep(&fresh, now_ms)?;
        Ok(shown(fresh))
    }

    async fn of_machine(&self, vault: &Vault) -> Result<Grant, Failure> {
        let id = self.declared.client.as_deref().unwrap_or_default();
        let secret = Zeroizing::new(self.proof(vault)?.unwrap_or_default());
        let granted = self.authority.machine((id, &secret), (None, &self.declared.scopes)).await;
        // The secret is declared already: it is kept in one place.
        let granted = granted.map(|grant| Grant { client_secret: None, ..grant });
        granted.map_err(|denied| self.denied(&denied))
    }

    fn denied(&self, denied: &Denied) -> Failure {
        let (system, url) = (&self.system, &self.url);
        let (class, next) = match denied {
            Denied::LoginNeeded => {
                (Class::Permission, format!("; somebody has to run `harness mcp login {system}`"))
            }
            Denied::NoAuthority => (
                Class::Permission,
                format!("; look at what {url} says of itself, or take `oauth` out"),
            ),
            Denied::Failed(_) => (Class::Unavailable, String::new()),
        };
        let message = format!("no permission for `{system}`: {denied}{next}");
        fail(class, Landed::No, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(server: &str, private: &[&str]) -> Out {
        let mut private_hosts: Vec<String> =
            private.iter().map(|host| (*host).to_owned()).collect();
        private_hosts.push(server.to_owned());
        let outward = Outward::new(Secrets::default(), WIRE, &private_hosts).unwrap();
        Out { outward, private_hosts }
    }

    /// C134: a server that is elsewhere leads nobody to this machine, however it is written, unless the operator says so.
    #[tokio::test]
    async fn this_machine_is_for_servers_that_are_on_it() {
        let ask = |url: &str| Ask { url: url.to_owned(), ..Ask::default() };
        for inside in [
            "http://localhost:1/token",
            "http://127.0.0.1:1/token",
            "http://127.1:1/token",
            "http://[::1]:1/token",
            "http://[::ffff:127.0.0.1]:1/token",
            "https://LOCALHOST:1/token",
            "https://a.localhost:1/token",
        ] {
            let refused = out("mcp.example.com", &[]).send(ask(inside)).await.unwrap_err();
            assert!(refused.contains("this very machine"), "{inside}: {refused}");
        }
        for (metadata, why) in [
            ("https://169.254.169.254/latest", "leads into a private network"),
            ("https://10.0.0.1/", "leads into a private network"),
            ("https://[::ffff:192.168.1.1]/", "leads into a private network"),
            ("https://[fd00:ec2::254]/", "leads into a private network"),
            ("http://169.254.169.254/latest", "must begin with https://"),
            ("http://mcp.example.com/", "must begin with https://"),
        ] {
            let refused = out("mcp.example.com", &[]).send(ask(metadata)).await.unwrap_err();
            assert!(refused.contains(why), "{metadata}: {refused}");
        }
        // Nobody listens there, but one may go.
        for (server, private) in [("127.0.0.1", vec![]), ("mcp.example.com", vec!["127.0.0.1"])] {
            let gone =
                out(server, &private).send(ask("http://127.0.0.1:1/token")).await.unwrap_err();
            assert!(!gone.contains("machine"), "{gone}");
        }
    }

    /// What does not go together is refused where it is declared, and nothing of a grant is printed.
    #[test]
    fn declarations_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let key = format!("file:{}", dir.path().join("key").display());
        let safe = Arc::new(Safe::new(dir.path().join("secrets"), &key).unwrap());
        let permission = |declared: McpOauth| {
            Permission::new(("sys", "https://mcp.example.com/mcp"), &declared, Arc::clone(&safe))
        };
        let text = |name: &str| Some(name.to_owned());
        for (wrong, said) in [
            (
                McpOauth { by: McpGrantee::Machine, ..McpOauth::default() },
                "needs `client` and `secret`",
            ),
            (McpOauth { secret: text("s"), ..McpOauth::default() }, "oauth.client"),
            (
                McpOauth {
                    client: text("c"),
                    document: text("https://x/y"),
                    ..McpOauth::default()
                },
                "either `client` or `document`",
            ),
        ] {
            let told = permission(wrong).map(drop).unwrap_err().to_string();
            assert!(told.contains(said), "{told}");
        }
        let sound = permission(McpOauth::default()).unwrap();
        let grant = Grant {
            client_id: "c".to_owned(),
            client_secret: text("client-canary-1"),
            issuer: text("https://authority.example.com"),
            access_token: "access-canary-1".to_owned(),
            refresh_token: text("refresh-canary-1"),
            expires_in_s: Some(60),
            scopes: vec!["notes".to_owned()],
        };
        assert!(!format!("{grant:?}").contains("canary"), "{grant:?}");
        sound.keep(&grant, 1_000).unwrap();
        let (kept, ends_at_ms) = sound.kept().unwrap();
        assert_eq!(
            (kept, ends_at_ms),
            (Grant { expires_in_s: None, ..grant.clone() }, Some(61_000))
        );
        // The same at another address of the same name is nobody's.
        let other =
            Permission::new(("sys", "https://other.example.com/mcp"), &McpOauth::default(), safe);
        let told = other.unwrap().shown().unwrap_err();
        assert!(told.message.contains("harness mcp login sys"), "{}", told.message);
        // What is gone is gone.
        sound.keep(&Grant { refresh_token: None, client_secret: None, ..grant }, 1_000).unwrap();
        assert_eq!(sound.kept().unwrap().0.refresh_token, None);
    }
}
