//! The content of a large file in order, read by several threads ahead of the one that takes it.
//!
//! What must hold: whoever takes the content gets it in order and without a gap, up to the first chunk that cannot be
//! read; two windows of it are in memory, one that is read and one that is taken.

use rayon::ThreadPool;
use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use crate::base::{Error, Result};
use crate::format::node::{ChunkRef, Regular};
use crate::repository::{ChunkKind, Placement, Reader};
use crate::tree::{Tree, check_length};

/// Takes a piece of the content.
pub(super) type Take<'t> = &'t mut (dyn FnMut(&[u8]) -> Result<()> + Send);

/// Chunks that lie in one segment, one after the other in the file.
#[derive(Debug, Default)]
struct Group {
    chunks: Vec<(ChunkRef, Placement)>,
}

/// Reads a file by the threads of a pool, about `window_bytes` at a time, and gives it to `take` in order.
pub(super) fn read(
    tree: Tree<'_>,
    regular: &Regular,
    pool: &ThreadPool,
    window_bytes: u64,
    take: Take<'_>,
) -> Result<()> {
    let (groups, read) = (Vec::new(), Vec::new());
    let mut ahead = Ahead { reader: tree.reader(), pool, groups, bytes: 0, read, is_over: false };
    let planned = tree.content(regular, &mut |chunk| {
        ahead.add(chunk)?;
        if ahead.bytes >= window_bytes { ahead.go_on(take) } else { Ok(()) }
    });
    if !ahead.is_over {
        // What lies before a page that cannot be read is given out as well.
        ahead.go_on(take).and_then(|()| ahead.go_on(take))?;
    }
    planned
}

struct Ahead<'a> {
    reader: &'a Reader<'a>,
    pool: &'a ThreadPool,
    /// What is read next.
    groups: Vec<Group>,
    bytes: u64,
    /// What was read before, and waits to be taken.
    read: Vec<Result<Vec<u8>>>,
    /// Nothing more is to be taken.
    is_over: bool,
}

impl Ahead<'_> {
    fn add(&mut self, chunk: ChunkRef) -> Result<()> {
        let placement = self.reader.placement(&chunk.id)?;
        check_length(&chunk.id, u64::from(placement.length), chunk.length)?;
        self.bytes += chunk.length;
        let last = self
            .groups
            .last_mut()
            .filter(|group| group.chunks.last().is_some_and(|(_, last)| last.segment == placement.segment));
        match last {
            Some(group) => group.chunks.push((chunk, placement)),
            None => self.groups.push(Group { chunks: vec![(chunk, placement)] }),
        }
        Ok(())
    }

    /// Reads what was added, while what was read before is taken.
    fn go_on(&mut self, take: Take<'_>) -> Result<()> {
        let groups = std::mem::take(&mut self.groups);
        self.bytes = 0;
        let before = std::mem::take(&mut self.read);
        let (reader, read) = (self.reader, &mut self.read);
        let taken = self.pool.in_place_scope(|scope| {
            scope.spawn(|_| *read = groups.par_iter().map(|group| content(reader, group)).collect());
            before.into_iter().try_for_each(|piece| take(&piece?))
        });
        self.is_over = taken.is_err();
        taken
    }
}

/// The bytes of a group: a copy, since its segment may be much longer.
fn content(reader: &Reader<'_>, group: &Group) -> Result<Vec<u8>> {
    let bytes: u64 = group.chunks.iter().map(|(chunk, _)| chunk.length).sum();
    let too_long = |_| Error::damaged("a segment above the limit");
    let mut content = Vec::with_capacity(usize::try_from(bytes).map_err(too_long)?);
    let segment = group.chunks.first().map(|(_, placement)| reader.segment(&placement.segment));
    for (chunk, placement) in &group.chunks {
        let here = segment.as_ref().and_then(|segment| segment.as_ref().ok());
        match here.map(|segment| reader.chunk_of(segment, &chunk.id, placement)) {
            Some(Ok(bytes)) => content.extend_from_slice(bytes),
            // Where this place fails, another copy of the chunk may not.
            _ => {
                let bytes = reader.chunk(ChunkKind::Data, &chunk.id)?;
                check_length(&chunk.id, bytes.len() as u64, chunk.length)?;
                content.extend_from_slice(&bytes);
            }
        }
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::base::host::Host;
    use crate::base::monitor::Silent;
    use crate::format::node::NodeKind;
    use crate::ops::backup::{BackupOptions, backup_paths};
    use crate::ops::pool::pool;
    use crate::repository::tests::{new_repository_with_cache, remove_packs};

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
            let outcome = read(tree, &regular, &pool, window_bytes, &mut |piece| {
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
        // Of the chunks, which lie in several packs, one in the middle goes with its pack.
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
        assert_ne!(packs.first(), packs.get(packs.len() / 2));
        remove_packs(&memory, &packs[packs.len() / 2..][..1]);
        for window_bytes in WINDOWS {
            let (outcome, taken) = taken(window_bytes);
            outcome.expect_err("a pack is missing");
            assert!(taken.len() < content.len() && content.starts_with(&taken), "{window_bytes}");
        }
    }
}
