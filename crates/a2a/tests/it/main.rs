//! The protocol, spoken with itself.

#[cfg(test)]
mod talk;
