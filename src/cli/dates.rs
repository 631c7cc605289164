//! Dates and ages that users type.
//!
//! What must hold: what has no zone is local time; an age counts back from now.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use packstone::base::Timestamp;

use crate::args::parse_duration;

/// Reads a date, with or without a time, or an age.
pub fn parse_moment(text: &str) -> Result<Timestamp, String> {
    parse_date(text, &TimeZone::system())
        .or_else(|| {
            let age = parse_duration(text).ok()?;
            let now = Timestamp::now();
            let seconds = now.seconds.checked_sub_unsigned(age.as_secs())?;
            Some(Timestamp { seconds, ..now })
        })
        .ok_or_else(|| {
            format!(
                "{text:?} is neither a date such as 2026-01-31, \"2026-01-31 23:59\" or \"2026-01-31 23:59:59\", \
                 nor an age such as 7d or 12h"
            )
        })
}

fn parse_date(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let formats = ["%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"];
    let local = formats.into_iter().find_map(|format| {
        let date = jiff::fmt::strtime::parse(format, text).ok()?;
        let midnight = || Some(date.to_date().ok()?.to_datetime(jiff::civil::Time::midnight()));
        date.to_datetime().ok().or_else(midnight)
    });
    match local {
        Some(time) => at(time, zone.clone()),
        None => {
            let instant: jiff::Timestamp = text.parse().ok()?;
            let nanoseconds = u32::try_from(instant.subsec_nanosecond()).ok()?;
            Some(Timestamp { seconds: instant.as_second(), nanoseconds })
        }
    }
}

/// The moment of a local time. Of a time that the clock showed twice, the first is meant; of one that it skipped, as much
/// after the gap.
pub fn at(time: DateTime, zone: TimeZone) -> Option<Timestamp> {
    let seconds = time.to_zoned(zone).ok()?.timestamp().as_second();
    Some(Timestamp { seconds, nanoseconds: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_ages_are_read() {
        let seconds = |text| parse_date(text, &TimeZone::UTC).map(|time| time.seconds);
        assert_eq!(seconds("1970-01-02"), Some(86_400));
        assert_eq!(seconds("1970-01-02 00:01"), Some(86_460));
        assert_eq!(seconds("1970-01-02 00:00:01"), Some(86_401));
        assert_eq!(seconds("1970-01-02T00:00:01Z"), Some(86_401));
        let east = TimeZone::fixed(jiff::tz::offset(1));
        assert_eq!(parse_date("1970-01-02", &east).map(|time| time.seconds), Some(82_800));
        for bad in ["", "7d", "1970-13-01", "1970-01-02 1", "yesterday", "1970-01-02 00:00:00 x"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
        let now = Timestamp::now().seconds;
        assert!(parse_moment("7d").is_ok_and(|time| (now - time.seconds - 604_800).abs() < 60));
        assert!(parse_moment("soon").is_err());
    }
}
