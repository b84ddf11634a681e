//! What is checked before anything leaves: a system when it is declared, a call before it is made.

use kernel::{operation::Rate, port::Failure};
use secrets::Use;
use serde_json::Value;

use crate::{
    call::{Call, refuse},
    error::Error,
    mail,
    pace::RATE_CALLS_MAX,
    redact,
    secret::Vault,
    sql,
    system::System,
};

pub(crate) fn check_system(name: &str, system: &System, vault: &Vault) -> Result<(), Error> {
    match system {
        System::Http { .. }
        | System::Sqlite { .. }
        | System::Process(_)
        | System::Folder(_)
        | System::Web(_)
        | System::Worker(_)
        | System::Mcp(_)
        | System::Acp(_) => Ok(()),
        System::Postgres { dsn, password, .. } => {
            let asked = Use::by(name);
            password.as_ref().map_or(Ok(()), |secret| vault.check(secret, &asked))?;
            sql::check_dsn(name, dsn, vault)
        }
        System::Smtp { address, login, .. } => {
            mail::check_address(name, address)?;
            let asked = mail::use_of(name, address);
            login.as_ref().map_or(Ok(()), |login| vault.check(&login.secret, &asked))
        }
    }
}

pub(crate) fn check_rate(name: &str, rate: Option<Rate>) -> Result<(), Error> {
    let sound = |rate: Rate| (1..=RATE_CALLS_MAX).contains(&rate.calls) && rate.per_ms > 0;
    if rate.is_none_or(sound) {
        return Ok(());
    }
    let problem = format!("its rate must be 1 to {RATE_CALLS_MAX} calls in at least 1 ms");
    Err(Error::System { system: name.to_owned(), problem })
}

/// Entity agreement without an expected name is a defect of the arguments; found before anything leaves.
pub(crate) fn check_expected(call: &Call) -> Result<(), Failure> {
    let Some(rule) = &call.operation.contract.matches else {
        return Ok(());
    };
    match call.args.pointer(&rule.expected) {
        Some(Value::String(name)) if !name.trim().is_empty() => Ok(()),
        _ => Err(refuse(format!("the argument {} must name the expected entity", rule.expected))),
    }
}

/// A mark stands for what was withheld of an answer: written back it would replace it.
pub(crate) fn check_whole(call: &Call) -> Result<(), Failure> {
    fn marked(value: &Value) -> bool {
        match value {
            Value::String(text) => redact::is_mark(text),
            Value::Array(items) => items.iter().any(marked),
            Value::Object(map) => map.values().any(marked),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }
    if call.operation.is_write() && marked(&call.args) {
        let message = "an argument is a mark such as [card:1111], which stands for what was taken out of an answer; \
                       writing it would replace what is there: leave it out, or change `redact` of the system";
        return Err(refuse(message));
    }
    Ok(())
}
