//! PostgreSQL's binary values as JSON. Whatever a double would bend comes out as text.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{Timestamp, ToSpan as _, civil::date, tz::TimeZone};
use kernel::{canon, id::hex};
use serde_json::{Value, json};
use tokio_postgres::types::{Kind, Type};

use crate::sql::{double, integer};

/// 2000-01-01T00:00:00Z, where PostgreSQL's clock begins, in Unix microseconds.
const EPOCH_US: i64 = 946_684_800_000_000;

/// One value by its type.
pub(super) fn value(ty: &Type, raw: &[u8]) -> Result<Value, String> {
    let odd = || format!("a {ty} of {} bytes", raw.len());
    Ok(match *ty {
        Type::BOOL => json!(raw != [0]),
        Type::INT2 => integer(i64::from(i16::from_be_bytes(raw.try_into().map_err(|_| odd())?))),
        Type::INT4 => integer(i64::from(i32::from_be_bytes(raw.try_into().map_err(|_| odd())?))),
        Type::OID => integer(i64::from(u32::from_be_bytes(raw.try_into().map_err(|_| odd())?))),
        Type::INT8 => integer(i64::from_be_bytes(raw.try_into().map_err(|_| odd())?)),
        Type::FLOAT4 => {
            // Through its shortest spelling: 0.1 stays 0.1.
            let single = f32::from_be_bytes(raw.try_into().map_err(|_| odd())?);
            double(single.to_string().parse().map_err(|_| odd())?)
        }
        Type::FLOAT8 => double(f64::from_be_bytes(raw.try_into().map_err(|_| odd())?)),
        Type::NUMERIC => json!(numeric(raw).ok_or_else(odd)?),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => json!(text(raw)?),
        Type::JSON => canon::parse(raw).map_err(|e| e.to_string())?,
        Type::JSONB => canon::parse(raw.get(1..).unwrap_or_default()).map_err(|e| e.to_string())?,
        Type::UUID => json!(uuid(raw)),
        Type::BYTEA => json!(STANDARD.encode(raw)),
        Type::DATE => {
            let days = i32::from_be_bytes(raw.try_into().map_err(|_| odd())?);
            let day = date(2000, 1, 1).checked_add(i64::from(days).days());
            json!(day.map_err(|_| odd())?.to_string())
        }
        Type::TIMESTAMPTZ => json!(instant(raw).ok_or_else(odd)?.to_string()),
        Type::TIMESTAMP => {
            json!(instant(raw).ok_or_else(odd)?.to_zoned(TimeZone::UTC).datetime().to_string())
        }
        _ if matches!(ty.kind(), Kind::Enum(_)) => json!(text(raw)?),
        _ => {
            return Err(format!("its type {ty} is not known here; cast it with ::text"));
        }
    })
}

fn text(raw: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(raw).map_err(|_| "it is not UTF-8 text".to_owned())
}

fn instant(raw: &[u8]) -> Option<Timestamp> {
    let since = i64::from_be_bytes(raw.try_into().ok()?);
    Timestamp::from_microsecond(since.checked_add(EPOCH_US)?).ok()
}

fn uuid(raw: &[u8]) -> String {
    let digits = hex(raw);
    let mut text = String::with_capacity(36);
    for (index, digit) in digits.chars().enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    text
}

/// Groups of four decimal digits, the weight of the first, a sign and the digits after the point.
fn numeric(raw: &[u8]) -> Option<String> {
    let mut words = raw
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0_u16, |word, b| word << 8 | u16::from(*b)));
    let count = words.next()?;
    let weight = i32::from(words.next()?.cast_signed());
    let (sign, scale) = (words.next()?, usize::from(words.next()?));
    match sign {
        0x0000 | 0x4000 => {}
        0xC000 => return Some("NaN".to_owned()),
        0xD000 => return Some("Infinity".to_owned()),
        0xF000 => return Some("-Infinity".to_owned()),
        _ => return None,
    }
    let groups: Vec<u16> = words.collect();
    if groups.len() != usize::from(count) {
        return None;
    }
    let group =
        |index: i32| usize::try_from(index).ok().and_then(|i| groups.get(i)).copied().unwrap_or(0);
    let mut whole: String = (0..=weight.max(0))
        .map(|index| format!("{:04}", if weight < 0 { 0 } else { group(index) }))
        .collect();
    let trimmed = whole.trim_start_matches('0').len();
    whole = whole.split_off(whole.len() - trimmed.max(1));
    let after = i32::try_from(scale.div_ceil(4)).ok()?;
    let fraction: String =
        (1..=after).map(|index| format!("{:04}", group(weight + index))).collect();
    let fraction = fraction.get(..scale)?;
    let point = if scale == 0 { "" } else { "." };
    let minus = if sign == 0x4000 { "-" } else { "" };
    Some(format!("{minus}{whole}{point}{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(words: &[u16]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn numerics() {
        for (words, expected) in [
            (vec![0, 0, 0, 0], "0"),
            (vec![0, 0, 0, 2], "0.00"),
            (vec![1, 0, 0, 0, 42], "42"),
            (vec![2, 0, 0x4000, 2, 12, 5000], "-12.50"),
            (vec![1, 1, 0, 0, 1], "10000"),
            (vec![1, 0xFFFF, 0, 4, 1], "0.0001"),
            (vec![1, 0xFFFE, 0, 8, 1], "0.00000001"),
            (vec![3, 1, 0, 3, 1, 2345, 6780], "12345.678"),
            (vec![5, 4, 0, 0, 9, 71, 9925, 4740, 993], "90071992547400993"),
            (vec![0, 0, 0xC000, 0], "NaN"),
        ] {
            assert_eq!(numeric(&bytes(&words)).as_deref(), Some(expected));
        }
        assert_eq!(numeric(&bytes(&[2, 0, 0, 0, 1])), None, "cut short");
    }

    #[test]
    fn times_and_numbers() {
        let us = 820_454_400_000_000_i64.to_be_bytes();
        assert_eq!(value(&Type::TIMESTAMPTZ, &us).unwrap(), json!("2025-12-31T00:00:00Z"));
        assert_eq!(value(&Type::TIMESTAMP, &us).unwrap(), json!("2025-12-31T00:00:00"));
        assert_eq!(value(&Type::DATE, &9496_i32.to_be_bytes()).unwrap(), json!("2025-12-31"));
        assert_eq!(
            value(&Type::INT8, &9_007_199_254_740_993_i64.to_be_bytes()).unwrap(),
            json!("9007199254740993")
        );
        assert_eq!(value(&Type::FLOAT4, &0.1_f32.to_be_bytes()).unwrap(), json!(0.1));
        assert_eq!(value(&Type::FLOAT8, &f64::NAN.to_be_bytes()).unwrap(), json!("NaN"));
        assert!(value(&Type::INT4, &[1]).is_err());
        assert!(value(&Type::POINT, &[0; 16]).unwrap_err().contains("::text"));
    }
}
