//! A calculator on decimals that never rounds behind anybody's back.

use rust_decimal::Decimal;

/// Longest expression, in bytes.
pub(crate) const EXPRESSION_MAX_BYTES: usize = 1_000;

/// Deepest nesting of parentheses and signs.
const NESTING_MAX: usize = 32;

/// Evaluates `+ - * / ( )` over decimals.
///
/// Sums, differences and products are exact or refused; a quotient is rounded half to even at 28
/// digits. The result has no trailing zeros.
pub(crate) fn evaluate(expression: &str) -> Result<String, String> {
    if expression.len() > EXPRESSION_MAX_BYTES {
        return Err(format!("the expression is longer than {EXPRESSION_MAX_BYTES} bytes"));
    }
    let mut parser = Parser { rest: expression, depth: 0 };
    let value = parser.sum()?;
    parser.skip_spaces();
    if !parser.rest.is_empty() {
        return Err(parser.unexpected());
    }
    let value = value.normalize();
    // A negative zero is zero.
    Ok(if value.is_zero() { "0".to_owned() } else { value.to_string() })
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl Parser<'_> {
    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn unexpected(&self) -> String {
        match self.rest.chars().next() {
            Some(c) => format!("`{c}` is not expected there; use numbers, + - * / and parentheses"),
            None => "the expression ends too early".to_owned(),
        }
    }

    fn eat(&mut self, wanted: char) -> bool {
        self.skip_spaces();
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn sum(&mut self) -> Result<Decimal, String> {
        let mut value = self.product()?;
        loop {
            if self.eat('+') {
                value = add(value, self.product()?)?;
            } else if self.eat('-') {
                value = add(value, -self.product()?)?;
            } else {
                return Ok(value);
            }
        }
    }

    fn product(&mut self) -> Result<Decimal, String> {
        let mut value = self.factor()?;
        loop {
            if self.eat('*') {
                value = multiply(value, self.factor()?)?;
            } else if self.eat('/') {
                value = divide(value, self.factor()?)?;
            } else {
                return Ok(value);
            }
        }
    }

    fn factor(&mut self) -> Result<Decimal, String> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return Err(format!("the expression is nested deeper than {NESTING_MAX} levels"));
        }
        let value = if self.eat('-') {
            -self.factor()?
        } else if self.eat('(') {
            let value = self.sum()?;
            if !self.eat(')') {
                return Err("a `)` is missing".to_owned());
            }
            value
        } else {
            self.number()?
        };
        self.depth -= 1;
        Ok(value)
    }

    fn number(&mut self) -> Result<Decimal, String> {
        self.skip_spaces();
        let end =
            self.rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        let sound = digits.starts_with(|c: char| c.is_ascii_digit())
            && digits.ends_with(|c: char| c.is_ascii_digit())
            && digits.matches('.').count() <= 1;
        if !sound {
            return Err(if digits.is_empty() {
                self.unexpected()
            } else {
                format!("`{digits}` is no number")
            });
        }
        self.rest = rest;
        Decimal::from_str_exact(digits).map_err(|_| format!("`{digits}` has more than 28 digits"))
    }
}

fn inexact() -> String {
    "the result needs more than 28 digits".to_owned()
}

fn add(one: Decimal, other: Decimal) -> Result<Decimal, String> {
    let (one, other) = (one.normalize(), other.normalize());
    let sum = one.checked_add(other).ok_or_else(inexact)?;
    // Undone, a rounded sum does not give back what went in.
    let exact = sum.checked_sub(one) == Some(other) && sum.checked_sub(other) == Some(one);
    if exact { Ok(sum) } else { Err(inexact()) }
}

fn multiply(one: Decimal, other: Decimal) -> Result<Decimal, String> {
    let (one, other) = (one.normalize(), other.normalize());
    if one.is_zero() || other.is_zero() {
        return Ok(Decimal::ZERO);
    }
    let mantissa = one.mantissa().checked_mul(other.mantissa()).ok_or_else(inexact)?;
    Decimal::try_from_i128_with_scale(mantissa, one.scale() + other.scale()).map_err(|_| inexact())
}

fn divide(one: Decimal, other: Decimal) -> Result<Decimal, String> {
    if other.is_zero() {
        return Err("division by zero".to_owned());
    }
    one.checked_div(other).ok_or_else(inexact)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        for (expression, result) in [
            ("12.50 * 3 - 0.1", "37.4"),
            ("0.1 + 0.2", "0.3"),
            ("1 - 0.9", "0.1"),
            ("2 + 3 * 4", "14"),
            ("(2 + 3) * 4", "20"),
            ("10 - 4 - 3", "3"),
            ("100 / 8 / 2", "6.25"),
            ("-(2 - 5)", "3"),
            ("--3", "3"),
            ("2*-3", "-6"),
            ("0 * -1", "0"),
            ("1.10", "1.1"),
            ("9007199254740993 + 0", "9007199254740993"),
            ("1 / 3", "0.3333333333333333333333333333"),
            ("79228162514264337593543950335 - 1", "79228162514264337593543950334"),
            (" 1\n+\t1 ", "2"),
        ] {
            assert_eq!(evaluate(expression).as_deref(), Ok(result), "{expression}");
        }
    }

    #[test]
    fn refused() {
        for (expression, why) in [
            ("1 / 0", "division by zero"),
            ("1 / (2 - 2)", "division by zero"),
            ("", "too early"),
            ("1 +", "too early"),
            ("1 2", "not expected"),
            ("1e5", "`e`"),
            ("1,000", "`,`"),
            ("10%", "`%`"),
            (".5", "no number"),
            ("1.2.3", "no number"),
            ("(1", "missing"),
            ("1)", "`)`"),
            ("x", "`x`"),
            ("79228162514264337593543950335 * 2", "28 digits"),
            ("79228162514264337593543950335 + 0.1", "28 digits"),
            ("0.00000000000001 * 0.000000000000001", "28 digits"),
        ] {
            let error = evaluate(expression).unwrap_err();
            assert!(error.contains(why), "{expression}: {error}");
        }
        assert!(evaluate(&"(".repeat(40)).unwrap_err().contains("nested"));
        assert!(evaluate(&"-".repeat(900)).unwrap_err().contains("nested"));
        assert!(evaluate(&"1+".repeat(600)).unwrap_err().contains("longer"));
    }
}
