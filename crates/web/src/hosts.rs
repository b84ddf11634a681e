//! How hosts are treated: one request at a time each, left alone where they ask for it, and read only where their
//! `robots.txt` allows it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

use crate::{
    error::{Failed, Why},
    robots::Robots,
};

/// Most hosts, and most `robots.txt`, that are remembered.
const KEPT_MAX: usize = 1_024;

/// How long a `robots.txt` holds, and that there is none, in milliseconds.
const ROBOTS_MS: i64 = 3_600_000;

/// How long it holds that one could not be had, in milliseconds.
const ROBOTS_AWAY_MS: i64 = 300_000;

/// What a host says about being read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Rules; none where it has no `robots.txt`.
    Rules(Arc<Robots>),
    /// It could not be asked, with this status.
    Away(u16),
}

#[derive(Debug, Default)]
pub(crate) struct Hosts(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    turns: BTreeMap<String, Arc<Turn<()>>>,
    pauses: BTreeMap<String, i64>,
    words: BTreeMap<String, (Word, i64)>,
}

impl Hosts {
    /// Waits for this host's turn. It ends when what is returned is dropped.
    pub(crate) async fn turn(&self, host: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut state = self.state();
            if state.turns.len() >= KEPT_MAX {
                // Whoever waits holds one of its own.
                state.turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            }
            Arc::clone(state.turns.entry(host.to_owned()).or_default())
        };
        turn.lock_owned().await
    }

    /// Whether the host asked to be left alone for now.
    pub(crate) fn check(&self, host: &str, now_ms: i64) -> Result<(), Failed> {
        let until = self.state().pauses.get(host).copied().unwrap_or(i64::MIN);
        let left = until.saturating_sub(now_ms);
        if left <= 0 {
            return Ok(());
        }
        let message =
            format!("`{host}` asked to be left alone for {left} ms more; nothing was sent");
        Err(Failed { retry_after_ms: Some(left), ..Failed::new(Why::Often, message) })
    }

    pub(crate) fn pause(&self, host: &str, now_ms: i64, wait_ms: i64) {
        let mut state = self.state();
        bound(&mut state.pauses, now_ms, |until| *until);
        state.pauses.insert(host.to_owned(), now_ms.saturating_add(wait_ms));
    }

    /// What is known of the `robots.txt` of an origin.
    pub(crate) fn word(&self, origin: &str, now_ms: i64) -> Option<Word> {
        let state = self.state();
        state.words.get(origin).filter(|(_, until)| now_ms < *until).map(|(word, _)| word.clone())
    }

    pub(crate) fn learn(&self, origin: &str, word: &Word, now_ms: i64) {
        let holds_ms = match word {
            Word::Rules(_) => ROBOTS_MS,
            Word::Away(_) => ROBOTS_AWAY_MS,
        };
        let mut state = self.state();
        bound(&mut state.words, now_ms, |(_, until)| *until);
        state.words.insert(origin.to_owned(), (word.clone(), now_ms.saturating_add(holds_ms)));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes room for one more: what is over goes first, then what ends next.
fn bound<T>(map: &mut BTreeMap<String, T>, now_ms: i64, until: impl Fn(&T) -> i64) {
    if map.len() < KEPT_MAX {
        return;
    }
    map.retain(|_, value| until(value) > now_ms);
    while map.len() >= KEPT_MAX {
        let next = map.iter().min_by_key(|(_, value)| until(value));
        let Some(next) = next.map(|(key, _)| key.clone()) else { break };
        map.remove(&next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_of_hosts_is_bounded() {
        let hosts = Hosts::default();
        for number in 0..3_000_i64 {
            hosts.pause(&number.to_string(), 0, number);
            hosts.learn(&number.to_string(), &Word::Away(500), number);
        }
        assert!(hosts.state().pauses.len() <= KEPT_MAX && hosts.state().words.len() <= KEPT_MAX);
        let late = hosts.check("2999", 1).unwrap_err();
        assert_eq!((late.why, late.retry_after_ms), (Why::Often, Some(2_998)));
        assert!(hosts.check("2999", 2_999).is_ok() && hosts.check("0", 0).is_ok());
        assert_eq!(hosts.word("2999", 2_999 + ROBOTS_AWAY_MS - 1), Some(Word::Away(500)));
        assert_eq!(hosts.word("2999", 2_999 + ROBOTS_AWAY_MS), None);
    }

    #[tokio::test]
    async fn a_host_has_one_turn_at_a_time() {
        let hosts = Hosts::default();
        let first = hosts.turn("a").await;
        let _other = hosts.turn("b").await;
        let second = hosts.turn("a");
        tokio::pin!(second);
        let nobody = std::task::Waker::noop();
        let mut context = std::task::Context::from_waker(nobody);
        assert!(second.as_mut().poll(&mut context).is_pending());
        drop(first);
        assert!(second.as_mut().poll(&mut context).is_ready());
    }
}
