//! JSON pointers (RFC 6901) with one addition: `*` matches every item of a list.

use serde_json::Value;

/// Whether `pattern` names `path` or something that holds it: `/items/*` holds `/items/3/name`.
#[must_use]
pub fn covers(pattern: &str, path: &str) -> bool {
    let mut path = path.split('/').skip(1);
    pattern.split('/').skip(1).all(|want| match path.next() {
        Some(have) => want == "*" || want == have,
        None => false,
    })
}

/// One segment escaped for use in a pointer.
#[must_use]
pub fn escape(segment: &str) -> String {
    if segment.contains(['~', '/']) {
        segment.replace('~', "~0").replace('/', "~1")
    } else {
        segment.to_owned()
    }
}

/// Calls `visit` with the pointer and value of each leaf: every scalar, empty list and empty map.
pub fn visit_leaves<'v>(value: &'v Value, visit: &mut dyn FnMut(&str, &'v Value)) {
    fn walk<'v>(at: &mut String, value: &'v Value, visit: &mut dyn FnMut(&str, &'v Value)) {
        let length = at.len();
        match value {
            Value::Object(map) if !map.is_empty() => {
                for (key, child) in map {
                    at.push('/');
                    at.push_str(&escape(key));
                    walk(at, child, visit);
                    at.truncate(length);
                }
            }
            Value::Array(items) if !items.is_empty() => {
                for (index, child) in items.iter().enumerate() {
                    at.push('/');
                    at.push_str(&index.to_string());
                    walk(at, child, visit);
                    at.truncate(length);
                }
            }
            _ => visit(at, value),
        }
    }
    walk(&mut String::new(), value, visit);
}

/// Replaces everything the pattern names by `with`; returns how many places changed.
pub fn replace(value: &mut Value, pattern: &str, with: &Value) -> usize {
    let segments: Vec<&str> = pattern.split('/').skip(1).collect();
    replace_at(value, &segments, with)
}

fn replace_at(value: &mut Value, segments: &[&str], with: &Value) -> usize {
    let Some((first, rest)) = segments.split_first() else {
        *value = with.clone();
        return 1;
    };
    match value {
        Value::Object(map) => {
            let key = first.replace("~1", "/").replace("~0", "~");
            map.get_mut(&key).map_or(0, |child| replace_at(child, rest, with))
        }
        Value::Array(items) if *first == "*" => {
            items.iter_mut().map(|child| replace_at(child, rest, with)).sum()
        }
        Value::Array(items) => {
            let index = first.parse::<usize>().ok();
            index.and_then(|i| items.get_mut(i)).map_or(0, |child| replace_at(child, rest, with))
        }
        _ => 0,
    }
}

/// Keeps only what the pointers name, as an object from pointer to value (`null` where absent).
#[must_use]
pub fn project(value: &Value, pointers: &[String]) -> Value {
    if pointers.is_empty() {
        return value.clone();
    }
    let pick = |p: &String| (p.clone(), value.pointer(p).cloned().unwrap_or(Value::Null));
    Value::Object(pointers.iter().map(pick).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn patterns_cover_what_they_hold() {
        assert!(covers("", "/a/b"));
        assert!(covers("/items/*/email", "/items/3/email/local"));
        assert!(!covers("/items/*/email", "/items/3"));
        assert!(!covers("/it", "/items"));
    }

    #[test]
    fn replaces_in_every_item_and_counts() {
        let mut value = json!({"items": [{"e": 1}, {"e": 2}, {"x": 3}], "a/b": 4});
        assert_eq!(replace(&mut value, "/items/*/e", &Value::Null), 2);
        assert_eq!(replace(&mut value, "/a~1b", &json!("m")), 1);
        assert_eq!(value, json!({"items": [{"e": null}, {"e": null}, {"x": 3}], "a/b": "m"}));
        assert_eq!(replace(&mut value, "/none/e", &Value::Null), 0);
    }

    #[test]
    fn leaves_have_escaped_pointers_that_resolve() {
        let value = json!({"a/b": {"~": [1, {}]}, "e": []});
        let mut seen = Vec::new();
        visit_leaves(&value, &mut |p, v| {
            assert_eq!(value.pointer(p), Some(v));
            seen.push(p.to_owned());
        });
        assert_eq!(seen, ["/a~1b/~0/0", "/a~1b/~0/1", "/e"]);
    }
}
