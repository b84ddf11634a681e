//! The mail sink's dialogue.

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use world::World;

use crate::client::{effect, get, start, write};

struct Mailer(BufReader<TcpStream>);

impl Mailer {
    async fn connect(world: &World) -> Self {
        let mut mailer = Self(BufReader::new(TcpStream::connect(world.smtp_addr()).await.unwrap()));
        assert_eq!(mailer.code().await, 220);
        assert_eq!(mailer.say("EHLO test.example").await, 250);
        mailer
    }

    /// The code of the next reply, after all its lines.
    async fn code(&mut self) -> u16 {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).await.unwrap();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line[..3].parse().unwrap();
            }
        }
    }

    async fn say(&mut self, text: &str) -> u16 {
        self.0.write_all(format!("{text}\r\n").as_bytes()).await.unwrap();
        self.code().await
    }

    async fn send(&mut self, data: &str) -> u16 {
        assert_eq!(self.say("MAIL FROM:<csm@vendor.example> SIZE=99").await, 250);
        assert_eq!(self.say("RCPT TO:<ana.keller@northwind-robotics.example>").await, 250);
        assert_eq!(self.say("DATA").await, 354);
        self.say(data).await
    }
}

const LETTER: &str = "Message-ID: <m1@vendor.example>\r\nSubject: Your renewal\r\n\r\nHello\r\n..stuffed\r\n...\r\n.";

#[tokio::test]
async fn messages_are_stored_unstuffed_and_can_be_asked_for() {
    let world = start().await;
    let mut mailer = Mailer::connect(&world).await;
    assert_eq!(mailer.send(LETTER).await, 250);
    assert_eq!(mailer.send("Subject: second\r\n\r\nsame connection\r\n.").await, 250);
    assert_eq!(mailer.say("NOOP").await, 250);
    assert_eq!(mailer.say("QUIT").await, 221);
    let found = get(&world, "/_world/mail?message_id=m1@vendor.example").await.expect(200);
    let message = &found["messages"][0];
    assert_eq!(message["message_id"], "<m1@vendor.example>");
    assert_eq!(message["from"], "csm@vendor.example");
    assert_eq!(message["to"], json!(["ana.keller@northwind-robotics.example"]));
    assert_eq!(message["subject"], "Your renewal");
    assert_eq!(message["body"], "Hello\n.stuffed\n..\n");
    let all = get(&world, "/_world/mail").await.expect(200);
    assert_eq!(all["messages"].as_array().unwrap().len(), 2);
    assert_eq!(all["messages"][1]["message_id"], json!(null));
    let to = get(&world, "/_world/mail?to=ana.keller@northwind-robotics.example").await;
    assert_eq!(to.expect(200)["messages"].as_array().unwrap().len(), 2);
    let none = get(&world, "/_world/mail?to=someone@else.example").await.expect(200);
    assert_eq!(none["messages"], json!([]));
    let none = get(&world, "/_world/mail?message_id=other").await.expect(200);
    assert_eq!(none["messages"], json!([]));
}

#[tokio::test]
async fn the_same_message_twice_is_counted_as_a_duplicate() {
    let world = start().await;
    let mut mailer = Mailer::connect(&world).await;
    assert_eq!(mailer.send(LETTER).await, 250);
    assert_eq!(mailer.send(LETTER).await, 250);
    let found = get(&world, "/_world/mail").await.expect(200);
    assert_eq!(found["messages"].as_array().unwrap().len(), 1);
    assert_eq!((&found["messages"][0]["deliveries"], &found["duplicates"]), (&json!(2), &json!(1)));
    assert_eq!(effect(&world, "mail.send", "%3Cm1@vendor.example%3E").await, (2, 2));
}

#[tokio::test]
async fn the_dialogue_is_held_in_order_and_within_bounds() {
    let world = start().await;
    let mut mailer = Mailer::connect(&world).await;
    assert_eq!(mailer.say("RCPT TO:<a@x.example>").await, 503);
    assert_eq!(mailer.say("DATA").await, 503);
    assert_eq!(mailer.say("MAIL FROM:a@x.example").await, 501);
    assert_eq!(mailer.say("MAIL FROM:<a@x.example> SIZE=2000000").await, 552);
    assert_eq!(mailer.say("MAIL FROM:<a@x.example>").await, 250);
    assert_eq!(mailer.say("RSET").await, 250);
    assert_eq!(mailer.say("RCPT TO:<a@x.example>").await, 503);
    assert_eq!(mailer.say("FROB").await, 500);
    let line = format!("{}\r\n", "x".repeat(998));
    let large = format!("Subject: big\r\n\r\n{}.", line.repeat(1100));
    assert_eq!(mailer.send(&large).await, 552);
    assert_eq!(mailer.send(LETTER).await, 250);
    let all = get(&world, "/_world/mail").await.expect(200);
    assert_eq!(all["messages"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_dot_after_a_bare_newline_ends_nothing() {
    let world = start().await;
    let mut mailer = Mailer::connect(&world).await;
    assert_eq!(
        mailer.send("Subject: s\r\n\r\none\n.\r\nMAIL FROM:<evil@x.example>\r\n.").await,
        250
    );
    let all = get(&world, "/_world/mail").await.expect(200);
    assert_eq!(all["messages"].as_array().unwrap().len(), 1);
    let body = all["messages"][0]["body"].as_str().unwrap();
    assert!(body.contains("MAIL FROM:<evil@x.example>"), "{body}");
}

#[tokio::test]
async fn mail_faults_strike_before_or_after_the_delivery() {
    let world = start().await;
    for (kind, on_call) in [("5xx", 1), ("403", 2), ("429", 3), ("timeout_after", 4)] {
        let rule = json!({"system": "mail", "operation": "mail.send", "kind": kind, "on_call": on_call, "delay_ms": 1});
        write(&world, "POST /_world/faults", rule).await.expect(201);
    }
    let mut mailer = Mailer::connect(&world).await;
    assert_eq!(mailer.send(LETTER).await, 451);
    assert_eq!(mailer.send(LETTER).await, 550);
    assert_eq!(mailer.send(LETTER).await, 421);
    let key = "%3Cm1@vendor.example%3E";
    assert_eq!(effect(&world, "mail.send", key).await, (3, 0));

    let mut mailer = Mailer::connect(&world).await;
    for line in ["MAIL FROM:<a@x.example>", "RCPT TO:<b@x.example>", "DATA"] {
        mailer.say(line).await;
    }
    mailer.0.write_all(format!("{LETTER}\r\n").as_bytes()).await.unwrap();
    let mut rest = String::new();
    mailer.0.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "");
    assert_eq!(effect(&world, "mail.send", key).await, (4, 1));
}
