//! What readings say of commands, and that nothing makes one say less.

mod corpus;
mod milder;
mod real;
mod words;
