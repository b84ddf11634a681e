//! All operations as files of connectors, with what is left to decide.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    document::{Document, Refused, methods, short},
    name::{name_of, take_free},
    operation::{self, Drafted},
    security::{Login, Place},
    write::{self, Node},
};

/// Most operations of one file: what a pack admits.
const FILE_OPERATIONS_MAX: usize = 200;

/// Most values of one file; a pack admits a few more.
const FILE_PARTS_MAX: usize = 16_000;

/// What is said of everything but a GET.
const WRITES: &str = "taken to write what nobody can take back: say `undo` with `undo_with`, `retry`, `groups` for policies, or \
     `effect: read` where it only looks";

/// Longest text of one file; a pack admits a little more.
const FILE_BYTES_MAX: usize = 224 * 1024;

/// What is wanted of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Name of the connector, and of the system it reaches.
    pub name: String,
    /// Only operations of these tags; all where none is named.
    pub tags: BTreeSet<String>,
}

/// One file of a draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Name of the connector.
    pub name: String,
    /// The file, YAML.
    pub text: String,
    /// Names of its operations.
    pub operations: Vec<String>,
}

/// Something that a person has to decide, or should know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decision {
    /// What.
    pub text: String,
    /// About which connectors or operations.
    pub about: Vec<String>,
}

/// An operation that is not in the draft.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftOut {
    /// Method and path.
    pub place: String,
    /// Why, in words.
    pub why: String,
}

/// What became of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Title and version of the document.
    pub title: String,
    /// Addresses that the document names.
    pub servers: Vec<String>,
    /// The files, for `connectors/`.
    pub files: Vec<File>,
    /// What is left to decide.
    pub decisions: Vec<Decision>,
    /// What is not in the files.
    pub left_out: Vec<LeftOut>,
}

impl Draft {
    fn decide(&mut self, text: &str, about: &str) {
        match self.decisions.iter_mut().find(|decision| decision.text == text) {
            Some(decision) => decision.about.push(about.to_owned()),
            None => {
                self.decisions
                    .push(Decision { text: text.to_owned(), about: vec![about.to_owned()] });
            }
        }
    }
}

/// Drafts connectors from a document.
///
/// # Errors
/// [`Refused`] when it is no document of which a draft can be made, or nothing in it can be called.
pub fn draft(document: &Value, options: &Options) -> Result<Draft, Refused> {
    let document = Document::new(document)?;
    let mut wanted = Vec::new();
    for (path, item) in document.paths() {
        let mine = methods(item).filter(|(_, own)| is_wanted(own, &options.tags));
        wanted.extend(mine.map(|one| ((path, item), one)));
    }
    let (mut drafted, mut left_out) = (Vec::new(), Vec::new());
    for ((path, item), (method, own)) in &wanted {
        match operation::draft(document, (path, item), (method, own), wanted.len()) {
            Ok(one) => drafted.push(one),
            Err(why) => left_out.push(LeftOut { place: format!("{method} {}", short(path)), why }),
        }
    }
    left_out.extend(broken_paths(&document));
    if drafted.is_empty() {
        let why = left_out.first().map_or_else(
            || "no operation has one of these tags".to_owned(),
            |first| format!("nothing in it can be called: {}: {}", first.place, first.why),
        );
        return Err(Refused::new(why, "give another document, or other tags"));
    }
    let title = format!("{} {}", document.text("/info/title"), document.text("/info/version"));
    let servers = servers(&document);
    let mut draft =
        Draft { title: short(&title), servers, files: Vec::new(), decisions: Vec::new(), left_out };
    decide_address(options, &mut draft);
    assemble(drafted, options, &mut draft);
    Ok(draft)
}

/// Paths whose reference leads nowhere: they have no operations that could be named.
fn broken_paths(document: &Document<'_>) -> Vec<LeftOut> {
    let paths = document.part("paths").and_then(Value::as_object).into_iter().flatten();
    let broken = |(path, item): (&String, &Value)| {
        let why = document.resolve(item).err()?;
        Some(LeftOut { place: short(path), why })
    };
    paths.filter_map(broken).collect()
}

fn is_wanted(operation: &serde_json::Map<String, Value>, tags: &BTreeSet<String>) -> bool {
    let own = operation.get("tags").and_then(Value::as_array).into_iter().flatten();
    tags.is_empty() || own.filter_map(Value::as_str).any(|tag| tags.contains(tag))
}

fn servers(document: &Document<'_>) -> Vec<String> {
    let all = document.part("servers").and_then(Value::as_array).into_iter().flatten();
    all.filter_map(|server| server.get("url").and_then(Value::as_str)).map(short).collect()
}

/// Operations that prove themselves the same way stand in one connector, as many as a file holds.
fn assemble(drafted: Vec<Drafted>, options: &Options, draft: &mut Draft) {
    let mut by_login: BTreeMap<Login, Vec<Drafted>> = BTreeMap::new();
    for one in drafted {
        by_login.entry(one.login.clone()).or_default().push(one);
    }
    let most = by_login.iter().max_by_key(|(_, all)| all.len()).map(|(login, _)| login.clone());
    let mut taken = BTreeSet::new();
    let mut groups: Vec<(Login, Vec<Drafted>)> = by_login.into_iter().collect();
    // The largest has the name that was asked for.
    groups.sort_by_key(|(login, _)| Some(login) != most.as_ref());
    for (login, all) in groups {
        let name = match &login {
            login if Some(login) == most.as_ref() => options.name.clone(),
            Login::Nobody => format!("{}_public", options.name),
            login => format!("{}_{}", options.name, name_of(login.scheme())),
        };
        decide_login(&name, &login, options, draft);
        let mut rest = all.into_iter().peekable();
        while rest.peek().is_some() {
            let name = take_free(&name, &mut taken);
            let file = fill(&name, (&login, options), &mut rest, draft);
            draft.files.push(file);
        }
    }
}

/// One file, of as many operations as it holds.
fn fill(
    name: &str,
    (login, options): (&Login, &Options),
    rest: &mut std::iter::Peekable<std::vec::IntoIter<Drafted>>,
    draft: &mut Draft,
) -> File {
    let (mut entries, mut names, mut taken) = (Vec::new(), Vec::new(), BTreeSet::new());
    let (mut parts, mut bytes) = (0, 0);
    loop {
        let fits = |one: &Drafted| {
            let fits = entries.len() < FILE_OPERATIONS_MAX
                && parts + one.parts <= FILE_PARTS_MAX
                && bytes + one.bytes <= FILE_BYTES_MAX;
            fits || entries.is_empty()
        };
        let Some(one) = rest.next_if(fits) else { break };
        let own = take_free(&one.name, &mut taken);
        parts += one.parts;
        bytes += one.bytes;
        let about = format!("{name}.{own}");
        if !one.is_read {
            draft.decide(WRITES, &format!("{about} ({})", one.place));
        }
        one.notes.iter().for_each(|text| draft.decide(text, &about));
        entries.push((own.clone(), one.node));
        names.push(own);
    }
    let mut file = vec![
        ("schema".to_owned(), Node::text("harness.connector/v1")),
        ("name".to_owned(), Node::text(name)),
        ("kind".to_owned(), Node::text("http")),
        ("system".to_owned(), Node::text(options.name.clone())),
        (
            "description".to_owned(),
            Node::text(format!("{}, drafted from its OpenAPI document.", draft.title)),
        ),
    ];
    file.extend(auth(login, options).map(|auth| ("auth".to_owned(), auth)));
    file.push(("defaults".to_owned(), defaults()));
    file.push(("operations".to_owned(), Node::Map(entries)));
    let head = "# A draft: nobody has classified it yet. Whatever is no GET is taken to write what cannot be taken back,\n\
                # every answer is untrusted, and nothing above public may be sent.\n";
    File { name: name.to_owned(), text: format!("{head}{}", write::file(&file)), operations: names }
}

/// What holds for each operation until somebody knows better.
fn defaults() -> Node {
    let map = |pairs: &[(&str, &str)]| {
        Node::Map(pairs.iter().map(|(key, text)| ((*key).to_owned(), Node::text(*text))).collect())
    };
    let error = |(status, class, landed): &(i64, &str, Option<&str>)| {
        let mut entries = vec![
            ("status".to_owned(), Node::One((*status).into())),
            ("class".to_owned(), Node::text(*class)),
        ];
        entries.extend(landed.map(|landed| ("landed".to_owned(), Node::text(landed))));
        Node::Map(entries)
    };
    let errors = [
        (400, "invalid_arguments", None),
        (401, "permission", None),
        (403, "permission", None),
        (404, "missing_field", None),
        (422, "invalid_arguments", None),
        (429, "rate_limit", Some("no")),
    ];
    Node::Map(vec![
        ("labels".to_owned(), map(&[("trust", "untrusted"), ("confidentiality", "internal")])),
        ("clearance".to_owned(), map(&[("confidentiality", "public")])),
        ("errors".to_owned(), Node::List(errors.iter().map(error).collect())),
    ])
}

/// The name of the secret that a login needs.
fn secret(login: &Login, options: &Options) -> String {
    match login {
        Login::Basic { .. } => format!("{}_password", options.name),
        Login::Key { .. } => format!("{}_key", options.name),
        Login::Nobody | Login::Bearer { .. } => format!("{}_token", options.name),
    }
}

fn auth(login: &Login, options: &Options) -> Option<Node> {
    let secret = Node::text(secret(login, options));
    let place = |key: &str, entries: Vec<(String, Node)>| {
        Some(Node::Map(vec![(key.to_owned(), Node::Map(entries))]))
    };
    match login {
        Login::Nobody => None,
        Login::Bearer { .. } => Some(Node::Map(vec![("bearer".into(), secret)])),
        Login::Basic { .. } => {
            place("basic", vec![("user".into(), Node::text("api")), ("secret".into(), secret)])
        }
        Login::Key { place: at, name, .. } => {
            let key = match at {
                Place::Header => "header",
                Place::Query => "query",
                Place::Cookie => "cookie",
            };
            place(key, vec![("name".into(), Node::text(name.clone())), ("secret".into(), secret)])
        }
    }
}

fn decide_login(name: &str, login: &Login, options: &Options, draft: &mut Draft) {
    let keep = format!("`harness secret set {}`", secret(login, options).replace('_', "-"));
    let text = match login {
        Login::Nobody => return,
        Login::Bearer { flow: Some(flow), .. } => {
            format!(
                "it logs in by {flow}: get a token there, keep it with {keep}, and renew it before it ends"
            )
        }
        Login::Bearer { .. } => format!("it wants a bearer token: keep it with {keep}"),
        Login::Basic { .. } => format!(
            "it wants user and password: write the user into `auth`, keep the password with {keep}"
        ),
        Login::Key { name, .. } => {
            format!("it wants a key as `{}`: keep it with {keep}", short(name))
        }
    };
    draft.decide(&text, name);
}

fn decide_address(options: &Options, draft: &mut Draft) {
    let named = match draft.servers.as_slice() {
        [] => "the document names none".to_owned(),
        servers => {
            let all: Vec<String> =
                servers.iter().take(4).map(|server| format!("`{server}`")).collect();
            format!("the document names {}", all.join(", "))
        }
    };
    let address = format!("where it is: `url` under `[systems.{}]`; {named}", options.name);
    let trust = "what its answers are worth and what may be sent to it: `labels` and `clearance` under `defaults`";
    for text in [&address, trust] {
        draft.decide(text, &options.name);
    }
}
