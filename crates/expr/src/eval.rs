//! The evaluator. Left to right, short-circuit, every step paid for, every read labelled.

use std::rc::Rc;

use serde_json::Value;

use crate::ast::{Arithmetic, Choice, FieldName, Kind, Loop, LoopKind, Node};
use crate::cost::MAX_VALUE_DEPTH;
use crate::number::{NOT_EXACT, Num};
use crate::value::{Data, Place, Tracked};
use crate::{Cost, Env, Error, Join, Key, MAX_LIST};

pub(crate) type Evaluated<'e, L> = Result<Tracked<'e, L>, Error>;

/// What a path leads to.
pub(crate) enum Reached<'e, L> {
    There(Tracked<'e, L>),
    /// Nothing, as the label tells, and what to say where something is needed.
    Absent(L, Error),
}

/// The operand after which the rest of `&&` or `||` is not evaluated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    AtFalse,
    AtTrue,
}

pub(crate) struct Evaluator<'e, 'c, E: Env> {
    env: &'e E,
    cost: &'c mut Cost,
    scope: Vec<(&'e str, Tracked<'e, E::Label>)>,
}

impl<'e, 'c, E: Env> Evaluator<'e, 'c, E> {
    pub(crate) fn new(env: &'e E, cost: &'c mut Cost) -> Self {
        Self { env, cost, scope: Vec::new() }
    }

    pub(crate) fn eval(&mut self, node: &'e Node) -> Evaluated<'e, E::Label> {
        self.pay(1, node)?;
        let data = match &node.kind {
            Kind::Null => Data::Null,
            Kind::Bool(value) => Data::Bool(*value),
            Kind::Int(whole) => Data::Num(Num::Int(*whole)),
            Kind::Decimal(decimal) => Data::Num(Num::Dec(*decimal)),
            Kind::Text(text) => Data::Borrowed(text),
            Kind::Name(name) => return self.variable(node, name),
            Kind::Field(..) | Kind::Index(..) => {
                return match self.reach(node)? {
                    Reached::There(found) => Ok(found),
                    Reached::Absent(_, error) => Err(error),
                };
            }
            Kind::List(elements) => {
                let items: Result<Vec<_>, Error> =
                    elements.iter().map(|element| self.eval(element)).collect();
                Data::List(Rc::new(items?))
            }
            Kind::Map(entries) => {
                let mut fields = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    fields.push((key.text.as_str(), self.eval(value)?));
                }
                Data::Map(Rc::new(fields))
            }
            Kind::Not(operand) => {
                let (value, label) = self.truth(operand)?;
                return Ok(Tracked::computed(Data::Bool(!value), label));
            }
            Kind::Negate(operand) => {
                let (value, label) = self.number(operand)?;
                let negated = value.negate().map_err(|reason| arithmetic(node, reason))?;
                return Ok(Tracked::computed(Data::Num(negated), label));
            }
            Kind::All(operands) => return self.sequence(operands, Stop::AtFalse),
            Kind::Any(operands) => return self.sequence(operands, Stop::AtTrue),
            Kind::Compare(how, left, right) => return self.compare(*how, left, right),
            Kind::Chain(first, rest) => return self.chain(first, rest),
            Kind::Choose(choice) => return self.choose(choice),
            Kind::Has(field) => return self.has(field),
            Kind::Default(value, fallback) => return self.default(value, fallback),
            Kind::Call(function, arguments) => return self.call(*function, arguments, node),
            Kind::Loop(each) => return self.each(each),
        };
        Ok(Tracked::constant(data))
    }

    pub(crate) fn pay(&mut self, steps: usize, node: &Node) -> Result<(), Error> {
        self.cost.spend(steps, node.at)
    }

    pub(crate) fn pay_text(&mut self, bytes: usize, node: &Node) -> Result<(), Error> {
        self.cost.spend_text(bytes, node.at)
    }

    fn label_at(&mut self, place: &Place<'e>, node: &Node) -> Result<E::Label, Error> {
        self.pay(1, node)?;
        Ok(self.env.label(place.root, &place.path))
    }

    /// The label of the whole value.
    pub(crate) fn label(
        &mut self,
        value: &Tracked<'e, E::Label>,
        node: &Node,
    ) -> Result<E::Label, Error> {
        let mut label = self.shape_label(value, node)?;
        match &value.data {
            Data::List(items) => {
                for item in items.iter() {
                    label = label.join(&self.label(item, node)?);
                }
            }
            Data::Map(entries) => {
                for (_, entry) in entries.iter() {
                    label = label.join(&self.label(entry, node)?);
                }
            }
            _ => {}
        }
        Ok(label)
    }

    /// The label of how many parts a value has and what they are called. Of what was read as it is,
    /// only the label of the whole is known.
    pub(crate) fn shape_label(
        &mut self,
        value: &Tracked<'e, E::Label>,
        node: &Node,
    ) -> Result<E::Label, Error> {
        self.pay(1, node)?;
        match &value.place {
            Some(place) => Ok(value.label.join(&self.label_at(place, node)?)),
            None => Ok(value.label.clone()),
        }
    }

    fn variable(&self, node: &Node, name: &'e str) -> Evaluated<'e, E::Label> {
        if let Some((_, value)) = self.scope.iter().rev().find(|(known, _)| *known == name) {
            return Ok(value.clone());
        }
        let value = self.env.value(name).ok_or_else(|| Error::UnknownVariable {
            at: node.at,
            name: name.to_owned(),
            hint: String::new(),
        })?;
        let path = Rc::from([]);
        Ok(Tracked {
            data: Data::Json(value),
            place: Some(Place { root: name, path }),
            label: E::Label::bottom(),
        })
    }

    fn reach(&mut self, node: &'e Node) -> Result<Reached<'e, E::Label>, Error> {
        let (base, absent) = match &node.kind {
            Kind::Field(base, _) | Kind::Index(base, _) => (base, self.reach(base)?),
            _ => return Ok(Reached::There(self.eval(node)?)),
        };
        let value = match absent {
            Reached::There(value) => value,
            absent => return Ok(absent),
        };
        self.pay(1, node)?;
        match &node.kind {
            Kind::Field(_, name) => self.field(base, value, name),
            Kind::Index(_, index) => self.index(base, value, index),
            _ => Ok(Reached::There(value)),
        }
    }

    fn field(
        &mut self,
        base: &Node,
        value: Tracked<'e, E::Label>,
        name: &'e FieldName,
    ) -> Result<Reached<'e, E::Label>, Error> {
        let missing = Error::Missing { at: name.at, name: name.text.clone() };
        match (&value.data, &value.place) {
            (Data::Json(Value::Object(fields)), Some(place)) => {
                let place = place.child(Key::Field(&name.text));
                let Some(found) = fields.get(&name.text) else {
                    let label = value.label.join(&self.label_at(&place, base)?);
                    return Ok(Reached::Absent(label, missing));
                };
                Ok(Reached::There(Tracked {
                    data: Data::Json(found),
                    place: Some(place),
                    label: value.label,
                }))
            }
            (Data::Map(entries), _) => match entries.iter().find(|(key, _)| *key == name.text) {
                Some((_, entry)) => Ok(Reached::There(entry.clone().raised(&value.label))),
                None => Ok(Reached::Absent(value.label, missing)),
            },
            (data, _) if data.is_null() => Ok(Reached::Absent(self.label(&value, base)?, missing)),
            (data, _) => Err(wrong(base, "an object", data)),
        }
    }

    fn index(
        &mut self,
        base: &Node,
        value: Tracked<'e, E::Label>,
        index: &'e Node,
    ) -> Result<Reached<'e, E::Label>, Error> {
        let key = self.eval(index)?;
        let key_label = self.label(&key, index)?;
        let place = value.place.clone();
        let part = |found: &'e Value, key: Key<'e>| Tracked {
            data: Data::Json(found),
            place: place.as_ref().map(|place| place.child(key)),
            label: value.label.clone(),
        };
        let found = match &value.data {
            Data::Json(Value::Array(items)) => {
                let at = position(index, &key)?;
                let item = at.and_then(|at| items.get(at).map(|item| (at, item)));
                item.map(|(at, item)| part(item, Key::Index(at)))
            }
            Data::List(items) => position(index, &key)?
                .and_then(|at| items.get(at).cloned())
                .map(|item| item.raised(&value.label)),
            Data::Json(Value::Object(fields)) => fields
                .get_key_value(self.text_of(index, &key)?)
                .map(|(name, found)| part(found, Key::Field(name))),
            Data::Map(entries) => {
                let name = self.text_of(index, &key)?;
                let entry = entries.iter().find(|(known, _)| *known == name);
                entry.map(|(_, entry)| entry.clone().raised(&value.label))
            }
            data if data.is_null() => None,
            data => return Err(wrong(base, "a list or an object", data)),
        };
        match found {
            Some(found) => Ok(Reached::There(found.raised(&key_label))),
            None => {
                let label = self.label(&value, base)?.join(&key_label);
                Ok(Reached::Absent(label, Error::NoElement { at: index.at }))
            }
        }
    }

    pub(crate) fn text_of<'t>(
        &self,
        node: &Node,
        value: &'t Tracked<'e, E::Label>,
    ) -> Result<&'t str, Error> {
        let text = value.data.as_text();
        text.ok_or_else(|| wrong(node, "a string", &value.data))
    }

    pub(crate) fn truth(&mut self, node: &'e Node) -> Result<(bool, E::Label), Error> {
        let value = self.eval(node)?;
        let truth = value.data.as_bool();
        let truth = truth.ok_or_else(|| wrong(node, "a bool", &value.data))?;
        Ok((truth, self.label(&value, node)?))
    }

    pub(crate) fn number(&mut self, node: &'e Node) -> Result<(Num, E::Label), Error> {
        let value = self.eval(node)?;
        Ok((number_of(node, &value)?, self.label(&value, node)?))
    }

    /// Operands up to and with the first that settles the result.
    fn sequence(&mut self, operands: &'e [Node], stop: Stop) -> Evaluated<'e, E::Label> {
        let mut label = E::Label::bottom();
        let stop = stop == Stop::AtTrue;
        for operand in operands {
            let (value, read) = self.truth(operand)?;
            label = label.join(&read);
            if value == stop {
                return Ok(Tracked::computed(Data::Bool(stop), label));
            }
        }
        Ok(Tracked::computed(Data::Bool(!stop), label))
    }

    fn choose(&mut self, choice: &'e Choice) -> Evaluated<'e, E::Label> {
        let (condition, label) = self.truth(&choice.condition)?;
        let taken = if condition { &choice.yes } else { &choice.no };
        Ok(self.eval(taken)?.raised(&label))
    }

    fn has(&mut self, field: &'e Node) -> Evaluated<'e, E::Label> {
        let (found, label) = match self.reach(field)? {
            Reached::There(value) => (true, self.label(&value, field)?),
            Reached::Absent(label, _) => (false, label),
        };
        Ok(Tracked::computed(Data::Bool(found), label))
    }

    fn default(&mut self, value: &'e Node, fallback: &'e Node) -> Evaluated<'e, E::Label> {
        let label = match self.reach(value)? {
            Reached::There(found) if !found.data.is_null() => return Ok(found),
            Reached::There(null) => self.label(&null, value)?,
            Reached::Absent(label, _) => label,
        };
        Ok(self.eval(fallback)?.raised(&label))
    }

    fn chain(
        &mut self,
        first: &'e Node,
        rest: &'e [(Arithmetic, Node)],
    ) -> Evaluated<'e, E::Label> {
        let mut left = self.eval(first)?;
        for (operator, node) in rest {
            let right = self.eval(node)?;
            left = self.combine(*operator, (first, left), (node, right))?;
        }
        Ok(left)
    }

    fn combine(
        &mut self,
        operator: Arithmetic,
        (left_node, left): (&Node, Tracked<'e, E::Label>),
        (right_node, right): (&Node, Tracked<'e, E::Label>),
    ) -> Evaluated<'e, E::Label> {
        let label = self.shape_label(&left, left_node)?;
        let label = label.join(&self.shape_label(&right, right_node)?);
        let is_add = operator == Arithmetic::Add;
        let data = match (left.data.as_text(), left.data.kind()) {
            (Some(text), _) if is_add => {
                let more = self.text_of(right_node, &right)?;
                self.pay_text(text.len().saturating_add(more.len()), right_node)?;
                Data::Text(format!("{text}{more}").into())
            }
            (None, "a list") if is_add => {
                let mut items = self.items(&left, left_node)?;
                items.extend(self.items(&right, right_node)?);
                check_length(items.len(), right_node)?;
                Data::List(Rc::new(items))
            }
            _ => {
                let (one, other) = (number_of(left_node, &left)?, number_of(right_node, &right)?);
                let result = one.apply(operator, other);
                Data::Num(result.map_err(|reason| arithmetic(right_node, reason))?)
            }
        };
        Ok(Tracked::computed(data, label))
    }

    fn each(&mut self, each: &'e Loop) -> Evaluated<'e, E::Label> {
        let list = self.eval(&each.list)?;
        let mut label = self.shape_label(&list, &each.list)?;
        let items = self.items(&list, &each.list)?;
        let mut kept = Vec::new();
        let mut matches: usize = 0;
        for item in items {
            self.scope.push((&each.variable.text, item.clone()));
            if each.kind == LoopKind::Map {
                kept.push(self.eval(&each.body)?);
                self.scope.pop();
                continue;
            }
            let (matched, read) = self.truth(&each.body)?;
            self.scope.pop();
            label = label.join(&read);
            matches += usize::from(matched);
            match each.kind {
                LoopKind::All if !matched => {
                    return Ok(Tracked::computed(Data::Bool(false), label));
                }
                LoopKind::Exists if matched => {
                    return Ok(Tracked::computed(Data::Bool(true), label));
                }
                LoopKind::Filter if matched => kept.push(item),
                _ => {}
            }
        }
        let data = match each.kind {
            LoopKind::All => Data::Bool(true),
            LoopKind::Exists => Data::Bool(false),
            LoopKind::ExistsOne => Data::Bool(matches == 1),
            LoopKind::Filter | LoopKind::Map => Data::List(Rc::new(kept)),
        };
        Ok(Tracked::computed(data, label))
    }

    /// The elements of a list, each with its place or with the label of the list.
    pub(crate) fn items(
        &mut self,
        list: &Tracked<'e, E::Label>,
        node: &Node,
    ) -> Result<Vec<Tracked<'e, E::Label>>, Error> {
        let length = match &list.data {
            Data::List(items) => items.len(),
            Data::Json(Value::Array(items)) => items.len(),
            data => return Err(wrong(node, "a list", data)),
        };
        check_length(length, node)?;
        self.pay(length, node)?;
        let mut parts = Vec::with_capacity(length);
        match &list.data {
            Data::List(items) => {
                parts.extend(items.iter().map(|item| item.clone().raised(&list.label)));
            }
            Data::Json(Value::Array(items)) => {
                for (at, item) in items.iter().enumerate() {
                    parts.push(Tracked {
                        data: Data::Json(item),
                        place: list.place.as_ref().map(|p| p.child(Key::Index(at))),
                        label: list.label.clone(),
                    });
                }
            }
            _ => {}
        }
        Ok(parts)
    }
}

/// The index a value stands for; none if no list is that long.
fn position<L: Join>(node: &Node, key: &Tracked<'_, L>) -> Result<Option<usize>, Error> {
    match key.data.as_number() {
        Some(Num::Int(at)) => Ok(usize::try_from(at).ok()),
        _ => Err(wrong(node, "a whole number", &key.data)),
    }
}

pub(crate) fn number_of<L: Join>(node: &Node, value: &Tracked<'_, L>) -> Result<Num, Error> {
    match value.data.as_number() {
        Some(number) => Ok(number),
        None if value.data.is_number() => Err(arithmetic(node, NOT_EXACT)),
        None => Err(wrong(node, "a number", &value.data)),
    }
}

pub(crate) fn wrong<L>(node: &Node, expected: &str, data: &Data<'_, L>) -> Error {
    Error::WrongType { at: node.at, expected: expected.to_owned(), found: data.kind() }
}

pub(crate) fn arithmetic(node: &Node, reason: &'static str) -> Error {
    Error::Arithmetic { at: node.at, reason }
}

pub(crate) fn too_deep(node: &Node) -> Error {
    Error::TooLarge { at: node.at, what: "the nesting of a value", limit: MAX_VALUE_DEPTH }
}

pub(crate) fn check_length(length: usize, node: &Node) -> Result<(), Error> {
    if length > MAX_LIST {
        return Err(Error::TooLarge { at: node.at, what: "a list, in elements,", limit: MAX_LIST });
    }
    Ok(())
}
