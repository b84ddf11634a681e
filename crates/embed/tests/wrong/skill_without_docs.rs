use embed::skill;

#[skill]
const TONE: &str = "Be brief.";

fn main() {}
