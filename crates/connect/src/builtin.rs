//! Tools that need no system: the time and a calculator.

use jiff::Timestamp;
use kernel::{exception::Class, exception::Landed, port::Failure};
use serde_json::{Value, json};

use crate::{
    calculator,
    call::{Call, fail, refuse},
    clock::Clock,
    error::{Error, hint},
    read::Reader,
};

/// A tool of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Builtin {
    Now,
    Calculate,
}

/// Every tool by its name.
const ALL: [(&str, Builtin); 2] =
    [("time.now", Builtin::Now), ("calculator.evaluate", Builtin::Calculate)];

impl Builtin {
    pub(crate) fn compile(binding: &Reader<'_>) -> Result<Self, Error> {
        binding.only(&["kind", "name"])?;
        let name = binding.text("name")?;
        let found = ALL.iter().find(|(known, _)| *known == name).map(|(_, builtin)| *builtin);
        let known = ALL.iter().map(|(known, _)| *known);
        found.ok_or_else(|| {
            binding.error("name", format!("no builtin `{name}`{}", hint(name, known)))
        })
    }

    pub(crate) fn run(self, call: &Call, clock: &dyn Clock) -> Result<Value, Failure> {
        match self {
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
