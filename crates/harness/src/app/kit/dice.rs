//! Choices that look random and never are: one seed and one place give one choice, in every process.

/// A choice waiting to be made at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dice(u64);

/// Offset basis and prime of 64-bit FNV-1a.
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(mix(seed ^ FNV_BASIS))
    }

    /// The choice at a place below this one.
    #[must_use]
    pub(super) fn at(self, part: &str) -> Self {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
        Self(mix(part.as_bytes().iter().fold(self.0 ^ FNV_BASIS, step)))
    }

    /// A number below `n`; 0 when there is none.
    pub(super) fn below(self, n: u64) -> u64 {
        self.0.checked_rem(n).unwrap_or_default()
    }

    /// Whether something that happens `percent` times in a hundred happens here.
    pub(super) fn happens(self, percent: u64) -> Chance {
        if self.at("chance").below(100) < percent { Chance::Yes } else { Chance::No }
    }

    /// One of several; `None` of none.
    pub(super) fn pick<T>(self, options: &[T]) -> Option<&T> {
        let count = u64::try_from(options.len()).unwrap_or_default();
        options.get(usize::try_from(self.below(count)).unwrap_or_default())
    }
}

/// Whether something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chance {
    Yes,
    No,
}

/// The finaliser of SplitMix64: every bit of the result depends on every bit of the input.
fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_differ_and_stay_as_they_are() {
        let dice = Dice::new(7);
        assert_eq!(dice.at("a").at("b"), Dice::new(7).at("a").at("b"));
        assert_ne!(dice.at("a").at("b"), dice.at("b").at("a"));
        let spread: std::collections::BTreeSet<u64> =
            (0..200).map(|n| Dice::new(n).below(10)).collect();
        assert_eq!(spread.len(), 10, "every choice is made by somebody");
        assert_eq!(dice.below(0), 0);
        assert_eq!(dice.pick::<u8>(&[]), None);
    }
}
