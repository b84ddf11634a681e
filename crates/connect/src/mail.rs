//! Mail over SMTP: one message, one transaction, a Message-ID made from the effect key.
//!
//! Up to the last byte of the message nothing has landed; from its end until the server's answer nobody
//! knows, nor does anybody when that answer is about trouble of the server's own. A server does not
//! deduplicate on Message-IDs, so a mail cannot be declared `retry: keyed`; a probe can ask for
//! `<key@harness>`.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use kernel::{
    exception::{Class, Landed},
    operation::{Operation, Retry},
    port::Failure,
};
use lettre::{
    Address, Message,
    message::{Mailbox, header::ContentType},
    transport::smtp::{
        Error as SmtpError,
        authentication::{Credentials, Mechanism},
        client::{AsyncSmtpConnection, TlsParameters},
        commands::{Data, Mail, Rcpt},
        extension::ClientId,
    },
};
use secrets::Use;
use serde_json::{Value, json};

use crate::{
    call::{Call, Departure, fail, refuse},
    error::Error,
    ingest::{Pick, excerpt},
    read::Reader,
    secret::Vault,
    system::{SmtpTls, System},
};

/// Most recipients of one message.
pub(crate) const RECIPIENTS_MAX: usize = 50;

/// Longest subject, in characters.
const SUBJECT_MAX_CHARS: usize = 500;

/// Longest text, in bytes.
const TEXT_MAX_BYTES: usize = 256 * 1024;

/// Who sends.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) system: String,
    from: Mailbox,
}

/// What one mail call needs besides the call itself.
#[derive(Debug)]
pub(crate) struct Wire<'a> {
    pub(crate) name: &'a str,
    pub(crate) system: &'a System,
    pub(crate) vault: &'a Vault,
    pub(crate) departure: &'a Arc<Departure>,
    pub(crate) deadline: Duration,
}

impl Sender {
    pub(crate) fn compile(binding: &Reader<'_>, operation: &Operation) -> Result<Self, Error> {
        binding.only(&["kind", "system", "from"])?;
        if !operation.is_write() {
            return Err(binding.error("kind", "sending mail is a write; declare `effect: write`"));
        }
        if operation.facts.retry == Retry::Keyed {
            let text =
                "mail servers deliver the same message twice; declare `retry: probe` or `never`";
            return Err(binding.error("kind", text));
        }
        let from = binding.text("from")?;
        let from = mailbox(from).map_err(|problem| binding.error("from", problem))?;
        Ok(Self { system: binding.text("system")?.to_owned(), from })
    }
}

/// The Message-ID is the target's name for the effect.
pub(crate) fn pick() -> Pick<'static> {
    Pick { external_ref: Some("/message_id"), ..Pick::default() }
}

/// Checks a server's address at load.
pub(crate) fn check_address(system: &str, address: &str) -> Result<(), Error> {
    let sound = address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if sound {
        return Ok(());
    }
    let problem = "its address must be host:port, such as localhost:587".to_owned();
    Err(Error::System { system: system.to_owned(), problem })
}

/// A message of the harness's own: no effect of a run, so nothing of it is journaled.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// The declared mail server.
    pub system: &'a str,
    /// Who sends, such as `Harness <harness@example.org>`.
    pub from: &'a str,
    /// Who gets it; 1 to 50 addresses.
    pub to: &'a [String],
    /// Its name; sent again it has the same, so that mail programs show it once.
    pub id: &'a str,
    /// One line.
    pub subject: &'a str,
    /// The text.
    pub text: &'a str,
}

impl Notice<'_> {
    /// Whether these can stand in a message.
    ///
    /// # Errors
    /// Which address is none, and why.
    pub fn check_addresses(from: &str, to: &[String]) -> Result<(), String> {
        let all = std::iter::once(from).chain(to.iter().map(String::as_str));
        for address in all {
            mailbox(address).map_err(|problem| format!("`{address}` {problem}"))?;
        }
        if to.is_empty() || to.len() > RECIPIENTS_MAX {
            return Err(format!("a message goes to 1 to {RECIPIENTS_MAX} addresses"));
        }
        Ok(())
    }
}

/// Sends one message of a run.
pub(crate) async fn call(sender: &Sender, call: &Call, wire: &Wire<'_>) -> Result<Value, Failure> {
    let letter = Letter::of(sender, call, wire)?;
    transmit(&letter, wire, &call.masks).await?;
    let accepted: Vec<&str> = letter.to.iter().map(AsRef::as_ref).collect();
    Ok(json!({"message_id": letter.id, "accepted": accepted}))
}

/// Sends one message of the harness's own.
pub(crate) async fn notify(notice: &Notice<'_>, wire: &Wire<'_>) -> Result<(), Failure> {
    let named = |text: &str| mailbox(text).map_err(|problem| refuse(format!("`{text}` {problem}")));
    let to = notice.to.iter().map(|text| named(text)).collect::<Result<Vec<_>, _>>()?;
    let parts = Parts {
        from: &named(notice.from)?,
        name: notice.id,
        to,
        subject: notice.subject,
        text: notice.text,
        reply_to: None,
    };
    transmit(&Letter::write(parts, wire)?, wire, &BTreeSet::new()).await
}

async fn transmit(
    letter: &Letter,
    wire: &Wire<'_>,
    masks: &BTreeSet<String>,
) -> Result<(), Failure> {
    let explain = |error: SmtpError| explain(&error, masks, wire);
    wire.departure.check()?;
    let mut connection = connect(wire).await.map_err(|error| match error {
        Unconnected::Smtp(error) => explain(error),
        Unconnected::Failure(failure) => *failure,
    })?;
    wire.departure.check()?;
    connection.command(Mail::new(Some(letter.from.clone()), Vec::new())).await.map_err(explain)?;
    for recipient in &letter.to {
        let accepted = connection.command(Rcpt::new(recipient.clone(), Vec::new())).await;
        accepted.map_err(|error| {
            // One refused recipient ends the transaction: all or nobody.
            let failure = explain(error);
            Failure {
                message: format!("a recipient was refused, nothing was sent: {}", failure.message),
                ..failure
            }
        })?;
    }
    connection.command(Data).await.map_err(explain)?;
    wire.departure.leave()?;
    connection.message(&letter.bytes).await.map_err(explain)?;
    // The answer is in; a server that hangs on the goodbye changes nothing.
    connection.abort().await;
    Ok(())
}

enum Unconnected {
    Smtp(SmtpError),
    Failure(Box<Failure>),
}

impl From<SmtpError> for Unconnected {
    fn from(error: SmtpError) -> Self {
        Self::Smtp(error)
    }
}

impl From<Failure> for Unconnected {
    fn from(failure: Failure) -> Self {
        Self::Failure(Box::new(failure))
    }
}

/// What a login is for.
pub(crate) fn use_of<'a>(system: &'a str, address: &'a str) -> Use<'a> {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    Use { host: Some(host), port: port.parse().ok(), ..Use::by(system) }
}

async fn connect(wire: &Wire<'_>) -> Result<AsyncSmtpConnection, Unconnected> {
    let System::Smtp { address, tls, login, .. } = wire.system else {
        return Err(refuse("the system is no mail server").into());
    };
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse::<u16>().map_err(|_| refuse("the mail server's address has no port"))?;
    let hello = ClientId::Domain("harness".to_owned());
    let parameters = || TlsParameters::new(host.to_owned());
    let implicit = match tls {
        SmtpTls::Implicit => Some(parameters()?),
        SmtpTls::None | SmtpTls::Starttls => None,
    };
    let server = (host, port);
    let mut connection =
        AsyncSmtpConnection::connect_tokio1(server, Some(wire.deadline), &hello, implicit, None)
            .await?;
    if *tls == SmtpTls::Starttls {
        if !connection.can_starttls() {
            let message = "the mail server offers no STARTTLS; nothing was sent";
            return Err(fail(Class::Permission, Landed::No, message).into());
        }
        connection.starttls(parameters()?, &hello).await?;
    }
    if let Some(login) = login {
        let secret = wire.vault.resolve(&login.secret, &use_of(wire.name, address));
        let secret = secret.map_err(|e| fail(Class::Permission, Landed::No, e.to_string()))?;
        let credentials = Credentials::new(login.user.clone(), secret.expose().to_owned());
        connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await?;
    }
    Ok(connection)
}

fn explain(error: &SmtpError, masks: &BTreeSet<String>, wire: &Wire<'_>) -> Failure {
    let mut text = error.to_string();
    // Most errors say their cause themselves.
    let cause = std::error::Error::source(error).map(ToString::to_string);
    if let Some(cause) = cause.filter(|cause| !text.contains(cause)) {
        text = format!("{text}: {cause}");
    }
    let said = excerpt(text.as_bytes(), &wire.vault.redactor(), masks);
    let message = format!("the mail server: {said}");
    let Some(code) = error.status() else {
        // No answer: only after the message has left is that unknown.
        return fail(Class::Unavailable, wire.departure.landed(), message);
    };
    let sent = wire.departure.landed() == Landed::Unknown;
    let (class, landed) = meaning(u16::from(code), sent.then_some(AfterText));
    fail(class, landed, message)
}

/// The whole message has left.
#[derive(Clone, Copy)]
struct AfterText;

/// What an answer that is no success means. Before the text nothing has landed; after it a server that
/// reports trouble of its own (451 and its like) may have delivered all the same.
fn meaning(code: u16, after: Option<AfterText>) -> (Class, Landed) {
    match (code, after) {
        (421 | 450 | 452, _) => (Class::RateLimit, Landed::No),
        (400..=499, None) => (Class::Unavailable, Landed::No),
        (400..=499, Some(AfterText)) => (Class::Unavailable, Landed::Unknown),
        (530 | 534 | 535 | 538, _) => (Class::Permission, Landed::No),
        // The recipients were taken: what is refused now is that we send.
        (550 | 551 | 553, Some(AfterText)) => (Class::Permission, Landed::No),
        _ => (Class::InvalidArguments, Landed::No),
    }
}

/// One message, ready to send.
struct Letter {
    id: String,
    from: Address,
    to: Vec<Address>,
    bytes: Vec<u8>,
}

/// What a message is made of.
struct Parts<'a> {
    from: &'a Mailbox,
    /// Left half of its Message-ID.
    name: &'a str,
    to: Vec<Mailbox>,
    subject: &'a str,
    text: &'a str,
    reply_to: Option<Mailbox>,
}

impl Letter {
    fn of(sender: &Sender, call: &Call, wire: &Wire<'_>) -> Result<Self, Failure> {
        let subject = text(call, "subject")?.ok_or_else(|| refuse("`subject` is required"))?;
        let body = text(call, "text")?.ok_or_else(|| refuse("`text` is required"))?;
        let reply_to = text(call, "reply_to")?.map(|reply_to| {
            mailbox(reply_to).map_err(|problem| refuse(format!("`reply_to` {problem}")))
        });
        let name = call.key.to_string();
        let parts = Parts {
            from: &sender.from,
            name: &name,
            to: recipients(call)?,
            subject,
            text: body,
            reply_to: reply_to.transpose()?,
        };
        Self::write(parts, wire)
    }

    fn write(parts: Parts<'_>, wire: &Wire<'_>) -> Result<Self, Failure> {
        let Parts { from, name, to, subject, text, reply_to } = parts;
        if subject.chars().any(char::is_control) || subject.chars().count() > SUBJECT_MAX_CHARS {
            let message =
                format!("`subject` must be one line of at most {SUBJECT_MAX_CHARS} characters");
            return Err(refuse(message));
        }
        if text.len() > TEXT_MAX_BYTES || text.contains('\0') {
            return Err(refuse(format!("`text` must be text of at most {TEXT_MAX_BYTES} bytes")));
        }
        let id = format!("<{name}@harness>");
        let now_ms = u64::try_from(wire.departure.now_ms()).unwrap_or(0);
        let mut letter = Message::builder()
            .from(from.clone())
            .subject(subject)
            .message_id(Some(id.clone()))
            .date(SystemTime::UNIX_EPOCH + Duration::from_millis(now_ms));
        let recipients = to.iter().map(|mailbox| mailbox.email.clone()).collect();
        for recipient in to {
            letter = letter.to(recipient);
        }
        if let Some(reply_to) = reply_to {
            letter = letter.reply_to(reply_to);
        }
        let message = letter.header(ContentType::TEXT_PLAIN).body(text.to_owned());
        let message = message.map_err(|e| refuse(format!("the message cannot be written: {e}")))?;
        Ok(Self { id, from: from.email.clone(), to: recipients, bytes: message.formatted() })
    }
}

fn text<'a>(call: &'a Call, name: &str) -> Result<Option<&'a str>, Failure> {
    match call.args.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(refuse(format!("`{name}` must be text"))),
    }
}

/// Recipients in order, each address once.
fn recipients(call: &Call) -> Result<Vec<Mailbox>, Failure> {
    let items = call.args.get("to").and_then(Value::as_array);
    let items = items.ok_or_else(|| refuse("`to` must be a list of addresses"))?;
    if items.is_empty() || items.len() > RECIPIENTS_MAX {
        return Err(refuse(format!("`to` must hold 1 to {RECIPIENTS_MAX} addresses")));
    }
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let parsed = mailbox(item.as_str().unwrap_or_default());
        let recipient = parsed.map_err(|problem| refuse(format!("`to/{index}` {problem}")))?;
        if seen.insert(recipient.email.to_string().to_lowercase()) {
            all.push(recipient);
        }
    }
    Ok(all)
}

fn mailbox(text: &str) -> Result<Mailbox, &'static str> {
    if text.chars().any(char::is_control) {
        return Err("holds a control character");
    }
    let parsed =
        text.parse::<Mailbox>().map_err(|_| "is no address such as `Ana <ana@example.org>`")?;
    if !parsed.email.to_string().is_ascii() {
        return Err("holds letters outside ASCII in its address, which not every server carries");
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests;
