use embed::tool;

struct City(String);

/// Tells the weather.
#[tool(effect = "read")]
async fn weather(city: City) -> String {
    city.0
}

fn main() {}
