//! Drafts connectors from an OpenAPI document in JSON: `cargo run --example draft -- FILE NAME`.
#![allow(clippy::print_stdout, reason = "it is for a person at a terminal")]

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let file = words.next().ok_or("which file?")?;
    let name = words.next().unwrap_or_else(|| "api".to_owned());
    let document = serde_json::from_slice(&std::fs::read(file)?)?;
    let draft = openapi::draft(&document, &openapi::Options { name, ..Default::default() })?;
    for file in &draft.files {
        println!("--- {}.yaml\n{}", file.name, file.text);
    }
    for decision in &draft.decisions {
        println!("# {}: {}", decision.about.join(", "), decision.text);
    }
    for left in &draft.left_out {
        println!("# left out: {}: {}", left.place, left.why);
    }
    Ok(())
}
