//! Contents in order, read by several threads ahead of the one that takes them: of one large file, or of many files.
//!
//! What must hold: whoever takes gets what was planned in order and without a gap, and is told of each chunk that cannot
//! be read before anything behind it; two windows of chunks are in memory, one that is read and one that is taken; each
//! segment that a window needs is fetched once for it.

use std::collections::HashMap;

use rayon::ThreadPool;
use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use crate::base::{ChunkId, Error, Result};
use crate::format::node::ChunkRef;
use crate::repository::{ChunkKind, Placement, Reader};
use crate::tree::check_length;

/// The first window is so long, so that the first bytes come soon; each one is twice as long as the one before.
const FIRST_WINDOW_BYTES: u64 = 1 << 20;
/// So many bytes of segments are fetched by one task.
const FETCH_BYTES: u32 = 4 << 20;
/// What a step takes, beside what the mark of one holds.
const STEP_BYTES: u64 = 64;

/// One step of what was planned.
#[derive(Debug)]
pub(super) enum Step<M> {
    /// What whoever plans says to whoever takes.
    Mark(M),
    /// A part of a chunk.
    Part(Part),
}

/// A part of a chunk of the same window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    chunk: usize,
    start: u64,
    length: u64,
}

/// A chunk that is read.
#[derive(Debug)]
struct Planned {
    chunk: ChunkRef,
    placement: Placement,
}

/// What is read next.
#[derive(Debug)]
struct Window<M> {
    steps: Vec<Step<M>>,
    chunks: Vec<Planned>,
    known: HashMap<ChunkId, usize>,
    bytes: u64,
}

/// What was read, and waits to be taken.
#[derive(Debug)]
pub(super) struct Ready<M> {
    /// The steps in order.
    pub(super) steps: Vec<Step<M>>,
    contents: Contents,
}

/// The chunks of a window.
#[derive(Debug)]
pub(super) struct Contents(Vec<Result<Vec<u8>>>);

impl Contents {
    /// The bytes of a part; the error belongs to all parts of the same chunk.
    pub(super) fn part(&self, part: &Part) -> std::result::Result<&[u8], &Error> {
        match self.0.get(part.chunk) {
            Some(Ok(content)) => {
                let start = usize::try_from(part.start).unwrap_or(usize::MAX);
                let length = usize::try_from(part.length).unwrap_or(usize::MAX);
                // What was planned lies within the chunk.
                Ok(content.get(start..start.saturating_add(length)).unwrap_or_default())
            }
            Some(Err(error)) => Err(error),
            None => Ok(&[]),
        }
    }

    /// Takes the error of a part out, if it has one.
    pub(super) fn take_error(&mut self, part: &Part) -> Option<Error> {
        let content = self.0.get_mut(part.chunk).filter(|content| content.is_err())?;
        std::mem::replace(content, Err(Error::damaged("a chunk that could not be read"))).err()
    }
}

impl<M> Ready<M> {
    /// Its steps, and what they need.
    pub(super) fn into_parts(self) -> (Vec<Step<M>>, Contents) {
        (self.steps, self.contents)
    }
}

/// Takes a window.
pub(super) type Take<'t, M> = &'t mut dyn FnMut(Ready<M>) -> Result<()>;

/// Plans what is to be read, has it read, and given out.
pub(super) struct Ahead<'a, M> {
    reader: &'a Reader<'a>,
    pool: &'a ThreadPool,
    window_bytes: u64,
    window_bytes_max: u64,
    planned: Window<M>,
    read: Option<Ready<M>>,
    /// Nothing more is to be taken: what was given out was refused.
    is_over: bool,
}

impl<'a, M: Send> Ahead<'a, M> {
    /// Reads by the threads of a pool, at most about `window_bytes` at a time.
    pub(super) fn new(reader: &'a Reader<'a>, pool: &'a ThreadPool, window_bytes: u64) -> Self {
        Self {
            reader,
            pool,
            window_bytes: FIRST_WINDOW_BYTES.min(window_bytes),
            window_bytes_max: window_bytes,
            planned: Window::new(),
            read: None,
            is_over: false,
        }
    }

    /// Plans a mark, which takes so many bytes.
    pub(super) fn mark(&mut self, mark: M, bytes: usize) {
        self.planned.bytes += STEP_BYTES + bytes as u64;
        self.planned.steps.push(Step::Mark(mark));
    }

    /// Plans a whole chunk.
    pub(super) fn chunk(&mut self, chunk: ChunkRef) -> Result<()> {
        self.part(chunk, 0, chunk.length)
    }

    /// Plans a part of a chunk.
    pub(super) fn part(&mut self, chunk: ChunkRef, start: u64, length: u64) -> Result<()> {
        if start.checked_add(length).is_none_or(|end| end > chunk.length) {
            return Err(Error::damaged(format!("bundle {} is too short for its members", chunk.id)));
        }
        let number = match self.planned.known.get(&chunk.id) {
            Some(number) => *number,
            None => {
                let placement = place(self.reader, &chunk)?;
                let number = self.planned.chunks.len();
                self.planned.bytes += chunk.length;
                self.planned.chunks.push(Planned { chunk, placement });
                self.planned.known.insert(chunk.id, number);
                number
            }
        };
        self.planned.bytes += STEP_BYTES;
        self.planned.steps.push(Step::Part(Part { chunk: number, start, length }));
        Ok(())
    }

    /// Number of steps that are planned and not passed on.
    pub(super) fn len(&self) -> usize {
        self.planned.steps.len()
    }

    /// Forgets the steps from this number on, none of which was passed on.
    pub(super) fn forget(&mut self, from: usize) {
        self.planned.steps.truncate(from);
    }

    /// Whether as much is planned as is read at a time.
    pub(super) fn is_full(&self) -> bool {
        self.planned.bytes >= self.window_bytes
    }

    /// Whether so many bytes can be read at a time.
    pub(super) const fn can_hold(&self, bytes: u64) -> bool {
        bytes <= self.window_bytes_max
    }

    /// Whether so many bytes can be planned beside what is; any that can be held if nothing is.
    pub(super) const fn has_room(&self, bytes: u64) -> bool {
        self.planned.steps.is_empty() || self.planned.bytes.saturating_add(bytes) <= self.window_bytes
    }

    /// Reads what was planned, while what was read before is taken.
    pub(super) fn pass_on(&mut self, take: Take<'_, M>) -> Result<()> {
        let planned = std::mem::replace(&mut self.planned, Window::new());
        let before = self.read.take();
        self.window_bytes = self.window_bytes.saturating_mul(2).min(self.window_bytes_max);
        let (reader, read) = (self.reader, &mut self.read);
        let taken = self.pool.in_place_scope(|scope| {
            scope.spawn(|_| *read = Some(planned.read(reader)));
            before.map_or(Ok(()), take)
        });
        self.is_over = taken.is_err();
        taken
    }

    /// Gives out what was planned, unless what came before was refused.
    pub(super) fn finish(&mut self, take: Take<'_, M>) -> Result<()> {
        if self.is_over {
            return Ok(());
        }
        self.pass_on(take)?;
        self.read.take().map_or(Ok(()), take)
    }
}

/// Where a chunk lies, which must be as long as what names it says.
pub(super) fn place(reader: &Reader<'_>, chunk: &ChunkRef) -> Result<Placement> {
    let placement = reader.placement(&chunk.id)?;
    check_length(&chunk.id, u64::from(placement.length), chunk.length)?;
    Ok(placement)
}

impl<M> Window<M> {
    fn new() -> Self {
        Self { steps: Vec::new(), chunks: Vec::new(), known: HashMap::new(), bytes: 0 }
    }

    fn read(self, reader: &Reader<'_>) -> Ready<M> {
        let segment_bytes = reader.repository().parameters().packing.segment_bytes;
        let segments_max = usize::try_from(FETCH_BYTES / segment_bytes.max(1)).unwrap_or(1).max(1);
        let mut chunks: Vec<(usize, &Planned)> = self.chunks.iter().enumerate().collect();
        chunks.sort_unstable_by_key(|(_, planned)| (planned.placement.segment, planned.placement.offset));
        let is_same_segment = |(_, one): &(usize, &Planned), (_, other): &(usize, &Planned)| {
            one.placement.segment == other.placement.segment
        };
        let segments: Vec<&[(usize, &Planned)]> = chunks.chunk_by(is_same_segment).collect();
        let tasks: Vec<&[&[(usize, &Planned)]]> = segments
            .chunk_by(|one, other| match (one.first(), other.first()) {
                (Some((_, one)), Some((_, other))) => {
                    one.placement.segment.same_pack(&other.placement.segment)
                }
                _ => false,
            })
            .flat_map(|pack| pack.chunks(segments_max))
            .collect();
        let mut read: Vec<(usize, Result<Vec<u8>>)> =
            tasks.par_iter().flat_map_iter(|segments| contents(reader, segments)).collect();
        read.sort_unstable_by_key(|(number, _)| *number);
        Ready {
            steps: self.steps,
            contents: Contents(read.into_iter().map(|(_, content)| content).collect()),
        }
    }
}

/// The contents of the chunks of some segments of one pack: copies, since a segment may be much longer.
fn contents(reader: &Reader<'_>, segments: &[&[(usize, &Planned)]]) -> Vec<(usize, Result<Vec<u8>>)> {
    let firsts = segments.iter().filter_map(|chunks| chunks.first());
    let keys: Vec<_> = firsts.map(|(_, planned)| planned.placement.segment).collect();
    let read = reader.segments_in_order(&keys).unwrap_or_default();
    let mut contents = Vec::new();
    let mut read = read.into_iter();
    for chunks in segments {
        let segment = read.next().and_then(Result::ok);
        for (number, Planned { chunk, placement }) in *chunks {
            let here = segment.as_ref().map(|segment| reader.chunk_of(segment, &chunk.id, placement));
            let content = match here {
                Some(Ok(bytes)) => Ok(bytes.to_vec()),
                // Where this place fails, another copy of the chunk may not.
                _ => reader.chunk(ChunkKind::Data, &chunk.id).and_then(|bytes| {
                    check_length(&chunk.id, bytes.len() as u64, chunk.length)?;
                    Ok(bytes)
                }),
            };
            contents.push((*number, content));
        }
    }
    contents
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::base::host::Host;
    use crate::base::monitor::Silent;
    use crate::format::node::NodeKind;
    use crate::ops::backup::{BackupOptions, backup_paths};
    use crate::ops::dump::read_file;
    use crate::ops::pool::pool;
    use crate::repository::tests::{new_repository_with_cache, remove_packs};
    use crate::tree::Tree;

    const WINDOWS: [u64; 4] = [1, 10_000, 40_000, 1 << 20];

    #[test]
    fn any_window_gives_the_content_in_order_up_to_what_cannot_be_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let (memory, repository) = new_repository_with_cache(folder.path().join("cache"));
        let mut content = vec![0; 200_000];
        blake3::Hasher::new().finalize_xof().fill(&mut content);
        let source = folder.path().join("file");
        std::fs::write(&source, &content).expect("a file");
        let options = BackupOptions { workers: 2, ..BackupOptions::new(Host::current()) };
        let paths = [source.clone()];
        let backup = backup_paths(&repository, &paths, Path::new("/"), &options, &Silent).expect("a backup");
        let pool = pool("test", 2).expect("threads");
        let components: Vec<&[u8]> =
            source.to_str().expect("a path").split('/').skip(1).map(str::as_bytes).collect();
        // Each time by a reader that has kept nothing.
        let taken = |window_bytes: u64| {
            let reader = repository.reader().expect("a reader");
            let tree = Tree::new(&reader);
            let entry = tree.lookup(&backup.snapshot.tree, &components).expect("it is there");
            let NodeKind::Regular(regular) = entry.node.kind else { panic!("a regular file") };
            let mut taken = Vec::new();
            let outcome = read_file(tree, &regular, &pool, window_bytes, &mut |piece| {
                taken.extend_from_slice(piece);
                Ok(())
            });
            (outcome, taken)
        };
        for window_bytes in WINDOWS {
            let (outcome, taken) = taken(window_bytes);
            outcome.expect("all is there");
            assert!(taken == content, "{window_bytes}");
        }
        // Of the chunks, which lie in several packs, some behind the first go with their pack.
        let reader = repository.reader().expect("a reader");
        let tree = Tree::new(&reader);
        let entry = tree.lookup(&backup.snapshot.tree, &components).expect("it is there");
        let NodeKind::Regular(regular) = entry.node.kind else { panic!("a regular file") };
        let mut packs = Vec::new();
        tree.content(&regular, &mut |chunk| {
            packs.push(reader.pack_of(&reader.placement(&chunk.id)?.segment)?.0);
            Ok(())
        })
        .expect("placed");
        // Two threads filled them, in any order.
        let other = packs.iter().find(|pack| packs.first() != Some(pack)).expect("another pack");
        remove_packs(&memory, std::slice::from_ref(other));
        for window_bytes in WINDOWS {
            let (outcome, taken) = taken(window_bytes);
            outcome.expect_err("a pack is missing");
            assert!(taken.len() < content.len() && content.starts_with(&taken), "{window_bytes}");
        }
    }
}
