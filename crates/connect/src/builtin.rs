//! Tools that need no system: the time, a calculator, a list of what is to be done, and a word to people.

use jiff::Timestamp;
use kernel::{
    exception::{Class, Landed},
    operation::Operation,
    port::Failure,
};
use serde_json::{Value, json};

use crate::{
    calculator,
    call::{Call, fail, refuse},
    clock::Clock,
    error::{Error, hint},
    people::{self, People, Word},
    read::Reader,
    todo,
};

/// A tool of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Builtin {
    Now,
    Calculate,
    Todo,
    Notify,
}

/// Every tool by its name.
const ALL: [(&str, Builtin); 4] = [
    ("time.now", Builtin::Now),
    ("calculator.evaluate", Builtin::Calculate),
    (TODO, Builtin::Todo),
    ("people.notify", Builtin::Notify),
];

/// The list of what is to be done, as bindings name it.
const TODO: &str = "todo.write";

/// Whether an operation writes the list of what is to be done.
#[must_use]
pub fn writes_todo(operation: &Operation) -> bool {
    let of = |name: &str| operation.binding.get(name).and_then(Value::as_str);
    of("kind") == Some("builtin") && of("name") == Some(TODO)
}

impl Builtin {
    pub(crate) fn compile(binding: &Reader<'_>, operation: &Operation) -> Result<Self, Error> {
        binding.only(&["kind", "name"])?;
        let name = binding.text("name")?;
        let found = ALL.iter().find(|(known, _)| *known == name).map(|(_, builtin)| *builtin);
        let known = ALL.iter().map(|(known, _)| *known);
        let found = found.ok_or_else(|| {
            binding.error("name", format!("no builtin `{name}`{}", hint(name, known)))
        })?;
        // Facts decide who is asked: what reaches people is no read.
        if found == Self::Notify && !(operation.is_write() && operation.facts.egress) {
            let text = format!("`{name}` reaches people; say `effect: write` and `egress: true`");
            return Err(binding.error("name", text));
        }
        Ok(found)
    }

    pub(crate) async fn run(
        self,
        call: &Call,
        (clock, people): (&dyn Clock, &dyn People),
    ) -> Result<Value, Failure> {
        match self {
            Self::Todo => todo::write(&call.args).map_err(refuse),
            Self::Notify => {
                let to = people::role(call)?;
                let Call { tenant, run, operation, key, .. } = call;
                let word = Word { tenant, run, operation: &operation.id, key, to };
                Ok(json!({"to": to, "told": people.tell(word).await?}))
            }
            Self::Now => {
                let unix_ms = clock.now_ms();
                let now = Timestamp::from_millisecond(unix_ms);
                let now = now.map_err(|_| {
                    fail(Class::UnexpectedShape, Landed::No, "the clock is out of range")
                })?;
                Ok(json!({"now": now.to_string(), "unix_ms": unix_ms}))
            }
            Self::Calculate => {
                let expression = call.args.pointer("/expression").and_then(Value::as_str);
                let expression = expression
                    .ok_or_else(|| refuse("`expression` must be text such as \"12.50 * 3\""))?;
                let result = calculator::evaluate(expression).map_err(refuse)?;
                Ok(json!({"result": result}))
            }
        }
    }
}
