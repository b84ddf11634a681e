//! Environments for tests: one JSON object of roots, and paths that are labelled high.

use std::collections::BTreeMap;

use expr::{Cost, Env, Error, Expr, Join, Key, Labelled, Type, Types};
use serde_json::Value;

/// Names of the sources a value was computed from: a join-semilattice that shows what was joined.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Sources(pub(crate) std::collections::BTreeSet<String>);

impl Join for Sources {
    fn join(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).cloned().collect())
    }

    fn bottom() -> Self {
        Self::default()
    }
}

/// Every leaf below the root `a` and so on is labelled by the first path in `marks` that covers it.
pub(crate) struct World {
    pub(crate) roots: BTreeMap<String, Value>,
    /// Path as `root.field.field`, where `[]` stands for any index, and the label there.
    pub(crate) marks: Vec<(String, String)>,
}

impl World {
    pub(crate) fn new(roots: Value) -> Self {
        let Value::Object(roots) = roots else {
            panic!("the roots are an object");
        };
        Self { roots: roots.into_iter().collect(), marks: Vec::new() }
    }

    pub(crate) fn mark(mut self, path: &str, label: &str) -> Self {
        self.marks.push((path.to_owned(), label.to_owned()));
        self
    }
}

fn is_under(path: &str, ancestor: &str) -> bool {
    path.strip_prefix(ancestor)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with('['))
}

pub(crate) fn join_path(root: &str, path: &[Key<'_>]) -> String {
    let mut text = root.to_owned();
    for key in path {
        match key {
            Key::Field(name) => text.push_str(&format!(".{name}")),
            Key::Index(_) => text.push_str("[]"),
        }
    }
    text
}

impl Env for World {
    type Label = Sources;

    fn value(&self, root: &str) -> Option<&Value> {
        self.roots.get(root)
    }

    fn label(&self, root: &str, path: &[Key<'_>]) -> Sources {
        let path = join_path(root, path);
        let covers = |mark: &str| is_under(&path, mark) || is_under(mark, &path);
        let marks = self.marks.iter().filter(|(mark, _)| covers(mark));
        Sources(marks.map(|(_, label)| label.clone()).collect())
    }
}

pub(crate) fn eval_in(source: &str, world: &World) -> Result<Labelled<Sources>, Error> {
    Expr::parse(source)?.eval(world, &mut Cost::default())
}

pub(crate) fn check_in(source: &str, types: &Types) -> Result<Type, Error> {
    Expr::parse(source)?.check(types)
}
