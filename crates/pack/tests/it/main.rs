//! Everything a pack author can meet, through the public face of the crate.

#[cfg(test)]
mod support;

#[cfg(test)]
mod agents;
#[cfg(test)]
mod compiling;
#[cfg(test)]
mod fuzzing;
#[cfg(test)]
mod mistakes;
#[cfg(test)]
mod recoveries;
#[cfg(test)]
mod routing;
#[cfg(test)]
mod shipped;
#[cfg(test)]
mod usual;
