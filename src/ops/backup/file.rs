//! Reading everything that is no directory: small files at once, symbolic links, pipes, sockets, devices.
//!
//! What must hold: the node says what was read, not what was expected; a file that changes while it is read is read
//! again once, and then marked.

use crate::base::{Change, Error, ErrorKind, FindingKind, Result};
use crate::format::node::{ChunkRef, Content, Extent, Metadata, Node, NodeKind, Regular};
use crate::fsmeta::capture::{CapturedXattrs, Stat, StatKind, metadata};
use crate::ops::backup::changes::{Known, OldFile, TakenOver};
use crate::ops::backup::directory::Finished;
use crate::ops::backup::run::{Run, SourceCounts};
use crate::repository::ChunkKind;
use crate::source::{Directory, File, Listed};
use crate::tree::{Joined, ListBuilder, Member};

/// Bytes that are read at a time of a file that is longer than it says.
const READ_BEYOND_BYTES: usize = 64 << 10;

/// What an entry became.
pub(super) enum Taken {
    /// Nothing: it is gone or unreadable, which is a finding by now.
    Nothing,
    /// Part of the snapshot.
    Finished(Box<Finished>),
    /// A file that is to be read in pieces; opened, if it has only grown so large since it was listed.
    Big(Option<Box<OpenFile>>, Option<Box<Before>>),
}

/// What a regular file was in the earlier snapshot.
pub(super) type Before = (Metadata, Regular);

/// Where an entry stands, and what is known of its directory.
pub(super) struct Place<'p> {
    pub(super) directory: &'p Directory,
    pub(super) known: &'p Known,
    pub(super) margin_seconds: u32,
    pub(super) source: &'p SourceCounts,
    /// The path of what stands there under a name.
    pub(super) path: &'p dyn Fn(&[u8]) -> Vec<u8>,
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

/// Takes one entry that is no directory: over from before, or by reading it unless it is big. Fails only where storing
/// fails; what the source refuses is a finding.
///
/// Of what becomes a node, the name goes there.
pub(super) fn take(
    run: &Run<'_>,
    place: &Place<'_>,
    listed: &mut Listed,
    old: Option<OldFile>,
) -> Result<Taken> {
    let is_regular = listed.stat.kind == StatKind::Regular;
    let mut before = None;
    if is_regular {
        before = old.as_ref().and_then(OldFile::regular);
        let taken_over = match old {
            Some(old) => {
                let is_bundled = run.is_bundled(listed.stat.size, &listed.stat);
                let (known, margin_seconds) = (place.known, place.margin_seconds);
                run.earlier.take_over(old, known, &listed.stat, margin_seconds, is_bundled)?
            }
            None => None,
        };
        if let Some(taken_over) = taken_over {
            return take_over(run, place, listed, taken_over);
        }
        if listed.stat.size > run.whole_bytes_max {
            return Ok(Taken::Big(None, before.map(Box::new)));
        }
    }
    let taken = match is_regular {
        true => match read_as_listed(run, place, listed)? {
            Some(read) => read,
            None => match open(place.directory, &listed.name) {
                Ok(open) if open.content_bytes() > run.whole_bytes_max => {
                    return Ok(Taken::Big(Some(Box::new(open)), before.map(Box::new)));
                }
                Ok(open) => read_whole(run, place, open)?,
                Err(error) => Err(error),
            },
        },
        false => read_special(run, place, listed)?,
    };
    match taken {
        Ok(finished) => {
            if is_regular {
                let change = change(before.as_ref(), &finished.node);
                run.count_file(change, finished.node.size(), &|| (place.path)(&finished.node.name));
            }
            Ok(done(run, place, finished))
        }
        Err(error) => {
            run.unreadable(place.source, (place.path)(&listed.name), &error);
            Ok(Taken::Nothing)
        }
    }
}

/// How a regular file that was read compares with what it was. Of two files in bundles the times tell.
pub(super) fn change(before: Option<&Before>, after: &Node) -> Change {
    let NodeKind::Regular(regular) = &after.kind else { return Change::New };
    let is_bundled = |content: &Content| matches!(content, Content::Bundle(_) | Content::Empty);
    match before {
        None => Change::New,
        Some((metadata, old)) => {
            let has_same_content =
                old.content == regular.content || (is_bundled(&old.content) && is_bundled(&regular.content));
            let is_same = *metadata == after.metadata && old.size == regular.size && has_same_content;
            if is_same { Change::Unmodified } else { Change::Changed }
        }
    }
}

fn done(run: &Run<'_>, place: &Place<'_>, finished: Finished) -> Taken {
    place.source.add_node(finished.node.size());
    run.monitor.advance(1, finished.node.size());
    Taken::Finished(Box::new(finished))
}

/// A file whose content is taken over; its metadata are those of now.
fn take_over(run: &Run<'_>, place: &Place<'_>, listed: &mut Listed, taken_over: TakenOver) -> Result<Taken> {
    let TakenOver { regular, member, xattrs } = taken_over;
    let (xattrs, is_sound) = match xattrs {
        Some(xattrs) => (xattrs, true),
        None => match xattrs_at(place, &listed.name) {
            Ok(captured) => {
                let is_sound = captured.problems.is_empty();
                let path = || (place.path)(&listed.name);
                (run.xattrs(place.source, path, captured)?, is_sound)
            }
            Err(error) => {
                run.unreadable(place.source, (place.path)(&listed.name), &error);
                return Ok(Taken::Nothing);
            }
        },
    };
    let metadata = metadata(&listed.stat, &run.owners, run.links(&listed.stat));
    let kind = NodeKind::Regular(regular);
    let name = std::mem::take(&mut listed.name);
    let node = Node { name, kind, metadata, xattrs, kept: Vec::new() };
    let inode = if is_sound { listed.stat.inode } else { 0 };
    run.count_file(Change::Unmodified, node.size(), &|| (place.path)(&node.name));
    Ok(done(run, place, Finished { node, member, inode }))
}

/// The attributes of an object that is not opened; only that it is gone is an error.
fn xattrs_at(place: &Place<'_>, name: &[u8]) -> Result<CapturedXattrs> {
    match place.directory.xattrs_at(name) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Ok(CapturedXattrs { attributes: Vec::new(), problems: vec![error.chain().join(": ")] })
        }
        other => other,
    }
}

/// The content of a file that is still as it was when it was listed.
pub(super) fn read_same(directory: &Directory, joined: &Joined) -> Option<Vec<u8>> {
    let open = open(directory, &joined.name).ok()?;
    let is_same =
        |stat: &Stat| (stat.size, stat.mtime, stat.ctime) == (joined.size, joined.mtime, joined.ctime);
    // It is short enough for a bundle, and longer than it says only if it changed.
    let content = read_content(&open, joined.size.saturating_add(1), Vec::new())
        .ok()
        .filter(|_| is_same(&open.stat))?;
    let is_whole = content.extents.is_none() && content.bytes.len() as u64 == joined.size;
    (is_whole && open.file.stat().is_ok_and(|after| is_same(&after))).then_some(content.bytes)
}

pub(super) fn open(directory: &Directory, name: &[u8]) -> Result<OpenFile> {
    let file = directory.open_file(name)?;
    let stat = *file.stat_when_opened();
    let extents = file.data_extents(&stat)?;
    Ok(OpenFile { name: name.to_vec(), file, stat, extents })
}

/// What was read; or why the source did not give it.
type Read = std::result::Result<Finished, Error>;

/// Content as it was read: the size of the file and the pieces that hold data, cut where the file ended.
pub(super) struct Piece {
    size: u64,
    extents: Option<Vec<Extent>>,
    bytes: Vec<u8>,
}

fn read_content(open: &OpenFile, bytes_max: u64, mut bytes: Vec<u8>) -> Result<Piece> {
    bytes.resize(usize::try_from(open.content_bytes()).unwrap_or(usize::MAX), 0);
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
        read_beyond(open, bytes_max, &mut bytes)?;
        return Ok(Piece { size: bytes.len() as u64, extents: None, bytes });
    }
    Ok(Piece { size: open.stat.size, extents: open.extents.clone(), bytes })
}

/// Reads what a file has beyond its stated size: all of it where that is 0, as the files of `/proc` say; and what was
/// appended meanwhile, up to what is read at once.
fn read_beyond(open: &OpenFile, bytes_max: u64, bytes: &mut Vec<u8>) -> Result<()> {
    let most = usize::try_from(bytes_max).unwrap_or(usize::MAX);
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

/// Reads a file that is as it was listed, and has no holes, by as few calls of the system as can be; nothing if it is to
/// be read with more care.
fn read_as_listed(run: &Run<'_>, place: &Place<'_>, listed: &mut Listed) -> Result<Option<Read>> {
    // The files of `/proc` say so, whatever is in them, and some give it but once.
    if listed.stat.size == 0 {
        return Ok(None);
    }
    let mut bytes = run.buffers.take();
    let read = place.directory.read_as_expected(&listed.name, &listed.stat, &mut bytes);
    let finished = match read {
        Ok(Some(file)) => {
            run.add_bytes_read(bytes.len() as u64);
            let (name, stat) = (std::mem::take(&mut listed.name), file.stat_when_opened());
            let (size, extents, bytes) = (stat.size, None, bytes.as_slice());
            let read = WasRead { name, file: &file, stat, size, extents, bytes, has_changed: false };
            Some(Ok(store_read(run, place, read)?))
        }
        Ok(None) => None,
        Err(error) => Some(Err(error)),
    };
    run.buffers.give_back(bytes);
    Ok(finished)
}

fn read_whole(run: &Run<'_>, place: &Place<'_>, mut open: OpenFile) -> Result<Read> {
    let mut is_again = false;
    let (content, changed) = loop {
        let content = match read_content(&open, run.whole_bytes_max, run.buffers.take()) {
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
        match self::open(place.directory, &open.name) {
            Ok(fresh) if fresh.content_bytes() <= run.whole_bytes_max => open = fresh,
            // It has grown beyond what is read at once: what was read stands, marked.
            Ok(_) => break (content, true),
            Err(error) => return Ok(Err(error)),
        }
    };
    if changed {
        run.finding(
            place.source,
            (place.path)(&open.name),
            FindingKind::Changed,
            "it changed while it was read, twice".into(),
        );
    }
    let Piece { size, extents, bytes } = content;
    let OpenFile { name, file, stat, .. } = open;
    let read = WasRead { name, file: &file, stat: &stat, size, extents, bytes: &bytes, has_changed: changed };
    let finished = store_read(run, place, read)?;
    run.buffers.give_back(bytes);
    Ok(Ok(finished))
}

/// A file that was read as a whole.
struct WasRead<'r> {
    name: Vec<u8>,
    file: &'r File,
    stat: &'r Stat,
    size: u64,
    extents: Option<Vec<Extent>>,
    bytes: &'r [u8],
    has_changed: bool,
}

/// Stores the content of a file, unless it is to join a bundle.
fn store_read(run: &Run<'_>, place: &Place<'_>, read: WasRead<'_>) -> Result<Finished> {
    let WasRead { name, file, stat, size, extents, bytes, has_changed } = read;
    let is_bundled = extents.is_none() && run.is_bundled(bytes.len() as u64, stat);
    let content = if is_bundled { Content::Empty } else { store_content(run, bytes)? };
    let kind = NodeKind::Regular(Regular { size, content, extents, changed_while_read: has_changed });
    let mut finished = finished(run, place.source, place.path, name, kind, stat, file.xattrs())?;
    // A copy of its own size: the buffer is larger, and is used again.
    finished.member = is_bundled.then(|| Member::Content(bytes.to_vec()));
    Ok(finished)
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

/// What an object became whose kind, metadata and attributes are known.
pub(super) fn finished(
    run: &Run<'_>,
    source: &SourceCounts,
    path: &dyn Fn(&[u8]) -> Vec<u8>,
    name: Vec<u8>,
    kind: NodeKind,
    stat: &Stat,
    xattrs: CapturedXattrs,
) -> Result<Finished> {
    let is_changing = matches!(&kind, NodeKind::Regular(regular) if regular.changed_while_read);
    let is_sound = xattrs.problems.is_empty() && !is_changing;
    let xattrs = run.xattrs(source, || path(&name), xattrs)?;
    let metadata = metadata(stat, &run.owners, run.links(stat));
    let node = Node { name, kind, metadata, xattrs, kept: Vec::new() };
    Ok(Finished { node, member: None, inode: if is_sound { stat.inode } else { 0 } })
}

fn read_special(run: &Run<'_>, place: &Place<'_>, listed: &mut Listed) -> Result<Read> {
    let kind = match listed.stat.kind {
        StatKind::Symlink => match place.directory.read_link(&listed.name) {
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
    let xattrs = match xattrs_at(place, &listed.name) {
        Ok(xattrs) => xattrs,
        Err(error) => return Ok(Err(error)),
    };
    let name = std::mem::take(&mut listed.name);
    finished(run, place.source, place.path, name, kind, &listed.stat, xattrs).map(Ok)
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
