use embed::tool;

/// Tells the weather.
#[tool(effect = "read")]
async fn weather(city: &str) -> String {
    city.to_owned()
}

fn main() {}
