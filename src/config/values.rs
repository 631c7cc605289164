//! Values that are written the same on the command line and in the configuration.
//!
//! What must hold: what one of the two takes, the other takes, with the same meaning; what is refused is told with an
//! example of what is right.

use std::time::Duration;

use crate::base::size;
use crate::ops::forget::{Count, Window};

/// Reads a size as `2048`, `100k`, `1M` or `2g`.
pub fn parse_size(text: &str) -> Result<u64, String> {
    size::parse(text).ok_or_else(|| format!("{text:?} is no size such as 2048, 100k, 1M or 2g"))
}

/// Below this the buffers of a single thread would not fit.
const MEMORY_BYTES_MIN: u64 = 32 << 20;

/// Reads a limit of memory.
pub fn parse_memory(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        bytes @ MEMORY_BYTES_MIN.. => Ok(bytes),
        _ => Err("32M is the least that a thread can work with".to_owned()),
    }
}

/// Reads a rate: bytes with a unit, KiB without.
pub fn parse_rate(text: &str) -> Result<u64, String> {
    let bytes = match text.parse::<u64>() {
        Ok(number) => number.checked_mul(1024).ok_or_else(|| format!("{text} is too much"))?,
        Err(_) => parse_size(text)?,
    };
    if bytes == 0 { Err("nothing would ever be sent".to_owned()) } else { Ok(bytes) }
}

/// Reads a number of requests at the same time.
pub fn parse_connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=256) => Ok(number),
        _ => Err("a number from 1 to 256".to_owned()),
    }
}

/// Reads a duration as `500ms`, `90s`, `10m`, `1h30m` or `2d`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("{text:?} is no duration such as 30s, 10m, 1h30m or 2d");
    let mut milliseconds = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let (unit, milliseconds_each) =
            [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)]
                .into_iter()
                .find(|(unit, _)| after.starts_with(*unit))
                .ok_or_else(refused)?;
        let number: u64 = number.parse().map_err(|_| refused())?;
        let more = number.checked_mul(milliseconds_each).and_then(|more| milliseconds.checked_add(more));
        milliseconds = more.ok_or_else(refused)?;
        rest = after.strip_prefix(unit).unwrap_or_default();
    }
    if text.is_empty() { Err(refused()) } else { Ok(Duration::from_millis(milliseconds)) }
}

/// Reads a limit of time, of which something is left.
pub fn parse_time_limit(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("nothing could be done in that time".to_owned()),
        limit => Ok(limit),
    }
}

/// Reads of how many periods snapshots are kept.
pub fn parse_count(text: &str) -> Result<Count, String> {
    let is_number = text.starts_with(|first: char| first.is_ascii_digit());
    let count = match text {
        "unlimited" => Some(Count::Unlimited),
        _ => text.parse().ok().filter(|_| is_number).map(Count::AtMost),
    };
    count.ok_or_else(|| format!("{text:?} is neither a number nor \"unlimited\""))
}

/// Reads for how long before the newest snapshot others are kept.
pub fn parse_window(text: &str) -> Result<Window, String> {
    match Window::parse(text) {
        Some(window) if window.is_zero() => Err("nothing is newer than that".to_owned()),
        Some(window) => Ok(window),
        None => {
            Err(format!("{text:?} is no duration of years, months, days and hours, such as 30d or 1y5m7d2h"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        let seconds = |text| parse_duration(text).ok().map(|duration| duration.as_secs());
        assert_eq!(seconds("0s"), Some(0));
        assert_eq!(seconds("30s"), Some(30));
        assert_eq!(seconds("10m"), Some(600));
        assert_eq!(seconds("1h30m"), Some(5400));
        assert_eq!(seconds("2d"), Some(172_800));
        assert_eq!(parse_duration("1m1ms"), Ok(Duration::from_millis(60_001)));
        for bad in
            ["", "10", "m", "10x", "1.5h", "-1s", "10 m", "99999999999999999999s", "99999999999999999d"]
        {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_rates_and_numbers_are_read() {
        assert_eq!(parse_memory("32M"), Ok(32 << 20));
        assert!(parse_memory("31M").is_err());
        assert_eq!(parse_rate("500"), Ok(500 << 10));
        assert_eq!(parse_rate("2M"), Ok(2 << 20));
        assert!(parse_rate("0").is_err());
        assert_eq!(parse_connections("256"), Ok(256));
        assert!(parse_connections("0").is_err());
    }
}
