use embed::tool;

struct Weather;

/// Tells the weather.
#[tool(effect = "read")]
async fn weather(_city: String) -> Weather {
    Weather
}

fn main() {}
