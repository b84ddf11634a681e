//! Where one of many texts may begin, found in strides (after Wu and Manber, 1994).
//!
//! A window as long as the shortest text goes over what is searched. Its last three bytes say how far it may go on without
//! passing by the beginning of any of them: as far as these bytes stand from the window's end in the text in which they
//! stand last.

/// How many bytes are looked at together.
const BLOCK_BYTES: usize = 3;

/// How long the window is at most, in bytes.
const WINDOW_BYTES_MAX: usize = 64;

/// Entries of the table for each block of a text: with fewer, blocks that are not there are taken for others.
const ENTRIES_A_BLOCK: usize = 8;

/// Most entries of the table, of one byte each.
const ENTRIES_MAX: usize = 1 << 18;

/// The strides of a set of texts.
pub(super) struct Skip {
    window: usize,
    /// How far to go on behind a block, by its hash; none where one of the texts may begin.
    strides: Box<[u8]>,
    shift: u32,
}

impl Skip {
    /// For these texts, none shorter than [`BLOCK_BYTES`].
    pub(super) fn new(texts: &[Vec<u8>]) -> Self {
        let window = texts.iter().map(Vec::len).min().unwrap_or(0).min(WINDOW_BYTES_MAX);
        let blocks = texts.len().saturating_mul(window);
        let entries = blocks.saturating_mul(ENTRIES_A_BLOCK).next_power_of_two();
        let entries = entries.clamp(1 << 8, ENTRIES_MAX);
        let furthest = window.saturating_sub(BLOCK_BYTES).saturating_add(1);
        let furthest = u8::try_from(furthest).unwrap_or(u8::MAX);
        let mut skip = Self {
            window,
            strides: vec![furthest; entries].into(),
            shift: u32::BITS - entries.trailing_zeros(),
        };
        for text in texts {
            let begin = text.get(..window).unwrap_or_default();
            for (index, block) in begin.windows(BLOCK_BYTES).enumerate() {
                let behind = window.saturating_sub(index).saturating_sub(BLOCK_BYTES);
                let behind = u8::try_from(behind).unwrap_or(u8::MAX);
                let entry = skip.entry(block);
                if let Some(stride) = skip.strides.get_mut(entry) {
                    *stride = behind.min(*stride);
                }
            }
        }
        skip
    }

    /// Where one of them may begin, in order: every place where one does, and some where none does.
    pub(super) fn places(&self, text: &[u8]) -> impl Iterator<Item = usize> {
        let mut at = 0_usize;
        std::iter::from_fn(move || {
            loop {
                let end = at.checked_add(self.window)?;
                let block = text.get(end.checked_sub(BLOCK_BYTES)?..end)?;
                match self.strides.get(self.entry(block)).copied() {
                    Some(0) | None => {
                        let place = at;
                        at = at.saturating_add(1);
                        return Some(place);
                    }
                    Some(stride) => at = at.saturating_add(usize::from(stride)),
                }
            }
        })
    }

    fn entry(&self, block: &[u8]) -> usize {
        let [one, two, three] = block else { return 0 };
        let word = u32::from_le_bytes([*one, *two, *three, 0]);
        // Multiplied by the golden ratio, the bits that differ most are the first.
        (word.wrapping_mul(0x9E37_79B1) >> self.shift) as usize
    }
}
