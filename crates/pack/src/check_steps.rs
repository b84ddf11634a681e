//! Checks the steps of playbooks: names, types of every expression, arguments, recoveries.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use expr::{Expr, Template, Type, Types};
use kernel::{
    id::OperationId,
    operation::{Companion, Operation},
    playbook::{Recovery, STEPS_MAX, Step, Work, visit_steps},
};
use serde_json::Value;

use crate::{
    check_operations::check_companion,
    checker::{Checker, LIST_ASSUMED},
    model::Written,
    narrow::{proven_paths, refine},
    problem::did_you_mean,
    recovery::{EffectOf, merged},
    steps::unwrap,
    yaml::Kind,
};

/// Root variables of every playbook; no loop variable takes their names.
const ROOTS: [&str; 5] = ["intent", "steps", "run", "pack", "result"];

/// What expressions of one block can see.
#[derive(Clone, Default)]
struct Scope {
    intent: Option<Type>,
    steps: BTreeMap<String, Type>,
    items: BTreeMap<String, Type>,
    /// Ids of every step of the playbook, for telling a later step from an unknown one.
    all: BTreeSet<String>,
}

impl Scope {
    /// The scope in which a condition holds.
    fn given(&self, when: Option<&str>) -> Self {
        let mut scope = self.clone();
        for path in proven_paths(when.unwrap_or_default()) {
            match path.as_slice() {
                ["intent", rest @ ..] => {
                    scope.intent = scope.intent.as_ref().map(|ty| refine(ty, rest))
                }
                ["steps", id, "output", rest @ ..] => {
                    if let Some(ty) = scope.steps.get_mut(*id) {
                        *ty = refine(ty, rest);
                    }
                }
                [item, rest @ ..] => {
                    if let Some(ty) = scope.items.get_mut(*item) {
                        *ty = refine(ty, rest);
                    }
                }
                [] => {}
            }
        }
        scope
    }
}

/// One playbook while it is checked.
struct Walk<'c, 'd> {
    checker: &'c Checker<'d>,
    file: &'d str,
    playbook: &'d str,
    returned: RefCell<Vec<Type>>,
}

impl Checker<'_> {
    /// Checks a playbook once; the type of what it returns.
    pub(crate) fn check_playbook(&self, name: &str) -> Type {
        if let Some(known) = self.returns.borrow().get(name) {
            return known.clone();
        }
        let found = self.context.draft.playbooks.iter().find(|(_, playbook)| playbook.name == name);
        let Some((file, written)) = found else { return Type::Any };
        self.returns.borrow_mut().insert(name.to_owned(), Type::Any);
        let input = self.input_of(file, written);
        let mut all = BTreeSet::new();
        visit_steps(&written.steps, &mut |_, step| {
            all.insert(step.id.clone());
        });
        let scope = Scope { intent: Some(Type::from_schema(&input)), all, ..Scope::default() };
        let walk =
            Walk { checker: self, file, playbook: &written.name, returned: RefCell::default() };
        let ends = walk.block(&written.steps, "/steps", scope).1;
        let mut returned = walk.returned.into_inner();
        if ends == Ends::Perhaps {
            returned.push(Type::Null);
        }
        let returned = returned.into_iter().reduce(Type::or).unwrap_or(Type::Null);
        self.check_length(file, written);
        self.returns.borrow_mut().insert(name.to_owned(), returned.clone());
        returned
    }

    /// A playbook's own input schema, or that of the intents that start it.
    fn input_of(&self, file: &str, written: &Written) -> Value {
        let mut inputs: Vec<&Value> = written.input.iter().map(|input| &**input).collect();
        if let Some(input) = inputs.first() {
            for (at, message, fix) in crate::schema::check_object_schema(input) {
                self.context.wrong((file, &format!("/input{at}")), message, fix);
            }
        }
        let started =
            self.context.draft.intents.iter().filter(|(_, intent)| intent.playbook == written.name);
        inputs.extend(started.map(|(_, intent)| &*intent.input));
        match inputs.split_first() {
            Some((first, rest)) => {
                if rest.iter().any(|other| other != first) {
                    let message = "its own `input` and the inputs of its intents differ";
                    self.context.wrong(
                        (file, "/name"),
                        message,
                        "make them equal, or use one playbook each",
                    );
                }
                (*first).clone()
            }
            None => {
                let message = "nothing says which inputs this playbook takes";
                self.context.wrong(
                    (file, "/name"),
                    message,
                    "add `input`, or name it in an intent",
                );
                Value::Bool(true)
            }
        }
    }

    fn check_length(&self, file: &str, written: &Written) {
        let count = self.count(&written.name);
        if count > STEPS_MAX {
            let message =
                format!("{count} steps once other playbooks are inlined; at most {STEPS_MAX}");
            self.context.wrong((file, "/steps"), message, "split the work over several intents");
        }
    }

    /// Steps of a playbook with those of the playbooks it calls; each counted once and remembered.
    fn count(&self, name: &str) -> usize {
        if let Some(known) = self.lengths.borrow().get(name) {
            return *known;
        }
        let Some(written) = self.context.draft.playbook(name) else { return 0 };
        let mut count = 0_usize;
        visit_steps(&written.steps, &mut |_, step| {
            let inner = match &step.work {
                Work::Playbook { name, .. } => self.count(name),
                _ => 0,
            };
            count = count.saturating_add(1).saturating_add(inner);
        });
        self.lengths.borrow_mut().insert(name.to_owned(), count);
        count
    }
}

/// Whether a block surely ends its playbook.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    Surely,
    Perhaps,
}

impl<'d> Walk<'_, 'd> {
    fn types(&self, scope: &Scope) -> Types {
        let step =
            |(id, ty): (&String, &Type)| (id.clone(), Type::object([("output", ty.clone())]));
        let mut types = Types::new()
            .with("intent", scope.intent.clone().unwrap_or(Type::Any))
            .with("steps", Type::object(scope.steps.iter().map(step)))
            .with("run", Type::Any)
            .with("pack", self.checker.pack.clone());
        for (name, ty) in &scope.items {
            types = types.with(name.clone(), ty.clone());
        }
        types
    }

    /// Checks steps in order; the scope after them and whether they surely return.
    fn block(&self, steps: &[Step], at: &str, mut scope: Scope) -> (Scope, Ends) {
        let mut ends = Ends::Perhaps;
        for (index, step) in steps.iter().enumerate() {
            let here = format!("{at}/{index}");
            if ends == Ends::Surely {
                let message = format!("step `{}` is never reached", step.id);
                self.checker.context.wrong((self.file, &here), message, "put `return` last");
                break;
            }
            let output = self.step(step, &here, &scope);
            if matches!(step.work, Work::Return { .. }) && step.when.is_none() {
                ends = Ends::Surely;
            }
            scope.steps.insert(step.id.clone(), output);
        }
        (scope, ends)
    }

    /// Checks one step; the type of its output.
    fn step(&self, step: &Step, here: &str, scope: &Scope) -> Type {
        let types = self.types(scope);
        if let Some(when) = &step.when {
            self.expression(&format!("{here}/when"), when, (&types, &scope.all), &Type::Bool);
        }
        // What `when` proves holds for all the step does, but not where its own failure is dealt with.
        let proven = scope.given(step.when.as_deref());
        let given = self.types(&proven);
        let mut output = self.work(step, here, &proven, &given);
        let checked = given.clone().with("result", output.clone());
        for (index, check) in step.expect.iter().enumerate() {
            let at = format!("{here}/expect/{index}/that");
            self.expression(&at, &check.that, (&checked, &scope.all), &Type::Bool);
        }
        for stand_in in self.failures(step, here, (&types, &scope.all)) {
            output = output.or(stand_in);
        }
        if step.when.is_some() { output.or(Type::Null) } else { output }
    }

    /// Checks one expression against the type it must give.
    fn expression(
        &self,
        at: &str,
        source: &str,
        (types, all): (&Types, &BTreeSet<String>),
        want: &Type,
    ) -> Type {
        let spot = (self.file, at);
        let base = self.base(at);
        let parsed = Expr::parse(source).and_then(|expr| {
            let ty = expr.check(types)?;
            Ok((ty, expr.estimate(LIST_ASSUMED)))
        });
        match parsed {
            Ok((ty, cost)) => {
                self.checker.check_cost(spot, cost);
                if !ty.fits(want) {
                    let (expected, fix) = match want {
                        Type::Bool => ("true or false", "write a condition, such as `… == …`"),
                        _ => ("a list", "give the list to go through"),
                    };
                    let message = format!("expected {expected}, found {ty}");
                    self.checker.context.wrong(spot, message, fix);
                }
                ty
            }
            Err(error) => {
                self.checker.fault(spot, base, &error, all);
                Type::Any
            }
        }
    }

    /// Where the kept expression begins in the text that was written.
    fn base(&self, at: &str) -> usize {
        let node = self.checker.context.draft.docs.get(self.file).and_then(|doc| doc.node(at));
        match node.map(|node| &node.kind) {
            Some(Kind::Text(text)) => unwrap(&text.value).0,
            _ => 0,
        }
    }

    fn work(&self, step: &Step, here: &str, scope: &Scope, types: &Types) -> Type {
        let (checker, context) = (self.checker, self.checker.context);
        let seen = (types, &scope.all);
        let at = |key: &str| format!("{here}/{key}");
        match &step.work {
            Work::Do { operation, with } => {
                let Some(operation) = context.operation(operation, (self.file, &at("do"))) else {
                    return Type::Any;
                };
                checker.args((self.file, &at("with")), with, seen, operation);
                if let Some(undo) = &step.undo {
                    self.undo(undo, operation, &at("undo"));
                }
                Type::from_schema(&operation.output)
            }
            Work::Ask { question, answer, role, .. } => {
                context.role(role, (self.file, &at("role")));
                checker.text((self.file, &at("ask")), question, seen);
                checker.schema((self.file, &at("answer")), answer);
                Type::from_schema(answer)
            }
            Work::Agent { agent, with } => self.agent(&agent.name, with, here, seen),
            Work::Playbook { name, with, .. } => self.call(name, with, here, seen),
            Work::Parallel { branches } => {
                let branch = |(index, branch): (usize, &Step)| {
                    let here = format!("{here}/parallel/{index}");
                    if returns(branch) {
                        let message = "`return` cannot stand in a branch of `parallel`";
                        context.wrong((self.file, &here), message, "put it after the branches");
                    }
                    (branch.id.clone(), self.step(branch, &here, scope))
                };
                Type::object(branches.iter().enumerate().map(branch).collect::<Vec<_>>())
            }
            Work::ForEach { items, var, steps, collect, .. } => {
                let list = self.expression(&at("for_each"), items, seen, &Type::list(Type::Any));
                self.for_each(here, (var, list), (steps, collect.as_ref()), scope)
            }
            Work::Sleep { .. } => Type::Null,
            Work::Await { signal, .. } => {
                checker.text((self.file, &at("wait/event")), signal, seen);
                Type::Any
            }
            Work::Return { value } => {
                let ty =
                    checker.template((self.file, &at("return")), value, seen).unwrap_or(Type::Any);
                self.returned.borrow_mut().push(ty);
                Type::Null
            }
        }
    }

    fn undo(&self, undo: &Companion, operation: &Operation, at: &str) {
        if !operation.is_write() {
            let message = format!("`{}` is a read: there is nothing to undo", operation.id);
            self.checker.context.wrong((self.file, at), message, "leave `undo` out");
            return;
        }
        check_companion(self.checker, (self.file, at), (operation, "undo"), undo);
    }

    fn call(
        &self,
        name: &str,
        with: &Value,
        here: &str,
        seen: (&Types, &BTreeSet<String>),
    ) -> Type {
        let (checker, context) = (self.checker, self.checker.context);
        let found = context.draft.playbooks.iter().find(|(_, playbook)| playbook.name == name);
        let Some((file, inner)) = found else {
            let names = context.draft.playbooks.iter().map(|(_, playbook)| playbook.name.as_str());
            let fix = did_you_mean(name, names);
            context.wrong(
                (self.file, &format!("{here}/playbook")),
                format!("no playbook `{name}`"),
                fix,
            );
            return Type::Any;
        };
        let output = checker.check_playbook(name);
        let at = format!("{here}/with");
        if let Some(given) = checker.template((self.file, &at), with, seen) {
            checker.check_fit((self.file, &at), &given, &checker.input_of(file, inner), name);
        }
        output
    }

    fn agent(
        &self,
        name: &str,
        with: &Value,
        here: &str,
        seen: (&Types, &BTreeSet<String>),
    ) -> Type {
        let (checker, context) = (self.checker, self.checker.context);
        let given = checker.template((self.file, &format!("{here}/with")), with, seen);
        let Some(agent) = context.agent(name, (self.file, &format!("{here}/agent"))) else {
            return Type::Any;
        };
        if let (Some(given), Some(input)) = (given, &agent.input) {
            let at = format!("{here}/with");
            checker.check_fit((self.file, &at), &given, input, name);
        }
        agent.output.as_ref().map_or(Type::String, |output| Type::from_schema(output))
    }

    fn for_each(
        &self,
        here: &str,
        (var, list): (&str, Type),
        (steps, collect): (&[Step], Option<&Value>),
        scope: &Scope,
    ) -> Type {
        let context = self.checker.context;
        if ROOTS.contains(&var)
            || scope.items.contains_key(var)
            || Expr::parse(var).is_err()
            || var.contains('-')
        {
            let message = format!("`{var}` cannot name the loop variable");
            context.wrong(
                (self.file, &format!("{here}/as")),
                message,
                "use another name of a-z, 0-9 and `_`",
            );
            return Type::Any;
        }
        let element = match list {
            Type::List(element) => Type::clone(&element),
            _ => Type::Any,
        };
        let mut inner = scope.clone();
        inner.items.insert(var.to_owned(), element);
        let (inner, _) = self.block(steps, &format!("{here}/steps"), inner);
        let Some(collect) = collect else { return Type::Null };
        let spot = format!("{here}/collect");
        let types = self.types(&inner);
        let collected = self.checker.template((self.file, &spot), collect, (&types, &scope.all));
        Type::list(collected.unwrap_or(Type::Any))
    }

    /// Checks the recoveries of a step; the types of what may stand in for its output.
    fn failures(
        &self,
        step: &Step,
        here: &str,
        (types, all): (&Types, &BTreeSet<String>),
    ) -> Vec<Type> {
        let (checker, context) = (self.checker, self.checker.context);
        let operation = match &step.work {
            Work::Do { operation, .. } => context.draft.operations.get(operation),
            _ => None,
        };
        let mut stand_ins = Vec::new();
        for (class, recoveries) in &step.on_failure {
            let base = format!("{here}/on_failure/{}", class.name());
            for (index, recovery) in recoveries.iter().enumerate() {
                let at = checker.recovery_at(self.file, &base, index);
                stand_ins.extend(checker.recovery(recovery, (self.file, &at), types, all));
                if let (Recovery::Retry { .. }, Some(why)) = (recovery, unrepeatable(&step.work)) {
                    let message = format!("`retry` after `{}` is refused: {why}", class.name());
                    context.wrong((self.file, &at), message, "use another recovery");
                    continue;
                }
                let operation = operation.map(|operation| &**operation);
                context.refuse_useless((recovery, *class), operation, (self.file, &at));
            }
        }
        let Some(operation) = operation else { return stand_ins };
        let other = |id: &OperationId| context.effect_of(id);
        let site = (&**operation, &other as EffectOf<'_>);
        let quiet = Types::new().with("run", Type::Any).with("pack", checker.pack.clone());
        for (class, recoveries) in
            merged(&step.on_failure, &context.draft.exceptions, self.playbook, site)
        {
            if !step.on_failure.contains_key(&class) {
                stand_ins.extend(
                    recoveries.iter().filter_map(|recovery| self.shared_type(recovery, &quiet)),
                );
            }
        }
        stand_ins
    }

    /// The type of what a shared recovery puts in place; it was checked where it is declared.
    fn shared_type(&self, recovery: &Recovery, types: &Types) -> Option<Type> {
        match recovery {
            Recovery::Retry { .. } | Recovery::Stop | Recovery::Escalate { .. } => None,
            Recovery::Log { .. } => Some(Type::Null),
            Recovery::Fallback { operation, .. } => {
                let operation = self.checker.context.draft.operations.get(operation)?;
                Some(Type::from_schema(&operation.output))
            }
            Recovery::Partial { value, .. } => Template::parse(value).ok()?.check(types).ok(),
            Recovery::Clarify { answer, .. } => Some(Type::from_schema(answer)),
        }
    }
}

/// Why work of this sort cannot be done once more; `None` when it can.
fn unrepeatable(work: &Work) -> Option<&'static str> {
    match work {
        Work::Do { .. } | Work::Ask { .. } | Work::Await { .. } => None,
        Work::Playbook { .. }
        | Work::Agent { .. }
        | Work::Parallel { .. }
        | Work::ForEach { .. }
        | Work::Sleep { .. }
        | Work::Return { .. } => Some("only a call, a question or an event can be tried again"),
    }
}

/// Whether running a step may end the playbook around it.
fn returns(step: &Step) -> bool {
    match &step.work {
        Work::Return { .. } => true,
        Work::ForEach { steps, .. } => steps.iter().any(returns),
        Work::Parallel { branches } => branches.iter().any(returns),
        Work::Do { .. }
        | Work::Ask { .. }
        | Work::Agent { .. }
        | Work::Playbook { .. }
        | Work::Sleep { .. }
        | Work::Await { .. } => false,
    }
}
