use std::{fs, os::unix::fs::PermissionsExt as _};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

fn outward(dir: &tempfile::TempDir, value: &str) -> Outward {
    let path = dir.path().join("secret");
    fs::write(&path, value).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let reference = format!("file:{}", path.display());
    Outward::new(Secrets::parse([("hook", reference.as_str())]).unwrap(), "harness:notify", &[])
        .unwrap()
}

/// The example of the Standard Webhooks specification.
#[test]
fn a_webhook_is_signed_as_the_specification_does() {
    let dir = tempfile::tempdir().unwrap();
    let ours = outward(&dir, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let place = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330);
    let signature = ours.sign_webhook("hook", place, br#"{"test": 2432232314}"#).unwrap();
    assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    for wrong in ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_short", "whsec_AAAAAAAA"] {
        let refused = outward(&dir, wrong).sign_webhook("hook", place, b"").unwrap_err();
        assert!(refused.to_string().contains("whsec_"), "{refused}");
    }
}

/// The example of Slack's own documentation.
#[test]
fn a_request_of_slack_is_told_from_a_forged_one() {
    let dir = tempfile::tempdir().unwrap();
    let ours = outward(&dir, "8f742231b10e8888abcd99yyyzzz85a5");
    let body = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&\
channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-\
collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F\
96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    let is_slack = |seconds: &str, signature: &str, body: &[u8]| {
        ours.is_from_slack("hook", (seconds, signature), body).unwrap()
    };
    assert!(is_slack("1531420618", signature, body));
    assert!(!is_slack("1531420619", signature, body));
    assert!(!is_slack("1531420618", signature, &body[1..]));
    for wrong in ["", "v0=", "v1=a2114d57", "v0=zz", &signature[..signature.len() - 2]] {
        assert!(!is_slack("1531420618", wrong, body), "{wrong}");
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed_and_a_flood_is_cut() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("http://{}/", listener.local_addr().unwrap());
    let elsewhere = at.clone();
    tokio::spawn(async move {
        for turn in 0.. {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
            let answer = match turn {
                0 => format!(
                    "HTTP/1.1 307 x\r\nLocation: {elsewhere}\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"
                ),
                _ => format!("HTTP/1.1 200 x\r\n\r\n{}", "x".repeat(ANSWER_BYTES_MAX + 1)),
            };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let ours = outward(&dir, "a-secret-value");
    let ask = || Ask { url: at.clone(), body: Some(b"x".to_vec()), ..Ask::default() };
    let reply = ours.ask(ask(), 0).await.unwrap();
    assert_eq!((reply.status, reply.retry_after_ms), (307, Some(7_000)));
    let flood = ours.ask(ask(), 0).await.unwrap_err();
    assert!(flood.contains("larger than"), "{flood}");
    let inside = Ask { url: "https://169.254.169.254/".to_owned(), ..Ask::default() };
    assert!(ours.ask(inside, 0).await.unwrap_err().contains("private_hosts"));
}
