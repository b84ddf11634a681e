//! Checks one operation against itself and its companions.

use kernel::{
    operation::{Companion, Critical, Effect, Operation},
    pointer, summary,
};
use serde_json::{Value, json};

use crate::{
    binding::{check_binding, properties},
    check::Context,
    checker::Checker,
    problem::{Problem, did_you_mean},
    schema::{check_object_schema, check_schema, leads_somewhere},
};

pub(crate) fn check_connectors(context: Context<'_>) {
    let checker = Checker::new(context);
    for (file, connector) in &context.draft.connectors {
        for operation in &connector.operations {
            let name = operation.id.as_str().split_once('.').map_or("", |(_, name)| name);
            let at = format!("/operations/{}", pointer::escape(name));
            let one = One { context, file, at, operation };
            if one.schemas_fit() {
                one.check_pointers();
                one.check_binding();
                one.check_companions(&checker);
            }
        }
    }
}

struct One<'d> {
    context: Context<'d>,
    file: &'d str,
    at: String,
    operation: &'d Operation,
}

impl One<'_> {
    fn wrong(&self, at: &str, message: impl Into<String>, fix: impl Into<String>) {
        self.context.wrong((self.file, &format!("{}{at}", self.at)), message, fix);
    }

    fn schemas_fit(&self) -> bool {
        let input = check_object_schema(&self.operation.input);
        let output = check_schema(&self.operation.output);
        let fits = input.is_empty() && output.is_empty();
        for (key, faults) in [("input", input), ("output", output)] {
            for (at, message, fix) in faults {
                self.wrong(&format!("/{key}{at}"), message, fix);
            }
        }
        if self.operation.input.get("additionalProperties").is_none() {
            let place = self.context.place(self.file, &format!("{}/input", self.at));
            let message = format!("`{}` accepts arguments that nobody declared", self.operation.id);
            let fix = "add `additionalProperties: false`";
            self.context.warnings.add(Problem::new(self.file, place, message, fix));
        }
        fits
    }

    fn check_lead(&self, at: &str, path: &str, schema: &Value, what: &str) {
        if !leads_somewhere(schema, path) {
            let fix = did_you_mean(path.split('/').nth(1).unwrap_or_default(), properties(schema));
            self.wrong(at, format!("`{path}` leads nowhere in the {what}"), fix);
        }
    }

    fn check_pointers(&self) {
        let operation = self.operation;
        let input = |at: &str, path: &str| self.check_lead(at, path, &operation.input, "input");
        let output = |at: &str, path: &str| self.check_lead(at, path, &operation.output, "output");
        match summary::parse(&operation.summary) {
            Err(bad) => self.wrong("/summary", bad.message, bad.fix),
            Ok(parts) => {
                summary::pointers(&parts).into_iter().for_each(|place| input("/summary", place));
            }
        }
        if let Critical::At(pointers) = &operation.facts.critical {
            for (index, path) in pointers.iter().enumerate() {
                input(&format!("/critical/{index}"), path);
            }
        }
        if let Some(resource) = &operation.resource {
            input("/resource/id", &resource.id);
        }
        for (index, path) in operation.maskable.iter().enumerate() {
            output(&format!("/fields/{index}"), path);
        }
        for path in operation.labels.parts.keys() {
            output(&format!("/labels/parts/{}", pointer::escape(path)), path);
        }
        let contract = &operation.contract;
        if let Some(rule) = &contract.freshness {
            output("/freshness/at", &rule.at);
        }
        if let Some(path) = &contract.unique {
            output("/unique", path);
        }
        if let Some(rule) = &contract.matches {
            output("/match/output", &rule.output);
            input("/match/expected", &rule.expected);
        }
    }

    fn check_binding(&self) {
        let binding = &self.operation.binding;
        check_binding(binding, &self.operation.input, &mut |at, message, fix| {
            self.wrong(&format!("/request{at}"), message, fix);
        });
        let captured = binding.get("capture").and_then(Value::as_object);
        for name in captured.into_iter().flat_map(serde_json::Map::keys) {
            let path = format!("/{}", pointer::escape(name));
            self.check_lead(
                &format!("/request/capture{path}"),
                &path,
                &self.operation.output,
                "output",
            );
        }
        let is_get = binding.get("method").and_then(Value::as_str) == Some("GET");
        for key in ["body", "form", "multipart"]
            .into_iter()
            .filter(|key| is_get && binding.get(*key).is_some())
        {
            let at = format!("/request/{key}");
            self.wrong(&at, "a GET has no body", "use `query`, or another method");
        }
        if self.operation.is_write()
            && binding.get("absent_ok").and_then(Value::as_bool) == Some(true)
        {
            self.wrong(
                "/request/absent_ok",
                "only a read may find nothing",
                "leave `absent_ok` out",
            );
        }
        let is_verdict = binding.get("kind").and_then(Value::as_str) == Some("process")
            && binding.get("answer").and_then(Value::as_str) == Some("verdict");
        if is_verdict && self.operation.is_write() {
            let message = "only a read judges: how a write went is not what it found";
            self.wrong("/request/answer", message, "say `effect: read`, or leave `answer` out");
        }
    }

    fn check_companions(&self, checker: &Checker<'_>) {
        let companions = &self.operation.companions;
        let before = companions.before.as_ref();
        let reads = [
            ("probe", companions.probe.as_ref().map(|probe| &probe.call)),
            ("before", before),
            ("preview", companions.preview.as_ref()),
        ];
        for (key, call) in reads {
            if let Some(call) = call {
                self.check_call(checker, key, call);
            }
        }
        if let Some(call) = &companions.undo_with {
            self.check_call(checker, "undo_with", call);
        }
        if let Some(probe) = &companions.probe
            && let Some(target) = self.context.draft.operations.get(&probe.call.operation)
        {
            self.check_lead("/probe/happened", &probe.happened, &target.output, "probe's output");
        }
    }

    fn check_call(&self, checker: &Checker<'_>, key: &str, call: &Companion) {
        let at = format!("{}/{key}", self.at);
        check_companion(checker, (self.file, &at), (self.operation, key), call);
    }
}

/// Checks one companion call of an operation: what it names, its arguments, its image.
pub(crate) fn check_companion(
    checker: &Checker<'_>,
    (file, at): (&str, &str),
    (operation, key): (&Operation, &str),
    call: &Companion,
) {
    let context = checker.context;
    let Some(target) = context.operation(&call.operation, (file, &format!("{at}/use"))) else {
        return;
    };
    let wanted = if matches!(key, "undo_with" | "undo") { Effect::Write } else { Effect::Read };
    if target.facts.effect != wanted {
        let (is, must) =
            if wanted == Effect::Read { ("a write", "a read") } else { ("a read", "a write") };
        let message = format!("`{}` is {is}; `{key}` needs {must}", call.operation);
        context.wrong((file, &format!("{at}/use")), message, format!("name {must}"));
    }
    for (index, path) in call.image.iter().enumerate() {
        if !leads_somewhere(&target.output, path) {
            let fix = did_you_mean(
                path.split('/').nth(1).unwrap_or_default(),
                properties(&target.output),
            );
            let message = format!("`{path}` leads nowhere in the output of `{}`", call.operation);
            context.wrong((file, &format!("{at}/image/{index}")), message, fix);
        }
    }
    let before = operation
        .companions
        .before
        .as_ref()
        .and_then(|b| context.draft.operations.get(&b.operation));
    let none = json!(false);
    let image = before.map_or(&none, |before| &*before.output);
    let mut roots = vec![("args", &*operation.input)];
    let text = json!({"type": "string"});
    match key {
        "undo_with" | "undo" => {
            roots.push(("output", &operation.output));
            roots.push(("key", &text));
            if before.is_some() {
                roots.extend([("before", image), ("after", image)]);
            }
        }
        "probe" => roots.push(("key", &text)),
        _ => {}
    }
    let value = context.draft.docs.get(file).and_then(|doc| doc.node(&format!("{at}/with")));
    let value = value.map_or_else(|| json!({}), crate::yaml::Node::to_value);
    checker.check_companion_args((file, &format!("{at}/with")), &value, &roots, target);
}
