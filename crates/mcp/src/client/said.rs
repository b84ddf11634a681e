//! What servers say, in types of our own.

use rmcp::model;
use serde::Serialize;
use serde_json::{Value, json};

use super::Error;

/// Who a server says that it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerIs {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The revision of the protocol that is spoken.
    pub revision: String,
    /// What it would have a model read about it.
    pub instructions: Option<String>,
    /// Whether it has tools, resources, prompts.
    pub offers: Vec<&'static str>,
}

impl ServerIs {
    pub(super) fn of(info: &model::ServerPeerInfo) -> Self {
        let own = info.server_info.as_ref();
        let has = &info.capabilities;
        let offers = [
            ("tools", has.tools.is_some()),
            ("resources", has.resources.is_some()),
            ("prompts", has.prompts.is_some()),
        ];
        Self {
            name: own.map(|own| own.name.clone()).unwrap_or_default(),
            version: own.map(|own| own.version.clone()).unwrap_or_default(),
            revision: info.protocol_version.to_string(),
            instructions: info.instructions.clone(),
            offers: offers.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect(),
        }
    }
}

/// A tool, as its server describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub title: Option<String>,
    /// What it does.
    pub description: Option<String>,
    /// JSON Schema of its arguments.
    pub input: Value,
    /// JSON Schema of its structured result.
    pub output: Option<Value>,
    /// What the server claims about it: hints, nothing to rely on.
    pub hints: Option<Value>,
}

impl Tool {
    pub(super) fn of(tool: model::Tool) -> Self {
        let hints = tool.annotations.as_ref().and_then(|one| serde_json::to_value(one).ok());
        Self {
            name: tool.name.into_owned(),
            title: tool.title,
            description: tool.description.map(std::borrow::Cow::into_owned),
            input: Value::Object((*tool.input_schema).clone()),
            output: tool.output_schema.map(|schema| Value::Object((*schema).clone())),
            hints,
        }
    }

    /// Everything that somebody read who accepted this tool, in one value: what is pinned.
    #[must_use]
    pub fn definition(&self) -> Value {
        json!({
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": self.input,
            "outputSchema": self.output,
            "annotations": self.hints,
        })
    }

    /// Whether the server claims that it only reads.
    #[must_use]
    pub fn claims_to_read(&self) -> bool {
        self.hints.as_ref().is_some_and(|hints| hints["readOnlyHint"] == true)
    }
}

/// What a tool gave back.
#[derive(Clone, Debug, PartialEq)]
pub struct CallResult {
    /// Text, images and other blocks, as they came.
    pub content: Vec<Value>,
    /// The result as a value; none where the tool gave none.
    pub structured: Option<Value>,
    /// Whether the tool says that it failed.
    pub is_error: bool,
    /// What the server asked of us meanwhile, and was refused.
    pub declined: Vec<String>,
    /// All of it, as it came: for whoever passes it on.
    pub whole: Value,
}

impl CallResult {
    pub(super) fn of(mut result: model::CallToolResult, declined: Vec<String>) -> Self {
        // What tells a finished result from a question belongs to one generation of the protocol.
        result.result_type = None;
        Self {
            whole: plain(&result).unwrap_or_default(),
            content: result.content.iter().filter_map(|one| plain(one).ok()).collect(),
            structured: result.structured_content,
            is_error: result.is_error == Some(true),
            declined,
        }
    }

    /// Its text blocks, one below the other.
    #[must_use]
    pub fn text(&self) -> String {
        let texts = self.content.iter().filter_map(|block| block["text"].as_str());
        texts.collect::<Vec<_>>().join("\n")
    }
}

/// A resource that can be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resource {
    /// Its address.
    pub uri: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub description: Option<String>,
    /// Its media type.
    pub media: Option<String>,
    /// All of it, as it came: for whoever passes it on.
    #[serde(skip)]
    pub whole: Value,
}

impl Resource {
    pub(super) fn of(one: model::Resource) -> Self {
        let whole = plain(&one).unwrap_or_default();
        let (uri, name) = (one.uri, one.name);
        Self { uri, name, description: one.description, media: one.mime_type, whole }
    }
}

/// A template of addresses of resources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Template {
    /// The template, after RFC 6570.
    pub uri: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub description: Option<String>,
    /// Media type of what it leads to.
    pub media: Option<String>,
    /// All of it, as it came: for whoever passes it on.
    #[serde(skip)]
    pub whole: Value,
}

impl Template {
    pub(super) fn of(one: model::ResourceTemplate) -> Self {
        let whole = plain(&one).unwrap_or_default();
        let (uri, name) = (one.uri_template, one.name);
        Self { uri, name, description: one.description, media: one.mime_type, whole }
    }
}

/// A prompt that a server offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Prompt {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Names of its places, and whether each has to be filled.
    pub arguments: Vec<(String, bool)>,
    /// All of it, as it came: for whoever passes it on.
    #[serde(skip)]
    pub whole: Value,
}

impl Prompt {
    pub(super) fn of(one: model::Prompt) -> Self {
        let whole = plain(&one).unwrap_or_default();
        let places = one.arguments.unwrap_or_default();
        let arguments = places.into_iter().map(|place| (place.name, place.required == Some(true)));
        let (name, description) = (one.name, one.description);
        Self { name, description, arguments: arguments.collect(), whole }
    }
}

/// What a resource holds.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadResult {
    /// Its parts, as they came.
    pub contents: Vec<Value>,
    /// All of it, as it came: for whoever passes it on.
    pub whole: Value,
}

impl ReadResult {
    pub(super) fn of(mut read: model::ReadResourceResult) -> Result<Self, Error> {
        read.result_type = None;
        let contents = read.contents.iter().map(plain).collect::<Result<_, _>>()?;
        Ok(Self { contents, whole: plain(&read)? })
    }
}

/// A prompt with its places filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptResult {
    /// What it is for.
    pub description: Option<String>,
    /// Its messages, as they came.
    pub messages: Vec<Value>,
    /// All of it, as it came: for whoever passes it on.
    pub whole: Value,
}

impl PromptResult {
    pub(super) fn of(mut got: model::GetPromptResult) -> Result<Self, Error> {
        got.result_type = None;
        let messages = got.messages.iter().map(plain).collect::<Result<_, _>>()?;
        let whole = plain(&got)?;
        Ok(Self { description: got.description, messages, whole })
    }
}

/// As JSON.
pub(super) fn plain(one: &impl Serialize) -> Result<Value, Error> {
    serde_json::to_value(one).map_err(|error| Error::NoAnswer(error.to_string()))
}

/// How much of a list's bytes an entry takes.
pub(super) trait Measured {
    /// In bytes, as JSON.
    fn size(&self) -> usize;
}

fn written(one: &impl Serialize) -> usize {
    serde_json::to_string(one).map_or(usize::MAX, |text| text.len())
}

impl Measured for Tool {
    fn size(&self) -> usize {
        written(&self.definition())
    }
}

impl Measured for Resource {
    fn size(&self) -> usize {
        written(&self.whole)
    }
}

impl Measured for Template {
    fn size(&self) -> usize {
        written(&self.whole)
    }
}

impl Measured for Prompt {
    fn size(&self) -> usize {
        written(&self.whole)
    }
}
