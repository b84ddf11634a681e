//! Files and pictures at an intent's door: looked at, bounded, labelled, kept by digest, and read again.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use connect::redact::Redactor;
use kernel::{
    Digest,
    attachment::{self, ATTACHMENTS, ATTACHMENTS_MAX, Attachment, Kind as Sort},
    event::{Body, Record},
    id::{RunId, Tenant},
    label::{Confidentiality, Label, LabelMap, Trust},
    plan::Plan,
    playbook::{Work, visit_steps},
    port::{Blobs, Task},
    principal::Kind as ActorKind,
    text,
};
use models::Files;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    App, Caller, parse_id,
    problem::{Kind, Problem},
};

/// Largest file, in bytes.
pub const FILE_BYTES_MAX: usize = 5 * 1024 * 1024;

/// Largest file that is text, in bytes: more of it no model reads at once.
pub const TEXT_BYTES_MAX: usize = 256 * 1024;

/// All files of one request together, in bytes.
pub const ALL_BYTES_MAX: usize = 10 * 1024 * 1024;

/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 200;

/// What is admitted, in words.
const ADMITTED: &str = "PNG, JPEG, GIF, WebP, PDF, and text in UTF-8";

/// What a file begins with, and what it is then.
const BEGINNINGS: [(&[u8], &str); 5] = [
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
];

/// A file that goes with a request.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    /// What it is called. What it is shows its content, never its name.
    pub name: String,
    /// Its bytes, in base64: a picture (PNG, JPEG, GIF, WebP), a PDF, or text in UTF-8.
    pub data: String,
}

impl Attach {
    /// A file of this machine, under the last part of its path.
    ///
    /// # Errors
    /// When it cannot be read, or is larger than any file may be.
    pub fn of_file(path: &Path) -> Result<Self, Problem> {
        let refuse = |what: String| {
            Problem::usage("attachment-unreadable", format!("{}: {what}", path.display()))
                .next("name a file that can be read")
        };
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| refuse("it has no name in UTF-8".to_owned()))?.to_owned();
        let told = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?;
        let bytes_max = FILE_BYTES_MAX as u64;
        if !told.is_file() || told.len() > bytes_max {
            return Err(refuse(format!("it is no file of at most {bytes_max} bytes")));
        }
        let content = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
        Ok(Self { name, data: STANDARD.encode(content) })
    }
}

/// Files of a request that were looked at.
#[derive(Debug)]
pub(super) struct Handed {
    files: Vec<(String, &'static str, Vec<u8>)>,
    label: Label,
}

/// Looks at the files of a request: each is admitted as what its content is, or the request is refused.
///
/// What stands in a file is untrusted, whoever sends it, unless the person who does vouches for it.
///
/// # Errors
/// The file and what is wrong with it, or that somebody vouches who may not.
pub(super) fn look(
    app: &App,
    caller: &Caller,
    (files, vouch): (&[Attach], bool),
) -> Result<Handed, Problem> {
    if vouch && caller.principal().kind != ActorKind::Person {
        let detail = "only a person can vouch for what is attached";
        return Err(Problem::new(Kind::NotAllowed, "vouch-not-allowed", detail)
            .next("leave `vouch` out: the files are untrusted then"));
    }
    if files.len() > ATTACHMENTS_MAX {
        let detail =
            format!("{} files are attached, at most {ATTACHMENTS_MAX} may be", files.len());
        return Err(Problem::usage("attachments-many", detail)
            .at("/attachments")
            .next("attach fewer"));
    }
    let mut looked_at: Vec<(String, &'static str, Vec<u8>)> = Vec::with_capacity(files.len());
    for (index, file) in files.iter().enumerate() {
        let place = format!("/attachments/{index}");
        let name = check_name(&file.name, &looked_at).map_err(|problem| problem.at(&*place))?;
        let redactor = app.connectors.redactor();
        let (media_type, content) = admit(file, &redactor).map_err(|problem| problem.at(place))?;
        looked_at.push((name, media_type, content));
        let all: usize = looked_at.iter().map(|(_, _, content)| content.len()).sum();
        if all > ALL_BYTES_MAX {
            let detail =
                format!("the attached files have more than {ALL_BYTES_MAX} bytes together");
            return Err(Problem::usage("attachments-large", detail)
                .at("/attachments")
                .next(SMALLER));
        }
    }
    let trust = if vouch { Trust::User } else { Trust::Untrusted };
    Ok(Handed { files: looked_at, label: Label::new(trust, Confidentiality::Internal) })
}

/// What helps with a file that is too large.
const SMALLER: &str = "attach less, or put it in a folder that the agent reads";

fn check_name(name: &str, before: &[(String, &str, Vec<u8>)]) -> Result<String, Problem> {
    let is_odd = |c: char| c == '/' || c == '\\' || c == '\n' || c == '\t' || text::is_hidden(c);
    if name.trim().is_empty() || name.len() > NAME_BYTES_MAX || name.contains(is_odd) {
        let detail = format!(
            "an attached file has a name of 1 to {NAME_BYTES_MAX} bytes, without slashes and hidden characters"
        );
        return Err(Problem::usage("attachment-name", detail).next("give it another name"));
    }
    if before.iter().any(|(known, _, _)| known == name) {
        let detail = format!("two attached files are called `{name}`");
        return Err(Problem::usage("attachment-name", detail).next("give one another name"));
    }
    Ok(name.to_owned())
}

/// A file as it is kept, and what it is. Text is kept as a model may be told it: without live secrets, and with what
/// a person would not see spelled out.
fn admit(file: &Attach, redactor: &Redactor) -> Result<(&'static str, Vec<u8>), Problem> {
    let name = &file.name;
    let too_large = |bytes_max: usize| {
        let detail = format!("`{name}` has more than {bytes_max} bytes");
        Problem::usage("attachment-large", detail).next(SMALLER)
    };
    // Three bytes are four characters of base64.
    if file.data.len() / 4 * 3 > FILE_BYTES_MAX.saturating_add(3) {
        return Err(too_large(FILE_BYTES_MAX));
    }
    let content = STANDARD.decode(&file.data).map_err(|_| {
        Problem::usage("attachment-data", format!("`data` of `{name}` is no base64"))
            .next("send the file's bytes in standard base64")
    })?;
    if content.len() > FILE_BYTES_MAX {
        return Err(too_large(FILE_BYTES_MAX));
    }
    let media_type = media_type(&content).ok_or_else(|| {
        let detail =
            format!("`{name}` is neither of what may be attached by its content: {ADMITTED}");
        Problem::usage("attachment-type", detail).next("attach it in one of these formats")
    })?;
    match std::str::from_utf8(&content) {
        Ok(told) if is_text(media_type) => {
            if content.len() > TEXT_BYTES_MAX {
                return Err(too_large(TEXT_BYTES_MAX));
            }
            let told = text::plain(&redactor.scrub_text(told)).into_owned();
            Ok((media_type, told.into_bytes()))
        }
        _ => Ok((media_type, content)),
    }
}

fn is_text(media_type: &str) -> bool {
    ["text/plain", "application/json"].contains(&media_type)
}

/// What bytes are, by themselves; `None` where they are nothing that may be attached.
fn media_type(content: &[u8]) -> Option<&'static str> {
    let begins = BEGINNINGS.iter().find(|(beginning, _)| content.starts_with(beginning));
    if let Some((_, media_type)) = begins {
        return Some(media_type);
    }
    if content.starts_with(b"RIFF") && content.get(8..12) == Some(b"WEBP") {
        return Some("image/webp");
    }
    let told = std::str::from_utf8(content).ok().filter(|told| !told.trim().is_empty())?;
    if told.contains(|c: char| c.is_control() && !"\n\r\t\u{c}".contains(c)) {
        return None;
    }
    let is_json = told.trim_start().starts_with(['{', '['])
        && serde_json::from_str::<serde::de::IgnoredAny>(told).is_ok();
    Some(if is_json { "application/json" } else { "text/plain" })
}

/// The JSON Schema of an input that holds attached files.
pub(super) fn schema() -> Value {
    json!({ "type": "array", "maxItems": ATTACHMENTS_MAX, "items": { "type": "object" } })
}

impl Handed {
    /// The inputs with the names of the files, their labels with those of the files, and what is to be kept.
    ///
    /// # Errors
    /// When the inputs name files themselves.
    pub(super) fn put_into(
        self,
        run: &RunId,
        (inputs, labels): (&mut Value, &mut LabelMap),
    ) -> Result<Vec<Vec<u8>>, Problem> {
        if attachment::is_named_in(inputs) {
            let detail = format!("an input names an attached file by `{}`", attachment::ATTACHED);
            return Err(Problem::usage("attachment-forged", detail)
                .next("send the file itself, in `attachments`"));
        }
        if self.files.is_empty() {
            return Ok(Vec::new());
        }
        let files = self.files.into_iter().map(|(name, media_type, content)| {
            let bytes = u64::try_from(content.len()).unwrap_or(u64::MAX);
            let kept = attachment::frame(run, &content);
            let digest = Digest::of(&kept);
            (Attachment { digest, name, media_type: media_type.to_owned(), bytes }, kept)
        });
        let (named, kept): (Vec<Attachment>, Vec<Vec<u8>>) = files.unzip();
        if inputs.is_null() {
            *inputs = json!({});
        }
        let fields = inputs.as_object_mut();
        if let Some(fields) = fields.filter(|fields| !fields.contains_key(ATTACHMENTS)) {
            fields.insert(ATTACHMENTS.to_owned(), json!(named));
            labels.parts.insert(format!("/{ATTACHMENTS}"), self.label);
            return Ok(kept);
        }
        let detail = format!("files stand in the input `{ATTACHMENTS}`, which is taken");
        Err(Problem::usage("attachments-taken", detail).next("leave that input out"))
    }
}

/// Refuses files that no model of the plan's agents can be sent.
///
/// # Errors
/// The role, and what its providers lack.
pub(super) fn check_taken(app: &App, plan: &Plan, inputs: &Value) -> Result<(), Problem> {
    let kinds: BTreeSet<Sort> = attachment::of_value(inputs).iter().map(Attachment::kind).collect();
    let mut roles = BTreeSet::new();
    visit_steps(&plan.playbook.steps, &mut |_, step| {
        if let Work::Agent { agent, .. } = &step.work {
            roles.insert(agent.role.clone());
        }
    });
    if roles.is_empty() || roles.iter().any(|role| app.models.takes(role, &kinds)) {
        return Ok(());
    }
    let words = |words: Vec<&str>| words.join(", ");
    let lacking =
        words(kinds.iter().filter(|kind| **kind != Sort::Text).map(|k| k.word()).collect());
    let roles = words(roles.iter().map(String::as_str).collect());
    let detail = format!("no provider of `{roles}` takes {lacking}, and that is attached");
    Err(Problem::usage("model-takes-no-file", detail)
        .at(format!("/{ATTACHMENTS}"))
        .next("name what its model reads in `takes` of the provider, or use another --model"))
}

/// Where models get the files from that a conversation names.
#[derive(Debug)]
pub(super) struct Kept(pub(super) Arc<dyn Blobs>);

impl Files for Kept {
    fn read<'a>(
        &'a self,
        (tenant, run): (&'a Tenant, &'a RunId),
        file: &'a Attachment,
    ) -> Task<'a, Result<Vec<u8>, models::Error>> {
        Box::pin(async move {
            let gone = |why: String| {
                models::Error::Thread(format!("the attached file `{}` {why}", file.name))
            };
            let kept = self.0.get(tenant.clone(), file.digest).await;
            let kept = kept.map_err(|error| gone(format!("cannot be read: {error}")))?;
            let kept = kept.ok_or_else(|| gone("is not there any more".to_owned()))?;
            let content = attachment::unframe(run, &kept);
            content.map(<[u8]>::to_vec).ok_or_else(|| gone("belongs to another run".to_owned()))
        })
    }
}

/// Which attached file of a run is meant.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetAttachment {
    /// The run.
    pub run: String,
    /// What the file is called.
    pub name: String,
}

/// An attached file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttachedView {
    /// What it is called.
    pub name: String,
    /// What it is, by its content.
    pub media_type: String,
    /// Its bytes.
    pub bytes: u64,
    /// The digest under which it is kept.
    pub digest: String,
}

impl From<&Attachment> for AttachedView {
    fn from(file: &Attachment) -> Self {
        Self {
            name: file.name.clone(),
            media_type: file.media_type.clone(),
            bytes: file.bytes,
            digest: file.digest.to_string(),
        }
    }
}

/// An attached file with its bytes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AttachmentView {
    /// The run it was handed in with.
    pub run: String,
    /// Which file.
    #[serde(flatten)]
    pub file: AttachedView,
    /// How far what stands in it is trusted.
    pub trust: String,
    /// Its bytes, in base64.
    pub data: String,
}

/// The bytes of an answer of `run.attachment`; none where it holds none.
#[must_use]
pub fn bytes_of(data: &str) -> Vec<u8> {
    STANDARD.decode(data).unwrap_or_default()
}

/// A file that was attached to a run, as it was kept: what its models were sent.
///
/// # Errors
/// When there is no such run or file, or it is gone.
pub async fn get(
    app: &App,
    caller: &Caller,
    request: GetAttachment,
) -> Result<AttachmentView, Problem> {
    let id: RunId = parse_id(&request.run)?;
    let records = app.own_records(caller, &id).await?;
    let (files, label) = attached_to(&records);
    let file = files.get(&request.name).ok_or_else(|| {
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        let known = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        Problem::not_found("attachment", &request.name)
            .next(format!("attached to the run: {known}"))
    })?;
    let kept = Kept(Arc::clone(&app.store) as Arc<dyn Blobs>);
    let content = kept.read((caller.tenant(), &id), file).await.map_err(|error| {
        Problem::new(Kind::Gone, "attachment-gone", error.to_string())
            .next("it was erased, or the store lacks it: check it with `harness store check`")
    })?;
    let trust = serde_json::to_value(label.trust).unwrap_or_default();
    Ok(AttachmentView {
        run: id.to_string(),
        file: file.into(),
        trust: trust.as_str().unwrap_or_default().to_owned(),
        data: STANDARD.encode(content),
    })
}

/// The files that a run was opened with, by name, and how far they are trusted.
pub(super) fn attached_to(records: &[Record]) -> (BTreeMap<String, Attachment>, Label) {
    let opened = records.first().and_then(|record| match &record.event.body {
        Body::Opened { intent, .. } => intent.opening(),
        _ => None,
    });
    let label = opened.as_ref().map(|opened| opened.labels.at(&format!("/{ATTACHMENTS}")));
    let files = opened.map(|opened| attachment::of_value(&opened.value)).unwrap_or_default();
    let by_name = files.into_iter().map(|file| (file.name.clone(), file)).collect();
    (by_name, label.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C103: what a file is shows its content, and what is nothing known is nothing.
    #[test]
    fn files_are_what_their_content_is() {
        for (content, is) in [
            (&b"\x89PNG\r\n\x1a\nrest"[..], Some("image/png")),
            (b"\xff\xd8\xff\xe0", Some("image/jpeg")),
            (b"GIF89a..", Some("image/gif")),
            (b"RIFF\x10\0\0\0WEBPVP8 ", Some("image/webp")),
            (b"RIFF\x10\0\0\0WAVEfmt ", None),
            (b"%PDF-1.7\n", Some("application/pdf")),
            (b"{\"a\": [1]}", Some("application/json")),
            (b"{not json", Some("text/plain")),
            ("Grüße\n\t".as_bytes(), Some("text/plain")),
            (b"\x7fELF\x02\x01\x01\0", None),
            (b"PK\x03\x04", None),
            (b"a\0b", None),
            (b"\x1b[2J", None),
            (b"\xff\xfe", None),
            (b"", None),
            (b" \n", None),
        ] {
            assert_eq!(media_type(content), is, "{content:?}");
        }
    }
}
