use std::rc::Rc;

use embed::tool;

/// Waits.
#[tool(effect = "read")]
async fn wait(city: String) -> String {
    let shared = Rc::new(city);
    std::future::ready(()).await;
    shared.to_string()
}

fn main() {}
