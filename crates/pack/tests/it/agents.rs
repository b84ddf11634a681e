//! Agents and skills of a pack: read, checked against everything they name, compiled into a plan.

use kernel::{
    Digest,
    agent::{Agent, Does, Endorsing, GuideScope},
    operation::{Effect, Operation},
    plan::Asks,
    playbook::Work,
    sensor::Voice,
};
use pack::{Pack, Pins, SKILL_FILE_BYTES_MAX, SKILL_FILES_BYTES_MAX, SKILL_FILES_MAX, read_skill};
use serde_json::json;

use crate::support::{Files, edit, load, show, small};

const AGENT: &str = "\
schema: harness.agent/v1
name: analyst
instructions: Find out what is wrong.
uses:
  - crm.get
  - {do: crm.set, as: raise_level, description: Raises the level.}
playbooks: [check]
output:
  type: object
  required: [level]
  properties: {level: {type: string}}
accept:
  - that: result.level != ''
    say: Name a level.
guides:
  - {name: house, text: Be brief.}
  - {name: refunds, task: [refund], text: Ask first.}
skills: [leveling]
asks: approver
extracts:
  renews_on: {ask: When does it renew?, as: date}
  mood: {ask: How does it sound?, as: {one_of: [calm, angry]}}
  seats: {ask: How many seats?, as: {number: {min: 0, max: 10000}}}
limits: {turns: 7, calls: 9, tokens: 1000, time: 5m, repairs: 1}
";

const SKILL: &str =
    "---\nname: leveling\ndescription: How levels work.\n---\n\n# Levels\nLow, high.\n";

const INTENT: &str = "\
schema: harness.intent/v1
name: analyse
title: Analyse an account
input: {type: object, properties: {account: {type: string}}}
hands_to: analyst
agent: agent:analyst
triggers: [analyse]
";

/// The small pack with an agent, its skill and an intent that is handed to it.
fn with_agent() -> Files {
    let mut files = small();
    files.insert("agents/analyst.yaml".into(), AGENT.into());
    files.insert("skills/leveling/SKILL.md".into(), SKILL.into());
    files.insert("intents/analyse.yaml".into(), INTENT.into());
    edit(&mut files, "pack.yaml", "    - crm.set\n", "    - crm.set\n    - model.main\n");
    files
}

fn model() -> Operation {
    let mut get = Operation::clone(
        &load(&with_agent())
            .unwrap()
            .pack
            .catalogue
            .get(&"crm.get".parse().unwrap())
            .unwrap()
            .operation,
    );
    get.id = "model.main".parse().unwrap();
    get
}

fn compiled(pack: &Pack) -> Result<kernel::plan::Plan, pack::Problem> {
    let pins = Pins { policy_digest: Digest::of(b"p"), config_digest: Digest::of(b"c") };
    let forecast = |operation: &Operation| match operation.facts.effect {
        Effect::Read => Asks::No,
        Effect::Write => Asks::Always { approvals: [].into(), rules: vec![] },
    };
    pack.compile("analyse", &json!({ "account": "a" }), pins, (&pack::Schemas::new(), &forecast))
}

fn pack() -> Pack {
    let loaded = load(&with_agent()).unwrap_or_else(|problems| panic!("\n{}", show(&problems)));
    assert!(loaded.warnings.is_empty(), "\n{}", show(&loaded.warnings));
    loaded.pack.with_models([model()]).unwrap()
}

fn agent_of(plan: &kernel::plan::Plan) -> &Agent {
    match &plan.playbook.steps[0].work {
        Work::Agent { agent, .. } => agent,
        other => panic!("no agent: {other:?}"),
    }
}

/// The plan of an agent is its envelope: what it may call at all, how often at most, and what will ask.
#[test]
fn an_intent_handed_to_an_agent_compiles_into_its_envelope() {
    let plan = compiled(&pack()).unwrap();
    let row = |path: &str, operation: &str| {
        let found = plan.steps.iter().find(|s| s.path == path && s.operation.as_str() == operation);
        found.unwrap_or_else(|| panic!("{path} {operation} in {:#?}", plan.steps)).clone()
    };
    assert_eq!(row("agent/think[]", "model.main").times_max, 7);
    let set = row("agent/crm.set[]", "crm.set");
    assert_eq!((set.times_max, set.conditional), (9, true));
    assert!(matches!(set.asks, Asks::Always { .. }));
    row("agent/crm.set[]!before", "crm.get");
    row("agent/check[]/second", "crm.set");
    assert!(!plan.steps.iter().any(|s| s.path == "agent/crm.list[]"), "not granted");
    let agent = agent_of(&plan);
    let names: Vec<&str> = agent.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, ["crm_get", "raise_level", "check"]);
    assert_eq!(agent.tools[0].description, "Read {/account}.");
    assert_eq!(agent.tools[1].description, "Raises the level.");
    assert!(matches!(&agent.tools[2].does, Does::Playbook { steps, .. } if steps.len() == 4));
    assert_eq!(agent.tools[2].input["required"], json!(["account"]), "the intent's own input");
    assert_eq!(agent.skills[0].text, "# Levels\nLow, high.");
    assert!(matches!(agent.guides[0].when, GuideScope::Always));
    assert_eq!((agent.limits.wall_max_ms, agent.limits.repairs_max), (300_000, 1));
    assert_eq!(compiled(&pack()).unwrap().digest().unwrap(), plan.digest().unwrap());
}

/// Questions about what it does not see go to the small model where the pack asks for it, and are in the plan.
#[test]
fn questions_are_answered_by_the_small_model_where_there_is_one() {
    let plan = compiled(&pack()).unwrap();
    let agent = agent_of(&plan);
    assert_eq!((agent.extract_role.as_deref(), agent.extracts.len()), (None, 3));
    assert_eq!(agent.endorsing, Endorsing::Asked);
    let of = |plan: &kernel::plan::Plan| {
        let step = plan.steps.iter().find(|s| s.path == "agent/extract[]").unwrap();
        (step.operation.to_string(), step.times_max)
    };
    assert_eq!(of(&plan), ("model.main".to_owned(), 18), "nine calls, each asked again once");
    let mut files = with_agent();
    edit(&mut files, "pack.yaml", "    - model.main\n", "    - model.main\n    - model.small\n");
    let small = Operation { id: "model.small".parse().unwrap(), ..model() };
    let loaded = load(&files).unwrap_or_else(|problems| panic!("\n{}", show(&problems)));
    let plan = compiled(&loaded.pack.with_models([model(), small]).unwrap()).unwrap();
    assert_eq!(of(&plan).0, "model.small");
    let small = agent_of(&plan).extract_role.as_deref();
    assert_eq!(small, Some("small"));
}

#[test]
fn without_a_model_the_plan_says_what_to_configure() {
    let pack = load(&with_agent()).unwrap().pack;
    let problem = compiled(&pack).unwrap_err();
    assert!(problem.message.contains("no model is configured for the role `main`"), "{problem}");
    assert!(problem.fix.contains("[models.main]"), "{problem}");
}

#[test]
fn an_agent_step_stands_in_a_playbook() {
    let mut files = with_agent();
    edit(
        &mut files,
        "playbooks/check.yaml",
        "  - id: done\n",
        "  - id: judged\n    agent: other\n    with: {account: \"${{ intent.account }}\"}\n  - id: done\n",
    );
    let other = "schema: harness.agent/v1\nname: other\ninstructions: Judge.\nuses: [crm.get]\n";
    files.insert("agents/other.yaml".into(), other.into());
    let loaded = load(&files).unwrap_or_else(|problems| panic!("\n{}", show(&problems)));
    let plan = compiled(&loaded.pack.with_models([model()]).unwrap()).unwrap();
    assert!(plan.steps.iter().any(|s| s.path == "agent/check[]/judged/think[]"));
}

/// One mistake at a time, with its place.
#[test]
fn what_an_agent_names_must_exist() {
    let cases = [
        (
            "uses:\n  - crm.get",
            "uses:\n  - crm.gett",
            "agents/analyst.yaml:5:5: no operation `crm.gett`",
        ),
        ("playbooks: [check]", "playbooks: [chek]", "no playbook `chek`"),
        ("skills: [leveling]", "skills: [levels]", "no skill `levels`"),
        ("asks: approver", "asks: aprover", "no role `aprover`"),
        ("result.level != ''", "result.lvel != ''", "agents/analyst.yaml:13"),
        ("result.level != ''", "result.level", "expected true or false"),
        ("turns: 7", "turns: 0", "turns must be a whole number from 1"),
        ("turns: 7", "turn: 7", "unknown key `turn`"),
        ("as: raise_level", "as: crm_get", "two tools are called `crm_get`"),
        ("task: [refund]", "task: [refund], files: [a]", "not to both"),
        ("as: date}", "as: text}", "agents/analyst.yaml:21:45: `text` is no type of an answer"),
        ("as: date}", "as: 7}", "free text would bring its author's words"),
        ("one_of: [calm, angry]", "one_of: [calm]", "has 1 words, not 2 to 32"),
        ("one_of: [calm, angry]", "one_of: [calm, calm]", "`calm` is no word of its own"),
        ("{min: 0, max: 10000}", "{min: 9, max: 1}", "`min` must be less than `max`"),
        ("{min: 0, max: 10000}", "{min: 0}", "`max` is missing"),
        ("ask: When", "asks: When", "unknown key `asks`"),
        ("When does it renew?", "\"When ${{ intent.account }}?\"", "a question is fixed text"),
        ("renews_on:", "Renews On:", "the name of a question is not a name"),
        ("as: raise_level", "as: extract", "two tools are called `extract`"),
        ("as: raise_level", "as: endorse", "two tools are called `endorse`"),
    ];
    for (from, to, says) in cases {
        let mut files = with_agent();
        edit(&mut files, "agents/analyst.yaml", from, to);
        let said = load(&files).map_or_else(|problems| show(&problems), |_| "nothing".into());
        assert!(said.contains(says), "{from} -> {to}: {said}");
    }
    let mut files = with_agent();
    edit(&mut files, "pack.yaml", "    - model.main\n", "");
    let said = show(&load(&files).unwrap_err());
    assert!(said.contains("uses `model.main`, which the pack does not ask for"), "{said}");
    let mut files = with_agent();
    edit(&mut files, "intents/analyse.yaml", "hands_to: analyst", "hands_to: analist");
    assert!(show(&load(&files).unwrap_err()).contains("no agent `analist`"));
    let mut files = with_agent();
    edit(
        &mut files,
        "intents/analyse.yaml",
        "hands_to: analyst",
        "hands_to: analyst\nplaybook: check",
    );
    assert!(show(&load(&files).unwrap_err()).contains("not both"));
    let mut files = with_agent();
    edit(&mut files, "connectors/crm.yaml", "name: crm\n", "name: model\n");
    assert!(show(&load(&files).unwrap_err()).contains("names the operator's models"));
}

const SENSORS: &str = "\
sensors:
  - name: leveled
    after: crm.get
    that: result.level != '' && args.account != ''
    say: The level is missing.
  - name: linted
    after: [crm.get, crm.set]
    do: crm.lint
    with: {account: \"${{ args.account }}\"}
    fix: {do: crm.set, with: {account: \"${{ args.account }}\", level: low}}
  - {name: polite, after: answer, judge: Is it polite?}
";

const LINT: &str = "operations:
  lint:
    effect: read
    summary: Look at {/account}.
    request: {method: GET, path: \"/lint/{account}\"}
    input:
      type: object
      required: [account]
      additionalProperties: false
      properties: {account: {type: string}}
    output:
      type: object
      required: [verdict, message]
      properties: {verdict: {enum: [pass, fail, not_run]}, message: {type: string}}
";

fn with_sensors() -> Files {
    let mut files = with_agent();
    edit(&mut files, "connectors/crm.yaml", "operations:\n", LINT);
    edit(
        &mut files,
        "pack.yaml",
        "    - crm.set\n",
        "    - crm.lint\n    - crm.set\n    - model.judge\n",
    );
    let accept =
        "accept:\n  - {do: crm.lint, with: {account: \"${{ result.level }}\"}, say: Name one.}\n";
    edit(&mut files, "agents/analyst.yaml", "accept:\n", accept);
    edit(&mut files, "agents/analyst.yaml", "guides:\n", &format!("{SENSORS}guides:\n"));
    files
}

/// Sensors, their fixes and checks by an operation stand in the plan with all they may call.
#[test]
fn sensors_compile_into_the_plan() {
    let loaded = load(&with_sensors()).unwrap_or_else(|problems| panic!("\n{}", show(&problems)));
    let judge = Operation { id: "model.judge".parse().unwrap(), ..model() };
    let plan = compiled(&loaded.pack.with_models([model(), judge]).unwrap()).unwrap();
    let has = |path: &str, operation: &str| {
        plan.steps.iter().any(|s| s.path == path && s.operation.as_str() == operation)
    };
    assert!(has("agent/sense[]", "crm.lint") && has("agent/sense[]", "model.judge"));
    assert!(has("agent/fix[]", "crm.set") && has("agent/fix[]!before", "crm.get"));
    let sensors = &agent_of(&plan).sensors;
    let names: Vec<&str> = sensors.iter().map(|sensor| sensor.name.as_str()).collect();
    assert_eq!(names, ["accept-0", "leveled", "linted", "polite"]);
    assert_eq!(sensors[0].voice, Voice::Sealed);
    assert_eq!(agent_of(&plan).accept.len(), 1);
}

/// One mistake at a time, with its place.
#[test]
fn what_a_sensor_names_must_exist_and_fit() {
    let cases = [
        ("after: crm.get\n", "after: crm.list\n", "the agent does not use `crm.list`"),
        ("after: crm.get\n", "after: crm.gett\n", "no operation `crm.gett`"),
        ("result.level != '' && args", "result.lvel != '' && args", "`lvel`"),
        ("result.level != '' && args.account != ''", "result.level", "expected true or false"),
        ("    say: The level is missing.\n", "", "`say` is missing"),
        ("    do: crm.lint\n", "    do: crm.set\n", "a sensor only looks"),
        ("    do: crm.lint\n", "    do: crm.get\n", "the output of `crm.get` has no `verdict`"),
        ("judge: Is it polite?", "judge: Is it polite?, that: 'true', say: x", "looks in one way"),
        ("judge: Is it polite?", "say: x", "looks in one way"),
        ("name: linted", "name: leveled", "two sensors are called `leveled`"),
        ("level: low}}", "level: lowest}}", "`level` of `crm.set`"),
        ("level: low}}", "lvel: low}}", "agents/analyst.yaml"),
        ("{do: crm.lint, with", "{do: crm.lnt, with", "no operation `crm.lnt`"),
        (", say: Name one.}", "}", "`say` is missing"),
        (
            "result.level != ''\n    say: Name a level.",
            "result.lvel != ''\n    say: Name a level.",
            "agents/analyst.yaml:14",
        ),
    ];
    for (from, to, says) in cases {
        let mut files = with_sensors();
        edit(&mut files, "agents/analyst.yaml", from, to);
        let said = load(&files).map_or_else(|problems| show(&problems), |_| "nothing".into());
        assert!(said.contains(says), "{from} -> {to}: {said}");
    }
    let mut files = with_sensors();
    edit(&mut files, "pack.yaml", "    - model.judge\n", "");
    let said = show(&load(&files).unwrap_err());
    assert!(said.contains("uses `model.judge`, which the pack does not ask for"), "{said}");
}

const CONTEXT: &str = "\
context:
  state: {tokens: 50, values: {account: \"${{ intent.account }}\", of: \"${{ pack }}\"}}
  memory: {do: crm.get, with: {account: \"${{ intent.account }}\"}, tokens: 90}
";

/// What is put before an agent is in its plan, and what is wrong with it has its place.
#[test]
fn context_is_read_compiled_and_checked() {
    let with_context = || {
        let mut files = with_agent();
        edit(&mut files, "agents/analyst.yaml", "guides:\n", &format!("{CONTEXT}guides:\n"));
        files
    };
    let loaded = load(&with_context()).unwrap_or_else(|problems| panic!("\n{}", show(&problems)));
    let plan = compiled(&loaded.pack.with_models([model()]).unwrap()).unwrap();
    assert!(plan.steps.iter().any(|s| s.path == "agent/memory[]" && s.times_max == 1));
    let context = &agent_of(&plan).context;
    assert_eq!(context.state.as_ref().unwrap().tokens_max, 50);
    assert_eq!(context.memory.as_ref().unwrap().tokens_max, 90);
    let cases = [
        ("tokens: 50", "tokens: 0", "tokens must be a whole number from 1"),
        ("values: {", "value: {", "`values` is missing"),
        (", of: ", ", Of It: ", "the name of a value is not a name"),
        ("\"${{ pack }}\"", "\"${{ result }}\"", "`result`"),
        ("do: crm.get,", "do: crm.set,", "nobody remembers by that"),
        ("do: crm.get,", "do: crm.gett,", "no operation `crm.gett`"),
        ("memory: {do", "memories: {do", "unknown key `memories`"),
    ];
    for (from, to, says) in cases {
        let mut files = with_context();
        edit(&mut files, "agents/analyst.yaml", from, to);
        let said = load(&files).map_or_else(|problems| show(&problems), |_| "nothing".into());
        assert!(said.contains(says), "{from} -> {to}: {said}");
    }
}

/// An agent that calls the playbook it stands in would call itself.
#[test]
fn an_agent_cannot_be_called_in_a_circle() {
    let mut files = with_agent();
    edit(
        &mut files,
        "playbooks/check.yaml",
        "  - id: done\n",
        "  - id: judged\n    agent: analyst\n  - id: done\n",
    );
    let said = show(&load(&files).unwrap_err());
    assert!(said.contains("calls itself"), "{said}");
}

/// Some verdicts of agentskills.io; `tests/skills/run` asks its reference validator about many more.
#[test]
fn skills_are_judged_as_their_format_says() {
    let judge = |folder: &str, text: &str| read_skill("skills/x/SKILL.md", folder, text.as_bytes());
    let skill = |name: &str, description: &str, more: &str| {
        format!("---\nname: {name}\ndescription: {description}\n{more}---\nDo it.\n")
    };
    let long = "x".repeat(65);
    let good = [
        ("a", skill("a", "d", "")),
        ("pdf-forms2", skill("pdf-forms2", "Fills forms.", "license: MIT\n")),
        ("a", skill("a", "d", "metadata:\n  version: 1\nallowed-tools: Read Bash\n")),
        ("a", skill("a", "d", "compatibility: needs git\n")),
    ];
    for (folder, text) in &good {
        judge(folder, text).unwrap_or_else(|problems| panic!("{text}\n{}", show(&problems)));
    }
    let bad = [
        ("a", "no front matter".to_owned(), "does not begin with YAML"),
        ("a", "---\nname: a\n---\n".to_owned(), "`description` is missing"),
        ("a", "---\ndescription: d\n---\n".to_owned(), "`name` is missing"),
        ("A", skill("A", "d", ""), "no name of a skill"),
        ("-a", skill("-a", "d", ""), "at an end"),
        ("a--b", skill("a--b", "d", ""), "two in a row"),
        ("a", skill("b", "d", ""), "its folder `a`"),
        (&long, skill(&long, "d", ""), "64"),
        ("a", skill("a", &"d".repeat(1_025), ""), "1024"),
        ("a", skill("a", "d", "author: me\n"), "no key of a skill"),
        ("a", skill("a", "d", "metadata: {version: 1}\n"), "brackets"),
        ("a", skill("a", "x --- y", ""), "within a line"),
        ("a", skill("a", "\n  - d", ""), "is a list, not text"),
        ("a", skill("a", "d", &format!("compatibility: {}\n", "c".repeat(501))), "500"),
    ];
    for (folder, text, says) in &bad {
        let said = judge(folder, text).map_or_else(|p| show(&p), |_| "nothing".into());
        assert!(said.contains(says), "{text}: {said}");
    }
}

/// Files beside a skill are those of its own folder, pinned with the pack, and no more than may be told (C088).
#[test]
fn files_beside_a_skill_are_in_the_plan() {
    let mut files = with_agent();
    files.insert("skills/leveling/references/low.md".into(), b"Low is below 10.".to_vec());
    files.insert("skills/leveling/assets/logo.png".into(), vec![0xFF, 0xD8]);
    files.insert("skills/leveling/long.md".into(), vec![b'x'; SKILL_FILE_BYTES_MAX + 1]);
    files.insert("skills/leveling-more/other.md".into(), b"of another folder".to_vec());
    files.insert("docs/notes.md".into(), b"of the pack".to_vec());
    let read = |files: &Files| load(files).unwrap().pack.skills["leveling"].files.clone();
    let found = read(&files);
    let paths: Vec<&str> = found.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["assets/logo.png", "long.md", "references/low.md"]);
    let texts: Vec<Option<&str>> = found.iter().map(|file| file.text.as_deref()).collect();
    assert_eq!(texts, [None, None, Some("Low is below 10.")]);
    // All together, and however many there are.
    for n in 0..60 {
        let path = format!("skills/leveling/many/{n:02}.md");
        files.insert(path, vec![b'x'; SKILL_FILE_BYTES_MAX / 2]);
    }
    let found = read(&files);
    assert_eq!(found.len(), SKILL_FILES_MAX);
    let bytes: usize = found.iter().filter_map(|file| file.text.as_ref()).map(String::len).sum();
    assert_eq!(bytes, SKILL_FILES_BYTES_MAX);
}
