//! The journal's events: the one promise of the core to the future. Additive only.
//!
//! Bodies hold no outside value, only [`Sealed`] commitments; the openings travel beside them.
//! Adding a field: optional with a default. Adding an event: a variant here, a golden file, an ADR.

mod body;
mod record;

use serde::{Deserialize, Serialize};

use crate::{
    approval::ApproverRule,
    budget::Budget,
    decision::{Autonomy, Mode},
    exception::{Class, Landed},
    id::{Digest, PrincipalId, Seq, TokenId},
    money::Money,
    novelty::Unusual,
    principal::{Chain, Grant, Principal},
    sealed::Sealed,
};

pub use body::Body;
pub use record::{Damage, Event, Record, check_chain};

/// Version of the event format written by this build.
pub const VERSION: u32 = 1;

/// Version of the run machine's behaviour that new runs get; a build folds every version up to it.
///
/// 2: exceptions are deduplicated and decided by their owners, a rollback goes on with other records
/// when one of them is stuck.
/// 3: nobody may say that an effect in doubt did not happen while its call may still be on its way, and
/// tries of one effect share its way back.
/// 4: where a step goes on after its answer broke its contract, that an answer was sound shows in all of
/// it (planners); hooks of the plan look at calls.
/// 5: no conversation of an agent outgrows its limit, one that a model finds too long is shortened and
/// told again, and large results are read on (planners).
/// 6: a call says which provider's model asked for it (planners).
pub const MACHINE: u32 = 6;

/// The world header: everything that can change behaviour, pinned for the run's whole life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Behaviour version of the run machine.
    pub machine: u32,
    /// agent → on behalf of → tenant.
    pub chain: Chain,
    /// The intent's name.
    pub intent: String,
    /// Pack name and version, such as `customer-ops@1.0.0`.
    pub pack: String,
    /// Pack digest.
    pub pack_digest: Digest,
    /// Plan hash.
    pub plan: Digest,
    /// Policy bundle digest.
    pub policy: Digest,
    /// Configuration digest.
    pub config: Digest,
    /// Operations the run may use.
    pub grant: Grant,
    /// Limits.
    pub budget: Budget,
    /// Who may answer asks.
    pub approvers: ApproverRule,
    /// How much it may do by itself.
    pub autonomy: Autonomy,
    /// What it is done for.
    pub mode: Mode,
    /// Role or principal that owns its exceptions.
    pub owner: String,
    /// What about its inputs no earlier run had; see [`crate::novelty`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unusual: Vec<Unusual>,
    /// Who handed it in, where that is another than whom it is done for: an agent with a credential of its
    /// own. The chain's agent is whoever plans, and may be the same for many that hand in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitted_by: Option<PrincipalId>,
}

/// Why an action belongs to the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "role")]
pub enum Role {
    /// A planner wants it.
    Step,
    /// It serves another action.
    Companion {
        /// Which.
        of: Seq,
        /// How.
        purpose: Purpose,
    },
    /// It takes an effect back.
    Undo {
        /// By this token.
        token: TokenId,
        /// Who asked for it.
        by: Principal,
    },
}

/// What a companion call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// What is there before.
    Before,
    /// What it would change.
    Preview,
    /// Whether what was shown still holds, right before the call.
    Refresh,
    /// What is there after.
    After,
    /// Whether it happened.
    Probe,
    /// Whether the world has moved since.
    Compare,
    /// Whether a hook has something against it.
    Gate,
    /// What a hook says about how it ended.
    Watch,
}

impl Purpose {
    /// Whether the call is a hook's.
    #[must_use]
    pub fn is_hook(self) -> bool {
        matches!(self, Self::Gate | Self::Watch)
    }
}

impl Role {
    /// Whether it is a hook's call.
    #[must_use]
    pub fn is_hook(&self) -> bool {
        matches!(self, Self::Companion { purpose, .. } if purpose.is_hook())
    }
}

/// The check an action did not pass before any judge was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// There is no such operation.
    Unknown,
    /// The plan holds no such step.
    Unplanned,
    /// The run's grant does not hold it.
    Grant,
    /// The arguments do not fit the schema.
    Schema,
    /// A recovery forbade it for the rest of the run.
    Forbidden,
    /// The data may not go to that target.
    Clearance,
    /// A limit is used up.
    Budget,
    /// Policy denied it.
    Policy,
    /// A person refused it.
    Refused,
    /// Nobody answered in time.
    Expired,
    /// A person replaced it by another.
    Edited,
    /// The run was stopped first.
    Stopped,
    /// Nothing spoke against it, and the run is one that makes no change.
    Previewed,
}

/// How a call ended, as journaled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Ended {
    /// It worked.
    Done {
        /// The result.
        output: Sealed,
        /// The target's own id for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        external_ref: Option<Sealed>,
        /// What it cost.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost: Option<Money>,
    },
    /// It failed.
    Failed {
        /// The class.
        class: Class,
        /// Whether the effect may have happened.
        landed: Landed,
        /// What was said.
        message: Sealed,
        /// Asked to wait, in ms.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<i64>,
        /// The answer that broke its contract, and what was found in it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sample: Option<Sealed>,
    },
}

/// What an approver answered, as journaled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Answered {
    /// Yes.
    Approved,
    /// No.
    Denied {
        /// Why.
        reason: Sealed,
    },
    /// Replaced.
    Edited {
        /// By these arguments.
        args: Sealed,
    },
}

/// What a person settled, as journaled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verb")]
pub enum Settled {
    /// It happened.
    Happened,
    /// It did not.
    DidNotHappen,
    /// Again.
    Retry,
    /// With this value.
    Use {
        /// The value.
        value: Sealed,
    },
    /// Go on without.
    Skip,
    /// End.
    Stop,
    /// End and take back.
    Rollback,
    /// Seen.
    Close,
}

/// How taking one effect back ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum Undone {
    /// The before-image is back, and was read again.
    Restored,
    /// The inverse was made; a trace remains.
    Compensated,
    /// The world moved since; nothing was touched.
    Conflict {
        /// `{before, after, now}`.
        difference: Sealed,
    },
    /// The undo was denied, refused or failed.
    Failed {
        /// The class.
        class: Class,
        /// Whether the undo itself may have happened; only a certain no leaves the token usable.
        landed: Landed,
    },
    /// There is no way back.
    Irreversible,
    /// Whether the effect happened is not known; settle it first.
    InDoubt,
    /// The token is past its expiry.
    Expired,
}

impl Undone {
    /// Whether the token is used up by this. What touched nothing may be tried again.
    #[must_use]
    pub fn spends(&self) -> bool {
        match self {
            Self::Restored | Self::Compensated | Self::Irreversible | Self::Expired => true,
            Self::Failed { landed, .. } => *landed != Landed::No,
            Self::Conflict { .. } | Self::InDoubt => false,
        }
    }

    /// Whether the effect is gone.
    #[must_use]
    pub fn is_back(&self) -> bool {
        matches!(self, Self::Restored | Self::Compensated)
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// All of it.
    Succeeded,
    /// With caveats.
    Partial,
    /// A failure ended it.
    Failed,
    /// A person ended it.
    Cancelled,
}

/// The two sides of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Who is called.
    Server,
    /// Whom the call is made for.
    Client,
}

/// How a rollback ended. Partial is never called success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unwound {
    /// Everything in scope is back.
    Complete,
    /// Some is, some is not.
    Partial,
    /// Nothing was taken back.
    Refused,
}

/// Why effects are taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "because")]
pub enum Because {
    /// A step failed and its recovery is to stop.
    Failure {
        /// The step.
        step: String,
        /// The class.
        class: Class,
    },
    /// A person asked.
    Asked,
}
