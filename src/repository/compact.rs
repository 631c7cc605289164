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

impl Repository {
    /// Merges index runs where that pays.
    pub fn compact_index(&self, host: &Host, options: SessionOptions) -> Result<Compacted> {
        let collections = self.collections()?;
        let listed = self.listed_runs()?;
        let full_bytes = self.memory.run_bytes() as u64;
        let (small, large): (BTreeMap<ContentName, u64>, BTreeMap<ContentName, u64>) =
            listed.into_iter().partition(|(_, size_bytes)| *size_bytes < full_bytes / SMALL_PART);
        let dead_part = self.dead_part(&collections)?;
        if small.len() < SMALL_RUNS_MIN && dead_part.0 == 0 {
            return Ok(Compacted::default());
        }
        let mut session = None;
        let mut compacted = Compacted::default();
        let mut inputs = Vec::new();
        for (name, size_bytes) in &small {
            let run = self.read_run(name);
            if is_gone(&run) {
                // Another merges at this moment.
                return Ok(Compacted::default());
            }
            inputs.push(Input { name: *name, size_bytes: *size_bytes, run: run? });
        }
        let dead = |input: &Input| dead_entries(&input.run, &collections);
        let (entries, gone) = inputs
            .iter()
            .fold((0, 0), |(all, gone), input| (all + input.run.entries.len(), gone + dead(input)));
        let has_dead_run =
            inputs.iter().any(|input| !input.run.packs.is_empty() && dead(input) == input.run.entries.len());
        if inputs.len() >= SMALL_RUNS_MIN || gone * DEAD_PART > entries || (has_dead_run && inputs.len() > 1)
        {
            self.replace(&mut session, host, &options, inputs, &collections, &mut compacted)?;
        }
        // What the local table has of packs that went tells whether reading large runs can pay.
        if dead_part.0 * 2 * DEAD_PART > dead_part.1 {
            for (name, size_bytes) in &large {
                let run = self.read_run(name);
                if is_gone(&run) {
                    continue;
                }
                let input = Input { name: *name, size_bytes: *size_bytes, run: run? };
                if dead(&input) * DEAD_PART > input.run.entries.len() {
                    self.replace(&mut session, host, &options, vec![input], &collections, &mut compacted)?;
                }
            }
        }
        if let Some(session) = session {
            session.close()?;
        }
        Ok(compacted)
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

    /// Writes runs that hold what the inputs hold of packs that are still there, then removes the inputs.
    fn replace<'r>(
        &'r self,
        session: &mut Option<Session<'r>>,
        host: &Host,
        options: &SessionOptions,
        inputs: Vec<Input>,
        collections: &Collections,
        compacted: &mut Compacted,
    ) -> Result<()> {
        let session = match session {
            Some(session) => session,
            None => session.insert(self.start_session(host, options.clone())?),
        };
        let mut wanted = HashSet::new();
        let mut written = Vec::new();
        for run in merged(&inputs, collections, self.memory.run_bytes()) {
            if !run.superseded.is_empty() {
                // Who meets a run that supersedes others may pass those over.
                self.storage.barrier().wrap(|| "cannot make index runs durable")?;
            }
            wanted.extend(run.packs.iter().map(|pack| pack.name));
            let object = self.seal_record(ObjectKind::IndexRun, session.id(), None, run.encode())?;
            let name = content_name([object.as_ref()]);
            compacted.written.add(object.len() as u64);
            create_unique(&*self.storage, &object_name(&names::index(&name))?, &[object])
                .wrap(|| "cannot publish an index run")?;
            written.push((name, run));
        }
        self.storage.barrier().wrap(|| "cannot make index runs durable")?;
        for (name, run) in &written {
            let stored = self.read_run(name);
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
                && self.delete_if_there(&names::index(&input.name))?
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
                packs
                    .entry(pack.name)
                    .or_insert_with(|| (pack.clone(), entries.remove(&number).unwrap_or_default()));
            }
        }
    }
    let mut runs = vec![IndexRun::default()];
    for (pack, entries) in packs.into_values() {
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
