//! Label arithmetic: from what an evaluation says about leaves to maps, and maps inside maps.

use std::collections::BTreeMap;

use kernel::{
    Label, LabelMap,
    label::{Confidentiality, Trust},
    pointer,
};

/// Most patterns in one label map made here; beyond it one label holds for the whole value.
const PATTERNS_MAX: usize = 256;

/// Leaves that keep labels of their own; beyond it the items of a list share one.
const LEAVES_EXACT_MAX: usize = 64;

/// A label as `expr` joins it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tag(pub(super) Label);

impl expr::Join for Tag {
    fn join(&self, other: &Self) -> Self {
        Self(self.0.join(&other.0))
    }

    fn bottom() -> Self {
        Self(Label::bottom())
    }
}

/// Constants of the pack: the operator installed it, and the company may read it.
pub(super) fn of_pack() -> Label {
    Label::new(Trust::Operator, Confidentiality::Internal)
}

/// A signal that did not come: anybody could have held it back.
pub(super) fn of_silence() -> Label {
    Label::new(Trust::Untrusted, Confidentiality::Internal)
}

/// Something a person did or left undone.
pub(super) fn of_person() -> Label {
    Label::new(Trust::User, Confidentiality::Internal)
}

/// Labels of a value that an expression made: what no leaf covers, such as an absent field, could
/// depend on anything that was read.
pub(super) fn of_expression(leaves: &BTreeMap<String, Tag>) -> LabelMap {
    let joined = leaves.values().fold(Label::bottom(), |all, leaf| all.join(&leaf.0));
    let mut parts = BTreeMap::new();
    add_parts(&mut parts, "", &joined, leaves);
    let whole = parts.remove("").unwrap_or(joined);
    bound(LabelMap { whole, parts })
}

/// Labels of a value made from a template: its own structure says nothing about anyone, every place
/// with an expression carries that expression's labels.
pub(super) fn of_template(places: &[String], leaves: &BTreeMap<String, Tag>) -> LabelMap {
    let mut map = LabelMap::uniform(Label::bottom());
    for place in places {
        let inside: BTreeMap<String, Tag> = leaves
            .range(place.clone()..)
            .take_while(|(at, _)| at.starts_with(place.as_str()))
            .filter(|(at, _)| pointer::covers(place, at))
            .map(|(at, tag)| (at.clone(), tag.clone()))
            .collect();
        let joined = inside.values().fold(Label::bottom(), |all, leaf| all.join(&leaf.0));
        add_parts(&mut map.parts, place, &joined, &inside);
    }
    if let Some(whole) = map.parts.remove("") {
        map.whole = whole;
    }
    bound(map)
}

/// Adds `at` with the joined label, and those leaves below it that carry less.
fn add_parts(
    parts: &mut BTreeMap<String, Label>,
    at: &str,
    joined: &Label,
    leaves: &BTreeMap<String, Tag>,
) {
    parts.insert(at.to_owned(), joined.clone());
    if leaves.values().all(|leaf| leaf.0 == *joined) {
        return;
    }
    let shared = leaves.len() > LEAVES_EXACT_MAX;
    for (leaf, tag) in leaves.iter().filter(|(leaf, _)| leaf.as_str() != at) {
        let pattern = if shared { share_items(leaf, at.len()) } else { leaf.clone() };
        parts.entry(pattern).or_insert_with(Label::bottom).join_from(&tag.0);
    }
    if shared && is_ambiguous(parts) {
        parts.retain(|pattern, _| pattern == at || !pointer::covers(at, pattern));
    }
}

/// Whether two patterns of one length could name the same place.
fn is_ambiguous(parts: &BTreeMap<String, Label>) -> bool {
    let starred = parts.keys().filter(|pattern| pattern.contains('*'));
    starred.take(PATTERNS_MAX).any(|wide| {
        let length = wide.matches('/').count();
        let same = parts.keys().filter(|other| *other != wide && other.matches('/').count() == length);
        same.take(PATTERNS_MAX).any(|other| pointer::covers(wide, other))
    })
}

/// The pointer with every index after the first `keep` bytes replaced by `*`.
fn share_items(leaf: &str, keep: usize) -> String {
    let (head, tail) = leaf.split_at_checked(keep).unwrap_or((leaf, ""));
    let mut pattern = head.to_owned();
    for segment in tail.split('/').skip(1) {
        let is_index = !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_digit());
        pattern.push('/');
        pattern.push_str(if is_index { "*" } else { segment });
    }
    pattern
}

/// The map, or its join alone when it has too many patterns.
fn bound(map: LabelMap) -> LabelMap {
    if map.parts.len() > PATTERNS_MAX { LabelMap::uniform(map.join_all()) } else { map }
}

/// Labels of an object that holds values with these labels under these keys.
pub(super) fn of_object<'a>(fields: impl Iterator<Item = (&'a str, &'a LabelMap)>) -> LabelMap {
    let mut object = LabelMap::uniform(Label::bottom());
    for (key, labels) in fields {
        let at = format!("/{}", pointer::escape(key));
        for (pattern, label) in &labels.parts {
            object.parts.insert(format!("{at}{pattern}"), label.clone());
        }
        object.parts.insert(at, labels.whole.clone());
    }
    bound(object)
}

/// Joins the labels of one more item into those of the items before it, pattern by pattern.
pub(super) fn merge_item(all: Option<LabelMap>, item: &LabelMap) -> LabelMap {
    let Some(mut all) = all else { return item.clone() };
    if all == *item {
        return all;
    }
    let before = all.clone();
    for (pattern, label) in &mut all.parts {
        label.join_from(&item.at(pattern));
    }
    for pattern in item.parts.keys() {
        let label = before.at(pattern).join(&item.at(pattern));
        all.parts.insert(pattern.clone(), label);
    }
    all.whole.join_from(&item.whole);
    bound(all)
}

/// Labels of a list whose items share `item`; how long it is carries `length`.
pub(super) fn of_list(item: Option<LabelMap>, length: &Label) -> LabelMap {
    let mut list = LabelMap::uniform(length.clone());
    if let Some(item) = item {
        for (pattern, label) in &item.parts {
            list.parts.insert(format!("/*{pattern}"), label.join(length));
        }
        list.parts.insert("/*".to_owned(), item.whole.join(length));
    }
    bound(list)
}
