use embed::tool;

/// Says what the operator would.
#[tool(effect = "read", trust = "operator")]
async fn speak() -> String {
    String::new()
}

fn main() {}
