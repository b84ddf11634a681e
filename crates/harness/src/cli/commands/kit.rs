//! `harness pack test`, `harness pack new` and `harness new`.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::{Asked, Outcome, render, whole_number};
use crate::{
    app::{
        kit, ops,
        problem::{Kind, Problem},
        value::counted,
    },
    cli::{
        Context, client,
        screen::{Screen, Tone, visible_width},
    },
};

/// Widest step name in the matrix; longer ones lose their middle.
const STEP_WIDTH_MAX: usize = 30;

/// Failures shown to people; all of them stand in the JSON document.
const FAILURES_SHOWN_MAX: usize = 20;

/// What to test.
#[derive(Debug, Args)]
pub struct Test {
    /// Folder that holds pack.yaml, or a configured pack [default: this folder, or the only pack]
    pack: Option<String>,
    /// Only this step and probe, as `intent/step:probe=case`; may be repeated
    #[arg(long, value_name = "STEP:PROBE")]
    only: Vec<String>,
    /// What the made-up world comes from: the same seed, the same result
    #[arg(long, default_value_t = 0, value_parser = whole_number::<u64>, allow_negative_numbers = true)]
    seed: u64,
    /// Steps that no run comes to are told, and are not wrong; nor is a pack that only hands to agents
    #[arg(long)]
    allow_unreached: bool,
    /// Write the result as JUnit XML as well
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// What to make.
#[derive(Debug, Args)]
pub struct New {
    /// Lower-case letters, digits and hyphens
    name: String,
    /// The folder its own folder is made in
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

impl Test {
    /// What the command comes to.
    ///
    /// # Errors
    /// When there is no such pack, or it does not load.
    pub fn outcome(self, context: &Context) -> Result<Outcome, Problem> {
        let Self { pack, only, seed, allow_unreached, junit } = self;
        let unreached = match allow_unreached {
            true => kit::Unreached::Allowed,
            false => kit::Unreached::Wrong,
        };
        let config = client::load(&context.overrides)?;
        let tested = kit::test(&config, &kit::TestPack { pack, seed, only, unreached })?;
        if let Some(path) = junit {
            kit::write_junit(&tested, &path)?;
        }
        let document = ops::document("harness.pack-tested/v1", &tested)?;
        let mut asked = Asked::new("pack.test", Value::Null, matrix);
        asked.exit = |answer| match answer.get("passed").and_then(Value::as_bool) {
            Some(true) => 0,
            _ => Kind::VerificationFailed.exit_code(),
        };
        Ok(Outcome::Document { document, asked })
    }
}

impl New {
    /// A new pack.
    ///
    /// # Errors
    /// When the name is no name, or the folder exists.
    pub fn pack(self) -> Result<Outcome, Problem> {
        let made = kit::scaffold::make(&kit::scaffold::NewPack { name: self.name, dir: self.dir })?;
        let document = ops::document("harness.pack-made/v1", &made)?;
        Ok(Outcome::Document { document, asked: Asked::new("pack.new", Value::Null, made_pack) })
    }

    /// A new project.
    ///
    /// # Errors
    /// As for [`Self::pack`].
    pub fn project(self) -> Result<Outcome, Problem> {
        let request = kit::scaffold::NewPack { name: self.name, dir: self.dir };
        let made = kit::scaffold::make_project(&request)?;
        let document = ops::document("harness.project-made/v1", &made)?;
        Ok(Outcome::Document { document, asked: Asked::new("new", Value::Null, made_project) })
    }
}

/// Says what was made, and how it is tested.
fn made(answer: &Value, screen: &mut Screen) -> String {
    let folder = render::text(answer, "/folder");
    screen.heading(&format!("{} is in {folder}", render::text(answer, "/name")));
    for file in render::list(answer, "/files") {
        screen.line(&format!("  {}", file.as_str().unwrap_or_default()));
    }
    folder
}

fn made_pack(answer: &Value, screen: &mut Screen) {
    let folder = made(answer, screen);
    screen.field("next", &format!("harness pack test {folder}"));
}

fn made_project(answer: &Value, screen: &mut Screen) {
    let folder = made(answer, screen);
    screen.field("next", &format!("{folder}/test"));
}

fn matrix(answer: &Value, screen: &mut Screen) {
    let number = |pointer: &str| render::text(answer, pointer);
    let passed = answer.get("passed").and_then(Value::as_bool) == Some(true);
    let came = match (number("/cases").as_str(), passed) {
        ("0", true) => screen.tone(Tone::Warn, "nothing was played"),
        ("0", false) => screen.tone(Tone::Bad, "nothing was played"),
        (_, true) => screen.tone(Tone::Good, "everything as declared"),
        (_, false) => {
            screen.tone(Tone::Bad, &format!("{} of them not as declared", number("/wrong")))
        }
    };
    let name = format!("{} {}", number("/name"), number("/version"));
    screen.line(&format!(
        "{}: {}, {came}",
        screen.tone(Tone::Strong, &name),
        counted(number("/cases"), "run")
    ));
    let probes = render::list(answer, "/probes");
    let probes: Vec<String> = probes.iter().map(|probe| render::text(probe, "/name")).collect();
    for item in render::list(answer, "/items") {
        screen.gap();
        write_intent(item, &probes, screen);
    }
    screen.gap();
    let legend = "A number counts runs that came out as declared, ✗ those that did not; – has nothing \
                  to do there; ? was never reached.";
    screen.wrapped("", "", legend);
    for intent in render::list(answer, "/handed_to_agents") {
        screen
            .field("not played", &format!("{} is an agent's", intent.as_str().unwrap_or_default()));
    }
    for step in render::list(answer, "/unreached") {
        screen.field("never reached", step.as_str().unwrap_or_default());
    }
    for note in render::list(answer, "/notes") {
        screen.field("note", note.as_str().unwrap_or_default());
    }
    write_failures(answer, screen);
}

fn write_intent(item: &Value, probes: &[String], screen: &mut Screen) {
    let steps = render::list(item, "/steps");
    let names = steps.iter().map(|step| shorten(&render::text(step, "/step")));
    let intent = render::text(item, "/intent");
    let widths = names.chain([intent.clone()]).map(|name| visible_width(&name));
    let width = widths.max().unwrap_or_default().min(STEP_WIDTH_MAX);
    let mut heading = screen.tone(Tone::Strong, &pad(&shorten(&intent), width));
    for probe in probes {
        heading.push(' ');
        heading.push_str(&screen.tone(Tone::Quiet, probe));
    }
    screen.line(&heading);
    for step in steps {
        let mut line = pad(&shorten(&render::text(step, "/step")), width);
        for (cell, probe) in render::list(step, "/cells").into_iter().zip(probes) {
            let (text, tone) = cell_text(cell);
            let fill = visible_width(probe).saturating_sub(visible_width(&text)) + 1;
            line.push_str(&" ".repeat(fill));
            line.push_str(&screen.tone(tone, &text));
        }
        screen.line(&line);
    }
}

fn cell_text(cell: &Value) -> (String, Tone) {
    match render::text(cell, "/state").as_str() {
        "ok" => (render::text(cell, "/cases"), Tone::Good),
        "wrong" => (format!("✗{}", render::text(cell, "/wrong")), Tone::Bad),
        "unreached" => ("?".to_owned(), Tone::Warn),
        "skipped" => (".".to_owned(), Tone::Quiet),
        _ => ("–".to_owned(), Tone::Quiet),
    }
}

fn write_failures(answer: &Value, screen: &mut Screen) {
    let failures = render::list(answer, "/failures");
    for failure in failures.iter().take(FAILURES_SHOWN_MAX) {
        let text = |pointer: &str| render::text(failure, pointer);
        screen.gap();
        let place = format!("{}/{}", text("/intent"), text("/step"));
        let mark = screen.tone(Tone::Bad, "✗");
        screen.line(&format!(
            "{mark} {}  {}={}",
            place.trim_end_matches('/'),
            text("/probe"),
            text("/case")
        ));
        screen.field("happened", &text("/happened"));
        screen.field("expected", &text("/expected"));
        screen.field("again", &format!("harness pack test {}", text("/reproduce")));
    }
    if failures.len() > FAILURES_SHOWN_MAX {
        let more = failures.len() - FAILURES_SHOWN_MAX;
        screen.gap();
        screen.line(&format!("and {more} more; `-o json` tells all of them"));
    }
}

fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(visible_width(text))))
}

/// A path without its middle when it is too wide: its end says most.
fn shorten(path: &str) -> String {
    let chars: Vec<char> = path.chars().collect();
    if chars.len() <= STEP_WIDTH_MAX {
        return path.to_owned();
    }
    let end: String = chars.iter().skip(chars.len() - (STEP_WIDTH_MAX - 1)).collect();
    format!("…{end}")
}
