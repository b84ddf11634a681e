//! Who calls, whose data they may see, and what they may ask for at all.
//!
//! What may be asked for follows from roles, on every surface alike. Whether an answer counts (may this
//! person approve this action?) is the core's to say, not this module's.

use std::collections::BTreeSet;

use kernel::{
    event::Header,
    id::{At, Tenant},
    principal::{Kind as Actor, Principal},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    config::Config,
    problem::{Kind, Problem},
};

/// What somebody may ask for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// See everything of the tenant.
    Read,
    /// Submit intents, and see the runs that come of them.
    Propose,
    /// Steer runs, settle exceptions, halt, roll back, back up.
    Operate,
    /// Answer asks and settle what one owns.
    Decide,
    /// Packs and credentials. Gives no right to decide.
    Admin,
}

impl Right {
    /// Every right.
    pub const ALL: [Self; 5] =
        [Self::Read, Self::Propose, Self::Operate, Self::Decide, Self::Admin];
}

/// What roles allow to ask for. Roles that policies name (`finance`, `legal`, …) belong to people who decide.
pub(super) fn rights_of(kind: Actor, roles: &BTreeSet<String>) -> BTreeSet<Right> {
    if kind == Actor::Agent {
        return [Right::Propose].into();
    }
    let of_role = |role: &String| -> &'static [Right] {
        match role.as_str() {
            "viewer" => &[Right::Read],
            "requester" => &[Right::Read, Right::Propose],
            "operator" => &[Right::Read, Right::Propose, Right::Operate],
            "admin" => &[Right::Read, Right::Admin],
            // Programs never decide, whatever their roles are called.
            _ if kind == Actor::Service => &[Right::Read],
            _ => &[Right::Read, Right::Decide],
        }
    };
    let mut rights: BTreeSet<Right> = roles.iter().flat_map(of_role).copied().collect();
    if kind == Actor::Person {
        rights.insert(Right::Read);
    }
    rights
}

/// Who calls. Every operation and every query needs one.
///
/// Nobody makes one up: it comes from a declared person or from a credential.
///
/// ```compile_fail,E0451
/// fn forge(like: harness::app::Caller) -> harness::app::Caller {
///     let tenant = "somebody-else".parse().unwrap();
///     harness::app::Caller { tenant, ..like }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Caller {
    tenant: Tenant,
    principal: Principal,
    rights: BTreeSet<Right>,
    acts_for: Principal,
    vouched: Vouched,
    until: At,
}

/// What stands for somebody being who they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vouched {
    /// The user of this machine who runs the command.
    Terminal,
    /// A token, a session, or a signature of Slack about a person whom the operator listed.
    Credential,
}

impl Caller {
    /// A declared person in the configured tenant.
    ///
    /// # Errors
    /// When nobody of that name is declared.
    pub fn person(config: &Config, name: &str) -> Result<Self, Problem> {
        let caller = Self::of(config.tenant.clone(), config.person(name)?, None);
        Ok(Self { vouched: Vouched::Terminal, ..caller })
    }

    /// Whoever a credential stands for, acting for somebody else where it says so.
    pub(super) fn of(tenant: Tenant, principal: Principal, acts_for: Option<Principal>) -> Self {
        let rights = rights_of(principal.kind, &principal.roles);
        let acts_for = acts_for.unwrap_or_else(|| principal.clone());
        Self { tenant, principal, rights, acts_for, vouched: Vouched::Credential, until: At::MAX }
    }

    /// What stands for them being who they say.
    #[must_use]
    pub(super) fn vouched(&self) -> Vouched {
        self.vouched
    }

    /// With no right beyond these.
    #[must_use]
    pub(super) fn narrowed_to(mut self, scopes: &BTreeSet<Right>) -> Self {
        self.rights.retain(|right| scopes.contains(right));
        self
    }

    /// For no longer than their credential is valid.
    #[must_use]
    pub(super) fn until(mut self, expires_at: At) -> Self {
        self.until = expires_at;
        self
    }

    /// Until when they may call; a credential that they make ends no later.
    #[must_use]
    pub(super) fn ends_at(&self) -> At {
        self.until
    }

    /// Whose data they may see.
    #[must_use]
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// Who they are.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The person on whose behalf whatever they submit is done: themselves, or the owner of an agent.
    #[must_use]
    pub fn acts_for(&self) -> &Principal {
        &self.acts_for
    }

    /// What they may ask for.
    #[must_use]
    pub fn rights(&self) -> &BTreeSet<Right> {
        &self.rights
    }

    /// Whether they may ask for this.
    #[must_use]
    pub fn may(&self, right: Right) -> bool {
        self.rights.contains(&right)
    }

    /// Whether a run is theirs to look at. Who only proposes sees what they handed in themselves, and a person
    /// what is done for them; of agents of one person none sees what the others, or that person, handed in.
    #[must_use]
    pub fn may_see(&self, run: &Header) -> bool {
        let done_for_them = self.principal.id == run.chain.on_behalf_of.id;
        self.may(Right::Read) || done_for_them || self.handed_in(run)
    }

    /// Whether they are who handed a run in.
    #[must_use]
    pub fn handed_in(&self, run: &Header) -> bool {
        let by = run.submitted_by.as_ref().unwrap_or(&run.chain.on_behalf_of.id);
        *by == self.principal.id
    }

    /// Refuses unless one of these rights is held.
    ///
    /// # Errors
    /// Says which right is missing and which roles give it.
    pub fn needs(&self, any: &[Right]) -> Result<(), Problem> {
        if any.iter().any(|right| self.may(*right)) {
            return Ok(());
        }
        let role = match any.first() {
            Some(Right::Operate) if any.len() > 1 => "operator, or the one that owns it",
            Some(Right::Propose) => "requester or operator",
            Some(Right::Operate) => "operator",
            Some(Right::Decide) => "approver, or the one the ask names",
            Some(Right::Admin) => "admin",
            Some(Right::Read) | None => "viewer",
        };
        let who = &self.principal.id;
        let detail = format!("{who} may not do this: it needs the role {role}");
        let code = match any {
            [Right::Operate] => "not-an-operator",
            _ => "not-allowed",
        };
        Err(Problem::new(Kind::NotAllowed, code, detail)
            .next("ask somebody who holds it, or have it given to you"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(kind: Actor, roles: &[&str]) -> Vec<Right> {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        rights_of(kind, &roles).into_iter().collect()
    }

    #[test]
    fn an_admin_decides_nothing_and_an_agent_only_proposes() {
        assert_eq!(rights(Actor::Person, &["admin"]), [Right::Read, Right::Admin]);
        assert_eq!(rights(Actor::Agent, &["approver", "admin", "operator"]), [Right::Propose]);
        assert_eq!(rights(Actor::Service, &["finance"]), [Right::Read]);
        assert_eq!(rights(Actor::Person, &["finance"]), [Right::Read, Right::Decide]);
        assert_eq!(rights(Actor::Person, &[]), [Right::Read]);
        assert_eq!(rights(Actor::Service, &[]), []);
    }
}
