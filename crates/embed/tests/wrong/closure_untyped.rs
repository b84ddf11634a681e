use embed::Tool;

fn main() {
    let _ = Tool::new("x", "Does it.", |_: std::time::Instant| async { Ok::<_, String>(1) });
}
