//! Answers as text for people.

use serde_json::Value;

use crate::{
    app::value::counted,
    cli::screen::{Screen, Tone},
};

/// A text field; numbers and booleans too; empty when absent.
pub(crate) fn text(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

/// A list of texts joined.
pub(crate) fn joined(value: &Value, pointer: &str) -> String {
    let list = value.pointer(pointer).and_then(Value::as_array);
    let texts = list.into_iter().flatten().map(|item| item.as_str().unwrap_or_default());
    texts.collect::<Vec<_>>().join(", ")
}

/// The items of a list.
pub(crate) fn list<'v>(value: &'v Value, pointer: &str) -> Vec<&'v Value> {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map(|items| items.iter().collect())
        .unwrap_or_default()
}

/// The seconds part of an RFC 3339 time, for narrow columns.
pub(crate) fn short_time(text: &str) -> String {
    text.get(..19).map(|t| t.replace('T', " ")).unwrap_or_else(|| text.to_owned())
}

/// Month, day, hour and minute, for narrow columns.
fn moment(text: &str) -> String {
    text.get(5..16).map(|t| t.replace('T', " ")).unwrap_or_else(|| text.to_owned())
}

/// The first characters of a digest.
pub(crate) fn short_digest(text: &str) -> String {
    text.strip_prefix("sha256:")
        .and_then(|hex| hex.get(..12))
        .map_or_else(|| text.to_owned(), |h| format!("sha256:{h}…"))
}

/// The exit code a run's status means.
pub(crate) fn status_code(answer: &Value) -> u8 {
    let run = answer.get("run").filter(|run| run.is_object()).unwrap_or(answer);
    let denied = text(run, "/ended_by/class") == "policy_error";
    match run.get("status").and_then(Value::as_str) {
        Some("asking") => 7,
        Some("failed") if denied => 6,
        Some("failed") => 8,
        Some("needs_person") => 9,
        _ => 0,
    }
}

/// Who asks for whom, and who handed it in, where that is somebody else.
fn asked_by(row: &Value) -> String {
    let asks = format!("{} for {}", text(row, "/agent"), text(row, "/on_behalf_of"));
    match text(row, "/submitted_by").as_str() {
        "" => asks,
        by => format!("{asks}, handed in by {by}"),
    }
}

/// One run.
pub(crate) fn run(answer: &Value, screen: &mut Screen) {
    let row = answer.get("run").filter(|run| run.is_object()).unwrap_or(answer);
    screen.heading(&text(row, "/id"));
    let status = screen.status(&text(row, "/status"));
    screen.field("status", &status);
    if row.get("ended_by").is_some_and(Value::is_object) {
        let (class, step) = (text(row, "/ended_by/class"), text(row, "/ended_by/step"));
        screen.field("ended by", &format!("{class} in step {step}"));
    }
    for part in list(row, "/unusual") {
        screen.field("unusual", part.as_str().unwrap_or_default());
    }
    screen.field("intent", &format!("{} · {}", text(row, "/intent"), text(row, "/pack")));
    screen.field("asked by", &asked_by(row));
    screen.field("opened", &short_time(&text(row, "/opened_at")));
    screen.field("changed", &short_time(&text(row, "/changed_at")));
    screen.field(
        "journal",
        &format!(
            "{}, head {}",
            counted(text(row, "/events"), "event"),
            short_digest(&text(row, "/head"))
        ),
    );
    next_step(row, screen);
}

fn next_step(row: &Value, screen: &mut Screen) {
    let id = text(row, "/id");
    match text(row, "/status").as_str() {
        "asking" => screen.field("next", "harness approval list"),
        "needs_person" => screen.field("next", "harness exception list"),
        "halted" => screen.field("next", "harness halt list"),
        "running" | "waiting" => screen.field("next", &format!("harness run resume {id}")),
        _ => {}
    }
}

/// One run in full.
pub(crate) fn run_detail(answer: &Value, screen: &mut Screen) {
    run(answer, screen);
    if text(answer, "/mode") == "preview" {
        screen.field("dry run", "reads were made; changes are shown and were not made");
    }
    for file in list(answer, "/attached") {
        let (name, kind) = (text(file, "/name"), text(file, "/media_type"));
        screen.field("attached", &format!("{name} ({kind}, {} bytes)", text(file, "/bytes")));
    }
    let actions = list(answer, "/actions");
    if !actions.is_empty() {
        screen.gap();
        let rows: Vec<Vec<String>> =
            actions.iter().map(|action| action_row(action, screen)).collect();
        screen.table(&["#", "step", "operation", "verdict", "outcome", "ms"], &rows);
    }
    for action in actions.iter().filter(|action| !text(action, "/failure").is_empty()) {
        screen.field(&format!("#{} said", text(action, "/action")), &text(action, "/failure"));
    }
    for caveat in list(answer, "/caveats") {
        screen.field("caveat", caveat.as_str().unwrap_or_default());
    }
    for operation in list(answer, "/switched_off") {
        screen.field("switched off", operation.as_str().unwrap_or_default());
    }
    let todo = list(answer, "/todo/items");
    if !todo.is_empty() {
        screen.gap();
        let cells = |item: &&Value| vec![screen.status(&text(item, "/state")), text(item, "/text")];
        let rows: Vec<Vec<String>> = todo.iter().map(cells).collect();
        screen.table(&["to do", ""], &rows);
    }
    if let Some(output) = answer.get("output").filter(|output| !output.is_null()) {
        screen.gap();
        screen.heading("result");
        let pretty = serde_json::to_string_pretty(output).unwrap_or_default();
        pretty.lines().for_each(|line| screen.line(&format!("  {line}")));
    }
}

fn action_row(action: &Value, screen: &Screen) -> Vec<String> {
    let role = text(action, "/role");
    let step = text(action, "/step");
    let step = if role == "step" { step } else { format!("{step} ({role})") };
    let verdict = screen.status(&text(action, "/verdict"));
    let outcome = screen.status(&text(action, "/outcome"));
    vec![
        text(action, "/action"),
        step,
        text(action, "/operation"),
        verdict,
        outcome,
        text(action, "/took_ms"),
    ]
}

/// Runs.
pub(crate) fn run_list(answer: &Value, screen: &mut Screen) {
    let items = list(answer, "/items");
    if items.is_empty() {
        screen.line("No runs. `harness intent submit` starts one; `harness demo` shows how.");
        return;
    }
    let cells = |row: &&Value| {
        let status = screen.status(&text(row, "/status"));
        vec![text(row, "/id"), status, moment(&text(row, "/changed_at")), text(row, "/intent")]
    };
    let rows: Vec<Vec<String>> = items.iter().map(cells).collect();
    screen.table(&["run", "status", "changed", "intent"], &rows);
    more(answer, screen);
}

/// Where the next page starts.
pub(crate) fn more(answer: &Value, screen: &mut Screen) {
    let next = text(answer, "/next");
    if !next.is_empty() {
        screen.line(&format!("more: --after {next}"));
    }
}

/// Events.
pub(crate) fn events(answer: &Value, screen: &mut Screen) {
    let rows: Vec<Vec<String>> = list(answer, "/items")
        .iter()
        .map(|event| {
            let about = [
                "/body/step",
                "/body/operation",
                "/body/code",
                "/body/stage",
                "/body/undone/result",
                "/body/from",
            ];
            let about = about.iter().map(|p| text(event, p)).find(|t| !t.is_empty());
            vec![
                text(event, "/seq"),
                short_time(&text(event, "/at")),
                text(event, "/kind"),
                about.unwrap_or_default(),
            ]
        })
        .collect();
    screen.table(&["seq", "at", "event", "about"], &rows);
}

/// A plan.
pub(crate) fn plan(answer: &Value, screen: &mut Screen) {
    screen.heading(&format!("Plan {}", short_digest(&text(answer, "/digest"))));
    screen.field("intent", &format!("{} · {}", text(answer, "/intent"), text(answer, "/pack")));
    let why = joined(answer, "/why");
    if !why.is_empty() {
        screen.field("chosen for", &why);
    }
    screen.gap();
    let steps = list(answer, "/steps");
    let own = steps.iter().filter(|step| !text(step, "/path").contains('!'));
    let rows: Vec<Vec<String>> = own.map(|step| plan_row(step, screen)).collect();
    screen.table(&["step", "operation", "undo", "asks"], &rows);
    if steps.iter().any(|step| text(step, "/conditional") == "true") {
        let legend = screen.tone(Tone::Quiet, "? only on a condition · – a read");
        screen.line(&legend);
    }
}

fn plan_row(step: &Value, screen: &Screen) -> Vec<String> {
    let write = text(step, "/effect") == "write";
    let undo = match (write, text(step, "/undo").as_str()) {
        (false, _) => "–".to_owned(),
        (true, "none") => screen.tone(Tone::Bad, "never"),
        (true, other) => other.to_owned(),
    };
    let who = joined(step, "/approvals");
    let asks = match text(step, "/asks").as_str() {
        "no" => "no".to_owned(),
        "denied" => screen.tone(Tone::Bad, "denied"),
        "maybe" => format!("maybe {who}"),
        _ => who,
    };
    let condition = if text(step, "/conditional") == "true" { " ?" } else { "" };
    let path = format!("{}{condition}", text(step, "/path"));
    vec![path, text(step, "/operation"), undo, asks.trim().to_owned()]
}

/// Asks.
pub(crate) fn approval_list(answer: &Value, screen: &mut Screen) {
    let items = list(answer, "/items");
    if items.is_empty() {
        screen.line("Nothing waits for a decision.");
        return;
    }
    let cells = |row: &&Value| {
        let state = screen.status(&text(row, "/state"));
        let expires = moment(&text(row, "/expires_at"));
        let who = looked_after(row);
        vec![text(row, "/id"), state, expires, joined(row, "/roles"), text(row, "/step"), who]
    };
    let rows: Vec<Vec<String>> = items.iter().map(cells).collect();
    screen.table(&["approval", "state", "expires", "role", "step", "looked after by"], &rows);
    more(answer, screen);
}

/// Who looks after something that waits.
pub(crate) fn looked_after(row: &Value) -> String {
    let (by, aside) = (text(row, "/claimed_by"), text(row, "/aside_by"));
    match (by.is_empty(), aside.is_empty()) {
        (_, false) => format!("set aside by {aside}"),
        (false, true) => by,
        (true, true) => "nobody".to_owned(),
    }
}

/// Who looks after one thing.
pub(crate) fn claim(answer: &Value, screen: &mut Screen) {
    screen.field("about", &text(answer, "/id"));
    screen.field("looked after", &looked_after(answer));
    let note = text(answer, "/note");
    if !note.is_empty() {
        screen.field("note", &note);
    }
}

/// Receipts of a run.
pub(crate) fn receipt_list(answer: &Value, screen: &mut Screen) {
    let cells = |row: &&Value| {
        let action = text(row, "/action");
        let about = if action.is_empty() {
            "closes the run".to_owned()
        } else {
            format!("action {action}")
        };
        vec![
            text(row, "/index"),
            text(row, "/id"),
            text(row, "/log_index"),
            moment(&text(row, "/at")),
            about,
        ]
    };
    let rows: Vec<Vec<String>> = list(answer, "/items").iter().map(cells).collect();
    screen.table(&["#", "receipt", "log", "at", "about"], &rows);
}

/// The card a person decides on, in the order of the web page.
pub(crate) fn card(answer: &Value, screen: &mut Screen) {
    let rule = "─".repeat(screen.width().min(78));
    screen.line(&screen.tone(Tone::Quiet, &rule));
    let summary = text(answer, "/summary");
    let strong = screen.tone(Tone::Strong, &summary);
    screen.wrapped("", "  ", &strong);
    let step = match text(answer, "/step_of/0").as_str() {
        "0" => text(answer, "/step"),
        number => format!("step {number} of {}", text(answer, "/step_of/1")),
    };
    let asks = asked_by(answer);
    screen.line(&screen.tone(Tone::Quiet, &format!("{asks} · {} · {step}", text(answer, "/pack"))));
    screen.gap();
    let command = text(answer, "/command/summary");
    if !command.is_empty() {
        screen.field("the command", &command);
    }
    let money = text(answer, "/moves_money");
    if !money.is_empty() {
        screen.field("moves money", &money);
    }
    let touches = text(answer, "/touches");
    if !touches.is_empty() {
        screen.field("touches", &touches);
    }
    let leaves = joined(answer, "/leaves");
    if !leaves.is_empty() {
        screen.field("carries", &leaves);
    }
    let undo = text(answer, "/undo");
    if !undo.is_empty() {
        let tone = if undo.starts_with("no") { Tone::Bad } else { Tone::Good };
        let undo = screen.tone(tone, &undo);
        screen.field("can be undone", &undo);
    }
    let until = short_time(&text(answer, "/expires_at"));
    let is_question = answer.get("question").is_some_and(Value::is_object);
    let nobody = if is_question { "lapses" } else { "denied" };
    screen.field("if nobody does", &format!("{nobody} at {until}"));
    why(answer, screen);
    changes(answer, screen);
    if is_question {
        question(answer, screen);
    } else if answer.get("untrusted").and_then(Value::as_bool) == Some(true) {
        let warning = screen.tone(Tone::Warn, "untrusted input had a part in these arguments");
        screen.field("note", &warning);
    }
    let operation = text(answer, "/operation");
    if !operation.is_empty() {
        screen.gap();
        screen.field("exactly", &format!("{operation} {}", text(answer, "/digest")));
        arguments(answer, screen);
    }
    screen.line(&screen.tone(Tone::Quiet, &rule));
}

/// Who asks, and how one answers.
fn question(answer: &Value, screen: &mut Screen) {
    let server = text(answer, "/question/asked_by");
    let mut reply = format!("harness approval reply {} JSON", text(answer, "/approval"));
    if !server.is_empty() {
        let warning =
            format!("the words are those of the server {server}, and your answer goes to it");
        screen.field("note", &screen.tone(Tone::Warn, &warning));
        reply.push_str("; `null` declines");
    }
    let schema = answer.pointer("/question/answer").map(ToString::to_string);
    screen.field("answer", &crate::app::value::visible(&schema.unwrap_or_default()));
    screen.field("to answer", &reply);
}

fn why(answer: &Value, screen: &mut Screen) {
    for reason in list(answer, "/why") {
        screen.field(
            "why asked",
            &format!("{} ({})", text(reason, "/reason"), text(reason, "/rule")),
        );
    }
    let needs = joined(answer, "/needs");
    let given = joined(answer, "/given");
    if !needs.is_empty() {
        screen.field("needs", &needs);
    }
    if !given.is_empty() {
        screen.field("has", &given);
    }
}

fn changes(answer: &Value, screen: &mut Screen) {
    let rows: Vec<Vec<String>> = list(answer, "/changes")
        .iter()
        .map(|line| {
            let now = screen.tone(Tone::Bad, &text(line, "/now"));
            let after = screen.tone(Tone::Good, &text(line, "/after"));
            vec![format!("  {}", text(line, "/field")), now, "→".to_owned(), after]
        })
        .collect();
    if !rows.is_empty() {
        screen.gap();
        screen.table(&["  field", "now", "", "after"], &rows);
    }
}

fn arguments(answer: &Value, screen: &mut Screen) {
    let Some(Value::Object(args)) = answer.get("args") else { return };
    for (name, value) in args {
        let shown = match value {
            Value::String(text) => text.clone(),
            other => crate::app::value::plain(other),
        };
        let lines: Vec<String> = shown.split('\n').map(crate::app::value::visible).collect();
        screen.verbatim(name, &lines.join("\n"));
    }
}

/// What verification found.
pub(crate) fn verified(answer: &Value, screen: &mut Screen) {
    let verdict = screen.status(&text(answer, "/verdict"));
    let reason = text(answer, "/reason");
    let line = if reason.is_empty() { verdict } else { format!("{verdict}: {reason}") };
    screen.wrapped("", "  ", &line);
}

/// Explanations.
pub(crate) fn explanations(answer: &Value, screen: &mut Screen) {
    screen.wrapped("", "  ", &text(answer, "/intent"));
    for item in list(answer, "/items") {
        screen.gap();
        let summary = screen.tone(Tone::Strong, &text(item, "/summary"));
        screen.wrapped("", "  ", &summary);
        screen.field("receipt", &text(item, "/receipt"));
        screen.field("planned", &short_plan(&text(item, "/planned")));
        screen.field("touched", &text(item, "/touched"));
        for rule in list(item, "/rules") {
            screen.field("allowed by", rule.as_str().unwrap_or_default());
        }
        for approval in list(item, "/approved_by") {
            screen.field("approved by", approval.as_str().unwrap_or_default());
        }
        for change in list(item, "/changed") {
            screen.field("changed", change.as_str().unwrap_or_default());
        }
        screen.field("sensitive", &text(item, "/sensitive"));
        screen.field("replay", &text(item, "/replay"));
        screen.field("take back", &text(item, "/take_back"));
    }
    super::trouble::troubles(answer, screen);
}

fn short_plan(text: &str) -> String {
    match text.split_once("sha256:") {
        Some((before, hex)) => format!("{before}sha256:{}…", hex.get(..12).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// How a rollback ended.
pub(crate) fn rolled_back(answer: &Value, screen: &mut Screen) {
    let result = text(answer, "/result");
    let tone = if result == "complete" { Tone::Good } else { Tone::Warn };
    let result = screen.tone(tone, &result);
    screen.line(&format!("Rollback {result}"));
    for effect in list(answer, "/effects") {
        let outcome = screen.status(&text(effect, "/result"));
        screen.field(&text(effect, "/operation"), &outcome);
        if let Some(difference) = effect.get("difference").filter(|d| !d.is_null()) {
            for key in ["before", "after", "now"] {
                screen.field(key, &difference.get(key).map(Value::to_string).unwrap_or_default());
            }
        }
    }
    let conflict = text(answer, "/conflict");
    if !conflict.is_empty() {
        let next = format!("look at the difference; --accept-conflict {conflict} overwrites it");
        screen.field("next", &next);
    }
}

/// A replay.
pub(crate) fn replay(answer: &Value, screen: &mut Screen) {
    if answer.get("identical").and_then(Value::as_bool) == Some(true) {
        let word = screen.tone(Tone::Good, "identical");
        let head = short_digest(&text(answer, "/head"));
        screen.line(&format!(
            "{} replayed, byte for byte {word}; head {head}",
            counted(text(answer, "/events"), "event")
        ));
    } else {
        let word = screen.tone(Tone::Bad, "differs");
        screen.wrapped("", "  ", &format!("The replay {word}: {}", text(answer, "/difference")));
    }
    screen.field("under", &text(answer, "/pack"));
}

/// KPIs.
pub(crate) fn kpis(answer: &Value, screen: &mut Screen) {
    let mut rows = Vec::new();
    for item in list(answer, "/items") {
        let met = match item.get("met").and_then(Value::as_bool) {
            Some(true) => screen.tone(Tone::Good, "met"),
            Some(false) => screen.tone(Tone::Warn, "not met"),
            None => screen.tone(Tone::Quiet, "no data"),
        };
        let values = item.get("values").and_then(Value::as_object);
        for (group, value) in values.into_iter().flatten() {
            let unit = text(item, "/unit");
            let value = value.as_f64().map_or_else(|| "–".to_owned(), |v| measured(v, &unit));
            let name = if group.is_empty() {
                text(item, "/title")
            } else {
                format!("{} · {group}", text(item, "/title"))
            };
            let target = item.get("target").and_then(Value::as_f64);
            let target = target.map(|v| measured(v, &unit)).unwrap_or_default();
            rows.push(vec![name, value, target, met.clone()]);
        }
    }
    screen.table(&["measure", "value", "target", ""], &rows);
}

/// A number with its unit; times as people say them, shares as percent.
fn measured(value: f64, unit: &str) -> String {
    let steps = [(86_400_000.0, "d"), (3_600_000.0, "h"), (60_000.0, "min"), (1_000.0, "s")];
    match unit {
        "ms" => match steps.iter().find(|(ms, _)| value >= *ms) {
            Some((ms, name)) => format!("{} {name}", number(value / ms)),
            None => format!("{} ms", number(value)),
        },
        "share" => format!("{} %", number(value * 100.0)),
        unit => format!("{} {unit}", number(value)),
    }
}

fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A table of any list of objects: chosen columns in order.
pub(crate) fn columns(answer: &Value, screen: &mut Screen, names: &[&str]) {
    let items = list(answer, "/items");
    let items = if items.is_empty() { list(answer, "/rows") } else { items };
    let cell = |row: &Value, name: &str| {
        let pointer = format!("/{name}");
        match row.get(name) {
            Some(Value::Array(_)) => joined(row, &pointer),
            _ => text(row, &pointer),
        }
    };
    let rows: Vec<Vec<String>> =
        items.iter().map(|row| names.iter().map(|name| cell(row, name)).collect()).collect();
    if rows.is_empty() {
        screen.line("Nothing.");
        return;
    }
    screen.table(names, &rows);
}

/// Health.
pub(crate) fn diagnosis(answer: &Value, screen: &mut Screen) {
    for check in list(answer, "/checks") {
        let result = screen.status(&text(check, "/result"));
        screen.field(&text(check, "/id"), &format!("{result}: {}", text(check, "/found")));
        let fix = text(check, "/fix");
        if !fix.is_empty() {
            screen.field("", &format!("fix: {fix}"));
        }
    }
}

/// Any document, as indented JSON.
pub(crate) fn pretty(answer: &Value, screen: &mut Screen) {
    screen.line(&serde_json::to_string_pretty(answer).unwrap_or_default());
}
