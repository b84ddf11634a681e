//! Reads `kpis.yaml`: typed definitions. What they compute over lives in the journals, elsewhere.

use std::collections::BTreeMap;

use expr::{Error, Expr, Type, Types};

use crate::{
    model::{Direction, Kpi, Measure, Subject},
    read::{Fields, Reader},
    steps::unwrap,
    yaml::{Doc, Kind, Node},
};

/// Most KPIs of one pack.
pub(crate) const KPIS_MAX: usize = 50;
/// The measure that every pack has without declaring it: the share of failures no class was found for.
pub const UNCLASSIFIED: &str = "unclassified_failures";

const MEASURES: [(&str, Measure); 5] = [
    ("count", Measure::Count),
    ("sum", Measure::Sum),
    ("avg", Measure::Avg),
    ("ratio", Measure::Ratio),
    ("percentile", Measure::Percentile),
];
const SUBJECTS: [(&str, Subject); 8] = [
    ("runs", Subject::Runs),
    ("actions", Subject::Actions),
    ("approvals", Subject::Approvals),
    ("exceptions", Subject::Exceptions),
    ("failures", Subject::Failures),
    ("receipts", Subject::Receipts),
    ("money", Subject::Money),
    ("tokens", Subject::Tokens),
];
const DIRECTIONS: [(&str, Direction); 2] = [("up", Direction::Up), ("down", Direction::Down)];

pub(crate) fn read_kpis(doc: &Doc, reader: Reader<'_>) -> Vec<Kpi> {
    let Some(mut fields) = reader.fields(&doc.root, "kpis.yaml") else { return Vec::new() };
    fields.get("schema");
    let node = fields.need("kpis");
    let items = node.map(|node| reader.list(node, "kpis")).unwrap_or_default();
    if items.len() > KPIS_MAX {
        reader.wrong(doc.root.place, format!("more than {KPIS_MAX} KPIs"), "keep the telling ones");
    }
    let kpis: Vec<Kpi> = items.iter().filter_map(|item| read_kpi(item, reader)).collect();
    let mut seen = BTreeMap::new();
    for (kpi, item) in kpis.iter().zip(items) {
        if seen.insert(kpi.name.as_str(), ()).is_some() {
            reader.wrong(item.place, format!("two KPIs are called `{}`", kpi.name), "rename one");
        }
        if kpi.name == UNCLASSIFIED {
            let message = format!("`{UNCLASSIFIED}` is measured for every pack, the same way");
            reader.wrong(item.place, message, "leave it out, or measure yours under another name");
        }
    }
    fields.done();
    kpis
}

fn read_kpi(node: &Node, reader: Reader<'_>) -> Option<Kpi> {
    let mut fields = reader.fields(node, "a KPI")?;
    let name = fields.need_name("name");
    let title = fields.text("title").unwrap_or_else(|| name.replace(['_', '-'], " "));
    let unit = fields.need_text("unit");
    let measure = fields.need("measure").and_then(|node| reader.choice(node, "measure", &MEASURES));
    let of = fields.need("of").and_then(|node| reader.choice(node, "subject", &SUBJECTS));
    let filter = read_formula(&mut fields, "where");
    let value = read_formula(&mut fields, "value");
    let by = read_formula(&mut fields, "by");
    if let Some(of) = of {
        let item = item_types(of);
        let filter = filter.as_ref();
        check_filter(filter, &item, reader);
        check_value(value.as_ref(), filter, &item, reader);
        let _grouped = by.as_ref().and_then(|by| by.type_in(&item, reader));
    }
    let text = |formula: Option<Formula<'_>>| formula.map(|formula| formula.text.to_owned());
    let percentile =
        fields.get("percentile").and_then(|node| reader.integer(node, "percentile", 1..=99));
    let window = fields.need("window").and_then(|node| {
        let span = reader.duration_ms(node, "window");
        if span == Some(0) {
            let message = "a window of no time holds nothing";
            reader.wrong(node.place, message, "write how far back it looks, such as `30d`");
        }
        span
    });
    let target = fields.get("target").inspect(|node| {
        if !matches!(node.kind, Kind::Number(_)) {
            reader.wrong(node.place, "a target is a number", "write it in the KPI's unit");
        }
    });
    let direction =
        fields.need("direction").and_then(|node| reader.choice(node, "direction", &DIRECTIONS));
    let kpi = Kpi {
        name,
        title,
        unit,
        measure: measure?,
        of: of?,
        filter: text(filter),
        value: text(value),
        percentile: percentile.and_then(|p| u8::try_from(p).ok()),
        by: text(by),
        window_ms: window?,
        target: target.map(Node::to_value),
        direction: direction?,
    };
    check_kpi(&kpi, &fields);
    fields.done();
    Some(kpi)
}

fn check_kpi(kpi: &Kpi, fields: &Fields<'_, '_>) {
    let wrong = |message: &str, fix: &str| fields.reader.wrong(fields.place, message, fix);
    match kpi.measure {
        Measure::Sum | Measure::Avg | Measure::Percentile if kpi.value.is_none() => {
            wrong("this measure needs `value`", "say which number of each item counts");
        }
        Measure::Count | Measure::Ratio if kpi.value.is_some() => {
            wrong(
                "this measure has no `value`",
                "leave `value` out, or use sum, avg or percentile",
            );
        }
        Measure::Ratio if kpi.filter.is_none() => {
            wrong("a ratio needs `where`", "say which items are the counted share");
        }
        Measure::Count | Measure::Sum | Measure::Avg | Measure::Ratio | Measure::Percentile => {}
    }
    if (kpi.measure == Measure::Percentile) != kpi.percentile.is_some() {
        wrong("`percentile` belongs to `measure: percentile`", "write both or neither");
    }
}

/// An expression over one item, and where it stands.
struct Formula<'n> {
    node: &'n Node,
    /// Where in the text of the node the expression begins.
    offset: usize,
    text: &'n str,
    parsed: Expr,
}

impl Formula<'_> {
    fn wrong(&self, error: &Error, reader: Reader<'_>) {
        let (message, fix) = error.told();
        reader.wrong(self.node.place_in(self.offset + error.offset()), message, fix);
    }

    /// What it gives for an item of these fields; what is wrong with it is reported.
    fn type_in(&self, item: &Types, reader: Reader<'_>) -> Option<Type> {
        self.parsed.check(item).map_err(|error| self.wrong(&error, reader)).ok()
    }
}

fn read_formula<'n>(fields: &mut Fields<'n, '_>, name: &'static str) -> Option<Formula<'n>> {
    let reader = fields.reader;
    let node = fields.get(name)?;
    let written = reader.text(node, name)?;
    let (offset, inner) = unwrap(written);
    let lead = inner.len() - inner.trim_start().len();
    let (offset, text) = (offset + lead, inner.trim());
    match Expr::parse(text) {
        Ok(parsed) => Some(Formula { node, offset, text, parsed }),
        Err(error) => {
            let (message, fix) = error.told();
            reader.wrong(node.place_in(offset + error.offset()), message, fix);
            None
        }
    }
}

fn check_filter(filter: Option<&Formula<'_>>, item: &Types, reader: Reader<'_>) {
    let Some(filter) = filter else { return };
    let Some(given) = filter.type_in(item, reader) else { return };
    if !given.fits(&Type::Bool) {
        let message = format!("`where` must be true or false, not {given}");
        let fix = "write a condition, such as `status == 'succeeded'`";
        reader.wrong(filter.node.place_in(filter.offset), message, fix);
    }
}

/// `value` is asked of the items that `where` let through, so what `where` guards is known to be there.
fn check_value(
    value: Option<&Formula<'_>>,
    filter: Option<&Formula<'_>>,
    item: &Types,
    reader: Reader<'_>,
) {
    let Some(value) = value else { return };
    let given = match (value.parsed.check(item), filter) {
        (Err(Error::MaybeNull { .. }), Some(filter)) => {
            let guarded = format!("({}) ? ({}) : null", filter.text, value.text);
            let guarded = Expr::parse(&guarded).and_then(|guarded| guarded.check(item));
            guarded.ok().or_else(|| value.type_in(item, reader))
        }
        _ => value.type_in(item, reader),
    };
    // An item without a number is left out.
    if given.is_some_and(|given| !given.fits(&or_null(Type::Number))) {
        let fix = "name a field that is a number, or convert it with `number()`";
        reader.wrong(value.node.place_in(value.offset), "`value` must be a number", fix);
    }
}

fn or_null(of: Type) -> Type {
    of.or(Type::Null)
}

fn item_types(of: Subject) -> Types {
    of.fields().into_iter().fold(Types::new(), |types, (name, of)| types.with(name, of))
}

impl Subject {
    /// The fields of one item of it: the variables of `where`, `value` and `by`. This is the table of
    /// `docs/kpis.md`; whoever computes items must give them exactly these fields.
    #[must_use]
    pub fn fields(self) -> Vec<(&'static str, Type)> {
        let mut fields =
            vec![("intent", Type::String), ("agent", Type::String), ("status", Type::String)];
        fields.extend(match self {
            Self::Runs => vec![
                ("end", or_null(Type::String)),
                ("over", Type::Bool),
                ("caveats", Type::list(Type::String)),
                ("opened_at", Type::Int),
                ("duration_ms", or_null(Type::Int)),
            ],
            Self::Actions | Self::Receipts => vec![
                ("operation", Type::String),
                ("step", Type::String),
                ("role", Type::String),
                ("verdict", Type::String),
                ("outcome", Type::String),
                ("took_ms", or_null(Type::Int)),
            ],
            Self::Approvals => vec![
                ("operation", or_null(Type::String)),
                ("verdict", Type::String),
                ("asked_at", Type::Int),
                ("answered_at", Type::Int),
                ("self_approved", Type::Bool),
            ],
            Self::Exceptions => {
                vec![("need", Type::String), ("class", Type::String), ("step", Type::String)]
            }
            Self::Failures => vec![
                ("class", or_null(Type::String)),
                ("operation", or_null(Type::String)),
                ("step", Type::String),
            ],
            Self::Money => vec![
                ("operation", Type::String),
                ("amount", Type::object([("minor", Type::Int), ("currency", Type::String)])),
            ],
            Self::Tokens => vec![
                ("step", Type::String),
                ("stopped", Type::String),
                ("turns", Type::Int),
                ("read", Type::Int),
                ("cached", Type::Int),
                ("written", Type::Int),
            ],
        });
        fields
    }
}
