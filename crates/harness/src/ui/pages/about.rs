//! The filters that lists share wherever something belongs to a run.

use maud::{Markup, html};

/// A filter: its name in an address, its label, and what it is set to.
pub(crate) type Filter<'a> = (&'static str, &'static str, &'a Option<String>);

/// The filters of something that was asked for, by their names.
macro_rules! about {
    ($asked:expr) => {
        [
            ("intent", "Intent", &$asked.intent),
            ("agent", "Agent", &$asked.agent),
            ("pack", "Pack", &$asked.pack),
            ("operation", "Operation", &$asked.operation),
            ("customer", "Customer", &$asked.customer),
            ("account", "Account", &$asked.account),
            ("since", "From", &$asked.since),
            ("until", "Until", &$asked.until),
        ]
    };
}
pub(crate) use about;

/// A field for each.
pub(crate) fn inputs(filters: &[Filter<'_>]) -> Markup {
    let kind = |name: &str| if matches!(name, "since" | "until") { "date" } else { "text" };
    html! {
        @for (name, label, value) in filters {
            label { (label) input name=(name) type=(kind(name)) value=(value.as_deref().unwrap_or_default()) autocomplete="off"; }
        }
    }
}

/// What an address says of them.
pub(crate) fn query<'a>(filters: &[Filter<'a>]) -> Vec<(&'static str, &'a str)> {
    filters.iter().map(|(name, _, value)| (*name, value.as_deref().unwrap_or_default())).collect()
}

/// Whether any is set.
pub(crate) fn is_set(filters: &[Filter<'_>]) -> bool {
    filters.iter().any(|(_, _, value)| value.is_some())
}
