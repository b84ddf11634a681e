//! `harness.toml`: what the operator decides. Flag > environment > project file > user file > default.

mod hands;
pub mod hooks;
pub mod mcp;
mod models;
mod network;
pub mod notify;
mod oidc;
mod people;
mod redaction;
mod reliability;
mod serve;
mod unusual;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use connect::{CircuitRule, Systems};
use kernel::{
    approval::{ASK_EXPIRES_MS, ApproverRule, SelfApproval},
    budget::Budget,
    id::{PrincipalId, Tenant},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use hands::{Place as OwnPlace, Secret, own_place, own_places};
pub use mcp::Mcp;
pub use models::Answering;
pub use network::Network;
pub use notify::{Notify, NotifyFile};
pub use oidc::{Access, AccessFile, Oidc, OidcFile, Others};
pub use redaction::{Redaction, RedactionFile};
pub use reliability::{CircuitFile, Goals, SloFile};
pub use serve::{Serve, ServeFile, parse_listen};
pub use unusual::UnusualFile;

use super::problem::{Kind, Problem};

/// Name of the configuration file and of the store folder's parent marker.
pub const FILE: &str = "harness.toml";

/// Largest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Tries of failed steps beyond their first that one run may do, where `[budget]` does not say.
const RETRIES_PER_RUN_MAX: u32 = 100;

/// How long a run may take, all waiting included, where `[budget]` does not say: an onboarding takes a month,
/// and people take their time to answer within it.
const RUN_MAX_MS: i64 = 90 * 24 * 3_600_000;

/// The file, as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Whose store this is.
    pub tenant: Option<String>,
    /// Where the store is.
    pub store: Option<PathBuf>,
    /// Where packs are.
    pub packs: Option<Vec<PathBuf>>,
    /// The operator's own policies.
    pub policy: PolicyFile,
    /// The person at the terminal, by name of `[people]`.
    pub me: Option<String>,
    /// People by name, with their roles.
    pub people: BTreeMap<String, Person>,
    /// Systems that connectors name.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub systems: Systems,
    /// Who answers when an agent thinks, by name.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub providers: BTreeMap<String, serde_json::Map<String, serde_json::Value>>,
    /// Roles of models, such as `main` and `small`: which providers are asked, in order.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub models: BTreeMap<String, serde_json::Map<String, serde_json::Value>>,
    /// Publishers of packs that are trusted, by name: a public key, or `file:PATH` of one.
    pub publishers: BTreeMap<String, String>,
    /// Whether packs without a signature of a trusted publisher are refused: `yes` or `no`.
    pub signed_packs: super::packs::Needed,
    /// Secrets by reference: `secret:NAME` (see `harness secret`), `env:NAME` or `file:PATH`.
    pub secrets: BTreeMap<String, String>,
    /// Keys by reference.
    pub keys: KeysFile,
    /// Who can have back what is taken out of answers.
    pub redaction: RedactionFile,
    /// Approvals.
    pub approvals: ApprovalsFile,
    /// Limits of every run.
    #[schemars(with = "Option<serde_json::Value>")]
    pub budget: Option<Budget>,
    /// Programs that look at calls, in the order in which they are asked.
    pub hooks: Vec<hooks::HookFile>,
    /// When operations that nobody answers are not called any more.
    pub circuit: CircuitFile,
    /// What is expected of operations.
    pub slo: SloFile,
    /// Inputs unlike those of earlier runs.
    pub unusual: UnusualFile,
    /// The server.
    pub serve: ServeFile,
    /// What clients of MCP are offered.
    pub mcp: mcp::McpFile,
    /// Who is told when something waits for a person.
    pub notify: NotifyFile,
    /// Where people sign in, when they have an identity provider.
    pub oidc: Option<OidcFile>,
}

/// `[policy]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyFile {
    /// Cedar files of the operator layer.
    pub operator: Vec<PathBuf>,
}

/// `[keys]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeysFile {
    /// The receipt signing key: `env:NAME` or `file:PATH`.
    pub receipts: Option<String>,
    /// The key of the file of secrets, as `age-keygen` makes it: `file:PATH` or `env:NAME`.
    pub secrets: Option<String>,
}

/// `[approvals]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ApprovalsFile {
    /// Whether the person an agent acts for may approve; off as soon as there are two people.
    pub self_approval: Option<bool>,
    /// How long an ask stays open, in milliseconds.
    pub expires_ms: Option<i64>,
    /// What a decision at the terminal needs.
    pub terminal: AtTerminal,
}

/// What a decision by a command on this machine needs. Decisions over the network always need a credential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AtTerminal {
    /// The name alone: whoever may run commands as this user is believed.
    Name,
    /// A token of the person, typed when it is asked for and kept nowhere.
    #[default]
    Token,
}

/// A person the operator knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Person {
    /// Roles held.
    pub roles: Vec<String>,
}

/// The configuration in force.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Shown {
    /// Every value.
    pub items: Vec<Origin>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Origin {
    /// The key, such as `store`.
    pub key: String,
    /// Its value as text; secrets show their reference only.
    pub value: String,
    /// `flag`, `environment`, a file's path, or `default`.
    pub origin: String,
}

/// What was said on the command line or in the environment.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--store`, or `HARNESS_STORE`.
    pub store: Option<(PathBuf, &'static str)>,
    /// `--as`.
    pub person: Option<String>,
    /// `--server`.
    pub server: Option<String>,
}

/// The configuration in force.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whose store this is.
    pub tenant: Tenant,
    /// The store's folder.
    pub store: PathBuf,
    /// Pack folders.
    pub packs: Vec<PathBuf>,
    /// What they are held against, where it is there; none without a configuration file.
    pub lock: Option<PathBuf>,
    /// Operator policy files.
    pub operator_policies: Vec<PathBuf>,
    /// The person at the terminal.
    pub me: String,
    /// People by name.
    pub people: BTreeMap<String, Person>,
    /// Publishers of packs that are trusted.
    pub publishers: BTreeMap<String, String>,
    /// Whether a pack needs a trusted signature.
    pub signed_packs: super::packs::Needed,
    /// Who answers when an agent thinks, with the secrets they are shown.
    pub providers: Vec<models::Answering>,
    /// Roles of models.
    pub roles: BTreeMap<String, ::models::Role>,
    /// Systems by name.
    pub systems: Systems,
    /// Secret references by name.
    pub secrets: BTreeMap<String, String>,
    /// Reference of the receipt signing key.
    pub receipt_key: String,
    /// Reference of the key of the file of secrets.
    pub secrets_key: String,
    /// References of secrets of the harness's own, by what they are for: no system is shown them.
    pub own_secrets: BTreeMap<String, String>,
    /// Who can have back what is taken out of answers.
    pub redaction: Redaction,
    /// Who may answer asks.
    pub approvers: ApproverRule,
    /// What a decision at the terminal needs.
    pub terminal: AtTerminal,
    /// Limits of every run.
    pub budget: Budget,
    /// Programs that look at calls.
    pub hooks: Vec<hooks::Declared>,
    /// When circuits open.
    pub circuit: CircuitRule,
    /// What is expected of operations.
    pub goals: Goals,
    /// From how many runs on inputs are compared with earlier ones; 0 = never.
    pub unusual_after: u32,
    /// The file it was read from, where there is one.
    pub file: Option<String>,
    /// What clients of MCP are offered.
    pub mcp: Mcp,
    /// The server.
    pub serve: Serve,
    /// Who is told when something waits for a person.
    pub notify: Notify,
    /// Where people sign in.
    pub oidc: Option<Oidc>,
    /// Where each value came from.
    pub origins: Vec<Origin>,
}

impl Config {
    /// Reads the configuration in force for a working directory.
    ///
    /// # Errors
    /// Names the file, the line and the nearest known key.
    pub fn load(overrides: &Overrides, working: &Path) -> Result<Self, Problem> {
        let (file, path) = match &overrides.config {
            Some(path) => (read(path)?, Some(path.clone())),
            None => find(working)?,
        };
        let base = path.as_deref().and_then(Path::parent).unwrap_or(working).to_path_buf();
        let origin =
            path.as_ref().map_or_else(|| "default".to_owned(), |p| p.display().to_string());
        let place = Place { base, origin };
        let mut config = resolve(file, overrides, &place)?;
        hands::check(&config, &place.origin)?;
        config.file = Some(place.origin.clone()).filter(|origin| origin != "default");
        Ok(config)
    }

    /// The id of a declared person.
    ///
    /// # Errors
    /// When nobody of that name is declared.
    pub fn person(&self, name: &str) -> Result<kernel::principal::Principal, Problem> {
        let unknown = || {
            let known: Vec<&str> = self.people.keys().map(String::as_str).collect();
            Problem::usage("unknown-person", format!("nobody called `{name}` is declared")).next(
                format!("declare [people.{name}] in {FILE}, or use one of: {}", known.join(", ")),
            )
        };
        let person = self.people.get(name).ok_or_else(unknown)?;
        let id: PrincipalId = format!("person:{name}").parse().map_err(|_| unknown())?;
        Ok(kernel::principal::Principal {
            id,
            kind: kernel::principal::Kind::Person,
            roles: person.roles.iter().cloned().collect(),
        })
    }
}

struct Place {
    base: PathBuf,
    origin: String,
}

impl Place {
    /// Where the lock of the project is.
    fn lock(&self) -> Option<PathBuf> {
        (self.origin != "default").then(|| self.base.join(super::lock::FILE))
    }
}

/// The project file upwards from the working directory, else the user's, else nothing.
fn find(working: &Path) -> Result<(File, Option<PathBuf>), Problem> {
    let project = working.ancestors().map(|dir| dir.join(FILE)).find(|path| path.is_file());
    let user =
        user_dir("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("harness").join("config.toml"));
    match project.or(user.filter(|path| path.is_file())) {
        Some(path) => read(&path).map(|file| (file, Some(path))),
        None => Ok((File::default(), None)),
    }
}

fn read(path: &Path) -> Result<File, Problem> {
    let place = path.display().to_string();
    let unreadable = |problem: String| {
        Problem::usage("config-unreadable", format!("cannot read {place}: {problem}"))
            .next("name another file with --config")
    };
    let meta = std::fs::metadata(path).map_err(|e| unreadable(e.to_string()))?;
    if meta.len() > FILE_BYTES_MAX {
        return Err(unreadable(format!("it is larger than {FILE_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| unreadable(e.to_string()))?;
    toml::from_str(&text).map_err(|error| {
        let line = error.span().map(|span| line_of(&text, span.start));
        let place = line.map_or(place.clone(), |(line, column)| format!("{place}:{line}:{column}"));
        Problem::usage("config-invalid", error.message().to_owned())
            .at(place)
            .next("`harness schema file-harness` lists every key")
    })
}

fn line_of(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    (line, column)
}

/// A folder of the user: from the environment, else below the home folder.
fn user_dir(variable: &str, below_home: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    named.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(below_home)))
}

fn resolve(file: File, overrides: &Overrides, place: &Place) -> Result<Config, Problem> {
    let mut origins = Vec::new();
    let mut note = |key: &str, value: String, origin: &str| {
        origins.push(Origin { key: key.to_owned(), value, origin: origin.to_owned() });
    };
    let from = |set: bool| if set { place.origin.as_str() } else { "default" };
    let absolute = |path: &PathBuf| place.base.join(path);

    let tenant_text = file.tenant.clone().unwrap_or_else(|| "default".to_owned());
    note("tenant", tenant_text.clone(), from(file.tenant.is_some()));
    let tenant = tenant_text.parse().map_err(|_| {
        Problem::usage("tenant-invalid", format!("`{tenant_text}` is not a tenant name"))
            .next("use letters, digits, `-`, `_`, `.` and `:`")
    })?;

    let (store, store_origin) = store_place(&file, overrides, place);
    note("store", store.display().to_string(), &store_origin);
    let packs: Vec<PathBuf> = file.packs.iter().flatten().map(absolute).collect();
    note("packs", list(&packs), from(file.packs.is_some()));
    let operator_policies: Vec<PathBuf> = file.policy.operator.iter().map(absolute).collect();
    note("policy.operator", list(&operator_policies), from(!operator_policies.is_empty()));

    let people = people::of(&file);
    let me = people::me(overrides.person.as_ref().or(file.me.as_ref()), &people);
    let me_origin = if overrides.person.is_some() { "flag" } else { from(file.me.is_some()) };
    note("me", me.clone(), me_origin);
    note("people", people::names(&people), from(!file.people.is_empty()));

    let [receipt_key, secrets_key] = keys_of(&file, place, &mut note);
    // Whoever signs in through a provider is somebody else, too.
    let others = usize::from(file.oidc.is_some());
    let approvers = approver_rule(&file.approvals, people.len() + others)?;
    let (budget, circuit) = (budget_of(file.budget.clone()), file.circuit.rule()?);
    let asking = asking(&file.approvals, &approvers).into_iter();
    for (key, value, told) in asking.chain(limits(&file, &budget, circuit)) {
        note(key, value, from(told));
    }
    let notify = Notify::of(&file.notify, &people, |text| absolute_reference(text, &place.base))?;
    let of = |oidc| Oidc::of(oidc, |text| absolute_reference(text, &place.base));
    let oidc = file.oidc.as_ref().map(of).transpose()?;
    let own_secrets = hooks::own_secrets(oidc.as_ref(), &notify, [&receipt_key, &secrets_key]);
    let hooks = hooks::read(&file, &own_secrets, (&place.base, &place.origin))?;
    let named = named(&file, (&notify, &hooks), oidc.as_ref()).into_iter();
    named.for_each(|(name, value)| note(&name, value, &place.origin));
    Ok(Config {
        redaction: Redaction::of(&file.redaction, &store)?,
        lock: place.lock(),
        notify,
        oidc,
        tenant,
        store,
        packs,
        operator_policies,
        me,
        people,
        publishers: publishers_of(&file, place),
        signed_packs: file.signed_packs,
        providers: models::providers(&file.providers, &place.base)?,
        roles: models::roles(&file.models)?,
        systems: file.systems,
        secrets: file.secrets,
        receipt_key,
        secrets_key,
        own_secrets,
        approvers,
        terminal: file.approvals.terminal,
        budget,
        hooks,
        circuit,
        goals: Goals::of(&file.slo)?,
        unusual_after: file.unusual.after(),
        file: None,
        mcp: Mcp::of(&file.mcp)?,
        serve: Serve::of(&file.serve)?,
        origins,
    })
}

/// People by name; where nobody is declared, whoever sits at the terminal may do everything.
/// Publishers with their keys, or with where those are.
fn publishers_of(file: &File, place: &Place) -> BTreeMap<String, String> {
    let each = file.publishers.iter();
    each.map(|(name, key)| (name.clone(), absolute_reference(key, &place.base))).collect()
}

/// What stands in the file by name: systems with their kinds, secrets with their references.
fn named(
    file: &File,
    (notify, hooks): (&Notify, &[hooks::Declared]),
    oidc: Option<&Oidc>,
) -> Vec<(String, String)> {
    let systems = file.systems.iter();
    let systems =
        systems.map(|(name, system)| (format!("systems.{name}"), system.kind().to_owned()));
    let secrets = file.secrets.iter();
    let secrets = secrets.map(|(name, reference)| (format!("secrets.{name}"), reference.clone()));
    let text = |value: Option<&serde_json::Value>| {
        value.and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    };
    let providers = file
        .providers
        .iter()
        .map(|(name, fields)| (name, fields.get("model").or_else(|| fields.get("script"))))
        .map(|(name, told)| (format!("providers.{name}"), text(told)));
    let roles = file.models.iter().map(|(name, fields)| {
        let names = fields.get("providers").map(ToString::to_string);
        (format!("models.{name}"), names.unwrap_or_default())
    });
    let hooks = hooks.iter().map(|hook| (format!("hooks.{}", hook.name), hook.words()));
    let kept = file.redaction.words().map(|words| ("redaction".to_owned(), words));
    let systems = systems.chain(providers).chain(roles).chain(hooks);
    let oidc = oidc.map(Oidc::words).into_iter().flatten();
    systems.chain(secrets).chain(notify.secrets.iter().cloned()).chain(oidc).chain(kept).collect()
}

/// The limits of every run; one that says nothing about retries may do a hundred.
fn budget_of(file: Option<Budget>) -> Budget {
    let budget = file.unwrap_or_else(|| Budget { wall_max_ms: RUN_MAX_MS, ..Budget::default() });
    Budget { retries_max: budget.retries_max.or(Some(RETRIES_PER_RUN_MAX)), ..budget }
}

/// What limits runs and calls: each with its key, and whether the file says so.
fn limits(file: &File, budget: &Budget, circuit: CircuitRule) -> [(&'static str, String, bool); 5] {
    let told = file.budget.as_ref().is_some_and(|budget| budget.retries_max.is_some());
    [
        ("budget.retries_max", budget.retries_max.unwrap_or_default().to_string(), told),
        ("circuit.open_after", circuit.open_after.to_string(), file.circuit.open_after.is_some()),
        (
            "circuit.cooldown_ms",
            circuit.cooldown_ms.to_string(),
            file.circuit.cooldown_ms.is_some(),
        ),
        ("slo", file.slo.words(), file.slo != SloFile::default()),
        ("unusual.after", file.unusual.after().to_string(), file.unusual.after.is_some()),
    ]
}

fn store_place(file: &File, overrides: &Overrides, place: &Place) -> (PathBuf, String) {
    if let Some((path, origin)) = &overrides.store {
        return (path.clone(), (*origin).to_owned());
    }
    if let Some(path) = &file.store {
        return (place.base.join(path), place.origin.clone());
    }
    let project = place.base.join(".harness");
    if place.origin != "default" || project.is_dir() {
        return (project, "default".to_owned());
    }
    let data = user_dir("XDG_DATA_HOME", ".local/share").map(|dir| dir.join("harness"));
    (data.unwrap_or(project), "default".to_owned())
}

/// Keys of `[approvals]`, each with its value and whether the file says so.
fn asking(file: &ApprovalsFile, rule: &ApproverRule) -> [(&'static str, String, bool); 3] {
    let terminal = file.terminal;
    [
        (
            "approvals.self_approval",
            format!("{:?}", rule.self_approval),
            file.self_approval.is_some(),
        ),
        ("approvals.expires_ms", rule.expires_ms.to_string(), file.expires_ms.is_some()),
        ("approvals.terminal", format!("{terminal:?}"), terminal != AtTerminal::default()),
    ]
}

fn approver_rule(file: &ApprovalsFile, people: usize) -> Result<ApproverRule, Problem> {
    let allowed = file.self_approval.unwrap_or(people < 2);
    let expires_ms = file.expires_ms.unwrap_or(ASK_EXPIRES_MS);
    if expires_ms <= 0 {
        let detail = "approvals.expires_ms must be positive";
        return Err(Problem::new(Kind::Usage, "config-invalid", detail)
            .next("write how long an ask stays open, such as `expires_ms = 86400000` for a day"));
    }
    let self_approval = if allowed { SelfApproval::Recorded } else { SelfApproval::Refused };
    Ok(ApproverRule { self_approval, expires_ms })
}

/// References of the keys of receipts and of secrets.
fn keys_of(file: &File, place: &Place, note: &mut impl FnMut(&str, String, &str)) -> [String; 2] {
    let keys = &file.keys;
    [("receipts", &keys.receipts), ("secrets", &keys.secrets)].map(|(name, told)| {
        let reference = told.clone().unwrap_or_else(|| default_key(name));
        let origin = if told.is_some() { place.origin.as_str() } else { "default" };
        note(&format!("keys.{name}"), reference.clone(), origin);
        absolute_reference(&reference, &place.base)
    })
}

/// A key's default place: beside the user's configuration, never inside the store.
fn default_key(name: &str) -> String {
    let dir = user_dir("XDG_CONFIG_HOME", ".config").unwrap_or_else(|| PathBuf::from("."));
    format!("file:{}", dir.join("harness").join("keys").join(format!("{name}.key")).display())
}

fn absolute_reference(reference: &str, base: &Path) -> String {
    match reference.strip_prefix("file:") {
        Some(path) => format!("file:{}", base.join(path).display()),
        None => reference.to_owned(),
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, Problem> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), text).unwrap();
        Config::load(&Overrides::default(), dir.path())
    }

    #[test]
    fn a_typo_names_file_line_and_column() {
        let problem = load("tenant = \"acme\"\nstor = \"x\"\n").unwrap_err();
        assert_eq!(&*problem.code, "config-invalid");
        assert!(problem.at[0].ends_with("harness.toml:2:1"), "{:?}", problem.at);
        assert!(problem.detail.contains("stor"), "{}", problem.detail);
    }

    #[test]
    fn a_second_person_switches_self_approval_off() {
        let one = load("[people.mira]\nroles = [\"approver\"]\n").unwrap();
        assert_eq!(one.approvers.self_approval, SelfApproval::Recorded);
        let two = load("[people.mira]\n[people.lena]\n").unwrap();
        assert_eq!(two.approvers.self_approval, SelfApproval::Refused);
    }

    #[test]
    fn every_value_says_where_it_came_from() {
        let config = load("tenant = \"acme\"\n").unwrap();
        let origin = |key: &str| {
            config.origins.iter().find(|o| o.key == key).map(|o| o.origin.clone()).unwrap()
        };
        assert!(origin("tenant").ends_with("harness.toml"));
        assert_eq!(origin("packs"), "default");
    }
}
