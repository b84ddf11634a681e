//! What a message begins, and what becomes of it.

use serde_json::{Value, json};

use super::{SPEAKS, Stream, agent, asking, change, done, message, refused, rest, rpc};
use crate::api::{Api, request};

/// C133: a message that names a skill is a run; its task says what it came to and what proves it, and both bindings say the
/// same of it.
#[test]
fn a_message_begins_a_run_and_its_task_says_what_it_came_to() {
    let api = Api::open();
    let token = agent(&api, "coder");
    let asked = message("m-1", "churn_risk_read", &json!({"account": "ACC-0042"}));
    let task = done(&api, &token, "SendMessage", &asked)["task"].clone();
    assert_eq!(task["status"]["state"], "TASK_STATE_COMPLETED", "{task:#}");
    let part = &task["artifacts"][0]["parts"][0];
    assert_eq!(part["data"]["account"], "ACC-0042", "{task:#}");
    assert!(task["contextId"].as_str().is_some_and(|id| !id.is_empty()), "{task}");
    let run = task["id"].as_str().unwrap();
    assert_eq!(task["metadata"]["harness/run"], run, "{task}");
    assert_ne!(task["metadata"]["harness/receipts"], json!([]), "{task}");
    let verified = api.office.json(&["receipt", "verify", run]).exits(0).document();
    assert_eq!(verified["verdict"], "verified");
    let again = rest(&api, &token, ("GET", &format!("/tasks/{run}")), &Value::Null).ok();
    for told in [again, done(&api, &token, "GetTask", &json!({"id": run}))] {
        // Its last receipt may have come since.
        for part in ["/id", "/contextId", "/status/state", "/artifacts"] {
            assert_eq!(told.pointer(part), task.pointer(part), "{told:#}");
        }
    }
    // The run says who handed it in: the credential.
    let events = api.office.json(&["run", "events", run]).exits(0).document();
    assert!(events.to_string().contains("agent:coder"), "{events:#}");
}

/// The same message is the same run: over either binding, after its outcome was told, and in the next life of the process.
/// Under its id nothing else can be said, and what was refused may come again.
#[test]
fn a_message_is_one_run_however_often_it_is_sent() {
    let mut api = Api::open();
    let token = agent(&api, "coder");
    let (run, _) = asking(&api, &token, &change("m-1", 45));
    assert_eq!(asking(&api, &token, &change("m-1", 45)).0, run);
    let again = rest(&api, &token, ("POST", "/message:send"), &change("m-1", 45)).ok();
    assert_eq!(again["task"]["id"], run, "{again}");
    assert_eq!(
        refused(&api, &token, "SendMessage", &change("m-1", 60)),
        (-32602, "message-id-reused".to_owned())
    );
    let office = {
        drop(api.serving.take());
        api.office
    };
    let api = Api::of(office);
    assert_eq!(asking(&api, &token, &change("m-1", 45)).0, run, "its next life knows the message");
    api.office.approve(&run).exits(0);
    let told = done(&api, &token, "SendMessage", &change("m-1", 45))["task"].clone();
    assert_eq!(
        (&told["id"], &told["status"]["state"]),
        (&json!(run), &json!("TASK_STATE_COMPLETED"))
    );
    api.office.world.performed_nothing_twice();
    // Somebody else's message of that id is another.
    let (other, _) = asking(&api, &agent(&api, "other"), &change("m-1", 45));
    assert_ne!(other, run);
    let wrong = message("m-2", "churn_risk_read", &json!({"account": "everything"}));
    assert_eq!(refused(&api, &token, "SendMessage", &wrong), (-32602, "inputs-invalid".to_owned()));
    let right = message("m-2", "churn_risk_read", &json!({"account": "ACC-0042"}));
    done(&api, &token, "SendMessage", &right);
}

/// Words find the intent that they are the trigger of; words that find none begin nothing.
#[test]
fn words_alone_find_an_intent_or_begin_nothing() {
    let api = Api::open();
    let token = agent(&api, "coder");
    let say = |id: &str, text: &str| {
        let parts = json!([{"text": text}, {"data": {"account": "ACC-0042"}}]);
        json!({"message": {"messageId": id, "role": "ROLE_USER", "parts": parts}})
    };
    let task = done(&api, &token, "SendMessage", &say("m-1", "churn risk"))["task"].clone();
    assert_eq!(task["artifacts"][0]["parts"][0]["data"]["account"], "ACC-0042", "{task:#}");
    let none = refused(&api, &token, "SendMessage", &say("m-2", "sing me a song"));
    assert_eq!(none, (-32602, "intent-not-found".to_owned()));
    for skill in ["crm.get_account", "nothing"] {
        let none = refused(&api, &token, "SendMessage", &message("m-3", skill, &json!({})));
        assert_eq!(none.0, -32602, "{none:?}");
    }
    let silent =
        json!({"message": {"messageId": "m-4", "role": "ROLE_USER", "parts": [{"data": {}}]}});
    assert_eq!(refused(&api, &token, "SendMessage", &silent).1, "no-skill");
    let runs = api.office.json(&["run", "list"]).exits(0).document();
    assert_eq!(runs["items"].as_array().unwrap().len(), 1, "{runs}");
}

/// C133, C003: what waits for a person says where one decides. A message of the agent that asked decides nothing, whatever it
/// says; a person's answer, given where people answer, does.
#[test]
fn an_ask_is_input_required_and_the_agent_cannot_answer_it() {
    let api = Api::open();
    let token = agent(&api, "coder");
    let (run, approval) = asking(&api, &token, &change("m-1", 45));
    let task = done(&api, &token, "GetTask", &json!({"id": run}));
    let said = task["status"]["message"]["parts"][0]["text"].as_str().unwrap();
    assert!(said.contains(&format!("http://{}/approvals/{approval}", api.host)), "{said}");
    let (_, digest) = api.office.card(&run);
    let follow = |id: &str, part: Value| json!({"message": {"messageId": id, "taskId": run, "role": "ROLE_USER", "parts": [part]}});
    let approve = json!({"data": {"approval": approval, "verb": "approve", "digest": digest}});
    let deny = json!({"data": {"approval": approval, "verb": "deny", "reason": "I say so"}});
    for (id, part) in [("f-1", approve.clone()), ("f-2", deny)] {
        let no = refused(&api, &token, "SendMessage", &follow(id, part));
        assert_eq!(no, (-32600, "not-allowed".to_owned()));
    }
    let over_http = rest(&api, &token, ("POST", "/message:send"), &follow("f-1", approve));
    assert_eq!(over_http.status, 403, "{over_http:?}");
    let words = refused(&api, &token, "SendMessage", &follow("f-3", json!({"text": "I approve"})));
    assert_eq!(words, (-32004, "not-heard".to_owned()));
    let other = json!({"data": {"approval": "apr_0000000000000000", "verb": "approve"}});
    assert_eq!(refused(&api, &token, "SendMessage", &follow("f-4", other)).1, "approval-unknown");
    let mut elsewhere = follow("f-5", json!({"text": "hello"}));
    elsewhere["message"]["contextId"] = json!("another");
    assert_eq!(refused(&api, &token, "SendMessage", &elsewhere).1, "context-mismatch");
    assert_eq!(api.office.contract("ACC-0042")["Terms"]["PaymentTermsDays"], 30);

    api.office.approve(&run).exits(0);
    let task = done(&api, &token, "GetTask", &json!({"id": run}));
    assert_eq!(task["status"]["state"], "TASK_STATE_COMPLETED", "{task:#}");
    assert_eq!(api.office.contract("ACC-0042")["Terms"]["PaymentTermsDays"], 45);
    let late = refused(&api, &token, "SendMessage", &follow("f-6", json!({"text": "more"})));
    assert_eq!(late, (-32004, "task-over".to_owned()));

    let (run, approval) = asking(&api, &token, &change("m-2", 60));
    let no = ["approval", "deny", &approval, "--reason", "not this quarter"];
    api.office.json_as("mira", &no).exits(6);
    let task = done(&api, &token, "GetTask", &json!({"id": run}));
    assert_eq!(task["status"]["state"], "TASK_STATE_REJECTED", "{task:#}");
}

/// A person who may decide, and asked for it, decides by a message no more than anywhere else: nobody approves what they asked for.
#[test]
fn a_person_answers_by_message_under_the_rules_of_every_answer() {
    let api = Api::open();
    let ulla = api.token("ulla", &[]);
    let (run, approval) = asking(&api, &ulla, &change("m-1", 45));
    let (_, digest) = api.office.card(&run);
    let approve = json!({"message": {
        "messageId": "f-1", "taskId": run, "role": "ROLE_USER",
        "parts": [{"data": {"approval": approval, "verb": "approve", "digest": digest}}],
    }});
    let (code, why) = refused(&api, &ulla, "SendMessage", &approve);
    assert_eq!((code, &*why), (-32600, "refused"));
    // Saying no to what one asked for oneself is no approval.
    let mut deny = approve;
    deny["message"]["parts"][0]["data"] =
        json!({"approval": approval, "verb": "deny", "reason": "I was wrong"});
    let told = rpc(&api, &ulla, "SendMessage", &deny);
    let task = done(&api, &ulla, "GetTask", &json!({"id": run}));
    let state = task["status"]["state"].as_str().unwrap();
    let decided = told["result"].is_object();
    assert_eq!(decided, state == "TASK_STATE_REJECTED", "{told} {task:#}");
    assert_eq!(api.office.contract("ACC-0042")["Terms"]["PaymentTermsDays"], 30);
}

/// C131, C133: a task is nobody's but its caller's: to others, another agent of the same person and that person among them,
/// there is none.
#[test]
fn a_task_is_its_callers_alone() {
    let api = Api::open();
    let (one, two, ulla) = (agent(&api, "coder"), agent(&api, "other"), api.token("ulla", &[]));
    let (run, approval) = asking(&api, &one, &change("m-1", 45));
    for stranger in [&two, &ulla] {
        for (method, params) in [
            ("GetTask", json!({"id": run})),
            ("CancelTask", json!({"id": run})),
            ("SubscribeToTask", json!({"id": run})),
            (
                "SendMessage",
                json!({"message": {
                    "messageId": "f-1", "taskId": run, "role": "ROLE_USER",
                    "parts": [{"data": {"approval": approval, "verb": "deny", "reason": "no"}}],
                }}),
            ),
        ] {
            let none = refused(&api, stranger, method, &params);
            assert_eq!(none, (-32001, "task-not-found".to_owned()), "{method}");
        }
        for call in [("GET", ""), ("POST", ":cancel"), ("POST", ":subscribe")] {
            let path = format!("/tasks/{run}{}", call.1);
            let none = rest(&api, stranger, (call.0, &path), &Value::Null);
            assert_eq!(none.status, 404, "{none:?}");
            assert_eq!(none.json()["error"]["details"][0]["reason"], "TASK_NOT_FOUND");
        }
        let listed = done(&api, stranger, "ListTasks", &json!({}));
        assert_eq!((&listed["tasks"], &listed["totalSize"]), (&json!([]), &json!(0)), "{listed}");
    }
    // What its caller handed in by another door is no task either.
    let call = json!({"arguments": {"account": "ACC-0042"}, "wait_ms": 45_000});
    let tool = api.post(&one, "/v1/tools/churn_risk_read/call", &call).ok();
    assert_eq!(refused(&api, &one, "GetTask", &json!({"id": tool["run"]})).0, -32001);
    let listed = done(&api, &one, "ListTasks", &json!({}));
    assert_eq!(listed["totalSize"], 1, "{listed}");
}

/// A task that waits can be ended by its caller, though it has read; one that is over cannot.
#[test]
fn a_caller_ends_what_waits_and_nothing_else() {
    let api = Api::open();
    let token = agent(&api, "coder");
    let (run, _) = asking(&api, &token, &change("m-1", 45));
    let ended = rest(&api, &token, ("POST", &format!("/tasks/{run}:cancel")), &Value::Null).ok();
    assert_eq!(ended["status"]["state"], "TASK_STATE_CANCELED", "{ended:#}");
    let again = refused(&api, &token, "CancelTask", &json!({"id": run}));
    assert_eq!(again, (-32002, "task-over".to_owned()));
    let (done_one, _) = asking(&api, &token, &change("m-2", 45));
    api.office.approve(&done_one).exits(0);
    assert_eq!(refused(&api, &token, "CancelTask", &json!({"id": done_one})).0, -32002);
    assert_eq!(api.office.contract("ACC-0042")["Terms"]["PaymentTermsDays"], 45);
}

/// A stream tells the task, what is asked, and what it came to, in that order, and then it is over.
#[test]
fn a_stream_tells_a_task_to_its_end() {
    let api = Api::open();
    let token = agent(&api, "coder");
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "SendStreamingMessage", "params": change("m-1", 45)});
    let mut stream = Stream::open(&api, &token, ("/a2a", &call));
    let first = stream.next().unwrap();
    assert_eq!(first["id"], 7, "{first}");
    let run =
        first["result"]["task"]["id"].as_str().unwrap_or_else(|| panic!("{first}")).to_owned();
    let mut state = first["result"]["task"]["status"]["state"].clone();
    while state != "TASK_STATE_INPUT_REQUIRED" {
        state = stream.next().unwrap()["result"]["statusUpdate"]["status"]["state"].clone();
    }
    // Two listen, and hear the same.
    let mut second =
        Stream::open(&api, &token, (&format!("/a2a/tasks/{run}:subscribe"), &Value::Null));
    assert_eq!(second.next().unwrap()["task"]["status"]["state"], "TASK_STATE_INPUT_REQUIRED");
    api.office.approve(&run).exits(0);
    let rest_of = |stream: &mut Stream| -> Vec<Value> {
        let told = std::iter::from_fn(|| stream.next());
        told.map(|event| event.get("result").unwrap_or(&event).clone()).collect()
    };
    let (heard, also) = (rest_of(&mut stream), rest_of(&mut second));
    let ends = |events: &[Value]| {
        let at = events.iter().position(|event| event["artifactUpdate"].is_object());
        let at = at.unwrap_or_else(|| panic!("{events:#?}"));
        assert_eq!(at, events.len() - 2, "{events:#?}");
        let last = &events[events.len() - 1]["statusUpdate"];
        assert_eq!(last["status"]["state"], "TASK_STATE_COMPLETED", "{events:#?}");
        assert_eq!(last["taskId"], run, "{events:#?}");
    };
    ends(&heard);
    ends(&also);
    let over = refused(&api, &token, "SubscribeToTask", &json!({"id": run}));
    assert_eq!(over, (-32004, "task-over".to_owned()));
    // What is over already is told at once.
    let call = json!({"jsonrpc": "2.0", "id": 8, "method": "SendStreamingMessage", "params": change("m-1", 45)});
    let mut stream = Stream::open(&api, &token, ("/a2a", &call));
    assert_eq!(stream.next().unwrap()["result"]["task"]["status"]["state"], "TASK_STATE_COMPLETED");
    assert_eq!(stream.next(), None);
}

/// A list goes by pages, those that changed last first, and can be narrowed; what tasks came to is told where it is asked for.
#[test]
fn a_list_goes_by_pages_and_is_narrowed() {
    let api = Api::open();
    let token = agent(&api, "coder");
    let read = |id: &str, context: &str| {
        let mut said = message(id, "churn_risk_read", &json!({"account": "ACC-0042"}));
        said["message"]["contextId"] = json!(context);
        let task = done(&api, &token, "SendMessage", &said)["task"].clone();
        assert_eq!(task["contextId"], context, "{task}");
        task["id"].as_str().unwrap().to_owned()
    };
    let all = [read("m-1", "a"), read("m-2", "a"), read("m-3", "b")];
    let (waits, _) = asking(&api, &token, &change("m-4", 45));
    let ids = |page: &Value| -> Vec<String> {
        let tasks = page["tasks"].as_array().unwrap().iter();
        tasks.map(|task| task["id"].as_str().unwrap().to_owned()).collect()
    };
    let mut found = Vec::new();
    let mut token_of_page = String::new();
    loop {
        let query = json!({"pageSize": 3, "pageToken": token_of_page});
        let page = done(&api, &token, "ListTasks", &query);
        assert_eq!(page["totalSize"], 4, "{page}");
        assert!(
            page["tasks"].as_array().unwrap().iter().all(|task| task.get("artifacts").is_none())
        );
        found.extend(ids(&page));
        token_of_page = page["nextPageToken"].as_str().unwrap().to_owned();
        if token_of_page.is_empty() {
            break;
        }
    }
    let newest_first = [&waits, &all[2], &all[1], &all[0]].map(Clone::clone);
    assert_eq!(found, newest_first);
    let page = rest(
        &api,
        &token,
        ("GET", "/tasks?contextId=a&includeArtifacts=true&pageSize=10"),
        &Value::Null,
    )
    .ok();
    assert_eq!(ids(&page), [all[1].clone(), all[0].clone()]);
    assert!(page["tasks"][0]["artifacts"][0]["parts"][0]["data"].is_object(), "{page:#}");
    let page = done(&api, &token, "ListTasks", &json!({"status": "TASK_STATE_INPUT_REQUIRED"}));
    assert_eq!(ids(&page), [waits]);
    let page =
        done(&api, &token, "ListTasks", &json!({"statusTimestampAfter": "2100-01-01T00:00:00Z"}));
    assert_eq!(page["totalSize"], 0, "{page}");
    for wrong in [json!({"pageSize": 1000}), json!({"pageSize": -1}), json!({"pageToken": "x"})] {
        assert_eq!(refused(&api, &token, "ListTasks", &wrong).0, -32602, "{wrong}");
    }
}

/// A stream ends with the credential that it was opened with.
#[test]
fn a_stream_ends_with_its_credential() {
    let api = Api::open();
    let made =
        api.office.json_as("ada", &["token", "create", "t", "--agent", "coder", "--owner", "ulla"]);
    let made = made.exits(0).document();
    let token = made["token"].as_str().unwrap();
    let (run, _) = asking(&api, token, &change("m-1", 45));
    let mut stream =
        Stream::open(&api, token, (&format!("/a2a/tasks/{run}:subscribe"), &Value::Null));
    assert!(stream.next().is_some());
    api.office.json_as("ada", &["token", "revoke", made["kept"]["id"].as_str().unwrap()]).exits(0);
    assert_eq!(stream.next(), None);
    let text =
        request(&api.host, token, ("GET", &format!("/a2a/tasks/{run}")), &Value::Null, &[SPEAKS]);
    assert_eq!(crate::api::send(&api.host, text.as_bytes()).status, 401);
}
