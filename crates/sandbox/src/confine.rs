//! What the process that becomes the program does to itself, in this order: limits, privileges, files, calls. Each
//! step is one that the program cannot take back.

mod calls;
mod files;
mod filter;
mod limits;
mod privileges;

pub(crate) use privileges::empty_sets;

use crate::wire::{Fault, Order};

/// Where the private temporary folder is inside.
pub(crate) fn scratch(order: &Order) -> &std::path::Path {
    order.scratch.as_deref().unwrap_or(std::path::Path::new("/tmp"))
}

/// Confines this process and everything it will start.
pub(crate) fn confine(order: &Order) -> Result<(), Fault> {
    // Opening what rules name needs descriptors, so the limit of them comes after.
    let rules = files::prepare(order)?;
    privileges::drop(order)?;
    limits::set(order)?;
    if let Some(rules) = rules {
        files::enforce(rules)?;
    }
    calls::filter(order)
}
