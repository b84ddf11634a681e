//! The world as its clients meet it: over the wire only.

#[cfg(test)]
mod client;
#[cfg(test)]
mod document;
#[cfg(test)]
mod effects;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod mail;
#[cfg(test)]
mod seed;
