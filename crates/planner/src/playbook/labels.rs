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
        let same =
            parts.keys().filter(|other| *other != wide && other.matches('/').count() == length);
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
    let Some(mut all) = all else {
        return item.clone();
    };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(trust: Trust) -> Tag {
        Tag(Label::new(trust, Confidentiality::Public))
    }

    fn leaves(of: &[(&str, Trust)]) -> BTreeMap<String, Tag> {
        of.iter().map(|(at, trust)| ((*at).to_owned(), tag(*trust))).collect()
    }

    #[test]
    fn a_template_keeps_its_own_structure_trusted() {
        let leaves = leaves(&[
            ("/a", Trust::User),
            ("/a-b", Trust::Untrusted),
            ("/o/x", Trust::Untrusted),
            ("/o/y", Trust::User),
        ]);
        let map = of_template(&["/a-b".into(), "/o".into()], &leaves);
        assert_eq!(map.at("/a").trust, Trust::System, "a constant");
        assert_eq!(map.at("/a-b").trust, Trust::Untrusted);
        assert_eq!(map.at("/o/y").trust, Trust::User);
        assert_eq!(map.at("/o/absent").trust, Trust::Untrusted);
    }

    #[test]
    fn long_lists_share_labels_by_field() {
        let many = (0..100).flat_map(|n| {
            [(format!("/{n}/id"), tag(Trust::User)), (format!("/{n}/text"), tag(Trust::Untrusted))]
        });
        let map = of_expression(&many.collect());
        assert_eq!(map.parts.len(), 2);
        assert_eq!(map.at("/70/id").trust, Trust::User);
        assert_eq!(map.at("/70/text").trust, Trust::Untrusted);
        assert_eq!(map.at("/70").trust, Trust::Untrusted);
    }

    #[test]
    fn patterns_that_could_name_one_place_are_given_up() {
        let many = (0..100).flat_map(|n| {
            [(format!("/{n}/#a"), tag(Trust::Untrusted)), (format!("/{n}/0"), tag(Trust::User))]
        });
        let map = of_expression(&many.collect());
        assert_eq!(map.at("/5/#a").trust, Trust::Untrusted);
        assert_eq!(map.at("/5/0").trust, Trust::Untrusted);
    }

    #[test]
    fn one_tainted_item_taints_that_field_of_all() {
        let item = |trust| of_template(&["/x".into()], &leaves(&[("/x", trust), ("/y", trust)]));
        let (clean, dirty) = (item(Trust::User), item(Trust::Untrusted));
        for (one, two) in [(&clean, &dirty), (&dirty, &clean)] {
            let merged = merge_item(Some(merge_item(None, one)), two);
            let list = of_list(Some(merged), &Label::bottom());
            assert_eq!(list.at("/9/x").trust, Trust::Untrusted);
            assert_eq!(list.at("/9/y").trust, Trust::System);
        }
        let list = of_list(Some(clean), &tag(Trust::Untrusted).0);
        assert_eq!(list.at("/0/y").trust, Trust::Untrusted, "the length shows in every item");
    }

    #[test]
    fn fields_keep_their_labels_inside_an_object() {
        let inner = of_expression(&leaves(&[("/t", Trust::User), ("/u", Trust::Untrusted)]));
        let object = of_object([("a/b", &inner)].into_iter());
        assert_eq!(object.at("/a~1b/t").trust, Trust::User);
        assert_eq!(object.at("/a~1b/u").trust, Trust::Untrusted);
        assert_eq!(object.at("/other").trust, Trust::System);
    }
}
