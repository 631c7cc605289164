//! Lengths of time by the calendar, as `1y5m7d2h`.
//!
//! What must hold: a month is as long as the calendar says, and a day as long as its clock; what reaches back beyond
//! the calendar reaches back for ever.

use std::fmt;

use jiff::{Span, Zoned};

/// A length of time before some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    years: u32,
    months: u32,
    days: u32,
    hours: u32,
}

impl Window {
    /// Reads numbers with the units y, m, d and h, each at most once, in any order.
    pub fn parse(text: &str) -> Option<Self> {
        let mut window = Self::default();
        let mut read = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = rest.split_at_checked(digits)?;
            let number: u32 = number.parse().ok()?;
            let unit = after.chars().next()?;
            match unit {
                'y' => window.years = number,
                'm' => window.months = number,
                'd' => window.days = number,
                'h' => window.hours = number,
                _ => return None,
            }
            if read.contains(&unit) {
                return None;
            }
            read.push(unit);
            rest = after.strip_prefix(unit)?;
        }
        (!read.is_empty()).then_some(window)
    }

    /// Whether it has no length.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// The moment at which it begins if it ends at this one; none if that is beyond the calendar.
    pub(super) fn begin(&self, end: &Zoned) -> Option<Zoned> {
        let span = Span::new()
            .try_years(self.years)
            .and_then(|span| span.try_months(self.months))
            .and_then(|span| span.try_days(self.days))
            .and_then(|span| span.try_hours(self.hours));
        span.and_then(|span| end.checked_sub(span)).ok()
    }
}

impl fmt::Display for Window {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(self.years, 'y'), (self.months, 'm'), (self.days, 'd'), (self.hours, 'h')];
        for (number, unit) in units.into_iter().filter(|(number, _)| *number > 0) {
            write!(formatter, "{number}{unit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn windows_are_read_and_shown() {
        for (text, shown) in [
            ("7d", "7d"),
            ("1y5m7d2h", "1y5m7d2h"),
            ("2h1y", "1y2h"),
            ("0y36h", "36h"),
            ("4294967295h", "4294967295h"),
        ] {
            assert_eq!(
                Window::parse(text).map(|window| window.to_string()).as_deref(),
                Some(shown),
                "{text}"
            );
        }
        assert!(Window::parse("0d").is_some_and(|window| window.is_zero()));
        for bad in
            ["", "7", "d", "7w", "7 d", "-7d", "+7d", "1d2d", "1.5d", "4294967296h", "7D", "1y5", "7d ", "7ä"]
        {
            assert_eq!(Window::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_window_follows_the_calendar_and_the_clock() {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a time zone");
        let begin = |end: &str, window: &str| {
            let end: jiff::civil::DateTime = end.parse().expect("a time");
            let end = end.to_zoned(berlin.clone()).expect("a time there");
            let begin = Window::parse(window).expect("a window").begin(&end);
            begin.map(|begin| begin.strftime("%Y-%m-%d %H:%M%:z").to_string())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(begin("2026-03-31 12:00", "1m"), some("2026-02-28 12:00+01:00"));
        assert_eq!(begin("2024-02-29 12:00", "1y"), some("2023-02-28 12:00+01:00"));
        // A day has 23 hours, then 25: noon to noon all the same.
        assert_eq!(begin("2026-03-29 12:00", "1d"), some("2026-03-28 12:00+01:00"));
        assert_eq!(begin("2026-03-29 12:00", "24h"), some("2026-03-28 11:00+01:00"));
        assert_eq!(begin("2026-10-25 12:00", "1d"), some("2026-10-24 12:00+02:00"));
        assert_eq!(begin("2026-10-25 12:00", "24h"), some("2026-10-24 13:00+02:00"));
        // 02:30 is not on that day's clock.
        assert_eq!(begin("2026-03-30 02:30", "1d"), some("2026-03-29 03:30+02:00"));
        assert_eq!(begin("2026-03-29 12:00", "4294967295y"), None);
        assert_eq!(begin("2026-03-29 12:00", "13000y"), None);
    }
}
