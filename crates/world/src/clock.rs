//! Calendar arithmetic on unix seconds, and the day on which the seed data stand.

use std::time::{SystemTime, UNIX_EPOCH};

/// World today, 2026-11-20, as days since 1970-01-01.
pub(crate) const TODAY_DAYS: i64 = 20_777;
/// Where the world clock starts: 2026-11-20T09:00:00Z.
pub(crate) const START_SECONDS: i64 = TODAY_DAYS * DAY_SECONDS + 9 * 3600;
/// Seconds in a day.
pub(crate) const DAY_SECONDS: i64 = 86_400;

/// The machine's clock, for freshness fields of answers; never for data.
#[expect(
    clippy::disallowed_methods,
    reason = "the demo world has a clock of its own, like any company"
)]
pub(crate) fn wall_seconds() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .unwrap_or(START_SECONDS)
}

/// `2026-11-20` for days since 1970-01-01 (proleptic Gregorian; after Howard Hinnant's
/// "chrono-compatible low-level date algorithms").
pub(crate) fn date(days: i64) -> String {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `2026-11-20T09:00:00Z` for unix seconds.
pub(crate) fn rfc3339(seconds: i64) -> String {
    let day = date(seconds.div_euclid(DAY_SECONDS));
    let rest = seconds.rem_euclid(DAY_SECONDS);
    format!("{day}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Whether `text` has the form of a date that exists (`YYYY-MM-DD`).
pub(crate) fn is_date(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let (Some(year), Some(month), Some(day)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let number = |part: &str, width: usize| {
        let plain = part.len() == width && part.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| part.parse::<u32>().ok()).flatten()
    };
    let (Some(year), Some(month), Some(day)) = (number(year, 4), number(month, 2), number(day, 2))
    else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return false,
    };
    (1..=last).contains(&day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(TODAY_DAYS), "2026-11-20");
        assert_eq!(date(19_782), "2024-02-29");
        assert_eq!(rfc3339(START_SECONDS), "2026-11-20T09:00:00Z");
    }

    #[test]
    fn only_real_dates_pass() {
        assert!(is_date("2028-02-29"));
        for wrong in ["2027-02-29", "2026-13-01", "2026-1-1", "20261120", "2026-11-31", "x"] {
            assert!(!is_date(wrong), "{wrong}");
        }
    }
}
