//! Roles behind the kernel's port: fallback, trust, clearance, prices, gauges.

use std::sync::{Arc, Mutex};

use kernel::{
    conversation::Reply,
    exception::{Class, Landed},
    label::{Confidentiality, Label, Trust},
    money::Currency,
    operation::{Operation, Rate},
    port::{Connector, Outcome},
};
use models::{
    ApiKind, Breaker, Client, Contents, Error, Http, Key, Line, Models, Price, Purpose, Role,
    ScriptedModel, Streaming, Terms, Tier, Weaker, clock::Clock, clock::SystemClock,
};
use serde_json::{Value, json};

use crate::{
    server::{Answer, Ending, Server},
    talk::{Session, opening, prompt, provider, result, user},
    wires::fixture,
};

/// Time that only moves when it is told to.
#[derive(Debug)]
struct Held(Mutex<u64>);

impl Held {
    fn at(ms: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(ms)))
    }

    fn advance(&self, ms: u64) {
        *self.0.lock().unwrap() += ms;
    }
}

impl Clock for Held {
    fn boot_ms(&self) -> u64 {
        *self.0.lock().unwrap()
    }

    fn now_ms(&self) -> i64 {
        1_795_165_200_000
    }
}

type Failing = Box<dyn Fn(usize) -> Option<Error> + Send + Sync>;

fn scripted(name: &str, fails: Failing) -> Arc<ScriptedModel> {
    let text = format!("I am {name}");
    Arc::new(ScriptedModel::new(name, move |n, _| match fails(n) {
        Some(error) => Err(error),
        None => Ok(Line::text(&text)),
    }))
}

fn well(name: &str) -> Arc<ScriptedModel> {
    scripted(name, Box::new(|_| None))
}

fn ill(name: &str, error: Error) -> Arc<ScriptedModel> {
    scripted(name, Box::new(move |_| Some(error.clone())))
}

fn down() -> Error {
    Error::Unavailable { message: "down".to_owned(), retry_after_ms: None }
}

fn tier(tier: Tier) -> Terms {
    Terms { tier, ..Terms::own() }
}

fn shown(confidentiality: Confidentiality) -> Label {
    Label::new(Trust::Verified, confidentiality)
}

fn operation(models: &Models, id: &str) -> Operation {
    models.operations().into_iter().find(|operation| operation.id.as_str() == id).unwrap()
}

/// Asks the role `main` once, by a permit from a real run.
async fn call(models: &Models, boot_ms: u64, label: Label) -> Outcome {
    let mut operation = operation(models, "model.main");
    // What the kernel would refuse before is let through here: the crate must hold on its own.
    operation.clearance = Label::new(Trust::Untrusted, Confidentiality::Secret);
    let args = serde_json::to_value(opening()).unwrap();
    let mut session = Session::new(&operation, vec![args], label, boot_ms);
    models.call(session.permit()).await
}

fn who(outcome: &Outcome) -> String {
    match outcome {
        Ok(returned) => returned.output["provider"].as_str().unwrap().to_owned(),
        Err(failure) => format!("{}: {}", failure.class.name(), failure.message),
    }
}

fn two(
    first: Arc<ScriptedModel>,
    second: Arc<ScriptedModel>,
    terms: [Terms; 2],
    weaker: Weaker,
) -> Models {
    let [a, b] = terms;
    let role = Role { weaker, ..Role::of(&["a", "b"]) };
    let builder = Models::builder().model(first, a).model(second, b).role("main", role);
    builder.clock(Held::at(1_000)).build().unwrap()
}

#[tokio::test]
async fn a_role_falls_back_where_nobody_answers_and_says_who_did() {
    let internal = || shown(Confidentiality::Internal);
    for error in [
        down(),
        Error::Overloaded { message: String::new(), retry_after_ms: None },
        Error::RateLimit { message: String::new(), retry_after_ms: Some(1) },
        Error::Timeout(String::new()),
        Error::Quota(String::new()),
    ] {
        let models = two(ill("a", error), well("b"), [Terms::own(), Terms::own()], Weaker::Never);
        assert_eq!(who(&call(&models, 1_000, internal()).await), "b");
    }
    for error in [
        Error::Auth(String::new()),
        Error::BadRequest(String::new()),
        Error::ContextTooLong(String::new()),
        Error::ContentFilter(String::new()),
        Error::Garbage(String::new()),
    ] {
        let second = well("b");
        let models =
            two(ill("a", error), Arc::clone(&second), [Terms::own(), Terms::own()], Weaker::Never);
        assert!(call(&models, 1_000, internal()).await.is_err());
        assert_eq!(second.calls(), 0, "what the first said no to is not said to another");
    }
}

#[tokio::test]
async fn a_fallback_never_goes_to_a_weaker_tier_unless_the_role_says_so() {
    let internal = || shown(Confidentiality::Internal);
    for (weaker, expected) in [(Weaker::Never, "unavailable: a: "), (Weaker::Allowed, "b")] {
        let terms = [tier(Tier::Contracted), tier(Tier::Public)];
        let models = two(ill("a", down()), well("b"), terms, weaker);
        let told = who(&call(&models, 1_000, internal()).await);
        assert!(told.starts_with(expected), "{weaker:?}: {told}");
    }
    let terms = [tier(Tier::Contracted), tier(Tier::Own)];
    let models = two(ill("a", down()), well("b"), terms, Weaker::Never);
    assert_eq!(who(&call(&models, 1_000, internal()).await), "b", "up is always allowed");
}

#[tokio::test]
async fn what_is_above_a_providers_clearance_is_not_shown_to_it() {
    let cleared = |clearance| Terms { clearance, ..Terms::own() };
    let terms = || [cleared(Confidentiality::Internal), cleared(Confidentiality::Confidential)];
    let (a, b) = (well("a"), well("b"));
    let models = two(Arc::clone(&a), Arc::clone(&b), terms(), Weaker::Allowed);
    assert_eq!(who(&call(&models, 1_000, shown(Confidentiality::Internal)).await), "a");
    assert_eq!(who(&call(&models, 1_000, shown(Confidentiality::Confidential)).await), "b");
    let told = call(&models, 1_000, shown(Confidentiality::Secret)).await.unwrap_err();
    assert_eq!((told.class, told.landed), (Class::PolicyError, Landed::No));
    assert_eq!((a.calls(), b.calls()), (1, 1));
    let operation = operation(&models, "model.main");
    assert_eq!(operation.clearance.confidentiality, Confidentiality::Confidential);
    assert!(operation.is_model_call() && !operation.is_consequential());
}

#[tokio::test]
async fn nothing_falls_back_once_the_dispatch_window_has_passed() {
    let clock = Held::at(1_000);
    let slow = Arc::clone(&clock);
    let first = scripted(
        "a",
        Box::new(move |_| {
            slow.advance(6_000);
            Some(down())
        }),
    );
    let second = well("b");
    let models = Models::builder()
        .model(first, Terms::own())
        .model(Arc::clone(&second) as _, Terms::own())
        .role("main", Role::of(&["a", "b"]))
        .clock(clock)
        .build()
        .unwrap();
    let told = who(&call(&models, 1_000, shown(Confidentiality::Public)).await);
    assert!(told.starts_with("unavailable: a"), "{told}");
    assert_eq!(second.calls(), 0);
    // The next try of the same effect begins where the last one failed.
    assert_eq!(who(&call(&models, 9_000, shown(Confidentiality::Public)).await), "b");
}

#[tokio::test]
async fn a_provider_that_never_answers_is_left_alone_for_a_while() {
    let clock = Held::at(1_000);
    let first = ill("a", down());
    let breaker = Breaker { open_after: 2, cooldown_ms: 5_000 };
    let models = Models::builder()
        .model(Arc::clone(&first) as _, Terms { breaker, ..Terms::own() })
        .role("main", Role::of(&["a"]))
        .clock(Arc::clone(&clock) as _)
        .build()
        .unwrap();
    for _ in 0..5 {
        call(&models, 1_000, shown(Confidentiality::Public)).await.unwrap_err();
    }
    assert_eq!(first.calls(), 2);
    let failure = call(&models, 1_000, shown(Confidentiality::Public)).await.unwrap_err();
    assert_eq!((failure.class, failure.retry_after_ms), (Class::Unavailable, Some(5_000)));
    let health = &models.status()[0];
    assert_eq!((health.circuit, health.failures_in_a_row, health.failed), ("open", 2, 2));
    assert_eq!(health.last_error, Some("model_unavailable"));
    clock.advance(5_000);
    call(&models, 6_000, shown(Confidentiality::Public)).await.unwrap_err();
    assert_eq!(first.calls(), 3);
}

#[tokio::test]
async fn a_rate_is_kept_and_says_when_to_come_again() {
    let rate = Some(Rate { calls: 2, per_ms: 1_000 });
    let models = Models::builder()
        .model(well("a"), Terms { rate, ..Terms::own() })
        .role("main", Role::of(&["a"]))
        .clock(Held::at(1_000))
        .build()
        .unwrap();
    for _ in 0..2 {
        call(&models, 1_000, shown(Confidentiality::Public)).await.unwrap();
    }
    let failure = call(&models, 1_000, shown(Confidentiality::Public)).await.unwrap_err();
    assert_eq!((failure.class, failure.retry_after_ms), (Class::RateLimit, Some(1_000)));
}

/// C294: tokens and their price make the cost of a call.
#[tokio::test]
async fn calls_cost_what_their_tokens_cost() {
    let eur = Currency::parse("EUR").unwrap();
    let price = Price {
        currency: eur,
        input: "1000".parse().unwrap(),
        cached: None,
        cache_written: None,
        output: "2000".parse().unwrap(),
    };
    let terms = Terms {
        price: Some(price),
        context_tokens_max: Some(1_000),
        output_tokens_max: Some(100),
        ..Terms::own()
    };
    let models =
        Models::builder().model(well("a"), terms).role("main", Role::of(&["a"])).build().unwrap();
    let now = SystemClock.boot_ms();
    let returned = call(&models, now, shown(Confidentiality::Public)).await.unwrap();
    assert_eq!(returned.cost.unwrap().to_string(), "EUR 0.02");
    let most = operation(&models, "model.main").cost_max.unwrap();
    assert_eq!(most.to_string(), "EUR 1.20");
}

#[tokio::test]
async fn a_conversation_through_the_kernel_costs_only_what_is_new() {
    let api = ApiKind::Anthropic;
    let answers = ["calls.json", "plain.json"].map(|name| Answer::of(&fixture(api, name)));
    let server = Server::script(answers.to_vec()).await;
    let configured = models::Provider {
        clearance: Confidentiality::Confidential,
        ..provider(api, &server.url, Streaming::Off)
    };
    let client = Client::new(configured, Key::none(), &Http::default()).unwrap();
    let models = Models::builder().client(client).role("main", Role::of(&["p"])).build().unwrap();
    let operation = operation(&models, "model.main");
    let prompts = [
        opening(),
        prompt(1, vec![result("toolu_a", "add", "3"), result("toolu_b", "look_up", "none")]),
        prompt(2, vec![user("Thanks.")]),
    ];
    let args = prompts.iter().map(|prompt| serde_json::to_value(prompt).unwrap()).collect();
    let label = shown(Confidentiality::Internal);
    let mut session = Session::new(&operation, args, label, SystemClock.boot_ms());
    let mut threads = Vec::new();
    for _ in 0..3 {
        let permit = session.permit();
        let (action, attempt) = (permit.action(), permit.attempt());
        threads.push(Arc::clone(permit.thread().unwrap()));
        let outcome = models.call(permit).await;
        assert!(outcome.is_ok(), "{outcome:?}");
        session.settle(action, attempt, outcome);
    }
    let asked = server.asked();
    let roles = |n: usize| {
        let body = asked[n].json();
        let messages = body["messages"].as_array().unwrap().iter();
        messages.map(|message| message["role"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(roles(2), ["user", "assistant", "user", "assistant", "user"]);
    for (thread, asked) in threads.iter().zip(&asked) {
        let model = models.model("p").unwrap();
        assert_eq!(model.request_bytes(thread, &Contents::default()).unwrap(), asked.body);
    }
    let health = &models.status()[0];
    assert_eq!((health.calls, health.failed, health.circuit), (3, 0, "closed"));
}

#[tokio::test]
async fn a_fallback_tells_the_conversation_its_own_way_and_the_first_takes_it_up_again() {
    let (openai, gemini) = (ApiKind::OpenAi, ApiKind::Gemini);
    let first = Server::script(vec![
        Answer::of(&fixture(openai, "plain.json")),
        Answer::status(503, "{}"),
        Answer::of(&fixture(openai, "plain.json")),
    ])
    .await;
    let second = Server::script(vec![Answer::of(&fixture(gemini, "plain.json"))]).await;
    let named = |name: &str, api, url: &str| {
        let mut configured = provider(api, url, Streaming::Off);
        (configured.name, configured.clearance) = (name.to_owned(), Confidentiality::Internal);
        Client::new(configured, Key::none(), &Http::default()).unwrap()
    };
    let models = Models::builder()
        .client(named("a", openai, &first.url))
        .client(named("b", gemini, &second.url))
        .role("main", Role::of(&["a", "b"]))
        .build()
        .unwrap();
    let operation = operation(&models, "model.main");
    let prompts = [opening(), prompt(1, vec![user("Sure?")]), prompt(2, vec![user("Really?")])];
    let args = prompts.iter().map(|prompt| serde_json::to_value(prompt).unwrap()).collect();
    let label = shown(Confidentiality::Internal);
    let mut session = Session::new(&operation, args, label, SystemClock.boot_ms());
    let mut answered = Vec::new();
    for _ in 0..3 {
        let permit = session.permit();
        let (action, attempt) = (permit.action(), permit.attempt());
        let outcome = models.call(permit).await;
        answered.push(who(&outcome));
        session.settle(action, attempt, outcome);
    }
    assert_eq!(answered, ["a", "b", "a"]);
    let told = second.asked()[0].json();
    assert_eq!(told["contents"][1], json!({"role": "model", "parts": [{"text": "1 + 2 is 3."}]}));
    let told = first.asked()[2].json();
    assert_eq!(told["messages"][4], json!({"role": "assistant", "content": "1 + 2 is 3."}));
}

#[tokio::test]
async fn texts_are_embedded_through_a_role_of_its_own() {
    let role = Role { purpose: Purpose::Embed, ..Role::of(&["a"]) };
    let models =
        Models::builder().model(well("a"), Terms::own()).role("embed", role).build().unwrap();
    let operation = operation(&models, "model.embed");
    for args in [json!({"texts": ["ab", "c"]}), json!({"texts": "ab"})] {
        let label = shown(Confidentiality::Public);
        let mut session = Session::new(&operation, vec![args], label, SystemClock.boot_ms());
        match models.call(session.permit()).await {
            Ok(returned) => assert_eq!(returned.output["vectors"], json!([[2.0, 1.0], [1.0, 1.0]])),
            Err(failure) => assert_eq!(failure.class, Class::InvalidArguments),
        }
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_counts_for_nothing() {
    let hung = Answer::json("{").ending(Ending::Hang);
    let server = Server::script(vec![hung]).await;
    let client = Client::new(
        provider(ApiKind::OpenAi, &server.url, Streaming::Off),
        Key::none(),
        &Http::default(),
    );
    let models =
        Models::builder().client(client.unwrap()).role("main", Role::of(&["p"])).build().unwrap();
    let mut calling =
        Box::pin(call(&models, SystemClock.boot_ms(), shown(Confidentiality::Public)));
    while server.asked().is_empty() {
        tokio::select! {
            _ = &mut calling => panic!("it hangs"),
            () = tokio::task::yield_now() => {}
        }
    }
    drop(calling);
    let health = &models.status()[0];
    assert_eq!((health.calls, health.failed, health.circuit), (0, 0, "closed"));
}

#[test]
fn what_cannot_work_is_refused_when_it_is_put_together() {
    let refused = |builder: models::Builder| builder.build().unwrap_err().to_string();
    let base = || Models::builder().model(well("a"), Terms::own());
    assert!(refused(base().role("main", Role::of(&["b"]))).contains("unknown provider `b`"));
    assert!(refused(base().role("main", Role::of(&[]))).contains("1 to"));
    assert!(refused(base().role("Main Role", Role::of(&["a"]))).contains("name"));
    let endless = Role { timeout_ms: u32::MAX, ..Role::of(&["a"]) };
    assert!(refused(base().role("main", endless)).contains("timeout_ms"));
    let priced = |code: &str| {
        let price: Price =
            serde_json::from_value(json!({"currency": code, "input": "1", "output": "1"})).unwrap();
        Terms { price: Some(price), ..Terms::own() }
    };
    let mixed = Models::builder().model(well("a"), priced("EUR")).model(well("b"), priced("USD"));
    assert!(refused(mixed).contains("currency"));
}

#[test]
fn replies_are_what_the_catalogue_says() {
    let models = Models::builder()
        .model(well("a"), Terms::own())
        .role("main", Role::of(&["a"]))
        .role("judge", Role::of(&["a"]))
        .build()
        .unwrap();
    let ids: Vec<String> = models.operations().iter().map(|op| op.id.to_string()).collect();
    assert_eq!(ids, ["model.judge", "model.main"]);
    let operation = operation(&models, "model.main");
    assert_eq!(operation.labels.whole, Label::bottom(), "the arguments' labels decide");
    assert_eq!(operation.timeout_ms, models::TIMEOUT_DEFAULT_MS);
    let reply: Reply = crate::talk::reply(ApiKind::OpenAi, "{}");
    let reply = serde_json::to_value(reply).unwrap();
    for name in operation.output["required"].as_array().unwrap() {
        assert!(reply.get(name.as_str().unwrap()).is_some(), "{name}");
    }
    let args: Value = serde_json::to_value(opening()).unwrap();
    for name in operation.input["required"].as_array().unwrap() {
        assert!(args.get(name.as_str().unwrap()).is_some(), "{name}");
    }
}

#[test]
fn a_configuration_becomes_providers_and_roles() {
    let settings: models::Settings = serde_json::from_value(json!({
        "providers": {
            "claude": {"api": "anthropic", "url": "https://api.anthropic.com/v1",
                "model": "claude-sonnet-4-5", "clearance": "confidential", "tier": "contracted",
                "price": {"currency": "USD", "input": "3", "cached": "0.30", "output": "15"}},
            "local": {"api": "openai", "url": "http://127.0.0.1:11434/v1", "model": "qwen3",
                "auth": "none", "tier": "own", "clearance": "secret",
                "rate": {"calls": 10, "per_ms": 1000}},
        },
        "roles": {"main": {"providers": ["claude", "local"]},
            "embed": {"providers": ["local"], "purpose": "embed", "timeout_ms": 30_000}},
    }))
    .unwrap();
    let key = |name: &str| match name {
        "claude" => Ok(Key::new("k-0123456789abcdef".to_owned())),
        _ => Ok(Key::none()),
    };
    let models = settings.builder(&Http::default(), key).unwrap().build().unwrap();
    let clearances = models.operations().into_iter().map(|op| op.clearance.confidentiality);
    let secret = Confidentiality::Secret;
    assert_eq!(clearances.collect::<Vec<_>>(), [secret, secret]);
    let back = serde_json::to_value(&settings).unwrap();
    assert_eq!(serde_json::from_value::<models::Settings>(back).unwrap(), settings);

    let refused = |change: fn(&mut models::Provider)| {
        let mut settings = settings.clone();
        change(settings.providers.get_mut("claude").unwrap());
        settings.builder(&Http::default(), key).unwrap_err().to_string()
    };
    assert!(refused(|claude| claude.name = "other".to_owned()).contains("calls itself `other`"));
    assert!(refused(|claude| claude.model.clear()).contains("`model`"));
    let keyless = |_: &str| Err(Error::Config("no such secret".to_owned()));
    let error = settings.builder(&Http::default(), keyless).unwrap_err();
    assert!(error.to_string().contains("no such secret"));
}
