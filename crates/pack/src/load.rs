//! From the bytes of a folder to a typed pack, or to everything that is wrong with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kernel::{
    Digest, agent::Skill, canon, catalogue::Catalogue, id::OperationId, operation::Operation,
};
use serde::Serialize;

use crate::{
    agent::read_agent,
    check,
    connector::read_connector,
    kpi::read_kpis,
    manifest::{read_intent, read_manifest},
    model::{
        Connector, ExceptionRule, Intent, Kpi, Manifest, PolicyCase, PolicyText, Written,
        WrittenAgent,
    },
    policy::read_cases,
    problem::{Place, Problem, Problems, did_you_mean},
    read::{Reader, cut},
    recovery::read_exceptions,
    skill::{files_beside, read_skill},
    steps::read_playbook,
    yaml::{Doc, Kind},
};

/// Largest YAML or policy file, in bytes.
pub const FILE_BYTES_MAX: usize = 256 * 1024;

/// The file that says who made a pack.
pub const SIGNATURE: &str = "pack.sig";

/// Longest signature file, in bytes.
const SIGNATURE_BYTES_MAX: usize = 4_096;

/// Most files of a pack.
pub const FILES_MAX: usize = 200;

/// Largest pack, in bytes.
pub const PACK_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Longest path inside a pack, in bytes.
pub(crate) const PATH_MAX: usize = 200;

const FIRST: Place = Place { line: 1, column: 1 };

/// A validated pack.
#[derive(Clone, Debug, PartialEq)]
pub struct Pack {
    /// `pack.yaml`.
    pub manifest: Manifest,
    /// By name.
    pub intents: BTreeMap<String, Intent>,
    /// By name, as written.
    pub playbooks: BTreeMap<String, Written>,
    /// By name, as written.
    pub agents: BTreeMap<String, WrittenAgent>,
    /// By name.
    pub skills: BTreeMap<String, Skill>,
    /// By name.
    pub connectors: BTreeMap<String, Connector>,
    /// Every operation of every connector.
    pub catalogue: Catalogue,
    /// Policy texts, by path.
    pub policies: Vec<PolicyText>,
    /// Policy cases, in file order.
    pub policy_cases: Vec<PolicyCase>,
    /// Rules of `exceptions.yaml`.
    pub exceptions: Vec<ExceptionRule>,
    /// Definitions of `kpis.yaml`.
    pub kpis: Vec<Kpi>,
    /// Hash of the canonical listing of its files.
    pub digest: Digest,
    /// The same without [`SIGNATURE`]: what a signature is about.
    pub content: Digest,
    /// The text of [`SIGNATURE`]; who made it is for others to say.
    pub signature: Option<String>,
}

/// A pack and what its author should look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The pack.
    pub pack: Pack,
    /// What is allowed but probably not meant.
    pub warnings: Vec<Problem>,
}

impl Pack {
    /// Reads and checks the files of a folder, by relative path.
    ///
    /// # Errors
    /// Every problem found, in file and line order.
    pub fn load(files: BTreeMap<String, Vec<u8>>) -> Result<Loaded, Vec<Problem>> {
        let problems = Problems::default();
        check_sizes(&files, &problems);
        if !problems.is_empty() {
            return Err(problems.into_sorted());
        }
        let draft = read_files(&files, &problems);
        if !problems.is_empty() {
            return Err(problems.into_sorted());
        }
        let warnings = check::check_draft(&draft, &problems);
        let digest = digest_files(&files, &problems);
        let signature = read_signature(&files, &problems);
        let content = match signature {
            None => digest,
            Some(_) => {
                let mut others = files.clone();
                others.remove(SIGNATURE);
                digest_files(&others, &problems)
            }
        };
        let catalogue = draft.catalogue(&problems);
        if !problems.is_empty() {
            return Err(problems.into_sorted());
        }
        let pack = draft.into_pack(catalogue, (digest, content, signature));
        Ok(Loaded { pack, warnings: warnings.into_sorted() })
    }
}

/// Everything read, not checked against each other yet. Places are looked up in `docs` when needed.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) docs: BTreeMap<String, Doc>,
    pub(crate) manifest: Manifest,
    pub(crate) intents: Vec<(String, Intent)>,
    pub(crate) playbooks: Vec<(String, Written)>,
    pub(crate) agents: Vec<(String, WrittenAgent)>,
    pub(crate) skills: BTreeMap<String, Skill>,
    pub(crate) connectors: Vec<(String, Connector)>,
    pub(crate) operations: BTreeMap<OperationId, Arc<Operation>>,
    pub(crate) policies: Vec<PolicyText>,
    pub(crate) cases: Vec<PolicyCase>,
    pub(crate) exceptions: Vec<ExceptionRule>,
    pub(crate) kpis: Vec<Kpi>,
}

impl Draft {
    pub(crate) fn playbook(&self, name: &str) -> Option<&Written> {
        self.playbooks.iter().map(|(_, playbook)| playbook).find(|playbook| playbook.name == name)
    }

    pub(crate) fn agent(&self, name: &str) -> Option<&WrittenAgent> {
        self.agents.iter().map(|(_, agent)| agent).find(|agent| agent.name == name)
    }

    fn catalogue(&self, problems: &Problems) -> Catalogue {
        let operations = self.operations.values().map(|operation| Operation::clone(operation));
        Catalogue::new(operations).unwrap_or_else(|error| {
            problems.add(Problem::new(
                "pack.yaml",
                FIRST,
                error.to_string(),
                "rename one operation",
            ));
            Catalogue::default()
        })
    }

    fn into_pack(
        self,
        catalogue: Catalogue,
        (digest, content, signature): (Digest, Digest, Option<String>),
    ) -> Pack {
        fn named<T>(items: Vec<(String, T)>, name: impl Fn(&T) -> String) -> BTreeMap<String, T> {
            items.into_iter().map(|(_, item)| (name(&item), item)).collect()
        }
        Pack {
            manifest: self.manifest,
            intents: named(self.intents, |intent| intent.name.clone()),
            playbooks: named(self.playbooks, |playbook| playbook.name.clone()),
            agents: named(self.agents, |agent| agent.name.clone()),
            skills: self.skills,
            connectors: named(self.connectors, |connector| connector.name.clone()),
            catalogue,
            policies: self.policies,
            policy_cases: self.cases,
            exceptions: self.exceptions,
            kpis: self.kpis,
            digest,
            content,
            signature,
        }
    }
}

fn check_sizes(files: &BTreeMap<String, Vec<u8>>, problems: &Problems) {
    let whole =
        |message: String, fix: &str| problems.add(Problem::new("pack.yaml", FIRST, message, fix));
    if files.len() > FILES_MAX {
        whole(format!("more than {FILES_MAX} files"), "leave out what the pack does not need");
    }
    let total: usize = files.values().map(Vec::len).sum();
    if total > PACK_BYTES_MAX {
        whole(
            format!("larger than {PACK_BYTES_MAX} bytes"),
            "leave out what the pack does not need",
        );
    }
    if !files.contains_key("pack.yaml") {
        whole("there is no pack.yaml".to_owned(), "create one; see `harness pack new`");
    }
    for (path, bytes) in files {
        let fine = path.len() <= PATH_MAX
            && !path.chars().any(|c| c.is_control() || c == '\\')
            && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if !fine {
            let shown = cut(path);
            problems.add(Problem::new(
                &shown,
                FIRST,
                "not a path inside a pack",
                "rename the file",
            ));
        }
        let read = path.ends_with(".yaml") || path.ends_with(".cedar");
        if read && bytes.len() > FILE_BYTES_MAX {
            let message = format!("larger than {FILE_BYTES_MAX} bytes");
            problems.add(Problem::new(path, FIRST, message, "split the file"));
        }
    }
}

/// The signature's text, where there is one.
fn read_signature(files: &BTreeMap<String, Vec<u8>>, problems: &Problems) -> Option<String> {
    let bytes = files.get(SIGNATURE)?;
    match String::from_utf8(bytes.clone()) {
        Ok(text) if text.len() <= SIGNATURE_BYTES_MAX => Some(text),
        _ => {
            let message = format!("no text of at most {SIGNATURE_BYTES_MAX} bytes");
            let fix = "sign the pack again with `harness pack sign`";
            problems.add(Problem::new(SIGNATURE, FIRST, message, fix));
            None
        }
    }
}

#[derive(Serialize)]
struct Listed<'a> {
    path: &'a str,
    sha256: String,
}

/// SHA-256 of the canonical JSON of `[{path, sha256}, …]`, sorted by path.
fn digest_files(files: &BTreeMap<String, Vec<u8>>, problems: &Problems) -> Digest {
    let listing: Vec<Listed<'_>> = files
        .iter()
        .map(|(path, bytes)| Listed { path, sha256: Digest::of(bytes).hex() })
        .collect();
    canon::digest(&listing).unwrap_or_else(|error| {
        problems.add(Problem::new("pack.yaml", FIRST, error.to_string(), "report this"));
        Digest::default()
    })
}

/// What a file is, from its path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Manifest,
    Intent,
    Playbook,
    Agent,
    Skill,
    Connector,
    Exceptions,
    Kpis,
    Cases,
    Cedar,
    /// Part of the pack and its digest, read by others.
    Other,
}

impl Sort {
    fn of(path: &str) -> Option<Self> {
        let (folder, name) = path.split_once('/').unwrap_or(("", path));
        let nested = name.contains('/');
        Some(match folder {
            "" => match name {
                "pack.yaml" => Self::Manifest,
                "exceptions.yaml" => Self::Exceptions,
                "kpis.yaml" => Self::Kpis,
                _ if name.ends_with(".md") || name == "LICENSE" || name == SIGNATURE => Self::Other,
                _ => return None,
            },
            "intents" if !nested && name.ends_with(".yaml") => Self::Intent,
            "playbooks" if !nested && name.ends_with(".yaml") => Self::Playbook,
            "agents" if !nested && name.ends_with(".yaml") => Self::Agent,
            "skills" if name.split('/').count() == 2 && name.ends_with("/SKILL.md") => Self::Skill,
            "connectors" if !nested && name.ends_with(".yaml") => Self::Connector,
            "policies" if !nested && name.ends_with(".test.yaml") => Self::Cases,
            "policies" if !nested && name.ends_with(".cedar") => Self::Cedar,
            "skills" | "evals" | "docs" => Self::Other,
            _ => return None,
        })
    }

    /// The value of `schema:` its files begin with.
    fn schema(self) -> Option<&'static str> {
        match self {
            Self::Manifest => Some("harness.pack/v1"),
            Self::Intent => Some("harness.intent/v1"),
            Self::Playbook => Some("harness.playbook/v1"),
            Self::Agent => Some("harness.agent/v1"),
            Self::Connector => Some("harness.connector/v1"),
            Self::Exceptions => Some("harness.exceptions/v1"),
            Self::Kpis => Some("harness.kpis/v1"),
            Self::Cases => Some("harness.policy-cases/v1"),
            Self::Skill | Self::Cedar | Self::Other => None,
        }
    }
}

fn read_files(files: &BTreeMap<String, Vec<u8>>, problems: &Problems) -> Draft {
    let mut draft = Draft::default();
    for (path, bytes) in files {
        let Some(sort) = Sort::of(path) else {
            let known = [
                "intents/",
                "playbooks/",
                "agents/",
                "connectors/",
                "policies/",
                "exceptions.yaml",
                "kpis.yaml",
            ];
            let fix = if path.ends_with(".yml") {
                "end the name with `.yaml`".to_owned()
            } else {
                did_you_mean(path, known)
            };
            problems.add(Problem::new(path, FIRST, "nothing reads this file", fix));
            continue;
        };
        match (sort, sort.schema()) {
            (_, Some(schema)) => match Doc::parse(path, bytes) {
                Ok(doc) => {
                    let reader = Reader { file: path, problems };
                    check_schema_line(&doc, schema, reader);
                    read_doc(sort, &doc, reader, &mut draft);
                    draft.docs.insert(path.clone(), doc);
                }
                Err(problem) => problems.add(problem),
            },
            (Sort::Skill, None) => {
                let folder = path.split('/').nth(1).unwrap_or_default();
                match read_skill(path, folder, bytes) {
                    Ok(skill) => {
                        let files = files_beside(folder, files);
                        let skill = Skill { files, ..skill };
                        draft.skills.insert(skill.name.clone(), skill);
                    }
                    Err(found) => found.into_iter().for_each(|problem| problems.add(problem)),
                }
            }
            (Sort::Cedar, None) => match String::from_utf8(bytes.clone()) {
                Ok(text) => draft.policies.push(PolicyText { file: path.clone(), text }),
                Err(_) => problems.add(Problem::new(
                    path,
                    FIRST,
                    "not UTF-8 text",
                    "save the file as UTF-8",
                )),
            },
            (_, None) => {}
        }
    }
    draft
}

fn check_schema_line(doc: &Doc, schema: &str, reader: Reader<'_>) {
    let first = match &doc.root.kind {
        Kind::Map(entries) => entries.first(),
        _ => None,
    };
    match first {
        Some((key, node)) if key.name == "schema" => {
            let written = reader.text(node, "schema").unwrap_or(schema);
            if written != schema {
                let message = format!("`{}` is not the schema of this file", cut(written));
                reader.wrong(node.place, message, format!("write `schema: {schema}`"));
            }
        }
        _ => {
            let message = "the file does not begin with its schema";
            reader.wrong(doc.root.place, message, format!("begin with `schema: {schema}`"));
        }
    }
}

fn read_doc(sort: Sort, doc: &Doc, reader: Reader<'_>, draft: &mut Draft) {
    let file = doc.file.clone();
    match sort {
        Sort::Manifest => draft.manifest = read_manifest(doc, reader),
        Sort::Intent => draft.intents.push((file, read_intent(doc, reader))),
        Sort::Playbook => draft.playbooks.push((file, read_playbook(doc, reader))),
        Sort::Agent => draft.agents.push((file, read_agent(doc, reader))),
        Sort::Connector => draft.connectors.extend(read_connector(doc, reader).map(|c| (file, c))),
        Sort::Exceptions => draft.exceptions.extend(read_exceptions(doc, reader)),
        Sort::Kpis => draft.kpis = read_kpis(doc, reader),
        Sort::Cases => draft.cases.extend(read_cases(doc, reader)),
        Sort::Skill | Sort::Cedar | Sort::Other => {}
    }
    if sort == Sort::Connector {
        let read = draft.connectors.last_mut().map(|(_, connector)| {
            (connector.operations.clone(), std::mem::take(&mut connector.rules))
        });
        let (operations, rules) = read.unwrap_or_default();
        draft.exceptions.extend(rules);
        for operation in operations {
            draft.operations.entry(operation.id.clone()).or_insert(operation);
        }
    }
    check_unique(sort, doc, reader, draft);
}

/// Two files must not define the same name.
fn check_unique(sort: Sort, doc: &Doc, reader: Reader<'_>, draft: &Draft) {
    let names: Vec<&str> = match sort {
        Sort::Intent => draft.intents.iter().map(|(_, item)| item.name.as_str()).collect(),
        Sort::Playbook => draft.playbooks.iter().map(|(_, item)| item.name.as_str()).collect(),
        Sort::Agent => draft.agents.iter().map(|(_, item)| item.name.as_str()).collect(),
        Sort::Connector => draft.connectors.iter().map(|(_, item)| item.name.as_str()).collect(),
        _ => return,
    };
    let Some((last, before)) = names.split_last() else { return };
    let unique: BTreeSet<&&str> = before.iter().collect();
    if unique.contains(last) && !last.is_empty() {
        let message = format!("`{last}` is defined in another file too");
        reader.wrong(doc.place("/name"), message, "rename one");
    }
}
