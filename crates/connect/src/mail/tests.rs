use std::sync::{Arc, Mutex};

use kernel::{
    exception::{Class, Landed},
    operation::Retry,
    port::Failure,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};

use crate::{System, system::SmtpTls, testing::Trial};

/// A server that says what the script has for a command, and what is usual otherwise.
struct Smtp {
    address: String,
    seen: Arc<Mutex<Vec<String>>>,
}

/// Answer that means: close without one.
const HANG_UP: &str = "";

/// Answer that means: never answer.
const SILENCE: &str = "silence";

impl Smtp {
    async fn start(script: &'static [(&'static str, &'static str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let smtp = Self { address, seen: Arc::clone(&seen) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = BufReader::new(stream);
                let _ = stream.write_all(b"220 sink\r\n").await;
                let mut in_data = false;
                loop {
                    let mut line = String::new();
                    if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                        break;
                    }
                    let line = line.trim_end().to_owned();
                    seen.lock().unwrap().push(line.clone());
                    if in_data && line != "." {
                        continue;
                    }
                    let scripted = script.iter().find(|(command, _)| line.starts_with(command));
                    let answer = scripted
                        .map_or(if line == "DATA" { "354 go" } else { "250 ok" }, |(_, answer)| {
                            answer
                        });
                    in_data = line == "DATA" && answer.starts_with("354");
                    if answer == HANG_UP {
                        break;
                    }
                    if answer != SILENCE {
                        let _ = stream.write_all(format!("{answer}\r\n").as_bytes()).await;
                    }
                }
            }
        });
        smtp
    }

    fn trial(&self) -> Trial {
        let system = System::Smtp {
            address: self.address.clone(),
            tls: SmtpTls::None,
            login: None,
            rate: None,
            redact: crate::redact::Personal::default(),
        };
        Trial::write(system, binding()).args(letter())
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    fn saw(&self, start: &str) -> bool {
        self.seen().iter().any(|line| line.starts_with(start))
    }
}

fn binding() -> Value {
    json!({"kind": "mail", "system": "sys", "from": "Renewals <renewals@harness.example>"})
}

fn letter() -> Value {
    json!({"to": ["Ana <ana@x.example>", "bo@x.example", "ANA@x.example"], "subject": "Grüße & more",
           "text": "Hello\n.\nleading dot\nRSET\n", "reply_to": "team@harness.example"})
}

async fn fail_with(trial: Trial) -> Failure {
    trial.run().await.unwrap_err()
}

#[tokio::test]
async fn one_message_in_one_transaction() {
    let smtp = Smtp::start(&[]).await;
    let trial = smtp.trial();
    let returned = trial.run().await.unwrap();
    let id = format!("<{}@harness>", trial.call().key);
    assert_eq!(
        *returned.output,
        json!({"message_id": id, "accepted": ["ana@x.example", "bo@x.example"]})
    );
    assert_eq!(returned.external_ref.as_deref(), Some(id.as_str()));
    let seen = smtp.seen();
    let commands: Vec<&str> = seen
        .iter()
        .map(String::as_str)
        .filter(|l| l.starts_with("RCPT") || l.starts_with("MAIL"))
        .collect();
    assert_eq!(
        commands,
        [
            "MAIL FROM:<renewals@harness.example>",
            "RCPT TO:<ana@x.example>",
            "RCPT TO:<bo@x.example>"
        ]
    );
    assert!(smtp.saw(&format!("Message-ID: {id}")), "{seen:?}");
    assert!(smtp.saw("Date: Fri, 20 Nov 2026 09:00:00 +0000"), "{seen:?}");
    assert!(
        smtp.saw("Reply-To: team@harness.example") && smtp.saw("Subject: =?utf-8?b?"),
        "{seen:?}"
    );
    assert_eq!(
        seen.iter().filter(|line| *line == ".").count(),
        1,
        "a dot in the text does not end it: {seen:?}"
    );
}

#[tokio::test]
async fn refusals_have_not_landed() {
    for (script, class) in [
        (&[("RCPT TO:<bo", "550 no such user")][..], Class::InvalidArguments),
        (&[("RCPT", "450 try later")], Class::RateLimit),
        (&[("MAIL", "451 trouble")], Class::Unavailable),
        (&[("MAIL", "530 log in first")], Class::Permission),
        (&[("DATA", "421 closing")], Class::RateLimit),
        (&[("DATA", "554 no")], Class::InvalidArguments),
        (&[(".", "552 too large")], Class::InvalidArguments),
        (&[(".", "550 not from you")], Class::Permission),
        (&[("MAIL", HANG_UP)], Class::Unavailable),
        (&[("DATA", HANG_UP)], Class::Unavailable),
        (&[("EHLO", "554 go away"), ("HELO", "554 go away")], Class::InvalidArguments),
    ] {
        let smtp = Smtp::start(script).await;
        let failure = fail_with(smtp.trial()).await;
        assert_eq!((failure.class, failure.landed), (class, Landed::No), "{script:?}: {failure:?}");
        assert_eq!(smtp.saw("Subject"), script[0].0 == ".", "{script:?}");
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let smtp = Smtp { address: format!("127.0.0.1:{port}"), seen: Arc::default() };
    let failure = fail_with(smtp.trial()).await;
    assert_eq!((failure.class, failure.landed), (Class::Unavailable, Landed::No));
}

#[tokio::test]
async fn no_answer_after_the_text_is_unknown() {
    let smtp = Smtp::start(&[(".", HANG_UP)]).await;
    let failure = fail_with(smtp.trial()).await;
    assert_eq!(
        (failure.class, failure.landed),
        (Class::Unavailable, Landed::Unknown),
        "{failure:?}"
    );
    let smtp = Smtp::start(&[(".", "451 trouble")]).await;
    let failure = fail_with(smtp.trial()).await;
    assert_eq!((failure.class, failure.landed), (Class::Unavailable, Landed::Unknown));
    let smtp = Smtp::start(&[(".", SILENCE)]).await;
    let failure = fail_with(smtp.trial().with(|trial| trial.operation.timeout_ms = 200)).await;
    assert_eq!((failure.class, failure.landed), (Class::Timeout, Landed::Unknown));
    let smtp = Smtp::start(&[("DATA", SILENCE)]).await;
    let failure = fail_with(smtp.trial().with(|trial| trial.operation.timeout_ms = 200)).await;
    assert_eq!((failure.class, failure.landed), (Class::Timeout, Landed::No));
}

#[tokio::test]
async fn nothing_is_sent_after_the_dispatch_window() {
    for punctual in [0, 1] {
        let smtp = Smtp::start(&[]).await;
        let failure = fail_with(smtp.trial().with(|trial| trial.punctual = punctual)).await;
        assert_eq!((failure.class, failure.landed), (Class::Timeout, Landed::No));
        assert!(!smtp.saw("MAIL"), "{:?}", smtp.seen());
    }
}

#[tokio::test]
async fn arguments_cannot_write_headers() {
    let smtp = Smtp::start(&[]).await;
    for change in [
        json!({"subject": "x\r\nBcc: eve@x.example"}),
        json!({"subject": "x\nBcc: eve@x.example"}),
        json!({"subject": 5}),
        json!({"to": ["ana@x.example\r\nBcc: eve@x.example"]}),
        json!({"to": ["ana@x.example>\nRCPT TO:<eve@x.example"]}),
        json!({"to": ["ana@x.example, eve@x.example"]}),
        json!({"to": ["not an address"]}),
        json!({"to": ["ünï@x.example"]}),
        json!({"to": []}),
        json!({"to": "ana@x.example"}),
        json!({"reply_to": "x\r\nBcc: eve@x.example"}),
        json!({"text": "a\u{0}b"}),
        json!({"text": null}),
    ] {
        let mut args = letter();
        for (key, value) in change.as_object().unwrap() {
            args[key] = value.clone();
        }
        let failure = fail_with(smtp.trial().args(args)).await;
        assert_eq!(
            (failure.class, failure.landed),
            (Class::InvalidArguments, Landed::No),
            "{change}"
        );
    }
    assert!(smtp.seen().is_empty());
}

#[tokio::test]
async fn encryption_that_is_not_there_is_not_skipped() {
    let smtp = Smtp::start(&[]).await;
    let trial = smtp.trial().with(|trial| {
        let system = System::Smtp {
            address: smtp.address.clone(),
            tls: SmtpTls::Starttls,
            login: None,
            rate: None,
            redact: crate::redact::Personal::default(),
        };
        trial.systems.insert("sys".to_owned(), system);
    });
    let failure = fail_with(trial).await;
    assert_eq!((failure.class, failure.landed), (Class::Permission, Landed::No), "{failure:?}");
    assert!(!smtp.saw("MAIL"));
}

#[tokio::test]
async fn bindings_are_checked_at_load() {
    let smtp = Smtp::start(&[]).await;
    let check = |trial: Trial| trial.connectors().check(&trial.operation).unwrap_err().to_string();
    let keyed = check(smtp.trial().with(|trial| trial.operation.facts.retry = Retry::Keyed));
    assert!(keyed.contains("retry: probe"), "{keyed}");
    let read =
        smtp.trial().with(|trial| trial.operation.facts.effect = kernel::operation::Effect::Read);
    assert!(check(read).contains("is a write"));
    let from = json!({"kind": "mail", "system": "sys", "from": "nobody"});
    let trial = smtp.trial().with(|trial| trial.operation.binding = Arc::new(from));
    assert!(check(trial).contains("no address"));
    let mut bad = smtp.trial().systems;
    bad.insert(
        "sys".to_owned(),
        System::Smtp {
            address: "localhost".into(),
            tls: SmtpTls::None,
            login: None,
            rate: None,
            redact: crate::redact::Personal::default(),
        },
    );
    assert!(
        super::check_address("sys", "localhost").unwrap_err().to_string().contains("host:port")
    );
}
