//! What it costs to look through 1 MB of text: `cargo run --release -p harness-connect --example redact`.

#![allow(clippy::disallowed_methods, reason = "a measurement reads clocks")]

use std::{
    io::{Write as _, stdout},
    time::Instant,
};

use connect::redact::{Kind, Personal, Redactor};

/// Bytes that are looked through.
const TEXT_BYTES: usize = 1 << 20;

/// Times each is measured; the middle one counts.
const TIMES: usize = 21;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let line = "2026-12-01T09:14:07Z order 20261201-000017 of ACC-0042, 1299.00 EUR, see https://example.com/o/17?x=1; \
                {\"Id\": \"CTR-0042\", \"Owner\": \"Ana\", \"Version\": 7, \"Token\": \"next-17\"}\n";
    let text: String = line.chars().cycle().take(TEXT_BYTES).collect();
    let value = |n: usize| (format!("secret-{n}"), format!("s3cret/+value-{n:0>32}"));
    let all = vec![Kind::Card, Kind::Iban, Kind::Mail, Kind::Phone];
    for (secrets, personal) in [
        (0, Personal::default()),
        (10, Personal::default()),
        (100, Personal::default()),
        (10, all.into()),
    ] {
        let secrets: Vec<(String, String)> = (0..secrets).map(value).collect();
        let pairs = secrets.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let redactor = Redactor::new(pairs)?.with(personal);
        let mut took: Vec<u128> = (0..TIMES)
            .map(|_| {
                let began = Instant::now();
                std::hint::black_box(redactor.scrub_text(std::hint::black_box(&text)));
                began.elapsed().as_micros()
            })
            .collect();
        took.sort_unstable();
        let middle = took.get(TIMES / 2).copied().unwrap_or_default();
        writeln!(stdout(), "{} secrets, {personal:?}: {middle} µs", secrets.len())?;
    }
    Ok(())
}
