use embed::tool;

struct Weather;

impl Weather {
    /// Tells the weather.
    #[tool(effect = "read")]
    async fn tell(&self) -> String {
        String::new()
    }
}

fn main() {}
