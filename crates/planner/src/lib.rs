//! Pure planners: folds from what was observed to what is wanted next.
//!
//! [`PlaybookPlanner`] runs steps that people wrote, and the model-driven agents among them
//! (`playbook/agent`). It computes and never acts: it proposes moves, and the run machine decides whether
//! they may happen.
//!
//! It must not know: IO, a clock, randomness, the catalogue, policies, packs, stores, or any crate of
//! ours but `kernel` and `expr`. Pauses between tries come from the run id; time is waited for by a
//! move, never read.
//!
//! Start at [`PlaybookPlanner`], then `playbook/mod.rs`: its module text holds the rule by which labels
//! follow control, and why.

mod playbook;

pub use playbook::{
    ACTIVE_MAX, CAVEATS_MAX, COLLECT_COST_MAX, ESCALATIONS_MAX, EVALUATION_COST_MAX, Error,
    PAUSE_MAX_MS, PlaybookPlanner, Program, TURNS_MAX, WANTED_MAX,
};
