//! PostgreSQL: a connection per call, reads in a read-only transaction, parameters as text that the
//! server reads by the type it inferred.

use std::{error::Error as _, net::IpAddr};

use bytes::BytesMut;
use futures_util::TryStreamExt as _;
use kernel::{
    exception::{Class, Landed},
    port::Failure,
};
use serde_json::{Map, Value, json};
use tokio_postgres::{
    Client, Config, NoTls,
    config::{Host, SslMode},
    types::{FromSql, IsNull, Kind, ToSql, Type},
};

use super::{Query, Weight, Wire, check_columns};
use secrets::Use;

use crate::{
    call::{Call, fail, refuse},
    error::Error,
    ingest::{Received, excerpt},
    secret::Vault,
};

mod decode;

/// What stands before the name of a secret that holds a whole connection string.
const SECRET_PREFIX: &str = "secret:";

/// Where the database is and which secret opens it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Login<'a> {
    pub(super) system: &'a str,
    pub(super) dsn: &'a str,
    pub(super) password: Option<&'a str>,
}

/// Checks a connection string at load: readable, without a password, not in the clear over a network.
pub(crate) fn check_dsn(system: &str, dsn: &str, vault: &Vault) -> Result<(), Error> {
    if let Some(secret) = dsn.strip_prefix(SECRET_PREFIX) {
        return vault.check(secret, &Use::by(system));
    }
    let problem =
        |problem: &str| Error::System { system: system.to_owned(), problem: problem.to_owned() };
    let config: Config = dsn.parse().map_err(|_| problem("its dsn cannot be read"))?;
    if config.get_password().is_some() {
        return Err(problem(
            "its dsn holds a password; name a secret as `password`, or write `dsn = \"secret:NAME\"`",
        ));
    }
    check_plain(&config).map_err(problem)
}

fn check_plain(config: &Config) -> Result<(), &'static str> {
    let local = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
    };
    let explicit = config.get_ssl_mode() == SslMode::Disable;
    if explicit || config.get_hosts().iter().all(local) {
        return Ok(());
    }
    Err(
        "its host is not this machine and connections are not encrypted; add sslmode=disable if that is meant",
    )
}

fn config(login: Login<'_>, vault: &Vault) -> Result<Config, Failure> {
    let no = |message: String| fail(Class::Permission, Landed::No, message);
    let mut config: Config = match login.dsn.strip_prefix(SECRET_PREFIX) {
        Some(name) => {
            let secret =
                vault.resolve(name, &Use::by(login.system)).map_err(|e| no(e.to_string()))?;
            let config = secret.expose().parse::<Config>();
            config.map_err(|_| no(format!("secret `{name}` is no connection string")))?
        }
        None => login.dsn.parse().map_err(|_| no("the dsn cannot be read".to_owned()))?,
    };
    if let Some(name) = login.password {
        config.password(
            vault.resolve(name, &Use::by(login.system)).map_err(|e| no(e.to_string()))?.expose(),
        );
    }
    check_plain(&config)
        .map_err(|problem| no(format!("the database cannot be used: {problem}")))?;
    config.application_name("harness");
    Ok(config)
}

/// Closes the connection when the call ends, however it ends.
struct Closing(tokio::task::JoinHandle<()>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) async fn call(
    query: &Query,
    call: &Call,
    login: Login<'_>,
    wire: &Wire<'_>,
) -> Result<Received, Failure> {
    let config = config(login, wire.vault)?;
    let explain = |error: tokio_postgres::Error| explain(&error, call, wire);
    let (mut client, connection) = config.connect(NoTls).await.map_err(explain)?;
    let _closing = Closing(tokio::spawn(async move {
        // Its error reaches the caller through the client.
        let _ = connection.await;
    }));
    let limit = format!("set statement_timeout = {}", wire.deadline.as_millis().max(1));
    client.batch_execute(&limit).await.map_err(explain)?;
    if call.operation.is_write() {
        write(query, call, &mut client, wire).await
    } else {
        read(query, call, &mut client, wire).await
    }
}

async fn read(
    query: &Query,
    call: &Call,
    client: &mut Client,
    wire: &Wire<'_>,
) -> Result<Received, Failure> {
    let explain = |error: tokio_postgres::Error| explain(&error, call, wire);
    wire.departure.leave()?;
    let transaction = client.build_transaction().read_only(true).start().await.map_err(explain)?;
    let statement = transaction.prepare(&query.statement.postgres).await.map_err(explain)?;
    let columns = check_columns(statement.columns().iter().map(tokio_postgres::Column::name))?;
    let params: Vec<Param> = query.values(call).into_iter().map(Param).collect();
    let found = transaction.query_raw(&statement, &params).await.map_err(explain)?;
    let mut found = std::pin::pin!(found);
    let (mut rows, mut weight) = (Vec::new(), Weight::default());
    while let Some(row) = found.try_next().await.map_err(explain)? {
        let mut map = Map::new();
        for (index, name) in columns.iter().enumerate() {
            let cell: Cell = row.try_get(index).map_err(|error| unreadable(name, &error))?;
            map.insert(name.clone(), cell.0);
        }
        let row = Value::Object(map);
        weight.add(&row)?;
        rows.push(row);
        if rows.len() as u64 > query.bounds.max {
            break;
        }
    }
    query.shape(rows)
}

async fn write(
    query: &Query,
    call: &Call,
    client: &mut Client,
    wire: &Wire<'_>,
) -> Result<Received, Failure> {
    let explain = |error: tokio_postgres::Error| explain(&error, call, wire);
    let statement = client.prepare(&query.statement.postgres).await.map_err(explain)?;
    let params: Vec<Param> = query.values(call).into_iter().map(Param).collect();
    wire.departure.check()?;
    let transaction = client.transaction().await.map_err(explain)?;
    let affected = transaction.execute_raw(&statement, &params).await.map_err(explain)?;
    query.bounds.check(affected)?;
    // Without a commit the server rolls back; from here on nobody knows until it answers.
    wire.departure.mark_sent()?;
    match transaction.commit().await {
        Ok(()) => Ok(Received::Value(json!({"affected": affected}))),
        Err(error) if error.as_db_error().is_some() => {
            // A deferred constraint: the server says that it rolled back.
            Err(Failure { landed: Landed::No, ..explain(error) })
        }
        Err(error) => Err(explain(error)),
    }
}

fn unreadable(name: &str, error: &tokio_postgres::Error) -> Failure {
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    fail(Class::UnexpectedShape, Landed::No, format!("the column `{name}` cannot be read: {cause}"))
}

fn explain(error: &tokio_postgres::Error, call: &Call, wire: &Wire<'_>) -> Failure {
    let (class, said) = match error.as_db_error() {
        Some(db) => (class(db.code().code()), format!("{} ({})", db.message(), db.code().code())),
        // A parameter the driver could not encode; the source says which.
        None if error.to_string().starts_with("error serializing") => {
            return refuse(error.to_string());
        }
        None => (Class::Unavailable, error.to_string()),
    };
    let said = excerpt(said.as_bytes(), &wire.vault.redactor(), &call.masks);
    fail(class, wire.departure.landed(), format!("the database refused: {said}"))
}

/// By SQLSTATE: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn class(code: &str) -> Class {
    match (code, code.get(..2).unwrap_or_default()) {
        ("42501", _) | (_, "28") => Class::Permission,
        ("57014", _) => Class::Timeout,
        ("40001" | "40P01" | "55P03", _) | (_, "08" | "53" | "57" | "58" | "XX") => {
            Class::Unavailable
        }
        _ => Class::InvalidArguments,
    }
}

/// One parameter, sent as text.
#[derive(Debug)]
struct Param(Value);

impl ToSql for Param {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let text = match (&self.0, ty.kind()) {
            (Value::Null, _) => return Ok(IsNull::Yes),
            (Value::String(text), _) if !is_json(ty) => text.clone(),
            (Value::Array(items), Kind::Array(_)) => array(items),
            (other, _) => other.to_string(),
        };
        out.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> tokio_postgres::types::Format {
        tokio_postgres::types::Format::Text
    }

    fn to_sql_checked(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        self.to_sql(ty, out)
    }
}

fn is_json(ty: &Type) -> bool {
    *ty == Type::JSON || *ty == Type::JSONB
}

/// An array literal: every element quoted.
fn array(items: &[Value]) -> String {
    let element = |item: &Value| match item {
        Value::Null => "NULL".to_owned(),
        Value::String(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        other => format!("\"{}\"", other.to_string().replace('\\', "\\\\").replace('"', "\\\"")),
    };
    format!("{{{}}}", items.iter().map(element).collect::<Vec<_>>().join(","))
}

/// One value of a row, decoded by its type.
struct Cell(Value);

impl<'a> FromSql<'a> for Cell {
    fn from_sql(
        ty: &Type,
        raw: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        decode::value(ty, raw).map(Cell).map_err(Into::into)
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(Value::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
