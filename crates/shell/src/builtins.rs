//! Commands of the shell itself that set something or run something.

use crate::{
    reading::Effect,
    settings::Set,
    syntax::{is_name, tree::Word},
    walk::Walk,
};

/// Options of `set` that only make a shell stricter or louder.
const STRICT: &str = "euxfvnoCh";

impl Walk {
    /// Whether it was one of them, and was looked at.
    pub(crate) fn builtin(&mut self, name: &str, words: &[Word]) -> bool {
        match name {
            "eval" => self.within(name, |walk| walk.joined(name, words)),
            "trap" => self.trap(words),
            "alias" => self.alias(words),
            "export" | "readonly" | "local" | "declare" | "typeset" | "unset" => {
                self.declares(name, words);
            }
            "read" | "getopts" => self.reads(name, words),
            "printf" => self.printf(words),
            "test" | "[" => self.tests(name, words),
            "[[" => self.extended(words),
            "set" => self.options(words),
            "hash" | "unalias" => {
                let effects = if words.is_empty() { Effect::Reads } else { Effect::Unknown };
                self.note(name, [effects]);
            }
            _ => return false,
        }
        true
    }

    fn trap(&mut self, words: &[Word]) {
        match words.first().map(Word::fixed) {
            None | Some(Some("" | "-" | "-l" | "-p")) => self.note("trap", []),
            Some(Some(text)) => {
                let text = text.to_owned();
                self.within("trap", |walk| walk.text(&text));
            }
            Some(None) => self.note("trap", [Effect::Unknown]),
        }
    }

    /// An alias may change what any later word means, keywords too.
    fn alias(&mut self, words: &[Word]) {
        if words.iter().all(|word| word.fixed().is_some_and(|text| !text.contains('='))) {
            return self.note("alias", []);
        }
        for word in words {
            if let Some((_, text)) = word.fixed().and_then(|text| text.split_once('=')) {
                self.within("alias", |walk| walk.text(text));
            }
        }
        self.note("alias", [Effect::Settings]);
        self.unknown("what words mean after an alias");
    }

    fn declares(&mut self, name: &str, words: &[Word]) {
        let set = if name == "export" { Set::PassedOn } else { Set::Here };
        for word in words {
            match word.fixed().and_then(|text| text.strip_prefix('-')) {
                // Others take a value for a sum, or a name for another name.
                Some(options) if !options.chars().all(|c| "xrgpv".contains(c)) => {
                    self.unknown(format!("what `{name} -{options}` does"));
                }
                Some(_) => {}
                None => self.name_set(word, set),
            }
        }
        self.note(name, []);
    }

    fn reads(&mut self, name: &str, words: &[Word]) {
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            let option = word.fixed().and_then(|text| text.strip_prefix('-'));
            match option {
                Some(letters) if letters.ends_with(['p', 't', 'n', 'N', 'd', 'u', 'i']) => {
                    rest.next();
                }
                Some(_) => {}
                None if name == "getopts" && !word.fixed().is_some_and(is_name) => {}
                None => self.name_set(word, Set::Here),
            }
        }
        self.note(name, []);
    }

    fn printf(&mut self, words: &[Word]) {
        let first = words.first();
        if first.is_some_and(|word| word.known.starts_with("-v")) {
            match words.get(1).filter(|_| first.and_then(Word::fixed) == Some("-v")) {
                Some(word) => self.name_set(word, Set::Here),
                None => self.unknown("which variable `printf -v` sets"),
            }
        } else if words.len() > 1 && first.is_some_and(Word::may_be_option) {
            self.unknown("which variable `printf` sets");
        }
        self.note("printf", []);
    }

    /// bash takes what `-v` asks about for a place in an array, and runs what stands in its index.
    fn tests(&mut self, name: &str, words: &[Word]) {
        let mut words: Vec<&Word> = words.iter().collect();
        if name == "[" && words.last().and_then(|word| word.fixed()) == Some("]") {
            words.pop();
        }
        let asks = words.windows(2).any(|pair| match pair {
            [first, second] => {
                matches!(first.fixed(), Some("-v" | "-R")) && !second.fixed().is_some_and(is_name)
            }
            _ => false,
        });
        let open = |word: &&&Word| word.may_be_option();
        let may_ask = match words.as_slice() {
            [_] | [_, _, _] => words.iter().any(|word| word.splits),
            [first, _] => first.may_be_option() || words.iter().any(|word| word.splits),
            _ => words.iter().filter(open).count() > 0,
        };
        self.note(name, [Effect::Reads]);
        if asks || may_ask {
            self.unknown(format!("what `{name}` looks up"));
        }
    }

    /// `[[` takes names for sums.
    fn extended(&mut self, words: &[Word]) {
        let sums = ["-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-v", "-R"];
        self.note("[[", [Effect::Reads]);
        if words.iter().any(|word| sums.contains(&word.known.as_str())) {
            self.unknown("what `[[` comes to");
        }
    }

    fn options(&mut self, words: &[Word]) {
        for word in words {
            let Some(text) = word.fixed() else {
                // After `--` it only sets arguments.
                if word.may_be_option() && !words.iter().any(|w| w.fixed() == Some("--")) {
                    self.unknown("which options `set` sets");
                }
                continue;
            };
            if text == "--" {
                break;
            }
            if let Some(letters) = text.strip_prefix(['-', '+'])
                && !letters.chars().all(|c| STRICT.contains(c))
            {
                self.note("set", [Effect::Settings, Effect::Unknown]);
            }
            if ["allexport", "keyword", "posix", "history"].contains(&text) {
                self.note("set", [Effect::Settings, Effect::Unknown]);
            }
        }
        self.note("set", []);
    }
}
