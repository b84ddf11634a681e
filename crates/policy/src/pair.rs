//! Two bundles judging as one: the pinned one, and the one in force now.

use std::sync::Arc;

use kernel::{
    Digest,
    decision::{Decision, Question},
    port::Judge,
};

use crate::{
    bundle::Bundle,
    judge::{Opinion, strictest},
};

/// A run keeps the policies it began with; operator and tenant policies that changed since also speak.
/// Both are asked, the stricter outcome stands, and the decision names the digests of both.
#[derive(Clone, Debug)]
pub struct Pair {
    /// All layers as pinned when the run began.
    pub pinned: Arc<Bundle>,
    /// Operator and tenant layers as they are now, pack and agent layers as pinned.
    pub current: Arc<Bundle>,
}

impl Pair {
    /// The digest by which a question names the policies in force now.
    #[must_use]
    pub fn current_digest(&self) -> Digest {
        self.current.digest()
    }
}

impl Judge for Pair {
    fn judge(&self, question: &Question<'_>) -> Decision {
        let known = [self.pinned.digest(), self.current.digest()];
        let named = question.current_policy;
        let alone = Question { current_policy: None, ..*question };
        let mut pinned = self.pinned.judge(&alone);
        if named.is_some_and(|digest| !known.contains(&digest)) {
            let reason =
                "other policies are in force now than are loaded; load them and judge again";
            let denied = Decision::denied("policy.not-loaded", reason);
            return Decision { policies: pinned.policies, ..denied };
        }
        if self.pinned.digest() == self.current.digest() {
            return pinned;
        }
        let current = self.current.judge(&alone);
        pinned.policies.extend(current.policies);
        let mut seen = Vec::with_capacity(pinned.policies.len());
        for digest in pinned.policies {
            if !seen.contains(&digest) {
                seen.push(digest);
            }
        }
        let both = [(pinned.verdict, pinned.rules), (current.verdict, current.rules)];
        let opinions = both.into_iter().map(|(verdict, rules)| Opinion { verdict, rules });
        let Opinion { verdict, mut rules } = strictest(opinions);
        rules.sort();
        rules.dedup();
        Decision { verdict, rules, policies: seen }
    }
}
