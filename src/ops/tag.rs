//! Changing the tags of snapshots: a new snapshot of the same tree takes the place of the old one.
//!
//! What must hold: the old one is forgotten only after the new one is durable, so that one of both is there at any
//! moment. The new one is made only while no collection can take what the old one needs. Tags that do not change
//! write nothing.

use crate::base::host::Host;
use crate::base::{Error, ErrorKind, Monitor, Result, SessionId};
use crate::format::snapshot::{Origin, Snapshot};
use crate::format::tombstone::ForgetReason;
use crate::ops::forget::Forgetter;
use crate::repository::{Repository, SessionOptions, SnapshotEntry};

/// What becomes of tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagChange {
    /// These come in the place of all that there are.
    pub set: Option<Vec<String>>,
    /// These go.
    pub remove: Vec<String>,
    /// These come.
    pub add: Vec<String>,
}

impl TagChange {
    /// The tags of a snapshot that has these, sorted and unique.
    pub fn of(&self, tags: &[String]) -> Vec<String> {
        let kept = self.set.as_deref().unwrap_or(tags).iter().filter(|tag| !self.remove.contains(tag));
        let mut changed: Vec<String> = kept.chain(&self.add).cloned().collect();
        changed.sort();
        changed.dedup();
        changed
    }
}

/// A snapshot in whose place another one stands now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged {
    /// The old one, which is forgotten.
    pub old: SessionId,
    /// The new one.
    pub new: SessionId,
    /// The tags of the new one.
    pub tags: Vec<String>,
}

/// Who changes tags, and how.
#[derive(Clone, Debug)]
pub struct TagOptions {
    /// What becomes of tags.
    pub change: TagChange,
    /// The running process.
    pub host: Host,
    /// How its sessions work.
    pub session: SessionOptions,
    /// The user who asks for it.
    pub user: Option<String>,
}

/// Changes tags of snapshots, and tells each that was changed. Gives how many were.
///
/// Errors: `Fenced` if a collection may take what a snapshot needs, or if another process forgot or changed it meanwhile;
/// what was changed until then stays so.
pub fn tag(
    repository: &Repository,
    snapshots: &[&SnapshotEntry],
    options: &TagOptions,
    monitor: &dyn Monitor,
    tell: &mut dyn FnMut(&Tagged),
) -> Result<u64> {
    let changes = |entry: &&&SnapshotEntry| options.change.of(&entry.snapshot.tags) != entry.snapshot.tags;
    let wanted: Vec<SessionId> = snapshots.iter().filter(changes).map(|entry| entry.id).collect();
    let mut count = 0;
    let tagged = wanted.iter().try_for_each(|id| {
        if monitor.cancelled() {
            return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
        }
        let tagged = tag_one(repository, *id, options).map_err(|error| {
            error.while_doing(format!("cannot change the tags of snapshot {}", id.short()))
        })?;
        if let Some(tagged) = tagged {
            count += 1;
            tell(&tagged);
        }
        Ok(())
    });
    match tagged {
        Ok(()) => Ok(count),
        Err(error) if count == 0 => Err(error),
        Err(error) => {
            Err(error.while_doing(format!("only {count} of {} snapshots were changed", wanted.len())))
        }
    }
}

fn tag_one(repository: &Repository, old: SessionId, options: &TagOptions) -> Result<Option<Tagged>> {
    let busy = |message: &str| Err(Error::new(ErrorKind::Fenced, message));
    let session = repository.start_session(&options.host, options.session.clone())?;
    let Some(entry) = session.snapshots().visible.iter().find(|entry| entry.id == old) else {
        session.close()?;
        return busy("it is no longer there: another process forgot or changed it");
    };
    let tags = options.change.of(&entry.snapshot.tags);
    if tags == entry.snapshot.tags {
        return session.close().map(|()| None);
    }
    if !session.may_take_over(&old) {
        session.close()?;
        return busy("a prune is under way that may take what it needs");
    }
    let first = Origin { repository: repository.id(), snapshot: old, time: entry.snapshot.time };
    let origin = entry.snapshot.origin.clone().or(Some(first));
    let snapshot = Snapshot { tags: tags.clone(), origin, ..entry.snapshot.clone() };
    let (new, _) = session.commit_anew(snapshot)?;
    let forgetter = Forgetter {
        host: options.host.name.clone(),
        user: options.user.clone(),
        program: options.session.program.clone(),
    };
    if !repository.forget_replaced(old, new, &forgetter.tombstone(ForgetReason::Replaced))? {
        return busy("another process forgot or changed it at the same time");
    }
    Ok(Some(Tagged { old, new, tags }))
}

#[cfg(test)]
mod tests;
