//! Reads `kpis.yaml`: typed definitions. What they compute over lives in the journals, elsewhere.

use std::collections::BTreeMap;

use expr::Expr;

use crate::{
    checker::without_offset,
    model::{Direction, Kpi, Measure, Subject},
    read::{Fields, Reader},
    steps::unwrap,
    yaml::{Doc, Kind, Node},
};

/// Most KPIs of one pack.
pub(crate) const KPIS_MAX: usize = 50;

const MEASURES: [(&str, Measure); 5] = [
    ("count", Measure::Count),
    ("sum", Measure::Sum),
    ("avg", Measure::Avg),
    ("ratio", Measure::Ratio),
    ("percentile", Measure::Percentile),
];
const SUBJECTS: [(&str, Subject); 7] = [
    ("runs", Subject::Runs),
    ("actions", Subject::Actions),
    ("approvals", Subject::Approvals),
    ("exceptions", Subject::Exceptions),
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
        filter,
        value,
        percentile: percentile.and_then(|p| u8::try_from(p).ok()),
        by,
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

/// An expression over one item: it must parse; its types are known where it is computed.
fn read_formula(fields: &mut Fields<'_, '_>, name: &'static str) -> Option<String> {
    let reader = fields.reader;
    let node = fields.get(name)?;
    let text = reader.text(node, name)?;
    let (offset, inner) = unwrap(text);
    if let Err(error) = Expr::parse(inner) {
        let place = node.place_in(offset + error.offset());
        reader.wrong(place, without_offset(&error.to_string()), "");
    }
    Some(inner.trim().to_owned())
}
