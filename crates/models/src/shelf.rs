//! Where the buffers of conversations wait between turns: bounded by number, bytes and idle time. What
//! is dropped here is built again from the thread.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use kernel::id::{RunId, Tenant};

use crate::buffer::Buffer;

/// Most conversations kept.
pub(crate) const CONVERSATIONS_MAX: usize = 4_096;

/// Most bytes kept.
pub(crate) const BYTES_MAX: usize = 256 * 1024 * 1024;

/// How long a conversation is kept that nobody goes on with, in milliseconds.
pub(crate) const IDLE_MAX_MS: u64 = 900_000;

/// Which conversation.
pub(crate) type Place = (Tenant, RunId, String);

#[derive(Debug)]
struct Kept {
    buffer: Buffer,
    turn: u64,
    at_ms: u64,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Inside {
    kept: BTreeMap<Place, Kept>,
    /// By the turn they were put back at: the oldest goes first.
    order: BTreeMap<u64, Place>,
    turns: u64,
    bytes: usize,
}

/// Buffers by conversation. Whoever works on one has taken it off.
#[derive(Debug)]
pub(crate) struct Shelf {
    inside: Mutex<Inside>,
    conversations_max: usize,
    bytes_max: usize,
}

impl Default for Shelf {
    fn default() -> Self {
        Self::new(CONVERSATIONS_MAX, BYTES_MAX)
    }
}

impl Shelf {
    pub(crate) fn new(conversations_max: usize, bytes_max: usize) -> Self {
        Self { inside: Mutex::default(), conversations_max, bytes_max }
    }

    /// Takes a conversation's buffer; an empty one where there is none.
    pub(crate) fn take(&self, place: &Place) -> Buffer {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.remove(place).unwrap_or_default()
    }

    /// Puts it back, and drops what is too much or too old.
    pub(crate) fn put(&self, place: Place, buffer: Buffer, now_ms: u64) {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.remove(&place);
        inside.turns = inside.turns.saturating_add(1);
        let (turn, bytes) = (inside.turns, buffer.size());
        inside.bytes = inside.bytes.saturating_add(bytes);
        inside.order.insert(turn, place.clone());
        inside.kept.insert(place, Kept { buffer, turn, at_ms: now_ms, bytes });
        while let Some(oldest) = inside.order.values().next().cloned() {
            let at_ms = inside.kept.get(&oldest).map_or(0, |kept| kept.at_ms);
            let is_idle = at_ms.saturating_add(IDLE_MAX_MS) < now_ms;
            let is_full =
                inside.kept.len() > self.conversations_max || inside.bytes > self.bytes_max;
            if !is_idle && !is_full {
                break;
            }
            inside.remove(&oldest);
        }
    }

    #[cfg(test)]
    fn held(&self) -> (usize, usize) {
        let inside = self.inside.lock().unwrap();
        assert_eq!(inside.kept.len(), inside.order.len());
        (inside.kept.len(), inside.bytes)
    }
}

impl Inside {
    fn remove(&mut self, place: &Place) -> Option<Buffer> {
        let kept = self.kept.remove(place)?;
        self.order.remove(&kept.turn);
        self.bytes = self.bytes.saturating_sub(kept.bytes);
        Some(kept.buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(n: usize) -> Place {
        let tenant = Tenant::default();
        (tenant.clone(), RunId::of_intent(&tenant, "test", "k"), n.to_string())
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_and_when_nobody_came_for_long() {
        let shelf = Shelf::new(3, usize::MAX);
        (0..5).for_each(|n| shelf.put(place(n), Buffer::default(), 0));
        assert_eq!(shelf.held().0, 3);
        shelf.put(place(9), Buffer::default(), IDLE_MAX_MS + 1);
        assert_eq!(shelf.held().0, 1);
        shelf.take(&place(9));
        assert_eq!(shelf.held(), (0, 0));
    }

    #[test]
    fn what_is_too_large_for_the_shelf_is_not_kept() {
        let shelf = Shelf::new(10, 0);
        shelf.put(place(0), Buffer::default(), 0);
        assert_eq!(shelf.held(), (1, 0), "an empty buffer weighs nothing");
    }
}
