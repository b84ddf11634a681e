//! Results too large to travel: they stream to a sink the host gives, and a reference travels instead.

use std::{fmt, io, sync::Arc};

use bytes::Bytes;
use kernel::{
    exception::{Class, Landed},
    id::{Digest, Tenant},
    port::{Failure, Task},
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    call::{Arrived, Call, fail, landed_if_write},
    ingest::may_travel_unread,
    redact::{Redactor, Scrubber},
};

/// Largest result that is decoded and travels whole, in bytes.
pub const PREVIEW_BYTES: usize = 256 * 1024;

/// How much of a larger result travels as text, in bytes.
pub const PREVIEW_TEXT_BYTES: usize = 4 * 1024;

/// Largest result that is kept at all, in bytes.
pub const BLOB_MAX_BYTES: u64 = 256 * 1024 * 1024;

/// Where large results go.
pub trait BlobSink: Send + Sync + fmt::Debug {
    /// Begins one blob of this tenant.
    fn open(&self, tenant: &Tenant) -> Box<dyn BlobWriter>;
}

/// One blob being written. Dropped before `finish`, it leaves nothing.
pub trait BlobWriter: Send {
    /// Appends bytes.
    fn write(&mut self, bytes: Bytes) -> Task<'_, io::Result<()>>;

    /// Makes it durable; the digest of exactly the bytes written.
    fn finish(self: Box<Self>) -> Task<'static, io::Result<Digest>>;
}

/// A body as received: small enough to decode, or on its way to the sink.
pub(crate) enum Body {
    /// All of it.
    Small(Vec<u8>),
    /// All of it has come; [`Spill::keep`] makes it durable.
    Large(Box<Spill>),
}

/// What stands for a stored body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Digest of the stored, redacted bytes.
    pub blob: Digest,
    /// Digest of the bytes as received.
    pub received: Digest,
    /// How many were received.
    pub bytes: u64,
    /// The beginning as text, redacted.
    pub preview: String,
}

/// Collects a body: in memory up to [`PREVIEW_BYTES`], from there on into the sink.
pub(crate) struct Collector<'a> {
    sink: Option<&'a dyn BlobSink>,
    tenant: &'a Tenant,
    redactor: Arc<Redactor>,
    landed: Landed,
    buffer: Vec<u8>,
    spill: Option<Spill>,
}

/// A large body that is being handed to the sink.
pub(crate) struct Spill {
    writer: Box<dyn BlobWriter>,
    scrubber: Scrubber,
    hash: Sha256,
    bytes: u64,
    preview: Vec<u8>,
    landed: Landed,
}

impl<'a> Collector<'a> {
    /// `landed`: what a body that cannot be kept says about the effect.
    pub(crate) fn new(
        sink: Option<&'a dyn BlobSink>,
        tenant: &'a Tenant,
        redactor: Arc<Redactor>,
        landed: Landed,
    ) -> Self {
        Self { sink, tenant, redactor, landed, buffer: Vec::new(), spill: None }
    }

    /// Refuses a body that says beforehand that it is too large: none of it is read.
    pub(crate) fn expect(&self, length: Option<u64>) -> Result<(), Failure> {
        if length.is_none_or(|length| length <= BLOB_MAX_BYTES) {
            return Ok(());
        }
        Err(too_large(self.landed))
    }

    pub(crate) async fn push(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if let Some(spill) = &mut self.spill {
            return spill.push(bytes).await;
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() <= PREVIEW_BYTES {
            return Ok(());
        }
        let Some(sink) = self.sink else {
            let message =
                format!("the result is larger than {PREVIEW_BYTES} bytes; ask for less of it");
            return Err(fail(Class::UnexpectedShape, self.landed, message));
        };
        let mut spill = Spill {
            writer: sink.open(self.tenant),
            scrubber: Scrubber::new(Arc::clone(&self.redactor)),
            hash: Sha256::new(),
            bytes: 0,
            preview: Vec::new(),
            landed: self.landed,
        };
        let buffered = std::mem::take(&mut self.buffer);
        spill.push(&buffered).await?;
        self.spill = Some(spill);
        Ok(())
    }

    /// Nothing more comes.
    pub(crate) fn finish(self) -> Body {
        match self.spill {
            None => Body::Small(self.buffer),
            Some(spill) => Body::Large(Box::new(spill)),
        }
    }
}

impl Spill {
    async fn push(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.bytes += bytes.len() as u64;
        if self.bytes > BLOB_MAX_BYTES {
            return Err(too_large(self.landed));
        }
        self.hash.update(bytes);
        let clean = self.scrubber.push(bytes);
        self.store(clean).await
    }

    async fn store(&mut self, clean: Vec<u8>) -> Result<(), Failure> {
        let room = PREVIEW_TEXT_BYTES.saturating_sub(self.preview.len());
        self.preview.extend(clean.iter().take(room));
        let landed = self.landed;
        self.writer.write(Bytes::from(clean)).await.map_err(|e| unstored(&e, landed))
    }

    /// Makes it durable.
    pub(crate) async fn keep(mut self) -> Result<Stored, Failure> {
        let clean = self.scrubber.finish();
        self.store(clean).await?;
        let landed = self.landed;
        let blob = self.writer.finish().await.map_err(|e| unstored(&e, landed))?;
        let preview = String::from_utf8_lossy(&self.preview);
        // A character cut in half at the end is left out.
        let preview = preview.trim_end_matches(char::REPLACEMENT_CHARACTER).to_owned();
        let received = Digest(self.hash.finalize().into());
        Ok(Stored { blob, received, bytes: self.bytes, preview })
    }
}

fn too_large(landed: Landed) -> Failure {
    let message = format!("the result is larger than {BLOB_MAX_BYTES} bytes; ask for less of it");
    fail(Class::UnexpectedShape, landed, message)
}

fn unstored(error: &io::Error, landed: Landed) -> Failure {
    let message = format!("a large result could not be stored: {}", error.kind());
    fail(Class::UnexpectedShape, landed, message)
}
/// Passes a value on that is an answer as a whole; a large one goes where large ones go.
pub(crate) async fn pass_on(
    value: &Value,
    call: &Call,
    (sink, redactor): (Option<&dyn BlobSink>, &Arc<Redactor>),
) -> Result<Arrived, Failure> {
    let landed = landed_if_write(&call.operation);
    let sink = sink.filter(|_| may_travel_unread(&call.operation, &call.masks));
    let mut collector = Collector::new(sink, &call.tenant, Arc::clone(redactor), landed);
    collector.push(value.to_string().as_bytes()).await?;
    Ok(Arrived::from(collector.finish()))
}
