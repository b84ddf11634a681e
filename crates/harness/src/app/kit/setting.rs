//! One way the world can be: the inputs, and every record as it is before anybody changes it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use kernel::operation::Operation;
use serde_json::Value;

use super::{
    dice::Dice,
    hints::{Hints, Source, plain_name},
    relation,
    shape::{Fit, Maker, Taste},
    world::Key,
};

/// One way the world can be: the same for every run that is played in it.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) number: u32,
    pub(super) inputs: Value,
    pub(super) dice: Dice,
    pub(super) taste: Taste,
    pub(super) hints: Arc<Hints>,
    made: Mutex<BTreeMap<Key, Value>>,
}

impl Setting {
    pub(super) fn new(number: u32, inputs: Value, dice: Dice, hints: Arc<Hints>) -> Self {
        let taste = if number == 0 { Taste::Plain } else { Taste::Varied };
        Self { number, inputs, dice, taste, hints, made: Mutex::default() }
    }

    /// A value that a person or a signal says.
    pub(super) fn said(&self, step: &str, schema: &Value, fit: &Fit) -> Value {
        let source = Source::Said(step.to_owned());
        self.make(schema, source, (&BTreeMap::new(), None), (fit, step))
    }

    pub(super) fn make(
        &self,
        schema: &Value,
        source: Source,
        (echoes, single): (&BTreeMap<String, Value>, Option<&str>),
        (fit, place): (&Fit, &str),
    ) -> Value {
        let (hints, inputs, taste) = (&*self.hints, &self.inputs, self.taste);
        let maker = Maker { root: schema, source, hints, fit, inputs, echoes, single, taste };
        maker.value(self.dice.at(place))
    }

    /// What an operation shows for these arguments before anybody changes anything.
    pub(super) fn record(&self, operation: &Operation, args: &Value, fit: &Fit) -> Value {
        let key = (operation.id.clone(), args.to_string());
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(made) = made {
            return made;
        }
        let echoes = echoes_of(operation, args);
        let single = operation.contract.unique.as_deref();
        let place = format!("{} {}", key.0, key.1);
        let source = Source::Output(operation.id.clone());
        let mut value = self.make(&operation.output, source, (&echoes, single), (fit, &place));
        if let Some(rule) = &operation.contract.matches
            && let Some(name) = args.pointer(&rule.expected)
        {
            relation::set(&mut value, &rule.output, |_| name.clone());
        }
        let mut all = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(key, value.clone());
        value
    }
}

/// Fields that repeat an argument: of its name, or the id of what is touched.
pub(super) fn echoes_of(operation: &Operation, args: &Value) -> BTreeMap<String, Value> {
    let mut echoes = BTreeMap::new();
    for (name, value) in args.as_object().into_iter().flatten() {
        let id = operation.resource.as_ref().is_some_and(|rule| rule.id == format!("/{name}"));
        for name in [plain_name(name), format!("{}id", plain_name(name))] {
            echoes.insert(name, value.clone());
        }
        if id && !operation.is_write() {
            echoes.entry("id".to_owned()).or_insert_with(|| value.clone());
        }
    }
    echoes
}
