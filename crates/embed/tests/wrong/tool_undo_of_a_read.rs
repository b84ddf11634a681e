use embed::tool;

/// Tells the weather.
#[tool(effect = "read", undo(forget))]
async fn weather(city: String) -> String {
    city
}

fn main() {}
