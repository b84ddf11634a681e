//! What can be wrong with bindings, systems and secrets, found before anything is called.

use kernel::id::OperationId;

/// Furthest edit distance at which another name is suggested.
const NEAR: usize = 3;

/// A binding, system or secret that cannot be used; says where and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A key nobody reads.
    #[error("operation {operation}: binding{at} has an unknown key `{key}`{hint}")]
    UnknownKey {
        /// Whose binding.
        operation: OperationId,
        /// JSON pointer to the object that holds it.
        at: String,
        /// The key.
        key: String,
        /// The nearest known key, or all of them.
        hint: String,
    },
    /// A key whose value cannot be used.
    #[error("operation {operation}: binding{at}: {problem}")]
    Binding {
        /// Whose binding.
        operation: OperationId,
        /// JSON pointer to the place.
        at: String,
        /// What is wrong and what to write instead.
        problem: String,
    },
    /// A system the operator has not declared.
    #[error(
        "operation {operation}: no system `{system}` is declared{hint}; add [systems.{system}] to harness.toml"
    )]
    UnknownSystem {
        /// Whose binding.
        operation: OperationId,
        /// The name.
        system: String,
        /// The nearest declared name.
        hint: String,
    },
    /// A secret the operator has not declared.
    #[error(
        "no secret `{secret}` is declared{hint}; add `{secret} = \"secret:NAME\"`, `\"env:NAME\"` or `\"file:/path\"` under [secrets] in harness.toml"
    )]
    UnknownSecret {
        /// The name.
        secret: String,
        /// The nearest declared name.
        hint: String,
    },
    /// A secret's value where its reference should stand.
    #[error(
        "secret `{secret}` is written inline; write a reference instead: \"secret:NAME\", \"env:NAME\" or \"file:/path\", and change the value, since it was in a file others may read"
    )]
    InlineSecret {
        /// The name.
        secret: String,
    },
    /// A reference that leads to no usable value.
    #[error("secret `{secret}`: {problem}")]
    Secret {
        /// The name.
        secret: String,
        /// What is wrong and what to do; never the value.
        problem: String,
    },
    /// A system that cannot be used as declared.
    #[error("system `{system}`: {problem}")]
    System {
        /// The name.
        system: String,
        /// What is wrong and what to do.
        problem: String,
    },
}

/// `; did you mean x?` for the nearest candidate, `; known: …` when none is near.
pub(crate) fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let distance = |other: &&str| strsim::damerau_levenshtein(name, other);
    match known.iter().min_by_key(|other| distance(other)) {
        Some(near) if distance(near) <= NEAR => format!("; did you mean `{near}`?"),
        Some(_) => format!("; known: {}", known.join(", ")),
        None => String::new(),
    }
}
