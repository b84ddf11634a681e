use embed::{Call, Verdict, hook};

#[hook]
fn allow(_: &Call<'_>) -> Verdict {
    Verdict::Allow
}

fn main() {}
