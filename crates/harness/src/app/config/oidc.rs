//! `[oidc]`: the identity provider people sign in with.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::problem::Problem;

/// Most groups that mean something.
const GROUPS_MAX: usize = 1_000;

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
}

impl Oidc {
    pub(super) fn of(file: &OidcFile, absolute: impl Fn(&str) -> String) -> Result<Self, Problem> {
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
        let sound =
            |scope: &String| scope.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
        if scopes.len() > 16 || !scopes.iter().all(sound) {
            return refuse("oidc.scopes lists up to 16 words".to_owned(), "correct it");
        }
        let text =
            |given: &Option<String>, usual: &str| given.clone().unwrap_or_else(|| usual.to_owned());
        let roles = file.roles.iter();
        Ok(Self {
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
