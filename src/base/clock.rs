//! The only place that asks what time it is.
//!
//! Times are for people to read and for choosing what to keep; no safety rule of the engine depends on them. What passed
//! since the boot of one machine is compared on that machine, in that boot, and nowhere else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

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

/// The moment so long from now, for work that is cut short then.
pub fn deadline(after: Duration) -> Instant {
    Instant::now() + after
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

/// Time since the machine was booted, by the two clocks that nobody sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinceBoot {
    /// All of it.
    pub total: Duration,
    /// Without what the machine was suspended.
    pub awake: Duration,
}

impl SinceBoot {
    /// Now.
    pub fn now() -> Self {
        let read = |clock| {
            let time = clock_gettime(clock);
            let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
            Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
        };
        Self { total: read(ClockId::Boottime), awake: read(ClockId::Monotonic) }
    }

    /// What the machine was suspended in all.
    pub const fn suspended(self) -> Duration {
        self.total.saturating_sub(self.awake)
    }
}

/// Notices that the machine was suspended: others may have taken its silence for its end.
#[derive(Debug)]
pub struct SuspensionWatch {
    now: fn() -> SinceBoot,
    seen_milliseconds: AtomicU64,
}

/// A suspension that was noticed.
#[derive(Clone, Copy, Debug)]
pub struct Suspension {
    total_milliseconds: u64,
}

impl SuspensionWatch {
    /// Two clocks that are read one after the other differ by what lies between; nobody is given up within this.
    const MARGIN_MILLISECONDS: u64 = 5000;

    /// Watches from now on.
    pub fn start() -> Self {
        Self::by(SinceBoot::now)
    }

    /// Watches by other clocks.
    pub fn by(now: fn() -> SinceBoot) -> Self {
        Self { now, seen_milliseconds: AtomicU64::new(milliseconds(now().suspended())) }
    }

    /// A suspension since the beginning that was not yet dealt with. Everybody who asks is told until somebody says so.
    pub fn suspension(&self) -> Option<Suspension> {
        let total_milliseconds = milliseconds((self.now)().suspended());
        let seen = self.seen_milliseconds.load(Ordering::Acquire);
        (total_milliseconds.saturating_sub(seen) > Self::MARGIN_MILLISECONDS)
            .then_some(Suspension { total_milliseconds })
    }

    /// Says that a suspension was dealt with.
    pub fn dealt_with(&self, suspension: Suspension) {
        self.seen_milliseconds.fetch_max(suspension.total_milliseconds, Ordering::AcqRel);
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    static SUSPENDED: AtomicU64 = AtomicU64::new(0);

    fn clocks() -> SinceBoot {
        let awake = Duration::from_secs(1000);
        SinceBoot { total: awake + Duration::from_secs(SUSPENDED.load(Ordering::SeqCst)), awake }
    }

    #[test]
    fn each_suspension_is_noticed_until_it_is_dealt_with() {
        SUSPENDED.store(3600, Ordering::SeqCst);
        let watch = SuspensionWatch::by(clocks);
        assert!(watch.suspension().is_none(), "before it watched");
        SUSPENDED.store(3605, Ordering::SeqCst);
        assert!(watch.suspension().is_none(), "too little to tell");
        SUSPENDED.store(3606, Ordering::SeqCst);
        let first = watch.suspension().unwrap();
        assert!(watch.suspension().is_some(), "others are told as well");
        SUSPENDED.store(4000, Ordering::SeqCst);
        watch.dealt_with(first);
        let second = watch.suspension().expect("the machine was suspended again meanwhile");
        watch.dealt_with(second);
        watch.dealt_with(first);
        assert!(watch.suspension().is_none());
    }

    #[test]
    fn both_clocks_go_on() {
        let before = SinceBoot::now();
        let after = SinceBoot::now();
        assert!(before.awake > Duration::ZERO && after.awake >= before.awake && after.total >= before.total);
    }
}
