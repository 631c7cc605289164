//! Copying snapshots into another repository: between siblings chunks go over as they are, between strangers everything
//! is read, cut and named anew.
//!
//! What must hold: the source is only read. A copy is an ordinary session of the target for each snapshot, oldest first,
//! so that what was copied stays copied whatever comes next; what a session stored that cannot commit is kept for the
//! next. A snapshot of which anything cannot be read is not copied, and is told; the others are. What one session took
//! over is taken for stored by the next only under the rule for taking over (format-spec 14.2, step 5).

mod convert;
mod needing;
mod siblings;

use std::collections::BTreeMap;

use rayon::ThreadPool;

use crate::base::host::Host;
use crate::base::{ChunkId, Error, ErrorKind, Monitor, RepositoryId, Result, SessionId, Wrap};
use crate::format::snapshot::{Origin, Snapshot, Statistic};
use crate::ops::copy::convert::{Converter, Memo};
use crate::ops::copy::siblings::Siblings;
use crate::ops::pool::{pool, worker_count};
use crate::repository::{Repository, Session, SessionOptions, SnapshotEntry};
use crate::tree::Tree;

/// A snapshot that cannot be read is tried again with a fresh look at the source: a prune may have moved what it needs.
const ATTEMPTS_MAX: usize = 2;

/// How snapshots are copied.
#[derive(Clone, Debug)]
pub struct CopyOptions {
    /// The running process.
    pub host: Host,
    /// How the sessions of the target work.
    pub session: SessionOptions,
    /// Threads that read, check and seal; 0: one for each processor.
    pub workers: usize,
    /// Nothing is written.
    pub is_dry: bool,
}

impl CopyOptions {
    /// The usual options on this machine.
    pub fn new(host: Host) -> Self {
        Self { host, session: SessionOptions::default(), workers: 0, is_dry: false }
    }
}

/// What became of one snapshot of the source.
#[derive(Debug)]
pub enum CopyEvent<'e> {
    /// It is in the target now, as this one.
    Copied(&'e SnapshotEntry, SessionId, &'e Snapshot),
    /// It would be copied.
    WouldCopy(&'e SnapshotEntry),
    /// It was there, as this one.
    Present(&'e SnapshotEntry, SessionId),
    /// It was not copied, for this reason.
    Unreadable(&'e SnapshotEntry, &'e Error),
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopySummary {
    /// Snapshots that were copied, or in a dry run would be.
    pub copied: u64,
    /// Snapshots that were there.
    pub present: u64,
    /// Snapshots that could not be copied.
    pub unreadable: u64,
    /// Chunks that the target lacked; between strangers none is counted in a dry run.
    pub chunks: u64,
    /// Bytes of plaintext of these.
    pub added_bytes: u64,
    /// Bytes of new packs and index runs of the target.
    pub stored_bytes: u64,
}

/// Why a snapshot is not copied.
enum Failure {
    /// Something of it cannot be read.
    Unreadable(Error),
    /// Nothing can be copied.
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl Failure {
    /// An error of reading the source: of the object, or of the way to it.
    fn of_source(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Damaged | ErrorKind::NotFound | ErrorKind::Unsupported => Self::Unreadable(error),
            _ => Self::Other(error.while_doing("cannot read the source")),
        }
    }
}

/// Where a snapshot was made first: its copies say the same.
type Identity = (RepositoryId, SessionId);

fn identity(repository: RepositoryId, entry: &SnapshotEntry) -> Identity {
    match &entry.snapshot.origin {
        Some(origin) => (origin.repository, origin.snapshot),
        None => (repository, entry.id),
    }
}

/// Copies snapshots, oldest first, and tells what becomes of each.
///
/// Errors: `Usage` if both are one repository. What was copied until then stays.
pub fn copy(
    source: &Repository,
    target: &Repository,
    snapshots: &[&SnapshotEntry],
    options: &CopyOptions,
    monitor: &dyn Monitor,
    tell: &mut dyn FnMut(&CopyEvent<'_>),
) -> Result<CopySummary> {
    if source.id() == target.id() {
        let message = format!("{} and {} are the same repository", source.location(), target.location());
        return Err(Error::new(ErrorKind::Usage, message));
    }
    let mut wanted = snapshots.to_vec();
    wanted.sort_by_key(|entry| (entry.snapshot.time, entry.id));
    let mut copying = Copying::new(source, target, options, monitor)?;
    let mut summary = CopySummary::default();
    for entry in wanted {
        if let Some(present) = copying.present.get(&identity(source.id(), entry)) {
            summary.present += 1;
            tell(&CopyEvent::Present(entry, present.id));
            continue;
        }
        match copying.copy_readable(entry, &mut summary) {
            Ok(Became::Copy(id, snapshot)) => {
                summary.copied += 1;
                tell(&CopyEvent::Copied(entry, id, &snapshot));
            }
            Ok(Became::Nothing) => {
                summary.copied += 1;
                tell(&CopyEvent::WouldCopy(entry));
            }
            Ok(Became::Present(id)) => {
                summary.present += 1;
                tell(&CopyEvent::Present(entry, id));
            }
            Err(Failure::Unreadable(error)) => {
                let error = error.while_doing(format!("cannot copy snapshot {}", entry.id.short()));
                summary.unreadable += 1;
                tell(&CopyEvent::Unreadable(entry, &error));
            }
            Err(Failure::Other(error)) => {
                return Err(error.while_doing(format!("cannot copy snapshot {}", entry.id.short())));
            }
        }
    }
    Ok(summary)
}

/// What a snapshot became in the target.
enum Became {
    Copy(SessionId, Box<Snapshot>),
    /// Another process copied it meanwhile.
    Present(SessionId),
    /// Nothing was written.
    Nothing,
}

/// A snapshot of the source whose copy is in the target: of what both snapshots of the source have in common, the copy is
/// named again.
#[derive(Clone, Copy, Debug)]
struct Base {
    /// The root of its tree.
    of_source: ChunkId,
    /// The copy, and the root of its tree.
    copy: SessionId,
    of_target: ChunkId,
}

/// A snapshot of the target.
#[derive(Clone, Copy, Debug)]
struct Present {
    id: SessionId,
    generation: u64,
    tree: ChunkId,
}

/// How snapshots go over, and what is known from those that went.
enum Way<'c> {
    Siblings(Siblings<'c>),
    Strangers(Memo<'c>),
}

struct Copying<'c> {
    source: &'c Repository,
    target: &'c Repository,
    options: &'c CopyOptions,
    monitor: &'c dyn Monitor,
    pool: ThreadPool,
    way: Way<'c>,
    /// The snapshots of the target.
    present: BTreeMap<Identity, Present>,
    /// The snapshots of the source, oldest first.
    of_source: Vec<SnapshotEntry>,
    /// The snapshots of the target on whose chunks `way` relies.
    relied_on: Vec<SessionId>,
}

impl<'c> Copying<'c> {
    fn new(
        source: &'c Repository,
        target: &'c Repository,
        options: &'c CopyOptions,
        monitor: &'c dyn Monitor,
    ) -> Result<Self> {
        let of_source = source.snapshots()?.visible;
        let mut copying = Self {
            source,
            target,
            options,
            monitor,
            pool: pool("copy", worker_count(target, options.workers))?,
            way: Self::way(source, target)?,
            present: BTreeMap::new(),
            of_source,
            relied_on: Vec::new(),
        };
        copying.see(&target.snapshots().wrap(|| "cannot read the snapshots of the target")?.visible);
        Ok(copying)
    }

    fn way(source: &'c Repository, target: &'c Repository) -> Result<Way<'c>> {
        Ok(match source.is_sibling_of(target) {
            true => Way::Siblings(Siblings::new(source)?),
            false => Way::Strangers(Memo::new(source, target)?),
        })
    }

    fn see(&mut self, visible: &[SnapshotEntry]) {
        for entry in visible {
            let Snapshot { generation, tree, .. } = entry.snapshot;
            self.present
                .insert(identity(self.target.id(), entry), Present { id: entry.id, generation, tree });
        }
    }

    fn copy_readable(
        &mut self,
        entry: &SnapshotEntry,
        summary: &mut CopySummary,
    ) -> std::result::Result<Became, Failure> {
        let mut attempts = ATTEMPTS_MAX;
        loop {
            attempts -= 1;
            let outcome = match self.options.is_dry {
                true => self.look(entry, summary).map(|()| Became::Nothing),
                false => self.copy_one(entry, summary),
            };
            if outcome.is_err() {
                // It relies on chunks of a snapshot that was not committed.
                self.way = Self::way(self.source, self.target)?;
                self.relied_on.clear();
            }
            match outcome {
                Err(Failure::Unreadable(_)) if attempts > 0 => {}
                outcome => return outcome,
            }
        }
    }

    /// What copying it would take.
    fn look(&mut self, entry: &SnapshotEntry, summary: &mut CopySummary) -> std::result::Result<(), Failure> {
        let base = self.base(entry, None);
        if let Way::Siblings(siblings) = &mut self.way {
            let lack = self.pool.install(|| {
                siblings.mark(entry, base, self.monitor)?;
                Ok::<_, Failure>(self.target.would_lack(self.source, siblings.marks())?)
            })?;
            siblings.settle();
            summary.chunks += lack.chunks;
            summary.added_bytes = summary.added_bytes.saturating_add(lack.plain_bytes);
        }
        Ok(())
    }

    fn copy_one(
        &mut self,
        entry: &SnapshotEntry,
        summary: &mut CopySummary,
    ) -> std::result::Result<Became, Failure> {
        let session = self.target.start_session(&self.options.host, self.options.session.clone())?;
        if !self.relied_on.iter().all(|id| session.may_take_over(id)) {
            self.way = Self::way(self.source, self.target)?;
            self.relied_on.clear();
        }
        self.see(&session.snapshots().visible);
        if let Some(present) = self.present.get(&identity(self.source.id(), entry)) {
            let id = present.id;
            session.close()?;
            return Ok(Became::Present(id));
        }
        self.monitor.begin(format!("snapshot {}", entry.id.short()).as_bytes());
        let tree = match self.store(&session, entry) {
            Ok(tree) => tree,
            Err(failure) => {
                // Whoever goes on with it, or copies one like it, need not read and store that again. What went wrong
                // says more than that it could not be kept.
                let _ = self.pool.install(|| session.settle()).and_then(|()| session.keep_without_snapshot());
                return Err(failure);
            }
        };
        let snapshot = self.snapshot(entry, tree);
        self.pool.install(|| session.settle())?;
        let (id, snapshot) = session.commit(|| snapshot)?;
        let number = |statistic| snapshot.statistics.0.get(&statistic).copied().unwrap_or_default();
        summary.chunks += number(Statistic::DataChunksAdded) + number(Statistic::TreeChunksAdded);
        summary.added_bytes += number(Statistic::BytesAdded);
        summary.stored_bytes += number(Statistic::BytesStored);
        if let Way::Siblings(siblings) = &mut self.way {
            siblings.settle();
        }
        self.relied_on.push(id);
        let Snapshot { generation, tree, .. } = snapshot;
        self.present.insert(identity(self.source.id(), entry), Present { id, generation, tree });
        Ok(Became::Copy(id, Box::new(snapshot)))
    }

    /// Stores all that a snapshot needs, and gives its tree.
    fn store(
        &mut self,
        session: &Session<'_>,
        entry: &SnapshotEntry,
    ) -> std::result::Result<ChunkId, Failure> {
        let base = self.base(entry, Some(session));
        self.relied_on.extend(base.map(|base| base.copy));
        match &mut self.way {
            Way::Siblings(siblings) => {
                self.pool.install(|| siblings.store(session, entry, base, self.monitor))?;
                Ok(entry.snapshot.tree)
            }
            Way::Strangers(memo) => {
                let reader = session.reader();
                let converter = Converter::new(session, entry, &self.pool, self.monitor, memo)?;
                converter.convert(entry.snapshot.tree, base, Tree::new(&reader))
            }
        }
    }

    /// The snapshot that is most like another one, of those whose copies may be taken over; without a session, of all whose
    /// copies are there. None if what is known comprises it.
    fn base(&self, entry: &SnapshotEntry, session: Option<&Session<'_>>) -> Option<Base> {
        let bases = self.of_source.iter().rev().filter_map(|candidate| {
            let present = self.present.get(&identity(self.source.id(), candidate))?;
            let may_be = session.is_none_or(|session| session.may_take_over(&present.id));
            // Between siblings a copy has the same tree, unless it was made with another one's help.
            let is_whole = !matches!(self.way, Way::Siblings(_)) || present.tree == candidate.snapshot.tree;
            (may_be && is_whole).then_some((candidate, present))
        });
        let likeness = |candidate: &SnapshotEntry| {
            let (one, other) = (&entry.snapshot, &candidate.snapshot);
            let is_of_host = one.host == other.host;
            let is_parent = one.parent == Some(candidate.id);
            (
                is_parent,
                is_of_host && one.paths == other.paths,
                is_of_host,
                other.time <= one.time,
                other.time,
            )
        };
        let (candidate, present) = bases.max_by_key(|(candidate, _)| likeness(candidate))?;
        let base = Base { of_source: candidate.snapshot.tree, copy: present.id, of_target: present.tree };
        (!self.relied_on.contains(&base.copy)).then_some(base)
    }

    /// What the target says of a snapshot.
    fn snapshot(&self, entry: &SnapshotEntry, tree: ChunkId) -> Snapshot {
        let parent = entry.snapshot.parent.map(|parent| {
            let found = self.of_source.iter().find(|entry| entry.id == parent);
            found.map_or((self.source.id(), parent), |entry| identity(self.source.id(), entry))
        });
        let parent = parent.and_then(|identity| self.present.get(&identity));
        let first = Origin { repository: self.source.id(), snapshot: entry.id, time: entry.snapshot.time };
        Snapshot {
            parent: parent.map(|parent| parent.id),
            generation: parent.map_or(1, |parent| parent.generation.saturating_add(1)),
            origin: Some(entry.snapshot.origin.clone().unwrap_or(first)),
            tree,
            previous: None,
            ..entry.snapshot.clone()
        }
    }
}

#[cfg(test)]
mod tests;
