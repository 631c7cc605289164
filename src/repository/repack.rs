//! Writing the needed part of packs again, so that the packs can go: an ordinary session that ends before anything is
//! condemned.
//!
//! What must hold: a segment that is needed as a whole is sealed again as it is, not compressed again; of any other, each
//! needed chunk is checked against its name and stored anew. Everything is opened and compared again before it is
//! published, as for any pack. What was copied is durable before the session ends.

use std::collections::{BTreeSet, HashSet};

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use crate::base::host::Host;
use crate::base::{ChunkId, ContentName, Error, ErrorKind, Monitor, Result, Wrap};
use crate::crypto::{ChunkKind, Opener};
use crate::format::names;
use crate::format::pack::SegmentRow;
use crate::format::sealing::Role;
use crate::repository::held::Held;
use crate::repository::index::table::{PackRow, Place};
use crate::repository::object::object_name;
use crate::repository::pack::decode_segment;
use crate::repository::plan::{PrunePlan, Usage, needed_of};
use crate::repository::segment::ClosedSegment;
use crate::repository::view::View;
use crate::repository::{Repository, Session, SessionOptions};

/// So many packs are looked up in the index at a time.
const PACKS_AT_A_TIME: usize = 256;

/// What was written again.
#[derive(Debug, Default)]
pub struct Repacked {
    /// The packs of which a copy of all that is needed is now elsewhere.
    pub packs: HashSet<ContentName>,
    /// Stored bytes of new packs and index runs.
    pub written_bytes: u64,
}

impl Repository {
    /// Writes the needed part of the packs that a plan chose again, in tasks of the calling pool.
    pub fn repack(
        &self,
        view: &View,
        plan: &PrunePlan,
        host: &Host,
        options: SessionOptions,
        monitor: &dyn Monitor,
    ) -> Result<Repacked> {
        let usage = Usage::of(view, &HashSet::new())?;
        let session = self.start_session(host, options)?;
        let mut repacked = Repacked::default();
        for rows in plan.repack_rows.chunks(PACKS_AT_A_TIME) {
            let needed = needed_of(view, &usage, &rows.iter().copied().collect::<BTreeSet<u32>>())?;
            let of_packs: Vec<_> = needed.chunk_by(|(a, _), (b, _)| a.pack == b.pack).collect();
            let copy = |of_pack: &&[(Place, ChunkId)]| {
                if monitor.cancelled() {
                    return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
                }
                let pack = of_pack.first().and_then(|(place, _)| view.table().pack(place.pack));
                let pack = pack.ok_or_else(|| Error::damaged("the local index lacks a pack"))?;
                session.copy_pack(view, &pack, of_pack).wrap(|| format!("cannot copy pack {}", pack.name))?;
                monitor.advance(1, pack.size_bytes);
                Ok(pack.name)
            };
            let copied: Result<Vec<ContentName>> = of_packs.par_iter().map(copy).collect();
            repacked.packs.extend(copied?);
        }
        repacked.written_bytes = session.publish_all()?;
        Ok(repacked)
    }
}

impl Session<'_> {
    /// Stores chunks of one pack again, given in the order in which they lie.
    fn copy_pack(&self, view: &View, pack: &PackRow, chunks: &[(Place, ChunkId)]) -> Result<()> {
        let repository = self.repository();
        let name = object_name(&names::pack(&pack.name))?;
        let context = repository.context(pack.kind.pack_kind(), pack.generation, None);
        let opener = Opener::from_index(&repository.keys, &context, pack.session, pack.salt)?;
        for of_segment in chunks.chunk_by(|(a, _), (b, _)| a.segment == b.segment) {
            let number = of_segment.first().map_or(0, |(place, _)| place.segment);
            let row = view.table().segment(pack, number);
            let row = row.ok_or_else(|| Error::damaged("the local index lacks a segment"))?;
            let sealed =
                repository.storage.get_range(&name, u64::from(row.offset), row.stored_bytes as usize)?;
            let opened = opener
                .open(u64::from(number), Role::Body, &sealed)
                .wrap(|| format!("cannot use segment {number}"))?;
            self.copy_segment(pack.kind, &row, opened, of_segment)?;
        }
        Ok(())
    }

    /// Stores chunks of a segment that was opened, given in the order in which they lie; of another repository only if
    /// that is a sibling.
    pub(super) fn copy_segment(
        &self,
        kind: ChunkKind,
        row: &SegmentRow,
        opened: Vec<u8>,
        chunks: &[(Place, ChunkId)],
    ) -> Result<()> {
        let needed_bytes: u64 = chunks.iter().map(|(place, _)| u64::from(place.length)).sum();
        if needed_bytes == u64::from(row.raw_bytes) {
            self.count_new(kind, chunks.len() as u64, needed_bytes);
            let closed = ClosedSegment {
                stored: Held::copy_of(&opened),
                raw_bytes: row.raw_bytes,
                codec: row.codec,
                chunks: chunks.iter().map(|(place, id)| (*id, place.length)).collect(),
            };
            return self.add_to_pack(kind, closed);
        }
        let raw = decode_segment(opened, row.codec, row.raw_bytes as usize)?;
        for (place, id) in chunks {
            let start = place.offset as usize;
            let content = raw.get(start..start.saturating_add(place.length as usize));
            match content {
                Some(content) if self.repository().keys.chunk_id(kind, content) == *id => {
                    self.append(kind, *id, content)?;
                }
                _ => {
                    let message = format!("the bytes of chunk {id} are not those that it is named after");
                    return Err(Error::damaged(message));
                }
            }
        }
        Ok(())
    }
}
