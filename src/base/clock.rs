//! The only place that asks what time it is.
//!
//! Times are for people to read and for choosing what to keep; no safety rule of the engine depends on them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A point in time: seconds since 1970 (negative before), and nanoseconds within that second (below 10⁹).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// Nanoseconds after `seconds`, at most 999,999,999.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// Now, by the system's clock.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn now() -> Self {
        let (seconds, nanoseconds) = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => (i64::try_from(after.as_secs()).unwrap_or(i64::MAX), after.subsec_nanos()),
            Err(before) => {
                let before = before.duration();
                let whole = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
                match before.subsec_nanos() {
                    0 => (-whole, 0),
                    nanoseconds => (-whole - 1, 1_000_000_000 - nanoseconds),
                }
            }
        };
        Self { seconds, nanoseconds }
    }

    /// So many seconds earlier.
    #[must_use]
    pub const fn earlier(self, seconds: u32) -> Self {
        Self { seconds: self.seconds.saturating_sub(seconds as i64), nanoseconds: self.nanoseconds }
    }
}

/// Measures how long something takes, unmoved by changes of the system's clock.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts at zero.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
