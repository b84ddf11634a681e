//! What runs leave with systems while they go on: jobs of workers, work that is kept apart, commands in the background.

use kernel::id::{RunId, Tenant};

use super::Connectors;
use crate::{apart::Work, jobs::Served, target::Target, worker::Desk};

impl Connectors {
    /// Where workers of a declared system come for their jobs; none where it is of another kind.
    #[must_use]
    pub fn desk(&self, system: &str) -> Option<&Desk> {
        self.targets.get(system).and_then(|target| target.desk.as_ref())
    }

    /// Every declared system whose calls are made by workers.
    pub fn desks(&self) -> impl Iterator<Item = &Desk> {
        self.targets.values().filter_map(|target| target.desk.as_ref())
    }

    /// Where the work of runs is kept apart, by system.
    pub fn apart(&self) -> impl Iterator<Item = (&str, Work)> {
        self.targets.iter().filter_map(|(name, target)| {
            let trees = target.folder.as_ref()?.trees()?;
            Some((name.as_str(), Work(trees.clone())))
        })
    }

    /// A run is to end: what no worker has taken yet is withdrawn, and who works for it hears of it. What has not
    /// left yet stays here, and programs of this machine are ended.
    pub fn run_cancelled(&self, tenant: &Tenant, run: &RunId) {
        self.desks().for_each(|desk| desk.cancel(tenant, run));
        self.underway.stop(tenant, run);
    }

    /// A run is over: whatever it has started and left is ended.
    pub fn run_over(&self, tenant: &Tenant, run: &RunId) {
        for folder in self.targets.values().filter_map(|target| target.folder.as_ref()) {
            folder.over(tenant, run);
        }
        for servers in self.targets.values().filter_map(|target| target.servers.as_ref()) {
            servers.over(tenant, run);
        }
    }

    /// Jobs of a run with this number that may be reached at the port at which they listen, by system.
    #[must_use]
    pub fn served(&self, tenant: &Tenant, run: &RunId, job: u64) -> Vec<(&str, Served)> {
        let of = |(name, target): (_, &'_ Target)| -> Option<(_, Served)> {
            Some((name, target.folder.as_ref()?.served(tenant, run, job)?))
        };
        let targets = self.targets.iter().map(|(name, target)| (name.as_str(), target));
        targets.filter_map(of).collect()
    }
}
