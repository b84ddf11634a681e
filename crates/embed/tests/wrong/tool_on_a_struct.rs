use embed::tool;

/// The weather.
#[tool]
struct Weather;

fn main() {}
