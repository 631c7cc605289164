//! The bytes of one file of a snapshot, or a folder as one file that other programs read.
//!
//! What must hold: the writer gets exactly the file's bytes, holes as zeros, or an error; what was written before an
//! error is a true beginning. Of a folder everything is written, or told.

mod ahead;
mod filling;
mod folder;
mod member;
mod taking;
mod tar;
mod zip;

use std::io::Write;

use rayon::ThreadPool;

use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind, Monitor, Result, Wrap};
use crate::compress::FrameWriter;
use crate::format::node::{NodeKind, Regular};
use crate::ops::list::path_components;
use crate::ops::pool::{pool, worker_count};
use crate::repository::{ChunkKind, Reader, Repository, SnapshotEntry};
use crate::tree::{Budget, Entry, Tree, Walk, check_length};
use ahead::{Ahead, Ready, Step};
use filling::Filling;
use folder::Folder;
use member::Sink;
use taking::Taking;

pub use member::Format;

/// What was written of a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DumpSummary {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Further names of objects with several, symbolic links, pipes, devices.
    pub others: u64,
    /// Sum of the sizes of the regular files.
    pub bytes: u64,
    /// Objects or attributes that were left out; each was told to the monitor.
    pub findings: u64,
    /// Of these: those whose stored bytes are damaged.
    pub damaged: u64,
    /// Objects that lost their extended attributes, which the format cannot hold.
    pub without_xattrs: u64,
    /// Further names of files that became files of their own, since the format knows no such names.
    pub links_as_copies: u64,
}

impl DumpSummary {
    const fn and(self, other: Self) -> Self {
        Self {
            files: self.files + other.files,
            directories: self.directories + other.directories,
            others: self.others + other.others,
            bytes: self.bytes.saturating_add(other.bytes),
            findings: self.findings + other.findings,
            damaged: self.damaged + other.damaged,
            without_xattrs: self.without_xattrs + other.without_xattrs,
            links_as_copies: self.links_as_copies + other.links_as_copies,
        }
    }
}

/// What stands at a path of a snapshot, to be written.
#[derive(Debug)]
pub struct Dump<'r> {
    repository: &'r Repository,
    snapshot: &'r SnapshotEntry,
    reader: Reader<'r>,
    /// The entry; the root of the snapshot has none.
    entry: Option<Entry>,
    /// The absolute path, without a slash at its end.
    path: Vec<u8>,
}

impl<'r> Dump<'r> {
    /// What stands at a path, or all of a snapshot. `NotFound` if the snapshot does not hold it.
    pub fn find(
        repository: &'r Repository,
        snapshot: &'r SnapshotEntry,
        path: Option<&[u8]>,
    ) -> Result<Self> {
        let reader = repository.reader()?;
        let components = path_components(path.unwrap_or_default())?;
        let entry = match components.is_empty() {
            true => None,
            false => Some(Tree::new(&reader).lookup(&snapshot.snapshot.tree, &components)?),
        };
        let path = components.iter().flat_map(|name| [b"/", *name].concat()).collect();
        Ok(Self { repository, snapshot, reader, entry, path })
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.regular().is_some()
    }

    /// Whether it is a directory.
    pub fn is_folder(&self) -> bool {
        let kind = self.entry.as_ref().map(|entry| &entry.node.kind);
        kind.is_none_or(|kind| matches!(kind, NodeKind::Directory(_)))
    }

    fn regular(&self) -> Option<&Regular> {
        match &self.entry.as_ref()?.node.kind {
            NodeKind::Regular(regular) => Some(regular),
            _ => None,
        }
    }

    /// Writes a file's bytes. `Usage` if it is no regular file.
    pub fn file(&self, output: &mut dyn Write, monitor: &dyn Monitor) -> Result<()> {
        let shown = show_path(if self.path.is_empty() { b"/" } else { &self.path });
        let no_file = || Error::new(ErrorKind::Usage, format!("{shown} is no regular file in the snapshot"));
        let (Some(entry), Some(regular)) = (&self.entry, self.regular()) else { return Err(no_file()) };
        let tree = Tree::new(&self.reader);
        let mut filling = Filling::whole(regular);
        let mut put =
            |bytes: &[u8]| output.write_all(bytes).wrap(|| format!("cannot write {shown} to the output"));
        if let Some(place) = &entry.bundle {
            filling.write(&tree.bundled(place, regular.size)?, &mut put)?;
        }
        let mut take = |content: &[u8]| {
            if monitor.cancelled() {
                return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
            }
            filling.write(content, &mut put)
        };
        if regular.content_bytes() <= self.window_bytes_min() {
            // Threads are not worth starting for less.
            tree.content(regular, &mut |chunk| {
                let content = self.reader.chunk(ChunkKind::Data, &chunk.id)?;
                check_length(&chunk.id, content.len() as u64, chunk.length)?;
                take(&content)
            })?;
        } else {
            read_file(tree, regular, &self.pool()?, self.window_bytes(), &mut take)?;
        }
        filling.finish(&mut put)?;
        output.flush().wrap(|| "cannot write the output")
    }

    /// Writes a folder and all below it, under the paths that these have below it; or a single object under its name.
    ///
    /// What is left out is told and counted. `Damaged` if a file turns out to be unreadable after its length was
    /// written: then the output ends in the middle of it.
    pub fn folder(
        &self,
        format: Format,
        output: &mut dyn Write,
        monitor: &dyn Monitor,
    ) -> Result<DumpSummary> {
        let summary = match format {
            Format::Tar => self.write(format, &mut tar::Tar::new(output), monitor)?,
            Format::TarZst => {
                let mut tar = tar::Tar::new(FrameWriter::new(output)?);
                let summary = self.write(format, &mut tar, monitor)?;
                let output = tar.into_output().finish().wrap(|| "cannot write the output")?;
                output.flush().wrap(|| "cannot write the output")?;
                summary
            }
            Format::Zip => self.write(format, &mut zip::Zip::new(output), monitor)?,
        };
        let note = |number: u64, one: &str, more: &str, what: &str| {
            match number {
                0 => {}
                1 => monitor.note(&format!("{one} {what}")),
                number => monitor.note(&format!("{number} {more} {what}")),
            };
        };
        let what = "extended attributes, which a zip file cannot hold";
        note(summary.without_xattrs, "1 entry lost its", "entries lost their", what);
        let what = "of other files became copies of them, since a zip file knows no further names";
        note(summary.links_as_copies, "1 further name", "further names", what);
        Ok(summary)
    }

    fn write(&self, format: Format, sink: &mut dyn Sink, monitor: &dyn Monitor) -> Result<DumpSummary> {
        let tree = Tree::new(&self.reader);
        let pool = self.pool()?;
        let base = self.base();
        let mut ahead = Ahead::new(&self.reader, &pool, self.window_bytes());
        let mut folder = Folder::new(tree, format, base.to_vec(), monitor);
        let mut taking = Taking::new(sink, base, monitor);
        let mut take = |ready| taking.take(ready);
        let planned = self.plan(tree, &mut folder, &mut ahead, &mut take);
        // What was planned before an error is written as well.
        let finished = ahead.finish(&mut take);
        planned.and(finished)?;
        let summary = taking.summary;
        sink.finish()?;
        Ok(summary.and(folder.summary))
    }

    fn plan(
        &self,
        tree: Tree<'_>,
        folder: &mut Folder<'_>,
        ahead: &mut Ahead<'_, folder::Mark>,
        take: ahead::Take<'_, folder::Mark>,
    ) -> Result<()> {
        let mut budget = Budget::of(&self.snapshot.snapshot);
        let root = match &self.entry {
            None => self.snapshot.snapshot.tree,
            Some(entry) => {
                budget.spend(entry)?;
                match entry.node.kind {
                    NodeKind::Directory(below) => {
                        folder.plan_own(entry.node.clone(), ahead)?;
                        below
                    }
                    _ => return folder.plan(entry.node.name.clone(), entry.clone(), ahead, take),
                }
            }
        };
        folder.plan_below(Walk::new(tree, root, budget), ahead, take)
    }

    /// The absolute path below which members have their names.
    fn base(&self) -> &[u8] {
        let is_below = self.is_folder();
        let end = if is_below { None } else { self.path.iter().rposition(|byte| *byte == b'/') };
        self.path.get(..end.unwrap_or(self.path.len())).unwrap_or_default()
    }

    fn pool(&self) -> Result<ThreadPool> {
        pool("dump", worker_count(self.repository, 0))
    }

    fn window_bytes_min(&self) -> u64 {
        2 * u64::from(self.repository.parameters().packing.segment_bytes)
    }

    fn window_bytes(&self) -> u64 {
        let window_bytes = (self.repository.memory().bytes() / 8) as u64;
        window_bytes.max(self.window_bytes_min())
    }
}

/// Writes a file's bytes. `NotFound` if the snapshot does not hold it, `Usage` if it is no regular file.
pub fn dump_file(
    repository: &Repository,
    snapshot: &SnapshotEntry,
    path: &[u8],
    output: &mut dyn Write,
    monitor: &dyn Monitor,
) -> Result<()> {
    Dump::find(repository, snapshot, Some(path))?.file(output, monitor)
}

/// Reads the content of a file by the threads of a pool, about `window_bytes` at a time, and gives it to `take` in order,
/// up to what cannot be read.
fn read_file(
    tree: Tree<'_>,
    regular: &Regular,
    pool: &ThreadPool,
    window_bytes: u64,
    take: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut give = |ready: Ready<()>| {
        let (steps, mut contents) = ready.into_parts();
        for step in steps {
            let Step::Part(part) = step else { continue };
            match contents.take_error(&part) {
                Some(error) => return Err(error),
                None => take(contents.part(&part).unwrap_or_default())?,
            }
        }
        Ok(())
    };
    let mut ahead = Ahead::new(tree.reader(), pool, window_bytes);
    let planned = tree.content(regular, &mut |chunk| {
        ahead.chunk(chunk)?;
        if ahead.is_full() { ahead.pass_on(&mut give) } else { Ok(()) }
    });
    // What lies before a page that cannot be read is given out as well.
    let finished = ahead.finish(&mut give);
    finished.and(planned)
}

fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "interrupted; what was written is not complete")
}
