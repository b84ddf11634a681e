use embed::tool;

/// Tells the weather.
#[tool(efect = "read")]
async fn weather(city: String) -> String {
    city
}

fn main() {}
