//! What another machine replays from is what the journal held.

use kernel::event::check_chain;
use receipts::{
    Error,
    bundle::Bundle,
    dsse,
    statement::{Stated, verify_receipt},
};

use crate::world;

#[test]
fn records_come_back_with_their_openings() {
    let export = world::export(world::long_run("a"));
    let bundle = Bundle::read(&export.bundle.write().unwrap()).unwrap();
    let records = bundle.records().unwrap();
    assert_eq!(records, export.run.records);
    check_chain(&records).unwrap();
    assert!(records.iter().any(|r| r.openings().iter().any(Option::is_some)));
}

#[test]
fn erased_values_stay_closed_and_wrong_ones_are_refused() {
    let mut bundle = world::export(world::short_run("a")).bundle;
    let mut wrong = bundle.clone();
    bundle.events[0].openings.clear();
    assert_eq!(bundle.records().unwrap()[0].openings(), vec![None]);
    let opening = wrong.events[1].openings["/body/args"].clone();
    wrong.events[0].openings.insert("/body/intent".into(), opening);
    assert!(wrong.records().is_err());
}

#[test]
fn a_single_receipt_verifies_by_itself() {
    let run = world::short_run("a");
    let Stated::Receipt(predicate) = verify_receipt(&run.envelopes[1], &world::keys()).unwrap()
    else {
        panic!("the second statement is a receipt");
    };
    assert_eq!(predicate.operation.as_str(), "crm.update_forecast");
    assert_eq!(predicate.approvals.len(), 1);
    let last = verify_receipt(run.envelopes.last().unwrap(), &world::keys()).unwrap();
    assert!(matches!(last, Stated::Close(close) if close.status == "succeeded"));
}

#[test]
fn a_trusted_key_under_nonsense_is_still_nonsense() {
    let payload = dsse::open(&world::short_run("a").envelopes[0], &world::keys()).unwrap();
    let text = String::from_utf8(payload).unwrap();
    let refused = |text: &str| {
        let envelope = dsse::envelope(&world::signer(), text.as_bytes());
        matches!(
            verify_receipt(&envelope, &world::keys()),
            Err(Error::Statement(_) | Error::Canonical(_))
        )
    };
    for (from, to) in [
        ("urn:harness:receipt:v1", "urn:harness:receipt:v2"),
        ("in-toto.io/Statement/v1", "in-toto.io/Statement/v2"),
        ("\"v\":1", "\"v\":2"),
        ("\"index\":0", "\"index\": 0"),
        ("\"index\":0", "\"extra\":1,\"index\":0"),
        ("\"name\":\"rct_", "\"name\":\"rct_0"),
        ("\"subject\":[{\"digest\":{\"sha256\":\"", "\"subject\":[{\"digest\":{\"sha256\":\"0"),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        assert!(refused(&changed), "{to}");
    }
    assert!(refused("{}") && refused("") && refused("null"));
}
