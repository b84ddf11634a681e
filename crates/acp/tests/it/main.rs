//! One prompt to a scripted agent over a pipe, and what such an agent cannot do to us.

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod turns;
