//! The drive loop over real stores and a scripted world: nothing lost, nothing twice.
#[cfg(test)]
mod clocks;
#[cfg(test)]
mod drains;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod halts;
#[cfg(test)]
mod runs;
#[cfg(test)]
mod support;
