//! Programs that run another one: where its words begin.

use crate::syntax::tree::Word;

/// How a program that runs another takes its own options.
pub(crate) struct Wrapper {
    pub(crate) name: &'static str,
    /// Short options without a value.
    flags: &'static str,
    /// Short options with one.
    values: &'static str,
    long_flags: &'static [&'static str],
    long_values: &'static [&'static str],
    /// Words of its own before the program.
    places: usize,
}

const fn wrapper(
    name: &'static str,
    flags: &'static str,
    values: &'static str,
    places: usize,
) -> Wrapper {
    Wrapper { name, flags, values, long_flags: &[], long_values: &[], places }
}

/// Programs that only run another.
pub(crate) const WRAPPERS: [Wrapper; 20] = [
    wrapper("nohup", "", "", 0),
    Wrapper { long_values: &["adjustment"], ..wrapper("nice", "0123456789", "n", 0) },
    Wrapper { long_values: &["class", "classdata"], ..wrapper("ionice", "t", "cn", 0) },
    Wrapper {
        long_flags: &["foreground", "preserve-status", "verbose"],
        long_values: &["signal", "kill-after"],
        ..wrapper("timeout", "fpv", "sk", 1)
    },
    Wrapper { long_values: &["input", "output", "error"], ..wrapper("stdbuf", "", "ioe", 0) },
    Wrapper { long_flags: &["ctty", "fork", "wait"], ..wrapper("setsid", "cfw", "", 0) },
    wrapper("chrt", "abfior", "", 1),
    wrapper("taskset", "ac", "", 1),
    Wrapper { long_flags: &["portability", "verbose"], ..wrapper("time", "pvq", "f", 0) },
    wrapper("command", "p", "", 0),
    wrapper("builtin", "", "", 0),
    wrapper("exec", "cl", "a", 0),
    wrapper("env", "i0v", "uC", 0),
    wrapper("xargs", "0rtpxo", "ILnPsdEa", 0),
    Wrapper {
        long_flags: &["preserve-env", "non-interactive", "set-home", "stdin"],
        long_values: &["user", "group"],
        ..wrapper("sudo", "nEHSkAbPB", "ugpCThr", 0)
    },
    wrapper("doas", "nL", "u", 0),
    wrapper("busybox", "", "", 0),
    wrapper("toybox", "", "", 0),
    wrapper("chroot", "", "", 1),
    wrapper("watch", "bcdegtx", "n", 0),
];

/// Long options of `env` and `xargs`, which are written out where they are few.
const ENV_LONG: (&[&str], &[&str]) = (&["ignore-environment", "null"], &["unset", "chdir"]);
const XARGS_LONG: (&[&str], &[&str]) = (
    &["null", "no-run-if-empty", "verbose", "exit", "open-tty"],
    &["max-args", "max-procs", "max-chars", "delimiter", "arg-file", "max-lines"],
);

pub(crate) fn find(name: &str) -> Option<&'static Wrapper> {
    WRAPPERS.iter().find(|wrapper| wrapper.name == name)
}

/// The words of the program that is run, and the options with a value before it, by their letter.
pub(crate) type Inner<'w> = (&'w [Word], Vec<(char, &'w Word)>);

/// The words of the program that is run, and the values of options by their letter; `None` where it cannot be said
/// which of the words are options.
pub(crate) fn inner<'w>(wrapper: &Wrapper, words: &'w [Word]) -> Option<Inner<'w>> {
    let (long_flags, long_values) = match wrapper.name {
        "env" => ENV_LONG,
        "xargs" => XARGS_LONG,
        _ => (wrapper.long_flags, wrapper.long_values),
    };
    let mut given = Vec::new();
    let mut rest = words;
    while let Some((word, after)) = rest.split_first() {
        if word.may_be_option() {
            return None;
        }
        let text = word.known.as_str();
        if text == "--" {
            rest = after;
            break;
        }
        let is_env_dash = wrapper.name == "env" && text == "-";
        if is_env_dash {
            rest = after;
            continue;
        }
        let Some(option) = text.strip_prefix('-').filter(|option| !option.is_empty()) else {
            break;
        };
        rest = after;
        if let Some(long) = option.strip_prefix('-') {
            let (name, has_value) = match long.split_once('=') {
                Some((name, _)) => (name, true),
                None => (long, false),
            };
            match (long_flags.contains(&name), long_values.contains(&name), has_value) {
                (true, _, _) | (_, true, true) => {}
                (_, true, false) => rest = value(rest)?.1,
                _ => return None,
            }
            continue;
        }
        let mut letters = option.chars();
        while let Some(letter) = letters.next() {
            if wrapper.flags.contains(letter) {
                continue;
            }
            if !wrapper.values.contains(letter) {
                return None;
            }
            if letters.as_str().is_empty() {
                let (word, after) = value(rest)?;
                given.push((letter, word));
                rest = after;
            } else {
                given.push((letter, word));
            }
            break;
        }
    }
    for _ in 0..wrapper.places {
        rest = value(rest)?.1;
    }
    Some((rest, given))
}

/// One word that stays one.
fn value(words: &[Word]) -> Option<(&Word, &[Word])> {
    words.split_first().filter(|(word, _)| !word.splits)
}
