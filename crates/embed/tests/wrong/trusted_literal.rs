use embed::{Label, Trusted};

fn main() {
    let _ = Trusted { value: "anything", label: Label::bottom() };
}
