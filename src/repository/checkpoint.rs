//! Index runs of a session: what its packs hold, published in steps, so that an interrupted run loses little.
//!
//! What must hold: a run is published after a barrier behind its packs (ordering rule 2), and no pack is in two runs
//! of one session.

use std::sync::Mutex;
use std::time::Duration;

use crate::base::clock::Stopwatch;
use crate::base::{ContentName, Result, SessionId, Wrap};
use crate::crypto::content_name;
use crate::format::index::{Entry, IndexRun};
use crate::format::names;
use crate::format::sealing::ObjectKind;
use crate::repository::Repository;
use crate::repository::object::{create_unique, object_name};
use crate::repository::pack::PublishedPack;

/// Bytes of an entry in a run.
const ENTRY_BYTES: usize = 48;

/// Packs that no index run names yet.
#[derive(Debug)]
pub(super) struct Checkpoints {
    interval: Duration,
    /// A run is published once its entries take so many bytes.
    run_bytes: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    packs: Vec<PublishedPack>,
    entries: usize,
    since: Stopwatch,
}

impl Checkpoints {
    /// Publishes a run at least this often while packs are published, and once its entries take so many bytes.
    pub(super) fn new(interval: Duration, run_bytes: usize) -> Self {
        let waiting = Waiting { packs: Vec::new(), entries: 0, since: Stopwatch::start() };
        Self { interval, run_bytes, waiting: Mutex::new(waiting) }
    }

    /// Remembers a pack; gives the packs of a run that is due.
    pub(super) fn add(&self, pack: PublishedPack) -> Option<Vec<PublishedPack>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        waiting.entries += pack.entries.len();
        waiting.packs.push(pack);
        let is_due =
            waiting.entries * ENTRY_BYTES >= self.run_bytes || waiting.since.elapsed() >= self.interval;
        is_due.then(|| waiting.take())
    }

    /// All packs that no run names yet.
    pub(super) fn rest(&self) -> Vec<PublishedPack> {
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }
}

/// An index run that is in the repository.
#[derive(Debug)]
pub(super) struct PublishedRun {
    pub(super) name: ContentName,
    pub(super) size_bytes: u64,
    pub(super) run: IndexRun,
}

impl Waiting {
    fn take(&mut self) -> Vec<PublishedPack> {
        self.entries = 0;
        self.since = Stopwatch::start();
        std::mem::take(&mut self.packs)
    }
}

impl Repository {
    /// Makes packs durable and publishes an index run that names them.
    pub(super) fn publish_run(&self, session: SessionId, packs: Vec<PublishedPack>) -> Result<PublishedRun> {
        // Ordering rule 2.
        self.storage.barrier().wrap(|| "cannot make packs durable")?;
        let run = run_of(packs);
        let object = self.seal_record(ObjectKind::IndexRun, session, None, run.encode())?;
        let name = content_name([object.as_ref()]);
        let size_bytes = object.len() as u64;
        create_unique(&*self.storage, &object_name(&names::index(&name))?, &[object])
            .wrap(|| "cannot publish an index run")?;
        Ok(PublishedRun { name, size_bytes, run })
    }
}

fn run_of(mut packs: Vec<PublishedPack>) -> IndexRun {
    packs.sort_by_key(|pack| pack.pack.name);
    let mut run = IndexRun::default();
    // Neither list is to take more than it needs.
    run.entries.reserve_exact(packs.iter().map(|published| published.entries.len()).sum());
    run.packs.reserve_exact(packs.len());
    for (number, published) in packs.into_iter().enumerate() {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        run.entries.extend(published.entries.into_iter().map(|entry| Entry { pack: number, ..entry }));
        run.packs.push(published.pack);
    }
    run.entries.sort_unstable();
    run
}
