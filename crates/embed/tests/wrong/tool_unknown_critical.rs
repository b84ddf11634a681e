use embed::tool;

/// Pays.
#[tool(critical(amout))]
async fn pay(amount: u32) -> u32 {
    amount
}

fn main() {}
