//! Files that were handed in with a request: read when they are sent, never kept in a prompt.

use std::{collections::BTreeMap, fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kernel::{
    attachment::{Attachment, Kind},
    conversation::{Part, Prompt, Said, Segment, Thread},
    id::{Digest, RunId, Tenant},
    port::Task,
};
use serde::Deserialize;

use crate::error::Error;

/// Where the bytes of files are read that were handed in.
pub trait Files: Send + Sync + fmt::Debug {
    /// The bytes of a file that was handed in with this run.
    fn read<'a>(
        &'a self,
        of: (&'a Tenant, &'a RunId),
        file: &'a Attachment,
    ) -> Task<'a, Result<Vec<u8>, Error>>;
}

/// Files that were read: their bytes in base64, by digest.
#[derive(Clone, Debug, Default)]
pub struct Contents(BTreeMap<Digest, Arc<str>>);

impl Contents {
    /// Everything that a thread names, read.
    ///
    /// # Errors
    /// When a file cannot be read, or nobody reads any.
    pub async fn of_thread(
        files: Option<&Arc<dyn Files>>,
        of: (&Tenant, &RunId),
        thread: &Arc<Thread>,
    ) -> Result<Self, Error> {
        let mut contents = Self::default();
        for link in thread.since(|_| false) {
            let Said::Prompt(word) = link.said() else { continue };
            let prompt = Prompt::deserialize(&*word.value());
            let prompt = prompt.map_err(|e| Error::Thread(format!("no prompt: {e}")))?;
            contents.read(files, of, &contents.missing(&prompt)).await?;
        }
        Ok(contents)
    }

    /// Reads these as well.
    ///
    /// # Errors
    /// When a file cannot be read, or nobody reads any.
    pub(crate) async fn read(
        &mut self,
        files: Option<&Arc<dyn Files>>,
        of: (&Tenant, &RunId),
        missing: &[Attachment],
    ) -> Result<(), Error> {
        for file in missing {
            let nobody = || Error::Thread(format!("nobody reads files here: `{}`", file.name));
            let bytes = files.ok_or_else(nobody)?.read(of, file).await?;
            self.0.insert(file.digest, STANDARD.encode(bytes).into());
        }
        Ok(())
    }

    /// What a prompt names and is not read yet.
    pub(crate) fn missing(&self, prompt: &Prompt) -> Vec<Attachment> {
        let named = prompt.segments.iter().filter_map(|segment| match segment {
            Segment::User { parts, .. } => Some(parts.iter().filter_map(attached)),
            _ => None,
        });
        named.flatten().filter(|file| !self.0.contains_key(&file.digest)).cloned().collect()
    }

    /// Puts the bytes where a prompt names a file.
    pub(crate) fn put_into(&self, prompt: &mut Prompt) {
        for segment in &mut prompt.segments {
            let Segment::User { parts, .. } = segment else { continue };
            for part in parts {
                let Some(file) = attached(part) else { continue };
                let Some(data) = self.0.get(&file.digest) else { continue };
                *part = whole(file, data.to_string());
            }
        }
    }
}

fn attached(part: &Part) -> Option<&Attachment> {
    match part {
        Part::Attached(file) => Some(file),
        Part::Text { .. } | Part::Image { .. } | Part::File { .. } => None,
    }
}

/// A file with its bytes.
fn whole(file: &Attachment, data: String) -> Part {
    let media_type = file.media_type.clone();
    match file.kind() {
        Kind::Image => Part::Image { media_type, data },
        Kind::Pdf | Kind::Text => Part::File { name: file.name.clone(), media_type, data },
    }
}

/// The name of a file for a wire that was given none of its bytes.
pub(crate) fn named(file: &Attachment) -> String {
    format!("[{}, {}, {} bytes]", file.name, file.media_type, file.bytes)
}
