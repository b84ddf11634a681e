use embed::{Label, Trusted};

fn main() {
    let _ = Trusted::of("anything", Label::bottom());
}
