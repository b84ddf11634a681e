//! What tokens cost, exactly: prices are millionths of a currency unit per million tokens, a sum is
//! rounded once, up, to whole minor units.

use std::{fmt, str::FromStr};

use kernel::{
    conversation::Usage,
    money::{Currency, Money},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Digits after the point that a price may have.
const DECIMALS: usize = 6;

/// A price of one million tokens, written as a decimal such as `"2.50"`; at most six decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct PerMillion(u64);

impl FromStr for PerMillion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "`{text}` is no price: write a decimal with at most {DECIMALS} digits after the point"
            )
        };
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) || fraction.len() > DECIMALS {
            return Err(bad());
        }
        format!("{whole}{fraction:0<DECIMALS$}").parse().map(Self).map_err(|_| bad())
    }
}

impl fmt::Display for PerMillion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:0>width$}", self.0, width = DECIMALS + 1);
        let (whole, fraction) = digits.split_at(digits.len() - DECIMALS);
        let fraction = fraction.trim_end_matches('0');
        write!(f, "{whole}.{fraction:0<2}")
    }
}

impl Serialize for PerMillion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PerMillion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The prices of one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// The currency of the budget.
    pub currency: Currency,
    /// Tokens read.
    pub input: PerMillion,
    /// Tokens read from a cache; absent = as `input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<PerMillion>,
    /// Tokens written to a cache; absent = as `input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_written: Option<PerMillion>,
    /// Tokens written, reasoning included.
    pub output: PerMillion,
}

impl Price {
    /// What these tokens cost, rounded up to a minor unit.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> Money {
        let apart = usage.cached.saturating_add(usage.cache_written);
        let plain = usage.input.saturating_sub(apart);
        self.sum(&[
            (plain, self.input),
            (usage.cached, self.cached.unwrap_or(self.input)),
            (usage.cache_written, self.cache_written.unwrap_or(self.input)),
            (usage.output, self.output),
        ])
    }

    /// The most that one call can cost which reads and writes so many tokens.
    #[must_use]
    pub fn cost_max(&self, input_tokens: u64, output_tokens: u64) -> Money {
        let dearest =
            [Some(self.input), self.cached, self.cache_written].into_iter().flatten().max();
        self.sum(&[(input_tokens, dearest.unwrap_or(self.input)), (output_tokens, self.output)])
    }

    fn sum(&self, parts: &[(u64, PerMillion)]) -> Money {
        let product = |(tokens, price): &(u64, PerMillion)| {
            u128::from(*tokens).saturating_mul(u128::from(price.0))
        };
        let total = parts.iter().map(product).fold(0_u128, u128::saturating_add);
        let exponent = u32::try_from(self.currency.exponent()).unwrap_or_default();
        // Millionths of a unit, for a million tokens: 10^12 of them are one unit.
        let minor =
            total.saturating_mul(10_u128.saturating_pow(exponent)).div_ceil(1_000_000_000_000);
        Money { minor: i64::try_from(minor).unwrap_or(i64::MAX), currency: self.currency }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(currency: &str) -> Price {
        Price {
            currency: Currency::parse(currency).unwrap(),
            input: "3".parse().unwrap(),
            cached: Some("0.30".parse().unwrap()),
            cache_written: Some("3.75".parse().unwrap()),
            output: "15.00".parse().unwrap(),
        }
    }

    fn usage(input: u64, cached: u64, cache_written: u64, output: u64) -> Usage {
        Usage { input, cached, cache_written, output, reasoning: 0 }
    }

    #[test]
    fn costs_are_exact_and_rounded_up_once() {
        let cost = |currency, usage: Usage| price(currency).cost(&usage).minor;
        assert_eq!(cost("EUR", usage(0, 0, 0, 0)), 0);
        assert_eq!(cost("EUR", usage(1, 0, 0, 0)), 1, "a fraction of a cent is a cent");
        assert_eq!(cost("EUR", usage(1_000_000, 0, 0, 0)), 300);
        assert_eq!(cost("EUR", usage(1_000_000, 1_000_000, 0, 1_000_000)), 30 + 1_500);
        assert_eq!(cost("EUR", usage(1_000_000, 400_000, 200_000, 0)), 120 + 12 + 75);
        assert_eq!(cost("JPY", usage(1_000_000, 0, 0, 0)), 3);
        assert_eq!(cost("KWD", usage(1_000_000, 0, 0, 0)), 3_000);
        assert_eq!(cost("EUR", usage(u64::MAX, 0, 0, u64::MAX)), 33_204_139_332_677_193);
    }

    #[test]
    fn the_most_a_call_can_cost_covers_what_it_costs() {
        let most = price("EUR").cost_max(200_000, 8_000);
        assert!(most >= price("EUR").cost(&usage(200_000, 0, 200_000, 8_000)));
        assert!(most >= price("EUR").cost(&usage(200_000, 0, 0, 8_000)));
    }

    #[test]
    fn prices_are_decimals() {
        for (text, shown) in [("2.5", "2.50"), ("0.000001", "0.000001"), ("15", "15.00")] {
            assert_eq!(text.parse::<PerMillion>().unwrap().to_string(), shown);
        }
        for bad in ["", "-1", "1.", ".5", "1e3", "0.0000001", "99999999999999999999"] {
            assert!(bad.parse::<PerMillion>().is_err(), "{bad}");
        }
    }
}
