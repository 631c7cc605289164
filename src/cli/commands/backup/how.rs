//! The options that say how a backup works, not what it keeps.
//!
//! What must hold: whatever they are, what comes back is the same.

use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use packstone::base::Timestamp;
use packstone::ops::backup::BackupOptions;
use packstone::repository::Compression;

use crate::args::parse_duration;
use crate::dates;

/// More threads than any machine has use for.
const WORKERS_MAX: u64 = 1024;

/// How a backup works.
#[derive(Args, Debug)]
#[command(next_help_heading = "How it works")]
pub struct How {
    /// Store new data as it is (off), balanced (auto), as small as possible (max), or at a level of zstd from -7 to 19
    #[arg(long, value_name = "off|auto|max|LEVEL", value_parser = parse_compression, default_value = "auto")]
    #[arg(allow_negative_numbers = true)]
    compression: Compression,
    /// Work on so many files at the same time; usually as many as there are processors
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=WORKERS_MAX))]
    read_concurrency: Option<usize>,
    /// Do not open and compare what was just encrypted before it is written
    #[arg(long)]
    no_verify_pack: bool,
    /// Do not count beforehand what there is to do; progress is shown without an end
    #[arg(long)]
    pub no_scan: bool,
    /// After a crash, lose no more than the work of so long, as 30s, 10m or 1h
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "10m")]
    checkpoint_interval: Duration,
}

impl How {
    /// Puts them where the engine looks.
    pub fn apply(&self, options: &mut BackupOptions) {
        options.session.compression = self.compression;
        options.session.verify_packs = !self.no_verify_pack;
        options.session.checkpoint_interval = self.checkpoint_interval;
        options.workers = self.read_concurrency.unwrap_or(0);
    }
}

fn parse_compression(text: &str) -> Result<Compression, String> {
    let compression = match text {
        "off" => Some(Compression::OFF),
        "auto" => Some(Compression::AUTO),
        "max" => Some(Compression::MAX),
        level => level.parse().ok().and_then(Compression::level),
    };
    compression
        .ok_or_else(|| format!("{text:?} is neither off, auto, max nor a level from -7 to -1 or 1 to 19"))
}

/// Reads a time in the local time zone, or `now`.
pub fn parse_time(text: &str) -> Result<Timestamp, String> {
    if text == "now" {
        return Ok(Timestamp::now());
    }
    parse_local_time(text, TimeZone::system()).ok_or_else(|| {
        format!("{text:?} is neither \"now\" nor a date and a time such as \"2026-01-31 23:59:59\"")
    })
}

fn parse_local_time(text: &str, zone: TimeZone) -> Option<Timestamp> {
    dates::at(DateTime::strptime("%Y-%m-%d %H:%M:%S", text).ok()?, zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_their_zone() {
        let seconds = |text, zone| parse_local_time(text, zone).map(|time| time.seconds);
        assert_eq!(seconds("1970-01-01 00:00:00", TimeZone::UTC), Some(0));
        assert_eq!(seconds("2026-01-31 23:59:59", TimeZone::UTC), Some(1_769_903_999));
        let east = TimeZone::fixed(jiff::tz::offset(5));
        assert_eq!(seconds("1970-01-01 05:00:00", east), Some(0));
        for bad in
            ["", "2026-01-31", "2026-02-30 00:00:00", "2026-01-31 24:00:00", "2026-01-31 23:59:59 x", "today"]
        {
            assert_eq!(seconds(bad, TimeZone::UTC), None, "{bad}");
        }
        assert!(parse_time("now").is_ok() && parse_time("Now").is_err());
    }

    #[test]
    fn compression_is_a_word_or_a_level() {
        assert_eq!(parse_compression("off"), Ok(Compression::OFF));
        assert_eq!(parse_compression("auto"), Ok(Compression::AUTO));
        assert_eq!(parse_compression("max"), Ok(Compression::MAX));
        assert_eq!(parse_compression("19"), Ok(Compression::MAX));
        assert_eq!(parse_compression("-7").ok(), Compression::level(-7));
        for bad in ["", "0", "20", "-8", "1.5", "Off", "zstd"] {
            assert!(parse_compression(bad).is_err(), "{bad}");
        }
    }
}
