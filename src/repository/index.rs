//! The index of a repository as this machine sees it: the listed runs, merged into one table.
//!
//! What must hold: a run that is not listed does not count, unless another run supersedes it, which then holds all of
//! it but for packs that a verdict names: their rows may stay in the table, since nobody builds upon such a pack. A run
//! that cannot be read is an error, never an empty run.

pub(super) mod mapped;
pub(super) mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::base::limits::INDEX_RUN_BYTES_MAX;
use crate::base::monitor::show_file;
use crate::base::{ContentName, Error, ErrorKind, Result, Wrap};
use crate::crypto::Secret;
use crate::format::index::IndexRun;
use crate::format::names;
use crate::format::sealing::ObjectKind;
use crate::repository::Repository;
use crate::repository::object::object_name;
use table::Table;

/// A run of a checkpoint that is full.
const RUN_BYTES_TYPICAL: usize = 8 << 20;

/// Rows of packs that went are not worth a new table below so many bytes.
const STALE_BYTES: u64 = 1 << 20;

impl Repository {
    /// The table of all listed runs; from the file of an earlier time where that fits, else made anew.
    pub(super) fn load_index(&self) -> Result<Table> {
        // A run may go between listing and reading, when a compaction replaced it: then the listing is old.
        let mut attempts = 3;
        loop {
            match self.try_load_index() {
                Err(error) if error.kind() == ErrorKind::NotFound && attempts > 0 => attempts -= 1,
                other => return other.wrap(|| "cannot read the index"),
            }
        }
    }

    /// The listed runs and their sizes in bytes.
    pub(super) fn listed_runs(&self) -> Result<BTreeMap<ContentName, u64>> {
        let mut listed = BTreeMap::new();
        self.storage.list(names::INDEX, None, &mut |entry| {
            if let Some(name) = names::parse_index(entry.name.as_str()) {
                listed.insert(name, entry.size_bytes);
            }
            Ok(())
        })?;
        Ok(listed)
    }

    fn try_load_index(&self) -> Result<Table> {
        let listed = self.listed_runs()?;
        // The cache is a help: where it cannot be written, the table is made in memory.
        let path = self.index_path().ok().flatten();
        let key = self.keys.subkey(ObjectKind::IndexRun, self.config.generation)?;
        let cached = path.as_deref().and_then(|path| Table::open(path, &key));
        // Packs that went leave their rows behind; sometimes a new table is less than what is left of the old one.
        let listed_bytes: u64 = listed.values().sum();
        let cached = cached.filter(|table| table.size_bytes() <= 2 * listed_bytes + STALE_BYTES);
        let target = Target { path: path.as_deref(), key: &key };
        if let Some(table) = cached
            && let Some(table) = self.brought_up_to_date(table, &listed, &target)?
        {
            return Ok(table);
        }
        let all: Vec<(ContentName, u64)> = listed.into_iter().collect();
        let made = self.merged_in_steps(Table::empty(), &all, &BTreeSet::new(), &target)?;
        made.ok_or_else(|| Error::new(ErrorKind::Failed, "a new table lacks runs"))
    }

    /// The cached table and the runs that it lacks. Nothing if a run that it holds is gone and no other run says that it
    /// holds its content: then what it says of that run's packs no longer counts.
    fn brought_up_to_date(
        &self,
        table: Table,
        listed: &BTreeMap<ContentName, u64>,
        target: &Target<'_>,
    ) -> Result<Option<Table>> {
        let known: BTreeSet<ContentName> = table.runs().into_iter().collect();
        let gone: BTreeSet<ContentName> =
            known.iter().filter(|name| !listed.contains_key(name)).copied().collect();
        let missing = listed.iter().filter(|(name, _)| !known.contains(name));
        let missing: Vec<(ContentName, u64)> = missing.map(|(name, size)| (*name, *size)).collect();
        if missing.is_empty() && gone.is_empty() {
            return Ok(Some(table));
        }
        self.merged_in_steps(table, &missing, &gone, target)
    }

    /// Merges runs, no more of them at a time than should be decoded in memory; nothing if no run supersedes one that is
    /// gone. One that goes meanwhile is not missed either if another that was read supersedes it: a compaction may take
    /// them away as fast as they are read.
    fn merged_in_steps(
        &self,
        mut table: Table,
        missing: &[(ContentName, u64)],
        gone: &BTreeSet<ContentName>,
        target: &Target<'_>,
    ) -> Result<Option<Table>> {
        let mut batch = Vec::new();
        let mut batch_bytes = 0;
        let mut vanished = Vec::new();
        let together = usize::try_from(self.memory.merge_bytes()).unwrap_or(usize::MAX) / RUN_BYTES_TYPICAL;
        let together = self.storage.parallel_calls().min(together).max(1);
        let runs = missing.chunks(together).flat_map(|some| self.read_runs(some).into_iter().zip(some));
        for (position, (run, (name, size_bytes))) in runs.enumerate() {
            match run {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    vanished.push((name, error));
                    continue;
                }
                run => batch.push((*name, run?)),
            }
            batch_bytes += size_bytes;
            if batch_bytes >= self.memory.merge_bytes() && position + 1 < missing.len() {
                // What is gone stays known in a table that is not complete yet, lest it be taken for up to date.
                table = target.merged(&table, &batch, &BTreeSet::new())?;
                batch.clear();
                batch_bytes = 0;
            }
        }
        let mut superseded: BTreeSet<ContentName> = table.superseded().into_iter().collect();
        superseded.extend(batch.iter().flat_map(|(_, run)| run.superseded.iter().copied()));
        if !gone.is_subset(&superseded) {
            return Ok(None);
        }
        if let Some((_, error)) = vanished.into_iter().find(|(name, _)| !superseded.contains(name)) {
            return Err(error);
        }
        target.merged(&table, &batch, gone).map(Some)
    }

    /// Reads runs, all of them at a time.
    fn read_runs(&self, names: &[(ContentName, u64)]) -> Vec<Result<IndexRun>> {
        if let [(name, _)] = names {
            return vec![self.read_run(name)];
        }
        std::thread::scope(|scope| {
            let start = |name: ContentName| {
                std::thread::Builder::new().spawn_scoped(scope, move || self.read_run(&name))
            };
            let reading: Vec<_> = names.iter().map(|(name, _)| (name, start(*name))).collect();
            let ended = || Error::new(ErrorKind::Failed, "a thread that read an index run ended");
            let read = reading.into_iter().map(|(name, thread)| match thread {
                Ok(thread) => thread.join().unwrap_or_else(|_| Err(ended())),
                // No more threads can be had.
                Err(_) => self.read_run(name),
            });
            read.collect()
        })
    }

    pub(super) fn read_run(&self, name: &ContentName) -> Result<IndexRun> {
        let object_name = object_name(&names::index(name))?;
        let object = self.fetch_content(&object_name, name, INDEX_RUN_BYTES_MAX)?;
        let what = format!("object {object_name}");
        let (_, body) = self.open_sealed(ObjectKind::IndexRun, None, &object, &what)?;
        IndexRun::decode(&body).map_err(|error| error.of_opened(&what))
    }

    /// Forgets what is kept of the index: it is read anew when somebody asks for it next.
    pub(super) fn forget_table(&self) {
        if let Ok(Some(path)) = self.index_path() {
            // What stays is as good as before.
            let _ = std::fs::remove_file(path);
        }
    }

    /// The file of the table; its folder is made, readable to its owner alone.
    pub(super) fn index_path(&self) -> Result<Option<PathBuf>> {
        use std::os::unix::fs::DirBuilderExt;
        let Some(folder) = &self.cache_folder else { return Ok(None) };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .wrap(|| format!("cannot create the cache folder {}", show_file(folder)))?;
        Ok(Some(folder.join("index.table")))
    }
}

/// Where a table is written.
struct Target<'p> {
    /// The cache's file, if there is a cache.
    path: Option<&'p Path>,
    key: &'p Secret,
}

impl Target<'_> {
    /// Merges into the cache's file, or in memory where that cannot be written: a full or read-only cache stops nobody.
    fn merged(
        &self,
        table: &Table,
        runs: &[(ContentName, IndexRun)],
        gone: &BTreeSet<ContentName>,
    ) -> Result<Table> {
        match table.merged(runs, gone, self.path, self.key) {
            Err(error) if self.path.is_some() && error.kind() != ErrorKind::Damaged => {
                table.merged(runs, gone, None, self.key)
            }
            other => other,
        }
    }
}
