//! `[providers]` and `[models]`: who answers when an agent thinks, in which order, on which terms.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use models::{Provider, Role, SCRIPTED_WIRE};
use serde_json::{Map, Value};

use super::super::problem::Problem;

/// Who answers when an agent thinks.
#[derive(Clone, Debug)]
pub enum Answering {
    /// A provider on a wire, and the secret that it is shown.
    Provider(Box<Provider>, Option<String>),
    /// A file that says what is answered: nothing leaves the process.
    Script {
        /// What it is called in roles.
        name: String,
        /// The file.
        file: PathBuf,
    },
}

/// Reads `[providers]`: every field of [`Provider`] but its name, and `key`, the name of a secret; or
/// `api = "scripted"` with `script`, a file beside the configuration.
///
/// # Errors
/// The provider and what is wrong with it.
pub(super) fn providers(
    file: &BTreeMap<String, Map<String, Value>>,
    base: &Path,
) -> Result<Vec<Answering>, Problem> {
    let mut read = Vec::new();
    for (name, fields) in file {
        if fields.get("api").and_then(Value::as_str) == Some(SCRIPTED_WIRE) {
            let file = base.join(script(name, fields)?);
            read.push(Answering::Script { name: name.clone(), file });
            continue;
        }
        let refuse = |detail: String| {
            Problem::usage("config-invalid", format!("providers.{name}: {detail}"))
                .next("`api`, `url` and `model` are needed; see docs/agents.md")
        };
        let mut fields = fields.clone();
        let key = match fields.remove("key") {
            None => None,
            Some(Value::String(secret)) => Some(secret),
            Some(_) => return Err(refuse("`key` is the name of an entry of [secrets]".to_owned())),
        };
        if fields.insert("name".to_owned(), Value::String(name.clone())).is_some() {
            return Err(refuse("its name is that of its table; leave `name` out".to_owned()));
        }
        let provider = serde_json::from_value::<Provider>(Value::Object(fields));
        let provider = provider.map_err(|error| refuse(error.to_string()))?;
        read.push(Answering::Provider(Box::new(provider), key));
    }
    Ok(read)
}

/// The file of a script.
fn script<'a>(name: &str, fields: &'a Map<String, Value>) -> Result<&'a str, Problem> {
    let refuse = |detail: String| {
        Problem::usage("config-invalid", format!("providers.{name}: {detail}"))
            .next("write `api = \"scripted\"` and `script = \"FILE\"`; see docs/agents.md")
    };
    if let Some(other) = fields.keys().find(|field| !["api", "script"].contains(&field.as_str())) {
        return Err(refuse(format!("a script has no `{other}`")));
    }
    let file = fields.get("script").and_then(Value::as_str);
    file.ok_or_else(|| refuse("`script` is the file that says what is answered".to_owned()))
}

/// Reads `[models]`.
///
/// # Errors
/// The role and what is wrong with it.
pub(super) fn roles(
    file: &BTreeMap<String, Map<String, Value>>,
) -> Result<BTreeMap<String, Role>, Problem> {
    let read = file.iter().map(|(name, fields)| {
        let role = serde_json::from_value::<Role>(Value::Object(fields.clone()));
        let role = role.map_err(|error| {
            Problem::usage("config-invalid", format!("models.{name}: {error}"))
                .next("write `providers = [\"…\"]`, names of [providers]; see docs/agents.md")
        })?;
        Ok((name.clone(), role))
    });
    read.collect()
}
