//! What is kept of an answer that broke its contract (C192): enough to see, nothing that must not show.

use std::sync::Arc;

use kernel::{
    exception::Class,
    operation::{Contract, Match},
    port::Failure,
};
use serde_json::{Value, json};

use crate::{
    sample::SAMPLE_MAX_BYTES,
    testing::{CANARY, Reply, Server, Trial},
};

fn get() -> Value {
    json!({"kind": "http", "system": "sys", "method": "GET", "path": "/things",
           "auth": {"bearer": "token"}})
}

/// The failure of a read that promises a name, and the sample it left.
async fn kept(answer: String, change: impl FnOnce(&mut Trial)) -> (Failure, Value) {
    let server = Server::start(move |_| Reply::status(200, "", &answer)).await;
    let trial = Trial::read(server.system(), get()).with(|trial| {
        trial.operation.output = Arc::new(json!({"type": "object", "required": ["name"]}));
        change(trial);
    });
    let failure = trial.run().await.unwrap_err();
    let sample = failure.sample.as_deref().cloned().unwrap_or_default();
    (failure, sample)
}

#[tokio::test]
async fn a_drifted_answer_is_kept_as_it_came() {
    let (failure, sample) = kept(r#"{"schema":2,"payload":{"name":"x"}}"#.to_owned(), |_| {}).await;
    assert_eq!(failure.class, Class::MissingField);
    assert_eq!(sample["answer"], json!({"schema": 2, "payload": {"name": "x"}}));
    assert!(sample["evidence"]["problem"].as_str().unwrap().contains("name"), "{sample}");
}

#[tokio::test]
async fn what_cannot_be_decoded_is_kept_as_text() {
    let (failure, sample) = kept("<html>moved".to_owned(), |_| {}).await;
    assert_eq!(failure.class, Class::UnexpectedShape);
    assert_eq!(sample, json!({"bytes": 11, "begins": "<html>moved"}));
}

#[tokio::test]
async fn a_sample_is_capped() {
    let long = json!({"payload": "v".repeat(3 * SAMPLE_MAX_BYTES)}).to_string();
    let (_, sample) = kept(long.clone(), |_| {}).await;
    assert_eq!(sample["bytes"], long.len());
    assert_eq!(sample["begins"].as_str().unwrap().len(), SAMPLE_MAX_BYTES);
    assert!(sample.get("answer").is_none(), "{sample}");
}

#[tokio::test]
async fn secrets_and_masked_fields_do_not_show_in_it() {
    let answer = json!({"echo": CANARY, "mail": "ana@x.example"}).to_string();
    let (_, sample) = kept(answer.clone(), |trial| {
        trial.masks.insert("/mail".to_owned());
    })
    .await;
    let text = sample.to_string();
    assert!(!text.contains(CANARY) && !text.contains("ana@"), "{text}");
    // Of another shape than declared: nobody can tell where the masked field is now.
    assert_eq!(sample["withheld"], "fields of this answer are masked");
    let two = json!({"name": "x", "rows": [{"mail": "ana@x.example"}, 2]}).to_string();
    let (_, sample) = kept(two, |trial| {
        trial.masks.insert("/rows/*/mail".to_owned());
        let unique = Some("/rows".to_owned());
        trial.operation.contract = Contract { unique, ..Contract::default() };
    })
    .await;
    assert_eq!(sample["answer"]["rows"], json!([{"mail": "[masked]"}, 2]), "{sample}");
    let (_, sample) = kept(json!({"echo": CANARY}).to_string(), |_| {}).await;
    assert!(sample["answer"].is_object() && !sample.to_string().contains(CANARY), "{sample}");
    let (_, sample) = kept(format!("not json {CANARY}"), |_| {}).await;
    assert!(!sample.to_string().contains(CANARY), "{sample}");
    let (_, sample) = kept(format!("{answer} and more"), |trial| {
        trial.masks.insert("/mail".to_owned());
    })
    .await;
    assert_eq!(sample["withheld"], "fields of this answer are masked");
    assert!(sample.get("begins").is_none(), "{sample}");
}

#[tokio::test]
async fn a_mismatch_comes_with_its_score_and_what_speaks_for_it() {
    let answer = json!({"name": "Müller Backwaren"}).to_string();
    let matches = |trial: &mut Trial| {
        trial.args = json!({"expected": "Müller Werkzeuge GmbH"});
        let (output, expected) = ("/name".to_owned(), "/expected".to_owned());
        let rule = Match { output, expected, threshold: 70 };
        trial.operation.contract = Contract { matches: Some(rule), ..Contract::default() };
    };
    let (failure, sample) = kept(answer.clone(), matches).await;
    assert_eq!((failure.class, &sample["at"]), (Class::Mismatch, &json!("/name")));
    let evidence = &sample["evidence"];
    assert!(evidence["score"].as_u64().unwrap() < 70, "{evidence}");
    assert_eq!((&evidence["threshold"], &evidence["shared"]), (&json!(70), &json!(["mueller"])));
    assert_eq!(evidence["only_expected"], json!(["werkzeuge"]));
    assert_eq!(evidence["only_found"], json!(["backwaren"]));
    // The score of a masked name shows, its words do not.
    let masked = |trial: &mut Trial| {
        matches(trial);
        trial.masks.insert("/name".to_owned());
    };
    let (_, sample) = kept(answer, masked).await;
    assert!(sample["evidence"]["score"].is_u64(), "{sample}");
    assert!(!sample.to_string().to_lowercase().contains("backwaren"), "{sample}");
}
