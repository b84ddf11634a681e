use embed::tool;

#[tool(effect = "read")]
async fn weather(city: String) -> String {
    city
}

fn main() {}
