//! Writes a tree as Markdown. It writes no markup that a page did not have, and escapes nothing: whoever reads it knows
//! that it is a page's word.

use markup5ever_rcdom::{Handle, NodeData};

use super::{
    hidden::Hidden,
    tree::{attribute, name_of},
};
use crate::address::Address;

/// Deepest that is looked into the tree. Parsing stops before, but for the last piece.
pub(crate) const NESTED_MAX: usize = 512;

/// Longest Markdown of a page, in bytes.
const MARKDOWN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Deepest that lists and quotations are set in.
const INSET_MAX: usize = 12;

/// What is no text for a reader: programs, drawings, ways around the site, and places to type into.
const LEFT_OUT: [&str; 30] = [
    "script", "style", "noscript", "template", "head", "nav", "iframe", "frame", "frameset",
    "noframes", "object", "embed", "applet", "svg", "canvas", "audio", "video", "map", "img",
    "picture", "button", "input", "select", "textarea", "datalist", "dialog", "menu", "portal",
    "title", "marquee",
];

/// What begins and ends a line of its own; those of [`PARAGRAPHS`] with an empty one between.
const LINES: [&str; 23] = [
    "address",
    "article",
    "aside",
    "body",
    "center",
    "dd",
    "details",
    "div",
    "dt",
    "fieldset",
    "figcaption",
    "footer",
    "form",
    "header",
    "hgroup",
    "legend",
    "main",
    "optgroup",
    "section",
    "summary",
    "search",
    "tr",
    "caption",
];
const PARAGRAPHS: [&str; 6] = ["p", "dl", "figure", "table", "details", "ul"];

/// What a line is set apart from the one before by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    None,
    Space,
    Line,
    Paragraph,
}

pub(super) struct Writer<'a> {
    base: &'a Address,
    hidden: &'a Hidden,
    out: String,
    gap: Gap,
    /// What every line begins with: quotations and lists.
    insets: Vec<&'static str>,
    /// Whether what comes stands right behind a list's mark.
    is_marked: bool,
    /// Within a link, a heading or a cell everything is one line.
    flat: usize,
    /// Within preformatted text every space counts.
    verbatim: usize,
    is_full: bool,
    style: Style,
}

/// Whether marks are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Markdown,
    Plain,
}

impl<'a> Writer<'a> {
    pub(super) fn new(base: &'a Address, hidden: &'a Hidden) -> Self {
        Self {
            base,
            hidden,
            out: String::new(),
            gap: Gap::None,
            insets: Vec::new(),
            is_marked: false,
            flat: 0,
            verbatim: 0,
            is_full: false,
            style: Style::Markdown,
        }
    }

    /// Writes the words alone.
    pub(super) fn plain(self) -> Self {
        Self { style: Style::Plain, flat: 1, ..self }
    }

    /// What was written, and whether something was left out.
    pub(super) fn finish(mut self) -> (String, bool) {
        self.out.truncate(self.out.trim_end().len());
        (self.out, self.is_full)
    }

    pub(super) fn node(&mut self, node: &Handle, depth: usize) {
        if depth > NESTED_MAX || self.out.len() > MARKDOWN_BYTES_MAX {
            self.is_full = true;
            return;
        }
        match &node.data {
            NodeData::Text { contents } => self.text(&contents.borrow()),
            NodeData::Document => self.children(node, depth),
            NodeData::Element { .. } if !self.is_left_out(node) => self.element(node, depth),
            _ => {}
        }
    }

    fn is_left_out(&self, node: &Handle) -> bool {
        let is_open = name_of(node) == "dialog" && attribute(node, "open").is_some();
        (LEFT_OUT.contains(&name_of(node)) && !is_open) || self.hidden.holds(node)
    }

    fn children(&mut self, node: &Handle, depth: usize) {
        for child in node.children.borrow().iter() {
            self.node(child, depth.saturating_add(1));
        }
    }

    fn element(&mut self, node: &Handle, depth: usize) {
        if self.style == Style::Plain {
            return self.children(node, depth);
        }
        match name_of(node) {
            "h1" => self.heading("# ", node, depth),
            "h2" => self.heading("## ", node, depth),
            "h3" => self.heading("### ", node, depth),
            "h4" => self.heading("#### ", node, depth),
            "h5" => self.heading("##### ", node, depth),
            "h6" => self.heading("###### ", node, depth),
            "br" => self.gap(Gap::Line),
            "hr" => self.block(Gap::Paragraph, |w| w.raw("---")),
            "ul" | "ol" => self.list(node, depth),
            "li" => self.block(Gap::Line, |w| w.item("- ", node, depth)),
            "blockquote" => self.block(Gap::Paragraph, |w| {
                w.marked("> ", |w| w.inset("> ", |w| w.children(node, depth)));
            }),
            "pre" => self.preformatted(node, depth),
            "code" | "kbd" | "samp" if self.verbatim == 0 => self.around("`", node, depth),
            "strong" | "b" if self.verbatim == 0 => self.around("**", node, depth),
            "em" | "i" if self.verbatim == 0 => self.around("*", node, depth),
            "a" => self.link(node, depth),
            "table" if is_data(node, 0) => self.table(node, depth),
            "td" | "th" => self.block(Gap::Line, |w| w.children(node, depth)),
            name if PARAGRAPHS.contains(&name) => {
                self.block(Gap::Paragraph, |w| w.children(node, depth));
            }
            name if LINES.contains(&name) => self.block(Gap::Line, |w| w.children(node, depth)),
            _ => self.children(node, depth),
        }
    }

    fn block(&mut self, gap: Gap, inside: impl FnOnce(&mut Self)) {
        self.gap(gap);
        inside(self);
        self.gap(gap);
    }

    fn heading(&mut self, mark: &'static str, node: &Handle, depth: usize) {
        self.block(Gap::Paragraph, |w| w.marked(mark, |w| w.flatly(node, depth)));
    }

    /// A mark, and what comes behind it; no mark where nothing comes.
    fn marked(&mut self, mark: &str, inside: impl FnOnce(&mut Self)) {
        let (before, gap, was_marked) = (self.out.len(), self.gap, self.is_marked);
        self.raw(mark);
        let written = self.out.len();
        self.is_marked = true;
        inside(self);
        if self.out.len() == written {
            self.out.truncate(before);
            (self.gap, self.is_marked) = (gap, was_marked);
        } else {
            self.is_marked = false;
        }
    }

    fn flatly(&mut self, node: &Handle, depth: usize) {
        self.flat = self.flat.saturating_add(1);
        self.children(node, depth);
        self.flat = self.flat.saturating_sub(1);
    }

    fn inset(&mut self, inset: &'static str, inside: impl FnOnce(&mut Self)) {
        let fits = self.insets.len() < INSET_MAX && self.flat == 0;
        if fits {
            self.insets.push(inset);
        }
        inside(self);
        if fits {
            self.insets.pop();
        }
    }

    fn item(&mut self, mark: &str, node: &Handle, depth: usize) {
        self.marked(mark, |w| w.inset("  ", |w| w.children(node, depth)));
    }

    fn list(&mut self, node: &Handle, depth: usize) {
        // A list in a list follows its line.
        let gap = if self.insets.is_empty() { Gap::Paragraph } else { Gap::Line };
        let is_counted = name_of(node) == "ol";
        let start = attribute(node, "start").and_then(|start| start.trim().parse::<u32>().ok());
        let mut number = start.unwrap_or(1);
        self.block(gap, |w| {
            for child in node.children.borrow().iter() {
                if name_of(child) != "li" || w.is_left_out(child) {
                    w.node(child, depth.saturating_add(1));
                    continue;
                }
                let mark = if is_counted { format!("{number}. ") } else { "- ".to_owned() };
                number = number.saturating_add(1);
                w.block(Gap::Line, |w| w.item(&mark, child, depth.saturating_add(1)));
            }
        });
    }

    fn preformatted(&mut self, node: &Handle, depth: usize) {
        if self.flat > 0 {
            return self.children(node, depth);
        }
        self.block(Gap::Paragraph, |w| {
            w.raw("```");
            w.gap(Gap::Line);
            w.verbatim = w.verbatim.saturating_add(1);
            w.children(node, depth);
            w.verbatim = w.verbatim.saturating_sub(1);
            w.gap(Gap::Line);
            w.raw("```");
        });
    }

    fn around(&mut self, mark: &str, node: &Handle, depth: usize) {
        let before = self.out.len();
        self.marked(mark, |w| w.flatly(node, depth));
        if self.out.len() > before {
            // The space that may wait stands behind the mark.
            self.out.push_str(mark);
        }
    }

    fn link(&mut self, node: &Handle, depth: usize) {
        let to = attribute(node, "href").filter(|to| !to.trim_start().starts_with('#'));
        let to = to.and_then(|to| self.base.join(&to).ok()).filter(|_| self.verbatim == 0);
        let Some(to) = to else { return self.children(node, depth) };
        let before = self.out.len();
        self.marked("[", |w| w.flatly(node, depth));
        if self.out.len() > before {
            let to = to.as_str().replace('(', "%28").replace(')', "%29");
            self.out.push_str(&format!("]({to})"));
        }
    }

    /// Rows of cells, the first of them with a line below it.
    fn table(&mut self, node: &Handle, depth: usize) {
        self.block(Gap::Paragraph, |w| {
            let mut is_first = true;
            w.rows(node, depth, &mut is_first);
        });
    }

    fn rows(&mut self, node: &Handle, depth: usize, is_first: &mut bool) {
        if depth > NESTED_MAX {
            return;
        }
        for child in node.children.borrow().iter() {
            match name_of(child) {
                _ if self.is_left_out(child) => {}
                "tr" => {
                    self.gap(Gap::Line);
                    let cells = self.row(child, depth.saturating_add(1));
                    if std::mem::take(is_first) && cells > 0 {
                        self.gap(Gap::Line);
                        self.raw("|");
                        self.out.push_str(&" --- |".repeat(cells.min(100)));
                    }
                }
                "thead" | "tbody" | "tfoot" => self.rows(child, depth.saturating_add(1), is_first),
                _ => self.block(Gap::Line, |w| w.node(child, depth.saturating_add(1))),
            }
        }
    }

    fn row(&mut self, row: &Handle, depth: usize) -> usize {
        let mut cells = 0_usize;
        for cell in row.children.borrow().iter() {
            if !matches!(name_of(cell), "td" | "th") || self.is_left_out(cell) {
                continue;
            }
            if cells == 0 {
                self.raw("|");
            }
            cells = cells.saturating_add(1);
            self.gap = Gap::Space;
            self.flatly(cell, depth.saturating_add(1));
            self.gap = Gap::None;
            self.out.push_str(" |");
        }
        cells
    }

    fn gap(&mut self, gap: Gap) {
        // Behind a list's mark, and at the very beginning, no line begins.
        if self.out.is_empty() || self.is_marked {
            return;
        }
        let gap = if self.flat > 0 { gap.min(Gap::Space) } else { gap };
        self.gap = self.gap.max(gap);
    }

    fn text(&mut self, text: &str) {
        if self.verbatim > 0 {
            for (number, line) in text.split('\n').enumerate() {
                if number > 0 {
                    // One that waits already is an empty line.
                    if self.gap >= Gap::Line {
                        self.newline();
                    }
                    self.gap = Gap::Line;
                }
                if !line.is_empty() {
                    self.raw(line);
                }
            }
            return;
        }
        for (number, word) in text.split(|c: char| c.is_ascii_whitespace()).enumerate() {
            if number > 0 {
                self.gap(Gap::Space);
            }
            if !word.is_empty() {
                self.raw(word);
            }
        }
    }

    /// Writes the gap that waits, and then this.
    fn raw(&mut self, text: &str) {
        match std::mem::replace(&mut self.gap, Gap::None) {
            Gap::None => {}
            Gap::Space => self.out.push(' '),
            Gap::Line => self.newline(),
            Gap::Paragraph => {
                self.newline();
                self.newline();
            }
        }
        self.is_marked = false;
        self.out.push_str(text);
    }

    fn newline(&mut self) {
        let kept = self.out.trim_end_matches(' ').len();
        // The marks of quotations stay on empty lines.
        if !self.out.ends_with("> ") {
            self.out.truncate(kept);
        }
        self.out.push('\n');
        for inset in &self.insets {
            self.out.push_str(inset);
        }
    }
}

/// Whether a table holds rows of data, with heads and no table within; others only lay a page out.
fn is_data(node: &Handle, depth: usize) -> bool {
    fn look(node: &Handle, depth: usize, has_head: &mut bool) -> bool {
        let children = node.children.borrow();
        let mut all = children.iter();
        depth <= 8
            && all.all(|child| match name_of(child) {
                "table" | "ul" | "ol" | "pre" | "h1" | "h2" | "blockquote" => false,
                "th" => {
                    *has_head = true;
                    look(child, depth.saturating_add(1), has_head)
                }
                _ => look(child, depth.saturating_add(1), has_head),
            })
    }
    let mut has_head = false;
    look(node, depth, &mut has_head) && has_head
}
