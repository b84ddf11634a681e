//! What expressions can see: scopes, one inside the other, and the outputs in them.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use kernel::planning::Labelled;
use serde_json::Value;

/// How a step ended, for those who read it.
#[derive(Debug)]
struct Output {
    labelled: Labelled,
    /// The value as expressions borrow it: made once, when first read, and only if ever read.
    lent: RefCell<Option<Value>>,
}

/// The loop variable of one turn: an item of a shared list, never copied.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) name: Arc<str>,
    pub(super) list: Arc<Labelled>,
    pub(super) index: usize,
}

impl Item {
    fn value(&self) -> Option<&Value> {
        self.list.value.get(self.index)
    }
}

/// Names of one running block.
#[derive(Debug, Default)]
pub(super) struct Scope {
    /// Set where a playbook begins: nothing outside is visible from here.
    intent: Option<Arc<Labelled>>,
    item: Option<Item>,
    outputs: BTreeMap<String, Output>,
}

impl Scope {
    /// The scope of a playbook with these inputs.
    pub(super) fn of_playbook(intent: Arc<Labelled>) -> Self {
        Self { intent: Some(intent), ..Self::default() }
    }

    /// The scope of a branch.
    pub(super) fn of_branch() -> Self {
        Self::default()
    }

    /// The scope of one loop turn.
    pub(super) fn of_turn(item: Item) -> Self {
        Self { item: Some(item), ..Self::default() }
    }

    /// Makes a step's output readable.
    pub(super) fn keep(&mut self, id: &str, labelled: Labelled) {
        self.outputs.insert(id.to_owned(), Output { labelled, lent: RefCell::new(None) });
    }

    /// Takes a step's output out.
    pub(super) fn take(&mut self, id: &str) -> Option<Labelled> {
        self.outputs.remove(id).map(|output| output.labelled)
    }
}

/// A scope and those around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link<'a> {
    pub(super) scope: &'a Scope,
    pub(super) outer: Option<&'a Link<'a>>,
}

impl<'a> Link<'a> {
    /// This scope and those around it, as far as they are visible.
    fn visible(&'a self) -> impl Iterator<Item = &'a Scope> {
        std::iter::successors(Some(self), |link| {
            if link.scope.intent.is_some() { None } else { link.outer }
        })
        .map(|link| link.scope)
    }

    /// The inputs of the playbook around.
    pub(super) fn intent(&'a self) -> Option<&'a Labelled> {
        self.visible().find_map(|scope| scope.intent.as_deref())
    }

    /// The value of a loop variable.
    pub(super) fn item(&'a self, name: &str) -> Option<(&'a Value, &'a Item)> {
        let mut items = self.visible().filter_map(|scope| scope.item.as_ref());
        let item = items.find(|item| &*item.name == name)?;
        item.value().map(|value| (value, item))
    }

    /// The labels of a step's output.
    pub(super) fn output(&'a self, id: &str) -> Option<&'a Labelled> {
        self.find(id).map(|output| &output.labelled)
    }

    /// Ids of all steps with an output, nearest scope first.
    pub(super) fn ids(&'a self) -> impl Iterator<Item = &'a String> {
        self.visible().flat_map(|scope| scope.outputs.keys())
    }

    /// Lends a step's output to one evaluation, without copying it after the first time.
    pub(super) fn lend(&'a self, id: &str) -> Option<Value> {
        let output = self.find(id)?;
        Some(output.lent.take().unwrap_or_else(|| (*output.labelled.value).clone()))
    }

    /// Takes back what was lent.
    pub(super) fn give_back(&'a self, id: &str, value: Value) {
        if let Some(output) = self.find(id) {
            output.lent.replace(Some(value));
        }
    }

    fn find(&'a self, id: &str) -> Option<&'a Output> {
        self.visible().find_map(|scope| scope.outputs.get(id))
    }
}
