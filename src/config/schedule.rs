//! When a job is meant to run, as `daily 03:00`.
//!
//! What must hold: what is read is shown again as it was written; every form has a period, so that it can be told when
//! a job is overdue.

use std::fmt;

/// When a job is meant to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// As it was written.
    text: String,
    /// What that means.
    pub rhythm: Rhythm,
}

/// How often, and at which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rhythm {
    /// Again after so many seconds.
    Every {
        /// At least a minute.
        seconds: u64,
    },
    /// Each day.
    Daily(TimeOfDay),
    /// On one day of each week.
    Weekly {
        /// From 0, Monday, to 6, Sunday.
        weekday: u8,
        /// At this time.
        time: TimeOfDay,
    },
    /// On one day of each month.
    Monthly {
        /// From 1 to 28, which every month has.
        day: u8,
        /// At this time.
        time: TimeOfDay,
    },
}

/// A time by the local clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOfDay {
    /// From 0 to 23.
    pub hour: u8,
    /// From 0 to 59.
    pub minute: u8,
}

const DAY_SECONDS: u64 = 86_400;
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const FORMS: &str = "\"hourly\", \"every 6h\", \"daily 03:00\", \"weekly sun 03:00\" or \"monthly 1 03:00\"";

impl Schedule {
    /// Reads one, or says why it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let rhythm = match words.as_slice() {
            ["hourly"] => Rhythm::Every { seconds: 3600 },
            ["every", period] => every(period)?,
            ["daily", time] => Rhythm::Daily(time_of_day(time)?),
            ["weekly", day, time] => Rhythm::Weekly { weekday: weekday(day)?, time: time_of_day(time)? },
            ["monthly", day, time] => {
                let day = day
                    .parse()
                    .ok()
                    .filter(|day| (1..=28).contains(day))
                    .ok_or_else(|| format!("{day:?} is no day that every month has: 1 to 28"))?;
                Rhythm::Monthly { day, time: time_of_day(time)? }
            }
            _ => return Err(format!("{text:?} is no schedule such as {FORMS}")),
        };
        Ok(Self { text: words.join(" "), rhythm })
    }

    /// The longest time from one run to the next, but for the hour by which clocks are changed.
    pub const fn period_seconds(&self) -> u64 {
        match self.rhythm {
            Rhythm::Every { seconds } => seconds,
            Rhythm::Daily(_) => DAY_SECONDS,
            Rhythm::Weekly { .. } => 7 * DAY_SECONDS,
            Rhythm::Monthly { .. } => 31 * DAY_SECONDS,
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

fn every(period: &str) -> Result<Rhythm, String> {
    let seconds = super::values::parse_duration(period)?.as_secs();
    match seconds {
        60.. => Ok(Rhythm::Every { seconds }),
        _ => Err(format!("{period:?} is too short: a minute is the least")),
    }
}

fn weekday(text: &str) -> Result<u8, String> {
    let found = (0_u8..).zip(WEEKDAYS).find(|(_, name)| *name == text.to_ascii_lowercase());
    found
        .map(|(number, _)| number)
        .ok_or_else(|| format!("{text:?} is no day of the week: {}", WEEKDAYS.join(", ")))
}

fn time_of_day(text: &str) -> Result<TimeOfDay, String> {
    let refused = || format!("{text:?} is no time such as 03:00");
    let (hour, minute) = text.split_once(':').ok_or_else(refused)?;
    let number = |digits: &str, end: u8| {
        let is_number = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<u8>().ok().filter(|number| is_number && *number < end).ok_or_else(refused)
    };
    Ok(TimeOfDay { hour: number(hour, 24)?, minute: number(minute, 60)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_read_and_shown() {
        let at = |hour, minute| TimeOfDay { hour, minute };
        for (text, rhythm, period_seconds) in [
            ("hourly", Rhythm::Every { seconds: 3600 }, 3600),
            ("every 6h", Rhythm::Every { seconds: 21_600 }, 21_600),
            ("daily 03:00", Rhythm::Daily(at(3, 0)), 86_400),
            ("weekly sun 23:59", Rhythm::Weekly { weekday: 6, time: at(23, 59) }, 604_800),
            ("monthly 28 00:00", Rhythm::Monthly { day: 28, time: at(0, 0) }, 2_678_400),
        ] {
            let schedule = Schedule::parse(text).expect(text);
            assert_eq!((schedule.rhythm, schedule.period_seconds()), (rhythm, period_seconds), "{text}");
            assert_eq!(schedule.to_string(), text);
        }
        for bad in [
            "",
            "daily",
            "daily 3:00",
            "daily 24:00",
            "daily 03:60",
            "daily 0300",
            "weekly 03:00",
            "weekly x 03:00",
            "monthly 0 03:00",
            "monthly 29 03:00",
            "every",
            "every 6",
            "every 59s",
            "yearly",
            "hourly 03:00",
        ] {
            assert!(Schedule::parse(bad).is_err(), "{bad}");
        }
    }
}
