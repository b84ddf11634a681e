//! Receipts: signed statements, the log that holds them, and their verification with public keys alone.
//!
//! Pure: bytes in, bytes or a [`verify::Report`] out. It must not know: files, the clock, randomness,
//! how a journal is stored, or any crate of ours but `kernel`. Trusted keys always come from outside
//! ([`key::Keys`]), never from what is being verified.
//!
//! Start with [`bundle::Bundle`], one run as another machine can check it, and [`verify::verify`],
//! which checks it. Below them: [`dsse`] (envelopes), [`merkle`] (RFC 6962 log), [`checkpoint`]
//! (signed notes). `docs/receipt-format.md` describes every byte; `tests/verify.py` was written from
//! that page and must agree with this crate on every case in `tests/it`.

pub mod bundle;
pub mod checkpoint;
pub mod dsse;
mod error;
pub mod key;
pub mod merkle;
pub mod statement;
pub mod verify;

pub use error::Error;
