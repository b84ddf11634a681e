//! Secrets at rest: one `age` file of named values, and who may use which of them where.
//!
//! It must not know: systems, operations, packs, runs. What it is asked is a [`Use`]: the name of who asks, and
//! as far as there is one the host, the method and the path of the request that the value goes into.
//!
//! Start with [`Safe`]: `read` gives the [`Book`] as it is now, `change` rewrites it, whole or not at all. A value
//! is given out by [`Book::value`] alone, and only for a use that a [`Grant`] covers. The file can be read with
//! the `age` tool and the key file as well: nobody is locked in.
//!
//! [`keeper`] seals what was taken out of texts for a key that harness does not have.

mod book;
mod error;
mod grant;
pub mod keeper;
mod key;
mod safe;

pub use book::{
    Book, EARLIER_MAX, Entry, GRANTS_MAX, NAME_MAX_CHARS, SECRETS_MAX, VALUE_MAX_BYTES,
    VALUE_MIN_BYTES, Value, check_name, check_value,
};
pub use error::Error;
pub use grant::{Grant, Use};
pub use safe::Safe;
