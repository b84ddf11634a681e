//! Skills, disclosed step by step: names, then the text of one, then its files one at a time (C088).

use serde_json::{Value, json};

use crate::agent::{call, prompt, results, says, started};

/// Files beside a skill are told one at a time, in parts, and no path leads out of it (C088).
#[test]
fn files_of_a_skill_are_told_one_at_a_time() {
    let long = format!("LONG {} END", "z".repeat(400));
    let files = json!([
        { "path": "assets/logo.png" },
        { "path": "references/long.md", "text": long },
        { "path": "references/terms.md", "text": "TERMS" },
    ]);
    let renewals =
        json!({ "name": "renewals", "description": "d", "text": "STEP ONE", "files": files });
    let other = json!([{ "path": "secret.md", "text": "SECRET" }]);
    let other = json!({ "name": "other", "description": "d", "text": "ELSE", "files": other });
    let mut drive = started(json!({ "skills": [renewals, other], "limits": { "calls_max": 100 } }));
    let first = serde_json::to_string(&prompt(&drive, 1)).unwrap();
    assert!(!first.contains("STEP ONE") && !first.contains("TERMS") && !first.contains("long.md"));
    let load = |more: Value| {
        let mut args = json!({ "name": "renewals" });
        args.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        call(&format!("c-{more}"), "load_skill", args)
    };
    says(&mut drive, 1, json!([load(json!({}))]));
    let told = results(&drive, 2)[0].1.clone();
    assert!(told.starts_with("STEP ONE\n") && told.contains("\n- references/terms.md"), "{told}");
    assert!(!told.contains("TERMS"), "{told}");
    let asked = json!([
        load(json!({ "file": "references/terms.md" })),
        load(json!({ "file": "./references/long.md" })),
        load(json!({ "file": "references/long.md", "from": 200 })),
        load(json!({ "file": "references/long.md", "from": 400 })),
        load(json!({ "file": "assets/logo.png" })),
        load(json!({ "file": "references/term.md" })),
    ]);
    says(&mut drive, 2, asked);
    let told = results(&drive, 3);
    assert_eq!(told[0].1, "TERMS");
    assert!(told[1].1.starts_with("LONG zzz"), "{}", told[1].1);
    let mark = "\n[209 bytes of `renewals/references/long.md` follow, from 200]";
    assert!(told[1].1.ends_with(mark), "{}", told[1].1);
    assert!(told[2].1.ends_with("[9 bytes of `renewals/references/long.md` follow, from 400]"));
    assert_eq!(told[3].1, "zzzzz END");
    assert!(told[4].1.contains("is no text") && told[4].2);
    assert!(told[5].1.contains("did you mean `references/terms.md`") && told[5].2);
    let outside = [
        "../other/secret.md",
        "references/../../other/secret.md",
        "/skills/other/secret.md",
        "secret.md",
        "..",
        "../../pack.yaml",
        "references\\terms.md",
        "references/terms.md\u{0}",
        "/etc/passwd",
    ];
    let asked: Vec<Value> = outside.iter().map(|file| load(json!({ "file": file }))).collect();
    says(&mut drive, 3, json!(asked));
    for (path, (_, told, is_error)) in outside.iter().zip(results(&drive, 4)) {
        assert!(is_error && told.contains("there is no such file in `renewals`"), "{path}: {told}");
        assert!(!told.contains("SECRET"));
    }
}

/// A skill's text is told only when it is loaded (C088).
#[test]
fn skills_are_told_in_steps() {
    let skill =
        json!({ "name": "renewals", "description": "when a contract ends", "text": "STEP ONE" });
    let mut drive = started(json!({ "skills": [skill] }));
    let first = serde_json::to_string(&prompt(&drive, 1)).unwrap();
    let tool = prompt(&drive, 1).tools.into_iter().find(|tool| tool.name == "load_skill").unwrap();
    assert_eq!(tool.input["properties"].as_object().unwrap().len(), 1, "no files, no `file`");
    assert!(first.contains("when a contract ends") && !first.contains("STEP ONE"));
    says(&mut drive, 1, json!([call("c1", "load_skill", json!({ "name": "renewals" }))]));
    assert_eq!(results(&drive, 2)[0].1, "STEP ONE");
    says(&mut drive, 2, json!([call("c2", "load_skill", json!({ "name": "renewal" }))]));
    assert!(results(&drive, 3)[0].1.contains("did you mean `renewals`"));
}
