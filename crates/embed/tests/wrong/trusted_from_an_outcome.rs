use embed::{Label, Outcome};

fn launder(mut outcome: Outcome) {
    outcome.answer = Some("anything".to_owned());
    outcome.label = Label::bottom();
    let _ = outcome.trusted();
}

fn main() {}
