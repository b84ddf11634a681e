use embed::tool;

/// Tells the weather.
#[tool(effect = "maybe")]
async fn weather(city: String) -> String {
    city
}

fn main() {}
