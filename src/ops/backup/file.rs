//! Reading everything that is no directory: small files at once, symbolic links, pipes, sockets, devices.
//!
//! What must hold: the node says what was read, not what was expected; a file that changes while it is read is read
//! again once, and then marked.

use crate::base::{Error, ErrorKind, FindingKind, Result};
use crate::format::node::{ChunkRef, Content, Extent, Node, NodeKind, Regular};
use crate::fsmeta::capture::{CapturedXattrs, Stat, StatKind, metadata};
use crate::ops::backup::run::{Run, SourceCounts};
use crate::repository::ChunkKind;
use crate::source::{Directory, File, Listed};
use crate::tree::ListBuilder;

/// Files up to this size are read by the task that meets them; larger ones in pieces by many.
const WHOLE_BYTES_MAX: u64 = 4 << 20;

/// Bytes that are read at a time of a file that is longer than it says.
const READ_BEYOND_BYTES: usize = 64 << 10;

/// What an entry became.
pub(super) enum Taken {
    /// Nothing: it is gone or unreadable, which is a finding by now.
    Nothing,
    /// A node, and the content of a file that joins a bundle.
    Node(Box<Node>, Option<Vec<u8>>),
    /// A file that has grown since it was listed, and is to be read in pieces after all.
    Big(Box<OpenFile>),
}

/// An opened regular file.
pub(super) struct OpenFile {
    pub(super) name: Vec<u8>,
    pub(super) file: File,
    pub(super) stat: Stat,
    pub(super) extents: Option<Vec<Extent>>,
}

impl OpenFile {
    /// Bytes of all pieces.
    fn content_bytes(&self) -> u64 {
        self.pieces().iter().map(|piece| piece.length).sum()
    }

    /// The pieces that hold data.
    pub(super) fn pieces(&self) -> Vec<Extent> {
        match &self.extents {
            Some(extents) => extents.clone(),
            None if self.stat.size == 0 => Vec::new(),
            None => vec![Extent { offset: 0, length: self.stat.size }],
        }
    }
}

/// True for a file that is to be read in pieces by many tasks.
pub(super) fn is_big(listed: &Listed) -> bool {
    listed.stat.kind == StatKind::Regular && listed.stat.size > WHOLE_BYTES_MAX
}

/// Reads one entry that is not big. Fails only where storing fails; what the source refuses is a finding.
pub(super) fn take(
    run: &Run<'_>,
    directory: &Directory,
    listed: &Listed,
    source: &SourceCounts,
    path: &dyn Fn() -> Vec<u8>,
) -> Result<Taken> {
    let taken = match listed.stat.kind {
        StatKind::Regular => match open(directory, &listed.name) {
            Ok(open) if open.content_bytes() > WHOLE_BYTES_MAX => return Ok(Taken::Big(Box::new(open))),
            Ok(open) => read_whole(run, directory, open, source, path)?,
            Err(error) => Err(error),
        },
        _ => read_special(run, directory, listed, source, path)?,
    };
    match taken {
        Ok((node, bundled)) => {
            source.add_node(node.size());
            run.monitor.advance(1, node.size());
            Ok(Taken::Node(Box::new(node), bundled))
        }
        Err(error) => {
            run.unreadable(source, path(), &error);
            Ok(Taken::Nothing)
        }
    }
}

pub(super) fn open(directory: &Directory, name: &[u8]) -> Result<OpenFile> {
    let file = directory.open_file(name)?;
    let stat = *file.stat_when_opened();
    let extents = file.data_extents(&stat)?;
    Ok(OpenFile { name: name.to_vec(), file, stat, extents })
}

/// A node, and the content of a file that joins a bundle; or why the source did not give it.
type Read = std::result::Result<(Node, Option<Vec<u8>>), Error>;

/// Content as it was read: the size of the file and the pieces that hold data, cut where the file ended.
pub(super) struct Piece {
    size: u64,
    extents: Option<Vec<Extent>>,
    bytes: Vec<u8>,
}

fn read_content(open: &OpenFile) -> Result<Piece> {
    let mut bytes = vec![0; usize::try_from(open.content_bytes()).unwrap_or(usize::MAX)];
    let mut filled = 0_usize;
    for piece in open.pieces() {
        let length = usize::try_from(piece.length).unwrap_or(usize::MAX);
        let Some(buffer) = bytes.get_mut(filled..filled.saturating_add(length)) else { break };
        let read = open.file.read_at(buffer, piece.offset)?;
        filled += read;
        if read < length {
            bytes.truncate(filled);
            let (size, extents) = cut(open.extents.as_deref(), piece.offset + read as u64);
            return Ok(Piece { size, extents, bytes });
        }
    }
    if open.extents.is_none() {
        read_beyond(open, &mut bytes)?;
        return Ok(Piece { size: bytes.len() as u64, extents: None, bytes });
    }
    Ok(Piece { size: open.stat.size, extents: open.extents.clone(), bytes })
}

/// Reads what a file has beyond its stated size: all of it where that is 0, as the files of `/proc` say; and what was
/// appended meanwhile, up to what is read at once.
fn read_beyond(open: &OpenFile, bytes: &mut Vec<u8>) -> Result<()> {
    let most = usize::try_from(WHOLE_BYTES_MAX).unwrap_or(usize::MAX);
    while bytes.len() < most {
        let begin = bytes.len();
        // One byte more tells that the file ends where it said.
        let step = if begin as u64 == open.stat.size { 1 } else { READ_BEYOND_BYTES };
        bytes.resize(begin + step.min(most - begin), 0);
        let read = open.file.read_at(bytes.get_mut(begin..).unwrap_or_default(), begin as u64)?;
        let is_end = begin + read < bytes.len();
        bytes.truncate(begin + read);
        if is_end {
            break;
        }
    }
    Ok(())
}

/// Size and extents of a file that turned out to end at `end`.
pub(super) fn cut(extents: Option<&[Extent]>, end: u64) -> (u64, Option<Vec<Extent>>) {
    let Some(extents) = extents else { return (end, None) };
    let left: Vec<Extent> = extents
        .iter()
        .filter(|extent| extent.offset < end)
        .map(|extent| Extent { offset: extent.offset, length: extent.length.min(end - extent.offset) })
        .collect();
    let has_hole = left.iter().map(|extent| extent.length).sum::<u64>() < end;
    (end, has_hole.then_some(left))
}

fn read_whole(
    run: &Run<'_>,
    directory: &Directory,
    mut open: OpenFile,
    source: &SourceCounts,
    path: &dyn Fn() -> Vec<u8>,
) -> Result<Read> {
    let mut is_again = false;
    let (content, changed) = loop {
        let content = match read_content(&open) {
            Ok(content) => content,
            Err(error) => return Ok(Err(error)),
        };
        run.add_bytes_read(content.bytes.len() as u64);
        let changed = match open.file.stat() {
            // Shorter than it says is a change, too, whatever it says.
            Ok(after) => !open.stat.same_content_as(&after) || content.size < open.stat.size,
            Err(error) => return Ok(Err(error)),
        };
        if !changed || is_again {
            break (content, changed);
        }
        is_again = true;
        // By name again: it may have been replaced, which is how most programs save.
        match self::open(directory, &open.name) {
            Ok(fresh) if fresh.content_bytes() <= WHOLE_BYTES_MAX => open = fresh,
            // It has grown beyond what is read at once: what was read stands, marked.
            Ok(_) => break (content, true),
            Err(error) => return Ok(Err(error)),
        }
    };
    if changed {
        run.finding(source, path(), FindingKind::Changed, "it changed while it was read, twice".into());
    }
    let bundling = run.session.repository().parameters().bundling;
    let length = content.bytes.len() as u64;
    let is_bundled = (1..=u64::from(bundling.file_bytes_max)).contains(&length)
        && content.extents.is_none()
        && open.stat.links == 1;
    let stored = if is_bundled { Content::Empty } else { store_content(run, &content.bytes)? };
    let kind = NodeKind::Regular(Regular {
        size: content.size,
        content: stored,
        extents: content.extents,
        changed_while_read: changed,
    });
    let node = node(run, source, path, open.name.clone(), kind, &open.stat, open.file.xattrs())?;
    Ok(Ok((node, is_bundled.then_some(content.bytes))))
}

fn store_content(run: &Run<'_>, content: &[u8]) -> Result<Content> {
    let mut list = ListBuilder::new();
    let mut rest = content;
    for length in run.cutter.chunks(content, true) {
        let (chunk, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        let id = run.session.store(ChunkKind::Data, chunk)?.id;
        list.push(run.session, ChunkRef { id, length: chunk.len() as u64 })?;
    }
    list.finish(run.session)
}

/// The node of an object whose kind, metadata and attributes are known.
pub(super) fn node(
    run: &Run<'_>,
    source: &SourceCounts,
    path: &dyn Fn() -> Vec<u8>,
    name: Vec<u8>,
    kind: NodeKind,
    stat: &Stat,
    xattrs: CapturedXattrs,
) -> Result<Node> {
    let xattrs = run.xattrs(source, path, xattrs)?;
    let metadata = metadata(stat, &run.owners, run.links(stat));
    Ok(Node { name, kind, metadata, xattrs, kept: Vec::new() })
}

fn read_special(
    run: &Run<'_>,
    directory: &Directory,
    listed: &Listed,
    source: &SourceCounts,
    path: &dyn Fn() -> Vec<u8>,
) -> Result<Read> {
    let kind = match listed.stat.kind {
        StatKind::Symlink => match directory.read_link(&listed.name) {
            Ok(target) => NodeKind::Symlink(target),
            Err(error) => return Ok(Err(error)),
        },
        StatKind::Fifo => NodeKind::Fifo,
        StatKind::Socket => NodeKind::Socket,
        StatKind::CharacterDevice { major, minor } => NodeKind::CharacterDevice { major, minor },
        StatKind::BlockDevice { major, minor } => NodeKind::BlockDevice { major, minor },
        StatKind::Regular | StatKind::Directory => {
            return Ok(Err(Error::new(ErrorKind::Failed, "it became another kind of object")));
        }
    };
    let xattrs = match directory.xattrs_at(&listed.name) {
        Ok(xattrs) => xattrs,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Err(error)),
        Err(error) => CapturedXattrs { attributes: Vec::new(), problems: vec![error.chain().join(": ")] },
    };
    node(run, source, path, listed.name.clone(), kind, &listed.stat, xattrs).map(|node| Ok((node, None)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_are_cut_where_a_file_turned_out_to_end() {
        let extent = |offset, length| Extent { offset, length };
        let extents = [extent(0, 4), extent(8, 4)];
        assert_eq!(cut(None, 5), (5, None));
        assert_eq!(cut(Some(&extents), 12), (12, Some(extents.to_vec())));
        assert_eq!(cut(Some(&extents), 10), (10, Some(vec![extent(0, 4), extent(8, 2)])));
        assert_eq!(cut(Some(&extents), 8), (8, Some(vec![extent(0, 4)])));
        assert_eq!(cut(Some(&extents), 4), (4, None));
        assert_eq!(cut(Some(&extents), 3), (3, None));
        assert_eq!(cut(Some(&[extent(8, 4)]), 8), (8, Some(Vec::new())));
        assert_eq!(cut(Some(&[extent(8, 4)]), 0), (0, None));
    }
}
