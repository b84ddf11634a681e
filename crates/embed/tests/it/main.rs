//! The facade over its whole pipeline: scripted models, real loopback servers, real stores.
#[cfg(test)]
mod bounds;
#[cfg(test)]
mod crashes;
#[cfg(test)]
mod evidence;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod gate;
#[cfg(test)]
mod runs;
#[cfg(test)]
mod support;
#[cfg(test)]
mod swap;
#[cfg(test)]
mod tools;
#[cfg(test)]
mod wrong;
