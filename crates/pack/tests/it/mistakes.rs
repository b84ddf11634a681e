//! One mistake at a time, each with its exact place, message and fix.

use crate::support::{edit, load, show, small};

/// A mistake: file, text, replacement; then where it is reported and what is said.
struct Mistake {
    file: &'static str,
    from: &'static str,
    to: &'static str,
    says: &'static str,
}

const fn wrong(
    file: &'static str,
    from: &'static str,
    to: &'static str,
    says: &'static str,
) -> Mistake {
    Mistake { file, from, to, says }
}

#[test]
fn the_small_pack_is_right_as_it_stands() {
    let loaded = load(&small()).unwrap_or_else(|problems| panic!("\n{}", show(&problems)));
    assert!(loaded.warnings.is_empty(), "\n{}", show(&loaded.warnings));
}

#[test]
fn each_mistake_is_told_with_its_place_and_a_fix() {
    let mut failures = String::new();
    for mistake in TABLE {
        let mut files = small();
        edit(&mut files, mistake.file, mistake.from, mistake.to);
        let said = match load(&files) {
            Ok(_) => "nothing".to_owned(),
            Err(problems) => show(&problems),
        };
        let said = said.trim_end();
        if said != mistake.says {
            failures.push_str(&format!(
                "--- {:?} -> {:?}\n want {}\n  got {said}\n",
                mistake.from, mistake.to, mistake.says
            ));
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
    assert!(TABLE.len() >= 25);
}

const CRM: &str = "connectors/crm.yaml";
const CHECK: &str = "playbooks/check.yaml";
const PACK: &str = "pack.yaml";
const EXCEPTIONS: &str = "exceptions.yaml";
const INTENT: &str = "intents/check.yaml";
const KPIS: &str = "kpis.yaml";

#[rustfmt::skip]
const TABLE: &[Mistake] = &[
    wrong(PACK, "owner: tests", "ownr: tests",
        r#"pack.yaml:1:1: `owner` is missing; add `owner:` here
pack.yaml:4:1: unknown key `ownr`; did you mean `owner`?"#),
    wrong(PACK, "version: 0.1.0", "version: 1.0",
        r#"pack.yaml:3:10: version must be text, not a number; put it in quotes"#),
    wrong(PACK, "harness: \">=0.1\"", "harness: any",
        r#"pack.yaml:6:10: `any` is not a version range; write `">=0.1"` or `">=0.1, <2"`"#),
    wrong(PACK, "- crm.set\n", "",
        r#"pack.yaml:11:14: not YAML: mapping values are not allowed in this context; check indentation, quotes and brackets here"#),
    wrong(PACK, "    - crm.set\n", "    - crm.set\n    - crm.sett\n",
        r#"pack.yaml:12:7: no operation `crm.sett`; did you mean `crm.set`?"#),
    wrong(PACK, "secrets: [crm_token]", "secrets: [crm_tokn]",
        r#"pack.yaml:12:12: `crm_token` is used, but the pack does not ask for it; add `crm_token` to `asks.secrets`
pack.yaml:12:13: `crm_tokn` is asked for, but no connector uses it; did you mean `crm_token`?"#),
    wrong(PACK, "egress: []", "egress: [\"system:smtp\"]",
        r#"pack.yaml:13:12: `system:smtp` is asked for, but no connector uses it; none is declared: leave it out, or declare it"#),
    wrong(PACK, "schema: harness.pack/v1", "schema: harness.pack/v2",
        r#"pack.yaml:1:9: `harness.pack/v2` is not the schema of this file; write `schema: harness.pack/v1`"#),
    wrong(PACK, "name: small", "name: Small Pack",
        r#"pack.yaml:2:7: name is not a name; use a-z, 0-9, `_` and `-`, a letter first, at most 64 characters"#),
    wrong(INTENT, "name: check", "name: proxied",
        r#"intents/check.yaml:1:1: `proxied` is what single calls are called that a proxy passes on; give the intent another name"#),
    wrong(PACK, "name: small", "name: small\nname: other",
        r#"pack.yaml:3:1: `name` stands twice in this map; keep one; the first is on line 2"#),
    wrong(PACK, "{limit: 5}", "&c {limit: 5}",
        r#"pack.yaml:15:12: anchors and aliases are refused; write the value out"#),
    wrong(PACK, "{limit: 5}", "!t {limit: 5}",
        r#"pack.yaml:15:12: tags are refused; leave the tag out"#),
    wrong(PACK, "{limit: 5}", "{<<: 5}",
        r#"pack.yaml:15:13: merge keys are refused; write the fields out"#),
    wrong(PACK, "{limit: 5}", "{limit: 12345678901234567890123}",
        r#"pack.yaml:15:20: a number that is not exact in JSON; put it in quotes"#),
    wrong(PACK, "{limit: 5}", "{limit: [}",
        r#"pack.yaml:15:21: not YAML: while parsing a node, did not find expected node content; check indentation, quotes and brackets here"#),
    wrong(INTENT, "playbook: check", "playbook: chek",
        r#"intents/check.yaml:11:11: no playbook `chek`; did you mean `check`?
playbooks/check.yaml:2:7: nothing says which inputs this playbook takes; add `input`, or name it in an intent"#),
    wrong(INTENT, "customer: /account", "customer: /acount",
        r#"intents/check.yaml:15:22: `/acount` names no input; did you mean `account`?"#),
    wrong(INTENT, "note: {type: string}", "note: {typ: string}",
        r#"intents/check.yaml:10:17: `typ` is no schema keyword; did you mean `type`?"#),
    wrong(INTENT, "note: {type: string}", "note: {$ref: \"https://example.org/n.json\"}",
        r#"intents/check.yaml:10:18: only references into the same schema: nothing is fetched; write `$ref: '#/$defs/name'`"#),
    wrong(INTENT, "agent: agent:checker", "agent: \"the checker\"",
        r#"intents/check.yaml:12:8: `the checker` is not a principal id such as person:mira; correct agent"#),
    wrong(INTENT, "[check the account]", "check",
        r#"intents/check.yaml:13:11: triggers must be a list, not text; write a list"#),
    wrong(CHECK, "do: crm.get", "do: crm.gett",
        r#"playbooks/check.yaml:5:9: no operation `crm.gett`; did you mean `crm.get`?"#),
    wrong(CHECK, "id: second", "id: first",
        r#"playbooks/check.yaml:7:9: two steps are called `first`; rename one; the first is on line 4"#),
    wrong(CHECK, "id: second", "id: sec-ond",
        r#"playbooks/check.yaml:7:9: a step id has no `-`: expressions read it as minus; use `_`"#),
    wrong(CHECK, "when: steps.first", "whem: steps.first",
        r#"playbooks/check.yaml:9:5: unknown key `whem`; did you mean `when`?"#),
    wrong(CHECK, "steps.first.output.level == 'low'", "steps.done.output.level == 'low'",
        r#"playbooks/check.yaml:9:17: step `done` is not visible here: it runs later, or inside another step; read a step that stands before this one, or move this one behind it"#),
    wrong(CHECK, "steps.first.output.level == 'low'", "steps.frist.output.level == 'low'",
        r#"playbooks/check.yaml:9:17: unknown field `frist` of `steps`; did you mean `first`?"#),
    wrong(CHECK, "steps.first.output.level == 'low'", "steps.first.output.levl == 'low'",
        r#"playbooks/check.yaml:9:30: unknown field `levl` of `steps.first.output`; did you mean `level`?"#),
    wrong(CHECK, "steps.first.output.level == 'low'", "steps.first.output.level",
        r#"playbooks/check.yaml:9:11: expected true or false, found string; write a condition, such as `… == …`"#),
    wrong(CHECK, "steps.first.output.level == 'low'", "\"${{ steps.first.output.note == }}\"",
        r#"playbooks/check.yaml:9:43: expected a value, found the end; write one whole expression, such as `a.b == 'text'`"#),
    wrong(CHECK, "level: high", "level: hgh",
        r#"playbooks/check.yaml:12:14: `level` of `crm.set` must be one of ["low","high"]; see its input schema"#),
    wrong(CHECK, "level: high", "levels: high",
        r#"playbooks/check.yaml:11:7: `/level` of `crm.set`: required, but not given; see its input schema"#),
    wrong(CHECK, "level: high", "level: 5",
        r#"playbooks/check.yaml:12:14: `/level` of `crm.set`: expected string, found int; see its input schema"#),
    wrong(CHECK, "      level: high\n", "",
        r#"playbooks/check.yaml:11:7: `/level` of `crm.set`: required, but not given; see its input schema"#),
    wrong(CHECK, "with: {account: \"${{ intent.account }}\"}", "with: {account: \"${{ intent.note }}\"}",
        r#"playbooks/check.yaml:6:33: `intent.note` may be absent; guard it with `has(intent.note) && …` or `has(intent.note) ? … : …`, or write `default(intent.note, …)`"#),
    wrong(CHECK, "with: {tag: \"${{ tag }}\"}", "with: {tag: \"${{ tagg }}\"}",
        r#"playbooks/check.yaml:24:26: unknown variable `tagg`; did you mean `tag`?"#),
    wrong(CHECK, "max: 10\n", "max: 10001\n",
        r#"playbooks/check.yaml:20:10: max must be a whole number from 1 to 10000; write a number from 1 to 10000"#),
    wrong(CHECK, "as: tag", "as: steps",
        r#"playbooks/check.yaml:19:9: `steps` cannot name the loop variable; use another name of a-z, 0-9 and `_`"#),
    wrong(CHECK, "for_each: steps.first.output.tags", "for_each: steps.first.output.level",
        r#"playbooks/check.yaml:18:15: expected a list, found string; give the list to go through"#),
    wrong(CHECK, "rate_limit:", "rate_limt:",
        r#"playbooks/check.yaml:14:7: `rate_limt` is no failure class; did you mean `rate_limit`?"#),
    wrong(CHECK, "rate_limit:", "permission:",
        r#"playbooks/check.yaml:15:11: `retry` after `permission` is refused: trying the same again cannot help after this class; use another recovery"#),
    wrong(CHECK, "        - stop\n", "        - escalate: {to: aprover}\n",
        r#"playbooks/check.yaml:16:26: no role `aprover`; did you mean `approver`?"#),
    wrong(CHECK, "        - stop\n", "        - partial: {caveat: gone, forbid: [crm.sett]}\n",
        r#"playbooks/check.yaml:16:44: no operation `crm.sett`; did you mean `crm.set`?"#),
    wrong(CHECK, "        - stop\n", "        - stop\n        - stop\n",
        r#"playbooks/check.yaml:16:11: nothing after `stop` is ever reached; put it last"#),
    wrong(CHECK, "        - retry: {times: 2, delay: 1s}", "        - retry: {times: 2, delay: 1 second}",
        r#"playbooks/check.yaml:15:36: delay is not a time span; write a number and a unit: `250ms`, `30s`, `5m`, `4h`, `2d`, `1w`"#),
    wrong(CHECK, "    return: {account", "    retrun: {account",
        r#"playbooks/check.yaml:26:5: the step does nothing; write exactly one of: do, ask, agent, playbook, parallel, for_each, wait, return
playbooks/check.yaml:27:5: unknown key `retrun`; did you mean `return`?"#),
    wrong(CHECK, "    return: {account", "    wait: 5m\n    return: {account",
        r#"playbooks/check.yaml:26:5: the step does several things: wait, return; write exactly one of: do, ask, agent, playbook, parallel, for_each, wait, return"#),
    wrong(CHECK, "  - id: done\n", "  - {id: early, return: 1}\n  - id: done\n",
        r#"playbooks/check.yaml:27:5: step `done` is never reached; put `return` last"#),
    wrong(CHECK, "  - id: done\n", "  - {id: again, playbook: check, with: {account: x}}\n  - id: done\n",
        r#"playbooks/check.yaml:2:7: `check` calls itself, directly or through others; break the circle; use `for_each` to repeat steps"#),
    wrong(CHECK, "  - id: done\n", "  - {id: q, ask: \"Sure?\", answer: {type: boolean}, role: boss}\n  - id: done\n",
        r#"playbooks/check.yaml:26:58: no role `boss`; add `boss` to `roles` in pack.yaml"#),
    wrong(CHECK, "  - id: done\n", "  - id: par\n    parallel:\n      - {id: a, return: 1}\n  - id: done\n",
        r#"playbooks/check.yaml:28:9: `return` cannot stand in a branch of `parallel`; put it after the branches"#),
    wrong(CHECK, "collect: \"${{ steps.inner.output.total }}\"", "collect: \"${{ [1].map(a, steps.first.output.tags.map(b, steps.first.output.tags.map(c, steps.first.output.tags.map(d, d)))) }}\"",
        r#"playbooks/check.yaml:25:14: the expression may cost 9252538 steps with lists of 100; at most 1000000 are allowed; nest fewer loops"#),
    wrong(CRM, "retry: keyed", "retry: probe",
        r#"connectors/crm.yaml:40:5: `retry: probe` needs `probe`; name the read that tells whether it happened"#),
    wrong(CRM, "      idempotency: {header: Idempotency-Key}\n", "",
        r#"connectors/crm.yaml:40:5: `retry: keyed` needs a target that deduplicates on our key; add `idempotency: {header: Idempotency-Key}` to the request, or use `probe` or `never`"#),
    wrong(CRM, "undo: restore", "undo: none",
        r#"connectors/crm.yaml:40:5: `undo_with` without an `undo` that uses it; say `undo: restore` or `undo: compensate`"#),
    wrong(CRM, "    undo: restore\n    retry: keyed\n", "    retry: keyed\n    undo: perhaps\n",
        r#"connectors/crm.yaml:40:5: `undo_with` without an `undo` that uses it; say `undo: restore` or `undo: compensate`
connectors/crm.yaml:41:11: `perhaps` is no undo; known: restore, compensate, none"#),
    wrong(CRM, "use: crm.get\n", "use: crm.set\n",
        r#"connectors/crm.yaml:50:12: `crm.set` is a write; `before` needs a read; name a read
connectors/crm.yaml:51:13: `/level` of `crm.set`: required, but not given; see its input schema
connectors/crm.yaml:55:65: `before.level` may be absent; guard it with `has(before.level) && …` or `has(before.level) ? … : …`, or write `default(before.level, …)`"#),
    wrong(CRM, "use: crm.set\n", "use: crm.get\n",
        r#"connectors/crm.yaml:54:12: `crm.get` is a read; `undo_with` needs a write; name a write
connectors/crm.yaml:55:53: `/level` of `crm.get`: unknown field; known: account; see its input schema"#),
    wrong(CRM, "image: [/level]", "image: [/levl]",
        r#"connectors/crm.yaml:52:15: `/levl` leads nowhere in the output of `crm.get`; did you mean `level`?"#),
    wrong(CRM, "level: \"${{ before.level }}\"", "level: \"${{ before.level + 'x' }}\"",
        r#"connectors/crm.yaml:55:53: a companion's argument is one path, not an expression; write `${{ args.name }}`, beginning with one of: args, before, output, after, key"#),
    wrong(CRM, "level: \"${{ before.level }}\"", "level: [\"${{ before.level }}\"]",
        r#"connectors/crm.yaml:55:53: a companion's argument is one path or a value without any; take one path for all of it, such as `${{ args.paths }}`"#),
    wrong(CRM, "level: \"${{ before.level }}\"", "level: \"${{ before.note }}\"",
        r#"connectors/crm.yaml:55:65: `before.note` may be absent; guard it with `has(before.note) && …` or `has(before.note) ? … : …`, or write `default(before.note, …)`"#),
    wrong(CRM, "summary: Set {/account} to", "summary: Set {/acount} to",
        r#"connectors/crm.yaml:42:14: `/acount` leads nowhere in the input; did you mean `account`?"#),
    wrong(CRM, "body: {level: /level}", "body: {level: /levels}",
        r#"connectors/crm.yaml:46:21: `/levels` names no argument of the operation; did you mean `level`?"#),
    wrong(CRM, "path: /accounts/{account}\n", "path: /accounts/{acc}\n",
        r#"connectors/crm.yaml:45:13: `/acc` names no argument of the operation; known: account, level"#),
    wrong(CRM, "path: /accounts/{account}\n", "path: \"https://crm.example/{account}\"\n",
        r#"connectors/crm.yaml:45:13: not a path below the system's address; write `/things/{id}`; the query has its own key, hosts are the operator's"#),
    wrong(CRM, "query: {tag: /tag}", "query: {tag: tag}",
        r#"connectors/crm.yaml:29:56: query must be a JSON pointer; write `/tag`"#),
    wrong(CRM, "auth: {bearer: crm_token}", "auth: {bearer: \"s3cr3t value\"}",
        r#"connectors/crm.yaml:5:16: a secret's name is not a name; use a-z, 0-9, `_` and `-`, a letter first, at most 64 characters"#),
    wrong(CRM, "cost: {minor: 3, currency: EUR}", "timeout_ms: 600001",
        r#"connectors/crm.yaml:48:17: timeout_ms must be a whole number from 1 to 600000; write a number from 1 to 600000"#),
    wrong(CRM, "cost: {minor: 3, currency: EUR}", "timeout: 5",
        r#"connectors/crm.yaml:48:5: unknown key `timeout`; did you mean `timeout_ms`?"#),
    wrong(CRM, "cost: {minor: 3, currency: EUR}", "cost: {minor: 3, currency: euro}",
        r#"connectors/crm.yaml:48:32: a currency is three capital letters; write a code such as `EUR`"#),
    wrong(CRM, "cost: {minor: 3, currency: EUR}", "freshness: {at: /when, max_age: 1d}",
        r#"connectors/crm.yaml:48:21: `/when` leads nowhere in the output; known: level"#),
    wrong(CRM, "cost: {minor: 3, currency: EUR}", "critical: [/acount]",
        r#"connectors/crm.yaml:48:16: `/acount` leads nowhere in the input; did you mean `account`?"#),
    wrong(CRM, "properties: {total: {type: integer}}", "properties: {total: {type: integr}}",
        r#"connectors/crm.yaml:38:34: `integr` is no type of JSON Schema; did you mean `integer`?"#),
    wrong(CRM, "trust: verified", "trust: verifed",
        r#"connectors/crm.yaml:7:19: `verifed` is no trust; did you mean `verified`?"#),
    wrong(CRM, "kind: http", "kind: htpp",
        r#"connectors/crm.yaml:3:7: `htpp` is no connector kind; did you mean `http`?"#),
    wrong(EXCEPTIONS, "where: crm.get", "where: crm.gte",
        r#"exceptions.yaml:3:12: no operation `crm.gte`; did you mean `crm.get`?"#),
    wrong(EXCEPTIONS, "where: crm.get", "where: chekc",
        r#"exceptions.yaml:3:12: no playbook `chekc`; did you mean `check`?"#),
    wrong(EXCEPTIONS, "class: timeout", "class: missing_field",
        r#"exceptions.yaml:6:9: `retry` after `missing_field` is refused: trying the same again cannot help after this class; use another recovery"#),
    wrong(EXCEPTIONS, "- escalate: {to: approver}", "- escalate: {too: approver}",
        r#"exceptions.yaml:11:19: `to` is missing; add `to:` here
exceptions.yaml:11:20: unknown key `too`; did you mean `to`?"#),
    wrong(EXCEPTIONS, "- escalate: {to: approver}", "- partial: {value: \"${{ intent.x }}\", caveat: c}",
        r#"exceptions.yaml:11:31: unknown variable `intent`; known: pack, run; a word that is meant as text stands in quotes: `'intent'`"#),
    wrong(EXCEPTIONS, "- stop", "- stopp",
        r#"exceptions.yaml:7:9: `stopp` is no recovery; did you mean `stop`?"#),
    wrong(EXCEPTIONS, "- stop", "- log",
        r#"exceptions.yaml:7:9: `log` alone says too little; write `- log: {caveat: what was passed over}`"#),
    wrong(KPIS, "measure: count", "measure: avg",
        r#"kpis.yaml:3:5: this measure needs `value`; say which number of each item counts"#),
    wrong(KPIS, "where: status == 'completed'", "where: status = 'completed'",
        r#"kpis.yaml:7:19: `=` is not an operator; compare with `==`"#),
    wrong(KPIS, "window: 30d", "window: 30",
        r#"kpis.yaml:8:13: window is not a time span; write a number and a unit: `250ms`, `30s`, `5m`, `4h`, `2d`, `1w`"#),
];

#[test]
fn a_write_whose_outcome_nobody_knows_is_not_repeated() {
    let mut files = small();
    edit(&mut files, CRM, "    retry: keyed\n", "");
    edit(&mut files, CHECK, "rate_limit:", "timeout:");
    let want = "playbooks/check.yaml:15:11: `retry` after `timeout` is refused: nobody knows whether the write \
        happened, and the operation says `retry: never`; use another recovery\n";
    assert_eq!(show(&load(&files).unwrap_err()), want);
    edit(&mut files, CHECK, "timeout:", "rate_limit:");
    assert!(load(&files).is_ok(), "a target that refused has done nothing");
}

#[test]
fn null_that_a_recovery_puts_in_place_must_be_guarded() {
    let mut files = small();
    edit(&mut files, EXCEPTIONS, "- stop", "- log: {caveat: gone}");
    let want = "playbooks/check.yaml:9:11: `steps.first.output` may be null";
    let problems = load(&files).unwrap_err();
    assert!(show(&problems).contains(want), "{}", show(&problems));
}

#[test]
fn a_pack_for_another_harness_is_refused() {
    let mut files = small();
    edit(&mut files, PACK, "\">=0.1\"", "\">=99\"");
    assert!(
        show(&load(&files).unwrap_err())
            .starts_with("pack.yaml:6:10: the pack needs harness >=99, this is ")
    );
}

#[test]
fn calls_that_double_at_each_level_are_counted_not_walked() {
    let mut files = small();
    for n in 0..60 {
        let call = |id: &str| format!("  - {{id: {id}, playbook: p{}, with: {{}}}}\n", n + 1);
        let (a, b) = (call("a"), call("b"));
        let steps = if n < 59 { format!("{a}{b}") } else { "  - {id: z, return: 1}\n".to_owned() };
        let text = format!(
            "schema: harness.playbook/v1\nname: p{n}\ninput: {{type: object}}\nsteps:\n{steps}"
        );
        files.insert(format!("playbooks/p{n}.yaml"), text.into_bytes());
    }
    assert!(
        show(&load(&files).unwrap_err())
            .contains("steps once other playbooks are inlined; at most 500")
    );
}

#[test]
fn several_problems_are_reported_at_once_in_order() {
    let mut files = small();
    edit(&mut files, PACK, "owner: tests", "ownr: tests");
    edit(&mut files, CRM, "kind: http", "kind: htpp");
    edit(&mut files, KPIS, "window: 30d", "window: 30");
    let problems = load(&files).unwrap_err();
    let places: Vec<(&str, usize)> = problems.iter().map(|p| (p.file.as_str(), p.line)).collect();
    assert!(
        places.contains(&(CRM, 3)) && places.contains(&(KPIS, 8)) && places.contains(&(PACK, 4)),
        "{places:?}"
    );
    assert!(places.is_sorted());
}

#[test]
fn expressions_in_literal_blocks_are_told_by_their_own_line() {
    let mut files = small();
    let text =
        "    return:\n      text: |\n        Hello\n          and ${{ intent.acount }} there\n";
    edit(
        &mut files,
        CHECK,
        "    return: {account: \"${{ intent.account }}\", totals: \"${{ steps.third.output }}\"}\n",
        text,
    );
    let problems = load(&files).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert_eq!((problems[0].line, problems[0].column), (30, 26), "{}", problems[0]);
}

#[test]
fn expressions_in_folded_blocks_are_told_by_their_own_line() {
    let mut files = small();
    let text =
        "    return: >-\n      ${{ size(intent.account)\n      > 3 && intent.acount == 'x' }}\n";
    edit(
        &mut files,
        CHECK,
        "    return: {account: \"${{ intent.account }}\", totals: \"${{ steps.third.output }}\"}\n",
        text,
    );
    let problems = load(&files).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert_eq!((problems[0].line, problems[0].column), (29, 21), "{}", problems[0]);
}

#[test]
fn sizes_and_paths_have_limits() {
    let one = |path: &str, bytes: Vec<u8>| {
        let mut files = small();
        files.insert(path.to_owned(), bytes);
        show(&load(&files).unwrap_err())
    };
    let big = vec![b'#'; pack::FILE_BYTES_MAX + 1];
    assert!(one("playbooks/big.yaml", big).starts_with("playbooks/big.yaml:1:1: larger than"));
    let huge = vec![b'#'; pack::PACK_BYTES_MAX];
    assert!(one("README.md", huge).starts_with("pack.yaml:1:1: larger than"));
    assert!(one("../evil.yaml", vec![]).starts_with("../evil.yaml:1:1: not a path inside a pack"));
    assert!(one("playbooks/x.yml", vec![]).contains("end the name with `.yaml`"));
    assert!(one("playbook/x.yaml", vec![]).contains("nothing reads this file"));
    let deep = format!("schema: harness.playbook/v1\nname: {}", "[".repeat(40));
    assert!(one("playbooks/deep.yaml", deep.into_bytes()).contains("nested deeper than 32 levels"));
    assert!(one("kpis.yaml", vec![0xff, 0xfe]).contains("kpis.yaml:1:1: not UTF-8"));
    let mut many = small();
    for n in 0..pack::FILES_MAX {
        many.insert(format!("docs/{n}.md"), Vec::new());
    }
    assert!(show(&load(&many).unwrap_err()).contains("more than 200 files"));
    let mut none = small();
    none.remove("pack.yaml");
    assert!(show(&load(&none).unwrap_err()).contains("there is no pack.yaml"));
}
