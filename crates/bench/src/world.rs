//! The one run that everything measures: an account is read and its forecast set, again and again.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use engine::{Clock, Loaded, Loader, Seal};
use kernel::{
    Digest, Label, LabelMap, RunId,
    action::Proposal,
    approval::ApproverRule,
    budget::Budget,
    catalogue::Catalogue,
    decision::{Autonomy, Mode},
    event::{Header, MACHINE},
    gate::Permit,
    id::Tenant,
    input::Now,
    label::{Confidentiality, Trust},
    operation::{Binding, Companion, Effect, Operation, ResourceRule, Retry, Undo},
    plan::{Asks, Plan, PlanStep},
    planning::Labelled,
    playbook::Playbook,
    port::{Connector, Judge, Outcome, Returned, Salts, Task, Validate},
    principal::{Chain, Grant, Kind, Principal},
    run::{Genesis, Pins},
    sealed::Salt,
};
use pack::Schemas;
use policy::Bundle;
use receipts::{dsse, key::Signer};
use serde_json::{Value, json};
use testkit::{LinePlanner, operation, person, returned};

use crate::{
    error::{Broken, Doing as _},
    policies,
};

/// What an action of the line does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Reads an account.
    Read,
    /// Sets its forecast, with a way back armed.
    Write,
    /// Reads a file of a folder.
    File,
}

impl Deed {
    /// The operation.
    pub(crate) fn operation(self) -> &'static str {
        match self {
            Self::Read => "crm.get_account",
            Self::Write => "crm.set_forecast",
            Self::File => "files.read",
        }
    }

    /// Its arguments; `minor` is the amount written, or where in the file the reading begins.
    pub(crate) fn args(self, minor: i64) -> Value {
        match self {
            Self::Read => json!({"account": "ACC-0042", "fields": ["name", "owner", "renewal"]}),
            Self::Write => json!({"account": "ACC-0042", "category": "commit",
                "amount": {"minor": minor, "currency": "EUR"}, "days": 30,
                "note": "Usage is up and the champion has stayed.", "tags": ["renewal", "q3"]}),
            Self::File => json!({"path": FILE, "from_byte": minor}),
        }
    }

    /// Labels as a playbook gives them: the account comes from a person, the note from a system.
    pub(crate) fn labels(self) -> LabelMap {
        let mut labels = LabelMap::uniform(label());
        let user = Label::new(Trust::User, Confidentiality::Internal);
        let named = if self == Self::File { "/path" } else { "/account" };
        labels.parts.insert(named.to_owned(), user);
        if self == Self::Write {
            let mut note = Label::new(Trust::Verified, Confidentiality::Confidential);
            note.classes.insert("pii".to_owned());
            labels.parts.insert("/note".to_owned(), note);
        }
        labels
    }
}

/// The file that is read.
pub(crate) const FILE: &str = "large.txt";

/// The system that it is in.
pub(crate) const FOLDER: &str = "work";

/// A label that no rule minds.
fn label() -> Label {
    Label::new(Trust::Verified, Confidentiality::Internal)
}

/// Everything a run is pinned to and meets. Cheap to share, loads like a shelf of packs.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) judge: Arc<dyn Judge>,
    pub(crate) validate: Arc<dyn Validate>,
    pub(crate) signer: Signer,
    plan: Arc<Plan>,
    header: Header,
    answer: Returned,
    line: Vec<Proposal>,
}

impl World {
    /// With fifty Cedar rules and compiled JSON Schemas: what production runs under.
    pub(crate) fn real(deed: Deed, actions: usize) -> Result<Arc<Self>, Broken> {
        let judge = Arc::new(bundle(&catalogue()?)?);
        Self::new((judge, Arc::new(Schemas::new())), deed, actions)
    }

    /// Whose every run asks a person first.
    pub(crate) fn asking() -> Result<Arc<Self>, Broken> {
        let judge = testkit::Rules::default().ask(Deed::Read.operation(), "approver", 1);
        Self::new((Arc::new(judge), Arc::new(testkit::NoSchemas)), Deed::Read, 1)
    }

    /// With a scripted judge and no schemas: for counting, where nobody looks at the time.
    #[cfg(test)]
    pub(crate) fn scripted(deed: Deed, actions: usize) -> Result<Arc<Self>, Broken> {
        Self::new(
            (Arc::new(testkit::Rules::default()), Arc::new(testkit::NoSchemas)),
            deed,
            actions,
        )
    }

    fn new(
        (judge, validate): (Arc<dyn Judge>, Arc<dyn Validate>),
        deed: Deed,
        actions: usize,
    ) -> Result<Arc<Self>, Broken> {
        let catalogue = Arc::new(catalogue()?);
        let plan = Arc::new(plan());
        let header = header(&catalogue, plan.digest().doing("hash the plan")?)?;
        let signer = Signer::from_seed(&[7; 32]);
        let (answer, line) = (answer(), line(deed, actions)?);
        Ok(Arc::new(Self { catalogue, judge, validate, signer, plan, header, answer, line }))
    }

    /// How a run of this key begins.
    pub(crate) fn genesis(&self, key: &str) -> Genesis {
        let intent = json!({"account": "ACC-0042"});
        Genesis {
            id: RunId::of_intent(&Tenant::default(), "bench", key),
            header: self.header.clone(),
            intent: Labelled { value: Arc::new(intent), labels: LabelMap::uniform(label()) },
            subjects: vec!["account:ACC-0042".to_owned()],
        }
    }

    /// Fresh pins.
    pub(crate) fn pins(&self) -> Pins {
        Pins {
            plan: Arc::clone(&self.plan),
            catalogue: Arc::clone(&self.catalogue),
            planner: Box::new(LinePlanner::new(&self.line)),
        }
    }

    /// The pinned world.
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// What every call answers.
    pub(crate) fn answer(&self) -> Returned {
        self.answer.clone()
    }

    /// Actions in the line.
    pub(crate) fn actions(&self) -> usize {
        self.line.len()
    }
}

impl Loader for World {
    fn load<'a>(&'a self, _: &'a RunId, _: &'a Header) -> Task<'a, Result<Loaded, String>> {
        let loaded = Loaded {
            pins: self.pins(),
            judge: Arc::clone(&self.judge),
            validate: Arc::clone(&self.validate),
            current_policy: self.header.policy,
        };
        Box::pin(std::future::ready(Ok(loaded)))
    }
}

impl Connector for World {
    fn call(&self, _: Permit) -> Task<'_, Outcome> {
        Box::pin(std::future::ready(Ok(self.answer())))
    }
}

impl Seal for World {
    fn seal(&self, payload: &[u8]) -> Vec<u8> {
        dsse::envelope(&self.signer, payload)
    }
}

/// The machine's clocks.
#[derive(Debug)]
pub(crate) struct WallClock {
    began: Instant,
}

impl WallClock {
    /// Boot is now: only differences count.
    pub(crate) fn new() -> Self {
        Self { began: Instant::now() }
    }
}

impl Clock for WallClock {
    fn now(&self) -> Now {
        let whole = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { at: whole(at).try_into().unwrap_or(i64::MAX), boot_ms: whole(self.began.elapsed()) }
    }
}

/// Salts from the operating system, drawn a page at a time as the engine draws them.
#[derive(Debug, Default)]
pub(crate) struct OsSalts {
    bytes: Vec<u8>,
}

impl Salts for OsSalts {
    fn salt(&mut self) -> Salt {
        let mut salt = Salt::default();
        if self.bytes.len() < salt.len() {
            self.bytes.resize(64 * salt.len(), 0);
            // Without randomness the bytes stay zero: a benchmark may go on where the engine stops.
            let _ = getrandom::fill(&mut self.bytes);
        }
        let rest = self.bytes.split_off(self.bytes.len().saturating_sub(salt.len()));
        salt.copy_from_slice(&rest);
        salt
    }
}

/// The rules over these operations, checked to be as many as said.
pub(crate) fn bundle(catalogue: &Catalogue) -> Result<Bundle, Broken> {
    let loaded = Bundle::load(catalogue, &policies::sources()).doing("load the policies")?;
    match loaded.bundle.rule_ids().len() {
        policies::RULES => Ok(loaded.bundle),
        found => Err(Broken::new("load the policies", format!("{found} rules"))),
    }
}

/// Three operations that are used, ten that are not.
pub(crate) fn catalogue() -> Result<Catalogue, Broken> {
    let account = || Some(ResourceRule { kind: "Account".to_owned(), id: "/account".to_owned() });
    let mut get = operation(Deed::Read.operation(), Effect::Read, Undo::None, Retry::Keyed);
    get.resource = account();
    get.input = Arc::new(json!({"type": "object", "required": ["account"],
        "additionalProperties": false, "properties": {
            "account": {"type": "string", "pattern": "^ACC-[0-9]{4}$"},
            "fields": {"type": "array", "items": {"type": "string"}, "maxItems": 20}}}));
    let mut set = operation(Deed::Write.operation(), Effect::Write, Undo::Compensate, Retry::Keyed);
    set.resource = account();
    set.input = Arc::new(json!({"type": "object", "additionalProperties": false,
        "required": ["account", "category", "amount", "days"], "properties": {
            "account": {"type": "string", "pattern": "^ACC-[0-9]{4}$"},
            "category": {"enum": ["commit", "upside", "omitted"]},
            "amount": {"type": "object", "required": ["minor", "currency"],
                "properties": {"minor": {"type": "integer", "minimum": 0}, "currency": {"type": "string"}}},
            "days": {"type": "integer", "minimum": 0, "maximum": 366},
            "note": {"type": "string", "maxLength": 500},
            "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 8}}}));
    set.companions.undo_with = Some(Companion {
        operation: set.id.clone(),
        with: BTreeMap::from([("account".to_owned(), Binding::From("/args/account".to_owned()))]),
        image: Vec::new(),
    });
    let mut operations: Vec<Operation> = vec![get, set, read_file()];
    for n in 0..policies::OTHERS {
        let mut other = operation(&format!("other.op{n}"), Effect::Read, Undo::None, Retry::Never);
        other.input = Arc::new(json!({"type": "object", "required": ["id"],
            "properties": {"id": {"type": "string"}}}));
        operations.push(other);
    }
    Catalogue::new(operations).doing("build the catalogue")
}

/// As the shipped pack `workbench` has it.
fn read_file() -> Operation {
    let mut read = operation(Deed::File.operation(), Effect::Read, Undo::None, Retry::Keyed);
    read.timeout_ms = 30_000;
    read.binding = Arc::new(json!({"kind": "folder", "system": FOLDER, "do": "read"}));
    read.input = Arc::new(json!({"type": "object", "required": ["path"],
        "additionalProperties": false, "properties": {
            "path": {"type": "string", "minLength": 1, "maxLength": 4096},
            "from_byte": {"type": "integer", "minimum": 0}}}));
    read.output = Arc::new(json!({"type": "object", "required": ["content", "from", "size"],
        "properties": {"content": {"type": "object"}, "from": {"type": "integer"},
            "size": {"type": "integer"}, "hash": {"type": ["string", "null"]},
            "next": {"type": ["object", "null"]}}}));
    read
}

fn plan() -> Plan {
    let step = |deed: Deed| PlanStep {
        path: "line[]".to_owned(),
        operation: testkit::proposal("line", deed.operation(), Value::Null).operation,
        definition: Digest::default(),
        facts: Default::default(),
        times_max: 1_000_000,
        cost_max: None,
        conditional: false,
        asks: Asks::No,
    };
    Plan {
        schema: pack::PLAN_SCHEMA.to_owned(),
        intent: "bench".to_owned(),
        inputs: Some(Digest::default()),
        pack: "bench".to_owned(),
        pack_version: "1.0.0".to_owned(),
        pack_digest: Digest::default(),
        policy_digest: Digest::default(),
        config_digest: Digest::default(),
        servers: Default::default(),
        steps: vec![step(Deed::Read), step(Deed::Write), step(Deed::File)],
        playbook: Playbook { name: "bench".to_owned(), steps: Vec::new() },
        constants: Value::Null,
        hooks: Vec::new(),
    }
}

fn header(catalogue: &Catalogue, plan: Digest) -> Result<Header, Broken> {
    let agent = Principal {
        id: "agent:renewals".parse().doing("name the agent")?,
        kind: Kind::Agent,
        roles: ["sales".to_owned()].into(),
    };
    let (on_behalf_of, tenant) = (person("person:mira", &["manager"]), Tenant::default());
    Ok(Header {
        machine: MACHINE,
        chain: Chain { agent, on_behalf_of, tenant },
        intent: "bench".to_owned(),
        pack: "bench@1.0.0".to_owned(),
        pack_digest: Digest::default(),
        plan,
        policy: Digest::default(),
        config: Digest::default(),
        grant: Grant { operations: catalogue.iter().map(|(id, _)| id.clone()).collect() },
        budget: Budget { calls_max: 1_000_000, writes_max: 1_000_000, ..Budget::default() },
        approvers: ApproverRule::default(),
        autonomy: Autonomy::L2,
        mode: Mode::Live,
        owner: "owner".to_owned(),
        unusual: Vec::new(),
        submitted_by: None,
    })
}

fn line(deed: Deed, actions: usize) -> Result<Vec<Proposal>, Broken> {
    let operation = deed.operation().parse().doing("name the operation")?;
    let minor = if deed == Deed::File { 0 } else { policies::ASKED_ABOVE };
    let (args, arg_labels) = (Arc::new(deed.args(minor)), deed.labels());
    let propose = |n| Proposal {
        step: format!("line[{n}]"),
        operation: kernel::id::OperationId::clone(&operation),
        args: Arc::clone(&args),
        arg_labels: arg_labels.clone(),
        existence: label(),
        attempt: 1,
        proposer: None,
    };
    Ok((0..actions).map(propose).collect())
}

/// A record of twelve leaves, as a system of record gives it.
fn answer() -> Returned {
    let output = json!({"id": "ACC-0042", "name": "Northwind Traders", "owner": "mira",
        "renewal": "2026-09-30", "segment": "mid-market", "region": "EMEA", "seats": 140,
        "arr": {"minor": 4_200_000, "currency": "EUR"}, "health": "green",
        "contacts": [{"role": "champion", "name": "Ana Kovac"}]});
    returned(output)
}
