//! Merging index runs: small ones into fewer, and large ones without the packs that went.
//!
//! What must hold: only packs that a verdict names are left out; a run that supersedes others is durable, and was read
//! again from the storage and compared, before any of them is removed. An ordinary session does it, so that nobody
//! removes what it just wrote.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::base::host::Host;
use crate::base::{ContentName, Error, ErrorKind, Result, Wrap};
use crate::crypto::content_name;
use crate::format::index::{Entry, IndexRun};
use crate::format::names;
use crate::format::sealing::ObjectKind;
use crate::repository::collections::Collections;
use crate::repository::object::{create_unique, object_name};
use crate::repository::records::is_gone;
use crate::repository::{ObjectCount, Repository, Session, SessionOptions};

/// Fewer small runs than these are not worth merging.
const SMALL_RUNS_MIN: usize = 8;
/// A run is small below this part of a full one.
const SMALL_PART: u64 = 2;
/// A run is rewritten once this part of its chunks is in packs that went: a quarter.
const DEAD_PART: usize = 4;
/// Names of earlier runs that a run takes over from those that it supersedes, so that who slept through several merges
/// need not read the whole index.
const INHERITED_MAX: usize = 1024;

/// What was merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Runs that went.
    pub removed: ObjectCount,
    /// Runs that hold their content now.
    pub written: ObjectCount,
}

/// A run that was read.
struct Input {
    name: ContentName,
    size_bytes: u64,
    run: IndexRun,
}

/// One compaction.
struct Compaction<'r> {
    repository: &'r Repository,
    host: &'r Host,
    options: SessionOptions,
    collections: Collections,
    /// Begun with the first run that is written.
    session: Option<Session<'r>>,
    compacted: Compacted,
}

impl Repository {
    /// Merges index runs where that pays.
    pub fn compact_index(&self, host: &Host, options: SessionOptions) -> Result<Compacted> {
        let collections = self.collections()?;
        let listed = self.listed_runs()?;
        let full_bytes = self.memory.run_bytes() as u64;
        let (small, large): (BTreeMap<ContentName, u64>, BTreeMap<ContentName, u64>) =
            listed.into_iter().partition(|(_, size_bytes)| *size_bytes < full_bytes / SMALL_PART);
        let (dead, rows) = self.dead_part(&collections)?;
        if small.len() < SMALL_RUNS_MIN && dead == 0 {
            return Ok(Compacted::default());
        }
        let compacted = Compacted::default();
        let mut compaction =
            Compaction { repository: self, host, options, collections, session: None, compacted };
        // One run has more than its share of what is dead, if all together have: reading them pays.
        if compaction.merge(&small)? && dead * DEAD_PART > rows {
            compaction.rewrite(&large)?;
            // If it did not, these were rows that runs left in the local table when they went.
            self.forget_table();
        }
        if let Some(session) = compaction.session {
            session.close()?;
        }
        Ok(compaction.compacted)
    }

    /// Rows of the index in packs that went, and all rows.
    fn dead_part(&self, collections: &Collections) -> Result<(usize, usize)> {
        let table = self.load_index()?;
        let dead: Vec<bool> = (0..u32::try_from(table.pack_count()).unwrap_or(u32::MAX))
            .map(|number| table.pack(number).is_some_and(|pack| collections.dead.contains(&pack.name)))
            .collect();
        let count = table.rows().filter(|(_, place)| dead.get(place.pack as usize) == Some(&true)).count();
        Ok((count, table.entry_count()))
    }
}

impl Compaction<'_> {
    /// Merges small runs, no more of them at a time than should be decoded in memory. False if another merges at this
    /// moment.
    fn merge(&mut self, small: &BTreeMap<ContentName, u64>) -> Result<bool> {
        let mut batch = Vec::new();
        let mut batch_bytes = 0;
        let mut left = small.len();
        for (name, size_bytes) in small {
            let run = self.repository.read_run(name);
            if is_gone(&run) {
                return Ok(false);
            }
            batch.push(Input { name: *name, size_bytes: *size_bytes, run: run? });
            batch_bytes += size_bytes;
            left -= 1;
            if batch_bytes >= self.repository.memory.merge_bytes() || left == 0 {
                batch_bytes = 0;
                self.merge_batch(std::mem::take(&mut batch))?;
            }
        }
        Ok(true)
    }

    fn merge_batch(&mut self, inputs: Vec<Input>) -> Result<()> {
        let dead = |input: &Input| dead_entries(&input.run, &self.collections);
        let (entries, gone) = inputs
            .iter()
            .fold((0, 0), |(all, gone), input| (all + input.run.entries.len(), gone + dead(input)));
        let has_dead_run =
            inputs.iter().any(|input| !input.run.packs.is_empty() && dead(input) == input.run.entries.len());
        let pays = inputs.len() >= SMALL_RUNS_MIN || gone * DEAD_PART > entries;
        if pays || (has_dead_run && inputs.len() > 1) { self.replace(inputs) } else { Ok(()) }
    }

    /// Writes large runs again that hold much that is dead.
    fn rewrite(&mut self, large: &BTreeMap<ContentName, u64>) -> Result<()> {
        for (name, size_bytes) in large {
            let run = self.repository.read_run(name);
            if is_gone(&run) {
                continue;
            }
            let input = Input { name: *name, size_bytes: *size_bytes, run: run? };
            if dead_entries(&input.run, &self.collections) * DEAD_PART > input.run.entries.len() {
                self.replace(vec![input])?;
            }
        }
        Ok(())
    }

    /// Writes runs that hold what the inputs hold of packs that are still there, then removes the inputs.
    fn replace(&mut self, inputs: Vec<Input>) -> Result<()> {
        let Self { repository, host, options, collections, session, compacted } = self;
        let repository = *repository;
        let session = match session {
            Some(session) => session,
            None => session.insert(repository.start_session(host, options.clone())?),
        };
        let mut wanted = HashSet::new();
        let mut written = Vec::new();
        for run in merged(&inputs, collections, repository.memory.run_bytes()) {
            if !run.superseded.is_empty() {
                // Who meets a run that supersedes others may pass those over.
                repository.storage.barrier().wrap(|| "cannot make index runs durable")?;
            }
            wanted.extend(run.packs.iter().map(|pack| pack.name));
            let object = repository.seal_record(ObjectKind::IndexRun, session.id(), None, run.encode())?;
            let name = content_name([object.as_ref()]);
            compacted.written.add(object.len() as u64);
            create_unique(&*repository.storage, &object_name(&names::index(&name))?, &[object])
                .wrap(|| "cannot publish an index run")?;
            written.push((name, run));
        }
        repository.storage.barrier().wrap(|| "cannot make index runs durable")?;
        for (name, run) in &written {
            let stored = repository.read_run(name);
            if is_gone(&stored) {
                // Another has merged it already, and what it supersedes is left to that one.
                return Ok(());
            }
            if stored? != *run {
                return Err(Error::damaged(format!("index run {name} does not read back as it was written")));
            }
        }
        let is_held = |pack: &ContentName| wanted.contains(pack) || collections.dead.contains(pack);
        for input in &inputs {
            if let Some(pack) = input.run.packs.iter().find(|pack| !is_held(&pack.name)) {
                let message = format!("pack {} would no longer be in the index", pack.name);
                return Err(Error::new(ErrorKind::Failed, message));
            }
        }
        for input in &inputs {
            if written.iter().all(|(name, _)| *name != input.name)
                && repository.delete_if_there(&names::index(&input.name))?
            {
                compacted.removed.add(input.size_bytes);
            }
        }
        Ok(())
    }
}

fn dead_entries(run: &IndexRun, collections: &Collections) -> usize {
    let dead: Vec<bool> = run.packs.iter().map(|pack| collections.dead.contains(&pack.name)).collect();
    run.entries.iter().filter(|entry| dead.get(entry.pack as usize) == Some(&true)).count()
}

/// Runs of at most so many bytes of entries, packs in order of their names. The last one supersedes all inputs; there is
/// always one.
fn merged(inputs: &[Input], collections: &Collections, run_bytes: usize) -> Vec<IndexRun> {
    let mut packs = BTreeMap::new();
    for input in inputs {
        let mut entries: BTreeMap<u32, Vec<Entry>> = BTreeMap::new();
        for entry in &input.run.entries {
            entries.entry(entry.pack).or_default().push(*entry);
        }
        for (number, pack) in (0_u32..).zip(&input.run.packs) {
            if !collections.dead.contains(&pack.name) {
                // A run need not name every chunk of a pack: another may name the rest.
                let (_, of_pack) = packs.entry(pack.name).or_insert_with(|| (pack.clone(), Vec::new()));
                of_pack.extend(entries.remove(&number).unwrap_or_default());
            }
        }
    }
    let mut runs = vec![IndexRun::default()];
    for (pack, mut entries) in packs.into_values() {
        entries.sort_by_key(|entry| entry.id);
        entries.dedup_by_key(|entry| entry.id);
        let is_full = runs.last().is_none_or(|run| {
            !run.packs.is_empty() && (run.entries.len() + entries.len()) * size_of::<Entry>() > run_bytes
        });
        if is_full {
            runs.push(IndexRun::default());
        }
        if let Some(run) = runs.last_mut() {
            let number = u32::try_from(run.packs.len()).unwrap_or(u32::MAX);
            run.packs.push(pack);
            run.entries.extend(entries.into_iter().map(|entry| Entry { pack: number, ..entry }));
        }
    }
    runs.iter_mut().for_each(|run| run.entries.sort_unstable());
    if let Some(last) = runs.last_mut() {
        last.superseded = superseded(inputs);
    }
    runs
}

/// The inputs, and what they supersede.
fn superseded(inputs: &[Input]) -> Vec<ContentName> {
    let own: BTreeSet<ContentName> = inputs.iter().map(|input| input.name).collect();
    let inherited: BTreeSet<ContentName> =
        inputs.iter().flat_map(|input| input.run.superseded.iter().copied()).collect();
    match inherited.len() <= INHERITED_MAX {
        true => own.union(&inherited).copied().collect(),
        false => own.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::ChunkKind;
    use crate::repository::MemoryLimit;
    use crate::repository::index::table::tests::run;
    use crate::repository::tests::new_repository;

    #[test]
    fn what_several_runs_say_of_one_pack_stays() {
        let (_, whole) = run(0);
        let part = |number: u8, keep: fn(usize) -> bool| {
            let entries = whole.entries.iter().enumerate().filter(|(position, _)| keep(*position));
            let entries = entries.map(|(_, entry)| *entry).collect();
            let run = IndexRun { entries, ..whole.clone() };
            Input { name: ContentName([number; 32]), size_bytes: 1, run }
        };
        let inputs = [part(1, |position| position % 2 == 0), part(2, |position| position % 3 != 0)];
        let runs = merged(&inputs, &Collections::default(), usize::MAX);
        let expected: Vec<Entry> = (whole.entries.iter().enumerate())
            .filter(|(position, _)| position % 2 == 0 || position % 3 != 0)
            .map(|(_, entry)| *entry)
            .collect();
        assert_eq!(runs.len(), 1);
        assert_eq!((&runs[0].packs, &runs[0].entries), (&whole.packs, &expected));
    }

    #[test]
    fn no_more_runs_are_decoded_at_a_time_than_there_is_memory_for() {
        let (_, mut repository) = new_repository();
        let start = |repository: &Repository, chunk: u8| {
            let session = repository.start_session(&Host::current(), SessionOptions::default()).unwrap();
            let id = session.store(ChunkKind::Data, &[chunk; 3000]).unwrap().id;
            session.publish_all().unwrap();
            id
        };
        let ids: Vec<_> = (0..20).map(|chunk| start(&repository, chunk)).collect();
        let run_bytes = repository.listed_runs().unwrap().values().copied().max().unwrap();
        repository.limit_memory(MemoryLimit::of(4 * 9 * run_bytes));
        let compacted = repository.compact_index(&Host::current(), SessionOptions::default()).unwrap();
        assert_eq!((compacted.removed.count, compacted.written.count), (18, 2));
        assert_eq!(repository.listed_runs().unwrap().len(), 4);
        let table = repository.load_index().unwrap();
        assert!(ids.iter().all(|id| table.places(id).count() == 1));
    }
}
