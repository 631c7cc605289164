//! The two phases in which packs go (format-spec section 14.6): condemned, then, once every session that might build upon
//! them is over, removed as the verdict says.
//!
//! What must hold: what is condemned is durable before sessions are listed, the verdict before anything is removed; the
//! view that decides is made after every session that had begun is over; the verdict that is stored counts, whoever
//! wrote it, and a pack goes only if no chunk that this process found needed would lose its last place. Collections are
//! never removed, and a verdict stays in force: what it names goes again if it comes back.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::base::host::Host;
use crate::base::{ContentName, Error, ErrorKind, Result, SessionId, Timestamp, Wrap};
use crate::crypto::random;
use crate::format::collection::{Condemned, Verdict};
use crate::format::names::{self, Phase};
use crate::format::sealing::ObjectKind;
use crate::repository::index::table::PackRow;
use crate::repository::object::{Creation, create, object_name};
use crate::repository::plan::PrunePlan;
use crate::repository::sessions::LiveSession;
use crate::repository::view::{MarkAll, PackState, View};
use crate::repository::{ObjectCount, Repository, SessionOptions};

/// So many packs are condemned at a time, and so many snapshots are kept, that who reads the set does not refuse it.
const NAMES_MAX: usize = 1 << 20;

/// Who removes packs.
#[derive(Debug)]
pub struct Pruner<'r> {
    repository: &'r Repository,
    /// Drawn for the headers of what it writes; names no session.
    run: SessionId,
    is_proven: bool,
}

/// A collection without verdict.
#[derive(Debug)]
pub struct OpenCollection {
    number: u64,
    condemned: Condemned,
    /// Sessions that had begun when they were first listed, and that were not over when they were listed last.
    before: Option<BTreeSet<SessionId>>,
}

impl OpenCollection {
    /// How many packs are condemned.
    pub fn pack_count(&self) -> u64 {
        self.condemned.packs.len() as u64
    }
}

/// No session that had begun when the packs were condemned is still live.
#[derive(Debug)]
pub struct AllOver(());

/// A verdict that is stored, and the view by which its packs may go.
#[derive(Debug)]
pub struct Decided {
    /// What the decision was made by, and what it makes of the packs.
    pub view: View,
    /// Condemned packs that are needed after all.
    pub spared: u64,
    /// With their sizes in bytes.
    packs: Vec<(ContentName, u64)>,
}

impl Repository {
    /// Prepares to remove packs. Where it is not proven that of many creators of one name exactly one succeeds, whoever
    /// prunes must be the only one (`is_sole`); otherwise the error is `Usage`.
    pub fn pruner(&self, host: &Host, options: &SessionOptions, is_sole: bool) -> Result<Pruner<'_>> {
        self.check_may_write()?;
        let is_proven = self.proves_atomic_create(host, options)?;
        if !is_proven && !is_sole {
            let message = format!(
                "the storage at {} does not prove that it creates an object only once, so that two who prune at a \
                 time could contradict each other",
                self.location()
            );
            return Err(Error::new(ErrorKind::Usage, message));
        }
        Ok(Pruner { repository: self, run: SessionId(random::array()?), is_proven })
    }
}

impl<'r> Pruner<'r> {
    /// Whether of many creators of one name exactly one succeeds.
    pub const fn is_proven(&self) -> bool {
        self.is_proven
    }

    /// The lowest collection without verdict.
    pub fn open_collection(&self) -> Result<Option<OpenCollection>> {
        let listed = self.repository.listed_collections()?;
        let open = listed.into_iter().find(|(_, (phase, _))| *phase == Phase::Condemned);
        let Some((number, (_, size_bytes))) = open else { return Ok(None) };
        let condemned = self.repository.listed_condemned(number, size_bytes)?;
        Ok(Some(OpenCollection { number, condemned, before: None }))
    }

    /// Condemns the packs of a plan. False if there is a collection whose verdict the view does not know: what it took
    /// may be what the view takes for the place of a chunk, and for what makes a snapshot kept.
    pub fn condemn(&self, view: &View, plan: &PrunePlan) -> Result<bool> {
        let Some(last) = view.last_decided else { return Ok(false) };
        let number = last
            .checked_add(1)
            .ok_or_else(|| Error::damaged("the number of the last collection is the highest there is"))?;
        let mut kept: Vec<SessionId> = view.snapshots.iter().map(|entry| entry.id).collect();
        kept.sort_unstable();
        kept.truncate(NAMES_MAX);
        let packs = plan.remove_names.iter().take(NAMES_MAX).copied().collect();
        let condemned = Condemned { packs, kept, lost: Vec::new(), time: Timestamp::now() };
        let creation = self.put(ObjectKind::Condemned, &names::condemned(number), condemned.encode())?;
        Ok(creation == Creation::Ours)
    }

    fn put(&self, kind: ObjectKind, name: &str, content: Vec<u8>) -> Result<Creation> {
        let object = self.repository.seal_record(kind, self.run, Some(name), content)?;
        let creation = create(&*self.repository.storage, &object_name(name)?, &[object])?;
        // Whoever wrote it, what follows builds upon it.
        self.repository.storage.barrier().wrap(|| format!("cannot make object {name} durable"))?;
        Ok(creation)
    }

    /// The sessions that have to be over before a verdict: of those that were live when this was first asked, which it
    /// must be after the condemned set is there. If there are none, the right to decide. Who began later builds upon
    /// nothing that is condemned.
    pub fn sessions_before(
        &self,
        collection: &mut OpenCollection,
    ) -> Result<std::result::Result<AllOver, Vec<LiveSession>>> {
        let mut live = self.repository.live_sessions().wrap(|| "cannot list the sessions")?;
        let before = collection.before.get_or_insert_with(|| live.iter().map(|session| session.id).collect());
        live.retain(|session| before.contains(&session.id));
        before.retain(|id| live.iter().any(|session| session.id == *id));
        Ok(if live.is_empty() { Ok(AllOver(())) } else { Err(live) })
    }

    /// Decides what of the condemned packs goes. What is stored counts: if another decided first, it is that verdict.
    pub fn decide(
        &self,
        collection: &OpenCollection,
        _all_over: AllOver,
        before: Option<&View>,
        mark_all: MarkAll<'_>,
    ) -> Result<Decided> {
        let mut view = self.repository.view(before, mark_all)?;
        let condemned: HashSet<ContentName> = collection.condemned.packs.iter().copied().collect();
        let spared = view.spared(&condemned)?;
        let packs = collection.condemned.packs.iter().filter(|pack| !spared.contains(pack));
        let verdict = Verdict {
            packs: packs.copied().collect(),
            lost: collection.condemned.lost.clone(),
            time: Timestamp::now(),
        };
        let name = names::verdict(collection.number);
        // A tombstone or an end that was seen must not go with the power, and the verdict that it led to stay.
        self.repository.storage.barrier().wrap(|| "cannot make durable what the verdict relies on")?;
        self.put(ObjectKind::Verdict, &name, verdict.encode())?;
        let stored = self.stored_verdict(&name)?;
        if let Some(foreign) = stored.packs.iter().find(|pack| !condemned.contains(pack)) {
            let message = format!("object {name} names pack {foreign}, which was not condemned");
            return Err(Error::damaged(message));
        }
        let stored: HashSet<ContentName> = stored.packs.into_iter().collect();
        if let Some(pack) = view.spared(&stored)?.first() {
            // Who decided may have looked later, when less was needed, or when there was another copy. In a view that is
            // made now, no place in these packs counts: if a needed chunk has no other, it is not made.
            view = self
                .repository
                .view(None, mark_all)
                .wrap(|| format!("object {name} names pack {pack}, which is needed; nothing is removed"))?;
        }
        let spared = (condemned.len() - stored.len()) as u64;
        let packs = view.bury(&stored);
        view.last_decided = view.last_decided.max(Some(collection.number));
        Ok(Decided { view, spared, packs })
    }

    fn stored_verdict(&self, name: &str) -> Result<Verdict> {
        let object =
            self.repository.storage.get(&object_name(name)?, crate::base::limits::RECORD_BYTES_MAX)?;
        let (_, content) = self.repository.open_record(ObjectKind::Verdict, name, &object)?;
        Verdict::decode(&content).map_err(|error| error.of_opened(&format!("object {name}")))
    }

    /// Removes the packs of a verdict; gives what was removed.
    pub fn remove(&self, decided: &Decided) -> Result<ObjectCount> {
        self.repository.remove_packs(decided.packs.iter().copied())
    }

    /// Removes the records of snapshots that a view shows to be forgotten; the tombstones stay.
    pub fn remove_forgotten(&self, view: &View) -> Result<u64> {
        if view.forgotten.is_empty() {
            return Ok(0);
        }
        // A tombstone that is lost with the power must not leave what a late request brings back to be visible.
        self.repository.storage.barrier().wrap(|| "cannot make durable what was forgotten")?;
        let mut removed = 0;
        for forgotten in &view.forgotten {
            removed += u64::from(self.repository.delete_if_there(&names::commit(&forgotten.id))?);
        }
        Ok(removed)
    }
}

impl Repository {
    /// Removes packs that earlier verdicts name and that are there again, or still. It writes nothing, and needs no
    /// `Pruner`: those verdicts are in force, whoever prunes.
    pub fn remove_returned(&self, view: &mut View) -> Result<ObjectCount> {
        self.check_may_write()?;
        self.remove_packs(view.returned.drain(..))
    }

    fn remove_packs(&self, packs: impl Iterator<Item = (ContentName, u64)>) -> Result<ObjectCount> {
        let mut removed = ObjectCount::default();
        for (pack, size_bytes) in packs {
            if self.delete_if_there(&names::pack(&pack))? {
                removed.add(size_bytes);
            }
        }
        Ok(removed)
    }

    /// Removes an object; false if it was not there.
    pub(super) fn delete_if_there(&self, name: &str) -> Result<bool> {
        match self.storage.delete(&object_name(name)?) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl View {
    /// From now on no place in these packs counts. Gives them in order, with their sizes in bytes.
    fn bury(&mut self, packs: &HashSet<ContentName>) -> Vec<(ContentName, u64)> {
        let mut sizes: BTreeMap<ContentName, u64> = packs.iter().map(|pack| (*pack, 0)).collect();
        let buried: Vec<(u32, PackRow)> =
            self.packs().filter(|(_, pack)| packs.contains(&pack.name)).collect();
        for (number, pack) in buried {
            if let Some(state) = self.states.get_mut(number as usize)
                && std::mem::replace(state, PackState::Dead) == PackState::Counts
            {
                sizes.insert(pack.name, pack.size_bytes);
            }
        }
        let is_buried = |(name, _): &mut (ContentName, u64)| packs.contains(name);
        let unindexed = self.unindexed.extract_if(.., is_buried);
        for (name, size_bytes) in unindexed.chain(self.returned.extract_if(.., is_buried)) {
            sizes.insert(name, size_bytes);
        }
        sizes.into_iter().collect()
    }

    /// Which of these packs must stay, so that no needed chunk loses its last place: of several that hold it, the one
    /// with the lowest name.
    fn spared(&self, packs: &HashSet<ContentName>) -> Result<BTreeSet<ContentName>> {
        let goes: Vec<bool> = (self.packs()).map(|(_, pack)| packs.contains(&pack.name)).collect();
        let mut spared = BTreeSet::new();
        self.chunks(|_, is_needed, places| {
            let goes = |pack: u32| goes.get(pack as usize) == Some(&true);
            if is_needed && places.iter().all(|place| goes(place.pack)) {
                let names = places.iter().filter_map(|place| Some(self.table().pack(place.pack)?.name));
                let names: Vec<ContentName> = names.collect();
                if !names.iter().any(|name| spared.contains(name)) {
                    spared.extend(names.into_iter().min());
                }
            }
            Ok(())
        })?;
        Ok(spared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::RECORD_BYTES_MAX;
    use crate::format::padding::padded;

    #[test]
    fn the_largest_condemned_set_can_be_read() {
        let condemned = Condemned {
            packs: vec![ContentName([0; 32]); NAMES_MAX],
            kept: vec![SessionId([0; 16]); NAMES_MAX],
            lost: Vec::new(),
            time: Timestamp::now(),
        };
        assert!(padded(condemned.encode().len() as u64) + 1024 <= RECORD_BYTES_MAX);
    }
}
