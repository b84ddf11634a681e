//! Tools, answers and refusals in the words of the protocol's library.

use std::sync::Arc;

use rmcp::{
    ErrorData,
    model::{
        CallToolResult, ContentBlock, ElicitRequest, ElicitRequestParams, ErrorCode, InputRequest,
        InputRequests, InputRequiredResult, MetaObject, ResultType, ToolAnnotations,
    },
};
use serde_json::{Map, Value, json};

use super::{
    ANSWER_BYTES_MAX, Asked, Asking, Ended, Open, PASSED_BYTES_MAX, Refusal, Refused, Told, Tool,
};

/// A tool in the library's words; none where another server's definition is none.
pub(super) fn described(tool: &Tool) -> Option<rmcp::model::Tool> {
    if let Some(passed) = &tool.passed {
        let mut named: rmcp::model::Tool = serde_json::from_value(passed.clone()).ok()?;
        named.name = tool.name.clone().into();
        return Some(named);
    }
    let hints = ToolAnnotations::with_title(tool.title.clone())
        .read_only(tool.hints.read_only)
        .destructive(tool.hints.destructive)
        .idempotent(tool.hints.idempotent)
        .open_world(tool.hints.open_world);
    let described = rmcp::model::Tool::new(
        tool.name.clone(),
        tool.description.clone(),
        Arc::new(tool.input.clone()),
    );
    let described = described.with_title(tool.title.clone()).with_annotations(hints);
    Some(match &tool.output {
        Some(output) => described.with_raw_output_schema(Arc::new(output.clone())),
        None => described,
    })
}

/// The names of what we say beside a result: nobody else's word stands under them.
const OURS: &str = "harness/";

/// A result of another server as it is, with our own word beside it.
fn passed_on(passed: &Value, meta: &Map<String, Value>) -> Option<CallToolResult> {
    if passed.to_string().len() > PASSED_BYTES_MAX {
        return None;
    }
    let mut result: CallToolResult = serde_json::from_value(passed.clone()).ok()?;
    result.result_type = Some(ResultType::COMPLETE);
    let theirs = result.meta.take().map(|meta| meta.0).unwrap_or_default();
    result.meta = meta_of(with_ours(theirs, meta));
    Some(result)
}

pub(super) fn with_ours(
    mut theirs: Map<String, Value>,
    ours: &Map<String, Value>,
) -> Map<String, Value> {
    theirs.retain(|name, _| !name.starts_with(OURS));
    theirs.extend(ours.clone());
    theirs
}

pub(super) fn answered(told: Told) -> CallToolResult {
    if let Some(result) = told.passed.as_ref().and_then(|passed| passed_on(passed, &told.meta)) {
        return result;
    }
    let Told { text, structured, ended, meta, .. } = told;
    let structured = structured.map(Value::Object);
    let length = structured.as_ref().map_or(0, |value| value.to_string().len());
    let too_large = text.len().max(length) > ANSWER_BYTES_MAX;
    let (text, structured) = if too_large {
        let text = format!(
            "The answer is larger than {ANSWER_BYTES_MAX} bytes and is not told here; it is kept with its run."
        );
        (text, Some(json!({ "left_out": "too large" })))
    } else {
        (text, structured)
    };
    let content = vec![ContentBlock::text(text)];
    let mut result = match ended {
        Ended::Well => CallToolResult::success(content),
        Ended::Wrong => CallToolResult::error(content),
    };
    result.structured_content = structured;
    result.meta = meta_of(meta);
    result
}

pub(super) fn opened(open: Open) -> InputRequiredResult {
    let asked = ElicitRequestParams::UrlElicitationParams {
        meta: None,
        message: open.message,
        url: open.url,
        elicitation_id: open.id.clone(),
    };
    let request = InputRequest::Elicitation(ElicitRequest::new(asked));
    let result = InputRequiredResult::new(Some([(open.id, request)].into()), Some(open.state));
    match meta_of(open.meta) {
        Some(meta) => result.with_meta(meta),
        None => result,
    }
}

/// What a client is asked; none where a server asked for what there is no question for.
pub(super) fn asked(asking: Asking) -> Option<InputRequiredResult> {
    let asked = requests(asking.asked)?;
    let result = InputRequiredResult::new(Some(asked), Some(asking.state));
    Some(match meta_of(asking.meta) {
        Some(meta) => result.with_meta(meta),
        None => result,
    })
}

/// Questions in the library's words; none where there are none for one of them.
pub(super) fn requests(asked: Vec<Asked>) -> Option<InputRequests> {
    let one = |Asked { key, method, params }: Asked| {
        let request = json!({"method": method, "params": params});
        Some((key, serde_json::from_value::<InputRequest>(request).ok()?))
    };
    asked.into_iter().map(one).collect()
}

pub(super) fn meta_of(meta: Map<String, Value>) -> Option<MetaObject> {
    (!meta.is_empty()).then_some(MetaObject(meta))
}

pub(super) fn refused(refusal: Refusal) -> ErrorData {
    let data = Some(refusal.data).filter(|data| !data.is_null());
    match refusal.kind {
        Refused::Request => ErrorData::invalid_params(refusal.message, data),
        Refused::Resource => ErrorData::resource_not_found(refusal.message, data),
        Refused::Here => ErrorData::internal_error(refusal.message, data),
        Refused::There(code) => ErrorData::new(ErrorCode(code), refusal.message, data),
    }
}
