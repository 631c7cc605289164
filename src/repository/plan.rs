//! What a prune would do, computed from one view and touching nothing.
//!
//! What must hold: of every needed chunk one place that counts stays outside of what goes; packs of sessions that still
//! run are left alone; what is left to others' packs does not depend on the order of anything but names.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};

use crate::base::{ChunkId, ContentName, ErrorKind, Monitor, Result, SessionId, Thawing};
use crate::crypto::ChunkKind;
use crate::format::sealing::{HEADER_BYTES, Header, ObjectKind};
use crate::repository::index::table::{PackRow, Place, Table};
use crate::repository::object::object_name;
use crate::repository::view::View;
use crate::repository::{ObjectCount, Repository};

/// Fewer small packs than these are not worth joining, unless together they fill one.
const SMALL_PACKS_MIN: usize = 8;
/// A pack is small below this part of a full one.
const SMALL_PART: u64 = 4;
/// Two packs are equally well used if they are so in sixteenths: rounding is to decide nothing.
const FILL_STEPS: u128 = 16;

/// How many bytes of what is stored may be in packs and needed by nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxUnused {
    /// In hundredths of a per cent of all bytes in packs that stay.
    Share(u32),
    /// So many bytes.
    Bytes(u64),
    /// Any number: nothing is written again for that.
    Unlimited,
}

/// How far a prune goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// What may stay unused.
    pub max_unused: MaxUnused,
    /// Packs of at most so many bytes are written again; none: without limit.
    pub max_repack_bytes: Option<u64>,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self { max_unused: MaxUnused::Share(500), max_repack_bytes: None }
    }
}

/// What a prune would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrunePlan {
    /// All packs that are there.
    pub packs: ObjectCount,
    /// Stored bytes of chunks that snapshots need.
    pub needed_bytes: u64,
    /// Packs that go because nobody needs anything of them.
    pub remove: ObjectCount,
    /// Of these, packs that no index run names, or not with the size that they have.
    pub remove_unindexed: ObjectCount,
    /// Packs of which the needed part is written again, before they go.
    pub repack: ObjectCount,
    /// What of them is needed, and is written again.
    pub repack_needed_bytes: u64,
    /// Unneeded bytes in packs that stay.
    pub unused_bytes: u64,
    /// Unneeded packs that stay because the sessions that wrote them still run.
    pub in_use: ObjectCount,
    /// Packs that a verdict named and that came back.
    pub returned: ObjectCount,
    pub(super) remove_names: Vec<ContentName>,
    /// Rows of packs in the index.
    pub(super) repack_rows: Vec<u32>,
}

impl PrunePlan {
    /// Bytes of packs that will be free.
    pub const fn freed_bytes(&self) -> u64 {
        (self.remove.size_bytes + self.repack.size_bytes + self.returned.size_bytes)
            .saturating_sub(self.repack_needed_bytes)
    }

    /// Whether a prune would do nothing to packs.
    pub const fn is_empty(&self) -> bool {
        self.remove.count == 0 && self.repack.count == 0 && self.returned.count == 0
    }
}

/// Where each needed chunk is taken to lie, and what that makes of the packs.
pub(super) struct Usage {
    ranks: Vec<Rank>,
    needed_bytes: Vec<u64>,
    unused_bytes: Vec<u64>,
}

/// Of two copies of a chunk the one in the pack of the higher rank counts.
type Rank = (bool, u128, u64, Reverse<u32>);

impl Usage {
    /// Takes it that packs of which another copy was just made are to go.
    pub(super) fn of(view: &View, copied: &HashSet<ContentName>) -> Result<Self> {
        let table = view.table();
        let count = table.pack_count();
        let mut needed_bytes = vec![0_u64; count];
        view.chunks(|_, is_needed, places| {
            for place in places.iter().filter(|_| is_needed) {
                add(&mut needed_bytes, place.pack, stored_bytes(table, place));
            }
            Ok(())
        })?;
        let ranks = view.packs().map(|(number, pack)| {
            let needed = needed_bytes.get(number as usize).copied().unwrap_or_default();
            let filled = u128::from(needed) * FILL_STEPS / u128::from(pack.size_bytes.max(1));
            (!copied.contains(&pack.name), filled, needed, Reverse(number))
        });
        let mut usage =
            Self { ranks: ranks.collect(), needed_bytes: vec![0; count], unused_bytes: vec![0; count] };
        view.chunks(|_, is_needed, places| {
            let holder = usage.holder(places).filter(|_| is_needed);
            for place in places {
                let bytes = stored_bytes(table, place);
                match holder == Some(place.pack) {
                    true => add(&mut usage.needed_bytes, place.pack, bytes),
                    false => add(&mut usage.unused_bytes, place.pack, bytes),
                }
            }
            Ok(())
        })?;
        Ok(usage)
    }

    /// The pack in which a needed chunk is taken to lie.
    pub(super) fn holder(&self, places: &[Place]) -> Option<u32> {
        places.iter().map(|place| place.pack).max_by_key(|pack| self.ranks.get(*pack as usize))
    }

    fn needed(&self, pack: u32) -> u64 {
        self.needed_bytes.get(pack as usize).copied().unwrap_or_default()
    }

    fn unused(&self, pack: u32) -> u64 {
        self.unused_bytes.get(pack as usize).copied().unwrap_or_default()
    }
}

fn add(bytes: &mut [u64], pack: u32, more: u64) {
    if let Some(sum) = bytes.get_mut(pack as usize) {
        *sum += more;
    }
}

/// A chunk's share of its stored segment; at least a byte, so that no needed chunk counts for nothing.
fn stored_bytes(table: &Table, place: &Place) -> u64 {
    let segment = table.pack(place.pack).and_then(|pack| table.segment(&pack, place.segment));
    let share = segment.and_then(|segment| {
        (u64::from(place.length) * u64::from(segment.stored_bytes)).checked_div(u64::from(segment.raw_bytes))
    });
    share.unwrap_or_default().max(1)
}

impl Repository {
    /// What a prune would do of what a view shows, while these sessions run.
    pub fn plan_prune(
        &self,
        view: &View,
        live: &BTreeSet<SessionId>,
        copied: &HashSet<ContentName>,
        options: PlanOptions,
    ) -> Result<PrunePlan> {
        let usage = Usage::of(view, copied)?;
        // A session may have committed after the view looked at snapshots, and be over by now.
        let is_live = |session: &SessionId| live.contains(session) || view.live_before.contains(session);
        let mut plan = PrunePlan::default();
        let mut stay: Vec<(u32, PackRow)> = Vec::new();
        for (number, pack) in view.packs().filter(|(number, _)| view.counts(*number)) {
            plan.packs.add(pack.size_bytes);
            plan.needed_bytes += usage.needed(number);
            let is_live = is_live(&pack.session);
            match usage.needed(number) {
                0 if is_live => plan.in_use.add(pack.size_bytes),
                0 => {
                    plan.remove.add(pack.size_bytes);
                    plan.remove_names.push(pack.name);
                }
                _ if is_live => plan.unused_bytes += usage.unused(number),
                _ => stay.push((number, pack)),
            }
        }
        for (name, size_bytes) in &view.unindexed {
            plan.packs.add(*size_bytes);
            let is_in_use = match self.writer_of(name) {
                Ok(session) => session.is_some_and(|session| is_live(&session)),
                // Anybody who still works may have written it.
                Err(error) if error.kind() == ErrorKind::Frozen => {
                    !live.is_empty() || !view.live_before.is_empty()
                }
                Err(error) => return Err(error),
            };
            if is_in_use {
                plan.in_use.add(*size_bytes);
            } else {
                plan.remove.add(*size_bytes);
                plan.remove_unindexed.add(*size_bytes);
                plan.remove_names.push(*name);
            }
        }
        for (_, size_bytes) in &view.returned {
            plan.packs.add(*size_bytes);
            plan.returned.add(*size_bytes);
        }
        plan.remove_names.sort_unstable();
        self.choose_repack(&mut plan, &usage, stay, options);
        Ok(plan)
    }

    /// A plan that writes only those packs again that can be read now, and what it leaves as it is because it lies frozen.
    /// How much is needed of the packs is not counted anew.
    pub fn without_frozen(
        &self,
        view: &View,
        mut plan: PrunePlan,
        monitor: &dyn Monitor,
    ) -> Result<(PrunePlan, ObjectCount)> {
        let rows = std::mem::take(&mut plan.repack_rows);
        let packs: Vec<(u32, PackRow)> =
            rows.into_iter().filter_map(|row| Some((row, view.table().pack(row)?))).collect();
        let names: Vec<ContentName> = packs.iter().map(|(_, pack)| pack.name).collect();
        let states = self.thaw(&names, None, monitor)?;
        let (mut frozen, mut readable) = (ObjectCount::default(), ObjectCount::default());
        for ((row, pack), state) in packs.into_iter().zip(states) {
            match state {
                None | Some(Thawing::Readable) => {
                    readable.add(pack.size_bytes);
                    plan.repack_rows.push(row);
                }
                Some(_) => frozen.add(pack.size_bytes),
            }
        }
        plan.repack = readable;
        Ok((plan, frozen))
    }

    /// The session that wrote a pack, as its header says; none if it is no pack.
    fn writer_of(&self, pack: &ContentName) -> Result<Option<SessionId>> {
        let name = object_name(&crate::format::names::pack(pack))?;
        let header = match self.storage.get_range(&name, 0, HEADER_BYTES) {
            Ok(header) => header,
            // Too short to be one; or gone.
            Err(error) if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::NotFound) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let read = |kind| Header::decode(kind, &header).ok().map(|(header, _)| header.session);
        Ok(read(ObjectKind::DataPack).or_else(|| read(ObjectKind::TreePack)))
    }

    /// Chooses the packs of which the needed part is written again: those that waste most, until little enough is
    /// unused, then small ones that can be joined.
    fn choose_repack(
        &self,
        plan: &mut PrunePlan,
        usage: &Usage,
        mut stay: Vec<(u32, PackRow)>,
        options: PlanOptions,
    ) {
        let kept_bytes: u64 =
            stay.iter().map(|(number, _)| usage.needed(*number) + usage.unused(*number)).sum();
        let mut unused: u64 = stay.iter().map(|(number, _)| usage.unused(*number)).sum();
        let allowed = match options.max_unused {
            MaxUnused::Bytes(bytes) => bytes,
            MaxUnused::Unlimited => u64::MAX,
            MaxUnused::Share(share) => {
                u64::try_from(u128::from(kept_bytes) * u128::from(share) / 10_000).unwrap_or(u64::MAX)
            }
        };
        let mut room = options.max_repack_bytes.unwrap_or(u64::MAX);
        let wasted = |(number, pack): &(u32, PackRow)| {
            let share = u128::from(usage.unused(*number)) << 32;
            (Reverse(share / u128::from(pack.size_bytes.max(1))), pack.name)
        };
        stay.sort_by_cached_key(wasted);
        let mut chosen: BTreeSet<u32> = BTreeSet::new();
        let mut choose = |plan: &mut PrunePlan, number: u32, pack: &PackRow| {
            let fits = pack.size_bytes <= room && chosen.insert(number);
            if fits {
                room -= pack.size_bytes;
                plan.repack.add(pack.size_bytes);
                plan.repack_needed_bytes += usage.needed(number);
            }
            fits
        };
        for (number, pack) in &stay {
            if unused > allowed && usage.unused(*number) > 0 && choose(plan, *number, pack) {
                unused -= usage.unused(*number);
            }
        }
        for kind in [ChunkKind::Data, ChunkKind::Tree] {
            let full = self.full_pack_bytes(kind);
            let small: Vec<&(u32, PackRow)> = stay
                .iter()
                .filter(|(number, pack)| pack.kind == kind && usage.needed(*number) < full / SMALL_PART)
                .collect();
            let bytes: u64 = small.iter().map(|(number, _)| usage.needed(*number)).sum();
            if small.len() >= SMALL_PACKS_MIN || (small.len() > 1 && bytes >= full) {
                for (number, pack) in small {
                    if choose(plan, *number, pack) {
                        unused -= usage.unused(*number);
                    }
                }
            }
        }
        plan.unused_bytes += unused;
        plan.repack_rows = chosen.into_iter().collect();
    }

    fn full_pack_bytes(&self, kind: ChunkKind) -> u64 {
        self.memory.pack_bytes(kind, self.config.parameters.packing.pack_bytes as usize) as u64
    }
}

/// The part of a pack that is written again, in the order in which it lies.
pub(super) fn needed_of(view: &View, usage: &Usage, packs: &BTreeSet<u32>) -> Result<Vec<(Place, ChunkId)>> {
    let mut needed = Vec::new();
    view.chunks(|id, is_needed, places| {
        let holder = usage.holder(places).filter(|pack| is_needed && packs.contains(pack));
        needed.extend(places.iter().filter(|place| Some(place.pack) == holder).map(|place| (*place, id)));
        Ok(())
    })?;
    needed.sort_by_key(|(place, _)| (place.pack, place.segment, place.offset));
    Ok(needed)
}
