//! Figures with their floors and goals, as a table or as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::{
    error::{Broken, Doing as _},
    spread::Spread,
};

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "goal", content = "bound")]
pub(crate) enum Goal {
    /// The median, at most.
    AtMost(f64),
    /// The median, at least.
    AtLeast(f64),
    /// The ratio to the floor, at least.
    RatioAtLeast(f64),
    /// The ratio to the floor, at most.
    RatioAtMost(f64),
    /// Nothing: it is there to explain the others.
    None,
}

/// Whether it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Met,
    Missed,
    NotMeasured,
    NoGoal,
}

/// The least it could be, measured beside it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Floor {
    pub(crate) name: &'static str,
    pub(crate) value: Spread,
}

/// One line of the report.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) value: Option<Spread>,
    pub(crate) floor: Option<Floor>,
    /// The figure's median over the floor's.
    pub(crate) ratio: Option<f64>,
    #[serde(flatten)]
    pub(crate) goal: Goal,
    pub(crate) verdict: Verdict,
    /// Why it was not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

impl Figure {
    /// A measured figure; its verdict is by the median, never by a lucky round.
    pub(crate) fn new(
        name: impl Into<String>,
        (value, unit): (Spread, &'static str),
        floor: Option<Floor>,
        goal: Goal,
    ) -> Self {
        let floored = floor.as_ref().filter(|floor| floor.value.median > 0.0);
        let ratio = floored.map(|floor| value.median / floor.value.median);
        let verdict = match goal {
            Goal::AtMost(most) if value.median <= most => Verdict::Met,
            Goal::AtLeast(least) if value.median >= least => Verdict::Met,
            Goal::RatioAtLeast(least) if ratio.is_some_and(|ratio| ratio >= least) => Verdict::Met,
            Goal::RatioAtMost(most) if ratio.is_some_and(|ratio| ratio <= most) => Verdict::Met,
            Goal::AtMost(_) | Goal::AtLeast(_) | Goal::RatioAtLeast(_) | Goal::RatioAtMost(_) => {
                Verdict::Missed
            }
            Goal::None => Verdict::NoGoal,
        };
        let (name, value, note) = (name.into(), Some(value), None);
        Self { name, unit, value, floor, ratio, goal, verdict, note }
    }

    /// A figure that could not be measured here, and why.
    pub(crate) fn unmeasured(name: &str, unit: &'static str, (goal, why): (Goal, String)) -> Self {
        let (name, note) = (name.to_owned(), Some(why));
        let verdict = Verdict::NotMeasured;
        Self { name, unit, value: None, floor: None, ratio: None, goal, verdict, note }
    }
}

/// All figures, in order.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) figures: Vec<Figure>,
}

impl Report {
    /// Adds a figure.
    pub(crate) fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// Goals not reached.
    pub(crate) fn missed(&self) -> usize {
        self.figures.iter().filter(|figure| figure.verdict == Verdict::Missed).count()
    }

    /// For programs.
    pub(crate) fn json(&self) -> Result<String, Broken> {
        #[derive(Serialize)]
        struct Document<'a> {
            schema: &'static str,
            missed: usize,
            figures: &'a [Figure],
        }
        let schema = "harness.bench/v1";
        let document = Document { schema, missed: self.missed(), figures: &self.figures };
        let text = serde_json::to_string_pretty(&document).doing("write the report as JSON")?;
        Ok(text + "\n")
    }

    /// For people: ratios first, because they survive a change of machine; absolute figures second.
    pub(crate) fn table(&self) -> String {
        let heads = ["figure", "ratio", "of the floor", "goal", "verdict"].map(str::to_owned);
        let mut ratios = vec![heads.to_vec()];
        let heads =
            ["figure", "median", "min", "max", "floor", "unit", "rounds"].map(str::to_owned);
        let mut values = vec![heads.to_vec()];
        for figure in &self.figures {
            ratios.push(ratio_row(figure));
            values.push(value_row(figure));
        }
        format!("{}\n{}", aligned(&ratios), aligned(&values))
    }
}

fn ratio_row(figure: &Figure) -> Vec<String> {
    let ratio = figure.ratio.map_or_else(|| "-".to_owned(), |ratio| short(ratio) + "x");
    let floor = figure.floor.as_ref().map_or("-", |floor| floor.name).to_owned();
    let goal = match figure.goal {
        Goal::AtMost(most) => format!("<= {} {}", short(most), figure.unit),
        Goal::AtLeast(least) => format!(">= {} {}", short(least), figure.unit),
        Goal::RatioAtLeast(least) => format!(">= {}x", short(least)),
        Goal::RatioAtMost(most) => format!("<= {}x", short(most)),
        Goal::None => "-".to_owned(),
    };
    let verdict = match figure.verdict {
        Verdict::Met => "met".to_owned(),
        Verdict::Missed => "missed".to_owned(),
        Verdict::NoGoal => "-".to_owned(),
        Verdict::NotMeasured => {
            format!("not measured: {}", figure.note.as_deref().unwrap_or_default())
        }
    };
    vec![figure.name.clone(), ratio, floor, goal, verdict]
}

fn value_row(figure: &Figure) -> Vec<String> {
    let (unit, floor) = (figure.unit.to_owned(), figure.floor.as_ref());
    let floor = floor.map_or_else(|| "-".to_owned(), |floor| short(floor.value.median));
    let value = figure.value.unwrap_or_default();
    let shown = |number: f64| figure.value.map_or_else(|| "-".to_owned(), |_| short(number));
    let (median, min, max) = (shown(value.median), shown(value.min), shown(value.max));
    vec![figure.name.clone(), median, min, max, floor, unit, value.rounds.to_string()]
}

/// Three significant digits, as far as a person needs them.
fn short(number: f64) -> String {
    match number.abs() {
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        size if size >= 1.0 => format!("{number:.2}"),
        _ => format!("{number:.3}"),
    }
}

/// Columns of equal width; the last one as it comes.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing into a string cannot fail.
            let _ = write!(line, "{cell:<width$}  ", width = *width);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(median: f64) -> Spread {
        Spread { median, min: median, max: median, rounds: 1 }
    }

    fn floor(median: f64) -> Option<Floor> {
        Some(Floor { name: "bare", value: spread(median) })
    }

    #[test]
    fn a_verdict_follows_from_the_median_and_the_ratio() {
        let verdict = |goal, floor| Figure::new("f", (spread(4.0), "ms"), floor, goal).verdict;
        assert_eq!(verdict(Goal::AtMost(4.0), None), Verdict::Met);
        assert_eq!(verdict(Goal::AtMost(3.9), None), Verdict::Missed);
        assert_eq!(verdict(Goal::RatioAtLeast(0.4), floor(10.0)), Verdict::Met);
        assert_eq!(verdict(Goal::RatioAtLeast(0.41), floor(10.0)), Verdict::Missed);
        assert_eq!(verdict(Goal::RatioAtMost(0.4), floor(10.0)), Verdict::Met);
        assert_eq!(verdict(Goal::RatioAtMost(0.39), floor(10.0)), Verdict::Missed);
        assert_eq!(verdict(Goal::RatioAtMost(9.0), None), Verdict::Missed, "no floor, no ratio");
        assert_eq!(verdict(Goal::RatioAtLeast(0.4), None), Verdict::Missed, "no floor, no ratio");
    }

    #[test]
    fn what_was_not_measured_is_not_missed() {
        let mut report = Report::default();
        let why = (Goal::AtMost(1.0), "no binary".to_owned());
        report.add(Figure::unmeasured("start", "ms", why));
        assert_eq!(report.missed(), 0);
        assert!(report.table().contains("not measured: no binary"));
    }
}
