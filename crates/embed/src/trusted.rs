//! Values whose trust is a matter of type.

use std::{fmt, ops::Deref};

use kernel::label::{Label, Trust};

/// A value that no untrusted input shaped: the word of a person, an operator or a declared system.
///
/// Only the harness makes one, from a value's label: there is no constructor, no `From`, no
/// `Deserialize`. A tool that takes a `Trusted<T>` is not called with anything less, whatever the model
/// wrote; and what a tool returns is never one, because it cannot be written as a result.
///
/// ```compile_fail,E0423
/// let account = embed::Trusted("ACC-1".to_owned());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Trusted<T> {
    value: T,
    label: Label,
}

impl<T> Trusted<T> {
    /// The value, if its label says that nothing untrusted had a part in it.
    pub(crate) fn of(value: T, label: Label) -> Option<Self> {
        (label.trust > Trust::Untrusted).then_some(Self { value, label })
    }

    /// Whose word it is, and how far it may travel.
    #[must_use]
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// The value alone: from here on nothing says that it can be trusted.
    #[must_use]
    pub fn into_value(self) -> T {
        self.value
    }
}

impl<T> Deref for Trusted<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Trusted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trusted").field(&self.value).field(&self.label.trust).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel::label::Confidentiality;

    #[test]
    fn only_what_is_not_tainted_is_trusted() {
        let label = |trust| Label::new(trust, Confidentiality::Internal);
        assert!(Trusted::of(1, label(Trust::Untrusted)).is_none());
        for trust in [Trust::Verified, Trust::User, Trust::Operator, Trust::System] {
            let trusted = Trusted::of(1, label(trust)).unwrap();
            assert_eq!((*trusted, trusted.label().trust), (1, trust));
        }
        assert!(Trusted::of((), Label::default()).is_none());
    }
}
