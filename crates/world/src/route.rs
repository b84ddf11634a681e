//! Routes as data: what each system offers, and what a request becomes before it runs.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::problem::{Problem, Refusal, System};
use crate::records::{Doc, Records};
use crate::{billing, crm, desk, usage};

/// The most records on one page of any list.
pub(crate) const MAX_PAGE: usize = 100;

/// What a route does: reads or changes records within one transaction.
pub(crate) type Action = fn(Records<'_>, &Call) -> Result<Reply, Refusal>;

/// One route of one system.
pub(crate) struct Route {
    pub(crate) method: &'static str,
    /// Pattern; `{}` stands for one segment.
    pub(crate) path: &'static str,
    /// The stable name, `system.verb_noun`.
    pub(crate) operation: &'static str,
    /// Where a list answer keeps its records; empty for single records.
    pub(crate) list: &'static str,
    /// The field a `missing_field` fault removes when it names none.
    pub(crate) field: &'static str,
    pub(crate) run: Action,
}

impl Route {
    pub(crate) fn writes(&self) -> bool {
        self.method != "GET"
    }
}

/// A request, taken apart.
#[derive(Debug, Clone, Default)]
pub(crate) struct Call {
    pub(crate) params: Vec<String>,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) body: Doc,
    pub(crate) if_match: Option<String>,
    /// The world clock, unix seconds.
    pub(crate) now: i64,
}

impl Call {
    /// The n-th `{}` of the path; the route table guarantees it is there.
    pub(crate) fn param(&self, at: usize) -> &str {
        self.params.get(at).map_or("", String::as_str)
    }

    pub(crate) fn filter(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// A whole number in the query, or `default`.
    pub(crate) fn number(&self, name: &str, default: usize) -> Result<usize, Refusal> {
        let Some(text) = self.filter(name) else {
            return Ok(default);
        };
        text.parse().map_err(|_| {
            let message = format!("{name} must be a whole number, got {text:?}");
            Refusal::new(Problem::BadParameter, message).on(name)
        })
    }

    /// A page size up to [`MAX_PAGE`]; more is refused.
    pub(crate) fn strict_limit(&self, name: &str, default: usize) -> Result<usize, Refusal> {
        let limit = self.number(name, default)?;
        if (1..=MAX_PAGE).contains(&limit) {
            return Ok(limit);
        }
        let message = format!("{name} must be 1 to {MAX_PAGE}, got {limit}");
        Err(Refusal::new(Problem::BadParameter, message).on(name))
    }

    /// Whether the query's filter `name`, if given, equals the record's text field `name`.
    pub(crate) fn agrees(&self, doc: &Doc, name: &str) -> bool {
        self.filter(name).is_none_or(|want| doc.get(name).and_then(Value::as_str) == Some(want))
    }

    /// Text in a body that has been checked; empty if absent.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.body.get(name).and_then(Value::as_str).unwrap_or("")
    }
}

/// What a route answers, before freshness fields and faults.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Value,
    /// The version for an `ETag`, where the system has them.
    pub(crate) version: Option<i64>,
    /// Whether this is the kept answer of an earlier request.
    pub(crate) replayed: bool,
}

impl Reply {
    pub(crate) fn ok(body: Value) -> Self {
        Self { status: 200, body, version: None, replayed: false }
    }

    pub(crate) fn created(body: Value) -> Self {
        Self { status: 201, ..Self::ok(body) }
    }
}

/// All routes of a system.
pub(crate) fn table(system: System) -> &'static [Route] {
    match system {
        System::Crm => crm::ROUTES,
        System::Desk => desk::ROUTES,
        System::Billing => billing::ROUTES,
        System::Usage => usage::ROUTES,
        System::Mail => &[],
    }
}

/// The systems that speak HTTP.
pub(crate) const HTTP_SYSTEMS: [System; 4] =
    [System::Crm, System::Desk, System::Billing, System::Usage];

/// The mail sink's one operation.
pub(crate) const MAIL_OPERATION: &str = "mail.send";

/// Finds the route an operation name belongs to.
pub(crate) fn by_operation(system: System, operation: &str) -> Option<&'static Route> {
    table(system).iter().find(|route| route.operation == operation)
}

/// Finds the route for a request, and the path's parameters.
pub(crate) fn find(
    system: System,
    method: &str,
    path: &str,
) -> Result<(&'static Route, Vec<String>), Refusal> {
    let mut wrong_method = false;
    for route in table(system) {
        if let Some(params) = match_path(route.path, path) {
            if route.method == method {
                return Ok((route, params));
            }
            wrong_method = true;
        }
    }
    if wrong_method {
        return Err(Refusal::new(Problem::WrongMethod, format!("{path} does not take {method}")));
    }
    Err(Refusal::new(Problem::NotFound, format!("no such path: {path}")))
}

fn match_path(pattern: &str, path: &str) -> Option<Vec<String>> {
    let mut params = Vec::new();
    let mut asked = path.split('/');
    for part in pattern.split('/') {
        let segment = asked.next()?;
        if part == "{}" && !segment.is_empty() {
            params.push(segment.to_owned());
        } else if part != segment {
            return None;
        }
    }
    asked.next().is_none().then_some(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_named_once_and_after_its_system() {
        let mut seen = std::collections::BTreeSet::new();
        for system in HTTP_SYSTEMS {
            for route in table(system) {
                assert!(seen.insert(route.operation), "{} twice", route.operation);
                assert!(route.operation.starts_with(&format!("{}.", system.name())));
                assert!(route.path.starts_with(&format!("/{}/", system.name())));
            }
        }
    }

    #[test]
    fn paths_match_whole_segments() {
        assert_eq!(match_path("/a/{}/c", "/a/x/c"), Some(vec!["x".to_owned()]));
        assert_eq!(match_path("/a/{}", "/a/x/c"), None);
        assert_eq!(match_path("/a/{}", "/a/"), None);
        let refusal = find(System::Crm, "PUT", "/crm/accounts/ACC-0001").map(|_| ()).unwrap_err();
        assert_eq!(refusal.problem, Problem::WrongMethod);
    }
}
