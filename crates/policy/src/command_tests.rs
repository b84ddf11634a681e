//! Rules about commands read what the harness read in them (C121).

use kernel::{
    Label, LabelMap,
    catalogue::Catalogue,
    decision::{Autonomy, Evidence, Mode, Question, RunFacts},
    operation::{Effect, Operation, Undo},
    port::Judge,
};
use serde_json::{Value, json};

use crate::{
    Bundle, Layer,
    sample::{Ask, facts, operation, short, source},
};

const RULES: &str = r#"
@id("all") @reason("all")
permit (principal, action, resource);

@id("asks") @reason("a command that does more than look asks")
forbid (principal, action == Action::"shell.run", resource)
unless { context.evidence.approvals.approver >= 1 || context.command.only_reads };

@id("network") @reason("no command talks to other machines")
forbid (principal, action == Action::"shell.run", resource)
when { context.command.effects.contains("network") };

@id("code") @reason("code asks")
forbid (principal, action == Action::"code.python", resource)
when { !context.command.only_reads }
unless { context.evidence.approvals.approver >= 1 };
"#;

fn catalogue() -> Catalogue {
    let of = |id: &str, deed: &str, field: &str| {
        let input = json!({"type": "object", "required": [field], "properties": {field: {"type": "string"}}});
        let mut made = operation(id, facts(Effect::Write, Undo::None), input);
        made.binding = json!({"kind": "folder", "system": "work", "do": deed}).into();
        made
    };
    let run: Operation = of("shell.run", "shell", "command");
    let code = of("code.python", "python", "source");
    let read = of("files.read", "read", "path");
    Catalogue::new([run, code, read]).unwrap()
}

fn bundle(text: &str) -> Result<Bundle, String> {
    let loaded = Bundle::load(&catalogue(), &[source(Layer::Operator, text)]);
    loaded.map(|loaded| loaded.bundle).map_err(|problems| format!("{problems:#?}"))
}

fn verdict(operation: &str, args: Value) -> String {
    let (catalogue, bundle) = (catalogue(), bundle(RULES).unwrap());
    let chain = Ask::new("crm.get_account", json!({})).chain;
    let question = Question {
        chain: &chain,
        operation: &catalogue.get(&operation.parse().unwrap()).unwrap().operation,
        resource: None,
        args: &args,
        arg_labels: &LabelMap::default(),
        existence: &Label::bottom(),
        run: &RunFacts::default(),
        recoveries: &Default::default(),
        autonomy: Autonomy::L2,
        mode: Mode::Live,
        at: 0,
        evidence: &Evidence::default(),
        current_policy: None,
    };
    short(&bundle.judge(&question))
}

/// C152: by effect, not by its words.
#[test]
fn a_rule_reads_what_a_command_may_do_and_not_what_is_said_of_it() {
    for (command, expected) in [
        ("cat notes.txt | grep -c x", "allow"),
        ("rm notes.txt", "ask approver:1 by operator/asks"),
        ("sh -c 'rm notes.txt' # only reads", "ask approver:1 by operator/asks"),
        ("cat notes.txt; $x", "ask approver:1 by operator/asks"),
        ("cat 'notes.txt", "ask approver:1 by operator/asks"),
        ("curl https://x.test", "deny by operator/network"),
        ("env sh -c 'curl https://x.test'", "deny by operator/network"),
    ] {
        let verdict = verdict("shell.run", json!({"command": command}));
        assert!(verdict.starts_with(expected), "{command}: {verdict}");
    }
    let code = verdict("code.python", json!({"source": "print(1)"}));
    assert!(code.starts_with("ask approver:1 by operator/code"), "{code}");
}

#[test]
fn only_what_runs_a_command_has_a_reading_and_its_words_are_checked() {
    let on = |id: &str, condition: &str| {
        format!(
            "@id(\"r\") @reason(\"r\")\nforbid (principal, action == Action::\"{id}\", resource) when {{ {condition} }};"
        )
    };
    let other = bundle(&on("files.read", "context.command.only_reads")).unwrap_err();
    assert!(other.contains("command"), "{other}");
    let typo = bundle(&on("shell.run", "context.command.effects.contains(\"netwrok\")"));
    assert!(typo.unwrap_err().contains("network"));
    assert!(bundle(&on("shell.run", "context.command.programs.contains(\"rm\")")).is_ok());
}
