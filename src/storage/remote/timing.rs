//! Waiting: how fast bytes may go, when a storage wants to be left alone, and how often something is tried again.
//!
//! What must hold: no wait is made but by the timer that was given, so that tests need no time; what a storage asks for
//! (`Retry-After`) is given to it, within reason; a limit holds over all connections together.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A wait.
pub(in crate::storage) type Wait = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// Tells time and waits.
pub(in crate::storage) trait Timer: Send + Sync + Debug {
    /// Time since some moment that stays the same.
    fn now(&self) -> Duration;

    /// A wait of this length from now on.
    fn wait(&self, duration: Duration) -> Wait;
}

/// The timer of the runtime.
#[derive(Debug)]
pub(in crate::storage) struct RealTimer(Instant);

impl RealTimer {
    /// Counts from now on.
    pub(in crate::storage) fn start() -> Self {
        Self(Instant::now())
    }
}

impl Timer for RealTimer {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn wait(&self, duration: Duration) -> Wait {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A limit on bytes a second, for all who share it: a token bucket.
#[derive(Debug)]
pub(in crate::storage) struct Pacer {
    bytes_per_second: u64,
    /// Until when all that was let through has used up what time gives.
    used_until: Mutex<Duration>,
}

/// So much may go at once after a pause.
const BURST: Duration = Duration::from_millis(250);

impl Pacer {
    /// At most so many bytes a second.
    pub(in crate::storage) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), used_until: Mutex::default() }
    }

    /// Takes so many bytes, and gives how long to wait before they may go.
    pub(in crate::storage) fn take(&self, bytes: usize, now: Duration) -> Duration {
        let cost = u128::from(bytes as u64) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let cost = Duration::from_nanos(u64::try_from(cost).unwrap_or(u64::MAX));
        let mut used_until = self.used_until.lock().unwrap_or_else(PoisonError::into_inner);
        *used_until = (*used_until).max(now.saturating_sub(BURST)).saturating_add(cost);
        used_until.saturating_sub(now)
    }

    /// The limit.
    pub(in crate::storage) const fn bytes_per_second(&self) -> u64 {
        self.bytes_per_second
    }
}

/// A storage that asks for patience is asked nothing until then.
#[derive(Debug, Default)]
pub(in crate::storage) struct Pause {
    until: Mutex<Duration>,
}

/// Longer than this nobody waits because a storage says so.
const PAUSE_MAX: Duration = Duration::from_secs(300);

impl Pause {
    /// Asks for so long a pause.
    pub(in crate::storage) fn ask(&self, pause: Duration, now: Duration) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = (*until).max(now.saturating_add(pause.min(PAUSE_MAX)));
    }

    /// How long it still lasts.
    pub(in crate::storage) fn left(&self, now: Duration) -> Duration {
        self.until.lock().unwrap_or_else(PoisonError::into_inner).saturating_sub(now)
    }
}

/// No wait is longer.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// How long to wait before the given repetition, the first being 0: between half and all of what doubles each time, so that
/// many who failed together do not come back together. `random` is any number.
pub(in crate::storage) fn backoff(first_wait: Duration, repetition: u32, random: u32) -> Duration {
    let whole = first_wait.saturating_mul(2_u32.saturating_pow(repetition.min(16))).min(WAIT_MAX);
    let half = whole / 2;
    half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const FIRST_WAIT: Duration = Duration::from_millis(250);

    /// A timer that nobody waits for.
    #[derive(Debug, Default)]
    pub(in crate::storage::remote) struct FakeTimer(std::sync::Arc<Mutex<Duration>>);

    impl Timer for FakeTimer {
        fn now(&self) -> Duration {
            *self.0.lock().unwrap()
        }

        fn wait(&self, duration: Duration) -> Wait {
            let clock = std::sync::Arc::clone(&self.0);
            Box::pin(async move { *clock.lock().unwrap() += duration })
        }
    }

    /// What goes through in all is within the limit, whatever the sizes and pauses.
    #[test]
    fn a_limit_holds_over_any_time() {
        let pacer = Pacer::new(1000);
        let mut now = Duration::ZERO;
        let mut sent = 0_u64;
        for round in 0..500_usize {
            let bytes = round * 37 % 400 + 1;
            now += pacer.take(bytes, now);
            sent += bytes as u64;
            if round % 50 == 49 {
                now += Duration::from_millis(100);
            }
            // What was let go was paid for by time, or by one burst.
            assert!(Duration::from_millis(sent) <= now + BURST, "{sent} bytes in {now:?}");
        }
        assert!(now >= Duration::from_secs(sent / 1000 - 1));
    }

    #[test]
    fn an_idle_limit_gives_one_burst_and_no_more() {
        let pacer = Pacer::new(1000);
        let later = Duration::from_secs(3600);
        assert_eq!(pacer.take(250, later), Duration::ZERO);
        assert_eq!(pacer.take(100, later), Duration::from_millis(100));
        assert_eq!(pacer.take(100, later), Duration::from_millis(200));
        assert_eq!(Pacer::new(0).bytes_per_second(), 1);
    }

    #[test]
    fn the_longest_pause_counts_within_reason() {
        let pause = Pause::default();
        pause.ask(Duration::from_secs(10), Duration::from_secs(100));
        pause.ask(Duration::from_secs(2), Duration::from_secs(101));
        assert_eq!(pause.left(Duration::from_secs(104)), Duration::from_secs(6));
        assert_eq!(pause.left(Duration::from_secs(111)), Duration::ZERO);
        pause.ask(Duration::MAX, Duration::from_secs(200));
        assert_eq!(pause.left(Duration::from_secs(200)), PAUSE_MAX);
    }

    #[test]
    fn waits_grow_to_a_bound_and_are_spread() {
        for repetition in 0..40 {
            let (least, most) =
                (backoff(FIRST_WAIT, repetition, 0), backoff(FIRST_WAIT, repetition, u32::MAX));
            assert!(
                least * 2 <= most + Duration::from_nanos(2) && most <= WAIT_MAX,
                "{repetition}: {least:?} {most:?}"
            );
            assert!(repetition == 0 || most >= backoff(FIRST_WAIT, repetition - 1, u32::MAX));
        }
        assert_eq!(backoff(FIRST_WAIT, 0, u32::MAX), FIRST_WAIT);
        assert_eq!(backoff(FIRST_WAIT, 39, u32::MAX), WAIT_MAX);
    }
}
