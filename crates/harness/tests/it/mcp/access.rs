//! `/mcp` with access tokens of a provider (C131): whoever calls is who the token was made for, at the address that it was
//! made for, and nobody else.

use std::{sync::atomic::Ordering, time::Instant};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use serde_json::{Value, json};

use super::{
    Speaks, change,
    client::{post, post_to},
    run_of,
};
use crate::{
    api::{Answer, Api, send},
    oidc::{
        liar::{Liar, key},
        signing_in,
    },
};

/// A server that takes access tokens of an issuer.
fn open(liar: &Liar, access: &str) -> Api {
    signing_in(&liar.issuer, &format!("access = {access}\n[mcp]\nhold_ms = 0"))
}

/// The header of an access token.
fn header(kid: &str) -> Header {
    let typ = Some("at+jwt".to_owned());
    Header { typ, kid: Some(kid.to_owned()), ..Header::new(Algorithm::EdDSA) }
}

/// What stands in a token that counts.
fn claims(liar: &Liar, api: &Api) -> Value {
    let now = jiff::Timestamp::now().as_second();
    json!({"iss": liar.issuer, "aud": format!("http://{}/mcp", api.host), "sub": "mira", "client_id": "editor",
        "exp": now + 300, "iat": now, "jti": "1", "scope": "openid harness:call", "groups": ["finance-team"]})
}

fn signed(claims: &Value) -> String {
    encode(&header("one"), claims, &key(1)).unwrap()
}

fn list(api: &Api, token: &str) -> Answer {
    post(&api.host, (token, Speaks::Now), ("tools/list", json!({})), &[])
}

fn call(api: &Api, token: &str, tool: &str, arguments: Value) -> Value {
    let params = json!({"name": tool, "arguments": arguments});
    let answer = post(&api.host, (token, Speaks::Now), ("tools/call", params), &[]);
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut data = answer.body.lines().filter_map(|line| line.strip_prefix("data:"));
    let last = data.rfind(|data| data.contains("\"id\"")).unwrap_or(&answer.body);
    serde_json::from_str::<Value>(last).unwrap()["result"].clone()
}

/// A field of a challenge.
fn told(answer: &Answer, name: &str) -> Option<String> {
    let challenge = answer.header("www-authenticate")?.strip_prefix("Bearer ")?;
    let mut fields = challenge.split(", ").filter_map(|field| field.split_once('='));
    fields.find(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"').to_owned())
}

/// C131: whoever comes without a token is told where to get one, and what is there is what it says of itself: its own
/// address, who gives permissions, which ones there are. Where nobody comes with access tokens, there is nothing of it.
#[test]
fn a_refusal_leads_to_the_metadata_and_the_metadata_to_the_issuer() {
    let liar = Liar::start();
    let api = open(&liar, "{}");
    for (path, described) in [
        ("/mcp", "/.well-known/oauth-protected-resource/mcp"),
        ("/mcp/proxy", "/.well-known/oauth-protected-resource/mcp/proxy"),
    ] {
        let refused = post_to((&api.host, path), ("", Speaks::Now), ("tools/list", json!({})), &[]);
        assert_eq!(refused.refused(401), "not-signed-in");
        let url = told(&refused, "resource_metadata").unwrap();
        assert_eq!(url, format!("http://{}{described}", api.host));
        assert_eq!(told(&refused, "scope").as_deref(), Some("harness:call"), "{refused:?}");
        assert_eq!(told(&refused, "error"), None, "nothing was shown that could be wrong");
        let document = api.get("", described).ok();
        assert_eq!(
            document,
            json!({"resource": format!("http://{}{path}", api.host), "authorization_servers": [liar.issuer],
                "scopes_supported": ["harness:call"], "bearer_methods_supported": ["header"], "resource_name": "harness"})
        );
    }
    let at_root = api.get("", "/.well-known/oauth-protected-resource").ok();
    assert_eq!(at_root["resource"], format!("http://{}/mcp", api.host));
    // What is described is what is configured, never what a request calls us.
    let asked = send(
        &api.host,
        b"GET /.well-known/oauth-protected-resource/mcp HTTP/1.1\r\nHost: localhost:1\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(asked.ok()["resource"], format!("http://{}/mcp", api.host));

    let without = Api::open();
    let refused = list(&without, "");
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    let none = without.get("", "/.well-known/oauth-protected-resource/mcp");
    assert_eq!(none.refused(404), "no-access-tokens");
    assert_eq!(list(&without, &signed(&claims(&liar, &without))).refused(401), "not-signed-in");
}

/// C131, and invariant 6 of the proxy's: a client that a person let in is an agent of its own that acts for that person,
/// by the token and not by the name that it gives itself. It only proposes, its person does not approve, and two clients
/// of one person see nothing of each other.
#[test]
fn a_client_with_a_token_for_this_address_acts_for_its_person_and_only_proposes() {
    let liar = Liar::start();
    let api = open(&liar, "{}");
    let good = claims(&liar, &api);
    let token = signed(&good);
    let risk = call(&api, &token, "churn_risk_read", json!({"account": "ACC-0042"}));
    assert_eq!(risk["isError"], false, "{risk}");
    let ulla = api.token("ulla", &[]);
    let events = api.get(&ulla, &format!("/v1/runs/{}/events", run_of(&risk))).ok().to_string();
    assert!(events.contains("agent:oidc-") && events.contains("person:oidc-"), "{events}");
    assert!(!events.contains("person:mira") && !events.contains("editor"), "{events}");
    // A change asks a person; another client of the same person neither waits for it nor joins it.
    let pending = call(&api, &token, "contract_field_change", change(45));
    assert_eq!(pending["_meta"]["harness/state"], "pending_approval", "{pending}");
    let mut other = good.clone();
    other["client_id"] = json!("other");
    let other = signed(&other);
    let none = call(&api, &other, "harness_wait", json!({"run": run_of(&pending)}));
    assert_eq!(none["structuredContent"]["code"], "call-not-found", "{none}");
    // The token of a program opens neither the API nor the pages.
    for path in ["/v1/runs", "/v1/tools", "/v1/approvals"] {
        assert_eq!(api.get(&token, path).refused(401), "not-signed-in");
    }
    // Tokens of our own count beside it.
    let own = api.token("ada", &["--agent", "coder", "--owner", "ulla"]);
    assert_eq!(list(&api, &own).status, 200);
    // A client that came by itself is a service, and acts for nobody.
    let mut machine = good.clone();
    machine["sub"] = json!("editor");
    machine.as_object_mut().unwrap().remove("groups");
    let risk = call(&api, &signed(&machine), "churn_risk_read", json!({"account": "ACC-0042"}));
    let events = api.get(&ulla, &format!("/v1/runs/{}/events", run_of(&risk))).ok().to_string();
    assert!(events.contains("service:oidc-") && !events.contains("person:oidc-"), "{events}");
}

/// Each way in which a token can be somebody else's, of another time, or nobody's.
#[test]
fn no_token_counts_but_an_access_token_of_the_issuer_for_exactly_this_address_and_now() {
    let liar = Liar::start();
    let api = open(&liar, "{}");
    let good = claims(&liar, &api);
    let now = jiff::Timestamp::now().as_second();
    assert_eq!(list(&api, &signed(&good)).status, 200, "as it should be");
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value,
        }
        claims
    };
    let several = with("aud", json!([good["aud"], "https://elsewhere.example"]));
    assert_eq!(list(&api, &signed(&several)).status, 200, "one of several");
    let local = good["aud"].as_str().unwrap().replace("127.0.0.1", "localhost");
    for (what, claims) in [
        ("for another server", with("aud", json!("https://elsewhere.example/mcp"))),
        ("for another name of this machine", with("aud", json!(local))),
        ("for another address here", with("aud", json!(format!("http://{}/mcp/proxy", api.host)))),
        ("for the whole server", with("aud", json!(format!("http://{}", api.host)))),
        ("for our sign-in", with("aud", json!("harness"))),
        ("for nobody", with("aud", Value::Null)),
        ("for an empty list", with("aud", json!([]))),
        ("of another issuer", with("iss", json!("http://127.0.0.1:1"))),
        ("of no issuer", with("iss", Value::Null)),
        ("ended", with("exp", json!(now - 120))),
        ("without an end", with("exp", Value::Null)),
        ("not yet", with("nbf", json!(now + 300))),
        ("made in the future", with("iat", json!(now + 300))),
        ("made at no time", with("iat", Value::Null)),
        ("of nobody", with("sub", Value::Null)),
        ("of an empty name", with("sub", json!(""))),
        ("to no client", with("client_id", Value::Null)),
        ("bound to a key", with("cnf", json!({"jkt": "x"}))),
        ("scopes as a list", with("scope", json!(["harness:call"]))),
    ] {
        let refused = list(&api, &signed(&claims));
        assert_eq!(refused.status, 401, "{what}: {refused:?}");
        assert_eq!(told(&refused, "error").as_deref(), Some("invalid_token"), "{what}");
        assert!(told(&refused, "resource_metadata").is_some(), "{what}");
    }
    // The name by which a request calls us makes no token one for us.
    let port = api.host.rsplit_once(':').unwrap().1;
    let host = format!("Host: localhost:{port}");
    let refused = post(
        &api.host,
        (&signed(&with("aud", json!(local))), Speaks::Now),
        ("tools/list", json!({})),
        &[&host],
    );
    assert_eq!(refused.status, 401, "{refused:?}");
}

/// Signatures that prove nothing: none, one by a secret that everybody knows, one by a key that the token brings along or
/// that nobody lists, and tokens that were made to be something else.
#[test]
fn no_signature_counts_but_one_by_a_key_that_the_issuer_lists_for_access_tokens() {
    let liar = Liar::start();
    let api = open(&liar, "{}");
    let good = claims(&liar, &api);
    let whole = signed(&good);
    let parts: Vec<&str> = whole.split('.').collect();
    let b64 = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let mut tokens = vec![
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        (
            "another's claims",
            format!("{}.{}.{}", parts[0], b64(&good.to_string().replace("mira", "ada")), parts[2]),
        ),
        ("nothing", ".".to_owned()),
        ("no token", "x".repeat(12_000)),
    ];
    for alg in ["none", "None", "NONE", "nOnE"] {
        let head = json!({"alg": alg, "typ": "at+jwt", "kid": "one"}).to_string();
        tokens.push(("alg none", format!("{}.{}.", b64(&head), parts[1])));
        tokens.push(("alg none, signed", format!("{}.{}.{}", b64(&head), parts[1], parts[2])));
    }
    // What is public is no secret: its text, its bytes, its whole description.
    let x = liar.listed["x"].as_str().unwrap();
    let known = [
        x.as_bytes().to_vec(),
        URL_SAFE_NO_PAD.decode(x).unwrap(),
        liar.listed.to_string().into_bytes(),
    ];
    for secret in &known {
        for alg in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let shared = Header { alg, ..header("one") };
            tokens.push((
                "a secret",
                encode(&shared, &good, &EncodingKey::from_secret(secret)).unwrap(),
            ));
        }
    }
    let named = |name: &str, value: Value| {
        let mut head = header("one");
        head.extras.insert(name, value);
        encode(&head, &good, &key(1)).unwrap()
    };
    tokens.push(("another key", encode(&header("one"), &good, &key(2)).unwrap()));
    tokens.push(("a key nobody lists", encode(&header("two"), &good, &key(2)).unwrap()));
    let own = Jwk::from_encoding_key(&key(2), Algorithm::EdDSA).unwrap();
    let brought =
        Header { jwk: Some(own), jku: Some(format!("{}/keys", liar.issuer)), ..header("one") };
    tokens.push(("a key it brings along", encode(&brought, &good, &key(2)).unwrap()));
    let critical = Header { crit: Some(vec!["b64".to_owned()]), ..header("one") };
    tokens.push(("something critical", encode(&critical, &good, &key(1)).unwrap()));
    for typ in [Some("JWT"), Some("id+jwt"), Some("logout+jwt"), Some("dpop+jwt"), Some(""), None] {
        let typed = Header { typ: typ.map(str::to_owned), ..header("one") };
        tokens.push(("another type", encode(&typed, &good, &key(1)).unwrap()));
    }
    for (what, token) in &tokens {
        let refused = list(&api, token);
        assert_eq!(refused.status, 401, "{what}: {refused:?}");
        assert_eq!(told(&refused, "error").as_deref(), Some("invalid_token"), "{what}");
    }
    assert_eq!(
        list(&api, &named("unknown", json!(1))).status,
        200,
        "what nobody calls critical is left alone"
    );
}

/// A token that is too long to be looked at, shown twice, under another scheme or where everybody reads it is none; and where a
/// page of another origin asks, none helps.
#[test]
fn a_token_counts_where_tokens_are_shown_and_nowhere_else() {
    let liar = Liar::start();
    let api = open(&liar, "{}");
    let whole = signed(&claims(&liar, &api));
    assert_eq!(list(&api, &whole).status, 200);
    let authorization = format!("Authorization: Bearer {whole}");
    let ask = |token: &str, path: &str, extra: &[&str]| {
        post_to((&api.host, path), (token, Speaks::Now), ("tools/list", json!({})), extra)
    };
    for refused in [
        ask(&"x".repeat(17_000), "/mcp", &[]),
        ask(&whole, "/mcp", &[&authorization]),
        ask("", &format!("/mcp?access_token={whole}"), &[]),
        ask("", "/mcp", &[&format!("Authorization: DPoP {whole}")]),
        ask("", "/mcp", &[&format!("Cookie: harness={whole}")]),
    ] {
        assert_eq!(refused.status, 401, "{refused:?}");
        assert_eq!(told(&refused, "error"), None, "{refused:?}");
    }
    let refused = ask(&whole, "/mcp", &["Origin: https://evil.example"]);
    assert_eq!(refused.status, 403, "{refused:?}");
}

/// What a token does not reach is refused with the scope that would; whose groups mean nothing does not come in by a program
/// either; and a name that stands for this server is one that the operator wrote.
#[test]
fn scopes_say_what_a_client_may_and_groups_whether_its_person_may_enter() {
    let liar = Liar::start();
    let api = open(
        &liar,
        "{audiences = [\"api://harness\"], scopes = {\"calls\" = [\"requester\"], \"looks\" = [\"viewer\"]}}",
    );
    let good = claims(&liar, &api);
    let with = |scope: &str, groups: Value| {
        let mut claims = good.clone();
        claims["scope"] = json!(scope);
        claims["groups"] = groups;
        claims
    };
    let ours = json!(["finance-team"]);
    for scope in ["", "openid", "looks", "harness:call", "calls,looks", "CALLS", "callss"] {
        let refused = list(&api, &signed(&with(scope, ours.clone())));
        assert_eq!(refused.refused(403), "insufficient-scope", "{scope}");
        assert_eq!(told(&refused, "error").as_deref(), Some("insufficient_scope"), "{scope}");
        assert_eq!(told(&refused, "scope").as_deref(), Some("calls"), "{scope}");
        assert!(told(&refused, "resource_metadata").is_some(), "{scope}");
    }
    for groups in [json!([]), json!(["everybody"]), json!({"finance-team": true}), Value::Null] {
        let refused = list(&api, &signed(&with("calls", groups)));
        assert_eq!(refused.refused(403), "no-group");
        assert_eq!(refused.header("www-authenticate"), None, "another token would not help");
    }
    let mut named = with("looks calls", ours);
    named["aud"] = json!("api://harness");
    assert_eq!(list(&api, &signed(&named)).status, 200);
    let described = api.get("", "/.well-known/oauth-protected-resource/mcp").ok();
    assert_eq!(described["scopes_supported"], json!(["calls", "looks"]));
}

/// However many come with keys that nobody lists, the issuer is asked by one of them and not again at once; whoever comes
/// with a key that it lists is answered all the same.
#[test]
fn tokens_with_unknown_keys_do_not_make_us_ask_the_issuer_again_and_again() {
    let liar = Liar::start();
    let api = open(&liar, "{}");
    let good = claims(&liar, &api);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (api, good) = (&api, &good);
            scope.spawn(move || {
                for n in 0..10 {
                    let unknown = header(&format!("unknown-{thread}-{n}"));
                    let token = encode(&unknown, good, &key(2)).unwrap();
                    assert_eq!(list(api, &token).status, 401);
                }
            });
        }
    });
    assert_eq!(list(&api, &signed(&good)).status, 200);
    let most = 1 + usize::try_from(began.elapsed().as_secs() / 10).unwrap();
    let asked = liar.asked.load(Ordering::SeqCst);
    assert!((1..=most).contains(&asked), "asked {asked} times, and at most {most}");
}

/// What cannot be meant is refused before anything is served.
#[test]
fn a_configuration_that_lets_nobody_in_or_too_many_is_refused() {
    for (access, said) in [
        ("{scopes = {}}", "no scope"),
        ("{scopes = {x = [\"viewer\"]}}", "no scope"),
        ("{scopes = {x = [\"admin\"]}}", "cannot have"),
        ("{scopes = {x = [\"approver\"]}}", "cannot have"),
        ("{scopes = {\"a b\" = [\"requester\"]}}", "words"),
        ("{audiences = [\"\"]}", "audiences"),
        ("{audiences = [\"harness\"]}", "identity tokens"),
    ] {
        let office = crate::support::Office::open();
        let config = std::fs::read_to_string(office.config()).unwrap();
        let oidc = format!(
            "{config}\n[oidc]\nissuer = \"https://id.example\"\nclient_id = \"harness\"\naccess = {access}\n\
             [oidc.roles]\na = [\"approver\"]\n"
        );
        std::fs::write(office.config(), oidc).unwrap();
        let refused = office.json(&["run", "list"]).exits(2).problem();
        assert_eq!(refused["code"], "oidc-invalid", "{access}: {refused}");
        assert!(refused["detail"].as_str().unwrap().contains(said), "{access}: {refused}");
    }
}
