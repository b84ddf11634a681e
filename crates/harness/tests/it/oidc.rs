//! Sign-in with an identity provider: a real, certified one, and one that lies.

pub(crate) mod certified;
mod forged;
pub(crate) mod liar;

use std::collections::BTreeMap;

use crate::{
    api::{Answer, Api, send},
    support::Office,
};

/// The client's secret at every provider here.
const SECRET: &str = "a-client-secret-of-the-tests";

/// A server that people sign in to at this issuer.
pub(crate) fn signing_in(issuer: &str, more: &str) -> Api {
    use std::os::unix::fs::PermissionsExt as _;
    let office = Office::open();
    let path = office.path("secrets/oidc");
    std::fs::write(&path, SECRET).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let config = std::fs::read_to_string(office.config()).unwrap();
    let oidc = format!(
        "{config}\n[serve]\nstrangers_per_second = 2000\n[oidc]\nissuer = \"{issuer}\"\n\
         client_id = \"harness\"\nclient_secret = \"file:{}\"\n{more}\n[oidc.roles]\n\
         finance-team = [\"approver\", \"finance\"]\n",
        path.display()
    );
    std::fs::write(office.config(), oidc).unwrap();
    Api::of(office)
}

/// A browser: it keeps cookies by host, and follows where it is sent when it is told to.
#[derive(Debug, Default)]
pub(crate) struct Browser(BTreeMap<String, BTreeMap<String, String>>);

impl Browser {
    /// Opens an address as somebody does who types it or is sent there.
    pub(crate) fn open(&mut self, url: &str) -> Answer {
        let rest = url.strip_prefix("http://").unwrap_or_else(|| panic!("{url}"));
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let jar = self.0.entry(host.to_owned()).or_default();
        let cookies: Vec<String> =
            jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = match cookies.is_empty() {
            true => String::new(),
            false => format!("Cookie: {}\r\n", cookies.join("; ")),
        };
        let text =
            format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{cookies}\r\n");
        let answer = send(host, text.as_bytes());
        let set = answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
        for (name, value) in set.filter_map(|(_, set)| set.split(';').next()?.split_once('=')) {
            match value.is_empty() {
                true => jar.remove(name),
                false => jar.insert(name.to_owned(), value.to_owned()),
            };
        }
        answer
    }

    /// Follows until it is sent somewhere that this holds for; that address.
    pub(crate) fn follow(&mut self, url: &str, until: impl Fn(&str) -> bool) -> String {
        let mut at = url.to_owned();
        loop {
            let answer = self.open(&at);
            let to = answer
                .header("location")
                .unwrap_or_else(|| panic!("{at} leads nowhere: {answer:?}"));
            let host = at.split('/').nth(2).unwrap();
            at = if to.starts_with('/') { format!("http://{host}{to}") } else { to.to_owned() };
            if until(&at) {
                return at;
            }
        }
    }

    /// Whether it holds a session there.
    fn is_signed_in(&mut self, api: &Api) -> bool {
        let answer = self.open(&format!("http://{}/live?look", api.host));
        answer.status == 200
    }

    fn cookie(&self, host: &str, name: &str) -> Option<String> {
        self.0.get(host)?.get(name).cloned()
    }
}

/// A field of an address's query.
fn field(url: &str, name: &str) -> String {
    connect::outward::form_field(url.split_once('?').unwrap().1, name)
        .unwrap_or_else(|| panic!("no {name}: {url}"))
}
