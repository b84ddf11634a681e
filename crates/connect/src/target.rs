//! A declared system with what is kept for it: turns, clients, programs, and how its calls went.

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Semaphore;

use crate::{
    CircuitRule, acp,
    binding::Binding,
    checks::{check_rate, check_system},
    connectors::CONCURRENT_PER_SYSTEM_MAX,
    error::Error,
    folder::Folder,
    gauge::Gauge,
    http,
    mcp::Servers,
    pages::Pages,
    process::Program,
    secret::Vault,
    system::System,
    worker::Desk,
};

/// One declared system.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) system: System,
    pub(crate) turns: Semaphore,
    /// Turns of commands, which take long: files of the same folder do not wait for them.
    pub(crate) commands: Semaphore,
    pub(crate) clients: Option<http::Clients>,
    pub(crate) program: Option<Program>,
    pub(crate) folder: Option<Folder>,
    pub(crate) pages: Option<Pages>,
    pub(crate) desk: Option<Desk>,
    pub(crate) servers: Option<Servers>,
    pub(crate) agent: Option<acp::Agent>,
    gauge: Mutex<Gauge>,
}

impl Target {
    /// `kept`: where folders of runs are kept.
    ///
    /// # Errors
    /// A system that cannot be used as declared.
    pub(crate) fn new(
        name: &str,
        system: System,
        (vault, kept): (&Vault, Option<&Path>),
        circuit: CircuitRule,
    ) -> Result<Self, Error> {
        check_system(name, &system, vault)?;
        check_rate(name, system.rate())?;
        let clients = match &system {
            System::Http { url, .. } => Some(http::Clients::new(name, url)?),
            _ => None,
        };
        let program = match &system {
            System::Process(declared) => Some(Program::new(name, declared, vault)?),
            _ => None,
        };
        let folder = match &system {
            System::Folder(declared) => Some(Folder::new(name, declared, (vault, kept))?),
            _ => None,
        };
        let pages = match &system {
            System::Web(declared) => Some(Pages::new(name, declared, vault)?),
            _ => None,
        };
        let desk = match &system {
            System::Worker(declared) => Some(Desk::new(name, declared)?),
            _ => None,
        };
        let servers = match &system {
            System::Mcp(declared) => Some(Servers::new(name, declared, vault)?),
            _ => None,
        };
        let agent = match &system {
            System::Acp(declared) => Some(acp::Agent::new(name, declared, vault)?),
            _ => None,
        };
        let turns = Semaphore::new(CONCURRENT_PER_SYSTEM_MAX);
        let commands = Semaphore::new(CONCURRENT_PER_SYSTEM_MAX);
        let gauge = Mutex::new(Gauge::new(circuit, system.rate()));
        Ok(Self {
            system,
            turns,
            commands,
            clients,
            program,
            folder,
            pages,
            desk,
            servers,
            agent,
            gauge,
        })
    }

    /// Whether what this binding calls has a way out.
    pub(crate) fn lets_out(&self, binding: &Binding) -> bool {
        match binding {
            Binding::Process(_) => self.program.as_ref().is_some_and(Program::has_way_out),
            Binding::Mcp(_) => self.servers.as_ref().is_some_and(Servers::has_way_out),
            Binding::Acp(_) => self.agent.as_ref().is_some_and(acp::Agent::has_way_out),
            Binding::Folder(hand) => {
                self.folder.as_ref().is_some_and(|folder| folder.has_way_out(hand))
            }
            _ => false,
        }
    }

    pub(crate) fn gauge(&self) -> MutexGuard<'_, Gauge> {
        self.gauge.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
