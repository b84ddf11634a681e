//! Results of a run that are files: kept by the digest of what they hold, once nothing in them is a secret.
//!
//! A file is kept whole or not at all. One in which a secret stands is refused and not changed: a picture with a hole in
//! it helps nobody. What is packed or encrypted cannot be looked into.

use std::path::PathBuf;

use bytes::Bytes;
use files::{Limits, Root};
use kernel::{
    Digest,
    exception::{Class, Landed},
    port::Failure,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::{
    call::{Call, Departure, fail, refuse},
    folder::{Deed, read_args, said},
    redact::Redactor,
    way_out::Around,
};

/// Largest file that is kept as a result, in bytes.
pub const ARTIFACT_MAX_BYTES: u64 = 16 << 20;

/// Longest name of a result, in characters.
const NAME_MAX_CHARS: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    path: String,
    #[serde(default)]
    name: Option<String>,
}

/// Keeps a file of a folder.
pub(crate) async fn keep(
    at: PathBuf,
    (call, around): (&Call, &Around<'_>),
    (departure, redactor): (&Departure, Redactor),
) -> Result<Value, Failure> {
    let Asked { path, name } = read_args(&call.args)?;
    let name = name.unwrap_or_else(|| path.rsplit('/').next().unwrap_or_default().to_owned());
    let odd = |sign: char| sign.is_control() || sign == '/';
    if name.is_empty() || name.chars().count() > NAME_MAX_CHARS || name.contains(odd) {
        return Err(refuse(format!(
            "`name` must have 1 to {NAME_MAX_CHARS} characters, none of them `/` or a control"
        )));
    }
    let sink = around.blobs.ok_or_else(|| unkept("there is nowhere to keep it".to_owned()))?;
    departure.leave()?;
    let wanted = path.clone();
    let read = spawn_blocking(move || read(&at, &wanted, &redactor)).await;
    let bytes = read.map_err(|error| unkept(error.to_string()))??;
    let (size, digest) = (bytes.len(), Digest::of(&bytes));
    let kind = if std::str::from_utf8(&bytes).is_ok() { "text" } else { "binary" };
    let mut writer = sink.open(&call.tenant);
    writer.write(Bytes::from(bytes)).await.map_err(|error| unkept(error.to_string()))?;
    let kept = writer.finish().await.map_err(|error| unkept(error.to_string()))?;
    if kept != digest {
        return Err(unkept("what was kept is not what was read".to_owned()));
    }
    Ok(json!({ "artifact": digest, "path": path, "name": name, "size": size, "kind": kind }))
}

fn read(at: &std::path::Path, path: &str, redactor: &Redactor) -> Result<Vec<u8>, Failure> {
    let limits = Limits { file_bytes: ARTIFACT_MAX_BYTES, ..Limits::default() };
    let root = Root::open_with(at, limits)
        .map_err(|_| unkept("the folder is not there or cannot be opened".to_owned()))?;
    let bytes = root.whole(path).map_err(|error| said(&error, Deed::Publish))?;
    match redactor.first_in(&bytes) {
        None => Ok(bytes),
        Some((mark, at)) => {
            let message = format!(
                "`{path}` holds what must not get out, {mark} at byte {at}: nothing was kept; make the file without it"
            );
            Err(fail(Class::Permission, Landed::No, message))
        }
    }
}

fn unkept(problem: String) -> Failure {
    fail(Class::Unavailable, Landed::No, format!("the file was not kept: {problem}"))
}
