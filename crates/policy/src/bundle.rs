//! A bundle of layers, indexed by action.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use cedar_policy::{
    Authorizer, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicyId, PolicySet,
    pst::Var,
};
use kernel::{Digest, id::OperationId};

use crate::{
    monotone::Knobs,
    rule::Rule,
    schema::{Model, Vocabulary},
    source::{Layer, Source},
    syntax::{self, Seen},
    want::Want,
};

/// Version of the generated schema: part of every bundle digest.
pub const SCHEMA_VERSION: &str = "harness/policy-schema/v1";

/// The policies in force: layers, each with its digest, indexed by action. It judges by itself, see
/// [`kernel::port::Judge`].
#[derive(Debug)]
pub struct Bundle {
    pub(crate) layers: Vec<(Layer, Digest)>,
    pub(crate) actions: HashMap<OperationId, Action>,
    pub(crate) rules: HashMap<PolicyId, Arc<Rule>>,
    pub(crate) types: Types,
    pub(crate) authorizer: Authorizer,
    digest: Digest,
}

/// Names of the fixed entity types, parsed once.
#[derive(Clone, Debug)]
pub(crate) struct Types {
    pub(crate) agent: EntityTypeName,
    pub(crate) person: EntityTypeName,
    pub(crate) service: EntityTypeName,
    pub(crate) role: EntityTypeName,
    pub(crate) tenant: EntityTypeName,
    pub(crate) system: EntityTypeName,
}

/// One action with what each layer says about it.
#[derive(Debug)]
pub(crate) struct Action {
    pub(crate) model: Model,
    pub(crate) uid: EntityUid,
    pub(crate) resource_type: EntityTypeName,
    pub(crate) entities: Entities,
    pub(crate) want: Want,
    /// In the order of the bundle's layers.
    pub(crate) slices: Vec<Slice>,
}

/// The rules of one layer that can match one action.
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) layer: Layer,
    pub(crate) rules: Vec<Arc<Rule>>,
    /// Those whose outcome no evidence changes: evaluated once.
    pub(crate) fixed: PolicySet,
    /// Those that read evidence: evaluated again with more of it.
    pub(crate) evidential: PolicySet,
    /// What could be asked for, as far as the operation offers it.
    pub(crate) knobs: Knobs,
    pub(crate) permits: bool,
}

impl Bundle {
    /// Digest over the schema version and every layer.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The layers present, each with the digest of its files.
    #[must_use]
    pub fn layers(&self) -> &[(Layer, Digest)] {
        &self.layers
    }

    /// Layer and `@id` of every rule, in order.
    #[must_use]
    pub fn rule_ids(&self) -> BTreeSet<(Layer, String)> {
        self.rules.values().map(|rule| (rule.layer, rule.id.clone())).collect()
    }

    pub(crate) fn index(
        vocabulary: Vocabulary,
        rules: Vec<Arc<Rule>>,
        sources: &[Source],
    ) -> Result<Self, String> {
        let layers = layer_digests(sources);
        let mut parts: Vec<&[u8]> = vec![SCHEMA_VERSION.as_bytes()];
        for (layer, digest) in &layers {
            parts.extend([layer.name().as_bytes(), digest.0.as_slice()]);
        }
        let digest = Digest::of_parts("harness/policy-bundle/v1", &parts);
        let types = Types::new()?;
        let mut actions = HashMap::new();
        for (id, model) in vocabulary.actions {
            actions.insert(id, Action::new(model, &layers, &rules, &types)?);
        }
        let rules = rules.into_iter().map(|rule| (rule.policy.id().clone(), rule)).collect();
        let authorizer = Authorizer::new();
        Ok(Self { layers, actions, rules, types, authorizer, digest })
    }
}

/// One digest per layer present: over its name, and the names and texts of its files in name order.
fn layer_digests(sources: &[Source]) -> Vec<(Layer, Digest)> {
    let mut by_layer: BTreeMap<Layer, Vec<(&str, &str)>> = BTreeMap::new();
    for source in sources {
        by_layer.entry(source.layer).or_default().push((&source.name, &source.text));
    }
    let digest = |(layer, mut files): (Layer, Vec<(&str, &str)>)| {
        files.sort_unstable();
        let mut parts = vec![layer.name().as_bytes()];
        parts.extend(files.iter().flat_map(|(name, text)| [name.as_bytes(), text.as_bytes()]));
        (layer, Digest::of_parts("harness/policy-layer/v1", &parts))
    };
    by_layer.into_iter().map(digest).collect()
}

impl Types {
    fn new() -> Result<Self, String> {
        Ok(Self {
            agent: parse_type("Agent")?,
            person: parse_type("Person")?,
            service: parse_type("Service")?,
            role: parse_type("Role")?,
            tenant: parse_type("Tenant")?,
            system: parse_type("System")?,
        })
    }
}

fn parse_type(name: &str) -> Result<EntityTypeName, String> {
    name.parse().map_err(|error| format!("`{name}` is no entity type: {error}"))
}

/// An entity of a type.
pub(crate) fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

impl Action {
    fn new(
        model: Model,
        layers: &[(Layer, Digest)],
        rules: &[Arc<Rule>],
        types: &Types,
    ) -> Result<Self, String> {
        let kind = parse_type("Action")?;
        let action = uid(&kind, model.operation.id.as_str());
        let groups = model.groups.iter().map(|group| uid(&kind, group)).collect();
        let entities =
            Entities::from_entities([Entity::new_no_attrs(action.clone(), groups)], None)
                .map_err(|error| error.to_string())?;
        let resource_type = match &model.operation.resource {
            None => types.system.clone(),
            Some(_) => parse_type(&model.resource_type)?,
        };
        let mut want = Want::nothing();
        let mut slices = Vec::with_capacity(layers.len());
        for (layer, _) in layers {
            let mine = rules.iter().filter(|rule| rule.layer == *layer && rule.concerns(&model));
            let slice = Slice::new(*layer, mine.map(Arc::clone).collect(), &model)?;
            for rule in &slice.rules {
                collect_wants(rule, &mut want);
            }
            slices.push(slice);
        }
        Ok(Self { model, uid: action, resource_type, entities, want, slices })
    }
}

fn collect_wants(rule: &Rule, want: &mut Want) {
    for clause in rule.tree.clauses() {
        syntax::walk(syntax::body(clause), &mut |seen| {
            if let Seen::Path(path) | Seen::Has(path) = seen
                && path.var == Var::Context
            {
                want.add(path.attrs.iter().copied());
            }
        });
    }
}

impl Slice {
    fn new(layer: Layer, rules: Vec<Arc<Rule>>, model: &Model) -> Result<Self, String> {
        let mut knobs = Knobs::default();
        for rule in &rules {
            knobs.merge(&rule.knobs);
        }
        // What the operation cannot give is not asked for: no preview, no dry run.
        let operation = &model.operation;
        knobs.dry_run &= operation.companions.preview.is_some();
        knobs.transforms.retain(|name| {
            name.strip_prefix("mask:")
                .is_some_and(|p| operation.maskable.iter().any(|known| known == p))
        });
        let of = |evidential: bool| {
            let chosen = rules.iter().filter(|rule| rule.reads_evidence() == evidential);
            PolicySet::from_policies(chosen.map(|rule| rule.policy.clone()))
                .map_err(|error| error.to_string())
        };
        let (fixed, evidential) = (of(false)?, of(true)?);
        let permits = rules.iter().any(|rule| !rule.is_forbid());
        Ok(Self { layer, rules, fixed, evidential, knobs, permits })
    }
}
