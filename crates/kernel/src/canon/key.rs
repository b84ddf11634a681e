//! Keys of canonical JSON: a serializer that takes text, and what JSON makes text of, and nothing else.

use serde::{Serialize, Serializer, ser::Impossible};

use super::write::{Failed, Member, Writer};

/// Writes a key: text, or what JSON makes text of.
pub(super) struct Key<'a> {
    pub(super) writer: &'a mut Writer,
    /// The object's first open member.
    pub(super) first: usize,
}

impl Key<'_> {
    fn refuse<T>() -> Result<T, Failed> {
        Err(Failed("a key must be a string".to_owned()))
    }
}

macro_rules! keys {
    ($($name:ident: $from:ty;)*) => {
        $(fn $name(self, value: $from) -> Result<Member, Failed> {
            Ok(self.writer.key(self.first, &value.to_string()))
        })*
    };
}

impl Serializer for Key<'_> {
    type Ok = Member;
    type Error = Failed;
    type SerializeSeq = Impossible<Member, Failed>;
    type SerializeTuple = Impossible<Member, Failed>;
    type SerializeTupleStruct = Impossible<Member, Failed>;
    type SerializeTupleVariant = Impossible<Member, Failed>;
    type SerializeMap = Impossible<Member, Failed>;
    type SerializeStruct = Impossible<Member, Failed>;
    type SerializeStructVariant = Impossible<Member, Failed>;

    keys! {
        serialize_bool: bool;
        serialize_i8: i8;
        serialize_i16: i16;
        serialize_i32: i32;
        serialize_i64: i64;
        serialize_u8: u8;
        serialize_u16: u16;
        serialize_u32: u32;
        serialize_u64: u64;
        serialize_char: char;
    }

    fn serialize_str(self, value: &str) -> Result<Member, Failed> {
        Ok(self.writer.key(self.first, value))
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Member, Failed> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Member, Failed> {
        value.serialize(self)
    }

    fn serialize_f32(self, _: f32) -> Result<Member, Failed> {
        Self::refuse()
    }

    fn serialize_f64(self, _: f64) -> Result<Member, Failed> {
        Self::refuse()
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<Member, Failed> {
        Self::refuse()
    }

    fn serialize_none(self) -> Result<Member, Failed> {
        Self::refuse()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Member, Failed> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Member, Failed> {
        Self::refuse()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Member, Failed> {
        Self::refuse()
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Member, Failed> {
        Self::refuse()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Failed> {
        Self::refuse()
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Failed> {
        Self::refuse()
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Failed> {
        Self::refuse()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Failed> {
        Self::refuse()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Failed> {
        Self::refuse()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Failed> {
        Self::refuse()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Failed> {
        Self::refuse()
    }
}
