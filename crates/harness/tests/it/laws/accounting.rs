//! Nothing happens that is not accounted for (C025).

use std::collections::{BTreeMap, BTreeSet};

use kernel::{decision::Verdict, exception::Landed};
use proptest::prelude::*;

use crate::labels::{
    cases,
    playbooks::{People, World, play},
    rig::Rig,
};

/// Every effect has exactly one receipt; every receipt a proposal, a decision that allowed exactly that,
/// and, where somebody was asked, approvals of exactly that.
fn check(rig: &Rig) -> Result<(), String> {
    let (acts, receipts) = (rig.acts(), rig.receipts());
    let mut by_action: BTreeMap<u64, usize> = BTreeMap::new();
    for receipt in &receipts {
        *by_action.entry(receipt.action).or_default() += 1;
    }
    let landed: BTreeSet<u64> = rig
        .calls
        .iter()
        .filter(|call| call.operation.is_write() && call.landed == Landed::Yes)
        .map(|call| call.action)
        .collect();
    for action in &landed {
        if by_action.get(action) != Some(&1) {
            return Err(format!("the effect of {action} has {:?} receipts", by_action.get(action)));
        }
    }
    let mut prev = kernel::Digest::default();
    for (draft, (index, receipt)) in rig.drafts.iter().zip(receipts.iter().enumerate()) {
        let place = format!("receipt {index} of action {}", receipt.action);
        let act = acts.iter().find(|act| act.seq == receipt.action);
        let act = act.ok_or_else(|| format!("{place}: no proposal"))?;
        let told = receipt.index == index as u64
            && receipt.prev == prev
            && receipt.step == act.step
            && receipt.operation == act.operation
            && draft.action == Some(receipt.action);
        prev = kernel::Digest::of(&draft.payload);
        if !told {
            return Err(format!("{place}: it tells of another action, or out of order"));
        }
        if act.dispatches.is_empty() || act.receipts.len() != 1 {
            return Err(format!(
                "{place}: {} calls, {} receipts",
                act.dispatches.len(),
                act.receipts.len()
            ));
        }
        let decided = act.digests.last() == Some(&receipt.action_digest)
            && act.decisions.last() == Some(&receipt.decision)
            && receipt.decision.verdict == Verdict::Allow;
        if !decided {
            return Err(format!("{place}: no decision allowed exactly this"));
        }
        let bound = receipt.approvals.iter().all(|given| given.action == receipt.action_digest);
        if !bound || (act.asked && receipt.approvals.is_empty()) {
            return Err(format!("{place}: its approvals are not of exactly this"));
        }
        let is_there = landed.contains(&receipt.action);
        if is_there && receipt.landed != Landed::Yes {
            return Err(format!("{place}: it denies an effect"));
        }
    }
    if rig.run.status().is_over() {
        let open = acts.iter().find(|act| act.receipts.is_empty() == act.rejected.is_none());
        if let Some(open) = open {
            return Err(format!("the run is over, and {} at {} is open", open.operation, open.seq));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(96), failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn every_effect_has_one_receipt_and_every_receipt_a_decision(
        script in prop::collection::vec(any::<u8>(), 8..220), seed: u64,
        people in prop::sample::select(vec![
            People::ApproveAll, People::ApproveSome, People::DenyAll, People::Silent]),
    ) {
        let played = play(&script, World::new(seed, 0, people));
        check(&played.rig).map_err(TestCaseError::fail)?;
    }
}

/// Found by chance once in fifty thousand: a person offers a loop that escalated a value that is no list.
#[test]
fn a_value_that_a_step_cannot_have_is_refused_and_the_run_still_ends() {
    let script = [
        0, 15, 22, 0, 1, 0, 41, 41, 0, 48, 91, 28, 0, 188, 2, 90, 19, 0, 198, 0, 229, 154, 0, 17,
        0, 20, 33, 0, 165, 0, 112, 2, 44, 92, 168, 152, 0, 0, 47, 0, 32, 0, 0, 61, 0, 0, 0, 50, 83,
        198, 233, 4, 142, 25, 224,
    ];
    let rig = play(&script, World::new(6_997_032_853_741_087_289, 0, People::ApproveAll)).rig;
    check(&rig).unwrap();
    assert!(rig.run.status().is_over());
}

#[test]
fn the_random_runs_leave_effects_to_account_for() {
    let (mut effects, mut approved) = (0, 0);
    for seed in 0_u64..40 {
        let byte = |n| crate::labels::playbooks::hash(seed, &format!("{n}")) as u8;
        let script: Vec<u8> = (0..160).map(byte).collect();
        let rig = play(&script, World::new(seed, 0, People::ApproveAll)).rig;
        check(&rig).unwrap();
        effects += rig.calls.iter().filter(|call| call.operation.is_write()).count();
        approved += rig.receipts().iter().filter(|receipt| !receipt.approvals.is_empty()).count();
    }
    assert!(effects > 20 && approved > 10, "{effects}, {approved}");
}
