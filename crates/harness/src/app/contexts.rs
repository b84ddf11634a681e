//! What a model saw: every model call of a run, from its journal.

use std::{collections::BTreeMap, sync::Arc};

use kernel::{
    Label,
    attachment::Attachment,
    conversation::{Item, MODEL_CONNECTOR, Part, Prompt, Reply, Said, Segment, Thread, Usage},
    event::{Body, Ended, Record},
    id::{RunId, Seq, Tenant},
    planning::Mark,
    port::Blobs,
};
use models::{Contents, Files};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod ledger;

pub use ledger::LedgerLine;

use super::{
    App, Caller,
    attachments::{AttachedView, Kept},
    parse_id,
    problem::Problem,
};

/// Text of a piece that is shown before it is cut, in bytes.
const SHOWN_MAX_BYTES: usize = 262_144;

/// Which model calls of a run to show.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetContext {
    /// The run.
    pub run: String,
    /// The model call, counted from 1 over the whole run; absent = all of them, without their texts.
    #[serde(default)]
    pub turn: Option<u32>,
    /// The exact bytes of the request as well, built again from the journal.
    #[serde(default)]
    pub request: bool,
}

/// What a model saw.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ContextView {
    /// The run.
    pub run: String,
    /// Its model calls.
    pub calls: Vec<ModelCallView>,
}

/// One model call.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ModelCallView {
    /// Its number in the run, from 1.
    pub turn: u32,
    /// The step that asked.
    pub step: String,
    /// Which conversation it belongs to.
    pub conversation: String,
    /// Its place in the journal.
    pub seq: u64,
    /// The role of the model.
    pub role: String,
    /// How far all that it saw can be trusted.
    pub trust: String,
    /// How widely it may travel.
    pub confidentiality: String,
    /// Bytes of text by source: `system`, `policy`, `guide`, `skill`, `memory`, `history`, `tool`, `state`,
    /// `user`, `steering`, `sensor`, `hook`, `model`.
    pub bytes: BTreeMap<String, u64>,
    /// What each source took beside what it may take: always the seven that a context is assembled from
    /// (`system`, `policy`, `guide`, `memory`, `history`, `tool`, `state`), then whatever else there was, then
    /// the `whole`.
    #[serde(default)]
    pub ledger: Vec<LedgerLine>,
    /// Names of the tools that were offered.
    pub tools: Vec<String>,
    /// Everything it saw, in order; only where one turn is asked for.
    pub seen: Vec<SeenView>,
    /// The files and pictures among what it saw; `run.attachment` gives their bytes.
    #[serde(default)]
    pub attached: Vec<AttachedView>,
    /// What it answered; absent where it has not, or the value was erased.
    pub reply: Option<ReplyView>,
    /// Why it did not answer.
    pub failed: Option<String>,
    /// Where it answered a declared question: which, and how far its answer is trusted instead of what it is
    /// about, such as `angry: untrusted to verified`.
    #[serde(default)]
    pub raised: Option<String>,
    /// The exact request, as text.
    pub request: Option<String>,
}

/// A piece of what a model saw.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SeenView {
    /// Where it comes from.
    pub source: String,
    /// Its text; long ones are cut.
    pub text: String,
}

/// What a model answered.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReplyView {
    /// Who answered.
    pub provider: String,
    /// The model, as its provider names it.
    pub model: String,
    /// Why it stopped.
    pub stop: String,
    /// Its text.
    pub text: String,
    /// Tools it called.
    pub calls: Vec<String>,
    /// Tokens read.
    pub tokens_read: u64,
    /// Of these, from a cache.
    pub tokens_cached: u64,
    /// Tokens written.
    pub tokens_written: u64,
}

/// What each model call of a run saw: from the journal, so that it is what was sent.
///
/// # Errors
/// When there is no such run or turn, or values were erased.
pub async fn context(
    app: &App,
    caller: &Caller,
    request: GetContext,
) -> Result<ContextView, Problem> {
    let id: RunId = parse_id(&request.run)?;
    let records = app.own_records(caller, &id).await?;
    let talks = talks(&records);
    let agents = ledger::agents_of(app, caller, &records).await;
    let Some(turn) = request.turn else {
        let view = |talk: &Talk| ModelCallView { ledger: ledger::of(talk, &agents), ..talk.view() };
        let calls = talks.iter().map(view).collect();
        return Ok(ContextView { run: id.to_string(), calls });
    };
    let index = usize::try_from(turn).ok().and_then(|turn| turn.checked_sub(1));
    let talk = index.and_then(|index| talks.get(index)).ok_or_else(|| {
        Problem::not_found("model call", &turn.to_string())
            .next(format!("the run made {} of them, counted from 1", talks.len()))
    })?;
    let mut view = talk.view();
    view.seen = talk.seen();
    view.ledger = ledger::of(talk, &agents);
    if request.request {
        view.request = Some(exact_request(app, (caller.tenant(), &id), talk).await?);
    }
    Ok(ContextView { run: id.to_string(), calls: vec![view] })
}

/// The bytes that were sent: built from the journal by the wire of whoever answered, or would be asked.
async fn exact_request(app: &App, of: (&Tenant, &RunId), talk: &Talk) -> Result<String, Problem> {
    let answered = talk.reply.as_ref().map(|reply| reply.provider.clone());
    let first =
        || app.config.roles.get(&talk.role).and_then(|role| role.providers.first().cloned());
    let provider = answered.or_else(first).unwrap_or_default();
    let gone = |what: String| {
        Problem::usage("provider-gone", what)
            .next("configure the provider that answered as it was, then ask again")
    };
    let model = app.models.model(&provider);
    let model = model.ok_or_else(|| gone(format!("no provider `{provider}` is configured now")))?;
    let reader: Arc<dyn Files> = Arc::new(Kept(Arc::clone(&app.store) as Arc<dyn Blobs>));
    let files = Contents::of_thread(Some(&reader), of, &talk.thread).await;
    let files = files.map_err(|error| gone(error.to_string()))?;
    let bytes =
        model.request_bytes(&talk.thread, &files).map_err(|error| gone(error.to_string()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// One model call, as journaled.
struct Talk {
    number: u32,
    step: String,
    seq: Seq,
    role: String,
    label: Label,
    prompt: Option<Prompt>,
    reply: Option<Reply>,
    failed: Option<String>,
    raised: Option<String>,
    thread: Arc<Thread>,
}

/// The model calls of a journal, in order.
fn talks(records: &[Record]) -> Vec<Talk> {
    let mut talks: Vec<Talk> = Vec::new();
    let mut threads: BTreeMap<String, Arc<Thread>> = BTreeMap::new();
    for record in records {
        let seq = record.event.seq;
        match &record.event.body {
            Body::Proposed { step, operation, args, attempt: 1, .. }
                if operation.connector() == MODEL_CONNECTOR =>
            {
                let prompt = serde_json::from_value::<Prompt>((*args.value()).clone()).ok();
                let conversation = prompt.as_ref().map(|p| p.conversation.clone());
                let begins = prompt.as_ref().is_none_or(|prompt| prompt.turn == 0);
                let prev = conversation.and_then(|c| threads.get(&c)).filter(|_| !begins).cloned();
                talks.push(Talk {
                    number: u32::try_from(talks.len().saturating_add(1)).unwrap_or(u32::MAX),
                    step: step.clone(),
                    seq,
                    role: operation.as_str().split_once('.').map_or("", |(_, r)| r).to_owned(),
                    label: args.commitment().label.clone(),
                    thread: Thread::after(prev, seq, Said::Prompt(args.value().into())),
                    prompt,
                    reply: None,
                    failed: None,
                    raised: None,
                });
            }
            // A further try says the same again under a number of its own.
            Body::Proposed { step, operation, args, .. }
                if operation.connector() == MODEL_CONNECTOR =>
            {
                if let Some(talk) = talks.iter_mut().rev().find(|talk| talk.step == *step) {
                    let prev = talk.thread.prev().cloned();
                    talk.seq = seq;
                    talk.thread = Thread::after(prev, seq, Said::Prompt(args.value().into()));
                }
            }
            Body::Returned { action, ended, .. } => {
                let Some(talk) = talks.iter_mut().rev().find(|talk| talk.seq == *action) else {
                    continue;
                };
                match ended {
                    Ended::Done { output, .. } => {
                        talk.failed = None;
                        talk.reply = serde_json::from_value((*output.value()).clone()).ok();
                        let said = Said::Reply(output.value().into());
                        let thread = Thread::after(Some(Arc::clone(&talk.thread)), *action, said);
                        if let Some(prompt) = &talk.prompt {
                            threads.insert(prompt.conversation.clone(), thread);
                        }
                    }
                    Ended::Failed { class, .. } => talk.failed = Some(class.name().to_owned()),
                }
            }
            Body::Marked { step, mark: Mark::Extracted { question, before, after, .. } } => {
                if let Some(talk) = talks.iter_mut().rev().find(|talk| talk.step == *step) {
                    let (before, after) = (word(&before.trust), word(&after.trust));
                    talk.raised = Some(format!("{question}: {before} to {after}"));
                }
            }
            _ => {}
        }
    }
    talks
}

impl Talk {
    fn view(&self) -> ModelCallView {
        let pieces = self.pieces();
        let mut bytes: BTreeMap<String, u64> = BTreeMap::new();
        for (source, text) in &pieces {
            let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
            let sum = bytes.entry(source.clone()).or_default();
            *sum = sum.saturating_add(length);
        }
        let first = self.prompts().into_iter().next();
        let tools = first.map(|prompt| prompt.tools).unwrap_or_default();
        ModelCallView {
            turn: self.number,
            step: self.step.clone(),
            conversation: self.prompt.as_ref().map(|p| p.conversation.clone()).unwrap_or_default(),
            seq: self.seq,
            role: self.role.clone(),
            trust: word(&self.label.trust),
            confidentiality: word(&self.label.confidentiality),
            bytes,
            tools: tools.into_iter().map(|tool| tool.name).collect(),
            seen: Vec::new(),
            attached: self.attached(),
            ledger: Vec::new(),
            reply: self.reply.as_ref().map(reply_view),
            failed: self.failed.clone(),
            raised: self.raised.clone(),
            request: None,
        }
    }

    fn seen(&self) -> Vec<SeenView> {
        let cut = |text: String| match text.get(..SHOWN_MAX_BYTES) {
            Some(head) if text.len() > SHOWN_MAX_BYTES => format!("{head}…"),
            _ => text,
        };
        let pieces = self.pieces().into_iter();
        pieces.map(|(source, text)| SeenView { source, text: cut(text) }).collect()
    }

    fn attached(&self) -> Vec<AttachedView> {
        let mut files: Vec<AttachedView> = Vec::new();
        for segment in self.prompts().iter().flat_map(|prompt| &prompt.segments) {
            let Segment::User { parts, .. } = segment else { continue };
            files.extend(parts.iter().filter_map(|part| match part {
                Part::Attached(file) => Some(file.into()),
                Part::Text { .. } | Part::Image { .. } | Part::File { .. } => None,
            }));
        }
        files
    }

    fn prompts(&self) -> Vec<Prompt> {
        let links = self.thread.since(|_| false);
        let prompt = |link: &Arc<Thread>| match link.said() {
            Said::Prompt(word) => Prompt::deserialize(&*word.value()).ok(),
            Said::Reply(_) => None,
        };
        links.iter().filter_map(prompt).collect()
    }

    /// Everything the model saw: source and text, oldest first.
    fn pieces(&self) -> Vec<(String, String)> {
        let mut pieces = Vec::new();
        for link in self.thread.since(|_| false) {
            match link.said() {
                Said::Prompt(word) => {
                    let prompt = Prompt::deserialize(&*word.value());
                    let segments = prompt.map(|prompt| prompt.segments).unwrap_or_default();
                    pieces.extend(segments.iter().map(piece));
                }
                Said::Reply(word) => {
                    let reply = Reply::deserialize(&*word.value());
                    let items = reply.map(|reply| reply.items).unwrap_or_default();
                    pieces.push(("model".to_owned(), items_text(&items)));
                }
            }
        }
        pieces
    }
}

fn word<T: Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

fn piece(segment: &Segment) -> (String, String) {
    match segment {
        Segment::System { text, source } => (word(source), text.clone()),
        Segment::User { parts, source } => {
            let texts = parts.iter().map(|part| match part {
                Part::Text { text } => text.clone(),
                Part::Image { media_type, data } => format!("[{media_type}, {} bytes]", data.len()),
                Part::File { name, media_type, .. } => format!("[{name}, {media_type}]"),
                Part::Attached(Attachment { name, media_type, bytes, .. }) => {
                    format!("[{name}, {media_type}, {bytes} bytes]")
                }
            });
            (word(source), texts.collect::<Vec<_>>().join("\n"))
        }
        Segment::Result { name, content, .. } => ("tool".to_owned(), format!("{name}: {content}")),
        Segment::Said { items } => ("model".to_owned(), items_text(items)),
    }
}

fn items_text(items: &[Item]) -> String {
    let each = items.iter().map(|item| match item {
        Item::Text { text } | Item::Refusal { text } => text.clone(),
        Item::Reasoning { text } => format!("[thinks] {text}"),
        Item::Call { name, arguments, malformed, .. } => match (arguments, malformed) {
            (Some(arguments), _) => format!("[calls] {name} {arguments}"),
            (None, Some(malformed)) => format!("[calls] {name} {}", malformed.text),
            (None, None) => format!("[calls] {name}"),
        },
        Item::Provided { name, .. } => format!("[used by the provider] {name}"),
    });
    each.collect::<Vec<_>>().join("\n")
}

fn reply_view(reply: &Reply) -> ReplyView {
    let Usage { input, cached, output, .. } = reply.usage;
    let calls = reply.items.iter().filter_map(|item| match item {
        Item::Call { name, .. } => Some(name.clone()),
        _ => None,
    });
    let texts = reply.items.iter().filter_map(|item| match item {
        Item::Text { text } | Item::Refusal { text } => Some(text.as_str()),
        _ => None,
    });
    ReplyView {
        provider: reply.provider.clone(),
        model: reply.model.clone(),
        stop: word(&reply.stop),
        text: texts.collect(),
        calls: calls.collect(),
        tokens_read: input,
        tokens_cached: cached,
        tokens_written: output,
    }
}
