//! What the attributes register: everything linked into the program, found without a list.

use kernel::agent::{Guide, GuideScope, Skill};

use crate::{Hook, Sensor, Tool};

/// One thing that an attribute has made.
#[derive(Debug)]
pub enum Registered {
    /// By `#[tool]`.
    Tool(fn() -> Tool),
    /// By `#[skill]`.
    Skill(fn() -> Skill),
    /// By `#[guide]`.
    Guide(fn() -> Guide),
    /// By `#[sensor]`.
    Sensor(fn() -> Sensor),
    /// By `#[hook]`.
    Hook(fn() -> Hook),
}

inventory::collect!(Registered);

/// A skill: what it is called, what it is for, what it says.
#[must_use]
pub fn skill(name: &str, description: &str, text: impl Into<String>) -> Skill {
    let (name, description) = (name.to_owned(), description.to_owned());
    Skill { name, description, text: text.into(), files: Vec::new() }
}

/// A guide: what it is called, when it is told, what it says.
#[must_use]
pub fn guide(name: &str, when: GuideScope, text: impl Into<String>) -> Guide {
    Guide { name: name.to_owned(), when, text: text.into() }
}

/// Everything registered of one sort, in the order of its names: links come in no order.
pub(crate) fn all<T>(
    pick: impl Fn(&Registered) -> Option<T>,
    name: impl Fn(&T) -> String,
) -> Vec<T> {
    let mut found: Vec<T> = inventory::iter::<Registered>.into_iter().filter_map(pick).collect();
    found.sort_by_key(name);
    found
}
