use embed::tool;

/// Adds two numbers.
#[tool(effect = "read")]
async fn add((a, b): (u8, u8)) -> u8 {
    a + b
}

fn main() {}
