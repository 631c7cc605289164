//! What SIGINT, SIGTERM and SIGHUP do.
//!
//! What must hold: while work that can be stopped runs, the first signal asks it to stop and the second ends the
//! process; at any other time the first ends it. The engine is safe against being ended anywhere; stopping only leaves
//! less behind.
//!
//! Where a signal was ignored when the program began, as under `nohup`, no signal is listened to: listening would
//! make the program end by what it was meant to survive.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use packstone::base::ErrorKind;

use crate::report;

type Action = Box<dyn Fn() + Send + Sync>;

/// Whether the user or the system asked to stop.
#[derive(Clone, Default)]
pub struct Interruption(Arc<State>);

#[derive(Default)]
struct State {
    is_requested: AtomicBool,
    is_gentle: AtomicBool,
    actions: Mutex<Vec<Action>>,
}

impl Interruption {
    /// Listens to the signals.
    pub fn listen() -> Self {
        let interruption = Self::default();
        let of_handler = interruption.clone();
        let handler = move || {
            if !of_handler.request() {
                end_process();
            }
        };
        // Refused where a signal is ignored.
        drop(ctrlc::try_set_handler(handler));
        interruption
    }

    /// True once a signal came.
    pub fn is_requested(&self) -> bool {
        self.0.is_requested.load(Ordering::Relaxed)
    }

    /// Does work that asks now and then whether it should stop.
    pub fn gently<T>(&self, work: impl FnOnce() -> T) -> T {
        self.0.is_gentle.store(true, Ordering::SeqCst);
        let result = work();
        self.0.is_gentle.store(false, Ordering::SeqCst);
        result
    }

    /// Takes what is to be done at once when a signal comes; done now if one came already.
    pub fn on_request(&self, action: Action) {
        let mut actions = self.0.actions.lock().unwrap_or_else(PoisonError::into_inner);
        if self.0.is_requested.load(Ordering::SeqCst) {
            action();
        } else {
            actions.push(action);
        }
    }

    /// Asks to stop; false if there is nobody to ask, or the second time.
    fn request(&self) -> bool {
        if !self.0.is_gentle.load(Ordering::SeqCst) || self.0.is_requested.swap(true, Ordering::SeqCst) {
            return false;
        }
        self.0.actions.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|action| action());
        true
    }
}

fn end_process() -> ! {
    report::fail_interrupted();
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the command line, and nothing can be asked to stop"
    )]
    std::process::exit(ErrorKind::Interrupted.exit_code().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn the_first_request_is_passed_on_while_work_runs_and_only_then() {
        let interruption = Interruption::default();
        assert!(!interruption.request(), "nothing runs");
        let calls = Arc::new(AtomicU32::new(0));
        let action = || {
            let calls = Arc::clone(&calls);
            Box::new(move || {
                calls.fetch_add(1, Ordering::SeqCst);
            })
        };
        interruption.gently(|| {
            interruption.on_request(action());
            assert!(!interruption.is_requested());
            assert!(interruption.request());
            assert!(interruption.is_requested());
            assert_eq!(calls.load(Ordering::SeqCst), 1);
            interruption.on_request(action());
            assert_eq!(calls.load(Ordering::SeqCst), 2, "too late to wait");
            assert!(!interruption.request(), "the second time");
        });
    }
}
