//! Reads `pack.yaml` and `intents/*.yaml`.

use std::{collections::BTreeSet, sync::Arc};

use kernel::id::OperationId;
use serde_json::{Map, Value};

use crate::{
    model::{Asked, Intent, Manifest},
    read::{Fields, Reader, cut},
    yaml::{Doc, Kind},
};

/// Most triggers or examples of one intent.
pub(crate) const PHRASES_MAX: usize = 200;

/// Longest trigger or example, in characters.
pub(crate) const PHRASE_MAX: usize = 400;

/// The harness that this crate is a part of: all crates carry one version.
const HARNESS: &str = env!("CARGO_PKG_VERSION");

pub(crate) fn read_manifest(doc: &Doc, reader: Reader<'_>) -> Manifest {
    let Some(mut fields) = reader.fields(&doc.root, "pack.yaml") else {
        return Manifest::default();
    };
    fields.get("schema");
    let manifest = Manifest {
        name: fields.need_name("name"),
        version: read_version(&mut fields),
        owner: fields.need_text("owner"),
        description: fields.need_text("description"),
        harness: read_requirement(&mut fields),
        asks: read_asks(&mut fields),
        roles: read_roles(&mut fields),
        constants: read_constants(&mut fields),
    };
    fields.done();
    manifest
}

fn read_version(fields: &mut Fields<'_, '_>) -> String {
    let Some(node) = fields.need("version") else { return String::new() };
    let Some(text) = fields.reader.text(node, "version") else { return String::new() };
    if !is_version(text) {
        let message = format!("`{}` is not a version", cut(text));
        fields.reader.wrong(node.place, message, "write three numbers such as `1.4.0`");
    }
    text.to_owned()
}

/// `1.4.0` or `1.4.0-beta.2`, as semver.org says; no build part.
fn is_version(text: &str) -> bool {
    let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
    let number = |part: &str| {
        !part.is_empty()
            && part.len() <= 9
            && part.chars().all(|c| c.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    let word = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric());
    core.split('.').count() == 3
        && core.split('.').all(number)
        && pre.is_none_or(|pre| pre.len() <= 40 && pre.split('.').all(word))
}

/// Whether a version of a pack comes after another, as semver.org orders them. No version is newer than what is
/// none.
#[must_use]
pub fn is_newer(version: &str, than: &str) -> bool {
    let both = semver::Version::parse(version).ok().zip(semver::Version::parse(than).ok());
    both.is_some_and(|(version, than)| version > than)
}

/// Bounds on the version of the harness, such as `>=0.1, <2`; this one must be within.
fn read_requirement(fields: &mut Fields<'_, '_>) -> String {
    let Some(node) = fields.need("harness") else { return String::new() };
    let Some(text) = fields.reader.text(node, "harness") else { return String::new() };
    match accepts(text, HARNESS) {
        Some(true) => {}
        Some(false) => {
            let message = format!("the pack needs harness {}, this is {HARNESS}", cut(text));
            fields.reader.wrong(node.place, message, "use another version of one of them");
        }
        None => {
            let message = format!("`{}` is not a version range", cut(text));
            fields.reader.wrong(node.place, message, "write `\">=0.1\"` or `\">=0.1, <2\"`");
        }
    }
    text.to_owned()
}

/// Whether a version lies within all bounds; `None` when they are no bounds.
fn accepts(bounds: &str, version: &str) -> Option<bool> {
    let version = numbers(version)?;
    let holds = |bound: &str| {
        let bound = bound.trim();
        let number = bound.trim_start_matches(['>', '<', '=']);
        let operator = bound.strip_suffix(number)?;
        let order = version.cmp(&numbers(number)?);
        match operator {
            ">=" => Some(order.is_ge()),
            "<=" => Some(order.is_le()),
            ">" => Some(order.is_gt()),
            "<" => Some(order.is_lt()),
            "=" => Some(order.is_eq()),
            _ => None,
        }
    };
    let all: Option<Vec<bool>> = bounds.split(',').map(holds).collect();
    all.map(|all| all.into_iter().all(|held| held))
}

/// One to three numbers, filled up with zeros.
fn numbers(text: &str) -> Option<[u32; 3]> {
    let mut all = [0; 3];
    let mut places = all.iter_mut();
    for part in text.split('.') {
        *places.next()? = part.parse().ok()?;
    }
    Some(all)
}

fn read_asks(fields: &mut Fields<'_, '_>) -> Asked {
    let reader = fields.reader;
    let Some(node) = fields.need("asks") else { return Asked::default() };
    let Some(mut inner) = reader.fields(node, "asks") else { return Asked::default() };
    let mut operations = BTreeSet::new();
    if let Some(list) = inner.need("operations") {
        for item in reader.list(list, "operations") {
            let Some(id) = reader.parse::<OperationId>(item, "an operation id") else { continue };
            if !operations.insert(id) {
                reader.wrong(item.place, "this operation is listed twice", "keep one");
            }
        }
    }
    let secrets = inner.texts("secrets").into_iter().collect();
    let egress = inner.texts("egress").into_iter().collect();
    inner.done();
    Asked { operations, secrets, egress }
}

fn read_roles(fields: &mut Fields<'_, '_>) -> BTreeSet<String> {
    let reader = fields.reader;
    let Some(node) = fields.get("roles") else { return BTreeSet::new() };
    reader.list(node, "roles").iter().filter_map(|item| reader.name(item, "a role")).collect()
}

fn read_constants(fields: &mut Fields<'_, '_>) -> Value {
    let Some(node) = fields.get("constants") else { return Value::Object(Map::new()) };
    if !matches!(node.kind, Kind::Map(_)) {
        fields.reader.wrong(node.place, "`constants` must be a map", "write `name: value` pairs");
    }
    node.to_value()
}

/// Intents of runs that no pack serves: one call of a server behind a proxy, decided by policy or let pass.
pub const OWN_INTENTS: [&str; 2] = ["proxied", "observed"];

pub(crate) fn read_intent(doc: &Doc, reader: Reader<'_>) -> Intent {
    let Some(mut fields) = reader.fields(&doc.root, "an intent") else { return Intent::default() };
    fields.get("schema");
    let hands_to = fields.name("hands_to");
    let playbook = match &hands_to {
        None => fields.need_name("playbook"),
        Some(_) => fields.name("playbook").unwrap_or_default(),
    };
    if hands_to.is_some() && !playbook.is_empty() {
        let message = "an intent is served by a playbook or handed to an agent, not both";
        reader.wrong(fields.place, message, "leave one of `playbook` and `hands_to` out");
    }
    let intent = Intent {
        name: fields.need_name("name"),
        title: fields.need_text("title"),
        input: Arc::new(fields.need_value("input")),
        playbook,
        hands_to,
        agent: fields.need_parse("agent"),
        triggers: read_phrases(&mut fields, "triggers"),
        examples: read_phrases(&mut fields, "examples"),
        subjects: read_subjects(&mut fields),
    };
    if OWN_INTENTS.contains(&intent.name.as_str()) {
        let message =
            format!("`{}` is what single calls are called that a proxy passes on", intent.name);
        reader.wrong(fields.place, message, "give the intent another name");
    }
    fields.done();
    intent
}

fn read_phrases(fields: &mut Fields<'_, '_>, name: &'static str) -> Vec<String> {
    let reader = fields.reader;
    let Some(node) = fields.get(name) else { return Vec::new() };
    let items = reader.list(node, name);
    if items.len() > PHRASES_MAX {
        reader.wrong(
            node.place,
            format!("more than {PHRASES_MAX} {name}"),
            "keep the telling ones",
        );
    }
    let mut phrases = Vec::new();
    for item in items {
        let Some(text) = reader.text(item, name) else { continue };
        if text.trim().is_empty() || text.chars().count() > PHRASE_MAX {
            let message = format!("a phrase has 1 to {PHRASE_MAX} characters");
            reader.wrong(item.place, message, "write it shorter, or leave it out");
        }
        phrases.push(text.to_owned());
    }
    phrases
}

fn read_subjects(fields: &mut Fields<'_, '_>) -> std::collections::BTreeMap<String, String> {
    let reader = fields.reader;
    let Some(node) = fields.get("subjects") else { return Default::default() };
    let entries = reader.entries(node, "subjects").iter();
    entries
        .filter_map(|(key, node)| {
            reader.check_name(&key.name, key.place, "a subject");
            Some((key.name.clone(), reader.pointer(node, "a subject")?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{accepts, is_newer, is_version};

    #[test]
    fn versions_have_three_numbers() {
        assert!(is_version("0.1.0"));
        assert!(is_version("10.20.30-beta.2"));
        for bad in ["1.0", "01.0.0", "1.0.0-", "v1.0.0", "1.0.0+b", "1..0", "1.0.0-b_c"] {
            assert!(!is_version(bad), "{bad}");
        }
    }

    #[test]
    fn a_later_number_is_newer_and_a_beta_is_older_than_what_it_leads_to() {
        assert!(is_newer("0.10.0", "0.9.9"));
        assert!(is_newer("1.0.0", "1.0.0-beta.2"));
        assert!(is_newer("1.0.0-beta.10", "1.0.0-beta.9"));
        for (version, than) in [("1.0.0", "1.0.0"), ("0.9.9", "0.10.0"), ("1.0.0-a", "1.0.0")] {
            assert!(!is_newer(version, than), "{version} {than}");
        }
    }

    #[test]
    fn all_bounds_must_hold() {
        assert_eq!(accepts(">=0.1", "0.1.0"), Some(true));
        assert_eq!(accepts(">=0.1, <0.2", "0.1.9"), Some(true));
        assert_eq!(accepts(">=0.1, <0.2", "0.2.0"), Some(false));
        assert_eq!(accepts("=1", "1.0.0"), Some(true));
        for bad in ["", "any", "0.1", "~1", ">=1.2.3.4", ">=", ">=1,"] {
            assert_eq!(accepts(bad, "1.0.0"), None, "{bad}");
        }
    }
}
