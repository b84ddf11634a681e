use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use jsonwebtoken::EncodingKey;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

/// An issuer that lists keys of these names, or says nothing.
struct Issuer {
    oidc: Oidc,
    provider: Provider,
    lists: Arc<Mutex<Vec<&'static str>>>,
    asked: Arc<AtomicUsize>,
    silent: Arc<AtomicBool>,
}

impl Issuer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let file = json!({"issuer": issuer, "client_id": "harness", "roles": {}});
        let oidc = Oidc::of(&serde_json::from_value(file).unwrap(), str::to_owned).unwrap();
        let safe = Arc::new(Safe::new("/nowhere/secrets.age", "file:/nowhere/key").unwrap());
        let provider = Provider::new(Some(&oidc), &safe).unwrap().unwrap();
        let lists = Arc::new(Mutex::new(vec!["one"]));
        let (asked, silent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (known, counts, quiet) = (Arc::clone(&lists), Arc::clone(&asked), Arc::clone(&silent));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = vec![0; 4_096];
                let count = stream.read(&mut head).await.unwrap();
                let head = String::from_utf8_lossy(&head[..count]).into_owned();
                let keys: Vec<Value> =
                    known.lock().unwrap().iter().map(|name| listed(name)).collect();
                let body = match head.split(' ').nth(1) {
                    Some("/keys") => json!({ "keys": keys }),
                    _ => {
                        json!({"issuer": issuer, "authorization_endpoint": issuer, "token_endpoint": issuer,
                        "jwks_uri": format!("{issuer}/keys")})
                    }
                };
                if head.starts_with("GET /keys") {
                    counts.fetch_add(1, Ordering::SeqCst);
                }
                let status = if quiet.load(Ordering::SeqCst) { 503 } else { 200 };
                let body = body.to_string();
                let answer = format!(
                    "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _gone = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { oidc, provider, lists, asked, silent }
    }

    async fn finds(&self, name: &str, now: At) -> Result<(), Doubt> {
        let token = jsonwebtoken::encode(&header(name), &json!({}), &key()).unwrap();
        self.provider.key_for(&self.oidc, (&token, now)).await.map(drop)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn key() -> EncodingKey {
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    EncodingKey::from_ed_der(&[head.as_slice(), &[1; 32]].concat())
}

fn header(name: &str) -> Header {
    Header { kid: Some(name.to_owned()), ..Header::new(Algorithm::EdDSA) }
}

fn listed(name: &str) -> Value {
    let listed = Jwk::from_encoding_key(&key(), Algorithm::EdDSA).unwrap();
    let mut listed = serde_json::to_value(listed).unwrap();
    listed["kid"] = json!(name);
    match name {
        "encrypts" => listed["use"] = json!("enc"),
        "wraps" => listed["key_ops"] = json!(["wrapKey"]),
        "other" => listed["alg"] = json!("ES256"),
        _ => {}
    }
    listed
}

/// An issuer that changes its keys is asked again for one that is not known yet, and not again within ten seconds whatever
/// is shown; what it lists no more ends within the hour.
#[tokio::test]
async fn keys_that_rotate_are_found_and_asked_for_at_most_so_often() {
    let issuer = Issuer::start().await;
    assert!(issuer.finds("one", 0).await.is_ok());
    assert_eq!(issuer.asked(), 1);
    *issuer.lists.lock().unwrap() = vec!["two"];
    let soon = issuer.finds("two", ASKED_AGAIN_MS - 1).await;
    assert!(matches!(soon, Err(Doubt::Unproven(_))), "not asked again yet");
    assert_eq!(issuer.asked(), 1);
    assert!(issuer.finds("two", ASKED_AGAIN_MS).await.is_ok());
    assert_eq!(issuer.asked(), 2);
    assert!(issuer.finds("one", ASKED_AGAIN_MS).await.is_err(), "it is listed no more");
    assert!(issuer.finds("two", BELIEVED_MS).await.is_ok());
    assert_eq!(issuer.asked(), 2, "what is known is believed for an hour");
    *issuer.lists.lock().unwrap() = vec!["three"];
    let later = ASKED_AGAIN_MS + BELIEVED_MS;
    assert!(issuer.finds("two", later).await.is_err(), "and no longer");
    assert_eq!(issuer.asked(), 3);
}

#[tokio::test]
async fn many_who_need_to_know_at_once_make_one_of_them_ask() {
    let issuer = Issuer::start().await;
    let all = (0..50).map(|_| issuer.finds("one", 0));
    assert!(futures_util::future::join_all(all).await.iter().all(Result::is_ok));
    assert_eq!(issuer.asked(), 1);
    let all = (0..50).map(|_| issuer.finds("unknown", ASKED_AGAIN_MS));
    assert!(futures_util::future::join_all(all).await.iter().all(Result::is_err));
    assert_eq!(issuer.asked(), 2);
}

/// While it says nothing, what it listed is believed for its hour, and whoever needs more is told at once.
#[tokio::test]
async fn an_issuer_that_is_silent_is_left_alone_for_a_moment() {
    let issuer = Issuer::start().await;
    issuer.silent.store(true, Ordering::SeqCst);
    for _ in 0..5 {
        assert!(matches!(issuer.finds("one", 0).await, Err(Doubt::Silent(_))));
    }
    issuer.silent.store(false, Ordering::SeqCst);
    assert!(matches!(issuer.finds("one", SILENT_MS - 1).await, Err(Doubt::Silent(_))));
    assert_eq!(issuer.asked(), 0);
    assert!(issuer.finds("one", SILENT_MS).await.is_ok());
    issuer.silent.store(true, Ordering::SeqCst);
    let later = SILENT_MS + ASKED_AGAIN_MS;
    assert!(matches!(issuer.finds("two", later).await, Err(Doubt::Silent(_))));
    assert!(issuer.finds("one", later).await.is_ok(), "what is known counts meanwhile");
    let end = SILENT_MS + BELIEVED_MS;
    assert!(matches!(issuer.finds("one", end).await, Err(Doubt::Silent(_))), "for its hour");
}

#[tokio::test]
async fn keys_for_something_else_prove_nothing() {
    let issuer = Issuer::start().await;
    *issuer.lists.lock().unwrap() = vec!["one", "encrypts", "wraps", "other"];
    assert!(issuer.finds("one", 0).await.is_ok());
    for name in ["encrypts", "wraps", "other"] {
        assert!(matches!(issuer.finds(name, 0).await, Err(Doubt::Unproven(_))), "{name}");
    }
}

#[test]
fn what_a_browser_keeps_gives_three_secrets_that_say_nothing_of_each_other() {
    let text = format!("{}.17.//a.b", "0".repeat(64));
    let kept = Kept::of(&text).unwrap();
    assert_eq!((kept.at, kept.to), (17, "//a.b"));
    let all = ["state", "nonce", "verifier"].map(|name| kept.derive(name));
    assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2]);
    // What a verifier may be, as PKCE has it.
    assert!((43..=128).contains(&all[2].len()));
    let other = text.replace(".17.", ".18.");
    assert_ne!(Kept::of(&other).unwrap().derive("state"), all[0], "all of it counts");
    for wrong in ["", "..", "a.1./", "00.17", &"0".repeat(64)] {
        assert!(Kept::of(wrong).is_none(), "{wrong}");
    }
}

/// The example of RFC 7636.
#[test]
fn a_challenge_is_that_of_the_specification() {
    let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    assert_eq!(challenge(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
}
