//! Who listens while programs and threads work for a source: is told what they say, and can end them all.
//!
//! What must hold: what begins after the end was asked for is ended at once; what has ended is never ended again; a
//! listener can be asked from any thread, also while others wait for what may never come.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Ends something that works, from any thread; may be called more than once.
pub type Stop = Arc<dyn Fn() + Send + Sync>;

/// Told what is worth a line in a log: what a server is asked, what a program says of itself. Everything that works for
/// the source is known to it while it works.
#[derive(Clone)]
pub struct Listener {
    tell: Arc<dyn Fn(&str) + Send + Sync>,
    findings: Arc<Mutex<Vec<String>>>,
    withheld: Arc<[String]>,
    stops: Arc<Stops>,
}

impl Listener {
    /// One that does this with each line, from whichever thread.
    pub fn new(tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self {
            tell: Arc::new(tell),
            findings: Arc::default(),
            withheld: Arc::from([]),
            stops: Arc::default(),
        }
    }

    /// One that does nothing with what it is told.
    pub fn silent() -> Self {
        Self::new(|_| {})
    }

    /// One for the same work, whose programs are not given variables of these names: they hold secrets of others.
    #[must_use]
    pub fn withholding(self, names: &[String]) -> Self {
        Self { withheld: names.into(), ..self }
    }

    /// The names of the variables that its programs are not given.
    pub fn withheld(&self) -> &[String] {
        &self.withheld
    }

    /// One for the same work that is told other lines.
    #[must_use]
    pub fn with(&self, tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { tell: Arc::new(tell), ..self.clone() }
    }

    /// One for the same work that is told nothing.
    #[must_use]
    pub fn quiet(&self) -> Self {
        self.with(|_| {})
    }

    /// One that is told the same, for what is done even if everything is to end: what was changed for a while is put
    /// in order again.
    #[must_use]
    pub fn for_undoing(&self) -> Self {
        Self { stops: Arc::default(), ..self.clone() }
    }

    /// Tells it a line.
    pub fn tell(&self, line: &str) {
        (self.tell)(line);
    }

    /// Says that what is given now is given as it is, and is not what it must be.
    pub fn finding(&self, what: String) {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// What was found so since this was asked last.
    pub fn take_findings(&self) -> Vec<String> {
        std::mem::take(&mut *self.findings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What works for the source.
    pub const fn stops(&self) -> &Arc<Stops> {
        &self.stops
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Listener")
    }
}

/// Everything that works at the moment and is to end together.
#[derive(Default)]
pub struct Stops(Mutex<Stopping>);

#[derive(Default)]
struct Stopping {
    is_over: bool,
    next: u64,
    running: BTreeMap<u64, Stop>,
}

/// Something that works, until it is dropped.
pub struct Stoppable {
    stops: Arc<Stops>,
    number: u64,
}

impl Stops {
    /// Remembers what ends something, for as long as what it gives is held; ends it at once if all are to end.
    #[must_use = "it is forgotten when this is dropped"]
    pub fn add(self: &Arc<Self>, stop: Stop) -> Stoppable {
        let mut stopping = self.lock();
        let number = stopping.next;
        stopping.next += 1;
        if stopping.is_over {
            stop();
        }
        stopping.running.insert(number, stop);
        Stoppable { stops: Arc::clone(self), number }
    }

    /// Ends what works, and what will begin.
    pub fn stop_all(&self) {
        let mut stopping = self.lock();
        stopping.is_over = true;
        stopping.running.values().for_each(|stop| stop());
    }

    /// Whether the end was asked for.
    pub fn is_over(&self) -> bool {
        self.lock().is_over
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Stopping> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Stops {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Stops({})", self.lock().running.len())
    }
}

impl Drop for Stoppable {
    fn drop(&mut self) {
        self.stops.lock().running.remove(&self.number);
    }
}

impl fmt::Debug for Stoppable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Stoppable({})", self.number)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn what_works_is_ended_and_what_has_ended_is_not() {
        let stopped = Arc::new(AtomicUsize::new(0));
        let stop = |by: usize| -> Stop {
            let stopped = Arc::clone(&stopped);
            Arc::new(move || {
                stopped.fetch_add(by, Ordering::Relaxed);
            })
        };
        let listener = Listener::silent();
        let works = listener.stops().add(stop(1));
        drop(listener.stops().add(stop(10)));
        assert!(!listener.stops().is_over());
        listener.with(|_| {}).stops().stop_all();
        assert!(listener.stops().is_over());
        assert_eq!(stopped.load(Ordering::Relaxed), 1);
        let late = listener.stops().add(stop(100));
        assert_eq!(stopped.load(Ordering::Relaxed), 101);
        drop((works, late));
        listener.stops().stop_all();
        assert_eq!(stopped.load(Ordering::Relaxed), 101);
        assert_eq!(format!("{:?}", listener.stops()), "Stops(0)");
        assert!(!listener.for_undoing().stops().is_over());
    }

    #[test]
    fn findings_are_those_of_the_source_whoever_tells_them() {
        let listener = Listener::silent();
        listener.quiet().finding("one".to_owned());
        listener.for_undoing().finding("two".to_owned());
        assert_eq!(listener.take_findings(), ["one", "two"]);
        assert_eq!(listener.take_findings(), [""; 0]);
    }
}
