//! Journal bytes per action as a run gets longer: they must not grow with its history.

use std::sync::Arc;

use crate::{
    error::Broken,
    line::{Line, Sink, Written},
    options::Options,
    report::{Figure, Floor, Goal, Report},
    spread::Spread,
    world::{Deed, World},
};

/// Actions looked at, counted from 1.
const LOOKED_AT: [usize; 3] = [10, 1_000, 10_000];

/// What numbers alone may add: 3 digits more in each of some twenty places, a third more in base64.
const DIGITS_MAX: f64 = 128.0;

/// Item 7.
pub(crate) fn measure(options: &Options, report: &mut Report) -> Result<(), Broken> {
    let looked_at: Vec<usize> =
        LOOKED_AT.into_iter().filter(|n| *n <= options.pick(10_000, 1_000)).collect();
    let last = looked_at.last().copied().unwrap_or(1);
    let written = written_per_action(&World::real(Deed::Read, last + 1)?)?;
    let at = |n: usize| written.get(n).copied().unwrap_or_default();
    let one = |bytes: usize| Spread::of(vec![bytes as f64]);
    let first = at(10);
    for n in looked_at {
        let parts = at(n);
        let floor = Floor { name: "the 10th action", value: one(first.total()) };
        let name = format!(
            "journal bytes of action {n} ({} bodies, {} values, {} receipt)",
            parts.bodies, parts.openings, parts.envelopes
        );
        let goal = Goal::AtMost(first.total() as f64 + DIGITS_MAX);
        report.add(Figure::new(name, (one(parts.total()), "bytes"), Some(floor), goal));
    }
    Ok(())
}

/// Bytes of every batch of one run: entry `n` holds the outcome of action `n` and the next dispatch.
fn written_per_action(world: &Arc<World>) -> Result<Vec<Written>, Broken> {
    let mut line = Line::open(world, Sink::Sizes(Vec::new()))?;
    line.finish()?;
    match line.sink {
        Sink::Sizes(sizes) => Ok(sizes),
        Sink::Ram(_) | Sink::Records(_) => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_costs_the_same_bytes_however_long_the_run_gets() {
        let actions = 1_001;
        let world = World::scripted(Deed::Read, actions).unwrap();
        let written = written_per_action(&world).unwrap();
        assert_eq!(written.len(), actions + 1, "n actions are n + 1 batches");
        let (early, late) = (written[10].total(), written[1_000].total());
        assert!(early > 1_000, "a receipt alone is longer: {early}");
        assert!(late >= early && (late - early) as f64 <= DIGITS_MAX, "{early} then {late}");
    }
}
