//! Reads `sensors:` of an agent, and those of its acceptance checks that an operation makes.

use kernel::{
    id::OperationId,
    sensor::{Fix, SENSORS_MAX, Sense, Sensor, Stage, Voice},
};

use crate::{
    read::{Fields, Reader},
    steps::{read_expression, read_with},
    yaml::{Kind, Node},
};

/// The role of the model that judges.
pub(crate) const JUDGE_ROLE: &str = "judge";

/// What `after:` says of the final answer.
const ANSWER: &str = "answer";

pub(crate) fn read_sensors(node: &Node, reader: Reader<'_>) -> Vec<Sensor> {
    let items = reader.list(node, "sensors");
    if items.len() > SENSORS_MAX {
        reader.wrong(node.place, format!("more than {SENSORS_MAX} sensors"), "leave some out");
    }
    let mut sensors: Vec<Sensor> = Vec::new();
    for item in items {
        let Some(mut fields) = reader.fields(item, "a sensor") else { continue };
        let name = fields.need_name("name");
        if sensors.iter().any(|other| other.name == name) {
            let message = format!("two sensors are called `{name}`");
            reader.wrong(item.place, message, "give one another name");
        }
        let stage = fields.need("after").map(|node| read_stage(node, reader));
        let sense = read_sense(&mut fields);
        let say = fields.text("say");
        let fix = fields.get("fix").and_then(|node| read_fix(node, reader));
        fields.done();
        if say.is_none() && matches!(sense, Some(Sense::That { .. })) {
            let message = "`say` is missing: nobody would know what to do";
            reader.wrong(item.place, message, "add `say:` with what the agent is told");
        }
        if let (Some(stage), Some(sense)) = (stage, sense) {
            let voice = Voice::Open;
            sensors.push(Sensor { name, stage, sense, say, fix, voice });
        }
    }
    sensors
}

fn read_stage(node: &Node, reader: Reader<'_>) -> Stage {
    let items = match &node.kind {
        Kind::Text(text) if text.value == ANSWER => return Stage::Answer,
        Kind::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let operations = items.iter().filter_map(|item| reader.parse::<OperationId>(item, "after"));
    Stage::Result { operations: operations.collect() }
}

/// How a sensor looks: exactly one way.
fn read_sense(fields: &mut Fields<'_, '_>) -> Option<Sense> {
    let reader = fields.reader;
    let that = fields.get("that").and_then(|node| read_expression(node, "that", reader));
    let operation = fields.get("do").and_then(|node| reader.parse::<OperationId>(node, "do"));
    let question = fields.text("judge");
    let has_with = fields.names().any(|name| name == "with");
    let with = read_with(fields);
    let sense = match (that, operation, question) {
        (Some(that), None, None) => Some(Sense::That { that }),
        (None, Some(operation), None) => Some(Sense::Do { operation, with }),
        (None, None, Some(question)) => {
            Some(Sense::Judge { question, role: JUDGE_ROLE.to_owned() })
        }
        _ => {
            let message = "a sensor looks in one way: `that`, `do` or `judge`";
            reader.wrong(fields.place, message, "keep one of the three");
            return None;
        }
    };
    if has_with && !matches!(sense, Some(Sense::Do { .. })) {
        reader.wrong(fields.place, "`with` belongs to `do`", "leave it out");
    }
    sense
}

fn read_fix(node: &Node, reader: Reader<'_>) -> Option<Fix> {
    let mut fields = reader.fields(node, "a fix")?;
    let operation = fields.need_parse::<OperationId>("do");
    let with = read_with(&mut fields);
    fields.done();
    Some(Fix { operation: operation?, with })
}

/// An acceptance check that an operation makes: a sensor that the agent never hears of.
pub(crate) fn read_acceptance(fields: &mut Fields<'_, '_>, number: usize) -> Option<Sensor> {
    let operation = fields.need_parse::<OperationId>("do");
    let with = read_with(fields);
    let say = fields.need_text("say");
    Some(Sensor {
        name: format!("accept-{number}"),
        stage: Stage::Answer,
        sense: Sense::Do { operation: operation?, with },
        say: Some(say),
        fix: None,
        voice: Voice::Sealed,
    })
}
