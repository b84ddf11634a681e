use embed::{Trusted, tool};

/// Passes trust on.
#[tool(effect = "read")]
async fn pass(account: Trusted<String>) -> Trusted<String> {
    account
}

fn main() {}
