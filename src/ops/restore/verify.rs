//! Reading a restored file back.
//!
//! What must hold: every byte of the file is compared with what the snapshot says of it, holes included, through the
//! file's own descriptor; what is read comes from the disk where the system allows it, once it was written out.

use crate::base::limits::CHUNK_BYTES_MAX;
use crate::base::{Error, ErrorKind, Result};
use crate::format::node::Regular;
use crate::ops::restore::places::{for_each_place, holes};
use crate::ops::restore::target::TargetFile;
use crate::repository::ChunkKind;
use crate::tree::{BundlePlace, Tree};

/// Bytes of a hole that are read together, where the file system filled it.
const HOLE_READ_BYTES: u64 = 64 << 10;

/// Fails if the file is not as it was stored.
pub(super) fn verify(
    tree: Tree<'_>,
    file: &TargetFile,
    regular: &Regular,
    bundle: Option<&BundlePlace>,
) -> Result<()> {
    if file.size() != regular.size {
        let (size, stored) = (file.size(), regular.size);
        let message = format!("it has {size} bytes after writing, where {stored} were stored");
        return Err(Error::new(ErrorKind::Failed, message));
    }
    file.drop_cached();
    if let Some(place) = bundle {
        let stored = tree.bundled(place, regular.size)?;
        let mut buffer = vec![0; stored.len()];
        let is_same = file.read_at(&mut buffer, 0)? && buffer == stored;
        return if is_same { Ok(()) } else { Err(differs(0, regular.size)) };
    }
    let mut content_offset = 0;
    let mut buffer = Vec::new();
    tree.content(regular, &mut |chunk| {
        let length = u32::try_from(chunk.length).ok().filter(|length| *length <= CHUNK_BYTES_MAX);
        let length = length.ok_or_else(|| Error::damaged("a chunk above the limit"))? as usize;
        buffer.resize(length, 0);
        let mut is_there = true;
        let mut first = None;
        let extents = regular.extents.as_deref();
        for_each_place(extents, regular.size, content_offset, length, &mut |range, offset| {
            first.get_or_insert(offset);
            let part = buffer.get_mut(range).unwrap_or_default();
            is_there = is_there && file.read_at(part, offset)?;
            Ok(())
        })?;
        if !is_there || tree.reader().chunk_id(ChunkKind::Data, &buffer) != chunk.id {
            return Err(differs(first.unwrap_or_default(), chunk.length));
        }
        content_offset += chunk.length;
        Ok(())
    })?;
    for hole in holes(regular) {
        let mut at = hole.start;
        while let Some(data) = file.next_data(at)?.filter(|data| *data < hole.end) {
            let length = (hole.end - data).min(HOLE_READ_BYTES);
            buffer.resize(usize::try_from(length).unwrap_or_default(), 0);
            if !file.read_at(&mut buffer, data)? || buffer.iter().any(|byte| *byte != 0) {
                return Err(differs(data, length));
            }
            at = data + length;
        }
    }
    Ok(())
}

fn differs(offset: u64, length: u64) -> Error {
    let message = format!("read back, its {length} bytes from {offset} on are not those that were stored");
    Error::new(ErrorKind::Failed, message)
}
