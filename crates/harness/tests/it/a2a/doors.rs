//! Who is let in, and with what.

use serde_json::{Value, json};

use super::{SPEAKS, agent, asking, change, done, message, refused, rest, rpc};
use crate::api::{Api, request, send};

/// C133: everybody may know that there is an agent and what it wants; what it can do, only who may ask for it.
#[test]
fn the_card_says_how_and_the_extended_one_says_what() {
    let api = Api::open();
    let card = send(
        &api.host,
        request(&api.host, "", ("GET", "/.well-known/agent-card.json"), &Value::Null, &[])
            .as_bytes(),
    )
    .ok();
    let at = format!("http://{}/a2a", api.host);
    for (binding, interface) in
        ["JSONRPC", "HTTP+JSON"].iter().zip(card["supportedInterfaces"].as_array().unwrap())
    {
        let expected = json!({"url": at, "protocolBinding": binding, "protocolVersion": "1.0"});
        assert_eq!(*interface, expected, "{card:#}");
    }
    assert_eq!(card["securitySchemes"]["bearer"]["httpAuthSecurityScheme"]["scheme"], "Bearer");
    assert_eq!(card["securityRequirements"][0]["schemes"]["bearer"]["list"], json!([]), "{card:#}");
    assert_eq!(card["capabilities"]["extendedAgentCard"], true);
    assert_eq!(card["skills"], json!([]), "what there is to ask for is nobody's to read: {card:#}");
    assert!(!card.to_string().contains("churn"), "{card:#}");

    let token = agent(&api, "coder");
    let extended = rest(&api, &token, ("GET", "/extendedAgentCard"), &Value::Null).ok();
    assert_eq!(done(&api, &token, "GetExtendedAgentCard", &json!({})), extended);
    let skills = extended["skills"].as_array().unwrap();
    let risk = skills.iter().find(|skill| skill["id"] == "churn_risk_read").unwrap();
    assert!(risk["tags"].as_array().unwrap().contains(&json!("read-only")), "{risk}");
    assert!(
        !skills.iter().any(|skill| skill["id"].as_str().unwrap().starts_with("crm")),
        "{skills:#?}"
    );
    let inputs = &extended["capabilities"]["extensions"][0]["params"]["inputs"];
    assert_eq!(inputs["churn_risk_read"]["required"], json!(["account"]), "{extended:#}");

    let lars = api.token("lars", &[]);
    assert_eq!(refused(&api, &lars, "GetExtendedAgentCard", &json!({})).0, -32600);
    let send_it = message("m-1", "churn_risk_read", &json!({"account": "ACC-0042"}));
    assert_eq!(refused(&api, &lars, "SendMessage", &send_it), (-32600, "not-allowed".to_owned()));
    assert_eq!(rest(&api, &lars, ("POST", "/message:send"), &send_it).status, 403);
    for token in ["", "hns_0123456789abcdef_wrong"] {
        for path in ["/a2a", "/a2a/tasks", "/a2a/extendedAgentCard"] {
            let answer = api.ask(token, ("GET", path), &Value::Null, &[SPEAKS]);
            assert_eq!(answer.status, 401, "{path}: {answer:?}");
            assert!(answer.header("www-authenticate").is_some_and(|how| how.starts_with("Bearer")));
        }
    }
}

/// DNS rebinding and pages of other sites reach nothing; a body and a message have their limits.
#[test]
fn a_wrong_host_or_origin_and_what_is_too_much_are_refused() {
    let api = Api::open();
    let token = agent(&api, "coder");
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": change("m-1", 45)});
    for wrong in ["Origin: https://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site"] {
        let answer = api.ask(&token, ("POST", "/a2a"), &body, &[SPEAKS, wrong]);
        assert_eq!(answer.status, 403, "{wrong}: {answer:?}");
    }
    for host in ["evil.example", "127.0.0.1.evil.example:80"] {
        for path in ["/a2a", "/.well-known/agent-card.json"] {
            let text = request(host, &token, ("POST", path), &body, &[SPEAKS]);
            assert_eq!(send(&api.host, text.as_bytes()).status, 421, "{host}{path}");
        }
    }
    let large = message("m-1", "churn_risk_read", &json!({"account": "x".repeat(1_200_000)}));
    let answer = rest(&api, &token, ("POST", "/message:send"), &large);
    assert_eq!(answer.status, 413, "{}", answer.status);
    let mut many = change("m-1", 45);
    many["message"]["parts"] = json!(vec![json!({"text": "x"}); 65]);
    assert_eq!(refused(&api, &token, "SendMessage", &many).1, "parts-invalid");
    let mut deep = json!({});
    for _ in 0..100 {
        deep = json!({"x": deep});
    }
    let deep = rpc(&api, &token, "SendMessage", &message("m-1", "churn_risk_read", &deep));
    assert!(deep["error"].is_object(), "{deep}");
    let runs = api.office.json(&["run", "list"]).exits(0).document();
    assert_eq!(runs["items"], json!([]), "nothing was begun");
}

/// What is not of this version, or not done here, is refused by the numbers of the protocol; a message says nothing about who
/// sent it.
#[test]
fn what_is_not_done_here_is_refused_by_the_numbers_of_the_protocol() {
    let api = Api::open();
    let token = agent(&api, "coder");
    for version in ["A2A-Version: 0.3", "A2A-Version: 2.0", "X-None: 1"] {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "params": {}});
        let told = api.ask(&token, ("POST", "/a2a"), &body, &[version]).ok();
        assert_eq!(told["error"]["code"], -32009, "{told}");
        let told = api.ask(&token, ("GET", "/a2a/tasks"), &Value::Null, &[version]);
        assert_eq!(
            (told.status, told.json()["error"]["details"][0]["reason"].clone()),
            (400, json!("VERSION_NOT_SUPPORTED"))
        );
    }
    let with = |key: &str, value: Value| {
        let mut said = change("m-1", 45);
        said["message"][key] = value;
        said
    };
    let configured = |key: &str, value: Value| {
        let mut said = change("m-1", 45);
        said["configuration"] = json!({ key: value });
        said
    };
    let mut tenant = change("m-1", 45);
    tenant["tenant"] = json!("somebody-else");
    for (method, params, code) in [
        ("SendMessage", with("parts", json!([{"url": "https://example.com/x"}])), -32005),
        ("SendMessage", with("parts", json!([{"raw": "aGk=", "filename": "x"}])), -32005),
        ("SendMessage", with("parts", json!([{"data": 1}])), -32602),
        ("SendMessage", with("parts", json!([])), -32602),
        ("SendMessage", with("role", json!("ROLE_AGENT")), -32602),
        ("SendMessage", with("messageId", json!("")), -32602),
        ("SendMessage", with("taskId", json!("run_0000000000000000")), -32001),
        ("SendMessage", configured("acceptedOutputModes", json!(["image/png"])), -32005),
        (
            "SendMessage",
            configured("taskPushNotificationConfig", json!({"url": "http://x"})),
            -32003,
        ),
        ("SendMessage", tenant, -32602),
        ("SendMessage", json!({"message": 1}), -32602),
        ("CreateTaskPushNotificationConfig", json!({"taskId": "x", "url": "http://x"}), -32003),
        ("message/send", change("m-1", 45), -32601),
        ("GetTask", json!({"id": "../../etc"}), -32001),
    ] {
        assert_eq!(refused(&api, &token, method, &params).0, code, "{method} {params}");
    }
    for (path, status) in [("/tasks/x/pushNotificationConfigs", 400), ("/nothing", 404)] {
        assert_eq!(rest(&api, &token, ("GET", path), &Value::Null).status, status, "{path}");
    }
    let text = format!(
        "POST /a2a HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n{SPEAKS}\r\n\
         Content-Length: 1\r\n\r\n{{",
        api.host
    );
    let told = send(&api.host, text.as_bytes()).ok();
    assert_eq!((&told["error"]["code"], &told["id"]), (&json!(-32700), &Value::Null), "{told}");
    let runs = api.office.json(&["run", "list"]).exits(0).document();
    assert_eq!(runs["items"], json!([]), "nothing was begun");
    // What a message says about its sender is told to nobody.
    let mut said = change("m-1", 45);
    said["message"]["metadata"]["user"] = json!("person:mira");
    said["metadata"] = json!({"principal": "person:mira"});
    let (run, _) = asking(&api, &token, &said);
    let events = api.office.json(&["run", "events", &run]).exits(0).document();
    assert!(!events.to_string().contains("person:mira"), "{events:#}");
}
