//! The pages: each a pure function from what `app` answered to markup.

pub(crate) mod about;
pub(crate) mod approvals;
pub(crate) mod card;
mod command;
pub(crate) mod exceptions;
pub(crate) mod fields;
pub(crate) mod packs;
pub(crate) mod receipts;
pub(crate) mod rollback;
pub(crate) mod runs;
pub(crate) mod timeline;
