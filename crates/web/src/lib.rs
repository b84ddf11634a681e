//! Pages of the web as Markdown, and what search engines find.
//!
//! - An [`Address`] is read in one way or refused; [`Places`] say which hosts may be asked.
//! - [`Web`] fetches a page: redirects are followed by hand, and every hop is held against the same rules, resolved once,
//!   checked address by address and connected to as checked. `robots.txt` is respected, a host is asked one thing at a
//!   time, bodies are cut where there is no more room, pages are kept as their hosts allow.
//! - HTML becomes Markdown without what a person does not see.
//! - [`Searcher`] asks a search engine; a [`Provider`] knows the words of one.
//!
//! It must not know operations, permits or secrets: `connect` hands it a key for one call, and asks before something
//! leaves. Whatever it returns is the word of whoever wrote the page.
//!
//! Start at `fetch.rs`, then `address.rs` and `places.rs` (where it may go), `html/` (what is made of a page), `search/`.

mod address;
mod cache;
mod content;
mod error;
mod fetch;
mod hosts;
mod html;
mod page;
mod places;
mod robots;
mod search;
mod wire;

pub use address::{ADDRESS_BYTES_MAX, Address, Unreadable};
pub use content::Format;
pub use error::{Failed, Why, Wrong};
pub use fetch::{
    BODY_BYTES_MAX, CACHE_BYTES_MAX, CACHE_PAGES_MAX, Limits, REDIRECTS_MAX, Ways, Web,
};
pub use page::{CHARS_DEFAULT, CHARS_MAX, Fetched, Page, Part, Range, Source};
pub use places::{LISTED_MAX, Others, Places, Reach, Unlisted};
pub use robots::ROBOTS_BYTES_MAX;
pub use search::{
    Asked, Engine, Found, Hit, Provider, QUERY_CHARS_MAX, Query, RESULTS_DEFAULT, RESULTS_MAX,
    Reply, Searcher,
};
pub use wire::{PAUSE_MAX_MS, PRODUCT, Trip};
