//! Canaries (C150): secrets planted where secrets are (environment, file, file of secrets, a provider's key), and said
//! by everybody outside who may say something: a system in answers, keys, errors and broken answers, in every form and
//! cut into chunks; a model in its words and arguments; the person who asks. Then everything that the product made is
//! searched for them: store, log, events, context, prompts, receipts, cards, pages, export, problems.
//!
//! Without `redact` each of these tests fails at the first artefact, so what they show is that it stands before all.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

use crate::{
    agents::model::{Model, Says},
    api::{Api, Pages},
    support::{Office, Ran, Serving, holds, id_of},
};

/// Name under `[secrets]`, value. The characters are those that spellings differ in.
const PLANTED: [(&str, &str); 4] = [
    ("env_canary", "cnryE/4f9K+x2Lq7Zt8mWv3Pd"),
    ("file_canary", "cnryF/7Hn2+Qb5Xs9Ky4Rj6Ma"),
    ("leak_token", "cnryK/1Tz6+Gv8Uc3Bw9Ne5Lf"),
    ("model_key", "cnryM/5Yp3+Dk7Ri2Ox8Sa4Hg"),
];

/// What nobody declared: told by its shape alone.
const SHAPED: [&str; 2] = ["ghp_9aQ2wE4rT6yU8iO0pA1sD3fG5hJ7kL9zX1cV", "4111 1111 1111 1111"];

/// Bytes of each chunk of an answer: every canary is cut, at every place in some form.
const CHUNK_BYTES: usize = 5;

/// Bytes of a canary that are a leak by themselves.
const PIECE_BYTES: usize = 12;

const CONNECTOR: &str = "\
schema: harness.connector/v1
name: leak
kind: http
system: leak
description: Says all it knows.
auth: {bearer: leak_token}
defaults:
  timeout_ms: 20000
  labels: {trust: verified, confidentiality: internal}
  clearance: {confidentiality: confidential}
  input: {}
operations:
  look: {effect: read, summary: Look., request: {method: GET, path: /look}, input: INPUT, output: {type: object}}
  pile: {effect: read, summary: Read much., request: {method: GET, path: /pile}, input: INPUT, output: {}}
  fail: {effect: read, summary: Fail., request: {method: GET, path: /fail}, input: INPUT, output: {type: object}}
  slip:
    effect: read
    summary: Break a promise.
    request: {method: GET, path: /slip}
    input: INPUT
    output: {type: object, required: [never]}
  save:
    effect: write
    egress: false
    summary: \"Save {/text}.\"
    request: {method: POST, path: /save, body: {text: /text}, external_ref: /id}
    input: {type: object, required: [text], additionalProperties: false, properties: {text: {type: string}}}
    output: {type: object}
";

const HELPER: &str = "\
schema: harness.agent/v1
name: leak-helper
instructions: Look and save.
uses: [leak.look, leak.pile, leak.fail, leak.slip, leak.save]
limits: {turns: 9, calls: 12, tokens: 100000, time: 1h, repairs: 2}
";

const POLICY: &str = "\
@id(\"customer-ops.leak\") @reason(\"Notes are saved.\")
permit (principal, action == Action::\"leak.save\", resource);
@id(\"customer-ops.leak-asks\") @reason(\"A person looks first.\")
forbid (principal, action == Action::\"leak.save\", resource)
unless { context.evidence.approvals.approver >= 1 };
";

/// Every form of a value that an outside system may put it in.
fn forms(value: &str) -> Vec<String> {
    let mut all = vec![value.to_owned(), hex(value), hex(value).to_uppercase()];
    let percent = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    all.push(value.bytes().map(percent).collect());
    for before in ["", "a", "ab"] {
        all.push(STANDARD.encode(format!("{before}{value}")));
        all.push(URL_SAFE_NO_PAD.encode(format!("{before}{value} and more")));
    }
    all
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// What must not be found, whatever stands around it.
fn needles(value: &str) -> Vec<String> {
    let mut all: Vec<String> = (0..=value.len().saturating_sub(PIECE_BYTES))
        .map(|at| value[at..at + PIECE_BYTES].to_owned())
        .collect();
    all.extend([hex(value), hex(value).to_uppercase()]);
    all.extend(forms(value).into_iter().filter(|form| form.contains('%')));
    for shift in 0..3 {
        let bytes = [vec![0; shift], value.as_bytes().to_vec()].concat();
        let (first, last) = ((shift * 8).div_ceil(6), bytes.len() * 8 / 6);
        all.push(STANDARD_NO_PAD.encode(&bytes)[first..last].to_owned());
        all.push(URL_SAFE_NO_PAD.encode(&bytes)[first..last].to_owned());
    }
    all
}

fn said_of_all() -> String {
    let each = PLANTED.iter().flat_map(|(_, value)| forms(value));
    each.chain(SHAPED.map(str::to_owned)).collect::<Vec<_>>().join(" | ")
}

/// A system that repeats who asked, and all it knows, in small chunks.
#[derive(Clone)]
struct Leak {
    url: String,
    /// Credentials that it was shown.
    shown: Arc<Mutex<Vec<String>>>,
}

impl Leak {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let leak = Self { url, shown: Arc::default() };
        let served = leak.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let served = served.clone();
                thread::spawn(move || served.answer(stream.unwrap()));
            }
        });
        leak
    }

    fn answer(&self, mut stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let (mut first, mut length, mut shown) = (String::new(), 0, String::new());
        reader.read_line(&mut first).ok()?;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line.to_lowercase().starts_with("authorization:") {
                shown = line["authorization:".len()..].trim().to_owned();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        reader.read_exact(&mut vec![0; length]).ok()?;
        self.shown.lock().unwrap().push(shown.clone());
        let path = first.split(' ').nth(1)?;
        let all = said_of_all();
        let each: Vec<String> = PLANTED.iter().flat_map(|(_, value)| forms(value)).collect();
        let (status, body) = match path {
            "/fail" => (500, format!("it broke for {shown}: {all}")),
            "/slip" => (200, json!({ "said": all }).to_string()),
            "/save" => (200, json!({ "id": PLANTED[2].1, "said": all }).to_string()),
            "/pile" => {
                let filler = "quiet ".repeat(25_000);
                (200, json!({ "a": all, "b": filler, "c": all, "d": filler, "e": all }).to_string())
            }
            _ => {
                let keyed = json!({ PLANTED[0].1: PLANTED[1].1 });
                // What comes first is told whole, however long the rest is.
                let plain = PLANTED.map(|(_, value)| value).join(" ") + " " + &SHAPED.join(" ");
                let body = json!({
                    "a_plain": plain, "asked_with": shown, "each": each, "keyed": keyed, "said": all,
                });
                (200, body.to_string())
            }
        };
        let head = format!(
            "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Transfer-Encoding: chunked\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).ok()?;
        let size = if body.len() > 100_000 { 8_191 } else { CHUNK_BYTES };
        for chunk in body.as_bytes().chunks(size) {
            stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).ok()?;
            stream.write_all(chunk).ok()?;
            stream.write_all(b"\r\n").ok()?;
        }
        stream.write_all(b"0\r\n\r\n").ok()
    }
}

/// An office with a canary in every place where a secret may be.
fn planted(leak: &Leak, model: &Model) -> Office {
    let mut office = Office::open();
    office.set("CANARY_IN_ENVIRONMENT", PLANTED[0].1);
    let file = office.path("secrets/canary");
    fs::write(&file, PLANTED[1].1).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&file, private).unwrap();
    let pack = office.path("packs/customer-ops");
    let input = "{type: object, additionalProperties: false}";
    let connector = CONNECTOR.replace("INPUT", input).replace("  input: {}\n", "");
    fs::write(pack.join("connectors/leak.yaml"), connector).unwrap();
    fs::write(pack.join("agents/leak-helper.yaml"), HELPER).unwrap();
    fs::write(pack.join("policies/leak.cedar"), POLICY).unwrap();
    let manifest = fs::read_to_string(pack.join("pack.yaml")).unwrap();
    let asks = "    - leak.fail\n    - leak.look\n    - leak.pile\n    - leak.save\n    - leak.slip\n    - mail.send\n";
    let manifest = manifest.replace("    - mail.send\n", asks);
    let manifest =
        manifest.replace("[billing_token, crm_token,", "[billing_token, leak_token, crm_token,");
    fs::write(pack.join("pack.yaml"), manifest).unwrap();
    let (leak, model) = (&leak.url, &model.url);
    let more = format!(
        "[systems.leak]\nkind = \"http\"\nurl = \"{leak}\"\n\
         [providers.scripted]\napi = \"openai\"\nurl = \"{model}\"\nmodel = \"scripted-1\"\n\
         streaming = \"off\"\nclearance = \"confidential\"\nkey = \"model_key\"\n\
         [models.main]\nproviders = [\"scripted\"]\n\
         [secrets]\nenv_canary = \"env:CANARY_IN_ENVIRONMENT\"\nfile_canary = \"file:{}\"\n\
         leak_token = \"secret:leak-token\"\nmodel_key = \"secret:model-key\"\n",
        file.display()
    );
    office.reconfigure("[secrets]\n", &more);
    office.reconfigure("[keys]\n", "[keys]\nsecrets = \"file:keys/secrets.key\"\n");
    for (name, value, grantee) in
        [("leak-token", PLANTED[2].1, "leak"), ("model-key", PLANTED[3].1, "provider:scripted")]
    {
        office.tell(&["secret", "set", name], value).exits(0);
        office.run(&["secret", "grant", name, "--system", grantee]).exits(0);
    }
    office
}

/// What the product made, by where it was found.
#[derive(Default)]
struct Artefacts(Vec<(String, Vec<u8>)>);

impl Artefacts {
    fn keep(&mut self, name: &str, bytes: impl AsRef<[u8]>) {
        self.0.push((name.to_owned(), bytes.as_ref().to_vec()));
    }

    fn keep_ran(&mut self, words: &[&str], ran: &Ran) {
        let name = words.join(" ");
        self.keep(&format!("{name} (output)"), &ran.stdout);
        self.keep(&format!("{name} (errors)"), &ran.stderr);
    }

    /// Every file below a folder but those that are secrets themselves.
    fn keep_files(&mut self, folder: &Path, own: &[PathBuf]) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            if own.contains(&path) {
                continue;
            }
            if kind.is_dir() {
                self.keep_files(&path, own);
            } else if kind.is_file() {
                self.keep(&path.display().to_string(), fs::read(&path).unwrap());
            }
        }
    }

    /// Nothing holds a canary, in any form, or in part.
    fn are_clean(&self) {
        let planted = PLANTED.iter().map(|(_, value)| *value).chain(SHAPED);
        for value in planted {
            for needle in needles(value) {
                for (name, bytes) in &self.0 {
                    assert!(!holds(bytes, &needle), "{name} holds {needle}, a form of {value}");
                }
            }
        }
    }

    fn say(&self, name: &str) -> String {
        let found = self.0.iter().find(|(known, _)| known.starts_with(name)).unwrap();
        String::from_utf8_lossy(&found.1).into_owned()
    }
}

/// What a model makes of it: it repeats what it can, in words and in arguments. An answer with its provider's own key is
/// refused as a whole, so that one it only hears of.
fn repeating() -> [Says; 3] {
    let each = PLANTED.iter().take(3).flat_map(|(_, value)| forms(value));
    let all = each.chain(SHAPED.map(str::to_owned)).collect::<Vec<_>>().join(" | ");
    let looks = ["leak_look", "leak_pile", "leak_fail", "leak_slip"];
    let text: &'static str = format!("I was told: {all}").leak();
    [
        Says::Calls(looks.map(|name| (name, json!({}))).to_vec()),
        Says::Calls(vec![("leak_save", json!({ "text": format!("note {all}") }))]),
        Says::Text(text),
    ]
}

/// Everything that can be asked about a run, and every page that shows it.
fn gather(api: &Api, run: &str, kept: &mut Artefacts) {
    let office = &api.office;
    let bundle = office.path("run.bundle");
    let bundle = bundle.to_str().unwrap();
    let receipts = office.json(&["receipt", "list", run]).exits(0).document();
    let receipts: Vec<String> = receipts["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect();
    assert!(receipts.len() >= 2, "{receipts:?}");
    let mut asked: Vec<Vec<&str>> = vec![
        vec!["run", "get", run],
        vec!["run", "events", run],
        vec!["run", "context", run],
        vec!["run", "replay", run],
        vec!["run", "export", run, "--to", bundle],
        vec!["run", "list"],
        vec!["plan", "get", run],
        vec!["explain", run],
        vec!["receipt", "verify", run],
        vec!["receipt", "list", run],
        vec!["approval", "list"],
        vec!["exception", "list"],
        vec!["doctor"],
        vec!["config", "show"],
        vec!["secret", "list"],
        vec!["kpi", "report"],
        // Problems, with what was said in them.
        vec!["run", "get", PLANTED[0].1],
        vec!["intent", "submit", PLANTED[2].1],
    ];
    for receipt in &receipts {
        asked.push(vec!["receipt", "get", receipt]);
        asked.push(vec!["explain", receipt]);
    }
    for words in asked {
        for format in ["json", "table"] {
            let words = [&words[..], &["-o", format]].concat();
            kept.keep_ran(&words, &office.run(&words));
        }
    }
    let pages = Pages::open(api, "ulla");
    let addresses = ["/approvals", "/exceptions", "/runs", "/receipts", "/packs"];
    let shown = [format!("/runs/{run}"), format!("/runs/{run}?open=all")];
    let receipts = receipts.iter().map(|receipt| format!("/receipts/{receipt}"));
    for address in addresses.map(str::to_owned).into_iter().chain(shown).chain(receipts) {
        kept.keep(&format!("page {address}"), pages.page(&address));
    }
    let token = api.token("ulla", &[]);
    for path in [format!("/v1/runs/{run}"), format!("/v1/runs/{run}/events")] {
        kept.keep(&format!("answer {path}"), api.get(&token, &path).body);
    }
}

/// C150, C151: a whole run over canaries, and nothing that it left or told holds one; what had them is marked. C138: nor
/// does its log at the level of traces, of a provider's key as little as of any other secret. The
/// system and the provider were shown their own secret, and no other.
#[test]
fn no_artefact_of_a_run_holds_a_canary_in_any_form() {
    let (leak, model) = (Leak::start(), Model::start(repeating()));
    let office = planted(&leak, &model);
    let mut kept = Artefacts::default();
    let log = office.path("serve.log");
    let (serving, host) = Serving::logging(&office, "trace", &log);
    let api = Api { office, host, serving: Some(serving) };
    let goal = format!("Look, then save. My key is {} and {}", PLANTED[0].1, PLANTED[1].1);
    let words = ["run", &goal, "--agent", "leak-helper", "--write", "-o", "json"];
    let began = api.office.run(&words);
    kept.keep("run (output)", &began.stdout);
    kept.keep("run (errors)", &began.stderr);
    let run = id_of(&began.document());
    let (approval, digest) = api.office.card(&run);
    for words in
        [&["approval", "get", &approval][..], &["approval", "get", &approval, "-o", "json"]]
    {
        kept.keep_ran(words, &api.office.run(words));
    }
    let pages = Pages::open(&api, "mira");
    kept.keep("card", pages.page(&format!("/approvals/{approval}")));
    let approve = ["approval", "approve", &approval, "--digest", &digest];
    kept.keep_ran(&approve[..2], &api.office.json_as("mira", &approve).exits(0));
    gather(&api, &run, &mut kept);
    for (turn, heard) in model.heard().iter().enumerate() {
        kept.keep(&format!("prompt {turn}"), heard.to_string());
    }
    assert_eq!(model.heard().len(), 3);
    let Api { office, serving, .. } = api;
    drop(serving);
    let own = ["secrets", "keys"].map(|name| office.path(name));
    let own: Vec<PathBuf> = own.into_iter().map(|path| office.dir().join(path)).collect();
    kept.keep_files(office.dir(), &own);
    kept.are_clean();
    // What is clean because nothing came by shows nothing: each canary came, and is marked where it was.
    let (context, prompt) = (kept.say("run context"), kept.say("prompt 1"));
    for (name, _) in PLANTED {
        let mark = format!("[secret:{name}]");
        assert!(prompt.contains(&mark), "{mark}: {prompt}");
    }
    for mark in ["[token:github]", "[card:1111]"] {
        assert!(prompt.contains(mark), "{mark}: {prompt}");
    }
    assert!(context.contains("[secret:env_canary]"), "{context}");
    assert!(kept.say("prompt 0").contains("My key is [secret:env_canary]"));
    let shown = leak.shown.lock().unwrap().clone();
    assert!(shown.len() >= 5, "{shown:?}");
    assert!(shown.iter().all(|shown| *shown == format!("Bearer {}", PLANTED[2].1)), "{shown:?}");
}

const MASKED_HELPER: &str = "\
schema: harness.agent/v1
name: masked-helper
instructions: Say who owns the account.
uses: [crm.get_account]
context:
  memory: {do: crm.get_account, with: {account: ACC-0042}, tokens: 800}
limits: {turns: 9, calls: 12, tokens: 100000, time: 1h, repairs: 2}
";

const WITHHELD: &str = "@id(\"withheld\") @reason(\"Addresses are not for agents.\")
forbid (principal, action == Action::\"crm.get_account\", resource)
unless { context.evidence.transforms.contains(\"mask:/OwnerEmail\") };
";

/// C112: what policy withholds of a read stands in no prompt, neither as a result nor as what memory brought, in no log
/// at the level of traces, and in nothing else that the run left; what stands beside it is there.
#[test]
fn a_field_that_policy_masks_stands_in_no_prompt_log_or_memory() {
    let model = Model::start([
        Says::Calls(vec![("crm_get_account", json!({ "account": "ACC-0001" }))]),
        Says::Text("Somebody whose address I was not told."),
    ]);
    let office = crate::agents::office(&model);
    let pack = office.path("packs/customer-ops");
    fs::write(pack.join("agents/masked-helper.yaml"), MASKED_HELPER).unwrap();
    let policy = format!("{}{WITHHELD}", crate::support::PERMIT_ALL);
    fs::write(office.path("operator.cedar"), policy).unwrap();
    let accounts = ["ACC-0001", "ACC-0042"]
        .map(|account| office.world.get(&format!("/crm/accounts/{account}")));
    let field = |account: &Value, name: &str| account[name].as_str().unwrap().to_owned();
    let mut kept = Artefacts::default();
    let log = office.path("serve.log");
    let (serving, host) = Serving::logging(&office, "trace", &log);
    let api = Api { office, host, serving: Some(serving) };
    let words = ["run", "Who owns ACC-0001?", "--agent", "masked-helper", "-o", "json"];
    let ran = api.office.run(&words).exits(0);
    kept.keep_ran(&words, &ran);
    let run = id_of(&ran.document());
    gather(&api, &run, &mut kept);
    let first = ["run", "context", &run, "--turn", "1"];
    kept.keep_ran(&first, &api.office.json(&first).exits(0));
    let heard = model.heard();
    assert_eq!(heard.len(), 2);
    for (turn, heard) in heard.iter().enumerate() {
        kept.keep(&format!("prompt {turn}"), heard.to_string());
    }
    let Api { office, serving, .. } = api;
    drop(serving);
    kept.keep_files(office.dir(), &["secrets", "keys"].map(|name| office.path(name)));
    for account in &accounts {
        let address = field(account, "OwnerEmail");
        for form in forms(&address) {
            for (name, bytes) in &kept.0 {
                assert!(!holds(bytes, &form), "{name} holds {form}, a form of {address}");
            }
        }
    }
    // What is clean because nothing came by shows nothing: both reads were told, each with its mark.
    let (memory, result) = (kept.say("prompt 0"), kept.say("prompt 1"));
    for (told, account) in [(&memory, &accounts[1]), (&result, &accounts[0])] {
        assert!(told.contains(&field(account, "Name")), "{told}");
        assert!(told.contains(connect::ingest::MASKED), "{told}");
    }
    let log =
        String::from_utf8(kept.0.iter().find(|(n, _)| n.ends_with("serve.log")).unwrap().1.clone());
    assert!(log.unwrap().contains("crm.get_account"), "the log tells of the reads");
    assert!(kept.say(&first.join(" ")).contains(&field(&accounts[1], "Name")));
}

/// What is piped into a command must be one value, and a problem about it never repeats it.
#[test]
fn a_refused_value_is_not_repeated() {
    let office = Office::open();
    let refused =
        office.tell(&["secret", "set", "two", "-o", "json"], "cnry-line-one\ncnry-line-two");
    let problem = refused.exits(2).problem();
    assert_eq!(problem["code"], "secret-invalid");
    assert!(!problem.to_string().contains("cnry"), "{problem}");
    let argued = office.json(&["secret", "set", "two", "cnry-as-an-argument"]).exits(2).problem();
    assert_eq!(argued["code"], "secret-argument");
    assert!(!argued.to_string().contains("cnry"), "{argued}");
    let _none: Value = office.json(&["secret", "list"]).exits(0).document();
}
