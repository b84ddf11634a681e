//! What an agent says about itself.

use std::collections::HashMap;

use serde_json::Value;

/// What a message and an output can be made of.
const MODES: [&str; 2] = ["application/json", "text/plain"];

/// Who an agent is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Its version.
    pub version: String,
    /// Where it is spoken to.
    pub url: String,
}

/// Something that can be asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Skill {
    /// What a message names it by.
    pub id: String,
    /// What people read.
    pub title: String,
    /// What a model reads.
    pub description: String,
    /// Words it is found by.
    pub tags: Vec<String>,
    /// JSON Schema of its arguments.
    pub input: Value,
}

/// The card that everybody may read, or with its skills the one for a caller who is known.
pub(super) fn card(about: &About, skills: Option<&[Skill]>) -> lf::AgentCard {
    let interface = |binding: &str| lf::AgentInterface::new(about.url.clone(), binding);
    let modes = || MODES.map(str::to_owned).to_vec();
    let bearer = lf::SecurityScheme::HttpAuth(lf::HttpAuthSecurityScheme {
        scheme: "Bearer".to_owned(),
        description: Some("A token of the harness; it says who calls.".to_owned()),
        bearer_format: None,
    });
    let told = skills.unwrap_or_default();
    let params = skills.map(|skills| {
        let inputs: serde_json::Map<String, Value> =
            skills.iter().map(|skill| (skill.id.clone(), skill.input.clone())).collect();
        HashMap::from([("inputs".to_owned(), Value::Object(inputs))])
    });
    let extension = lf::AgentExtension {
        uri: crate::SKILLS.to_owned(),
        description: Some(
            "A message names a skill by `skill` in its metadata, and says its arguments in one data part; `inputs` of the \
             extended card has their schemas."
                .to_owned(),
        ),
        required: Some(false),
        params,
    };
    lf::AgentCard {
        name: about.name.clone(),
        description: about.description.clone(),
        version: about.version.clone(),
        supported_interfaces: vec![
            interface(lf::TRANSPORT_PROTOCOL_JSONRPC),
            interface(lf::TRANSPORT_PROTOCOL_HTTP_JSON),
        ],
        capabilities: lf::AgentCapabilities {
            streaming: Some(true),
            push_notifications: Some(false),
            extensions: Some(vec![extension]),
            extended_agent_card: Some(true),
        },
        default_input_modes: modes(),
        default_output_modes: modes(),
        skills: told.iter().map(skill).collect(),
        provider: None,
        documentation_url: None,
        icon_url: None,
        security_schemes: Some(HashMap::from([("bearer".to_owned(), bearer)])),
        security_requirements: Some(vec![HashMap::from([("bearer".to_owned(), Vec::new())])]),
        signatures: None,
    }
}

fn skill(skill: &Skill) -> lf::AgentSkill {
    lf::AgentSkill {
        id: skill.id.clone(),
        name: skill.title.clone(),
        description: skill.description.clone(),
        tags: skill.tags.clone(),
        examples: None,
        input_modes: None,
        output_modes: None,
        security_requirements: None,
    }
}
