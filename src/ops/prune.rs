//! Giving back the space of what no snapshot needs, beside any number of running backups and other prunes.
//!
//! What must hold: the order of format-spec section 14.6, which `repository` owns; what nobody needs goes before anything
//! is written again, so that a full disk is no obstacle; nothing that was forgotten elsewhere on a large scale costs a
//! pack before somebody agreed, not even if that happens while a prune runs. Stopped at any moment, what is left is
//! whole, and the next prune goes on.

mod alarm;

pub use alarm::{Alarm, alarms};

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use rayon::ThreadPool;

use crate::base::clock::Stopwatch;
use crate::base::host::{Host, ProcessState};
use crate::base::{Error, ErrorKind, Monitor, Result, SessionId};
use crate::ops::pool::{pool, worker_count};
use crate::ops::sessions::{Observer, end_dead};
use crate::repository::{
    AllOver, Compacted, LiveSession, Marks, ObjectCount, OpenCollection, PlanOptions, PrunePlan, Pruner,
    Reader, Repository, SessionOptions, SnapshotEntry, View,
};
use crate::tree::mark_reachable;

/// How often sessions that are waited for are looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Unless others keep condemning at the same time, three are enough: what nobody needs, what was written again, and
/// what an earlier prune left open.
const COLLECTIONS_MAX: usize = 16;

/// Who agrees to that going which others forget while a prune runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Consent {
    /// Nobody has to.
    Given,
    /// Nobody yet, if it is alarming: then the prune stops before it goes. These snapshots are known to be forgotten by
    /// who asks.
    Needed(Vec<SessionId>),
}

/// How a prune is made.
#[derive(Clone, Debug)]
pub struct PruneOptions {
    /// How far it goes.
    pub plan: PlanOptions,
    /// How long it waits for sessions that run.
    pub wait: Duration,
    /// Nobody else prunes: needed where objects are not created atomically.
    pub is_sole: bool,
    /// Whether it stops at what others forget after it was prepared.
    pub consent: Consent,
    /// Threads that read, compress and seal; 0: one for each processor.
    pub workers: usize,
    /// The running process.
    pub host: Host,
    /// How its sessions work.
    pub session: SessionOptions,
}

impl PruneOptions {
    /// The usual options on this machine.
    pub fn new(host: Host) -> Self {
        Self {
            plan: PlanOptions::default(),
            wait: Duration::from_secs(600),
            is_sole: false,
            consent: Consent::Needed(Vec::new()),
            workers: 0,
            host,
            session: SessionOptions::default(),
        }
    }
}

/// What a prune did.
#[derive(Debug, Default)]
pub struct PruneSummary {
    /// What it found and meant to do.
    pub plan: PrunePlan,
    /// Sessions that it ended, because nobody runs them any more.
    pub ended: Vec<SessionId>,
    /// Packs that it removed.
    pub removed: ObjectCount,
    /// Packs of which it wrote the needed part again.
    pub repacked: u64,
    /// Stored bytes of what it wrote again.
    pub written_bytes: u64,
    /// Packs that it would have written again, and that cannot be read before they are thawed: they stay as they are.
    pub frozen: ObjectCount,
    /// Condemned packs that turned out to be needed.
    pub spared: u64,
    /// Index runs that it merged.
    pub index: Compacted,
    /// Commit keys of forgotten snapshots that it removed.
    pub records: u64,
    /// Sessions that it waits for, and that still run.
    pub waits_for: Vec<LiveSession>,
    /// Packs that are condemned and wait for these sessions.
    pub condemned: u64,
    /// Why the needed part of packs was not written again, or index runs were not merged.
    pub repack_failure: Option<Error>,
    /// What others forgot since it was prepared, and what nobody agreed to: it stopped before that goes.
    pub alarms: Vec<Alarm>,
}

/// What a prune would do, and what it is about to do it with.
#[derive(Debug)]
pub struct Prepared<'r> {
    repository: &'r Repository,
    view: View,
    plan: PrunePlan,
    /// The plan is of what is, not of what would be.
    is_real: bool,
}

/// Looks at the repository, and plans. Nothing is written.
pub fn prepare<'r>(
    repository: &'r Repository,
    options: &PruneOptions,
    monitor: &dyn Monitor,
) -> Result<Prepared<'r>> {
    prepare_without(repository, options, &[], monitor)
}

/// As `prepare`, as if these snapshots were forgotten as well. Running it removes nothing that they need.
pub fn prepare_without<'r>(
    repository: &'r Repository,
    options: &PruneOptions,
    forgotten: &[SessionId],
    monitor: &dyn Monitor,
) -> Result<Prepared<'r>> {
    let run = Run::new(repository, options, monitor)?;
    let view = repository.view(None, &|reader, snapshots, marks| {
        let others = snapshots.iter().filter(|entry| !forgotten.contains(&entry.id));
        run.mark(reader, others, marks)
    })?;
    let plan = run.plan(&view, &HashSet::new())?;
    Ok(Prepared { repository, view, plan, is_real: forgotten.is_empty() })
}

/// Prunes without asking anybody.
pub fn prune(repository: &Repository, options: &PruneOptions, monitor: &dyn Monitor) -> Result<PruneSummary> {
    let options = PruneOptions { consent: Consent::Given, ..options.clone() };
    prepare(repository, &options, monitor)?.run(&options, monitor)
}

impl Prepared<'_> {
    /// What would be done.
    pub const fn plan(&self) -> &PrunePlan {
        &self.plan
    }

    /// What it was planned by.
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// What somebody should agree to before, who forgot these snapshots himself.
    pub fn alarms(&self, own: &[SessionId]) -> Vec<Alarm> {
        alarms(&self.view, own)
    }

    /// Does it, as far as nobody has to agree to more than to what the alarms told.
    pub fn run(self, options: &PruneOptions, monitor: &dyn Monitor) -> Result<PruneSummary> {
        if !self.is_real {
            return prepare(self.repository, options, monitor)?.run(options, monitor);
        }
        let known: BTreeSet<SessionId> = self.view.forgotten.iter().map(|forgotten| forgotten.id).collect();
        let run = Run::new(self.repository, options, monitor)?;
        let mut summary = PruneSummary { plan: self.plan, ..PruneSummary::default() };
        // The sweep needs no room, and makes some: on a disk that is full to the last byte, what follows can write.
        self.repository.sweep_sessions()?;
        let mut view = self.view;
        summary.removed.add_all(self.repository.remove_returned(&mut view)?);
        let pruner = self.repository.pruner(&options.host, &options.session, options.is_sole)?;
        if run.end_dead(&pruner, &mut summary)? {
            // What these wrote was planned as what is in use.
            view = run.view(Some(&view))?;
            summary.plan = run.plan(&view, &HashSet::new())?;
        }
        let view = run.collect(&pruner, view, &known, &mut summary)?;
        summary.alarms = run.new_alarms(&view, &known);
        if summary.waits_for.is_empty() && summary.alarms.is_empty() {
            summary.records = pruner.remove_forgotten(&view)?;
        }
        match self.repository.compact_index(&options.host, options.session.clone()) {
            Ok(compacted) => summary.index = compacted,
            Err(error) if error.kind() == ErrorKind::OutOfSpace => {
                summary.repack_failure.get_or_insert(error.while_doing("cannot merge index runs"));
            }
            Err(error) => return Err(error),
        }
        self.repository.sweep_sessions()?;
        self.repository.sweep_closed()?;
        Ok(summary)
    }
}

/// One prune.
struct Run<'p> {
    repository: &'p Repository,
    options: &'p PruneOptions,
    monitor: &'p dyn Monitor,
    pool: ThreadPool,
}

impl<'p> Run<'p> {
    fn new(repository: &'p Repository, options: &'p PruneOptions, monitor: &'p dyn Monitor) -> Result<Self> {
        Ok(Self {
            repository,
            options,
            monitor,
            pool: pool("prune", worker_count(repository, options.workers))?,
        })
    }

    fn view(&self, before: Option<&View>) -> Result<View> {
        self.repository.view(before, &|reader, snapshots, marks| self.mark(reader, snapshots.iter(), marks))
    }

    fn mark<'s>(
        &self,
        reader: &Reader<'_>,
        snapshots: impl Iterator<Item = &'s SnapshotEntry>,
        marks: &Marks,
    ) -> Result<()> {
        let roots: Vec<_> = snapshots.map(|entry| entry.snapshot.tree).collect();
        let stop = |_: &_, error| Err(error);
        self.pool.install(|| mark_reachable(reader, &roots, marks, self.monitor, &stop))
    }

    fn plan(&self, view: &View, copied: &HashSet<crate::base::ContentName>) -> Result<PrunePlan> {
        let live: BTreeSet<SessionId> =
            self.repository.live_sessions()?.into_iter().map(|session| session.id).collect();
        self.repository.plan_prune(view, &live, copied, self.options.plan)
    }

    /// What somebody has to agree to, beyond what was known to be forgotten.
    fn new_alarms(&self, view: &View, known: &BTreeSet<SessionId>) -> Vec<Alarm> {
        match &self.options.consent {
            Consent::Given => Vec::new(),
            Consent::Needed(own) => alarm::new_alarms(view, own, known),
        }
    }

    /// Finishes collections that others left open, removes what nobody needs, then writes the needed part of packs again
    /// and removes what is left of them.
    fn collect(
        &self,
        pruner: &Pruner<'_>,
        view: View,
        known: &BTreeSet<SessionId>,
        summary: &mut PruneSummary,
    ) -> Result<View> {
        let mut view = view;
        let mut plan = Some(summary.plan.clone());
        let mut copied = HashSet::new();
        let mut may_repack = true;
        for _ in 0..COLLECTIONS_MAX {
            if let Some(mut collection) = pruner.open_collection()? {
                let Some(all_over) = self.wait(pruner, &mut collection, summary)? else { break };
                view = self.decide(pruner, &collection, all_over, &view, summary)?;
                plan = None;
                continue;
            }
            if !self.new_alarms(&view, known).is_empty() {
                break;
            }
            let now = match plan.take() {
                Some(plan) => plan,
                None => self.plan(&view, &copied)?,
            };
            summary.removed.add_all(self.repository.remove_returned(&mut view)?);
            if now.remove.count > 0 {
                if !pruner.condemn(&view, &now)? {
                    view = self.view(Some(&view))?;
                }
            } else if may_repack && now.repack.count > 0 {
                may_repack = false;
                let (now, frozen) = self.repository.without_frozen(&view, now, self.monitor)?;
                summary.frozen.add_all(frozen);
                if now.repack.count == 0 {
                    continue;
                }
                match self.repack(&view, &now) {
                    Ok(repacked) => {
                        summary.repacked += repacked.packs.len() as u64;
                        summary.written_bytes += repacked.written_bytes;
                        copied = repacked.packs;
                    }
                    // What else there is to do does not need it.
                    Err(error)
                        if matches!(
                            error.kind(),
                            ErrorKind::OutOfSpace | ErrorKind::Damaged | ErrorKind::Frozen
                        ) =>
                    {
                        summary.repack_failure = Some(error);
                        break;
                    }
                    // Another wrote it again, or found that nobody needs it.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
                view = self.view(Some(&view))?;
            } else {
                break;
            }
        }
        Ok(view)
    }

    fn repack(&self, view: &View, plan: &PrunePlan) -> Result<crate::repository::Repacked> {
        self.monitor.expect(plan.repack.count, plan.repack.size_bytes);
        self.monitor.expected_all();
        let session = self.options.session.clone();
        self.pool.install(|| self.repository.repack(view, plan, &self.options.host, session, self.monitor))
    }

    fn decide(
        &self,
        pruner: &Pruner<'_>,
        collection: &OpenCollection,
        all_over: AllOver,
        before: &View,
        summary: &mut PruneSummary,
    ) -> Result<View> {
        let decided = pruner.decide(collection, all_over, Some(before), &|reader, snapshots, marks| {
            self.mark(reader, snapshots.iter(), marks)
        })?;
        summary.spared += decided.spared;
        summary.removed.add_all(pruner.remove(&decided)?);
        Ok(decided.view)
    }

    /// Ends sessions that nobody runs any more. True if there were any.
    fn end_dead(&self, pruner: &Pruner<'_>, summary: &mut PruneSummary) -> Result<bool> {
        let observer = Observer::now(self.options.host.clone());
        let ended = end_dead(self.repository, &observer, pruner.is_proven())?.ended;
        summary.ended.extend(ended.iter().map(|view| view.session.id));
        Ok(!ended.is_empty())
    }

    /// Waits until every session that had begun before is over, or time is.
    fn wait(
        &self,
        pruner: &Pruner<'_>,
        collection: &mut OpenCollection,
        summary: &mut PruneSummary,
    ) -> Result<Option<AllOver>> {
        let since = Stopwatch::start();
        let mut is_told = false;
        loop {
            let live = match pruner.sessions_before(collection)? {
                Ok(all_over) => return Ok(Some(all_over)),
                Err(live) => live,
            };
            let host = &self.options.host;
            let is_gone = |session: &LiveSession| {
                session.start.as_ref().is_ok_and(|start| host.state_of(&start.host) == ProcessState::Gone)
            };
            if live.iter().any(is_gone) && self.end_dead(pruner, summary)? {
                continue;
            }
            let left = self.options.wait.saturating_sub(since.elapsed());
            if left.is_zero() {
                summary.condemned = collection.pack_count();
                summary.waits_for = live;
                return Ok(None);
            }
            if self.monitor.cancelled() {
                return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
            }
            if !is_told {
                self.monitor
                    .note(&format!("waiting for {} that may use what is to go", sessions(live.len())));
                is_told = true;
            }
            std::thread::sleep(left.min(POLL_INTERVAL));
        }
    }
}

fn sessions(count: usize) -> String {
    match count {
        1 => "one session".to_owned(),
        count => format!("{count} sessions"),
    }
}
