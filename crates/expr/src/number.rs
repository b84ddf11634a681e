//! Exact numbers. A number is its mathematical value: `2`, `2.0` and `2e0` are one and the same.

use std::cmp::Ordering;

use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::Value;

use crate::ast::Arithmetic;

/// Digits after the point that a decimal can hold.
pub(crate) const MAX_SCALE: u32 = 28;

pub(crate) const OVERFLOW: &str = "the result is too large to be exact; use smaller numbers";
pub(crate) const DIVISION_BY_ZERO: &str = "division by zero; guard it with `… != 0 ? … : …`";
pub(crate) const NOT_EXACT: &str =
    "a number outside of what is exact (28 digits); carry it as a string";
pub(crate) const NOT_JSON: &str =
    "the decimal does not survive as a JSON number; convert it with `string()` or `round()` it";

/// Always canonical: whatever is whole and fits is `Int`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Num {
    Int(i64),
    Dec(Decimal),
}

impl Num {
    pub(crate) fn from_decimal(decimal: Decimal) -> Num {
        let decimal = decimal.normalize();
        match decimal.to_i64() {
            Some(whole) if decimal.scale() == 0 => Num::Int(whole),
            _ => Num::Dec(decimal),
        }
    }

    pub(crate) fn from_json(number: &serde_json::Number) -> Option<Num> {
        match number.as_i64() {
            Some(whole) => Some(Num::Int(whole)),
            None => Num::parse(&number.to_string()),
        }
    }

    /// `-?digits(.digits)?(e[+-]?digits)?`, or none if it is not that or not exactly representable.
    pub(crate) fn parse(text: &str) -> Option<Num> {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent)),
            None => (unsigned, None),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (mantissa, None),
        };
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !fraction.is_none_or(digits) {
            return None;
        }
        let Some(exponent) = exponent else {
            return Decimal::from_str_exact(text).ok().map(Num::from_decimal);
        };
        if !digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)) {
            return None;
        }
        Decimal::from_str_exact(mantissa).ok()?;
        Decimal::from_scientific(text).ok().map(Num::from_decimal)
    }

    pub(crate) fn decimal(self) -> Decimal {
        match self {
            Num::Int(whole) => Decimal::from(whole),
            Num::Dec(decimal) => decimal,
        }
    }

    /// None if no JSON number reads back as exactly this.
    pub(crate) fn to_json(self) -> Option<Value> {
        match self {
            Num::Int(whole) => Some(Value::from(whole)),
            Num::Dec(decimal) => {
                let number = serde_json::Number::from_f64(decimal.to_string().parse().ok()?)?;
                (Num::from_json(&number) == Some(self)).then_some(Value::Number(number))
            }
        }
    }

    pub(crate) fn order(self, other: Num) -> Ordering {
        self.decimal().cmp(&other.decimal())
    }

    pub(crate) fn apply(self, operator: Arithmetic, other: Num) -> Result<Num, &'static str> {
        if let (Num::Int(left), Num::Int(right)) = (self, other) {
            let whole = match operator {
                Arithmetic::Add => Some(left.checked_add(right)),
                Arithmetic::Subtract => Some(left.checked_sub(right)),
                Arithmetic::Multiply => Some(left.checked_mul(right)),
                Arithmetic::Divide | Arithmetic::Remainder => None,
            };
            if let Some(result) = whole {
                return result.map(Num::Int).ok_or(OVERFLOW);
            }
        }
        let (left, right) = (self.decimal(), other.decimal());
        let result = match operator {
            Arithmetic::Add => left.checked_add(right),
            Arithmetic::Subtract => left.checked_sub(right),
            Arithmetic::Multiply => left.checked_mul(right),
            Arithmetic::Divide | Arithmetic::Remainder if right.is_zero() => {
                return Err(DIVISION_BY_ZERO);
            }
            Arithmetic::Divide => left.checked_div(right),
            Arithmetic::Remainder => left.checked_rem(right),
        };
        result.map(Num::from_decimal).ok_or(OVERFLOW)
    }

    pub(crate) fn negate(self) -> Result<Num, &'static str> {
        Num::Int(0).apply(Arithmetic::Subtract, self)
    }

    /// Towards zero.
    pub(crate) fn truncate(self) -> Result<Num, &'static str> {
        match Num::from_decimal(self.decimal().trunc()) {
            whole @ Num::Int(_) => Ok(whole),
            Num::Dec(_) => Err(OVERFLOW),
        }
    }

    /// Half away from zero, as invoices do.
    pub(crate) fn round(self, digits: u32) -> Num {
        let strategy = RoundingStrategy::MidpointAwayFromZero;
        Num::from_decimal(self.decimal().round_dp_with_strategy(digits.min(MAX_SCALE), strategy))
    }
}

impl std::fmt::Display for Num {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Num::Int(whole) => write!(f, "{whole}"),
            Num::Dec(decimal) => write!(f, "{decimal}"),
        }
    }
}
