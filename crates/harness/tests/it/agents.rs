//! Model-driven agents, end to end: a scripted model over real HTTP, the demo companies, the built binary.

mod bench;
mod checks;
mod context;
mod drafter;
mod everything;
mod flags;
mod large;
pub(crate) mod model;
mod quarantine;
mod same;
mod streams;
mod watched;

use std::{fs, process::Stdio};

use serde_json::{Value, json};

use crate::support::{Office, Serving, id_of};
use model::{Model, Says};

const CLEARED: &str = "clearance = \"confidential\"\n";

/// An office whose agents think with this model.
pub(crate) fn office(model: &Model) -> Office {
    office_with(&[("scripted", model, CLEARED)], "")
}

/// An office with these providers, all behind the role `main` in this order.
pub(crate) fn office_with(providers: &[(&str, &Model, &str)], role: &str) -> Office {
    let office = Office::open();
    furnish(&office, providers, role);
    office
}

/// Lets the agents of an office think with this model.
pub(crate) fn think_with(office: &Office, model: &Model) {
    furnish(office, &[("scripted", model, CLEARED)], "");
}

fn furnish(office: &Office, providers: &[(&str, &Model, &str)], role: &str) {
    let mut config = fs::read_to_string(office.config()).unwrap();
    let mut names = Vec::new();
    for (name, model, terms) in providers {
        config.push_str(&format!(
            "[providers.{name}]\napi = \"openai\"\nurl = \"{}\"\nmodel = \"scripted-1\"\n\
             streaming = \"off\"\n{terms}",
            model.url
        ));
        names.push(format!("\"{name}\""));
    }
    config.push_str(&format!("[models.main]\nproviders = [{}]\n{role}", names.join(", ")));
    fs::write(office.config(), config).unwrap();
}

/// Submits and waits until the run parks: its id.
fn submit(office: &Office, intent: &str, inputs: &Value) -> String {
    let inputs = inputs.to_string();
    let ran = office.json(&["intent", "submit", intent, "--json", &inputs, "--wait"]);
    assert!([0, 6, 7, 8, 9].contains(&ran.code), "{ran:#?}");
    id_of(&ran.document())
}

fn get(office: &Office, run: &str) -> Value {
    office.json(&["run", "get", run]).exits(0).document()
}

fn tools(request: &Value) -> Vec<&str> {
    let tools = request["tools"].as_array().unwrap().iter();
    tools.map(|tool| tool["function"]["name"].as_str().unwrap()).collect()
}

/// The results told in the `n`-th request, in order.
fn told(model: &Model, n: usize) -> Vec<String> {
    let messages = model.messages(n).into_iter().filter(|message| message["role"] == "tool");
    messages.map(|message| message["content"].as_str().unwrap().to_owned()).collect()
}

fn kinds(office: &Office, run: &str) -> Vec<String> {
    let events = office.json(&["run", "events", run]).exits(0).document();
    let items = events["items"].as_array().unwrap().iter();
    items.map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
}

const ACCOUNT: &str = "ACC-0001";

fn mail() -> Value {
    json!({
        "to": ["ana@example.com"], "subject": "Your renewal", "text": "We would like to go on.",
    })
}

/// C067, C082: an agent reads four systems, and its answer fits its schema and its checks. What its model
/// saw, and which tools it was offered (C070), can be looked at later turn by turn, to the byte (C291, C092),
/// and the run replays without any model (C004). C294: it says what its tokens cost.
#[test]
fn the_account_analyst_reads_four_systems_and_recommends() {
    let account = json!({ "account": ACCOUNT });
    let model = Model::start([
        Says::Calls(vec![
            ("crm_get_account", account.clone()),
            ("crm_list_contracts", account.clone()),
            ("usage_get_usage", json!({ "account": ACCOUNT, "weeks": 4 })),
            ("desk_count_tickets", json!({ "external_ref": ACCOUNT })),
            ("billing_find_customer", account.clone()),
        ]),
        Says::Text("It looks good."),
        Says::Text(
            r#"{"summary": "Healthy.", "recommendation": "renew", "evidence": ["usage is steady"]}"#,
        ),
    ]);
    let price = "price = { currency = \"EUR\", input = \"1000\", output = \"0\" }\n";
    let office = office_with(&[("scripted", &model, &format!("{CLEARED}{price}"))], "");
    let run = submit(&office, "account_analysis", &account);
    let detail = get(&office, &run);
    assert_eq!(detail["run"]["status"], "succeeded", "{detail:#}");
    assert_eq!(detail["output"]["recommendation"], "renew", "{detail:#}");
    let agent = &detail["agents"][0];
    assert_eq!(
        (&agent["stopped"], &agent["turns"], &agent["calls"]),
        (&json!("done"), &json!(3), &json!(5))
    );
    assert_eq!(agent["tokens_read"], 300);
    assert_eq!(agent["costs"], json!(["EUR 0.30"]), "{agent}");
    let heard = model.heard();
    assert_eq!(heard.len(), 3);
    assert_eq!(tools(&heard[0]).len(), 7, "six of its own and `look`");
    assert_eq!(told(&model, 2).len(), 5, "every call is answered");
    let last = model.messages(3).pop().unwrap();
    assert!(last["content"].as_str().unwrap().contains("must be JSON"), "{last}");

    let context = office.json(&["run", "context", &run]).exits(0).document();
    assert_eq!(context["calls"].as_array().unwrap().len(), 3, "{context:#}");
    let exact = ["run", "context", &run, "--turn", "2", "--request"];
    let second = office.json(&exact).exits(0).document();
    let call = &second["calls"][0];
    let sources: Vec<&str> =
        call["seen"].as_array().unwrap().iter().map(|s| s["source"].as_str().unwrap()).collect();
    assert_eq!(sources[..3], ["system", "policy", "user"], "{call:#}");
    assert_eq!(sources.iter().filter(|source| **source == "tool").count(), 5);
    let request: Value = serde_json::from_str(call["request"].as_str().unwrap()).unwrap();
    assert_eq!(request, heard[1], "built from the journal: what was sent");
    check_ledger(&office, &run, call);

    let replay = office.json(&["run", "replay", &run]).exits(0).document();
    assert_eq!(replay["identical"], true, "{replay:#}");
    assert_eq!(model.heard().len(), 3, "a replay asks nobody");
}

/// C234: each of the seven sources with what it took beside its budget, and the whole; in words, too.
fn check_ledger(office: &Office, run: &str, call: &Value) {
    let ledger = call["ledger"].as_array().unwrap();
    let named: Vec<&str> = ledger.iter().map(|line| line["source"].as_str().unwrap()).collect();
    let seven = ["system", "policy", "guide", "memory", "history", "tool", "state"];
    assert_eq!((&named[..7], named[7], *named.last().unwrap()), (&seven[..], "user", "whole"));
    let line = |source: &str| ledger.iter().find(|line| line["source"] == source).unwrap();
    let bytes = |source: &str| -> u64 {
        let pieces =
            call["seen"].as_array().unwrap().iter().filter(|seen| seen["source"] == source);
        pieces.map(|seen| seen["text"].as_str().unwrap().len() as u64).sum()
    };
    for source in ["system", "policy", "user"] {
        assert_eq!(line(source)["bytes"], bytes(source), "{source}");
    }
    let tool = line("tool");
    assert_eq!(
        (&tool["pieces"], &tool["each"], &tool["budget"]),
        (&json!(5), &json!(true), &json!(5_462))
    );
    assert_eq!(line("system")["budget"], 10_923);
    assert_eq!((&line("memory")["tokens"], &line("memory")["budget"]), (&json!(0), &json!(0)));
    assert_eq!(line("history")["budget"], 75_000);
    assert_eq!(line("whole")["budget"], 100_000);
    let sum: u64 = ledger.iter().rev().skip(1).map(|line| line["bytes"].as_u64().unwrap()).sum();
    assert_eq!(line("whole")["bytes"], sum);
    let told = office.run(&["run", "context", run, "--turn", "2"]).exits(0).stdout;
    assert!(told.contains("of 5462 each, the largest"), "{told}");
    assert!(told.contains("of the whole"), "{told}");
}

/// C345: billing is down, and the model recommends to renew all the same: the answer says what it is without.
#[test]
fn a_recommendation_without_billing_says_so() {
    let account = json!({ "account": ACCOUNT });
    let model = Model::start([
        Says::Calls(vec![
            ("crm_get_account", account.clone()),
            ("billing_find_customer", account.clone()),
        ]),
        Says::Text(
            r#"{"summary": "Healthy.", "recommendation": "renew", "evidence": ["the CRM says so"]}"#,
        ),
    ]);
    let office = office(&model);
    office.world.fault(&json!({
        "system": "billing", "operation": "billing.find_customer", "kind": "5xx", "phase": "before",
    }));
    let run = submit(&office, "account_analysis", &account);
    let detail = get(&office, &run);
    assert_eq!(detail["run"]["status"], "partial", "{detail:#}");
    assert_eq!(detail["output"]["recommendation"], "renew", "{detail:#}");
    let caveats = detail["caveats"].to_string();
    assert!(caveats.contains("`billing_find_customer` failed (unavailable)"), "{detail:#}");
    assert!(!caveats.contains("crm_get_account"), "{detail:#}");
    let replay = office.json(&["run", "replay", &run]).exits(0).document();
    assert_eq!(replay["identical"], true, "{replay:#}");
}

/// The mail waits for a person, leaves once, and is receipted; the answer claims what a receipt shows.
#[test]
fn a_mail_of_an_agent_waits_for_a_person() {
    let model = Model::start([
        Says::Calls(vec![("load_skill", json!({ "name": "renewal-mail" }))]),
        Says::Calls(vec![("crm_get_contract_terms", json!({ "contract": "CTR-0001" }))]),
        Says::Calls(vec![("mail_send", mail())]),
        Says::Text("I have sent the renewal mail to Ana."),
    ]);
    let office = office(&model);
    let run =
        submit(&office, "renewal_mail", &json!({ "account": ACCOUNT, "contract": "CTR-0001" }));
    assert_eq!(get(&office, &run)["run"]["status"], "asking");
    assert!(told(&model, 2)[0].contains("At most 120 words"), "the skill was loaded");
    assert!(office.world.mails().is_empty());
    let approved = office.approve(&run).exits(0).document();
    assert_eq!(approved["status"], "succeeded", "{approved:#}");
    assert_eq!(office.world.mails().len(), 1);
    let detail = get(&office, &run);
    assert_eq!(detail["agents"][0]["claims_unproven"], 0, "{detail:#}");
    assert_eq!(detail["caveats"], json!([]));
    office.json(&["receipt", "verify", &run]).exits(0);
    office.json(&["run", "replay", &run]).exits(0);
    office.world.performed_nothing_twice();
}

/// C211: a halt of an agent reaches what it does as a step of a run that another agent proposes.
#[test]
fn a_halt_of_an_agent_holds_its_step_in_another_agents_run() {
    let model = Model::start([
        Says::Calls(vec![("mail_send", mail())]),
        Says::Text("I have sent the renewal mail to Ana."),
    ]);
    let office = office(&model);
    let intent = office.path("packs/customer-ops/intents/renewal_mail.yaml");
    let text = fs::read_to_string(&intent).unwrap();
    fs::write(&intent, text.replace("agent: agent:email-drafter", "agent: agent:renewals"))
        .unwrap();
    let inputs = json!({ "account": ACCOUNT, "contract": "CTR-0001" });
    let run = submit(&office, "renewal_mail", &inputs);
    let asking = get(&office, &run);
    assert_eq!(
        (&asking["run"]["status"], &asking["run"]["agent"]),
        (&json!("asking"), &json!("agent:renewals"),)
    );
    let halt = office.json(&["halt", "--agent", "agent:email-drafter"]).exits(0).document();
    assert_eq!(office.approve(&run).exits(0).document()["status"], "halted");
    assert!(office.world.mails().is_empty());
    // Another run comes as far as its step, and what could not even begin is not begun: not a word reaches its model.
    let inputs = inputs.to_string();
    let submit = ["intent", "submit", "renewal_mail", "--json", &inputs];
    let held = office.json(&submit).exits(0).document();
    assert_eq!(held["run"]["status"], "halted", "{held:#}");
    let task = ["run", "Write to Ana now", "--agent", "email-drafter", "--write"];
    assert_eq!(office.json(&task).exits(75).problem()["code"], "halted");
    assert_eq!(model.heard().len(), 1);
    let halt = halt["id"].as_str().unwrap();
    office.json(&["halt", "lift", halt]).exits(0);
    let done = office.json(&["run", "resume", &run]).exits(0).document();
    assert_eq!(done["status"], "succeeded", "{done:#}");
    assert_eq!(office.world.mails().len(), 1);
}

/// An agent from the command line reads; with `--write` it may propose, and policy decides (C105).
#[test]
fn a_task_in_words_is_read_only_unless_told_otherwise() {
    let model = Model::start([
        Says::Calls(vec![
            ("crm_get_account", json!({ "account": ACCOUNT })),
            ("mail_send", mail()),
        ]),
        Says::Text("I looked the account up."),
        Says::Calls(vec![("mail_send", mail())]),
        Says::Text("It waits for an approval."),
    ]);
    let office = office(&model);
    let ran = office.json(&["run", "Look up ACC-0001 and tell me about it"]).exits(0).document();
    assert_eq!(ran["output"], "I looked the account up.", "{ran:#}");
    assert_eq!(ran["receipts"].as_array().unwrap().len(), 2, "the read, and the close: {ran:#}");
    let heard = model.heard();
    assert!(tools(&heard[0]).contains(&"crm_get_account"));
    assert!(!tools(&heard[0]).contains(&"mail_send"), "{:?}", tools(&heard[0]));
    assert!(told(&model, 2)[1].contains("there is no tool `mail_send`"), "{:?}", told(&model, 2));

    let writing = ["run", "start", "Write to Ana at once", "--write"];
    let ran = office.json(&writing).exits(7).document();
    assert_eq!(ran["run"]["status"], "asking", "{ran:#}");
    assert!(office.world.mails().is_empty());
    // A lone word is a verb with a typo far more often than a task.
    let typo = office.json(&["run", "lits"]).exits(2).problem();
    assert!(typo["detail"].as_str().unwrap().contains("did you mean `list`"), "{typo:#}");
    let unknown = office.json(&["run", "Do it now", "--agent", "nobody"]).exits(3).problem();
    assert!(unknown["next"].as_str().unwrap().contains("account-analyst"), "{unknown:#}");
    let role = office.json(&["run", "Do it now", "--model", "huge"]).exits(2).problem();
    assert!(role["detail"].as_str().unwrap().contains("no model is configured"), "{role:#}");
}

/// What is more confidential than a provider is cleared for does not reach it; the run says why.
#[test]
fn what_is_above_a_providers_clearance_does_not_go_there() {
    let model = Model::start([Says::Text("I should never have seen this.")]);
    let office = office_with(&[("scripted", &model, "clearance = \"public\"\n")], "");
    let run = submit(&office, "account_analysis", &json!({ "account": ACCOUNT }));
    let detail = get(&office, &run);
    assert_eq!(detail["run"]["status"], "failed", "{detail:#}");
    assert_eq!(detail["agents"][0]["stopped"], "policy_denied", "{detail:#}");
    assert!(model.heard().is_empty());
}

/// A policy that says no to the model stops the agent before anything is said (C118).
#[test]
fn a_policy_may_deny_the_model_itself() {
    let model = Model::start([Says::Text("hello")]);
    let office = office(&model);
    fs::write(
        office.path("operator.cedar"),
        "@id(\"all\") @reason(\"All.\") permit (principal, action, resource);\n\
         @id(\"no-models\") @reason(\"No model sees this.\")\n\
         forbid (principal, action == Action::\"model.main\", resource);\n",
    )
    .unwrap();
    let run = submit(&office, "account_analysis", &json!({ "account": ACCOUNT }));
    let detail = get(&office, &run);
    assert_eq!(detail["agents"][0]["stopped"], "policy_denied", "{detail:#}");
    assert!(model.heard().is_empty());
}

/// C094: what a provider would do on its own side is judged before a request is built: under a policy that forbids
/// it nothing leaves, and the same policy has nothing against a provider without such tools.
#[test]
fn tools_that_a_provider_runs_itself_are_judged_before_anything_is_asked() {
    let rules = "@id(\"all\") @reason(\"All.\") permit (principal, action, resource);\n\
                 @id(\"own-side\") @reason(\"No searching on the other side.\")\n\
                 forbid (principal, action in Action::\"provided_tools\", resource);\n";
    let searching = format!("{CLEARED}provided_tools = [{{ type = \"web_search\" }}]\n");
    for (terms, asked, code) in [(CLEARED, 1, 0), (&*searching, 0, 6)] {
        let model = Model::start([Says::Text("Here I am.")]);
        let office = office_with(&[("scripted", &model, terms)], "");
        fs::write(office.path("operator.cedar"), rules).unwrap();
        let ran = office.json(&["run", "Say something nice"]).exits(code).document();
        assert_eq!(model.heard().len(), asked, "{ran:#}");
        if code != 0 {
            assert_eq!(ran["agents"][0]["stopped"], "policy_denied", "{ran:#}");
        }
    }
}

/// The model is judged once for what it is shown, not at every turn.
#[test]
fn a_model_is_judged_when_what_it_sees_changes() {
    let read = |n: usize| {
        Says::Calls(vec![("usage_get_usage", json!({ "account": ACCOUNT, "weeks": n }))])
    };
    let model = Model::start([read(4), read(5), read(6), read(7), Says::Text("Done reading.")]);
    let office = office(&model);
    let ran = office.json(&["run", "Read the usage of ACC-0001"]).exits(0).document();
    let run = ran["run"]["id"].as_str().unwrap();
    let all = kinds(&office, run);
    let count = |kind: &str| all.iter().filter(|k| *k == kind).count();
    // Four reads, and twice for the model: before it saw anything of the company, and after.
    assert_eq!((count("judged"), count("receipted")), (6, 4), "{all:?}");
    assert_eq!(model.heard().len(), 5);
    // The verdict that stands is told with each call all the same, and where it was given.
    let detail = get(&office, run);
    let actions = detail["actions"].as_array().unwrap();
    assert!(actions.iter().all(|action| action["verdict"] == "allow"), "{detail:#}");
    let asked: Vec<&Value> =
        actions.iter().filter(|action| action["operation"] == "model.main").collect();
    let with: Vec<&Value> = asked.iter().map(|action| &action["judged_with"]).collect();
    let second = &asked[1]["action"];
    assert_eq!(with, [&Value::Null, &Value::Null, second, second, second], "{detail:#}");
}

/// A model that says that it did what it did not do is caught.
#[test]
fn a_liar_is_flagged() {
    let model = Model::start([Says::Text("I have refunded the customer and sent the mail.")]);
    let office = office(&model);
    let ran = office.json(&["run", "Refund the customer please"]).exits(0).document();
    assert_eq!(ran["run"]["status"], "partial", "{ran:#}");
    assert_eq!(ran["agents"][0]["claims_unproven"], 2, "{ran:#}");
    assert!(ran["caveats"][0].as_str().unwrap().contains("no receipt shows"), "{ran:#}");
    assert!(office.writes().is_empty());
}

/// A model that asks for everything, whatever it was told, gets nothing beyond its grants, and stops (C100).
#[test]
fn a_model_that_wants_everything_gets_what_it_was_granted() {
    let wish = || {
        Says::Calls(vec![
            ("billing_create_refund", json!({ "invoice": "INV-1" })),
            ("shell", json!({ "command": "rm -rf /" })),
            ("crm_update_contract", json!({ "contract": "CTR-0001" })),
        ])
    };
    let model = Model::start([wish(), wish(), wish(), wish(), wish()]);
    let office = office(&model);
    let run = submit(&office, "account_analysis", &json!({ "account": ACCOUNT }));
    let detail = get(&office, &run);
    assert_eq!(detail["run"]["status"], "failed", "{detail:#}");
    assert_eq!(detail["agents"][0]["stopped"], "unknown_tool", "{detail:#}");
    assert!(office.writes().is_empty());
    assert!(!kinds(&office, &run).contains(&"receipted".to_owned()));
}

/// The first provider is down: the declared one after it answers, and the journal and the receipt of what it asked for say
/// who (C139).
#[test]
fn a_declared_fallback_answers_and_is_named() {
    let down = Model::start((0..40).map(|_| Says::Fails(503, "{}")));
    let terms = ("crm_get_contract_terms", json!({ "contract": "CTR-0001" }));
    let up = Model::start([Says::Calls(vec![terms]), Says::Text("Here I am.")]);
    let office = office_with(&[("first", &down, CLEARED), ("second", &up, CLEARED)], "");
    let ran = office.json(&["run", "Look up the terms"]).exits(0).document();
    assert_eq!(ran["output"], "Here I am.", "{ran:#}");
    let run = ran["run"]["id"].as_str().unwrap();
    let context = office.json(&["run", "context", run]).exits(0).document();
    assert_eq!(context["calls"][0]["reply"]["provider"], "second", "{context:#}");
    let receipts = office.json(&["receipt", "list", run]).exits(0).document();
    let receipt = receipts["items"][0]["id"].as_str().unwrap();
    let receipt = office.json(&["receipt", "get", receipt]).exits(0).document();
    let predicate = &receipt["statement"]["predicate"];
    assert_eq!(predicate["operation"], "crm.get_contract_terms", "{receipt:#}");
    assert_eq!(predicate["proposer"], "second", "{receipt:#}");
    office.json(&["receipt", "verify", run]).exits(0);

    // A provider that is trusted less is no fallback unless the role says so.
    let (down, weak) = (Model::start((0..50).map(|_| Says::Fails(503, "{}"))), Model::start([]));
    let own = format!("{CLEARED}tier = \"own\"\n");
    let office = office_with(&[("first", &down, &own), ("second", &weak, CLEARED)], "");
    let ran = office.json(&["run", "Say something nice"]).exits(8).document();
    assert_eq!(ran["agents"][0]["stopped"], "model_failed", "{ran:#}");
    assert!(weak.heard().is_empty());
}

/// Cancel ends a run whose model never answers (C077): nobody waits for the model, which has ten minutes, and the
/// connection to it is closed, so that nothing more is billed.
#[test]
fn cancel_does_not_wait_for_a_model() {
    let model = Model::start([Says::Hangs]);
    let office = office_with(&[("scripted", &model, CLEARED)], "timeout_ms = 600000\n");
    let served = Serving::start(&office);
    let inputs = json!({ "account": ACCOUNT }).to_string();
    let submit = ["intent", "submit", "account_analysis", "--json", &inputs];
    let mut waiting = office.command(&submit).stdout(Stdio::null()).spawn().unwrap();
    while model.heard().is_empty() {
        std::thread::yield_now();
    }
    let listed = office.json(&["run", "list"]).exits(0).document();
    let run = id_of(&listed["items"][0]);
    let cancelled = office.json(&["run", "cancel", &run]).exits(0).document();
    assert_eq!(cancelled["status"], "cancelled", "{cancelled:#}");
    assert!(waiting.wait().unwrap().success(), "whoever waited hears of it");
    while model.hung_up() == 0 {
        std::thread::yield_now();
    }
    // The call was given up, not waited for: the cancel precedes whatever stands of how it ended, which is no timeout.
    let events = office.json(&["run", "events", &run]).exits(0).document();
    let all = events["items"].as_array().unwrap();
    let at = |kind: &str| all.iter().position(|event| event["kind"] == kind);
    let (asked, cancelled) = (at("dispatched").unwrap(), at("cancelled").unwrap());
    assert!(asked < cancelled, "{events:#}");
    assert!(at("returned").is_none_or(|returned| returned > cancelled), "{events:#}");
    assert!(!events.to_string().contains("\"timeout\""), "{events:#}");
    assert_eq!((model.heard().len(), model.hung_up()), (1, 1));
    drop(served);
}

/// What a person says on the way lands at the next boundary.
#[test]
fn a_person_may_tell_an_agent_something_on_the_way() {
    let model = Model::start([Says::Calls(vec![("mail_send", mail())]), Says::Text("Understood.")]);
    let office = office(&model);
    let ran = office.json(&["run", "Write to Ana now", "--write"]).exits(7).document();
    let run = ran["run"]["id"].as_str().unwrap();
    office.json(&["run", "tell", run, "Only write in German."]).exits(0);
    let (approval, _) = office.card(run);
    let deny = ["approval", "deny", &approval, "--reason", "not now"];
    office.json_as("mira", &deny).exits(0);
    let messages = model.messages(2);
    let last = messages.last().unwrap();
    assert_eq!(
        (&last["role"], &last["content"]),
        (&json!("user"), &json!("Only write in German."))
    );
    assert!(told(&model, 2)[0].contains("a person said no"), "{messages:#?}");
    let detail = get(&office, run);
    assert_eq!(detail["output"], "Understood.", "{detail:#}");
    office.json(&["run", "replay", run]).exits(0);
}

/// Killed while its model thinks, and again and again: no effect happens twice, and what the model has
/// said is never asked again (C072, C081).
#[test]
fn an_agent_that_is_killed_goes_on_where_it_was() {
    let model = Model::start([
        Says::Calls(vec![("crm_get_account", json!({ "account": ACCOUNT }))]),
        Says::Hangs,
        Says::Calls(vec![("mail_send", mail())]),
        Says::Hangs,
        Says::Text("I sent the mail."),
    ]);
    let office = office(&model);
    let start = ["run", "Write to Ana now", "--write", "--idempotency-key", "k", "-o", "json"];
    let killed_at = |heard: usize, args: &[&str]| {
        let mut child =
            office.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while model.heard().len() < heard {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    };
    killed_at(2, &start);
    let run = office.json(&["run", "list"]).exits(0).document()["items"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    office.json(&["run", "resume", &run]).exits(7);
    let (approval, digest) = office.card(&run);
    let approve = ["--as", "mira", "approval", "approve", &approval, "--digest", &digest];
    killed_at(4, &approve);
    let ended = office.json(&["run", "resume", &run]).exits(0).document();
    assert_eq!(ended["status"], "succeeded", "{ended:#}");
    // Five answers were wanted, two of them twice because the first time nobody heard them.
    assert_eq!(model.heard().len(), 5);
    assert_eq!(office.world.mails().len(), 1);
    office.world.performed_nothing_twice();
    office.json(&["run", "replay", &run]).exits(0);
}

/// C095: a dry run makes its reads and none of its changes: each walks the gate, is shown, and asks nobody. The model is
/// told, and is not taken for one that is refused.
#[test]
fn a_dry_run_reads_and_changes_nothing() {
    let model = Model::start([
        Says::Calls(vec![
            ("crm_get_account", json!({ "account": ACCOUNT })),
            ("mail_send", mail()),
            ("mail_send", json!({ "to": "nobody" })),
        ]),
        Says::Text("I would write to Ana."),
        Says::Text("I wrote nothing."),
    ]);
    let office = office(&model);
    let words = ["run", "Write to Ana now", "--idempotency-key", "k"];
    let ran = office.json(&[&words[..], &["--dry-run"]].concat()).exits(0).document();
    assert_eq!(
        (&ran["mode"], &ran["output"]),
        (&json!("preview"), &json!("I would write to Ana."))
    );
    let told = told(&model, 2);
    assert!(told[1].contains("only shows what would be done"), "{told:#?}");
    assert!(told[1].contains("a person would be asked first"), "{told:#?}");
    assert!(told[2].contains("do not fit"), "what is wrong is wrong in a dry run, too: {told:#?}");
    let outcome = |operation: &str| {
        let actions = ran["actions"].as_array().unwrap().iter();
        let found = actions.filter(|action| action["operation"] == operation);
        found.map(|action| action["outcome"].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(outcome("crm.get_account"), ["done"]);
    assert_eq!(outcome("mail.send"), ["rejected:previewed"]);
    assert!(office.world.mails().is_empty());
    let asks = office.json(&["approval", "list"]).exits(0).document();
    assert_eq!(asks["items"], json!([]));
    let run = ran["run"]["id"].as_str().unwrap();
    assert_eq!(office.json(&["run", "replay", run]).exits(0).document()["identical"], true);
    let earnest = [&words[..], &["--write"]].concat();
    assert_eq!(office.json(&earnest).exits(5).problem()["code"], "idempotency-key-reused");
}

/// C294: calls that fail are tried again and cost nothing; what the others cost is the bill, to the cent, in the run's
/// sum as in the journal's rows.
#[test]
fn usage_and_cost_are_the_bill_with_failed_and_repeated_calls() {
    let model = Model::start([
        Says::Fails(503, "{\"error\": {\"message\": \"busy\"}}"),
        Says::Calls(vec![("crm_get_account", json!({ "account": ACCOUNT }))]),
        Says::Fails(503, "{\"error\": {\"message\": \"busy\"}}"),
        Says::Fails(503, "{\"error\": {\"message\": \"busy\"}}"),
        Says::Text("It is a customer."),
    ]);
    let price = "price = { currency = \"EUR\", input = \"1000\", output = \"2000\" }\n";
    let office = office_with(&[("scripted", &model, &format!("{CLEARED}{price}"))], "");
    let ran = office.json(&["run", "Look ACC-0001 up"]).exits(0).document();
    assert_eq!(ran["output"], "It is a customer.", "{ran:#}");
    let agent = &ran["agents"][0];
    // By hand: two answers of 100 tokens read and 10 written, at 1000 and 2000 a million: 0.12 each.
    assert_eq!((&agent["tokens_read"], &agent["tokens_written"]), (&json!(200), &json!(20)));
    assert_eq!(agent["costs"], json!(["EUR 0.24"]));
    let run = ran["run"]["id"].as_str().unwrap();
    let events = office.json(&["run", "events", run]).exits(0).document();
    let asked: Vec<&Value> = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|e| e["kind"] == "proposed" && e["body"]["operation"] == "model.main")
        .map(|e| &e["seq"])
        .collect();
    assert_eq!((asked.len(), model.heard().len()), (5, 5), "each try is a row of its own");
    let rows: Vec<&Value> = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|e| e["kind"] == "returned" && asked.contains(&&e["body"]["action"]))
        .map(|e| &e["body"]["ended"])
        .collect();
    let costs: Vec<i64> = rows.iter().filter_map(|row| row["cost"]["minor"].as_i64()).collect();
    assert_eq!((rows.len(), costs), (5, vec![12, 12]), "{rows:#?}");
    assert_eq!(rows.iter().filter(|row| row["outcome"] == "failed").count(), 3);
}

/// Doctor says who answers for which role, and who is left alone.
#[test]
fn doctor_knows_the_models() {
    let model = Model::start([]);
    let office = office(&model);
    let doctor = office.json(&["doctor"]).exits(0).document();
    let checks = doctor["checks"].as_array().unwrap();
    let models = checks.iter().find(|check| check["id"] == "models").unwrap();
    assert_eq!(models["result"], "ok", "{models:#}");
    assert!(models["found"].as_str().unwrap().starts_with("scripted for main"), "{models:#}");
}

/// The configuration that the documentation shows is one.
#[test]
fn the_documented_configuration_loads() {
    let page = fs::read_to_string(crate::support::root().join("docs/agents.md")).unwrap();
    let text = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let office = Office::open();
    let config = fs::read_to_string(office.config()).unwrap();
    let (models, secrets) = text.split_once("[secrets]\n").unwrap();
    fs::write(office.config(), format!("{config}{secrets}{models}")).unwrap();
    let shown = office.json(&["config", "show"]).exits(0).stdout;
    assert!(shown.contains("providers.cloud") && shown.contains("models.main"), "{shown}");
    let command = office
        .command(&["doctor", "-o", "json"])
        .env("CLOUD_KEY", "a-key-that-is-long-enough")
        .output()
        .unwrap();
    assert!(command.status.success(), "{command:?}");
}
