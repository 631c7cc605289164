//! Looking at files that are there and may differ from what is stored: which ranges do, and which of the metadata.
//!
//! What must hold: nothing is changed, and nothing is fetched but lists of chunks: what is there is cut where the stored
//! content is and named by its hash; a file that cannot be told to be the same is taken to differ; memory is bounded by
//! one chunk for each thread and a bit for each chunk of the files that are looked at together.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::ThreadPool;
use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use crate::base::limits::CHUNK_BYTES_MAX;
use crate::base::{MetadataParts, Monitor, Result};
use crate::format::node::{ChunkRef, Content, Node, NodeKind, Regular, XattrValue};
use crate::fsmeta::apply::{ApplyOptions, CAPABILITY};
use crate::fsmeta::compare::{differing, xattrs_differ};
use crate::ops::restore::places::{for_each_place, holes};
use crate::ops::restore::target::{DirectoryNumber, Existing, Found, Target, TargetFile};
use crate::ops::restore::{RestoreOptions, interrupted};
use crate::tree::{Entry, Tree};

/// Chunks of one file that are looked at together.
const CHUNKS_TOGETHER: usize = 256;
/// How programs and libraries begin.
const PROGRAM_MAGIC: &[u8] = b"\x7fELF";
const EXECUTE_BITS: u16 = 0o111;
/// By which others than the owner read or write.
const OTHERS_BITS: u16 = 0o066;
const GROUP_BITS: u16 = 0o060;
/// Set-user-id and set-group-id.
const SET_ID_BITS: u16 = 0o6000;

/// What is looked at of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Its content was judged by its size and time; only the metadata is looked at.
    Metadata,
    /// All.
    Content,
}

/// A file that is there, and what is stored under its name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look<'a> {
    pub(super) directory: DirectoryNumber,
    pub(super) entry: &'a Entry,
    pub(super) found: Found,
    pub(super) depth: Depth,
}

/// What a look at a file tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The content is as stored; these parts of the metadata are not.
    Same(MetadataParts),
    /// Some ranges differ, and it can be changed where it is.
    Patch(Box<Patch>),
    /// Its content is stored together with that of others, of which some differ: only the stored bytes can tell. These
    /// parts of the metadata differ.
    Unsure(MetadataParts),
    /// It is to be replaced as a whole.
    Differs,
}

/// What is to be done to a file where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Patch {
    pub(super) found: Found,
    /// Which chunks are to be written, by their number in the content.
    pub(super) chunks: Bits,
    /// Bytes of these.
    pub(super) written_bytes: u64,
    /// What becomes a hole.
    pub(super) holes: Vec<Range<u64>>,
    /// What of the metadata differs.
    pub(super) parts: MetadataParts,
}

impl Patch {
    /// About what it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(self.chunks.0.as_slice()) + size_of_val(self.holes.as_slice())
    }
}

/// A set of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    fn insert(&mut self, number: usize) {
        let word = number / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        if let Some(bits) = self.0.get_mut(word) {
            *bits |= 1 << (number % 64);
        }
    }

    pub(super) fn contains(&self, number: usize) -> bool {
        self.0.get(number / 64).is_some_and(|bits| bits >> (number % 64) & 1 == 1)
    }
}

/// Looks at files.
pub(super) struct Looker<'r> {
    pub(super) tree: Tree<'r>,
    pub(super) target: &'r Target,
    pub(super) options: &'r RestoreOptions,
    pub(super) pool: &'r ThreadPool,
    pub(super) monitor: &'r dyn Monitor,
}

impl Looker<'_> {
    /// Whether the content of a small file that is there is this, which is fetched.
    pub(super) fn has_bundled(&self, look: &Look<'_>) -> bool {
        let Some(place) = &look.entry.bundle else { return false };
        let place_in_target = (look.directory, look.entry.node.name.as_slice());
        let stored = self.tree.bundled(place, look.entry.node.size());
        stored.is_ok_and(|bytes| {
            has_content(self.target, place_in_target, &look.found, &bytes, self.options.sparse)
        })
    }

    /// A verdict on each of several files.
    pub(super) fn verdicts(&self, looks: &[Look<'_>]) -> Vec<Verdict> {
        self.pool.install(|| {
            let mut verdicts: Vec<Verdict> = looks.par_iter().map(|look| self.verdict(look)).collect();
            self.settle_bundles(looks, &mut verdicts);
            verdicts
        })
    }

    fn verdict(&self, look: &Look<'_>) -> Verdict {
        let NodeKind::Regular(regular) = &look.entry.node.kind else { return Verdict::Differs };
        let parts = self.parts(look);
        let verdict = self.verdict_of(look, regular, parts);
        let is_kept = matches!(verdict, Verdict::Same(_) | Verdict::Unsure(_));
        if is_kept && self.gives_power(look, parts) { Verdict::Differs } else { verdict }
    }

    fn verdict_of(&self, look: &Look<'_>, regular: &Regular, parts: MetadataParts) -> Verdict {
        if look.depth == Depth::Metadata {
            return Verdict::Same(parts);
        }
        let can_differ = self.may_patch(look, regular, parts);
        if !can_differ && look.found.size != regular.size {
            return Verdict::Differs;
        }
        match regular.content {
            Content::Bundle(_) => Verdict::Unsure(parts),
            _ => self.look_into(look, regular, can_differ, parts).unwrap_or(Verdict::Differs),
        }
    }

    fn parts(&self, look: &Look<'_>) -> MetadataParts {
        let Look { directory, entry, found, .. } = look;
        parts_of_entry(self.tree, self.target, *directory, &entry.node, found, &self.options.apply)
    }

    /// Whether metadata that is set would give power to a file of somebody else, or to one that somebody may have open:
    /// then only a new one gets it.
    fn gives_power(&self, look: &Look<'_>, parts: MetadataParts) -> bool {
        let Node { metadata: stored, xattrs, .. } = &look.entry.node;
        let own = rustix::process::geteuid().as_raw();
        let is_foreign = look.found.uid != own && look.found.uid != stored.uid;
        let has_power = stored.mode & SET_ID_BITS != 0 || xattrs.iter().any(|xattr| xattr.name == CAPABILITY);
        let is_more_than_time = !MetadataParts { time: false, ..parts }.is_empty();
        !parts.is_empty() && (is_foreign || (has_power && is_more_than_time))
    }

    /// Whether a file may be changed where it is, judged by all but its content: long, no program, and open to nobody
    /// beside who may read what is stored; or left incomplete by a restore.
    fn may_patch(&self, look: &Look<'_>, regular: &Regular, parts: MetadataParts) -> bool {
        let Found { mode, size, uid, gid, .. } = look.found;
        let stored = &look.entry.node.metadata;
        let own = rustix::process::geteuid().as_raw();
        // Whoever has it open, by an old right, would read what is written.
        let owner = if self.options.apply.ownership { stored.uid } else { own };
        // Only root may mark the file of another as incomplete.
        if uid != own && (own != 0 || uid != owner) {
            return false;
        }
        if is_abandoned(look) {
            return true;
        }
        let is_as_closed = mode & OTHERS_BITS & !stored.mode == 0
            && (gid == stored.gid || mode & GROUP_BITS == 0)
            && !parts.xattrs;
        let is_long = regular.size >= self.options.in_place_bytes_min && size > 0;
        is_long && is_as_closed && (mode | stored.mode) & EXECUTE_BITS == 0
    }

    /// Compares chunk by chunk.
    fn look_into(
        &self,
        look: &Look<'_>,
        regular: &Regular,
        may_patch: bool,
        parts: MetadataParts,
    ) -> Result<Verdict> {
        let file = self.target.open_found(look.directory, &look.entry.node.name, &look.found)?;
        let has_holes = !self.options.sparse && file.next_hole(0)? < file.size();
        let content = ContentLook { looker: self, file: &file, regular, has_holes, stops: !may_patch };
        let found = content.run()?;
        let holes = content.filled_holes()?;
        let is_same = found.written_chunks == 0 && holes.is_empty() && file.size() == regular.size;
        if is_same {
            return Ok(Verdict::Same(parts));
        }
        // What has nothing in common is written as well beside it, where it appears at once.
        let is_worth_it = found.written_chunks < found.all_chunks || found.all_chunks == 0;
        let is_abandoned = is_abandoned(look);
        if !may_patch || !(is_worth_it || is_abandoned) {
            return Ok(Verdict::Differs);
        }
        let mut magic = [0; PROGRAM_MAGIC.len()];
        if !is_abandoned && file.read_at(&mut magic, 0)? && magic == PROGRAM_MAGIC {
            return Ok(Verdict::Differs);
        }
        // One that may not be written can still be replaced.
        drop(self.target.open_to_change(look.directory, &look.entry.node.name, &look.found)?);
        let (chunks, written_bytes) = (found.differing, found.written_bytes);
        Ok(Verdict::Patch(Box::new(Patch { found: look.found, chunks, written_bytes, holes, parts })))
    }

    /// Small files whose contents are stored together are the same if all of them are.
    fn settle_bundles(&self, looks: &[Look<'_>], verdicts: &mut [Verdict]) {
        let is_unsure =
            |(number, verdict): (usize, &Verdict)| matches!(verdict, Verdict::Unsure(_)).then_some(number);
        let unsure: Vec<usize> = verdicts.iter().enumerate().filter_map(is_unsure).collect();
        let bundle = |number: &usize| looks.get(*number).and_then(|look| Some((look.entry.bundle?, look)));
        let mut members: Vec<_> = unsure
            .iter()
            .filter_map(|number| bundle(number).map(|(place, look)| (place, *number, look)))
            .collect();
        members.sort_by_key(|(place, number, look)| (look.directory, place.id, place.offset, *number));
        let groups: Vec<_> =
            members.chunk_by(|a, b| a.0.id == b.0.id && a.2.directory == b.2.directory).collect();
        let same: Vec<bool> = groups
            .par_iter()
            .map(|group| {
                let mut bytes = Vec::new();
                let is_whole = group.iter().all(|(place, _, look)| {
                    place.offset == bytes.len() as u64 && self.append(look, &mut bytes).unwrap_or(false)
                });
                let first = group.first().map(|(place, _, _)| place);
                is_whole
                    && first.is_some_and(|place| {
                        place.bundle_bytes == bytes.len() as u64
                            && self.tree.reader().data_id(&bytes) == place.id
                    })
            })
            .collect();
        for (group, is_same) in groups.iter().zip(same) {
            for (_, number, _) in group.iter().filter(|_| is_same) {
                if let Some(verdict) = verdicts.get_mut(*number)
                    && let Verdict::Unsure(parts) = *verdict
                {
                    *verdict = Verdict::Same(parts);
                }
            }
        }
    }

    /// Adds the content of a file of the right size; false if it has another by now.
    fn append(&self, look: &Look<'_>, bytes: &mut Vec<u8>) -> Result<bool> {
        let file = self.target.open_found(look.directory, &look.entry.node.name, &look.found)?;
        let begin = bytes.len();
        let length = usize::try_from(file.size()).unwrap_or(usize::MAX).min(CHUNK_BYTES_MAX as usize);
        bytes.resize(begin + length, 0);
        let has_holes = !self.options.sparse && file.next_hole(0)? < file.size();
        Ok(!has_holes && file.read_at(bytes.get_mut(begin..).unwrap_or_default(), 0)?)
    }
}

/// Whether a file that is there has these bytes and no others, all of them as data.
pub(super) fn has_content(
    target: &Target,
    (directory, name): (DirectoryNumber, &[u8]),
    found: &Found,
    bytes: &[u8],
    sparse: bool,
) -> bool {
    let has = || -> Result<bool> {
        let file = target.open_found(directory, name, found)?;
        if file.size() != bytes.len() as u64 || (!sparse && file.next_hole(0)? < file.size()) {
            return Ok(false);
        }
        let mut buffer = vec![0; bytes.len()];
        Ok(file.read_at(&mut buffer, 0)? && buffer == bytes)
    };
    has().unwrap_or(false)
}

/// What of the metadata of an object that is there is not as stored. What cannot be read counts as differing.
pub(super) fn parts_of_entry(
    tree: Tree<'_>,
    target: &Target,
    directory: DirectoryNumber,
    node: &Node,
    found: &Found,
    apply: &ApplyOptions,
) -> MetadataParts {
    let parts = differing(&node.metadata, &found.actual(), apply);
    let captured = target.xattrs_of(directory, &node.name);
    let xattrs = captured.map_or(true, |captured| {
        xattrs_differ(&node.xattrs, &captured.attributes, apply, &|name| apply.removes(name), &is_value(tree))
    });
    MetadataParts { xattrs, ..parts }
}

/// What of the metadata of a directory that was entered is not as stored.
pub(super) fn parts_of_directory(
    tree: Tree<'_>,
    target: &Target,
    number: DirectoryNumber,
    node: &Node,
    found: &Found,
    apply: &ApplyOptions,
) -> MetadataParts {
    let parts = differing(&node.metadata, &found.actual(), apply);
    let captured = target.xattrs_of_directory(number);
    let xattrs = captured.map_or(true, |captured| {
        xattrs_differ(&node.xattrs, &captured.attributes, apply, &|name| apply.removes(name), &is_value(tree))
    });
    MetadataParts { xattrs, ..parts }
}

/// Tells without fetching whether bytes are the stored value of an attribute.
pub(in crate::ops) fn is_value(tree: Tree<'_>) -> impl Fn(&XattrValue, &[u8]) -> bool {
    move |stored, actual| match stored {
        XattrValue::Inline(bytes) => bytes == actual,
        XattrValue::Chunk(chunk) => {
            chunk.length == actual.len() as u64 && tree.reader().data_id(actual) == chunk.id
        }
    }
}

fn is_abandoned(look: &Look<'_>) -> bool {
    look.found.kind == Existing::File
        && look.found.has_unfinished_mode()
        && look.found.mtime != look.entry.node.metadata.mtime
}

/// Comparing one file.
struct ContentLook<'l, 'r> {
    looker: &'l Looker<'r>,
    file: &'l TargetFile,
    regular: &'l Regular,
    has_holes: bool,
    /// One difference is enough.
    stops: bool,
}

/// What of a file's content differs.
#[derive(Debug, Default)]
struct Differing {
    differing: Bits,
    written_chunks: usize,
    written_bytes: u64,
    all_chunks: usize,
}

impl ContentLook<'_, '_> {
    fn run(&self) -> Result<Differing> {
        let mut differing = Differing::default();
        let mut waiting: Vec<(u64, ChunkRef)> = Vec::with_capacity(CHUNKS_TOGETHER);
        let mut offset = 0;
        let visited = self.looker.tree.content(self.regular, &mut |chunk| {
            waiting.push((offset, chunk));
            offset += chunk.length;
            if waiting.len() >= CHUNKS_TOGETHER {
                self.compare(&mut waiting, &mut differing)?;
            }
            Ok(())
        });
        let compared = visited.and_then(|()| self.compare(&mut waiting, &mut differing));
        match compared {
            // Enough is known.
            Err(_) if self.stops && differing.written_chunks > 0 => Ok(differing),
            other => other.map(|()| differing),
        }
    }

    /// Compares what waits. Fails if there is a difference, and one is enough.
    fn compare(&self, waiting: &mut Vec<(u64, ChunkRef)>, differing: &mut Differing) -> Result<()> {
        if self.looker.monitor.cancelled() {
            return Err(interrupted());
        }
        let is_over = AtomicBool::new(false);
        let same: Vec<bool> = waiting
            .par_iter()
            .map_init(Vec::new, |buffer, (offset, chunk)| {
                let is_same = !is_over.load(Ordering::Relaxed) && self.has_chunk(*offset, chunk, buffer);
                if !is_same && self.stops {
                    is_over.store(true, Ordering::Relaxed);
                }
                is_same
            })
            .collect();
        for ((_, chunk), is_same) in waiting.drain(..).zip(same) {
            if !is_same {
                differing.differing.insert(differing.all_chunks);
                differing.written_chunks += 1;
                differing.written_bytes += chunk.length;
            }
            differing.all_chunks += 1;
        }
        if differing.written_chunks > 0 && self.stops { Err(interrupted()) } else { Ok(()) }
    }

    /// Whether the file has the bytes of a chunk where they belong. What cannot be read is written again.
    fn has_chunk(&self, content_offset: u64, chunk: &ChunkRef, buffer: &mut Vec<u8>) -> bool {
        let Some(length) = u32::try_from(chunk.length).ok().filter(|length| *length <= CHUNK_BYTES_MAX)
        else {
            return false;
        };
        buffer.resize(length as usize, 0);
        let (extents, size) = (self.regular.extents.as_deref(), self.regular.size);
        let mut is_there = true;
        let read = for_each_place(extents, size, content_offset, length as usize, &mut |range, offset| {
            let end = offset + range.len() as u64;
            is_there = is_there && end <= self.file.size();
            let part = buffer.get_mut(range).unwrap_or_default();
            is_there = is_there && self.file.read_at(part, offset)?;
            // Zeros that were stored as bytes are to be bytes.
            is_there = is_there && !(self.has_holes && self.file.next_hole(offset)? < end);
            Ok(())
        });
        read.is_ok() && is_there && self.looker.tree.reader().data_id(buffer) == chunk.id
    }

    /// The stored holes in which there is data.
    fn filled_holes(&self) -> Result<Vec<Range<u64>>> {
        let block = self.file.block_bytes();
        let mut filled = Vec::new();
        for hole in holes(self.regular).into_iter().filter(|hole| hole.start < self.file.size()) {
            let hole = hole.start..hole.end.min(self.file.size());
            // What is behind the end is cut off, and the rest of its block with it.
            let is_last = hole.end == self.file.size().min(self.regular.size);
            let whole =
                hole.start.next_multiple_of(block)..if is_last { hole.end } else { hole.end / block * block };
            let is_filled = |range: &Range<u64>| -> Result<bool> {
                let is_some = range.start < range.end;
                Ok(is_some && self.file.next_data(range.start)?.is_some_and(|data| data < range.end))
            };
            // Of the blocks at its ends only a part is hole, and they may hold data beside it.
            let ends = [hole.start..whole.start.min(hole.end), whole.end.max(hole.start)..hole.end];
            let is_dirty = is_filled(&whole)? || self.has_bytes(&ends)?;
            if is_dirty {
                filled.push(hole);
            }
        }
        Ok(filled)
    }

    fn has_bytes(&self, ranges: &[Range<u64>]) -> Result<bool> {
        for range in ranges.iter().filter(|range| range.start < range.end) {
            let length = usize::try_from(range.end - range.start).unwrap_or_default();
            let mut bytes = vec![0; length];
            if !self.file.read_at(&mut bytes, range.start)? || bytes.iter().any(|byte| *byte != 0) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_numbers_holds_what_was_put_into_it() {
        let mut bits = Bits::default();
        assert!(!bits.contains(0) && !bits.contains(1000));
        [0, 63, 64, 130].iter().for_each(|number| bits.insert(*number));
        let held: Vec<usize> = (0..200).filter(|number| bits.contains(*number)).collect();
        assert_eq!(held, [0, 63, 64, 130]);
    }
}
