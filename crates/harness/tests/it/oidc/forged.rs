//! A provider that lies, in each way a token can.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::{
    Browser, field,
    liar::{Liar, header, key},
    signing_in,
};
use crate::api::Api;

/// Whether somebody is signed in with a token made from good claims by `change`.
fn enters(
    liar: &Liar,
    api: &Api,
    (header, with): (&Header, &EncodingKey),
    change: &dyn Fn(&mut Value),
) -> bool {
    let mut browser = Browser::default();
    let left = browser.open(&format!("http://{}/sign-in/oidc", api.host));
    let left = left.header("location").unwrap().to_owned();
    let now = jiff::Timestamp::now().as_second();
    let mut claims = json!({"iss": liar.issuer, "aud": "harness", "sub": "mira", "exp": now + 300,
        "iat": now, "nonce": field(&left, "nonce"), "groups": ["finance-team"], "name": "Mira"});
    change(&mut claims);
    *liar.gives.lock().unwrap() = encode(header, &claims, with).unwrap();
    come_back(&mut browser, api, &left)
}

fn come_back(browser: &mut Browser, api: &Api, left: &str) -> bool {
    let state = field(left, "state");
    let landed =
        browser.open(&format!("http://{}/sign-in/callback?code=c&state={state}", api.host));
    let to = landed.header("location").unwrap();
    let is_in = browser.is_signed_in(api);
    assert_eq!(to == "/", is_in, "{landed:?}");
    is_in
}

#[test]
fn no_token_counts_but_one_made_for_this_sign_in_by_its_provider_and_now() {
    let liar = Liar::start();
    let api = signing_in(&liar.issuer, "");
    let (good, ours) = (header("one"), key(1));
    let now = jiff::Timestamp::now().as_second();
    let set = |name: &'static str, value: Value| {
        Box::new(move |claims: &mut Value| claims[name] = value.clone()) as Box<dyn Fn(&mut Value)>
    };
    let without = |name: &'static str| {
        Box::new(move |claims: &mut Value| drop(claims.as_object_mut().unwrap().remove(name)))
            as Box<dyn Fn(&mut Value)>
    };
    assert!(enters(&liar, &api, (&good, &ours), &|_| {}), "as it should be");
    let several = set("aud", json!(["harness", "other"]));
    let ours_of_several = |claims: &mut Value| {
        several(claims);
        claims["azp"] = json!("harness");
    };
    assert!(enters(&liar, &api, (&good, &ours), &ours_of_several));
    for (what, change) in [
        ("another nonce", set("nonce", json!("0".repeat(64)))),
        ("no nonce", without("nonce")),
        ("expired", set("exp", json!(now - 120))),
        ("no expiry", without("exp")),
        ("not yet", set("nbf", json!(now + 300))),
        ("made in the future", set("iat", json!(now + 300))),
        ("another audience", set("aud", json!("other"))),
        ("other audiences", set("aud", json!(["other", "another"]))),
        ("no audience", without("aud")),
        ("several audiences, and nobody says for whom", set("aud", json!(["harness", "other"]))),
        ("for another party", set("azp", json!("other"))),
        ("another issuer", set("iss", json!("http://127.0.0.1:1"))),
        ("no issuer", without("iss")),
        ("nobody", without("sub")),
        ("groups of another shape", set("groups", json!({"finance-team": true}))),
        ("no group", set("groups", json!([]))),
    ] {
        assert!(!enters(&liar, &api, (&good, &ours), &*change), "{what}");
    }
    assert!(!enters(&liar, &api, (&good, &key(2)), &|_| {}), "another key under this name");
    assert!(!enters(&liar, &api, (&header("two"), &key(2)), &|_| {}), "a key nobody lists");
    // What both hold proves nothing, least of all a key that everybody knows.
    let shared = Header { kid: Some("one".to_owned()), ..Header::new(Algorithm::HS256) };
    for secret in [super::SECRET.as_bytes(), b"one"] {
        assert!(!enters(&liar, &api, (&shared, &EncodingKey::from_secret(secret)), &|_| {}));
    }
    for token in ["", "x", "e30.e30.", "eyJhbGciOiJub25lIn0.e30."] {
        let mut browser = Browser::default();
        let left = browser.open(&format!("http://{}/sign-in/oidc", api.host));
        let left = left.header("location").unwrap().to_owned();
        *liar.gives.lock().unwrap() = token.to_owned();
        assert!(!come_back(&mut browser, &api, &left), "{token}");
    }
}

#[test]
fn an_error_or_another_issuer_signs_nobody_in_and_a_token_of_before_does_not_count_again() {
    let liar = Liar::start();
    let api = signing_in(&liar.issuer, "");
    assert!(enters(&liar, &api, (&header("one"), &key(1)), &|_| {}));
    // The token of that sign-in, given again to another one.
    let mut browser = Browser::default();
    let left = browser.open(&format!("http://{}/sign-in/oidc", api.host));
    let left = left.header("location").unwrap().to_owned();
    assert!(!come_back(&mut browser, &api, &left));
    for more in
        ["error=access_denied", "code=c&error=x", "code=c&iss=http%3A%2F%2F127.0.0.1%3A1", ""]
    {
        let mut browser = Browser::default();
        let left = browser.open(&format!("http://{}/sign-in/oidc", api.host));
        let state = field(left.header("location").unwrap(), "state");
        browser.open(&format!("http://{}/sign-in/callback?state={state}&{more}", api.host));
        assert!(!browser.is_signed_in(&api), "{more}");
    }
}
