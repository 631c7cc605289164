//! Packs that a restore needs and that lie frozen: which they are, asking for them, waiting for them.
//!
//! What must hold: before a restore that is to thaw writes anything, every pack that it needs was looked at and can be
//! read; what was asked for before is not asked for again; while it waits, it can be told to stop.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use crate::base::clock::Stopwatch;
use crate::base::{ContentName, Error, ErrorKind, Monitor, Result, ThawCounts, ThawRequest, Thawing, size};
use crate::format::names;
use crate::format::node::{NodeKind, XattrValue};
use crate::ops::restore::interrupted;
use crate::ops::restore::looking::Bits;
use crate::repository::{Placement, Repository, SegmentKey};
use crate::tree::{Entry, Tree};

/// Packs are looked at again after this, then ever more seldom.
const FIRST_INTERVAL: Duration = Duration::from_secs(60);
/// But not more seldom than this.
const INTERVAL_MAX: Duration = Duration::from_secs(900);
/// Whoever waits is asked so often whether it should stop.
const STOP_INTERVAL: Duration = Duration::from_secs(1);

/// How a restore deals with packs that lie frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThawOptions {
    /// How they are asked for.
    pub request: ThawRequest,
    /// How long the restore waits for them; if some cannot be read then, it ends as `Frozen`.
    pub wait: Duration,
}

/// Packs by name, and their sizes in bytes.
pub(super) type Packs = BTreeMap<ContentName, u64>;

/// What of an entry is needed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part<'b> {
    /// Its extended attributes.
    Attributes,
    /// These and all of its content.
    All,
    /// These and some chunks of its content.
    Chosen(&'b Bits),
}

/// Takes the packs in which the contents of entries lie.
pub(super) struct Needed<'r> {
    tree: Tree<'r>,
    packs: Packs,
    last: Option<Placement>,
    /// The segments in which they lie, if these are asked for, and their stored bytes.
    segments: Option<HashSet<SegmentKey>>,
    stored_bytes: u64,
}

impl<'r> Needed<'r> {
    pub(super) fn new(tree: Tree<'r>) -> Self {
        Self { tree, packs: BTreeMap::new(), last: None, segments: None, stored_bytes: 0 }
    }

    /// Counts what would be fetched, too.
    pub(super) fn counting(tree: Tree<'r>) -> Self {
        Self { segments: Some(HashSet::new()), ..Self::new(tree) }
    }

    pub(super) fn into_packs(self) -> Packs {
        self.packs
    }

    /// Stored bytes of the segments that hold contents.
    pub(super) const fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// Takes those of an entry. What is damaged is met again, and told, by the restore itself.
    pub(super) fn add(&mut self, entry: &Entry, part: Part<'_>) -> Result<()> {
        match self.try_add(entry, part) {
            Err(error) if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::NotFound) => Ok(()),
            other => other,
        }
    }

    fn try_add(&mut self, entry: &Entry, part: Part<'_>) -> Result<()> {
        for xattr in &entry.node.xattrs {
            if let XattrValue::Chunk(chunk) = &xattr.value {
                self.add_place(self.tree.reader().placement(&chunk.id)?)?;
            }
        }
        let NodeKind::Regular(regular) = &entry.node.kind else { return Ok(()) };
        let chosen = match part {
            Part::Attributes => return Ok(()),
            Part::All => None,
            Part::Chosen(chosen) => Some(chosen),
        };
        if let Some(place) = &entry.bundle {
            return self.add_place(self.tree.reader().placement(&place.id)?);
        }
        let tree = self.tree;
        let mut number = 0;
        tree.content(regular, &mut |chunk| {
            let is_chosen = chosen.is_none_or(|chosen| chosen.contains(number));
            number += 1;
            if is_chosen { self.add_place(tree.reader().placement(&chunk.id)?) } else { Ok(()) }
        })
    }

    fn add_place(&mut self, placement: Placement) -> Result<()> {
        let key = placement.segment;
        if self.segments.as_mut().is_some_and(|segments| segments.insert(key)) {
            self.stored_bytes =
                self.stored_bytes.saturating_add(self.tree.reader().stored_bytes_of(&key)?.into());
        }
        let is_known = self.last.is_some_and(|last| last.segment.same_pack(&key));
        if !is_known {
            let (name, size_bytes) = self.tree.reader().pack_of(&key)?;
            self.packs.insert(name, size_bytes);
            self.last = Some(placement);
        }
        Ok(())
    }
}

/// Measures and lets pass the time.
trait Clock {
    /// Since it was started.
    fn elapsed(&self) -> Duration;
    /// Comes back after this.
    fn sleep(&self, duration: Duration);
}

impl Clock for Stopwatch {
    fn elapsed(&self) -> Duration {
        Self::elapsed(self)
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// Asks for the packs that nobody asked for, and waits for all. In a dry run nothing is asked for, and nobody waits.
///
/// `Frozen` if not all can be read in the end.
pub(super) fn thaw(
    repository: &Repository,
    packs: &Packs,
    options: &ThawOptions,
    is_dry: bool,
    monitor: &dyn Monitor,
) -> Result<()> {
    thaw_by(&Stopwatch::start(), repository, packs, options, is_dry, monitor)
}

fn thaw_by(
    clock: &dyn Clock,
    repository: &Repository,
    packs: &Packs,
    options: &ThawOptions,
    is_dry: bool,
    monitor: &dyn Monitor,
) -> Result<()> {
    let request = Some(&options.request).filter(|_| !is_dry);
    let mut waiting = packs.clone();
    let mut ready = ThawCounts::default();
    let mut interval = FIRST_INTERVAL;
    loop {
        let mut counts = look(repository, &mut waiting, &mut ready, request, monitor)?;
        counts.waited = clock.elapsed();
        monitor.thawing(&counts);
        if counts.is_ready() || is_dry {
            return Ok(());
        }
        let left = options.wait.saturating_sub(counts.waited);
        if left.is_zero() {
            return Err(not_ready(&counts));
        }
        let until = counts.waited + left.min(interval);
        while clock.elapsed() < until {
            if monitor.cancelled() {
                return Err(interrupted());
            }
            clock.sleep(until.saturating_sub(clock.elapsed()).min(STOP_INTERVAL));
        }
        interval = (interval * 2).min(INTERVAL_MAX);
    }
}

/// Looks at packs that are waited for, and waits no more for those that can be read, which are counted as ready.
fn look(
    repository: &Repository,
    waiting: &mut Packs,
    ready: &mut ThawCounts,
    request: Option<&ThawRequest>,
    monitor: &dyn Monitor,
) -> Result<ThawCounts> {
    let names: Vec<ContentName> = waiting.keys().copied().collect();
    let states = repository.thaw(&names, request, monitor)?;
    let mut later = ThawCounts::default();
    for ((name, size_bytes), state) in std::mem::take(waiting).into_iter().zip(states) {
        match state {
            // The restore looks for what lies in it elsewhere.
            None => {}
            Some(Thawing::Readable) => ready.add(Thawing::Readable, size_bytes),
            Some(state) => {
                monitor.frozen(&names::pack(&name), state, size_bytes);
                later.add(state, size_bytes);
                waiting.insert(name, size_bytes);
            }
        }
    }
    Ok(ready.and(&later))
}

fn not_ready(counts: &ThawCounts) -> Error {
    let later = counts.unreadable();
    let message = format!(
        "of {} that the restore needs, {} ({}) cannot be read yet; nothing was written",
        packs_in_words(counts.needed.count),
        later.count,
        size::show(later.size_bytes)
    );
    Error::new(ErrorKind::Frozen, message)
}

fn packs_in_words(count: u64) -> String {
    if count == 1 { "1 pack".to_owned() } else { format!("{count} packs") }
}

/// Why a restore ends that met a frozen pack: all that it needs and that is frozen, so far as that can be told.
pub(super) fn stopped(
    repository: &Repository,
    packs: Result<Packs>,
    error: Error,
    monitor: &dyn Monitor,
) -> Error {
    let mut ready = ThawCounts::default();
    let counts = packs.and_then(|mut packs| look(repository, &mut packs, &mut ready, None, monitor));
    match counts {
        Ok(counts) if !counts.is_ready() => {
            monitor.thawing(&counts);
            let later = counts.unreadable();
            error.while_doing(format!(
                "of {} that the restore needs, {} ({}) must be thawed first; the restore is not complete",
                packs_in_words(counts.needed.count),
                later.count,
                size::show(later.size_bytes)
            ))
        }
        Err(other) if other.kind() == ErrorKind::Interrupted => other,
        _ => error.while_doing("packs must be thawed before they can be read; the restore is not complete"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Mutex, PoisonError};

    use super::*;
    use crate::base::ThawCount;
    use crate::repository::tests::{Memory, new_repository, pack_names, write_packs};

    /// Time passes only while somebody sleeps.
    #[derive(Default)]
    struct Sleeper(AtomicU64);

    impl Clock for Sleeper {
        fn elapsed(&self) -> Duration {
            Duration::from_millis(self.0.load(Ordering::SeqCst))
        }

        fn sleep(&self, duration: Duration) {
            self.0.fetch_add(u64::try_from(duration.as_millis()).unwrap(), Ordering::SeqCst);
        }
    }

    /// Keeps what it is told, and asks to stop at some time.
    #[derive(Default)]
    struct Listener {
        told: Mutex<Vec<ThawCounts>>,
        stops_after: Option<usize>,
    }

    impl Listener {
        fn told(&self) -> Vec<ThawCounts> {
            self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
        }
    }

    impl Monitor for Listener {
        fn thawing(&self, counts: &ThawCounts) {
            self.told.lock().unwrap_or_else(PoisonError::into_inner).push(*counts);
        }

        fn cancelled(&self) -> bool {
            self.stops_after.is_some_and(|most| self.told().len() >= most)
        }
    }

    fn frozen(looks: u32) -> (Memory, Repository, Packs) {
        let (memory, repository) = new_repository();
        write_packs(&repository, 4);
        memory.freeze_data(looks);
        let packs = pack_names(&memory).into_iter().map(|pack| (pack, 100)).collect();
        (memory, repository, packs)
    }

    fn options(wait_seconds: u64) -> ThawOptions {
        ThawOptions { request: ThawRequest { days: 7, speed: None }, wait: Duration::from_secs(wait_seconds) }
    }

    #[test]
    fn without_time_to_wait_it_ends_and_goes_on_later_without_asking_again() {
        let (_, repository, packs) = frozen(2);
        let listener = Listener::default();
        let run = || thaw_by(&Sleeper::default(), &repository, &packs, &options(0), false, &listener);
        let errors = [run().unwrap_err(), run().unwrap_err()];
        assert!(errors.iter().all(|error| error.kind() == ErrorKind::Frozen), "{errors:?}");
        run().unwrap();
        let told = listener.told();
        let counts: Vec<_> = told
            .iter()
            .map(|counts| (counts.asked.count, counts.under_way.count, counts.frozen.count))
            .collect();
        assert_eq!(counts, [(4, 0, 0), (0, 4, 0), (0, 0, 0)]);
        assert_eq!(told[0].unreadable(), ThawCount { count: 4, size_bytes: 400 });
        assert!(told[2].is_ready() && told[2].readable.count == packs.len() as u64);
    }

    #[test]
    fn it_waits_ever_longer_until_all_can_be_read() {
        let (_, repository, packs) = frozen(7);
        let (clock, listener) = (Sleeper::default(), Listener::default());
        thaw_by(&clock, &repository, &packs, &options(100_000), false, &listener).unwrap();
        let waited: Vec<u64> = listener.told().iter().map(|counts| counts.waited.as_secs()).collect();
        assert_eq!(waited, [0, 60, 180, 420, 900, 1800, 2700, 3600]);
    }

    #[test]
    fn it_waits_no_longer_than_it_may() {
        let (_, repository, packs) = frozen(1000);
        let (clock, listener) = (Sleeper::default(), Listener::default());
        let error = thaw_by(&clock, &repository, &packs, &options(100), false, &listener).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Frozen);
        assert_eq!(clock.elapsed(), Duration::from_secs(100));
        assert_eq!(listener.told().len(), 3);
    }

    #[test]
    fn it_stops_when_it_is_told_to() {
        let (_, repository, packs) = frozen(1000);
        let (clock, listener) =
            (Sleeper::default(), Listener { stops_after: Some(1), ..Listener::default() });
        let error = thaw_by(&clock, &repository, &packs, &options(100), false, &listener).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted);
        assert_eq!(clock.elapsed(), Duration::ZERO);
    }

    #[test]
    fn a_dry_run_asks_for_nothing() {
        let (_, repository, packs) = frozen(1);
        let listener = Listener::default();
        for _ in 0..2 {
            thaw_by(&Sleeper::default(), &repository, &packs, &options(0), true, &listener).unwrap();
        }
        assert!(listener.told().iter().all(|counts| counts.frozen.count == 4), "{:?}", listener.told());
    }
}
