//! The pages of the product: six places, drawn by the server, the same with and without a script.
//!
//! A page is a pure function from what `app` answers to markup (`pages`); what every page shares is in
//! `shell` and `parts`. Start with `pages/card.rs`: the order of the approval card is its design.

pub mod assets;
mod browser;
mod forms;
mod icons;
mod pages;
mod parts;
mod routes;
mod scale;
mod shell;
mod times;
pub mod views;

pub(crate) use browser::for_browsers;
pub use forms::{FORMS, Sends};
pub(crate) use routes::router;
