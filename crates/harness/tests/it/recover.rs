//! Failures and their ways out, on the demo companies over real HTTP, with the real app in this process.

#[cfg(test)]
pub(crate) mod matrix;
#[cfg(test)]
mod monday;
#[cfg(test)]
mod page;
#[cfg(test)]
pub(crate) mod rig;
#[cfg(test)]
mod rows;
