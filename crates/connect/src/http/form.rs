//! Queries and forms from the arguments. Whatever a value holds, it stays in its place.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kernel::{id::Digest, port::Failure};
use reqwest::{Url, header::HeaderValue};
use serde_json::Value;

use super::{
    request::scalar,
    route::{Place, Written},
};
use crate::call::{Call, refuse};

/// Appends each place to the query.
pub(super) fn append(
    url: &mut Url,
    places: &[(String, Place)],
    args: &Value,
) -> Result<(), Failure> {
    for (name, place) in places {
        for text in texts(name, place, args)? {
            url.query_pairs_mut().append_pair(name, &text);
        }
    }
    Ok(())
}

/// `name=value&…`, as browsers send forms, with its media type.
pub(super) fn urlencoded(
    places: &[(String, Place)],
    args: &Value,
) -> Result<(HeaderValue, Vec<u8>), Failure> {
    // A query is written the same way; no host is ever asked here.
    let mut scratch = Url::parse("http://form.invalid/").map_err(|e| refuse(e.to_string()))?;
    append(&mut scratch, places, args)?;
    let body = scratch.query().unwrap_or_default().as_bytes().to_vec();
    Ok((HeaderValue::from_static("application/x-www-form-urlencoded"), body))
}

/// A part for each field, with the media type that names their boundary.
///
/// Source: RFC 7578; how names are escaped: the HTML standard, "multipart/form-data encoding algorithm".
pub(super) fn multipart(
    places: &[(String, Place)],
    call: &Call,
) -> Result<(HeaderValue, Vec<u8>), Failure> {
    // No value can hold the hash of all values.
    let values = kernel::canon::bytes(&*call.args).map_err(|e| refuse(e.to_string()))?;
    let parts = [call.key.as_str().as_bytes(), &values];
    let boundary = format!("harness-{}", Digest::of_parts("harness/multipart/v1", &parts).hex());
    let mut body = Vec::new();
    for (name, place) in places {
        let name = escaped(name);
        let head = |rest: &str| {
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"{rest}\r\n\r\n")
        };
        if place.written == Written::File {
            let Some(text) = scalar(&call.args, &place.pointer, &name)? else { continue };
            let bytes = STANDARD.decode(text.as_bytes());
            let bytes = bytes.map_err(|_| refuse(format!("{} is not base64", place.pointer)))?;
            let rest = format!("; filename=\"{name}\"\r\nContent-Type: application/octet-stream");
            body.extend_from_slice(head(&rest).as_bytes());
            body.extend_from_slice(&bytes);
            body.extend_from_slice(b"\r\n");
            continue;
        }
        for text in texts(&name, place, &call.args)? {
            body.extend_from_slice(head("").as_bytes());
            body.extend_from_slice(text.as_bytes());
            body.extend_from_slice(b"\r\n");
        }
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    let media = HeaderValue::from_str(&format!("multipart/form-data; boundary={boundary}"));
    Ok((media.map_err(|e| refuse(e.to_string()))?, body))
}

fn escaped(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

/// What is sent under one name; nothing where there is no argument.
fn texts(name: &str, place: &Place, args: &Value) -> Result<Vec<String>, Failure> {
    let Some(Value::Array(items)) = args.pointer(&place.pointer) else {
        return Ok(scalar(args, &place.pointer, name)?.into_iter().collect());
    };
    let mut texts = Vec::new();
    for index in 0..items.len() {
        texts.extend(scalar(args, &format!("{}/{index}", place.pointer), name)?);
    }
    let Written::Joined(by) = &place.written else { return Ok(texts) };
    if texts.iter().any(|text| text.contains(by.as_str())) {
        let message =
            format!("an item of {} holds `{by}`, which stands between items", place.pointer);
        return Err(refuse(message));
    }
    Ok(if texts.is_empty() { texts } else { vec![texts.join(by)] })
}
