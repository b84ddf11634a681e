//! Files that were handed in with a request: named in prompts, read when they are sent (C103).

use std::{collections::BTreeSet, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kernel::{
    attachment::{Attachment, Kind},
    conversation::{Part, Prompt, Segment, Source, Thread},
    id::{Digest, RunId, Tenant},
    port::Task,
};
use models::{ApiKind, Ask, Client, Contents, Error, Files, Model, Provider, Streaming};

use crate::{
    server::{Answer, Server},
    talk::{ask, client_of, hear, prompt, provider, reply, run_id, say, system, user},
    wires::fixture,
};

const FILES: [(&str, &str, &[u8]); 3] = [
    ("roof.png", "image/png", b"\x89PNG\r\n\x1a\n-pixels"),
    ("terms.pdf", "application/pdf", b"%PDF-1.7 terms"),
    ("notes.txt", "text/plain", "Grüße vom Dach".as_bytes()),
];

/// The three files, and how often one was read.
#[derive(Debug, Default)]
struct Desk(std::sync::Mutex<usize>);

impl Files for Desk {
    fn read<'a>(
        &'a self,
        of: (&'a Tenant, &'a RunId),
        file: &'a Attachment,
    ) -> Task<'a, Result<Vec<u8>, Error>> {
        assert_eq!(*of.1, run_id());
        *self.0.lock().unwrap() += 1;
        let found = FILES.iter().find(|(_, _, content)| Digest::of(content) == file.digest);
        let found = found.map(|(_, _, content)| content.to_vec());
        Box::pin(async move { found.ok_or_else(|| Error::Thread("it is gone".to_owned())) })
    }
}

fn attachment((name, media_type, content): (&str, &str, &[u8])) -> Attachment {
    Attachment {
        digest: Digest::of(content),
        name: name.to_owned(),
        media_type: media_type.to_owned(),
        bytes: content.len() as u64,
    }
}

/// A prompt with all files, by name or with their bytes.
fn opening(part: impl Fn((&str, &str, &[u8])) -> Part) -> Prompt {
    let mut parts = vec![Part::Text { text: "What is wrong here?".to_owned() }];
    parts.extend(FILES.into_iter().map(part));
    prompt(0, vec![system("Be brief."), Segment::User { parts, source: Source::User }])
}

fn whole((name, media_type, content): (&str, &str, &[u8])) -> Part {
    let (data, media_type) = (STANDARD.encode(content), media_type.to_owned());
    match name {
        "roof.png" => Part::Image { media_type, data },
        _ => Part::File { name: name.to_owned(), media_type, data },
    }
}

fn seeing(api: ApiKind, url: &str, takes: &[Kind]) -> Client {
    let takes: BTreeSet<Kind> = takes.iter().copied().collect();
    client_of(Provider { takes, ..provider(api, url, Streaming::Off) })
}

/// C103: on every wire a file that a prompt names arrives as if its bytes had stood there; it is read once as long as
/// the conversation is kept, and again where it was lost.
#[tokio::test]
async fn a_named_file_arrives_as_its_bytes_on_every_wire() {
    for api in ApiKind::ALL {
        let server = Server::script(vec![Answer::of(&fixture(api, "plain.json"))]).await;
        let client = seeing(api, &server.url, &[Kind::Image, Kind::Pdf]);
        let desk: Arc<Desk> = Arc::default();
        let files = Arc::clone(&desk) as Arc<dyn Files>;
        let asking = |thread: &Arc<Thread>| Ask { files: Some(Arc::clone(&files)), ..ask(thread) };
        let named = say(None, 1, &opening(|file| Part::Attached(attachment(file))));
        client.ask(asking(&named)).await.unwrap();
        let told = say(None, 1, &opening(whole));
        let expected = client.request_bytes(&told, &Contents::default()).unwrap();
        assert_eq!(server.asked()[0].body, expected, "{api}");
        assert!(String::from_utf8(expected).unwrap().contains(&STANDARD.encode(FILES[0].2)));

        let later = say(
            Some(hear(named, &reply(api, &fixture(api, "plain.json")))),
            2,
            &prompt(1, vec![user("And now?")]),
        );
        client.ask(asking(&later)).await.unwrap();
        assert_eq!(*desk.0.lock().unwrap(), FILES.len(), "{api}: read once");
        let anew = seeing(api, &server.url, &[Kind::Image, Kind::Pdf]);
        anew.ask(asking(&later)).await.unwrap();
        assert_eq!(server.asked()[1].body, server.asked()[2].body, "{api}");
        let of = (&Tenant::default(), &run_id());
        let contents = Contents::of_thread(Some(&files), of, &later).await.unwrap();
        assert_eq!(client.request_bytes(&later, &contents).unwrap(), server.asked()[1].body);
    }
}

/// C103: nothing is sent to a model that cannot take it, or in place of a file that is gone.
#[tokio::test]
async fn what_cannot_be_sent_is_not_asked_about() {
    for api in ApiKind::ALL {
        let server = Server::script(vec![Answer::of(&fixture(api, "plain.json"))]).await;
        let files: Arc<dyn Files> = Arc::new(Desk::default());
        let named = say(None, 1, &opening(|file| Part::Attached(attachment(file))));
        let asking = || Ask { files: Some(Arc::clone(&files)), ..ask(&named) };
        for takes in [&[][..], &[Kind::Image], &[Kind::Pdf]] {
            let refused = seeing(api, &server.url, takes).ask(asking()).await.unwrap_err();
            assert_eq!(refused.code(), "model_not_taken", "{api} {takes:?}");
        }
        let all = seeing(api, &server.url, &[Kind::Image, Kind::Pdf]);
        assert_eq!(all.ask(ask(&named)).await.unwrap_err().code(), "model_thread", "nobody reads");
        let gone = attachment(("gone.txt", "text/plain", b"gone"));
        let parts = vec![Part::Attached(gone)];
        let gone = say(None, 1, &prompt(0, vec![Segment::User { parts, source: Source::User }]));
        let asked = Ask { files: Some(Arc::clone(&files)), ..ask(&gone) };
        assert_eq!(all.ask(asked).await.unwrap_err().code(), "model_thread", "it is gone");
        assert!(server.asked().is_empty(), "{api}");
        assert_eq!(
            all.request_bytes(&named, &Contents::default()).unwrap_err().code(),
            "model_thread"
        );
    }
}
