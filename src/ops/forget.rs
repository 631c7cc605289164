//! Forgetting snapshots: those that a user names, and those that a retention policy does not keep.
//!
//! What must hold: nothing is forgotten before all of a plan is known to be sound. A policy never takes all that a group
//! has unless that was asked for, never a snapshot that cannot be read, and none whose date cannot be right.

mod dates;
mod policy;

pub use dates::{OddDate, odd_dates};
pub use policy::{Count, Judged, Kept, Period, Policy, Window};

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind, Monitor, Result, SessionId, Timestamp};
use crate::format::tombstone::{ForgetReason, Tombstone};
use crate::repository::{GroupKey, Grouping, Repository, SnapshotEntry, SnapshotFilter, SnapshotList};

/// Who forgets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgetter {
    /// Name of the machine.
    pub host: String,
    /// The user.
    pub user: Option<String>,
    /// Name and version of the program.
    pub program: String,
}

impl Forgetter {
    /// What is written of it, now.
    pub fn tombstone(&self, reason: ForgetReason) -> Tombstone {
        Tombstone {
            time: Timestamp::now(),
            host: self.host.clone(),
            user: self.user.clone(),
            reason,
            replaced_by: None,
            program: self.program.clone(),
        }
    }
}

/// What is kept, of which snapshots.
#[derive(Clone, Debug)]
pub struct Retention {
    /// What is kept of each group.
    pub policy: Policy,
    /// By what snapshots are put together.
    pub grouping: Grouping,
    /// Which snapshots are judged; the others are left alone.
    pub filter: SnapshotFilter,
    /// The time zone whose calendar counts.
    pub zone: TimeZone,
    /// Groups may lose all that they have. Without a rule, all snapshots that the filter lets through go.
    pub may_remove_all: bool,
}

/// What becomes of a group.
#[derive(Clone, Debug)]
pub struct GroupPlan<'l> {
    /// What its snapshots have in common.
    pub key: GroupKey,
    /// What stays and what goes.
    pub judged: Judged<'l>,
}

/// What becomes of all snapshots that were judged.
#[derive(Clone, Debug, Default)]
pub struct Plan<'l> {
    /// The groups, in order of their keys.
    pub groups: Vec<GroupPlan<'l>>,
    /// Snapshots that are kept because their dates cannot be right, oldest first.
    pub odd: Vec<(&'l SnapshotEntry, OddDate)>,
}

impl Plan<'_> {
    /// All that goes.
    pub fn removed(&self) -> impl Iterator<Item = SessionId> {
        self.groups.iter().flat_map(|group| group.judged.removed.iter().map(|entry| entry.id))
    }
}

impl Retention {
    /// Judges snapshots, at this time.
    ///
    /// Errors: `Usage` if no rule keeps anything and nobody asked for that; `NotFound` if a snapshot that is to be kept by
    /// its id is not there; `Failed` if a group would lose all that it has.
    pub fn plan<'l>(&self, list: &'l SnapshotList, now: Timestamp) -> Result<Plan<'l>> {
        self.check()?;
        self.check_ids(list)?;
        let is_meant = |entry: &&SnapshotEntry| self.filter.matches(&entry.snapshot);
        let groups = self.grouping.group(list.visible.iter().filter(is_meant));
        // With no rule there are no periods that a wrong date could upset.
        let odd = if self.policy.is_empty() { BTreeMap::new() } else { odd_dates(&list.visible, now) };
        let mut plan = Plan::default();
        for (key, group) in groups {
            let judged = self.policy.judge(&group, &odd, &self.zone);
            let is_steady = |kept: &Kept<'_>| !odd.contains_key(&kept.entry.id);
            if !self.may_remove_all && !judged.removed.is_empty() && !judged.kept.iter().any(is_steady) {
                return Err(Error::new(
                    ErrorKind::Failed,
                    format!("the rules keep none of the {}", title(&key, judged.removed.len())),
                ));
            }
            plan.odd.extend(group.iter().filter_map(|entry| Some((*entry, *odd.get(&entry.id)?))));
            plan.groups.push(GroupPlan { key, judged });
        }
        plan.odd.sort_by_key(|(entry, _)| (entry.snapshot.time, entry.id));
        Ok(plan)
    }

    /// Fails with kind `Usage` if this could not be meant, whatever snapshots there are.
    pub fn check(&self) -> Result<()> {
        if self.may_remove_all && self.filter.is_empty() {
            let message = "to forget all snapshots of a group, it must be said of which host, tags or paths";
            return Err(Error::new(ErrorKind::Usage, message));
        }
        if self.policy.is_empty() && !self.may_remove_all {
            let message = "no snapshot is named, and no rule says what is kept";
            return Err(Error::new(ErrorKind::Usage, message));
        }
        Ok(())
    }

    fn check_ids(&self, list: &SnapshotList) -> Result<()> {
        let all = || list.visible.iter().map(|entry| entry.id).chain(list.damaged.iter().map(|(id, _)| *id));
        for wanted in &self.policy.ids {
            if wanted.is_empty() || !all().any(|id| id.hex().starts_with(wanted)) {
                let shown = show_path(wanted.as_bytes());
                let message = format!("there is no snapshot {shown}, which is to be kept");
                return Err(Error::new(ErrorKind::NotFound, message));
            }
        }
        Ok(())
    }
}

/// So many snapshots of a group, in words.
fn title(key: &GroupKey, count: usize) -> String {
    let mut words = format!("{count} snapshot{}", if count == 1 { "" } else { "s" });
    if let Some(host) = &key.host {
        words += &format!(" of host {}", show_path(host.as_bytes()));
    }
    if let Some(paths) = &key.paths {
        let paths: Vec<String> = paths.iter().map(|path| show_path(path)).collect();
        words += &format!(" of {}", paths.join(", "));
    }
    words
}

/// Forgets snapshots. Gives how many this call forgot; others forgot the rest before.
///
/// Errors: `Interrupted` between two of them, and what the storage says; what was forgotten until then stays so.
pub fn forget(
    repository: &Repository,
    snapshots: &[SessionId],
    tombstone: &Tombstone,
    monitor: &dyn Monitor,
) -> Result<u64> {
    let mut count = 0;
    let forgotten = snapshots.iter().try_for_each(|id| {
        if monitor.cancelled() {
            return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
        }
        count += u64::from(repository.forget(*id, tombstone)?);
        Ok(())
    });
    let settled = if snapshots.is_empty() { Ok(()) } else { repository.settle_forgotten() };
    match forgotten {
        Ok(()) => settled.map(|()| count),
        Err(error) if count == 0 => Err(error),
        Err(error) => {
            Err(error.while_doing(format!("only {count} of {} snapshots were forgotten", snapshots.len())))
        }
    }
}
