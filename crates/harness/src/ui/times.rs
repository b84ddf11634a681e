//! Times and spans as people read them. Everything is UTC and says so.

use jiff::{Timestamp, tz::TimeZone};

/// Milliseconds since 1970 of an RFC 3339 time.
pub(crate) fn millis(at: &str) -> Option<i64> {
    at.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

/// A time of this day without its date, any other with it.
pub(crate) fn clock(at: &str, now: i64) -> String {
    let (Ok(time), Ok(today)) = (at.parse::<Timestamp>(), Timestamp::from_millisecond(now)) else {
        return at.to_owned();
    };
    let (time, today) = (time.to_zoned(TimeZone::UTC), today.to_zoned(TimeZone::UTC));
    let format = match (time.date() == today.date(), time.year() == today.year()) {
        (true, _) => "%H:%M:%S UTC",
        (false, true) => "%-d %b %H:%M UTC",
        (false, false) => "%-d %b %Y %H:%M UTC",
    };
    time.strftime(format).to_string()
}

/// A span in its largest unit, rounded; below ten seconds to a tenth.
pub(crate) fn span(ms: i64) -> String {
    let ms = ms.max(0);
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..10_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        10_000..120_000 => format!("{} s", (ms + 500) / 1_000),
        120_000..7_200_000 => format!("{} min", (ms + 30_000) / 60_000),
        7_200_000..172_800_000 => format!("{} h", (ms + 1_800_000) / 3_600_000),
        _ => format!("{} d", (ms + 43_200_000) / 86_400_000),
    }
}

/// How long until then.
pub(crate) fn until(at: &str, now: i64) -> String {
    match millis(at) {
        Some(at) if at > now => format!("in {}", span(at - now)),
        Some(_) => "expired".to_owned(),
        None => at.to_owned(),
    }
}

/// How long since then.
pub(crate) fn since(at: &str, now: i64) -> String {
    match millis(at) {
        Some(at) => format!("{} ago", span((now - at).max(1_000))),
        None => at.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_their_largest_unit() {
        let told = [0, 230, 1_450, 59_600, 119_000, 1_080_000, 7_300_000, 200_000_000].map(span);
        assert_eq!(told, ["0 ms", "230 ms", "1.4 s", "60 s", "119 s", "18 min", "2 h", "2 d"]);
    }

    #[test]
    fn times_say_their_date_when_it_is_not_today() {
        let now = millis("2026-11-20T12:00:00Z").unwrap();
        assert_eq!(clock("2026-11-20T09:00:05Z", now), "09:00:05 UTC");
        assert_eq!(clock("2026-11-19T23:59:59.5Z", now), "19 Nov 23:59 UTC");
        assert_eq!(clock("2025-01-02T00:00:00Z", now), "2 Jan 2025 00:00 UTC");
        assert_eq!(clock("soon", now), "soon");
        assert_eq!(until("2026-11-20T12:18:00Z", now), "in 18 min");
        assert_eq!(until("2026-11-20T11:18:00Z", now), "expired");
        assert_eq!(since("2026-11-20T10:00:00Z", now), "2 h ago");
    }
}
