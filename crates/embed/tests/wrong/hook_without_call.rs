use embed::{Verdict, hook};

#[hook]
fn allow() -> Verdict {
    Verdict::Pass
}

fn main() {}
