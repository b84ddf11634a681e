//! Files and pictures that go with a request, and are read again.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::render;
use crate::{
    app::{
        attachments::{Attach, bytes_of},
        problem::Problem,
        value::visible,
    },
    cli::screen::Screen,
};

/// Files and pictures that go with a request.
#[derive(Debug, Args)]
pub(super) struct Files {
    /// A file or a picture that goes with it: PNG, JPEG, GIF, WebP, PDF, or text; may be repeated
    #[arg(long = "attach", value_name = "FILE")]
    attach: Vec<PathBuf>,
    /// What stands in the files counts as your own words; otherwise it is untrusted
    #[arg(long, requires = "attach")]
    vouch: bool,
}

impl Files {
    /// As the facade names them; nothing where no file is given.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(super) fn to_fields(&self) -> Result<Map<String, Value>, Problem> {
        if self.attach.is_empty() {
            return Ok(Map::new());
        }
        let files: Vec<Attach> =
            self.attach.iter().map(|path| Attach::of_file(path)).collect::<Result<_, _>>()?;
        let fields = [("attachments", json!(files)), ("vouch", json!(self.vouch))];
        Ok(fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect())
    }
}

/// An attached file: what it is, and its text where it is text.
pub(super) fn shown(answer: &Value, screen: &mut Screen) {
    let text = |at: &str| render::text(answer, at);
    screen.heading(&visible(&text("/name")));
    screen.field("is", &format!("{}, {} bytes", text("/media_type"), text("/bytes")));
    screen.field("trust", &text("/trust"));
    screen.field("digest", &text("/digest"));
    if let Ok(told) = String::from_utf8(bytes_of(&text("/data"))) {
        screen.gap();
        told.lines().for_each(|line| screen.line(&visible(line)));
    }
}
