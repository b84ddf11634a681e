//! What `--only` names.

use super::probes::PROBES;
use crate::app::problem::Problem;

/// What `--only` selects.
#[derive(Clone, Debug)]
pub(super) struct Only {
    step: String,
    probe: String,
    case: Option<String>,
}

impl Only {
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let (what, case) = match text.split_once('=') {
            Some((what, case)) => (what, Some(case.to_owned())),
            None => (text, None),
        };
        let malformed = || {
            let names: Vec<&str> = PROBES.iter().map(|probe| probe.name).collect();
            Problem::usage("only-malformed", format!("`{text}` is not step:probe"))
                .next(format!("write `intent/step:probe=case`; probes are {}", names.join(", ")))
        };
        let (step, probe) = what.rsplit_once(':').ok_or_else(malformed)?;
        if !PROBES.iter().any(|known| known.name == probe) {
            return Err(malformed());
        }
        Ok(Self { step: step.to_owned(), probe: probe.to_owned(), case })
    }

    fn holds(&self, (intent, step): (&str, &str), probe: &str, case: Option<&str>) -> bool {
        let here = self.step == step || self.step == format!("{intent}/{step}");
        let case_fits = match (&self.case, case) {
            (Some(wanted), Some(case)) => wanted == case,
            (None, _) | (_, None) => true,
        };
        here && self.probe == probe && case_fits
    }
}

/// Whether any selection names this; everything is when there is none.
pub(super) fn selected(
    only: &[Only],
    place: (&str, &str),
    probe: &str,
    case: Option<&str>,
) -> Selected {
    if only.is_empty() || only.iter().any(|only| only.holds(place, probe, case)) {
        Selected::Yes
    } else {
        Selected::No
    }
}

/// Whether something is to be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Selected {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_names_a_step_a_probe_and_perhaps_a_case() {
        let only = Only::parse("intent/a/b:fail=timeout").unwrap();
        assert!(only.holds(("intent", "a/b"), "fail", Some("timeout")));
        assert!(only.holds(("intent", "a/b"), "fail", None));
        assert!(!only.holds(("other", "a/b"), "fail", Some("timeout")));
        assert!(!only.holds(("intent", "a/b"), "fail", Some("stale")));
        let any = Only::parse("a/b:drift=without=/x").unwrap();
        assert!(any.holds(("other", "a/b"), "drift", Some("without=/x")));
    }
}
