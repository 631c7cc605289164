//! What somebody should agree to before packs go: a stolen client can forget, and a prune would make that final.
//!
//! What must hold: only snapshots whose chunks may still be there count; what this machine forgot itself, and what was
//! replaced by a snapshot that is there, needs no second word.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::{SessionId, Timestamp};
use crate::repository::{GroupKey, Grouping, View};

/// A group that lost much since packs went last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// The group: host, job, paths.
    pub group: GroupKey,
    /// How many of its snapshots were forgotten elsewhere.
    pub forgotten: usize,
    /// How many are left.
    pub left: usize,
    /// Its newest is among those that were forgotten.
    pub has_lost_newest: bool,
}

/// The groups of which the newest snapshot, or more than half, was forgotten elsewhere since packs went last. These are
/// known to be forgotten by who asks, whatever this machine remembers.
pub fn alarms(view: &View, own: &[SessionId]) -> Vec<Alarm> {
    groups_with_alarms(view, own).into_iter().map(|(alarm, _)| alarm).collect()
}

/// Those of them in which something was forgotten that was not yet when an earlier view was made.
pub(super) fn new_alarms(view: &View, own: &[SessionId], known: &BTreeSet<SessionId>) -> Vec<Alarm> {
    let all = groups_with_alarms(view, own).into_iter();
    all.filter(|(_, forgotten)| !forgotten.is_subset(known)).map(|(alarm, _)| alarm).collect()
}

/// The alarms, each with the snapshots that were forgotten.
fn groups_with_alarms(view: &View, own: &[SessionId]) -> Vec<(Alarm, BTreeSet<SessionId>)> {
    let own: BTreeSet<&SessionId> = own.iter().collect();
    let visible: BTreeSet<SessionId> = view.snapshots.iter().map(|entry| entry.id).collect();
    let replaced: BTreeMap<SessionId, SessionId> =
        view.forgotten.iter().filter_map(|forgotten| Some((forgotten.id, forgotten.replaced_by?))).collect();
    let is_replaced = |id: &SessionId| {
        let next = |id: &SessionId| replaced.get(id).copied();
        // No longer than there are links: tombstones can name each other in a circle.
        std::iter::successors(next(id), next).take(replaced.len()).any(|by| visible.contains(&by))
    };
    // Of each group: which were forgotten and which are left, and the newest of each by its time. The sequence would not
    // do: what takes the place of an old snapshot has a new one.
    type Side = (BTreeSet<SessionId>, Option<Timestamp>);
    let mut groups: BTreeMap<GroupKey, [Side; 2]> = BTreeMap::new();
    let forgotten = view
        .forgotten
        .iter()
        .filter(|forgotten| !forgotten.is_own && !own.contains(&forgotten.id) && !is_replaced(&forgotten.id));
    let forgotten = forgotten.filter_map(|forgotten| forgotten.entry.as_ref()).map(|entry| (0, entry));
    for (which, entry) in forgotten.chain(view.snapshots.iter().map(|entry| (1, entry))) {
        let counts = groups.entry(Grouping::HISTORY.key_of(&entry.snapshot)).or_default();
        if let Some((ids, newest)) = counts.get_mut(which) {
            ids.insert(entry.id);
            *newest = (*newest).max(Some(entry.snapshot.time));
        }
    }
    let alarms = groups.into_iter().map(|(group, [(ids, newest), (left, newest_left)])| {
        let has_lost_newest = newest > newest_left;
        (Alarm { group, forgotten: ids.len(), left: left.len(), has_lost_newest }, ids)
    });
    alarms
        .filter(|(alarm, _)| alarm.forgotten > 0 && (alarm.has_lost_newest || alarm.forgotten > alarm.left))
        .collect()
}
