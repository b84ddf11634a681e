//! What Cedar is told of a catalogue and of rules: the schema in both its forms, requests that fit it, and trees.

use std::sync::Arc;

use kernel::{
    catalogue::Catalogue,
    operation::{Effect, ResourceRule, Undo},
};
use serde_json::json;

use crate::{
    STARTER,
    sample::{catalogue, facts, get, operation, operator, send, set, with_all},
};

#[test]
fn every_question_conforms_to_the_generated_schema() {
    let mut bundle = operator(&with_all(&[
        "forbid (principal, action in Action::\"write\", resource) unless { context.evidence.approvals.boss >= 1 };",
    ]));
    let text = crate::schema::schema_text(catalogue(), &["boss".to_owned()].into()).unwrap();
    let (schema, _) = cedar_policy::Schema::from_cedarschema_str(&text).unwrap();
    let mut full = set(7).approved("boss", 2).approved("unknown", 1);
    full.args["rate"] = json!("-1.25");
    full.args["note"] = json!("x");
    full.args["score"] = json!(0.5);
    full.args["tags"] = json!(["a", "b"]);
    for ask in [get(), set(1), full, send()] {
        let id = ask.operation.parse().unwrap();
        bundle.actions.get_mut(&id).unwrap().want = crate::want::Want::All;
        let action = &bundle.actions[&id];
        let checked = ask.put(|question| {
            let prepared = crate::request::Prepared::new(action, &bundle.types, question).unwrap();
            let request = prepared.with(question.evidence).unwrap();
            let (principal, resource) = (request.principal().unwrap(), request.resource().unwrap());
            let context = request.context().unwrap().clone();
            let (principal, resource) = (principal.clone(), resource.clone());
            cedar_policy::Request::new(
                principal,
                action.uid.clone(),
                resource,
                context,
                Some(&schema),
            )
            .map(|_| ())
            .map_err(|error| error.to_string())
        });
        assert!(checked.is_ok(), "{checked:?}");
    }
}

#[test]
fn what_people_read_of_the_schema_is_what_is_in_force() {
    let odd = json!({"type": "object", "required": ["in", "a b"], "properties": {
        "in": {"type": "boolean"}, "a b": {"type": "integer"}, "say \"hi\" \\ é\n": {"type": "string"},
        "deep": {"type": "object", "properties": {"rate": {"type": "string", "format": "decimal"},
            "days": {"type": "array", "items": {"type": "integer"}}}}}});
    let mut run = operation("shell.run", facts(Effect::Write, Undo::None), odd.clone());
    run.binding = Arc::new(json!({"kind": "folder", "do": "shell"}));
    run.groups = vec!["night shift".to_owned()];
    let mut plain = operation("a.read", facts(Effect::Read, Undo::None), json!({}));
    plain.resource = Some(ResourceRule { kind: "sales order".to_owned(), id: "/a".to_owned() });
    let strange = Catalogue::new([run, plain]).unwrap();
    let none = Catalogue::new([]).unwrap();
    for catalogue in [catalogue(), &strange, &none] {
        let roles = ["finance".to_owned(), "on call".to_owned()].into();
        let vocabulary = crate::schema::Vocabulary::new(catalogue, roles).unwrap();
        let read =
            cedar_policy::SchemaFragment::from_cedarschema_str(&vocabulary.render()).unwrap().0;
        let force = cedar_policy::SchemaFragment::from_json_value(vocabulary.json()).unwrap();
        assert_eq!(read.to_json_value().unwrap(), force.to_json_value().unwrap());
        let runs = vocabulary.actions.contains_key(&"shell.run".parse().unwrap());
        assert_eq!(vocabulary.render().contains("command: {"), runs);
    }
}

/// Read at once, the rules of a text have the trees that Cedar gives them one at a time.
#[test]
fn trees_are_cedars() {
    let more = with_all(&[
        "forbid (principal is Agent, action in [Action::\"read\", Action::\"write\"], resource in System::\"crm\") unless { context.args has note && context.args.note like \"*x\" };",
        "permit (principal in Role::\"ops\", action == Action::\"mail.send\", resource == System::\"mail\") when { context.at != 3 && !(context.at >= 2) } when { [1, 2].contains(context.at) };",
        "permit (principal, action, resource) when { if context.at > 1 then true else decimal(\"1.5\").lessThan(context.args.rate) };",
    ]);
    for text in [STARTER, &more] {
        let set: cedar_policy::PolicySet = text.parse().unwrap();
        let parsed = crate::load::parsed(text).unwrap();
        assert_eq!(parsed.len(), set.policies().count());
        for policy in set.policies() {
            let place: usize =
                policy.id().to_string().trim_start_matches("policy").parse().unwrap();
            let cedars = policy.to_pst().unwrap();
            let tree = crate::load::tree_of(parsed[place].clone()).unwrap();
            assert_eq!(&tree.with_id(cedars.body().id.clone()), cedars.body());
        }
    }
}

#[test]
fn the_schema_reads_like_this() {
    let text = crate::schema::schema_text(catalogue(), &["finance".to_owned()].into()).unwrap();
    for line in [
        "entity Account in [System];",
        "action \"crm.set_forecast\" in [\"forecast\", \"write\"] appliesTo {",
        "  resource: [Account],",
        "action \"mail.send\" in [\"egress\", \"irreversible\", \"write\"] appliesTo {",
        "    args: {\"text\": String, \"to\": Set<String>},",
    ] {
        assert!(text.lines().any(|have| have == line), "{line}\n{text}");
    }
    assert!(text.contains("\"approvals\": {\"finance\": Long}"), "{text}");
    assert!(text.contains("\"note\"?: String") && !text.contains("score\"?"), "{text}");
}
