//! Who may what, with which credential.

use serde_json::{Value, json};

use super::{Api, send};
use crate::support::id_of;

fn read(account: &str) -> Value {
    json!({"intent": "churn_risk_read", "inputs": {"account": account}, "wait_ms": 20_000})
}

#[test]
fn nobody_without_a_valid_token_gets_anything() {
    let api = Api::with("[serve]\nstrangers_per_second = 2000\n");
    let valid = api.token("ulla", &[]);
    let mut typo = valid.clone();
    typo.pop();
    let fresh = valid.replace("hns_", "hns_0");
    let routes: Value = super::document::openapi(&api);
    for (path, verbs) in routes["paths"].as_object().unwrap() {
        for verb in verbs.as_object().unwrap().keys() {
            let path = path.replace(['{', '}'], "");
            for token in ["", "x", &typo, &fresh] {
                let answer = api.ask(token, (&verb.to_uppercase(), &path), &Value::Null, &[]);
                assert_eq!(answer.refused(401), "not-signed-in", "{verb} {path} with `{token}`");
                assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            }
            let cookie = format!("Cookie: harness={}", valid.split('_').next_back().unwrap());
            let answer = api.ask("", (&verb.to_uppercase(), &path), &Value::Null, &[&cookie]);
            assert_eq!(answer.refused(401), "not-signed-in", "a cookie is no token");
        }
    }
    api.get(&valid, "/v1/runs").ok();
}

#[test]
fn roles_decide_what_may_be_asked_for() {
    let api = Api::open();
    let viewer = api.token("lars", &[]);
    let admin = api.token("ada", &[]);
    let approver = api.token("mira", &[]);
    let reader = api.token("ulla", &["--scope", "read"]);
    for token in [&viewer, &admin, &approver, &reader] {
        api.get(token, "/v1/runs").ok();
        assert_eq!(api.post(token, "/v1/intents", &read("ACC-0007")).refused(403), "not-allowed");
        let refused = api.post(token, "/v1/halts", &json!({"reason": "x"}));
        assert_eq!(refused.refused(403), "not-an-operator");
        assert_eq!(api.get(token, "/v1/doctor").refused(403), "not-an-operator");
    }
    // Making tokens for others is for admins; a person's token is for that person alone.
    let service =
        json!({"name": "ci", "sort": "service", "principal": "ci", "roles": ["operator"]});
    assert_eq!(api.post(&approver, "/v1/tokens", &service).refused(403), "not-allowed");
    let ci = api.post(&admin, "/v1/tokens", &service).ok()["token"].as_str().unwrap().to_owned();
    api.post(&ci, "/v1/intents", &read("ACC-0007")).ok();
    for roles in [json!(["approver"]), json!(["finance"])] {
        let made = json!({"name": "x", "sort": "service", "principal": "x", "roles": roles});
        assert_eq!(api.post(&admin, "/v1/tokens", &made).refused(422), "role-for-people");
    }
    let other = json!({"name": "x", "sort": "person", "principal": "mira"});
    assert_eq!(api.post(&admin, "/v1/tokens", &other).refused(403), "not-yourself");
    let more = json!({"name": "x", "sort": "person", "roles": ["approver"]});
    assert_eq!(api.post(&admin, "/v1/tokens", &more).refused(403), "role-not-held");
}

/// An agent proposes, sees what came of its own proposals, and nothing else.
#[test]
fn an_agent_only_proposes_and_its_owner_cannot_approve() {
    let api = Api::open();
    let agent = api.token("ada", &["--agent", "triage", "--owner", "mira"]);
    let other = api.token("ada", &["--agent", "other", "--owner", "lars"]);
    let (ulla, mira) = (api.token("ulla", &[]), api.token("mira", &[]));
    let body = json!({"intent": "contract_field_change", "idempotency_key": "by the agent", "inputs": {
        "account": "ACC-0007", "field": "PaymentTermsDays", "value": "45",
        "reason": "as agreed"}, "wait_ms": 20_000});
    let submitted = api.post(&agent, "/v1/intents", &body).ok();
    assert_eq!(submitted["run"]["on_behalf_of"], "person:mira", "{submitted}");
    let run = id_of(&submitted);
    api.get(&agent, &format!("/v1/runs/{run}")).ok();
    api.get(&agent, &format!("/v1/runs/{run}/events")).ok();
    assert_eq!(api.get(&other, &format!("/v1/runs/{run}")).refused(404), "run-not-found");
    assert_eq!(api.post(&other, "/v1/intents", &body).refused(409), "idempotency-key-reused");
    for path in ["/v1/runs", "/v1/approvals", "/v1/exceptions", "/v1/packs", "/v1/kpis"] {
        assert_eq!(api.get(&agent, path).refused(403), "not-allowed", "{path}");
    }
    assert_eq!(api.get(&agent, "/v1/events").refused(403), "not-allowed");
    let waiting = api.get(&mira, "/v1/approvals").ok();
    let shown = format!("/v1/approvals/{}", waiting["items"][0]["id"].as_str().unwrap());
    let card = api.get(&mira, &shown).ok();
    let digest = json!({"digest": card["digest"], "wait_ms": 20_000});
    assert_eq!(api.decide(&agent, &shown, "approve", &digest).refused(403), "not-allowed");
    let own = api.decide(&mira, &shown, "approve", &digest);
    assert_eq!(own.refused(403), "refused", "the person an agent acts for");
    let approved = api.decide(&ulla, &shown, "approve", &digest).ok();
    assert_eq!(approved["status"], "succeeded", "{approved}");
}

/// Whoever finds a token for reading has found a token for reading, until it ends and no longer.
#[test]
fn a_token_makes_none_that_does_more_or_lasts_longer() {
    let api = Api::open();
    let reader = api.token("ulla", &["--scope", "read", "--valid", "1h"]);
    let make = |token: &str, more: Value| {
        let mut body = json!({"name": "another", "sort": "person"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        api.post(token, "/v1/tokens", &body)
    };
    let ends = |made: &Value| made["kept"]["expires_at"].as_str().unwrap().to_owned();
    let own = api.get(&reader, "/v1/tokens").ok();
    let own = own["items"][0]["expires_at"].as_str().unwrap().to_owned();
    let mut token = reader;
    // Nor does a token of such a token.
    for _ in 0..2 {
        let made = make(&token, json!({})).ok();
        assert_eq!(made["kept"]["scopes"], json!(["read"]), "{made}");
        assert_eq!(ends(&made), own, "{made}");
        for scopes in [json!(["propose"]), json!(["read", "decide"])] {
            assert_eq!(make(&token, json!({"scopes": scopes})).refused(403), "scope-not-held");
        }
        assert_eq!(make(&token, json!({"valid_ms": 7_200_000})).refused(422), "bad-validity");
        token = made["token"].as_str().unwrap().to_owned();
        assert_eq!(api.post(&token, "/v1/intents", &read("ACC-0007")).refused(403), "not-allowed");
        let run = json!({"reason": "x"});
        assert_eq!(api.post(&token, "/v1/halts", &run).refused(403), "not-an-operator");
    }
    // What is held is handed on, and less of it.
    let whole = api.token("ulla", &[]);
    let made = make(&whole, json!({"scopes": ["propose"], "valid_ms": 60_000})).ok();
    assert_eq!(made["kept"]["scopes"], json!(["propose"]));
    let token = made["token"].as_str().unwrap();
    assert_eq!(api.get(token, "/v1/runs").refused(403), "not-allowed");
    api.post(token, "/v1/intents", &read("ACC-0007")).ok();
    // An admin's service lasts no longer than what the admin asked with.
    let ada = api.token("ada", &["--valid", "1h"]);
    let ci = json!({"name": "ci", "sort": "service", "principal": "ci", "roles": ["viewer"],
        "valid_ms": 7_200_000});
    assert_eq!(api.post(&ada, "/v1/tokens", &ci).refused(422), "bad-validity");
}

#[test]
fn a_revoked_token_ends_at_once_and_only_hashes_are_kept() {
    let api = Api::open();
    let (ulla, ada) = (api.token("ulla", &[]), api.token("ada", &[]));
    let ci = json!({"name": "ci", "sort": "service", "principal": "ci", "roles": ["viewer"]});
    let made = api.post(&ada, "/v1/tokens", &ci).ok();
    let (token, id) = (made["token"].as_str().unwrap(), made["kept"]["id"].as_str().unwrap());
    api.get(token, "/v1/runs").ok();
    let secret = token.split('_').next_back().unwrap();
    // Also where an answer is kept for whoever asks again: this one is given once.
    let keyed = json!({"name": "keyed", "sort": "service", "principal": "ci", "roles": ["viewer"]});
    let keyed = || api.ask(&ada, ("POST", "/v1/tokens"), &keyed, &["Idempotency-Key: made-once"]);
    let first = keyed().ok()["token"].as_str().unwrap().to_owned();
    let again = keyed();
    assert_eq!(again.refused(409), "shown-once");
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let all = api.get(&ada, "/v1/tokens").ok();
    let named = all["items"].as_array().unwrap().iter().filter(|kept| kept["name"] == "keyed");
    assert_eq!(named.count(), 1, "{all}");
    for secret in [secret, first.split('_').next_back().unwrap()] {
        for (path, bytes) in crate::support::files(&api.office.path("store")) {
            assert!(!crate::support::holds(&bytes, &secret[..32]), "{} holds it", path.display());
        }
    }
    // Well-formed, with an id that exists and a secret that is another token's.
    let (other, _) = ulla.rsplit_once('_').unwrap();
    let (forged_id, stolen) = (other.strip_prefix("hns_").unwrap(), &secret[..64]);
    let check = [forged_id.as_bytes(), stolen.as_bytes()];
    let check = kernel::Digest::of_parts("harness/token-check/v1", &check).hex();
    let forged = format!("hns_{forged_id}_{stolen}{}", &check[..6]);
    assert_eq!(api.get(&forged, "/v1/runs").refused(401), "not-signed-in");
    let listed = api.get(&ada, "/v1/tokens").ok();
    assert!(!listed.to_string().contains(secret), "{listed}");
    assert_eq!(
        api.get(&ulla, "/v1/tokens").ok()["items"].as_array().unwrap().len(),
        1,
        "one's own"
    );
    let path = format!("/v1/tokens/{id}");
    assert_eq!(api.ask(&ulla, ("DELETE", &path), &Value::Null, &[]).refused(403), "not-allowed");
    let ended = api.ask(&ada, ("DELETE", &path), &Value::Null, &[]).ok();
    assert_eq!(ended["state"], "revoked");
    assert_eq!(api.get(token, "/v1/runs").refused(401), "not-signed-in");
}

/// A link signs in once, by a click; a session's forms are its own.
#[test]
fn a_link_signs_in_once() {
    let api = Api::open();
    let link = api.office.json(&["token", "link"]).exits(0).document();
    let path = link["path"].as_str().unwrap();
    let secret = path.split("link=").nth(1).unwrap();
    let form = |path: &str, body: String, cookie: &str| {
        let length = body.len();
        let text = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{cookie}Content-Type: \
             application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{body}",
            api.host
        );
        send(&api.host, text.as_bytes())
    };
    let signed = form("/sign-in", format!("link={secret}&to=%2Fruns"), "");
    assert_eq!((signed.status, signed.header("location")), (303, Some("/runs")), "{signed:?}");
    let cookie = signed.header("set-cookie").unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    let again = form("/sign-in", format!("link={secret}"), "");
    assert_eq!(again.header("location"), Some("/sign-in?refused=1&to=/"), "used up");
    let away = form("/sign-in", format!("link={secret}&to=//evil.example"), "");
    assert!(away.header("location").unwrap().ends_with("to=/"), "{away:?}");

    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    let forged = form("/sign-out", "form_token=0".to_owned(), &cookie);
    assert_eq!(forged.refused(403), "form-not-yours");
    let live = |cookie: &str| {
        let text = format!(
            "GET /live HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{cookie}\r\n",
            api.host
        );
        send(&api.host, text.as_bytes()).status
    };
    assert_eq!((live(&cookie), live("")), (200, 204));
}
