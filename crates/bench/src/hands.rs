//! What hands cost: a file read through the gate, programs in sandboxes, a search, and the way out.

mod many;
mod outward;
mod reading;
mod search;
mod spawn;

use crate::{error::Broken, options::Options, report::Report};

pub(crate) fn measure(options: &Options, report: &mut Report) -> Result<(), Broken> {
    reading::measure(options, report)?;
    spawn::measure(options, report)?;
    search::measure(options, report)?;
    outward::measure(options, report)?;
    many::measure(options, report)
}
