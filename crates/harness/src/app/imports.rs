//! `connector import`: files of a pack from a document that describes somebody else's system.

mod cards;
mod workers;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use openapi::Options;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::problem::{Kind, Problem};
pub use cards::{WantedAgent, a2a};
pub use workers::{WantedWorker, acp};

/// Largest document that is read, in bytes.
const DOCUMENT_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Most values of a document in YAML.
const DOCUMENT_NODES_MAX: usize = 2_000_000;

/// Longest name of a connector: what is made of it has an end of its own.
const NAME_MAX: usize = 40;

/// What is imported.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The document, JSON or YAML.
    pub document: PathBuf,
    /// Name of the connector and of its system.
    pub name: String,
    /// Operations of these tags alone; all where none is named.
    pub tags: BTreeSet<String>,
    /// The folder for the files.
    pub folder: PathBuf,
}

/// What was made of a document, and what a person has to decide about it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ConnectorDraft {
    /// Title and version, as the document has them.
    pub title: String,
    /// Addresses that the document names.
    pub servers: Vec<String>,
    /// The files that were written.
    pub files: Vec<DraftFile>,
    /// What is left to decide, and what is good to know.
    pub decisions: Vec<DraftDecision>,
    /// What is not in the files, and why.
    pub left_out: Vec<DraftLeftOut>,
    /// The system as it stands in `harness.toml`, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
}

/// A file of a draft.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DraftFile {
    /// Name of the connector.
    pub connector: String,
    /// Where it was written.
    pub file: String,
    /// Names of its operations.
    pub operations: Vec<String>,
}

/// Something to decide.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DraftDecision {
    /// What.
    pub text: String,
    /// About which connectors or operations.
    pub about: Vec<String>,
}

/// An operation that cannot be one of a connector.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DraftLeftOut {
    /// Method and path.
    pub place: String,
    /// Why.
    pub why: String,
}

/// Drafts connectors from an OpenAPI document, and writes them; a file that is there is left as it is, and
/// nothing is written then.
///
/// # Errors
/// A document that cannot be read or of which nothing can be made, a name that is none, a file that is there.
pub fn openapi(wanted: &Wanted) -> Result<ConnectorDraft, Problem> {
    check_name(&wanted.name)?;
    let document = read(&wanted.document)?;
    let options = Options { name: wanted.name.clone(), tags: wanted.tags.clone() };
    let draft = ::openapi::draft(&document, &options).map_err(|refused| {
        Problem::usage("not-imported", refused.problem)
            .at(wanted.document.display().to_string())
            .next(refused.fix)
    })?;
    let drafted = draft.files.into_iter().map(|one| Drafted {
        name: one.name,
        text: one.text,
        operations: one.operations,
    });
    let files = write(&drafted.collect::<Vec<_>>(), &wanted.folder)?;
    let decisions = draft.decisions.into_iter();
    let left_out = draft.left_out.into_iter();
    Ok(ConnectorDraft {
        title: draft.title,
        servers: draft.servers,
        files,
        decisions: decisions
            .map(|one| DraftDecision { text: one.text, about: one.about })
            .collect(),
        left_out: left_out.map(|one| DraftLeftOut { place: one.place, why: one.why }).collect(),
        system: None,
    })
}

pub(super) fn check_name(name: &str) -> Result<(), Problem> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    let fits = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= NAME_MAX
        && name.chars().all(plain);
    if fits {
        return Ok(());
    }
    Err(Problem::usage("not-a-name", "a connector's name is not this")
        .at("--name")
        .next(format!("use a-z, 0-9, `_` and `-`, a letter first, at most {NAME_MAX} characters")))
}

/// JSON or YAML, by what it begins with.
fn read(path: &Path) -> Result<Value, Problem> {
    let shown = path.display().to_string();
    let refuse = |detail: String| Problem::usage("document-unreadable", detail).at(shown.clone());
    let mut bytes = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|error| {
        refuse(format!("the document cannot be read: {error}")).next("give the path of a file")
    })?;
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        let detail = format!("the document is larger than {DOCUMENT_BYTES_MAX} bytes");
        return Err(refuse(detail).next("cut it to the paths you need"));
    }
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') {
        return serde_json::from_slice(&bytes).map_err(|error| {
            refuse(format!("the document is not JSON: {error}")).next("correct it there")
        });
    }
    pack::yaml_value_within(&shown, &bytes, DOCUMENT_NODES_MAX).map_err(|problem| {
        refuse(problem.to_string()).next("correct it there, or give the document as JSON")
    })
}

/// A file on its way.
struct Drafted {
    name: String,
    text: String,
    operations: Vec<String>,
}

/// All files, or none: what was written is taken away again where the next cannot be.
fn write(all: &[Drafted], folder: &Path) -> Result<Vec<DraftFile>, Problem> {
    let refuse =
        |path: &Path, error: &std::io::Error| {
            let shown = path.display().to_string();
            if error.kind() == std::io::ErrorKind::AlreadyExists {
                return Problem::new(Kind::Conflict, "file-there", "a file of this name is there")
                .at(shown)
                .next("move it away, or import under another --name or --to; then compare the two");
            }
            Problem::usage("not-written", format!("it cannot be written: {error}"))
                .at(shown)
                .next("check that the folder is there and that this user may write in it")
        };
    let mut written: Vec<PathBuf> = Vec::new();
    let mut files = Vec::new();
    for one in all {
        let path = folder.join(format!("{}.yaml", one.name));
        let made = File::create_new(&path).and_then(|mut file| {
            written.push(path.clone());
            file.write_all(one.text.as_bytes())?;
            file.sync_all()
        });
        if let Err(error) = made {
            for path in &written {
                let _left = fs::remove_file(path);
            }
            return Err(refuse(&path, &error));
        }
        let (connector, operations) = (one.name.clone(), one.operations.clone());
        files.push(DraftFile { connector, file: path.display().to_string(), operations });
    }
    Ok(files)
}
