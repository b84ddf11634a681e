//! Checks of single pieces: templates, arguments, schemas, recoveries. Shared by steps and operations.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use expr::{Expr, Template, Type, Types};
use kernel::{operation::Operation, playbook::Recovery, pointer};
use serde_json::{Value, json};

use crate::{
    check::Context,
    schema::{check_schema, violation_once},
    yaml::Kind,
};

/// Steps that one evaluation may cost, estimated with lists of [`LIST_ASSUMED`] items.
pub(crate) const COST_MAX: u64 = 1_000_000;

/// Length assumed for every list when the cost of an expression is estimated.
pub(crate) const LIST_ASSUMED: u64 = 100;

/// Where something stands: file and pointer.
pub(crate) type Spot<'a> = (&'a str, &'a str);

pub(crate) struct Checker<'d> {
    pub(crate) context: Context<'d>,
    pub(crate) pack: Type,
    /// Type of what each playbook returns, once checked.
    pub(crate) returns: RefCell<BTreeMap<String, Type>>,
    /// How many steps each playbook has once inlined.
    pub(crate) lengths: RefCell<BTreeMap<String, usize>>,
}

impl<'d> Checker<'d> {
    pub(crate) fn new(context: Context<'d>) -> Self {
        let pack = Type::from_schema(&json!({"const": context.draft.manifest.constants}));
        Self { context, pack, returns: RefCell::default(), lengths: RefCell::default() }
    }

    /// The pointer of one recovery: lists may be left out when there is only one.
    pub(crate) fn recovery_at(&self, file: &str, base: &str, index: usize) -> String {
        let node = self.context.draft.docs.get(file).and_then(|doc| doc.node(base));
        match node.map(|node| &node.kind) {
            Some(Kind::List(_)) => format!("{base}/{index}"),
            _ => base.to_owned(),
        }
    }

    /// A recovery of `exceptions.yaml`: it may stand anywhere, so it reads `run` and `pack` alone.
    pub(crate) fn check_shared_recovery(&self, recovery: &Recovery, file: &str, at: &str) {
        let types = Types::new().with("run", Type::Any).with("pack", self.pack.clone());
        self.recovery(recovery, (file, at), &types, &BTreeSet::new());
    }

    /// Checks a recovery; the type of what stands in for the output, if something does.
    pub(crate) fn recovery(
        &self,
        recovery: &Recovery,
        (file, at): Spot<'_>,
        types: &Types,
        all: &BTreeSet<String>,
    ) -> Option<Type> {
        let below = |key: &str| format!("{at}/{}{key}", recovery.name());
        match recovery {
            Recovery::Retry { .. } | Recovery::Stop => None,
            Recovery::Escalate { owner } => {
                self.context.role(owner, (file, &below("/to")));
                None
            }
            Recovery::Log { .. } => Some(Type::Null),
            Recovery::Fallback { operation, with, .. } => {
                let operation = self.context.operation(operation, (file, &below("/do")))?;
                self.args((file, &below("/with")), with, (types, all), operation);
                Some(Type::from_schema(&operation.output))
            }
            Recovery::Partial { value, forbid, .. } => {
                for (index, id) in forbid.iter().enumerate() {
                    self.context.operation(id, (file, &below(&format!("/forbid/{index}"))));
                }
                self.template((file, &below("/value")), value, (types, all))
            }
            Recovery::Clarify { question, answer, role, .. } => {
                self.context.role(role, (file, &below("/role")));
                self.text((file, &below("/question")), question, (types, all));
                self.schema((file, &below("/answer")), answer);
                Some(Type::from_schema(answer))
            }
        }
    }

    /// Checks a condition on an agent's answer.
    pub(crate) fn accept(&self, spot: Spot<'_>, that: &str, answer: &Type) {
        self.condition(spot, that, &self.around(answer.clone()));
    }

    /// What can be read before an agent has begun.
    pub(crate) fn before(&self) -> Types {
        let roots = ["intent", "steps", "run"].iter();
        roots
            .fold(Types::new(), |types, root| types.with(*root, Type::Any))
            .with("pack", self.pack.clone())
    }

    /// What an expression over a result may read.
    fn around(&self, result: Type) -> Types {
        self.before().with("result", result)
    }

    /// What a sensor may read.
    pub(crate) fn sensing(&self, result: Type) -> Types {
        self.around(result).with("args", Type::Any)
    }

    /// Checks an expression that must be true or false.
    pub(crate) fn condition(&self, spot: Spot<'_>, that: &str, types: &Types) {
        let parsed = Expr::parse(that).and_then(|expr| {
            let ty = expr.check(types)?;
            Ok((ty, expr.estimate(LIST_ASSUMED)))
        });
        match parsed {
            Ok((ty, cost)) => {
                self.check_cost(spot, cost);
                if !ty.fits(&Type::Bool) {
                    let message = format!("expected true or false, found {ty}");
                    self.context.wrong(spot, message, "write a condition, such as `… == …`");
                }
            }
            Err(error) => self.fault(spot, 0, &error, &BTreeSet::new()),
        }
    }

    pub(crate) fn schema(&self, (file, at): Spot<'_>, schema: &Value) {
        for (inner, message, fix) in check_schema(schema) {
            self.context.wrong((file, &format!("{at}{inner}")), message, fix);
        }
    }

    /// Checks JSON with expressions in it; its type.
    pub(crate) fn template(
        &self,
        (file, at): Spot<'_>,
        value: &Value,
        (types, all): (&Types, &BTreeSet<String>),
    ) -> Option<Type> {
        let parsed = Template::parse(value).and_then(|template| {
            let ty = template.check(types)?;
            Ok((ty, template.estimate(LIST_ASSUMED)))
        });
        match parsed {
            Ok((ty, cost)) => {
                self.check_cost((file, at), cost);
                Some(ty)
            }
            Err(error) => {
                let at = format!("{at}{}", error.pointer().unwrap_or_default());
                self.fault((file, &at), 0, &error, all);
                None
            }
        }
    }

    pub(crate) fn check_cost(&self, spot: Spot<'_>, cost: u64) {
        if cost > COST_MAX {
            let message = format!(
                "the expression may cost {cost} steps with lists of {LIST_ASSUMED}; at most {COST_MAX} are allowed"
            );
            self.context.wrong(spot, message, "nest fewer loops");
        }
    }

    /// An error of an expression, at its own column; a later step is told from an unknown one.
    pub(crate) fn fault(
        &self,
        spot: Spot<'_>,
        base: usize,
        error: &expr::Error,
        all: &BTreeSet<String>,
    ) {
        let offset = base + error.offset();
        let cause = match error {
            expr::Error::InTemplate { source, .. } => source,
            other => other,
        };
        let told = match cause {
            expr::Error::UnknownField { name, of, .. } if of == "steps" && all.contains(name) => (
                format!("step `{name}` is not visible here: it runs later, or inside another step"),
                "read a step that stands before this one, or move this one behind it".to_owned(),
            ),
            other => other.told(),
        };
        self.context.wrong_in(spot, offset, told);
    }

    /// Text that may hold expressions.
    pub(crate) fn text(&self, spot: Spot<'_>, text: &str, seen: (&Types, &BTreeSet<String>)) {
        let ty = self.template(spot, &Value::String(text.to_owned()), seen);
        if ty.is_some_and(|ty| !ty.fits(&Type::String)) {
            self.context.wrong(spot, "this must give text", "put words around the expression");
        }
    }

    /// Checks arguments against the input of an operation.
    pub(crate) fn args(
        &self,
        (file, at): Spot<'_>,
        with: &Value,
        seen: (&Types, &BTreeSet<String>),
        operation: &Operation,
    ) {
        let given = self.template((file, at), with, seen);
        let fit = given.map(|given| {
            self.check_fit((file, at), &given, &operation.input, operation.id.as_str())
        });
        if fit != Some(Fit::No) {
            self.check_literals((file, at), with, operation);
        }
    }

    pub(crate) fn check_fit(
        &self,
        (file, at): Spot<'_>,
        given: &Type,
        schema: &Value,
        whose: &str,
    ) -> Fit {
        let Some(misfit) = given.misfit(&Type::from_schema(schema)) else { return Fit::Yes };
        let place = format!("{at}{}", misfit.pointer);
        let message = format!("`{}` of `{whose}`: {}", misfit.pointer, misfit.message);
        self.context.wrong((file, &place), message, "see its input schema");
        Fit::No
    }

    /// Arguments without any expression are checked by the schema itself.
    fn check_literals(&self, (file, at): Spot<'_>, with: &Value, operation: &Operation) {
        let Some(map) = with.as_object() else { return };
        for (name, value) in map {
            let is_literal = Template::parse(value).is_ok_and(|template| template.is_constant());
            let schema =
                operation.input.get("properties").and_then(|properties| properties.get(name));
            let (true, Some(schema)) = (is_literal, schema) else { continue };
            let mut schema = schema.clone();
            if let (Some(map), Some(defs)) = (schema.as_object_mut(), operation.input.get("$defs"))
            {
                map.insert("$defs".to_owned(), defs.clone());
            }
            if let Some(violation) = violation_once(&schema, value) {
                let place = format!("{at}/{}{}", pointer::escape(name), violation.at);
                let message = format!("`{name}` of `{}` {}", operation.id, violation.problem);
                self.context.wrong((file, &place), message, "see its input schema");
            }
        }
    }

    /// Arguments of a companion: paths over the action it accompanies.
    pub(crate) fn check_companion_args(
        &self,
        spot: Spot<'_>,
        with: &Value,
        roots: &[(&str, &Value)],
        target: &Operation,
    ) {
        let types = roots.iter().fold(Types::new(), |types, (root, schema)| {
            types.with(*root, Type::from_schema(schema))
        });
        self.args(spot, with, (&types, &BTreeSet::new()), target);
    }
}

/// Whether arguments fit by their types.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    Yes,
    No,
}
