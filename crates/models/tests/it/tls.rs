//! TLS by the platform's roots: a server whose certificate they do not hold is not asked.

use std::{fs, path::Path, process::Command, sync::Arc};

use models::{ApiKind, Client, Http, Key, Model, Streaming};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use crate::{
    talk::{ask, opening, provider, say},
    wires::fixture,
};

const FOLDER: &str = "HARNESS_TEST_TLS";

/// A certificate for 127.0.0.1 that vouches for itself, made by openssl where there is one.
fn make_certificate(folder: &Path) -> bool {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(folder)
        .output();
    made.is_ok_and(|output| output.status.success())
}

async fn start(folder: &Path) -> String {
    let chain = CertificateDer::from_pem_file(folder.join("cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
    let crypto = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut seen = Vec::new();
            while !seen.ends_with(b"}") {
                let mut piece = [0; 4_096];
                let count = stream.read(&mut piece).await.unwrap();
                seen.extend_from_slice(&piece[..count]);
            }
            let body = fixture(ApiKind::OpenAi, "plain.json");
            let head = format!("HTTP/1.1 200 X\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        }
    });
    url
}

async fn outcome(folder: &Path) -> Result<String, String> {
    let url = start(folder).await;
    let configured = provider(ApiKind::OpenAi, &url, Streaming::Off);
    let client = Client::new(configured, Key::none(), &Http::default()).unwrap();
    let reply = client.ask(ask(&say(None, 1, &opening()))).await;
    reply.map(|reply| reply.model).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_server_is_asked_only_when_the_platforms_roots_vouch_for_it() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        // This process was started below, with the certificate among its roots.
        assert_eq!(outcome(Path::new(&folder)).await, Ok("gpt-5.1-2025-11-13".to_owned()));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    if !make_certificate(folder.path()) {
        println!("skipped: there is no openssl to make a certificate with");
        return;
    }
    let refused = outcome(folder.path()).await.unwrap_err();
    assert!(refused.contains("certificate") || refused.contains("TLS"), "{refused}");
    let name = "tls::a_server_is_asked_only_when_the_platforms_roots_vouch_for_it";
    let again = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(FOLDER, folder.path())
        .env("SSL_CERT_FILE", folder.path().join("cert.pem"))
        .output()
        .unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert!(fs::metadata(folder.path()).is_ok(), "kept until both were asked");
}
