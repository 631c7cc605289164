//! The index of a repository as this machine sees it: the listed runs, merged into one table.
//!
//! What must hold: a run that is not listed does not count; a run that a listed run supersedes is passed over; a run
//! that cannot be read is an error, never an empty run.

pub(super) mod mapped;
pub(super) mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::base::limits::INDEX_RUN_BYTES_MAX;
use crate::base::monitor::show_file;
use crate::base::{ContentName, ErrorKind, Result, Wrap};
use crate::crypto::Secret;
use crate::format::index::IndexRun;
use crate::format::names;
use crate::format::sealing::ObjectKind;
use crate::repository::Repository;
use crate::repository::object::object_name;
use table::Table;

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
        let cached = cached.filter(|table| table.runs().iter().all(|run| listed.contains_key(run)));
        let known: BTreeSet<ContentName> =
            cached.as_ref().map(Table::runs).unwrap_or_default().into_iter().collect();
        let missing: Vec<(ContentName, u64)> = listed
            .iter()
            .filter(|(name, _)| !known.contains(name))
            .map(|(name, size)| (*name, *size))
            .collect();
        if missing.is_empty()
            && let Some(table) = cached
        {
            return Ok(table);
        }
        let total_bytes: u64 = missing.iter().map(|(_, size_bytes)| size_bytes).sum();
        let mut superseded: BTreeSet<ContentName> = BTreeSet::new();
        let mut decoded = Vec::new();
        for (name, _) in &missing {
            let run = self.read_run(name)?;
            superseded.extend(run.superseded.iter().copied());
            if total_bytes <= self.memory.merge_bytes() {
                decoded.push((*name, run));
            }
        }
        if superseded.iter().any(|name| listed.contains_key(name)) {
            return self.without_superseded(&listed, &superseded);
        }
        let table = cached.unwrap_or_else(Table::empty);
        if total_bytes <= self.memory.merge_bytes() {
            return merged(&table, &decoded, path.as_deref(), &key);
        }
        self.merged_in_steps(table, &missing, path.as_deref(), &key)
    }

    /// Merges more runs than should be decoded in memory at a time.
    fn merged_in_steps(
        &self,
        mut table: Table,
        missing: &[(ContentName, u64)],
        path: Option<&Path>,
        key: &Secret,
    ) -> Result<Table> {
        let mut batch = Vec::new();
        let mut batch_bytes = 0;
        for (position, (name, size_bytes)) in missing.iter().enumerate() {
            batch.push((*name, self.read_run(name)?));
            batch_bytes += size_bytes;
            if batch_bytes >= self.memory.merge_bytes() || position + 1 == missing.len() {
                table = merged(&table, &batch, path, key)?;
                batch.clear();
                batch_bytes = 0;
            }
        }
        Ok(table)
    }

    /// The rare case of a compaction that was cut off between writing its run and removing the old ones. Such a table
    /// is not kept: once the old runs are gone, it could not be told from one that holds them.
    fn without_superseded(
        &self,
        listed: &BTreeMap<ContentName, u64>,
        superseded: &BTreeSet<ContentName>,
    ) -> Result<Table> {
        let key = self.keys.subkey(ObjectKind::IndexRun, self.config.generation)?;
        let mut table = Table::empty();
        for name in listed.keys().filter(|name| !superseded.contains(name)) {
            table = table.merged(&[(*name, self.read_run(name)?)], None, &key)?;
        }
        Ok(table)
    }

    pub(super) fn read_run(&self, name: &ContentName) -> Result<IndexRun> {
        let object_name = object_name(&names::index(name))?;
        let object = self.fetch_content(&object_name, name, INDEX_RUN_BYTES_MAX)?;
        let what = format!("object {object_name}");
        let (_, body) = self.open_sealed(ObjectKind::IndexRun, None, &object, &what)?;
        IndexRun::decode(&body).map_err(|error| error.of_opened(&what))
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

/// Merges into the cache's file, or in memory where that cannot be written: a full or read-only cache stops nobody.
fn merged(
    table: &Table,
    runs: &[(ContentName, IndexRun)],
    path: Option<&Path>,
    key: &Secret,
) -> Result<Table> {
    match table.merged(runs, path, key) {
        Err(error) if path.is_some() && error.kind() != ErrorKind::Damaged => table.merged(runs, None, key),
        other => other,
    }
}
