//! The bytes of one file of a snapshot.
//!
//! What must hold: the writer gets exactly the file's bytes, holes as zeros, or an error; what was written before an
//! error is a true beginning of the file.

mod ahead;

use std::io::Write;

use crate::base::{Error, ErrorKind, Monitor, Result, Wrap};
use crate::format::node::{Extent, NodeKind, Regular};
use crate::ops::list::path_components;
use crate::ops::pool::{pool, worker_count};
use crate::repository::ChunkKind;
use crate::repository::{Repository, SnapshotEntry};
use crate::tree::{Tree, check_length};

/// Zeros of holes are written in pieces of so many bytes.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Writes a file's bytes. `NotFound` if the snapshot does not hold it, `Usage` if it is no regular file.
pub fn dump_file(
    repository: &Repository,
    snapshot: &SnapshotEntry,
    path: &[u8],
    output: &mut (dyn Write + Send),
    monitor: &dyn Monitor,
) -> Result<()> {
    let reader = repository.reader()?;
    let tree = Tree::new(&reader);
    let shown = crate::base::monitor::show_path(path);
    let components = path_components(path)?;
    let no_file = || Error::new(ErrorKind::Usage, format!("{shown} is no regular file in the snapshot"));
    if components.is_empty() {
        return Err(no_file());
    }
    let entry = tree.lookup(&snapshot.snapshot.tree, &components)?;
    let NodeKind::Regular(regular) = &entry.node.kind else { return Err(no_file()) };
    let mut sink = Sink { output, extents: extents(regular), position: 0, shown };
    if let Some(place) = &entry.bundle {
        let content = tree.bundled(place, regular.size)?;
        sink.write(&content)?;
    }
    let mut take = |content: &[u8]| {
        if monitor.cancelled() {
            return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
        }
        sink.write(content)
    };
    // Threads are not worth starting for less.
    let ahead_bytes_min = 2 * u64::from(repository.parameters().packing.segment_bytes);
    if regular.content_bytes() <= ahead_bytes_min {
        tree.content(regular, &mut |chunk| {
            let content = reader.chunk(ChunkKind::Data, &chunk.id)?;
            check_length(&chunk.id, content.len() as u64, chunk.length)?;
            take(&content)
        })?;
    } else {
        let pool = pool("dump", worker_count(repository, 0))?;
        let window_bytes = (repository.memory().bytes() / 8) as u64;
        ahead::read(tree, regular, &pool, window_bytes.max(ahead_bytes_min), &mut take)?;
    }
    sink.fill_to(regular.size)?;
    sink.output.flush().wrap(|| "cannot write the output")
}

/// Where the content of a file lies in it, the next piece last.
fn extents(regular: &Regular) -> Vec<Extent> {
    let mut extents = match &regular.extents {
        Some(extents) => extents.clone(),
        None => vec![Extent { offset: 0, length: regular.size }],
    };
    extents.reverse();
    extents
}

struct Sink<'o> {
    output: &'o mut (dyn Write + Send),
    extents: Vec<Extent>,
    position: u64,
    shown: String,
}

impl Sink<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.output.write_all(bytes).wrap(|| format!("cannot write {} to the output", self.shown))?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn fill_to(&mut self, end: u64) -> Result<()> {
        while self.position < end {
            let length = usize::try_from(end - self.position).unwrap_or(usize::MAX).min(ZEROS.len());
            self.put(ZEROS.get(..length).unwrap_or_default())?;
        }
        Ok(())
    }

    /// Writes content, with zeros for the holes before each piece of it.
    fn write(&mut self, content: &[u8]) -> Result<()> {
        let mut rest = content;
        while !rest.is_empty() {
            let Some(extent) = self.extents.last().copied() else {
                return Err(Error::damaged("more content than the file has room for"));
            };
            self.fill_to(extent.offset)?;
            let length = rest.len().min(usize::try_from(extent.length).unwrap_or(usize::MAX));
            let (now, after) = rest.split_at(length);
            self.put(now)?;
            rest = after;
            self.extents.pop();
            if extent.length > length as u64 {
                let taken = length as u64;
                self.extents.push(Extent { offset: extent.offset + taken, length: extent.length - taken });
            }
        }
        Ok(())
    }
}
