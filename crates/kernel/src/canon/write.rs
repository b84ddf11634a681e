//! Writing canonical JSON in one pass: members go into one buffer as they come, and an object whose
//! keys came out of order is put in order when it closes. No tree, no map, no second reading of keys.

use std::{cmp::Ordering, fmt, fmt::Write as _};

use serde::{Serialize, Serializer, ser};

use super::key::Key;

/// Integers up to here are written digit by digit; beyond, as the double that readers would see.
const EXACT_MAX: u64 = super::INTEGER_MAX + 1;

/// Why something has no canonical form.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Failed(pub(super) String);

impl ser::Error for Failed {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        Self(problem.to_string())
    }
}

/// The canonical bytes.
pub(super) fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Failed> {
    let mut writer = Writer { out: Vec::with_capacity(256), members: Vec::new() };
    value.serialize(&mut writer)?;
    Ok(writer.out)
}

/// The buffer, and the members of all objects that are still open.
pub(super) struct Writer {
    out: Vec<u8>,
    members: Vec<Member>,
}

/// Where one member of an open object lies in the buffer.
#[derive(Clone, Copy)]
pub(super) struct Member {
    start: usize,
    /// Right behind the key's closing quote.
    key_end: usize,
    end: usize,
    /// The key is ASCII without escapes: its bytes sort as its UTF-16 code units do.
    plain: bool,
}

impl Writer {
    fn text(&mut self, text: &str) {
        self.out.push(b'"');
        escape(&mut self.out, text);
        self.out.push(b'"');
    }

    /// Like readers, JSON numbers are doubles; `Display` of a float is not what RFC 8785 wants.
    fn double(&mut self, value: f64) -> Result<(), Failed> {
        let written =
            serde_json_canonicalizer::to_vec(&value).map_err(|e| Failed(e.to_string()))?;
        self.out.extend_from_slice(&written);
        Ok(())
    }

    fn unsigned(&mut self, value: u64) -> Result<(), Failed> {
        if value > EXACT_MAX {
            return self.double(value as f64);
        }
        self.shown(value);
        Ok(())
    }

    fn signed(&mut self, value: i64) -> Result<(), Failed> {
        if value.unsigned_abs() > EXACT_MAX {
            return self.double(value as f64);
        }
        self.shown(value);
        Ok(())
    }

    /// Something whose `Display` needs no escapes.
    fn shown(&mut self, value: impl fmt::Display) {
        // Writing into a vector cannot fail.
        let _ = write!(Plain(&mut self.out), "{value}");
    }

    fn open_object(&mut self) -> Open {
        self.out.push(b'{');
        Open { first: self.members.len(), base: self.out.len() }
    }

    pub(super) fn key(&mut self, first: usize, key: &str) -> Member {
        if self.members.len() > first {
            self.out.push(b',');
        }
        let start = self.out.len();
        self.text(key);
        let key_end = self.out.len();
        let plain = key.is_ascii() && key_end - start == key.len() + 2;
        self.out.push(b':');
        Member { start, key_end, end: key_end, plain }
    }

    fn close_member(&mut self, mut member: Member) {
        member.end = self.out.len();
        self.members.push(member);
    }

    fn close_object(&mut self, open: &Open) -> Result<(), Failed> {
        let mut members = self.members.split_off(open.first);
        let out = &self.out;
        let in_order = members.is_sorted_by(|a, b| compare(out, a, b) == Ordering::Less);
        if !in_order {
            members.sort_by(|a, b| compare(out, a, b));
            let twice = members.array_windows().any(|[a, b]| compare(out, a, b) == Ordering::Equal);
            if twice {
                return Err(Failed("an object has the same key twice".to_owned()));
            }
            let mut ordered = Vec::with_capacity(self.out.len() - open.base);
            for member in &members {
                if !ordered.is_empty() {
                    ordered.push(b',');
                }
                ordered.extend_from_slice(out.get(member.start..member.end).unwrap_or_default());
            }
            self.out.truncate(open.base);
            self.out.append(&mut ordered);
        }
        self.out.push(b'}');
        Ok(())
    }
}

/// By UTF-16 code units, as RFC 8785 asks.
fn compare(out: &[u8], a: &Member, b: &Member) -> Ordering {
    let quoted = |member: &Member| out.get(member.start..member.key_end).unwrap_or_default();
    let (left, right) = (quoted(a), quoted(b));
    if a.plain && b.plain {
        let inner = |key: &'_ [u8]| key.len().saturating_sub(1);
        return left.get(..inner(left)).cmp(&right.get(..inner(right)));
    }
    let units = |key: &[u8]| {
        let text: String = serde_json::from_slice(key).unwrap_or_default();
        text.encode_utf16().collect::<Vec<u16>>()
    };
    units(left).cmp(&units(right))
}

fn escape(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            8 => b'b',
            9 => b't',
            10 => b'n',
            12 => b'f',
            13 => b'r',
            0..=31 => b'u',
            _ => continue,
        };
        out.extend_from_slice(bytes.get(from..at).unwrap_or_default());
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            let _ = write!(Plain(out), "{byte:04x}");
        }
        from = at + 1;
    }
    out.extend_from_slice(bytes.get(from..).unwrap_or_default());
}

/// Formats into the buffer as it is.
struct Plain<'a>(&'a mut Vec<u8>);

impl fmt::Write for Plain<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Formats into the buffer as the inside of a string.
struct Escaped<'a>(&'a mut Vec<u8>);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.0, text);
        Ok(())
    }
}

/// An object under way: its place among the open members and in the buffer.
struct Open {
    first: usize,
    base: usize,
}

/// An object, or an object inside `{"Variant": …}`.
pub(super) struct Object<'a> {
    writer: &'a mut Writer,
    open: Open,
    member: Option<Member>,
    /// Closes `{"Variant":` too.
    is_wrapped: bool,
}

impl Object<'_> {
    fn put<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), Failed> {
        let member = self.writer.key(self.open.first, key);
        value.serialize(&mut *self.writer)?;
        self.writer.close_member(member);
        Ok(())
    }

    fn close(self) -> Result<(), Failed> {
        self.writer.close_object(&self.open)?;
        if self.is_wrapped {
            self.writer.out.push(b'}');
        }
        Ok(())
    }
}

/// A list, or a list inside `{"Variant": …}`.
pub(super) struct List<'a> {
    writer: &'a mut Writer,
    is_empty: bool,
    closing: &'static [u8],
}

impl List<'_> {
    fn put<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failed> {
        if !std::mem::replace(&mut self.is_empty, false) {
            self.writer.out.push(b',');
        }
        value.serialize(&mut *self.writer)
    }

    fn close(self) -> Result<(), Failed> {
        self.writer.out.extend_from_slice(self.closing);
        Ok(())
    }
}

impl<'a> Writer {
    fn object(&'a mut self) -> Object<'a> {
        let open = self.open_object();
        Object { writer: self, open, member: None, is_wrapped: false }
    }

    fn list(&'a mut self) -> List<'a> {
        self.out.push(b'[');
        List { writer: self, is_empty: true, closing: b"]" }
    }

    fn wrap(&mut self, variant: &str) {
        self.out.push(b'{');
        self.text(variant);
        self.out.push(b':');
    }
}

macro_rules! numbers {
    ($($name:ident: $from:ty => $write:ident as $to:ty;)*) => {
        $(fn $name(self, value: $from) -> Result<(), Failed> {
            self.$write(value as $to)
        })*
    };
}

impl<'a> Serializer for &'a mut Writer {
    type Ok = ();
    type Error = Failed;
    type SerializeSeq = List<'a>;
    type SerializeTuple = List<'a>;
    type SerializeTupleStruct = List<'a>;
    type SerializeTupleVariant = List<'a>;
    type SerializeMap = Object<'a>;
    type SerializeStruct = Object<'a>;
    type SerializeStructVariant = Object<'a>;

    numbers! {
        serialize_i8: i8 => signed as i64;
        serialize_i16: i16 => signed as i64;
        serialize_i32: i32 => signed as i64;
        serialize_i64: i64 => signed as i64;
        serialize_i128: i128 => double as f64;
        serialize_u8: u8 => unsigned as u64;
        serialize_u16: u16 => unsigned as u64;
        serialize_u32: u32 => unsigned as u64;
        serialize_u64: u64 => unsigned as u64;
        serialize_u128: u128 => double as f64;
        serialize_f32: f32 => double as f64;
        serialize_f64: f64 => double as f64;
    }

    fn serialize_bool(self, value: bool) -> Result<(), Failed> {
        self.shown(value);
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Failed> {
        self.text(value.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<(), Failed> {
        self.text(value);
        Ok(())
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<(), Failed> {
        self.out.push(b'"');
        let _ = write!(Escaped(&mut self.out), "{value}");
        self.out.push(b'"');
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Failed> {
        let mut list = self.list();
        value.iter().try_for_each(|byte| list.put(byte))?;
        list.close()
    }

    fn serialize_none(self) -> Result<(), Failed> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Failed> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Failed> {
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Failed> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Failed> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Failed> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Failed> {
        self.wrap(variant);
        value.serialize(&mut *self)?;
        self.out.push(b'}');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<List<'a>, Failed> {
        Ok(self.list())
    }

    fn serialize_tuple(self, _: usize) -> Result<List<'a>, Failed> {
        Ok(self.list())
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<List<'a>, Failed> {
        Ok(self.list())
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<List<'a>, Failed> {
        self.wrap(variant);
        Ok(List { closing: b"]}", ..self.list() })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Object<'a>, Failed> {
        Ok(self.object())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Object<'a>, Failed> {
        Ok(self.object())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Object<'a>, Failed> {
        self.wrap(variant);
        Ok(Object { is_wrapped: true, ..self.object() })
    }
}

macro_rules! lists {
    ($($of:ident::$put:ident;)*) => {
        $(impl ser::$of for List<'_> {
            type Ok = ();
            type Error = Failed;

            fn $put<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failed> {
                self.put(value)
            }

            fn end(self) -> Result<(), Failed> {
                self.close()
            }
        })*
    };
}

lists! {
    SerializeSeq::serialize_element;
    SerializeTuple::serialize_element;
    SerializeTupleStruct::serialize_field;
    SerializeTupleVariant::serialize_field;
}

macro_rules! structs {
    ($($of:ident)*) => {
        $(impl ser::$of for Object<'_> {
            type Ok = ();
            type Error = Failed;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), Failed> {
                self.put(key, value)
            }

            fn end(self) -> Result<(), Failed> {
                self.close()
            }
        })*
    };
}

structs! { SerializeStruct SerializeStructVariant }

impl ser::SerializeMap for Object<'_> {
    type Ok = ();
    type Error = Failed;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Failed> {
        let first = self.open.first;
        self.member = Some(key.serialize(Key { writer: &mut *self.writer, first })?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failed> {
        let Some(member) = self.member.take() else {
            return Err(Failed("a value without a key".to_owned()));
        };
        value.serialize(&mut *self.writer)?;
        self.writer.close_member(member);
        Ok(())
    }

    fn end(self) -> Result<(), Failed> {
        self.close()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// The other implementation of the same standard.
    fn other<T: Serialize>(value: &T) -> Option<Vec<u8>> {
        serde_json_canonicalizer::to_vec(value).ok()
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let text = prop_oneof!["[a-z/_~]{0,6}", "\\PC{0,4}", any::<String>()];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1000_i64..1000).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 60, 8, move |inner| {
            let pair = (text.clone(), inner.clone());
            prop_oneof![
                prop::collection::vec(inner, 0..6).prop_map(Value::from),
                prop::collection::vec(pair, 0..8)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn writes_what_the_other_implementation_writes(value in any_value()) {
            prop_assert_eq!(to_vec(&value).ok(), other(&value));
        }
    }

    #[derive(Serialize)]
    enum Shape {
        Unit,
        One(u8),
        Two(u8, String),
        Named { z: i8, a: Option<char> },
    }

    #[test]
    fn every_shape_of_serde_comes_out_alike() {
        let shapes = [
            Shape::Unit,
            Shape::One(1),
            Shape::Two(2, "\u{1}\u{1f}\"\\\n".into()),
            Shape::Named { z: -1, a: Some('é') },
            Shape::Named { z: 1, a: None },
        ];
        for shape in &shapes {
            assert_eq!(to_vec(shape).ok(), other(shape));
        }
        let numbered = BTreeMap::from([(10_i32, 1.5_f32), (9, -0.0), (-3, 1e30)]);
        assert_eq!(to_vec(&numbered).ok(), other(&numbered));
        let mixed = (1_u128 << 70, -1_i128, (), &[1_u8, 2][..], u64::MAX, i64::MIN, 1_u64 << 53);
        assert_eq!(to_vec(&mixed).ok(), other(&mixed));
    }

    #[test]
    fn what_has_no_canonical_form_is_refused() {
        assert!(to_vec(&f64::NAN).is_err() && to_vec(&f32::INFINITY).is_err());
        assert!(to_vec(&BTreeMap::from([(vec![1], 1)])).is_err(), "a key that is no text");
        struct Twice;
        impl Serialize for Twice {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map([("b", 1), ("a", 2), ("b", 3)])
            }
        }
        assert!(to_vec(&Twice).is_err());
    }
}
