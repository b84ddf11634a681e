use embed::tool;

struct Broken;

/// Tells the weather.
#[tool(effect = "read")]
async fn weather(city: String) -> Result<String, Broken> {
    Ok(city)
}

fn main() {}
