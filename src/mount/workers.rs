//! Threads that fetch what is asked for, and what will be asked for next.
//!
//! What must hold: what somebody waits for goes before what is read ahead; of what is read ahead, as much waits as is
//! worth having; when the workers go, nothing that waits is begun, and no thread is left.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::base::{Error, ErrorKind, Result};

type Job = Box<dyn FnOnce() + Send>;

/// More that is read ahead need not wait: it would be old when its turn comes.
pub(super) const AHEAD_WAITING_MAX: usize = 32;
/// So many threads read ahead at most: a storage that is silent must leave some to those who wait for another part of it.
const AHEAD_THREADS_MAX: usize = 4;

#[derive(Default)]
struct Waiting {
    asked: VecDeque<Job>,
    ahead: VecDeque<Job>,
    ahead_now: usize,
    is_over: bool,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

/// Threads that fetch.
pub(super) struct Workers {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Workers {
    /// So many threads.
    pub(super) fn start(count: usize) -> Result<Self> {
        let mut threads = Vec::new();
        let workers = Self { shared: Arc::default(), threads: Mutex::default() };
        for number in 0..count {
            let shared = Arc::clone(&workers.shared);
            let thread = std::thread::Builder::new().name(format!("mount-{number}"));
            let thread = thread.spawn(move || shared.work());
            let failed = |error| Error::caused(ErrorKind::Failed, "cannot start a thread", error);
            threads.push(thread.map_err(failed)?);
        }
        *workers.threads.lock().unwrap_or_else(PoisonError::into_inner) = threads;
        Ok(workers)
    }

    /// Begins nothing more, and waits for what was begun.
    pub(super) fn stop(&self) {
        self.shared.add(|waiting| {
            waiting.is_over = true;
            waiting.asked.clear();
            waiting.ahead.clear();
        });
        self.shared.more.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let own = std::thread::current().id();
        for thread in threads.into_iter().filter(|thread| thread.thread().id() != own) {
            // A job that panicked has told so itself.
            drop(thread.join());
        }
    }

    /// Does what somebody waits for.
    pub(super) fn ask(&self, job: impl FnOnce() + Send + 'static) {
        self.shared.add(|waiting| waiting.asked.push_back(Box::new(job)));
    }

    /// Does what will be asked for, when nothing else is to be done; if too much waits, it is left out.
    pub(super) fn ahead(&self, job: impl FnOnce() + Send + 'static) {
        self.shared.add(|waiting| {
            if waiting.ahead.len() < AHEAD_WAITING_MAX {
                waiting.ahead.push_back(Box::new(job));
            }
        });
    }
}

impl Shared {
    fn add(&self, add: impl FnOnce(&mut Waiting)) {
        add(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        self.more.notify_one();
    }

    fn work(&self) {
        while let Some((job, is_ahead)) = self.next() {
            // What a job breaks is its own; its thread goes on with the next.
            drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)));
            if is_ahead {
                self.add(|waiting| waiting.ahead_now -= 1);
            }
        }
    }

    /// The job that comes next, and whether it is one of those that nobody waits for.
    fn next(&self) -> Option<(Job, bool)> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if waiting.is_over {
                return None;
            }
            if let Some(job) = waiting.asked.pop_front() {
                return Some((job, false));
            }
            if waiting.ahead_now < AHEAD_THREADS_MAX
                && let Some(job) = waiting.ahead.pop_front()
            {
                waiting.ahead_now += 1;
                return Some((job, true));
            }
            waiting = self.more.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn what_is_waited_for_goes_before_what_is_read_ahead() {
        let workers = Workers::start(1).expect("a thread");
        let ((told, tell), (begin, wait)) = (channel(), channel::<()>());
        let (tell, wait) = (wait, tell);
        // The only thread is busy until all is there.
        workers.ask(move || wait_for(&tell));
        for number in 0..40 {
            let told = told.clone();
            workers.ahead(move || told.send(100 + number).expect("a listener"));
        }
        for number in 0..3 {
            let told = told.clone();
            workers.ask(move || told.send(number).expect("a listener"));
        }
        begin.send(()).expect("the thread");
        drop(told);
        let order: Vec<i32> = wait.iter().collect();
        // Eight were left out, the last.
        assert_eq!(order, (0..3).chain(100..132).collect::<Vec<_>>());
    }

    fn wait_for(signal: &std::sync::mpsc::Receiver<()>) {
        signal.recv().expect("a signal");
    }

    #[test]
    fn nothing_is_begun_when_the_workers_go() {
        let workers = Workers::start(2).expect("threads");
        let (told, tell) = channel();
        let told_first = told.clone();
        workers.ask(move || told_first.send(()).expect("a listener"));
        tell.recv().expect("the first");
        drop(workers);
        drop(told);
        assert!(tell.recv().is_err());
    }
}
