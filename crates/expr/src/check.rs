//! The type checker: what passes here does not fail by type, absence or null where types are known.

use std::borrow::Cow;

use crate::ast::{Arithmetic, Comparison, FieldName, Kind, Loop, LoopKind, Node};
use crate::check_call::whole_or_number;
use crate::error::suggest;
use crate::facts::{Fact, facts_of, path_of};
use crate::types::{Object, Presence};
use crate::{Error, Type, Types};

pub(crate) type Checked<'a> = Result<Cow<'a, Type>, Error>;

/// Whether a path may turn out to be absent or null.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Surely,
    /// As surely, where a condition proved that the last field is there.
    Proven,
    Perhaps,
}

pub(crate) struct Checker<'a> {
    types: &'a Types,
    source: &'a str,
    scope: Vec<(&'a str, Cow<'a, Type>)>,
    facts: Vec<Fact>,
}

fn owned<'a>(ty: Type) -> Checked<'a> {
    Ok(Cow::Owned(ty))
}

impl<'a> Checker<'a> {
    pub(crate) fn new(types: &'a Types, source: &'a str) -> Self {
        Self { types, source, scope: Vec::new(), facts: Vec::new() }
    }

    pub(crate) fn check(&mut self, node: &'a Node) -> Checked<'a> {
        match &node.kind {
            Kind::Null => owned(Type::Null),
            Kind::Bool(_) => owned(Type::Bool),
            Kind::Int(_) => owned(Type::Int),
            Kind::Decimal(_) => owned(Type::Number),
            Kind::Text(_) => owned(Type::String),
            Kind::Name(_) | Kind::Field(..) | Kind::Index(..) => self.path(node, Reading::Surely),
            Kind::List(elements) => {
                let mut all = Type::never();
                for element in elements {
                    all = all.or(self.check(element)?.into_owned());
                }
                owned(Type::list(all))
            }
            Kind::Map(entries) => {
                let mut fields = Vec::new();
                for (key, value) in entries {
                    fields.push((key.text.clone(), self.check(value)?.into_owned()));
                }
                owned(Type::object(fields))
            }
            Kind::Not(operand) => {
                self.expect(operand, &Type::Bool)?;
                owned(Type::Bool)
            }
            Kind::Negate(operand) => owned(whole_or_number(&*self.expect(operand, &Type::Number)?)),
            Kind::All(operands) => self.sequence(operands, |facts| facts.when_true),
            Kind::Any(operands) => self.sequence(operands, |facts| facts.when_false),
            Kind::Compare(comparison, left, right) => self.compare(*comparison, left, right),
            Kind::Chain(first, rest) => self.chain(first, rest),
            Kind::Choose(choice) => {
                self.expect(&choice.condition, &Type::Bool)?;
                let facts = facts_of(&choice.condition);
                let yes = self.given(facts.when_true, &choice.yes)?.into_owned();
                let no = self.given(facts.when_false, &choice.no)?.into_owned();
                owned(yes.or(no))
            }
            Kind::Has(field) => {
                self.path(field, Reading::Perhaps)?;
                owned(Type::Bool)
            }
            Kind::Default(value, fallback) => {
                let value = self.path(value, Reading::Perhaps)?.without_null();
                owned(value.or(self.check(fallback)?.into_owned()))
            }
            Kind::Call(function, arguments) => self.call(*function, arguments),
            Kind::Loop(each) => self.each(each),
        }
    }

    /// The type of `node`, an error if it is not (only) of the type wanted.
    pub(crate) fn expect(&mut self, node: &'a Node, want: &Type) -> Checked<'a> {
        let found = self.check(node)?;
        if found.fits(want) {
            return Ok(found);
        }
        Err(self.mismatch(node, &want.to_string(), &found))
    }

    pub(crate) fn mismatch(&self, node: &Node, expected: &str, found: &Type) -> Error {
        if found.is_nullable() && *found != Type::Null {
            return self.maybe_null(node);
        }
        Error::Mismatch { at: node.at, expected: expected.to_owned(), found: found.to_string() }
    }

    fn maybe_null(&self, node: &Node) -> Error {
        Error::MaybeNull { at: node.at, path: node.text(self.source).to_owned() }
    }

    fn given(&mut self, facts: Vec<Fact>, node: &'a Node) -> Checked<'a> {
        let known = self.facts.len();
        self.facts.extend(facts);
        let result = self.check(node);
        self.facts.truncate(known);
        result
    }

    fn sequence(
        &mut self,
        operands: &'a [Node],
        pick: fn(crate::facts::Facts) -> Vec<Fact>,
    ) -> Checked<'a> {
        let known = self.facts.len();
        for operand in operands {
            self.expect(operand, &Type::Bool)?;
            self.facts.extend(pick(facts_of(operand)));
        }
        self.facts.truncate(known);
        owned(Type::Bool)
    }

    fn path(&mut self, node: &'a Node, reading: Reading) -> Checked<'a> {
        let ty = match &node.kind {
            Kind::Name(name) => self.variable(node, name)?,
            Kind::Field(base, name) => {
                let ty = self.path(base, reading)?;
                self.field((node, base), ty, name, reading)?
            }
            Kind::Index(base, index) => {
                let ty = self.path(base, reading)?;
                self.index(base, ty, index, reading)?
            }
            _ => return self.check(node),
        };
        if ty.is_nullable() && self.knows(node, Fact::NotNull) {
            return owned(ty.without_null());
        }
        Ok(ty)
    }

    fn knows(&self, node: &Node, fact: fn(crate::facts::Path) -> Fact) -> bool {
        path_of(node).is_some_and(|path| self.facts.contains(&fact(path)))
    }

    fn variable(&self, node: &Node, name: &str) -> Checked<'a> {
        if let Some((_, ty)) = self.scope.iter().rev().find(|(known, _)| *known == name) {
            return Ok(ty.clone());
        }
        if let Some(ty) = self.types.get(name) {
            return Ok(Cow::Borrowed(ty));
        }
        let loops = self.scope.iter().map(|(known, _)| *known);
        Err(Error::UnknownVariable {
            at: node.at,
            name: name.to_owned(),
            hint: suggest(name, self.types.names().chain(loops)),
        })
    }

    fn field(
        &self,
        (node, base): (&Node, &Node),
        ty: Cow<'a, Type>,
        name: &FieldName,
        reading: Reading,
    ) -> Checked<'a> {
        let reading = match self.knows(node, Fact::Present) {
            true if reading == Reading::Surely => Reading::Proven,
            _ => reading,
        };
        if let Cow::Borrowed(Type::Object(object)) = ty {
            return Ok(Cow::Borrowed(self.declared(object, (node, base), name, reading)?));
        }
        let mut all = Type::never();
        for one in ty.alternatives() {
            all = match one {
                Type::Any => Type::Any,
                Type::Object(object) => {
                    let field = self.declared(object, (node, base), name, reading)?;
                    all.or(field.clone())
                }
                Type::Null if reading == Reading::Perhaps => all,
                Type::Null => return Err(self.maybe_null(base)),
                other => {
                    return Err(Error::Mismatch {
                        at: base.at,
                        expected: format!("an object with the field `{}`", name.text),
                        found: other.to_string(),
                    });
                }
            };
        }
        owned(all)
    }

    fn declared<'o>(
        &self,
        object: &'o Object,
        (node, base): (&Node, &Node),
        name: &FieldName,
        reading: Reading,
    ) -> Result<&'o Type, Error> {
        let (ty, presence) = match (object.fields.get(&name.text), &object.rest) {
            (Some(field), _) => (&field.ty, field.presence),
            (None, Some(rest)) if object.fields.is_empty() => (&**rest, Presence::Optional),
            (None, _) => {
                return Err(Error::UnknownField {
                    at: name.at,
                    name: name.text.clone(),
                    of: base.text(self.source).to_owned(),
                    hint: suggest(&name.text, object.fields.keys().map(String::as_str)),
                });
            }
        };
        if presence == Presence::Optional && reading == Reading::Surely {
            return Err(Error::MaybeAbsent {
                at: name.at,
                path: node.text(self.source).to_owned(),
            });
        }
        Ok(ty)
    }

    fn index(
        &mut self,
        base: &'a Node,
        ty: Cow<'a, Type>,
        index: &'a Node,
        reading: Reading,
    ) -> Checked<'a> {
        let key = self.check(index)?;
        if let Cow::Borrowed(Type::List(element)) = ty
            && key.fits(&Type::Int)
        {
            return Ok(Cow::Borrowed(element));
        }
        let mut all = Type::never();
        for one in ty.alternatives() {
            let (want, element) = match one {
                Type::Any => (Type::Int.or(Type::String), Type::Any),
                Type::List(element) => (Type::Int, (**element).clone()),
                Type::Object(object) => (Type::String, any_field(object)),
                Type::Null if reading == Reading::Perhaps => continue,
                Type::Null => return Err(self.maybe_null(base)),
                other => {
                    return Err(Error::Mismatch {
                        at: base.at,
                        expected: "a list or an object".to_owned(),
                        found: other.to_string(),
                    });
                }
            };
            if !key.fits(&want) {
                return Err(self.mismatch(index, &format!("an index of type {want}"), &key));
            }
            all = all.or(element);
        }
        owned(all)
    }

    fn compare(
        &mut self,
        comparison: Comparison,
        left_node: &'a Node,
        right_node: &'a Node,
    ) -> Checked<'a> {
        let left = self.check(left_node)?;
        let right = self.check(right_node)?;
        match comparison {
            Comparison::Equal | Comparison::NotEqual => {
                if !can_equal(&left, &right) {
                    return Err(Error::Mismatch {
                        at: right_node.at,
                        expected: format!("{left}, to compare with"),
                        found: right.to_string(),
                    });
                }
            }
            Comparison::In => return self.membership((left_node, &left), (right_node, &right)),
            _ => {
                let ordered = Type::Number.or(Type::String);
                for (node, ty) in [(left_node, &left), (right_node, &right)] {
                    if !ty.fits(&ordered) {
                        return Err(self.mismatch(node, "a number or a string", ty));
                    }
                }
                let one_kind = |kind: &Type| left.fits(kind) && right.fits(kind);
                if !one_kind(&Type::Number) && !one_kind(&Type::String) {
                    return Err(self.mismatch(right_node, &left.to_string(), &right));
                }
            }
        }
        owned(Type::Bool)
    }

    fn membership(
        &self,
        (needle_node, needle): (&Node, &Type),
        (node, haystack): (&Node, &Type),
    ) -> Checked<'a> {
        for one in haystack.alternatives() {
            let fine = match one {
                Type::Any => true,
                Type::List(element) => **element == Type::never() || can_equal(needle, element),
                Type::Object(_) => needle.fits(&Type::String),
                Type::String => {
                    return Err(Error::Mismatch {
                        at: node.at,
                        expected: "a list or an object (for text use `contains`)".to_owned(),
                        found: one.to_string(),
                    });
                }
                _ => return Err(self.mismatch(node, "a list or an object", haystack)),
            };
            if !fine {
                let expected = match one {
                    Type::List(element) => element.to_string(),
                    _ => "string".to_owned(),
                };
                return Err(self.mismatch(needle_node, &expected, needle));
            }
        }
        owned(Type::Bool)
    }

    fn chain(&mut self, first: &'a Node, rest: &'a [(Arithmetic, Node)]) -> Checked<'a> {
        let mut left = self.check(first)?.into_owned();
        let mut left_node = first;
        for (operator, right_node) in rest {
            let right = self.check(right_node)?;
            for (node, ty) in [(left_node, &left), (right_node, &*right)] {
                if ty.is_nullable() {
                    return Err(self.mismatch(node, "a value", ty));
                }
            }
            left = combine(*operator, &left, &right).ok_or_else(|| Error::Mismatch {
                at: right_node.at,
                expected: operands_of(*operator).to_owned(),
                found: format!("{left} and {right}"),
            })?;
            left_node = right_node;
        }
        owned(left)
    }

    fn each(&mut self, each: &'a Loop) -> Checked<'a> {
        let list = self.check(&each.list)?;
        let name = each.variable.text.as_str();
        let taken = self.scope.iter().any(|(known, _)| *known == name);
        if taken || self.types.get(name).is_some() {
            return Err(Error::Shadowed { at: each.variable.at, name: name.to_owned() });
        }
        let element = match &list {
            Cow::Borrowed(Type::List(element)) => Cow::Borrowed(&**element),
            other => Cow::Owned(self.element_of(&each.list, other)?),
        };
        self.scope.push((name, element.clone()));
        let body = match each.kind {
            LoopKind::Map => self.check(&each.body),
            _ => self.expect(&each.body, &Type::Bool),
        };
        self.scope.pop();
        let body = body?;
        owned(match each.kind {
            LoopKind::All | LoopKind::Exists | LoopKind::ExistsOne => Type::Bool,
            LoopKind::Filter => Type::list(element.into_owned()),
            LoopKind::Map => Type::list(body.into_owned()),
        })
    }

    /// The type of the elements of what must be a list.
    pub(crate) fn element_of(&self, node: &Node, list: &Type) -> Result<Type, Error> {
        let mut all = Type::never();
        for one in list.alternatives() {
            all = match one {
                Type::Any => Type::Any,
                Type::List(element) => all.or((**element).clone()),
                _ => return Err(self.mismatch(node, "a list", list)),
            };
        }
        Ok(all)
    }
}

fn any_field(object: &Object) -> Type {
    let rest = object.rest.as_deref().cloned().unwrap_or(Type::never());
    let fields = object.fields.values().map(|field| field.ty.clone());
    fields.fold(rest, Type::or)
}

/// Whether some value could be of both types; null may be compared with everything.
fn can_equal(left: &Type, right: &Type) -> bool {
    left.alternatives().iter().any(|one| {
        right.alternatives().iter().any(|other| {
            matches!(
                (one, other),
                (Type::Any | Type::Null, _)
                    | (_, Type::Any | Type::Null)
                    | (Type::Bool, Type::Bool)
                    | (Type::Int | Type::Number, Type::Int | Type::Number)
                    | (Type::String, Type::String)
                    | (Type::List(_), Type::List(_))
                    | (Type::Object(_), Type::Object(_))
            )
        })
    })
}

fn operands_of(operator: Arithmetic) -> &'static str {
    match operator {
        Arithmetic::Add => "two numbers, two strings (convert with `string()`) or two lists",
        _ => "two numbers",
    }
}

/// The type of the result, none if any pair of alternatives has no result.
fn combine(operator: Arithmetic, left: &Type, right: &Type) -> Option<Type> {
    let mut all = Type::never();
    for one in left.alternatives() {
        for other in right.alternatives() {
            all = all.or(combine_single(operator, one, other)?);
        }
    }
    Some(all)
}

fn combine_single(operator: Arithmetic, left: &Type, right: &Type) -> Option<Type> {
    let is_add = operator == Arithmetic::Add;
    match (left, right) {
        (Type::Any, Type::Any) if is_add => Some(Type::Any),
        (Type::Int, Type::Int) if operator != Arithmetic::Divide => Some(Type::Int),
        (Type::Any | Type::Int | Type::Number, Type::Any | Type::Int | Type::Number) => {
            Some(Type::Number)
        }
        (Type::String, Type::String | Type::Any) | (Type::Any, Type::String) if is_add => {
            Some(Type::String)
        }
        (Type::List(one), Type::List(other)) if is_add => {
            Some(Type::list((**one).clone().or((**other).clone())))
        }
        (Type::List(_), Type::Any) | (Type::Any, Type::List(_)) if is_add => {
            Some(Type::list(Type::Any))
        }
        _ => None,
    }
}
