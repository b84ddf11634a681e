use embed::guide;

#[guide]
const MAX: u32 = 7;

fn main() {}
