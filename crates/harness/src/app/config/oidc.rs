//! `[oidc]`: the identity provider people sign in with.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::problem::Problem;

/// Most groups that mean something.
const GROUPS_MAX: usize = 1_000;

/// Most names that this server goes by in `aud`.
const AUDIENCES_MAX: usize = 16;

/// Most scopes that mean something, and most that are looked at in a token.
const SCOPES_MAX: usize = 64;

/// The scope that lets a client call something, where the configuration names none.
const CALL: &str = "harness:call";

/// Roles that let somebody call something; the lesser one first.
const CALLS: [&str; 2] = ["requester", "operator"];

/// Roles that a scope may give: clients are programs, and administer and decide nothing.
const OF_CLIENTS: [&str; 3] = ["viewer", "requester", "operator"];

/// `[oidc]`, as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OidcFile {
    /// The provider's issuer, exactly as it calls itself, such as `https://id.example.org`.
    pub issuer: String,
    /// What it calls this installation.
    pub client_id: String,
    /// What proves that it is this installation: `env:NAME` or `file:PATH`, sent as HTTP Basic. Absent for
    /// a public client.
    #[serde(default)]
    pub client_secret: Option<String>,
    /// Roles by group: whoever is in several has the roles of all.
    pub roles: BTreeMap<String, Vec<String>>,
    /// The claim that lists groups. By default `groups`.
    #[serde(default)]
    pub groups_claim: Option<String>,
    /// The claim people are called by in lists. By default `name`.
    #[serde(default)]
    pub name_claim: Option<String>,
    /// Scopes that are asked for beside `openid`. By default `profile`.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    /// What becomes of somebody in none of these groups.
    #[serde(default)]
    pub others: Others,
    /// Hosts of the provider that may be in a private network.
    #[serde(default)]
    pub private_hosts: Vec<String>,
    /// Clients of MCP that come with access tokens of the provider. By default none does.
    #[serde(default)]
    pub access: Option<AccessFile>,
}

/// `[oidc.access]`, as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessFile {
    /// What stands for this server in `aud` beside the address that is called, for providers that do not take the address
    /// itself (RFC 8707). By default nothing does.
    pub audiences: Vec<String>,
    /// What a scope lets a client do, as roles: `viewer`, `requester`, `operator`. By default `harness:call` gives `requester`.
    pub scopes: Option<BTreeMap<String, Vec<String>>>,
}

/// What becomes of somebody whose groups mean nothing here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Others {
    /// They are not signed in.
    #[default]
    Refused,
    /// They may look.
    Viewer,
}

/// The provider in force.
#[derive(Clone, Debug)]
pub struct Oidc {
    /// The provider.
    pub issuer: String,
    /// What it calls this installation.
    pub client_id: String,
    /// Reference of what proves it.
    pub client_secret: Option<String>,
    /// Roles by group.
    pub roles: BTreeMap<String, BTreeSet<String>>,
    /// The claim that lists groups.
    pub groups_claim: String,
    /// The claim people are called by.
    pub name_claim: String,
    /// Scopes, in one line.
    pub scope: String,
    /// What becomes of others.
    pub others: Others,
    /// Hosts that may be in a private network.
    pub private_hosts: Vec<String>,
    /// How clients of MCP come with access tokens, where they do.
    pub access: Option<Access>,
}

/// What access tokens of the provider are worth here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// What stands for this server in `aud` beside the address that is called.
    pub audiences: Vec<String>,
    /// Roles by scope.
    pub scopes: BTreeMap<String, BTreeSet<String>>,
}

impl Access {
    fn of(file: &AccessFile, client_id: &str) -> Result<Self, Problem> {
        let refuse = |detail: String, next: &str| {
            Err(Problem::usage("oidc-invalid", detail).next(next.to_owned()))
        };
        if file.audiences.len() > AUDIENCES_MAX || file.audiences.iter().any(String::is_empty) {
            let detail = format!("oidc.access.audiences lists up to {AUDIENCES_MAX} names");
            return refuse(detail, "copy what the provider writes into `aud` for this server");
        }
        if file.audiences.iter().any(|name| name == client_id) {
            let detail = "oidc.access.audiences names oidc.client_id, which is the audience of identity tokens";
            return refuse(detail.to_owned(), "register this server as a resource of its own");
        }
        let usual = || BTreeMap::from([(CALL.to_owned(), vec!["requester".to_owned()])]);
        let scopes = file.scopes.clone().unwrap_or_else(usual);
        if scopes.len() > SCOPES_MAX || !scopes.keys().all(|scope| is_scope(scope)) {
            let detail = format!("oidc.access.scopes has up to {SCOPES_MAX} words");
            return refuse(detail, "write them as the provider does, such as \"harness:call\"");
        }
        let roles = scopes.iter().flat_map(|(scope, roles)| roles.iter().map(move |r| (scope, r)));
        for (scope, role) in roles {
            if !OF_CLIENTS.contains(&role.as_str()) {
                let detail = format!(
                    "the scope `{scope}` gives the role `{role}`, which clients cannot have"
                );
                return refuse(detail, "give viewer, requester or operator");
            }
        }
        let scopes =
            scopes.into_iter().map(|(scope, roles)| (scope, roles.into_iter().collect())).collect();
        let access = Self { audiences: file.audiences.clone(), scopes };
        match access.to_call() {
            Some(_) => Ok(access),
            None => refuse(
                "no scope of oidc.access.scopes lets a client call anything".to_owned(),
                "give one of them the role requester",
            ),
        }
    }

    /// The scope that a client needs to call something: the one that gives least.
    #[must_use]
    pub fn to_call(&self) -> Option<&str> {
        let calls = |role: &&str| {
            let mut giving = self.scopes.iter().filter(|(_, roles)| roles.contains(*role));
            giving.next().map(|(scope, _)| scope.as_str())
        };
        CALLS.iter().find_map(calls)
    }

    /// The roles of somebody who was granted these scopes.
    #[must_use]
    pub fn roles_of(&self, scope: &str) -> BTreeSet<String> {
        let granted = scope.split(' ').take(SCOPES_MAX);
        granted.filter_map(|one| self.scopes.get(one)).flatten().cloned().collect()
    }
}

/// As RFC 6749 has it.
fn is_scope(scope: &str) -> bool {
    !scope.is_empty() && scope.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}

impl Oidc {
    pub(in crate::app) fn of(
        file: &OidcFile,
        absolute: impl Fn(&str) -> String,
    ) -> Result<Self, Problem> {
        let refuse = |detail: String, next: &str| {
            Err(Problem::usage("oidc-invalid", detail).next(next.to_owned()))
        };
        if file.issuer.contains(['?', '#']) || file.client_id.is_empty() {
            let detail = "oidc.issuer is an address without a query, oidc.client_id a name";
            return refuse(detail.to_owned(), "copy both from the provider");
        }
        if file.roles.len() > GROUPS_MAX {
            return refuse(format!("at most {GROUPS_MAX} groups"), "list fewer");
        }
        if let Some((group, _)) = file.roles.iter().find(|(_, roles)| roles.is_empty()) {
            return refuse(
                format!("the group `{group}` has no role"),
                "give it one, or leave it out",
            );
        }
        let scopes = file.scopes.clone().unwrap_or_else(|| vec!["profile".to_owned()]);
        if scopes.len() > 16 || !scopes.iter().all(|scope| is_scope(scope)) {
            return refuse("oidc.scopes lists up to 16 words".to_owned(), "correct it");
        }
        let text =
            |given: &Option<String>, usual: &str| given.clone().unwrap_or_else(|| usual.to_owned());
        let roles = file.roles.iter();
        let access = file.access.as_ref().map(|access| Access::of(access, &file.client_id));
        Ok(Self {
            access: access.transpose()?,
            issuer: file.issuer.clone(),
            client_id: file.client_id.clone(),
            client_secret: file.client_secret.as_deref().map(absolute),
            roles: roles
                .map(|(group, roles)| (group.clone(), roles.iter().cloned().collect()))
                .collect(),
            groups_claim: text(&file.groups_claim, "groups"),
            name_claim: text(&file.name_claim, "name"),
            scope: std::iter::once("openid".to_owned()).chain(scopes).collect::<Vec<_>>().join(" "),
            others: file.others,
            private_hosts: file.private_hosts.clone(),
        })
    }

    /// What of it is worth showing, by key.
    pub(super) fn words(&self) -> Vec<(String, String)> {
        let mut words = vec![("oidc.issuer".to_owned(), self.issuer.clone())];
        if let Some(access) = &self.access {
            let scopes: Vec<&str> = access.scopes.keys().map(String::as_str).collect();
            words.push(("oidc.access.scopes".to_owned(), scopes.join(", ")));
        }
        words
    }

    /// The roles of somebody in these groups; `None` for somebody who may not enter.
    #[must_use]
    pub fn roles_of(&self, groups: &[String]) -> Option<BTreeSet<String>> {
        let roles: BTreeSet<String> =
            groups.iter().filter_map(|group| self.roles.get(group)).flatten().cloned().collect();
        match (roles.is_empty(), self.others) {
            (false, _) => Some(roles),
            (true, Others::Viewer) => Some(["viewer".to_owned()].into()),
            (true, Others::Refused) => None,
        }
    }
}
