//! What is typed.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};

use kernel::id::{
    ApprovalId, Digest, EffectKey, ExceptionId, OperationId, PrincipalId, ReceiptId, RunId, Tenant,
    TokenId,
};

/// Most arguments of one command line here.
const ARGUMENTS_MAX: usize = 40;

/// Arguments, one a line, in any bytes; each is read as every kind of id as well.
pub(crate) fn parse(bytes: &[u8]) {
    let typed = bytes.split(|byte| *byte == b'\n').take(ARGUMENTS_MAX);
    let typed: Vec<OsString> = typed.map(|part| OsString::from_vec(part.to_vec())).collect();
    for text in typed.iter().filter_map(|part| part.to_str()) {
        read_ids(text);
    }
    let program = std::iter::once(OsString::from("harness"));
    if let Err(problem) = harness::cli::read(program.chain(typed)) {
        assert!(!problem.detail.is_empty() && problem.next.is_some(), "no next step: {problem:?}");
    }
}

fn read_ids(text: &str) {
    let read = [
        text.parse::<RunId>().map(|id| id.to_string()),
        text.parse::<ApprovalId>().map(|id| id.to_string()),
        text.parse::<ReceiptId>().map(|id| id.to_string()),
        text.parse::<TokenId>().map(|id| id.to_string()),
        text.parse::<ExceptionId>().map(|id| id.to_string()),
        text.parse::<EffectKey>().map(|id| id.to_string()),
        text.parse::<PrincipalId>().map(|id| id.to_string()),
        text.parse::<OperationId>().map(|id| id.to_string()),
        text.parse::<Tenant>().map(|id| id.to_string()),
        text.parse::<Digest>().map(|digest| digest.to_string()),
    ];
    for id in read.into_iter().flatten() {
        assert_eq!(id.to_lowercase(), text.to_lowercase(), "an id is written as it was read");
    }
}
