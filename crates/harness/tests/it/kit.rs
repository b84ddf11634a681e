//! The test kit for packs through its command line: a sound pack passes, a broken one gets exactly the
//! red cell it deserves, and the same seed gives the same bytes (C026, C044, C058, C063, C204, C362).

mod wide;

use std::{collections::BTreeMap, fs};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Ran, root, run_in};

/// A folder with a new pack called `field-service`.
struct Desk {
    dir: TempDir,
}

impl Desk {
    fn new() -> Self {
        let desk = Self { dir: TempDir::new().unwrap() };
        desk.run(&["pack", "new", "field-service"]).exits(0);
        desk
    }

    fn run(&self, args: &[&str]) -> Ran {
        run_in(self.dir.path(), args)
    }

    fn pack(&self) -> std::path::PathBuf {
        self.dir.path().join("field-service")
    }

    /// Changes one place of one file.
    #[track_caller]
    fn with(self, file: &str, from: &str, to: &str) -> Self {
        let path = self.pack().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches(from).count(), 1, "{file} has `{from}` once: {text}");
        fs::write(path, text.replace(from, to)).unwrap();
        self
    }

    fn test(&self, more: &[&str]) -> Ran {
        let args = [&["pack", "test", "field-service", "-o", "json"], more].concat();
        self.run(&args)
    }

    /// The cells that came out wrong, as `step:probe`, and everything said about them.
    #[track_caller]
    fn red(&self) -> (Vec<String>, Value) {
        let document = self.test(&[]).exits(10).document();
        let red = cells(&document, "wrong");
        assert_eq!(document["passed"], false);
        for failure in document["failures"].as_array().unwrap() {
            for key in ["intent", "probe", "case", "happened", "expected", "reproduce"] {
                assert!(failure[key].as_str().is_some_and(|text| !text.is_empty()), "{failure}");
            }
        }
        (red, document)
    }
}

/// Cells in a state, as `step:probe`.
fn cells(document: &Value, state: &str) -> Vec<String> {
    let mut found = Vec::new();
    for item in document["items"].as_array().unwrap() {
        for step in item["steps"].as_array().unwrap() {
            for cell in step["cells"].as_array().unwrap() {
                if cell["state"] == state {
                    let (step, probe) = (step["step"].as_str(), cell["probe"].as_str());
                    found.push(format!("{}:{}", step.unwrap(), probe.unwrap()));
                }
            }
        }
    }
    found
}

#[track_caller]
fn says(document: &Value, wanted: &[&str]) {
    let told = document["failures"].to_string();
    for text in wanted {
        assert!(told.contains(text), "`{text}` in {document:#}");
    }
}

/// Against the published schema of its kind.
#[track_caller]
pub(crate) fn validates(document: &Value) {
    let kind = document["schema"].as_str().unwrap();
    let kind = kind.trim_start_matches("harness.").split('/').next().unwrap();
    let path = root().join("schemas").join(format!("{kind}.json"));
    let schema: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let wrong: Vec<String> =
        validator.iter_errors(document).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// C063: a new pack is sound, passes its own test, and is short.
#[test]
fn a_new_pack_passes_in_under_sixty_lines_of_yaml() {
    let desk = Desk::new();
    let mut lines = 0;
    let mut folders = vec![desk.pack()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "yaml") {
                lines += fs::read_to_string(path).unwrap().lines().count();
            }
        }
    }
    assert!((20..60).contains(&lines), "{lines} lines of YAML");
    let checked = desk.run(&["pack", "check", "field-service", "-o", "json"]).exits(0).document();
    assert_eq!(checked["warnings"], Value::Array(vec![]), "{checked:#}");
    let tested = desk.test(&[]).exits(0).document();
    assert_eq!(tested["passed"], true);
    assert_eq!(tested["unreached"], Value::Array(vec![]));
    assert_eq!(cells(&tested, "unreached"), Vec::<String>::new());
    let played = cells(&tested, "ok");
    for probe in ["happy", "fail", "again", "refuse", "expire", "crash", "undo", "drift", "restore"]
    {
        assert!(played.contains(&format!("move:{probe}")), "{probe}: {played:?}");
    }
    validates(&tested);
}

#[test]
fn a_new_pack_overwrites_nothing_and_says_what_a_name_is() {
    let desk = Desk::new();
    let made = desk.run(&["pack", "new", "other", "--dir", "deep", "-o", "json"]);
    validates(&made.exits(0).document());
    assert!(desk.dir.path().join("deep/other/pack.yaml").is_file());
    let before = fs::read(desk.pack().join("pack.yaml")).unwrap();
    let again = desk.run(&["pack", "new", "field-service", "-o", "json"]).exits(5).problem();
    assert_eq!(again["code"], "folder-exists");
    assert_eq!(fs::read(desk.pack().join("pack.yaml")).unwrap(), before);
    for name in ["Field Service", "9lives", "a/b", "..", "ümlaut", "-x", "x-", &"x".repeat(41)] {
        let refused = desk.run(&["pack", "new", "-o", "json", "--", name]).exits(2).problem();
        assert_eq!(refused["code"], "pack-name", "{name}");
        assert!(refused["next"].as_str().unwrap().contains("harness pack new "), "{refused}");
    }
    assert_eq!(fs::read_dir(desk.dir.path()).unwrap().count(), 3, "the pack, `deep`, the user");
}

/// C105, C106, C330, C336: a new project passes its own test as it is, without a key or a network; what its
/// agent did is validated, judged, journalled and receipted, and a failure is one of the documented ends.
#[test]
fn a_new_project_passes_its_own_test_and_its_agent_answers_offline() {
    let dir = TempDir::new().unwrap();
    let made = run_in(dir.path(), &["new", "hello", "-o", "json"]).exits(0).document();
    validates(&made);
    let project = dir.path().join("hello");
    let passed = std::process::Command::new(project.join("test"))
        .env("HARNESS", env!("CARGO_BIN_EXE_harness"))
        .env("HOME", dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&passed.stdout).into_owned();
    assert!(passed.status.success(), "{said}{}", String::from_utf8_lossy(&passed.stderr));
    assert!(said.contains("19 percent of 250 is 47.5."), "{said}");
    let words = ["run", "What is 19 percent of 250?", "--agent", "clerk", "-o", "json"];
    let ran = run_in(&project, &words).exits(0).document();
    let text = ran.to_string();
    assert!(text.contains("sums.calculate") && text.contains("rct_"), "{ran:#}");
    let id = ran["run"]["id"].as_str().or(ran["id"].as_str()).unwrap().to_owned();
    run_in(&project, &["run", "replay", &id]).exits(0);
    run_in(&project, &["receipt", "verify", &id]).exits(0);
    // A script that has no more to say is a model that failed: an end of its own, and no made-up answer.
    fs::write(project.join("answers.yaml"), "- calls: [{tool: sums_calculate, with: {}}]\n")
        .unwrap();
    let words = ["run", "What is 20 percent of 250?", "--agent", "clerk", "-o", "json"];
    let failed = run_in(&project, &words);
    assert_eq!(failed.code, 8, "{failed:?}");
    for broken in ["says: x", "- {}", "- {says: x, more: y}", "- calls: [{with: {}}]"] {
        fs::write(project.join("answers.yaml"), broken).unwrap();
        let refused = run_in(&project, &words).exits(2).problem();
        assert_eq!(refused["code"], "script-invalid", "{broken}: {refused}");
        assert!(refused["detail"].as_str().unwrap().contains("answers.yaml"), "{refused}");
    }
    run_in(dir.path(), &["new", "hello"]).exits(5);
}

/// C044, C058, C204: every step of every shipped playbook, under every failure. C032: the pack for operations.
#[test]
fn the_shipped_pack_passes_and_every_step_is_reached() {
    let dir = TempDir::new().unwrap();
    let pack = root().join("packs/customer-ops");
    let args = ["pack", "test", pack.to_str().unwrap(), "-o", "json"];
    let tested = run_in(dir.path(), &args).exits(0).document();
    assert_eq!(tested["failures"], Value::Array(vec![]), "{:#}", tested["failures"]);
    assert_eq!(tested["unreached"], Value::Array(vec![]));
    let intents: Vec<&str> =
        tested["items"].as_array().unwrap().iter().map(|i| i["intent"].as_str().unwrap()).collect();
    assert_eq!(
        intents,
        [
            "churn_risk_read",
            "contract_field_change",
            "goodwill_refund",
            "renewal_risk_review",
            "support_escalation"
        ]
    );
    assert_eq!(
        tested["handed_to_agents"],
        serde_json::json!(["account_analysis", "onboarding", "renewal_mail"])
    );
    let played = cells(&tested, "ok");
    for cell in [
        "churn:restore",
        "forecast:restore",
        "auto_renew:restore",
        "refund:undo",
        "escalation:undo",
        "outreach:refuse",
        "outreach:expire",
        "terms:drift",
        "signals/sources/company:fail",
    ] {
        assert!(played.contains(&cell.to_owned()), "{cell}: {played:?}");
    }
    validates(&tested);
}

/// C362: the same seed gives the same bytes; another gives another world and the same verdict.
#[test]
fn results_are_deterministic() {
    let desk = Desk::new();
    let one = desk.test(&["--junit", "one.xml"]).exits(0).stdout;
    let two = desk.test(&["--junit", "two.xml"]).exits(0).stdout;
    assert_eq!(one, two);
    let read = |name: &str| fs::read(desk.dir.path().join(name)).unwrap();
    assert_eq!(read("one.xml"), read("two.xml"));
    for seed in ["1", "2", "18446744073709551615"] {
        let other = desk.test(&["--seed", seed]).exits(0).document();
        assert_eq!(other["seed"].to_string(), seed);
    }
}

#[test]
fn only_what_is_named_is_played_and_nonsense_is_refused() {
    let desk = Desk::new();
    let one = desk.test(&["--only", "reschedule/move:fail=timeout"]).exits(0).document();
    assert_eq!(one["cases"], 1);
    let two = desk.test(&["--only", "move:refuse", "--only", "booking:again"]).exits(0).document();
    assert_eq!(cells(&two, "ok"), ["booking:again", "move:refuse"]);
    assert_eq!(desk.test(&["--only", "move"]).exits(2).problem()["code"], "only-malformed");
    assert_eq!(desk.test(&["--only", "move:bend"]).exits(2).problem()["code"], "only-malformed");
    assert_eq!(desk.test(&["--only", "lost:fail"]).exits(2).problem()["code"], "nothing-selected");
    let lost = desk.run(&["pack", "test", "nowhere", "-o", "json"]).exits(3).problem();
    assert_eq!(lost["code"], "pack-not-found");
    let unsaid = desk.run(&["pack", "test", "-o", "json"]).exits(2).problem();
    assert_eq!(unsaid["code"], "no-pack");
}

/// A configured pack is known by name, and the operator's own policies are in force.
#[test]
fn the_operators_own_policies_are_used_where_there_are_some() {
    let desk = Desk::new();
    let write = |name: &str, text: &str| fs::write(desk.dir.path().join(name), text).unwrap();
    let reads = "@id(\"reads\")\n@reason(\"Reads only.\")\n\
                 permit (principal, action in Action::\"read\", resource);\n";
    write("harness.toml", "packs = [\"field-service\"]\n[policy]\noperator = [\"op.cedar\"]\n");
    write("op.cedar", reads);
    let (red, document) = desk.red();
    assert_eq!(red, ["move:happy"]);
    says(&document, &["rejected at policy"]);
    write("op.cedar", "@id(\"all\") @reason(\"x\") permit (principal, action, resource);\n");
    let args = ["pack", "test", "field-service", "-o", "json"];
    let tested = desk.run(&args).exits(0).document();
    assert!(tested["policies"][0].as_str().unwrap().ends_with("op.cedar"), "{tested}");
}

const UNDO: &str = "day: \"${{ before.day }}\"";
const CONNECTOR: &str = "connectors/bookings.yaml";

#[test]
fn an_undo_that_does_not_restore_is_red() {
    let desk = Desk::new().with(CONNECTOR, UNDO, "day: \"${{ args.day }}\"");
    let (red, document) = desk.red();
    assert!(red.contains(&"move:restore".to_owned()), "{red:?}");
    says(&document, &["differs at /day", "`undo: restore` gives the exact earlier state back"]);
}

#[test]
fn an_undo_that_forgets_a_field_is_red() {
    let read = "output: {type: object, required: [day, status], properties: {day:";
    let more = "output: {type: object, required: [day, status, room], properties: {room: {type: string}, day:";
    let write = "input: {type: object, required: [booking, day], additionalProperties: false, properties: {booking:";
    let arg = "input: {type: object, required: [booking, day], additionalProperties: false, properties: {room: {type: string}, booking:";
    let call = "with: {booking: \"${{ intent.booking }}\", day: \"${{ intent.day }}\"}";
    let step =
        "with: {booking: \"${{ intent.booking }}\", day: \"${{ intent.day }}\", room: the big one}";
    let desk = Desk::new().with(CONNECTOR, read, more).with(CONNECTOR, write, arg).with(
        "playbooks/reschedule.yaml",
        call,
        step,
    );
    let (red, document) = desk.red();
    assert_eq!(red, ["move:restore"]);
    says(&document, &["differs at /room"]);
}

#[test]
fn an_image_that_leaves_out_what_is_restored_is_red() {
    let desk = Desk::new().with(CONNECTOR, "image: [/day]", "image: [/status]");
    let (red, document) = desk.red();
    assert!(red.contains(&"move:restore".to_owned()), "{red:?}");
    says(&document, &["differs at /day"]);
}

#[test]
fn a_step_that_ignores_drift_is_red() {
    // Anything at all: what stands in it is nobody's promise, and a later step relies on it.
    let loose = "properties: {place: {examples: [{zone: north}]}, day:";
    let desk = Desk::new()
        .with(
            CONNECTOR,
            "output: {type: object, required: [day, status], properties: {day:",
            &format!("output: {{type: object, required: [day, status, place], {loose}"),
        )
        .with(
            "playbooks/reschedule.yaml",
            "return: {booking:",
            "return: {zone: \"${{ steps.booking.output.place.zone }}\", booking:",
        );
    let (red, document) = desk.red();
    assert_eq!(red, ["booking:drift"]);
    says(&document, &["without=/place/zone", "`result` had no result without it"]);
    let only = ["--only", "reschedule/booking:drift=without=/place/zone"];
    let again = desk.test(&only).exits(10).document();
    assert_eq!(again["failures"].as_array().unwrap().len(), 1, "it is reproduced alone");
}

#[test]
fn a_step_that_can_never_run_is_red() {
    let desk = Desk::new().with(CONNECTOR, ", clearance: {confidentiality: internal}", "");
    let (red, document) = desk.red();
    assert_eq!(
        red,
        ["booking:happy", "move:happy"],
        "what nothing came to is not known to be sound"
    );
    says(&document, &["rejected at clearance", "no setting was found in which the run ends well"]);
    says(&document, &["no run came to `move`", "--allow-unreached"]);
    assert_eq!(document["unreached"][0], "reschedule/move");
    let allowed = desk.test(&["--allow-unreached"]).exits(10).document();
    assert_eq!(cells(&allowed, "wrong"), ["booking:happy"], "what is wrong stays wrong");
}

/// A step that no world leads to is red, alone, until somebody says that it may be.
#[test]
fn a_step_that_nothing_comes_to_is_red_unless_allowed() {
    let when = "when: steps.booking.output.status == 'confirmed'";
    let desk = Desk::new().with("playbooks/reschedule.yaml", when, "when: 1 == 2");
    let (red, document) = desk.red();
    assert_eq!(red, ["move:happy"], "{document:#}");
    says(&document, &["no run came to `move`"]);
    let allowed = desk.test(&["--allow-unreached"]).exits(0).document();
    assert_eq!(allowed["unreached"][0], "reschedule/move");
}

/// A pack that only hands to agents has nothing that could be wrong here: that is no pass.
#[test]
fn a_pack_of_which_nothing_is_played_does_not_pass_in_silence() {
    let desk = Desk::new()
        .with("intents/reschedule.yaml", "playbook: reschedule", "hands_to: planner")
        .with("pack.yaml", "bookings.get_booking, ", "bookings.get_booking, model.main, ");
    fs::remove_file(desk.pack().join("playbooks/reschedule.yaml")).unwrap();
    let agents = desk.pack().join("agents");
    fs::create_dir(&agents).unwrap();
    let planner = "schema: harness.agent/v1\nname: planner\ntitle: Planner\ninstructions: Move it.\n\
                   uses:\n  - {do: bookings.get_booking, description: Reads a booking.}\n  \
                   - {do: bookings.move_booking, description: Moves a booking.}\n";
    fs::write(agents.join("planner.yaml"), planner).unwrap();
    let tested = desk.test(&[]).exits(10).document();
    assert_eq!((&tested["passed"], &tested["cases"]), (&Value::Bool(false), &Value::from(0)));
    says(&tested, &["no run was played", "reschedule", "--allow-unreached"]);
    let allowed = desk.test(&["--allow-unreached"]).exits(0).document();
    assert_eq!(allowed["handed_to_agents"][0], "reschedule");
    let shown = desk.run(&["pack", "test", "field-service", "--allow-unreached"]).exits(0).stdout;
    assert!(shown.contains("nothing was played") && shown.contains("not played"), "{shown}");
}

/// What checking a pack refuses, testing it refuses in the same words: a retry of a write that nobody
/// may repeat.
#[test]
fn a_retry_of_a_write_that_must_not_be_repeated_does_not_load() {
    let step = "when: steps.booking.output.status == 'confirmed'";
    let retried = format!("{step}\n    on_failure: {{timeout: [{{retry: {{times: 2}}}}, stop]}}");
    let desk = Desk::new()
        .with(CONNECTOR, "    retry: keyed # the system deduplicates on the key, so a lost answer may be asked for again\n", "")
        .with("playbooks/reschedule.yaml", step, &retried);
    let refused = desk.test(&[]).exits(2).problem();
    assert_eq!(refused["code"], "pack-invalid");
    assert!(refused["at"][0].as_str().unwrap().contains("retry: never"), "{refused}");
}

/// The same write without a retry: its lost answers go to a person, and the kit holds that.
#[test]
fn an_undeclared_write_is_never_repeated_and_asks_a_person() {
    let desk = Desk::new().with(
        CONNECTOR,
        "    retry: keyed # the system deduplicates on the key, so a lost answer may be asked for again\n",
        "",
    );
    let tested = desk.test(&[]).exits(0).document();
    assert!(cells(&tested, "ok").contains(&"move:again".to_owned()));
}

/// Build servers read the result: it is well-formed, and its counts are right.
#[test]
fn junit_is_xml_and_counts_what_it_holds() {
    let desk = Desk::new().with(CONNECTOR, UNDO, "day: \"${{ args.day }}\"");
    desk.test(&["--junit", "out.xml"]).exits(10);
    let text = fs::read_to_string(desk.dir.path().join("out.xml")).unwrap();
    let nodes = elements(&text);
    let of = |name: &'static str| nodes.iter().filter(move |(n, _)| n == name);
    let suites = of("testsuites").next().unwrap();
    let number = |map: &BTreeMap<String, String>, key: &str| map[key].parse::<usize>().unwrap();
    assert_eq!(number(&suites.1, "tests"), of("testcase").count());
    assert_eq!(number(&suites.1, "failures"), of("failure").count());
    assert!(number(&suites.1, "failures") > 0);
    assert!(
        of("testcase").any(|(_, map)| map["name"] == "move:restore"
            && map["classname"] == "field-service.reschedule")
    );
    assert!(of("failure").all(|(_, map)| !map["message"].is_empty()));
}

/// Every element of an XML text with its attributes; panics when it is not well-formed.
fn elements(text: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let mut rest = text.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n").unwrap();
    let (mut open, mut found) = (Vec::new(), Vec::new());
    while let Some((between, tag)) = rest.split_once('<') {
        assert!(
            open.is_empty() == between.trim().is_empty() || !between.contains('>'),
            "{between}"
        );
        let (tag, after) = tag.split_once('>').expect("a tag ends");
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "tags pair");
            continue;
        }
        let (body, alone) = match tag.strip_suffix('/') {
            Some(body) => (body, true),
            None => (tag, false),
        };
        let (name, mut left) = body.split_once(' ').unwrap_or((body, ""));
        let mut attributes = BTreeMap::new();
        while let Some((key, value)) = left.trim_start().split_once("=\"") {
            let (value, next) = value.split_once('"').expect("a value ends");
            assert!(attributes.insert(key.to_owned(), value.to_owned()).is_none(), "{key} twice");
            left = next;
        }
        assert_eq!(left.trim(), "", "{tag}");
        found.push((name.to_owned(), attributes));
        if !alone {
            open.push(name.to_owned());
        }
    }
    assert!(open.is_empty(), "{open:?} never end");
    assert_eq!(rest.trim(), "");
    found
}

/// What people see fits 80 columns, and says how to see a failure again.
#[test]
fn the_matrix_fits_eighty_columns() {
    let desk = Desk::new().with(CONNECTOR, UNDO, "day: \"${{ args.day }}\"");
    let shown = desk.run(&["pack", "test", "field-service"]).exits(10).stdout;
    let wide: Vec<&str> = shown.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "{wide:#?}");
    for text in
        ["reschedule happy fail again", "✗ reschedule/move", "happened", "expected", "--only"]
    {
        assert!(shown.contains(text), "{text}: {shown}");
    }
}
