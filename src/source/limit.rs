//! A limit to the time that something may take.
//!
//! What must hold: what ends in time is not touched; nothing waits for a limit that is no longer needed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::base::{Result, Wrap};
use crate::source::Stop;

/// A running limit; dropped, it ends nothing any more.
#[derive(Debug)]
pub struct Limit {
    is_over: Arc<AtomicBool>,
    /// Held only to be dropped.
    _needed: Sender<()>,
}

impl Limit {
    /// Calls `stop` after this time, unless it is dropped before.
    pub fn start(limit: Duration, stop: Stop) -> Result<Self> {
        let (needed, ended): (_, Receiver<()>) = channel();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let wait = move || {
            if ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                over.store(true, Ordering::Release);
                stop();
            }
        };
        let thread = std::thread::Builder::new().name("limit".into()).spawn(wait);
        thread.wrap(|| "cannot limit the time of a program")?;
        Ok(Self { is_over, _needed: needed })
    }

    /// Whether the time is over.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_too_long_is_ended_and_nothing_else() {
        let (ended, told) = channel();
        let stop = |name: &'static str| -> Stop {
            let ended = ended.clone();
            Arc::new(move || ended.send(name).expect("a listener"))
        };
        let in_time = Limit::start(Duration::MAX, stop("in time")).expect("a thread");
        let late = Limit::start(Duration::ZERO, stop("late")).expect("a thread");
        assert_eq!(told.recv(), Ok("late"));
        assert!(late.is_over() && !in_time.is_over());
        drop((in_time, late, ended));
        told.recv().expect_err("nothing else, and nobody who could");
    }
}
