use embed::Trusted;

fn main() {
    let text = String::from("anything");
    let _: Trusted<String> = Trusted(text.clone());
    let _: Trusted<String> = Trusted::from(text.clone());
    let _: Trusted<String> = text.clone().into();
    let _: Trusted<String> = Trusted::new(text.clone());
    let _: Trusted<String> = Trusted::default();
    let _: Trusted<String> = serde_json::from_str("\"anything\"").unwrap();
}
