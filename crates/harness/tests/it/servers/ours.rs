//! Our own client at our own server: it is refused, finds out who gives permissions, a person says yes there, and what was
//! granted is good for that server alone.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use serde_json::json;

use super::{Shop, intent, logins::visit};
use crate::{
    api::Api,
    oidc::{Browser, certified::Provider, signing_in},
    support::{Ran, program},
};

/// A pack with one intent: asking the other harness.
fn stock(shop: &Shop) {
    fs::remove_dir_all(shop.path("pack")).unwrap();
    let pack = "schema: harness.pack/v1\nname: tools\nversion: 0.1.0\nowner: tests\ndescription: A server.\n\
                harness: \">=0.1\"\nasks: {operations: [notes.churn_risk_read], secrets: [], egress: []}\n\
                roles: [approver]\nconstants: {}\n";
    let takes = ("account: {type: string}", "account: \"${{ intent.account }}\"");
    let files = intent("churn_risk_read", takes.0, takes.1);
    fs::create_dir_all(shop.path("pack/connectors")).unwrap();
    fs::write(shop.path("pack/pack.yaml"), pack).unwrap();
    for (path, text) in files {
        let path = shop.path("pack").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// `mcp login`, with a browser in which somebody is at the provider.
fn login(shop: &Shop) -> Ran {
    let args = ["-o", "json", "mcp", "login", "notes"];
    let mut command = program(shop.dir.path());
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut asking = command.spawn().unwrap();
    let mut told = String::new();
    let mut errors = BufReader::new(asking.stderr.take().unwrap());
    while errors.read_line(&mut told).unwrap() > 0 {
        let line = told.lines().next_back().unwrap_or_default().trim();
        if line.starts_with("http://") && line.contains("code_challenge") {
            let back = Browser::default().follow(line, |at| at.contains("/callback?"));
            visit(&back);
        }
    }
    let mut output = asking.wait_with_output().unwrap();
    output.stderr = told.into_bytes();
    Ran::of(&args, output)
}

fn declare(shop: &Shop, api: &Api) {
    let system = format!(
        "[systems.notes]\nkind = \"mcp\"\nurl = \"http://{}/mcp\"\noauth = {{}}\n",
        api.host
    );
    shop.configure(&system, "");
}

/// C130, C131: with a certified provider between them: registration, PKCE, the resource in every request, a token that was
/// made for our address, and a call that is the run of a client that acts for the person who said yes. What was granted
/// for one server is worth nothing at another of the same issuer.
#[test]
fn our_own_client_is_let_in_by_a_certified_provider_and_calls_our_own_server() {
    let provider = Provider::start("tokens");
    let api = signing_in(&provider.issuer, "access = {}");
    let shop = Shop::bare(&[]);
    stock(&shop);
    declare(&shop, &api);
    let refused = shop.import().exits(2).problem();
    assert!(refused.to_string().contains("harness mcp login notes"), "{refused:#}");

    let granted = login(&shop).exits(0).document();
    assert_eq!(granted["issuer"], provider.issuer, "{granted:#}");
    assert_eq!(granted["scopes"], json!(["harness:call"]), "{granted:#}");
    let draft = shop.import().exits(0).document();
    assert!(draft["title"].as_str().unwrap().starts_with("harness "), "{draft:#}");
    shop.edit("\n  churn_risk_read:\n", "\n  churn_risk_read:\n    effect: read\n");
    shop.edit("{confidentiality: public}", "{confidentiality: internal}");
    let run = shop.ask("churn_risk_read", json!({"account": "ACC-0042"}));
    assert_eq!(run["run"]["status"], "succeeded", "{run:#}");

    let ulla = api.token("ulla", &[]);
    let runs = api.get(&ulla, "/v1/runs").ok();
    let there = runs["items"][0]["id"].as_str().unwrap_or_else(|| panic!("{runs:#}"));
    let events = api.get(&ulla, &format!("/v1/runs/{there}/events")).ok().to_string();
    assert!(events.contains("agent:oidc-") && events.contains("person:oidc-"), "{events}");

    // Another server of the same issuer: what was granted for the first is none of its own.
    let other = signing_in(&provider.issuer, "access = {}");
    let config = fs::read_to_string(shop.path("harness.toml")).unwrap();
    let moved = config.replace(&api.host, &other.host);
    fs::write(shop.path("harness.toml"), moved).unwrap();
    let refused = shop.ask("churn_risk_read", json!({"account": "ACC-0042"}));
    assert_eq!(super::class(&refused), "permission", "{refused:#}");
    let nothing = other.get(&other.token("ulla", &[]), "/v1/runs").ok();
    assert_eq!(nothing["items"], json!([]));
}

/// Whoever the provider knows and no group lets in gets a token, and is refused with it.
#[test]
fn somebody_whom_no_group_lets_in_is_refused_with_a_token_too() {
    let provider = Provider::start("tokens");
    provider.greets("lars");
    let api = signing_in(&provider.issuer, "access = {}");
    let shop = Shop::bare(&[]);
    stock(&shop);
    declare(&shop, &api);
    login(&shop).exits(0);
    let refused = shop.import();
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(!shop.path("pack/connectors/notes.yaml").exists());
}
