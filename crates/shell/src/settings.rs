//! Variables that change what programs do.

/// Variables that decide which programs run, or what they run besides.
const DECIDE: [&str; 39] = [
    "PATH",
    "IFS",
    "ENV",
    "BASH_ENV",
    "SHELLOPTS",
    "BASHOPTS",
    "PS0",
    "PS1",
    "PS2",
    "PS4",
    "PROMPT_COMMAND",
    "CDPATH",
    "SHELL",
    "HOME",
    "EDITOR",
    "VISUAL",
    "PAGER",
    "MANPAGER",
    "BROWSER",
    "LESSOPEN",
    "LESSCLOSE",
    "TAR_OPTIONS",
    "RSYNC_RSH",
    "NODE_OPTIONS",
    "NODE_PATH",
    "RUBYOPT",
    "RUBYLIB",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "MAKEFLAGS",
    "MAKEFILES",
    "RUSTC",
    "CC",
    "CXX",
    "SUDO_ASKPASS",
    "SSH_ASKPASS",
    "RIPGREP_CONFIG_PATH",
    "TMPDIR",
    "GLOBIGNORE",
];

/// How the names of more of them begin.
const DECIDE_BEGIN: [&str; 16] = [
    "LD_", "DYLD_", "GIT_", "PYTHON", "PERL", "BASH_", "NPM_", "npm_", "CARGO_", "RUSTC_", "GCONV",
    "LUA_", "PHP", "DOTNET_", "XDG_", "GREP_",
];

/// Variables that change only how things look.
const LOOKS: [&str; 13] = [
    "LANG",
    "LANGUAGE",
    "TZ",
    "TERM",
    "COLUMNS",
    "LINES",
    "NO_COLOR",
    "CLICOLOR",
    "FORCE_COLOR",
    "CI",
    "RUST_BACKTRACE",
    "RUST_LOG",
    "BLOCKSIZE",
];

/// What setting a variable comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Nothing that a program would notice.
    Nothing,
    /// Programs behave otherwise.
    Changes,
    /// What goes over the network goes elsewhere.
    Route,
    /// Other programs run than the command names.
    Decides,
}

/// Where a variable is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Set {
    /// For the shell, which passes it on only where it was passed on before.
    Here,
    /// For a program.
    PassedOn,
}

/// What setting this variable comes to.
pub(crate) fn weight(name: &str, set: Set) -> Weight {
    let looks = LOOKS.contains(&name) || name.starts_with("LC_");
    let begins = DECIDE_BEGIN.iter().any(|beginning| name.starts_with(beginning));
    match name {
        _ if DECIDE.contains(&name) || begins => Weight::Decides,
        _ if name.to_ascii_lowercase().ends_with("_proxy") => Weight::Route,
        _ if looks => Weight::Nothing,
        _ if set == Set::Here && !name.bytes().any(|b| b.is_ascii_uppercase()) => Weight::Nothing,
        _ => Weight::Changes,
    }
}
