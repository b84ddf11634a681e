//! A declared system with what is kept for it: turns, clients, programs, and how its calls went.

use std::sync::{Mutex, MutexGuard, PoisonError};

use kernel::operation::Rate;
use tokio::sync::Semaphore;

use crate::{
    CircuitRule,
    connectors::{Binding, CONCURRENT_PER_SYSTEM_MAX},
    error::Error,
    folder::Folder,
    gauge::Gauge,
    http, mail,
    pace::RATE_CALLS_MAX,
    pages::Pages,
    process::Program,
    secret::Vault,
    sql,
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
    gauge: Mutex<Gauge>,
}

impl Target {
    /// # Errors
    /// A system that cannot be used as declared.
    pub(crate) fn new(
        name: &str,
        system: System,
        vault: &Vault,
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
            System::Folder(declared) => Some(Folder::new(name, declared, vault)?),
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
        let turns = Semaphore::new(CONCURRENT_PER_SYSTEM_MAX);
        let commands = Semaphore::new(CONCURRENT_PER_SYSTEM_MAX);
        let gauge = Mutex::new(Gauge::new(circuit, system.rate()));
        Ok(Self { system, turns, commands, clients, program, folder, pages, desk, gauge })
    }

    /// Whether what this binding calls has a way out.
    pub(crate) fn lets_out(&self, binding: &Binding) -> bool {
        match binding {
            Binding::Process(_) => self.program.as_ref().is_some_and(Program::has_way_out),
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

fn check_system(name: &str, system: &System, vault: &Vault) -> Result<(), Error> {
    match system {
        System::Http { .. }
        | System::Sqlite { .. }
        | System::Process(_)
        | System::Folder(_)
        | System::Web(_)
        | System::Worker(_) => Ok(()),
        System::Postgres { dsn, password, .. } => {
            password.as_ref().map_or(Ok(()), |secret| vault.secrets().check(secret))?;
            sql::check_dsn(name, dsn, vault)
        }
        System::Smtp { address, login, .. } => {
            login.as_ref().map_or(Ok(()), |login| vault.secrets().check(&login.secret))?;
            mail::check_address(name, address)
        }
    }
}

fn check_rate(name: &str, rate: Option<Rate>) -> Result<(), Error> {
    let sound = |rate: Rate| (1..=RATE_CALLS_MAX).contains(&rate.calls) && rate.per_ms > 0;
    if rate.is_none_or(sound) {
        return Ok(());
    }
    let problem = format!("its rate must be 1 to {RATE_CALLS_MAX} calls in at least 1 ms");
    Err(Error::System { system: name.to_owned(), problem })
}
