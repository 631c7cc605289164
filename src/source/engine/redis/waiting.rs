//! Waiting for a server, by asking it again and again.
//!
//! What must hold: whoever waits ends soon when the end is asked for; what makes no progress is not waited for without
//! end.

use std::time::Duration;

use super::super::later::stopped;
use super::client::Information;
use crate::base::clock::Stopwatch;
use crate::base::{Error, ErrorKind, Result};

/// Pauses between two questions; they grow.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// As long a server may work without any progress that it tells.
const STANDSTILL_SECONDS_MAX: u64 = 3600;

/// Asks again and again, with growing pauses, until something is so.
pub(super) fn poll<T>(
    is_over: &dyn Fn() -> bool,
    mut questions: u32,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let mut pause = PAUSE_FIRST;
    loop {
        if let Some(found) = ask()? {
            return Ok(Some(found));
        }
        questions = questions.saturating_sub(1);
        if questions == 0 {
            return Ok(None);
        }
        if is_over() {
            return Err(stopped());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Waits as long as there is progress.
#[derive(Debug)]
pub(super) struct Patience {
    seconds_max: u64,
    seen: String,
    since: Stopwatch,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self::of(STANDSTILL_SECONDS_MAX)
    }

    fn of(seconds_max: u64) -> Self {
        Self { seconds_max, seen: String::new(), since: Stopwatch::start() }
    }

    /// An error if what a server says of its work has been the same for too long. Servers before Redis 7 tell less.
    pub(super) fn see(&mut self, told: &Information) -> Result<()> {
        let seen = ["current_save_keys_processed", "loading_loaded_bytes"].map(|name| told.get(name));
        self.see_progress(format!("{seen:?}"))
    }

    fn see_progress(&mut self, seen: String) -> Result<()> {
        if seen != self.seen {
            (self.seen, self.since) = (seen, Stopwatch::start());
        } else if self.since.elapsed() >= Duration::from_secs(self.seconds_max) {
            let minutes = self.seconds_max / 60;
            let message = format!("the server has made no progress for {minutes} minutes");
            return Err(Error::new(ErrorKind::Failed, message));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_still_is_given_up_and_what_goes_on_is_not() {
        let mut impatient = Patience::of(0);
        for progress in ["1", "2", "3"] {
            impatient.see_progress(progress.to_owned()).expect("it goes on");
        }
        let error = impatient.see_progress("3".to_owned()).expect_err("it stands still");
        assert!(error.to_string().contains("no progress"), "{error}");
        let mut patient = Patience::new();
        for _ in 0..3 {
            patient.see_progress("1".to_owned()).expect("not for long");
        }
    }

    #[test]
    fn whoever_waits_ends_when_that_is_asked_for() {
        let mut asked = 0;
        let error = poll(&|| true, u32::MAX, || {
            asked += 1;
            Ok(None::<()>)
        });
        assert_eq!((error.expect_err("over").kind(), asked), (ErrorKind::Interrupted, 1));
        assert_eq!(poll(&|| false, 1, || Ok(None::<()>)).expect("asked once"), None);
    }
}
