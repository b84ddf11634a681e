//! Everything a pack author can meet, through the public face of the crate.

mod support;

mod compiling;
mod fuzzing;
mod mistakes;
mod routing;
mod shipped;
