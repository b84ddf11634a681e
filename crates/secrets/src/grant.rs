//! Who may use a secret, and for which requests.

use serde::{Deserialize, Serialize};

use crate::Error;

/// Longest part of a grant, in characters.
const PART_MAX_CHARS: usize = 256;

/// A permission to use one secret. What it leaves out it does not bind; what it names, a use must have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Who: the name of a system, or `provider:NAME`, `harness:notify`, `harness:sign-in`.
    pub system: String,
    /// A host, `host:port`, or `*.` and a name for everything below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// An HTTP method in capital letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// A path, in which a part `*` stands for one part and `**` at the end for anything below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// What a value is asked for. A part that there is not is covered only by a grant that does not name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use<'a> {
    /// Who asks.
    pub system: &'a str,
    /// Where it goes; a name, an address, or `*.name` for all below.
    pub host: Option<&'a str>,
    /// At which port.
    pub port: Option<u16>,
    /// With which method.
    pub method: Option<&'a str>,
    /// To which path; a part `*` or `**` stands for any, as in a rule that lets such requests pass.
    pub path: Option<&'a str>,
}

impl<'a> Use<'a> {
    /// By a system, for something that has neither host nor method nor path.
    #[must_use]
    pub fn by(system: &'a str) -> Self {
        Self { system, host: None, port: None, method: None, path: None }
    }

    /// In words.
    pub(crate) fn words(&self) -> String {
        let place = match (self.host, self.port) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => String::new(),
        };
        let place = format!("{place}{}", self.path.unwrap_or_default());
        match (self.method, place.is_empty()) {
            (Some(method), false) => format!("`{}` for {method} {place}", self.system),
            (None, false) => format!("`{}` for {place}", self.system),
            (_, true) => format!("`{}`", self.system),
        }
    }

    /// The command that grants exactly this.
    pub(crate) fn command(&self, name: &str) -> String {
        let mut command = format!("harness secret grant {name} --system {}", quoted(self.system));
        if let Some(host) = self.host {
            let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
            command.push_str(&format!(" --host {}", quoted(&format!("{host}{port}"))));
        }
        if let Some(method) = self.method {
            command.push_str(&format!(" --method {method}"));
        }
        if let Some(path) = self.path {
            command.push_str(&format!(" --path {}", quoted(path)));
        }
        command
    }
}

/// A word as a shell takes it.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:/".contains(c);
    if text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

impl Grant {
    /// Whether it says something that can be held.
    ///
    /// # Errors
    /// [`Error::Grant`] for the first part that does not.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |field, problem: &str| Err(Error::Grant { field, problem: problem.to_owned() });
        let parts =
            [Some(&self.system), self.host.as_ref(), self.method.as_ref(), self.path.as_ref()];
        for (field, part) in ["system", "host", "method", "path"].into_iter().zip(parts) {
            let Some(part) = part else { continue };
            if part.is_empty() || part.chars().count() > PART_MAX_CHARS {
                return wrong(field, "is empty or too long; leave it out where it does not matter");
            }
            if part.chars().any(|c| c.is_control() || c.is_whitespace()) {
                return wrong(field, "holds a space or a control character");
            }
        }
        if let Some(host) = &self.host {
            if host.contains(['/', '@', '?', '#']) {
                return wrong(
                    "host",
                    "is a host alone, such as api.example.com or api.example.com:8443",
                );
            }
            let below = host.strip_prefix("*.").unwrap_or(host);
            if below.contains('*') || (below.len() < host.len() && !below.contains('.')) {
                return wrong(
                    "host",
                    "may begin with `*.` before a name of two parts or more, no other star",
                );
            }
        }
        if let Some(method) = &self.method
            && !method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-')
        {
            return wrong("method", "is written in capital letters, such as GET");
        }
        match &self.path {
            Some(path) if !path.starts_with('/') => wrong("path", "begins with a slash"),
            Some(path) if path.contains(['?', '#']) => {
                wrong("path", "has no query and no fragment")
            }
            Some(path) if !stars_are_parts(path) => {
                wrong("path", "may have `*` for a whole part, and `**` at its end; no other star")
            }
            _ => Ok(()),
        }
    }

    /// Whether every request of this use is one that is granted.
    #[must_use]
    pub fn covers(&self, asked: &Use<'_>) -> bool {
        let host = self.host.as_deref().is_none_or(|host| covers_host(host, asked));
        let method = self.method.as_deref().is_none_or(|method| asked.method == Some(method));
        let path = self.path.as_deref();
        let path = path.is_none_or(|path| asked.path.is_some_and(|asked| covers_path(path, asked)));
        self.system == asked.system && host && method && path
    }
}

fn stars_are_parts(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let last = parts.len().saturating_sub(1);
    parts.iter().enumerate().all(|(index, part)| {
        !part.contains('*') || *part == "*" || (*part == "**" && index == last)
    })
}

fn covers_host(granted: &str, asked: &Use<'_>) -> bool {
    let Some(host) = asked.host else { return false };
    // An address in brackets ends with one; what follows a colon after it is a port.
    let (name, port) = match granted.rsplit_once(':') {
        Some((name, port))
            if !port.contains(']') && (name.ends_with(']') || !name.contains(':')) =>
        {
            (name, Some(port))
        }
        _ => (granted, None),
    };
    let is_port = port.is_none_or(|port| asked.port.is_some_and(|asked| asked.to_string() == port));
    let bare = |text: &str| text.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let (name, host) = (bare(name), bare(host));
    let below = name.strip_prefix('*');
    is_port && (name == host || below.is_some_and(|below| host.ends_with(below)))
}

fn covers_path(granted: &str, asked: &str) -> bool {
    let asked = asked.split(['?', '#']).next().unwrap_or_default();
    let lower = asked.to_ascii_lowercase();
    // What a server may read as another path than it looks like is covered by none.
    if ["%2f", "%5c", "%2e", "\\", "//"].iter().any(|odd| lower.contains(odd)) {
        return false;
    }
    if asked.split('/').any(|part| matches!(part, "." | "..")) {
        return false;
    }
    let mut asked = asked.split('/');
    let mut granted = granted.split('/').peekable();
    while let Some(part) = granted.next() {
        if part == "**" && granted.peek().is_none() {
            return asked.next().is_some();
        }
        match asked.next() {
            Some("**") | None => return false,
            Some(_) if part == "*" => {}
            Some(given) if given == part => {}
            Some(_) => return false,
        }
    }
    asked.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(host: &str, method: &str, path: &str) -> Grant {
        let part = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Grant { system: "crm".to_owned(), host: part(host), method: part(method), path: part(path) }
    }

    fn get<'a>(host: &'a str, path: &'a str) -> Use<'a> {
        Use {
            system: "crm",
            host: Some(host),
            port: Some(443),
            method: Some("GET"),
            path: Some(path),
        }
    }

    #[test]
    fn what_a_grant_names_a_use_must_have() {
        assert!(grant("", "", "").covers(&Use::by("crm")));
        assert!(!grant("", "", "").covers(&Use::by("crm2")));
        for bound in [grant("a.example", "", ""), grant("", "GET", ""), grant("", "", "/**")] {
            assert!(!bound.covers(&Use::by("crm")), "{bound:?} says more than the use has");
            assert!(bound.covers(&get("a.example", "/v1")), "{bound:?}");
        }
        assert!(!grant("", "POST", "").covers(&get("a.example", "/v1")));
    }

    #[test]
    fn hosts_are_whole_names_and_stars_are_below() {
        for (granted, asked, is_covered) in [
            ("a.example", "A.Example", true),
            ("a.example", "b.a.example", false),
            ("a.example", "evila.example", false),
            ("*.a.example", "b.a.example", true),
            ("*.a.example", "a.example", false),
            ("*.a.example", "*.b.a.example", true),
            ("b.a.example", "*.a.example", false),
            ("a.example:443", "a.example", true),
            ("a.example:8443", "a.example", false),
            ("[::1]:443", "::1", true),
            ("::1", "[::1]", true),
            ("127.0.0.1:443", "127.0.0.1", true),
        ] {
            let covered = grant(granted, "", "").covers(&get(asked, "/"));
            assert_eq!(covered, is_covered, "{granted} for {asked}");
        }
    }

    #[test]
    fn paths_are_covered_part_by_part_and_odd_ones_never() {
        for (granted, asked, is_covered) in [
            ("/v1/accounts", "/v1/accounts?all=1", true),
            ("/v1/accounts", "/v1/accounts/7", false),
            ("/v1/*", "/v1/accounts", true),
            ("/v1/*", "/v1/a/b", false),
            ("/v1/*", "/v1/**", false),
            ("/v1/7", "/v1/*", false),
            ("/v1/**", "/v1/a/b", true),
            ("/v1/**", "/v1/**", true),
            ("/v1/**", "/v1", false),
            ("/v1/**", "/v1/../v2", false),
            ("/v1/**", "/v1/%2e%2e/v2", false),
            ("/v1/*", "/v1/a%2Fb", false),
            ("/**", "/anything", true),
        ] {
            let covered = grant("", "", granted).covers(&get("a.example", asked));
            assert_eq!(covered, is_covered, "{granted} for {asked}");
        }
    }

    #[test]
    fn a_grant_that_cannot_be_held_is_refused() {
        for wrong in [
            grant("https://a.example", "", ""),
            grant("*", "", ""),
            grant("*.example", "", ""),
            grant("a.*.example", "", ""),
            grant("", "get", ""),
            grant("", "", "v1"),
            grant("", "", "/v1/a*"),
            grant("", "", "/**/v1"),
            grant("", "", "/v1?x=1"),
            grant("a b", "", ""),
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
        assert!(grant("*.a.example", "GET", "/v1/*/notes/**").check().is_ok());
    }

    #[test]
    fn the_command_that_is_told_grants_what_was_asked() {
        let command = get("a.example", "/v1/*").command("crm-token");
        assert_eq!(
            command,
            "harness secret grant crm-token --system crm --host a.example:443 --method GET --path '/v1/*'"
        );
        assert!(grant("a.example:443", "GET", "/v1/*").covers(&get("a.example", "/v1/*")));
    }
}
