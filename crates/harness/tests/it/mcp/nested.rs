//! Agents within calls of agents that are not ours (C176): what the innermost one needs a person for is told at the call.

use serde_json::{Value, json};

use super::{Pipe, Speaks, run_of};
use crate::{
    agents::{
        model::{Model, Says},
        office,
    },
    support::kill,
};

/// C176: a client calls an agent as a tool, and an intent whose playbook hands a step to an agent. Inside, the agent would
/// send a mail: the call says that a person is asked. The process is killed while it waits; somebody approves; the next
/// process goes on where it was. One mail, and no turn of the model paid twice.
#[test]
fn an_ask_inside_an_agent_is_told_at_the_call_and_resumed_once_after_a_kill() {
    let inside = json!({"account": "ACC-0001", "contract": "CTR-0001"});
    let task = json!({"task": "Send Ana the mail about the renewal of CTR-0001.", "write": true});
    for (tool, arguments) in [("agent__email-drafter", task), ("renewal_mail", inside)] {
        let model = Model::start([
            Says::Calls(vec![("crm_get_contract_terms", json!({"contract": "CTR-0001"}))]),
            Says::Calls(vec![(
                "mail_send",
                json!({"to": ["ana@example.com"], "subject": "Your renewal", "text": "We would like to go on."}),
            )]),
            Says::Text("I have sent the renewal mail to Ana."),
        ]);
        let office = office(&model);
        let mut pipe = Pipe::open(&office, Speaks::Now, &["--hold", "0s"]);
        assert!(pipe.tools().iter().any(|one| one["name"] == tool), "{tool} is offered");
        let told = pipe.call(tool, arguments.clone());
        let run = run_of(&told);
        let waits = |pipe: &mut Pipe| pipe.call("harness_wait", json!({"run": run}));
        let mut seen = told;
        while seen["structuredContent"]["state"] == "running" {
            seen = waits(&mut pipe);
        }
        assert_eq!(seen["structuredContent"]["state"], "pending_approval", "{tool}: {seen:#}");
        assert!(office.world.mails().is_empty());
        kill(pipe.pid(), "KILL");
        drop(pipe);

        let mut pipe = Pipe::open(&office, Speaks::Now, &["--hold", "0s"]);
        assert_eq!(waits(&mut pipe)["structuredContent"]["state"], "pending_approval", "{tool}");
        let again = pipe.call(tool, arguments);
        assert_eq!(run_of(&again), run, "the same call is the same run");
        office.approve(&run).exits(0);
        let mut ended = waits(&mut pipe);
        while ended["structuredContent"]["state"] == "running" {
            ended = waits(&mut pipe);
        }
        assert_eq!(ended["isError"], false, "{tool}: {ended:#}");
        assert_ne!(ended["_meta"]["harness/receipts"], json!([]), "{ended:#}");
        assert_eq!(office.world.mails().len(), 1, "{tool}");
        assert_eq!(model.heard().len(), 3, "{tool}: each turn once");
        let verified = office.json(&["receipt", "verify", &run]).exits(0).document();
        assert_eq!(verified["verdict"], "verified");
        let replay = office.json(&["run", "replay", &run]).exits(0).document();
        assert_eq!(replay["identical"], Value::Bool(true), "{replay:#}");
        office.world.performed_nothing_twice();
    }
}
