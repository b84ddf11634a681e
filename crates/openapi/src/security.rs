//! How a request proves who sends it: security schemes as the `auth` of a connector.

use serde_json::{Map, Value};

use crate::document::Document;

/// How requests prove who sends them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Login {
    /// Not at all.
    Nobody,
    /// `Authorization: Bearer`; with how the token is had, where the document says.
    Bearer { scheme: String, flow: Option<String> },
    /// User and password.
    Basic { scheme: String },
    /// A key in a header, a query parameter or a cookie.
    Key { scheme: String, place: Place, name: String },
}

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Header,
    Query,
    Cookie,
}

impl Login {
    /// The scheme's name in the document; empty for nobody's.
    pub(crate) fn scheme(&self) -> &str {
        match self {
            Self::Nobody => "",
            Self::Bearer { scheme, .. } | Self::Basic { scheme } | Self::Key { scheme, .. } => {
                scheme
            }
        }
    }
}

/// How an operation is called: by the first of its alternatives that a connector can do.
///
/// # Errors
/// Why there is none, in words.
pub(crate) fn login(
    document: &Document<'_>,
    operation: &Map<String, Value>,
) -> Result<Login, String> {
    let wanted = operation.get("security").or_else(|| document.part("security"));
    let Some(alternatives) = wanted.and_then(Value::as_array).filter(|all| !all.is_empty()) else {
        return Ok(Login::Nobody);
    };
    let mut problem = None;
    let mut without = false;
    for alternative in alternatives {
        let schemes: Vec<&String> =
            alternative.as_object().into_iter().flatten().map(|(name, _)| name).collect();
        match schemes.as_slice() {
            [] => without = true,
            [name] => match scheme(document, name) {
                Ok(login) => return Ok(login),
                Err(why) => problem = problem.or(Some(why)),
            },
            several => {
                let names: Vec<String> = several.iter().map(|name| format!("`{name}`")).collect();
                let why = format!("it wants {} at once: a connector has one", names.join(" and "));
                problem = problem.or(Some(why));
            }
        }
    }
    match problem {
        Some(why) if !without => Err(why),
        _ => Ok(Login::Nobody),
    }
}

fn scheme(document: &Document<'_>, name: &str) -> Result<Login, String> {
    let schemes = document.part("components").and_then(|parts| parts.get("securitySchemes"));
    let scheme = schemes.and_then(|all| all.get(name));
    let scheme = scheme.ok_or_else(|| format!("its security scheme `{name}` is not declared"))?;
    let scheme = document.resolve(scheme)?;
    let text = |key: &str| scheme.get(key).and_then(Value::as_str).unwrap_or_default();
    let own = name.to_owned();
    match (text("type"), text("scheme").to_ascii_lowercase().as_str(), text("in")) {
        ("http", "bearer", _) => Ok(Login::Bearer { scheme: own, flow: None }),
        ("http", "basic", _) => Ok(Login::Basic { scheme: own }),
        ("http", other, _) => Err(format!("HTTP authentication `{other}` is not known here")),
        ("oauth2", ..) => Ok(Login::Bearer { scheme: own, flow: Some(flows(scheme)) }),
        ("openIdConnect", ..) => {
            let flow = Some("OpenID Connect".to_owned());
            Ok(Login::Bearer { scheme: own, flow })
        }
        ("apiKey", _, place) => {
            let place = match place {
                "header" => Place::Header,
                "query" => Place::Query,
                "cookie" => Place::Cookie,
                other => return Err(format!("a key in `{other}` is not known here")),
            };
            Ok(Login::Key { scheme: own, place, name: text("name").to_owned() })
        }
        (other, ..) => Err(format!("security of type `{other}` is not known here")),
    }
}

/// The flows of OAuth by their names.
fn flows(scheme: &Value) -> String {
    let flows = scheme.get("flows").and_then(Value::as_object).into_iter().flatten();
    let names: Vec<&str> = flows.map(|(name, _)| name.as_str()).collect();
    format!("OAuth 2 ({})", names.join(", "))
}
