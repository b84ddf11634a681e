//! C103: files and pictures at an intent's door: what they are shows their content; they are bounded, labelled, kept
//! by digest, shown to models that can take them, and read again.

use std::{fs, process::Stdio};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    agents::{
        model::{Model, Says},
        office_with,
    },
    api::Api,
    support::Office,
};

const PICTURE: &[u8] = b"\x89PNG\r\n\x1a\n-the pixels of a roof";
const TERMS: &[u8] = b"%PDF-1.7\n-the terms";
const NOTES: &str = "The roof leaks at the chimney.\n";
const SEEING: &str = "clearance = \"confidential\"\ntakes = [\"image\", \"pdf\"]\n";

/// An office with three files, whose model takes pictures and documents.
fn office(model: &Model) -> Office {
    let office = office_with(&[("scripted", model, SEEING)], "");
    fs::write(office.path("roof.png"), PICTURE).unwrap();
    fs::write(office.path("terms.pdf"), TERMS).unwrap();
    fs::write(office.path("notes.txt"), NOTES).unwrap();
    office
}

fn text_of(path: &std::path::Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// What the model is told first: text and parts.
fn parts(model: &Model, n: usize) -> Vec<Value> {
    let user = model.messages(n).into_iter().find(|message| message["role"] == "user").unwrap();
    user["content"].as_array().unwrap().clone()
}

/// Three files reach the model as picture, document and text; who looks later sees what it saw, to the byte.
#[test]
fn files_reach_the_model_and_are_read_again() {
    let model = Model::start([Says::Text("The chimney leaks.")]);
    let office = office(&model);
    let [roof, terms, notes] =
        ["roof.png", "terms.pdf", "notes.txt"].map(|n| text_of(&office.path(n)));
    let words = [
        "run",
        "What is wrong with this roof",
        "--attach",
        &roof,
        "--attach",
        &terms,
        "--attach",
        &notes,
    ];
    let ran = office.json(&words).exits(0).document();
    assert_eq!(ran["output"], "The chimney leaks.", "{ran:#}");
    let parts = parts(&model, 1);
    assert_eq!(
        parts[1]["image_url"]["url"],
        format!("data:image/png;base64,{}", STANDARD.encode(PICTURE)),
        "{parts:#?}"
    );
    assert_eq!(parts[2]["file"]["filename"], "terms.pdf");
    assert_eq!(parts[3]["text"], format!("notes.txt:\n{NOTES}"));
    let task = parts[0]["text"].as_str().unwrap();
    assert!(task.contains("roof.png") && !task.contains("sha256"), "{task}");

    let run = ran["run"]["id"].as_str().unwrap();
    let context = ["run", "context", run, "--turn", "1", "--request"];
    let context = office.json(&context).exits(0).document();
    let call = &context["calls"][0];
    assert_eq!(call["trust"], "untrusted", "nobody vouched for them: {call:#}");
    let names: Vec<&str> =
        call["attached"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["roof.png", "terms.pdf", "notes.txt"]);
    let exact: Value = serde_json::from_str(call["request"].as_str().unwrap()).unwrap();
    assert_eq!(exact, model.heard()[0]);
    let detail = office.json(&["run", "get", run]).exits(0).document();
    let attached = detail["attached"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let attached: Vec<_> = attached.map(|f| (text(&f["name"]), text(&f["media_type"]))).collect();
    let known =
        [("notes.txt", "text/plain"), ("roof.png", "image/png"), ("terms.pdf", "application/pdf")];
    let known = known.map(|(name, kind)| (name.to_owned(), kind.to_owned()));
    assert_eq!(attached, known, "{detail:#}");
    let back = text_of(&office.path("back.png"));
    let read = ["run", "attachment", run, "roof.png", "--out", &back];
    let read = office.json(&read).exits(0).document();
    assert_eq!((&read["media_type"], &read["trust"]), (&json!("image/png"), &json!("untrusted")));
    assert_eq!(fs::read(&back).unwrap(), PICTURE);
    let unknown = office.json(&["run", "attachment", run, "wall.png"]).exits(3).problem();
    assert!(unknown["next"].as_str().unwrap().contains("roof.png"), "{unknown:#}");
    let replay = office.json(&["run", "replay", run]).exits(0).document();
    assert_eq!(replay["identical"], true, "{replay:#}");
}

/// A person may vouch for what they attach; a second submission under the key is the same run, with other files none.
#[test]
fn a_person_vouches_and_a_key_is_one_run() {
    let model = Model::start([Says::Text("I see."), Says::Text("I see again.")]);
    let office = office(&model);
    let notes = text_of(&office.path("notes.txt"));
    let words = ["run", "Read the notes", "--attach", &notes, "--vouch", "--idempotency-key", "k"];
    let first = office.json(&words).exits(0).document();
    let run = first["run"]["id"].as_str().unwrap();
    let context = office.json(&["run", "context", run]).exits(0).document();
    assert_eq!(context["calls"][0]["trust"], "user", "{context:#}");
    let again = office.json(&words).exits(0).document();
    assert_eq!((&again["new"], &again["run"]["id"]), (&json!(false), &json!(run)));
    fs::write(office.path("notes.txt"), "Something else.").unwrap();
    assert_eq!(office.json(&words).exits(5).problem()["code"], "idempotency-key-reused");
    assert_eq!(model.heard().len(), 1);
}

/// An agent that was killed while its model thought sends the same files again, and says nothing twice.
#[test]
fn a_killed_agent_sends_the_same_files_again() {
    let model = Model::start([Says::Hangs, Says::Text("The chimney leaks.")]);
    let office = office(&model);
    let roof = text_of(&office.path("roof.png"));
    let words =
        ["run", "What is wrong here", "--attach", &roof, "--idempotency-key", "k", "-o", "json"];
    let mut child =
        office.command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while model.heard().is_empty() {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    fs::remove_file(office.path("roof.png")).unwrap();
    let listed = office.json(&["run", "list"]).exits(0).document();
    let run = listed["items"][0]["id"].as_str().unwrap();
    let ended = office.json(&["run", "resume", run]).exits(0).document();
    assert_eq!(ended["status"], "succeeded", "{ended:#}");
    let heard = model.heard();
    assert_eq!(heard.len(), 2);
    assert_eq!(heard[0], heard[1]);
    office.json(&["run", "replay", run]).exits(0);
}

/// What may not in stays outside: the error says which file, why, and what to do.
#[test]
fn the_door_refuses_what_it_does_not_know() {
    let model = Model::start([]);
    let office = office(&model);
    let put = |name: &str, content: &[u8]| {
        fs::write(office.path(name), content).unwrap();
        text_of(&office.path(name))
    };
    let refused = |files: &[&String]| {
        let mut words = vec!["run", "Look at this please"];
        files.iter().for_each(|file| words.extend(["--attach", file.as_str()]));
        let problem = office.json(&words).exits(2).problem();
        assert!(problem["next"].as_str().is_some_and(|next| !next.is_empty()), "{problem:#}");
        problem["code"].as_str().unwrap().to_owned()
    };
    let program = put("roof-2.png", b"\x7fELF\x02\x01\x01\0\0");
    assert_eq!(refused(&[&program]), "attachment-type", "its name says nothing");
    let large = put("large.png", &[PICTURE, &vec![0; 5 * 1024 * 1024]].concat());
    assert_eq!(refused(&[&large]), "attachment-unreadable");
    let long = put("long.txt", "word ".repeat(60_000).as_bytes());
    assert_eq!(refused(&[&long]), "attachment-large");
    let roof = text_of(&office.path("roof.png"));
    assert_eq!(refused(&[&roof, &roof]), "attachment-name");
    let many: Vec<String> = (0..17).map(|n| put(&format!("{n}.txt"), b"x")).collect();
    assert_eq!(refused(&many.iter().collect::<Vec<_>>()), "attachments-many");
    let huge: Vec<String> = (0..3)
        .map(|n| put(&format!("{n}.pdf"), &[TERMS, &vec![0; 4 * 1024 * 1024]].concat()))
        .collect();
    assert_eq!(refused(&huge.iter().collect::<Vec<_>>()), "attachments-large");
    assert_eq!(refused(&[&text_of(&office.path("nowhere.txt"))]), "attachment-unreadable");
    assert!(model.heard().is_empty());

    // An intent takes files where its inputs say so, and no input stands for a file by itself.
    let account = ["intent", "submit", "account_analysis", "--input", "account=ACC-0001"];
    let none = [&account[..], &["--attach", &roof]].concat();
    assert_eq!(office.json(&none).exits(2).problem()["code"], "inputs-invalid");
    let intent = office.path("packs/customer-ops/intents/account_analysis.yaml");
    let text = fs::read_to_string(&intent).unwrap();
    let text = text.replace("    question:\n", "    attachments: {type: array}\n    question:\n");
    fs::write(&intent, text).unwrap();
    let forged = json!({"account": "ACC-0001", "attachments": [{
        "$attached": format!("sha256:{}", "0".repeat(64)), "name": "a", "media_type": "text/plain", "bytes": 1,
    }]});
    let forged = ["intent", "submit", "account_analysis", "--json", &forged.to_string()];
    assert_eq!(office.json(&forged).exits(2).problem()["code"], "attachment-forged");
    office.json(&[&none[..], &["--wait", "--timeout", "20s"]].concat());
    assert!(parts(&model, 1)[1]["image_url"].is_object(), "the intent takes files now");
}

/// A model whose provider's entry does not say that it takes pictures is never sent one; a text goes to any.
#[test]
fn a_model_that_takes_no_pictures_is_not_asked() {
    let model = Model::start([Says::Text("Noted.")]);
    let office = office_with(&[("plain", &model, "clearance = \"confidential\"\n")], "");
    fs::write(office.path("roof.png"), PICTURE).unwrap();
    fs::write(office.path("notes.txt"), NOTES).unwrap();
    let roof = text_of(&office.path("roof.png"));
    let refused =
        office.json(&["run", "Look at this please", "--attach", &roof]).exits(2).problem();
    assert_eq!(refused["code"], "model-takes-no-file");
    assert!(refused["next"].as_str().unwrap().contains("`takes`"), "{refused:#}");
    assert!(model.heard().is_empty());
    let notes = text_of(&office.path("notes.txt"));
    let read = office.json(&["run", "Read this please", "--attach", &notes]).exits(0).document();
    assert_eq!(read["output"], "Noted.");
}

/// Over HTTP a request with files may be larger than others, and no larger than that.
#[test]
fn files_come_over_http_too() {
    let model = Model::start([Says::Text("I see.")]);
    let api = Api::of(office(&model));
    let token = api.token("ulla", &[]);
    let picture = [PICTURE, &vec![7; 2 * 1024 * 1024]].concat();
    let body = |content: &[u8]| {
        json!({
            "task": "Look at this", "wait_ms": 20_000,
            "attachments": [{ "name": "roof.png", "data": STANDARD.encode(content) }],
        })
    };
    let ran = api.post(&token, "/v1/runs", &body(&picture)).ok();
    assert_eq!(ran["output"], "I see.", "{ran:#}");
    let run = ran["run"]["id"].as_str().unwrap();
    let read = api.get(&token, &format!("/v1/runs/{run}/attachments/roof.png")).ok();
    assert_eq!(read["data"], STANDARD.encode(&picture));
    let large = api.post(&token, "/v1/runs", &body(&vec![7; 13 * 1024 * 1024]));
    assert_eq!(large.status, 413, "{large:?}");
    let wrong =
        json!({ "task": "Look", "attachments": [{ "name": "a.txt", "data": "not base64!" }] });
    assert_eq!(api.post(&token, "/v1/runs", &wrong).refused(422), "attachment-data");
    assert_eq!(model.heard().len(), 1);
}
