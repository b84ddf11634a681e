//! From HTML to Markdown: what a person would see of a page, and where its links lead.

pub(crate) mod hidden;
mod markdown;
pub(crate) mod tree;

use markup5ever_rcdom::{Handle, NodeData};

use self::{
    hidden::Hidden,
    markdown::Writer,
    tree::{attribute, name_of},
};
use crate::address::Address;

/// Longest title, in characters.
const TITLE_CHARS_MAX: usize = 300;

/// What was made of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Converted {
    pub(crate) title: Option<String>,
    pub(crate) markdown: String,
    /// Whether a part was left out because the page is too large.
    pub(crate) is_cut: bool,
}

/// Reads a page that stands at `address`.
pub(crate) fn convert(html: &str, address: &Address) -> Converted {
    let (dom, is_cut) = tree::read(html);
    let mut found = Found::new(address);
    found.look(&dom.document, 0);
    let mut writer = Writer::new(&found.base, &found.hidden);
    writer.node(&dom.document, 0);
    let (markdown, is_full) = writer.finish();
    Converted { title: found.title, markdown, is_cut: is_cut || is_full }
}

/// A piece of text that may hold markup, as one line without it.
pub(crate) fn plain(text: &str, address: &Address) -> String {
    if !text.contains(['<', '&']) {
        return text.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    let (dom, _) = tree::read(text);
    let hidden = Hidden::default();
    let mut writer = Writer::new(address, &hidden).plain();
    writer.node(&dom.document, 0);
    writer.finish().0.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What is known of a page before its text is read.
struct Found {
    title: Option<String>,
    base: Address,
    has_base: bool,
    hidden: Hidden,
}

impl Found {
    fn new(address: &Address) -> Self {
        Self { title: None, base: address.clone(), has_base: false, hidden: Hidden::default() }
    }

    fn look(&mut self, node: &Handle, depth: usize) {
        if depth > markdown::NESTED_MAX {
            return;
        }
        match name_of(node) {
            "title" if self.title.is_none() => {
                let words: Vec<String> =
                    text_of(node).split_whitespace().map(str::to_owned).collect();
                let title: String = words.join(" ").chars().take(TITLE_CHARS_MAX).collect();
                self.title = Some(title).filter(|title| !title.is_empty());
            }
            "base" if !self.has_base => {
                if let Some(base) = attribute(node, "href").and_then(|to| self.base.join(&to).ok())
                {
                    (self.base, self.has_base) = (base, true);
                }
            }
            "style" => self.hidden.read(&text_of(node)),
            // A drawing has titles of its own.
            "svg" => return,
            _ => {}
        }
        for child in node.children.borrow().iter() {
            self.look(child, depth.saturating_add(1));
        }
    }
}

/// The text right below a node.
fn text_of(node: &Handle) -> String {
    let mut text = String::new();
    for child in node.children.borrow().iter() {
        if let NodeData::Text { contents } = &child.data {
            text.push_str(&contents.borrow());
        }
    }
    text
}

#[cfg(test)]
mod tests;
