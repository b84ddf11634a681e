//! The same result as JUnit XML, as build servers read it.

use super::report::{CellState, IntentTested, PackTested, StepTested};

/// One suite an intent, one case a cell that was played. Equal results give equal bytes: no times.
#[must_use]
pub fn junit(tested: &PackTested) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let counts = tested.items.iter().map(count).fold(Count::default(), Count::and);
    text.push_str(&format!(
        "<testsuites name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" time=\"0\">\n",
        escape(&tested.name),
        counts.tests,
        counts.failures
    ));
    for item in &tested.items {
        let count = count(item);
        text.push_str(&format!(
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"0\">\n",
            escape(&format!("{}.{}", tested.name, item.intent)),
            count.tests,
            count.failures,
            count.skipped
        ));
        for step in &item.steps {
            write_step(tested, item, step, &mut text);
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

fn write_step(tested: &PackTested, item: &IntentTested, step: &StepTested, text: &mut String) {
    let class = escape(&format!("{}.{}", tested.name, item.intent));
    for cell in step.cells.iter().filter(|cell| is_case(cell.state)) {
        let name = escape(&format!("{}:{}", step.step, cell.probe));
        text.push_str(&format!("    <testcase classname=\"{class}\" name=\"{name}\" time=\"0\""));
        let own = |failure: &&super::report::Failure| {
            failure.intent == item.intent
                && failure.step == step.step
                && failure.probe == cell.probe
        };
        let failures: Vec<_> = tested.failures.iter().filter(own).collect();
        match (cell.state, failures.first()) {
            (CellState::Wrong, Some(first)) => {
                text.push_str(&format!(
                    ">\n      <failure message=\"{}\" type=\"{}\">",
                    escape(&first.happened),
                    escape(&cell.probe)
                ));
                for failure in failures {
                    text.push_str(&escape(&format!(
                        "{}={}\n  happened: {}\n  expected: {}\n  again: harness pack test {}\n",
                        failure.probe,
                        failure.case,
                        failure.happened,
                        failure.expected,
                        failure.reproduce
                    )));
                }
                text.push_str("</failure>\n    </testcase>\n");
            }
            (CellState::Unreached, _) => {
                text.push_str(
                    ">\n      <skipped message=\"no setting reached the step\"/>\n    </testcase>\n",
                );
            }
            _ => text.push_str("/>\n"),
        }
    }
}

#[derive(Default)]
struct Count {
    tests: usize,
    failures: usize,
    skipped: usize,
}

impl Count {
    fn and(self, other: Self) -> Self {
        Self {
            tests: self.tests + other.tests,
            failures: self.failures + other.failures,
            skipped: self.skipped + other.skipped,
        }
    }
}

fn is_case(state: CellState) -> bool {
    match state {
        CellState::Ok | CellState::Wrong | CellState::Unreached => true,
        CellState::None | CellState::Skipped => false,
    }
}

fn count(item: &IntentTested) -> Count {
    let cells = || item.steps.iter().flat_map(|step| &step.cells);
    let of = |state| cells().filter(|cell| cell.state == state).count();
    Count {
        tests: cells().filter(|cell| is_case(cell.state)).count(),
        failures: of(CellState::Wrong),
        skipped: of(CellState::Unreached),
    }
}

/// Text as XML holds it; control characters have no place there.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
