//! `[providers]` and `[models]`: who answers when an agent thinks, in which order, on which terms.

use std::collections::BTreeMap;

use models::{Provider, Role};
use serde_json::{Map, Value};

use super::super::problem::Problem;

/// A provider and the secret that it is shown.
pub type Keyed = (Provider, Option<String>);

/// Reads `[providers]`: every field of [`Provider`] but its name, and `key`, the name of a secret.
///
/// # Errors
/// The provider and what is wrong with it.
pub(super) fn providers(
    file: &BTreeMap<String, Map<String, Value>>,
) -> Result<Vec<Keyed>, Problem> {
    let mut read = Vec::new();
    for (name, fields) in file {
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
        read.push((provider.map_err(|error| refuse(error.to_string()))?, key));
    }
    Ok(read)
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
