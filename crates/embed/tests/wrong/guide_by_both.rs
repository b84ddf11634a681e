use embed::guide;

#[guide(task("refund"), files("*.rs"))]
const TONE: &str = "Be brief.";

fn main() {}
