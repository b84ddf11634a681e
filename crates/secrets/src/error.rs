//! What can be wrong with the file of secrets, its key, or a request for a value.

/// A secret that cannot be kept or given out; says where and what to do, and never a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A reference to the key that is none.
    #[error(
        "`keys.secrets` is a reference to the key, never the key: write \"file:/path\" or \"env:NAME\""
    )]
    KeyReference,
    /// There is a file, but not the key that opens it.
    #[error(
        "{file} is there, but its key {key} is not ({problem}); bring the key back, or move the file away and set every secret again"
    )]
    KeyMissing {
        /// The file of secrets.
        file: String,
        /// Where the key should be.
        key: String,
        /// Why it cannot be read.
        problem: String,
    },
    /// Others may read the key.
    #[error("the key {key} has mode {mode:04o}, others may read it; run: chmod 600 {key}")]
    KeyOpen {
        /// Where the key is.
        key: String,
        /// Its permissions.
        mode: u32,
    },
    /// What should be a key is none.
    #[error(
        "{key} holds no age key: one line begins with AGE-SECRET-KEY-1; bring the right file back"
    )]
    NoKey {
        /// Where it was looked for.
        key: String,
    },
    /// The file was encrypted for another key.
    #[error(
        "{file} was encrypted for another key than {key}; name the right one in `keys.secrets`"
    )]
    WrongKey {
        /// The file of secrets.
        file: String,
        /// The key that was tried.
        key: String,
    },
    /// The file is not what was written.
    #[error(
        "{file} is damaged ({problem}); bring it back from a copy, or move it away and set every secret again"
    )]
    Damaged {
        /// The file of secrets.
        file: String,
        /// What does not fit.
        problem: String,
    },
    /// A place that cannot be read or written.
    #[error("{place}: {problem}; check that this user may read and write there")]
    Io {
        /// The path.
        place: String,
        /// What the system said.
        problem: String,
    },
    /// A name that is none.
    #[error("`{name}` is no name of a secret: up to {max} small letters, digits, `-`, `_` and `.`, a letter first", max = crate::NAME_MAX_CHARS)]
    Name {
        /// What was given, shortened.
        name: String,
    },
    /// A value that cannot be kept out of answers, or cannot be sent.
    #[error("the value is {problem}; give another one")]
    Value {
        /// What is wrong with it.
        problem: String,
    },
    /// No secret of this name.
    #[error(
        "there is no secret `{name}`; `harness secret list` names all, `harness secret set {name}` makes it"
    )]
    Unknown {
        /// The name.
        name: String,
    },
    /// A limit is reached.
    #[error("there are {max} {what} already, which is the most; remove some first")]
    Full {
        /// What there are too many of.
        what: &'static str,
        /// How many there may be.
        max: usize,
    },
    /// A grant that says nothing that can be held.
    #[error("the grant's {field} {problem}")]
    Grant {
        /// Which part of it.
        field: &'static str,
        /// What is wrong and what to write instead.
        problem: String,
    },
    /// No such grant.
    #[error("secret `{name}` is not granted to `{system}`; `harness secret list` shows its grants")]
    NoGrant {
        /// The secret.
        name: String,
        /// To whom.
        system: String,
    },
    /// Whoever asks may not have the value there.
    #[error("secret `{name}` is not granted to {asked}; to grant it, run: {command}")]
    NotGranted {
        /// The secret.
        name: String,
        /// Who asked, and for what.
        asked: String,
        /// What grants exactly that.
        command: String,
    },
    /// What values should be sealed for is no public key.
    #[error(
        "redaction.keep_for holds one to {max} public keys of age, such as age1…; the one in place {} is none", place + 1, max = crate::keeper::RECIPIENTS_MAX
    )]
    Recipient {
        /// Which of them.
        place: usize,
    },
    /// Nothing is kept under a name.
    #[error(
        "nothing is kept under `{name}`; what is old is forgotten after redaction.keep_days, and only what was taken out since redaction.keep_for stands in the configuration was kept"
    )]
    NotKept {
        /// The name, shortened.
        name: String,
    },
    /// It was sealed for other keys.
    #[error(
        "`{name}` was sealed for another key; use the one whose public half redaction.keep_for named then"
    )]
    KeptForOthers {
        /// Its name.
        name: String,
    },
    /// What is kept is not what was written.
    #[error("what is kept under `{name}` is damaged; bring the file back from a copy")]
    KeptDamaged {
        /// Its name.
        name: String,
    },
}
