//! `connector import a2a`: a connector from the card of an agent that somebody else runs. Its card is read, and nothing is
//! asked of it; where it lies is fetched once, without following anything.

use std::{collections::BTreeSet, fs::File, io::Read as _, path::PathBuf, time::Duration};

use a2a::client::{self, Card, CardSkill};
use mcp::client::{Tool, suspect};
use openapi::{
    name::{name_of, take_free},
    write::{self, Node},
};
use reqwest::{Client, Url, redirect::Policy};
use serde_json::{Value, json};

use super::{ConnectorDraft, DraftDecision, DraftLeftOut, Drafted, check_name, write as write_all};
use crate::app::{problem::Problem, servers};

/// Largest card that is read, in bytes.
const CARD_BYTES_MAX: usize = 1024 * 1024;

/// How long an agent may take to give its card.
const CARD_WITHIN: Duration = Duration::from_secs(20);

/// Longest summary, in characters.
const SUMMARY_MAX_CHARS: usize = 100;

/// What is said of every skill, whatever the card claims.
const WRITES: &str = "taken to do what nobody can take back: say `effect: read` where it only looks; \
     `landed_on_error: no` where its own word that it failed means that nothing happened; `on_input_required: wait` where a \
     person on its side may be waited for; `timeout_ms` for how long";

/// What is imported.
#[derive(Clone, Debug)]
pub struct WantedAgent {
    /// An address, or the file of a card.
    pub agent: String,
    /// Name of the connector and of its system.
    pub name: String,
    /// A file with a token, for what the card says to whoever is known.
    pub token: Option<PathBuf>,
    /// The folder for the file.
    pub folder: PathBuf,
}

/// Drafts a connector from a card, and writes it; a file that is there is left as it is.
///
/// # Errors
/// A card that cannot be had or is none, a name that is none, a file that is there.
pub async fn a2a(wanted: &WantedAgent) -> Result<ConnectorDraft, Problem> {
    check_name(&wanted.name)?;
    let refuse = |detail: String| Problem::usage("not-a-card", detail).at(wanted.agent.clone());
    let address =
        Url::parse(&wanted.agent).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let card = match &address {
        Some(url) => fetched(url, wanted).await?,
        None => client::read_card(&read_file(&wanted.agent)?).map_err(|error| {
            refuse(error.to_string()).next("give an agent's address, or a file with its card")
        })?,
    };
    let spoken = Url::parse(&card.url)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| refuse("the card names no address that can be used".to_owned()))?;
    let mut draft = Draft::of(&card, &wanted.name);
    if address.as_ref().is_some_and(|from| from.origin() != spoken.origin()) {
        let text = format!(
            "suspicious: the card lies elsewhere than the address it names, {}; ask whoever runs the agent",
            suspect::shown(&card.url)
        );
        draft.decide(&text, &wanted.name);
    }
    let text = draft.file(&card, &wanted.name);
    let operations = draft.entries.iter().map(|(name, _)| name.clone()).collect();
    let file = Drafted { name: wanted.name.clone(), text, operations };
    let files = write_all(&[file], &wanted.folder)?;
    Ok(ConnectorDraft {
        title: suspect::shown(&card.name),
        servers: vec![card.url.clone()],
        files,
        decisions: draft.decisions,
        left_out: draft.left_out,
        system: Some(declared(&card, &wanted.name)),
    })
}

/// The card of an address, and with a token what it says to whoever is known.
async fn fetched(address: &Url, wanted: &WantedAgent) -> Result<Card, Problem> {
    let refuse = |detail: String| {
        Problem::usage("no-card", detail).at(wanted.agent.clone()).next(
            "give the address of an agent, below which its card lies, or a file with the card",
        )
    };
    let client = Client::builder().redirect(Policy::none()).no_proxy().timeout(CARD_WITHIN).build();
    let client = client.map_err(|error| refuse(error.to_string()))?;
    let mut lies = address.clone();
    if !lies.path().ends_with(".json") {
        lies.set_path(a2a::CARD_PATH);
        lies.set_query(None);
    }
    let ask = client.get(lies).header(a2a::VERSION_HEADER, a2a::VERSION);
    let bytes = body(ask).await.map_err(refuse)?;
    let card = client::read_card(&bytes).map_err(|error| refuse(error.to_string()))?;
    let Some(token) = &wanted.token else { return Ok(card) };
    // A token goes to the host that was named, and to no other that a card leads to.
    let spoken = Url::parse(&card.url).map_err(|error| refuse(error.to_string()))?;
    if spoken.origin() != address.origin() {
        let detail = "the card leads to another host; the token was not sent there".to_owned();
        return Err(refuse(detail));
    }
    let token = read_file(&token.display().to_string())?;
    let token = String::from_utf8_lossy(&token).trim().to_owned();
    let asked = client::ask_card().map_err(|error| refuse(error.to_string()))?;
    let ask = client
        .post(spoken)
        .header(a2a::VERSION_HEADER, a2a::VERSION)
        .header("content-type", "application/json")
        .bearer_auth(token)
        .body(asked);
    let bytes = body(ask).await.map_err(refuse)?;
    let extended = client::read_extended(&bytes).map_err(|error| refuse(error.to_string()))?;
    // Where it is spoken to was said before anybody was known.
    Ok(Card { url: card.url, ..extended })
}

async fn body(ask: reqwest::RequestBuilder) -> Result<Vec<u8>, String> {
    let mut response = ask.send().await.map_err(|error| error.without_url().to_string())?;
    if !response.status().is_success() {
        return Err(format!("it answered {}", response.status().as_u16()));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) =
        response.chunk().await.map_err(|error| error.without_url().to_string())?
    {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > CARD_BYTES_MAX {
            return Err(format!("its card is larger than {CARD_BYTES_MAX} bytes"));
        }
    }
    Ok(bytes)
}

fn read_file(path: &str) -> Result<Vec<u8>, Problem> {
    let refuse = |detail: String| {
        Problem::usage("document-unreadable", detail)
            .at(path.to_owned())
            .next("give the path of a file, or an address that begins with http:// or https://")
    };
    let mut bytes = Vec::new();
    let most = CARD_BYTES_MAX as u64 + 1;
    let read = File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    read.map_err(|error| refuse(format!("it cannot be read: {error}")))?;
    if bytes.len() > CARD_BYTES_MAX {
        return Err(refuse(format!("it is larger than {CARD_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// A connector on its way.
struct Draft {
    entries: Vec<(String, Node)>,
    decisions: Vec<DraftDecision>,
    left_out: Vec<DraftLeftOut>,
}

impl Draft {
    fn of(card: &Card, name: &str) -> Self {
        let mut draft = Self { entries: Vec::new(), decisions: Vec::new(), left_out: Vec::new() };
        draft.decide(
            "where it is: put what is shown below into harness.toml, unless it is there",
            name,
        );
        draft.decide(
            "what its answers are worth and what may be sent to it: `labels` and `clearance` under `defaults`",
            name,
        );
        let mut taken = BTreeSet::new();
        for skill in &card.skills {
            let own = take_free(&name_of(&skill.id), &mut taken);
            let about = format!("{name}.{own}");
            draft.decide(WRITES, &about);
            for found in suspicions(skill) {
                draft.decide(&format!("suspicious: {found}"), &about);
            }
            draft.entries.push((own, operation(skill)));
        }
        if draft.entries.is_empty() {
            let about = format!("{name}.ask");
            draft.decide(WRITES, &about);
            draft.decide(
                "its card names no skill: one operation sends it words; with --token the card may say more",
                &about,
            );
            draft.entries.push(("ask".to_owned(), operation(&CardSkill::default())));
        }
        draft
    }

    fn decide(&mut self, text: &str, about: &str) {
        match self.decisions.iter_mut().find(|decision| decision.text == text) {
            Some(decision) => decision.about.push(about.to_owned()),
            None => self
                .decisions
                .push(DraftDecision { text: text.to_owned(), about: vec![about.to_owned()] }),
        }
    }

    fn file(&self, card: &Card, name: &str) -> String {
        let map = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(key, text)| ((*key).to_owned(), Node::text(*text)));
            Node::Map(pairs.collect())
        };
        let defaults = Node::Map(vec![
            ("labels".to_owned(), map(&[("trust", "untrusted"), ("confidentiality", "internal")])),
            ("clearance".to_owned(), map(&[("confidentiality", "public")])),
        ]);
        let about = format!("{}, drafted from the card of an agent.", suspect::shown(&card.name));
        let mut whole = vec![
            ("schema", Node::text("harness.connector/v1")),
            ("name", Node::text(name)),
            ("kind", Node::text("a2a")),
            ("system", Node::text(name)),
            ("description", Node::text(about)),
        ];
        if card.wants_bearer {
            whole.push(("auth", map(&[("bearer", &*secret_of(name))])));
        }
        whole.push(("defaults", defaults));
        whole.push(("operations", Node::Map(self.entries.clone())));
        let whole: Vec<_> = whole.into_iter().map(|(key, node)| (key.to_owned(), node)).collect();
        let head = "# A draft: nobody has classified it yet. Every skill is taken to do what cannot be taken back, every answer is\n\
             # untrusted, and nothing above public may be sent.\n";
        format!("{head}{}", write::file(&whole))
    }
}

/// One skill as an operation: with its own arguments where the card says them, else with words.
fn operation(skill: &CardSkill) -> Node {
    let arguments =
        skill.input.as_ref().map(servers::held).filter(|schema| schema["type"] == "object");
    let words = json!({
        "type": "object", "required": ["text"], "additionalProperties": false,
        "properties": {"text": {"type": "string", "minLength": 1, "maxLength": 20_000}},
    });
    let output = json!({
        "type": "object", "required": ["text", "data"],
        "properties": {
            "text": {"type": "string"},
            "data": {"type": "array"},
            "files": {"type": "array"},
            "task": {"type": "string"},
        },
    });
    let mut request = match &arguments {
        Some(_) => vec![("data".to_owned(), Node::text(""))],
        None => vec![("text".to_owned(), Node::text("/text"))],
    };
    if !skill.id.is_empty() {
        let named = vec![("skill".to_owned(), Node::text(skill.id.clone()))];
        request.push(("metadata".to_owned(), Node::Map(named)));
    }
    Node::Map(vec![
        ("summary".to_owned(), Node::text(summary(skill))),
        ("input".to_owned(), Node::schema(&arguments.unwrap_or(words))),
        ("output".to_owned(), Node::schema(&output)),
        ("request".to_owned(), Node::Map(request)),
    ])
}

/// What a person should look at before a skill is trusted: cards are written for models, as descriptions of tools are.
fn suspicions(skill: &CardSkill) -> Vec<String> {
    suspect::texts(&Tool {
        name: skill.id.clone(),
        title: Some(skill.name.clone()),
        description: Some(skill.description.clone()),
        input: skill.input.clone().unwrap_or_default(),
        output: None,
        hints: None,
    })
}

fn summary(skill: &CardSkill) -> String {
    let plain = |text: &str| text.replace('{', "(").replace('}', ")");
    let told = skill.name.trim();
    if told.is_empty() || !suspicions(skill).is_empty() || told.chars().count() > SUMMARY_MAX_CHARS
    {
        let id = suspect::shown(&skill.id);
        return plain(&match id.is_empty() {
            true => "Send a message to the agent".to_owned(),
            false => format!("Ask the agent for {id}"),
        });
    }
    plain(told.trim_end_matches('.'))
}

fn secret_of(name: &str) -> String {
    format!("{}_token", name.replace('-', "_"))
}

/// The system as it stands in `harness.toml`.
fn declared(card: &Card, name: &str) -> String {
    let url = Value::String(card.url.clone());
    let mut text = format!("[systems.{name}]\nkind = \"http\"\nurl = {url}\n");
    if card.wants_bearer {
        let secret = secret_of(name);
        text.push_str(&format!("[secrets]\n{secret} = \"secret:{}\"\n", secret.replace('_', "-")));
    }
    text
}
