//! Periods of the calendar, and which of them a moment is in.
//!
//! What must hold: a moment is in one period of each kind, by the calendar of its time zone; an hour that the clock
//! shows twice is two hours.

use jiff::Zoned;

/// Of what the newest snapshot is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// Of no period: each snapshot by itself.
    Each,
    /// Hours.
    Hour,
    /// Days, from midnight to midnight.
    Day,
    /// Weeks of ISO 8601, from Monday to Sunday.
    Week,
    /// Months.
    Month,
    /// Quarters of a year.
    Quarter,
    /// Years.
    Year,
}

impl Period {
    /// All, shortest first.
    pub const ALL: [Self; 7] =
        [Self::Each, Self::Hour, Self::Day, Self::Week, Self::Month, Self::Quarter, Self::Year];

    /// What a snapshot that is kept for it is.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Each => "last",
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Quarter => "quarterly",
            Self::Year => "yearly",
        }
    }

    /// What all moments of one period have in common, and no other moment; nothing where each is by itself.
    pub(super) fn slot(self, moment: &Zoned) -> Option<Slot> {
        let year = moment.year();
        let slot = |year, part, hour, offset_seconds| Some(Slot { year, part, hour, offset_seconds });
        match self {
            Self::Each => None,
            // The offset tells the second showing of an hour from the first.
            Self::Hour => slot(year, moment.day_of_year(), moment.hour(), moment.offset().seconds()),
            Self::Day => slot(year, moment.day_of_year(), 0, 0),
            Self::Week => {
                let week = moment.date().iso_week_date();
                slot(week.year(), i16::from(week.week()), 0, 0)
            }
            Self::Month => slot(year, i16::from(moment.month()), 0, 0),
            Self::Quarter => slot(year, (i16::from(moment.month()) - 1) / 3, 0, 0),
            Self::Year => slot(year, 0, 0, 0),
        }
    }
}

/// One period among those of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot {
    year: i16,
    part: i16,
    hour: i8,
    offset_seconds: i32,
}
