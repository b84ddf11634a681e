//! Halts: the brake. While one stands, nothing it covers is dispatched, whoever drives.
//!
//! The store keeps them and reads them in the transaction that writes a dispatch; a batch says by its
//! [`Reach`] what its dispatches touch.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    canon,
    id::{At, Digest, HaltId, PrincipalId, RunId, Tenant},
    sealed::Sealed,
};

/// Most halts that may stand in a tenant at a time.
pub const HALTS_MAX: usize = 1_000;

/// Longest reason, in bytes.
pub const HALT_REASON_BYTES_MAX: usize = 2_000;

/// What a halt covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "scope", deny_unknown_fields)]
pub enum Covers {
    /// Everything of the tenant.
    Everything,
    /// Runs of a pack: by name, whatever the version, or by `name@version`.
    Pack {
        /// Which.
        pack: String,
    },
    /// Calls of a connector.
    Connector {
        /// Which.
        connector: String,
    },
    /// Runs that an agent proposes for or handed in, and what it does as a step of other runs.
    Agent {
        /// Which.
        agent: PrincipalId,
    },
    /// One run.
    Run {
        /// Which.
        run: RunId,
    },
}

/// What the dispatches of a batch touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Pack and version of the run.
    pub pack: String,
    /// Who proposes: the run's agent, whoever handed it in, and those whose steps the calls belong to.
    pub agents: BTreeSet<PrincipalId>,
    /// Connectors called; empty for a run that does not call yet.
    pub connectors: BTreeSet<String>,
}

impl Covers {
    /// Whether dispatches of this run with this reach are stopped.
    #[must_use]
    pub fn covers(&self, run: &RunId, reach: &Reach) -> bool {
        match self {
            Self::Everything => true,
            Self::Pack { pack } => {
                let name = reach.pack.split_once('@').map_or(&*reach.pack, |(name, _)| name);
                *pack == reach.pack || pack == name
            }
            Self::Connector { connector } => reach.connectors.contains(connector),
            Self::Agent { agent } => reach.agents.contains(agent),
            Self::Run { run: halted } => halted == run,
        }
    }
}

/// A halt that stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// Its id.
    pub id: HaltId,
    /// What it covers.
    pub covers: Covers,
}

/// What was done about halts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "change", deny_unknown_fields)]
pub enum HaltChange {
    /// One stands from here on.
    Halted {
        /// Its id.
        halt: HaltId,
        /// What it covers.
        covers: Covers,
    },
    /// It does not stand any more.
    Lifted {
        /// Which.
        halt: HaltId,
    },
}

/// One entry of a tenant's halt log: who, when, why. Each holds the hash of the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HaltEvent {
    /// Format version.
    pub v: u32,
    /// Whose.
    pub tenant: Tenant,
    /// Position, from 0.
    pub n: u64,
    /// When, in ms.
    pub at: At,
    /// Who.
    pub by: PrincipalId,
    /// What.
    pub change: HaltChange,
    /// Why.
    pub reason: Sealed,
    /// Hash of the entry before; of nothing for the first.
    pub prev_hash: Digest,
}

impl HaltEvent {
    /// Canonical bytes and their hash.
    ///
    /// # Errors
    /// When it has no canonical form.
    pub fn hashed(&self) -> Result<(Vec<u8>, Digest), canon::Error> {
        let bytes = canon::bytes(self)?;
        let hash = Digest::of(&bytes);
        Ok((bytes, hash))
    }
}

/// The halts that stand after these entries, or the first that does not follow.
///
/// # Errors
/// The position of an entry that breaks order or chain, or lifts what does not stand.
pub fn standing(log: &[HaltEvent]) -> Result<Vec<Standing>, u64> {
    let mut stand: Vec<Standing> = Vec::new();
    let mut previous = Digest::default();
    for (n, event) in (0..).zip(log) {
        let (_, hash) = event.hashed().map_err(|_| n)?;
        if event.n != n || event.prev_hash != previous {
            return Err(n);
        }
        previous = hash;
        match &event.change {
            HaltChange::Halted { halt, covers } => {
                stand.push(Standing { id: halt.clone(), covers: covers.clone() });
            }
            HaltChange::Lifted { halt } => {
                let before = stand.len();
                stand.retain(|standing| standing.id != *halt);
                if stand.len() == before {
                    return Err(n);
                }
            }
        }
    }
    Ok(stand)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scope_covers_what_it_names_and_nothing_else() {
        let run = RunId::of_intent(&Tenant::default(), "a", "1");
        let other = RunId::of_intent(&Tenant::default(), "a", "2");
        let agent = |name: &str| name.parse::<PrincipalId>().unwrap();
        let reach = Reach {
            pack: "customer-ops@1.0.0".into(),
            agents: [agent("agent:renewals"), agent("agent:drafter")].into(),
            connectors: ["crm".to_owned()].into(),
        };
        let pack = |pack: &str| Covers::Pack { pack: pack.into() };
        let connector = |name: &str| Covers::Connector { connector: name.into() };
        let cases = [
            (Covers::Everything, true),
            (pack("customer-ops"), true),
            (pack("customer-ops@1.0.0"), true),
            (pack("customer-ops@1.0.1"), false),
            (pack("customer"), false),
            (connector("crm"), true),
            (connector("mail"), false),
            (Covers::Agent { agent: agent("agent:renewals") }, true),
            (Covers::Agent { agent: agent("agent:drafter") }, true),
            (Covers::Agent { agent: agent("agent:other") }, false),
            (Covers::Run { run: run.clone() }, true),
            (Covers::Run { run: other }, false),
        ];
        for (covers, expected) in cases {
            assert_eq!(covers.covers(&run, &reach), expected, "{covers:?}");
        }
    }
}
