//! Reads `agents/*.yaml`: what a model is told, what it may use, and when it is done.

use std::{collections::BTreeSet, sync::Arc};

use kernel::{
    agent::{
        Acceptance, Circles, Guide, GuideScope, Limits, Noting, Results, TEXT_BYTES_MAX, TURNS_MAX,
    },
    id::OperationId,
    sensor::Sensor,
};

use crate::{
    agent_context::read_context,
    agent_extracts::read_extracts,
    agent_sensors::{read_acceptance, read_sensors},
    model::{Tool, WrittenAgent},
    problem::Place,
    read::{Fields, NAME_MAX, Reader},
    steps::read_expression,
    yaml::{Doc, Kind, Node},
};

const RESULTS: [(&str, Results); 3] =
    [("auto", Results::Auto), ("shown", Results::Shown), ("opaque", Results::Opaque)];

const NOTING: [(&str, Noting); 2] = [("never", Noting::Never), ("kept", Noting::Kept)];

pub(crate) fn read_agent(doc: &Doc, reader: Reader<'_>) -> WrittenAgent {
    let Some(mut fields) = reader.fields(&doc.root, "an agent") else {
        return WrittenAgent::default();
    };
    fields.get("schema");
    let (accept, mut sensors) = match fields.get("accept") {
        Some(node) => read_accept(node, reader),
        None => Default::default(),
    };
    sensors.extend(fields.get("sensors").map(|n| read_sensors(n, reader)).unwrap_or_default());
    let agent = WrittenAgent {
        name: fields.need_name("name"),
        title: fields.text("title"),
        role: fields.name("model").unwrap_or_else(|| "main".to_owned()),
        summary_role: fields.name("summarise_with"),
        instructions: read_long(&mut fields, "instructions"),
        input: fields.value("input").map(Arc::new),
        operations: read_tools(&mut fields, ("uses", "do")),
        playbooks: read_tools(&mut fields, ("playbooks", "playbook")),
        output: fields.value("output").map(Arc::new),
        context: fields.get("context").map(|n| read_context(n, reader)).unwrap_or_default(),
        accept,
        sensors,
        guides: fields.get("guides").map(|node| read_guides(node, reader)).unwrap_or_default(),
        skills: fields.texts("skills"),
        asks: fields.name("asks"),
        noting: fields.choice("notes", &NOTING).unwrap_or_default(),
        extracts: fields.get("extracts").map(|n| read_extracts(n, reader)).unwrap_or_default(),
        results: fields.choice("results", &RESULTS).unwrap_or_default(),
        limits: fields.get("limits").map(|node| read_limits(node, reader)).unwrap_or_default(),
    };
    fields.done();
    check_wire_names(&agent, doc, reader);
    agent
}

fn read_long(fields: &mut Fields<'_, '_>, name: &'static str) -> String {
    let place = fields.place;
    let text = fields.need_text(name);
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("`{name}` is longer than {TEXT_BYTES_MAX} bytes");
        fields.reader.wrong(place, message, "move what is not always needed into a skill");
    }
    text
}

/// A list of what may be called: names alone, or with another name and description.
fn read_tools(fields: &mut Fields<'_, '_>, (list, key): (&'static str, &'static str)) -> Vec<Tool> {
    let reader = fields.reader;
    let Some(node) = fields.get(list) else { return Vec::new() };
    let mut tools = Vec::new();
    for item in reader.list(node, list) {
        let (what, called, description) = match &item.kind {
            Kind::Map(_) => {
                let Some(mut fields) = reader.fields(item, "a tool") else { continue };
                let what = fields.need_text(key);
                let tool = (what, fields.name("as"), fields.text("description"));
                fields.done();
                tool
            }
            _ => match reader.text(item, list) {
                Some(what) => (what.to_owned(), None, None),
                None => continue,
            },
        };
        if key == "do" && what.parse::<OperationId>().is_err() {
            reader.wrong(item.place, "not an operation id", "write `connector.operation`");
            continue;
        }
        tools.push(Tool { what, called, description });
    }
    tools
}

/// Checks of the answer: conditions, and those that an operation makes.
fn read_accept(node: &Node, reader: Reader<'_>) -> (Vec<Acceptance>, Vec<Sensor>) {
    let (mut checks, mut made) = (Vec::new(), Vec::new());
    for (index, item) in reader.list(node, "accept").iter().enumerate() {
        let Some(mut fields) = reader.fields(item, "a check") else { continue };
        if fields.names().any(|name| name == "do") {
            made.extend(read_acceptance(&mut fields, index));
            fields.done();
            continue;
        }
        let that = fields.need("that").and_then(|node| read_expression(node, "that", reader));
        let say = fields.need_text("say");
        fields.done();
        checks.extend(that.map(|that| Acceptance { that, say }));
    }
    (checks, made)
}

fn read_guides(node: &Node, reader: Reader<'_>) -> Vec<Guide> {
    let mut guides = Vec::new();
    for item in reader.list(node, "guides") {
        let Some(mut fields) = reader.fields(item, "a guide") else { continue };
        let name = fields.need_text("name");
        let (task, files) = (fields.texts("task"), fields.texts("files"));
        let when = match (task.is_empty(), files.is_empty()) {
            (true, true) => GuideScope::Always,
            (false, true) => GuideScope::Task { any: task },
            (true, false) => GuideScope::Files { any: files },
            (false, false) => {
                let message = "a guide applies to tasks or to files, not to both";
                reader.wrong(item.place, message, "write two guides");
                GuideScope::Always
            }
        };
        let text = read_long(&mut fields, "text");
        fields.done();
        guides.push(Guide { name, when, text });
    }
    guides
}

fn read_limits(node: &Node, reader: Reader<'_>) -> Limits {
    let mut limits = Limits::default();
    let Some(mut fields) = reader.fields(node, "limits") else { return limits };
    let mut number = |name: &'static str, max: i64| {
        let node = fields.get(name)?;
        reader.integer(node, name, 1..=max)
    };
    let small =
        |given: Option<i64>, usual: u32| given.and_then(|n| u32::try_from(n).ok()).unwrap_or(usual);
    limits.turns_max = small(number("turns", i64::from(TURNS_MAX)), limits.turns_max);
    limits.calls_max = small(number("calls", 100_000), limits.calls_max);
    limits.repairs_max = small(number("repairs", 20), limits.repairs_max);
    limits.output_tokens_max = small(number("answer_tokens", 1_000_000), limits.output_tokens_max);
    limits.context_tokens_max =
        small(number("context_tokens", 100_000_000), limits.context_tokens_max);
    limits.result_bytes_max = small(number("result_bytes", 10_000_000), limits.result_bytes_max);
    let tokens = number("tokens", 1_000_000_000_000).and_then(|n| u64::try_from(n).ok());
    limits.tokens_max = tokens.unwrap_or(limits.tokens_max);
    let circles = [("stop", Circles::Stop), ("ignore", Circles::Ignore)];
    limits.circles = fields.choice("circles", &circles).unwrap_or_default();
    limits.wall_max_ms = fields.duration_ms("time").unwrap_or(limits.wall_max_ms);
    fields.done();
    limits
}

/// Tools that an agent has of its own.
fn own_names(agent: &WrittenAgent) -> Vec<&'static str> {
    let mut names = vec!["look", "load_skill", "ask_person"];
    names.extend((!agent.extracts.is_empty()).then_some("extract"));
    names.extend(agent.asks.is_some().then_some("endorse"));
    names.extend((agent.noting == Noting::Kept).then_some("note"));
    names
}

/// Providers take letters, digits, `_` and `-` only, and a name may stand once.
fn check_wire_names(agent: &WrittenAgent, doc: &Doc, reader: Reader<'_>) {
    let mut seen: BTreeSet<String> = own_names(agent).into_iter().map(str::to_owned).collect();
    let lists = [("uses", &agent.operations), ("playbooks", &agent.playbooks)];
    for (list, tools) in lists {
        for (index, tool) in tools.iter().enumerate() {
            let name = tool.wire_name();
            let place: Place = doc.place(&format!("/{list}/{index}"));
            if name.len() > NAME_MAX {
                let message = format!("`{name}` is longer than {NAME_MAX} characters");
                reader.wrong(place, message, "give it a shorter name with `as:`");
            }
            if !seen.insert(name.clone()) {
                let message = format!("two tools are called `{name}`");
                reader.wrong(place, message, "give one another name with `as:`");
            }
        }
    }
}
