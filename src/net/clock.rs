//! The machine's clocks: the only place that asks them.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// For measuring and timeouts.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub fn instant() -> Instant {
    Instant::now()
}

/// Wall time in milliseconds since the epoch; 0 on a clock set before it.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A date as RFC 5322 writes it, in the machine's zone.
pub fn date(at_ms: u64) -> String {
    format_date(at_ms, "%a, %d %b %Y %H:%M:%S %z")
}

/// A date as `mailq` writes it, in the machine's zone.
pub fn mailq_date(at_ms: u64) -> String {
    format_date(at_ms, "%a %b %e %H:%M:%S")
}

fn format_date(at_ms: u64, form: &str) -> String {
    let timestamp = i64::try_from(at_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    timestamp.to_zoned(jiff::tz::TimeZone::system()).strftime(form).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_a_numeric_zone() {
        let date = date(1_795_514_096_000);
        assert!(date.contains(" 24 Nov 2026 ") || date.contains(" 25 Nov 2026 "), "{date}");
        let (_, zone) = date.rsplit_once(' ').unwrap();
        assert!(zone.len() == 5 && zone[1..].parse::<u32>().is_ok(), "{zone}");
    }
}
