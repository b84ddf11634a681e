//! The product: one facade, [`app`], and thin surfaces over it.
//!
//! `app` composes every crate of ours; a surface (today [`cli`]) parses, calls `app`, renders, and holds
//! no rule. It must not know anything else of ours, which `tests/it/arrows.rs` holds.

mod api;
pub mod app;
pub mod cli;
pub mod service;
pub mod ui;
mod web;
