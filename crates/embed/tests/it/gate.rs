//! What is denied, asked and narrowed, and what the model hears of it.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use embed::{Answer, Call, Error, Hook, Status, StopReason, Tool, Verdict, hook, person, tool};
use kernel::{event::Body, principal::Principal, run::Refused};
use models::Line;
use serde_json::json;

use crate::support::{agent, call_and_answer};

/// Notes made so far.
static NOTES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Writes a note.
#[tool(egress = false)]
async fn write_note(text: String) -> usize {
    let mut notes = NOTES.lock().unwrap();
    notes.push(text);
    notes.len()
}

const NOTES_ALLOWED: &str = r#"
@id("notes.write")
@reason("Notes may be written.")
permit (principal, action == Action::"tool.write_note", resource);
"#;

const NOTES_BY_FINANCE: &str = r#"
@id("notes.finance")
permit (principal, action == Action::"tool.write_note", resource)
when { context.evidence.approvals.finance >= 1 };
"#;

fn was_written(text: &str) -> bool {
    NOTES.lock().unwrap().iter().any(|note| note == text)
}

fn note(text: &str) -> Vec<Line> {
    call_and_answer("write_note", json!({ "text": text }))
}

#[tokio::test]
async fn without_a_policy_every_write_is_denied_and_the_model_is_told() {
    let (builder, told) = agent(note("denied"));
    let agent = builder.tool(Tool::of::<write_note>()).build().unwrap();
    let outcome = agent.run("Note it").await.unwrap();
    assert!(!was_written("denied"));
    let results = told.results();
    assert!(results[0].1 && results[0].0.contains("denied by policy"), "{results:?}");
    assert!(told.text().contains("`write_note` is denied by policy"), "told beforehand, too");
    assert_eq!((outcome.stop, outcome.status), (Some(StopReason::Done), Status::Succeeded));
}

#[tokio::test]
async fn a_read_that_sends_things_out_is_denied_too() {
    let read = Tool::new("search", "Searches.", |_: kernel_free::Query| async {
        Ok::<_, String>("found")
    });
    let facts =
        kernel::operation::Facts { effect: kernel::operation::Effect::Read, ..embed::strictest() };
    let (builder, told) = agent(call_and_answer("search", json!({ "q": "x" })));
    builder.tool(read.facts(facts)).build().unwrap().run("Search").await.unwrap();
    assert!(told.results()[0].0.contains("denied by policy"));
}

mod kernel_free {
    #[derive(serde::Deserialize, schemars::JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    pub(super) struct Query {
        q: String,
    }
}

#[tokio::test]
async fn an_ask_calls_the_approver_and_a_yes_lets_exactly_this_happen() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let (builder, told) = agent(note("approved"));
    let builder =
        builder.tool(Tool::of::<write_note>()).policy(NOTES_ALLOWED).approver(move |ask| {
            seen.lock().unwrap().push(ask);
            async { Answer::approve() }
        });
    let outcome = builder.build().unwrap().run("Note it").await.unwrap();
    assert!(was_written("approved"));
    let asked = asked.lock().unwrap();
    assert_eq!((asked.len(), asked[0].tool.as_str()), (1, "write_note"));
    assert_eq!(*asked[0].args, json!({ "text": "approved" }));
    assert!(!asked[0].untrusted && asked[0].needs["approver"] == 1);
    assert!(
        asked[0].why.iter().any(|rule| rule.id.starts_with("inherited.")),
        "{:?}",
        asked[0].why
    );
    assert!(!told.results()[0].1);
    assert_eq!(outcome.receipts.len(), 2, "the write and the close");
}

#[tokio::test]
async fn a_no_is_told_and_nothing_happens() {
    let (builder, told) = agent(note("refused"));
    let builder = builder.tool(Tool::of::<write_note>()).policy(NOTES_ALLOWED);
    let agent = builder.approver(|_| async { Answer::deny("not today") }).build().unwrap();
    agent.run("Note it").await.unwrap();
    assert!(!was_written("refused"));
    assert!(told.results()[0].0.contains("a person said no"), "{:?}", told.results());
    assert!(!told.text().contains("not today"), "the reason is for people");
}

#[tokio::test]
async fn an_edit_is_a_new_proposal_that_is_asked_about_again() {
    let asks = Arc::new(AtomicUsize::new(0));
    let (builder, _) = agent(note("draft"));
    let builder =
        builder.tool(Tool::of::<write_note>()).policy(NOTES_ALLOWED).approver(move |_| {
            let n = asks.fetch_add(1, Ordering::SeqCst);
            async move {
                if n == 0 { Answer::edit(json!({ "text": "edited" })) } else { Answer::approve() }
            }
        });
    builder.build().unwrap().run("Note it").await.unwrap();
    assert!(was_written("edited") && !was_written("draft"));
}

#[tokio::test]
async fn with_nobody_to_ask_an_ask_is_a_no() {
    let (builder, told) = agent(note("nobody"));
    let agent = builder.tool(Tool::of::<write_note>()).policy(NOTES_ALLOWED).build().unwrap();
    let outcome = agent.run("Note it").await.unwrap();
    assert!(!was_written("nobody"));
    assert!(told.results()[0].0.contains("nobody approved it"), "{:?}", told.results());
    assert_eq!(outcome.status, Status::Succeeded);
}

#[tokio::test]
async fn an_approver_that_panics_has_said_no() {
    let (builder, told) = agent(note("panicked"));
    let builder = builder.tool(Tool::of::<write_note>()).policy(NOTES_ALLOWED);
    let agent = builder
        .approver(|ask| async move {
            assert!(ask.args.is_null(), "an approver that breaks");
            Answer::approve()
        })
        .build()
        .unwrap();
    agent.run("Note it").await.unwrap();
    assert!(!was_written("panicked"));
    assert!(told.results()[0].0.contains("a person said no"));
}

#[tokio::test]
async fn only_who_holds_the_role_that_is_asked_for_counts() {
    let answers = |by: Principal| {
        let (builder, _) = agent(note("by finance"));
        let builder = builder.tool(Tool::of::<write_note>()).policy(NOTES_BY_FINANCE);
        builder
            .approver(move |_| std::future::ready(Answer::approve().by(by.clone())))
            .build()
            .unwrap()
    };
    let stranger = answers(person("person:eve", &["sales"]).unwrap());
    let error = stranger.run("Note it").await.unwrap_err();
    assert!(matches!(error, Error::Answer { refused: Refused::Answer(_), .. }), "{error}");
    assert!(!was_written("by finance"));
    let both = person("person:mira", &["finance", "approver"]).unwrap();
    answers(both).run("Note it").await.unwrap();
    assert!(was_written("by finance"));
}

#[tokio::test]
async fn a_broken_policy_is_refused_with_its_place() {
    let (builder, _) = agent(vec![]);
    let builder = builder.tool(Tool::of::<write_note>());
    let error = builder
        .policy("@id(\"x\")\npermit (principal, action == Action::\"tool.write_nite\", resource);")
        .build()
        .unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Policy(_)) && text.contains("policy:2:"), "{text}");
}

/// Always in force for this tool, as every registered hook.
#[hook(tool = "write_note")]
fn no_secrets(call: &Call<'_>) -> Result<Verdict, String> {
    let text = call.args()["text"].as_str().ok_or("no text")?;
    Ok(match text {
        "password" => Verdict::Deny("passwords are never noted".to_owned()),
        _ => Verdict::Pass,
    })
}

#[tokio::test]
async fn a_hook_denies_what_policy_and_people_allow() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let (builder, told) = agent(note("password"));
    let builder =
        builder.tool(Tool::of::<write_note>()).policy(NOTES_ALLOWED).approver(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            async { Answer::approve() }
        });
    builder.build().unwrap().run("Note it").await.unwrap();
    assert!(!was_written("password"));
    assert_eq!(asked.load(Ordering::SeqCst), 0, "what is denied is not asked about");
    assert!(told.results()[0].0.contains("hook.no_secrets"), "{:?}", told.results());
}

#[tokio::test]
async fn a_hook_cannot_loosen() {
    let (builder, told) = agent(note("loosened"));
    let builder = builder.tool(Tool::of::<write_note>());
    let agent = builder.hook(Hook::new("yes", |_| Verdict::Pass)).build().unwrap();
    agent.run("Note it").await.unwrap();
    assert!(!was_written("loosened"));
    assert!(told.results()[0].0.contains("denied by policy"));
}

#[tokio::test]
async fn a_hook_that_panics_or_fails_denies() {
    fn broken(_: &Call<'_>) -> Verdict {
        panic!("a broken hook")
    }
    let failing = |_: &Call<'_>| Err::<Verdict, _>("no answer");
    for hook in [Hook::new("broken", broken), Hook::new("failing", failing)] {
        let name = format!("hook.{}", hook.name());
        let (builder, told) = agent(call_and_answer("read_note", json!({})));
        let builder = builder.tool(read_note()).hook(hook);
        builder.build().unwrap().run("Read").await.unwrap();
        assert!(told.results()[0].0.contains(&name), "{:?}", told.results());
    }
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Nothing {}

fn read_note() -> Tool {
    Tool::new("read_note", "Reads the note.", |_: Nothing| async { Ok::<_, String>("x") }).reads()
}

#[tokio::test]
async fn a_hook_asks_where_policy_allows() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let (builder, told) = agent(call_and_answer("read_note", json!({})));
    let ask = |_: &Call<'_>| Verdict::Ask("somebody looks first".to_owned());
    let builder = builder.tool(read_note()).hook(Hook::new("look", ask).on("read_note"));
    let agent = builder
        .approver(move |ask| {
            count.fetch_add(1, Ordering::SeqCst);
            assert_eq!(ask.why[0].reason, "somebody looks first");
            async { Answer::approve() }
        })
        .build()
        .unwrap();
    let outcome = agent.run("Read").await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(told.results()[0], ("x".to_owned(), false));
    let is_asked = outcome.records.iter().any(|r| matches!(r.event.body, Body::Asked { .. }));
    assert!(is_asked);
    agent.replay(&outcome.records).await.unwrap();
}

#[tokio::test]
async fn what_untrusted_text_led_to_asks_a_person_whatever_policy_says() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let lines = vec![
        Line::call("1", "read_note", json!({})),
        Line::call("2", "look", json!({ "result": "r1" })),
        Line::call("3", "set_flag", json!({})),
        Line::text("Finished."),
    ];
    let (builder, _) = agent(lines);
    let flag = Tool::new("set_flag", "Sets the flag.", |_: Nothing| async { Ok::<_, String>(()) });
    let unset = Tool::new("unset_flag", "Unsets it.", |_: Nothing| async { Ok::<_, String>(()) });
    let builder = builder
        .tool(read_note())
        .tool(flag.stays_inside().taken_back_by("unset_flag", &[]))
        .tool(unset.stays_inside())
        .policy(
            "@id(\"all\") permit (principal, action, resource) unless { action in Action::\"egress\" };",
        )
        .approver(move |ask| {
            seen.lock().unwrap().push((ask.tool, ask.untrusted));
            async { Answer::deny("no") }
        });
    builder.build().unwrap().run("Do it").await.unwrap();
    assert_eq!(*asked.lock().unwrap(), [("set_flag".to_owned(), true)]);
}
