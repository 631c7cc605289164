//! A stream as one file of a snapshot: standard input, or the output of a command.
//!
//! What must hold: the snapshot is made only after whoever made the stream said that it ended well; a dump that broke
//! off in the middle is no backup.

use std::io::Read;

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use crate::base::clock::Stopwatch;
use crate::base::{Monitor, Result, Timestamp, Wrap};
use crate::format::node::{ChunkRef, Content, Metadata, Node, NodeKind, Regular};
use crate::format::snapshot::{SourceOutcome, SourceStatus, Statistic};
use crate::ops::backup::big::batch_bytes;
use crate::ops::backup::roots::bare_directory;
use crate::ops::backup::{BackupOptions, Taken, interrupted};
use crate::ops::pool::{pool, worker_count};
use crate::repository::ChunkKind;
use crate::repository::Session;
use crate::tree::{DirectoryBuilder, ListBuilder};

/// Says whether a stream that was read to its end ended well.
pub type StreamEnd<'i> = Box<dyn FnOnce() -> Result<()> + Send + 'i>;

/// A stream to back up.
pub struct StreamInput<'i> {
    /// Its path in the snapshot.
    pub filename: String,
    /// Its bytes.
    pub reader: Box<dyn Read + Send + 'i>,
    /// Asked once the reader has given everything.
    pub end: StreamEnd<'i>,
}

impl std::fmt::Debug for StreamInput<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "StreamInput({})", self.filename)
    }
}

/// Reads and stores a stream; gives the root of a tree with this one file.
pub(super) fn take_stream(
    session: &Session<'_>,
    components: &[Vec<u8>],
    input: StreamInput<'_>,
    options: &BackupOptions,
    monitor: &dyn Monitor,
) -> Result<Taken> {
    let since = Stopwatch::start();
    let path = [b"/".as_slice(), &components.join(&b'/')].concat();
    monitor.begin(&path);
    let pool = pool("backup", worker_count(session.repository(), options.workers))?;
    let (content, size) = store(session, input.reader, &pool, monitor)?;
    (input.end)().wrap(|| "the stream did not end well; no snapshot was made")?;
    if monitor.cancelled() {
        return Err(interrupted());
    }
    let now = Timestamp::now();
    let process = rustix::process::getuid().as_raw();
    let group = rustix::process::getgid().as_raw();
    let owners = crate::fsmeta::owners::Owners::new();
    let metadata = Metadata {
        mode: 0o600,
        uid: process,
        gid: group,
        user: owners.user(process),
        group: owners.group(group),
        mtime: now,
        ctime: now,
        links: None,
    };
    let regular = Regular { size, content, extents: None, changed_while_read: false };
    let mut kind = NodeKind::Regular(regular);
    let mut tree = crate::base::ChunkId([0; 32]);
    for (depth, name) in components.iter().rev().enumerate() {
        let node = match depth {
            0 => Node {
                name: name.clone(),
                kind,
                metadata: metadata.clone(),
                xattrs: Vec::new(),
                kept: Vec::new(),
            },
            _ => bare_directory(name.clone(), tree),
        };
        let mut builder = DirectoryBuilder::new(session);
        builder.push(node, None)?;
        tree = builder.finish()?;
        kind = NodeKind::Directory(tree);
    }
    pool.install(|| session.settle())?;
    monitor.advance(1, 0);
    let milliseconds = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
    let source = SourceStatus {
        path,
        outcome: SourceOutcome::Complete,
        nodes: 1,
        bytes: size,
        findings: 0,
        duration_milliseconds: milliseconds,
        kept: Vec::new(),
    };
    let nodes = components.len() as u64;
    let statistics = [(Statistic::BytesRead, size)].into();
    let roots = Vec::new();
    Ok(Taken {
        tree,
        roots,
        nodes,
        bytes: size,
        statistics,
        findings: 0,
        sources: vec![source],
        excluded: 0,
        since,
    })
}

/// Tells what is read when it is read: of a slow stream, a batch may take hours.
struct Counted<'r> {
    reader: Box<dyn Read + Send + 'r>,
    monitor: &'r dyn Monitor,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.monitor.advance(0, count as u64);
        Ok(count)
    }
}

/// Stores all bytes of a reader: batch after batch, the chunks of a batch by all threads.
fn store(
    session: &Session<'_>,
    reader: Box<dyn Read + Send + '_>,
    pool: &rayon::ThreadPool,
    monitor: &dyn Monitor,
) -> Result<(Content, u64)> {
    let cutter = session.repository().cutter()?;
    let mut reader = Counted { reader, monitor };
    let mut list = ListBuilder::new();
    let mut held: Vec<u8> = Vec::new();
    let mut size = 0;
    loop {
        if monitor.cancelled() {
            return Err(interrupted());
        }
        let wanted = batch_bytes(session, &cutter).saturating_sub(held.len()) as u64;
        let read =
            reader.by_ref().take(wanted).read_to_end(&mut held).wrap(|| "cannot read the stream")? as u64;
        let is_all = read < wanted;
        let lengths = cutter.chunks(&held, is_all);
        let mut chunks = Vec::with_capacity(lengths.len());
        let mut rest = held.as_slice();
        for length in &lengths {
            let (chunk, after) = rest.split_at((*length).min(rest.len()));
            chunks.push(chunk);
            rest = after;
        }
        let stored: Result<Vec<ChunkRef>> = pool.install(|| {
            let store = |chunk: &&[u8]| {
                let id = session.store(ChunkKind::Data, chunk)?.id;
                Ok(ChunkRef { id, length: chunk.len() as u64 })
            };
            chunks.par_iter().map(store).collect()
        });
        stored?.into_iter().try_for_each(|chunk| list.push(session, chunk))?;
        let cut_bytes: usize = lengths.iter().sum();
        size += cut_bytes as u64;
        held = held.split_off(cut_bytes);
        if is_all {
            return Ok((list.finish(session)?, size));
        }
    }
}
