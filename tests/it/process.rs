//! What one process does with a repository, from opening it to its end, with one thread and without a folder of its own.

use std::sync::Arc;
use std::time::Duration;

use packstone::base::host::Host;
use packstone::base::{Result, SessionId, Silent, Timestamp};
use packstone::format::tombstone::{ForgetReason, Tombstone};
use packstone::ops::backup::{BackupOptions, Comparison, backup_paths};
use packstone::ops::check::{CheckOptions, CheckSummary, Portion};
use packstone::ops::prune::{PruneOptions, PruneSummary};
use packstone::repository::{MaxUnused, PlanOptions, Repository, SessionOptions};
use packstone::storage::Storage;

use crate::engine::key;
use crate::witness::Sources;

/// A process that is gone: on this machine, in this boot, under a number that Linux gives to none.
pub fn dead_host() -> Host {
    Host { process_id: (1 << 22) + 1, process_start_ticks: 1, ..Host::current() }
}

/// Opens the repository.
pub fn open(storage: Arc<dyn Storage>) -> Result<Repository> {
    Repository::open(storage, &key(), None)
}

/// A backup of one source.
#[derive(Clone, Debug)]
pub struct BackUp {
    /// Which source.
    pub source: usize,
    /// Which earlier snapshot it is compared with.
    pub comparison: Comparison,
    /// Who it says that it is.
    pub host: Host,
    /// It publishes an index run behind every pack.
    pub has_checkpoints: bool,
}

impl BackUp {
    /// Compared with the last one; its process is soon gone.
    pub fn new(source: usize) -> Self {
        Self { source, comparison: Comparison::Newest, host: dead_host(), has_checkpoints: false }
    }

    /// Does it, and gives the snapshot's name.
    pub fn run(&self, storage: Arc<dyn Storage>, sources: &Sources) -> Result<SessionId> {
        let repository = open(storage)?;
        let mut session = SessionOptions::default();
        if self.has_checkpoints {
            session.checkpoint_interval = Duration::ZERO;
        }
        let options = BackupOptions {
            workers: 1,
            session,
            comparison: self.comparison.clone(),
            margin_seconds: Some(0),
            ..BackupOptions::new(self.host.clone())
        };
        let path = sources.path(self.source);
        backup_paths(&repository, &[path.to_owned()], path, &options, &Silent).map(|summary| summary.id)
    }
}

/// Forgets a snapshot.
pub fn forget(storage: Arc<dyn Storage>, snapshot: SessionId) -> Result<()> {
    let repository = open(storage)?;
    let tombstone = Tombstone {
        time: Timestamp::now(),
        host: "test".to_owned(),
        user: None,
        reason: ForgetReason::Named,
        replaced_by: None,
        program: "test".to_owned(),
    };
    repository.forget(snapshot, &tombstone)?;
    repository.settle_forgotten()
}

/// Prunes without waiting for anybody.
pub fn prune(storage: Arc<dyn Storage>, host: &Host) -> Result<PruneSummary> {
    packstone::ops::prune::prune(&open(storage)?, &prune_options(host), &Silent)
}

/// Nothing unneeded may stay, and nobody is waited for.
pub fn prune_options(host: &Host) -> PruneOptions {
    PruneOptions {
        plan: PlanOptions { max_unused: MaxUnused::Bytes(0), max_repack_bytes: None },
        wait: Duration::ZERO,
        workers: 1,
        ..PruneOptions::new(host.clone())
    }
}

/// Reads everything there is.
pub fn check(storage: Arc<dyn Storage>) -> Result<CheckSummary> {
    let options = CheckOptions { read: Some(Portion::All) };
    packstone::ops::check::check(&open(storage)?, &options, &Silent)
}
