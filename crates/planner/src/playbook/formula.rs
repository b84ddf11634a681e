//! Compiled expressions and templates, and what one evaluation sees.

use std::{cell::Cell, collections::BTreeSet};

use expr::{Cost, Env, Expr, Join, Key, Template};
use kernel::{Label, planning::Labelled, pointer};
use serde_json::{Map, Value};

use super::{
    labels::{self, Tag},
    scope::Link,
};

/// Most steps one evaluation may cost.
pub const EVALUATION_COST_MAX: u64 = 1_000_000;

/// Root variables that every playbook has; a loop variable may not take their names.
pub(super) const ROOTS: [&str; 5] = ["intent", "steps", "run", "pack", "result"];

/// An evaluation without a result. That it failed is information: this is the label of it.
#[derive(Debug)]
pub(super) struct Unknown {
    pub(super) label: Label,
}

/// Everything an evaluation may read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'a> {
    pub(super) link: Link<'a>,
    pub(super) run: &'a Labelled,
    pub(super) pack: &'a Labelled,
    pub(super) result: Option<&'a Labelled>,
    /// Further roots, by name.
    pub(super) more: &'a [(&'static str, &'a Labelled)],
    /// Counts the steps spent.
    pub(super) work: &'a Cell<u64>,
}

impl<'a> Scene<'a> {
    /// The same with further roots.
    pub(super) fn with(self, more: &'a [(&'static str, &'a Labelled)]) -> Self {
        Self { more, ..self }
    }

    fn more(&self, name: &str) -> Option<&'a Labelled> {
        self.more.iter().find(|(root, _)| *root == name).map(|(_, value)| *value)
    }
}

#[derive(Debug)]
enum Source {
    Expression(Expr),
    /// With the pointers of the strings that read anything.
    Template(Template, Vec<String>),
}

/// An expression or a template, compiled once.
#[derive(Debug)]
pub(super) struct Formula {
    source: Source,
    /// What it reads, as far as its text says.
    reads: Vec<expr::Read>,
}

impl Formula {
    /// Compiles one expression.
    pub(super) fn expression(text: &str) -> Result<Self, expr::Error> {
        let parsed = Expr::parse(text)?;
        let reads = parsed.reads();
        Ok(Self { source: Source::Expression(parsed), reads })
    }

    /// Compiles a JSON value with expressions in its strings.
    pub(super) fn template(value: &Value) -> Result<Self, expr::Error> {
        let parsed = Template::parse(value)?;
        let (places, reads): (Vec<_>, Vec<_>) = parsed.reads().into_iter().unzip();
        Ok(Self { source: Source::Template(parsed, places), reads: reads.concat() })
    }

    /// Evaluates with a meter of its own.
    pub(super) fn eval(&self, scene: &Scene<'_>) -> Result<Labelled, Unknown> {
        self.eval_on(scene, &mut Cost::new(EVALUATION_COST_MAX))
    }

    /// Evaluates on a meter that others share.
    pub(super) fn eval_on(&self, scene: &Scene<'_>, cost: &mut Cost) -> Result<Labelled, Unknown> {
        let before = cost.spent();
        let view = View::of(*scene, &self.reads);
        let made = match &self.source {
            Source::Expression(parsed) => parsed.eval(&view, cost),
            Source::Template(parsed, _) => parsed.eval(&view, cost),
        };
        let outcome = match made {
            Ok(made) => {
                let labels = match &self.source {
                    Source::Expression(_) => labels::of_expression(&made.leaves),
                    Source::Template(_, places) => labels::of_template(places, &made.leaves),
                };
                Ok(Labelled { value: made.value.into(), labels })
            }
            Err(_) => Err(Unknown { label: self.reads_label(scene) }),
        };
        view.give_back();
        let spent = cost.spent().saturating_sub(before).saturating_add(1);
        scene.work.set(scene.work.get().saturating_add(spent));
        outcome
    }

    /// The label of everything the text says it reads: of whether there is a result at all.
    pub(super) fn reads_label(&self, scene: &Scene<'_>) -> Label {
        let view = View::of(*scene, &[]);
        let tags = self.reads.iter().map(|read| {
            let path: Vec<Key<'_>> = read.path.iter().map(String::as_str).map(Key::Field).collect();
            view.label(&read.root, &path)
        });
        tags.fold(Tag::bottom(), |all, tag| all.join(&tag)).0
    }

    /// Evaluates a condition: its truth and its label.
    pub(super) fn is_true(&self, scene: &Scene<'_>) -> Result<(bool, Label), Unknown> {
        let made = self.eval(scene)?;
        let label = made.labels.join_all();
        match *made.value {
            Value::Bool(truth) => Ok((truth, label)),
            _ => Err(Unknown { label }),
        }
    }

    /// Evaluates a text: strings as they are, numbers and truth values as written.
    pub(super) fn text(&self, scene: &Scene<'_>) -> Result<Labelled, Unknown> {
        let mut made = self.eval(scene)?;
        let text = match &*made.value {
            Value::String(_) => return Ok(made),
            Value::Number(number) => number.to_string(),
            Value::Bool(truth) => truth.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                return Err(Unknown { label: made.labels.join_all() });
            }
        };
        made.value = Value::String(text).into();
        Ok(made)
    }
}

/// One evaluation's view: the outputs it reads are lent to it while it lasts.
struct View<'a> {
    scene: Scene<'a>,
    steps: Value,
}

impl<'a> View<'a> {
    fn of(scene: Scene<'a>, reads: &[expr::Read]) -> Self {
        let mut steps = Map::new();
        for id in read_ids(&scene, reads) {
            if let Some(output) = scene.link.lend(&id) {
                let fields = Map::from_iter([("output".to_owned(), output)]);
                steps.insert(id, Value::Object(fields));
            }
        }
        Self { scene, steps: Value::Object(steps) }
    }

    fn give_back(self) {
        let Value::Object(steps) = self.steps else {
            return;
        };
        for (id, mut step) in steps {
            if let Some(output) = step.get_mut("output") {
                self.scene.link.give_back(&id, output.take());
            }
        }
    }

    fn label_of_steps(&self, path: &[Key<'_>]) -> Label {
        match path {
            [Key::Field(id), rest @ ..] => match self.scene.link.output(id) {
                Some(output) => output.labels.at(&pointer_of(rest.get(1..).unwrap_or_default())),
                None => Label::bottom(),
            },
            _ => {
                let outputs = self.scene.link.ids().filter_map(|id| self.scene.link.output(id));
                outputs.fold(Label::bottom(), |all, one| all.join(&one.labels.join_all()))
            }
        }
    }
}

impl Env for View<'_> {
    type Label = Tag;

    fn value(&self, root: &str) -> Option<&Value> {
        match root {
            "intent" => self.scene.link.intent().map(|intent| &*intent.value),
            "steps" => Some(&self.steps),
            "run" => Some(&self.scene.run.value),
            "pack" => Some(&self.scene.pack.value),
            "result" => self.scene.result.map(|result| &*result.value),
            name => match self.scene.more(name) {
                Some(more) => Some(&more.value),
                None => self.scene.link.item(name).map(|(value, _)| value),
            },
        }
    }

    fn label(&self, root: &str, path: &[Key<'_>]) -> Tag {
        let at = |labelled: &Labelled| labelled.labels.at(&pointer_of(path));
        let label = match root {
            "steps" => Some(self.label_of_steps(path)),
            "intent" => self.scene.link.intent().map(at),
            "run" => Some(at(self.scene.run)),
            "pack" => Some(at(self.scene.pack)),
            "result" => self.scene.result.map(at),
            name => match self.scene.more(name) {
                Some(more) => Some(at(more)),
                None => self.scene.link.item(name).map(|(_, item)| {
                    let inside = pointer_of(path);
                    item.list.labels.at(&format!("/{}{inside}", item.index))
                }),
            },
        };
        Tag(label.unwrap_or_default())
    }
}

/// The ids of the steps read; all that are visible when the text does not say which.
fn read_ids(scene: &Scene<'_>, reads: &[expr::Read]) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for read in reads.iter().filter(|read| read.root == "steps") {
        match read.path.first() {
            Some(id) => ids.extend([id.clone()]),
            None => ids.extend(scene.link.ids().cloned()),
        }
    }
    ids
}

fn pointer_of(path: &[Key<'_>]) -> String {
    let mut text = String::new();
    for key in path {
        text.push('/');
        match key {
            Key::Field(name) => text.push_str(&pointer::escape(name)),
            Key::Index(index) => text.push_str(&index.to_string()),
        }
    }
    text
}
