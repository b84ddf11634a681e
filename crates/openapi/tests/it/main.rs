//! Documents of the shapes that real ones have, drafted and read back by the loader of packs. The ten are these seven
//! files, our own API's document and two generated ones, of many operations and of a deep answer.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by panicking; shared steps are not marked as tests"
)]

use std::{collections::BTreeMap, fmt::Write as _, path::Path, sync::LazyLock};

use openapi::{Draft, Options, draft};
use serde_json::{Value, json};

/// The documents of the corpus by name, read once.
fn corpus() -> &'static BTreeMap<String, Value> {
    static CORPUS: LazyLock<BTreeMap<String, Value>> = LazyLock::new(read_corpus);
    &CORPUS
}

fn read_corpus() -> BTreeMap<String, Value> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(here.join("tests/corpus")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let bytes = std::fs::read(&path).unwrap();
        all.insert(name.clone(), pack::yaml_value(&name, &bytes).unwrap());
    }
    let own = std::fs::read(here.join("../../docs/openapi.json")).unwrap();
    all.insert("own".to_owned(), serde_json::from_slice(&own).unwrap());
    all.insert("wide".to_owned(), wide(1_200));
    all.insert("deep".to_owned(), deep(400));
    all
}

/// A document of so many operations, each with what it refers to.
fn wide(operations: usize) -> Value {
    let mut paths = serde_json::Map::new();
    for number in 0..operations {
        let schema = json!({"$ref": format!("#/components/schemas/Thing{}", number % 50)});
        let content = json!({"application/json": {"schema": schema}});
        let body = json!({"required": true, "content": content.clone()});
        let own = json!({"operationId": format!("doThing{number}"), "tags": [format!("tag{}", number % 7)],
                         "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}],
                         "requestBody": body, "responses": {"200": {"description": "ok", "content": content}}});
        paths.insert(format!("/things/{number}/{{id}}"), json!({"post": own}));
    }
    let thing = |number: usize| {
        let next = format!("#/components/schemas/Thing{}", (number + 1) % 50);
        let fields: serde_json::Map<String, Value> = (0..12)
            .map(|field| (format!("field_{field}"), json!({"type": "string", "maxLength": 40})))
            .collect();
        let mut schema = json!({"type": "object", "properties": fields});
        schema["properties"]["next"] = json!({"$ref": next});
        (format!("Thing{number}"), schema)
    };
    let schemas: serde_json::Map<String, Value> = (0..50).map(thing).collect();
    json!({"openapi": "3.0.3", "info": {"title": "Wide", "version": "1"}, "paths": paths,
           "components": {"schemas": schemas}})
}

/// A document whose one answer refers on and on.
fn deep(levels: usize) -> Value {
    let level = |number: usize| {
        let next = json!({"$ref": format!("#/components/schemas/L{}", number + 1)});
        let own = if number + 1 == levels { json!({"type": "string"}) } else { next };
        let fields = json!({"a": {"type": "string"}, "b": {"type": "integer"}, "next": own});
        (format!("L{number}"), json!({"type": "object", "properties": fields}))
    };
    let schemas: serde_json::Map<String, Value> = (0..levels).map(level).collect();
    let content = json!({"application/json": {"schema": {"$ref": "#/components/schemas/L0"}}});
    json!({"openapi": "3.1.0", "info": {"title": "Deep", "version": "1"},
           "paths": {"/deep": {"get": {"operationId": "deep", "responses": {"200": {"description": "ok", "content": content}}}}},
           "components": {"schemas": schemas}})
}

fn drafted(name: &str) -> Draft {
    let options = Options { name: name.to_owned(), ..Options::default() };
    draft(&corpus()[name], &options).unwrap()
}

/// The operations of a draft, as the loader of packs reads them.
fn loaded(draft: &Draft) -> BTreeMap<String, kernel::operation::Operation> {
    let secret = |file: &openapi::File| {
        let value = pack::yaml_value(&file.name, file.text.as_bytes()).unwrap();
        let auth = value.get("auth")?.as_object()?.values().next()?.clone();
        auth.as_str().or(auth["secret"].as_str()).map(str::to_owned)
    };
    let secrets: std::collections::BTreeSet<String> =
        draft.files.iter().filter_map(secret).collect();
    let manifest = format!(
        "schema: harness.pack/v1\nname: drafted\nversion: 0.1.0\nowner: team\ndescription: Drafted.\n\
         harness: \">=0.1\"\nasks: {}\n",
        json!({"operations": [], "secrets": secrets})
    );
    let mut files = BTreeMap::from([("pack.yaml".to_owned(), manifest.into_bytes())]);
    for file in &draft.files {
        files.insert(format!("connectors/{}.yaml", file.name), file.text.clone().into_bytes());
    }
    let loaded = pack::Pack::load(files).unwrap_or_else(|problems| {
        let all = problems.iter().fold(String::new(), |mut all, problem| {
            let _ = writeln!(all, "{problem}");
            all
        });
        panic!("{}: {all}", draft.title)
    });
    let all = loaded.pack.catalogue.iter();
    all.map(|(id, entry)| (id.to_string(), entry.operation.as_ref().clone())).collect()
}

/// C056: whatever is drafted is a connector, whole in itself; what is not drafted has its reason.
#[test]
fn every_document_becomes_connectors_that_load_and_nothing_is_taken_to_be_harmless() {
    for (name, document) in corpus() {
        let draft = draft(document, &Options { name: name.clone(), ..Options::default() }).unwrap();
        let all = loaded(&draft);
        let paths = document["paths"].as_object().unwrap().values();
        let methods = ["get", "post", "put", "patch", "delete"];
        let declared: usize =
            paths.map(|item| methods.iter().filter(|m| item.get(**m).is_some()).count()).sum();
        assert!(all.len() + draft.left_out.len() >= declared, "{name}: none is lost");
        for (id, operation) in &all {
            let is_get = operation.binding["method"] == "GET";
            assert_eq!(operation.is_write(), !is_get, "{id}");
            assert_eq!(operation.is_irreversible(), !is_get, "{id}");
            assert!(operation.labels.join_all().is_tainted(), "{id}: its answer is untrusted");
            assert_eq!(operation.input["additionalProperties"], false, "{id}");
            assert_eq!(operation.facts.retry, kernel::operation::Retry::Never, "{id}");
        }
        assert!(draft.left_out.iter().all(|left| left.why.len() > 10), "{:?}", draft.left_out);
    }
}

#[test]
fn both_dialects_of_null_bounds_and_one_way_fields_come_to_one() {
    let all = loaded(&drafted("pets"));
    let (sent, got) = (&all["pets.add_pet"].input, &all["pets.add_pet"].output);
    let (sent, got) = (&sent["$defs"]["pet"], &got["$defs"]["pet"]);
    assert_eq!(sent["required"], json!(["name"]), "what the system makes is not sent");
    assert!(sent["properties"].get("id").is_none() && sent["properties"].get("secret").is_some());
    assert_eq!(got["required"], json!(["id", "name"]));
    assert_eq!(got["properties"]["nick"]["type"], json!(["string", "null"]));
    assert_eq!(got["properties"]["sex"]["enum"], json!(["f", "m", null]));
    assert_eq!(got["properties"]["owner"]["anyOf"][0], json!({"type": "null"}));
    assert_eq!(got["properties"]["weight"], json!({"type": "number", "exclusiveMinimum": 0}));
    let limit = &all["pets.list_pets"].input["properties"]["limit"];
    assert_eq!((&limit["minimum"], &limit["maximum"]), (&json!(1), &json!(2_147_483_647)));
    assert_eq!(all["pets.list_pets"].summary, "Pets (all of them)");
    let milestone = &loaded(&drafted("repos"))["repos.issues_get"].output["$defs"]["issue"];
    let milestone = &milestone["allOf"][1]["properties"]["milestone"];
    assert_eq!(milestone, &json!({"required": ["url"], "allOf": [{"$ref": "#/$defs/base"}]}));
}

#[test]
fn parameters_and_bodies_stand_where_the_document_says() {
    let payments = loaded(&drafted("payments"));
    let charges = &payments["payments.get_charges"].binding;
    assert_eq!(
        charges["query"],
        json!({"starting_after": "/starting_after", "created[gt]": "/created/gt", "created[lt]": "/created/lt",
               "expand": {"at": "/expand", "join": ","}})
    );
    let charge = &payments["payments.post_charges"];
    assert_eq!(
        charge.binding["form"],
        json!({"amount": "/body/amount", "currency": "/body/currency", "items": "/body/items",
               "card[number]": "/body/card/number", "card[cvc]": "/body/card/cvc"})
    );
    assert_eq!(charge.binding["idempotency"], json!({"header": "Idempotency-Key"}));
    assert!(charge.input["properties"].get("Idempotency-Key").is_none(), "nobody chooses it");
    let pets = loaded(&drafted("pets"));
    let photo = &pets["pets.upload_photo"];
    assert_eq!(photo.binding["multipart"]["file"], json!({"at": "/body/file", "as": "file"}));
    assert_eq!(
        photo.input["properties"]["body"]["properties"]["file"]["contentEncoding"],
        "base64"
    );
    assert_eq!(pets["pets.delete_pet"].binding["headers"], json!({"X-Reason": "/X-Reason"}));
    let repos = loaded(&drafted("repos"));
    assert_eq!(repos["repos.issues_update"].binding["media"], "application/merge-patch+json");
    let calendar = loaded(&drafted("calendar"));
    let query = &calendar["calendar.calendar_events_list"].binding["query"];
    assert_eq!(query["types"], json!({"at": "/types", "join": "|"}));
    assert_eq!(query["from"], "/window/from");
    // One name in three places: each has an argument of its own.
    let show = &loaded(&drafted("tickets"))["tickets.show_ticket"];
    assert_eq!(show.binding["path"], "/tickets/{id}.json");
    assert_eq!(show.binding["query"], json!({"id": "/id_2", "body": "/body_2"}));
}

#[test]
fn each_login_is_a_connector_of_its_own() {
    for (name, auth) in [
        ("pets", json!({"header": {"name": "X-Api-Key", "secret": "pets_key"}})),
        ("payments", json!({"basic": {"user": "api", "secret": "payments_password"}})),
        ("calendar", json!({"bearer": "calendar_token"})),
        ("tickets", json!({"cookie": {"name": "sid", "secret": "tickets_key"}})),
        ("search", json!({"query": {"name": "api_key", "secret": "search_key"}})),
    ] {
        let all = loaded(&drafted(name));
        let mine = all.iter().filter(|(id, _)| id.starts_with(&format!("{name}.")));
        assert!(mine.clone().count() > 0, "{name}");
        mine.for_each(|(id, operation)| assert_eq!(operation.binding["auth"], auth, "{id}"));
    }
    let health = &loaded(&drafted("calendar"))["calendar_public.health"].binding;
    assert!(health.get("auth").is_none(), "no token goes where none is asked for");
}

#[test]
fn what_cannot_be_a_connector_is_left_out_by_name_and_with_its_reason() {
    let draft = drafted("odd");
    assert_eq!(draft.files[0].operations, ["good"]);
    let why = |place: &str| {
        let found = draft.left_out.iter().find(|left| left.place.ends_with(place));
        found.unwrap_or_else(|| panic!("{place}: {:?}", draft.left_out)).why.clone()
    };
    for (place, said) in [
        ("/csv", "text/csv"),
        ("/raw", "application/octet-stream"),
        ("/away", "outside of the document"),
        ("/far", "nothing is fetched"),
        ("/nowhere", "leads nowhere"),
        ("/round", "in a circle"),
        ("/own", "server of its own"),
        ("/two", "at once"),
        ("/tls", "mutualTLS"),
        ("/undeclared", "not declared"),
        ("/lost/{id}", "nothing says what"),
        ("/list/{ids}", "not one value"),
        ("/cookie", "cannot be sent"),
        ("/a/../b", "no connector sends"),
        ("/gone", "leads nowhere"),
    ] {
        assert!(why(place).contains(said), "{place}: {}", why(place));
    }
    assert_eq!(draft.left_out.len(), 15);
}

#[test]
fn what_a_person_decides_is_said_once_with_all_it_is_about() {
    let draft = drafted("payments");
    let about = |part: &str| {
        let found: Vec<_> = draft.decisions.iter().filter(|one| one.text.contains(part)).collect();
        assert_eq!(found.len(), 1, "{part}: {:?}", draft.decisions);
        found[0].about.clone()
    };
    assert_eq!(about("https://api.pay.example"), ["payments"]);
    assert_eq!(about("harness secret set payments-password"), ["payments"]);
    assert_eq!(
        about("nobody can take back"),
        ["payments.post_charges (POST /v1/charges)"],
        "the other write was left out"
    );
    assert_eq!(about("come in pages"), ["payments.get_charges"]);
    assert_eq!(about("retry: keyed"), ["payments.post_charges"]);
    let pattern = drafted("tickets");
    assert!(
        pattern.decisions.iter().any(|one| one.text.contains("(?!re:)")),
        "{:?}",
        pattern.decisions
    );
}

#[test]
fn many_operations_are_several_files_and_a_deep_answer_is_left_open_below() {
    let draft = drafted("wide");
    let counts: Vec<usize> = draft.files.iter().map(|file| file.operations.len()).collect();
    assert_eq!(counts.iter().sum::<usize>(), 1_200);
    assert!(counts.len() > 5 && counts.iter().all(|count| *count <= 200), "{counts:?}");
    let tagged = Options { name: "wide".into(), tags: ["tag3".to_owned()].into() };
    let some = openapi::draft(&wide(1_200), &tagged).unwrap();
    assert_eq!(some.files.iter().map(|file| file.operations.len()).sum::<usize>(), 171);
    let none = Options { name: "wide".into(), tags: ["nothing".to_owned()].into() };
    assert!(openapi::draft(&wide(3), &none).unwrap_err().to_string().contains("tags"));
    let deep = drafted("deep");
    assert!(
        deep.decisions.iter().any(|one| one.text.contains("left open")),
        "{:?}",
        deep.decisions
    );
}

#[test]
fn what_is_no_document_of_these_versions_is_refused() {
    for (document, said) in [
        (json!({"swagger": "2.0"}), "Swagger 2.0"),
        (json!({"openapi": "3.2.0", "paths": {}}), "3.2.0 is not read"),
        (json!({"openapi": "4.0.0"}), "4.0.0"),
        (json!({"paths": {}}), "no OpenAPI document"),
        (json!([]), "no OpenAPI document"),
        (json!({"openapi": "3.1.0", "paths": {}}), "no operations"),
        (json!({"openapi": "3.1.0", "paths": 7}), "no operations"),
    ] {
        let refused = draft(&document, &Options::default()).unwrap_err().to_string();
        assert!(refused.contains(said), "{document}: {refused}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever stands at any place of a document, it is drafted or refused, and what is drafted loads.
    #[test]
    fn any_value_anywhere_is_drafted_or_refused(
        name in proptest::sample::select(vec!["pets", "payments", "repos", "calendar", "tickets", "search"]),
        place in 0_usize..4_000,
        value in proptest::sample::select(vec![json!(null), json!(7), json!("x"), json!([]), json!({}), json!([[]]),
                                               json!({"$ref": "#"}), json!({"$ref": "#/paths"}), json!("a\nb: {c}"), json!(true)]),
    ) {
        let mut document = corpus()[name].clone();
        let mut left = place;
        replace(&mut document, &mut left, &value);
        if let Ok(draft) = draft(&document, &Options { name: name.to_owned(), ..Options::default() }) {
            loaded(&draft);
        }
    }
}

/// Puts the value at the so-manieth place.
fn replace(at: &mut Value, left: &mut usize, value: &Value) {
    if *left == 0 {
        *at = value.clone();
        *left = usize::MAX;
        return;
    }
    *left -= 1;
    match at {
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, left, value)),
        Value::Object(map) => map.values_mut().for_each(|item| replace(item, left, value)),
        _ => {}
    }
}
