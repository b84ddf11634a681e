//! The operator's models: providers with their keys, roles, and the door that model calls leave by.

use std::{path::Path, sync::Arc};

use connect::Connectors;
use kernel::{
    conversation::{Reply, Thread},
    gate::Permit,
    kept::KEPT_READ,
    operation::Operation,
    port::{Blobs, Connector, Failure, Outcome, Task},
};
use models::{
    Ask, Client, Contents, Embedded, Files, Http, Key, Model, Models, Progress, Provider,
    ScriptedModel, Terms,
};
use secrets::{Safe, Use};

use super::{
    config::{Answering, Config},
    kept,
    problem::Problem,
    speech::Speech,
};

/// Longest key, in bytes.
const KEY_BYTES_MAX: u64 = 16 * 1024;

/// Longest script, in bytes.
const SCRIPT_BYTES_MAX: u64 = 1 << 20;

/// The operation of every role, for catalogues: needs neither keys nor connections.
///
/// # Errors
/// What is wrong with `[providers]` and `[models]`.
pub fn operations(config: &Config) -> Result<Vec<Operation>, Problem> {
    let mut builder = Models::builder();
    for answering in &config.providers {
        let (name, terms) = match answering {
            Answering::Provider(provider, _) => (&provider.name, Terms::from(&**provider)),
            Answering::Script { name, .. } => (name, Terms::own()),
        };
        builder = builder.model(Arc::new(Unasked(name.clone())), terms);
    }
    for (name, role) in &config.roles {
        builder = builder.role(name, role.clone());
    }
    Ok(builder.build().map_err(invalid)?.operations())
}

/// Opens every provider that is configured. Nothing is sent.
///
/// # Errors
/// What is wrong with a provider, a role or a key, by name.
pub fn open(
    config: &Config,
    safe: &Safe,
    (progress, files): (Arc<dyn Progress>, Arc<dyn Files>),
) -> Result<Models, Problem> {
    let http = Http::default();
    let mut builder = Models::builder().progress(progress).files(files);
    for answering in &config.providers {
        builder = match answering {
            Answering::Provider(provider, secret) => {
                let key = match secret {
                    Some(name) => key((config, safe), provider, name)?,
                    None => Key::none(),
                };
                let provider = Provider::clone(provider);
                builder.client(Client::new(provider, key, &http).map_err(invalid)?)
            }
            Answering::Script { name, file } => {
                builder.model(Arc::new(script(name, file)?), Terms::own())
            }
        };
    }
    for (name, role) in &config.roles {
        builder = builder.role(name, role.clone());
    }
    builder.build().map_err(invalid)
}

/// A model that answers as a file says.
fn script(name: &str, file: &Path) -> Result<ScriptedModel, Problem> {
    let shown = file.display().to_string();
    let refuse = |what: String| {
        Problem::usage("script-invalid", format!("provider `{name}`: {what}"))
            .next("a list of `says: TEXT` and `calls: [{tool, with}]`, one item for each turn")
    };
    let text = read_small(file, SCRIPT_BYTES_MAX).map_err(refuse)?;
    let script = pack::yaml_value(&shown, text.as_bytes()).map_err(|p| refuse(p.to_string()))?;
    ScriptedModel::written(name, script).map_err(|error| refuse(format!("{shown}: {error}")))
}

fn invalid(error: models::Error) -> Problem {
    Problem::usage("models-invalid", error.to_string())
        .next("correct [providers] and [models] in harness.toml")
}

/// The key that a provider names, from where `[secrets]` says it is.
fn key((config, safe): (&Config, &Safe), provider: &Provider, name: &str) -> Result<Key, Problem> {
    let refuse = |what: String| {
        Problem::usage("model-key", format!("provider `{}`: {what}", provider.name)).next(format!(
            "give `{name}` a place under [secrets]: `secret:NAME`, `env:NAME` or `file:PATH`"
        ))
    };
    let reference = config.secrets.get(name);
    let reference = reference.ok_or_else(|| refuse(format!("there is no secret `{name}`")))?;
    let text = match reference.split_once(':') {
        Some(("env", variable)) => std::env::var(variable)
            .map_err(|_| refuse(format!("the environment variable {variable} is not set")))?,
        Some(("file", path)) => read_small(Path::new(path), KEY_BYTES_MAX).map_err(refuse)?,
        Some(("secret", kept)) => {
            let grantee = format!("provider:{}", provider.name);
            let url = reqwest::Url::parse(&provider.url).ok();
            let host = url.as_ref().and_then(reqwest::Url::host_str);
            let port = url.as_ref().and_then(reqwest::Url::port_or_known_default);
            let asked = Use { host, port, ..Use::by(&grantee) };
            let book = safe.read().map_err(|error| refuse(error.to_string()))?;
            let value = book.value(kept, &asked).map_err(|error| refuse(error.to_string()))?;
            value.expose().to_owned()
        }
        _ => return Err(refuse(format!("`{name}` says none of `secret:`, `env:` and `file:`"))),
    };
    let text = text.trim();
    if text.is_empty() {
        return Err(refuse(format!("the secret `{name}` is empty")));
    }
    Ok(Key::new(text.to_owned()))
}

fn read_small(path: &Path, bytes_max: u64) -> Result<String, String> {
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    if std::fs::metadata(path).map_err(told)?.len() > bytes_max {
        return Err(format!("{} is larger than {bytes_max} bytes", path.display()));
    }
    std::fs::read_to_string(path).map_err(told)
}

/// Everything that calls leave by: models for model calls, connectors for all others.
#[derive(Debug)]
pub struct Doors {
    /// Models.
    pub models: Arc<Models>,
    /// Connectors.
    pub connectors: Arc<Connectors>,
    /// Who is told what models say.
    pub speech: Arc<Speech>,
    /// Where large results lie.
    pub blobs: Arc<dyn Blobs>,
}

impl Doors {
    /// Asks a model. What it says is from outside as much as what a tool answers: no live secret and no key stays in
    /// it, and none in what went wrong.
    async fn ask(&self, permit: Permit) -> Outcome {
        let speaker = (permit.tenant().clone(), permit.run().clone());
        let outcome = self.models.call(permit).await;
        self.speech.end(&speaker);
        let redactor = self.connectors.redactor();
        match outcome {
            Ok(mut returned) => {
                redactor.scrub_value(Arc::make_mut(&mut returned.output));
                Ok(returned)
            }
            Err(failure) => {
                let message = redactor.scrub_text(&failure.message);
                Err(Failure { message, ..failure })
            }
        }
    }
}

impl Connector for Doors {
    fn call(&self, permit: Permit) -> Task<'_, Outcome> {
        if permit.operation().is_model_call() {
            Box::pin(self.ask(permit))
        } else if permit.operation().id.as_str() == KEPT_READ {
            Box::pin(async move { kept::read(&*self.blobs, &self.connectors, &permit).await })
        } else {
            self.connectors.call(permit)
        }
    }
}

/// A provider that is only listed: whoever asks it has no key.
#[derive(Debug)]
struct Unasked(String);

impl Model for Unasked {
    fn name(&self) -> &str {
        &self.0
    }

    fn ask(&self, _: Ask) -> Task<'_, Result<Reply, models::Error>> {
        Box::pin(async { Err(listed()) })
    }

    fn embed<'a>(
        &'a self,
        _: &'a [String],
        _: &'a Ask,
    ) -> Task<'a, Result<Embedded, models::Error>> {
        Box::pin(async { Err(listed()) })
    }

    fn request_bytes(&self, _: &Arc<Thread>, _: &Contents) -> Result<Vec<u8>, models::Error> {
        Err(listed())
    }
}

fn listed() -> models::Error {
    models::Error::Config("this provider is only listed here".to_owned())
}
