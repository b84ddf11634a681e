//! The least evidence that turns a no into a yes.
//!
//! What the kernel can do alone comes before people, few people before many. Among several people of
//! several roles the answer is irreducible: nothing in it can be left out.

use kernel::decision::{Evidence, Requirement};

use crate::monotone::Knobs;

/// Everything these knobs can give, on top of what there is.
pub(crate) fn granted(knobs: &Knobs, have: &Evidence) -> Evidence {
    let mut all = have.clone();
    for (role, most) in knobs.most() {
        let count = all.approvals.entry(role).or_default();
        *count = (*count).max(most);
    }
    all.dry_run |= knobs.dry_run;
    all.transforms.extend(knobs.transforms.iter().cloned());
    all
}

/// The least that is missing, given that all of it together is enough.
pub(crate) fn missing(
    knobs: &Knobs,
    have: &Evidence,
    is_enough: &mut dyn FnMut(&Evidence) -> bool,
) -> Requirement {
    let found = alone(knobs, have, is_enough).unwrap_or_else(|| shrunk(knobs, have, is_enough));
    difference(&found, have)
}

/// One thing alone: a dry run, the rewrites, both, then one role with as few people as possible.
fn alone(
    knobs: &Knobs,
    have: &Evidence,
    is_enough: &mut dyn FnMut(&Evidence) -> bool,
) -> Option<Evidence> {
    let mut candidates = Vec::new();
    let with_dry_run = Evidence { dry_run: true, ..have.clone() };
    let mut with_transforms = have.clone();
    with_transforms.transforms.extend(knobs.transforms.iter().cloned());
    let dry_run_helps = knobs.dry_run && !have.dry_run;
    let transforms_help = with_transforms.transforms.len() > have.transforms.len();
    if dry_run_helps {
        candidates.push(with_dry_run);
    }
    if transforms_help {
        candidates.push(with_transforms.clone());
    }
    if dry_run_helps && transforms_help {
        candidates.push(Evidence { dry_run: true, ..with_transforms });
    }
    let mut steps: Vec<(u32, &String)> = Vec::new();
    for (role, numbers) in &knobs.approvals {
        let now = have.approvals.get(role).copied().unwrap_or_default();
        steps.extend(numbers.iter().filter(|number| **number > now).map(|number| (*number, role)));
    }
    steps.sort_unstable();
    for (number, role) in steps {
        let mut more = have.clone();
        more.approvals.insert(role.clone(), number);
        candidates.push(more);
    }
    let enough = candidates.into_iter().find(|candidate| is_enough(candidate))?;
    Some(without_spare_transforms(enough, have, is_enough))
}

/// From everything down: each role as low as it goes, the role with most people first, then the dry
/// run, then each rewrite.
fn shrunk(
    knobs: &Knobs,
    have: &Evidence,
    is_enough: &mut dyn FnMut(&Evidence) -> bool,
) -> Evidence {
    let mut kept = granted(knobs, have);
    let mut roles: Vec<_> = knobs.approvals.iter().collect();
    roles.sort_by_key(|(_, numbers)| std::cmp::Reverse(numbers.last().copied()));
    for (role, numbers) in roles {
        let now = have.approvals.get(role).copied().unwrap_or_default();
        let more = numbers.iter().filter(|number| **number > now);
        for number in std::iter::once(&now).chain(more) {
            let mut fewer = kept.clone();
            fewer.approvals.insert(role.clone(), *number);
            if is_enough(&fewer) {
                kept = fewer;
                break;
            }
        }
    }
    if kept.dry_run && !have.dry_run {
        let without = Evidence { dry_run: false, ..kept.clone() };
        if is_enough(&without) {
            kept = without;
        }
    }
    without_spare_transforms(kept, have, is_enough)
}

fn without_spare_transforms(
    mut kept: Evidence,
    have: &Evidence,
    is_enough: &mut dyn FnMut(&Evidence) -> bool,
) -> Evidence {
    let added: Vec<String> = kept.transforms.difference(&have.transforms).cloned().collect();
    for name in added {
        let mut without = kept.clone();
        without.transforms.remove(&name);
        if is_enough(&without) {
            kept = without;
        }
    }
    kept
}

fn difference(wanted: &Evidence, have: &Evidence) -> Requirement {
    let now = |role: &String| have.approvals.get(role).copied().unwrap_or_default();
    let approvals = wanted.approvals.iter().filter(|(role, number)| **number > now(role));
    Requirement {
        approvals: approvals.map(|(role, number)| (role.clone(), *number)).collect(),
        dry_run: wanted.dry_run && !have.dry_run,
        transforms: wanted.transforms.difference(&have.transforms).cloned().collect(),
    }
}

/// What two demands need together.
pub(crate) fn both(mut one: Requirement, other: Requirement) -> Requirement {
    for (role, number) in other.approvals {
        let count = one.approvals.entry(role).or_default();
        *count = (*count).max(number);
    }
    one.dry_run |= other.dry_run;
    one.transforms.extend(other.transforms);
    one
}
