//! `harness schema`

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use super::{Asked, Outcome, render};
use crate::{
    app::{ops, problem::Problem},
    cli::Context,
};

/// Which schema.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The document kind; without one, all kinds are listed
    kind: Option<String>,
    /// Write every schema into a folder
    #[arg(long, value_name = "DIR", conflicts_with = "kind")]
    write: Option<PathBuf>,
}

impl Args {
    /// What the command comes to.
    ///
    /// # Errors
    /// When there is no such kind, or the folder cannot be written.
    pub fn outcome(self, _: &Context) -> Result<Outcome, Problem> {
        let schemas = ops::schemas();
        if let Some(folder) = self.write {
            let unwritable = |path: &Path, e: std::io::Error| {
                let detail = format!("cannot write {}: {e}", path.display());
                Problem::usage("file-unwritable", detail)
                    .next("name a folder that can be written, with room on its disk")
            };
            std::fs::create_dir_all(&folder).map_err(|e| unwritable(&folder, e))?;
            for (kind, schema) in &schemas {
                let path = folder.join(format!("{kind}.json"));
                let text = serde_json::to_string_pretty(schema).unwrap_or_default() + "\n";
                std::fs::write(&path, text).map_err(|e| unwritable(&path, e))?;
            }
            return Ok(Outcome::Printed(0));
        }
        let Some(kind) = self.kind else {
            let items: Vec<Value> = schemas.keys().map(|kind| json!({ "name": kind })).collect();
            let document = json!({ "schema": "harness.schema-list/v1", "items": items });
            let asked = Asked::new("schema.list", Value::Null, |answer, screen| {
                render::columns(answer, screen, &["name"]);
            });
            return Ok(Outcome::Document { document, asked });
        };
        let found = schemas.get(&kind).ok_or_else(|| {
            Problem::not_found("schema", &kind).next("`harness schema` lists every kind")
        })?;
        Ok(Outcome::Document {
            document: found.clone(),
            asked: Asked::new("schema", Value::Null, render::pretty),
        })
    }
}
