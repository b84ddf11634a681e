//! Runs written by hand from the kernel's public types, with fixed keys, salts and times.

use std::{collections::BTreeSet, sync::Arc};

use kernel::{
    Digest, Label, LabelMap, RunId, Seq,
    approval::{Approval, ApproverRule},
    budget::Budget,
    decision::{Autonomy, Decision, Mode, Requirement, Rule, Verdict},
    event::{
        self, Answered, Body, End, Ended, Event, Header, Purpose, Record, Role, Undone, Unwound,
    },
    exception::Landed,
    id::{ApprovalId, EffectKey, OperationId, PrincipalId, ReceiptId, Tenant, TokenId},
    input::{OnConflict, Scope},
    label::{Confidentiality, Trust},
    operation::{Critical, Effect, Facts, Retry, Undo},
    principal::{Chain, Grant, Kind, Principal},
    receipt::{Because, CLOSE_TYPE, Close, Predicate, RECEIPT_TYPE, Statement, Witness},
    sealed::{Commitment, Sealed},
};
use receipts::{
    bundle::{Bundle, Earlier, Entry, Logged, SCHEMA},
    checkpoint::Checkpoint,
    dsse,
    key::{Keys, Signer},
    merkle::{Frontier, Head, Tree, leaf_hash},
};
use serde_json::{Value, json};

/// The key of every honest run here.
pub(crate) fn signer() -> Signer {
    Signer::from_seed(&[7; 32])
}

/// A key that nobody trusts.
pub(crate) fn stranger() -> Signer {
    Signer::from_seed(&[8; 32])
}

pub(crate) fn keys() -> Keys {
    [*signer().public()].into_iter().collect()
}

/// A journal and its signed statements, in the making.
pub(crate) struct Run {
    pub(crate) tenant: Tenant,
    pub(crate) id: RunId,
    pub(crate) records: Vec<Record>,
    pub(crate) envelopes: Vec<Vec<u8>>,
    header: Header,
    last: Digest,
    salts: u8,
}

impl Run {
    fn new(key: &str) -> Self {
        let tenant = Tenant::default();
        let id = RunId::of_intent(&tenant, "renewal", key);
        let header = header(&tenant);
        let mut run = Self {
            tenant,
            id,
            records: vec![],
            envelopes: vec![],
            header: header.clone(),
            last: Digest::default(),
            salts: key.bytes().fold(0, u8::wrapping_add),
        };
        let intent = run.seal(json!({"account": "acct-1", "note": "Müller — wants 10 % off"}));
        run.emit(Body::Opened {
            header: Box::new(header),
            intent,
            subjects: vec!["account:1".into()],
        });
        run
    }

    fn seal(&mut self, value: Value) -> Sealed {
        self.salts = self.salts.wrapping_add(1);
        let mut labels = LabelMap::uniform(Label::new(Trust::Verified, Confidentiality::Internal));
        let mut personal = Label::new(Trust::Untrusted, Confidentiality::Confidential);
        personal.classes.insert("pii".into());
        labels.parts.insert("/note".into(), personal);
        Sealed::new(Arc::new(value), labels, [self.salts; 16]).unwrap()
    }

    fn next(&self) -> Seq {
        self.records.len() as Seq
    }

    fn at(&self) -> i64 {
        1_790_000_000_000 + self.records.len() as i64 * 250
    }

    pub(crate) fn emit(&mut self, body: Body) -> Seq {
        let prev_hash = self.records.last().map_or_else(Digest::default, |r| r.hash);
        let (seq, at) = (self.next(), self.at());
        let event = Event { v: event::VERSION, run: self.id.clone(), seq, at, body, prev_hash };
        self.records.push(Record::new(event).unwrap());
        seq
    }

    fn sign(&mut self, payload: &[u8]) -> Digest {
        self.envelopes.push(dsse::envelope(&signer(), payload));
        self.last = Digest::of(payload);
        self.last
    }

    /// One action from proposal to receipt.
    fn act(&mut self, deed: Deed) -> TokenId {
        let args = self.seal(deed.args.clone());
        let committed = args.commitment().clone();
        let action = self.next();
        self.emit(Body::Proposed {
            step: deed.step.into(),
            operation: deed.operation.parse().unwrap(),
            definition: Digest::of(deed.operation.as_bytes()),
            args,
            resource: None,
            existence: Label::bottom(),
            attempt: 1,
            origin: action,
            because: deed.role.clone(),
            proposer: deed.proposer(),
        });
        let digest = Digest::of(format!("{}/{action}", self.id).as_bytes());
        let (decision, approvals) = self.decide(action, digest, deed.asks);
        let token = TokenId::of(&self.tenant, &self.id, action);
        if deed.undo != Undo::None {
            let expires_at = self.at() + 1_000_000;
            self.emit(Body::Armed { action, token: token.clone(), undo: deed.undo, expires_at });
        }
        let key = EffectKey::of(&self.tenant, &self.id, action);
        let dispatch_by = self.at() + 10_000;
        let masks = BTreeSet::new();
        self.emit(Body::Dispatched { action, key: key.clone(), attempt: 1, dispatch_by, masks });
        let output = self.seal(deed.output.clone());
        let result = output.commitment().clone();
        let external_ref = self.seal(json!("ext-1"));
        let external = external_ref.commitment().clone();
        let ended = Ended::Done { output, external_ref: Some(external_ref), cost: None };
        self.emit(Body::Returned { action, attempt: 1, ended });
        let made =
            Made { action, digest, decision, approvals, key, args: committed, result, external };
        self.receipt(&deed, made, &token);
        token
    }

    fn decide(&mut self, action: Seq, digest: Digest, asks: Asks) -> (Decision, Vec<Approval>) {
        let rule =
            |id: &str| Rule { layer: "operator".into(), id: id.into(), reason: "rule".into() };
        let policies = vec![self.header.policy];
        let allow = Decision {
            verdict: Verdict::Allow,
            rules: vec![rule("reads")],
            policies: policies.clone(),
        };
        if asks == Asks::Nobody {
            self.emit(Body::Judged { action, digest, decision: allow.clone() });
            return (allow, vec![]);
        }
        let requirement =
            Requirement { approvals: [("finance".into(), 1)].into(), ..Requirement::default() };
        let ask = Decision {
            verdict: Verdict::Ask(requirement.clone()),
            rules: vec![rule("big")],
            policies,
        };
        self.emit(Body::Judged { action, digest, decision: ask });
        let approval = ApprovalId::of(&self.tenant, &self.id, action);
        let expires_at = self.at() + 100_000;
        self.emit(Body::Asked {
            action,
            approval: approval.clone(),
            digest,
            requirement,
            expires_at,
        });
        let (by, shown) = (person("person:mira", &["finance"]), Digest::of(b"card"));
        let at = self.at();
        self.emit(Body::Answered {
            approval,
            action,
            digest,
            shown,
            by: by.clone(),
            self_approved: false,
            answer: Answered::Approved,
        });
        self.emit(Body::Judged { action, digest, decision: allow.clone() });
        let given = Approval {
            by: by.id,
            roles: by.roles,
            at,
            action: digest,
            shown,
            self_approved: false,
        };
        (allow, vec![given])
    }

    fn receipt(&mut self, deed: &Deed, made: Made, token: &TokenId) {
        let receipt = ReceiptId::of(&self.tenant, &self.id, self.next());
        let header = self.header.clone();
        let predicate = Predicate {
            v: 1,
            witness: Witness::Executed,
            receipt: receipt.clone(),
            index: self.envelopes.len() as u64,
            prev: self.last,
            run: self.id.clone(),
            chain: header.chain,
            intent: header.intent,
            pack: header.pack,
            pack_digest: header.pack_digest,
            plan: header.plan,
            config: header.config,
            step: deed.step.into(),
            action: made.action,
            action_digest: made.digest,
            because: Because::of(&deed.role, None),
            operation: deed.operation.parse().unwrap(),
            definition: Digest::of(deed.operation.as_bytes()),
            facts: Facts {
                effect: if deed.undo == Undo::None { Effect::Read } else { Effect::Write },
                undo: deed.undo,
                retry: Retry::Keyed,
                egress: false,
                critical: Critical::All,
            },
            args: made.args,
            result: Some(made.result),
            classes: ["pii".to_owned()].into(),
            decision: made.decision,
            approvals: made.approvals,
            transforms: BTreeSet::new(),
            key: made.key,
            attempts: 1,
            landed: Landed::Yes,
            class: None,
            before: None,
            after: None,
            external_ref: Some(made.external),
            cost: None,
            started_at: self.at() - 500,
            ended_at: self.at() - 250,
            undo: deed.undo,
            token: (deed.undo != Undo::None).then(|| token.clone()),
            proposer: deed.proposer(),
        };
        let statement = Statement::new(receipt.to_string(), made.digest, RECEIPT_TYPE, predicate);
        let statement = self.sign(&statement.payload().unwrap());
        let (action, landed) = (made.action, Landed::Yes);
        self.emit(Body::Receipted { action, receipt, statement, landed, class: None });
    }

    /// How many events there are, and the hash of the last.
    pub(crate) fn head(&self) -> (u64, Digest) {
        (self.next(), self.records.last().unwrap().hash)
    }

    fn close(&mut self, status: &str) {
        let (events, head) = self.head();
        self.close_over(status, events, head);
    }

    pub(crate) fn close_over(&mut self, status: &str, events: u64, head: Digest) {
        let receipt = ReceiptId::of(&self.tenant, &self.id, self.next());
        let close = Close {
            v: 1,
            receipt: receipt.clone(),
            run: self.id.clone(),
            index: self.envelopes.len() as u64,
            prev: self.last,
            events,
            journal_head: head,
            status: status.into(),
            at: self.at(),
        };
        let statement = Statement::new(self.id.to_string(), head, CLOSE_TYPE, close);
        let statement = self.sign(&statement.payload().unwrap());
        self.emit(Body::Closed { receipt, statement });
    }
}

struct Made {
    action: Seq,
    digest: Digest,
    decision: Decision,
    approvals: Vec<Approval>,
    key: EffectKey,
    args: Commitment,
    result: Commitment,
    external: Commitment,
}

#[derive(Clone, Copy, PartialEq)]
enum Asks {
    Nobody,
    Finance,
}

struct Deed {
    step: &'static str,
    operation: &'static str,
    args: Value,
    output: Value,
    undo: Undo,
    asks: Asks,
    role: Role,
}

impl Deed {
    /// A model asked for what is a step; nobody's model asked for the rest.
    fn proposer(&self) -> Option<Arc<str>> {
        (self.role == Role::Step).then(|| "main-provider".into())
    }
}

fn person(id: &str, roles: &[&str]) -> Principal {
    let roles = roles.iter().map(|r| (*r).to_owned()).collect();
    Principal { id: id.parse().unwrap(), kind: Kind::Person, roles }
}

fn header(tenant: &Tenant) -> Header {
    let agent: PrincipalId = "agent:renewals".parse().unwrap();
    let operation = |id: &str| id.parse::<OperationId>().unwrap();
    Header {
        machine: event::MACHINE,
        chain: Chain {
            agent: Principal { id: agent, kind: Kind::Agent, roles: BTreeSet::new() },
            on_behalf_of: person("person:jo", &["sales"]),
            tenant: tenant.clone(),
        },
        intent: "renewal".into(),
        pack: "customer-ops@1.0.0".into(),
        pack_digest: Digest::of(b"pack"),
        plan: Digest::of(b"plan"),
        policy: Digest::of(b"policy"),
        config: Digest::of(b"config"),
        grant: Grant {
            operations: ["crm.get_account", "crm.update_forecast"].map(operation).into(),
        },
        budget: Budget::default(),
        approvers: ApproverRule::default(),
        autonomy: Autonomy::L2,
        mode: Mode::Live,
        owner: "ops".into(),
        unusual: Vec::new(),
        submitted_by: None,
    }
}

fn read() -> Deed {
    Deed {
        step: "look",
        operation: "crm.get_account",
        args: json!({"account": "acct-1"}),
        output: json!({
            "name": "Müller & Söhne", "note": "call \"Ana\"\n\u{1f600} \u{fb33}/~", "amount": 1204.5,
            "tiny": 1e-7, "big": 1e21, "zero": 0, "none": null, "yes": true, "list": [1, -2, []],
            "empty": {}, "a/b": {"~": "x"}, "\u{1f600}": 1, "\u{fb33}": 2,
        }),
        undo: Undo::None,
        asks: Asks::Nobody,
        role: Role::Step,
    }
}

fn write() -> Deed {
    Deed {
        step: "set",
        operation: "crm.update_forecast",
        args: json!({"account": "acct-1", "category": "commit"}),
        output: json!({"version": 2, "note": "by Ana"}),
        undo: Undo::Restore,
        asks: Asks::Finance,
        role: Role::Step,
    }
}

/// A run that read, wrote after an approval, and finished, but is not closed.
pub(crate) fn open_run(key: &str) -> Run {
    let mut run = Run::new(key);
    run.act(read());
    run.act(write());
    let output = run.seal(json!({"done": true}));
    run.emit(Body::Finished { end: End::Succeeded, output, caveats: vec![] });
    run
}

/// The same, closed.
pub(crate) fn short_run(key: &str) -> Run {
    let mut run = open_run(key);
    run.close("succeeded");
    run
}

/// The same, rolled back later and closed again.
pub(crate) fn long_run(key: &str) -> Run {
    let mut run = Run::new(key);
    run.act(read());
    let token = run.act(write());
    let output = run.seal(json!({"done": true}));
    run.emit(Body::Finished { end: End::Succeeded, output, caveats: vec![] });
    run.close("succeeded");
    let by = person("person:jo", &["sales"]);
    run.emit(Body::RollbackRequested {
        by: by.clone(),
        scope: Scope::Run,
        on_conflict: OnConflict::Refuse,
    });
    run.emit(Body::Unwinding {
        because: event::Because::Asked,
        tokens: vec![token.clone()],
        irreversible: vec![],
        doubts: vec![],
    });
    run.act(Deed {
        step: "undo",
        asks: Asks::Nobody,
        role: Role::Undo { token: token.clone(), by },
        ..write()
    });
    run.act(Deed { role: Role::Companion { of: 2, purpose: Purpose::Compare }, ..read() });
    run.emit(Body::Redeemed { token, undone: Undone::Restored });
    run.emit(Body::Unwound { unwound: Unwound::Complete });
    run.close("rolled_back");
    run
}

/// The log of a shard: other runs' envelopes stand between those of a run.
#[derive(Default)]
pub(crate) struct Log {
    frontier: Frontier,
    tree: Tree,
}

impl Log {
    pub(crate) fn append(&mut self, envelope: &[u8]) -> u64 {
        self.tree.append(leaf_hash(envelope));
        self.frontier.append(leaf_hash(envelope))
    }

    pub(crate) fn checkpoint(&self) -> Checkpoint {
        let head = Head { size: self.frontier.size(), root: self.frontier.root() };
        Checkpoint { origin: "harness.example/default".into(), head }
    }

    /// Exports a run whose envelopes stand at these leaves.
    pub(crate) fn export(&self, run: &Run, leaves: &[u64], since: &[u64]) -> Bundle {
        let (key, checkpoint) = (signer(), self.checkpoint());
        let size = checkpoint.head.size;
        let logged = |(envelope, leaf): (&Vec<u8>, &u64)| Logged {
            envelope: String::from_utf8(envelope.clone()).unwrap(),
            leaf: *leaf,
            inclusion: self.tree.prove_inclusion(*leaf, size).unwrap(),
        };
        let earlier = |from: &u64| Earlier {
            from: *from,
            proof: self.tree.prove_consistency(*from, size).unwrap(),
        };
        let mut bundle = Bundle {
            schema: SCHEMA.into(),
            tenant: run.tenant.clone(),
            run: run.id.clone(),
            keys: [key.public().id()].into(),
            events: run.records.iter().map(|r| Entry::of(r).unwrap()).collect(),
            receipts: run.envelopes.iter().zip(leaves).map(logged).collect(),
            checkpoint: checkpoint.sign(&key, key.public()).unwrap(),
            consistency: since.iter().map(earlier).collect(),
            blobs: [].into(),
        };
        bundle.add_blob(b"plan");
        bundle.add_blob(b"policy");
        bundle
    }
}

/// A run's bundle, with what an honest exporter had at hand.
pub(crate) struct Export {
    pub(crate) bundle: Bundle,
    /// A checkpoint signed before the run's last statements.
    pub(crate) since: Checkpoint,
    pub(crate) run: Run,
    /// Another run of the same signer in the same log, and its leaves.
    pub(crate) other: Run,
}

/// Logs two runs, one envelope each in turn, and exports the first.
pub(crate) fn export(run: Run) -> Export {
    let (other, mut log) = (short_run("other"), Log::default());
    let (mut leaves, mut since) = (vec![], None);
    for (index, envelope) in run.envelopes.iter().enumerate() {
        if let Some(envelope) = other.envelopes.get(index) {
            log.append(envelope);
        }
        leaves.push(log.append(envelope));
        since.get_or_insert_with(|| log.checkpoint());
    }
    log.append(b"later");
    let since = since.unwrap();
    let bundle = log.export(&run, &leaves, &[since.head.size]);
    Export { bundle, since, run, other }
}
