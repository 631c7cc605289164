//! One writer's run: stores chunks that the repository does not hold, and commits a snapshot (format-spec chapter 14).
//!
//! What must hold: the ordering rules of `repository`. A chunk that `store` returned is in the repository or on its way
//! into it, and `commit` fails unless all of them arrived. Dropping a session ends it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rayon::prelude::{IntoParallelIterator, ParallelIterator};

use crate::base::clock::SuspensionWatch;
use crate::base::host::Host;
use crate::base::limits::RECORD_BYTES_MAX;
use crate::base::{ChunkId, Error, ErrorKind, Result, SessionId, Timestamp, Wrap};
use crate::compress::Compression;
use crate::crypto::{ChunkKind, random};
use crate::format::names;
use crate::format::sealing::ObjectKind;
use crate::format::session::SessionStart;
use crate::format::snapshot::{Commit, End, EndReason, Snapshot, Statistic};
use crate::repository::beats::Beats;
use crate::repository::checkpoint::{Checkpoints, PublishedRun};
use crate::repository::collections::Collections;
use crate::repository::index::table::Table;
use crate::repository::object::{Creation, create, object_name};
use crate::repository::own::OwnRuns;
use crate::repository::pack::{OpenPack, PublishedPack};
use crate::repository::segment::{Class, ClosedSegment, SegmentPool};
use crate::repository::uploads::Uploads;
use crate::repository::{Reader, Repository, SnapshotList};

/// Parts of the set of chunks that this session has met, so that workers seldom wait for each other.
const SHARDS: usize = 64;

/// Room behind a full segment for the chunk that fills it.
const TYPICAL_CHUNK_BYTES: usize = 256 << 10;

/// How a session works.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// How hard segments are compressed.
    pub compression: Compression,
    /// Open, decompress and hash again each segment before it is published.
    pub verify_packs: bool,
    /// Publish an index run at least this often.
    pub checkpoint_interval: Duration,
    /// Send a sign of life this often.
    pub beat_interval: Duration,
    /// Name and version of the program, for the records.
    pub program: String,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            compression: Compression::default(),
            verify_packs: true,
            checkpoint_interval: Duration::from_secs(600),
            beat_interval: Duration::from_secs(600),
            program: concat!("packstone ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// What became of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub id: ChunkId,
    /// The repository did not hold it.
    pub is_new: bool,
}

/// One writer's run.
#[derive(Debug)]
pub struct Session<'r> {
    repository: &'r Repository,
    id: SessionId,
    host: Host,
    options: SessionOptions,
    snapshots: SnapshotList,
    collections: Collections,
    table: OnceLock<(Arc<Table>, Vec<bool>)>,
    loading: Mutex<()>,
    /// New chunks that no run of this session names yet.
    met: [Mutex<HashSet<ChunkId>>; SHARDS],
    own: OwnRuns,
    segments: SegmentPool,
    packs: [Mutex<Filling>; 2],
    checkpoints: Checkpoints,
    uploads: Uploads,
    counts: Counts,
    /// A chunk did not arrive, so that nothing may be committed.
    has_failed: AtomicBool,
    /// Of many creators of its commit key exactly one succeeds.
    is_proven: bool,
    beats: Option<Beats>,
    pub(super) suspensions: SuspensionWatch,
    /// Nothing is to be done at its end.
    is_over: AtomicBool,
}

/// The pack to which the next segment is added.
#[derive(Debug, Default)]
struct Filling {
    pack: Option<Arc<OpenPack>>,
    /// What its segments will take.
    bytes: usize,
}

#[derive(Debug, Default)]
struct Counts {
    bytes_added: AtomicU64,
    bytes_stored: AtomicU64,
    data_chunks: AtomicU64,
    tree_chunks: AtomicU64,
}

impl Repository {
    /// Begins a session: makes it visible, then reads what others write (ordering rule 3).
    pub fn start_session(&self, host: &Host, options: SessionOptions) -> Result<Session<'_>> {
        self.check_may_write()?;
        let id = SessionId(random::array()?);
        // Before its record is put, because a creation that fails may have happened; dropping the session ends it.
        let mut session = Session {
            repository: self,
            id,
            host: host.clone(),
            snapshots: SnapshotList::default(),
            collections: Collections::default(),
            table: OnceLock::new(),
            loading: Mutex::new(()),
            met: std::array::from_fn(|_| Mutex::default()),
            own: OwnRuns::new(self.cache_folder.clone(), self.local_key("own runs")?),
            segments: SegmentPool::new(self.memory.buffer_bytes()),
            packs: Default::default(),
            checkpoints: Checkpoints::new(options.checkpoint_interval, self.memory.run_bytes()),
            uploads: Uploads::new(Arc::clone(&self.storage), self.memory.upload_bytes()),
            counts: Counts::default(),
            has_failed: AtomicBool::new(false),
            is_proven: false,
            beats: None,
            suspensions: SuspensionWatch::start(),
            is_over: AtomicBool::new(false),
            options,
        };
        session.is_proven = self.put_start(id, host, &session.options).wrap(|| "cannot begin a session")?;
        session.beats = Some(self.start_beats(id, session.options.beat_interval)?);
        session.collections = self.collections().wrap(|| "cannot read the collections")?;
        session.snapshots = self.snapshots().wrap(|| "cannot read the snapshots")?;
        Ok(session)
    }

    /// Whether this program knows everything that a writer must know.
    pub(super) fn check_may_write(&self) -> Result<()> {
        match self.config.features.for_writers.first() {
            None => Ok(()),
            Some(feature) => {
                let message =
                    format!("the feature {feature:?} is unknown to this program, which can only read here");
                Err(Error::new(ErrorKind::Unsupported, message))
            }
        }
    }

    /// Begins a session for nothing but its proof, and ends it: whether this way to the storage creates atomically.
    pub(super) fn proves_atomic_create(&self, host: &Host, options: &SessionOptions) -> Result<bool> {
        let id = SessionId(random::array()?);
        let proof = self.put_start(id, host, options).wrap(|| "cannot begin a session");
        // A creation that fails may have happened (ordering rule 5).
        let reason = if proof.is_ok() { EndReason::Closed } else { EndReason::Failed };
        let end = End { reason, time: Timestamp::now(), host: host.name.clone() };
        let ended = self.put_commit(id, &Commit::End(end)).wrap(|| "cannot end a session");
        proof.and_then(|is_proven| ended.map(|_| is_proven))
    }

    /// Creates the commit key of a session.
    pub(super) fn put_commit(&self, id: SessionId, commit: &Commit) -> Result<Creation> {
        let name = names::commit(&id);
        let object = self.seal_record(ObjectKind::Commit, id, Some(&name), commit.encode())?;
        create(&*self.storage, &object_name(&name)?, &[object])
    }

    /// Creates the session's record twice, and each says that atomic creation was proven. The second creation must fail:
    /// that is the proof. If it does not, a third, which overwrites as the second did, tells the truth. Nothing else
    /// is ever sent while creation is atomic: what a late request brings back when the session is over must not be a
    /// record that only a person may remove. True if it was proven.
    fn put_start(&self, id: SessionId, host: &Host, options: &SessionOptions) -> Result<bool> {
        let name = names::session_start(&id);
        let object_name = object_name(&name)?;
        let record = |proven: bool| {
            let start = SessionStart {
                host: host.clone(),
                atomic_create_proven: proven,
                time: Timestamp::now(),
                program: options.program.clone(),
            };
            self.seal_record(ObjectKind::SessionStart, id, Some(&name), start.encode())
        };
        if self.storage.capabilities().atomic_create == Some(false) {
            return self.storage.put_if_absent(&object_name, &[record(false)?]).map(|()| false);
        }
        let bodies = [[record(true)?], [record(true)?], [record(false)?]];
        let [first, second, truth] = &bodies;
        self.storage.prove_create(&object_name, [first, second, truth]).map_err(|error| match error.kind() {
            // The first was removed before the second, as is done with what is over.
            ErrorKind::Exists => error
                .while_doing(format!("session {id} was ended by another process"))
                .of_kind(ErrorKind::Fenced),
            _ => error,
        })
    }
}

impl Session<'_> {
    /// Its name, which the snapshot will have.
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// The repository that it writes to.
    pub const fn repository(&self) -> &Repository {
        self.repository
    }

    /// The snapshots that were visible after the session began.
    pub const fn snapshots(&self) -> &SnapshotList {
        &self.snapshots
    }

    /// Stores a chunk unless the repository holds it. Many workers may call this at once. After a failure the session
    /// cannot be committed.
    pub fn store(&self, kind: ChunkKind, content: &[u8]) -> Result<Stored> {
        self.try_store(kind, content).inspect_err(|_| self.has_failed.store(true, Ordering::Relaxed))
    }

    fn try_store(&self, kind: ChunkKind, content: &[u8]) -> Result<Stored> {
        let id = self.repository.keys.chunk_id(kind, content);
        if self.is_known(&id)? || !self.meet(id) {
            return Ok(Stored { id, is_new: false });
        }
        self.append(kind, id, content)?;
        Ok(Stored { id, is_new: true })
    }

    /// Adds a chunk to an open segment, whether the repository holds it or not.
    pub(super) fn append(&self, kind: ChunkKind, id: ChunkId, content: &[u8]) -> Result<()> {
        self.count_new(kind, 1, content.len() as u64);
        let class = Class::of(kind, content);
        let segment_bytes = self.repository.config.parameters.packing.segment_bytes as usize;
        let most_bytes = segment_bytes + content.len().max(TYPICAL_CHUNK_BYTES);
        let mut segment = self.segments.check_out(class, most_bytes);
        segment.push(id, content);
        if segment.raw.len() < segment_bytes {
            self.segments.check_in(class, segment);
            return Ok(());
        }
        self.add_to_pack(class.kind(), segment.close(class, self.options.compression, &self.segments)?)
    }

    /// So many chunks, which have so many bytes together, are stored.
    pub(super) fn count_new(&self, kind: ChunkKind, chunks: u64, bytes: u64) {
        let count = match kind {
            ChunkKind::Data => &self.counts.data_chunks,
            ChunkKind::Tree => &self.counts.tree_chunks,
        };
        count.fetch_add(chunks, Ordering::Relaxed);
        self.counts.bytes_added.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Something that was to be stored was not: nothing may be committed.
    pub(super) fn set_failed(&self) {
        self.has_failed.store(true, Ordering::Relaxed);
    }

    /// True for the first who asks for a chunk that the index does not have.
    fn meet(&self, id: ChunkId) -> bool {
        let mut shard = self.met_shard(&id);
        // While the shard is held, a chunk is in it or in a run, or new.
        !self.own.contain(&id) && shard.insert(id)
    }

    fn met_shard(&self, id: &ChunkId) -> MutexGuard<'_, HashSet<ChunkId>> {
        let [zero, ..] = &self.met;
        let [first, ..] = *id.as_bytes();
        self.met
            .get(usize::from(first) % SHARDS)
            .unwrap_or(zero)
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// True if the index has a place for the chunk in a pack that no collection blocks (ordering rule 4).
    pub fn is_known(&self, id: &ChunkId) -> Result<bool> {
        let (table, blocked) = self.table()?;
        Ok(table.places(id).any(|place| blocked.get(place.pack as usize) == Some(&false)))
    }

    /// Whether what a snapshot names may be named again without looking up each chunk (format-spec 14.2, step 5).
    pub fn may_take_over(&self, snapshot: &SessionId) -> bool {
        self.snapshots.visible.iter().any(|entry| entry.id == *snapshot)
            && self.collections.allow_taking_over(snapshot)
    }

    /// A reader of what the repository held when the session first asked for its index.
    pub fn reader(&self) -> Reader<'_> {
        Reader::of_session(self)
    }

    /// The index, once for the whole session.
    pub(super) fn index(&self) -> Result<Arc<Table>> {
        self.table().map(|(table, _)| Arc::clone(table))
    }

    fn table(&self) -> Result<&(Arc<Table>, Vec<bool>)> {
        if let Some(loaded) = self.table.get() {
            return Ok(loaded);
        }
        let _only_one_loads = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = self.table.get() {
            return Ok(loaded);
        }
        let table = self.repository.load_index()?;
        let numbers = 0..u32::try_from(table.pack_count()).unwrap_or(u32::MAX);
        let blocked = numbers
            .map(|number| table.pack(number).is_none_or(|pack| self.collections.blocked.contains(&pack.name)))
            .collect();
        Ok(self.table.get_or_init(|| (Arc::new(table), blocked)))
    }

    fn filling(&self, kind: ChunkKind) -> MutexGuard<'_, Filling> {
        let [data, tree] = &self.packs;
        let filling = match kind {
            ChunkKind::Data => data,
            ChunkKind::Tree => tree,
        };
        filling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a closed segment to the pack of its kind; of those who add to a full pack, the last publishes it.
    pub(super) fn add_to_pack(&self, kind: ChunkKind, segment: ClosedSegment) -> Result<()> {
        let wanted = self.repository.config.parameters.packing.pack_bytes as usize;
        let pack_bytes = self.repository.memory.pack_bytes(kind, wanted);
        let pack = {
            let mut filling = self.filling(kind);
            let pack = match filling.pack.take() {
                Some(pack) => pack,
                None => Arc::new(OpenPack::new(self.repository, self.id, kind)?),
            };
            filling.bytes += segment.pack_bytes();
            if filling.bytes >= pack_bytes {
                filling.bytes = 0;
            } else {
                filling.pack = Some(Arc::clone(&pack));
            }
            pack
        };
        pack.add(segment, self.options.verify_packs.then_some(&self.repository.keys))?;
        // Nobody adds to a pack that is not in its place any more.
        Arc::into_inner(pack).map_or(Ok(()), |pack| self.publish_pack(pack, false))
    }

    fn publish_pack(&self, pack: OpenPack, pad: bool) -> Result<()> {
        self.check_after_suspension()?;
        let sealed = pack.complete(pad)?;
        sealed.keep_trees(&self.repository.trees);
        self.arrived(self.uploads.publish(sealed)?)
    }

    /// Packs are in the repository.
    fn arrived(&self, packs: Vec<PublishedPack>) -> Result<()> {
        for published in packs {
            self.counts.bytes_stored.fetch_add(published.pack.size_bytes, Ordering::Relaxed);
            self.checkpoints.add(published).map_or(Ok(()), |packs| self.publish_run(packs, false))?;
        }
        Ok(())
    }

    /// Everything that was stored is in the repository, and named by index runs.
    fn publish_rest(&self) -> Result<()> {
        self.settle()?;
        self.arrived(self.uploads.finish()?)?;
        self.publish_run(self.checkpoints.rest(), true)
    }

    /// Publishes an index run; after the last one nothing more is stored, so that nobody will look into it.
    fn publish_run(&self, packs: Vec<PublishedPack>, is_last: bool) -> Result<()> {
        if packs.is_empty() {
            return Ok(());
        }
        self.check_after_suspension()?;
        let PublishedRun { name, size_bytes, run } = self.repository.publish_run(self.id, packs)?;
        self.counts.bytes_stored.fetch_add(size_bytes, Ordering::Relaxed);
        if is_last {
            return Ok(());
        }
        let ids: Vec<ChunkId> = run.entries.iter().map(|entry| entry.id).collect();
        self.own.add(name, run)?;
        for id in ids {
            self.met_shard(&id).remove(&id);
        }
        Ok(())
    }

    /// Publishes all packs that wait, though they are not full. No worker may be storing. To be called in the pool whose
    /// threads stored, which have all buffers at hand; `commit` does what is left.
    pub fn settle(&self) -> Result<()> {
        self.try_settle().inspect_err(|_| self.has_failed.store(true, Ordering::Relaxed))
    }

    fn try_settle(&self) -> Result<()> {
        let aim_bytes = self.repository.config.parameters.packing.segment_bytes as usize;
        for class in Class::ALL {
            self.segments.drain(class, aim_bytes).into_par_iter().try_for_each(|segment| {
                let closed = segment.close(class, self.options.compression, &self.segments)?;
                self.add_to_pack(class.kind(), closed)
            })?;
        }
        for kind in [ChunkKind::Data, ChunkKind::Tree] {
            let Some(rest) = std::mem::take(&mut *self.filling(kind)).pack else { continue };
            let held = || Error::new(ErrorKind::Failed, "a pack is still being filled");
            self.publish_pack(Arc::into_inner(rest).ok_or_else(held)?, true)?;
        }
        Ok(())
    }

    /// Commits: everything that was stored becomes durable, then the snapshot visible. `finish` completes the snapshot
    /// with what is only known then; the session fills in its own numbers.
    pub fn commit(self, finish: impl FnOnce() -> Snapshot) -> Result<(SessionId, Snapshot)> {
        self.commit_by(|session| {
            let mut snapshot = finish();
            for (statistic, count) in [
                (Statistic::BytesAdded, &session.counts.bytes_added),
                (Statistic::BytesStored, &session.counts.bytes_stored),
                (Statistic::DataChunksAdded, &session.counts.data_chunks),
                (Statistic::TreeChunksAdded, &session.counts.tree_chunks),
            ] {
                snapshot.statistics.0.insert(statistic, count.load(Ordering::Relaxed));
            }
            snapshot
        })
    }

    /// Commits what is said of another snapshot anew, which it must have seen visible and may take over; its numbers stay
    /// those of the run that made that one.
    pub fn commit_anew(self, snapshot: Snapshot) -> Result<(SessionId, Snapshot)> {
        self.commit_by(|_| snapshot)
    }

    fn commit_by(mut self, finish: impl FnOnce(&Self) -> Snapshot) -> Result<(SessionId, Snapshot)> {
        if self.has_failed.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Failed, "not all chunks were stored; no snapshot was made"));
        }
        self.publish_rest()?;
        // Ordering rule 1.
        self.repository.storage.barrier().wrap(|| "cannot make packs and index runs durable")?;
        if self.is_proven {
            self.check_after_suspension()?;
        } else {
            // Here the commit key that another made would be overwritten.
            self.check_not_ended()?;
        }
        let mut snapshot = finish(&self);
        let before = self.snapshots.visible.iter().filter(|entry| entry.snapshot.host == snapshot.host);
        let before = before.max_by_key(|entry| (entry.snapshot.sequence, entry.snapshot.time));
        snapshot.sequence = before.map_or(1, |entry| entry.snapshot.sequence.saturating_add(1));
        snapshot.previous = before.map(|entry| entry.stored_hash);
        let commit = Commit::Snapshot(Box::new(snapshot));
        self.put_commit(&commit)?;
        self.is_over.store(true, Ordering::Relaxed);
        self.repository.storage.barrier().wrap(|| "cannot make the snapshot durable")?;
        match commit {
            Commit::Snapshot(snapshot) => Ok((self.id, *snapshot)),
            Commit::End(_) => Err(Error::new(ErrorKind::Failed, "a session committed its own end")),
        }
    }

    /// Makes everything that was stored durable, and ends the session without a snapshot: what it wrote holds chunks that
    /// snapshots of others need. Gives the stored bytes of its packs and index runs.
    pub(super) fn publish_all(self) -> Result<u64> {
        self.publish_rest()?;
        // Ordering rule 1 holds for the snapshots of others as well.
        self.repository.storage.barrier().wrap(|| "cannot make packs and index runs durable")?;
        let stored = self.counts.bytes_stored.load(Ordering::Relaxed);
        self.close().map(|()| stored)
    }

    /// Ends the session without a snapshot, and keeps what it stored for those who come next, until a prune finds that
    /// nobody needs it. After a failure nothing is kept.
    pub fn keep_without_snapshot(self) -> Result<()> {
        if self.has_failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.publish_all().map(drop)
    }

    /// Ends the session without a snapshot, because there was nothing to commit.
    pub fn close(mut self) -> Result<()> {
        self.put_end(EndReason::Closed)
    }

    fn put_end(&mut self, reason: EndReason) -> Result<()> {
        self.uploads.close();
        let end = End { reason, time: Timestamp::now(), host: self.host.name.clone() };
        let outcome = self.put_commit(&Commit::End(end));
        self.is_over.store(true, Ordering::Relaxed);
        outcome
    }

    fn put_commit(&mut self, commit: &Commit) -> Result<()> {
        self.beats = None;
        match self.repository.put_commit(self.id, commit)? {
            Creation::Ours => Ok(()),
            Creation::Taken => Err(self.ended_by_another()),
        }
    }

    /// After its machine was suspended, for whatever time, the session may be over: then nothing more is done for it.
    fn check_after_suspension(&self) -> Result<()> {
        if let Some(suspension) = self.suspensions.suspension() {
            self.check_not_ended()?;
            self.suspensions.dealt_with(suspension);
        }
        Ok(())
    }

    fn check_not_ended(&self) -> Result<()> {
        match self.repository.storage.get(&object_name(&names::commit(&self.id))?, RECORD_BYTES_MAX) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            // Whatever it is, the name is taken.
            Ok(_) => Err(self.ended_by_another()),
            Err(error) if error.kind() == ErrorKind::Damaged => Err(self.ended_by_another()),
            Err(error) => Err(error.while_doing("cannot tell whether the session is over")),
        }
    }

    fn ended_by_another(&self) -> Error {
        self.is_over.store(true, Ordering::Relaxed);
        let message =
            format!("session {} was ended by another process; its snapshot is not committed", self.id);
        Error::new(ErrorKind::Fenced, message)
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if !self.is_over.load(Ordering::Relaxed) {
            // Ordering rule 5. If even this fails, the session is found dead later: by its process, boot or beats.
            let _ = self.put_end(EndReason::Failed);
        }
    }
}
