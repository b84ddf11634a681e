//! Parts of results that were too large to travel: read from the store, as agents ask for them.

use connect::Connectors;
use kernel::{
    exception::{Class, Landed},
    gate::Permit,
    id::Digest,
    kept::PART_BYTES_MAX,
    port::{Blobs, Failure, Outcome, Returned},
};
use serde_json::{Value, json};

/// Reads the part that a permit names.
pub(super) async fn read(blobs: &dyn Blobs, connectors: &Connectors, permit: &Permit) -> Outcome {
    let args = permit.args();
    let blob = args.get("blob").and_then(Value::as_str).and_then(|blob| blob.parse().ok());
    let number = |name: &str| args.get(name).and_then(Value::as_u64);
    let (Some(blob), Some(from), Some(bytes)) = (blob, number("from"), number("bytes")) else {
        return Err(fail(Class::InvalidArguments, "it names no part of a result"));
    };
    let found: Option<Vec<u8>> = blobs
        .get(permit.tenant().clone(), blob)
        .await
        .map_err(|error| fail(Class::Unavailable, &error.to_string()))?;
    let whole = found.ok_or_else(|| fail(Class::MissingField, "the result was erased"))?;
    if let Some((mark, at)) = connectors.redactor().first_in(&whole) {
        let message = format!("it holds {mark} at byte {at}, which was not known when it was kept");
        return Err(fail(Class::Permission, &message));
    }
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let from = letter_at(&whole, size(from));
    let to = letter_at(&whole, from.saturating_add(size(bytes).min(PART_BYTES_MAX)));
    let part = whole.get(from..to).unwrap_or_default();
    let output = json!({
        "text": String::from_utf8_lossy(part), "from": from, "to": to, "whole": whole.len(),
    });
    Ok(Returned {
        output: std::sync::Arc::new(output),
        labels: permit.operation().labels.clone(),
        external_ref: None,
        cost: None,
        received: Digest::of(part),
    })
}

/// The beginning of the letter that this byte is part of; where there are none, the byte.
fn letter_at(bytes: &[u8], at: usize) -> usize {
    let at = at.min(bytes.len());
    let is_inside =
        |at: &usize| bytes.get(*at).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000);
    let begins = (at.saturating_sub(3)..=at).rev().find(|at| !is_inside(at));
    begins.unwrap_or(at)
}

fn fail(class: Class, message: &str) -> Failure {
    let message = message.to_owned();
    Failure { class, landed: Landed::No, message, retry_after_ms: None, sample: None }
}

#[cfg(test)]
mod tests {
    use super::letter_at;

    #[test]
    fn a_part_begins_and_ends_between_letters() {
        let text = "aé漢🦀z";
        let at: Vec<usize> = (0..=12).map(|at| letter_at(text.as_bytes(), at)).collect();
        assert_eq!(at, [0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11, 11]);
        assert_eq!(letter_at(&[0x80; 8], 6), 6, "no text at all");
    }
}
