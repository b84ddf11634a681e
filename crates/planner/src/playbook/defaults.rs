//! What happens to a failure that the playbook says nothing about. Safe: at worst the run stops and
//! takes back what it did.
//!
//! | class | a read | everything else |
//! | --- | --- | --- |
//! | `timeout`, `unavailable` | retry 3 times from 1 s, then stop | stop |
//! | `rate_limit` | retry 3 times from 1 s, never before the target said, then stop | stop |
//! | `stale` | retry 3 times from 1 s, then stop | stop |
//! | `permission`, `missing_field`, `unexpected_shape`, `duplicate`, `mismatch`, `unknown_field`, `invalid_arguments` | stop: again would fail again | stop |
//! | `in_doubt` | stop: nobody knows what the effect did | stop |
//! | `budget`, `policy_error` | stop: a limit or a rule is not to be worked around | stop |
//!
//! A write that failed for a passing reason stops too: repeating an effect is for its author to allow.
//! (Packs allow it where a write was put off: then it has done nothing.)

use kernel::exception::Class;

use super::program::Remedy;

/// Tries of a read beyond the first.
const RETRY_TIMES: u32 = 3;

/// The first pause before a read is tried again, in milliseconds.
const RETRY_DELAY_MS: i64 = 1_000;

/// For the failure of a step that only reads.
pub(super) fn of_read(class: Class) -> Vec<Remedy> {
    if class.may_pass() {
        vec![Remedy::Retry { times: RETRY_TIMES, delay_ms: RETRY_DELAY_MS }, Remedy::Stop]
    } else {
        of_others(class)
    }
}

/// For every other failure.
pub(super) fn of_others(class: Class) -> Vec<Remedy> {
    match class {
        Class::Timeout
        | Class::Unavailable
        | Class::RateLimit
        | Class::Permission
        | Class::MissingField
        | Class::UnexpectedShape
        | Class::Stale
        | Class::Duplicate
        | Class::Mismatch
        | Class::UnknownField
        | Class::InvalidArguments
        | Class::InDoubt
        | Class::Budget
        | Class::PolicyError => vec![Remedy::Stop],
    }
}
