//! What an operation's binding says, compiled: one variant for each kind of connector.

use kernel::operation::Operation;

use crate::{
    a2a::Delegation,
    acp,
    builtin::Builtin,
    error::{Error, hint},
    folder::Hand,
    hook::Hook,
    http, mail, mcp, outside,
    pages::Runner,
    process::Tool,
    read::Reader,
    sql,
    worker::Chore,
};

/// Connector kinds, as bindings spell them.
const KINDS: [&str; 12] = [
    "http", "sql", "mail", "process", "folder", "web", "worker", "mcp", "a2a", "acp", "builtin",
    "outside",
];

#[derive(Debug)]
pub(crate) enum Binding {
    Http(Box<http::Route>),
    Sql(sql::Query),
    Mail(mail::Sender),
    Process(Tool),
    Folder(Hand),
    Web(Runner),
    Worker(Chore),
    Mcp(mcp::Errand),
    A2a(Delegation),
    Acp(acp::Prompt),
    Builtin(Builtin),
    Hook(Hook),
    Outside,
}

impl Binding {
    /// The declared system it calls; none for what is built in.
    pub(crate) fn system(&self) -> Option<&str> {
        match self {
            Self::Http(route) => Some(&route.system),
            Self::Sql(query) => Some(&query.system),
            Self::Mail(sender) => Some(&sender.system),
            Self::Process(tool) => Some(&tool.system),
            Self::Folder(hand) => Some(&hand.system),
            Self::Web(runner) => Some(&runner.system),
            Self::Worker(chore) => Some(&chore.system),
            Self::Mcp(errand) => Some(&errand.system),
            Self::A2a(delegation) => Some(&delegation.system),
            Self::Acp(prompt) => Some(&prompt.system),
            Self::Builtin(_) | Self::Hook(_) | Self::Outside => None,
        }
    }
}

/// Compiles the binding of an operation.
///
/// # Errors
/// The first thing that is wrong with it.
pub(crate) fn compile(operation: &Operation) -> Result<Binding, Error> {
    let binding = Reader::of(operation)?;
    match binding.text("kind")? {
        "http" => {
            http::Route::compile(&binding, operation).map(|route| Binding::Http(Box::new(route)))
        }
        "sql" => sql::Query::compile(&binding, operation).map(Binding::Sql),
        "mail" => mail::Sender::compile(&binding, operation).map(Binding::Mail),
        "process" => Tool::compile(&binding).map(Binding::Process),
        "folder" => Hand::compile(&binding, operation).map(Binding::Folder),
        "web" => Runner::compile(&binding, operation).map(Binding::Web),
        "worker" => Chore::compile(&binding).map(Binding::Worker),
        "mcp" => mcp::Errand::compile(&binding).map(Binding::Mcp),
        "a2a" => Delegation::compile(&binding).map(Binding::A2a),
        "acp" => acp::Prompt::compile(&binding).map(Binding::Acp),
        "builtin" => Builtin::compile(&binding, operation).map(Binding::Builtin),
        // Not among the kinds that are suggested: no pack declares one.
        "hook" => Hook::compile(&binding, operation).map(Binding::Hook),
        "outside" => outside::compile(&binding).map(|()| Binding::Outside),
        other => {
            Err(binding.error("kind", format!("no connector kind `{other}`{}", hint(other, KINDS))))
        }
    }
}
