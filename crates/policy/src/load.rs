//! From texts to a bundle: parse, read annotations, check against the vocabulary, validate, index.

use std::{collections::BTreeSet, str::FromStr, sync::Arc};

use cedar_policy::{
    Policy, PolicyId, PolicySet, Schema, ValidationMode, ValidationWarning, Validator,
    ffi::DetailedError, pst,
};
use cedar_policy_core::{
    est,
    parser::{Node, cst, text_to_cst},
};
use kernel::catalogue::Catalogue;

use crate::{
    advice::advice,
    bundle::Bundle,
    check,
    finding::{self, Finding, Kind},
    monotone,
    rule::{File, Rule},
    schema::Vocabulary,
    source::{Layer, Problem, Source, place},
    syntax, typo,
};

/// Most rules one layer may hold.
pub const LAYER_RULES_MAX: usize = 2_000;

/// Longest text of one file, in bytes.
pub const TEXT_BYTES_MAX: usize = 1_048_576;

/// Most operators, brackets and dots one rule may have: a bound on how deep its tree can be.
pub const NESTING_MAX: usize = 1_000;

/// Longest `@reason`: people and models are shown it.
pub const REASON_CHARS_MAX: usize = 300;

/// Longest `@id`.
pub const ID_CHARS_MAX: usize = 100;

/// What to do with a rule that Cedar parsed and then could not take apart.
const UNREADABLE: &str = "write the rule in a simpler form, or split it";

const ANNOTATIONS: [&str; 2] = ["id", "reason"];

/// A bundle that can judge, and what a person should know about it.
#[derive(Debug)]
pub struct Loaded {
    /// The judge.
    pub bundle: Bundle,
    /// Rules that look wrong although they are valid.
    pub findings: Vec<Finding>,
}

impl Bundle {
    /// Loads every layer's rules against the schema of a catalogue. A layer without a [`Source`] is
    /// absent; one with an empty text is present and permits nothing.
    ///
    /// # Errors
    /// Every problem found, in file order: nothing of a bundle with one problem is in force.
    pub fn load(catalogue: &Catalogue, layers: &[Source]) -> Result<Loaded, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut rules = Vec::new();
        for source in layers {
            read_file(source, &mut rules, &mut problems);
        }
        check_ids(&rules, layers, &mut problems);
        let mut roles = BTreeSet::new();
        for rule in &rules {
            monotone::roles(&rule.tree, &mut roles);
        }
        let vocabulary = match Vocabulary::new(catalogue, roles) {
            Ok(vocabulary) => vocabulary,
            Err(wrong) => {
                problems.extend(wrong.into_iter().map(in_catalogue));
                return Err(problems);
            }
        };
        let schema = match Schema::from_json_value(vocabulary.json()) {
            Ok(schema) => schema,
            Err(error) => {
                let detail = DetailedError::from(&error);
                problems.push(in_catalogue(detail.message));
                return Err(problems);
            }
        };
        for rule in &rules {
            check::rule(rule, &vocabulary, &mut problems);
        }
        let mut findings = Vec::new();
        validate(schema, &rules, &vocabulary, (&mut problems, &mut findings));
        if !problems.is_empty() {
            problems.sort();
            problems.dedup();
            return Err(problems);
        }
        findings.extend(finding::of_rules(&rules));
        findings.sort();
        let rules: Vec<Arc<Rule>> = rules.into_iter().map(Arc::new).collect();
        match Bundle::index(vocabulary, rules, layers) {
            Ok(bundle) => Ok(Loaded { bundle, findings }),
            Err(message) => Err(vec![in_catalogue(message)]),
        }
    }
}

fn in_catalogue(message: String) -> Problem {
    Problem {
        file: "the operation catalogue".to_owned(),
        line: 1,
        column: 1,
        rule: None,
        message,
        help: "correct the operations of the pack that it names, and load again".to_owned(),
    }
}

fn read_file(source: &Source, rules: &mut Vec<Rule>, problems: &mut Vec<Problem>) {
    let at = |offset: usize, message: String, help: String| {
        let (line, column) = place(&source.text, offset);
        Problem { file: source.name.clone(), line, column, rule: None, message, help }
    };
    if source.text.len() > TEXT_BYTES_MAX {
        let message = format!("longer than {TEXT_BYTES_MAX} bytes (TEXT_BYTES_MAX)");
        problems.push(at(0, message, "split the file".to_owned()));
        return;
    }
    let set = match PolicySet::from_str(&source.text) {
        Ok(set) => set,
        Err(errors) => {
            let first = DetailedError::from(&errors);
            let related = first.related.clone();
            for error in std::iter::once(first).chain(related) {
                let offset = error.source_locations.first().map_or(0, |label| label.loc.start);
                let help = advice(&error);
                problems.push(at(offset, error.message, help));
            }
            return;
        }
    };
    for template in set.templates() {
        let offset = syntax::find_word(&source.text, "?").unwrap_or_default();
        let message = format!("templates are not supported (`{}`)", template.id());
        problems.push(at(offset, message, "write the principal or resource out".to_owned()));
    }
    let file = Arc::new(File { name: source.name.clone(), text: source.text.clone() });
    let mut policies: Vec<&Policy> = set.policies().collect();
    policies.sort_by_key(|policy| position(policy.id()));
    let mut parsed = match parsed(&source.text) {
        Ok(parsed) => parsed.into_iter().map(Some).collect::<Vec<_>>(),
        Err(message) => {
            problems.push(at(0, message, UNREADABLE.to_owned()));
            return;
        }
    };
    let mut from = 0;
    for policy in policies {
        let text = policy.to_cedar().unwrap_or_default();
        let at_offset =
            source.text.get(from..).and_then(|rest| rest.find(&text)).map_or(from, |o| from + o);
        from = at_offset + text.len();
        let span = (at_offset, text.len());
        let parsed = parsed.get_mut(position(policy.id())).and_then(Option::take);
        match read_rule(source.layer, &file, (policy, parsed), span) {
            Ok(rule) => rules.push(rule),
            Err(mut wrong) => problems.append(&mut wrong),
        }
    }
}

/// A rule as parsed.
pub(crate) type Parsed = Node<Option<cst::Policy>>;

/// The rules of a text that Cedar has taken, by their place in it. From here to [`tree_of`] it is what `Policy::to_pst` does,
/// which parses every rule anew, with a lexer that learns the language anew: most of what loading would cost.
pub(crate) fn parsed(text: &str) -> Result<Vec<Parsed>, String> {
    let read = text_to_cst::parse_policies(text).map_err(|error| error.to_string())?;
    let read = read.try_into_inner().map_err(|error| error.to_string())?;
    Ok(read.0)
}

/// The tree of a rule. It goes as deep as the rule does.
pub(crate) fn tree_of(parsed: Parsed) -> Result<pst::Template, String> {
    let rule = parsed.try_into_inner().map_err(|error| error.to_string())?;
    let rule = est::Policy::try_from(rule).map_err(|error| error.to_string())?;
    pst::Template::try_from(rule).map_err(|error| error.to_string())
}

/// Cedar numbers the rules of a text `policy0`, `policy1`, …
fn position(id: &PolicyId) -> usize {
    let text: &str = id.as_ref();
    text.strip_prefix("policy").and_then(|number| number.parse().ok()).unwrap_or(usize::MAX)
}

fn read_rule(
    layer: Layer,
    file: &Arc<File>,
    (policy, parsed): (&Policy, Option<Parsed>),
    (at, length): (usize, usize),
) -> Result<Rule, Vec<Problem>> {
    // Not `annotation(name)`, for which Cedar parses the name.
    let said = |name: &str| {
        let mut all =
            policy.annotations().filter(|(key, text)| *key == name && !text.trim().is_empty());
        all.next().map(|(_, text)| text.to_owned())
    };
    let refused = |message: String, help: &str| {
        let (line, column) = place(&file.text, at);
        let (file, rule) = (file.name.clone(), said("id"));
        vec![Problem { file, line, column, rule, message, help: help.to_owned() }]
    };
    let text = file.text.get(at..at + length).unwrap_or_default();
    if syntax::nesting_tokens(text) > NESTING_MAX {
        let message = format!("more than {NESTING_MAX} operators (NESTING_MAX)");
        return Err(refused(message, "split the rule"));
    }
    let id = said("id").unwrap_or_default();
    let tree = parsed.map_or_else(|| Err("it has no tree".to_owned()), tree_of);
    let tree = tree.map_err(|message| refused(message, UNREADABLE))?;
    let policy = policy.new_id(PolicyId::new(format!("{layer}/{id}")));
    let alone = PolicySet::from_policies([policy.clone()]);
    let mut rule = Rule {
        layer,
        alone: alone.map_err(|error| refused(error.to_string(), UNREADABLE))?,
        policy,
        id,
        reason: said("reason"),
        tree,
        knobs: monotone::Knobs::default(),
        file: Arc::clone(file),
        at,
        length,
    };
    let mut problems = annotation_problems(&rule);
    match monotone::read(&rule.tree) {
        Ok(knobs) => rule.knobs = knobs,
        Err(refusal) => {
            let offset = syntax::find_attribute(rule.text(), "evidence", refusal.nth);
            let offset = offset.or_else(|| syntax::find_word(rule.text(), "context"));
            problems.push(rule.problem(offset, refusal.message, refusal.help.to_owned()));
        }
    }
    if problems.is_empty() { Ok(rule) } else { Err(problems) }
}

fn annotation_problems(rule: &Rule) -> Vec<Problem> {
    let mut problems = Vec::new();
    if rule.id.is_empty() {
        let help = "begin it with `@id(\"a.name\")`".to_owned();
        problems.push(rule.problem(None, "a rule needs an `@id`".to_owned(), help));
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if rule.id.len() > ID_CHARS_MAX || !rule.id.chars().all(is_plain) {
        let message =
            format!("an `@id` has at most {ID_CHARS_MAX} of a-z, A-Z, 0-9, `.`, `-`, `_`");
        let help = "write a shorter, plain one such as `@id(\"refunds.large\")`".to_owned();
        problems.push(rule.problem(syntax::find_word(rule.text(), &rule.id), message, help));
    }
    let reason = rule.reason.as_deref().unwrap_or_default();
    if reason.chars().count() > REASON_CHARS_MAX || reason.chars().any(char::is_control) {
        let message = format!("a `@reason` is one line of at most {REASON_CHARS_MAX} characters");
        let help = "say it in one short sentence".to_owned();
        problems.push(rule.problem(syntax::find_word(rule.text(), "reason"), message, help));
    }
    let names = rule.policy.annotations().map(|(name, _)| name);
    for name in names.filter(|name| !ANNOTATIONS.contains(name)) {
        let offset = syntax::find_word(rule.text(), name);
        let message = format!("the annotation `@{name}` means nothing here");
        problems.push(rule.problem(offset, message, typo::hint(name, ANNOTATIONS)));
    }
    problems
}

fn check_ids(rules: &[Rule], layers: &[Source], problems: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    for rule in rules {
        if !seen.insert((rule.layer, rule.id.as_str())) {
            let message = format!("the {} layer has a rule `{}` already", rule.layer, rule.id);
            let offset = syntax::find_word(rule.text(), &rule.id);
            problems.push(rule.problem(offset, message, "choose another `@id`".to_owned()));
        }
    }
    for source in layers {
        let count = rules.iter().filter(|rule| rule.layer == source.layer).count();
        if count > LAYER_RULES_MAX {
            let message = format!("the {} layer has {count} rules", source.layer);
            let help = format!(
                "at most {LAYER_RULES_MAX} (LAYER_RULES_MAX) are allowed; merge rules, or leave some out"
            );
            let file = source.name.clone();
            problems.push(Problem { file, line: 1, column: 1, rule: None, message, help });
        }
    }
}

/// Cedar's own strict validator, over the rules in which our checks found nothing.
fn validate(
    schema: Schema,
    rules: &[Rule],
    vocabulary: &Vocabulary,
    (problems, findings): (&mut Vec<Problem>, &mut Vec<Finding>),
) {
    let is_clean = |rule: &&Rule| {
        !problems.iter().any(|p| p.file == rule.file.name && p.rule.as_ref() == Some(&rule.id))
    };
    let clean: Vec<&Rule> = rules.iter().filter(is_clean).collect();
    let Ok(set) = PolicySet::from_policies(clean.iter().map(|rule| rule.policy.clone())) else {
        return; // Ids are unique among clean rules; were they not, `check_ids` has said so.
    };
    let find = |id: &PolicyId| clean.iter().find(|rule| rule.policy.id() == id).copied();
    let result = Validator::new(schema).validate(&set, ValidationMode::Strict);
    for error in result.validation_errors() {
        if let Some(rule) = find(error.policy_id()) {
            problems.push(from_cedar(rule, &DetailedError::from(error)));
        }
    }
    for warning in result.validation_warnings() {
        let Some(rule) = find(warning.policy_id()) else {
            continue;
        };
        let names_nothing = !vocabulary.actions.values().any(|model| rule.concerns(model));
        match warning {
            ValidationWarning::ImpossiblePolicy(_)
            | ValidationWarning::InvalidActionApplication(_)
                if names_nothing && check::names_only_groups(rule, vocabulary) =>
            {
                // The group is empty in this catalogue: nothing to match yet, nothing wrong.
            }
            ValidationWarning::ImpossiblePolicy(_) => {
                findings.push(Finding::new(
                    Kind::Impossible,
                    rule,
                    "it can never match: the schema excludes it",
                ));
            }
            _ => problems.push(from_cedar(rule, &DetailedError::from(warning))),
        }
    }
}

fn from_cedar(rule: &Rule, error: &DetailedError) -> Problem {
    let start = error.source_locations.first().map_or(rule.at, |label| label.loc.start);
    let message =
        error.message.strip_prefix("for policy `").and_then(|rest| rest.split_once("`, "));
    let message = message.map_or(error.message.as_str(), |(_, message)| message).to_owned();
    rule.problem(Some(start.saturating_sub(rule.at)), message, advice(error))
}
