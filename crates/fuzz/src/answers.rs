//! Answers of targets, on their only way in.

use std::{collections::BTreeSet, sync::LazyLock};

use connect::{
    ingest::{Pick, Received, Rules, excerpt, ingest},
    redact::Redactor,
};
use kernel::{
    operation::{Contract, Effect, Freshness, Match, Operation, Retry, Undo},
    port::Validate as _,
};
use pack::Schemas;
use serde_json::{Value, json};

/// What must come back nowhere.
const SECRET: &str = "tok-c4nary-7731";

/// The wall clock that answers are as old as.
const NOW_MS: i64 = 1_795_165_200_000;

/// Oldest answer that is fresh, in ms.
const AGE_MAX_MS: i64 = 86_400_000;

static SCHEMAS: LazyLock<Schemas> = LazyLock::new(Schemas::new);

fn operation(promises: Contract) -> Operation {
    let output = json!({"type": "object", "required": ["name"], "properties": {
        "name": {"type": "string", "maxLength": 200}, "as_of": {"type": ["string", "integer"]},
        "rows": {"type": "array", "items": {"type": "object"}}, "n": {"type": "number"}}});
    let read = testkit::operation("crm.get", Effect::Read, Undo::None, Retry::Never);
    Operation { output: output.into(), contract: promises, ..read }
}

fn promises() -> Contract {
    Contract {
        freshness: Some(Freshness { at: "/as_of".to_owned(), max_age_ms: AGE_MAX_MS }),
        unique: Some("/rows".to_owned()),
        matches: Some(Match {
            output: "/name".to_owned(),
            expected: "/name".to_owned(),
            threshold: 80,
        }),
    }
}

/// The bytes are an answer's body: taken in under no promise, and under every one.
pub(crate) fn take_in(bytes: &[u8]) {
    let Ok(redactor) = Redactor::new([("token", SECRET)]) else {
        return;
    };
    for (contract, masks, result) in [
        (Contract::default(), BTreeSet::new(), ""),
        (promises(), BTreeSet::from(["/rows/*/name".to_owned(), "/n".to_owned()]), ""),
        (promises(), BTreeSet::new(), "/data"),
    ] {
        let operation = operation(contract);
        let args = json!({"name": "Müller & Söhne GmbH"});
        let pick = Pick { result, external_ref: Some("/n"), ..Pick::default() };
        let rules = Rules {
            operation: &operation,
            args: &args,
            masks: &masks,
            redactor: &redactor,
            validate: &*SCHEMAS,
            now: NOW_MS,
            pick,
        };
        let shown = match ingest(Received::Bytes(bytes.to_vec()), &rules) {
            Ok(returned) => {
                let violation = SCHEMAS.violation(&operation.output, &returned.output);
                let bent =
                    !masks.is_empty() || result.is_empty() && *returned.output == Value::Null;
                assert!(violation.is_none() || bent, "taken in against its schema: {violation:?}");
                returned.output.to_string()
            }
            Err(failure) => {
                assert!(!failure.message.is_empty(), "a failure says why");
                failure.message.to_string()
            }
        };
        assert!(!shown.contains(SECRET), "a secret came back");
    }
    let shown = excerpt(bytes, &redactor, &BTreeSet::new());
    assert!(!shown.contains(SECRET), "a secret came back in an excerpt");
}
