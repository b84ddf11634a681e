//! Follows a command into everything it hands on.

use std::collections::BTreeSet;

use crate::{
    handed,
    reading::{Effect, PROGRAMS_MAX, Program, Reading, shown},
    settings::{Set, Weight, weight},
    syntax::{
        self, is_name,
        tree::{Command, Redirect, Script, Simple, Word},
    },
    table,
};

/// How often a command may be handed on.
const HANDED_MAX: usize = 16;

/// Most commands that are looked at, those within others counted again.
const LOOKS_MAX: usize = 20_000;

/// Folders in which programs have the names that the table knows.
const PROGRAM_FOLDERS: [&str; 5] =
    ["/bin/", "/usr/bin/", "/sbin/", "/usr/sbin/", "/usr/local/bin/"];

/// Programs that read commands.
const SHELLS: [&str; 9] = ["sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "rbash", "fish"];

#[derive(Debug, Default)]
pub(crate) struct Walk {
    pub(crate) reading: Reading,
    functions: BTreeSet<String>,
    through: Vec<String>,
    looks: usize,
}

impl Walk {
    /// Notes what nobody can know.
    pub(crate) fn unknown(&mut self, what: impl Into<String>) {
        let what: String = what.into();
        self.reading.effects.insert(Effect::Unknown);
        if self.reading.unknown.len() < PROGRAMS_MAX && !self.reading.unknown.contains(&what) {
            self.reading.unknown.push(what);
        }
    }

    /// Reads a text of commands.
    pub(crate) fn text(&mut self, text: &str) {
        match syntax::parse(text, self.through.len()) {
            Ok(script) => self.script(&script),
            Err(syntax::Unreadable(why)) => {
                self.unknown(format!("what `{}` does: {why}", shown(text)))
            }
        }
    }

    fn script(&mut self, script: &Script) {
        // A function may be called before the place where it stands, from another.
        for command in script {
            if let Command::Compound(compound) = command {
                self.functions.extend(compound.defines.clone());
            }
        }
        for command in script {
            self.looks += 1;
            if self.looks > LOOKS_MAX {
                return self.unknown(format!("the rest: it has more than {LOOKS_MAX} commands"));
            }
            match command {
                Command::Simple(simple) => self.simple(simple),
                Command::Compound(compound) => {
                    compound.words.iter().for_each(|word| self.word(word));
                    compound.sets.iter().for_each(|name| self.sets(name, Set::Here));
                    compound.unsure.iter().for_each(|what| self.unknown(what.clone()));
                    self.script(&compound.body);
                    self.redirects(&compound.redirects);
                }
            }
        }
    }

    /// What runs to make a word, and what it sets.
    fn word(&mut self, word: &Word) {
        self.script(&word.commands);
        word.unsure.iter().for_each(|what| self.unknown(shown(what)));
        word.sets.iter().for_each(|name| self.sets(name, Set::Here));
    }

    pub(crate) fn sets(&mut self, name: &str, set: Set) {
        match weight(name, set) {
            Weight::Nothing => {}
            Weight::Changes => self.does(Effect::Settings),
            Weight::Route => {
                self.does(Effect::Settings);
                self.does(Effect::Network);
            }
            Weight::Decides => {
                self.does(Effect::Settings);
                self.unknown(format!("what runs once `{}` is set", shown(name)));
            }
        }
    }

    fn does(&mut self, effect: Effect) {
        self.reading.effects.insert(effect);
    }

    fn redirects(&mut self, redirects: &[Redirect]) {
        for redirect in redirects {
            match redirect {
                Redirect::Same | Redirect::SameInput => {}
                Redirect::Here(text) | Redirect::Beside(text) => {
                    if let Some(word) = text.get() {
                        self.word(word);
                    }
                }
                Redirect::From(word) => {
                    self.word(word);
                    self.opens(word, Effect::Reads);
                }
                Redirect::To(word) => {
                    self.word(word);
                    self.opens(word, Effect::Writes);
                }
            }
        }
    }

    fn opens(&mut self, word: &Word, effect: Effect) {
        let known = word.known.as_str();
        let quiet = ["/dev/null", "/dev/stdout", "/dev/stderr", "/dev/stdin", "/dev/tty"];
        if word.fixed().is_some_and(|path| quiet.contains(&path)) {
            return;
        }
        self.does(effect);
        if word.source.starts_with(['<', '>']) {
            return;
        }
        // bash connects where such a file is opened.
        if ["/dev/tcp", "/dev/udp"].iter().any(|device| known.starts_with(device)) {
            self.does(Effect::Network);
        }
        let device = known.starts_with("/dev/") || "/dev/".starts_with(known);
        if !word.whole && (device || word.splits) {
            let does = if effect == Effect::Writes { "written" } else { "read" };
            self.unknown(format!("which file is {does} at `{}`", shown(&word.source)));
        }
        if effect == Effect::Writes && self.reading.writes.len() < PROGRAMS_MAX {
            let path = shown(&word.source);
            if !self.reading.writes.contains(&path) {
                self.reading.writes.push(path);
            }
        }
    }

    fn simple(&mut self, simple: &Simple) {
        let set = if simple.words.is_empty() { Set::Here } else { Set::PassedOn };
        for (name, value) in &simple.assigns {
            self.word(value);
            self.sets(name, set);
        }
        simple.words.iter().for_each(|word| self.word(word));
        self.redirects(&simple.redirects);
        let inputs = simple.redirects.iter().filter(|redirect| {
            matches!(redirect, Redirect::Here(_) | Redirect::From(_) | Redirect::SameInput)
        });
        // Of several, which one a program reads is left to shells.
        let here = match inputs.collect::<Vec<_>>().as_slice() {
            [Redirect::Here(text)] => text.get(),
            _ => None,
        };
        self.program(&simple.words, here);
    }

    /// Notes a program and what it does.
    pub(crate) fn note(&mut self, name: &str, effects: impl IntoIterator<Item = Effect>) {
        let effects: BTreeSet<Effect> = effects.into_iter().collect();
        if effects.contains(&Effect::Unknown) {
            self.unknown(format!("what `{}` does", shown(name)));
        }
        self.reading.effects.extend(&effects);
        let program = Program { name: shown(name), effects, through: self.through.clone() };
        if self.reading.programs.contains(&program) {
            return;
        }
        if self.reading.programs.len() >= PROGRAMS_MAX {
            return self.unknown(format!("all of it: it names more than {PROGRAMS_MAX} programs"));
        }
        self.reading.programs.push(program);
    }

    /// Goes on inside of what another program runs.
    pub(crate) fn within(&mut self, name: &str, go_on: impl FnOnce(&mut Self)) {
        if self.through.len() >= HANDED_MAX {
            return self.unknown(format!("what is handed on more than {HANDED_MAX} times"));
        }
        self.through.push(shown(name));
        go_on(self);
        self.through.pop();
    }

    /// A program, a builtin or a function by its words; `here` is the text that it reads, where the command has one.
    pub(crate) fn program(&mut self, words: &[Word], here: Option<&Word>) {
        let Some((first, rest)) = words.split_first() else { return };
        let Some(written) = first.fixed() else {
            self.note(&first.source, [Effect::Unknown]);
            return self.unknown(format!("which program `{}` is", shown(&first.source)));
        };
        let known = PROGRAM_FOLDERS.iter().find_map(|folder| written.strip_prefix(folder));
        let name = known.unwrap_or(written);
        if name.contains('/') {
            return self.note(written, [Effect::RunsCode]);
        }
        let defined = self.functions.contains(written);
        if defined {
            self.note(written, []);
        }
        if self.builtin(name, rest) {
            return;
        }
        match name {
            _ if SHELLS.contains(&name) => self.shell(name, rest, here),
            "find" | "gfind" => self.find(name, rest),
            "xargs" => self.xargs(rest),
            "env" => self.env(rest),
            _ if handed::find(name).is_some() => self.wrapped(name, rest, here),
            _ => match table::effects(name, rest) {
                Some(effects) => self.note(written, effects),
                None if defined => {}
                None => {
                    self.note(written, [Effect::Unknown]);
                }
            },
        }
    }

    fn wrapped(&mut self, name: &str, words: &[Word], here: Option<&Word>) {
        let Some(wrapper) = handed::find(name) else { return };
        let looks_up = words.first().and_then(Word::fixed).is_some_and(|w| w == "-v" || w == "-V");
        if name == "command" && looks_up {
            return self.note(name, [Effect::Reads]);
        }
        let Some((inner, _)) = handed::inner(wrapper, words) else {
            return self.note(name, [Effect::Unknown]);
        };
        if matches!(name, "sudo" | "doas" | "chroot") {
            self.note(name, [Effect::Privilege]);
        }
        if name == "watch" {
            return self.within(name, |walk| walk.joined(name, inner));
        }
        if inner.is_empty() {
            return self.note(name, []);
        }
        self.within(name, |walk| walk.program(inner, here));
    }

    /// Words that together are a text of commands.
    pub(crate) fn joined(&mut self, name: &str, words: &[Word]) {
        let texts: Option<Vec<&str>> = words.iter().map(Word::fixed).collect();
        match texts {
            Some(texts) => self.text(&texts.join(" ")),
            None => self.note(name, [Effect::Unknown]),
        }
    }

    fn env(&mut self, words: &[Word]) {
        let found = handed::find("env").and_then(|wrapper| handed::inner(wrapper, words));
        let Some((mut inner, _)) = found else { return self.note("env", [Effect::Unknown]) };
        while let Some((word, rest)) = inner.split_first() {
            let Some((name, _)) = word.known.split_once('=') else { break };
            self.sets(name, Set::PassedOn);
            inner = rest;
            // More words than one may come of it.
            if word.splits {
                return self.note("env", [Effect::Unknown]);
            }
        }
        if inner.is_empty() {
            return self.note("env", [Effect::Reads]);
        }
        self.within("env", |walk| walk.program(inner, None));
    }

    fn xargs(&mut self, words: &[Word]) {
        let found = handed::find("xargs").and_then(|wrapper| handed::inner(wrapper, words));
        let Some((inner, given)) = found else { return self.note("xargs", [Effect::Unknown]) };
        let mark = given.iter().find(|(letter, _)| *letter == 'I').map(|(_, word)| *word);
        let mut words = inner.to_vec();
        if words.is_empty() {
            words.push(Word::exactly("echo"));
        }
        match mark {
            None => words.push(Word::anything("…")),
            Some(mark) => {
                let text = mark.known.strip_prefix("-I").unwrap_or(&mark.known).to_owned();
                if text.is_empty() || !mark.whole {
                    return self.note("xargs", [Effect::Unknown]);
                }
                words.iter_mut().for_each(|word| replaced(word, &text, ""));
            }
        }
        self.within("xargs", |walk| walk.program(&words, None));
    }

    fn find(&mut self, name: &str, words: &[Word]) {
        let mut effects = BTreeSet::from([Effect::Reads]);
        let starts = |word: &&Word| !word.known.starts_with(['-', '(', '!']);
        let anchored = words.iter().take_while(starts).all(|w| w.whole || !w.known.is_empty());
        let start = if anchored { "./" } else { "" };
        let mut rest = words;
        while let Some((word, after)) = rest.split_first() {
            rest = after;
            if word.may_be_option() {
                effects.insert(Effect::Unknown);
            }
            match word.known.as_str() {
                "-delete" => {
                    effects.insert(Effect::Deletes);
                }
                "-fprint" | "-fprint0" | "-fprintf" | "-fls" => {
                    effects.insert(Effect::Writes);
                }
                "-exec" | "-execdir" | "-ok" | "-okdir" => {
                    let end = |word: &Word| matches!(word.fixed(), Some(";" | "+"));
                    let Some(length) = rest.iter().position(end) else {
                        effects.insert(Effect::Unknown);
                        break;
                    };
                    let (inner, after) = rest.split_at(length);
                    rest = after;
                    let mut inner = inner.to_vec();
                    inner.iter_mut().for_each(|word| replaced(word, "{}", start));
                    let through = format!("{name} {}", word.known);
                    self.within(&through, |walk| walk.program(&inner, None));
                }
                _ => {}
            }
        }
        self.note(name, effects);
    }

    fn shell(&mut self, name: &str, words: &[Word], here: Option<&Word>) {
        let mut rest = words;
        let (mut takes_text, mut reads_input) = (false, false);
        while let Some((word, after)) = rest.split_first() {
            if word.may_be_option() {
                return self.note(name, [Effect::Unknown]);
            }
            let text = word.known.as_str();
            if !text.starts_with(['-', '+']) || text.len() < 2 {
                break;
            }
            rest = after;
            match text {
                "--" => break,
                "--norc" | "--noprofile" | "--posix" => continue,
                _ if text.starts_with("--") => return self.note(name, [Effect::Unknown]),
                _ => {}
            }
            let letters = text.trim_start_matches(['-', '+']);
            if !letters.chars().all(|c| "cefhnuvxBCEHPTmbos".contains(c)) {
                return self.note(name, [Effect::Unknown]);
            }
            takes_text |= letters.contains('c');
            reads_input |= letters.contains('s');
            if letters.contains('o') {
                rest = rest.split_first().map_or(rest, |(_, after)| after);
            }
        }
        let through = if takes_text { format!("{name} -c") } else { name.to_owned() };
        match (rest.first(), takes_text) {
            (Some(text), true) => match text.fixed() {
                Some(text) => self.within(&through, |walk| walk.text(text)),
                None => self.note(name, [Effect::Unknown]),
            },
            (Some(file), false)
                if !reads_input && !matches!(file.fixed(), Some("-" | "/dev/stdin")) =>
            {
                self.note(name, [Effect::RunsCode]);
            }
            // What it reads from elsewhere is not in the command.
            _ => match here.and_then(Word::fixed).filter(|_| !takes_text) {
                Some(text) => self.within(&through, |walk| walk.text(text)),
                None => self.note(name, [Effect::RunsCode, Effect::Unknown]),
            },
        }
    }

    pub(crate) fn name_set(&mut self, word: &Word, set: Set) {
        let name = match (&word.assigns, word.fixed()) {
            (Some((name, _)), _) => Some(name.clone()),
            (None, Some(text)) => Some(text.split('=').next().unwrap_or_default().to_owned()),
            (None, None) => None,
        };
        match name.filter(|name| is_name(name) && (word.assigns.is_some() || !word.splits)) {
            Some(name) => self.sets(&name, set),
            None => self.unknown(format!("which variable `{}` sets", shown(&word.source))),
        }
    }
}

/// What a word is once something that nobody knows stands in place of this text.
fn replaced(word: &mut Word, text: &str, start: &str) {
    if let Some(at) = word.known.find(text) {
        word.known.truncate(at);
        if at == 0 {
            word.known.push_str(start);
        }
        word.whole = false;
    }
}
