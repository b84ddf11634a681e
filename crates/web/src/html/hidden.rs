//! What a page holds and a person does not see: the place where others leave words for a model.
//!
//! It looks at an element's own attributes, and at rules of the page's own style sheets that name a class, an id or an
//! element alone. What scripts do, sheets from elsewhere, and letters of the colour of what is behind them it does not
//! see.

use std::collections::HashSet;

use markup5ever_rcdom::{Handle, NodeData};

use super::tree::{attribute, name_of};

/// Most of a page's style sheets that is looked at, in bytes.
const SHEET_BYTES_MAX: usize = 512 * 1024;

/// Most selectors that are kept, and most that name more than one thing.
const SELECTORS_MAX: usize = 4_096;
const COMPOUNDS_MAX: usize = 128;

/// From here on something is off the screen, in pixels.
const OFF_SCREEN_PX: f64 = -300.0;

/// Letters smaller than this nobody reads, in pixels.
const LETTER_PX: f64 = 3.0;

/// More than this is nothing one sees, as a part of one.
const OPACITY: f64 = 0.1;

/// What the style sheets of a page hide.
#[derive(Debug, Default)]
pub(crate) struct Hidden {
    classes: HashSet<String>,
    ids: HashSet<String>,
    compounds: Vec<Compound>,
}

/// A selector such as `div.a#b`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Compound {
    name: String,
    classes: Vec<String>,
    id: Option<String>,
}

impl Hidden {
    /// Reads the rules of a style sheet that hold for every screen.
    pub(crate) fn read(&mut self, sheet: &str) {
        let end = sheet.floor_char_boundary(SHEET_BYTES_MAX.min(sheet.len()));
        let sheet = without_comments(sheet.get(..end).unwrap_or_default());
        let (mut depth, mut selector, mut from) = (0_usize, "", 0);
        for (at, byte) in sheet.bytes().enumerate() {
            let piece = || sheet.get(from..at).unwrap_or_default();
            match byte {
                b'{' => {
                    // What stands below a condition holds only sometimes.
                    selector = if depth == 0 { piece() } else { "" };
                    depth = depth.saturating_add(1);
                }
                b'}' => {
                    if depth == 1 && !selector.trim_start().starts_with('@') && hides(piece()) {
                        selector.split(',').for_each(|one| self.add(one.trim()));
                    }
                    depth = depth.saturating_sub(1);
                }
                b';' if depth == 0 => {}
                _ => continue,
            }
            from = at.saturating_add(1);
        }
    }

    fn add(&mut self, selector: &str) {
        let full = self.classes.len().saturating_add(self.ids.len()) >= SELECTORS_MAX;
        let Some(compound) = Compound::read(selector).filter(|_| !full) else { return };
        match (compound.name.as_str(), compound.classes.as_slice(), &compound.id) {
            ("", [class], None) => _ = self.classes.insert(class.clone()),
            ("", [], Some(id)) => _ = self.ids.insert(id.clone()),
            // A page that hides itself until its scripts have run is read all the same.
            ("html" | "body", ..) => {}
            _ if self.compounds.len() < COMPOUNDS_MAX => self.compounds.push(compound),
            _ => {}
        }
    }

    /// Whether a person does not see this element.
    pub(crate) fn holds(&self, node: &Handle) -> bool {
        let NodeData::Element { .. } = &node.data else { return false };
        if attribute(node, "hidden").is_some() {
            return true;
        }
        if attribute(node, "style").is_some_and(|style| hides(&without_comments(&style))) {
            return true;
        }
        let class = attribute(node, "class").unwrap_or_default();
        let classes: Vec<&str> = class.split_ascii_whitespace().collect();
        let id = attribute(node, "id");
        let is_named = classes.iter().any(|class| self.classes.contains(*class))
            || id.as_ref().is_some_and(|id| self.ids.contains(id));
        is_named
            || self.compounds.iter().any(|one| one.holds(name_of(node), &classes, id.as_deref()))
    }
}

impl Compound {
    /// `None` where it is more than one place in the page, or depends on what happens.
    fn read(selector: &str) -> Option<Self> {
        let is_plain = |c: char| c.is_alphanumeric() || "-_.#".contains(c);
        if selector.is_empty() || !selector.chars().all(is_plain) {
            return None;
        }
        let mut compound = Self::default();
        let mut rest = selector;
        let end = rest.find(['.', '#']).unwrap_or(rest.len());
        compound.name = rest.get(..end)?.to_ascii_lowercase();
        rest = rest.get(end..)?;
        while let Some(sign) = rest.chars().next() {
            rest = rest.get(1..)?;
            let end = rest.find(['.', '#']).unwrap_or(rest.len());
            let part = rest.get(..end).filter(|part| !part.is_empty())?.to_owned();
            match sign {
                '.' => compound.classes.push(part),
                _ => compound.id = Some(part),
            }
            rest = rest.get(end..)?;
        }
        Some(compound)
    }

    fn holds(&self, name: &str, classes: &[&str], id: Option<&str>) -> bool {
        (self.name.is_empty() || self.name == name)
            && self.classes.iter().all(|class| classes.contains(&class.as_str()))
            && self.id.as_deref().is_none_or(|wanted| id == Some(wanted))
    }
}

fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("/*") {
        out.push_str(before);
        rest = after.split_once("*/").map_or("", |(_, after)| after);
    }
    out.push_str(rest);
    out
}

/// Letters that are written as numbers: `n\6fne` is `none`.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let mut number = 0_u32;
        let mut digits = 0;
        while let Some(digit) = chars.peek().and_then(|c| c.to_digit(16)).filter(|_| digits < 6) {
            number = number.wrapping_mul(16).wrapping_add(digit);
            digits += 1;
            chars.next();
        }
        if digits == 0 {
            out.extend(chars.next());
            continue;
        }
        out.extend(char::from_u32(number));
        if chars.peek().is_some_and(char::is_ascii_whitespace) {
            chars.next();
        }
    }
    out
}

/// Whether declarations, without comments, hide what they are about.
fn hides(declarations: &str) -> bool {
    let text = unescape(declarations).to_ascii_lowercase();
    let mut pairs: Vec<(String, String)> = Vec::new();
    for declaration in text.split(';') {
        let Some((name, value)) = declaration.split_once(':') else { continue };
        let value: String =
            value.split('!').next().unwrap_or_default().split_whitespace().collect();
        let name = name.trim();
        // The last one counts.
        pairs.retain(|(known, _)| known != name);
        pairs.push((name.to_owned(), value));
    }
    let get = |wanted: &str| {
        pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    };
    let colour = get("color");
    let behind = get("background-color").or_else(|| get("background"));
    let is_same_colour = colour.is_some() && colour == behind;
    let is_clipped =
        get("overflow").or_else(|| get("overflow-y")).is_some_and(|value| value.contains("hidden"));
    let is_small = ["width", "height", "max-width", "max-height"]
        .iter()
        .any(|name| get(name).and_then(pixels).is_some_and(|px| px <= 1.0));
    is_same_colour
        || (is_clipped && is_small)
        || pairs.iter().any(|(name, value)| hides_alone(name, value))
}

fn hides_alone(name: &str, value: &str) -> bool {
    let far = |value: &str| pixels(value).is_some_and(|px| px <= OFF_SCREEN_PX);
    match name {
        "display" => value == "none",
        "visibility" => matches!(value, "hidden" | "collapse"),
        "content-visibility" => value == "hidden",
        "opacity" => {
            let part = match value.strip_suffix('%') {
                Some(percent) => percent.parse::<f64>().map(|percent| percent / 100.0),
                None => value.parse(),
            };
            part.is_ok_and(|part| part <= OPACITY)
        }
        "font-size" => pixels(value).is_some_and(|px| px < LETTER_PX),
        "color" | "-webkit-text-fill-color" => {
            value == "transparent" || (value.starts_with("rgba(") && value.ends_with(",0)"))
        }
        "text-indent" | "left" | "right" | "top" | "bottom" | "margin-left" | "margin-top"
        | "inset" | "margin" => far(value),
        "transform" => {
            let moved = value.split(['(', ',', ')']).any(far);
            moved
                || value.contains("scale(0)")
                || value.contains("scale(0,")
                || value.contains("scale(0.0")
        }
        "clip" => {
            value.starts_with("rect(")
                && value.split(['(', ',', ')']).filter_map(pixels).all(|px| px <= 1.0)
        }
        "clip-path" => {
            value.starts_with("inset(50%")
                || value.starts_with("inset(100%")
                || value.starts_with("circle(0")
        }
        _ => false,
    }
}

/// A length in pixels, about.
fn pixels(value: &str) -> Option<f64> {
    let end =
        value.find(|c: char| !c.is_ascii_digit() && !"+-.".contains(c)).unwrap_or(value.len());
    let (number, unit) = value.split_at_checked(end)?;
    let number: f64 = number.parse().ok()?;
    let one = match unit {
        "" if number == 0.0 => 1.0,
        "px" => 1.0,
        "pt" => 1.333,
        "em" | "rem" | "ch" | "ex" => 16.0,
        "vw" | "vh" | "%" => 10.0,
        "cm" => 37.8,
        "mm" => 3.78,
        "in" => 96.0,
        _ => return None,
    };
    Some(number * one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_sees_is_known_however_it_is_written() {
        for style in [
            "display:none",
            "DISPLAY : None !important",
            "display:n\\6fne",
            "d\\69 splay:none",
            "color:red;display:none",
            "visibility:hidden",
            "opacity:0",
            "opacity:0.01",
            "opacity:0%",
            "font-size:0",
            "font-size:1px",
            "font-size:.05em",
            "position:absolute;left:-9999px",
            "text-indent:-999em",
            "margin-left:-5000px",
            "transform:translateX(-9999px)",
            "transform: scale(0)",
            "clip:rect(0 0 0 0)",
            "clip:rect(0,0,0,0)",
            "clip: rect(1px, 1px, 1px, 1px)",
            "clip-path: inset(50%)",
            "height:0;overflow:hidden",
            "width:1px;height:1px;overflow:hidden",
            "max-height:0px;overflow:hidden",
            "color:transparent",
            "color:rgba(0,0,0,0)",
            "color:#fff;background:#fff",
            "color: White ; background-color: white",
        ] {
            assert!(hides(style), "{style}");
        }
        assert!(hides(&without_comments("dis/* */play:none")));
    }

    #[test]
    fn what_is_seen_is_kept() {
        for style in [
            "",
            "display:block",
            "color:#fff;background:#000",
            "opacity:.8",
            "font-size:12px",
            "font-size:100%",
            "left:-10px",
            "margin-left:-15px",
            "height:1px",
            "overflow:hidden",
            "display:none;display:block",
            "x",
            "height:200px;overflow:hidden",
            "clip:auto",
        ] {
            assert!(!hides(style), "{style}");
        }
    }

    #[test]
    fn rules_that_name_one_thing_and_always_hold_are_read() {
        let mut hidden = Hidden::default();
        hidden.read(
            ".a, #b { display: none } p.c#d{visibility:hidden} .e .f{display:none} .g:hover{display:none}\n\
             @media print { .h { display:none } .i{display:none} } @import 'x'; .j{display:none} .k{color:red}\n\
             body{display:none} /* .l{display:none} */ .m/**/{opacity:0}",
        );
        let class = |name: &str| hidden.classes.contains(name);
        assert!(class("a") && class("j") && class("m") && hidden.ids.contains("b"));
        for name in ["f", "g", "h", "i", "k", "l"] {
            assert!(!class(name), "{name}");
        }
        let compound = &hidden.compounds;
        assert_eq!(compound.len(), 1);
        assert!(compound[0].holds("p", &["x", "c"], Some("d")));
        assert!(!compound[0].holds("div", &["c"], Some("d")));
    }
}
