//! Canonical JSON (RFC 8785) and what may be written in it.
//!
//! Outside bytes are hashed as received. Before a number from outside enters a canonical body it must
//! survive it: beyond what an IEEE double holds exactly, two parties would hash two different numbers.

mod key;
mod write;

use serde::Serialize;
use serde_json::Value;

use crate::id::Digest;

/// The largest integer every JSON reader agrees on: 2^53 − 1.
pub const INTEGER_MAX: u64 = 9_007_199_254_740_991;

/// Deepest nesting accepted from outside.
pub const DEPTH_MAX: usize = 64;

/// JSON that has no canonical form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not JSON at all.
    #[error("not JSON: {0}")]
    Syntax(String),
    /// A number that would change on the way.
    #[error("the number {0} does not survive canonical JSON; declare it as a string in the schema")]
    Number(String),
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("nested deeper than {DEPTH_MAX} levels")]
    Depth,
}

/// The canonical bytes of anything serialisable.
///
/// # Errors
/// [`Error::Syntax`] for what JSON cannot hold (a map with keys that are not strings, NaN).
pub fn bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    write::to_vec(value).map_err(|e| Error::Syntax(e.to_string()))
}

/// SHA-256 over the canonical bytes.
///
/// # Errors
/// As [`bytes`].
pub fn digest<T: Serialize>(value: &T) -> Result<Digest, Error> {
    bytes(value).map(|bytes| Digest::of(&bytes))
}

/// Reads JSON from outside, refusing every number that canonical JSON would change.
///
/// # Errors
/// Says what is wrong: syntax, a number, or depth.
pub fn parse(bytes: &[u8]) -> Result<Value, Error> {
    scan(bytes)?;
    serde_json::from_slice(bytes).map_err(|e| Error::Syntax(e.to_string()))
}

/// The depth that [`parse`] allows, for a value that was made in this process and never was bytes.
///
/// Walks without recursion: what it refuses would exhaust the stack of whoever descends into it.
///
/// # Errors
/// [`Error::Depth`].
pub fn check_depth(value: &Value) -> Result<(), Error> {
    let is_nest = |value: &&Value| value.is_array() || value.is_object();
    let mut level: Vec<&Value> = Some(value).filter(is_nest).into_iter().collect();
    for _ in 0..DEPTH_MAX {
        let mut below = Vec::new();
        for nest in level {
            match nest {
                Value::Array(items) => below.extend(items.iter().filter(is_nest)),
                Value::Object(map) => below.extend(map.values().filter(is_nest)),
                _ => {}
            }
        }
        level = below;
    }
    if level.is_empty() { Ok(()) } else { Err(Error::Depth) }
}

/// One pass over the tokens: depth and number spelling, which a parsed tree no longer shows.
fn scan(bytes: &[u8]) -> Result<(), Error> {
    let (mut depth, mut at) = (0_usize, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = string_end(bytes, at + 1),
            b'{' | b'[' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(Error::Depth);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'-' | b'0'..=b'9' => {
                let rest = bytes.get(at..).unwrap_or_default();
                let length = rest.iter().take_while(|b| is_number_byte(**b)).count();
                let token = String::from_utf8_lossy(rest.get(..length).unwrap_or_default());
                check_number(&token)?;
                at += length.saturating_sub(1);
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

fn is_number_byte(byte: u8) -> bool {
    matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')
}

fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at,
            _ => at += 1,
        }
    }
    at
}

fn check_number(token: &str) -> Result<(), Error> {
    let refuse = || Error::Number(token.chars().take(40).collect());
    let double: f64 = token.parse().map_err(|_| Error::Syntax(format!("bad number {token}")))?;
    if !double.is_finite() {
        return Err(refuse());
    }
    if decimal_parts(token) == decimal_parts(&format!("{double:e}")) {
        Ok(())
    } else {
        Err(refuse())
    }
}

/// Sign, significant digits and exponent, so that `1.50`, `15e-1` and `1.5` compare equal.
fn decimal_parts(token: &str) -> Option<(bool, String, i64)> {
    let (mantissa, exponent) = token.split_once(['e', 'E']).unwrap_or((token, "0"));
    let exponent: i64 = exponent.parse().ok()?;
    let (negative, mantissa) = mantissa.strip_prefix('-').map_or((false, mantissa), |m| (true, m));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let trailing = digits.len() - digits.trim_end_matches('0').len();
    let digits = digits.trim_matches('0').to_owned();
    if digits.is_empty() {
        return Some((false, String::new(), 0));
    }
    let exponent = exponent - i64::try_from(fraction.len()).ok()? + i64::try_from(trailing).ok()?;
    Some((negative, digits, exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_8785_vectors() {
        // The example of RFC 8785, section 3.2.2 and 3.2.3.
        let value: Value = serde_json::from_str(
            r#"{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"literals":[null,true,false]}"#,
        )
        .unwrap();
        let text = String::from_utf8(bytes(&value).unwrap()).unwrap();
        assert_eq!(
            text,
            r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27]}"#
        );
        // UTF-16 code unit order: the surrogate pair of U+1F600 sorts before U+FB33.
        let value = serde_json::json!({"\u{fb33}": 1, "\u{1f600}": 2, "\u{20ac}": 3, "1": 4});
        let text = String::from_utf8(bytes(&value).unwrap()).unwrap();
        assert_eq!(text, "{\"1\":4,\"\u{20ac}\":3,\"\u{1f600}\":2,\"\u{fb33}\":1}");
    }

    #[test]
    fn numbers_that_would_change_are_refused() {
        for ok in ["0", "-0", "1.50", "1e3", "9007199254740991", "0.1", "-2.5e-3", "100"] {
            assert!(parse(ok.as_bytes()).is_ok(), "{ok}");
        }
        for bad in ["9007199254740993", "0.12345678901234567891", "1e400", "18446744073709551615"] {
            assert!(matches!(parse(bad.as_bytes()), Err(Error::Number(_))), "{bad}");
        }
        assert!(parse(br#"{"a":"9007199254740993"}"#).is_ok(), "inside a string it is text");
        assert!(parse(br#"{"a\"1e999":1}"#).is_ok(), "an escaped quote does not end a string");
    }

    #[test]
    fn depth_is_limited_before_anything_recurses() {
        let deep = [vec![b'['; DEPTH_MAX + 1], vec![b']'; DEPTH_MAX + 1]].concat();
        assert_eq!(parse(&deep), Err(Error::Depth));
    }

    #[test]
    fn values_at_hand_have_the_depth_of_values_read() {
        for depth in [0, 1, DEPTH_MAX - 1, DEPTH_MAX, DEPTH_MAX + 1, DEPTH_MAX + 2] {
            for (open, middle, close) in [
                ("[", "1", "]"),
                ("{\"a\":", "1", "}"),
                ("[", "[1,{}]", "]"),
                ("[", "[]", "]"),
                ("{\"b\":2,\"a\":", "{}", "}"),
            ] {
                let text = [open.repeat(depth), middle.to_owned(), close.repeat(depth)].concat();
                let value: Value = serde_json::from_str(&text).unwrap();
                let read = parse(text.as_bytes()).map(|_| ());
                assert_eq!(check_depth(&value), read, "{text}");
            }
        }
    }
}
