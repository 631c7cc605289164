//! The rules of `packstone forget`: the flags `--keep-*`.
//!
//! What must hold: a flag that restic has means what it means there.

use std::collections::BTreeMap;

use clap::Args;
use packstone::config::values::{parse_count, parse_window};
use packstone::ops::forget::{Count, Period, Policy, Window};

/// What is kept.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "What is kept")]
pub struct Keep {
    /// The last N snapshots; here and below, N may be "unlimited"
    #[arg(short = 'l', long, value_name = "N", value_parser = parse_count, conflicts_with = "wanted")]
    keep_last: Option<Count>,
    /// The last snapshot of each of the last N hours that have one
    #[arg(short = 'H', long, value_name = "N", value_parser = parse_count, conflicts_with = "wanted")]
    keep_hourly: Option<Count>,
    /// The same for days
    #[arg(short = 'd', long, value_name = "N", value_parser = parse_count, conflicts_with = "wanted")]
    keep_daily: Option<Count>,
    /// The same for weeks, which begin on Monday
    #[arg(short = 'w', long, value_name = "N", value_parser = parse_count, conflicts_with = "wanted")]
    keep_weekly: Option<Count>,
    /// The same for months
    #[arg(short = 'm', long, value_name = "N", value_parser = parse_count, conflicts_with = "wanted")]
    keep_monthly: Option<Count>,
    /// The same for quarters of years
    #[arg(long, value_name = "N", value_parser = parse_count, conflicts_with = "wanted")]
    keep_quarterly: Option<Count>,
    /// The same for years
    #[arg(short = 'y', long, value_name = "N", value_parser = parse_count, conflicts_with = "wanted")]
    keep_yearly: Option<Count>,
    /// All snapshots that are newer than so long before the newest one, as 30d or 1y5m7d2h
    #[arg(long, value_name = "DURATION", value_parser = parse_window, conflicts_with = "wanted")]
    keep_within: Option<Window>,
    /// Of these, the last one of each hour
    #[arg(long, value_name = "DURATION", value_parser = parse_window, conflicts_with = "wanted")]
    keep_within_hourly: Option<Window>,
    /// The same for days
    #[arg(long, value_name = "DURATION", value_parser = parse_window, conflicts_with = "wanted")]
    keep_within_daily: Option<Window>,
    /// The same for weeks
    #[arg(long, value_name = "DURATION", value_parser = parse_window, conflicts_with = "wanted")]
    keep_within_weekly: Option<Window>,
    /// The same for months
    #[arg(long, value_name = "DURATION", value_parser = parse_window, conflicts_with = "wanted")]
    keep_within_monthly: Option<Window>,
    /// The same for quarters of years
    #[arg(long, value_name = "DURATION", value_parser = parse_window, conflicts_with = "wanted")]
    keep_within_quarterly: Option<Window>,
    /// The same for years
    #[arg(long, value_name = "DURATION", value_parser = parse_window, conflicts_with = "wanted")]
    keep_within_yearly: Option<Window>,
    /// Snapshots that have all of these tags, '' those without tags; may be given more than once
    #[arg(long = "keep-tag", value_name = "TAG[,TAG...]", conflicts_with = "wanted")]
    keep_tags: Vec<String>,
    /// Snapshots whose ids begin so; may be given more than once
    #[arg(long = "keep-id", value_name = "ID", value_parser = parse_id, conflicts_with = "wanted")]
    keep_ids: Vec<String>,
}

impl Keep {
    /// The policy that the flags are.
    pub fn policy(&self) -> Policy {
        let counts = [
            (Period::Each, self.keep_last),
            (Period::Hour, self.keep_hourly),
            (Period::Day, self.keep_daily),
            (Period::Week, self.keep_weekly),
            (Period::Month, self.keep_monthly),
            (Period::Quarter, self.keep_quarterly),
            (Period::Year, self.keep_yearly),
        ];
        let windows = [
            (Period::Each, self.keep_within),
            (Period::Hour, self.keep_within_hourly),
            (Period::Day, self.keep_within_daily),
            (Period::Week, self.keep_within_weekly),
            (Period::Month, self.keep_within_monthly),
            (Period::Quarter, self.keep_within_quarterly),
            (Period::Year, self.keep_within_yearly),
        ];
        let words =
            |list: &String| list.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
        Policy {
            counts: given(counts),
            windows: given(windows),
            tags: self.keep_tags.iter().map(words).collect(),
            ids: self.keep_ids.clone(),
        }
    }
}

fn given<T>(rules: [(Period, Option<T>); 7]) -> BTreeMap<Period, T> {
    rules.into_iter().filter_map(|(period, rule)| Some((period, rule?))).collect()
}

fn parse_id(text: &str) -> Result<String, String> {
    let is_id = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match text {
        "" => Err("all ids begin so".to_owned()),
        text if is_id(text) => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is not the beginning of an id")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        wanted: Vec<String>,
        #[command(flatten)]
        keep: Keep,
    }

    #[test]
    fn every_flag_is_a_rule_of_its_own() {
        let policy =
            |line: &str| Line::try_parse_from(line.split(' ')).map(|line| line.keep.policy().to_string());
        let shown = |line: &str| policy(line).expect("flags");
        assert_eq!(
            shown("x -l 1 -H 2 -d 3 -w 4 -m 5 --keep-quarterly 6 -y unlimited"),
            "1 last, 2 hourly, 3 daily, 4 weekly, 5 monthly, 6 quarterly, unlimited yearly"
        );
        let within = "x --keep-within 1h --keep-within-hourly 2h --keep-within-daily 3d --keep-within-weekly 4d \
            --keep-within-monthly 5m --keep-within-quarterly 6m --keep-within-yearly 7y";
        let within = within.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(
            shown(&within),
            "all within 1h, hourly within 2h, daily within 3d, weekly within 4d, monthly within 5m, quarterly within 6m, yearly within 7y"
        );
        assert_eq!(shown("x --keep-tag a,,b --keep-tag c --keep-id 0f"), "tags [a, b], tags [c], id 0f");
        assert_eq!(shown("x"), "");
        assert!(Line::try_parse_from(["x", "latest"]).is_ok_and(|line| line.wanted == ["latest"]));
        for bad in [
            "x -l 1 latest",
            "x -d -1",
            "x -d +1",
            "x -d 4294967296",
            "x -d all",
            "x --keep-within 0d",
            "x --keep-within 7",
            "x --keep-id 0F",
        ] {
            assert!(policy(bad).is_err(), "{bad}");
        }
    }
}
