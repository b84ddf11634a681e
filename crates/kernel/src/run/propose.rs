//! The gate, in order: validate, judge, gather evidence, ask, dispatch. Every action of every kind
//! walks it; there is no second path.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;

use super::{
    ACTIONS_OPEN_MAX, ASKS_MAX, Fault, MOVES_MAX, Ports, Run,
    companions::same_image,
    emit::seal,
    hooks::narrow,
    state::{Act, Origin, Phase, undo_companion},
};
use crate::{
    action::{Binding, Proposal, Resource},
    approval,
    budget::Sort,
    decision::{Autonomy, Decision, Evidence, Question, Requirement, Rule, RunFacts, Verdict},
    event::{Body, End, Purpose, Role, Stage},
    exception::{Class, Landed, Need},
    gate::DISPATCH_WINDOW_MS,
    id::{ApprovalId, Digest, EffectKey, Seq, TokenId},
    label::LabelMap,
    novelty::Unusual,
    operation::{Critical, Retry, Undo},
    planning::{Caveat, Labelled, Move, Question as AskedQuestion, Wait},
    playbook::static_path,
    rollback::TOKEN_EXPIRES_MS,
};

/// The rule under which the kernel holds a run whose inputs are unlike those of earlier runs.
pub const UNUSUAL_RULE: &str = "unusual-input";

/// Why a change was not made that could have been made at once, in a run that makes none.
pub const PREVIEWED: &str = "preview:would-be-made";

/// Why a change was not made that a person would have been asked about, in a run that makes none.
pub const PREVIEWED_ASK: &str = "preview:would-ask";

/// The role asked when the kernel itself wants a person, whatever policy says.
pub(super) const FLOOR_ROLE: &str = "approver";

/// What the gate found an open action needs next.
enum Step {
    Reject(Stage, Class, String),
    Help(Purpose),
    Rewrite(Requirement),
    Ask(Requirement),
    Void,
    Dispatch,
}

impl Run {
    /// Runs ahead until the outside is needed: planner moves, then endings, until neither adds anything.
    pub(super) fn go_on(&mut self, ports: &mut Ports<'_>) -> Result<(), Fault> {
        for _ in 0..MOVES_MAX {
            self.resume_parents(ports)?;
            if let Some(wanted) = self.wanted_now() {
                self.make_move(wanted, ports)?;
                continue;
            }
            let events = self.state.next_seq;
            self.wind_down(ports)?;
            // What ended may have set the planner going again.
            if self.state.next_seq == events {
                return Ok(());
            }
        }
        Err(self.illegal("the planner never stops wanting more"))
    }

    /// What the planner may have now. A run does not end before everything it set going is accounted
    /// for.
    fn wanted_now(&self) -> Option<Move> {
        let blocked = self.state.is_stopping() || self.state.is_held();
        if blocked || self.state.acts.len() >= ACTIONS_OPEN_MAX {
            return None;
        }
        let busy = !self.state.acts.is_empty();
        self.pins.planner.next().filter(|wanted| !(busy && matches!(wanted, Move::Finish { .. })))
    }

    fn make_move(&mut self, wanted: Move, ports: &mut Ports<'_>) -> Result<(), Fault> {
        match wanted {
            Move::Propose(proposal) => self.propose(proposal, Role::Step, ports).map(|_| ()),
            Move::Ask(question) => self.question(question, ports),
            Move::Wait { step, wait } => {
                let ms = match &wait {
                    Wait::Sleep { ms } => *ms,
                    Wait::Signal { timeout_ms, .. } => *timeout_ms,
                };
                let until = self.state.at.saturating_add(ms.max(0));
                self.emit(Body::Waiting { step, wait, until }).map(|_| ())
            }
            Move::Mark { step, mark } => self.emit(Body::Marked { step, mark }).map(|_| ()),
            Move::Escalate { step, class, owner } => {
                self.raise(Need::Escalated, class, (step, None, owner)).map(|_| ())
            }
            Move::Finish { output, caveats } => self.finish(output, caveats, ports),
            Move::Abandon { step, class } => self.abandon(step, class),
        }
    }

    fn question(&mut self, asked: AskedQuestion, ports: &mut Ports<'_>) -> Result<(), Fault> {
        let question = ApprovalId::of(&self.tenant, &self.id, self.state.next_seq);
        let text = seal(ports, asked.text.value, asked.text.labels)?;
        let expires_at = self.state.at.saturating_add(asked.expires_ms);
        let (step, role, answer) = (asked.step, asked.role, (*asked.answer).clone());
        self.emit(Body::Questioned { step, question, text, role, answer, expires_at }).map(|_| ())
    }

    fn finish(
        &mut self,
        output: Labelled,
        caveats: Vec<Caveat>,
        ports: &mut Ports<'_>,
    ) -> Result<(), Fault> {
        let end = if caveats.is_empty() { End::Succeeded } else { End::Partial };
        let output = seal(ports, output.value, output.labels)?;
        self.emit(Body::Finished { end, output, caveats }).map(|_| ())
    }

    /// Ends the run by a failure; effects are taken back once nothing is in flight.
    pub(super) fn abandon(&mut self, step: String, class: Class) -> Result<(), Fault> {
        self.emit(Body::Abandoned { step, class })?;
        self.stop_open_actions()
    }

    /// Rejects whatever has not been dispatched.
    pub(super) fn stop_open_actions(&mut self) -> Result<(), Fault> {
        let open = self.state.acts.iter().filter(|(_, act)| {
            act.dispatch.is_none()
                && matches!(act.phase, Phase::Open | Phase::Asking | Phase::Helping)
                && act.undo_of().is_none()
        });
        let open: Vec<Seq> = open.map(|(seq, _)| *seq).collect();
        for action in open {
            self.reject(action, Stage::Stopped, Class::PolicyError, "run-stopped".to_owned())?;
        }
        let questions: Vec<ApprovalId> = self.state.questions.keys().cloned().collect();
        for question in questions {
            self.emit(Body::Lapsed { question })?;
        }
        Ok(())
    }

    /// Enters a proposal into the journal and takes it as far through the gate as possible.
    pub(super) fn propose(
        &mut self,
        proposal: Proposal,
        because: Role,
        ports: &mut Ports<'_>,
    ) -> Result<Seq, Fault> {
        let seq = self.state.next_seq;
        let entry = self.entry(&proposal.operation, &proposal.step, &because).cloned();
        // Salts are drawn in the order of `Body::sealed_mut`, or a replay would mix them up.
        let args = seal(ports, Arc::clone(&proposal.args), proposal.arg_labels.clone())?;
        let resource = entry.as_ref().and_then(|e| Resource::of(&e.operation, &proposal.args));
        let resource = match resource {
            Some(r) => {
                let value = Arc::new(json!({ "kind": r.kind, "id": r.id }));
                Some(seal(ports, value, proposal.arg_labels.clone())?)
            }
            None => None,
        };
        let origin = self.origin(seq, &proposal);
        let refusal = self.check_proposal(&proposal, &because, ports);
        let definition = entry.map(|e| e.digest).unwrap_or_default();
        let Proposal { step, operation, existence, attempt, proposer, .. } = proposal;
        self.emit(Body::Proposed {
            step,
            operation,
            definition,
            args,
            resource,
            existence,
            attempt,
            origin,
            because,
            proposer,
        })?;
        match refusal {
            Some((stage, class, code)) => self.reject(seq, stage, class, code)?,
            None => self.advance(seq, ports)?,
        }
        Ok(seq)
    }

    /// Tries of the same step with the same arguments are the same effect.
    fn origin(&self, seq: Seq, proposal: &Proposal) -> Seq {
        self.earlier_try(proposal).map_or(seq, |origin| origin.seq)
    }

    fn earlier_try(&self, proposal: &Proposal) -> Option<&Origin> {
        let earlier = self.state.origins.get(&proposal.step).filter(|_| proposal.attempt > 1);
        earlier.filter(|o| o.operation == proposal.operation && o.args == proposal.args)
    }

    /// Everything that is refused before a judge is asked.
    fn check_proposal(
        &self,
        proposal: &Proposal,
        because: &Role,
        ports: &Ports<'_>,
    ) -> Option<(Stage, Class, String)> {
        let refuse = |stage, class, code: &str| Some((stage, class, code.to_owned()));
        let reads_on = self.reads_on(&proposal.operation, &proposal.step, because);
        let is_ours = reads_on || self.is_look(&proposal.operation, &proposal.step, because);
        let Some(entry) = self.entry(&proposal.operation, &proposal.step, because) else {
            return refuse(Stage::Unknown, Class::UnknownField, "unknown-operation");
        };
        let operation = &entry.operation;
        let path = static_path(&proposal.step);
        let planned = is_ours || self.pins.plan.step(&path, &operation.id).is_some();
        if *because == Role::Step && !planned {
            return refuse(Stage::Unplanned, Class::PolicyError, "unplanned");
        }
        let header = &self.state.header;
        // What a run is granted is what planners may use; who looks at it stands in the plan.
        if !is_ours && !header.grant.allows(&operation.id) {
            return refuse(Stage::Grant, Class::PolicyError, "not-granted");
        }
        if reads_on && self.is_foreign(proposal) {
            return refuse(Stage::Grant, Class::PolicyError, "not-of-this-run");
        }
        if header.autonomy == Autonomy::L1 && operation.is_write() {
            return refuse(Stage::Grant, Class::PolicyError, "report-only");
        }
        if matches!(because, Role::Companion { .. }) && operation.is_write() {
            return refuse(Stage::Grant, Class::PolicyError, "companion-writes");
        }
        let landed = self.earlier_try(proposal).map_or(Landed::No, |origin| origin.landed);
        let once = operation.is_write() && operation.facts.retry != Retry::Keyed;
        if *because == Role::Step && once && landed != Landed::No {
            return refuse(Stage::Grant, Class::Duplicate, "happened-already");
        }
        if self.state.forbidden.contains(&operation.id) && *because == Role::Step {
            return refuse(Stage::Forbidden, Class::PolicyError, "switched-off");
        }
        if let Some(violation) = ports.validate.violation(&operation.input, &proposal.args) {
            let class = if violation.class == Class::UnknownField {
                Class::UnknownField
            } else {
                Class::InvalidArguments
            };
            return refuse(Stage::Schema, class, &format!("schema:{}", violation.at));
        }
        let highest = proposal.arg_labels.join_all().confidentiality;
        if highest > operation.clearance.confidentiality {
            return refuse(Stage::Clearance, Class::PolicyError, "above-clearance");
        }
        None
    }

    /// Ends an action before it reached a connector.
    pub(super) fn reject(
        &mut self,
        action: Seq,
        stage: Stage,
        class: Class,
        code: String,
    ) -> Result<(), Fault> {
        let Some(act) = self.state.acts.get(&action) else {
            return Ok(());
        };
        let (undo, step) = (act.undo_of().cloned(), act.step.clone());
        let is_step = act.role == Role::Step;
        let companion = match &act.role {
            Role::Companion { of, purpose } => Some((*of, *purpose)),
            Role::Step | Role::Undo { .. } => None,
        };
        self.emit(Body::Rejected { action, stage, class, code })?;
        self.stop_companions(action)?;
        if is_step && matches!(stage, Stage::Unplanned | Stage::Unknown) {
            let owner = self.state.header.owner.clone();
            self.raise(Need::Unplanned, class, (step.clone(), None, owner))?;
            self.abandon(step, class)?;
        }
        if let Some(token) = undo {
            self.undo_failed(token, class, crate::exception::Landed::No)?;
        }
        if let Some((of, purpose)) = companion {
            self.pending_companions.push((of, purpose));
        }
        Ok(())
    }

    /// Takes an open action as far as it gets without the outside.
    pub(super) fn advance(&mut self, action: Seq, ports: &mut Ports<'_>) -> Result<(), Fault> {
        // Each turn adds evidence or ends; evidence is finite, the bound is for defects.
        for _ in 0..32 {
            if self.state.acts.get(&action).is_none_or(|act| act.phase != Phase::Open) {
                return Ok(());
            }
            if self.state.is_held() {
                return Ok(());
            }
            let decision = match self.cleared(action) {
                Some(decision) => decision,
                None => self.judge(action, ports)?,
            };
            if let Some(hook) = self.gate_due(action, &decision) {
                self.consult(action, (hook, Purpose::Gate), ports)?;
                self.resume_parents(ports)?;
                continue;
            }
            match self.next_step(action, &decision) {
                Step::Reject(stage, class, code) => return self.reject(action, stage, class, code),
                Step::Rewrite(requirement) => {
                    let transforms = requirement.transforms;
                    self.emit(Body::Rewritten { action, transforms })?;
                }
                Step::Help(purpose) => {
                    self.help(action, purpose, ports)?;
                    self.resume_parents(ports)?;
                }
                Step::Ask(requirement) => return self.ask(action, requirement),
                Step::Void => self.void(action)?,
                Step::Dispatch => return self.dispatch(action),
            }
        }
        Err(self.illegal("the gate never comes to an end"))
    }

    /// What policy said about showing this much to this model, where it was allowed before and neither
    /// the label of what is shown nor the policy in force has changed since.
    fn cleared(&self, action: Seq) -> Option<Decision> {
        let act = self.state.acts.get(&action).filter(|act| act.operation.is_model_call())?;
        let cleared = self.state.cleared.get(&act.operation.id)?;
        cleared.covers(act, self.state.current_policy).then(|| cleared.decision.clone())
    }

    /// Asks the judge about an open action and journals what it said.
    fn judge(&mut self, action: Seq, ports: &Ports<'_>) -> Result<Decision, Fault> {
        let Some(act) = self.state.acts.get(&action) else {
            return Err(self.illegal("it judges an action that is not open"));
        };
        let digest = self.action_digest(action, act)?;
        let evidence = self.evidence(act, &digest);
        let facts = self.run_facts(act);
        let args = act.args.value();
        let labels = act.args.labels();
        let header = &self.state.header;
        let question = Question {
            chain: &header.chain,
            operation: &act.operation,
            resource: act.resource.as_ref(),
            args: &args,
            arg_labels: &labels,
            existence: &act.existence,
            run: &facts,
            recoveries: &self.state.recoveries,
            autonomy: header.autonomy,
            mode: header.mode,
            at: self.state.at,
            evidence: &evidence,
            current_policy: self.state.current_policy,
        };
        let mut decision = self.decided(act).unwrap_or_else(|| ports.judge.judge(&question));
        hold(&mut decision, (act, &labels), &header.unusual, &evidence);
        narrow(&mut decision, act, &evidence);
        self.emit(Body::Judged { action, digest, decision: decision.clone() })?;
        Ok(decision)
    }

    /// The digest that approvals bind to.
    pub(super) fn action_digest(&self, proposal: Seq, act: &Act) -> Result<Digest, Fault> {
        let binding = Binding {
            tenant: &self.tenant,
            run: &self.id,
            proposal,
            plan: self.state.header.plan,
            step: &act.step,
            chain: self.state.chain_digest,
            operation: &act.operation.id,
            definition: act.definition,
            args: act.args.commitment().root,
            resource: act.resource_root,
            preview: act.shown().map(|(_, image)| image.commitment().root),
        };
        Ok(binding.digest()?)
    }

    fn evidence(&self, act: &Act, digest: &Digest) -> Evidence {
        Evidence {
            approvals: approval::count(&act.approvals, digest),
            dry_run: act.captures.contains_key(&Purpose::Preview),
            transforms: act.transforms.clone(),
            rollback: self.undo_class(act),
        }
    }

    /// The undo class that is or can be armed: a missed before-image leaves none.
    pub(super) fn undo_class(&self, act: &Act) -> Undo {
        let has_undo = undo_companion(&act.operation, &self.undo_overrides, &act.step).is_some();
        // What landed without a way back gets none by trying again: the image would be of the effect.
        if act.token.is_none() && self.state.repeats(act) {
            return Undo::None;
        }
        match act.operation.facts.undo {
            Undo::Restore if has_undo && !act.missed.contains(&Purpose::Before) => Undo::Restore,
            Undo::Compensate if has_undo => Undo::Compensate,
            Undo::Restore | Undo::Compensate | Undo::None => Undo::None,
        }
    }

    fn run_facts(&self, act: &Act) -> RunFacts {
        let (spent, budget) = (&self.state.spent, &self.state.header.budget);
        RunFacts {
            calls: spent.calls,
            writes: spent.writes,
            calls_left: budget.calls_max.saturating_sub(spent.calls),
            writes_left: budget.writes_max.saturating_sub(spent.writes),
            same_operation: self.state.uses.get(&act.operation.id).copied().unwrap_or_default(),
            denied: self.state.denied,
        }
    }

    /// What the verdict means for this action now.
    fn next_step(&self, action: Seq, decision: &Decision) -> Step {
        let Some(act) = self.state.acts.get(&action) else {
            return Step::Dispatch;
        };
        let code = || decision.rules.first().map_or_else(|| "no-rule".to_owned(), |r| r.id.clone());
        // An approval is no older than its ask may be, however long the run was held since.
        if act.ask.as_ref().is_some_and(|ask| ask.expires_at <= self.state.at) {
            return Step::Reject(Stage::Expired, Class::PolicyError, "expired".to_owned());
        }
        let deny = |code| Step::Reject(Stage::Policy, Class::PolicyError, code);
        match &decision.verdict {
            Verdict::Deny => deny(code()),
            Verdict::Ask(missing) if !missing.transforms.is_empty() => {
                let known = |t: &String| {
                    let pointer = t.strip_prefix("mask:");
                    pointer.is_some_and(|p| act.operation.maskable.iter().any(|m| m == p))
                };
                let fresh = missing.transforms.iter().all(|t| !act.transforms.contains(t));
                if fresh && missing.transforms.iter().all(known) {
                    Step::Rewrite(missing.clone())
                } else {
                    deny(format!("unknown-transform:{}", code()))
                }
            }
            Verdict::Ask(missing) => self.step_towards(act, missing, code()),
            Verdict::Allow => self.step_to_dispatch(act),
        }
    }

    fn step_towards(&self, act: &Act, missing: &Requirement, code: String) -> Step {
        if let Some(purpose) = self.image_wanted(act) {
            return Step::Help(purpose);
        }
        if missing.dry_run && !act.captures.contains_key(&Purpose::Preview) {
            return Step::Reject(Stage::Policy, Class::PolicyError, format!("no-preview:{code}"));
        }
        let open = act.ask.as_ref();
        if missing.approvals.is_empty() || (open.is_none() && act.asks >= ASKS_MAX) {
            return Step::Reject(Stage::Policy, Class::PolicyError, code);
        }
        let asked = |role| open.is_none_or(|ask| ask.requirement.approvals.contains_key(role));
        if missing.approvals.keys().all(asked) { Step::Ask(missing.clone()) } else { Step::Void }
    }

    /// Before a person is asked, both images are tried, so that there is something to show.
    fn image_wanted(&self, act: &Act) -> Option<Purpose> {
        let untried = |p: &Purpose| !act.captures.contains_key(p) && !act.missed.contains(p);
        let companions = &act.operation.companions;
        let wants_before = companions.before.is_some() && self.undo_class(act) == Undo::Restore;
        let before = (wants_before && act.undo_of().is_none()).then_some(Purpose::Before);
        let preview = companions.preview.is_some().then_some(Purpose::Preview);
        before.filter(untried).or(preview.filter(untried))
    }

    fn step_to_dispatch(&self, act: &Act) -> Step {
        let needs_before = self.undo_class(act) == Undo::Restore
            && act.undo_of().is_none()
            && !act.captures.contains_key(&Purpose::Before);
        if needs_before {
            return Step::Help(Purpose::Before);
        }
        let Some((purpose, shown)) = act.shown().filter(|_| !act.approvals.is_empty()) else {
            return Step::Dispatch;
        };
        if act.missed.contains(&Purpose::Refresh) {
            return Step::Reject(Stage::Policy, Class::Stale, "could-not-read-again".to_owned());
        }
        let Some(again) = &act.refreshed else {
            return Step::Help(Purpose::Refresh);
        };
        let companion = self.companion(act, purpose);
        let same = companion.is_some_and(|c| same_image(c, &shown.value(), &again.value()));
        if same { Step::Dispatch } else { Step::Void }
    }

    fn ask(&mut self, action: Seq, requirement: Requirement) -> Result<(), Fault> {
        let Some(act) = self.state.acts.get(&action).filter(|act| act.ask.is_none()) else {
            return Ok(());
        };
        if self.only_shows(act) {
            let code = PREVIEWED_ASK.to_owned();
            return self.reject(action, Stage::Previewed, Class::PolicyError, code);
        }
        let digest = act.digest.unwrap_or_default();
        let approval = ApprovalId::of(&self.tenant, &self.id, self.state.next_seq);
        let expires_at = self.state.at.saturating_add(self.state.header.approvers.expires_ms);
        self.emit(Body::Asked { action, approval, digest, requirement, expires_at }).map(|_| ())
    }

    /// Whether an action goes no further in a run that makes no change.
    fn only_shows(&self, act: &Act) -> bool {
        act.operation.is_write() && !self.state.header.mode.makes_changes()
    }

    fn void(&mut self, action: Seq) -> Result<(), Fault> {
        let ask = self.state.acts.get(&action).and_then(|act| act.ask.as_ref());
        let approval = ask.map(|ask| ask.id.clone());
        let approval =
            approval.unwrap_or_else(|| ApprovalId::of(&self.tenant, &self.id, self.state.next_seq));
        self.emit(Body::Voided { action, approval }).map(|_| ())
    }

    /// Whether the budget has room for one more call of this action.
    pub(super) fn affords(&self, act: &Act) -> bool {
        let budget = &self.state.header.budget;
        self.state.spent.check(budget, act.operation.sort(), act.operation.cost_max).is_ok()
    }

    /// Arms the way back, reserves the budget and makes the call possible.
    pub(super) fn dispatch(&mut self, action: Seq) -> Result<(), Fault> {
        let Some(act) = self.state.acts.get(&action) else {
            return Ok(());
        };
        let (sort, budget) = (act.operation.sort(), &self.state.header.budget);
        if let Err(limit) = self.state.spent.check(budget, sort, act.operation.cost_max) {
            return self.reject(action, Stage::Budget, Class::Budget, limit.to_string());
        }
        if self.only_shows(act) {
            let code = PREVIEWED.to_owned();
            return self.reject(action, Stage::Previewed, Class::PolicyError, code);
        }
        let undo = self.undo_class(act);
        let arms = sort == Sort::Write
            && undo != Undo::None
            && act.undo_of().is_none()
            && act.token.is_none();
        let key = EffectKey::of(&self.tenant, &self.id, act.origin);
        let attempt = act.dispatch.as_ref().map_or(0, |d| d.attempt) + 1;
        let masks = super::masks(&act.transforms);
        if arms {
            let token = TokenId::of(&self.tenant, &self.id, self.state.next_seq);
            let expires_at = self.state.at.saturating_add(TOKEN_EXPIRES_MS);
            self.emit(Body::Armed { action, token, undo, expires_at })?;
        }
        let dispatch_by = self.state.at.saturating_add(DISPATCH_WINDOW_MS);
        let seq = self.emit(Body::Dispatched { action, key, attempt, dispatch_by, masks })?;
        self.decided.insert(seq, self.boot_ms);
        Ok(())
    }
}

/// The floor no policy can lift: once untrusted input decided that the action exists, or any of its
/// critical arguments, or the run's inputs are unlike those of earlier runs, a person must have approved
/// exactly this action. Taking back what was approved is not held for strange inputs.
fn hold(
    decision: &mut Decision,
    (act, labels): (&Act, &LabelMap),
    unusual: &[Unusual],
    evidence: &Evidence,
) {
    let approved = evidence.approvals.values().any(|count| *count > 0);
    if decision.verdict == Verdict::Deny || approved || !act.operation.is_consequential() {
        return;
    }
    let critical_tainted = match &act.operation.facts.critical {
        Critical::All => labels.join_all().is_tainted(),
        Critical::At(pointers) => pointers.iter().any(|p| labels.at(p).is_tainted()),
    };
    let is_tainted = critical_tainted || act.existence.is_tainted();
    let is_unusual = !unusual.is_empty() && act.undo_of().is_none();
    let mut told = |id: &str, reason: &str| {
        let (layer, id, reason) = ("kernel".to_owned(), id.to_owned(), reason.to_owned());
        decision.rules.push(Rule { layer, id, reason });
    };
    let is_allowed = decision.verdict == Verdict::Allow;
    if is_tainted && is_allowed {
        told("untrusted-input", "untrusted input decided whether or how this happens");
    }
    if is_unusual {
        told(UNUSUAL_RULE, "the inputs of this run are unlike those of earlier runs");
    }
    if is_allowed && (is_tainted || is_unusual) {
        let approvals = BTreeMap::from([(FLOOR_ROLE.to_owned(), 1)]);
        decision.verdict = Verdict::Ask(Requirement { approvals, ..Requirement::default() });
    }
}
