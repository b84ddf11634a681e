//! What fields of usual names hold, so that a made-up record reads like a record.

use super::{dice::Dice, shape::Taste};

const COMPANIES: [&str; 6] = [
    "Northwind Robotics",
    "Alder & Finch",
    "Kestrel Foods",
    "Lumen Textiles",
    "Orchard Marine",
    "Tansy Logistics",
];
const PEOPLE: [&str; 6] =
    ["Ana Keller", "Joris Vane", "Mira Osei", "Tomas Lind", "Yuki Arai", "Lena Brandt"];
const CURRENCIES: [&str; 3] = ["EUR", "USD", "GBP"];
/// Numbers that reports are full of; the first are the plainest.
const NUMBERS: [i64; 14] = [30, 12, 5, 1, 2, 0, 7, 60, 100, 450, 1_200, 25_000, -15, -40];
/// Ids are large and apart.
const ID_FROM: i64 = 1_000_000;
const ID_SPAN: u64 = 8_000_000;

/// A text for a field, by its name.
pub(super) fn of_field(name: &str, dice: Dice) -> String {
    let plain = super::hints::plain_name(name);
    let has = |part: &str| plain.contains(part);
    let number = 1_000 + dice.at("number").below(9_000);
    let person = dice.at("person").pick(&PEOPLE).copied().unwrap_or_default();
    if has("email") || plain == "to" || plain == "from" {
        return email(person, number);
    }
    if has("currency") {
        return dice.pick(&CURRENCIES).copied().unwrap_or_default().to_owned();
    }
    if has("date")
        || plain.ends_with("day")
        || plain == "asof"
        || plain.ends_with("at") && has("ed")
    {
        return of_format("date", dice);
    }
    if has("url") || has("link") {
        return of_format("uri", dice);
    }
    if has("owner") || has("contact") || has("person") || has("author") {
        return format!("{person} {number}");
    }
    if plain.ends_with("name") {
        let company = dice.at("company").pick(&COMPANIES).copied().unwrap_or_default();
        return format!("{company} {number}");
    }
    format!("{} {number}", plain_text(name))
}

/// A text for a field nothing is known about.
pub(super) fn plain_text(name: &str) -> String {
    let text: String = name.chars().filter(|c| *c != '.').collect();
    if text.is_empty() { "text".to_owned() } else { text.replace('_', " ") }
}

fn email(person: &str, number: u64) -> String {
    format!("{}.{number}@customer.example", person.to_lowercase().replace(' ', "."))
}

/// A text of a format that JSON Schema knows.
pub(super) fn of_format(format: &str, dice: Dice) -> String {
    let n = dice.at("format").below(9_000) + 1_000;
    let (month, day) = (dice.at("month").below(12) + 1, dice.at("day").below(28) + 1);
    match format {
        "date" => format!("2027-{month:02}-{day:02}"),
        "date-time" => format!("2027-{month:02}-{day:02}T09:30:00Z"),
        "time" => format!("{:02}:30:00Z", n % 24),
        "duration" => format!("P{day}D"),
        "email" | "idn-email" => {
            email(dice.at("person").pick(&PEOPLE).copied().unwrap_or_default(), n)
        }
        "hostname" | "idn-hostname" => format!("host-{n}.example"),
        "ipv4" => format!("192.0.2.{}", n % 254 + 1),
        "ipv6" => format!("2001:db8::{n:x}"),
        "uri" | "iri" => format!("https://example.com/{n}"),
        "uri-reference" | "iri-reference" => format!("/{n}"),
        "uuid" => format!("0198c0de-{n:04}-7000-8000-{:012x}", dice.at("uuid").below(1 << 48)),
        "json-pointer" => format!("/field/{n}"),
        "regex" => format!("^{n}$"),
        _ => format!("{format} {n}"),
    }
}

/// A number for a field, by its name.
pub(super) fn number_of(name: &str, dice: Dice, taste: Taste) -> i64 {
    let plain = super::hints::plain_name(name);
    if plain == "version" {
        return 1 + i64::try_from(dice.below(40)).unwrap_or_default();
    }
    if plain.ends_with("id") || plain.ends_with("number") {
        return ID_FROM + i64::try_from(dice.at("id").below(ID_SPAN)).unwrap_or_default();
    }
    let usual = match taste {
        Taste::Plain => NUMBERS.first(),
        Taste::Varied => dice.at("usual").pick(&NUMBERS),
    };
    usual.copied().unwrap_or_default()
}
