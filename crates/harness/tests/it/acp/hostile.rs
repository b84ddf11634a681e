//! An agent that does not behave: contained, and said by its name.

use serde_json::json;

use super::{Shop, class, said};

/// C126: what an agent does badly is a failure of its call, of a class that says what it was.
#[test]
fn an_agent_that_does_not_behave_fails_its_call_and_nothing_else() {
    let shop = Shop::of("");
    if !shop.is_held() {
        return;
    }
    for (text, failed, told) in [
        ("die", "unavailable", "my model is on fire"),
        ("flood", "unexpected_shape", "it sent more than 67108864 bytes"),
        ("endless", "unexpected_shape", "bytes in one line"),
        ("say I would rather not.\nrefuse", "permission", "(refusal): I would rather not."),
        ("tire", "unavailable", "without being through (max_tokens)"),
        ("stranger read a.txt\ndie", "unavailable", "my model is on fire"),
    ] {
        let run = shop.ask("look", text);
        assert_eq!(run["run"]["status"], "failed", "{text}: {run:#}");
        assert_eq!(class(&run), failed, "{text}: {run:#}");
        assert!(said(&run).contains(told), "{text}: {}", said(&run));
        // Another session's use is nobody's to permit, and nobody was asked.
        assert!(shop.judged(run["run"]["id"].as_str().unwrap()).is_empty(), "{run:#}");
    }
    // Where the file says that a turn may end unfinished, why it ended is the answer.
    assert_eq!(shop.ask("anyhow", "tire")["output"], json!("max_tokens"));
    // The end of one is the end of one.
    assert_eq!(shop.ask("look", "say Still here.")["output"]["text"], "Still here.");
}

/// One that never gets to its prompt has done nothing; one that is late after it may have.
#[test]
fn an_agent_that_is_late_is_told_to_stop() {
    let shop = Shop::of("");
    if !shop.is_held() {
        return;
    }
    let late = shop.ask("soon", "hang");
    assert_eq!(class(&late), "timeout", "{late:#}");
    assert!(said(&late).contains("it was told to stop, and did"), "{late:#}");
    assert!(shop.did("stopped"));
    let deaf = shop.ask("soon", "hang deaf");
    assert_eq!(class(&deaf), "timeout", "{deaf:#}");
    for (how, failed, told) in [
        ("login", "permission", "it wants somebody to log in to it first (With a key)"),
        ("silent", "timeout", "no complete answer within 3000 ms"),
        ("old", "unavailable", "version 7"),
    ] {
        let shop = Shop::of(how);
        let run = shop.ask("soon", "say x");
        assert_eq!((&*class(&run), &run["run"]["status"]), (failed, &json!("failed")), "{run:#}");
        assert!(said(&run).contains(told), "{how}: {}", said(&run));
    }
}

/// Whether an agent that was prompted and never answered did anything, nobody knows: a write is in doubt, and what it was
/// permitted and never told of is, too.
#[test]
fn what_nobody_knows_is_in_doubt() {
    let shop = Shop::of("");
    if !shop.is_held() {
        return;
    }
    let shop = shop.served();
    let run = shop.begin("act", "use-and-forget edit a.txt\ndie");
    shop.once(&run, "asking");
    shop.answer("mira", "approve", &run);
    let asks = shop.judged_once(&run, "asking");
    shop.answer("mira", "approve", &asks);
    let doubted = shop.once(&run, "needs_person");
    assert!(shop.did("a.txt"));
    assert!(said(&doubted).contains("my model is on fire"), "{doubted:#}");
    let own = shop.once(&asks, "needs_person");
    assert!(said(&own).contains("never said what came of it"), "{own:#}");
}

/// An agent that never was prompted did nothing, also where its call would be a write.
#[test]
fn what_was_never_prompted_did_nothing() {
    let shop = Shop::of("login");
    if !shop.is_held() {
        return;
    }
    let shop = shop.served();
    let run = shop.begin("act", "use edit a.txt");
    shop.once(&run, "asking");
    shop.answer("mira", "approve", &run);
    let failed = shop.once(&run, "failed");
    assert_eq!(class(&failed), "permission", "{failed:#}");
    assert!(!shop.did("a.txt"));
}
