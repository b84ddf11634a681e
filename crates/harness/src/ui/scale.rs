//! From time to place: quiet time is drawn short, with a mark that says how long it was.

/// Share of the width that a break takes.
const BREAK: f64 = 0.1;

/// Most breaks drawn; the longest ones.
const BREAKS_MAX: usize = 4;

/// Shortest quiet time that is drawn short, in ms.
const QUIET_MIN_MS: i64 = 2_000;

/// Narrowest bar, as a share of the width.
const BAR_MIN: f64 = 0.006;

/// A stretch of time with how it is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: i64,
    pub(crate) until: i64,
    /// Whether nothing but waiting goes on.
    pub(crate) quiet: bool,
}

/// A quiet time that is drawn short.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Break {
    /// Where it is drawn, as shares of the width.
    pub(crate) x: f64,
    pub(crate) width: f64,
    /// How long it was, in ms.
    pub(crate) ms: i64,
}

/// Where each moment is drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Scale {
    /// Moments in order, each with its place.
    marks: Vec<(i64, f64)>,
    pub(crate) breaks: Vec<Break>,
    /// From the first moment to the last, in ms.
    pub(crate) total_ms: i64,
}

impl Scale {
    /// A scale for these spans.
    pub(crate) fn of(spans: &[Span]) -> Self {
        let mut edges: Vec<i64> = spans.iter().flat_map(|span| [span.from, span.until]).collect();
        edges.sort_unstable();
        edges.dedup();
        let (Some(first), Some(last)) = (edges.first().copied(), edges.last().copied()) else {
            return Self::default();
        };
        let busy = busy(spans);
        let pieces: Vec<(i64, i64)> =
            edges.iter().copied().zip(edges.iter().copied().skip(1)).collect();
        let is_busy = |from: i64| busy.iter().any(|(start, end)| *start <= from && from < *end);
        let active: i64 =
            pieces.iter().filter(|(from, _)| is_busy(*from)).map(|(from, to)| to - from).sum();
        let quiet = longest_quiet(&pieces, &is_busy, active);
        let rest: i64 = pieces
            .iter()
            .filter(|(from, _)| !quiet.iter().any(|(start, end)| start <= from && from < end))
            .map(|(from, to)| to - from)
            .sum();
        let room = 1.0 - BREAK * quiet.len() as f64;
        let mut scale = Self { marks: vec![(first, 0.0)], breaks: vec![], total_ms: last - first };
        let mut x = 0.0;
        for (from, to) in pieces {
            let short = quiet.iter().find(|(start, end)| *start <= from && from < *end);
            let width = match short {
                // A break of several pieces shares its width among them.
                Some((start, end)) => BREAK * (to - from) as f64 / (end - start) as f64,
                None if rest > 0 => room * (to - from) as f64 / rest as f64,
                None => 0.0,
            };
            if let Some((start, end)) = short.filter(|(start, _)| *start == from) {
                scale.breaks.push(Break { x, width: BREAK, ms: end - start });
            }
            x += width;
            scale.marks.push((to, x));
        }
        scale
    }

    /// The place of a moment, as a share of the width.
    pub(crate) fn at(&self, moment: i64) -> f64 {
        let next = self.marks.iter().position(|(mark, _)| *mark >= moment);
        let Some(next) = next else { return 1.0 };
        let Some((to, x_to)) = self.marks.get(next).copied() else { return 1.0 };
        let before = next.checked_sub(1).and_then(|at| self.marks.get(at)).copied();
        let Some((from, x_from)) = before else { return x_to };
        match to - from {
            0 => x_to,
            wide => x_from + (x_to - x_from) * (moment - from) as f64 / wide as f64,
        }
    }

    /// Place and width of a bar: never too narrow to see, never beyond the edge.
    pub(crate) fn bar(&self, from: i64, until: i64) -> (f64, f64) {
        let (x, end) = (self.at(from), self.at(until));
        let width = (end - x).max(BAR_MIN);
        (x.min(1.0 - BAR_MIN), width.min(1.0 - x.min(1.0 - BAR_MIN)))
    }
}

/// Stretches in which something more than waiting goes on, merged.
fn busy(spans: &[Span]) -> Vec<(i64, i64)> {
    let mut busy: Vec<(i64, i64)> =
        spans.iter().filter(|span| !span.quiet).map(|span| (span.from, span.until)).collect();
    busy.sort_unstable();
    let mut merged: Vec<(i64, i64)> = Vec::new();
    for (from, until) in busy {
        match merged.last_mut() {
            Some((_, end)) if from <= *end => *end = until.max(*end),
            _ => merged.push((from, until)),
        }
    }
    merged
}

/// The longest stretches without anything but waiting, in order of time.
fn longest_quiet(
    pieces: &[(i64, i64)],
    is_busy: &dyn Fn(i64) -> bool,
    active: i64,
) -> Vec<(i64, i64)> {
    let least = QUIET_MIN_MS.max(active / 4);
    let mut quiet: Vec<(i64, i64)> = Vec::new();
    for (from, to) in pieces.iter().copied().filter(|(from, _)| !is_busy(*from)) {
        match quiet.last_mut() {
            Some((_, end)) if *end == from => *end = to,
            _ => quiet.push((from, to)),
        }
    }
    quiet.retain(|(from, to)| to - from >= least);
    quiet.sort_by_key(|(from, to)| std::cmp::Reverse(to - from));
    quiet.truncate(BREAKS_MAX);
    quiet.sort_unstable();
    quiet
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn work(from: i64, until: i64) -> Span {
        Span { from, until, quiet: false }
    }

    fn wait(from: i64, until: i64) -> Span {
        Span { quiet: true, ..work(from, until) }
    }

    #[test]
    fn a_long_wait_between_two_bursts_is_drawn_short_and_named() {
        let spans = [work(0, 3_000), wait(3_000, 423_000), work(423_000, 424_000)];
        let scale = Scale::of(&spans);
        assert_eq!(scale.breaks.len(), 1);
        let found = scale.breaks.first().unwrap();
        assert_eq!((found.ms, found.width), (420_000, BREAK));
        // Three of four seconds of work lie left of the break.
        assert!((scale.at(3_000) - 0.75 * (1.0 - BREAK)).abs() < 1e-9);
        assert!((scale.at(424_000) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn waiting_that_overlaps_with_work_is_not_quiet() {
        let scale = Scale::of(&[wait(0, 60_000), work(0, 60_000)]);
        assert!(scale.breaks.is_empty());
    }

    #[test]
    fn nothing_has_a_scale_too() {
        assert_eq!(Scale::of(&[]).bar(0, 10), (1.0 - BAR_MIN, BAR_MIN));
        let only = Scale::of(&[wait(5, 5)]);
        assert!(only.at(5) <= 1.0);
    }

    proptest! {
        /// Whatever happened: later is never drawn further left, and nothing outside of the drawing.
        #[test]
        fn places_keep_the_order_of_time(
            spans in prop::collection::vec((0i64..10_000_000, 0i64..3_000_000, any::<bool>()), 1..40)
        ) {
            let spans: Vec<Span> =
                spans.into_iter().map(|(from, long, quiet)| Span { quiet, ..work(from, from + long) }).collect();
            let scale = Scale::of(&spans);
            let mut moments: Vec<i64> = spans.iter().flat_map(|s| [s.from, s.until]).collect();
            moments.sort_unstable();
            let places: Vec<f64> = moments.iter().map(|m| scale.at(*m)).collect();
            prop_assert!(places.windows(2).all(|two| two[0] <= two[1] + 1e-9), "{places:?}");
            for span in &spans {
                let (x, width) = scale.bar(span.from, span.until);
                prop_assert!(x >= 0.0 && width > 0.0 && x + width <= 1.0 + 1e-9, "{x} {width}");
            }
            prop_assert!(scale.breaks.len() <= BREAKS_MAX);
        }
    }
}
