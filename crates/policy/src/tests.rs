//! Behaviour of the crate as a whole: tables of rules, questions and outcomes.

use std::sync::Arc;

use kernel::{
    Label, LabelMap,
    decision::{Evidence, Question, Verdict},
    label::{Confidentiality, Trust},
    operation::{Effect, Undo},
    plan::Asks,
};
use proptest::prelude::*;
use serde_json::json;

use crate::{
    Bundle, Case, INHERITED, Kind, Layer, Pair, STARTER, Source, coverage, run_tests,
    sample::{
        ALL, Ask, catalogue, facts, get, load, operation, operator, rule, send, set, short, source,
        with_all,
    },
};

// Loading

#[test]
fn a_typo_is_refused_with_its_line_and_what_was_meant() {
    let table = [
        (r#"permit (principal, action == Action::"crm.get_acount", resource);"#, "crm.get_account"),
        (r#"permit (principal, action in Action::"Read", resource);"#, "`read`"),
        (
            r#"permit (principal, action in [Action::"read", Action::"forcast"], resource);"#,
            "`forecast`",
        ),
        (r#"permit (principal is agent, action, resource);"#, "`Agent`"),
        (r#"permit (principal, action, resource == Acount::"ACC-1");"#, "`Account`"),
        (r#"permit (principal, action, resource in System::"crmm");"#, "`crm`"),
        (
            r#"permit (principal, action == Action::"read", resource);"#,
            "action in Action::\"read\"",
        ),
        (
            r#"forbid (principal, action == Action::"crm.set_forecast", resource)
               when { context.args.amuont.minor > 3 };"#,
            "`amount`",
        ),
        (
            r#"forbid (principal, action in Action::"write", resource)
               when { context.args has amuont && context.args.amuont.minor > 3 };"#,
            "`amount`",
        ),
        (
            r#"forbid (principal, action == Action::"crm.set_forecast", resource)
               when { context.args.score > 3 };"#,
            "no attribute `score`",
        ),
        (
            r#"forbid (principal, action == Action::"crm.set_forecast", resource)
               when { context.args.category == "Commit" };"#,
            "`commit`",
        ),
        (r#"permit (principal, action, resource) when { context.mode == "Live" };"#, "`live`"),
        (r#"permit (principal, action, resource) when { context.Mode == "live" };"#, "`mode`"),
        (r#"permit (principal, action, resource) when { context has mod };"#, "`mode`"),
        (
            r#"permit (principal, action, resource) when { principal has roles };"#,
            "principal has no attribute",
        ),
        (
            r#"permit (principal, action, resource) when { ["secrt"].contains(context.labels.run.confidentiality) };"#,
            "`secret`",
        ),
        (
            r#"permit (principal, action, resource) when { action == Action::"crm.get_acount" };"#,
            "crm.get_account",
        ),
        (
            r#"forbid (principal, action == Action::"mail.send", resource)
               unless { context.evidence.transforms.contains("mask:/txt") };"#,
            "mask:/text",
        ),
        (r#"permit (principal, action, resource) when { context.run.calls == "3" };"#, "String"),
        (r#"permit (Principal, action, resource);"#, "Principal"),
        (
            r#"permit (principal, action, resource) when { context.args.account == "x" };"#,
            "account",
        ),
    ];
    for (body, meant) in table {
        let text = format!("// one\n// two\n{}", rule("r", body));
        let problems = load(&[(Layer::Operator, &text)]).expect_err(body);
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let first = &problems[0];
        assert!(first.line >= 4 && first.line <= 5, "{body}: {shown:?}");
        assert!(shown[0].starts_with("operator.cedar:"), "{shown:?}");
        assert!(shown.iter().any(|text| text.contains(meant)), "{body}: {shown:#?}");
    }
}

#[test]
fn the_place_is_that_of_the_wrong_word() {
    let text = format!(
        "{}{}",
        rule("a", "permit (principal, action, resource);"),
        rule(
            "b",
            "forbid (principal, action == Action::\"crm.set_forecast\", resource)\nwhen {\n  context.args.dais > 1 };"
        )
    );
    let problems = load(&[(Layer::Operator, &text)]).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert_eq!((problems[0].line, problems[0].column), (6, 16));
    assert_eq!(problems[0].rule.as_deref(), Some("b"));
}

#[test]
fn ids_reasons_annotations_and_templates() {
    let refused = [
        ("permit (principal, action, resource);", "needs an `@id`"),
        ("@id(\"a\") @severity(\"high\") permit (principal, action, resource);", "@severity"),
        ("@id(\"a\") @reasn(\"x\") permit (principal, action, resource);", "`reason`"),
        (
            "@id(\"a\") permit (principal, action, resource);\n@id(\"a\") forbid (principal, action, resource);",
            "already",
        ),
        ("@id(\"a\") permit (principal == ?principal, action, resource);", "templates"),
        ("@id(\"a\") permit (principal, action resource);", "unexpected token"),
    ];
    for (text, why) in refused {
        let problems = load(&[(Layer::Operator, text)]).expect_err(text);
        assert!(problems.iter().any(|p| p.to_string().contains(why)), "{text}: {problems:#?}");
    }
    let deep = format!(
        "@id(\"a\") permit (principal, action, resource) when {{ {} }};",
        vec!["true"; 600].join(" && ")
    );
    let long = format!(
        "@id(\"a\") @reason(\"{}\") permit (principal, action, resource);",
        "x".repeat(301)
    );
    for (text, why) in [(deep, "NESTING_MAX"), (long, "one line of at most 300")] {
        let problems = load(&[(Layer::Operator, &text)]).unwrap_err();
        assert!(problems[0].to_string().contains(why), "{problems:#?}");
    }
    let both = load(&[(Layer::Operator, ALL), (Layer::Pack, ALL)]);
    assert!(both.is_ok(), "the same id in two layers is two rules");
}

#[test]
fn evidence_only_grows() {
    let forbid =
        |tail: &str| format!("forbid (principal, action in Action::\"write\", resource)\n{tail};");
    let permit =
        |tail: &str| format!("permit (principal, action in Action::\"write\", resource)\n{tail};");
    let fine = [
        forbid("unless { context.evidence.approvals.finance >= 2 }"),
        forbid(
            "unless { context.evidence.dry_run && context.run.calls < 3 || context.evidence.approvals.a >= 1 }",
        ),
        forbid(
            "when { context.run.calls > 3 } unless { context.evidence.approvals has a && context.evidence.approvals.a >= 1 }",
        ),
        forbid("unless { [\"restore\"].contains(context.evidence.rollback) }"),
        forbid("unless { [\"compensate\", \"restore\"].contains(context.evidence.rollback) }"),
        permit("when { context.evidence.approvals.finance >= 2 }"),
    ];
    for body in &fine {
        assert!(load(&[(Layer::Operator, &rule("r", body))]).is_ok(), "{body}");
    }
    let refused = [
        forbid("when { context.evidence.approvals.finance >= 2 }"),
        permit("unless { context.evidence.approvals.finance >= 2 }"),
        forbid("unless { !(context.evidence.approvals.finance >= 2) }"),
        forbid("unless { !context.evidence.dry_run }"),
        forbid("unless { context.evidence.dry_run && context.run.calls + 1 > 3 }"),
        forbid("unless { context.evidence.approvals.finance > 1 }"),
        forbid("unless { context.evidence.approvals.finance == 1 }"),
        forbid("unless { context.evidence.approvals.finance < 1 }"),
        forbid("unless { 2 <= context.evidence.approvals.finance }"),
        forbid("unless { context.evidence.approvals.finance >= 0 }"),
        forbid("unless { context.evidence.approvals.finance >= context.run.calls }"),
        forbid("unless { context.evidence.dry_run == true }"),
        forbid("unless { if context.evidence.dry_run then true else false }"),
        forbid("unless { context.evidence.rollback == \"restore\" }"),
        forbid("unless { [\"compensate\"].contains(context.evidence.rollback) }"),
        forbid("unless { [\"restore\", \"none\"].contains(context.evidence.rollback) }"),
        forbid("unless { context.evidence == context.evidence }"),
        forbid("unless { context == context }"),
        forbid("unless { {a: context}.a.evidence.dry_run }"),
    ];
    for body in &refused {
        let problems = load(&[(Layer::Operator, &rule("r", body))]).expect_err(body);
        assert_eq!(problems[0].line, 3, "{body}: {problems:#?}");
    }
    let later = "unless { context.evidence.dry_run\n&& context.evidence.approvals.finance < 1 }";
    let problems = load(&[(Layer::Operator, &rule("r", &forbid(later)))]).unwrap_err();
    assert_eq!(problems[0].line, 4, "the second mention is at fault: {problems:#?}");
    assert!(problems[0].message.contains("may not be compared like this"), "{problems:#?}");
}

#[test]
fn findings_are_those_and_no_others() {
    let text = with_all(&[
        r#"permit (principal, action in Action::"read", resource);"#,
        r#"forbid (principal, action, resource) when { context.run.calls > 5 && context.run.calls < 3 };"#,
        r#"forbid (principal, action == Action::"web.fetch", resource) when { resource is Account };"#,
        r#"forbid (principal, action in Action::"write", resource) when { context.run.writes >= 3 };"#,
        r#"forbid (principal, action in Action::"write", resource) when { context.run.writes >= 3 && context.run.calls >= 1 };"#,
    ]) + "@id(\"quiet\") forbid (principal, action, resource) when { context.mode == \"replay\" };";
    let loaded = load(&[(Layer::Operator, &text)]).unwrap();
    let found: Vec<(Kind, &str)> =
        loaded.findings.iter().map(|f| (f.kind, f.rule.as_str())).collect();
    let mut expected = vec![
        (Kind::Shadowed, "r0"),
        (Kind::Contradictory, "r1"),
        (Kind::Impossible, "r2"),
        (Kind::Shadowed, "r4"),
        (Kind::NoReason, "quiet"),
    ];
    let mut found_sorted = found.clone();
    found_sorted.sort();
    expected.sort();
    assert_eq!(found_sorted, expected);
    assert!(
        load(&[(Layer::Operator, &(STARTER.to_owned() + INHERITED))]).unwrap().findings.is_empty()
    );
}

#[test]
fn an_operation_cannot_claim_a_group_it_did_not_earn() {
    let mut sly = operation("x.drop", facts(Effect::Write, Undo::None), json!({"type": "object"}));
    sly.groups = vec!["read".to_owned()];
    let catalogue = kernel::catalogue::Catalogue::new([sly]).unwrap();
    let problems = Bundle::load(&catalogue, &[source(Layer::Operator, STARTER)]).unwrap_err();
    assert!(problems[0].message.contains("claims the group `read`"), "{problems:?}");
}

#[test]
fn empty_groups_and_an_empty_catalogue_load() {
    let read = operation("a.read", facts(Effect::Read, Undo::None), json!({"type": "object"}));
    for operations in [vec![], vec![read]] {
        let catalogue = kernel::catalogue::Catalogue::new(operations).unwrap();
        let text = STARTER.to_owned() + INHERITED;
        let loaded = Bundle::load(&catalogue, &[source(Layer::Operator, &text)]);
        assert!(loaded.is_ok(), "{loaded:?}");
    }
}

#[test]
fn digests_name_layer_and_text_not_file_order() {
    let file = |name: &str, text: &str| Source {
        layer: Layer::Operator,
        name: name.into(),
        text: text.into(),
    };
    let digest = |files: &[Source]| Bundle::load(catalogue(), files).unwrap().bundle.digest();
    let other = rule("b", "permit (principal, action, resource);");
    let (a, b) = (file("a.cedar", ALL), file("b.cedar", &other));
    assert_eq!(digest(&[a.clone(), b.clone()]), digest(&[b, a.clone()]));
    assert_ne!(digest(&[a]), digest(&[Source { layer: Layer::Tenant, ..file("a.cedar", ALL) }]));
}

// Judging

#[test]
fn the_starter_permits_reads_inside_and_no_write_at_all() {
    let bundle = operator(STARTER);
    assert_eq!(short(&get().of(&bundle)), "allow by operator/starter.read");
    assert_eq!(
        short(&Ask::new("web.fetch", json!({"url": "x"})).of(&bundle)),
        "deny by operator/no-permit"
    );
    for ask in [set(1), send()] {
        let proven = Evidence { dry_run: true, ..ask.evidence.clone() };
        let ask = Ask { evidence: proven, ..ask }.approved("approver", 9);
        assert_eq!(short(&ask.of(&bundle)), "deny by operator/no-permit");
    }
    for row in bundle.matrix(&get().chain, catalogue()) {
        let is_read = row.operation.as_str() == "crm.get_account";
        assert_eq!(matches!(row.asks, Asks::No), is_read, "{row:?}");
        assert_eq!(matches!(row.asks, Asks::Denied { .. }), !is_read, "{row:?}");
    }
}

/// C209: what cannot be taken back, or has nothing armed for it, is asked about.
#[test]
fn inherited_rules_ask_where_a_write_was_permitted() {
    let bundle = operator(&(ALL.to_owned() + INHERITED));
    let untrusted = Label::new(Trust::Untrusted, Confidentiality::Internal);
    let secret = Label::new(Trust::User, Confidentiality::Secret);
    assert_eq!(short(&set(1).of(&bundle)), "allow by operator/all");
    let tainted = Ask { existence: untrusted.clone(), ..set(1) };
    assert_eq!(short(&tainted.of(&bundle)), "ask approver:1 by operator/inherited.tainted");
    let mut unarmed = set(1);
    unarmed.evidence.rollback = Undo::None;
    assert_eq!(short(&unarmed.of(&bundle)), "ask approver:1 by operator/inherited.unarmed");
    assert!(
        short(&send().of(&bundle)).starts_with("ask approver:1 by operator/inherited.irreversible")
    );
    assert_eq!(short(&send().approved("approver", 1).of(&bundle)), "allow by operator/all");
    let leaking = Ask { labels: LabelMap::uniform(secret), ..send() }.approved("approver", 9);
    assert_eq!(short(&leaking.of(&bundle)), "deny by operator/inherited.confidential");
    let mut note = LabelMap::uniform(Label::new(Trust::User, Confidentiality::Public));
    note.parts.insert("/text".into(), untrusted);
    let harmless = Ask { labels: note, ..send() };
    assert!(!short(&harmless.of(&bundle)).contains("tainted"), "only critical arguments decide");
}

#[test]
fn asking_is_the_least_missing_evidence() {
    let write =
        |tail: &str| format!("forbid (principal, action in Action::\"write\", resource) {tail};");
    let refund = r#"forbid (principal, action == Action::"crm.set_forecast", resource)
        when { context.args.amount.minor > 10000 } unless { context.evidence.approvals.finance >= 1 };"#;
    let cfo = r#"forbid (principal, action == Action::"crm.set_forecast", resource)
        when { context.args.amount.minor > 50000 } unless { context.evidence.approvals.finance >= 2 };"#;
    let either = write(
        "unless { context.evidence.approvals.legal >= 2 || context.evidence.approvals.finance >= 1 }",
    );
    let and = write(
        "unless { context.evidence.approvals.legal >= 2 && context.evidence.approvals.finance >= 1 }",
    );
    let machine =
        write("unless { context.evidence.dry_run || context.evidence.approvals.finance >= 1 }");
    let mask = write("unless { context.evidence.transforms.contains(\"mask:/text\") }");
    let mask_or = write(
        "unless { context.evidence.transforms.containsAll([\"mask:/text\"]) || context.evidence.dry_run }",
    );
    let table: Vec<(Vec<&str>, Ask, &str)> = vec![
        (vec![refund, cfo], set(10_000), "allow by operator/all"),
        (vec![refund, cfo], set(10_001), "ask finance:1 by operator/r0"),
        (vec![refund, cfo], set(50_001), "ask finance:2 by operator/r0 operator/r1"),
        (vec![refund, cfo], set(50_001).approved("finance", 1), "ask finance:2 by operator/r1"),
        (vec![refund, cfo], set(50_001).approved("finance", 2), "allow by operator/all"),
        (vec![refund], set(10_001).approved("legal", 5), "ask finance:1 by operator/r0"),
        (vec![&either], set(1), "ask finance:1 by operator/r0"),
        (vec![&and], set(1), "ask finance:1 legal:2 by operator/r0"),
        (vec![&and], set(1).approved("legal", 2), "ask finance:1 by operator/r0"),
        (vec![&machine], set(1), "ask dry_run by operator/r0"),
        (vec![&machine], send(), "ask finance:1 by operator/r0"),
        (vec![&mask], send(), "ask mask:/text by operator/r0"),
        (vec![&mask, refund], send(), "ask mask:/text by operator/r0"),
        (vec![&mask_or], set(1), "ask dry_run by operator/r0"),
        (vec![&mask, &either], send(), "ask finance:1 mask:/text by operator/r0 operator/r1"),
    ];
    for (rules, ask, expected) in table {
        let bundle = operator(&with_all(&rules));
        assert_eq!(short(&ask.of(&bundle)), expected, "{rules:#?}");
    }
}

#[test]
fn a_permit_may_wait_for_evidence_and_a_forbid_may_be_final() {
    let waiting = rule(
        "w",
        "permit (principal, action, resource) when { context.evidence.approvals.boss >= 1 };",
    );
    assert_eq!(short(&get().of(&operator(&waiting))), "ask boss:1 by operator/w");
    assert_eq!(short(&get().approved("boss", 1).of(&operator(&waiting))), "allow by operator/w");
    let never = with_all(&[
        "forbid (principal, action, resource) unless { context.evidence.approvals.boss >= 1 };",
        "forbid (principal, action, resource) when { context.on_behalf_of.roles.contains(\"manager\") };",
    ]);
    assert_eq!(short(&get().of(&operator(&never))), "deny by operator/r1");
}

/// C145: rules see which row it is and whose.
#[test]
fn principals_resources_labels_and_facts_are_seen() {
    let table = [
        (r#"principal == Agent::"agent:renewals""#, true),
        (r#"principal in Role::"sales" && principal in Tenant::"default""#, true),
        (r#"principal in Role::"finance""#, false),
        (r#"principal is Person"#, false),
        (r#"resource == Account::"ACC-0042""#, true),
        (r#"resource in System::"crm""#, true),
        (r#"resource in System::"mail""#, false),
        (r#"action in Action::"forecast" && action in [Action::"write"]"#, true),
        (r#"action in Action::"irreversible""#, false),
        (r#"context.args.days == 3 && context.args.amount.currency == "EUR""#, true),
        (r#"context.args has note"#, false),
        (r#"context.args has rate && context.args.rate.lessThan(decimal("2.0"))"#, true),
        (r#"context.args has tags && context.args.tags.contains("vip")"#, true),
        (
            r#"context.labels.arg.amount.trust == "user" && context.labels.arg.days.trust == "verified""#,
            true,
        ),
        (r#"context.labels.args.classes.contains("pii") && context.classes.contains("pii")"#, true),
        (r#"context.run.writes == 2 && context.autonomy == "l2" && context.mode == "live""#, true),
        (r#"context.on_behalf_of.id == "person:mira" && context.at > 1600000000000"#, true),
    ];
    let mut ask = set(1);
    ask.args["rate"] = json!("1");
    ask.args["tags"] = json!(["vip"]);
    ask.run.writes = 2;
    let mut amount = Label::new(Trust::User, Confidentiality::Internal);
    amount.classes.insert("pii".to_owned());
    ask.labels.parts.insert("/amount".to_owned(), amount);
    for (condition, expected) in table {
        let body = format!(
            "permit (principal, action == Action::\"crm.set_forecast\", resource) when {{ {condition} }};"
        );
        let verdict = ask.of(&operator(&rule("r", &body))).verdict;
        assert_eq!(verdict == Verdict::Allow, expected, "{condition}");
    }
}

#[test]
fn whatever_cannot_be_evaluated_denies() {
    let overflow =
        with_all(&[r#"forbid (principal, action == Action::"crm.set_forecast", resource)
        when { context.args.days + 1 > 9000 };"#]);
    let bundle = operator(&overflow);
    assert_eq!(short(&set(1).of(&bundle)), "allow by operator/all");
    let mut ask = set(1);
    ask.args["days"] = json!(i64::MAX);
    let decision = ask.of(&bundle);
    assert_eq!(short(&decision), "deny by operator/r0");
    assert!(decision.rules[0].reason.contains("could not be evaluated"));
    let permit = rule(
        "p",
        r#"permit (principal, action == Action::"crm.set_forecast", resource)
        when { context.args.days * 2 > 0 };"#,
    );
    let both = operator(&(ALL.to_owned() + &permit));
    assert_eq!(short(&ask.of(&both)), "deny by operator/p", "a permit that errors denies too");
    let lower = load(&[(Layer::Operator, ALL), (Layer::Agent, &overflow)]).unwrap().bundle;
    assert_eq!(short(&ask.of(&lower)), "deny by agent/r0", "in any layer");
    for (name, value) in [("days", json!("three")), ("days", json!(null)), ("days", json!(0.5))] {
        ask.args[name] = value;
        assert_eq!(short(&ask.of(&bundle)), "deny by kernel/policy.unfit");
    }
    let other = catalogue().get(&"mail.send".parse().unwrap()).unwrap();
    let known = catalogue().get(&"crm.get_account".parse().unwrap()).unwrap();
    let (known, other) = (&*known.operation, &*other.operation);
    let mut with_facts = known.clone();
    with_facts.facts = other.facts.clone();
    let mut with_resource = known.clone();
    with_resource.resource = other.resource.clone();
    for renamed in [with_facts, with_resource] {
        assert!(renamed.facts != known.facts || renamed.resource != known.resource);
        let posing = get().put(|question| {
            use kernel::port::Judge;
            operator(ALL).judge(&Question { operation: &renamed, ..*question })
        });
        assert_eq!(short(&posing), "deny by kernel/policy.other-definition");
    }
    let mut nowhere = set(1);
    nowhere.args.as_object_mut().unwrap().remove("account");
    assert_eq!(short(&nowhere.of(&operator(ALL))), "deny by kernel/policy.unfit");
}

#[test]
fn the_strictest_layer_stands_and_absent_ones_are_skipped() {
    let asks = |role: &str, least: u32| {
        with_all(&[&format!(
            "forbid (principal, action in Action::\"write\", resource) unless {{ context.evidence.approvals.{role} >= {least} }};"
        )])
    };
    let reads = rule("reads", "permit (principal, action in Action::\"read\", resource);");
    let (two, three, legal) = (asks("finance", 2), asks("finance", 3), asks("legal", 1));
    let table: Vec<(Vec<(Layer, &str)>, &str)> = vec![
        (vec![], "deny by kernel/policy.none"),
        (vec![(Layer::Operator, ALL), (Layer::Pack, ALL)], "allow by operator/all pack/all"),
        (vec![(Layer::Operator, ALL), (Layer::Pack, &two)], "ask finance:2 by pack/r0"),
        (
            vec![(Layer::Operator, &two), (Layer::Tenant, &three)],
            "ask finance:3 by operator/r0 tenant/r0",
        ),
        (
            vec![(Layer::Operator, &two), (Layer::Agent, &legal)],
            "ask finance:2 legal:1 by operator/r0 agent/r0",
        ),
        (vec![(Layer::Operator, &two), (Layer::Pack, &reads)], "deny by pack/no-permit"),
        (vec![(Layer::Operator, &reads), (Layer::Pack, ALL)], "deny by operator/no-permit"),
        (vec![(Layer::Operator, ALL), (Layer::Tenant, "// nothing")], "deny by tenant/no-permit"),
    ];
    for (layers, expected) in table {
        let bundle = load(&layers).unwrap().bundle;
        let decision = set(1).of(&bundle);
        assert_eq!(short(&decision), expected);
        assert_eq!(decision.policies.len(), layers.len());
        assert_eq!(decision, set(1).of(&bundle), "judged again, the same bytes");
    }
}

#[test]
fn policies_that_changed_since_speak_too() {
    let asks = with_all(&[
        "forbid (principal, action in Action::\"write\", resource) unless { context.evidence.approvals.boss >= 1 };",
    ]);
    let (mild, strict) = (Arc::new(operator(ALL)), Arc::new(operator(&asks)));
    for (pinned, current) in [(&mild, &strict), (&strict, &mild)] {
        let pair = Pair { pinned: Arc::clone(pinned), current: Arc::clone(current) };
        let ask = Ask { current: Some(pair.current_digest()), ..set(1) };
        let decision = ask.of(&pair);
        assert_eq!(short(&decision), "ask boss:1 by operator/r0");
        assert_eq!(decision.policies.len(), 2);
    }
    let unknown = Ask { current: Some(strict.digest()), ..set(1) };
    assert_eq!(short(&unknown.of(&*mild)), "deny by kernel/policy.not-loaded");
    let third = Ask { current: Some(kernel::Digest::of(b"x")), ..set(1) };
    let pair = Pair { pinned: Arc::clone(&mild), current: Arc::clone(&strict) };
    assert_eq!(short(&third.of(&pair)), "deny by kernel/policy.not-loaded");
    let same = Pair { pinned: Arc::clone(&mild), current: Arc::clone(&mild) };
    assert_eq!(short(&set(1).of(&same)), "allow by operator/all");
}

#[test]
fn many_rules_are_read_in_their_order_and_every_wrong_one_is_named() {
    let rule = |n: usize| {
        let what = if n % 40 == 39 { "context.args.nothing == 1" } else { "context.at > 1" };
        format!(
            "@id(\"rule-{n}\")\npermit (principal, action == Action::\"crm.get_account\", resource) when {{ {what} }};\n"
        )
    };
    let texts = |n: usize| (0..n).map(rule).collect::<String>();
    let bundle = operator(&texts(39));
    assert_eq!(bundle.rule_ids().len(), 39);
    let problems = load(&[(Layer::Operator, &texts(200))]).unwrap_err();
    let named: Vec<_> = problems.iter().map(|p| (p.rule.as_deref().unwrap(), p.line)).collect();
    let wrong = [39, 79, 119, 159, 199];
    let ids = wrong.map(|n| format!("rule-{n}"));
    let expected: Vec<_> = ids.iter().map(String::as_str).zip(wrong.map(|n| 2 * n + 2)).collect();
    assert_eq!(named, expected);
}

// Forecast, explain, tests

#[test]
fn forecasts_say_no_always_maybe_or_denied() {
    let write = "forbid (principal, action in Action::\"write\", resource)";
    let always = format!("{write} unless {{ context.evidence.approvals.boss >= 2 }};");
    let maybe = "forbid (principal, action == Action::\"crm.set_forecast\", resource) when { context.args.amount.minor > 5 } unless { context.evidence.approvals.boss >= 2 };";
    let never = format!("{write} unless {{ context.mode == \"eval\" && false }};");
    let elsewhere =
        format!("{write} when {{ resource in System::\"mail\" || action in Action::\"egress\" }};");
    let forecast = |text: &str| {
        let catalogue = catalogue();
        let set = &catalogue.get(&"crm.set_forecast".parse().unwrap()).unwrap().operation;
        operator(text).forecast(set)
    };
    assert_eq!(forecast(ALL), Asks::No);
    assert_eq!(forecast(&with_all(&[&elsewhere])), Asks::No);
    let approvals = || std::collections::BTreeMap::from([("boss".to_owned(), 2)]);
    let rules = || vec!["r0".to_owned()];
    assert_eq!(
        forecast(&with_all(&[&always])),
        Asks::Always { approvals: approvals(), rules: rules() }
    );
    let depends_on = std::collections::BTreeSet::from(["args.amount.minor".to_owned()]);
    let expected = Asks::Maybe { approvals: approvals(), rules: rules(), depends_on };
    assert_eq!(forecast(&with_all(&[maybe])), expected);
    assert_eq!(forecast(&with_all(&[&never])), Asks::Denied { rules: rules() });
    let decimal = with_all(&[
        "forbid (principal, action == Action::\"crm.set_forecast\", resource) when { context.args has rate && context.args.rate.lessThan(decimal(\"1.0\")) && false };",
    ]);
    assert!(matches!(forecast(&decimal), Asks::Maybe { .. }), "a decimal may not fit");
    let role = rule("role", "permit (principal in Role::\"sales\", action, resource);");
    let rows = operator(&role).matrix(&get().chain, catalogue());
    assert!(rows.iter().all(|row| row.asks == Asks::No), "known roles are used: {rows:?}");
    assert!(matches!(forecast(&role), Asks::Maybe { .. }));
}

#[test]
fn explain_names_every_rule_with_and_without_evidence() {
    let text = with_all(&[
        "forbid (principal, action in Action::\"write\", resource) unless { context.evidence.approvals.boss >= 1 };",
        "forbid (principal, action in Action::\"write\", resource) when { context.run.writes > 7 };",
        "forbid (principal, action in Action::\"read\", resource);",
    ]);
    let bundle = operator(&text);
    let explanation = set(1).put(|question| bundle.explain(question));
    let rules = &explanation.layers[0].rules;
    let seen: Vec<_> =
        rules.iter().map(|r| (r.id.as_str(), r.matches_now, r.matches_granted)).collect();
    let expected = [
        ("all", Some(true), Some(true)),
        ("r0", Some(true), Some(false)),
        ("r1", Some(false), Some(false)),
    ];
    assert_eq!(seen, expected);
    assert_eq!(rules[1].line, 2);
    assert_eq!(short(&explanation.decision), "ask boss:1 by operator/r0");
}

#[test]
fn tests_pass_fail_and_cover() {
    let bundle = operator(&with_all(&[
        "forbid (principal, action in Action::\"write\", resource) unless { context.evidence.approvals.boss >= 1 };",
        "forbid (principal, action in Action::\"write\", resource) when { context.run.writes > 7 };",
    ]));
    let case = |value: serde_json::Value| serde_json::from_value::<Case>(value).unwrap();
    let args = json!({"account": "A", "category": "commit", "days": 1, "amount": {"minor": 1, "currency": "EUR"}});
    let cases = [
        case(json!({"name": "read", "agent": "agent:a", "operation": "crm.get_account",
            "args": {"account": "A"}, "expect": "allow"})),
        case(
            json!({"name": "ask", "agent": "agent:a", "operation": "crm.set_forecast", "args": args,
            "expect": "ask", "rules": ["r0"], "approvals": {"boss": 1}}),
        ),
        case(
            json!({"name": "wrong", "agent": "agent:a", "operation": "crm.set_forecast", "args": args,
            "expect": "allow", "rules": ["r1"], "approvals": {"boss": 2}}),
        ),
        case(
            json!({"name": "no such", "agent": "agent:a", "operation": "crm.nope", "expect": "deny"}),
        ),
    ];
    let results = run_tests(&bundle, catalogue(), &cases);
    let problems: Vec<usize> = results.iter().map(|result| result.problems.len()).collect();
    assert_eq!(problems, [0, 0, 3, 1], "{results:#?}");
    let missed: Vec<_> = coverage(&bundle, &results).missed.into_iter().map(|(_, id)| id).collect();
    assert_eq!(missed, ["r1"]);
    assert_eq!(bundle.untested(Layer::Operator, &results)[0].kind, Kind::Untested);
    let unknown =
        json!({"name": "x", "agent": "a", "operation": "a.b", "expect": "deny", "expects": 1});
    assert!(serde_json::from_value::<Case>(unknown).is_err());
}

// Properties

const CONDITIONS: [&str; 10] = [
    "context.args.amount.minor > 500",
    "context.args.days + 1 > 3",
    "context.labels.run.trust == \"untrusted\"",
    "principal in Role::\"sales\"",
    "resource in System::\"mail\"",
    "action in Action::\"forecast\"",
    "context.args has note",
    "context.args has account && resource is Account",
    "!(context.run.writes > 2) || context.mode == \"live\"",
    "if context.run.calls > 3 then true else action in Action::\"write\"",
];
const EVIDENCE: [&str; 6] = [
    "context.evidence.approvals.finance >= 1",
    "context.evidence.approvals.finance >= 2 || context.evidence.approvals.legal >= 1",
    "context.evidence.dry_run && context.run.calls < 4",
    "[\"restore\", \"compensate\"].contains(context.evidence.rollback)",
    "context.evidence.approvals.legal >= 1 && context.evidence.approvals.finance >= 1",
    "context.evidence.dry_run",
];

prop_compose! {
    fn any_rule()(
        forbid in any::<bool>(),
        group in prop::sample::select(vec!["write", "forecast", "read"]),
        condition in prop::option::of(prop::sample::select(CONDITIONS.to_vec())),
        evidence in prop::option::of(prop::sample::select(EVIDENCE.to_vec())),
    ) -> String {
        let effect = if forbid { "forbid" } else { "permit" };
        // Arguments are named only where every action of the scope has them.
        let scope = match condition {
            Some(text) if text.contains("context.args") => "action == Action::\"crm.set_forecast\"".to_owned(),
            _ => format!("action in Action::\"{group}\""),
        };
        let when = condition.map(|text| format!(" when {{ {text} }}")).unwrap_or_default();
        let word = if forbid { "unless" } else { "when" };
        let tail = evidence.map(|text| format!(" {word} {{ {text} }}")).unwrap_or_default();
        format!("{effect} (principal, {scope}, resource){when}{tail};")
    }
}

prop_compose! {
    fn any_ask()(
        minor in prop::sample::select(vec![0_i64, 500, 501, i64::MAX]),
        days in prop::sample::select(vec![0_i64, 3, i64::MAX]),
        note in any::<bool>(),
        untrusted in any::<bool>(),
        sales in any::<bool>(),
        (calls, writes) in (0..6_u32, 0..5_u32),
        (finance, legal, dry_run) in (0..3_u32, 0..2_u32, any::<bool>()),
        missed in any::<bool>(),
    ) -> Ask {
        let mut ask = set(minor);
        ask.args["days"] = json!(days);
        if note {
            ask.args["note"] = json!("x");
        }
        if untrusted {
            ask.existence = Label::default();
        }
        if !sales {
            ask.chain.agent.roles.clear();
        }
        (ask.run.calls, ask.run.writes, ask.evidence.dry_run) = (calls, writes, dry_run);
        if missed {
            ask.evidence.rollback = Undo::None;
        }
        ask.approved("finance", finance).approved("legal", legal)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn forecast_never_says_more_than_the_judge(
        (mut upper, lower) in (prop::collection::vec(any_rule(), 1..4), prop::collection::vec(any_rule(), 0..3)),
        with_permit in any::<bool>(),
        asks in prop::collection::vec(any_ask(), 8),
    ) {
        if with_permit {
            upper.push("permit (principal, action, resource);".to_owned());
        }
        let text = |rules: &[String]| -> String {
            rules.iter().enumerate().map(|(i, body)| rule(&format!("r{i}"), body)).collect()
        };
        let (upper, lower) = (text(&upper), text(&lower));
        let mut layers = vec![(Layer::Operator, upper.as_str())];
        if !lower.is_empty() {
            layers.push((Layer::Pack, lower.as_str()));
        }
        let bundle = load(&layers).map_err(|p| TestCaseError::fail(format!("{p:#?}")))?.bundle;
        let catalogue = catalogue();
        let set = &catalogue.get(&"crm.set_forecast".parse().unwrap()).unwrap().operation;
        for ask in &asks {
            let decision = ask.of(&bundle);
            let row = bundle.matrix(&ask.chain, catalogue).into_iter().find(|row| row.operation == set.id);
            for asks in [bundle.forecast(set), row.unwrap().asks] {
                let bare = ask.evidence.approvals.values().all(|count| *count == 0) && !ask.evidence.dry_run;
                let agrees = match (&asks, &decision.verdict) {
                    (Asks::Denied { .. }, verdict) => *verdict == Verdict::Deny,
                    (Asks::No, verdict) => *verdict == Verdict::Allow,
                    (Asks::Always { .. }, Verdict::Deny) => false,
                    (Asks::Always { .. }, Verdict::Allow) => !bare,
                    (Asks::Always { approvals, .. }, Verdict::Ask(missing)) => missing.approvals.iter()
                        .all(|(role, count)| !bare || approvals.get(role).is_some_and(|most| most >= count)),
                    (Asks::Maybe { approvals, .. }, Verdict::Ask(missing)) => missing.approvals.iter()
                        .all(|(role, count)| approvals.get(role).is_some_and(|most| most >= count)),
                    (Asks::Maybe { .. }, _) => true,
                };
                prop_assert!(agrees, "{asks:?} but {}\n{upper}\n---\n{lower}\n{ask:#?}", short(&decision));
            }
        }
    }

    #[test]
    fn what_is_asked_for_is_enough_and_nothing_in_it_is_spare(
        rules in prop::collection::vec(any_rule(), 1..5),
        ask in any_ask(),
    ) {
        let bodies: Vec<&str> = rules.iter().map(String::as_str).collect();
        let bundle = operator(&with_all(&bodies));
        let decision = ask.of(&bundle);
        prop_assert_eq!(&decision, &ask.of(&bundle));
        if let Verdict::Ask(missing) = &decision.verdict {
            prop_assert!(!missing.is_empty());
            let mut given = ask.clone();
            given.evidence.approvals.extend(missing.approvals.clone());
            given.evidence.dry_run |= missing.dry_run;
            given.evidence.transforms.extend(missing.transforms.iter().cloned());
            prop_assert_eq!(given.of(&bundle).verdict, Verdict::Allow);
            for role in missing.approvals.keys() {
                let mut less = given.clone();
                let before = ask.evidence.approvals.get(role).copied().unwrap_or_default();
                less.evidence.approvals.insert(role.clone(), before);
                prop_assert_ne!(less.of(&bundle).verdict, Verdict::Allow, "{} is spare", role);
            }
        }
    }

    #[test]
    fn more_evidence_never_harms(
        rules in prop::collection::vec(any_rule(), 1..5),
        (ask, role) in (any_ask(), prop::sample::select(vec!["finance", "legal"])),
    ) {
        let bodies: Vec<&str> = rules.iter().map(String::as_str).collect();
        let bundle = operator(&with_all(&bodies));
        if ask.of(&bundle).verdict == Verdict::Allow {
            let mut more = ask.clone().approved(role, 9);
            more.evidence.dry_run = true;
            prop_assert_eq!(more.of(&bundle).verdict, Verdict::Allow);
        }
    }
}
