//! Types of values. JSON is the universe, so types are structural and a missing type is `any`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::label::push_token;

/// Alternatives a union may have; a wider one becomes `any`.
const MAX_ALTERNATIVES: usize = 16;

/// The type of an expression or of a value; cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// Not known until evaluated; fits everywhere, and everything fits it.
    Any,
    /// Only `null`.
    Null,
    /// True or false.
    Bool,
    /// A whole number of 64 bits.
    Int,
    /// An exact decimal; whole numbers fit.
    Number,
    /// Unicode text.
    String,
    /// A list whose elements have one type.
    List(Arc<Type>),
    /// An object.
    Object(Arc<Object>),
    /// One of several: never empty of meaning but of values, when it has no alternative (the element
    /// type of `[]`). Build with [`Type::or`].
    Union(Vec<Type>),
}

/// The fields of an object.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Object {
    /// Declared fields.
    pub fields: BTreeMap<String, Field>,
    /// Type of fields that are not declared; none if there can be no other field.
    pub rest: Option<Arc<Type>>,
}

/// One declared field.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Type when it is there.
    pub ty: Type,
    /// Whether it is always there.
    pub presence: Presence,
}

/// Whether a field is always there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Always there.
    Required,
    /// May be absent.
    Optional,
}

/// Why a type does not fit another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// JSON pointer of the part that does not fit; `*` stands for every list element.
    pub pointer: String,
    /// What is wanted and what is there.
    pub message: String,
}

/// The root variables in scope and their types.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Types {
    roots: BTreeMap<String, Type>,
}

impl Types {
    /// No variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more root variable; the last of one name counts.
    #[must_use]
    pub fn with(mut self, root: impl Into<String>, ty: Type) -> Self {
        self.roots.insert(root.into(), ty);
        self
    }

    /// The type of a root variable.
    pub fn get(&self, root: &str) -> Option<&Type> {
        self.roots.get(root)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.roots.keys().map(String::as_str)
    }
}

impl Type {
    /// A list of `element`.
    pub fn list(element: Type) -> Type {
        Type::List(Arc::new(element))
    }

    /// A closed object of fields that are always there.
    pub fn object<K: Into<String>>(fields: impl IntoIterator<Item = (K, Type)>) -> Type {
        let presence = Presence::Required;
        let fields =
            fields.into_iter().map(|(name, ty)| (name.into(), Field { ty, presence })).collect();
        Type::from(Object { fields, rest: None })
    }

    /// The type without values.
    pub(crate) fn never() -> Type {
        Type::Union(Vec::new())
    }

    pub(crate) fn alternatives(&self) -> &[Type] {
        match self {
            Type::Union(alternatives) => alternatives,
            one => std::slice::from_ref(one),
        }
    }

    /// The type of what is either of the two.
    #[must_use]
    pub fn or(self, other: Type) -> Type {
        if matches!(self, Type::Any) || matches!(other, Type::Any) {
            return Type::Any;
        }
        let mut union: Vec<Type> = match self {
            Type::Union(alternatives) => alternatives,
            one => vec![one],
        };
        let more = match other {
            Type::Union(alternatives) => alternatives,
            one => vec![one],
        };
        for ty in more {
            add_alternative(&mut union, ty);
        }
        match union.len() {
            1 => union.pop().unwrap_or(Type::Any),
            0..=MAX_ALTERNATIVES => Type::Union(union),
            _ => Type::Any,
        }
    }

    /// Whether null is among the values; not known for `any`, which says no.
    pub(crate) fn is_nullable(&self) -> bool {
        self.alternatives().contains(&Type::Null)
    }

    pub(crate) fn without_null(&self) -> Type {
        self.alternatives()
            .iter()
            .filter(|ty| **ty != Type::Null)
            .fold(Type::never(), |all, ty| all.or(ty.clone()))
    }

    /// Whether every value of this type is wanted. Unknown parts (`any`) are left to run time.
    pub fn fits(&self, want: &Type) -> bool {
        self.misfit(want).is_none()
    }

    /// The first part that does not fit, or none if every value of this type is wanted.
    pub fn misfit(&self, want: &Type) -> Option<Misfit> {
        if matches!(want, Type::Any) {
            return None;
        }
        self.alternatives().iter().find_map(|one| misfit_alternative(one, want, ""))
    }

    pub(crate) fn of_value(value: &Value) -> Type {
        match value {
            Value::Null => Type::Null,
            Value::Bool(_) => Type::Bool,
            Value::Number(number) => match crate::number::Num::from_json(number) {
                Some(crate::number::Num::Int(_)) => Type::Int,
                _ => Type::Number,
            },
            Value::String(_) => Type::String,
            Value::Array(items) => Type::list(
                items.iter().fold(Type::never(), |all, item| all.or(Type::of_value(item))),
            ),
            Value::Object(entries) => {
                Type::object(entries.iter().map(|(k, v)| (k, Type::of_value(v))))
            }
        }
    }
}

fn add_alternative(union: &mut Vec<Type>, ty: Type) {
    if union.contains(&ty) || (ty == Type::Int && union.contains(&Type::Number)) {
        return;
    }
    if ty == Type::Number {
        union.retain(|one| *one != Type::Int);
    }
    if let Type::List(element) = ty {
        let list = union.iter_mut().find_map(|one| match one {
            Type::List(known) => Some(known),
            _ => None,
        });
        match list {
            Some(known) => *known = Arc::new((**known).clone().or((*element).clone())),
            None => union.push(Type::List(element)),
        }
        return;
    }
    union.push(ty);
}

fn misfit_alternative(one: &Type, want: &Type, pointer: &str) -> Option<Misfit> {
    let mut deepest: Option<Misfit> = None;
    for target in want.alternatives() {
        let misfit = misfit_single(one, target, pointer)?;
        let deeper =
            deepest.as_ref().is_none_or(|known| misfit.pointer.len() > known.pointer.len());
        if deeper {
            deepest = Some(misfit);
        }
    }
    let is_whole = deepest.as_ref().is_none_or(|d| d.pointer == pointer);
    if is_whole {
        return Some(mismatch(one, want, pointer));
    }
    deepest
}

fn mismatch(found: &Type, want: &Type, pointer: &str) -> Misfit {
    Misfit { pointer: pointer.to_owned(), message: format!("expected {want}, found {found}") }
}

fn misfit_within(found: &Type, want: &Type, pointer: &str) -> Option<Misfit> {
    found.alternatives().iter().find_map(|one| misfit_alternative(one, want, pointer))
}

fn misfit_single(one: &Type, want: &Type, pointer: &str) -> Option<Misfit> {
    match (one, want) {
        (Type::Any, _) | (_, Type::Any) => None,
        (Type::Null, Type::Null)
        | (Type::Bool, Type::Bool)
        | (Type::Int, Type::Int | Type::Number)
        | (Type::Number, Type::Number)
        | (Type::String, Type::String) => None,
        (Type::List(one), Type::List(want)) => misfit_within(one, want, &push_token(pointer, "*")),
        (Type::Object(one), Type::Object(want)) => misfit_object(one, want, pointer),
        _ => Some(mismatch(one, want, pointer)),
    }
}

fn misfit_object(one: &Object, want: &Object, pointer: &str) -> Option<Misfit> {
    for (name, wanted) in &want.fields {
        let place = push_token(pointer, name);
        let (found, presence) = match (one.fields.get(name), &one.rest) {
            (Some(field), _) => (&field.ty, field.presence),
            (None, Some(rest)) => (&**rest, Presence::Optional),
            (None, None) if wanted.presence == Presence::Optional => continue,
            (None, None) => {
                return Some(Misfit {
                    pointer: place,
                    message: "required, but not given".to_owned(),
                });
            }
        };
        if let Some(misfit) = misfit_within(found, &wanted.ty, &place) {
            return Some(misfit);
        }
        let unknown = matches!(found, Type::Any) && !one.fields.contains_key(name);
        if wanted.presence == Presence::Required && presence == Presence::Optional && !unknown {
            return Some(Misfit {
                pointer: place,
                message: "required, but may be absent; give it with `default()`".to_owned(),
            });
        }
    }
    misfit_rest(one, want, pointer)
}

fn misfit_rest(one: &Object, want: &Object, pointer: &str) -> Option<Misfit> {
    let extra = one.fields.iter().filter(|(name, _)| !want.fields.contains_key(*name));
    for (name, field) in extra {
        let place = push_token(pointer, name);
        let Some(rest) = &want.rest else {
            let known = want.fields.keys().map(String::as_str);
            return Some(Misfit {
                message: format!("unknown field{}", crate::error::suggest(name, known)),
                pointer: place,
            });
        };
        if let Some(misfit) = misfit_within(&field.ty, rest, &place) {
            return Some(misfit);
        }
    }
    match (&one.rest, &want.rest) {
        (Some(found), Some(wanted)) => misfit_within(found, wanted, &push_token(pointer, "*")),
        (Some(found), None) if !matches!(**found, Type::Any) => Some(Misfit {
            pointer: pointer.to_owned(),
            message: "may have other fields than the ones known".to_owned(),
        }),
        _ => None,
    }
}

impl From<Object> for Type {
    fn from(object: Object) -> Type {
        Type::Object(Arc::new(object))
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Any => f.write_str("any"),
            Type::Null => f.write_str("null"),
            Type::Bool => f.write_str("bool"),
            Type::Int => f.write_str("int"),
            Type::Number => f.write_str("number"),
            Type::String => f.write_str("string"),
            Type::List(element) if **element == Type::never() => f.write_str("an empty list"),
            Type::List(element) => write!(f, "list({element})"),
            Type::Object(object) => write!(f, "{object}"),
            Type::Union(alternatives) if alternatives.is_empty() => f.write_str("nothing"),
            Type::Union(alternatives) => {
                for (index, one) in alternatives.iter().enumerate() {
                    let or = if index == 0 { "" } else { " or " };
                    write!(f, "{or}{one}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Names shown in an error.
        const MAX_SHOWN: usize = 8;
        let mut names: Vec<String> = Vec::new();
        for (name, field) in self.fields.iter().take(MAX_SHOWN) {
            let mark = match field.presence {
                Presence::Required => "",
                Presence::Optional => "?",
            };
            names.push(format!("{name}{mark}"));
        }
        if self.fields.len() > MAX_SHOWN || self.rest.is_some() {
            names.push("…".to_owned());
        }
        write!(f, "object{{{}}}", names.join(", "))
    }
}
