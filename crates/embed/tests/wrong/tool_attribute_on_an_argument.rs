use embed::tool;

/// Tells the weather.
#[tool(effect = "read")]
async fn weather(#[serde(default)] city: String) -> String {
    city
}

fn main() {}
