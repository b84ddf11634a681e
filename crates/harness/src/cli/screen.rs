//! Text for people: width, colour, tables. Colour only for state, always with a word.

use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What a word means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// It is well.
    Good,
    /// It failed or will harm.
    Bad,
    /// Somebody should look.
    Warn,
    /// Less important.
    Quiet,
    /// A name.
    Strong,
}

/// Widest line written when nobody says how wide the terminal is.
const WIDTH_DEFAULT: usize = 80;

/// A page of text being written.
#[derive(Debug)]
pub struct Screen {
    text: String,
    color: bool,
    width: usize,
}

impl Screen {
    /// A page for standard output.
    #[must_use]
    pub fn new(when: ColorWhen) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let color = match when {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto if set("NO_COLOR") => false,
            ColorWhen::Auto => set("CLICOLOR_FORCE") || io::stdout().is_terminal(),
        };
        Self { text: String::new(), color, width: terminal_width() }
    }

    /// Columns available.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// A word in a tone.
    #[must_use]
    pub fn tone(&self, tone: Tone, text: &str) -> String {
        if !self.color {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Warn => "33",
            Tone::Quiet => "2",
            Tone::Strong => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// One line as it is.
    pub fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// An empty line.
    pub fn gap(&mut self) {
        self.text.push('\n');
    }

    /// A heading.
    pub fn heading(&mut self, text: &str) {
        let heading = self.tone(Tone::Strong, text);
        self.line(&heading);
    }

    /// Text wrapped to the width, each line behind `indent`; the first behind `first`.
    pub fn wrapped(&mut self, first: &str, indent: &str, text: &str) {
        let mut line = first.to_owned();
        let mut used = visible_width(first);
        let mut empty = true;
        for word in text.split_whitespace() {
            let wide = visible_width(word);
            if !empty && used + 1 + wide > self.width {
                self.line(line.trim_end());
                line = indent.to_owned();
                used = visible_width(indent);
                empty = true;
            }
            if !empty {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += wide;
            empty = false;
        }
        self.line(line.trim_end());
    }

    /// A name and its value, the value wrapped in its column.
    pub fn field(&mut self, name: &str, value: &str) {
        let label = format!("  {name:<15} ");
        let label_toned = self.tone(Tone::Quiet, &label);
        let indent = " ".repeat(label.len());
        self.wrapped(&label_toned, &indent, value);
    }

    /// A name and its value as it is: every blank, every line. Whoever decides about it sees all of it.
    pub fn verbatim(&mut self, name: &str, value: &str) {
        let label = format!("  {name:<15} ");
        let indent = " ".repeat(label.len());
        let room = self.width.saturating_sub(label.len()).max(8);
        let mut lead = self.tone(Tone::Quiet, &label);
        for line in value.split('\n') {
            let chars: Vec<char> = line.chars().collect();
            let mut rest = chars.as_slice();
            loop {
                let (shown, more) = rest.split_at(rest.len().min(room));
                self.line(&format!("{lead}{}", shown.iter().collect::<String>()));
                lead.clone_from(&indent);
                rest = more;
                if rest.is_empty() {
                    break;
                }
            }
        }
    }

    /// A table: headings, then rows; the last column is cut to what is left of the width.
    pub fn table(&mut self, headings: &[&str], rows: &[Vec<String>]) {
        let columns = headings.len();
        let mut widths: Vec<usize> = headings.iter().map(|h| h.chars().count()).collect();
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(visible_width(cell));
            }
        }
        let fixed: usize = widths.iter().take(columns.saturating_sub(1)).map(|w| w + 2).sum();
        if let Some(last) = widths.last_mut() {
            *last = (*last).min(self.width.saturating_sub(fixed).max(8));
        }
        let heading: Vec<String> = headings.iter().map(|h| self.tone(Tone::Quiet, h)).collect();
        self.row(&heading, &widths);
        for row in rows {
            self.row(row, &widths);
        }
    }

    fn row(&mut self, cells: &[String], widths: &[usize]) {
        let mut line = String::new();
        for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let last = index + 1 == cells.len();
            let cell = if visible_width(cell) > *width { cut(cell, *width) } else { cell.clone() };
            line.push_str(&cell);
            if !last {
                let pad = width.saturating_sub(visible_width(&cell)) + 2;
                line.push_str(&" ".repeat(pad));
            }
        }
        self.line(line.trim_end());
    }

    /// A status word in its tone.
    #[must_use]
    pub fn status(&self, word: &str) -> String {
        let tone = match word {
            "succeeded" | "rolled_back" | "restored" | "verified" | "ok" | "allow" | "no"
            | "done" => Tone::Good,
            "failed" | "deny" | "denied" | "conflict" | "irreversible" | "halted" => Tone::Bad,
            "asking" | "needs_person" | "partial" | "partly_rolled_back" | "ask" | "always"
            | "maybe" | "paused" | "warning" | "open" => Tone::Warn,
            _ => Tone::Quiet,
        };
        let tone = if word.starts_with("failed") || word.starts_with("rejected") {
            Tone::Bad
        } else {
            tone
        };
        self.tone(tone, &word.replace('_', " "))
    }

    /// Writes what has gathered to standard output and starts a new page.
    ///
    /// # Errors
    /// What standard output said.
    pub fn flush(&mut self) -> io::Result<()> {
        let text = std::mem::take(&mut self.text);
        write_out(text.as_bytes())
    }
}

/// Writes to standard output. A reader that went away is no error: it has what it wanted.
///
/// # Errors
/// Any other failure.
pub fn write_out(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes a line to standard error; there is nowhere to report that it failed.
pub fn write_err(text: &str) {
    let mut err = io::stderr().lock();
    let _nowhere = err.write_all(text.as_bytes()).and_then(|()| err.write_all(b"\n"));
}

/// Writes a piece of a line to standard error at once; whoever watched may have gone.
pub fn write_err_piece(text: &str) {
    let mut err = io::stderr().lock();
    let _nowhere = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

fn terminal_width() -> usize {
    let told = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let asked =
        || rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
    let width = told.or_else(asked).filter(|width| *width > 0).unwrap_or(WIDTH_DEFAULT);
    width.clamp(40, 120)
}

/// Columns a text takes, colour codes not counted, wide East Asian characters counted twice.
#[must_use]
pub fn visible_width(text: &str) -> usize {
    let mut width = 0;
    let mut escaped = false;
    for c in text.chars() {
        match (escaped, c) {
            (true, 'm') => escaped = false,
            (true, _) => {}
            (false, '\u{1b}') => escaped = true,
            (false, _) => width += if is_wide(c) { 2 } else { 1 },
        }
    }
    width
}

fn is_wide(c: char) -> bool {
    matches!(u32::from(c), 0x1100..=0x115F | 0x2E80..=0xA4CF | 0xAC00..=0xD7A3 | 0xF900..=0xFAFF
        | 0xFE30..=0xFE6F | 0xFF00..=0xFF60 | 0xFFE0..=0xFFE6 | 0x1F300..=0x1FAFF | 0x20000..=0x3FFFD)
}

/// A text cut to a width, with an ellipsis; colour codes are kept whole.
fn cut(text: &str, width: usize) -> String {
    let mut kept = String::new();
    let mut used = 0;
    let mut escaped = false;
    let mut coloured = false;
    for c in text.chars() {
        if c == '\u{1b}' {
            (escaped, coloured) = (true, true);
        }
        let takes = if escaped {
            0
        } else if is_wide(c) {
            2
        } else {
            1
        };
        if used + takes + 1 > width {
            break;
        }
        kept.push(c);
        used += takes;
        if escaped && c == 'm' {
            escaped = false;
        }
    }
    kept.push('…');
    if coloured {
        kept.push_str("\u{1b}[0m");
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(width: usize) -> Screen {
        Screen { text: String::new(), color: false, width }
    }

    #[test]
    fn no_line_is_wider_than_the_screen() {
        let mut screen = plain(40);
        screen.field("why", &"policy wants a person to look at this ".repeat(5));
        screen.table(&["a", "long"], &[vec!["株式会社".into(), "word ".repeat(30)]]);
        assert!(screen.text.lines().all(|line| visible_width(line) <= 40), "{}", screen.text);
    }

    #[test]
    fn colour_is_never_the_only_sign() {
        let mut coloured = plain(80);
        coloured.color = true;
        let word = coloured.status("needs_person");
        assert!(word.contains("needs person") && word.contains("\u{1b}["));
        assert_eq!(plain(80).status("needs_person"), "needs person");
    }
}
