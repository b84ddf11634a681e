//! A server of the Model Context Protocol, as an operator declares it.

use std::collections::BTreeMap;

use egress::Rules;
use kernel::operation::Rate;
use sandbox::{Profile, Tier};
use serde::{Deserialize, Serialize};

use super::{ContainerRules, is_empty, is_usual, isolated};
use crate::redact::Personal;

/// A server of the Model Context Protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpSystem {
    /// The program and its arguments; the program by its absolute path, or by a name that the profile's `PATH` finds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub run: Vec<String>,
    /// Its address, where it is no program of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// How much stands between its program and this machine: `isolated` or `container`; absent = `isolated`.
    #[serde(default = "isolated")]
    pub tier: Tier,
    /// What its program runs on where the tier is `container`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerRules>,
    /// What its program may reach; absent = the system's libraries and an empty temporary folder. Its time is how long
    /// one is kept before another is started.
    #[serde(default)]
    pub profile: Profile,
    /// What its program may ask of the outside, by way of a proxy that is its only way out; absent = nothing.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub egress: Rules,
    /// Variables of its program's environment that hold secrets, by name of the secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
    /// Headers of every request to its address that hold secrets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, McpHeader>,
    /// Whether its secrets are for every client that reaches it through the proxy.
    #[serde(default, skip_serializing_if = "is_not")]
    pub shared: bool,
    /// The people whose secrets these are: their clients alone reach it through the proxy, unless it is `shared`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub of: Vec<String>,
    /// Which generation of the protocol is spoken with it; absent = the newest that it knows.
    #[serde(default, skip_serializing_if = "is_either")]
    pub speaks: Speaks,
    /// What it may ask in the middle of a call of whoever the proxy makes that call for; absent = nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub may_ask: Vec<MayAsk>,
    /// The role whose people answer its forms and pages in calls that no client makes; absent = nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_by: Option<String>,
    /// How long they are waited for, at least 1000; absent = what is left of the call's time, but for the last quarter of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_within_ms: Option<u32>,
    /// How its permissions are granted, where it wants OAuth; absent = it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth: Option<McpOauth>,
    /// How often it may be called, over all runs; absent = as often as it bears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// What is personal and taken out of its answers; absent = `["card"]`.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub redact: Personal,
}

impl McpSystem {
    /// Whether a client that acts for this person may reach it with the secrets it is declared with. Where there are
    /// none, everybody may.
    #[must_use]
    pub fn is_for(&self, person: &str) -> bool {
        let has_secrets =
            !self.secrets.is_empty() || !self.headers.is_empty() || self.oauth.is_some();
        !has_secrets || self.shared || self.of.iter().any(|name| name == person)
    }
}

/// Which generation of the protocol is spoken with a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaks {
    /// The newest that it knows.
    #[default]
    Either,
    /// The one with sessions, before 2026-07-28.
    Sessions,
    /// The one in which every request stands by itself.
    Stateless,
}

fn is_either(speaks: &Speaks) -> bool {
    *speaks == Speaks::Either
}

/// What a server may ask of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MayAsk {
    /// A person: to fill in a form, or to go to a page.
    Elicitation,
    /// A model: to go on from messages of the server's own.
    Sampling,
    /// Which folders the client works in.
    Roots,
}

fn is_not(value: &bool) -> bool {
    !*value
}

/// How the permissions of a server are granted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpOauth {
    /// By whom: a person who logs in once, or the authority to this installation itself; absent = `person`.
    #[serde(default)]
    pub by: McpGrantee,
    /// Id under which its authority knows this installation; absent = it registers itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Name of the secret that proves that id; absent = nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// `https` address of a document that describes this installation, for authorities that read such documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// Permissions beyond those that the server asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Hosts in a private network that its metadata may lead to, beside its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub private_hosts: Vec<String>,
}

/// Who is granted something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum McpGrantee {
    /// A person who logs in once.
    #[default]
    Person,
    /// This installation, by its own id and secret.
    Machine,
}

/// A header that holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpHeader {
    /// Name of the secret.
    pub secret: String,
    /// What stands before it, such as `Bearer `.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
}

impl McpSystem {
    /// One that says nothing beyond its program.
    #[must_use]
    pub fn of_program(run: Vec<String>) -> Self {
        Self {
            run,
            url: None,
            tier: isolated(),
            container: None,
            profile: Profile::default(),
            egress: Rules::default(),
            secrets: BTreeMap::new(),
            headers: BTreeMap::new(),
            shared: false,
            of: Vec::new(),
            speaks: Speaks::Either,
            may_ask: Vec::new(),
            answered_by: None,
            answered_within_ms: None,
            oauth: None,
            rate: None,
            redact: Personal::default(),
        }
    }

    /// One that says nothing beyond its address.
    #[must_use]
    pub fn at(url: String) -> Self {
        Self { url: Some(url), ..Self::of_program(Vec::new()) }
    }
}
