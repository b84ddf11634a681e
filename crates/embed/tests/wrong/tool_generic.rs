use embed::tool;

/// Counts.
#[tool(effect = "read")]
async fn count<T>(items: Vec<T>) -> usize {
    items.len()
}

fn main() {}
